"""Sequences come from FASTA, BED or tables, flanks from the genome; what is missing is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnalm.errors import ConfigError, DataError
from dnalm.evaluation.interpretation.studies import file_name
from dnalm.evaluation.sequence_inputs import NamedSequence, SequenceInput
from dnalm.genome.alphabet import from_text, reverse_complement, to_text
from tests.conftest import random_sequence

GENOME = random_sequence(100, 4)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "genome.fa").write_text(f">chr1\n{GENOME}\n>chr2\n{'N' * 30}\n")
    (tmp_path / "r.bed").write_text("chr1\t0\t10\tfirst one/x\nchr1\t40\t60\t.\nchr1\t95\t100\n")
    return tmp_path


def read_regions(path: Path, **choices: object) -> list[NamedSequence]:
    return list(SequenceInput(path=path, max_bp=None, follow_strand=False, **choices))  # type: ignore[arg-type]


def test_a_bed_files_regions_have_flanks_but_not_past_the_contig(files: Path) -> None:
    (files / "r.bed").write_text("chr1\t0\t10\tfirst one/x\nchr1\t40\t60\t.\nchr1\t95\t100\tz\n")
    first, second, last = read_regions(
        files / "r.bed", reference=files / "genome.fa", flank_bp=5, cache=files / "c"
    )
    assert (first.id, first.inner) == ("first one/x", (0, 10))
    assert file_name(1, first.id) == "0001-first_one_x"
    assert (second.id, second.text, to_text(second.codes)) == ("chr1:40-60", GENOME[40:60], GENOME[35:65])
    assert (last.position(5), last.inner, to_text(last.codes)) == (95, (5, 10), GENOME[90:])


def test_a_fasta_files_regions_are_its_records(files: Path) -> None:
    (files / "s.fa").write_text(f">one two\n{GENOME.lower()}\n>three\nACGTN\n")
    one, three = read_regions(files / "s.fa", flank_bp=5)
    assert (one.id, one.text, one.inner, one.start) == ("one", GENOME, (0, 100), 0)
    assert (three.text, three.known()) == ("ACGTN", [0, 1, 2, 3])


def test_a_bed_file_wants_a_genome_and_fasta_does_not(files: Path) -> None:
    with pytest.raises(ConfigError, match=r"CFG-54 reference: a BED without reference; the genome that"):
        read_regions(files / "r.bed")
    with pytest.raises(
        ConfigError, match=r"CFG-54 reference: reference beside no BED; .*leave reference out"
    ):
        read_regions(files / "genome.fa", reference=files / "genome.fa")


@pytest.mark.parametrize("follow_strand", [True, False])
def test_flanks_of_the_other_strand_are_turned_with_the_interval(files: Path, follow_strand: bool) -> None:
    (files / "s.bed").write_text("chr1\t2\t10\ta\t0\t-\n")
    choices = {"reference": files / "genome.fa", "cache": files / "c", "flank_bp": 5}
    (found,) = SequenceInput(path=files / "s.bed", follow_strand=follow_strand, **choices)  # type: ignore[arg-type]
    forward = from_text(GENOME[:15])
    assert found.codes.tolist() == (reverse_complement(forward) if follow_strand else forward).tolist()
    assert found.text == to_text(reverse_complement(from_text(GENOME[2:10]))) or not follow_strand
    assert (found.strand, found.flanks) == (("-", (5, 2)) if follow_strand else ("+", (2, 5)))
    assert (found.start, found.end) == (2, 10)


def test_the_kind_is_the_content_or_else_the_name(files: Path) -> None:
    (files / "s.TXT").write_text(">one\nAC\n\nGTA\n")
    (one,) = read_regions(files / "s.TXT")
    assert (one.id, one.text) == ("one", "ACGTA")
    (files / "R.BED").write_text("chr1\t0\t10\n")
    (row,) = read_regions(files / "R.BED", reference=files / "genome.fa", cache=files / "c")
    assert row.text == GENOME[:10]
    (files / "bad.fa").write_text(">one\nACU\n")
    with pytest.raises(DataError, match=r"CSV-10 .*bad.fa:1: 'U' at position 3 of sequence 'one'; .* U by T"):
        read_regions(files / "bad.fa")
    (files / "comment.seq").write_text("; made by hand\n>one\nACGT\n")
    assert [region.text for region in read_regions(files / "comment.seq")] == ["ACGT"]
    (files / "t.seq").write_text("sequence\nACGT\n")
    with pytest.raises(ConfigError, match=r"CFG-54 input: .*t.seq; a FASTA"):
        read_regions(files / "t.seq")


def test_a_tables_row_counts_along_itself(files: Path) -> None:
    (files / "t.csv").write_text("name,sequence\nfirst,acgt\n")
    (row,) = read_regions(files / "t.csv", id="name", flank_bp=5)
    assert (row.coordinate_name, row.contig, row.text, row.position(2)) == ("first", None, "ACGT", 2)
