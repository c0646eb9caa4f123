"""Peaks of transcription factors in yeast, and enhancers of the simulated clade, by four models each.

    PYTHONPATH=. python experiments/peaks/measure.py work/peaks           # an hour on one busy core
    PYTHONPATH=. python experiments/peaks/measure.py work/small --quick   # 20 steps: that the commands work

Every line that starts with `$` is a command of dnalm. The contigs that validate and test are held out of the
pretraining too. What is done already in the work folder is not done again. Written here (with --quick, into
the work folder): table.csv, table.md, balance.png.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from dnalm.data.labelled import MetricName, TaskKind
from dnalm.evaluation.statistics import Interval, Labels, Scores, bootstrap_interval, metric_of
from dnalm.paths import UNTRAINED
from dnalm.simulation import Clade, find_or_simulate

HERE = Path(__file__).parent
DATA = HERE.parents[2] / "shared/data"
MODELS = ("pretrained", "untrained", "cnn", "kmer_logistic")
PRETRAINING = [
    "steps=600",
    "windows.num_validation=500",
    "schedule.warmup_steps=60",
    "trainer.validate_every=300",
]
RESAMPLES = 500
SHOWN: tuple[MetricName, ...] = ("auprc", "auroc")
PICTURE = "clade_tissues"  # whose balance is shown: it has repeats


@dataclass(frozen=True, kw_only=True)
class Genome:
    """A genome and the contigs that no training reads."""

    fasta: Path
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PeakSet:
    """A task: which peaks on which genome, in windows of how many bases."""

    genome: str
    peaks: dict[str, Path]
    length_bp: int

    @property
    def kind(self) -> TaskKind:
        """One cell type or several."""
        return "multilabel" if len(self.peaks) > 1 else "binary"


def main() -> None:
    """Pretrain on each genome, learn each task with each model, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true", help="20 steps of everything")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    target = given.folder if given.quick else HERE
    genomes, tasks = prepared(given.folder)
    for name, genome in genomes.items():
        held_out = ",".join((*genome.validation, *genome.test))
        words = ["experiment=dnabert", "size=tiny", "data=fasta", f"data.fasta={genome.fasta}"]
        words += [f"data.split.validation=[{held_out}]", "windows.max_tokens=200"]
        words += ["steps=20", "windows.num_validation=50"] if given.quick else PRETRAINING
        run("pretrain", given.folder / f"pretrained-{name}", words)
    rows: list[dict[str, Any]] = []
    for name, task in tasks.items():
        runs = {
            model: learned(given.folder, name, task, genomes[task.genome], model, quick=given.quick)
            for model in MODELS
        }
        rows += list(judged(name, task, runs))
    write_tables(rows, target)
    shutil.copyfile(given.folder / f"{PICTURE}-kmer_logistic/task.png", target / "balance.png")


def prepared(folder: Path) -> tuple[dict[str, Genome], dict[str, PeakSet]]:
    """The genomes, and the tasks on them; enhancers of the clade are written as BED."""
    chip = DATA / "annotations/yeast_chip_exo"
    clade = find_or_simulate(Clade())
    genomes = {
        "yeast": Genome(
            fasta=DATA / "genomes/sacCer3.fa.gz", validation=("chrXII",), test=("chrVII", "chrXIII")
        ),
        "clade": Genome(fasta=clade / "demo_a.fa", validation=("chr6",), test=("chr7", "chr8")),
    }
    tissues = {}
    for tissue in ("blood", "liver", "neuron"):
        lines = (clade / f"demo_a.{tissue}.states.bed").read_text().splitlines(keepends=True)
        tissues[tissue] = folder / f"{tissue}.bed"
        tissues[tissue].write_text("".join(line for line in lines if line.split("\t")[3].endswith("Enh")))
    factors = ("Abf1", "Rap1", "Reb1")
    tasks = {
        "yeast_Reb1": PeakSet(genome="yeast", peaks={"Reb1": chip / "Reb1.bed"}, length_bp=200),
        "yeast_factors": PeakSet(
            genome="yeast", peaks={name: chip / f"{name}.bed" for name in factors}, length_bp=200
        ),
        "clade_liver": PeakSet(genome="clade", peaks={"liver": tissues["liver"]}, length_bp=250),
        "clade_tissues": PeakSet(genome="clade", peaks=tissues, length_bp=250),
    }
    return genomes, tasks


