"""From enhancer peaks to ranked variants: peaks, task, fine-tuning, scores, motifs lost and gained.

    python experiments/case_enhancer_variants/run.py planted work/planted
    python experiments/case_enhancer_variants/run.py human work/human ../shared/data

`planted`: enhancers of the simulated clade, whose motif sites are known. A DNABERT-6 of minutes is
pretrained on regulatory DNA of five species, and fine-tuned to tell enhancers of demo_a from windows of
equal GC; so are a twin that was not pretrained, and two baselines that are no language model. Then every
enhancer of the held-out contigs gets variants: at core bases of its motif sites, and as many at bases of no
site. Both lie in the same enhancers, so what ranks them apart knows sites. `human`: the active enhancers of
five tissues on chr22 (ChromHMM), and the measured effects of MPRA saturation mutagenesis, element by
element.

Run again, it continues where it was. Written here: <case>.csv, and of `planted` also planted.png.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pyarrow.parquet as pq

from dnalm.evaluation.statistics import bootstrap_interval, metric_of
from dnalm.genome.meme import write_meme
from dnalm.genome.store import open_or_build
from dnalm.simulation.sequence import MOTIFS
from dnalm.simulation.settings import Clade
from dnalm.simulation.simulate import find_or_simulate

HERE = Path(__file__).parent
VALIDATION, TEST = ("chr6",), ("chr7", "chr8")
FLANK_BP = 20  # on both sides of an element, in pretraining
WINDOW_BP = 200
UNTRAINED = ["steps=2", "optim.lr=0.0", "schedule.warmup_steps=1"]  # the same start, nothing learned
TISSUES = ("Islets", "Liver", "SkeletalMuscle", "Adipose", "InferiorTemporalLobe")
PIECES = ("chr22a", "chr22b", "chr22c", "chr22d")  # of chr22: training, training, validation, test
STARTS = (0, 27_000_000, 39_000_000, 44_000_000)
Row = dict[str, object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=("planted", "human"))
    parser.add_argument("work", type=Path)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    rows = planted(given.work) if given.case == "planted" else human(given.work, given.data)
    with (HERE / f"{given.case}.csv").open("w", newline="") as file:
        names = list(dict.fromkeys(key for row in rows for key in row))
        table = csv.DictWriter(file, names, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def dnalm(result: Path, *words: str) -> None:
    """Run a command, unless what it leaves is there."""
    if not result.exists():
        subprocess.run([sys.executable, "-m", "dnalm", *words], check=True)


# Planted variants


def planted(work: Path) -> list[Row]:
    """Pretrain, fine-tune, score, and hold the ranks against what was planted."""
    clade = find_or_simulate(Clade())
    reference = clade / "demo_a.fa"
    regions = ", ".join(f"{path.stem}: {write_regions(path, work)}" for path in sorted(clade.glob("*.gff3")))
    held_out = f"[{','.join(VALIDATION + TEST)}]"
    pretrained, untrained = work / "pretrained", work / "untrained"
    for run, words in {pretrained: [], untrained: UNTRAINED}.items():
        dnalm(
            run / "summary.json",
            *("pretrain", "experiment=dnabert", "size=tiny", "data=clade", f"data.regions={{{regions}}}"),
            *(f"data.split.validation={held_out}", f"run.dir={run}", *words),
        )
    task = [
        *("task=peaks", f"task.peaks={write_enhancers(clade, work)}", f"task.reference={reference}"),
        *(f"task.length_bp={WINDOW_BP}", "task.name=enhancer"),
        *(f"task.validation=[{','.join(VALIDATION)}]", f"task.test=[{','.join(TEST)}]"),
    ]
    variants = write_variants(clade, work / "variants.vcf")
    write_known(work / "planted.meme")
    where = [f"variants={variants}", f"reference={reference}", "labels=LABEL"]
    rows: list[Row] = []
    for name, model in {"pretrained": str(pretrained), "untrained": f"{pretrained}:untrained"}.items():
        run, scored = work / f"finetuned_{name}", work / f"variants.{name}.tsv"
        dnalm(run / "summary.json", "finetune", f"model={model}", *task, "budget=tiny", f"run.dir={run}")
        dnalm(
            scored.with_name(f"{scored.name}.summary.json"),
            *("score", f"model={run}", *where, f"out={scored}", "score=[prediction]"),
            f"motifs={work}/planted.meme",
        )
        rows += [
            task_row(name, run),
            variant_row(name, "prediction", variants, scored),
            motif_row(name, variants, scored),
        ]
    for run in (pretrained, untrained):
        scored = work / f"variants.{run.name}.llr.tsv"
        dnalm(scored, "score", f"model={run}", *where, f"out={scored}", "score=[llr]")
        rows.append(variant_row(run.name, "llr", variants, scored))
    for name in ("kmer_logistic", "cnn"):
        run = work / name
        dnalm(run / "summary.json", "baseline", f"baseline={name}", *task, f"run.dir={run}")
        rows.append(task_row(name, run))
    plot(rows)
    return rows


def write_regions(gff: Path, work: Path) -> Path:
    """Promoters and enhancers of a species with their flanks."""
    bed = work / f"{gff.stem}.regions.bed"
    lines = [
        f"{columns[0]}\t{max(0, int(columns[3]) - 1 - FLANK_BP)}\t{int(columns[4]) + FLANK_BP}\n"
        for columns in features(gff)
        if columns[2] in ("promoter", "enhancer")
    ]
    bed.write_text("".join(lines))
    return bed


def write_enhancers(clade: Path, work: Path) -> Path:
    """The enhancers of demo_a, as a caller of peaks writes them."""
    bed = work / "enhancers.bed"
    lines = [
        f"{columns[0]}\t{int(columns[3]) - 1}\t{columns[4]}\t{name_of(columns)}\n"
        for columns in features(clade / "demo_a.gff3")
        if columns[2] == "enhancer"
    ]
    bed.write_text("".join(lines))
    return bed


def name_of(columns: list[str]) -> str:
    return columns[8].split(";")[1].removeprefix("Name=")


def features(gff: Path) -> list[list[str]]:
    return [line.split("\t") for line in gff.read_text().splitlines() if line[0] != "#"]


def write_variants(clade: Path, path: Path) -> Path:
    """Of each enhancer of the test contigs, SNVs at core bases of its sites (1) and at bases of none (0)."""
    draw = np.random.default_rng(1)
    store = open_or_build(clade / "demo_a.fa")
    sites: dict[str, list[tuple[int, int, str, str]]] = {}
    for line in (clade / "demo_a.motifs.bed").read_text().splitlines():
        contig, start, end, name, _, strand, element = line.split("\t")
        if contig in TEST:
            sites.setdefault(element, []).append((int(start), int(end), name, strand))
    chosen: list[tuple[str, int, str, str]] = []
    for columns in features(clade / "demo_a.gff3"):
        if columns[2] != "enhancer" or columns[0] not in TEST:
            continue
        name = name_of(columns)
        inside = {
            (start + at if strand == "+" else end - 1 - at): motif
            for start, end, motif, strand in sites[name]
            for at in MOTIFS[motif].core
        }
        covered = {place for start, end, *_ in sites[name] for place in range(start, end)}
        outside = sorted({*range(int(columns[3]) - 1, int(columns[4]))} - covered)
        number = min(3, len(inside), len(outside))
        for place in draw.choice(sorted(inside), number, replace=False):
            chosen.append((columns[0], int(place), inside[int(place)], name))
        for place in draw.choice(outside, number, replace=False):
            chosen.append((columns[0], int(place), "none", name))
    rows = []
    for contig, place, motif, element in sorted(chosen):
        ref = int(store.fetch(contig, place, place + 1)[0]) & 3
        alt = (ref + int(draw.integers(1, 4))) % 4
        info = f"MOTIF={motif};ELEMENT={element};LABEL={int(motif != 'none')}"
        rows.append(f"{contig}\t{place + 1}\t.\t{'ACGT'[ref]}\t{'ACGT'[alt]}\t.\t.\t{info}\n")
    head = "##fileformat=VCFv4.3\n"
    for name, kind in {"MOTIF": "String", "ELEMENT": "String", "LABEL": "Integer"}.items():
        head += f'##INFO=<ID={name},Number=1,Type={kind},Description="planted">\n'
    path.write_text(f"{head}#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n{''.join(rows)}")
    return path


def write_known(path: Path) -> None:
    """The planted motifs."""
    tables = {name: np.maximum(motif.probabilities, 1e-3) for name, motif in MOTIFS.items()}
    tables = {name: table / table.sum(axis=1, keepdims=True) for name, table in tables.items()}
    write_meme(path, tables, num_sites=dict.fromkeys(tables, 100))


def task_row(name: str, run: Path) -> Row:
    """Enhancer or background, on the test contigs."""
    table = pq.read_table(run / "predictions.parquet")
    labels, scores = table["label"].to_numpy(), table["score"].to_numpy()
    return interval_row("enhancers", name, "probability", "auprc", labels, scores)


def interval_row(
    what: str, name: str, score: str, metric: str, labels: np.ndarray, values: np.ndarray
) -> Row:
    judged = metric_of("binary", metric, num_outputs=2)
    interval = bootstrap_interval(judged, labels, values, np.random.default_rng(0))
    value, low, high = (
        round(float(each), 4) for each in (judged(labels, values), interval.low, interval.high)
    )
    return {
        "what": what, "model": name, "score": score, "metric": metric, "rows": len(labels),
        "ones": int(labels.sum()), "value": value, "low": low, "high": high,
    }  # fmt: skip


def variant_row(name: str, score: str, variants: Path, scored: Path) -> Row:
    """Variants of sites against variants beside them: a broken site lowers the score."""
    with scored.open(newline="") as file:
        values = -np.array([float(row[score]) for row in csv.DictReader(file, delimiter="\t")])
    labels = np.array([int(planted["LABEL"]) for planted in read_info(variants).values()])
    return interval_row("variants", name, score, "auroc", labels, values)


def read_info(vcf: Path) -> dict[tuple[str, str], dict[str, str]]:
    """What was planted at each place of the VCF, in its order."""
    lines = [line.split("\t") for line in vcf.read_text().splitlines() if line[0] != "#"]
    return {(line[0], line[1]): dict(pair.split("=") for pair in line[7].split(";")) for line in lines}


def motif_row(name: str, variants: Path, scored: Path) -> Row:
    """Of the hundred variants of the largest predicted effect, those whose lost motif is the planted one."""
    places = read_info(variants)
    with scored.with_name(f"{scored.name}.ranked.tsv").open(newline="") as file:
        top = list(csv.DictReader(file, delimiter="\t"))[:100]
    truth = [places[row["chrom"], row["pos"]]["MOTIF"] for row in top]
    right = sum(row["lost"] == motif for row, motif in zip(top, truth, strict=True))
    return {
        "what": "lost motif is the planted one", "model": name, "score": "prediction",
        "metric": "share of 100", "rows": len(top),
        "ones": sum(motif != "none" for motif in truth), "value": right / len(top), "low": "", "high": "",
    }  # fmt: skip


def plot(rows: list[Row]) -> None:
    """What tells enhancers from background, and sites from bases beside them."""
    figure, panels = plt.subplots(1, 2, figsize=(8.5, 2.6), layout="constrained")
    titles = {
        "enhancers": "AUPRC of enhancers",
        "variants": "AUROC of broken sites",
    }
    for axes, (what, title) in zip(panels, titles.items(), strict=True):
        shown = [row for row in rows if row["what"] == what]
        values = np.array([[float(str(row[key])) for key in ("value", "low", "high")] for row in shown])
        sides = np.abs(values[:, 1:] - values[:, :1]).T
        axes.errorbar(values[:, 0], range(len(shown)), xerr=sides, fmt="o", capsize=3, color="0.2")
        axes.set_yticks(range(len(shown)), [f"{row['model']}, {row['score']}" for row in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.axvline(0.5, color="0.7", linewidth=0.8)
        axes.set_xlabel(title)
    figure.savefig(HERE / "planted.png", dpi=200)


# Measured effects


def human(work: Path, data: Path) -> list[Row]:
    """Pretrain on chr22, fine-tune on the enhancers of five tissues, and score the MPRA's variants."""
    reference = write_pieces(data, work / "chr22.fa")
    pretrained, untrained = work / "pretrained", work / "untrained"
    for run, words in {pretrained: [], untrained: UNTRAINED}.items():
        dnalm(
            run / "summary.json",
            *("pretrain", "experiment=dnabert", "size=tiny", "data=fasta", f"data.fasta={reference}"),
            *(f"data.split.validation=[{PIECES[2]}]", f"run.dir={run}", *words),
        )
    peaks = ", ".join(f"{tissue}: {write_states(data, tissue, work)}" for tissue in TISSUES)
    task = [
        *(
            "task=peaks",
            f"task.peaks={{{peaks}}}",
            f"task.reference={reference}",
            f"task.length_bp={WINDOW_BP}",
        ),
        *(f"task.validation=[{PIECES[2]}]", f"task.test=[{PIECES[3]}]", "task.name=active_enhancers"),
    ]
    if not (work / "mpra.tsv").exists():
        prepare = HERE.parent / "variant_prioritization/prepare.py"
        subprocess.run([sys.executable, str(prepare), str(data), str(work)], check=True)
    where = [f"variants={work}/mpra.tsv", f"reference={work}/mpra.fa", "labels=label", "group=group"]
    rows: list[Row] = []
    for name, model in {"pretrained": str(pretrained), "untrained": f"{pretrained}:untrained"}.items():
        run, scored = work / f"finetuned_{name}", work / f"mpra.{name}.tsv"
        words = [f"model={model}", *task, "budget=tiny", "epochs=2", f"run.dir={run}"]
        dnalm(run / "summary.json", "finetune", *words)
        rows += tissue_rows(name, run)
        motifs = f"motifs={data}/motifs/jaspar_2024_consensus.meme"
        rows += element_rows(name, score(run, scored, *where, "mismatch=flag", motifs, "score=[prediction]"))
    words = [*where, "mismatch=flag", "score=[llr]"]
    for run in (pretrained, untrained):
        rows += element_rows(run.name, score(run, work / f"mpra.{run.name}.llr.tsv", *words))
    for name in ("kmer_logistic", "cnn"):
        run = work / name
        dnalm(run / "summary.json", "baseline", f"baseline={name}", *task, f"run.dir={run}")
        rows += tissue_rows(name, run)
    return rows


