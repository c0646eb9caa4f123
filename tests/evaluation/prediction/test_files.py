"""Predictions in files: rows, intervals and tracks hold what the predictor says of each sequence or tile."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pybigtools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.data.labelled import TaskKind
from dnalm.errors import CheckpointError, ConfigError, DataError
from dnalm.evaluation.inference import Floats
from dnalm.evaluation.prediction.files import PredictionPlan, prediction
from dnalm.evaluation.prediction.reader import PredictionRecipe, Predictor
from dnalm.evaluation.prediction.tracks import Rows, mean_runs, write_bed
from dnalm.evaluation.sequence_inputs import SequenceInput, TiledGenome
from dnalm.genome.alphabet import from_text, reverse_complement
from dnalm.models import Pretrained
from tests.conftest import random_sequence
from tests.evaluation.prediction.models import CLASSES, save_tuned

KINDS = list(CLASSES)
GENOME = {
    "chr2": random_sequence(95, 2),
    "chr10": random_sequence(40, 3) + "N" * 60 + random_sequence(33, 4),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of each kind, a genome, intervals on it and a table."""
    folder = tmp_path_factory.mktemp("predictions")
    for kind in KINDS:
        save_tuned(folder / kind, kind)
    (folder / "genome.fa").write_text("".join(f">{name}\n{text}\n" for name, text in GENOME.items()))
    rows = ["chr2\t10\t40\ta\t0\t+", "chr10\t0\t33\tb\t0\t-", "chr2\t30\t61\tc\t0\t-"]
    (folder / "r.bed").write_text("\n".join(rows) + "\n")
    lines = [f"{random_sequence(20 + n, n)},row{n},{'xy'[n % 2]}\n" for n in range(5)]
    (folder / "t.csv").write_text("sequence,name,group\n" + "".join(lines))
    return folder


def plan_of(folder: Path, kind: TaskKind, **changes: object) -> PredictionPlan:
    source = Pretrained(source=str(folder / kind))
    return PredictionPlan(models=(source,), recipe=PredictionRecipe(), device="cpu", **changes)


def write(source: SequenceInput | TiledGenome, out: Path, plan: PredictionPlan, **more: object) -> list[Path]:
    with prediction(source, out, plan, **more) as found:
        return list(found.paths)


def bed_input(folder: Path, **changes: object) -> SequenceInput:
    given = {"path": folder / "r.bed", "reference": folder / "genome.fa", "cache": folder / "cache"}
    return SequenceInput(**{**given, **changes})


def tiles(folder: Path, tile_bp: int = 30, stride_bp: int | None = None, **changes: object) -> TiledGenome:
    given = {"path": folder / "genome.fa", "cache": folder / "cache"}
    return TiledGenome(tile_bp=tile_bp, stride_bp=stride_bp, **{**given, **changes})


def expected_of(folder: Path, kind: TaskKind, texts: list[str]) -> list[Floats]:
    return Predictor.open([Pretrained(source=str(folder / kind))]).predict(
        [from_text(each) for each in texts]
    )


def values_at(path: Path, contig: str) -> Floats:
    with pybigtools.open(str(path)) as file:
        return np.asarray(file.values(contig, fillna=None))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", [".tsv", ".parquet"])
def test_a_table_has_a_row_for_each_sequence_or_base(
    kind: TaskKind, ending: str, folder: Path, tmp_path: Path
) -> None:
    source = SequenceInput(path=folder / "t.csv", id="name", keep=("group",))
    out = tmp_path / f"out{ending}"
    write(source, out, plan_of(folder, kind, num_kept=1), keep=("group",))
    table = read_rows(out)
    texts = [random_sequence(20 + n, n) for n in range(5)]
    expected = expected_of(folder, kind, texts)
    per_base = kind == "segmentation"
    repeats = [len(text) if per_base else 1 for text in texts]
    owner = np.repeat(np.arange(5), repeats)
    assert table["id"] == [f"row{n}" for n in owner]
    assert table["group"] == ["xy"[n % 2] for n in owner]
    assert "contig" not in table
    if per_base:
        assert [int(base) for base in table["base"]] == [base for text in texts for base in range(len(text))]
    names = CLASSES[kind] or ("value",)
    columns = [name if kind == "regression" else f"probability_{name}" for name in names]
    found = np.array([[float(value) for value in table[name]] for name in columns]).T
    wanted = np.concatenate([values.reshape(-1, len(names)) for values in expected])
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    if kind in ("binary", "multiclass", "segmentation"):
        assert table["predicted"] == [names[n] for n in wanted.argmax(1)]
    assert list(table)[-len(columns) :] == columns


