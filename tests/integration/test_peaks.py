"""Tasks from peaks run whole: what is left beside the run, and that baselines and others read the same."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from dnalm.cli import main
from dnalm.data.labelled import Task, divide
from tests.conftest import random_sequence
from tests.integration.test_finetune import SMALL, program

pytestmark = pytest.mark.usefixtures("forked_programs")

MOTIF = "TTACCCGGAA"
PEAKS = [
    "task=peaks",
    "task.peaks=tf.bed",
    "task.reference=genome.fa",
    "task.cache=cache",
    "task.length_bp=30",
]


@pytest.fixture(autouse=True)
def _genome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five contigs with a motif in the middle of every peak; half of the genome is soft-masked."""
    monkeypatch.chdir(tmp_path)
    rows, texts = [], []
    for number in range(1, 6):
        letters = list(random_sequence(4_000, number))
        letters[:2_000] = "".join(letters[:2_000]).lower()
        for center in range(100, 3_900, 190):
            letters[center - 5 : center + 5] = MOTIF
            rows.append(f"chr{number}\t{center}\t{center + 1}\n")
        texts.append(f">chr{number}\n{''.join(letters)}\n")
    Path("genome.fa").write_text("".join(texts))
    Path("tf.bed").write_text("".join(rows))
    Path("second.bed").write_text("".join(rows[::2]))


def summary_of(run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(run, "summary.json").read_text())
    return found


def table_of(run: str) -> pd.DataFrame:
    return pd.read_csv(Path(run, "task.tsv.gz"), sep="\t")


def test_a_run_leaves_its_table_its_picture_and_the_balance_and_a_baseline_the_same() -> None:
    program("finetune", *SMALL, *PEAKS, "run.dir=run")
    program("baseline", *PEAKS, "baseline.k=4", "run.dir=kmers")
    summary, table = summary_of("run"), table_of("run")
    assert list(table) == ["contig", "start", "end", "part", "label", "gc", "repeats", "source", "sequence"]
    assert table.groupby("part").size().to_dict() == summary["rows"]
    for part, rows in table.groupby("part"):
        said = summary["balance"][part]
        assert (said["positives"], said["negatives"]) == ((rows.label == 1).sum(), (rows.label == 0).sum())
        gc = rows.sequence.str.count("[GCgc]") / 30
        assert np.allclose(gc, rows.gc, atol=1e-4)
        assert np.allclose(rows.sequence.str.count("[acgt]") / 30, rows.repeats, atol=1e-4)
        assert said["gc"]["positives"] == pytest.approx(gc[rows.label == 1].mean())
        assert said["gc"]["negatives"] == pytest.approx(gc[rows.label == 0].mean())
        assert 0 <= said["repeats"]["ks"] <= 1
        assert said["regions"] == sorted(set(rows.contig)), "whole contigs"
    peaks = table[table.label == 1]
    assert peaks.sequence.str.slice(10, 20).str.upper().eq(MOTIF).all()
    lines = Path("tf.bed").read_text().splitlines()
    for _, row in peaks.iterrows():
        file, _, line = row.source.partition(":")
        assert file == "tf.bed"
        assert lines[int(line) - 1].split("\t")[:2] == [row.contig, str(row.start + 15)]
    assert table[table.label == 0].source.isna().all()
    assert Path("run/task.png").read_bytes()[:4] == b"\x89PNG"
    assert Path("run/task.tsv.gz").read_bytes() == Path("kmers/task.tsv.gz").read_bytes()
    assert summary_of("kmers")["data"] == summary["data"]
    assert summary_of("kmers")["balance"] == summary["balance"]
    assert summary_of("kmers")["test"]["auroc"] > 0.8, "a planted 10-mer is found by its 4-mers"
    ids = pq.read_table("run/predictions.parquet").column("id").to_pylist()
    test = table[table.part == "test"]
    assert ids == [f"{row.contig}:{row.start}-{row.end}" for row in test.itertuples()]


