"""Score the real sets with models and gather what `dnalm score` says of them.

    python experiments/variant_prioritization/measure.py ../shared/data runs/variants name=<run> ...

Writes results.csv and elements.png here. Sets with classes are also ranked without a model, by whether the
substitution is a transversion.
"""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from dnalm.evaluation.statistics import bootstrap_interval, metric_of

HERE = Path(__file__).parent
CONTIGS = ("hg19_chr20.fa.gz", "hg19_chr22.fa.gz")
Row = dict[str, object]


def main() -> None:
    """Prepare, score, gather."""
    data, work = Path(sys.argv[1]), Path(sys.argv[2])
    models = dict(word.split("=", 1) for word in sys.argv[3:])
    if not (work / "mpra.tsv").exists():
        subprocess.run([sys.executable, str(HERE / "prepare.py"), str(data), str(work)], check=True)
    genome = work / "chr20_22.fa"
    if not genome.exists():
        texts = [gzip.open(data / "genomes" / name, "rt").read() for name in CONTIGS]  # noqa: SIM115
        genome.write_text("".join(texts))
    rows: list[Row] = []
    for name, model in models.items():
        rows += scored(work, "mpra", work / "mpra.fa", name, model, "group=group", "mismatch=flag")
        for table in ("clinvar", "gwas", "indels"):
            rows += scored(work, table, genome, name, model, "other_contigs=skip")
    rows += simple(work)
    names = list(dict.fromkeys(key for row in rows for key in row))
    with (HERE / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    plot([row for row in rows if row["set"] == "mpra"])


def scored(work: Path, table: str, reference: Path, name: str, model: str, *more: str) -> list[Row]:
    """One set with one model: the figures that `dnalm score` gives with labels."""
    out = work / f"{table}.{name}.tsv"
    words = [f"model={model}", f"variants={work}/{table}.tsv", f"reference={reference}", f"out={out}"]
    if not out.exists():
        subprocess.run([sys.executable, "-m", "dnalm", "score", *words, "labels=label", *more], check=True)
    told = json.loads(out.with_name(f"{out.name}.summary.json").read_text())
    about = {"set": table, "scored_by": name, "seconds": told["seconds"]}
    return [{**about, **figures} for figures in told["evaluation"]]


def simple(work: Path) -> list[Row]:
    """Sets with classes, ranked by the kind of substitution alone, on the same contigs."""
    rows: list[Row] = []
    auroc = metric_of("binary", "auroc", num_outputs=2)
    for table in ("clinvar", "gwas"):
        with (work / f"{table}.tsv").open(newline="") as file:
            lines = list(csv.DictReader(file, delimiter="\t"))
        kept = [line for line in lines if line["chrom"].removeprefix("chr") in ("20", "22")]
        labels = np.array([int(line["label"]) for line in kept])
        pairs = ({"A", "G"}, {"C", "T"})
        transversion = np.array([float({line["ref"], line["alt"]} not in pairs) for line in kept])
        interval = bootstrap_interval(auroc, labels, transversion, np.random.default_rng(0))
        row: Row = {"set": table, "scored_by": "transversions first", "group": "all", "score": "kind"}
        row |= {
            "alleles": len(kept),
            "ones": int(labels.sum()),
            "auroc": round(auroc(labels, transversion), 4),
        }
        rows.append(row | {"auroc_low": round(interval.low, 4), "auroc_high": round(interval.high, 4)})
    return rows


def plot(rows: list[Row]) -> None:
    """Rank correlation of scores with the sizes of measured effects, element by element."""
    last = ["all", "mean over groups"]
    elements = [*sorted({str(row["group"]) for row in rows} - {*last}), *last]
    figure, axes = plt.subplots(figsize=(6, 6), layout="constrained")
    for number, name in enumerate(dict.fromkeys(str(row["scored_by"]) for row in rows)):
        values = {str(row["group"]): row for row in rows if row["scored_by"] == name}
        shown = [element for element in elements if element in values]
        heights = [float(str(values[element]["spearman_of_sizes"])) for element in shown]
        places = [elements.index(element) for element in shown]
        axes.plot(heights, places, "o", color=f"C{number}", label=name)
    axes.set_yticks(range(len(elements)), elements)
    axes.axvline(0, color="0.6", linewidth=0.8)
    axes.set_xlabel("Spearman correlation of |llr| with |measured effect|")
    axes.legend()
    figure.savefig(HERE / "elements.png", dpi=150)


if __name__ == "__main__":
    main()
