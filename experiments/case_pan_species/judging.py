"""What both cases share: run a command once, AUPRC with intervals of drawn blocks, and its picture."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from dnalm.evaluation.statistics import Metric, bootstrap_interval, metric_of

HERE = Path(__file__).parent
AUPRC = metric_of("binary", "auprc", num_outputs=2)
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Row = dict[str, object]


def dnalm(result: Path, *words: str) -> None:
    """Run a command, unless what it leaves is there."""
    if not result.exists():
        subprocess.run([sys.executable, "-m", "dnalm", *words], check=True)


def baseline_scores(name: str, task: Sequence[str], tiles: Path, run: Path) -> Floats:
    """What a baseline that learned from the rows of a task answers for each tile."""
    words = [*task, f"task.test={tiles}", f"run.dir={run}"]
    dnalm(run / "summary.json", "baseline", f"baseline={name}", *words)
    return np.asarray(pq.read_table(run / "predictions.parquet")["score"].to_numpy())


def write_tiles(path: Path, texts: Sequence[str], labels: Integers) -> Path:
    """As a table that baselines are asked of."""
    rows = zip(texts, labels.tolist(), strict=True)
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write("sequence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))
    return path


def interval(metric: Metric, labels: Integers, scores: Floats, blocks: npt.NDArray[np.str_]) -> Row:
    """95 % of draws of whole blocks, with replacement."""
    clusters = np.unique(blocks, return_inverse=True)[1]
    found = bootstrap_interval(metric, labels, scores, np.random.default_rng(0), clusters=clusters)
    return {"low": round(found.low, 4), "high": round(found.high, 4)}


def auprc_row(
    what: str, by: str, contigs: str, labels: Integers, scores: Floats, blocks: npt.NDArray[np.str_]
) -> Row:
    """AUPRC and its interval."""
    return {
        "what": what, "by": by, "contigs": contigs, "metric": "auprc", "rows": len(labels),
        "ones": int(labels.sum()), "value": round(AUPRC(labels, scores), 4),
        **interval(AUPRC, labels, scores, blocks),
    }  # fmt: skip


def plot_auprc(rows: Sequence[Row], legends: Mapping[str, str], label: str, out: Path) -> None:
    """AUPRC of both kinds of contigs; a line at the share of positives of the last."""
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for number, (contigs, legend) in enumerate(legends.items()):
        shown = [row for row in rows if row["contigs"] == contigs and row["metric"] == "auprc"]
        values = np.array([[float(str(row[key])) for key in ("value", "low", "high")] for row in shown])
        places = np.arange(len(shown)) + 0.2 * number - 0.1
        sides = np.abs(values[:, 1:] - values[:, :1]).T
        axes.errorbar(values[:, 0], places, xerr=sides, fmt="o", capsize=3, label=f"{contigs}: {legend}")
        axes.set_yticks(range(len(shown)), [str(row["by"]) for row in shown])
    axes.axvline(float(str(shown[0]["ones"])) / float(str(shown[0]["rows"])), color="0.7", linewidth=0.8)
    axes.invert_yaxis()
    figure.legend(frameon=False, loc="outside upper center", ncols=len(legends))
    axes.set_xlabel(label)
    figure.savefig(out, dpi=200)