def learned(folder: Path, name: str, task: PeakSet, genome: Genome, model: str, *, quick: bool) -> Path:
    """The run directory of a task and a model."""
    several = ",".join(f"{each}:'{path}'" for each, path in task.peaks.items())
    peaks = next(iter(task.peaks.values())) if task.kind == "binary" else f"{{{several}}}"
    words = ["task=peaks", f"task.name={name}", f"task.peaks={peaks}", f"task.reference={genome.fasta}"]
    words += [f"task.length_bp={task.length_bp}", "task.metric=auprc"]
    words += [f"task.validation=[{','.join(genome.validation)}]", f"task.test=[{','.join(genome.test)}]"]
    target = folder / f"{name}-{model}"
    if model in ("cnn", "kmer_logistic"):
        return run("baseline", target, [f"baseline={model}", *words, "run.replace=true"])
    source = f"{folder}/pretrained-{task.genome}{UNTRAINED * (model == 'untrained')}"
    return run(
        "finetune", target, [f"model={source}", "budget=tiny", *words, *(["steps=20"] if quick else [])]
    )


def run(command: str, target: Path, words: list[str]) -> Path:
    """Run a command of dnalm, unless its run is done."""
    if not (target / "summary.json").is_file():
        line = ["dnalm", command, *words, f"run.dir={target}"]
        print(f"$ {shlex.join(line)}", flush=True)
        subprocess.run([sys.executable, "-m", *line], check=True)
    return target


def judged(name: str, task: PeakSet, runs: dict[str, Path]) -> Iterator[dict[str, Any]]:
    """A row for each model and metric: the figure, its interval, and the difference to the untrained twin."""
    answers = {model: read_answers(folder) for model, folder in runs.items()}
    labels, untrained = answers["untrained"]
    with_peak = labels.reshape(len(labels), -1).any(axis=1)
    for model, (of_model, scores) in answers.items():
        assert np.array_equal(of_model, labels), "all models answer the same rows"
        summary = json.loads((runs[model] / "summary.json").read_text())
        for metric in SHOWN:
            figure = metric_of(task.kind, metric, num_outputs=len(task.peaks))
            interval = bootstrap_interval(
                figure, labels, scores, np.random.default_rng(1), resamples=RESAMPLES
            )
            apart = difference(task.kind, metric, labels, scores, untrained)
            yield {
                "task": name, "model": model, "metric": metric, "value": figure(labels, scores),
                "low": interval.low, "high": interval.high, "above_untrained_low": apart.low,
                "above_untrained_high": apart.high, "rows": len(labels), "peaks": int(with_peak.sum()),
                "parameters": summary["parameters"], "seconds": summary["seconds"],
            }  # fmt: skip


def read_answers(folder: Path) -> tuple[Labels, Scores]:
    """Labels and scores of the test rows."""
    table = pq.read_table(folder / "predictions.parquet")

    def columns(start: str) -> npt.NDArray[Any]:
        found = [
            table.column(name).to_numpy().copy() for name in table.column_names if name.startswith(start)
        ]
        return found[0] if len(found) == 1 else np.stack(found, axis=1)

    return columns("label"), columns("score")


def difference(kind: TaskKind, metric: MetricName, labels: Labels, scores: Scores, other: Scores) -> Interval:
    """Of a metric between two models on the same rows."""
    both = np.stack([scores, other], axis=-1)
    figure = metric_of(kind, metric, num_outputs=labels.shape[-1])

    def apart(rows: Labels, answers: Scores) -> float:
        return figure(rows, answers[..., 0]) - figure(rows, answers[..., 1])

    return bootstrap_interval(apart, labels, both, np.random.default_rng(1), resamples=RESAMPLES)


def write_tables(rows: list[dict[str, Any]], target: Path) -> None:
    """All figures as CSV; as Markdown a line for each task and metric, a column for each model."""
    with (target / "table.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        for row in rows:
            table.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()})
    lines = [f"| task | test rows | metric | {' | '.join(MODELS)} |", "|---" * (3 + len(MODELS)) + "|"]
    for task in dict.fromkeys(row["task"] for row in rows):
        for metric in SHOWN:
            here = {row["model"]: row for row in rows if (row["task"], row["metric"]) == (task, metric)}
            cells = [f"{here[m]['value']:.3f} ({here[m]['low']:.3f}-{here[m]['high']:.3f})" for m in MODELS]
            lines.append(f"| {task} | {here['untrained']['rows']} | {metric} | {' | '.join(cells)} |")
    (target / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