def test_regions_of_the_command_line_are_those_of_the_table_and_the_summary(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = Path("tf.bed").read_text().splitlines(keepends=True)
    Path("one.bed").write_text("".join(line for line in lines if line.startswith("chr1\t")))
    mine = [*PEAKS, "task.peaks=one.bed", "task.negatives.margin_bp=10"]
    named = ["task.validation=[chr1:1700-2300]", "task.test=[chr1:2300-3100,chr1:500-600]"]
    program("baseline", *mine, *named, "run.dir=named")
    printed = capsys.readouterr().out
    assert "test: 20.0% of the windows of peaks, on chr1:500-600, chr1:2300-3100" in printed
    said = {part: entry["regions"] for part, entry in summary_of("named")["balance"].items()}
    assert said == {
        "train": ["chr1:0-500", "chr1:600-1700", "chr1:3100-4000"],
        "val": ["chr1:1700-2300"],
        "test": ["chr1:500-600", "chr1:2300-3100"],
    }
    for part, rows in table_of("named").groupby("part"):
        places = [(int(a), int(b)) for a, b in (text[5:].split("-") for text in said[part])]
        assert all(any(a <= row.start and row.end <= b for a, b in places) for row in rows.itertuples())
    program("baseline", *mine, "run.dir=chosen")
    chosen = summary_of("chosen")["balance"]
    assert [chosen[part]["positives"] for part in ("train", "val", "test")] == [14, 2, 4]
    assert chosen["test"]["regions"][0].endswith("-4000"), "the end of the contig"


def test_the_table_is_a_table_for_other_tasks() -> None:
    program("baseline", *PEAKS, "run.dir=kmers")
    table = table_of("kmers")
    assert not table.duplicated(["contig", "start"]).any()
    for part, rows in table.groupby("part"):
        rows.to_csv(f"{part}.tsv", sep="\t", index=False)
    division = divide(Task(train="train.tsv", val="val.tsv", test="test.tsv"), seed=1)
    assert {part: rows.fingerprint for part, rows in division.parts.items()} == summary_of("kmers")["data"]
    assert len(divide(Task(train="kmers/task.tsv.gz"), seed=1).train.table) == len(table)


def test_several_cell_types_are_labels() -> None:
    both = ["task.peaks={all:tf.bed,half:second.bed}", "run.dir=both"]
    program("finetune", *SMALL, *PEAKS, *both, "task.metric=auprc")
    table, summary = table_of("both"), summary_of("both")
    assert list(table)[4:6] == ["all", "half"]
    assert set(zip(table["all"], table["half"], strict=True)) == {(1, 1), (1, 0), (0, 0)}
    assert (summary["kind"], summary["metric"], summary["task"]) == ("multilabel", "auprc", "peaks")
    assert {"auroc", "auprc"} <= set(summary["test"])
    columns = pq.read_table("both/predictions.parquet").column_names
    assert columns == ["id", "label_all", "label_half", "score_0", "score_1"]
    for kind, words in {"kmer_logistic": [], "cnn": ["baseline.epochs=2"]}.items():
        program("baseline", *PEAKS, both[0], f"baseline={kind}", *words, f"run.dir={kind}")
        assert pq.read_table(f"{kind}/predictions.parquet").column_names == columns
        assert summary_of(kind)["data"] == summary["data"]
    described = Path("both/model/dnalm.yaml").read_text()
    assert "- all\n" in described
    assert "- half\n" in described


def test_a_run_continues_on_the_same_peaks_and_refuses_others(capsys: pytest.CaptureFixture[str]) -> None:
    program("finetune", *SMALL, *PEAKS, "run.dir=run")
    before = Path("run/task.tsv.gz").read_bytes()
    program("finetune", *SMALL, *PEAKS, "run.dir=run", "steps=8")
    assert "continuing run after step 6" in capsys.readouterr().out
    assert Path("run/task.tsv.gz").read_bytes() == before
    Path("tf.bed").write_text("".join(Path("tf.bed").read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(SystemExit) as ended:
        main(["finetune", *(word for word in SMALL if word != "steps=6"), *PEAKS, "steps=10", "run.dir=run"])
    assert ended.value.code == 2
    assert "CKPT-10" in capsys.readouterr().err
    assert Path("run/task.tsv.gz").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["task=peaks", "task.reference=genome.fa"],
            2,
            "CFG-07 task.peaks: no value; a value (Path or a mapping of str to Path). Fix: give task.peaks=",
        ),
        (["task=peaks", "task.peaks=tf.bed"], 2, "CFG-07 task.reference: no value; a value (Path)"),
        ([*PEAKS, "task.negatives.ratio=0"], 2, "CFG-04 task.negatives.ratio: 0"),
        ([*PEAKS, "task.negatives={ratio:-1}"], 2, "CFG-04 task.negatives.ratio: -1"),
        ([*PEAKS[:1], "task.peaks=gone.bed", *PEAKS[2:]], 2, "CFG-20 task.peaks: gone.bed is not there"),
        ([*PEAKS[:1], "task.peaks={a:tf.bed,b:gone.bed}", *PEAKS[2:]], 3, "gone.bed"),
        ([*PEAKS[:1], "task.peaks={a:tf.bed,a:second.bed}", *PEAKS[2:]], 2, "CFG-05 task.peaks: a"),
        ([*PEAKS, "data=fasta", "data.fasta=genome.fa"], 2, "CFG-18 data: a genome beside a task"),
        ([*PEAKS, "task.negative.ratio=2"], 2, "task.negatives"),
    ],
)
def test_bad_input_is_refused_before_any_work(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["finetune", *SMALL, *words, "run.dir=refused"])
    assert ended.value.code == code
    assert message in capsys.readouterr().err
    assert not Path("refused/config.yaml").exists()


def test_the_default_name_of_a_run_tells_peaks_apart() -> None:
    program("baseline", *PEAKS)
    program("baseline", *PEAKS, "task.peaks=second.bed")
    assert len(list(Path("runs").glob("baseline-kmer_logistic-peaks-*"))) == 2
    assert list(Path("runs").glob("baseline-kmer_logistic-peaks-second-*"))


def test_the_table_has_no_time_in_it() -> None:
    program("baseline", *PEAKS, "run.dir=one")
    program("baseline", *PEAKS, "run.dir=two")
    assert Path("one/task.tsv.gz").read_bytes() == Path("two/task.tsv.gz").read_bytes()
    assert gzip.decompress(Path("one/task.tsv.gz").read_bytes()).startswith(b"contig\t")
