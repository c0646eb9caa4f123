"""What is known of a variant's place: the bases it replaces, and the nearest gene."""

from pathlib import Path

import numpy as np
import pybigtools
import pytest

from dnalm.errors import DataError
from dnalm.evaluation.benchmark.variant_baselines import conservation, gene_nearness
from dnalm.genome.store import GenomeStore, open_or_build
from dnalm.genome.variants import Allele


@pytest.fixture
def store(tmp_path: Path) -> GenomeStore:
    (tmp_path / "g.fa").write_text(f">chr1\n{'ACGT' * 25}\n>chr2\n{'ACGT' * 10}\n")
    return open_or_build(tmp_path / "g.fa", tmp_path / "cache")


def allele(contig: str, start: int, ref: str, alt: str) -> Allele:
    return Allele(contig=contig, start=start, ref=ref, alt=alt)


ALLELES = [
    allele("chr1", 10, "G", "A"),
    allele("chr1", 11, "TAC", ""),  # bases 11 to 13
    allele("chr1", 20, "", "AA"),  # between 19 and 20
    allele("chr2", 3, "T", "C"),
    allele("chr1", 0, "A", "C"),
]
VALUES = {("chr1", 10): 0.5, ("chr1", 12): 0.9, ("chr1", 13): 0.3, ("chr1", 19): 0.2, ("chr2", 3): 1.0}
WANTED = [0.5, (0 + 0.9 + 0.3) / 3, (0.2 + 0) / 2, 1.0, 0.0]


def test_a_bigwig_says_how_conserved_the_bases_of_a_variant_are(tmp_path: Path, store: GenomeStore) -> None:
    rows = [(contig, start, start + 1, value) for (contig, start), value in VALUES.items()]
    pybigtools.open(str(tmp_path / "c.bw"), "w").write({"chr1": 100, "chr2": 40}, rows)
    assert conservation(tmp_path / "c.bw", store, ALLELES) == pytest.approx(WANTED, abs=1e-6)


def test_a_bed_of_elements_says_it_too_by_other_names(tmp_path: Path, store: GenomeStore) -> None:
    rows = [
        f"{contig[3:]}\t{start}\t{start + 1}\tx\t{value * 1000:.0f}\n"
        for (contig, start), value in VALUES.items()
    ]
    (tmp_path / "c.bed").write_text("".join(rows))
    assert conservation(tmp_path / "c.bed", store, ALLELES) == pytest.approx(np.array(WANTED) * 1000)


def test_nearness_counts_bases_to_the_nearest_gene_of_the_contig(tmp_path: Path, store: GenomeStore) -> None:
    """Genes at bases 30 to 39 and 60 to 69; none on chr2, whose length stands in."""
    lines = [f"chr1\t.\tgene\t{start + 1}\t{start + 10}\t.\t+\t.\tID=g{start}" for start in (30, 60)]
    (tmp_path / "g.gff3").write_text("##gff-version 3\n" + "\n".join(lines) + "\n")
    at = [allele("chr1", start, "A", "C") for start in (35, 29, 28, 40, 50, 99)]
    found = gene_nearness(tmp_path / "g.gff3", store, [*at, allele("chr2", 5, "C", "A")])
    assert found.tolist() == [0, -1, -2, -1, -10, -30, -40]


def test_an_annotation_without_genes_is_refused(tmp_path: Path, store: GenomeStore) -> None:
    (tmp_path / "g.gff3").write_text("##gff-version 3\nchr1\t.\tenhancer\t1\t10\t.\t+\t.\tID=e\n")
    with pytest.raises(DataError, match=r"BENCH-15 .*no gene and no transcript"):
        gene_nearness(tmp_path / "g.gff3", store, ALLELES)
