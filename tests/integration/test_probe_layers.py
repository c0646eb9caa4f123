"""`tuning=probe` finds the layer of a real encoder that the label is readable at, and leaves what it says."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from dnalm.cli import main
from dnalm.data.labelled import SequenceRecipe
from dnalm.data.labelled.samples import cut
from dnalm.genome.alphabet import from_text
from dnalm.models import Packed, Pretrained
from dnalm.training import write_model_directory
from dnalm.training.model_directory import load_finetuned
from tests.evaluation.embedding.models import tiny

NUM_ROWS = {"train": 200, "val": 100, "test": 200}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sequences rich or poor in A, and an encoder in which <cls> knows that after its first block alone.

    The embedding of <cls> is the same in every sequence; the first block's attention mixes the others into
    it; the last block's norm gives zeros.
    """
    folder = tmp_path_factory.mktemp("lab")
    rng = np.random.default_rng(1)
    for part, number in NUM_ROWS.items():
        shares = [[0.1, 0.3, 0.3, 0.3], [0.5, 0.2, 0.1, 0.2]]
        texts = ["".join(rng.choice(list("ACGT"), 20, p=shares[row % 2])) for row in range(number)]
        lines = [f"{text},{row % 2}" for row, text in enumerate(texts)]
        (folder / f"{part}.csv").write_text("\n".join(["sequence,label", *lines]) + "\n")
    network, tokenizer = tiny("kmer")
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        for parameter in list(network.encoder.blocks)[-1].feed_forward_norm.parameters():  # type: ignore[union-attr]
            parameter.zero_()
    write_model_directory(
        folder / "model",
        model=network,
        weights=network.state_dict(),
        tokenizer=tokenizer,
        config={},
        data_fingerprint="none",
        precision="fp32",
        steps=0,
        window_tokens=None,
    )
    return folder


def probe(lab: Path, run: Path, *words: str, code: int = 0) -> dict[str, Any]:
    parts = [f"task.{part}={lab}/{part}.csv" for part in NUM_ROWS]
    with pytest.raises(SystemExit) as ended:
        main(
            [
                *("finetune", f"model={lab}/model", *parts, f"task.cache={lab}/cache", f"run.dir={run}"),
                *("tuning=probe", "tuning.pooling=cls", *words),
            ]
        )
    assert ended.value.code == code
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text()) if not code else {}
    return summary


def test_the_layer_that_the_label_is_readable_at_is_chosen_and_its_model_answers_as_it_said(
    lab: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    summary = probe(lab, run, "tuning.layer=best")
    assert summary["probe"]["layer"] == 1
    by_layer: dict[int, float] = {}
    for each in summary["probe"]["candidates"]:
        by_layer[each["layer"]] = min(each["val_loss"], by_layer.get(each["layer"], np.inf))
    assert by_layer[1] < 0.65
    assert [by_layer[0], by_layer[2]] == pytest.approx([np.log(2)] * 2, abs=1e-4)
    with (run / "probe.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["layer"] for row in rows if row["chosen"] == "True"] == ["1"]
    assert len(rows) == 3 * 7
    assert (summary["steps"], summary["steps_done"]) == (0, 0)
    assert summary["test"]["accuracy"] > 0.7

    found = load_finetuned(Pretrained(source=str(run)))
    assert found.head.shape.layer == 1
    scores = []
    with (lab / "test.csv").open(newline="") as file:
        texts = [row["sequence"] for row in csv.DictReader(file)]
    for text in texts:
        pieces = cut(from_text(text), found.tokenizer, SequenceRecipe(), limit=None, where="")
        packed = Packed(torch.tensor([0, len(pieces.ids)], dtype=torch.int32), len(pieces.ids))
        with torch.no_grad():
            first, owner = torch.tensor([0]), torch.zeros(1, dtype=torch.int64)
            outputs = found.model(torch.from_numpy(pieces.ids), packed, first, owner, 1)
        scores.append(float(outputs.softmax(1)[0, 1]))
    assert scores == pytest.approx(pq.read_table(run / "predictions.parquet")["score"].to_pylist(), abs=1e-3)

    again = probe(lab, tmp_path / "again", "tuning.layer=best")
    assert again["probe"] == summary["probe"]
    probe(lab, run, "tuning.layer=last", code=2)  # the folder holds the result of another probe


def test_a_dense_probe_of_a_layer_that_is_given(lab: Path, tmp_path: Path) -> None:
    words = ["tuning.layer=1", "tuning.dense=true", "tuning.inverse_penalties=[0.1,1]", "task.labels=10"]
    summary = probe(lab, tmp_path / "run", *words)
    assert [each["layer"] for each in summary["probe"]["candidates"]] == [1, 1]
    assert summary["rows"] == {"train": 10, "val": 10, "test": 200}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tuning.layer=3"], "CFG-18 tuning.layer: 3, of an encoder of 2 layers"),
        (["tuning.select=last"], "a probe takes no steps: choose it by metric or loss"),
        (["tuning.inverse_penalties=[]"], "inverse_penalties is empty"),
    ],
)
def test_what_cannot_be_probed_is_refused(
    words: list[str], message: str, lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probe(lab, tmp_path / "run", *words, code=2)
    assert message in capsys.readouterr().err