def read_rows(path: Path) -> dict[str, list[Any]]:
    if path.suffix == ".parquet":
        return dict(pq.read_table(path).to_pydict())
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_bases_of_the_other_strand_stand_where_they_lie(folder: Path, tmp_path: Path) -> None:
    write(bed_input(folder), tmp_path / "out.parquet", plan_of(folder, "segmentation"))
    table = pq.read_table(tmp_path / "out.parquet").to_pydict()
    rows = [n for n, name in enumerate(table["id"]) if name == "b"]
    assert [table["base"][n] for n in rows] == list(range(33))
    assert [table["start"][n] for n in rows] == list(range(32, -1, -1))
    codes = reverse_complement(from_text(GENOME["chr10"][:33]))
    expected = Predictor.open([Pretrained(source=str(folder / "segmentation"))]).predict([codes])[0]
    np.testing.assert_allclose([table["probability_exon"][n] for n in rows], expected[:, 1], atol=1e-6)


def test_a_bed_of_given_intervals_names_their_classes(folder: Path, tmp_path: Path) -> None:
    write(bed_input(folder), tmp_path / "out.bed", plan_of(folder, "multiclass"))
    plus, minus = GENOME["chr2"][10:40], GENOME["chr2"][30:61]
    texts = [plus, revert(GENOME["chr10"][:33]), revert(minus)]
    found = [line.split("\t") for line in (tmp_path / "out.bed").read_text().splitlines()]
    assert [row[:3] for row in found] == [["chr2", "10", "40"], ["chr10", "0", "33"], ["chr2", "30", "61"]]
    assert [row[5] for row in found] == ["+", "-", "-"]
    for row, values in zip(found, expected_of(folder, "multiclass", texts), strict=True):
        assert (row[3], int(row[4])) == (CLASSES["multiclass"][values.argmax()], round(1000 * values.max()))


def revert(text: str) -> str:
    return text[::-1].translate(str.maketrans("ACGT", "TGCA"))


def test_tiles_cover_every_contig_and_leave_out_n(folder: Path) -> None:
    found = [(tile.contig, tile.start, tile.end) for tile in tiles(folder, 30, 20)]
    assert found == [
        *(("chr2", start, start + 30) for start in (0, 20, 40, 60, 65)),
        *(("chr10", start, start + 30) for start in (0, 20, 80, 100, 103)),  # 40 and 60 are N alone
    ]
    assert len(tiles(folder, 30, 20)) == len(found)
    assert [tile.id for tile in tiles(folder, 95)][:2] == ["chr2:0-95", "chr10:0-95"]
    assert [tile.contig for tile in tiles(folder, 30, 20, by_name=True)] == ["chr10"] * 5 + ["chr2"] * 5


def test_a_contig_shorter_than_a_tile_is_an_error_or_a_choice(folder: Path) -> None:
    message = r"SEQ-04 .*: 1 of 2 contigs shorter than a tile, such as chr2 of 95 bases; tile_bp=100 bases"
    with pytest.raises(DataError, match=message):
        list(tiles(folder, 100))
    skipping = tiles(folder, 100, short_contigs="skip")
    assert {tile.contig for tile in skipping} == {"chr10"}
    assert skipping.notes == [f"{folder}/genome.fa: 1 contig shorter than tile_bp=100 is left out"]
    whole = list(tiles(folder, 100, short_contigs="whole"))
    assert [(tile.start, tile.end) for tile in whole if tile.contig == "chr2"] == [(0, 95)]
    with pytest.raises(DataError, match="2 of 2 contigs shorter"):
        list(tiles(folder, 1000, short_contigs="skip"))
    with pytest.raises(ConfigError, match="CFG-54 stride_bp: stride_bp=40 above tile_bp=30, which leaves"):
        tiles(folder, 30, 40)


@pytest.mark.parametrize("kind", KINDS)
def test_a_track_is_the_mean_of_the_tiles_over_each_base(
    kind: TaskKind, folder: Path, tmp_path: Path
) -> None:
    """Base by base, in loops; bases that no tile covers have no value."""
    source = tiles(folder, 30, 20, by_name=True)
    paths = write(source, tmp_path / "out.bw", plan_of(folder, kind))
    names = CLASSES[kind] or ("value",)
    chosen = {1: "out.bw"} if kind == "binary" else {n: f"out.{name}.bw" for n, name in enumerate(names)}
    chosen = {0: "out.bw"} if kind == "regression" else chosen
    assert [path.name for path in paths] == list(chosen.values())
    read = list(tiles(folder, 30, 20))
    texts = [GENOME[tile.contig or ""][tile.start : tile.end] for tile in read]
    predicted = expected_of(folder, kind, texts)
    for contig, text in GENOME.items():
        sums, counts = np.zeros((len(text), len(names))), np.zeros(len(text))
        for tile, values in zip(read, predicted, strict=True):
            if tile.contig == contig:
                sums[tile.start : tile.end] += values
                counts[tile.start : tile.end] += 1
        with np.errstate(invalid="ignore"):
            means = sums / counts[:, None]
        for number, name in chosen.items():
            np.testing.assert_allclose(values_at(tmp_path / name, contig), means[:, number], atol=1e-6)


