"""Five models, one corpus, one budget of bases: pretrained, fine-tuned on the same tasks, in one table.

    python experiments/comparison/compare.py runs/comparison        # size=tiny, for 2 cores
    python experiments/comparison/compare.py runs/full --size full --bases 3e10 --window-bp 512 trainer=gpu

Corpus: human chr20 and chr22 (hg19), the last twentieth of each judges. All models read windows of as many
bases, at random places, until the budget is used up; vocabularies of BPE are learned on the training part,
once. Every model stands beside its untrained twin, `<run>:untrained`; what pretraining gives is the
difference to that. Words after the options go to `dnalm pretrain`. Run again,
it continues where it was. Writes table.csv, table.md and plot.png here.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from dnalm.paths import UNTRAINED
from dnalm.tables import markdown_text

HERE = Path(__file__).parent
DATA = HERE.parents[2] / "shared/data"
CONTIGS = {"chr20": "hg19_chr20.fa.gz", "chr22": "hg19_chr22.fa.gz"}
TASKS = ("prom_core_tata", "tf0")
BASELINES = ("kmer_logistic", "cnn")
MODELS = {  # experiment; tokens and bases of a window of about so many bases
    "DNABERT": ("dnabert", lambda bp: (bp - 5, bp)),
    "DNABERT-2": ("dnabert2", lambda bp: (bp // 3, bp)),  # words of three bases on average fit in
    "NT v2": ("nt_v2_50m", lambda bp: (bp // 6, bp // 6 * 6)),
    "LOGO": ("logo", lambda bp: (bp // 5, bp // 5 * 5)),
    "GROVER": ("grover", lambda bp: (bp // 3, bp)),
}
MEGA = 1e6
Scores = dict[tuple[str, str], list[float]]  # of each seed, by task and model


def main() -> None:
    """Train and fine-tune what is missing, then write table and picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--size", default="tiny", choices=("tiny", "small", "full"))
    parser.add_argument("--bases", type=float, default=8e6, help="bases that each model reads")
    parser.add_argument("--window-bp", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32, help="windows of an optimizer step")
    parser.add_argument("--seeds", type=int, default=2, help="of fine-tuning")
    given, words = parser.parse_known_args()
    given.work.mkdir(parents=True, exist_ok=True)
    summaries = {name: pretrained(name, given, words) for name in MODELS}
    scores = fine_tuned(given)
    rows = [row_of(name, summaries.get(name), scores) for name in (*MODELS, *BASELINES)]
    with (HERE / "table.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    (HERE / "table.md").write_text(markdown_text(list(rows[0]), [list(row.values()) for row in rows]))
    plot(scores)


def pretrained(name: str, given: argparse.Namespace, words: list[str]) -> dict[str, float]:
    """Pretrain a model on the budget; the figures of its summary."""
    experiment, window_of = MODELS[name]
    run, (tokens, window_bp) = Path(given.work) / experiment, window_of(given.window_bp)
    steps = math.ceil(given.bases / given.batch / window_bp)
    genomes = ", ".join(f"{contig}: {DATA}/genomes/{file}" for contig, file in CONTIGS.items())
    windows = [f"windows.max_tokens={tokens}", "windows.min_tokens=null", "windows.random_share=1.0"]
    windows += [f"windows.bases_per_token={window_bp / tokens}", "windows.num_validation=4000"]
    steps_words = [f"steps={steps}", f"batch.global_size={given.batch}", "trainer.validate_every=1000"]
    data = ["data=multispecies", f"data.genomes={{{genomes}}}"]
    command = ["pretrain", f"experiment={experiment}", f"size={given.size}", *data, *windows, *steps_words]
    dnalm(*command, f"run.dir={run}", *words)
    summary: dict[str, float] = json.loads((run / "summary.json").read_text())
    return summary


def fine_tuned(given: argparse.Namespace) -> Scores:
    """Fine-tune every model on every task."""
    runs = [Path(given.work) / experiment for experiment, _ in MODELS.values()]
    models = [*(f"{run}{ending}" for run in runs for ending in ("", UNTRAINED)), *BASELINES]
    words = [f"benchmark.root={DATA}/gue", f"tasks=[{','.join(TASKS)}]", f"models=[{','.join(models)}]"]
    recipe = ["tuning.pooling=mean"]  # LOGO has no first token, which GUE's recipe reads
    if given.size != "full":  # else the published recipes otherwise
        recipe += ["budget=tiny", "steps=300", "trainer.validate_every=50"]
    words.append(f"finetune={json.dumps(recipe)}")
    folder = given.work / "gue"
    words += [f"seeds={given.seeds}", f"sweep.dir={folder}", "sweep.parallel=2"]
    dnalm("benchmark", "benchmark=gue", *words)
    with (folder / "benchmark.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["from"] == "ours"]
    return {(row["task"], row["model"]): [float(value) for value in row["values"].split()] for row in rows}


def row_of(name: str, summary: dict[str, float] | None, scores: Scores) -> dict[str, str]:
    """A line of the table; baselines have read nothing before."""
    row = {"model": name}
    row["parameters"] = f"{summary['parameters']:,}" if summary else ""
    row["pretrained on, Mb"] = f"{summary['bases'] / MEGA:.2f}" if summary else "0"
    row["tokens, M"] = f"{summary['tokens'] / MEGA:.2f}" if summary else ""
    row["bits per base"] = f"{summary['val_bits_per_base']:.4f}" if summary else ""
    row["order 0"] = f"{summary['baseline_order0_bits']:.4f}" if summary else ""
    row["below order 0"] = difference(summary["over_order0"]) if summary else ""
    row["kb/s"] = f"{summary['bases_per_s'] / 1000:.1f}" if summary else ""
    row["seconds"] = f"{summary['seconds']:.0f}" if summary else ""
    row["peak memory, MiB"] = f"{summary['peak_memory'] / 2**20:.0f}" if summary else ""
    for task in TASKS:
        found = values_of(name, task, scores)
        row[task] = seeds_text(found)
        row[f"{task}, untrained twin"] = seeds_text(values_of(name, task, scores, twin=True))
    return row


def seeds_text(values: list[float]) -> str:
    """Their mean, and each."""
    each = ", ".join(f"{value:.3f}" for value in values)
    return f"{np.mean(values):.3f} ({each})" if values else ""


def difference(paired: object) -> str:
    """Of bits per base, with the standard error of the paired difference."""
    assert isinstance(paired, dict)
    return f"{-paired['mean']:+.4f} ± {paired['standard_error']:.4f}"


def values_of(name: str, task: str, scores: Scores, *, twin: bool = False) -> list[float]:
    """Of each seed; the benchmark knows a pretrained model by its folder. Baselines have no twin."""
    called = f"{MODELS[name][0]}{UNTRAINED * twin}" if name in MODELS else "" if twin else name
    return next((v for (of, model), v in scores.items() if of == task and Path(model).name == called), [])


def dnalm(*words: str) -> None:
    """Run a command."""
    subprocess.run([sys.executable, "-m", "dnalm", *words], check=True)


def plot(scores: Scores) -> None:
    """What each model makes of the tasks: every seed a dot, their mean a line; untrained twins are rings."""
    names = [*MODELS, *BASELINES]
    figure, axes = plt.subplots(1, len(TASKS), figsize=(8, 3.2), sharey=True, layout="constrained")
    for task, part in zip(TASKS, axes, strict=True):
        for place, name in enumerate(names):
            values = values_of(name, task, scores)
            color = "C0" if name in MODELS else "0.5"
            part.plot(values, [place] * len(values), "o", color=color, alpha=0.7)
            part.plot(np.mean(values), place, "|", color=color, markersize=14)
            twins = values_of(name, task, scores, twin=True)
            part.plot(twins, [place] * len(twins), "o", color=color, fillstyle="none")
        part.set_xlabel(f"MCC, {task}")
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    figure.savefig(HERE / "plot.png", dpi=150)


if __name__ == "__main__":
    main()
