"""Interval arithmetic agrees with a model of one bool a base; BED lines are read or told what is wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.errors import DataError
from dnalm.genome.building import build_store
from dnalm.genome.intervals import (
    Interval,
    Intervals,
    cut_at,
    expand,
    intersect,
    merge,
    read_bed,
    subtract,
    total_length,
)
from dnalm.genome.store import GenomeStore

LENGTH = 40
positions = st.integers(0, LENGTH)
sets = st.lists(st.tuples(positions, positions), max_size=8).map(
    lambda rows: np.array(rows, dtype=np.int64).reshape(-1, 2)
)


def covered(intervals: Intervals) -> np.ndarray:
    """The model: (LENGTH,) bool."""
    model = np.zeros(LENGTH, dtype=bool)
    for start, end in intervals.tolist():
        model[start:end] = True
    return model


def assert_is(result: Intervals, model: np.ndarray) -> None:
    """The result covers what the model does, in canonical form."""
    assert covered(result).tolist() == model.tolist()
    assert (result[:, 0] < result[:, 1]).all()
    assert (result[1:, 0] > result[:-1, 1]).all()
    assert result.dtype == np.int64


@given(sets)
def test_merge_covers_the_same_bases(a: Intervals) -> None:
    assert_is(merge(a), covered(a))
    assert total_length(a) == covered(a).sum()


@given(sets, sets)
def test_intersect_and_subtract_are_and_and_and_not(a: Intervals, b: Intervals) -> None:
    assert_is(intersect(a, b), covered(a) & covered(b))
    assert_is(subtract(a, b), covered(a) & ~covered(b))


@given(sets, st.integers(-5, 5))
def test_expand_moves_both_ends(a: Intervals, by: int) -> None:
    moved = [[max(0, start - by), min(LENGTH, end + by)] for start, end in merge(a).tolist()]
    assert_is(expand(a, by, length=LENGTH), covered(np.array(moved, dtype=np.int64).reshape(-1, 2)))


def test_an_interval_is_neither_empty_nor_negative() -> None:
    assert len(Interval("chr1", 3, 8)) == 5
    for start, end in ((3, 3), (4, 3), (-1, 3)):
        with pytest.raises(ValueError, match="empty or negative"):
            Interval("chr1", start, end)


@pytest.fixture
def store(tmp_path: Path) -> GenomeStore:
    (tmp_path / "genome.fa").write_text(">chr1\nACGTACGTAC\n>chr2\nACGTA\n>20\nACGT\n")
    return build_store(tmp_path / "genome.fa", tmp_path / "store")


BED = "browser position chr1\ntrack name=x\n# note\nchr1\t2\t5\nchr2\t0\t5\tname\t0\t-\n\n20\t1\t2\n"
EXPECTED = [Interval("chr1", 2, 5), Interval("chr2", 0, 5), Interval("20", 1, 2)]


@pytest.mark.parametrize(
    "content",
    [BED.encode(), BED.replace("\n", "\r\n").encode(), BED.rstrip().encode(), gzip.compress(BED.encode())],
    ids=["LF", "BED-12 CRLF", "no final newline", "gzip"],
)
def test_bed_is_read_in_order_and_headers_are_skipped(
    content: bytes, store: GenomeStore, tmp_path: Path
) -> None:
    (tmp_path / "a.bed").write_bytes(content)
    assert read_bed(tmp_path / "a.bed", store) == EXPECTED


MALFORMED = [
    ("BED-01", "chr1\t2", ("line has 2 columns",)),
    ("BED-02", "chr1\t5\t5", ("start 5 is not below end 5",)),
    ("BED-03", "chr1\t-1\t5", ("coordinate -1 is negative",)),
    ("BED-04", "chr1\t5\t11", ("end 11 is past the end of `chr1`", "at most 10")),
    ("BED-05", "chr1\t1e5\t5", ("'1e5' is not a whole number",)),
    ("BED-05", "chr1\t1\t1,000", ("'1,000' is not a whole number",)),
    ("BED-06", "1\t1\t3", ("unknown contig `1`", "did you mean `chr1`")),
    ("BED-06", "chr20\t1\t3", ("unknown contig `chr20`", "did you mean `20`")),
    ("BED-07", "chr1 2 5", ("separated by spaces",)),
    ("BED-09", "chr1\t2\t5\tx\t0\tplus", ("strand 'plus'",)),
    ("BED-13", f"chr1\t2\t{2**31}", ("2147483648 is 2^31 or more",)),
]


@pytest.mark.parametrize(("code", "line", "words"), MALFORMED)
def test_malformed_line_gives_its_code_place_and_cause(
    code: str, line: str, words: tuple[str, ...], store: GenomeStore, tmp_path: Path
) -> None:
    path = tmp_path / "a.bed"
    path.write_text(f"# note\nchr1\t0\t1\n{line}\nchr1\t0\t1\n")
    with pytest.raises(DataError) as caught:
        read_bed(path, store)
    assert str(caught.value).startswith(f"{code} {path}:3: ")
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize("content", ["", "# nothing\n\n"])
def test_bed_without_intervals_is_an_error(content: str, store: GenomeStore, tmp_path: Path) -> None:
    (tmp_path / "a.bed").write_text(content)
    with pytest.raises(DataError, match=r"BED-11 .*no intervals"):
        read_bed(tmp_path / "a.bed", store)


def test_absent_and_cut_bed_are_errors(store: GenomeStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"BED-11 .*cannot be read"):
        read_bed(tmp_path / "absent.bed", store)
    (tmp_path / "cut.bed.gz").write_bytes(gzip.compress(BED.encode())[:-5])
    with pytest.raises(DataError, match=r"BED-20 .*before its end"):
        read_bed(tmp_path / "cut.bed.gz", store)


@given(
    sets=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8),
    places=st.sets(st.integers(0, 60)),
)
def test_cutting_keeps_every_base_and_leaves_no_place_inside(
    sets: list[tuple[int, int]], places: set[int]
) -> None:
    whole = merge(np.array(sets, dtype=np.int64).reshape(-1, 2))
    pieces = cut_at(whole, np.array(sorted(places), dtype=np.int64))
    assert merge(pieces).tolist() == whole.tolist()
    assert (pieces[:, 0] < pieces[:, 1]).all()
    assert not any(start < place < end for start, end in pieces.tolist() for place in places)
