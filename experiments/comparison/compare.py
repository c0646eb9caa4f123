"""Five models, one corpus, one budget of bases: pretrained, judged at the same bases, fine-tuned.

    python experiments/comparison/compare.py runs/comparison        # size=tiny, for 2 cores
    python experiments/comparison/compare.py runs/full --size full --bases 3e10 --window-bp 512 trainer=gpu

Corpus: human chr20 and chr22 (hg19), the last twentieth of each judges. All models read windows of as many
bases, at random places, until the budget is used up; vocabularies of BPE are learned on the training part,
once. Every model stands beside its untrained twin, `<run>:untrained`, everywhere; what pretraining gives is
the difference to that. Words after the options go to `dnalm pretrain`. Run again, it continues where it was.

Writes here: pretraining.md (what each run cost), common_1 and common_6 (`dnalm compare`: the same stretches
of one and of six bases hidden from all), next_kmer.md (which three bases follow), gue
(`dnalm benchmark`, learning rates tuned on the validation sets), plot.png.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from dnalm.evaluation.plots import WIDTH, appearance, new_figure, printed, save_figure
from dnalm.paths import UNTRAINED
from dnalm.tables import markdown_text

HERE = Path(__file__).parent
DATA = HERE.parents[2] / "shared/data"
CONTIGS = {"chr20": "hg19_chr20.fa.gz", "chr22": "hg19_chr22.fa.gz"}
TASKS = ("prom_core_tata", "tf0")  # of GUE
CLASSICAL = ("kmer_logistic", "cnn")
RATES = "2e-4,5e-4,1e-3"  # of fine-tuning, the same for all
STRETCHES = (1, 6)
MODELS = {  # experiment; tokens and bases of a window of about so many bases
    "DNABERT": ("dnabert", lambda bp: (bp - 5, bp)),
    "DNABERT-2": ("dnabert2", lambda bp: (bp // 3, bp)),  # words of three bases on average fit in
    "NT v2": ("nt_v2_50m", lambda bp: (bp // 6, bp // 6 * 6)),
    "LOGO": ("logo", lambda bp: (bp // 5, bp // 5 * 5)),
    "GROVER": ("grover", lambda bp: (bp // 3, bp)),
}
MEGA = 1e6
Rows = Sequence[Mapping[str, str]]


def main() -> None:
    """Do what is missing, then write tables and picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--size", default="tiny", choices=("tiny", "small", "full"))
    parser.add_argument("--bases", type=float, default=20e6, help="bases that each model reads")
    parser.add_argument("--window-bp", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32, help="windows of an optimizer step")
    parser.add_argument("--seeds", type=int, default=3, help="of fine-tuning")
    given, words = parser.parse_known_args()
    given.work.mkdir(parents=True, exist_ok=True)
    summaries = {name: pretrained(name, given, words) for name in MODELS}
    rows = [cost_of(name, summary) for name, summary in summaries.items()]
    (HERE / "pretraining.md").write_text(markdown_text(list(rows[0]), [list(row.values()) for row in rows]))
    common = {stretch_bp: at_common_bases(stretch_bp, given) for stretch_bp in STRETCHES}
    next_kmers(given)
    plot(common, fine_tuned(given), HERE / "plot.png")


def pretrained(name: str, given: argparse.Namespace, words: list[str]) -> dict[str, float]:
    """Pretrain a model on the budget; the figures of its summary."""
    experiment, window_of = MODELS[name]
    run, (tokens, window_bp) = Path(given.work) / experiment, window_of(given.window_bp)
    steps = math.ceil(given.bases / given.batch / window_bp)
    windows = [f"windows.max_tokens={tokens}", "windows.min_tokens=null", "windows.random_share=1.0"]
    windows += [f"windows.bases_per_token={window_bp / tokens}", "windows.num_validation=4000"]
    steps_words = [f"steps={steps}", f"batch.global_size={given.batch}", "trainer.validate_every=1000"]
    command = [
        "pretrain",
        f"experiment={experiment}",
        f"size={given.size}",
        *corpus(),
        *windows,
        *steps_words,
    ]
    dnalm(*command, f"run.dir={run}", *words)
    summary: dict[str, float] = json.loads((run / "summary.json").read_text())
    return summary


def corpus() -> list[str]:
    """The two chromosomes, as words."""
    genomes = ", ".join(f"{contig}: {DATA}/genomes/{file}" for contig, file in CONTIGS.items())
    return ["data=multispecies", f"data.genomes={{{genomes}}}"]


def with_twins(work: Path) -> list[str]:
    """Runs of all models, each followed by its untrained twin."""
    runs = [work / experiment for experiment, _ in MODELS.values()]
    return [f"{run}{ending}" for run in runs for ending in ("", UNTRAINED)]


def cost_of(name: str, summary: Mapping[str, float]) -> dict[str, str]:
    """What a run has read and taken; its bits, of bases that its own masks hide, compare with no others."""
    return {
        "model": name,
        "parameters": f"{summary['parameters']:,}",
        "bases, Mb": f"{summary['bases'] / MEGA:.2f}",
        "tokens, M": f"{summary['tokens'] / MEGA:.2f}",
        "bits per base, own masks": f"{summary['val_bits_per_base']:.4f}",
        "kb/s": f"{summary['bases_per_s'] / 1000:.1f}",
        "seconds": f"{summary['seconds']:.0f}",
        "peak memory, MiB": f"{summary['peak_memory'] / 2**20:.0f}",
    }


