"""Recipes give every base what their files say, and nothing where the files say nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pybigtools
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnalm.errors import DataError
from dnalm.genome.alphabet import is_unknown
from dnalm.genome.store import GenomeStore, open_or_build
from dnalm.genome.track_recipes import IntervalClasses, IntervalLabels, Signal, natural_order
from dnalm.genome.tracks import MISSING, TrackStore
from dnalm.simulation.annotation import STATES, conservation, paint_states
from dnalm.simulation.genes import MASTERS
from dnalm.simulation.settings import Clade
from dnalm.simulation.simulate import grow, simulate
from tests.genome.conftest import CONTIGS, NUM_BASES, UNKNOWN, Write
from tests.simulation.conftest import SMALL_TREE

NAN = np.nan


def whole(track: TrackStore) -> np.ndarray:
    return track.read(0, track.num_bases)


def letters(track: TrackStore, alphabet: str) -> str:
    return "".join("?" if value == MISSING else alphabet[value] for value in whole(track).tolist())


def test_classes_by_name_in_natural_order(store: GenomeStore, write: Write, tmp_path: Path) -> None:
    path = write("s.bed", "chr1 0 10 10_b", "chr1 12 15 2_a", "2 0 20 10_b", "chr1 10 12 2_a")
    track = IntervalClasses(files={"states": path}).prepare(store, tmp_path / "t")
    assert track.kind == "classes"
    assert track.names == ("2_a", "10_b")
    assert letters(track, "ab") == "b" * 10 + "a" * 5 + "?" * 15 + "b" * 4 + "???" + "b" * 13 + "?" * 10
    assert track.statistics.positive_bases == {"2_a": 5, "10_b": 27}
    assert (track.statistics.num_covered, track.statistics.num_bases) == (32, 60)
    assert track.statistics.fractions() == {"2_a": 5 / 32, "10_b": 27 / 32}
    assert track.manifest.aliases == {"chr1": "chr1", "2": "chr2"}


def test_classes_by_file_with_background(store: GenomeStore, write: Write, tmp_path: Path) -> None:
    files = {"x": write("x.bed", "chr1 5 10"), "y": write("y.bed", "chr1 20 25", "chrMT 0 5")}
    recipe = IntervalClasses(files=files, class_by="file", background="none")
    track = recipe.prepare(store, tmp_path / "t")
    assert track.names == ("x", "y", "none")
    expected = "n" * 5 + "x" * 5 + "n" * 10 + "y" * 5 + "n" * 5 + "?" * 20 + "y" * 5 + "n" * 5
    assert letters(track, "xyn") == expected


def test_overlaps_are_errors_unless_an_order_is_given(
    store: GenomeStore, write: Write, tmp_path: Path
) -> None:
    path = write("s.bed", "chr1 0 10 a", "chr1 5 15 b", "chr1 8 9 a")
    with pytest.raises(DataError) as caught:
        IntervalClasses(files={"s": path}).prepare(store, tmp_path / "t")
    assert str(caught.value) == (
        f"TRACK-09 {path}:1: 5 bases of 'a' are of 'b' too; one class a base. "
        "Fix: list classes in the order in which they win, or use IntervalLabels."
    )
    for order, expected in (["a", "b"], "a" * 10 + "b" * 5), (["b", "a"], "a" * 5 + "b" * 10):
        track = IntervalClasses(files={"s": path}, classes=order).prepare(store, tmp_path / "t")
        assert track.names == tuple(order)
        assert letters(track, "".join(order)) == expected + "?" * 45


def test_classes_not_listed_or_too_many_are_errors(store: GenomeStore, write: Write, tmp_path: Path) -> None:
    path = write("s.bed", "chr1 0 1 a", "chr1 1 2 b", "chr1 2 3 c")
    with pytest.raises(DataError, match=r"TRACK-08 .*class 'b' is in the file, and 1 others.*one of a, x"):
        IntervalClasses(files={"s": path}, classes=["a", "x"]).prepare(store, tmp_path / "t")
    many = write("m.bed", *(f"chr1 {n % 29} {n % 29 + 1} c{n}" for n in range(255)))
    with pytest.raises(DataError, match=r"TRACK-10 .*there are 255 classes.*at most 254"):
        IntervalClasses(files={"s": many}).prepare(store, tmp_path / "t")
    for recipe in (IntervalClasses, IntervalLabels):
        with pytest.raises(ValueError, match="files is empty"):
            recipe(files={})


def test_natural_order_counts_numbers() -> None:
    assert natural_order({"E10", "E2", "a", "10_x", "9_x", "E2b"}) == ("9_x", "10_x", "E2", "E2b", "E10", "a")


def test_labels_of_peaks_are_zero_on_contigs_of_their_file(
    store: GenomeStore, write: Write, tmp_path: Path
) -> None:
    files = {"p": write("p.bed", "chr1 5 10", "chr1 8 12"), "q": write("q.bed", "chr1 9 11", "chr2 0 20")}
    track = IntervalLabels(files=files).prepare(store, tmp_path / "t")
    labels = whole(track)
    assert labels.shape == (NUM_BASES, 2)
    assert labels.dtype == np.uint8
    p = "0" * 5 + "1" * 7 + "0" * 18 + "?" * 30
    q = "0" * 9 + "11" + "0" * 19 + "1111???" + "1" * 13 + "?" * 10
    assert [letter_column(labels[:, number]) for number in range(2)] == [p, q]
    assert track.statistics.positive_bases == {"p": 7, "q": 19}
    assert track.statistics.covered_bases == {"p": 30, "q": 47}
    assert track.statistics.num_covered == 47
    assert track.statistics.fractions() == {"p": 7 / 30, "q": 19 / 47}


def letter_column(column: np.ndarray) -> str:
    return "".join("?" if value == MISSING else str(value) for value in column.tolist())


@pytest.mark.parametrize(
    ("coverage", "expected"),
    [
        ("intervals", "?" * 5 + "1" * 5 + "?" * 50),
        ("contigs", "0" * 5 + "1" * 5 + "0" * 20 + "?" * 30),
        ("genome", "0" * 5 + "1" * 5 + "0" * 24 + "???" + "0" * 23),
    ],
)
def test_coverage_says_where_labels_are_known(
    coverage: str, expected: str, store: GenomeStore, write: Write, tmp_path: Path
) -> None:
    path = write("p.bed", "chr1 5 10")
    recipe = IntervalLabels(files={"p": path}, coverage=coverage)  # type: ignore[arg-type]
    assert letter_column(whole(recipe.prepare(store, tmp_path / "t"))[:, 0]) == expected


def test_labels_of_classes_form_a_matrix(store: GenomeStore, write: Write, tmp_path: Path) -> None:
    files = {
        "liver": write("l.bed", "chr1 0 10 1_A", "chr1 10 20 2_B"),
        "brain": write("b.bed", "chr1 5 30 10_C"),
    }
    track = IntervalLabels(files=files, label_by="class").prepare(store, tmp_path / "t")
    assert track.names == ("liver/1_A", "liver/2_B", "liver/10_C", "brain/1_A", "brain/2_B", "brain/10_C")
    assert track.read(4, 7).tolist() == [[1, 0, 0, 255, 255, 255], [1, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 1]]
    assert track.read(20, 21).tolist() == [[255, 255, 255, 0, 0, 1]]


intervals = st.tuples(st.sampled_from(["chr1", "chr2", "chrM"]), st.integers(0, 9), st.integers(1, 9))


@given(
    peaks=st.lists(st.lists(intervals, min_size=1, max_size=6), min_size=1, max_size=10),
    window=st.tuples(st.integers(0, NUM_BASES), st.integers(0, NUM_BASES)),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_labels_are_those_of_a_model_of_one_cell_a_base_and_label(
    peaks: list[list[tuple[str, int, int]]],
    window: tuple[int, int],
    store: GenomeStore,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("labels")
    model = np.full((NUM_BASES, len(peaks)), MISSING, dtype=np.uint8)
    files = {}
    for number, rows in enumerate(peaks):
        files[str(number)] = folder / f"{number}.bed"
        lines = [f"{name}\t{start}\t{min(start + size, len(CONTIGS[name]))}\n" for name, start, size in rows]
        files[str(number)].write_text("".join(lines))
        for name in {name for name, _, _ in rows}:
            contig = store.contig(name)
            model[contig.offset : contig.offset + contig.length, number] = 0
        for name, start, size in rows:
            contig = store.contig(name)
            end = min(start + size, contig.length)
            model[contig.offset + start : contig.offset + end, number] = 1
    model[UNKNOWN] = MISSING
    track = IntervalLabels(files=files).prepare(store, folder / "t")
    start, end = sorted(window)
    assert track.read(start, end).tolist() == model[start:end].tolist()
    assert list(track.statistics.positive_bases.values()) == (model == 1).sum(axis=0).tolist()
    assert list(track.statistics.covered_bases.values()) == (model != MISSING).sum(axis=0).tolist()
    assert track.statistics.num_covered == (model != MISSING).any(axis=1).sum()


def test_signal_of_bed_scores_and_keys(store: GenomeStore, write: Write, tmp_path: Path) -> None:
    path = write("e.bed", "chr1 2 4 lod=15 261", "chr2 0 6 lod=7 3", "chr1 4 5 lod=. .")
    score = whole(Signal(file=path).prepare(store, tmp_path / "t"))
    assert score.dtype == np.float32
    expected = np.full(NUM_BASES, NAN)
    expected[2:4], expected[30:34] = 261, 3
    np.testing.assert_array_equal(score, expected)
    lod = Signal(file=path, value="lod", background=0).prepare(store, tmp_path / "t")
    expected = np.concatenate([np.zeros(50), np.full(10, NAN)])
    expected[2:4], expected[30:34], expected[UNKNOWN] = 15, 7, NAN
    np.testing.assert_array_equal(whole(lod), expected)
    known = expected[~np.isnan(expected)]
    statistics = lod.statistics
    assert statistics.num_covered == known.size == 47
    assert statistics.mean == pytest.approx(known.mean())
    assert statistics.sd == pytest.approx(known.std())
    assert (statistics.minimum, statistics.maximum) == (0, 15)


def test_overlapping_values_are_errors_unless_the_larger_is_asked_for(
    store: GenomeStore, write: Write, tmp_path: Path
) -> None:
    path = write("e.bed", "chr1 8 12 x 3", "chr1 0 10 x 1", "chr1 2 9 x 2")
    with pytest.raises(DataError, match=r"BED-24 .*e.bed:3: the interval overlaps another, as 2 do in all"):
        Signal(file=path).prepare(store, tmp_path / "t")
    track = Signal(file=path, overlap="max").prepare(store, tmp_path / "t")
    assert track.read(0, 12).tolist() == [1] * 2 + [2] * 6 + [3] * 4


def test_signal_without_any_value_has_no_mean(store: GenomeStore, write: Write, tmp_path: Path) -> None:
    track = Signal(file=write("e.bedgraph", "chr1 0 5 nan")).prepare(store, tmp_path / "t")
    assert np.isnan(whole(track)).all()
    assert (track.statistics.mean, track.statistics.num_covered) == (None, 0)


def bigwig(path: Path, values: dict[str, np.ndarray]) -> Path:
    """Write values base by base, none where NaN."""
    rows = [
        (name, place, place + 1, float(array[place]))
        for name, array in sorted(values.items())
        for place in np.flatnonzero(~np.isnan(array)).tolist()
    ]
    pybigtools.open(str(path), "w").write({name: array.size for name, array in values.items()}, iter(rows))
    return path


@pytest.mark.parametrize("encoding", ["dense", "runs"])
def test_bigwig_and_bedgraph_of_the_same_values_give_the_same_track(encoding: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    lengths = {"chr2": 5_000, "chr10": 3_000, "chr1": 2_000}
    fasta = tmp_path / "genome.fa"
    fasta.write_text("".join(f">{name}\n{'A' * length}\n" for name, length in lengths.items()))
    store = open_or_build(fasta, tmp_path)
    values = {name: generator.normal(size=length).astype(np.float32) for name, length in lengths.items()}
    if encoding == "runs":
        values = {name: np.repeat(array[: -(-array.size // 50)], 50) for name, array in values.items()}
    for array in values.values():
        array[generator.integers(0, array.size, 20)] = NAN
        array[100:300] = NAN
    expected = np.concatenate(list(values.values()))
    lines = [
        f"{name}\t{place}\t{place + 1}\t{float(array[place])!r}\n"
        for name, array in values.items()
        for place in np.flatnonzero(~np.isnan(array)).tolist()
    ]
    generator.shuffle(lines)
    (tmp_path / "a.bedgraph").write_text("".join(lines))
    tracks = [
        Signal(file=file).prepare(store, tmp_path / "t")
        for file in (bigwig(tmp_path / "a.bw", values), tmp_path / "a.bedgraph")
    ]
    for track in tracks:
        assert track.manifest.encoding == encoding
        np.testing.assert_array_equal(whole(track), expected)
        for start, end in ((0, 0), (0, 1), (4_990, 5_010), (123, 4_567), (9_999, 10_000)):
            np.testing.assert_array_equal(track.read(start, end), expected[start:end])
        assert track.statistics.mean == pytest.approx(np.nanmean(expected.astype(float)))
        assert track.statistics.sd == pytest.approx(np.nanstd(expected.astype(float)))
    assert tracks[0].fingerprint == tracks[1].fingerprint


def test_background_of_a_bigwig_is_that_of_all_its_contigs(store: GenomeStore, tmp_path: Path) -> None:
    path = tmp_path / "a.bw"
    lengths = {name: len(text) for name, text in CONTIGS.items() if name != "chrM"}
    pybigtools.open(str(path), "w").write(lengths, iter([("chr1", 3, 5, 2.0), ("chr2", 0, 1, 4.0)]))
    track = Signal(file=path, background=0).prepare(store, tmp_path / "t")
    expected = np.concatenate([np.zeros(50), np.full(10, NAN)])
    expected[3:5], expected[30], expected[UNKNOWN] = 2, 4, NAN
    np.testing.assert_array_equal(whole(track), expected)
    assert track.manifest.notes == (f"BW-15 {path}: 1 contigs of the genome have no values there",)


def test_states_and_conservation_of_the_simulated_clade_are_those_simulated(tmp_path: Path) -> None:
    clade = Clade(seed=7, tree=SMALL_TREE, genome_bp=144_000, num_contigs=4, isochore_bp=6_000,
                  dev_contigs=1, test_contigs=1, num_motif_variants=6, num_splice_variants=2)  # fmt: skip
    folder = simulate(clade, tmp_path / "clade")
    species = grow(clade)[1][0]
    store = open_or_build(folder / f"{species.name}.fa", tmp_path)
    track = Signal(file=folder / "conservation.bw").prepare(store, tmp_path / "t")
    np.testing.assert_array_equal(whole(track), conservation(species, clade).astype(np.float32))
    tissue = next(iter(MASTERS))
    states = folder / f"{species.name}.{tissue}.states.bed"
    painted = paint_states(species, tissue)
    painted[is_unknown(np.asarray(store.codes))] = MISSING
    found = IntervalClasses(files={tissue: states}).prepare(store, tmp_path / "t")
    assert found.names == tuple(f"{number + 1}_{name}" for number, name in enumerate(STATES))
    np.testing.assert_array_equal(whole(found), painted)


def test_damaged_bigwig_leaves_no_track(tmp_path: Path) -> None:
    (tmp_path / "genome.fa").write_text(f">chr1\n{'A' * 100}\n")
    store = open_or_build(tmp_path / "genome.fa", tmp_path)
    path = bigwig(tmp_path / "a.bw", {"chr1": np.arange(100.0)})
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"BW-05 .*the last 4 bytes"):
        Signal(file=path).prepare(store, tmp_path / "t")
    assert [entry for entry in (tmp_path / "t").iterdir() if entry.suffix != ".lock"] == []


def test_states_of_five_tissues_are_one_hot_and_those_of_each_tissue_alone(
    shared_data: Path, tmp_path: Path
) -> None:
    store = open_or_build(shared_data / "genomes/hg19_chr22.fa.gz", tmp_path)
    folder = shared_data / "annotations/hg19_chr22"
    tissues = ["Islets", "Liver", "SkeletalMuscle", "Adipose", "InferiorTemporalLobe"]
    files = {tissue: folder / f"chromatin_states.{tissue}.bed.gz" for tissue in tissues}
    labels = IntervalLabels(files=files, label_by="class").prepare(store, tmp_path / "t")
    classes = IntervalClasses(files={"Liver": files["Liver"]}).prepare(store, tmp_path / "t")
    assert len(labels.names) == 65
    generator = np.random.default_rng(0)
    num_known = 0
    for start in generator.integers(16_000_000, store.num_bases - 1000, 200).tolist():
        matrix = labels.read(start, start + 1000).reshape(1000, 5, 13)
        liver = classes.read(start, start + 1000)
        known = liver != MISSING
        num_known += known.sum()
        assert (matrix[known].sum(axis=2) == 1).all()
        assert (matrix[known, 1].argmax(axis=1) == liver[known]).all()
        assert (matrix[~known] == MISSING).all()
    assert num_known > 100_000
    assert {name.removeprefix("Liver/"): count for name, count in labels.statistics.positive_bases.items()
            if name.startswith("Liver/")} == classes.statistics.positive_bases  # fmt: skip
    assert sum(entry.num_bytes for entry in labels.manifest.files) < 1_000_000


def test_peaks_of_23_yeast_factors(shared_data: Path, tmp_path: Path) -> None:
    store = open_or_build(shared_data / "genomes/sacCer3.fa.gz", tmp_path)
    files = {path.stem: path for path in sorted((shared_data / "annotations/yeast_chip_exo").glob("*.bed"))}
    track = IntervalLabels(files=files, coverage="genome").prepare(store, tmp_path / "t")
    assert len(track.names) == 23
    for name, path in files.items():
        places = {tuple(line.split("\t")[:3]) for line in path.read_text().splitlines()}
        assert track.statistics.positive_bases[name] == len(places)
    first = files["Abf1"].read_text().splitlines()[1].split("\t")
    assert first[:2] == ["chr14", "57826"]
    place = store.contig("chrXIV").offset + 57_826
    assert track.read(place, place + 1)[0, track.names.index("Abf1")] == 1
