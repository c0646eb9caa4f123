"""Does a loss of single bases make a better k-mer model than the cross-entropy, at equal bases?

    python -m experiments.per_base.measure runs/per_base

from the root of the checkout. Three families at size=tiny are trained on promoters and enhancers of all five
species of the simulated clade, as in experiments/planted_variants, with both losses and otherwise the same
words, seeds and samples; chr6, chr7 and chr8 of every species are held out. All are judged where the same
stretches of one and of six bases are hidden, beside their untrained twins, and by planted variants of demo_a.
Writes table.csv, table.md and differences.csv here. Run again, it continues where it was.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnalm.paths import UNTRAINED
from dnalm.simulation.settings import Clade
from dnalm.simulation.simulate import find_or_simulate
from dnalm.tables import markdown_text
from experiments.planted_variants.measure import HELD_OUT, dnalm, write_regions, write_variants

HERE = Path(__file__).parent
LOSSES = ("cross_entropy", "per_base")
MODELS = {  # experiment: name, windows
    "nt_v2_50m": ("NT v2, 6-mers end to end", ["windows.max_tokens=24"]),
    "logo": ("LOGO, 5-mers end to end", ["windows.max_tokens=29", "windows.min_tokens=null"]),
    "dnabert": ("DNABERT-6, overlapping", []),
}
STRETCHES = (1, 6)
Figures = Mapping[str, float]
Judged = Mapping[str, Any]  # summary.json of `dnalm compare`


def main() -> None:
    """Do what is missing, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--experiments", nargs="+", default=list(MODELS), choices=list(MODELS))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    clade = find_or_simulate(Clade())
    regions = ", ".join(f"{name}: {bed}" for name, bed in write_regions(clade, given.work).items())
    data = ["data=clade", f"data.regions={{{regions}}}", f"data.split.validation=[{','.join(HELD_OUT)}]"]
    seeds, experiments = range(1, given.seeds + 1), given.experiments
    for seed in seeds:
        for experiment in experiments:
            for loss in LOSSES:
                words = [
                    f"experiment={experiment}",
                    "size=tiny",
                    *MODELS[experiment][1],
                    f"seed={seed}",
                    *data,
                ]
                run = given.work / name_of(experiment, loss, seed)
                if not (run / "summary.json").exists():
                    dnalm("pretrain", *words, f"objectives.masked_tokens.loss={loss}", f"run.dir={run}")
    runs = {
        (experiment, loss): [str(given.work / name_of(experiment, loss, seed)) for seed in seeds]
        for experiment in experiments
        for loss in ("untrained", *LOSSES)
    }
    common = {stretch_bp: at_common_bases(stretch_bp, given.work, runs, data) for stretch_bp in STRETCHES}
    variants = write_variants(clade, given.work / "held_out.vcf", "held out")
    scores = {each: [auroc(Path(run), variants, clade) for run in names] for each, names in runs.items()}
    write("table", [row_of(*each, names, common, scores[each]) for each, names in runs.items()])
    write("differences", [row for each in experiments for row in differences(each, common, runs)])


def name_of(experiment: str, loss: str, seed: int) -> str:
    """A run; both losses of a seed begin at the same weights, so they have one twin."""
    if loss == "untrained":
        return f"{experiment}_{LOSSES[0]}_{seed}{UNTRAINED}"
    return f"{experiment}_{loss}_{seed}"


def at_common_bases(
    stretch_bp: int, work: Path, runs: Mapping[tuple[str, str], Sequence[str]], data: Sequence[str]
) -> Judged:
    """Figures of all models and twins where the same stretches are hidden."""
    names = sorted(name for each in runs.values() for name in each)
    folder = work / f"common_{stretch_bp}_of_{len(names)}"
    words = [f"models=[{','.join(names)}]", *data, f"stretch_bp={stretch_bp}", "places=2000", "draws=3"]
    if not (folder / "summary.json").exists():
        dnalm("compare", *words, f"run.dir={folder}")
    found: Judged = json.loads((folder / "summary.json").read_text())
    return found


def auroc(run: Path, variants: Path, clade: Path) -> Figures:
    """By score, of motif-breaking against neutral variants."""
    out = run.parent / f"{run.name.replace(':', '_')}.tsv"
    words = [f"model={run}", f"variants={variants}", f"reference={clade}/demo_a.fa", f"out={out}"]
    summary = out.with_name(f"{out.name}.summary.json")
    if not summary.exists():
        dnalm("score", *words, "score=[llr,pll]", "labels=LABEL")
    return {each["score"]: each["auroc"] for each in json.loads(summary.read_text())["evaluation"]}


def row_of(
    experiment: str,
    loss: str,
    runs: Sequence[str],
    common: Mapping[int, Judged],
    scores: Sequence[Figures],
) -> dict[str, str]:
    """Means over the seeds, and each seed."""
    row = {"model": MODELS[experiment][0], "loss": loss}
    for stretch_bp, found in common.items():
        judged = [found["models"][run] for run in runs]
        row[f"bits, {stretch_bp} bp hidden"] = several([each["bits"] for each in judged])
        row[f"less counts, {stretch_bp} bp"] = several([each["over_counts"]["mean"] for each in judged])
    for score in ("llr", "pll"):
        row[f"AUROC, {score}"] = several([each[score] for each in scores])
    return row


def differences(
    experiment: str, common: Mapping[int, Judged], runs: Mapping[tuple[str, str], Sequence[str]]
) -> list[dict[str, str]]:
    """Bits of per_base less those of the cross-entropy, paired by stretch, of each seed."""
    theirs, ours = (runs[experiment, loss] for loss in LOSSES)
    return [
        {
            "model": MODELS[experiment][0],
            "hidden bp": str(stretch_bp),
            "seed": str(seed),
            "per_base less cross_entropy": f"{each['mean'] * (1 if each['first'] == our else -1):+.4f}",
            "standard error": f"{each['standard_error']:.4f}",
        }
        for stretch_bp, found in common.items()
        for seed, (their, our) in enumerate(zip(theirs, ours, strict=True), start=1)
        for each in found["differences"]
        if {each["first"], each["second"]} == {their, our}
    ]


def several(values: Sequence[float]) -> str:
    """A mean, and each value where there are several."""
    each = f" ({', '.join(f'{value:.4f}' for value in values)})" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{each}"


def write(name: str, rows: Sequence[Mapping[str, str]]) -> None:
    """A table as CSV, and for readers."""
    with (HERE / f"{name}.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    (HERE / f"{name}.md").write_text(markdown_text(list(rows[0]), [list(row.values()) for row in rows]))


if __name__ == "__main__":
    main()
