"""Does pretraining help? Five families at one budget, each beside its untrained twin.

    python experiments/question/question.py runs/comparison

Asks the models of `experiments/comparison`, which runs first where it has not, in a further way: by frozen
probes on 10, 100, 1,000 and all labels (`dnalm benchmark labels=… tuning=probe`). Run again, it continues
where it was; other options are those of `experiments/comparison/compare.py`.

Writes here: labels.csv, labels.png, probes.md, and of all of it together answer.csv, answer.md and
answer.png: what pretraining adds, a model less its twin, with its interval.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dnalm.evaluation.plots import WIDTH, appearance, new_figure, printed, save_figure
from dnalm.paths import UNTRAINED
from dnalm.tables import csv_text, markdown_text

HERE = Path(__file__).parent
COMPARISON = HERE.parent / "comparison/compare.py"
DATA = HERE.parents[2] / "shared/data"
FAMILIES = {
    "dnabert": "DNABERT",
    "dnabert2": "DNABERT-2",
    "nt_v2_50m": "NT v2",
    "logo": "LOGO",
    "grover": "GROVER",
}
TASK = "prom_core_tata"  # whose rows are few enough for a probe on all of them
CLASSICAL = ("kmer_logistic", "cnn")
ASKED = {"gue": "fine-tuned", "probes": "frozen, probed"}
Answer = dict[str, str]


def main() -> None:
    """Do what is missing, then write tables and pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    given, options = parser.parse_known_args()
    subprocess.run([sys.executable, COMPARISON, given.work, *options], check=True)
    probe(given.work)
    answers = [answer for folder in ASKED for answer in read_answers(given.work, folder)]
    answers = [*at_common_bases(given.work), *answers]
    rows = [list(answer.values()) for answer in answers]
    (HERE / "answer.csv").write_text(csv_text([list(answers[0]), *rows]))
    (HERE / "answer.md").write_text(markdown_text(*table_of(answers)))
    plot(answers, HERE / "answer.png")


def with_twins(work: Path) -> list[str]:
    """Runs of all models, each followed by its untrained twin."""
    return [f"{work / name}{ending}" for name in FAMILIES for ending in ("", UNTRAINED)]


def probe(work: Path) -> None:
    """Linear probes on frozen encoders by numbers of labels; the validation set chooses layer and penalty."""
    models = f"models=[{','.join((*with_twins(work), *CLASSICAL))}]"
    words = [f"benchmark.root={DATA}/gue", f"tasks=[{TASK}]", models, "labels=[10,100,1000,all]"]
    words += ["recipe=ours", f"finetune={json.dumps(['tuning=probe', 'tuning.layer=best'])}", "seeds=3"]
    folder = work / "probes"
    dnalm("benchmark", "benchmark=gue", *words, f"sweep.dir={folder}", "sweep.parallel=2")
    for name, target in {
        "labels.csv": "labels.csv",
        "labels.png": "labels.png",
        "benchmark.md": "probes.md",
    }.items():
        shutil.copyfile(folder / name, HERE / target)


def read_answers(work: Path, folder: str) -> list[Answer]:
    """What pretraining adds on each task of a benchmark: the differences between models and their twins."""
    with (work / folder / "differences.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["second"] == f"{row['first']}{UNTRAINED}"]
    return [
        {
            "asked": ASKED[folder],
            "task": row["task"],
            "model": FAMILIES[Path(row["first"]).name],
            "pretraining adds": row["difference"],
            "low": row["low"],
            "high": row["high"],
            "verdict": row["first is"],
        }
        for row in rows
    ]


def at_common_bases(work: Path) -> list[Answer]:
    """Bits per base that pretraining takes off at the same hidden bases, with two standard errors."""
    answers = []
    for stretch_bp in (1, 6):
        found = json.loads((work / f"common_{stretch_bp}/summary.json").read_text())
        for each in found["differences"]:
            if each["second"] == f"{each['first']}{UNTRAINED}":
                gain, error = -each["mean"], each["standard_error"]
                answers.append(
                    {
                        "asked": "bits per base",
                        "task": f"{stretch_bp} bp hidden",
                        "model": FAMILIES[Path(each["first"]).name],
                        "pretraining adds": repr(gain),
                        "low": repr(gain - 2 * error),
                        "high": repr(gain + 2 * error),
                        "verdict": "better" if gain > 5 * error else "no difference seen",
                    }
                )
    return answers


def table_of(answers: Sequence[Answer]) -> tuple[list[str], list[list[str]]]:
    """A line for each question, a column for each family; verdicts are in answer.csv."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for each in answers:
        gain, low, high = (float(each[name]) for name in ("pretraining adds", "low", "high"))
        text = f"{gain:+.3f} ({low:+.3f} to {high:+.3f})"
        cells.setdefault((each["asked"], each["task"]), {})[each["model"]] = text
    names = list(FAMILIES.values())
    rows = [[*asked, *(row.get(name, "") for name in names)] for asked, row in cells.items()]
    return ["asked", "task", *names], rows


def dnalm(*words: str) -> None:
    """Run a command."""
    subprocess.run([sys.executable, "-m", "dnalm", *words], check=True)


@printed
def plot(answers: Sequence[Mapping[str, str]], target: Path) -> None:
    """What pretraining adds: a panel for each way of asking, a line of five families for each task."""
    ways = list(dict.fromkeys(each["asked"] for each in answers))
    figure = new_figure(WIDTH, 3.2)
    for panel, way in zip(figure.subplots(1, len(ways)), ways, strict=True):
        found = [each for each in answers if each["asked"] == way]
        tasks = list(dict.fromkeys(each["task"] for each in found))
        for each in found:
            number = list(FAMILIES.values()).index(each["model"])
            place = tasks.index(each["task"]) + 0.14 * (number - 2)
            look = appearance(number)
            panel.plot(
                [float(each["low"]), float(each["high"])], [place] * 2, color=look["color"], linewidth=1
            )
            label = each["model"] if each["task"] == tasks[0] else None
            panel.plot([float(each["pretraining adds"])], [place], "", markersize=4, label=label, **look)
        panel.axvline(0, color="0.6", linewidth=0.8)
        panel.set_yticks(range(len(tasks)), [task.replace("_", "\n") for task in tasks])
        panel.set_ylim(len(tasks) - 0.5, -0.5)
        panel.set_title(way)
        panel.grid(axis="x", color="0.9")
    figure.supxlabel("pretrained less untrained twin", fontsize=8)
    figure.legend(*panel.get_legend_handles_labels(), loc="outside upper center", ncols=len(FAMILIES))
    save_figure(figure, target)


if __name__ == "__main__":
    main()
