"""From a sample's index to its masked tokens: window, strand, tokens, mask.

Both datasets are pure functions of (seed, index) over a memory-mapped store, so they are cheap to
copy into loader workers and give the same samples whoever asks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch.utils.data import Dataset

from dnalm.data.batch import Sample
from dnalm.data.hidden import find_hidden
from dnalm.data.laid_out import LaidOutGenome
from dnalm.data.masking import Flags, Masking
from dnalm.data.mixture import Mixture
from dnalm.data.order import Stream, generator
from dnalm.data.targets import read_targets, unknown_like
from dnalm.data.windows import Window
from dnalm.faults import fault
from dnalm.genome.alphabet import Codes, reverse_complement
from dnalm.genome.store import GenomeStore
from dnalm.tokenizers import Ids, Tokenizer


@dataclass(frozen=True)
class _Tokens:
    codes: Codes  # (L,) bases under the tokens
    ids: Ids  # (T,)
    spans: Ids  # (T, 2)

    @property
    def content(self) -> Flags:
        """Which tokens spell bases, (T,)."""
        flags: Flags = self.spans[:, 1] > self.spans[:, 0]
        return flags


def _read(store: GenomeStore, window: Window, tokenizer: Tokenizer, max_tokens: int) -> _Tokens:
    """The tokens of a window on its strand, those past the first `max_tokens` cut off at its end."""
    codes = store.codes[window.start : window.end].view(np.ndarray)
    codes = reverse_complement(codes) if window.reverse else codes
    ids = tokenizer.encode(codes)
    spans = tokenizer.spans(codes, ids)
    longest = max_tokens + tokenizer.special.num_wrapping
    if len(ids) > longest:
        last = longest - (tokenizer.special.end is not None)
        num_bases = int(spans[last - 1, 1])
        kept = np.concatenate([np.arange(last), np.arange(len(ids) - (longest - last), len(ids))])
        codes, ids, spans = codes[:num_bases], ids[kept], np.minimum(spans[kept], num_bases)
    return _Tokens(codes, ids, spans)


@dataclass(frozen=True)
class TrainingSamples(Dataset[Sample]):
    """Sample i of a run, for any i >= 0.

    Args:
        genomes: those that train.
        mixture: which of them sample i reads.
        tokenizer: bases to ids.
        max_tokens: tokens of a sample at most, special ones not counted.
        masking: what is hidden.
        seed: the run's seed.
        global_batch: samples per optimizer step; sample i belongs to step i // global_batch.
    """

    genomes: list[LaidOutGenome]
    mixture: Mixture
    tokenizer: Tokenizer
    max_tokens: int
    masking: Masking
    seed: int
    global_batch: int

    def __getitem__(self, index: int) -> Sample:
        """Draw sample `index`."""
        fault("data.sample")
        number, place = self.mixture[index]
        genome = self.genomes[number]
        assert genome.training is not None, "genomes that only judge have no share"
        window = genome.training[place]
        tokens = _read(genome.store, window, self.tokenizer, self.max_tokens)
        seen, masked = self.masking.hide(
            tokens.ids,
            tokens.content,
            self.tokenizer,
            rate=self.masking.rate_at(index // self.global_batch),
            random=generator(self.seed, Stream.MASK, index),
        )
        targets = tokens.content if self.masking.loss_on == "all" else masked
        return Sample(
            index,
            seen,
            tokens.ids,
            masked,
            targets,
            tokens.content,
            len(tokens.codes),
            tracks=read_targets(genome.learned, window, tokens.spans, len(tokens.codes)),
            annotations=genome.channels.read(genome.tracks, window, tokens.spans, len(tokens.codes)),
        )


@dataclass(frozen=True)
class ValidationSamples(Dataset[Sample]):
    """A fixed list of windows with fixed masks.

    Every hidden token is shown as the mask token, and the first step's rate is used throughout,
    so that the same bases are hidden at every validation and none is betrayed.

    Args:
        genomes: the genomes.
        windows: what to read: which genome, and where in it.
        tokenizer: bases to ids.
        max_tokens: tokens of a sample at most, special ones not counted.
        masking: the run's masking.
        seed: the run's seed.
    """

    genomes: list[LaidOutGenome]
    windows: list[tuple[int, Window]]
    tokenizer: Tokenizer
    max_tokens: int
    masking: Masking
    seed: int

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Sample:
        """Draw window `index`; past the end, a sample in which nothing is hidden and nothing known."""
        fills = index >= len(self.windows)
        number, window = self.windows[0 if fills else index]
        genome = self.genomes[number]
        tokens = _read(genome.store, window, self.tokenizer, self.max_tokens)
        all_masked = replace(self.masking, mask_share=1.0, random_share=0.0, faithful=False)
        seen, masked = all_masked.hide(
            tokens.ids,
            tokens.content,
            self.tokenizer,
            rate=self.masking.rate,
            random=generator(self.seed, Stream.VALIDATION_MASK, index),
        )
        masked = masked & (not fills)
        hidden = find_hidden(tokens.codes, tokens.spans, masked, start=window.start)
        targets = read_targets(genome.learned, window, tokens.spans, len(tokens.codes))
        return Sample(
            index,
            seen,
            tokens.ids,
            masked,
            masked,
            tokens.content,
            len(tokens.codes),
            hidden,
            {name: unknown_like(target) for name, target in targets.items()} if fills else targets,
            genome.channels.read(genome.tracks, window, tokens.spans, len(tokens.codes)),
        )
