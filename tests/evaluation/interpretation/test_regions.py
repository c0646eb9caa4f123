"""Regions come from FASTA or BED, flanks from the genome; what is missing is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnalm.errors import ConfigError, DataError
from dnalm.evaluation.interpretation import read_regions
from dnalm.genome.alphabet import to_text
from tests.conftest import random_sequence

GENOME = random_sequence(100, 4)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "genome.fa").write_text(f">chr1\n{GENOME}\n>chr2\n{'N' * 30}\n")
    (tmp_path / "r.bed").write_text("chr1\t0\t10\tfirst one/x\nchr1\t40\t60\t.\nchr1\t95\t100\n")
    return tmp_path


def test_a_bed_files_regions_have_flanks_but_not_past_the_contig(files: Path) -> None:
    (files / "r.bed").write_text("chr1\t0\t10\tfirst one/x\nchr1\t40\t60\t.\nchr1\t95\t100\tz\n")
    first, second, last = read_regions(
        files / "r.bed", reference=files / "genome.fa", flank_bp=5, cache=files / "c"
    )
    assert (first.name, first.file_name, first.inner) == ("first one/x", "0001-first_one_x", (0, 10))
    assert (second.name, second.text, to_text(second.codes)) == ("chr1:40-60", GENOME[40:60], GENOME[35:65])
    assert (last.position(5), last.inner, to_text(last.codes)) == (95, (5, 10), GENOME[90:])


def test_a_fasta_files_regions_are_its_records(files: Path) -> None:
    (files / "s.fa").write_text(f">one two\n{GENOME.lower()}\n>three\nACGTN\n")
    one, three = read_regions(files / "s.fa", reference=None, flank_bp=5)
    assert (one.name, one.text, one.inner, one.start) == ("one", GENOME, (0, 100), 0)
    assert (three.number, three.text, three.known()) == (2, "ACGTN", [0, 1, 2, 3])


def test_a_bed_file_wants_a_genome_and_fasta_does_not(files: Path) -> None:
    with pytest.raises(ConfigError, match=r"INT-02 reference: nothing, and .*r.bed is a BED file"):
        read_regions(files / "r.bed", reference=None, flank_bp=0)
    with pytest.raises(ConfigError, match=r"INT-03 reference: a value, and .*genome.fa is read as FASTA"):
        read_regions(files / "genome.fa", reference=files / "genome.fa", flank_bp=0)


def test_a_region_of_nothing_but_n_is_named(files: Path) -> None:
    (files / "n.bed").write_text("chr2\t0\t10\tempty\n")
    with pytest.raises(DataError, match=r"INT-04 .*n.bed, empty: no base but N"):
        list(read_regions(files / "n.bed", reference=files / "genome.fa", flank_bp=0, cache=files / "c"))


def test_regions_are_told_by_content_and_a_table_is_refused(files: Path) -> None:
    (files / "s.TXT").write_text(">one\nAC\n\nGTA\n")
    (one,) = read_regions(files / "s.TXT", reference=None, flank_bp=0)
    assert (one.name, one.text) == ("one", "ACGTA")
    (files / "R.BED").write_text("chr1\t0\t10\n")
    (row,) = read_regions(files / "R.BED", reference=files / "genome.fa", flank_bp=0, cache=files / "c")
    assert row.text == GENOME[:10]
    (files / "t.csv").write_text("sequence\nACGT\n")
    with pytest.raises(ConfigError, match=r"INT-06 input: .*t.csv, which is a table"):
        read_regions(files / "t.csv", reference=None, flank_bp=0)
    (files / "bad.fa").write_text(">one\nACU\n")
    with pytest.raises(DataError, match=r"CSV-10 .*bad.fa:1: 'U' at position 3 of one; .* replace U by T"):
        list(read_regions(files / "bad.fa", reference=None, flank_bp=0))
