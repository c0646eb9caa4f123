"""Tasks from peaks: which windows stand, what they are called, and on which contigs."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnalm.data.labelled import Division, Negatives, PeakTask, divide
from dnalm.data.labelled.peak_parts import PARTS
from dnalm.errors import ConfigError, DataError
from dnalm.genome.alphabet import to_text
from tests.conftest import random_sequence

LENGTHS = {"chrI": 9_000, "chrII": 6_000, "chrIII": 5_000, "chrIV": 7_000, "chrIX": 3_000}
Peak = tuple[str, int, int]


def contigs() -> dict[str, str]:
    """Random sequences, each with a run of N and soft-masked stretches."""
    found = {}
    for number, (name, length) in enumerate(LENGTHS.items()):
        text = random_sequence(length, number)
        text = f"{text[:1000]}{'N' * 40}{text[1040:]}"
        found[name] = "".join(
            piece.lower() if place % 3 == number % 3 else piece
            for place, piece in enumerate(text[at : at + 250] for at in range(0, length, 250))
        )
    return found


CONTIGS = contigs()


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    path.write_text("".join(f">{name}\n{text}\n" for name, text in CONTIGS.items()))
    return path


@pytest.fixture
def make(genome: Path, tmp_path: Path) -> Callable[..., PeakTask]:
    """A task of peaks, given as rows, or rows by cell type."""

    def made(peaks: Any, *, suffix: str = ".bed", **settings: Any) -> PeakTask:  # noqa: ANN401
        by_name = peaks if isinstance(peaks, dict) else {"tf": peaks}
        files = {name: tmp_path / f"{name}{suffix}" for name in by_name}
        for name, rows in by_name.items():
            files[name].write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
        given = files if isinstance(peaks, dict) else files["tf"]
        return PeakTask(peaks=given, reference=genome, cache=genome.parent, **settings)

    return made


def spread(number: int = 8, *, width: int = 1) -> list[Peak]:
    """Peaks on every contig, far from each other and from the N."""
    return [
        (name, at, at + width)
        for name, length in LENGTHS.items()
        for at in np.linspace(1_300, length - 400, number).astype(int).tolist()
    ]


def rows_of(division: Division) -> list[tuple[str, str, int, int, bool]]:
    """Part, contig, start, end, and whether it is of a peak."""
    assert division.peaks is not None
    return [
        (part, str(contig), int(start), int(start) + rows.length, bool(is_peak))
        for part, rows in division.peaks.rows.items()
        for contig, start, is_peak in zip(rows.contigs, rows.starts, rows.is_peak, strict=True)
    ]


def centers_of(division: Division) -> set[tuple[str, int]]:
    return {(contig, (start + end) // 2) for _, contig, start, end, is_peak in rows_of(division) if is_peak}


@given(
    places=st.lists(
        st.tuples(st.sampled_from(sorted(LENGTHS)), st.integers(0, 2_990)), min_size=12, max_size=60
    ),
    width=st.integers(1, 9),
    length=st.integers(20, 120),
    margin=st.integers(0, 50),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_stand_in_the_genome_apart_from_each_other_and_negatives_apart_from_all_peaks(
    places: list[tuple[str, int]],
    width: int,
    length: int,
    margin: int,
    seed: int,
    make: Callable[..., PeakTask],
) -> None:
    far = [(name, length - 200, length - 199) for name, length in LENGTHS.items()]
    peaks = [*((name, at, at + width) for name, at in places), *far]
    task = make(peaks, length_bp=length, negatives=Negatives(margin_bp=margin))
    division = divide(task, seed=seed)
    rows = rows_of(division)
    for part, table in division.parts.items():
        of_part = [row for row in rows if row[0] == part]
        for number, (_, contig, start, end, is_peak) in enumerate(of_part):
            text = CONTIGS[contig][start:end]
            assert to_text(table.table.sequence(number)) == text
            assert len(text) == length
            assert "n" not in text.lower()
            assert table.labels[number] == is_peak
            assert table.names[number] == f"{contig}:{start}-{end}"
    for (_, contig, _, end, _), (_, other, start, _, _) in pairwise(sorted(rows, key=lambda row: row[1:])):
        assert contig != other or end <= start, "no two rows share a base"
    for name, first, last in peaks:
        window = (first + last) // 2 - length // 2
        left, right = min(first, window) - margin, max(last, window + length) + margin
        assert not any(c == name and s < right and left < e for _, c, s, e, is_peak in rows if not is_peak)
    of_parts = [{contig for part, contig, *_ in rows if part == each} for each in PARTS]
    assert sum(map(len, of_parts)) == len(set.union(*of_parts)), "a contig is of one part"


def test_windows_are_centred_on_summits_or_on_the_middle(make: Callable[..., PeakTask]) -> None:
    flat = make(spread(width=11), length_bp=50)
    assert centers_of(divide(flat, seed=1)) == {(name, start + 5) for name, start, _ in spread()}
    summits = [
        (*peak, ".", 0, ".", 5.0, -1, -1, 7 if n % 2 else -1) for n, peak in enumerate(spread(width=11))
    ]
    narrow = make(summits, suffix=".narrowPeak", length_bp=50)
    expected = {(row[0], row[1] + (7 if row[9] == 7 else 5)) for row in summits}
    assert centers_of(divide(narrow, seed=1)) == expected


@pytest.mark.parametrize(("suffix", "column"), [(".bed", 4), (".narrowPeak", 6), (".broadPeak", 6)])
def test_of_two_that_overlap_the_stronger_stays(
    make: Callable[..., PeakTask], suffix: str, column: int
) -> None:
    def row(peak: Peak, strength: float) -> list[object]:
        columns: list[object] = [*peak, "p", 0, ".", 0, -1, -1, -1][: {4: 6, 6: 10}[column]]
        columns[column] = strength
        return columns[:9] if suffix == ".broadPeak" else columns

    peaks = [row(peak, 5) for peak in spread()]
    peaks += [row(("chrI", 1_300 + 49, 1_350), 6), row(("chrII", 1_300 + 49, 1_350), 4)]
    division = divide(make(peaks, suffix=suffix, length_bp=50), seed=1)
    centers = centers_of(division)
    assert ("chrI", 1_349) in centers
    assert ("chrI", 1_300) not in centers
    assert ("chrII", 1_300) in centers
    assert ("chrII", 1_349) not in centers
    assert division.notes[0] == (
        "42 peaks give 40 windows: 0 leave their contig, 0 hold more than 0 N, 2 overlap another that stays"
    )


def test_without_strengths_the_first_of_the_file_stays(make: Callable[..., PeakTask]) -> None:
    division = divide(make([("chrI", 1_349, 1_350), *spread()], length_bp=50), seed=1)
    assert ("chrI", 1_349) in centers_of(division)
    assert ("chrI", 1_300) not in centers_of(division)


def test_windows_beyond_their_contig_and_with_n_are_counted(make: Callable[..., PeakTask]) -> None:
    peaks = [*spread(), ("chrI", 3, 4), ("chrII", 5_990, 5_991), ("chrIII", 1_010, 1_011)]
    division = divide(make(peaks, length_bp=50), seed=1)
    assert division.notes[0].endswith(
        "2 leave their contig, 1 hold more than 0 N, 0 overlap another that stays"
    )
    kept = divide(make(peaks, length_bp=50, max_unknown=50), seed=1)
    assert ("chrIII", 1_010) in centers_of(kept)


def test_peaks_and_blacklist_may_name_contigs_otherwise(
    make: Callable[..., PeakTask], tmp_path: Path
) -> None:
    numbers = {"chrI": "chr1", "chrII": "chr2", "chrIII": "chr3", "chrIV": "chr4", "chrIX": "chr9"}
    blacklist = tmp_path / "blacklist.bed.gz"
    blacklist.write_bytes(gzip.compress(b"1\t0\t5000\n"))
    renamed = [(numbers[name], start, end) for name, start, end in spread()]
    settings = {"length_bp": 50, "validation": ("4",), "test": ("chr9", "chrII")}
    division = divide(make(renamed, negatives=Negatives(exclude=(blacklist,)), **settings), seed=1)
    rows = rows_of(division)
    assert {row[1] for row in rows if row[0] == "val"} == {"chrIV"}
    assert {row[1] for row in rows if row[0] == "test"} == {"chrIX", "chrII"}
    assert {row[1] for row in rows if row[0] == "train"} == {"chrI", "chrIII"}
    assert centers_of(division) == {(name, start) for name, start, _ in spread()}
    assert min(start for _, contig, start, _, is_peak in rows if contig == "chrI" and not is_peak) >= 5_000


def test_contigs_are_chosen_for_a_fifth_and_a_tenth_whatever_the_seed(make: Callable[..., PeakTask]) -> None:
    numbers = {"chrI": 30, "chrII": 10, "chrIII": 20, "chrIV": 30, "chrIX": 10}
    peaks = [
        (name, 1_200 + 60 * n, 1_201 + 60 * n) for name, number in numbers.items() for n in range(number)
    ]
    task = make(peaks, length_bp=50, negatives=Negatives(margin_bp=0))
    for seed in (1, 2):
        division = divide(task, seed=seed)
        shares = {part: int(table.labels.sum()) for part, table in division.parts.items()}
        assert shares == {"train": 70, "val": 10, "test": 20}
        assert {row[1] for row in rows_of(division) if row[0] == "test"} == {"chrIII"}
    named = divide(make(peaks, length_bp=50, test=("chrI",), negatives=Negatives(margin_bp=0)), seed=1)
    assert named.test.labels.sum() == 30
    assert named.val.labels.sum() == 10


def test_a_seed_draws_the_same_negatives_and_another_seed_others_unless_they_have_their_own(
    make: Callable[..., PeakTask],
) -> None:
    def prints(seed: int, own: int | None = None) -> list[str]:
        division = divide(make(spread(), length_bp=50, negatives=Negatives(seed=own)), seed=seed)
        return [part.fingerprint for part in division.parts.values()]

    assert prints(1) == prints(1)
    assert not set(prints(1)) & set(prints(2))
    assert prints(1, own=5) == prints(2, own=5) == prints(5)


# Several cell types


def test_centres_within_half_a_window_are_one_window_of_several_labels(make: Callable[..., PeakTask]) -> None:
    both = spread()
    liver = [*both, ("chrI", 6_000, 6_001)]
    brain = [(name, start + 20, end + 20) for name, start, end in both]
    brain += [("chrI", 6_026, 6_027)]  # further than half a window of 50 from the liver's
    task = make({"liver": liver, "brain": brain}, length_bp=50)
    assert (task.kind, task.classes, task.declared) == ("multilabel", ("liver", "brain"), "auroc")
    division = divide(task, seed=1)
    assert division.num_classes == 2
    assert centers_of(division) == {(name, start + 10) for name, start, _ in both} | {("chrI", 6_000)}, (
        "in the middle between both; of two overlapping windows of one label the left one"
    )
    labels = {
        str(name): tuple(label)
        for part in division.parts.values()
        for name, label in zip(part.names, part.labels.tolist(), strict=True)
    }
    assert labels["chrI:5975-6025"] == (1, 0), "the brain's lies outside the middle half"
    assert labels["chrII:1285-1335"] == (1, 1)
    assert sum(label == (0, 0) for label in labels.values()) == sum(
        label != (0, 0) for label in labels.values()
    )


def test_a_broad_peak_over_the_middle_of_anothers_window_labels_it(make: Callable[..., PeakTask]) -> None:
    wide = [("chrI", 1_000 + 290, 1_800), *((name, at + 200, at + 201) for name, at, _ in spread())]
    division = divide(make({"one": spread(), "wide": wide}, length_bp=50), seed=1)
    assert division.peaks is not None
    rows = division.peaks.rows["train"]
    here = (rows.contigs == "chrI") & (rows.starts == 1_275)
    assert rows.labels[here].tolist() == [[1, 1]]
    assert rows.sources[here].tolist() == ["one.bed:1"]


# What is refused


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["liver"], "peaks has 1 cell types; one alone is given as task.peaks=<file>"),
        (["liver", "Liver"], "two cell types of one name, liver and Liver"),
        (["liver", "sequence"], "cell type 'sequence'; .* none of contig, start"),
        (["liver", "a b"], "cell type 'a b'; a name begins with a letter or digit"),
    ],
)
def test_names_of_cell_types(names: list[str], message: str, genome: Path) -> None:
    with pytest.raises(ValueError, match=message):
        PeakTask(peaks={name: Path(f"{name}{n}.bed") for n, name in enumerate(names)}, reference=genome)


def test_one_file_twice_and_a_metric_of_another_kind(genome: Path) -> None:
    with pytest.raises(ValueError, match="two cell types of one file, a and b"):
        PeakTask(peaks={"a": Path("x.bed"), "b": Path("./x.bed")}, reference=genome)
    with pytest.raises(
        ValueError, match="metric is pearson; a binary task has mcc, f1_macro, accuracy, auroc"
    ):
        PeakTask(peaks=Path("x.bed"), reference=genome, metric="pearson")


def test_a_window_longer_than_every_contig(make: Callable[..., PeakTask]) -> None:
    with pytest.raises(
        DataError,
        match=r"PEAK-01 task.peaks: no window of 10,000 bases: of 40 peaks, 40 leave their contig, .*"
        r"Fix: set a smaller task.length_bp, such as task.length_bp=5000",
    ):
        divide(make(spread(), length_bp=10_000), seed=1)


def test_a_window_longer_than_one_contig_leaves_its_peaks_out(make: Callable[..., PeakTask]) -> None:
    peaks = [(name, length // 2, length // 2 + 1) for name, length in LENGTHS.items()]
    task = make(peaks, length_bp=3_100, max_unknown=40, validation=("chrII",), test=("chrIII",))
    with pytest.raises(
        DataError, match=r"PEAK-04 task.negatives: no place on chrI, chrIV \(train\) for 3,100"
    ):
        divide(task, seed=1)
    task = make([*spread(), *peaks], length_bp=3_100, max_unknown=40, negatives=Negatives(margin_bp=0))
    with pytest.raises(DataError, match="PEAK-04"):
        divide(task, seed=1)


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        (
            {"test": ("chrI",), "validation": ("chr1",)},
            ConfigError,
            "CFG-05 task.test: chrI, which is named already",
        ),
        ({"test": ("chrI", "1")}, ConfigError, "CFG-05 task.test: 1, which is named already"),
        (
            {"test": ("chrXX",)},
            DataError,
            "STORE-07 task.test: unknown contig `chrXX`; .*did you mean `chrIX`",
        ),
        (
            {"test": ("chrI", "chrII"), "validation": ("chrIII", "chrIV", "chrIX")},
            ConfigError,
            "PEAK-03 task.validation, task.test: no window of a peak for train: no contig that is left",
        ),
    ],
)
def test_contigs_that_are_named_wrongly(
    settings: dict[str, Any], kind: type[Exception], message: str, make: Callable[..., PeakTask]
) -> None:
    with pytest.raises(kind, match=message):
        divide(make(spread(), length_bp=50, **settings), seed=1)


def test_a_named_contig_without_peaks(make: Callable[..., PeakTask]) -> None:
    peaks = [peak for peak in spread() if peak[0] != "chrIX"]
    with pytest.raises(
        ConfigError, match=r"PEAK-03 task.test: no window of a peak for test: chrIX; .*chrI, chrII"
    ):
        divide(make(peaks, length_bp=50, test=("chrIX",)), seed=1)


def test_contigs_that_the_genome_lacks(make: Callable[..., PeakTask], tmp_path: Path) -> None:
    peaks = [*spread(), ("chrVII", 5, 6)]
    with pytest.raises(DataError, match=r"BED-06 .*tf.bed:41: unknown contig `chrVII`; .*did you mean"):
        divide(make(peaks, length_bp=50), seed=1)
    division = divide(make(peaks, length_bp=50, other_contigs="skip"), seed=1)
    assert division.notes[0].endswith("tf.bed: 1 lines on 1 other contigs skipped")
    blacklist = tmp_path / "blacklist.bed"
    blacklist.write_text("chrVII\t0\t5\n")
    with pytest.raises(DataError, match=r"BED-06 .*blacklist.bed:1: unknown contig `chrVII`"):
        divide(make(spread(), length_bp=50, negatives=Negatives(exclude=(blacklist,))), seed=1)


def test_an_empty_file_of_peaks(make: Callable[..., PeakTask]) -> None:
    with pytest.raises(DataError, match=r"BED-11 .*tf.bed:1: the file has no intervals"):
        divide(make([], length_bp=50), seed=1)


# Real peaks


def test_reb1_peaks_of_yeast_hold_its_motif_and_negatives_do_not(shared_data: Path, tmp_path: Path) -> None:
    """Reb1 binds TTACCCG (Rhee and Pugh 2011); peaks name chr14, the genome chrXIV."""
    task = PeakTask(
        peaks=shared_data / "annotations/yeast_chip_exo/Reb1.bed",
        reference=shared_data / "genomes/sacCer3.fa.gz",
        length_bp=200,
        cache=tmp_path,
    )
    division = divide(task, seed=1)
    assert division.peaks is not None
    shares = []
    for part, rows in division.peaks.rows.items():
        texts = np.array([to_text(rows.table.sequence(row)).upper() for row in range(len(rows.starts))])
        has = np.array(["TTACCCG" in text or "CGGGTAA" in text for text in texts])
        shares.append((has[rows.is_peak].mean(), has[~rows.is_peak].mean()))
        assert (
            abs(rows.composition.gc[rows.is_peak].mean() - rows.composition.gc[~rows.is_peak].mean()) < 0.01
        ), part
    assert all(peaks > 0.3 and negatives < 0.03 for peaks, negatives in shares)
