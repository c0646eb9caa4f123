"""The features of a GFF file as intervals named by their types."""

from __future__ import annotations

from pathlib import Path

from dnalm.genome.annotations.gff import GffFeature, GffReader
from dnalm.genome.annotations.interval_table import IntervalTable, OtherContigs, TableBuilder
from dnalm.genome.store import GenomeStore
from dnalm.genome.text import OnRead

_SUFFIXES = {".gff", ".gff2", ".gff3", ".gtf"}
_COMPRESSED = (".gz", ".bgz")
_BIOTYPES = ("gene_biotype", "gene_type", "biotype")  # of NCBI, GENCODE, Ensembl


def is_gff(path: Path) -> bool:
    """Whether a file is GFF3 or GTF by its name."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = suffixes[:-1] if suffixes and suffixes[-1] in _COMPRESSED else suffixes
    return bool(last) and last[-1] in _SUFFIXES


def read_gff_table(
    path: Path,
    store: GenomeStore,
    *,
    other_contigs: OtherContigs = "error",
    on_read: OnRead | None = None,
) -> IntervalTable:
    """Read a file of features.

    Args:
        path: GFF3 or GTF.
        store: the genome it annotates; contig names may be aliases.
        other_contigs: whether a contig that the genome lacks is an error or skipped and counted.
        on_read: called with every piece of the file, which is read twice, for progress.

    Returns:
        A feature a row, named by its `feature_type`; two rows for one that crosses the origin of a circular
        contig.

    Raises:
        DataError: GFF-01 to GFF-23, naming the line.
    """
    reader = GffReader(path, store, other_contigs=other_contigs, on_read=on_read)
    builder = TableBuilder(path)
    for feature in reader:
        offset = feature.contig.offset
        for start, end in feature.pieces:
            builder.add(offset + start, offset + end, feature.line.number, name=feature_type(feature))
    return builder.finish(reader.aliases, reader.notes())


def feature_type(feature: GffFeature) -> str:
    """Column 3, but `pseudogene` of a gene that says so only in its attributes, as older RefSeq files do."""
    if feature.kind != "gene":
        return feature.kind
    told = [feature.attributes.get(key, "") for key in _BIOTYPES]
    is_pseudo = feature.attributes.get("pseudo") == "true" or any(
        kind.endswith("pseudogene") for kind in told
    )
    return "pseudogene" if is_pseudo else "gene"
