"""`dnalm benchmark` of a set of variants end to end: a job of `dnalm score` for each, tables, pictures."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import roc_auc_score

from dnalm.cli import main
from dnalm.models import Encoder, MaskedLM, save_pretrained
from dnalm.tokenizers import KmerTokenizer
from tests.conftest import random_sequence

pytestmark = pytest.mark.usefixtures("forked_programs")

CONTIGS = 5
HEADER = "set\tgenome\tpath\tsource\tsha256\tcolumns\tkeep\tlabel\tmetric\tgroup\tcluster\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model, a genome of five contigs, and twelve labelled SNVs on each; one contig more in the file."""
    torch.manual_seed(0)
    tokenizer = KmerTokenizer(k=3)
    sizes = {"hidden_size": 8, "num_layers": 1, "num_heads": 2, "intermediate_size": 16, "max_positions": 64}
    ids = {"vocab_size": tokenizer.vocab_size, "padding_id": 0, "mask_id": tokenizer.special.mask}
    model = tmp_path / "model"
    model.mkdir()
    save_pretrained(MaskedLM(Encoder(**sizes, **ids)), model)
    tokenizer.save(model)
    text = random_sequence(200)
    (tmp_path / "genome.fa").write_text("".join(f">chr{n}\n{text}\n" for n in range(1, CONTIGS + 1)))
    rows = []
    for contig in range(1, CONTIGS + 2):
        for place in range(60, 144, 7):
            alt = "ACGT"[("ACGT".index(text[place]) + 1 + contig % 3) % 4]
            rows.append(f"{contig}\t{place + 1}\t.\t{text[place]}\t{alt}\t{(place // 7 + contig) % 2}")
    (tmp_path / "v.tsv").write_text("chrom\tpos\tid\tref\talt\tlabel\n" + "\n".join(rows) + "\n")
    row = "toy\thg19\tv.tsv\t\t\t\t\tlabel\tauprc_by_chromosome,auroc\tchromosome\tchromosome\n"
    (tmp_path / "sets.tsv").write_text(HEADER + row)
    return tmp_path


def run(folder: Path, **other: str) -> int:
    words = {
        "benchmark": "variants",
        "benchmark.sets": folder / "sets.tsv",
        "benchmark.root": folder,
        "benchmark.cache": folder / "cache",
        "benchmark.genomes.hg19": folder / "genome.fa",
        "benchmark.scores": "[llr,distance,ridge,prediction]",
        "benchmark.window_bp": "40",
        "models": f"[{folder}/model,{folder}/model:untrained]",
        "seeds": "2",
        "sweep.dir": folder / "out",
        **other,
    }
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", *(f"{key}={value}" for key, value in words.items())])
    return int(ended.value.code or 0)


def test_models_and_twins_are_judged_and_a_second_call_runs_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder) == 0
    out = folder / "out"
    with (out / "benchmark.csv").open(newline="") as file:
        found = {(row["task"], row["model"]): row for row in csv.DictReader(file)}
    model = f"{folder}/model"
    assert {task for task, _ in found} == {
        f"toy {score}, {metric}"
        for score in ("llr", "distance", "ridge")
        for metric in ("auprc_by_chromosome", "auroc")
    }
    assert found["toy llr, auroc", model]["seeds"] == "1"
    assert found["toy llr, auroc", f"{model}:untrained"]["seeds"] == "1 2"
    events = [json.loads(line) for line in (out / "sweep.jsonl").read_text().splitlines()]
    job = next(event["run"] for event in events if event["overrides"]["model"] == model)
    table = pq.read_table(Path(job) / "scores.parquet")
    labels, llr = table["label"].to_numpy(), table["llr"].to_numpy()
    assert float(found["toy llr, auroc", model]["mean"]) == pytest.approx(
        roc_auc_score(labels.astype(float), -llr)
    )
    text = (out / "benchmark.md").read_text()
    assert "| toy | 60 | 30 | 5 chromosomes | 12 no\\_contig | genome.fa |" in text
    assert "What pretraining adds" in text
    assert "too few items" in text
    assert (out / "variants.png").is_file()
    assert np.isfinite(float(found["toy ridge, auroc", model]["low"]))
    before, ledger = (out / "benchmark.csv").read_bytes(), (out / "sweep.jsonl").read_bytes()
    assert run(folder) == 0
    assert (out / "benchmark.csv").read_bytes() == before
    assert (out / "sweep.jsonl").read_bytes() == ledger
    capsys.readouterr()


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("models", "[kmer_logistic]", "BENCH-03 models: kmer_logistic, which gives none of the scores"),
        ("tune", "['optim.lr=1e-3,1e-4']", "BENCH-17 tune:"),
        ("tasks", "[nothing]", "BENCH-02 tasks:"),
    ],
)
def test_what_does_not_fit_a_set_of_variants_is_refused(
    folder: Path, key: str, value: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, **{key: value}) == 2
    assert says in " ".join(capsys.readouterr().err.split())
