"""`dnalm predict` end to end: it agrees with fine-tuning's own test, and a kill changes no byte."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dnalm.cli import main
from tests.conftest import random_sequence
from tests.evaluation.embedding.models import save
from tests.evaluation.prediction.models import save_tuned
from tests.integration.test_finetune import SMALL, program

pytestmark = pytest.mark.usefixtures("forked_programs")

ROOT = Path(__file__).resolve().parents[2]
SINGLE = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
ROWS = {"train": 24, "val": 8, "test": 10}
KINDS = {  # how a head is trained and tested: pieces or the beginning, one strand or both, any pooling
    "binary": ["sequences.max_tokens=12", "sequences.average_strands=true"],
    "multiclass": [
        "task.kind=multiclass", "task.label=class", "task.classes=[low,mid,high]", "sequences.long=truncate",
        "sequences.max_tokens=20", "tuning.pooling=attention",
    ],
    "multilabel": [
        "task.kind=multilabel", "task.label=[liver,brain]", "tuning.pooling=cls", "sequences.max_tokens=12",
    ],
    "regression": [
        "task.kind=regression", "task.label=value", "tuning.pooling=max", "sequences.average_strands=true",
    ],
    "segmentation": [
        "task.kind=segmentation", "task.label=letters", "task.classes=[n,A,C]", "sequences.max_tokens=9",
        "sequences.average_strands=true",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random sequences of several lengths, with a column of labels for each kind."""
    folder = tmp_path_factory.mktemp("tables")
    for seed, (part, rows) in enumerate(ROWS.items()):
        lines = ["name,sequence,label,liver,brain,class,value,letters"]
        for row in range(rows):
            text = random_sequence(30 + row % 7, 1000 * seed + row)
            letters = text.translate(str.maketrans("GT", "nn"))
            of_row = [row % 2, row % 2, row // 2 % 2, ("low", "mid", "high")[row % 3]]
            value = 100 + 50 * text.count("A") / len(text)
            lines.append(",".join(map(str, [f"{part}{row}", text, *of_row, value, letters])))
        (folder / f"{part}.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_of_the_test_table_what_finetune_said(
    kind: str, tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [f"task.{part}={tables}/{part}.csv" for part in ROWS]
    run = tmp_path / "run"
    program("finetune", *SMALL, *parts, "task.id=name", f"run.dir={run}", *KINDS[kind], "steps=3")
    following = f"next: dnalm predict model={run} input=sequences.fa out=predictions.tsv"
    assert following in capsys.readouterr().out
    out = tmp_path / "out.parquet"
    program("predict", f"model={run}", f"input={tables}/test.csv", "id=name", f"out={out}")
    said, saved = pq.read_table(out).to_pydict(), pq.read_table(run / "predictions.parquet").to_pydict()
    assert said["id"] == saved["id"]
    columns = {
        "binary": ["probability_1"],
        "multiclass": ["probability_low", "probability_mid", "probability_high"],
        "multilabel": ["probability_liver", "probability_brain"],
        "regression": ["value"],
        "segmentation": ["probability_n", "probability_A", "probability_C"],
    }[kind]
    scores = [name for name in saved if name.startswith("score")]
    for column, score in zip(columns, scores, strict=True):
        np.testing.assert_allclose(said[column], saved[score], rtol=1e-6, atol=1e-6)
    if kind == "segmentation":
        assert said["base"] == saved["base"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, a genome of many tiles, and a table."""
    folder = tmp_path_factory.mktemp("predict")
    for kind, seeds in {"binary": 2, "segmentation": 1}.items():
        for seed in range(seeds):
            save_tuned(folder / f"{kind}{seed}", kind, seed=seed)  # type: ignore[arg-type]
    save("kmer", folder / "encoder")
    (folder / "genome.fa").write_text(f">b\n{random_sequence(4000, 1)}\n>a\n{random_sequence(3000, 2)}\n")
    (folder / "t.csv").write_text(f"sequence\n{random_sequence(40)}\n{random_sequence(30)}\n")
    (folder / "r.bed").write_text("a\t5\t50\n")
    return folder


def words(folder: Path, out: str, *more: str) -> list[str]:
    given = {"model": f"{folder}/binary0", "input": f"{folder}/genome.fa", "cache": f"{folder}/cache"}
    given |= dict(word.split("=", 1) for word in more)
    return ["predict", f"out={folder}/{out}", *(f"{key}={value}" for key, value in given.items())]


def test_several_models_are_averaged_and_it_says_what_it_found(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = f"input={folder}/t.csv"
    each = []
    for number in range(2):
        program(*words(folder, f"{number}.tsv", table, f"model={folder}/binary{number}"))
        rows = (folder / f"{number}.tsv").read_text().splitlines()[1:]
        each.append([float(row.split("\t")[-1]) for row in rows])
    program(*words(folder, "both.tsv", table, f"model=[{folder}/binary0,{folder}/binary1]"))
    assert (folder / "both.tsv").read_text().startswith("id\tpredicted\tprobability_off\tprobability_on\n0\t")
    rows = [row.split("\t") for row in (folder / "both.tsv").read_text().splitlines()[1:]]
    np.testing.assert_allclose([float(row[-1]) for row in rows], np.mean(each, axis=0), atol=1e-8)
    summary = json.loads((folder / "both.tsv.summary.json").read_text())
    assert (summary["sequences"], summary["bases"]) == (2, 70)
    assert summary["models"] == [f"{folder}/binary{number}" for number in range(2)]
    assert summary["counts"] == {name: [row[1] for row in rows].count(name) for name in ("off", "on")}
    assert summary["means"]["on"] == pytest.approx(np.mean([float(row[-1]) for row in rows]))
    assert "tiny: 2 sequences of 70 bases predicted" in capsys.readouterr().out


def test_precision_is_chosen_and_parts_of_another_are_not_used(folder: Path) -> None:
    given = f"input={folder}/t.csv"
    for name in ("float32", "bfloat16"):
        program(*words(folder, f"{name}.tsv", given, f"precision={name}"))
    wide, narrow = ((folder / f"{name}.tsv").read_text() for name in ("float32", "bfloat16"))
    assert wide != narrow
    numbers = [[float(row.split("\t")[-1]) for row in text.splitlines()[1:]] for text in (wide, narrow)]
    np.testing.assert_allclose(numbers[0], numbers[1], atol=0.02)
    contract = json.loads((folder / "bfloat16.tsv.summary.json").read_text())["contract"]
    assert contract["precision"] == "bfloat16"


REFUSED = {
    ("model=./nothing",): (4, "CKPT-04", "./nothing: no such folder"),
    ("model={}/encoder",): (4, "CKPT-04", "fine-tune it first: dnalm finetune model=… task=…"),
    ("model=[{0}/binary0,{0}/segmentation0]",): (4, "PRED-02", "tasks that differ: binary of"),
    ("tile_bp=50", "input={}/t.csv"): (2, "PRED-01", "which is a table; expected: a genome"),
    ("tile_bp=50", "input={}/r.bed"): (2, "PRED-01", "which is a BED"),
    ("tile_bp=50", "reference={}/genome.fa"): (2, "PRED-01", "reference beside tile_bp"),
    ("stride_bp=50",): (2, "PRED-01", "stride_bp without tile_bp"),
    ("short_contigs=skip",): (2, "PRED-01", "short_contigs without tile_bp"),
    ("tile_bp=50", "stride_bp=60"): (2, "CFG-54", "stride_bp=60 above tile_bp=50"),
    ("tile_bp=3500",): (3, "SEQ-04", "1 of 2 contigs shorter than a tile, such as a of 3,000 bases"),
    ("input={}/r.bed",): (2, "CFG-54", "a BED without reference"),
}


@pytest.mark.parametrize("given", REFUSED)
def test_bad_input_is_one_sentence_before_any_work(
    given: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.iterdir())
    with pytest.raises(SystemExit) as ended:
        main(words(folder, "refused.tsv", *(word.format(folder) for word in given)))
    code, name, text = REFUSED[given]
    said = " ".join(capsys.readouterr().err.split())
    assert (ended.value.code, name in said) == (code, True), said
    assert text in said.replace(";", "; expected:") or text in said
    assert sorted(path for path in folder.iterdir() if path.name != "cache") == [
        path for path in before if path.name != "cache"
    ]


def test_an_output_that_cannot_be_written_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words(folder, "genome.fa/out.tsv"))
    assert ended.value.code == 2
    assert "CFG-52" in capsys.readouterr().err


PROGRAM = "\n".join(
    [
        "import time",
        "from dnalm.evaluation.prediction import files as parts",
        "from dnalm.cli import main",
        "parts.PART_BP = 400",
        "keep = parts.PartFolder.keep",
        "parts.PartFolder.keep = lambda *given: (keep(*given), time.sleep(0.03))",
        "if __name__ == '__main__': main()",
    ]
)


@pytest.mark.parametrize(
    ("model", "ending", "files"),
    [("binary0", "bw", ("{}.bw",)), ("segmentation0", "bw", ("{}.none.bw", "{}.exon.bw", "{}.intron.bw"))],
)
def test_a_run_killed_again_and_again_leaves_the_same_bytes(
    model: str, ending: str, files: tuple[str, ...], folder: Path
) -> None:
    """Killed whenever another part is there, in one process or two."""

    def start(out: str, *more: str) -> subprocess.Popen[bytes]:
        given = words(
            folder, f"{out}.{ending}", f"model={folder}/{model}", "tile_bp=40", "stride_bp=20", *more
        )
        return subprocess.Popen([sys.executable, "-c", PROGRAM, *given], env=SINGLE, cwd=folder)

    whole, other = f"{model}-whole", f"{model}-other"
    assert start(whole).wait() == 0
    parts, done = folder / f"{other}.{ending}.parts", 0
    for number in range(5):
        killed = start(other, f"workers={1 + number % 2}")
        while len(list(parts.glob("*.parquet"))) <= done and killed.poll() is None:
            time.sleep(0.005)
        killed.send_signal(signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
        done = len(list(parts.glob("*.parquet")))
        assert done > number
    assert start(other, "workers=2").wait() == 0
    for name in files:
        assert (folder / name.format(whole)).read_bytes() == (folder / name.format(other)).read_bytes()
    assert not parts.exists()
