"""The motifs that the simulation plants: short patterns with a score, as weight matrices over A, C, G, T.

A motif is written as its IUPAC consensus. The letters that a position allows share `PURITY`, the others
share the rest; N allows all alike. A site's score is its log-likelihood ratio against uniform bases, in
bits, and a planted site keeps at most one mismatch: its score stays at or above `Motif.threshold` in every
species. The patterns are the textbook consensus of well-known factors, made a little stricter so that a
genome of a few megabases teaches them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from dnalm.genome.alphabet import Codes

PURITY = 0.94  # probability of the allowed letters of a position together
MISMATCH_BITS = 5.6  # just over log2(PURITY / ((1 - PURITY) / 3)): room for one mismatch

_IUPAC = {
    "A": "A", "C": "C", "G": "G", "T": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT",
    "K": "GT", "M": "AC", "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
}  # fmt: skip


@dataclass(frozen=True)
class Motif:
    """A pattern.

    Args:
        name: as in `motifs.bed`.
        consensus: IUPAC letters, 5' to 3'.
        role: `factor`, `promoter`, `splice` or `transcript`.
        frozen: positions that never change, such as the GT of a donor.
    """

    name: str
    consensus: str
    role: str
    frozen: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """Bases."""
        return len(self.consensus)

    @cached_property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """(width, 4) probability of A, C, G, T."""
        table = np.empty((self.width, 4))
        for place, letter in enumerate(self.consensus):
            allowed = np.array([base in _IUPAC[letter] for base in "ACGT"])
            rest = (1 - PURITY) / max(1, 4 - allowed.sum())
            table[place] = 0.25 if allowed.all() else np.where(allowed, PURITY / allowed.sum(), rest)
        for place in self.frozen:
            table[place] = [float(base == self.consensus[place]) for base in "ACGT"]
        return table

    @cached_property
    def weights(self) -> npt.NDArray[np.float64]:
        """(width, 4) log2 odds against uniform bases; frozen positions are floored at -8."""
        return np.log2(np.maximum(self.probabilities, 2.0**-10) / 0.25)

    @property
    def best(self) -> float:
        """Highest score that any site can have, in bits."""
        return float(self.weights.max(axis=1).sum())

    @property
    def threshold(self) -> float:
        """Lowest score of a planted site, in bits."""
        return self.best - MISMATCH_BITS

    @property
    def core(self) -> tuple[int, ...]:
        """Positions that allow one letter only."""
        return tuple(place for place, letter in enumerate(self.consensus) if letter in "ACGT")

    def score(self, sites: Codes) -> npt.NDArray[np.float64]:
        """Score sites read on the motif's strand.

        Args:
            sites: (..., width), values 0-3, or 4 where unknown (which scores as a mismatch).

        Returns:
            (...) bits.
        """
        weights = np.concatenate([self.weights, self.weights.min(axis=1, keepdims=True)], axis=1)
        return np.asarray(weights[np.arange(self.width), sites].sum(axis=-1))

    def sample(self, rng: np.random.Generator) -> Codes:
        """Draw a site at or above the threshold: (width,) values 0-3."""
        steps = self.probabilities.cumsum(axis=1)[:, :3]
        while True:
            site: Codes = (rng.random((self.width, 1)) > steps).sum(axis=1).astype(np.uint8)
            if self.score(site) >= self.threshold:
                return site


_ALL = (
    Motif("TATA", "STATAWAWR", "promoter"),  # about -30 (Bucher 1990)
    Motif("INR", "TCAKTYY", "promoter"),  # its A is the first transcribed base
    Motif("SP1", "GGGGCGGGGY", "factor"),
    Motif("NFY", "RRCCAATSRG", "factor"),
    Motif("NRF1", "GCGCATGCGCR", "factor"),
    Motif("YY1", "AAGATGGCGGC", "factor"),
    Motif("ETS", "ACCGGAAGTR", "factor"),
    Motif("GATA", "CAGATAAGRA", "factor"),
    Motif("HNF1", "GTTAATNATTAAC", "factor"),
    Motif("NEUROD", "RACAGATGGY", "factor"),
    Motif("CEBP", "RTTGCGCAAY", "factor"),
    Motif("MEF2", "CTATTTWTAG", "factor"),
    Motif("AP1", "RTGACTCAY", "factor"),
    Motif("NFKB", "GGGACTTTCC", "factor"),
    Motif("CTCF", "CCASYAGRKGGCRC", "factor"),
    Motif("KOZAK", "GCCRCC", "transcript"),  # just before the start codon
    Motif("DONOR", "GTRAGT", "splice", frozen=(0, 1)),
    Motif("BRANCH", "TRCTAAC", "splice"),
    Motif("ACCEPTOR", "YYYYYYYYYYNYAG", "splice", frozen=(12, 13)),
    Motif("POLYA", "AATAAA", "transcript", frozen=(0, 1, 2, 3, 4, 5)),
)
MOTIFS: dict[str, Motif] = {motif.name: motif for motif in _ALL}