def test_intervals_in_any_order_make_the_same_track(folder: Path, tmp_path: Path) -> None:
    write(bed_input(folder, by_place=True), tmp_path / "one.bw", plan_of(folder, "regression"))
    rows = (folder / "r.bed").read_text().splitlines()
    (tmp_path / "turned.bed").write_text("\n".join(rows[::-1]) + "\n")
    turned = bed_input(folder, path=tmp_path / "turned.bed", by_place=True)
    write(turned, tmp_path / "other.bw", plan_of(folder, "regression"))
    assert (tmp_path / "one.bw").read_bytes() == (tmp_path / "other.bw").read_bytes()
    texts = [GENOME["chr2"][10:40], revert(GENOME["chr2"][30:61])]
    one, other = (float(values[0]) for values in expected_of(folder, "regression", texts))
    found = values_at(tmp_path / "one.bw", "chr2")
    wanted = [one] * 20 + [(one + other) / 2] * 10 + [other] * 21
    np.testing.assert_allclose(found[10:61], wanted, atol=1e-5)
    assert np.isnan(found[:10]).all()


def test_bases_of_tiles_are_averaged_in_tables_and_intervals(folder: Path, tmp_path: Path) -> None:
    plan = plan_of(folder, "segmentation")
    write(tiles(folder, 30, 20), tmp_path / "out.parquet", plan)
    table = pq.read_table(tmp_path / "out.parquet").to_pydict()
    write(tiles(folder, 30, 20, by_name=True), tmp_path / "out.bw", plan)
    track = values_at(tmp_path / "out.exon.bw", "chr2")
    rows = [n for n, contig in enumerate(table["contig"]) if contig == "chr2"]
    assert [table["start"][n] for n in rows] == [table["base"][n] for n in rows] == list(range(95))
    np.testing.assert_allclose([table["probability_exon"][n] for n in rows], track, atol=1e-6)
    write(tiles(folder, 30, 20), tmp_path / "out.bed", plan)
    painted = {(c, s): p for c, s, p in zip(table["contig"], table["start"], table["predicted"], strict=True)}
    found: dict[tuple[str, int], str] = {}
    for line in (tmp_path / "out.bed").read_text().splitlines():
        contig, start, end, name, score, _ = line.split("\t")
        found |= {(contig, place): name for place in range(int(start), int(end))}
        inside = [n for n in range(len(table["start"])) if table["contig"][n] == contig]
        inside = [n for n in inside if int(start) <= table["start"][n] < int(end)]
        mean = np.mean([table[f"probability_{name}"][n] for n in inside])
        assert abs(int(score) - 1000 * mean) <= 0.51
    assert found == {place: name for place, name in painted.items() if name != "none"}


def test_a_threshold_and_the_first_class_are_choices_of_intervals(folder: Path, tmp_path: Path) -> None:
    plan = plan_of(folder, "binary")
    read = list(tiles(folder, 30, 20))
    texts = [GENOME[tile.contig or ""][tile.start : tile.end] for tile in read]
    on = np.array([values[1] for values in expected_of(folder, "binary", texts)])
    threshold = float(np.median(on))
    write(tiles(folder, 30, 20), tmp_path / "out.bed", plan, threshold=threshold)
    covered = {
        (tile.contig, place)
        for tile, value in zip(read, on, strict=True)
        for place in range(tile.start, tile.end)
        if value >= threshold
    }
    rows = [line.split("\t") for line in (tmp_path / "out.bed").read_text().splitlines()]
    assert {(row[0], p) for row in rows for p in range(int(row[1]), int(row[2]))} == covered
    assert {row[3] for row in rows} == {"on"}
    for one, other in pairwise(rows):
        assert one[0] != other[0] or int(one[2]) < int(other[1])
    write(tiles(folder, 30, 20), tmp_path / "all.bed", plan, background=True)
    every = [line.split("\t") for line in (tmp_path / "all.bed").read_text().splitlines()]
    assert {(row[0], p) for row in every for p in range(int(row[1]), int(row[2]))} == {
        (tile.contig, place) for tile in read for place in range(tile.start, tile.end)
    }


