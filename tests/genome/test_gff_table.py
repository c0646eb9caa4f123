"""Features as intervals named by their types."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dnalm.errors import DataError
from dnalm.genome.gff import is_gff, read_gff_table
from dnalm.genome.store import GenomeStore

Stores = Callable[[dict[str, str]], GenomeStore]


@pytest.mark.parametrize("name", ["a.gff", "a.gff3", "a.GFF3", "b.x.gff3.gz", "a.gtf.bgz", "a.gff2"])
def test_gff_is_recognised_by_the_suffix(name: str) -> None:
    assert is_gff(Path("folder.bed") / name)


@pytest.mark.parametrize("name", ["a.bed", "a.gff3.bed", "a.narrowPeak.gz", "gff3", "a", "a.gz"])
def test_other_files_are_not(name: str) -> None:
    assert not is_gff(Path("folder.gff3") / name)


@pytest.mark.parametrize(
    ("kind", "attributes", "expected"),
    [
        ("gene", "ID=a", "gene"),
        ("gene", "ID=a;pseudo=true", "pseudogene"),  # RefSeq before types said so
        ("gene", "ID=a;gene_biotype=transcribed_pseudogene", "pseudogene"),
        ("gene", "ID=a;biotype=protein_coding", "gene"),
        ("pseudogene", "ID=a", "pseudogene"),
        ("exon", "ID=a;pseudo=true", "exon"),
    ],
)
def test_a_feature_has_its_type(
    kind: str, attributes: str, expected: str, make_store: Stores, tmp_path: Path
) -> None:
    path = tmp_path / "a.gff3"
    path.write_text(f"##gff-version 3\nchr2\tx\t{kind}\t3\t7\t.\t+\t.\t{attributes}\n")
    table = read_gff_table(path, make_store({"chr1": "A" * 10, "chr2": "C" * 20}))
    assert table.intervals.tolist() == [[12, 17]]
    assert (table.vocabulary, table.names.tolist(), table.lines.tolist()) == ((expected,), [0], [2])
    assert list(table.contigs) == ["chr2"]


def test_a_gene_of_gencode_says_it_in_its_own_words(make_store: Stores, tmp_path: Path) -> None:
    path = tmp_path / "a.gtf"
    path.write_text('chr1\tx\tgene\t1\t4\t.\t+\t.\tgene_id "g"; gene_type "processed_pseudogene";\n')
    assert read_gff_table(path, make_store({"chr1": "A" * 10})).vocabulary == ("pseudogene",)


def test_contigs_that_the_genome_lacks_are_errors_or_skipped(make_store: Stores, tmp_path: Path) -> None:
    path, store = tmp_path / "a.gff3", make_store({"chr1": "A" * 10})
    path.write_text("".join(f"{name}\tx\tgene\t1\t4\t.\t+\t.\tID={name}\n" for name in ("chr1", "other")))
    with pytest.raises(DataError, match=r"GFF-09 .*a.gff3:2: "):
        read_gff_table(path, store)
    table = read_gff_table(path, store, other_contigs="skip")
    assert len(table.intervals) == 1
    assert table.notes == (f"GFF-09 {path}: 1 features on 1 other contigs skipped",)
