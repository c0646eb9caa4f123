"""Do models of minutes, pretrained on regulatory DNA alone, rank planted motif-breaking variants high?

    python experiments/planted_variants/measure.py runs/planted

Trains a k-mer, a 6-mer and a BPE model, one after the other, on promoters and enhancers of all five species
of the simulated clade, scores the variants of demo_a with each, and writes variants.csv and variants.png
here. Run again, it goes on where it was. chr6, chr7 and chr8 of every species are held out.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from dnalm.data import MultispeciesCorpus, SplitByContig
from dnalm.evaluation.baselines import count
from dnalm.evaluation.statistics import bootstrap_interval, metric_of
from dnalm.genome.store import GenomeStore
from dnalm.simulation.settings import Clade
from dnalm.simulation.simulate import find_or_simulate

HERE = Path(__file__).parent
HELD_OUT = ("chr6", "chr7", "chr8")
FLANK_BP = 20  # on both sides of an element
MODELS = {
    "DNABERT-6": ["experiment=dnabert"],
    "NT v2 (6-mers)": ["experiment=nt_v2_50m", "windows.max_tokens=24"],
    "DNABERT-2 (BPE)": ["experiment=dnabert2", "windows.max_tokens=30"],
}
Row = dict[str, object]


def main() -> None:
    """Train, score, and write table and picture."""
    work = Path(sys.argv[1])
    work.mkdir(parents=True, exist_ok=True)
    clade = find_or_simulate(Clade())
    beds = write_regions(clade, work)
    variants = {
        side: write_variants(clade, work / f"{side}.vcf", side) for side in ("held out", "trained on")
    }
    rows: list[Row] = []
    for name, words in MODELS.items():
        run = work / words[0].partition("=")[2]
        train(run, beds, words)
        rows += scored(run, clade, variants, name)
        rows += scored(run, clade, variants, f"{name} untrained", ending=":untrained")
    rows += counted(beds, variants)
    with (HERE / "variants.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    plot([row for row in rows if row["contigs"] == "held out"])


def train(run: Path, beds: dict[str, Path], words: list[str]) -> None:
    """Pretrain on the regions of every species."""
    regions = ", ".join(f"{species}: {bed}" for species, bed in beds.items())
    data = ["data=clade", f"data.regions={{{regions}}}", f"data.split.validation=[{','.join(HELD_OUT)}]"]
    dnalm("pretrain", "size=tiny", *data, f"run.dir={run}", *words)


def scored(run: Path, clade: Path, variants: dict[str, Path], name: str, *, ending: str = "") -> list[Row]:
    """Score both sides with a model, or with its twin that learned nothing (`:untrained`)."""
    seconds = 0 if ending else json.loads((run / "summary.json").read_text())["seconds"]
    rows: list[Row] = []
    for side, path in variants.items():
        out = run / f"{path.stem}{ending.replace(':', '_')}.tsv"
        words = [f"model={run}{ending}", f"variants={path}", f"reference={clade}/demo_a.fa", f"out={out}"]
        if not out.exists():
            dnalm("score", *words, "score=[llr,pll]", "labels=LABEL")
        told = json.loads(out.with_name(f"{out.name}.summary.json").read_text())
        for figures in told["evaluation"]:
            row = {"scored_by": name, "score": figures["score"], "contigs": side}
            row |= {key: figures[key] for key in ("alleles", "ones", "auroc", "auroc_low", "auroc_high")}
            rows.append(row | {"pretrain_s": round(seconds), "score_s": told["seconds"]})
    return rows


def dnalm(*words: str) -> None:
    """Run a command."""
    subprocess.run([sys.executable, "-m", "dnalm", *words], check=True)


def write_regions(clade: Path, work: Path) -> dict[str, Path]:
    """Promoters and enhancers of every species with their flanks, as BED."""
    beds = {}
    for path in sorted(clade.glob("*.gff3")):
        features = [line.split("\t") for line in path.read_text().splitlines() if line[0] != "#"]
        chosen = [columns for columns in features if columns[2] in ("promoter", "enhancer")]
        beds[path.stem] = work / f"{path.stem}.bed"
        beds[path.stem].write_text(
            "".join(f"{c[0]}\t{max(0, int(c[3]) - 1 - FLANK_BP)}\t{int(c[4]) + FLANK_BP}\n" for c in chosen)
        )
    return beds


def write_variants(clade: Path, path: Path, side: str) -> Path:
    """Motif-breaking and neutral variants of the contigs that are held out, or of the others."""
    kept = []
    for line in (clade / "variants.vcf").read_text().splitlines():
        on_side = (line.split("\t")[0] in HELD_OUT) == (side == "held out")
        if line[0] == "#" or ("CLASS=splice" not in line and on_side):
            kept.append(line)
    path.write_text("\n".join(kept) + "\n")
    return path


def counted(beds: dict[str, Path], variants: dict[str, Path]) -> list[Row]:
    """The share of each base between its four neighbours on either side, counted on the same regions."""
    corpus = MultispeciesCorpus(clade=Clade(), regions=beds, split=SplitByContig(validation=list(HELD_OUT)))
    corpus.prepare()
    genomes = corpus.genomes()
    counts = count([(genome.store, genome.division.train) for genome in genomes])
    (store,) = (genome.store for genome in genomes if genome.name == "demo_a")
    auroc = metric_of("binary", "auroc", num_outputs=2)
    rows = []
    for side, path in variants.items():
        lines = [line.split("\t") for line in path.read_text().splitlines() if line[0] != "#"]
        labels = np.array([int(columns[7].endswith("LABEL=1")) for columns in lines])
        losses = np.array([loss(counts.context_counts, store, columns) for columns in lines])
        interval = bootstrap_interval(auroc, labels, losses, np.random.default_rng(0))
        row = {"scored_by": "counts of neighbours", "score": "llr", "contigs": side, "alleles": len(lines)}
        row |= {"ones": int(labels.sum()), "auroc": round(auroc(labels, losses), 4)}
        row |= {"auroc_low": round(interval.low, 4), "auroc_high": round(interval.high, 4)}
        rows.append(row | {"pretrain_s": 0, "score_s": 0})
    return rows


def loss(counts: np.ndarray, store: GenomeStore, columns: list[str]) -> float:
    """Log of the share of REF less that of ALT."""
    place = int(columns[1]) - 1
    around = store.fetch(columns[0], place - 4, place + 5)
    context = 0
    for at in (0, 1, 2, 3, 5, 6, 7, 8):
        context = context * 4 + int(around[at] & 3)
    shares = np.log(counts[context] + 1)
    return float(shares["ACGT".index(columns[3])] - shares["ACGT".index(columns[4])])


def plot(rows: list[Row]) -> None:
    """AUROC with intervals on the contigs that are held out."""
    figure, axes = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    names = [f"{row['scored_by']}, {row['score']}" for row in rows]
    values = np.array(
        [[float(str(row[key])) for key in ("auroc", "auroc_low", "auroc_high")] for row in rows]
    )
    sides = np.abs(values[:, 1:] - values[:, :1]).T
    axes.errorbar(values[:, 0], range(len(rows)), xerr=sides, fmt="o", capsize=3)
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    axes.axvline(0.5, color="0.6", linewidth=0.8)
    axes.set_xlabel(f"AUROC of {rows[0]['alleles']} variants on held-out contigs")
    figure.savefig(HERE / "variants.png", dpi=150)


if __name__ == "__main__":
    main()
