"""`dnalm cluster` end to end: figures of the saved vectors, a known baseline, labels that cannot be."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import StandardScaler

from dnalm.cli import main
from tests.evaluation.embedding.models import save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model, and 40 sequences of two compositions, which any table of k-mers tells apart."""
    save("kmer", tmp_path / "model")
    rng = np.random.default_rng(1)
    with (tmp_path / "in.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["sequence", "kind", "same"])
        for number in range(40):
            letters = "AATG" if number % 2 else "CCGT"
            table.writerow(["".join(rng.choice(list(letters), 60)), f"kind{number % 2}", "one"])
    return tmp_path


def program(folder: Path, label: str) -> int:
    where = [f"model={folder}/model", f"input={folder}/in.csv", f"run.dir={folder}/run", f"label={label}"]
    with pytest.raises(SystemExit) as ended:
        main(["cluster", *where])
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_it_tells_two_compositions_apart_and_its_figures_are_those_of_the_saved_vectors(
    folder: Path,
) -> None:
    assert program(folder, "kind") == 0
    summary = json.loads((folder / "run/summary.json").read_text())
    assert (summary["rows"], summary["labels"]) == (40, {"kind0": 20, "kind1": 20})
    assert summary["figures"]["4-mer frequencies"]["rand"] == pytest.approx(1.0)
    saved = pq.read_table(folder / "run/embeddings.parquet")
    vectors = np.stack(saved.column("vector").to_pylist())
    expected = silhouette_score(StandardScaler().fit_transform(vectors), saved.column("kind").to_pylist())
    assert summary["figures"]["model"]["silhouette"] == pytest.approx(expected, abs=1e-4)
    with (folder / "run/clusters.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    told = [(row["vectors"], row["label"]) for row in table]
    kinds = ("all", "kind0", "kind1")
    assert told == [(name, kind) for name in ("model", "4-mer frequencies") for kind in kinds]
    assert float(table[0]["silhouette"]) == pytest.approx(expected, abs=1e-4)
    for ending, begins in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        assert (folder / f"run/clusters.{ending}").read_bytes().startswith(begins)


def test_labels_that_cannot_be_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program(folder, "same") == 3
    assert "CLUS-01" in capsys.readouterr().err
    assert program(folder, "kid") == 3
    said = capsys.readouterr().err
    assert "no column 'kid'; there are sequence, kind, same" in said
