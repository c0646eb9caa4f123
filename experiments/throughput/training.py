"""Whole training beside `transformers.Trainer`: the same BERT, windows, recipe and precision, in turn.

    python experiments/throughput/training.py --out runs/bench      # with nothing else running

4 layers of 256, DNABERT-6's vocabulary, 8 windows a step: `full` are all of 512 tokens, `mix` are DNABERT's,
half of them full and the others of uniform length. `dnalm` is a whole `dnalm pretrain`, with its loader,
logging and files; `Trainer` gets the same windows already tokenized, groups them by length and uses its fused
AdamW. `bare` is the step of training_step.py alone, without loader or Lightning. Each is a process of its
own, they alternate, and ratios are taken round by round, since machines are busy. Real tokens are counted,
padding is not; `Trainer`'s first three steps are left out, ours are not. The utilisation (MFU) is of the rate
of a large product in the same precision, measured by the run.

Written to the folder: training.json and training.md.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from gpu import Clock, padded
from training_step import HEAD_WIDTH, SEQUENCES, VOCABULARY, lengths_of, steps

from dnalm.compose import build, read_config
from dnalm.data.module import GenomeData

SKIPPED = 3
_BARE_STEPS = 5


@dataclass(frozen=True, kw_only=True)
class Case:
    """What both train.

    Attributes:
        windows: `full` or `mix`.
        precision: `fp32` or `bf16`.
        dropout: of hidden states and of attention.
        layers: of the model.
        width: of the model.
        steps: that are taken.
    """

    windows: str
    precision: str
    dropout: float
    layers: int
    width: int
    steps: int

    def words(self) -> list[str]:
        """Of `dnalm pretrain`."""
        of_windows = {"full": ["windows.full_share=1", "windows.min_tokens=null"], "mix": []}[self.windows]
        precision = {"fp32": "32-true", "bf16": "bf16-mixed"}[self.precision]
        return [
            *("experiment=dnabert", "data=demo", "trainer=cpu", f"trainer.precision={precision}"),
            *(f"model.hidden_size={self.width}", f"model.intermediate_size={4 * self.width}"),
            *(f"model.num_layers={self.layers}", f"model.num_heads={self.width // HEAD_WIDTH}"),
            *(f"model.dropout={self.dropout}", f"model.attention_dropout={self.dropout}"),
            *(f"batch.global_size={SEQUENCES}", f"batch.micro_size={SEQUENCES}", "windows.num_validation=8"),
            *(f"steps={self.steps}", "schedule.warmup_steps=1", "optim.lr=1e-4"),
            *of_windows,
        ]


Figures = dict[str, float]


def train_ours(case: Case, out: Path) -> Figures:
    """A whole `dnalm pretrain`, and what its summary says."""
    run = out / "run"
    shutil.rmtree(run, ignore_errors=True)
    with (out / "log").open("a") as log:
        command = [sys.executable, "-m", "dnalm", "pretrain", *case.words(), f"run.dir={run}"]
        subprocess.run(command, check=True, stdout=log, stderr=log)
    summary = json.loads((run / "summary.json").read_text())
    return {
        "tokens/s": summary["tokens_per_s"],
        "peak GiB": summary["peak_memory"] / 2**30,
        "MFU": summary["mfu_of_measured"],
        "data wait": summary["data_wait"],
    }


def by_itself(what: Literal["bare", "stock"], case: Case, out: Path) -> Figures:
    """The bare step, or `Trainer`, in a process of its own."""
    words = [f"--{what}", json.dumps(asdict(case)), "--out", str(out)]
    with (out / "log").open("a") as log:
        said = subprocess.run(
            [sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, stderr=log, text=True
        )
    found: Figures = json.loads(said.stdout.splitlines()[-1])
    return found


def run_stock(case: Case, out: Path) -> Figures:
    """Train with `Trainer` and its best settings, on the ids of the windows of the same run."""
    config = read_config("pretrain", case.words())
    parts = {name: build(config[name], key=name) for name in ("tokenizer", "windows", "masking", "batch")}
    data = GenomeData(build(config["data"], key="data"), seed=1, **parts)
    data.prepare_data()
    data.setup("fit")
    samples = data.training_samples()
    rows = [{"input_ids": samples[number].ids.tolist()} for number in range(case.steps * SEQUENCES)]
    model = transformers.BertForMaskedLM(
        transformers.BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=case.width,
            num_hidden_layers=case.layers,
            num_attention_heads=case.width // HEAD_WIDTH,
            intermediate_size=4 * case.width,
            hidden_dropout_prob=case.dropout,
            attention_probs_dropout_prob=case.dropout,
        )
    )
    arguments = transformers.TrainingArguments(
        output_dir=str(out / "trainer"),
        max_steps=case.steps,
        per_device_train_batch_size=SEQUENCES,
        bf16=case.precision == "bf16",
        use_cpu=True,
        optim="adamw_torch_fused",
        train_sampling_strategy="group_by_length",
        save_strategy="no",
        report_to=[],
        logging_steps=10,
        include_num_input_tokens_seen="non_padding",
        disable_tqdm=True,
    )
    clock = Clock(SKIPPED)
    transformers.Trainer(
        model=model, args=arguments, train_dataset=rows, data_collator=padded, callbacks=[clock]
    ).train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"tokens/s": clock.tokens / clock.seconds, "peak GiB": peak / 2**30}


def run_bare(case: Case) -> Figures:
    """The step alone, ours and stock's in turn, on one micro-batch."""
    lengths = lengths_of(case.windows)
    sizes = {"layers": case.layers, "width": case.width}
    contenders = steps(lengths, case.dropout, autocast=case.precision == "bf16", **sizes)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(1 + _BARE_STEPS):
        for name, step in contenders.items():
            began = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - began)
    return {name: sum(lengths) / statistics.median(taken[1:]) for name, taken in seconds.items()}


