"""Where a model of DNA is good: its hidden bases and masked tokens divided by what they are.

Each division partitions them: by species, gene region, soft-masking, and how frequent a token is in
training. So the mean of a division's figures, weighted by bases, is that of the run. Every figure stands with
its standard error, for which windows and not bases count as independent, beside the count models' on the same
bases. `strata.csv` holds them; a division of one stratum alone is left out.

A hidden base belongs to its token; where tokens overlap, to that in whose middle it lies. Tokens are divided
into tenths by how often the training text has them, from the rarest, so that each tenth has about as many
occurrences; tokens it lacks are of the first.

X hidden bases, M masked tokens, V vocabulary entries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from dnalm.data.windows import Integers
from dnalm.evaluation.baselines import Flags, JudgedBases
from dnalm.evaluation.statistics import paired_difference
from dnalm.genome.alphabet import SOFT_MASK
from dnalm.genome.store import GenomeStore
from dnalm.genome.tracks import MISSING, TrackStore
from dnalm.tables import csv_text, replace_text
from dnalm.tokenizers import Ids, Tokenizer, TrainingText
from dnalm.tokenizers.statistics import count_tokens

STRATA_FILE = "strata.csv"
WHOLE, SPECIES, REGION, REPEATS, FREQUENCY = "all", "species", "region", "repeats", "token frequency"
_TENTHS = 10
_PIECE_BP, _MOST_BP = 1 << 16, 4_000_000  # of the training text that is counted
Members = Mapping[str, Flags]


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """A row of `strata.csv`; `_se` is the standard error, NaN of one window.

    Attributes:
        group: what divides.
        stratum: which part.
        about: what that is, where its name does not say it.
        hidden_bases: of the part.
        windows: they lie in.
        bits_per_base: of the model.
        order0_bits, two_sided_bits: of the count models at the same bases.
        over_order0, over_two_sided: the model's bits less theirs; below 0 the model is better.
        masked_tokens: of the part; 0 where only bases are divided.
        accuracy: share of them whose id the model ranks first.
        most_frequent_accuracy: of always saying the most frequent token of the training text.
    """

    group: str
    stratum: str
    about: str = ""
    hidden_bases: int
    windows: int
    bits_per_base: float
    bits_per_base_se: float
    order0_bits: float
    order0_bits_se: float
    two_sided_bits: float
    two_sided_bits_se: float
    over_order0: float
    over_order0_se: float
    over_two_sided: float
    over_two_sided_se: float
    masked_tokens: int = 0
    accuracy: float = math.nan
    accuracy_se: float = math.nan
    most_frequent_accuracy: float = math.nan
    most_frequent_accuracy_se: float = math.nan


@dataclass(frozen=True, kw_only=True, eq=False)
class JudgedTokens:
    """Masked tokens, (M,) each.

    Attributes:
        windows: that they lie in.
        ids: what they are.
        hits: whether the model ranks that first.
        likeliest: whether it is the most frequent token of the training text.
    """

    windows: Integers
    ids: Ids
    hits: Flags
    likeliest: Flags

    def figures(self, mine: Flags) -> dict[str, float]:
        """Number and accuracies of these tokens."""
        windows = self.windows[mine]
        return {
            "masked_tokens": len(windows),
            **_with_error("accuracy", self.hits[mine], windows),
            **_with_error("most_frequent_accuracy", self.likeliest[mine], windows),
        }


def strata_of(
    bases: JudgedBases,
    tokens: JudgedTokens,
    *,
    id_of_base: Ids,
    counts_V: Ids,
    divisions: Mapping[str, Members],
) -> list[Stratum]:
    """The run's figures, those of each division, and those by token frequency.

    Args:
        bases: judged hidden bases.
        tokens: judged masked tokens.
        id_of_base: (X,) the id of each base's token.
        counts_V: occurrences of each id in the training text.
        divisions: by group and part, which bases are of it, (X,).
    """
    everything = tokens.figures(np.ones(len(tokens.ids), dtype=np.bool_))
    found = [_stratum(bases, np.ones(len(bases.bits), dtype=np.bool_), WHOLE, WHOLE, everything)]
    for group, members in divisions.items():
        parts = {name: mine for name, mine in members.items() if mine.any()}
        if len(parts) > 1:
            found += [_stratum(bases, mine, group, name) for name, mine in parts.items()]
    tenth_V = tenths(counts_V)
    tenth_X, tenth_M = tenth_V[id_of_base], tenth_V[tokens.ids]
    for tenth in np.unique(np.concatenate([tenth_X, tenth_M])).tolist():
        figures = {"about": _about(counts_V, tenth_V == tenth), **tokens.figures(tenth_M == tenth)}
        found.append(_stratum(bases, tenth_X == tenth, FREQUENCY, str(tenth + 1), figures))
    return found


def _stratum(
    bases: JudgedBases, mine: Flags, group: str, name: str, more: Mapping[str, Any] = MappingProxyType({})
) -> Stratum:
    windows = bases.windows[mine]
    bits, order0, two_sided = bases.bits[mine], bases.order0[mine], bases.two_sided[mine]
    return Stratum(
        group=group,
        stratum=name,
        hidden_bases=len(bits),
        windows=len(np.unique(windows)),
        **_with_error("bits_per_base", bits, windows),
        **_with_error("order0_bits", order0, windows),
        **_with_error("two_sided_bits", two_sided, windows),
        **_with_error("over_order0", bits - order0, windows),
        **_with_error("over_two_sided", bits - two_sided, windows),
        **more,
    )


def _with_error(key: str, values: npt.NDArray[Any], windows: Integers) -> dict[str, Any]:
    """The mean, and its standard error over windows; NaN of none."""
    if not len(values):
        return {key: math.nan, f"{key}_se": math.nan}
    numbers = values.astype(np.float64)
    found = paired_difference(numbers, np.zeros_like(numbers), cluster=windows)
    error = found.standard_error
    return {key: found.mean, f"{key}_se": error if math.isfinite(error) else math.nan}


def species_members(genomes: Sequence[str], genome_X: Integers) -> Members:
    """Bases by the genome they lie in; `genome_X` are indices of `genomes`."""
    return {name: genome_X == number for number, name in enumerate(genomes)}


def repeat_members(stores: Sequence[GenomeStore], genome_X: Integers, positions_X: Integers) -> Members:
    """Bases that are soft-masked, as repeats are, and the others."""
    masked = np.zeros(len(positions_X), dtype=np.bool_)
    for number, store in enumerate(stores):
        mine = genome_X == number
        masked[mine] = (store.codes[positions_X[mine]] & SOFT_MASK) != 0
    return {"soft-masked": masked, "not soft-masked": ~masked}


def region_members(tracks: Sequence[TrackStore | None], genome_X: Integers, positions_X: Integers) -> Members:
    """Bases by class of a track of classes, which a genome may lack; those without a class come last."""
    names = next(track.names for track in tracks if track)  # which are those of every track of regions
    class_X = np.full(len(positions_X), MISSING)
    for number, track in enumerate(tracks):
        if track is not None:
            mine = genome_X == number
            class_X[mine] = track.read(0, track.num_bases)[positions_X[mine]]
    members: dict[str, Flags] = {name: class_X == number for number, name in enumerate(names)}
    return {**members, "not annotated": class_X == MISSING}


def tenths(counts_V: Ids) -> Ids:
    """The tenth of each id by its occurrences, (V,): 0 of the rarest, and of ids that do not occur."""
    order = np.argsort(counts_V, kind="stable")
    middle = np.cumsum(counts_V[order]) - counts_V[order] / 2
    tenth_V: Ids = np.zeros(len(counts_V), dtype=np.int64)
    tenth_V[order] = np.minimum(_TENTHS - 1, middle * _TENTHS // max(1, counts_V.sum()))
    return tenth_V


def _about(counts_V: Ids, mine_V: Flags) -> str:
    counts = counts_V[mine_V]
    used, share = counts[counts > 0], 100 / max(1, int(counts_V.sum()))
    if not len(used):
        return "tokens that the training text lacks"
    low, high = (f"{each * share:.2g}" for each in (used.min(), used.max()))
    each = f"{low} %" if low == high else f"{low} to {high} %"
    return f"{len(used):,} of the vocabulary, {each} of the text each"


def training_counts(tokenizer: Tokenizer, texts: Sequence[TrainingText]) -> Ids:
    """Occurrences of each id in training regions, (V,); of larger ones in evenly spaced 4 million bases."""
    total = sum(int((text.regions[:, 1] - text.regions[:, 0]).sum()) for text in texts)
    if (every := -(-total // _MOST_BP)) > 1:
        pieces = [
            (number, first, min(first + _PIECE_BP, end))
            for number, text in enumerate(texts)
            for start, end in text.regions.tolist()
            for first in range(start, end, _PIECE_BP)
        ][::every]
        kept = np.array(pieces)
        texts = [
            TrainingText(text.name, text.store, mine)
            for number, text in enumerate(texts)
            if len(mine := kept[kept[:, 0] == number, 1:])
        ]
    return count_tokens(tokenizer, texts).counts


def write_strata(strata: Sequence[Stratum], folder: Path) -> Path:
    """Write `strata.csv` with all digits, what is not defined empty, and return its path."""
    names = [field.name for field in fields(Stratum)]
    rows = [[_text(value) for value in asdict(each).values()] for each in strata]
    target = folder / STRATA_FILE
    replace_text(target, csv_text([names, *rows]))
    return target


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    return str(value)
