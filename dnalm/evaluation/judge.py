"""How a masked model compares with the count models, base by base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from dnalm.data.order import Integers
from dnalm.evaluation.baselines import CountModels, Floats
from dnalm.evaluation.statistics import MIN_CLUSTERS, PairedDifference, paired_difference
from dnalm.genome.alphabet import bases
from dnalm.genome.store import GenomeStore

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Judgement:
    """Bits per base on the same hidden bases.

    Attributes:
        hidden_bases: how many were judged.
        model: the masked model's bits per base.
        order0: those of the training frequencies.
        two_sided: those of the context model.
        over_order0: model minus order 0; negative is better.
        over_two_sided: model minus context model.
        species: the same for each genome by name, where there are several.
    """

    hidden_bases: int
    model: float
    order0: float
    two_sided: float
    over_order0: PairedDifference
    over_two_sided: PairedDifference
    species: dict[str, Judgement] = field(default_factory=dict)

    def sentences(self) -> str:
        """The comparison in words, a line more for each species."""
        return "\n".join(
            [
                f"bits per base at {self.hidden_bases:,} hidden validation bases: {self.model:.4f}",
                _sentence("order-0 entropy", self.order0, self.over_order0),
                _sentence("two-sided context model", self.two_sided, self.over_two_sided),
                *(_species_line(name, of) for name, of in self.species.items()),
            ]
        )


def judge(
    genomes: Sequence[tuple[str, GenomeStore]],
    counts: CountModels,
    *,
    genome: Integers,
    positions: Integers,
    windows: Integers,
    bits: npt.NDArray[np.float32],
) -> Judgement:
    """Compare a model's bits with both count models.

    Args:
        genomes: name and store of each genome.
        counts: counted on the training regions.
        genome: (X,) index of the genome that each hidden base lies in.
        positions: (X,) its flat coordinate there.
        windows: (X,) the window it lies in, over all genomes.
        bits: (X,) the model's bits.
    """
    order0, two_sided = np.zeros(len(bits)), np.zeros(len(bits))
    members = {name: genome == number for number, (name, _) in enumerate(genomes)}
    for (_, store), mine in zip(genomes, members.values(), strict=True):
        order0[mine] = counts.order0_bits(bases(store.codes[positions[mine]]))
        two_sided[mine] = counts.two_sided_bits(store, positions[mine])

    def compare(mine: Flags) -> Judgement:
        return _compare(bits[mine], order0[mine], two_sided[mine], windows[mine])

    overall = compare(np.ones(len(bits), dtype=np.bool_))
    judged = {name: mine for name, mine in members.items() if mine.any()}
    if len(judged) > 1:
        overall = replace(overall, species={name: compare(mine) for name, mine in judged.items()})
    return overall


def _compare(
    bits: npt.NDArray[np.float32], order0: Floats, two_sided: Floats, windows: Integers
) -> Judgement:
    return Judgement(
        hidden_bases=len(bits),
        model=float(bits.mean(dtype=np.float64)),
        order0=float(order0.mean()),
        two_sided=float(two_sided.mean()),
        over_order0=paired_difference(bits, order0, cluster=windows),
        over_two_sided=paired_difference(bits, two_sided, cluster=windows),
    )


def _species_line(name: str, of: Judgement) -> str:
    difference = of.over_order0
    sure = (
        f"{difference.in_standard_errors:+.1f} standard errors"
        if difference.has_enough_clusters
        else f"no verdict from {_windows(difference)}, {MIN_CLUSTERS} are needed"
    )
    return (
        f"  {name}: {of.model:.4f} at {of.hidden_bases:,} bases; order 0 {of.order0:.4f} "
        f"({sure}), two-sided {of.two_sided:.4f}"
    )


def _sentence(name: str, value: float, difference: PairedDifference) -> str:
    if not difference.has_enough_clusters:
        return (
            f"  {name} {value:.4f}: no verdict, for the hidden bases lie in {_windows(difference)} "
            f"and a standard error needs {MIN_CLUSTERS}; hold out more bases by data.split, or raise "
            "windows.num_validation"
        )
    better = "better" if difference.mean < 0 else "worse"
    return (
        f"  {name} {value:.4f}: the model is {abs(difference.mean):.4f} {better} "
        f"({abs(difference.in_standard_errors):.1f} standard errors of the paired difference)"
    )


def _windows(difference: PairedDifference) -> str:
    return "1 window" if difference.num_clusters == 1 else f"{difference.num_clusters} windows"