def write_pieces(data: Path, fasta: Path) -> Path:
    """chr22 as four contigs, since a task from peaks is divided by contig."""
    if not fasta.exists():
        with gzip.open(data / "genomes/hg19_chr22.fa.gz", "rt") as file:
            text = "".join(line.strip() for line in file if line[0] != ">")
        borders = [*STARTS, len(text)]
        pieces = zip(PIECES, borders, borders[1:], strict=False)
        fasta.write_text("".join(f">{name}\n{text[start:end]}\n" for name, start, end in pieces))
    return fasta


def write_states(data: Path, tissue: str, work: Path) -> Path:
    """The active enhancers of a tissue, on the pieces."""
    bed = work / f"{tissue}.bed"
    with gzip.open(data / f"annotations/hg19_chr22/chromatin_states.{tissue}.bed.gz", "rt") as file:
        columns = [line.split("\t") for line in file if "Active_enhancer" in line]
    lines = []
    for _, first, last, name, *_ in columns:
        piece = int(np.searchsorted(STARTS, int(first), side="right")) - 1
        at = STARTS[piece]
        if piece + 1 == len(STARTS) or int(last) <= STARTS[piece + 1]:
            lines.append(f"{PIECES[piece]}\t{int(first) - at}\t{int(last) - at}\t{name}\n")
    bed.write_text("".join(lines))
    return bed