def at_common_bases(stretch_bp: int, given: argparse.Namespace) -> Mapping[str, Mapping[str, float]]:
    """Judge all models and twins where the same stretches are hidden."""
    folder = given.work / f"common_{stretch_bp}"
    asked = [f"models=[{','.join(with_twins(given.work))}]", *corpus(), f"stretch_bp={stretch_bp}"]
    if not (folder / "summary.json").exists():
        dnalm("compare", *asked, "places=2000", "draws=5", f"run.dir={folder}")
    for name, ending in {"comparison.md": "md", "differences.csv": "differences.csv"}.items():
        shutil.copyfile(folder / name, HERE / f"common_{stretch_bp}.{ending}")
    found: dict[str, dict[str, float]] = json.loads((folder / "summary.json").read_text())["models"]
    return found


def next_kmers(given: argparse.Namespace) -> None:
    """Fine-tune on which three bases follow fifty, and write the accuracy of each model beside its twin's."""
    folder = given.work / "next_kmer"
    models = ",".join(f"'{name}'" for name in with_twins(given.work))
    words = [*corpus(), "task=next_kmer", "task.k=3", "tuning.pooling=mean", "budget=tiny", "steps=600"]
    words += [f"model={models}", f"seed={','.join(str(n + 1) for n in range(given.seeds))}"]
    dnalm("finetune", "-m", *words, f"sweep.dir={folder}", "sweep.parallel=2", "sweep.metric=score")
    found: dict[str, list[float]] = {}
    for row in read_rows(folder / "table.csv"):
        found.setdefault(Path(row["model"].strip("'")).name, []).append(float(row["score"]))
    rows = [
        [name, *(seeds_text(found[f"{experiment}{ending}"]) for ending in ("", UNTRAINED))]
        for name, (experiment, _) in MODELS.items()
    ]
    (HERE / "next_kmer.md").write_text(markdown_text(["model", "pretrained", "untrained twin"], rows))


def seeds_text(values: Sequence[float]) -> str:
    """Their mean, and each."""
    return f"{np.mean(values):.4f} ({', '.join(f'{value:.4f}' for value in values)})"


def fine_tuned(given: argparse.Namespace) -> Rows:
    """Fine-tune all models, twins and classical models."""
    models = ",".join((*with_twins(given.work), *CLASSICAL))
    words = [f"benchmark.root={DATA}/gue", f"models=[{models}]", f"tasks=[{','.join(TASKS)}]"]
    recipe = ["tuning.pooling=mean"]  # LOGO has no first token, which GUE's recipe reads
    if given.size != "full":  # else the published recipes otherwise
        recipe += ["budget=tiny", "steps=300", "trainer.validate_every=50"]
    words += [f"finetune={json.dumps(recipe)}", f'tune=["optim.lr={RATES}"]', f"seeds={given.seeds}"]
    folder = given.work / "gue"
    dnalm("benchmark", "benchmark=gue", *words, f"sweep.dir={folder}", "sweep.parallel=2")
    for name in ("benchmark.md", "benchmark.csv"):
        shutil.copyfile(folder / name, HERE / f"gue{Path(name).suffix}")
    return [row for row in read_rows(folder / "benchmark.csv") if row["from"] == "ours"]


def read_rows(path: Path) -> Rows:
    """A table."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def dnalm(*words: str) -> None:
    """Run a command."""
    subprocess.run([sys.executable, "-m", "dnalm", *words], check=True)


@printed
def plot(common: Mapping[int, Mapping[str, Mapping[str, float]]], scores: Rows, target: Path) -> None:
    """Bits at common bases and the metric of each task: every model filled, its untrained twin hollow."""
    names = [*MODELS, *CLASSICAL]
    tasks = list(dict.fromkeys(row["task"] for row in scores))
    figure = new_figure(1.6 * WIDTH, 2.4)
    panels = figure.subplots(1, len(common) + len(tasks), sharey=True)
    for (stretch_bp, models), panel in zip(common.items(), panels, strict=False):
        for model, found in models.items():
            value, error = found["bits"], found["standard_error"]
            _mark(panel, model, value, value - 2 * error, value + 2 * error)
        panel.set_xlabel(f"bits per base,\n{stretch_bp} bp hidden")
    for task, panel in zip(tasks, panels[len(common) :], strict=True):
        for row in (row for row in scores if row["task"] == task):
            _mark(panel, row["model"], float(row["mean"]), float(row["low"]), float(row["high"]))
        panel.set_xlabel(f"{scores[0]['metric'].upper()},\n{task}")
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    save_figure(figure, target)


def _mark(panel: Axes, model: str, value: float, low: float, high: float) -> None:
    """A model's value with its interval; a twin lies a little below its model."""
    twin, name = model.endswith(UNTRAINED), Path(model.removesuffix(UNTRAINED)).name
    order = [*(experiment for experiment, _ in MODELS.values()), *CLASSICAL]
    place = order.index(name) + 0.25 * twin
    look = appearance(order.index(name)) | ({"markerfacecolor": "white"} if twin else {})
    panel.plot([low, high], [place, place], color=look["color"], linewidth=1.0)
    panel.plot([value], [place], linestyle="", markersize=5, **look)
    panel.grid(axis="x", color="0.9")


if __name__ == "__main__":
    main()
