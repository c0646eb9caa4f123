"""Training and validation never share a base."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnalm.data.splits import Division, SplitByContig, SplitByFraction, SplitByRegion
from dnalm.errors import ConfigError, DataError
from dnalm.genome.store import GenomeStore
from tests.conftest import random_sequence

MakeStore = Callable[[dict[str, str]], GenomeStore]
LENGTHS = {"chrA": 6000, "chrB": 3000, "chrC": 1000}


@pytest.fixture
def store(make_store: MakeStore) -> GenomeStore:
    return make_store({name: random_sequence(length) for name, length in LENGTHS.items()})


def covered(intervals: np.ndarray, total: int) -> np.ndarray:
    cover = np.zeros(total, dtype=bool)
    for start, end in intervals:
        cover[start:end] = True
    return cover


def check_apart(division: Division, total: int) -> tuple[np.ndarray, np.ndarray]:
    train, validation = covered(division.train, total), covered(division.validation, total)
    assert not (train & validation).any()
    return train, validation


def test_named_contigs_are_held_out(store: GenomeStore) -> None:
    train, validation = check_apart(SplitByContig(validation=["chrB"]).divide(store), 10_000)
    assert validation.sum() == 3000
    assert train.sum() == 7000


def test_the_last_contig_of_fitting_size_is_held_out_by_default(store: GenomeStore) -> None:
    division = SplitByContig().divide(store)
    assert division.description == "validation on chrC"
    assert division.validation.tolist() == [[9000, 10_000]]


def test_a_genome_of_one_contig_is_split_by_fraction(make_store: MakeStore) -> None:
    division = SplitByContig().divide(make_store({"phage": random_sequence(50_000)}))
    assert division.validation.tolist() == [[47_500, 50_000]]
    assert division.train.tolist() == [[0, 46_500]]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fraction=st.floats(0.01, 0.9), gap=st.integers(0, 4000))
def test_fraction_leaves_a_gap_inside_each_contig(store: GenomeStore, fraction: float, gap: int) -> None:
    division = SplitByFraction(fraction=fraction, gap=gap).divide(store)
    train, validation = check_apart(division, 10_000)
    for contig in store.contigs:
        inside = slice(contig.offset, contig.offset + contig.length)
        held = round(contig.length * fraction)
        assert validation[inside].sum() == held
        assert train[inside].sum() == max(0, contig.length - held - gap)


def test_regions_of_a_bed_file(store: GenomeStore, tmp_path: Path) -> None:
    bed = tmp_path / "held_out.bed"
    bed.write_text("chrA\t100\t200\nchrA\t150\t300\nchrB\t0\t50\n")
    division = SplitByRegion(bed=bed, gap=30).divide(store)
    train, validation = check_apart(division, 10_000)
    assert division.validation.tolist() == [[100, 300], [6000, 6050]]
    assert validation.sum() == 250
    # 100 .. 300 with 30 on each side, and 0 .. 50 of chrB, which has nothing on its left.
    assert train.sum() == 10_000 - 260 - 80


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(st.integers(0, 5900), st.integers(1, 100)), min_size=1))
def test_within_regions_both_sides_keep_what_lies_there(
    store: GenomeStore, tmp_path: Path, rows: list[tuple[int, int]]
) -> None:
    bed = tmp_path / "regions.bed"
    lines = [f"chrA\t{start}\t{start + length}\n" for start, length in rows]
    bed.write_text("".join(lines) + "chrC\t100\t300\n")
    whole = SplitByContig().divide(store)
    train, validation = check_apart(whole.within(bed, store), 10_000)
    wanted = covered(np.array([*((a, a + n) for a, n in rows), (9_100, 9_300)]), 10_000)
    assert (train == (covered(whole.train, 10_000) & wanted)).all()
    assert (validation == (covered(whole.validation, 10_000) & wanted)).all()


def test_regions_are_told(store: GenomeStore, tmp_path: Path) -> None:
    bed = tmp_path / "regions.bed"
    bed.write_text("chrA\t0\t10\nchrA\t5\t90\nchrC\t100\t300\n")
    division = SplitByContig().divide(store).within(bed, store)
    assert division.description == "validation on chrC; windows lie in 2 regions of regions.bed"


@pytest.mark.parametrize(("contig", "verb"), [("chrA", "judges"), ("chrC", "trains")])
def test_regions_on_one_side_only_are_an_error(
    store: GenomeStore, tmp_path: Path, contig: str, verb: str
) -> None:
    bed = tmp_path / "regions.bed"
    bed.write_text(f"{contig}\t0\t100\n")
    with pytest.raises(DataError, match=f"DATA-11 .*: none of its 1 regions lies where the genome {verb}"):
        SplitByContig().divide(store).within(bed, store)


def test_an_unknown_contig_is_an_error(store: GenomeStore) -> None:
    with pytest.raises(DataError, match="chrb"):
        SplitByContig(validation=["chrb"]).divide(store)


def test_nothing_to_train_on_is_an_error(store: GenomeStore) -> None:
    with pytest.raises(ConfigError, match="every contig is held out; at least one contig to train on"):
        SplitByContig(validation=list(LENGTHS)).divide(store)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SplitByFraction(fraction=1.0), r"fraction is 1\.0; the share held out lies in \(0, 1\)"),
        (lambda: SplitByFraction(gap=-1), "gap is -1; a number of bases must not be negative"),
        (lambda: SplitByRegion(bed=Path("x"), gap=-1), "gap is -1"),
    ],
)
def test_impossible_splits_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