REFUSED = [
    ("binary", "t", "out.bw", {}, "PRED-01 out: .bw of a table of sequences, which has no places"),
    ("binary", "t", "out.bed", {}, "PRED-01 out: .bed of a table of sequences"),
    ("binary", "fa", "out.bw", {}, "PRED-01 out: .bw of records that lie on no genome"),
    ("regression", "bed", "out.bed", {}, "PRED-01 out: .bed of values"),
    (
        "binary",
        "bed",
        "out.bed",
        {"threshold": 0.5},
        "PRED-01 threshold: threshold where no intervals are made",
    ),
    ("binary", "tiles", "out.tsv", {"background": True}, "PRED-01 background: background where no intervals"),
    ("binary", "bed", "out.bed", {"keep": ("name",)}, "PRED-01 keep: columns beside out=out.bed"),
    ("binary", "t", "out.tsv", {"keep": ("predicted",)}, "CFG-54 keep: predicted; each once"),
    ("binary", "t", "out.txt", {}, "CFG-52 out: .*a name with no known ending"),
]


@pytest.mark.parametrize(("kind", "name", "out", "more", "message"), REFUSED)
def test_an_output_that_cannot_hold_the_predictions_is_refused_before_any_work(
    kind: TaskKind, name: str, out: str, more: dict[str, Any], message: str, folder: Path, tmp_path: Path
) -> None:
    inputs = {
        "t": lambda: SequenceInput(path=folder / "t.csv"),
        "fa": lambda: SequenceInput(path=folder / "genome.fa"),
        "bed": lambda: bed_input(folder),
        "tiles": lambda: tiles(folder),
    }
    with pytest.raises(ConfigError, match=message):
        write(inputs[name](), tmp_path / out, plan_of(folder, kind), **more)
    assert not list(tmp_path.iterdir())


def test_models_that_differ_and_folders_in_the_way_are_refused(folder: Path, tmp_path: Path) -> None:
    plan = plan_of(folder, "binary")
    both = replace(plan, models=(*plan.models, Pretrained(source=str(folder / "multiclass"))))
    with pytest.raises(
        CheckpointError, match=r"PRED-02 model: tasks that differ: binary of .*, and multiclass"
    ):
        write(tiles(folder), tmp_path / "out.tsv", both)
    (tmp_path / "out.weak.bw").mkdir()
    with pytest.raises(ConfigError, match=r"PRED-01 out: .*out.weak.bw is a folder"):
        write(tiles(folder, by_name=True), tmp_path / "out.bw", plan_of(folder, "multiclass"))


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 40), st.integers(1, 15), st.integers(0, 9)), min_size=1, max_size=12
    ),
    cuts=st.sets(st.integers(1, 11)),
)
def test_means_are_those_of_every_base_however_rows_are_parted(
    rows: list[tuple[int, int, int]], cuts: set[int]
) -> None:
    rows = sorted(rows)
    sums, counts = np.zeros(60), np.zeros(60)
    for start, width, value in rows:
        sums[start : start + width] += value
        counts[start : start + width] += 1
    edges = [0, *sorted(cut for cut in cuts if cut < len(rows)), len(rows)]
    blocks = [rows[first:last] for first, last in pairwise(edges)]
    found = np.full(60, np.nan)
    for run in mean_runs(iter([block_of(block) for block in blocks])):
        for start, end, value in zip(run.starts, run.ends, run.values[:, 0], strict=True):
            assert np.isnan(found[start:end]).all(), "no base twice"
            found[start:end] = value
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(found, sums / counts)


def block_of(rows: list[tuple[int, int, int]]) -> Rows:
    starts, widths, values = (np.array(column) for column in zip(*rows, strict=True))
    return Rows("c", starts, starts + widths, values[:, None].astype(float))


def test_rows_that_touch_are_joined_and_score_their_mean(tmp_path: Path) -> None:
    def blocks() -> Iterator[Rows]:
        yield Rows("c", np.array([0, 10]), np.array([10, 20]), np.array([[0.9], [0.6]]))
        yield Rows("c", np.array([20, 40]), np.array([25, 50]), np.array([[0.8], [1.0]]))
        yield Rows("d", np.array([0]), np.array([7]), np.array([[0.75]]))

    write_bed(tmp_path / "x.bed", blocks(), ["on"], lambda values: values > 0.5)
    mean = (10 * 0.9 + 10 * 0.6 + 5 * 0.8) / 25
    assert (tmp_path / "x.bed").read_text().splitlines() == [
        f"c\t0\t25\ton\t{round(1000 * mean)}\t+",
        "c\t40\t50\ton\t1000\t+",
        "d\t0\t7\ton\t750\t+",
    ]
