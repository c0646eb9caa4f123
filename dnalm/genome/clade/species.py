"""One species of the clade: its contigs, its DNA, and its annotations in its own coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from dnalm.genome.alphabet import Codes, bases, reverse_complement
from dnalm.genome.clade.ancestor import Ancestor
from dnalm.genome.clade.blocks import Feature, Positions
from dnalm.genome.clade.evolution import Lineage, read_sites
from dnalm.genome.clade.motifs import MOTIFS


@dataclass(frozen=True)
class Species:
    """A genome at a leaf of the tree.

    Args:
        name: as in the tree.
        codes: (L,) all contigs end to end.
        kinds: (L,) numbers of `SITE_KINDS`.
        aligned: (L,) False for bases inserted since the ancestor.
        edges: (num_contigs + 1,) first base of every contig, then L.
        features: annotations, in coordinates of `codes`, sorted by start.
    """

    name: str
    codes: Codes
    kinds: npt.NDArray[np.uint8]
    aligned: npt.NDArray[np.bool_]
    edges: Positions
    features: list[Feature]

    @classmethod
    def of(cls, name: str, lineage: Lineage, ancestor: Ancestor) -> Species:
        """Carry the ancestor's annotations along a lineage."""
        items = ancestor.block.features
        starts = lineage.place[[item.start for item in items]].tolist()
        ends = lineage.place[[item.end for item in items]].tolist()
        moved = [
            item._replace(start=start, end=end)
            for item, start, end in zip(items, starts, ends, strict=True)
            if start < end
        ]
        aligned = np.zeros(lineage.codes.size, dtype=bool)
        aligned[lineage.place[:-1][lineage.alive]] = True
        edges = lineage.place[ancestor.edges].astype(np.int64)
        return cls(name, lineage.codes, lineage.kinds, aligned, edges, moved)

    @property
    def contigs(self) -> list[str]:
        """chr1, chr2 and so on."""
        return [f"chr{number}" for number in range(1, self.edges.size)]

    def contig_of(self, position: int) -> int:
        """Number of the contig that holds a position of `codes`."""
        return int(np.searchsorted(self.edges, position, side="right")) - 1

    def locate(self, position: int) -> tuple[str, int]:
        """Name of the contig that holds a position of `codes`, and the position on it."""
        contig = self.contig_of(position)
        return f"chr{contig + 1}", position - int(self.edges[contig])

    def of_kind(self, *kinds: str) -> list[Feature]:
        """Annotations of some kinds, in order of position."""
        return [item for item in self.features if item.kind in kinds]

    def read(self, start: int, end: int, strand: str = "+") -> Codes:
        """Bases of an interval of `codes`, on a strand."""
        found = self.codes[start:end]
        return reverse_complement(found) if strand == "-" else found

    def cover(self, *kinds: str) -> npt.NDArray[np.bool_]:
        """(L,) True inside annotations of some kinds."""
        depth = np.zeros(self.codes.size + 1, dtype=np.int32)
        found = self.of_kind(*kinds)
        np.add.at(depth, [item.start for item in found], 1)
        np.add.at(depth, [item.end for item in found], -1)
        return np.asarray(depth[:-1].cumsum() > 0)

    @cached_property
    def motif_scores(self) -> dict[Feature, float]:
        """Score of every planted site, in bits."""
        scores: dict[Feature, float] = {}
        for motif in MOTIFS.values():
            mine = [item for item in self.of_kind("motif") if item.name == motif.name]
            sites = np.array([item.start for item in mine], dtype=np.int64)[:, None] + np.arange(motif.width)
            reverse = np.array([item.strand == "-" for item in mine], dtype=bool)
            found = motif.score(read_sites(bases(self.codes), sites, reverse))
            scores.update(zip(mine, found.tolist(), strict=True))
        return scores


def transcription_start(gene: Feature) -> int:
    """The first transcribed base of a gene."""
    return gene.end - 1 if gene.strand == "-" else gene.start
