"""What a training step costs against length, width, depth, loader workers and processes.

    python experiments/throughput/scaling.py --out experiments/throughput/scaling  # with nothing else running

Length, width and depth: the step of training_step.py, ours and stock `transformers`' in turn, of 4,096 tokens
in sequences of equal length; 4 layers of 256 and 512 tokens where nothing else is said. Workers and
processes: a whole `dnalm pretrain` of 4 layers of 256 in DNABERT's mixed lengths, one thread a process; two
processes do twice the work of one.

Written to the folder: scaling.csv and scaling.png.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, StrMethodFormatter
from training import Case
from training_step import LAYERS, LONGEST, SEQUENCES, WIDTH, steps

from dnalm.evaluation.plots import new_figure, save_figure

LENGTHS, WIDTHS, DEPTHS = (64, 128, 256, 512, 1024, 2048), (64, 128, 256, 512, 768), (1, 2, 4, 8, 12)
WORKERS, PROCESSES = (0, 1, 2), (1, 2)
LABELS = {
    "length": "tokens of a sequence",
    "width": "width",
    "depth": "layers",
    "workers": "loader workers",
    "processes": "processes",
}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement.

    Attributes:
        against: what varies.
        value: how much of it there is.
        who: `dnalm` or `stock`.
        precision: `fp32` or `bf16`.
        tokens_per_s: real tokens, of all processes.
        data_wait: share of the time that steps waited for data; None where there is no loader.
    """

    against: str
    value: int
    who: str
    precision: str
    tokens_per_s: float
    data_wait: float | None = None


def of_steps(rounds: int, *, tiny: bool) -> Iterator[Point]:
    """Against length, width and depth."""
    kinds = {
        "length": [(value, value, WIDTH, LAYERS) for value in LENGTHS],
        "width": [(value, LONGEST, value, LAYERS) for value in WIDTHS],
        "depth": [(value, LONGEST, WIDTH, value) for value in DEPTHS],
    }
    for against, cases in kinds.items():
        for value, length, width, layers in cases[:1] if tiny else cases:
            for precision in ("fp32", "bf16"):
                lengths = [length] * (SEQUENCES * LONGEST // length)
                torch.manual_seed(0)
                both = steps(lengths, 0.1, autocast=precision == "bf16", layers=layers, width=width)
                seconds: dict[str, list[float]] = {name: [] for name in both}
                for _ in range(rounds + 1):
                    for name, step in both.items():
                        began = time.perf_counter()
                        step()
                        seconds[name].append(time.perf_counter() - began)
                for name, taken in seconds.items():
                    rate = sum(lengths) / statistics.median(taken[1:])
                    yield Point(
                        against=against, value=value, who=name, precision=precision, tokens_per_s=rate
                    )


def of_runs(out: Path, rounds: int, *, tiny: bool) -> Iterator[Point]:
    """Against workers and processes, the settings in turn."""
    ways = [("workers", number, [f"batch.num_workers={number}"]) for number in WORKERS]
    for number in PROCESSES:
        size = [f"trainer.devices={number}", f"batch.global_size={number * SEQUENCES}"]
        ways.append(("processes", number, size))
    found: dict[tuple[str, int], list[Point]] = {}
    for _ in range(rounds):
        for against, value, words in ways[-1:] if tiny else ways:
            found.setdefault((against, value), []).append(_run(out, against, value, words, tiny=tiny))
    for points in found.values():
        yield sorted(points, key=lambda point: point.tokens_per_s)[len(points) // 2]


def _run(out: Path, against: str, value: int, words: list[str], *, tiny: bool) -> Point:
    layers, width, num_steps = (1, 64, 3) if tiny else (LAYERS, WIDTH, 16)
    case = Case(windows="mix", precision="bf16", dropout=0.1, layers=layers, width=width, steps=num_steps)
    run = out / "run"
    shutil.rmtree(run, ignore_errors=True)
    given = dict(word.split("=", 1) for word in (*case.words(), *words))  # the later wins
    settings = [f"{key}={value}" for key, value in given.items()]
    command = [sys.executable, "-m", "dnalm", "pretrain", *settings, f"run.dir={run}"]
    with (out / "log").open("a") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, stdout=log, stderr=log, env=environment)
    summary = json.loads((run / "summary.json").read_text())
    shutil.rmtree(run)
    return Point(
        against=against,
        value=value,
        who="dnalm",
        precision=case.precision,
        tokens_per_s=summary["tokens_per_s"],
        data_wait=summary["data_wait"],
    )


def plot(points: list[Point], target: Path) -> None:
    """A panel for each thing that varies."""
    figure = new_figure(11, 2.9)
    for axes, (against, label) in zip(figure.subplots(1, len(LABELS)), LABELS.items(), strict=True):
        _panel(axes, [point for point in points if point.against == against])
        axes.set_xlabel(label)
    figure.axes[0].set_ylabel("thousand tokens per second")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    save_figure(figure, target, dpi=160)


def _panel(axes: Axes, points: list[Point]) -> None:
    styles = {"dnalm": ("C0", "o"), "stock": ("C1", "s")}
    is_few = points[0].against in ("workers", "processes") if points else False
    for who, precision in dict.fromkeys((point.who, point.precision) for point in points):
        mine = [point for point in points if (point.who, point.precision) == (who, precision)]
        colour, marker = styles[who]
        axes.plot(
            [point.value for point in mine],
            [point.tokens_per_s / 1000 for point in mine],
            color=colour,
            marker=marker,
            markersize=4,
            linestyle="-" if precision == "bf16" else ":",
            label=f"{'dnalm' if who == 'dnalm' else 'transformers'}, {precision}",
        )
    if is_few:
        axes.set_ylim(0, max(point.tokens_per_s for point in points) / 1000 * 1.15)
        axes.set_xticks(sorted({point.value for point in points}))
        axes.margins(x=0.2)
        return
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.minorticks_off()
    values = sorted({point.value for point in points})
    axes.set_xticks(values, [str(value) for value in values], rotation=45)


def main() -> None:
    """Measure, write the table and draw it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="shows that it works")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    points: list[Point] = []
    of_both = (of_steps(given.rounds, tiny=given.tiny), of_runs(given.out, given.rounds, tiny=given.tiny))
    for point in chain(*of_both):
        points.append(point)
        print(json.dumps(asdict(point)), flush=True)
    (given.out / "log").unlink()
    with (given.out / "scaling.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, asdict(points[0]), lineterminator="\n")
        table.writeheader()
        table.writerows({**asdict(point), "tokens_per_s": round(point.tokens_per_s)} for point in points)
    plot(points, given.out / "scaling.png")


if __name__ == "__main__":
    main()
