"""Parts of a task from peaks by regions: no base of two parts, and shares that are kept."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnalm.data.labelled import Division, Negatives, PeakTask, divide
from dnalm.data.labelled.peak_parts import PARTS, divide_by_regions, region_of
from dnalm.errors import ConfigError, DataError
from dnalm.genome.bed import BedReader
from dnalm.genome.store import GenomeStore, open_or_build
from tests.conftest import random_sequence

LENGTH = 50
Make = Callable[..., PeakTask]
Named = tuple[str, int, int]


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two contigs of 20,000 and 8,000 bases."""
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    path.write_text(f">chr1\n{random_sequence(20_000, 1)}\n>chr2\n{random_sequence(8_000, 2)}\n")
    return path


@pytest.fixture
def make(genome: Path, tmp_path: Path) -> Make:
    """A task of peaks at some places of a contig each, with windows of 50 bases."""

    def made(peaks: dict[str, list[int]], **others: object) -> PeakTask:
        bed = tmp_path / "tf.bed"
        lines = [f"{contig}\t{at}\t{at + 1}\n" for contig, places in peaks.items() for at in places]
        bed.write_text("".join(lines))
        settings: dict[str, object] = {"negatives": Negatives(margin_bp=0), **others}
        return PeakTask(peaks=bed, reference=genome, cache=genome.parent, length_bp=LENGTH, **settings)  # type: ignore[arg-type]

    return made


def every(step: int, *, last: int = 19_900) -> list[int]:
    return list(range(100, last, step))


def regions(division: Division) -> dict[str, list[str]]:
    assert division.peaks is not None
    return {part: division.peaks.parts.names(part) for part in PARTS}


def rows_of(division: Division, part: str) -> list[tuple[str, int, bool]]:
    assert division.peaks is not None
    rows = division.peaks.rows[part]  # type: ignore[index]
    return list(zip(rows.contigs.tolist(), rows.starts.tolist(), rows.is_peak.tolist(), strict=True))


def test_regions_that_are_named_judge_and_the_rest_trains(make: Make) -> None:
    task = make({"chr1": every(100)}, validation=("1:4000-6000",), test=("chr1:10000-14000",))
    division = divide(task, seed=1)
    assert regions(division) == {
        "train": ["chr1:0-4000", "chr1:6000-10000", "chr1:14000-20000"],
        "val": ["chr1:4000-6000"],
        "test": ["chr1:10000-14000"],
    }
    centers = {part: {at + 25 for _, at, is_peak in rows_of(division, part) if is_peak} for part in PARTS}
    assert centers["val"] == set(range(4_100, 6_000, 100)), "that at 4,000 lies across the border"
    assert centers["test"] == set(range(10_100, 14_000, 100))
    assert len(centers["train"]) == 198 - 19 - 39 - 4
    assert "test: 19.7% of the windows of peaks, on chr1:10000-14000" in division.notes
    assert "4 of 198 windows of peaks lie across a border and are of no part" in division.notes
    for part, (low, high) in {"val": (4_000, 6_000), "test": (10_000, 14_000)}.items():
        assert all(low <= at and at + LENGTH <= high for _, at, _ in rows_of(division, part))


def test_of_one_contig_its_ends_judge_and_the_printed_regions_make_the_same_task(make: Make) -> None:
    """Of 100 windows the last 20 test and the 10 before them validate, cut in the middle between two."""
    peaks = {"chr1": every(100, last=10_100)}
    chosen = divide(make(peaks), seed=1)
    assert regions(chosen) == {
        "train": ["chr1:0-7050"],
        "val": ["chr1:7050-8050"],
        "test": ["chr1:8050-20000"],
    }
    counts = {part: sum(is_peak for *_, is_peak in rows_of(chosen, part)) for part in PARTS}
    assert counts == {"train": 70, "val": 10, "test": 20}
    assert regions(divide(make(peaks), seed=2)) == regions(chosen), "whatever the seed"
    named = make(peaks, validation=("chr1:7050-8050",), test=("chr1:8050-20000",))
    again = divide(named, seed=1)
    for part in PARTS:
        assert again.parts[part].fingerprint == chosen.parts[part].fingerprint


def test_of_two_contigs_the_end_of_the_richer_one_tests(make: Make) -> None:
    """Of 60 and 40 windows 20 of chr1 test; then 40 and 40 are left, and 10 of the first validate."""
    peaks = {"chr1": every(100, last=6_100), "chr2": every(100, last=4_100)}
    found = regions(divide(make(peaks), seed=1))
    assert found == {
        "train": ["chr1:0-3050", "chr2"],
        "val": ["chr1:3050-4050"],
        "test": ["chr1:4050-20000"],
    }


