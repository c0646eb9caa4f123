"""How a masked model compares with the count models, base by base."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dnalm.data.order import Integers
from dnalm.evaluation.baselines import CountModels
from dnalm.evaluation.statistics import PairedDifference, paired_difference
from dnalm.genome.alphabet import bases
from dnalm.genome.store import GenomeStore


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
    """

    hidden_bases: int
    model: float
    order0: float
    two_sided: float
    over_order0: PairedDifference
    over_two_sided: PairedDifference

    def sentences(self) -> str:
        """The comparison in words."""
        return "\n".join(
            [
                f"bits per base at {self.hidden_bases:,} hidden validation bases: {self.model:.4f}",
                _sentence("order-0 entropy", self.order0, self.over_order0),
                _sentence("two-sided context model", self.two_sided, self.over_two_sided),
            ]
        )


def judge(
    store: GenomeStore,
    counts: CountModels,
    *,
    positions: Integers,
    windows: Integers,
    bits: npt.NDArray[np.float32],
) -> Judgement:
    """Compare a model's bits with both count models.

    Args:
        store: the genome.
        counts: counted on the training regions.
        positions: (X,) flat coordinates of the hidden bases.
        windows: (X,) the window each lies in.
        bits: (X,) the model's bits.
    """
    order0 = counts.order0_bits(bases(store.codes[positions]))
    two_sided = counts.two_sided_bits(store, positions)
    return Judgement(
        hidden_bases=len(bits),
        model=float(bits.mean(dtype=np.float64)),
        order0=float(order0.mean()),
        two_sided=float(two_sided.mean()),
        over_order0=paired_difference(bits, order0, cluster=windows),
        over_two_sided=paired_difference(bits, two_sided, cluster=windows),
    )


def _sentence(name: str, value: float, difference: PairedDifference) -> str:
    better = "better" if difference.mean < 0 else "worse"
    return (
        f"  {name} {value:.4f}: the model is {abs(difference.mean):.4f} {better} "
        f"({abs(difference.in_standard_errors):.1f} standard errors of the paired difference)"
    )
