"""Simulated DNA before it evolves: background, blocks with annotations, motifs, codons, repeat families.

Genes, enhancers and repeat copies are built as blocks read 5' to 3' on their own strand, then pasted into
the genome's block on either strand. Coordinates are 0-based, half-open, on the block's forward strand.

- A motif is written as its IUPAC consensus. The letters that a position allows share `PURITY`, the others
  share the rest; N allows all alike. A site's score is its log-likelihood ratio against uniform bases, in
  bits, and a planted site keeps at most one mismatch: its score stays at or above `Motif.threshold` in every
  species. The patterns are the textbook consensus of well-known factors, made a little stricter so that a
  genome of a few megabases teaches them.
- Codons are used as human genes use them, per thousand (Codon Usage Database, Nakamura et al. 2000), in the
  order T, C, A, G of the textbook's table.
- Background: isochores of different GC. Every base depends on the two before it: CpG is rare, TpG and CpA are
  common in exchange, runs of A and of T prolong themselves; the weights are the same on both strands.
- Repeats: a SINE is about 300 bases with an A-rich tail, a LINE 1 kb whose copies have lost a part of their
  5' end, a simple repeat a run of a unit of 2-6 bases; soft-masked as RepeatMasker leaves them. Species
  inherit the copies and diverge further.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dnalm.genome.alphabet import SOFT_MASK, A, C, Codes, G, T, from_text, reverse_complement
from dnalm.simulation.settings import SITE_KINDS, Clade, stream

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


Positions = npt.NDArray[np.int64]

KIND = {name: np.uint8(number) for number, name in enumerate(SITE_KINDS)}
_OTHER_STRAND = {"+": "-", "-": "+", ".": "."}


class Feature(NamedTuple):
    """An annotated interval.

    Args:
        kind: a Sequence Ontology term, or `motif`, `repeat`, `gap`.
        start: first base.
        end: base after the last.
        strand: `+`, `-` or `.`.
        name: of the gene, enhancer, motif or repeat family.
        parent: the gene, enhancer or insulator a motif or an exon belongs to.
        detail: phase of a CDS, tissues of an enhancer, divergence of a repeat.
    """

    kind: str
    start: int
    end: int
    strand: str
    name: str
    parent: str = ""
    detail: str = ""


@dataclass
class Block:
    """DNA, the kind of every site, and what lies on it.

    Args:
        codes: (L,) bases with their soft-mask.
        kinds: (L,) numbers of `SITE_KINDS`.
        features: intervals of this block.
        codons: (N, 3) positions of codons in reading order, descending on the reverse strand.
    """

    codes: Codes
    kinds: npt.NDArray[np.uint8]
    features: list[Feature] = field(default_factory=list)
    codons: list[Positions] = field(default_factory=list)

    @classmethod
    def of(cls, codes: Codes, kind: str = "neutral") -> Block:
        """A block of bare DNA, all of it of one kind."""
        return cls(codes.copy(), np.full(codes.size, KIND[kind], dtype=np.uint8))

    @property
    def size(self) -> int:
        """Bases."""
        return self.codes.size

    def annotate(self, *feature: Feature) -> None:
        """Add intervals."""
        self.features.extend(feature)

    def plant(
        self, motif: Motif, start: int, rng: np.random.Generator, *, parent: str, strand: str = "+"
    ) -> None:
        """Write a site of a motif at `start`, slow where it matters, and annotate it."""
        kinds = np.full(motif.width, KIND["motif"], dtype=np.uint8)
        kinds[list(motif.core)] = KIND["core"]
        kinds[list(motif.frozen)] = KIND["frozen"]
        site = Block(motif.sample(rng), kinds, [Feature("motif", 0, motif.width, "+", motif.name, parent)])
        self.paste(site, start, strand=strand)

    def paste(self, block: Block, start: int, *, strand: str = "+") -> None:
        """Overwrite the bases from `start` with a block, reverse-complemented if strand is `-`."""
        end = start + block.size
        assert 0 <= start <= end <= self.size
        flip = strand == "-"
        self.codes[start:end] = reverse_complement(block.codes) if flip else block.codes
        self.kinds[start:end] = block.kinds[::-1] if flip else block.kinds
        for item in block.features:
            low, high = (block.size - item.end, block.size - item.start) if flip else (item.start, item.end)
            side = _OTHER_STRAND[item.strand] if flip else item.strand
            self.features.append(item._replace(start=start + low, end=start + high, strand=side))
        for codons in block.codons:
            self.codons.append(start + (block.size - 1 - codons if flip else codons))


_HUMAN = (
    17.6, 20.3, 7.7, 12.9, 15.2, 17.7, 12.2, 4.4, 12.2, 15.3, 0, 0, 10.6, 12.6, 0, 13.2,
    13.2, 19.6, 7.2, 39.6, 17.5, 19.8, 16.9, 6.9, 10.9, 15.1, 12.3, 34.2, 4.5, 10.4, 6.2, 11.4,
    16.0, 20.8, 7.5, 22.0, 13.1, 18.9, 15.1, 6.1, 17.0, 19.1, 24.4, 31.9, 12.1, 19.5, 12.2, 12.0,
    11.0, 14.5, 7.1, 28.1, 18.4, 27.7, 15.8, 7.4, 21.8, 25.1, 29.0, 39.6, 10.8, 22.2, 16.5, 16.5,
)  # fmt: skip
_AMINO_ACIDS = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"

CODONS = tuple("".join(letters) for letters in itertools.product("TCAG", repeat=3))
AMINO_ACID = dict(zip(CODONS, _AMINO_ACIDS, strict=True))
STOPS = tuple(codon for codon in CODONS if AMINO_ACID[codon] == "*")
_CODES = np.stack([from_text(codon) for codon in CODONS])  # (64, 3)


_IS_STOP = np.zeros((4, 4, 4), dtype=bool)
for _stop in STOPS:
    _IS_STOP[tuple(from_text(_stop))] = True


def is_stop(codons: Codes) -> npt.NDArray[np.bool_]:
    """Which codons end a protein: (..., 3) values 0-3 to (...) bool."""
    return np.asarray(_IS_STOP[codons[..., 0], codons[..., 1], codons[..., 2]])


def draw_coding_sequence(num_codons: int, bias: float, rng: np.random.Generator) -> Codes:
    """A start codon, `num_codons` - 2 codons that stop nothing, a stop codon: (num_codons, 3) values 0-3.

    Args:
        num_codons: of the whole, 3 or more.
        bias: power on each codon's share among its synonyms; 0 uses synonyms alike, 1 as human genes do.
        rng: draws them.
    """
    human = np.array(_HUMAN)
    weights = np.zeros(64)
    for amino_acid in sorted(set(_AMINO_ACIDS) - {"*"}):
        mine = np.array([letter == amino_acid for letter in _AMINO_ACIDS])
        shares = (human[mine] / human[mine].sum()) ** bias
        weights[mine] = human[mine].sum() * shares / shares.sum()
    middle = rng.choice(64, num_codons - 2, p=weights / weights.sum())
    stop = STOPS[rng.integers(len(STOPS))]
    ends = [from_text(text)[None] for text in ("ATG", stop)]
    return np.concatenate([ends[0], _CODES[middle], ends[1]])


Floats = npt.NDArray[np.float64]

_LANE_BP = 500  # neighbouring lanes are drawn side by side, which is what makes this fast
_TWO_BASE = {(T, G): 1.25, (C, A): 1.25, (A, A): 1.35, (T, T): 1.35, (A, C): 0.85, (G, T): 0.85, (T, A): 0.7}
_RUN = 1.9  # weight of a third A after AA, of a third T after TT


def draw_background(clade: Clade) -> Codes:
    """The ancestor before anything is planted: (genome_bp,) values 0-3, contigs end to end."""
    rng = stream(clade, "background")
    lengths = clade.contig_lengths()
    steps = np.stack([_steps(gc, clade.cpg_ratio) for gc in clade.isochore_gc])
    lanes = [_isochores_of_lanes(clade, -(-length // _LANE_BP), rng) for length in lengths]
    codes = _walk(steps, np.concatenate(lanes), rng)
    pieces, first = [], 0
    for length, contig_lanes in zip(lengths, lanes, strict=True):
        pieces.append(codes[first : first + contig_lanes.size].reshape(-1)[:length])
        first += contig_lanes.size
    return np.concatenate(pieces)


def _isochores_of_lanes(clade: Clade, num_lanes: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """(num_lanes,) number of the isochore family; neighbouring isochores differ."""
    families: list[int] = []
    family, count = int(rng.integers(len(clade.isochore_gc))), len(clade.isochore_gc)
    while len(families) < num_lanes:
        length = clade.isochore_bp * rng.uniform(0.5, 1.5)
        families += [family] * max(1, round(length / _LANE_BP))
        if count > 1:
            family = int(family + rng.integers(1, count)) % count
    return np.array(families[:num_lanes])


def _walk(steps: Floats, families: npt.NDArray[np.int64], rng: np.random.Generator) -> Codes:
    """Draw all lanes at once, base by base: (lanes, _LANE_BP) values 0-3."""
    cumulative = steps.cumsum(axis=-1)[..., :3].reshape(-1, 3)  # (families * 16, 3)
    codes = np.empty((_LANE_BP, families.size), dtype=np.uint8)
    before, last = rng.integers(0, 4, (2, families.size))
    for place in range(_LANE_BP):
        limits = cumulative[families * 16 + before * 4 + last]
        before, last = last, (rng.random((families.size, 1)) > limits).sum(axis=1)
        codes[place] = last
    return np.ascontiguousarray(codes.T)


def _steps(gc: float, cpg_ratio: float) -> Floats:
    """(4, 4, 4) probability of a base after two others, which makes GC and CpG as frequent as asked."""
    cpg_weight = cpg_ratio
    for _ in range(6):
        low, high = 0.01, 0.99
        for _ in range(16):
            gc_weight = (low + high) / 2
            table = _weighted(gc_weight, cpg_weight)
            pairs = _stationary_pairs(table)
            found = float(pairs[:, [C, G]].sum())
            low, high = (gc_weight, high) if found < gc else (low, gc_weight)
        ratio = float(pairs[C, G] / (pairs[:, C].sum() * pairs[:, G].sum()))
        cpg_weight *= cpg_ratio / ratio
    return table


def _weighted(gc_weight: float, cpg_weight: float) -> Floats:
    table = np.tile(np.array([1 - gc_weight, gc_weight, gc_weight, 1 - gc_weight]), (4, 4, 1))
    for (first, second), weight in {**_TWO_BASE, (C, G): cpg_weight}.items():
        table[:, first, second] *= weight
    for base in (A, T):
        table[base, base, base] *= _RUN
    return np.asarray(table / table.sum(axis=-1, keepdims=True))


def _stationary_pairs(table: Floats) -> Floats:
    """(4, 4) share of every pair of neighbours in the long run."""
    pairs = np.full((4, 4), 1 / 16)
    for _ in range(16):
        pairs = np.einsum("xy,xyz->yz", pairs, table)
    return pairs


SIMPLE_UNITS = ("CA", "TA", "GAA", "TTTA", "GATA", "TTAGG")
TELOMERE_UNIT = "TTAGGG"
_SINE_BP, _LINE_BP, _TAIL_BP, _SHORTEST_LINE_BP = 300, 1_000, 20, 250


@dataclass(frozen=True)
class RepeatLibrary:
    """The consensus of each interspersed family, and how far copies are from it."""

    consensus: dict[str, Codes]
    divergence: tuple[float, float]

    def copy(self, family: str, rng: np.random.Generator) -> Block:
        """A diverged copy of `SINE`, `LINE` or `simple`, as a soft-masked block on its own strand."""
        divergence = float(rng.uniform(*self.divergence))
        name, codes = f"demo{family}", self.consensus.get(family)
        if codes is None:
            unit = SIMPLE_UNITS[rng.integers(len(SIMPLE_UNITS))]
            name, codes = f"({unit})n", _run_of(unit, int(rng.integers(40, 160)))
        elif family == "LINE":
            codes = codes[rng.integers(0, codes.size - _SHORTEST_LINE_BP) :]
        changed = rng.random(codes.size) < divergence
        codes = np.where(changed, (codes + rng.integers(1, 4, codes.size)) % 4, codes).astype(np.uint8)
        return _masked(codes, name, detail=f"{divergence:.3f}")


def build_library(clade: Clade) -> RepeatLibrary:
    """Draw the consensus sequences of a clade."""
    rng = stream(clade, "repeats")
    low, high = clade.repeat_divergence
    sizes = {"SINE": _SINE_BP, "LINE": _LINE_BP}
    consensus = {family: _draw_consensus(size, rng) for family, size in sizes.items()}
    return RepeatLibrary(consensus, (low, high))


def telomere(bases: int) -> Block:
    """A run of the telomeric unit, as at the right end of a contig."""
    return _masked(_run_of(TELOMERE_UNIT, bases), f"({TELOMERE_UNIT})n", detail="0.000")


def _draw_consensus(size: int, rng: np.random.Generator) -> Codes:
    codes = rng.choice(4, size, p=(0.30, 0.20, 0.22, 0.28)).astype(np.uint8)
    codes[-_TAIL_BP:] = A
    return codes


def _run_of(unit: str, bases: int) -> Codes:
    return np.resize(from_text(unit), bases)


def _masked(codes: Codes, name: str, *, detail: str) -> Block:
    block = Block.of(codes | SOFT_MASK)
    block.annotate(Feature("repeat", 0, codes.size, "+", name, detail=detail))
    return block
