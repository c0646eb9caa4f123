"""Masked language models judged at the same bases, with the same stretches hidden.

The bits per base of a run are of the bases that its own masking hides, which no two tokenizers share: of
those that overlapping 6-mers hide many stand alone between two visible neighbours, while tokens that tile
hide blocks. So they do not compare. Here stretches of held-out text are drawn once for all models. Every
token that touches a stretch is masked, and each of its bases is judged by its own probability: the mean over
the tokens that cover it of what each says at its place, as in `evaluation.interpretation.reader`.

All models read the same window around a stretch, which lies anywhere in the window's middle half, so that no
base is near an end and tokens of fixed width meet it in every phase. A tokenizer whose tokens reach beyond
the stretch hides more than the stretch from its model; that is its own doing. Two baselines beside a model
see what it sees: the context model, from which bases that the model's tokens hide are hidden too; and how
frequent the model's own tokens are, at the same places of the same tokens. The latter is there because BPE
cuts by the text: that a token of four bases stands here, and not two of two, tells of the bases that are
hidden. What a model has learned of DNA is what it is better than both.

P places, S bases of a stretch, X = P S judged bases, M masked tokens, K bases of the longest token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dnalm.data.windows import Integers
from dnalm.errors import DataError
from dnalm.evaluation.baselines import CountModels
from dnalm.evaluation.inference import InferenceQueue, LoadedModel
from dnalm.evaluation.plots import new_figure, save_figure
from dnalm.evaluation.statistics import PairedDifference, paired_difference
from dnalm.genome.alphabet import Codes, bases
from dnalm.genome.store import GenomeStore
from dnalm.tokenizers import Tokenizer
from dnalm.tokenizers.protocol import Ids, covering_tokens

Floats = npt.NDArray[np.float64]
_TINY = 1e-30  # no probability is below, so that logarithms are finite
_AT_ONCE = 256  # places whose requests wait together
_ROUNDS = 50  # of drawing places, before there are too few


@dataclass(frozen=True)
class HeldOut:
    """A genome and the (R, 2) half-open flat intervals of it that no model has trained on."""

    name: str
    store: GenomeStore
    regions: Integers


@dataclass(frozen=True, eq=False)
class Places:
    """Where stretches are hidden.

    Attributes:
        genome: (P,) index of the genome.
        start: (P,) flat coordinate of the stretch's first base.
        offset: (P,) where the stretch begins in its window.
        draw: (P,) number of the draw.
        stretch_bp: S.
        window_bp: bases that are read around it.
    """

    genome: Integers
    start: Integers
    offset: Integers
    draw: Integers
    stretch_bp: int
    window_bp: int

    def __len__(self) -> int:
        return len(self.start)

    @property
    def positions(self) -> Integers:
        """Flat coordinates of the judged bases, (P, S)."""
        return self.start[:, None] + np.arange(self.stretch_bp)


def draw_places(
    genomes: Sequence[HeldOut], *, stretch_bp: int, window_bp: int, count: int, draws: int, seed: int
) -> Places:
    """Draw stretches uniformly from the held-out bases, `count` a draw, none twice in it.

    A stretch lies within a region, and its window within a contig and without N.

    Args:
        genomes: what is held out of each.
        stretch_bp: S.
        window_bp: bases around it that are read.
        count: stretches of a draw.
        draws: how often.
        seed: of the draws.

    Raises:
        DataError: CMP-01, there is not enough held-out text for these windows.
    """
    regions = [
        (number, int(start), int(end) - stretch_bp + 1)
        for number, genome in enumerate(genomes)
        for start, end in genome.regions.tolist()
        if end - start >= stretch_bp
    ]
    table = np.array(regions, dtype=np.int64).reshape(-1, 3)
    ends = np.cumsum(table[:, 2] - table[:, 1])
    found = [
        _draw(genomes, table, ends, stretch_bp, window_bp, count, np.random.default_rng([seed, draw]))
        for draw in range(draws)
    ]
    fewest = min(len(each) for each in found)
    if fewest < count:
        total = int(ends[-1]) if len(ends) else 0
        raise DataError(
            "CMP-01",
            where="places",
            found=f"{fewest:,} places in {total:,} held-out bases",
            expected=f"{count:,} stretches of {stretch_bp} bases, each in a window of {window_bp:,} bases "
            "without N within one contig",
            fix="lower places or window_bp, or hold out more by data.split",
        )
    rows, draw = np.concatenate(found), np.repeat(np.arange(draws), count)
    return Places(rows[:, 0], rows[:, 1], rows[:, 2], draw, stretch_bp, window_bp)


def _draw(
    genomes: Sequence[HeldOut],
    table: Integers,
    ends: Integers,
    stretch_bp: int,
    window_bp: int,
    count: int,
    rng: np.random.Generator,
) -> Integers:
    """(P, 3) genome, start and offset of the stretches of a draw; fewer where there are no more."""
    chosen: dict[tuple[int, int], int] = {}
    contigs = [
        np.array([[each.offset, each.offset + each.length] for each in g.store.contigs]) for g in genomes
    ]
    lowest, highest = window_bp // 4, window_bp - window_bp // 4 - stretch_bp
    for _ in range(_ROUNDS if len(ends) else 0):
        flat = rng.integers(0, ends[-1], size=count)
        offsets = rng.integers(lowest, highest, size=count, endpoint=True)
        row = np.searchsorted(ends, flat, side="right")
        starts = table[row, 2] - (ends[row] - flat)
        for number, start, offset in zip(
            table[row, 0].tolist(), starts.tolist(), offsets.tolist(), strict=True
        ):
            if (number, start) in chosen:
                continue
            first, of_genome = start - offset, contigs[number]
            begin, end = of_genome[np.searchsorted(of_genome[:, 0], start, side="right") - 1]
            if first < begin or first + window_bp > end:
                continue
            if (bases(genomes[number].store.codes[first : first + window_bp]) < 4).all():
                chosen[number, start] = offset
                if len(chosen) == count:
                    break
        if len(chosen) == count:
            break
    rows = [(number, start, offset) for (number, start), offset in chosen.items()]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def token_base_frequencies(tokenizer: Tokenizer, counts_V: Ids) -> Floats:
    """How frequent each base is at each place of the tokens that reach it, add-one smoothed, (K, 4).

    Args:
        tokenizer: whose tokens they are.
        counts_V: occurrences of each id in the training text.
    """
    spelled_VK = tokenizer.token_bases[: len(counts_V)]
    counts = [(counts_V[:, None] * (spelled_VK == base)).sum(axis=0) + 1 for base in range(4)]
    counts_K4 = np.stack(counts, axis=1)
    shares: Floats = counts_K4 / counts_K4.sum(axis=1, keepdims=True)
    return shares


@dataclass(frozen=True, eq=False)
class HiddenStretches:
    """What a model says of the places.

    Attributes:
        bits: (P, S) bits of each base; NaN where no token of the model covers it.
        of_tokens: (P, S) bits by the frequencies of its tokens, at the same places of the same tokens.
        beyond: (P, 2) bases beyond the stretch, on its left and right, that its tokens hide.
    """

    bits: Floats
    of_tokens: Floats
    beyond: Integers


def read_stretches(
    model: LoadedModel,
    genomes: Sequence[HeldOut],
    places: Places,
    frequencies_K4: Floats,
    *,
    batch_tokens: int = 16_384,
    done: Callable[[int], None] = lambda _places: None,
) -> HiddenStretches:
    """Hide each stretch from a model and read what it says of its bases.

    Args:
        model: sees both sides of a hidden base.
        genomes: as the places were drawn from.
        places: P of them.
        frequencies_K4: of the bases in its tokens; see `token_base_frequencies`.
        batch_tokens: tokens that are computed at a time; changes no result but for its last bits.
        done: is told after some places, how many.
    """
    own, by_frequency = (np.full((len(places), places.stretch_bp), np.nan) for _ in range(2))
    beyond = np.zeros((len(places), 2), dtype=np.int64)
    queue = InferenceQueue(model, batch_tokens=batch_tokens)
    for first in range(0, len(places), _AT_ONCE):
        chosen = range(first, min(first + _AT_ONCE, len(places)))
        for number in chosen:
            offset = int(places.offset[number])
            start = int(places.start[number]) - offset
            codes = bases(genomes[places.genome[number]].store.codes[start : start + places.window_bp])
            hidden = _hide(model, codes, offset, places.stretch_bp)
            if hidden is not None:
                beyond[number] = hidden.beyond
                by_frequency[number] = hidden.probabilities(np.log(frequencies_K4))
                receive = partial(_write, own[number], hidden)
                queue.submit("base_log_p", hidden.ids, receive, tokens=hidden.masked)
        queue.run()
        done(len(chosen))
    return HiddenStretches(_bits(own), _bits(by_frequency), beyond)


def _bits(probability: Floats) -> Floats:
    bits: Floats = -np.log2(np.maximum(probability, _TINY))
    return bits


@dataclass(frozen=True, eq=False)
class _Hidden:
    """A window whose stretch is hidden.

    Attributes:
        ids: of its tokens, the masked ones replaced.
        masked: (M,) which those are.
        spans: (M, 2) their bases.
        start: where the stretch begins.
        true: (S,) its bases.
        beyond: bases beyond it, on its left and right, that no token shows.
    """

    ids: Ids
    masked: Ids
    spans: Ids
    start: int
    true: Codes
    beyond: tuple[int, int]

    def probabilities(self, log_p: Floats) -> Floats:
        """Of each true base, the mean over the tokens that cover it, (S,); from (M, K, 4) or (K, 4)."""
        found = np.full(len(self.true), np.nan)
        of_token = np.broadcast_to(log_p, (len(self.masked), *log_p.shape[-2:]))
        for number, base in enumerate(self.true):
            offset_M = self.start + number - self.spans[:, 0]
            covering = np.flatnonzero((offset_M >= 0) & (self.start + number < self.spans[:, 1]))
            if len(covering):
                found[number] = np.exp(of_token[covering, offset_M[covering], base]).mean()
        return found


def _write(into_S: Floats, hidden: _Hidden, log_p_MK4: Floats) -> None:
    into_S[:] = hidden.probabilities(log_p_MK4)


def _hide(model: LoadedModel, codes: Codes, start: int, size: int) -> _Hidden | None:
    """Mask every token that touches a stretch; None where none does."""
    tokenizer, longest, end = model.tokenizer, model.network.encoder.longest_sequence, start + size
    ids = tokenizer.encode(codes)
    while longest is not None and len(ids) > longest:  # words of this text are short
        if min(start, len(codes) - end) < 2:
            raise DataError(
                "CMP-03",
                where=model.name,
                found=f"{len(ids):,} tokens of a stretch of {size} bases and its nearest neighbours",
                expected=f"at most {longest:,}, which the model takes",
                fix="lower stretch_bp",
            )
        cut = max(1, min(start, len(codes) - end) // 8)
        codes, start, end = codes[cut:-cut], start - cut, end - cut
        ids = tokenizer.encode(codes)
    spans = tokenizer.spans(codes, ids)
    covering = covering_tokens(spans, len(codes))
    chosen = covering[start:end]
    chosen = chosen[chosen[:, 1] > chosen[:, 0]]
    if not len(chosen):
        return None
    masked_M = np.arange(chosen[0, 0], chosen[-1, 1])
    ids[masked_M] = tokenizer.special.mask
    seen_L = (covering[:, 0] < masked_M[0]) | (covering[:, 1] > masked_M[-1] + 1)
    left = start - int(np.flatnonzero(seen_L[:start]).max(initial=-1)) - 1
    right = int(np.flatnonzero(seen_L[end:]).min(initial=len(codes) - end))
    return _Hidden(ids, masked_M, spans[masked_M], start, codes[start:end], (left, right))


@dataclass(frozen=True, kw_only=True)
class JudgedModel:
    """Bits per base of a model on the common bases.

    Attributes:
        bits: the mean.
        standard_error: of the mean, stretches independent.
        draws: the mean of each draw.
        hidden_bp: bases that are hidden at a time, on average.
        counts: bits of the context model that sees what this model sees.
        of_tokens: bits by the frequencies of its own tokens.
        over_counts: the model less these counts; negative is better.
        over_tokens: the model less the frequencies of its tokens.
        over_order0: the model less order 0.
    """

    bits: float
    standard_error: float
    draws: tuple[float, ...]
    hidden_bp: float
    counts: float
    of_tokens: float
    over_counts: PairedDifference
    over_tokens: PairedDifference
    over_order0: PairedDifference


@dataclass(frozen=True, kw_only=True)
class CommonComparison:
    """All models on the same bases.

    Attributes:
        num_places: stretches that were judged.
        num_bases: bases of them, those that a model has no token for left out for all.
        order0: bits of the training frequencies.
        two_sided: bits of the context model that sees all but the stretch.
        models: by name.
        differences: first less second of each pair, paired by stretch; negative where the first is better.
    """

    num_places: int
    num_bases: int
    order0: float
    two_sided: float
    models: Mapping[str, JudgedModel]
    differences: Mapping[tuple[str, str], PairedDifference]


def compare_models(
    genomes: Sequence[HeldOut],
    counts: CountModels,
    places: Places,
    found: Mapping[str, HiddenStretches],
) -> CommonComparison:
    """Hold the models against each other and against counts.

    Args:
        genomes: as the places were drawn from.
        counts: of what the models trained on.
        places: P of them.
        found: what each model says, by its name.
    """
    size = places.stretch_bp
    judged = np.flatnonzero(np.all([~np.isnan(each.bits.reshape(-1)) for each in found.values()], axis=0))
    place_X, within_X = judged // size, judged % size
    draw_X = places.draw[place_X]
    position_X = places.positions.reshape(-1)[judged]
    gap_X2 = np.stack([within_X, size - 1 - within_X], axis=1)
    order0 = np.zeros(len(judged))
    for number, genome in enumerate(genomes):
        mine = places.genome[place_X] == number
        order0[mine] = counts.order0_bits(bases(genome.store.codes[position_X[mine]]))

    def context_bits(hidden_X2: Integers) -> Floats:
        bits = np.zeros(len(judged))
        for number, genome in enumerate(genomes):
            mine = places.genome[place_X] == number
            bits[mine] = counts.two_sided_bits(genome.store, position_X[mine], hidden_X2[mine])
        return bits

    bits = {name: each.bits.reshape(-1)[judged] for name, each in found.items()}
    models = {}
    for name, each in found.items():
        same_view = context_bits(gap_X2 + each.beyond[place_X])
        of_tokens = each.of_tokens.reshape(-1)[judged]
        mean = paired_difference(bits[name], np.zeros(len(judged)), cluster=place_X)
        models[name] = JudgedModel(
            bits=mean.mean,
            standard_error=mean.standard_error,
            draws=tuple(float(bits[name][draw_X == draw].mean()) for draw in np.unique(draw_X)),
            hidden_bp=float(size + each.beyond.sum(axis=1).mean()),
            counts=float(same_view.mean()),
            of_tokens=float(of_tokens.mean()),
            over_counts=paired_difference(bits[name], same_view, cluster=place_X),
            over_tokens=paired_difference(bits[name], of_tokens, cluster=place_X),
            over_order0=paired_difference(bits[name], order0, cluster=place_X),
        )
    names = list(found)
    return CommonComparison(
        num_places=len(np.unique(place_X)),
        num_bases=len(judged),
        order0=float(order0.mean()),
        two_sided=float(context_bits(gap_X2).mean()),
        models=models,
        differences={
            (one, other): paired_difference(bits[one], bits[other], cluster=place_X)
            for at, one in enumerate(names)
            for other in names[at + 1 :]
        },
    )


def plot_comparison(found: CommonComparison, targets: Sequence[Path], *, stretch_bp: int) -> None:
    """Draw each model's bits with a 95 % interval, its draws, and the counts that see what it sees."""
    rows = sorted(found.models.items(), key=lambda item: -item[1].bits)
    figure = new_figure(7, 1.6 + 0.42 * len(rows))
    axes = figure.subplots()
    axes.axvline(found.order0, color="0.45", linestyle="--", linewidth=1, label="order-0 entropy")
    for place, (_, each) in enumerate(rows):
        first = place == 0
        half = 1.96 * each.standard_error
        axes.plot(each.draws, [place] * len(each.draws), "|", color="0.6", label="a draw" if first else None)
        axes.errorbar(
            each.bits, place, xerr=half, fmt="o", color="C0", label="model, 95 %" if first else None
        )
        axes.plot(
            each.of_tokens,
            place,
            "s",
            color="C2",
            fillstyle="none",
            label="frequencies of its tokens" if first else None,
        )
        axes.plot(
            each.counts,
            place,
            "D",
            color="C1",
            fillstyle="none",
            label="counts with its view" if first else None,
        )
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(f"bits per base, stretches of {stretch_bp} bases hidden")
    figure.legend(loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    save_figure(figure, *targets, dpi=150)
