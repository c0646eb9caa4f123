"""Region classes of a gene annotation as a track."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from dnalm.genome.annotations.genes import read_transcripts
from dnalm.genome.annotations.gff import GffReader
from dnalm.genome.annotations.interval_table import OtherContigs
from dnalm.genome.annotations.regions import REGION_CLASSES, UNKNOWN_REGION, find_regions
from dnalm.genome.store import GenomeStore
from dnalm.genome.tracks.arrays import class_statistics, new_dense, paint
from dnalm.genome.tracks.building import TrackContent, TrackPlan, prepare_track, reading, to_recipe
from dnalm.genome.tracks.manifest import TrackKind
from dnalm.genome.tracks.store import MISSING, VALUES_FILE, TrackStore
from dnalm.paths import InputPath


@dataclass(frozen=True, kw_only=True)
class RegionClasses:
    """CDS, UTRs, non-coding exon, intron, promoter or intergenic of every base (see `annotations.regions`).

    Args:
        gff: GFF3 or GTF, plain, gzip or bgzip.
        promoter_upstream: bases of a promoter before the transcription start.
        promoter_downstream: bases of a promoter from the transcription start on.
        other_contigs: whether a contig that the genome lacks is an error or skipped.
    """

    kind: ClassVar[TrackKind] = "classes"

    gff: InputPath
    promoter_upstream: int = 1000
    promoter_downstream: int = 100
    other_contigs: OtherContigs = "error"

    def __post_init__(self) -> None:
        if min(self.promoter_upstream, self.promoter_downstream) < 0:
            raise ValueError("promoter_upstream and promoter_downstream must not be negative")

    def prepare(self, store: GenomeStore, cache: Path | None = None, *, verify: bool = True) -> TrackStore:
        """The track on a genome, made on first use; kind `classes`.

        Raises:
            DataError: GFF-01 to GFF-23, or as `prepare_track`.
        """
        plan = TrackPlan(
            recipe=to_recipe("RegionClasses", vars(self)),
            sources=(Path(self.gff),),
            needed_bytes=store.num_bases,
            write=lambda folder: self._write(store, folder),
        )
        return prepare_track(plan, store, cache, verify=verify)

    def _write(self, store: GenomeStore, folder: Path) -> TrackContent:
        path = Path(self.gff)
        with reading(path) as on_read:
            reader = GffReader(path, store, other_contigs=self.other_contigs, on_read=on_read)
            regions = find_regions(
                read_transcripts(reader), upstream=self.promoter_upstream, downstream=self.promoter_downstream
            )
        dense = new_dense(folder, store.num_bases, np.uint8, MISSING)
        named = [store.contig(name) for name in reader.declared_contigs]
        regions["intergenic"] = np.array([(c.offset, c.offset + c.length) for c in named])
        for name in ("intergenic", "promoter", UNKNOWN_REGION, *reversed(REGION_CLASSES[:-2])):
            paint(dense, regions[name], MISSING if name == UNKNOWN_REGION else REGION_CLASSES.index(name))
        paint(dense, store.unknown_runs, MISSING)
        return TrackContent(
            kind="classes",
            encoding="dense",
            names=REGION_CLASSES,
            files=(folder / VALUES_FILE,),
            statistics=class_statistics(dense, REGION_CLASSES),
            aliases=reader.aliases.table,
            notes=tuple(reader.notes()),
        )