def test_one_that_is_named_leaves_the_other_to_be_chosen(make: Make) -> None:
    peaks = {"chr1": every(100, last=6_100), "chr2": every(100, last=4_100)}
    by_contig = regions(divide(make(peaks, test=("chr2",)), seed=1))
    assert by_contig == {"train": ["chr1:0-5050"], "val": ["chr1:5050-20000"], "test": ["chr2"]}
    inside = regions(divide(make({"chr1": every(100, last=10_100)}, test=("chr1:8550-9550",)), seed=1))
    assert inside == {
        "train": ["chr1:0-8050"],
        "val": ["chr1:8050-8550", "chr1:9550-20000"],
        "test": ["chr1:8550-9550"],
    }, "ten windows, five on each side of what is named"


def test_three_windows_are_enough_and_two_are_not(make: Make) -> None:
    negatives = Negatives(margin_bp=0, gc_bins=1)
    division = divide(make({"chr1": [1_000, 5_000, 9_000]}, negatives=negatives), seed=1)
    assert regions(division) == {
        "train": ["chr1:0-3000"],
        "val": ["chr1:3000-7000"],
        "test": ["chr1:7000-20000"],
    }
    for peaks in ({"chr1": [1_000, 5_000]}, {"chr1": [1_000], "chr2": [1_000]}):
        with pytest.raises(
            DataError,
            match=r"PEAK-02 task.peaks: 2 windows of peaks, 2 of them outside what is named; a window or "
            r"more for each of .* Fix: give more peaks, or name what validates and tests: task.validation=",
        ):
            divide(make(peaks, negatives=negatives), seed=1)


@pytest.mark.parametrize(
    ("validation", "test", "kind", "message"),
    [
        ((), ("chr1:5-",), ConfigError, "REGION-01 task.test: chr1:5-, which is no region"),
        (("chr2:7000-8001",), (), DataError, "REGION-02 task.validation: chr2:7000-8001; chr2 has 8,000"),
        (
            ("chr1:1000-3000",),
            ("chr1:2999-5000",),
            ConfigError,
            "CFG-05 task.test: chr1:2999-5000, which shares bases with chr1:1000-3000; each contig and each",
        ),
        ((), ("chr1", "chr1:0-9"), ConfigError, "CFG-05 task.test: chr1:0-9, which shares bases with chr1;"),
        ((), ("1:0-9", "chr1:0-9"), ConfigError, "CFG-05 task.test: chr1:0-9, which is named already"),
        (
            (),
            ("chr1:0-60",),
            ConfigError,
            "PEAK-03 task.test: no window of a peak for test: chr1:0-60; .*Fix: choose among chr1",
        ),
        (
            ("chr1:0-10000",),
            ("chr1:10000-20000",),
            ConfigError,
            "PEAK-03 task.validation, task.test: no window of a peak for train: no contig that is left",
        ),
    ],
)
def test_regions_that_are_named_wrongly(
    validation: tuple[str, ...], test: tuple[str, ...], kind: type[Exception], message: str, make: Make
) -> None:
    with pytest.raises(kind, match=message):
        divide(make({"chr1": every(100)}, validation=validation, test=test), seed=1)


def named_regions(borders: list[int]) -> list[str]:
    """Of a contig, every second stretch between borders."""
    return [f"chr1:{a}-{b}" for a, b in zip(borders[::2], borders[1::2], strict=False)]


