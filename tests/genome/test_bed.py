"""Every malformed BED line raises with its code, place and cause; sound ones are read as written."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pysam
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnalm.errors import DataError
from dnalm.genome.bed import BedReader, bed_kind, read_bed_table
from dnalm.genome.store import GenomeStore, build_store
from tests.genome.malformed_fasta import bgzip

LENGTHS = {"chr1": 40, "chr2": 30, "20": 20}
TEXT = "browser position chr1\ntrack name=x\n# note\nchr1\t2\t5\nchr2\t0\t5\n\n20\t1\t2\nchr20\t5\t6\n"
EXPECTED = [("chr1", 2, 5), ("chr2", 0, 5), ("20", 1, 2)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> GenomeStore:
    folder = tmp_path_factory.mktemp("genome")
    (folder / "genome.fa").write_text("".join(f">{name}\n{'A' * n}\n" for name, n in LENGTHS.items()))
    return build_store(folder / "genome.fa", folder / "store")


GOOD = TEXT.removesuffix("chr20\t5\t6\n").encode()


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        GOOD.replace(b"\n", b"\r\n"),
        GOOD[:-1],
        b"\xef\xbb\xbf" + GOOD,
        gzip.compress(GOOD, mtime=0),
        bgzip(GOOD),
    ],
    ids=["LF", "BED-12 CRLF", "no final newline", "byte order mark", "gzip", "bgzip"],
)
def test_rows_are_read_in_order_and_headers_are_counted(
    content: bytes, store: GenomeStore, tmp_path: Path
) -> None:
    (tmp_path / "a.bed").write_bytes(content)
    rows = BedReader(tmp_path / "a.bed", store)
    assert [(row.contig.name, row.start, row.end) for row in rows] == EXPECTED
    assert read_bed_table(tmp_path / "a.bed", store).notes == (
        f"BED-08 {tmp_path / 'a.bed'}: 3 header lines skipped",
    )


def test_columns_may_be_separated_by_spaces(store: GenomeStore, tmp_path: Path) -> None:
    """As bedGraph files of UCSC are; runs of them are one."""
    (tmp_path / "a.bedgraph").write_text(
        "track type=bedGraph\ntrack\nchr1 2 5 0.5\nchr1  7 9   1\nchr1\t9\t10\t2\n"
    )
    table = read_bed_table(tmp_path / "a.bedgraph", store, value="score")
    assert table.intervals.tolist() == [[2, 5], [7, 9], [9, 10]]
    assert table.values.tolist() == [0.5, 1, 2]


def test_columns_past_those_of_bed_are_the_makers_own(store: GenomeStore, tmp_path: Path) -> None:
    """BED12+3, as MACS2 writes gapped peaks."""
    (tmp_path / "a.gappedPeak").write_text("chr1\t2\t30\tp\t33\t.\t2\t30\t0\t2\t1,1\t0,27\t3.3\t4.4\t2.2\n")
    table = read_bed_table(tmp_path / "a.gappedPeak", store, value="score")
    assert (table.intervals.tolist(), table.values.tolist()) == ([[2, 30]], [33])


def test_lines_in_latin_1_are_noted(store: GenomeStore, tmp_path: Path) -> None:
    (tmp_path / "a.bed").write_bytes(b"chr1\t2\t5\tg\xe8ne\n")
    table = read_bed_table(tmp_path / "a.bed", store, names=True)
    assert table.vocabulary == ("gène",)
    assert table.notes == (f"BED-23 {tmp_path / 'a.bed'}: 1 lines are not UTF-8, read as Latin-1",)


BED12 = "chr1\t2\t30\tx\t0\t+\t2\t30\t0\t2\t5,8,\t0,20,"
PEAK = "chr1\t2\t9\tx\t0\t.\t1.5\t2\t3\t4"
CASES = [
    # code, suffix, good first line, bad line, words
    ("BED-01", ".bed", "chr1\t0\t1", "chr1\t2", ("line has 2 columns", "three or more")),
    ("BED-01", ".bed", "chr1\t0\t1", "chr1", ("line has 1 column;",)),
    ("BED-02", ".bed", "chr1\t0\t1", "chr1\t5\t5", ("start 5 is not below end 5",)),
    ("BED-02", ".bed", "chr1\t0\t1", "chr1\t6\t5", ("start 6 is not below end 5", "swap them")),
    ("BED-03", ".bed", "chr1\t0\t1", "chr1\t-1\t5", ("coordinate -1 is negative",)),
    ("BED-04", ".bed", "chr1\t0\t1", "chr1\t5\t41", ("end 41 is past the end of `chr1`", "at most 40")),
    ("BED-05", ".bed", "chr1\t0\t1", "chr1\t1e5\t5", ("'1e5' is not a whole number",)),
    ("BED-05", ".bed", "chr1\t0\t1", "chr1\t1\t1,000", ("'1,000' is not a whole number",)),
    ("BED-05", ".bed", "chr1\t0\t1", "chr1\t\t5", ("'' is not a whole number",)),
    ("BED-06", ".bed", "chr1\t0\t1", "chr3\t1\t3", ("unknown contig `chr3`", "`chr1`", "other_contigs=skip")),
    ("BED-06", ".bed", "20\t0\t1", "chr20\t1\t3", ("contigs `chr20` and `20` of the file would both",)),
    ("BED-01", ".bed", "chr1\t0\t1", "chr1\t2 5", ("line has 2 columns",)),
    ("BED-09", ".bed", "", "chr1\t2\t5\tx\t0\tplus", ("strand 'plus' in column 6",)),
    ("BED-10", ".bed", "chr1\t0\t1", "chr1\t2\t5\tx", ("line has 4 columns", "3, as the lines before")),
    ("BED-13", ".bed", "chr1\t0\t1", f"chr1\t2\t{2**31}", ("2147483648 is 2^31 or more",)),
    ("BED-16", ".bed", BED12, BED12.replace("5,8,", "5,"), ("blockCount is 2, with 1 blockSizes and 2",)),
    ("BED-16", ".bed", BED12, BED12.replace("\t2\t5,", "\t3\t5,"), ("blockCount is 3, with 2 blockSizes",)),
    ("BED-16", ".bed", BED12, BED12.replace("0,20", "0,19"), ("the blocks span 2 to 29", "2 to 30")),
    ("BED-19", ".narrowPeak", PEAK, PEAK.replace("\t4", "\t7"), ("peak 7", "below the length 7")),
    ("BED-19", ".narrowPeak", "", "chr1\t2\t9", ("line has 3 columns", "10 columns of narrowPeak")),
    ("BED-19", ".broadPeak", "", PEAK, ("line has 10 columns", "9 columns of broadPeak")),
    ("BED-19", ".bedgraph", "", "chr1\t2\t9", ("line has 3 columns", "4 columns of bedGraph")),
    ("BED-23", ".bed", "chr1\t0\t1", "chr1\t2\t\x005", ("byte 0x00",)),
]


@pytest.mark.parametrize(("code", "suffix", "good", "bad", "words"), CASES, ids=lambda v: str(v)[:20])
def test_malformed_line_gives_its_code_place_and_cause(
    code: str, suffix: str, good: str, bad: str, words: tuple[str, ...], store: GenomeStore, tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text(f"# note\n{good}\n{bad}\n{good}\n")
    with pytest.raises(DataError) as caught:
        read_bed_table(path, store)
    message = str(caught.value)
    assert message.startswith(f"{code} {path}:3: ")
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


def test_an_unknown_contig_names_a_key_where_there_is_one(store: GenomeStore, tmp_path: Path) -> None:
    (tmp_path / "a.bed").write_text("chr3\t1\t3\n")
    for other_contigs, is_named in (("error", True), (None, False)):
        with pytest.raises(DataError, match="BED-06") as caught:
            read_bed_table(tmp_path / "a.bed", store, other_contigs=other_contigs)
        assert ("other_contigs=skip" in str(caught.value)) is is_named


@pytest.mark.parametrize("content", ["", "# nothing\n\n"])
def test_bed_11_file_without_intervals(content: str, store: GenomeStore, tmp_path: Path) -> None:
    (tmp_path / "a.bed").write_text(content)
    with pytest.raises(DataError, match=r"BED-11 .*a.bed:1: the file has no intervals"):
        read_bed_table(tmp_path / "a.bed", store)


def test_absent_and_damaged_files_are_errors(store: GenomeStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"BED-11 .*cannot be read \(No such file"):
        read_bed_table(tmp_path / "absent.bed", store)
    for code, content in {
        "BED-20": gzip.compress(GOOD, mtime=0)[:-5],
        "BED-21": bgzip(GOOD, marker=False),
        "BED-22": gzip.compress(GOOD, mtime=0)[:-8] + bytes(8),
    }.items():
        (tmp_path / "cut.bed.gz").write_bytes(content)
        with pytest.raises(DataError, match=code):
            read_bed_table(tmp_path / "cut.bed.gz", store)


def test_bed_14_repeated_intervals_are_kept_and_noted(store: GenomeStore, tmp_path: Path) -> None:
    path = tmp_path / "a.bed"
    path.write_text("chr1\t2\t5\ta\nchr2\t2\t5\ta\nchr1\t2\t5\tb\nchr1\t2\t5\ta\n")
    table = read_bed_table(path, store, names=True)
    assert len(table.intervals) == 4
    assert table.notes == (f"BED-14 {path}:4: the interval is on line 1 too; 1 such lines in all",)
    assert "2 such lines" in read_bed_table(path, store).notes[0]


def test_contigs_of_other_genomes_can_be_skipped_but_not_all(store: GenomeStore, tmp_path: Path) -> None:
    path = tmp_path / "a.bed"
    path.write_text("chr7\t2\t5\nchr2\t2\t5\nchr8\t2\t5\nchr7\t1\t900\n")
    table = read_bed_table(path, store, other_contigs="skip")
    assert table.intervals.tolist() == [[42, 45]]
    assert table.notes == (f"BED-06 {path}: 3 lines on 2 other contigs skipped",)
    path.write_text("chr1\t2\t5\n1\t2\t5\n")
    with pytest.raises(DataError, match=r"BED-06 .*contigs `1` and `chr1` of the file would both be `chr1`"):
        read_bed_table(path, store, other_contigs="skip")
    path.write_text("chr7\t2\t5\n")
    with pytest.raises(DataError, match=r"BED-06 .*unknown contig `chr7`"):
        read_bed_table(path, store, other_contigs="skip")


def test_aliases_are_resolved_to_flat_coordinates(store: GenomeStore, tmp_path: Path) -> None:
    path = tmp_path / "a.bed"
    path.write_text("1\t2\t5\nchr20\t0\t20\nNC_000002.11\t1\t2\n")
    table = read_bed_table(path, store)
    assert table.intervals.tolist() == [[2, 5], [70, 90], [41, 42]]
    assert table.aliases == {"1": "chr1", "chr20": "20", "NC_000002.11": "chr2"}
    assert table.lines.tolist() == [1, 2, 3]


VALUES = [
    (".bed", "chr1\t2\t5\tlod=15\t261", "score", 261),
    (".bed", "chr1\t2\t5\tlod=15\t261", "lod", 15),
    (".bed", "chr1\t2\t5\tid=x;lod=-1.5e2\t261", "lod", -150),
    (".bed", "chr1\t2\t5\tx\t.", "score", math.nan),
    (".bedGraph", "chr1\t2\t5\t0.25", "score", 0.25),
    (".bdg", "chr1\t2\t5\tnan", "score", math.nan),
    (".narrowPeak", PEAK, "signalValue", 1.5),
    (".narrowPeak", PEAK, "pValue", 2),
    (".broadPeak", PEAK.rpartition("\t")[0], "qValue", 3),
]


@pytest.mark.parametrize(("suffix", "line", "value", "expected"), VALUES)
def test_values_are_read_from_where_they_stand(
    suffix: str, line: str, value: str, expected: float, store: GenomeStore, tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}.gz"
    path.write_bytes(gzip.compress(line.encode(), mtime=0))
    np.testing.assert_equal(read_bed_table(path, store, value=value).values, np.float32([expected]))


BAD_VALUES = [
    ("BED-17", "chr1\t2\t5\tlod=15\t255,0,0", "score", "'255,0,0' in column 5 is not a number"),
    ("BED-17", "chr1\t2\t5\tlod=15\tinf", "score", "'inf' in column 5 is not finite"),
    ("BED-17", "chr1\t2\t5\tlod=1_0\t1", "lod", "'1_0' of `lod` in column 4 is not a number"),
    ("BED-17", "chr1\t2\t5\tlod=15\t1e39", "score", "not finite"),
    ("BED-18", "chr1\t2\t5\tlod=15\t1", "p", "column 4 is 'lod=15'; `p=` and a number"),
    ("BED-01", "chr1\t2\t5\tlod=15", "score", "line has 4 columns; `score` in column 5"),
]


@pytest.mark.parametrize(("code", "line", "value", "words"), BAD_VALUES)
def test_malformed_value_is_an_error(
    code: str, line: str, value: str, words: str, store: GenomeStore, tmp_path: Path
) -> None:
    (tmp_path / "a.bed").write_text(line)
    with pytest.raises(DataError) as caught:
        read_bed_table(tmp_path / "a.bed", store, value=value)
    assert str(caught.value).startswith(f"{code} {tmp_path}/a.bed:1: ")
    assert words in str(caught.value)


def test_a_name_must_be_there_where_it_is_asked_for(store: GenomeStore, tmp_path: Path) -> None:
    (tmp_path / "a.bed").write_text("chr1\t2\t5\n")
    with pytest.raises(DataError, match=r"BED-01 .*no name in column 4"):
        read_bed_table(tmp_path / "a.bed", store, names=True)


def test_kinds_follow_from_suffixes() -> None:
    names = ["a.bed", "a.bed.gz", "a.narrowPeak.gz", "a.b.broadPeak", "a.bedGraph", "a.bg.bgz", "a.txt"]
    kinds = ["bed", "bed", "narrowPeak", "broadPeak", "bedGraph", "bedGraph", "bed"]
    assert [bed_kind(Path(name)) for name in names] == kinds


@st.composite
def rows(draw: st.DrawFn) -> tuple[str, int, int, str, int, str]:
    contig = draw(st.sampled_from(list(LENGTHS)))
    start = draw(st.integers(0, LENGTHS[contig] - 1))
    end = draw(st.integers(start + 1, LENGTHS[contig]))
    name = draw(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8))
    return contig, start, end, name, draw(st.integers(0, 1000)), draw(st.sampled_from("+-."))


@given(
    written=st.lists(rows(), min_size=1, max_size=20),
    ending=st.sampled_from(["\n", "\r\n"]),
    compressed=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_as_pysam_reads_it(
    written: list[tuple[str, int, int, str, int, str]],
    ending: str,
    compressed: bool,
    store: GenomeStore,
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.bed"
    text = "".join("\t".join(map(str, row)) + ending for row in written)
    path.write_bytes(bgzip(text.encode()) if compressed else text.encode())
    table = read_bed_table(path, store, names=True, value="score")
    offsets = {contig.name: contig.offset for contig in store.contigs}
    assert table.intervals.tolist() == [[offsets[r[0]] + r[1], offsets[r[0]] + r[2]] for r in written]
    assert [table.vocabulary[number] for number in table.names] == [row[3] for row in written]
    assert table.values.tolist() == [row[4] for row in written]
    if ending == "\n" and not compressed:
        with path.open() as lines:
            parsed = [(r.contig, r.start, r.end) for r in pysam.tabix_iterator(lines, pysam.asBed())]
        assert [(r.contig.name, r.start, r.end) for r in BedReader(path, store)] == parsed


def test_real_files_are_read(shared_data: Path, make_store: Callable[[dict[str, str]], GenomeStore]) -> None:
    store = make_store({"chr22": "A" * 51_304_566})
    folder = shared_data / "annotations/hg19_chr22"
    table = read_bed_table(folder / "phastcons_elements.bed.gz", store, value="lod")
    assert len(table.intervals) == 45_281
    assert table.values[:3].tolist() == [15, 95, 110]
    states = read_bed_table(folder / "chromatin_states.Liver.bed.gz", store, names=True)
    assert len(states.vocabulary) == 13
