"""From a sample's index to its masked tokens: genome, window, strand, tokens, mask.

`TrainingSamples` and `ValidationSamples` are pure functions of (seed, index) over memory-mapped stores, so
they are cheap to copy into loader workers and return the same samples in every process. Sample i of a run is
drawn in three steps: `Mixture` says which genome it reads, the genome's `TrainingWindows` which stretch and
strand, and a generator keyed by (seed, i) which of its tokens are masked.

Shapes: L bases of a window, T tokens, R regions, G genomes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from dnalm.data.batch import Sample, find_hidden
from dnalm.data.corpus import CorpusGenome
from dnalm.data.masking import Flags, Masking
from dnalm.data.targets import AbsentTrack, Channels, read_targets, track_of, unknown_like
from dnalm.data.token_store import TokenStore
from dnalm.data.windows import (
    Integers,
    Stream,
    TrainingWindows,
    Window,
    WindowRecipe,
    generator,
    validation_windows,
)
from dnalm.errors import DataError
from dnalm.genome.alphabet import UNKNOWN, Codes, reverse_complement
from dnalm.genome.intervals import cut_at, subtract, total_length
from dnalm.genome.store import GenomeStore
from dnalm.genome.tracks import TrackStore
from dnalm.tokenizers import Ids, Tokenizer


@dataclass(frozen=True, kw_only=True)
class MaskedWindows(Dataset[Sample]):
    """Windows read, tokenized and masked: what training and validation samples share.

    Args:
        genomes: the genomes of the run, those of training with training windows.
        tokenizer: bases to ids.
        max_tokens: tokens of a sample at most, special ones not counted.
        masking: the run's masking.
        seed: the run's seed.
    """

    genomes: list[LaidOutGenome]
    tokenizer: Tokenizer
    max_tokens: int
    masking: Masking
    seed: int

    @cached_property
    def lengths_V(self) -> Ids:  # noqa: N802 -- a shape
        """Bases that each id spells."""
        lengths_V: Ids = (self.tokenizer.token_bases < UNKNOWN).sum(axis=1)
        return lengths_V

    def _draw(
        self,
        genome: LaidOutGenome,
        window: Window,
        masking: Masking,
        *,
        index: int,
        rate: float,
        stream: Stream,
    ) -> tuple[Sample, TokenizedWindow]:
        """The masked sample of a window, whose targets are those of `masking.loss_on`; and its tokens."""
        tokens = _read(genome.store, window, self.tokenizer, self.max_tokens, genome.tokens)
        content, num_bases = tokens.content, len(tokens.codes)
        random = generator(self.seed, stream, index)
        seen, masked = masking.hide(tokens.ids, content, self.tokenizer, rate=rate, random=random)
        targets = content if masking.loss_on == "all" else masked
        sample = Sample(
            index=index,
            seen=seen,
            ids=tokens.ids,
            masked=masked,
            targets=targets,
            content=content,
            num_bases=num_bases,
            num_target_bases=int(self.lengths_V[tokens.ids[targets]].sum()),
            tracks=read_targets(genome.learned, window, tokens.spans, num_bases) if genome.learned else {},
            annotations=genome.channels.read(genome.tracks, window, tokens.spans, num_bases)
            if genome.channels.of_track
            else None,
        )
        return sample, tokens


@dataclass(frozen=True, kw_only=True)
class TrainingSamples(MaskedWindows):
    """Sample i of a run, for any i >= 0.

    Args:
        mixture: which of the genomes sample i reads.
        global_batch: samples per optimizer step; sample i belongs to step i // global_batch.
    """

    mixture: Mixture
    global_batch: int

    def __getitem__(self, index: int) -> Sample:
        """Draw sample `index`."""
        number, place = self.mixture[index]
        genome = self.genomes[number]
        assert genome.training is not None, "genomes without training windows have no share"
        rate = self.masking.rate_at(index // self.global_batch)
        window = genome.training[place]
        sample, _ = self._draw(genome, window, self.masking, index=index, rate=rate, stream=Stream.MASK)
        return sample


@dataclass(frozen=True, kw_only=True)
class ValidationSamples(MaskedWindows):
    """A fixed list of windows with fixed masks.

    Every masked token is shown as the mask token, and the first step's rate is used throughout,
    so that the same bases are hidden at every validation and no unmasked token reveals a hidden base.

    Args:
        windows: pairs of a genome's number and a window in it.
    """

    windows: list[tuple[int, Window]]

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Sample:
        """Draw window `index`; past the end, a filler of a batch with nothing masked and no target known."""
        is_filler = index >= len(self.windows)
        number, window = self.windows[0 if is_filler else index]
        all_masked = replace(self.masking, mask_share=1.0, random_share=0.0, faithful=False, loss_on="masked")
        sample, tokens = self._draw(
            self.genomes[number],
            window,
            all_masked,
            index=index,
            rate=self.masking.rate,
            stream=Stream.VALIDATION_MASK,
        )
        if is_filler:
            nothing = np.zeros_like(sample.masked)
            unknown = {name: unknown_like(target) for name, target in sample.tracks.items()}
            sample = replace(sample, masked=nothing, targets=nothing, num_target_bases=0, tracks=unknown)
        hidden = find_hidden(tokens.codes, tokens.spans, sample.masked, start=window.start)
        return replace(sample, hidden=hidden)


@dataclass(frozen=True)
class TokenizedWindow:
    """The tokens of a window.

    Attributes:
        codes: bases under the tokens on the window's strand, (L,).
        ids: (T,), special tokens included.
        tokenizer: whose they are.
    """

    codes: Codes
    ids: Ids
    tokenizer: Tokenizer

    @cached_property
    def spans(self) -> Ids:
        """The bases that each token spells, (T, 2)."""
        return self.tokenizer.spans(self.codes, self.ids)

    @property
    def content(self) -> Flags:
        """Which tokens spell bases, (T,)."""
        flags = np.zeros(len(self.ids), dtype=np.bool_)
        flags[self.tokenizer.special.content(len(flags))] = True
        return flags


def _read(
    store: GenomeStore,
    window: Window,
    tokenizer: Tokenizer,
    max_tokens: int,
    tokens: TokenStore | None = None,
) -> TokenizedWindow:
    """The tokens of a window on its strand, those past the first `max_tokens` cut off at its end."""
    codes = store.codes[window.start : window.end].view(np.ndarray)
    codes = reverse_complement(codes) if window.reverse else codes
    ids = tokenizer.encode(codes) if tokens is None else tokens.encode(window, codes)
    content = ids[tokenizer.special.content(len(ids))]
    if len(content) > max_tokens:
        last = tokenizer.special.content(len(ids)).start + max_tokens - 1
        codes = codes[: tokenizer.spans(codes, ids)[last, 1]]
        ids = tokenizer.special.wrap(content[:max_tokens])
    return TokenizedWindow(codes, ids, tokenizer)


SLOTS = 1 << 18  # a genome with less than one slot's share gets one


class Mixture:
    """Which genome sample i of a run reads, as a pure function of i.

    A table of slots is filled once: each genome has slots in proportion to its share, evenly spaced from a
    random start. Sample i takes slot i modulo the table, so that any stretch of samples holds every genome
    within one or two samples of its share, and how many of a genome's samples came before is known without
    counting.

    Args:
        shares: (G,) share of each genome relative to the others; above 0.
        seed: of where each genome's slots start.
    """

    def __init__(self, shares: Sequence[float], *, seed: int) -> None:
        assert min(shares) > 0, "a genome without a share is left out"
        self.slots = _slots(np.array(shares, dtype=np.float64))  # (G,)
        start = np.random.Generator(np.random.Philox(key=[seed, 0])).random(len(shares))
        genome = np.repeat(np.arange(len(shares), dtype=np.int32), self.slots)
        rank = np.arange(len(genome)) - np.repeat(np.cumsum(self.slots) - self.slots, self.slots)
        place = (rank + start[genome]) / self.slots[genome]
        order = np.argsort(place, kind="stable")
        self._genome, self._rank = genome[order], rank[order].astype(np.int32)

    def __getitem__(self, index: int) -> tuple[int, int]:
        """The genome of sample `index`, and how many samples of that genome came before."""
        turn, slot = divmod(index, len(self._genome))
        genome = int(self._genome[slot])
        return genome, turn * int(self.slots[genome]) + int(self._rank[slot])


def _slots(shares: npt.NDArray[np.float64]) -> Integers:
    """Slots of each genome by largest remainders, at least one."""
    if len(shares) == 1:
        return np.ones(1, dtype=np.int64)
    wanted = shares / shares.sum() * SLOTS
    slots: Integers = np.maximum(1, np.floor(wanted)).astype(np.int64)
    left = SLOTS - int(slots.sum())
    if left > 0:
        slots[np.argsort(slots - wanted, kind="stable")[:left]] += 1
    return slots


@dataclass(frozen=True, kw_only=True)
class LaidOutGenome:
    """A genome of a corpus with its windows laid out.

    Attributes:
        name: of the genome.
        store: its bases.
        tokens: what the run's tokenizer makes of them, where that has been prepared.
        train: (R, 2) regions of training windows; empty if all of the genome is held out.
        training: training windows, if there are any.
        held_out: (R, 2) regions of validation windows.
        validation: validation windows; empty if all of the genome is used for training.
        num_too_short: bases of the training side in stretches that are too short for a window.
        tracks: all tracks of the run by name, those that this genome lacks as absent.
        learned: those with targets, by the names of these; see `target_name`.
        channels: the labels and classes of tracks that are inputs.
    """

    name: str
    store: GenomeStore
    tokens: TokenStore | None
    train: Integers
    training: TrainingWindows | None
    held_out: Integers
    validation: list[Window]
    num_too_short: int = 0
    tracks: Mapping[str, TrackStore | AbsentTrack] = field(default_factory=dict)
    learned: Mapping[str, TrackStore | AbsentTrack] = field(default_factory=dict)
    channels: Channels = field(default_factory=Channels)

    def describe_sides(self) -> str:
        """How many bases windows are read from, and a warning where less than half of the genome trains."""
        train, held_out = total_length(self.train), total_length(self.held_out)
        sentence = f"{train:,} bases train, {held_out:,} validate"
        if self.tokens is not None:
            sentence += ", their tokens are stored"
        if len(self.train) and self.num_too_short > train:
            sentence += f"; warning: {self.num_too_short:,} more lie in stretches too short for a window"
        return sentence


def lay_out(
    genome: CorpusGenome,
    tokenizer: Tokenizer,
    recipe: WindowRecipe,
    *,
    num_validation: int,
    seed: int,
    absent: Mapping[str, AbsentTrack],
    channels: Channels,
    targets: tuple[str, ...],
    tokens: TokenStore | None,
) -> LaidOutGenome:
    """Lay out the windows of both sides of a genome.

    Args:
        genome: the genome and its division.
        tokenizer: converts window lengths from tokens to bases.
        recipe: how long windows are and where they come from.
        num_validation: validation windows, at most.
        seed: of this genome's windows.
        absent: a stand-in for every track of the run, used where the genome lacks it.
        channels: of the run.
        targets: names of the run's targets.
        tokens: of the genome, where they have been prepared.

    Raises:
        DataError: DATA-01, a side that has bases has no stretch long enough for a window.
    """
    longest = recipe.bases(recipe.max_tokens, tokenizer)
    shortest = recipe.bases(recipe.shortest, tokenizer)
    train, num_too_short = _usable(genome, genome.division.train, recipe, shortest, "training")
    held_out, _ = _usable(genome, genome.division.validation, recipe, shortest, "validation")
    validation = validation_windows(held_out, length=longest, count=num_validation) if len(held_out) else []
    windows = TrainingWindows(train, recipe=recipe, shortest=shortest, longest=longest, seed=seed)
    tracks: dict[str, TrackStore | AbsentTrack] = {**absent, **genome.tracks}
    return LaidOutGenome(
        name=genome.name,
        store=genome.store,
        tokens=tokens,
        train=train,
        training=windows if len(train) else None,
        held_out=held_out,
        validation=validation,
        num_too_short=num_too_short,
        tracks=tracks,
        learned={target: tracks[track_of(target)] for target in targets},
        channels=channels,
    )


def _usable(
    genome: CorpusGenome, regions: Integers, recipe: WindowRecipe, shortest: int, side: str
) -> tuple[Integers, int]:
    """Regions without long runs of N and too short stretches, and the number of bases of the latter."""
    if not len(regions):
        return regions, 0
    runs = genome.store.unknown_runs
    gaps = runs[runs[:, 1] - runs[:, 0] > recipe.max_unknown]
    pieces = cut_at(subtract(regions, gaps), genome.store.offsets)
    is_usable = pieces[:, 1] - pieces[:, 0] >= shortest
    usable = pieces[is_usable]
    if not len(usable):
        longest = int(np.diff(pieces).max(initial=0))
        raise DataError(
            "DATA-01",
            where=genome.store.source.name,
            found=f"no {side} window fits: the longest stretch without N has {longest} bases",
            expected=f"at least {shortest} bases for a window of {recipe.shortest} tokens",
            fix="give a longer genome, raise windows.max_unknown, or change data.split",
        )
    return usable, int(np.diff(pieces[~is_usable]).sum())
