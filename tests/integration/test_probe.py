"""What multi-task pretraining has learned of the planted promoters, read off with a linear probe.

Promoters and windows without one are matched in GC and lie on contigs that no split shares, so that neither
composition nor memory tells them apart.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dnalm.cli import main
from dnalm.genome.alphabet import from_text
from dnalm.models import MaskedLM, Packed, load_pretrained
from dnalm.simulation.settings import Clade
from dnalm.simulation.simulate import find_or_simulate
from dnalm.tokenizers import Tokenizer
from dnalm.tokenizers.folder import load_tokenizer

Floats = npt.NDArray[np.float64]
MARGIN = 0.15  # of AUROC; 0.24 when it was written
STEPS = 500


def read(path: Path) -> tuple[list[str], Floats]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["sequence"] for row in rows], np.array([2.0 * int(row["label"]) - 1 for row in rows])


@torch.no_grad()
def pooled(model: MaskedLM, tokenizer: Tokenizer, sequences: list[str]) -> Floats:
    """Means and maxima of the hidden states of each sequence, and a one."""
    rows = []
    for sequence in sequences:
        ids = torch.from_numpy(tokenizer.encode(from_text(sequence)))
        hidden = model.encoder(ids, Packed(torch.tensor([0, len(ids)], dtype=torch.int32), len(ids)))
        rows.append(torch.cat([hidden.mean(dim=0), hidden.amax(dim=0), torch.ones(1)]))
    return torch.stack(rows).double().numpy()


def auroc(scores: Floats, labels: Floats) -> float:
    """Share of the pairs that are ranked rightly, ties half."""
    better = np.sign(scores[labels > 0][:, None] - scores[labels < 0][None])
    return float((better.mean() + 1) / 2)


def probe(model: MaskedLM, tokenizer: Tokenizer, task: Path) -> float:
    """AUROC on the test contigs of a ridge regression, whose penalty the development contigs choose."""
    model.eval()
    splits = {name: read(task / f"{name}.csv") for name in ("train", "dev", "test")}
    features = {name: pooled(model, tokenizer, sequences) for name, (sequences, _) in splits.items()}
    mean, sd = features["train"].mean(axis=0), features["train"].std(axis=0)
    sd[sd == 0], mean[-1] = 1, 0
    scaled = {name: (values - mean) / sd for name, values in features.items()}
    train, labels = scaled["train"], splits["train"][1]
    found = []
    for penalty in (1.0, 10.0, 100.0, 1000.0):
        weights = np.linalg.solve(train.T @ train + penalty * np.eye(train.shape[1]), train.T @ labels)
        found.append([auroc(scaled[name] @ weights, splits[name][1]) for name in ("dev", "test")])
    return max(found)[1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("probe") / "run"
    words = [
        "experiment=logo_multitask", "size=tiny", "data=demo", f"steps={STEPS}", f"run.dir={run}",
        f"trainer.validate_every={STEPS}", "windows.num_validation=100", "schedule.warmup_steps=100",
    ]  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *words])
    assert ended.value.code == 0
    return run / "model"


def test_promoters_are_found_by_a_multi_task_encoder_and_not_by_an_untrained_one(trained: Path) -> None:
    task = find_or_simulate(Clade(), None) / "tasks/promoter"
    tokenizer, model = load_tokenizer(trained), load_pretrained(trained)
    assert isinstance(model, MaskedLM)
    after = probe(model, tokenizer, task)
    before = []
    for seed in (0, 1, 2):
        torch.manual_seed(seed)
        model.reset_parameters()
        before.append(probe(model, tokenizer, task))
    assert after > max(before) + MARGIN, f"trained {after:.3f}, untrained {before}"