@given(
    places=st.sets(st.integers(0, 19_900), min_size=40, max_size=150),
    others=st.sets(st.integers(0, 7_900), max_size=10),
    borders=st.lists(st.integers(0, 20_000), max_size=8, unique=True).map(sorted),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_two_parts_share_a_base_and_each_row_lies_in_a_region_of_its_part(
    places: set[int], others: set[int], borders: list[int], seed: int, make: Make, genome: Path
) -> None:
    names = named_regions(borders)
    task = make(
        {"chr1": sorted(places), "chr2": sorted(others)},
        test=tuple(names[::2]),
        validation=tuple(names[1::2]),
    )
    division = divided_or_refused(task, seed)
    if division is None:
        return
    assert division.peaks is not None
    store = open_or_build(genome, genome.parent)
    parts = division.peaks.parts
    covered: dict[str, set[tuple[str, int]]] = {}
    for part in PARTS:
        rows = rows_of(division, part)
        starts = np.array([store.contig(contig).offset + at for contig, at, _ in rows])
        assert parts.holds(part, np.stack([starts, starts + LENGTH], axis=1)).all()
        covered[part] = {(contig, at + n) for contig, at, _ in rows for n in range(LENGTH)}
        assert len(covered[part]) == len(rows) * LENGTH
    for one, other in combinations(PARTS, 2):
        assert not covered[one] & covered[other]
        assert not bases(parts.regions[one]) & bases(parts.regions[other])


def divided_or_refused(task: PeakTask, seed: int) -> Division | None:
    """The rows; None where a part has no peak, or no place for negatives."""
    try:
        return divide(task, seed=seed)
    except (ConfigError, DataError) as error:
        if error.code not in ("PEAK-02", "PEAK-03", "PEAK-04"):
            raise
        return None


def bases(intervals: np.ndarray) -> set[int]:
    return {at for start, end in intervals.tolist() for at in range(start, end)}


def test_a_window_is_of_the_region_that_holds_all_of_it() -> None:
    regions = np.array([[10, 20], [20, 30], [40, 45]])
    windows = np.array([[10, 20], [9, 11], [15, 25], [25, 30], [40, 46], [50, 51]])
    assert region_of(windows, regions).tolist() == [0, -1, -1, 1, -1, -1]
    assert region_of(windows, regions[:0]).tolist() == [-1] * 6


def test_peaks_that_overlap_what_is_excluded_are_counted_and_stay(make: Make, tmp_path: Path) -> None:
    blacklist = tmp_path / "blacklist.bed"
    blacklist.write_text(
        "# mine\nchr1\t0\t1000\nchr1\t0\t1000\nchr1\t1174\t1175\nchr1\t1225\t1226\nchr9\t0\t5\n"
    )
    task = make(
        {"chr1": every(100)},
        negatives=Negatives(margin_bp=0, exclude=(blacklist,)),
        other_contigs="skip",
    )
    division = divide(task, seed=1)
    assert (
        "10 of 198 windows of peaks overlap task.negatives.exclude and stay; it applies to negatives alone"
        in division.notes
    ), "those centred on 100 to 1,000; the window 1,175-1,225 lies between two"
    assert [at for _, at, is_peak in rows_of(division, "train") if is_peak][:2] == [75, 175]
    said = "\n".join(division.notes)
    assert "BED-08" in said, "header lines of the file that excludes"
    assert "blacklist.bed: 1 lines on 1 other contigs skipped" in said
    assert "BED-14" in said, "an interval that is there twice"


def test_the_chromosome_of_a_bacterium_is_divided(shared_data: Path, tmp_path: Path) -> None:
    """Starts of E. coli's genes, on its single contig."""
    reference = shared_data / "genomes/ecoli_mg1655.fa.gz"
    peaks = tmp_path / "starts.bed"
    peaks.write_text("".join(f"NC_000913.3\t{at}\t{at + 1}\n" for at in range(5_000, 4_600_000, 5_000)))
    division = divide(PeakTask(peaks=peaks, reference=reference, length_bp=200, cache=tmp_path), seed=1)
    shares = {part: rows.labels.sum() / 919 for part, rows in division.parts.items()}
    assert shares == pytest.approx({"train": 0.7, "val": 0.1, "test": 0.2}, abs=0.001)
    assert [len(names) for names in regions(division).values()] == [1, 1, 1]


def store_and_windows(genome: Path, bed: Path) -> tuple[GenomeStore, np.ndarray]:
    store = open_or_build(genome, genome.parent)
    starts = sorted(row.contig.offset + row.start for row in BedReader(bed, store))
    return store, np.array([(at, at + LENGTH) for at in starts])


def test_whole_contigs_are_chosen_wherever_three_have_windows(tmp_path: Path) -> None:
    """Windows alone decide: 30, 10, 20 and 40 on four contigs; 20 test, 10 validate."""
    fasta, bed = tmp_path / "four.fa", tmp_path / "four.bed"
    counts = {"chr1": 30, "chr2": 10, "chr3": 20, "chr4": 40}
    fasta.write_text("".join(f">{name}\n{random_sequence(4_000, 1)}\n" for name in counts))
    bed.write_text(
        "".join(f"{c}\t{60 * n}\t{60 * n + 1}\n" for c, number in counts.items() for n in range(number))
    )
    store, windows = store_and_windows(fasta, bed)
    parts = divide_by_regions(store, windows, validation=(), test=(), aliases={})
    assert {part: parts.names(part) for part in PARTS} == {
        "train": ["chr1", "chr4"],
        "val": ["chr2"],
        "test": ["chr3"],
    }
