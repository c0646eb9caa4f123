"""A stretch of ancestral DNA with everything known about it, and how one is put into another.

Genes, enhancers and repeat copies are built as blocks read 5' to 3' on their own strand, then pasted into
the genome's block on either strand. Coordinates are 0-based, half-open, on the block's forward strand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dnalm.genome.alphabet import Codes, reverse_complement
from dnalm.genome.clade.motifs import Motif
from dnalm.genome.clade.settings import SITE_KINDS

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