def tissue_rows(name: str, run: Path) -> list[Row]:
    """Enhancers of each tissue against all other windows of the test piece."""
    table = pq.read_table(run / "predictions.parquet")
    return [
        {**interval_row("enhancers", name, "probability", "auprc", labels, scores), "of": tissue}
        for number, tissue in enumerate(TISSUES)
        for labels, scores in [(table[f"label_{tissue}"].to_numpy(), table[f"score_{number}"].to_numpy())]
    ]


def score(model: Path, out: Path, *words: str) -> list[dict[str, object]]:
    """Score variants, and what `dnalm score` says of them."""
    summary = out.with_name(f"{out.name}.summary.json")
    dnalm(summary, "score", f"model={model}", f"out={out}", *words)
    evaluation: list[dict[str, object]] = json.loads(summary.read_text())["evaluation"]
    return evaluation


def element_rows(name: str, figures: list[dict[str, object]]) -> list[Row]:
    """Rank correlation with the measured effects, element by element, as `dnalm score` reports it."""
    return [
        {
            "what": "measured effects", "model": name, "score": each["score"], "metric": "spearman",
            "rows": each.get("alleles", each.get("groups")), "ones": "", "value": each["spearman"],
            "low": each.get("spearman_low", ""), "high": each.get("spearman_high", ""),
            "of": each["group"],
        }
        for each in figures
    ]  # fmt: skip


if __name__ == "__main__":
    main()