def _spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def measure(case: Case, out: Path, rounds: int) -> dict[str, Any]:
    """One row of the table."""
    found = [
        (train_ours(case, out), by_itself("bare", case, out), by_itself("stock", case, out))
        for _ in range(rounds)
    ]
    ours, bare, stock = (
        {key: statistics.median(each[key] for each in of) for key in of[0]} for of in zip(*found, strict=True)
    )
    return {
        "model": f"{case.layers} x {case.width}",
        "windows": case.windows,
        "precision": case.precision,
        "dropout": case.dropout,
        "dnalm, tokens/s": round(ours["tokens/s"]),
        "Trainer, tokens/s": round(stock["tokens/s"]),
        "ratio (least to largest)": _spread([a["tokens/s"] / c["tokens/s"] for a, _, c in found]),
        "bare step, tokens/s": round(bare["dnalm"]),
        "bare step, ratio": _spread([b["dnalm"] / b["stock"] for _, b, _ in found]),
        "whole / bare": _spread([a["tokens/s"] / b["dnalm"] for a, b, _ in found]),
        "MFU of measured": round(ours["MFU"], 3),
        "data wait": round(ours["data wait"], 3),
        "dnalm, peak GiB": round(ours["peak GiB"], 2),
        "Trainer, peak GiB": round(stock["peak GiB"], 2),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """As Markdown."""
    lines = [f"| {' | '.join(rows[0])} |", f"|{'---|' * len(rows[0])}"]
    return "\n".join([*lines, *(f"| {' | '.join(str(each) for each in row.values())} |" for row in rows), ""])


def cases(*, tiny: bool) -> list[Case]:
    """The rows of the table, the large model last."""
    if tiny:
        return [Case(windows="mix", precision="fp32", dropout=0.1, layers=1, width=64, steps=SKIPPED + 2)]
    kinds = product(("full", "mix"), ("fp32", "bf16"), (0.1, 0.0))
    small = [
        Case(windows=windows, precision=precision, dropout=dropout, layers=4, width=256, steps=24)
        for windows, precision, dropout in kinds
    ]
    large = Case(windows="full", precision="bf16", dropout=0.0, layers=12, width=768, steps=SKIPPED + 5)
    return [*small, large]


def main() -> None:
    """Measure, and write the table after each row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="shows that it works")
    for part in ("--bare", "--stock"):
        parser.add_argument(part, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    if given.bare:
        print(json.dumps(run_bare(Case(**json.loads(given.bare)))))
        return
    if given.stock:
        print(json.dumps(run_stock(Case(**json.loads(given.stock)), given.out)))
        return
    rows = []
    for case in cases(tiny=given.tiny):
        rows.append(measure(case, given.out, given.rounds))
        print(json.dumps(rows[-1]), flush=True)
        (given.out / "training.json").write_text(json.dumps(rows, indent=1) + "\n")
        (given.out / "training.md").write_text(table(rows))


if __name__ == "__main__":
    main()
