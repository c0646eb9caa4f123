"""Enhancers of a species that nothing was trained on: tracks along its genome, and its nearest elements.

Species of the simulated clade. A DNABERT-6 of minutes is pretrained on the regulatory DNA of four of them
and fine-tuned on their enhancers against windows of equal GC; a twin is fine-tuned without pretraining;
k-mers and a small CNN learn from the same rows. All are asked of every tile of the fifth species' genome,
demo_c, where the planted enhancers are the truth. Contigs correspond between species, so demo_c's enhancers
of chr1 to chr5 have orthologs in the training rows; those of chr6, chr7 and chr8, which no species trained
on, have none. Last, the vector of each enhancer of demo_c is looked up among those of the other species: is
the nearest its ortholog?
"""

from __future__ import annotations

import gzip
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pyarrow.parquet as pq
from judging import HERE, Row, auprc_row, baseline_scores, dnalm, plot_auprc, write_tiles

from dnalm.evaluation.classical import kmer_frequencies
from dnalm.evaluation.embedding.clusters import SpeciesRegions, retrieve_orthologs
from dnalm.evaluation.embedding.files import read_embeddings
from dnalm.evaluation.sequence_inputs import SequenceInput
from dnalm.genome.alphabet import to_text
from dnalm.genome.store import open_or_build
from dnalm.simulation.settings import Clade
from dnalm.simulation.simulate import find_or_simulate

TRAINED, HELD_OUT = ("demo_a", "demo_b", "demo_d", "demo_e"), "demo_c"
VALIDATION, TEST = "chr6", ("chr7", "chr8")
UNSEEN = (VALIDATION, *TEST)
TILE_BP, STRIDE_BP, FLANK_BP = 200, 100, 20
BLOCK_BP = 20_000  # neighbouring tiles are not independent: intervals draw blocks of a genome


def run(work: Path) -> list[Row]:
    """Pretrain, fine-tune, predict, and hold the tiles against what was planted."""
    clade = find_or_simulate(Clade())
    enhancers = {path.stem: write_enhancers(path, work) for path in sorted(clade.glob("*.gff3"))}
    pretrained = pretrain(clade, work)
    task = write_task(clade, enhancers, work)
    tiles = Tiles(clade, enhancers[HELD_OUT])
    scores: dict[str, np.ndarray] = {}
    for name, model in {"pretrained": str(pretrained), "untrained": f"{pretrained}:untrained"}.items():
        run = work / f"finetuned_{name}"
        dnalm(run / "summary.json", "finetune", f"model={model}", *task, "budget=tiny", f"run.dir={run}")
        scores[name] = tiles.predicted(run, work / f"{HELD_OUT}.{name}.parquet")
        tiles.predicted(run, work / f"{HELD_OUT}.{name}.bw")
    table = write_tiles(work / "tiles.tsv.gz", tiles.texts, tiles.labels)
    for name in ("kmer_logistic", "cnn"):
        scores[name] = baseline_scores(name, task[:3], table, work / name)
    rows = [row for name, values in scores.items() for row in tiles.rows(name, values)]
    untrained = pretrain(clade, work, "steps=2", "optim.lr=0.0", "schedule.warmup_steps=1")
    rows += neighbours(clade, enhancers, {"pretrained": pretrained, "untrained": untrained}, work)
    legends = {"chr1-5": "orthologs in training", "chr6-8": "no ortholog in training"}
    plot_auprc(rows, legends, "AUPRC over tiles of demo_c's genome", HERE / "clade.png")
    tiles.plot(scores)
    return rows


def features(gff: Path) -> list[list[str]]:
    return [line.split("\t") for line in gff.read_text().splitlines() if line[0] != "#"]


def write_enhancers(gff: Path, work: Path) -> Path:
    """The enhancers of a species by their names, which orthologs share."""
    bed = work / f"{gff.stem}.enhancers.bed"
    chosen = [columns for columns in features(gff) if columns[2] == "enhancer"]
    lines = [f"{c[0]}\t{int(c[3]) - 1}\t{c[4]}\t{c[8].split('Name=')[1].split(';')[0]}\n" for c in chosen]
    bed.write_text("".join(lines))
    return bed


def pretrain(clade: Path, work: Path, *more: str) -> Path:
    """On promoters and enhancers of the four species, chr6 to chr8 held out."""
    run = work / ("untrained" if more else "pretrained")
    regions = {}
    for species in TRAINED:
        bed = work / f"{species}.regions.bed"
        lines = [
            f"{columns[0]}\t{max(0, int(columns[3]) - 1 - FLANK_BP)}\t{int(columns[4]) + FLANK_BP}\n"
            for columns in features(clade / f"{species}.gff3")
            if columns[2] in ("promoter", "enhancer")
        ]
        bed.write_text("".join(lines))
        regions[species] = bed
    genomes = ", ".join(f"{species}: {clade}/{species}.fa" for species in TRAINED)
    dnalm(
        run / "summary.json",
        *("pretrain", "experiment=dnabert", "size=tiny", "data=multispecies", f"data.genomes={{{genomes}}}"),
        f"data.regions={{{', '.join(f'{name}: {bed}' for name, bed in regions.items())}}}",
        *(f"data.split.validation=[{','.join(UNSEEN)}]", f"run.dir={run}", *more),
    )
    return run


def write_task(clade: Path, enhancers: dict[str, Path], work: Path) -> list[str]:
    """One task of the four species' peaks: their tables, one after the other."""
    rows: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    header = ""
    for species in TRAINED:
        run = work / f"peaks_{species}"
        dnalm(
            run / "summary.json",
            *("baseline", "baseline=kmer_logistic", "task=peaks", f"task.peaks={enhancers[species]}"),
            *(f"task.reference={clade}/{species}.fa", f"task.length_bp={TILE_BP}", f"run.dir={run}"),
            *(f"task.validation=[{VALIDATION}]", f"task.test=[{','.join(TEST)}]"),
        )
        with gzip.open(run / "task.tsv.gz", "rt") as file:
            header, *lines = file.read().splitlines()
        part = header.split("\t").index("part")
        for line in lines:
            rows[line.split("\t")[part]].append(line)
    for name, lines in rows.items():
        with gzip.open(work / f"{name}.tsv.gz", "wt", compresslevel=1) as file:
            file.write("\n".join([header, *lines]) + "\n")
    return [
        "task=files",
        f"task.train={work}/train.tsv.gz",
        f"task.val={work}/val.tsv.gz",
        f"task.test={work}/test.tsv.gz",
    ]


class Tiles:
    """The tiles of the held-out genome, and which of them are enhancers: half a tile or more."""

    def __init__(self, clade: Path, enhancers: Path) -> None:
        self.reference = clade / f"{HELD_OUT}.fa"
        store = open_or_build(self.reference)
        planted: dict[str, list[tuple[int, int]]] = {}
        for line in enhancers.read_text().splitlines():
            contig, start, end, _ = line.split("\t")
            planted.setdefault(contig, []).append((int(start), int(end)))
        self.places: list[tuple[str, int]] = []
        self.texts: list[str] = []
        labels = []
        for contig in store.contigs:
            covered = np.zeros(contig.length + 1, np.int64)
            for start, end in planted[contig.name]:
                covered[start + 1 : end + 1] = 1
            covered = np.cumsum(covered)
            for start in range(0, contig.length - TILE_BP + 1, STRIDE_BP):
                text = to_text(store.fetch(contig.name, start, start + TILE_BP) & 7)
                if "N" not in text:
                    self.places.append((contig.name, start))
                    self.texts.append(text)
                    labels.append(int(covered[start + TILE_BP] - covered[start] >= TILE_BP // 2))
        self.labels = np.array(labels)
        self.is_unseen = np.array([contig in UNSEEN for contig, _ in self.places])
        self.blocks = np.array([f"{contig}:{start // BLOCK_BP}" for contig, start in self.places])

    def predicted(self, model: Path, out: Path) -> np.ndarray:
        """The probability of an enhancer at each tile; of a bigWig nothing is read back."""
        tiles = [f"tile_bp={TILE_BP}", f"stride_bp={STRIDE_BP}"]
        dnalm(out, "predict", f"model={model}", f"input={self.reference}", *tiles, f"out={out}")
        if out.suffix == ".bw":
            return np.zeros(0)
        table = pq.read_table(out).to_pylist()
        found = {(row["contig"], row["start"]): row["probability_1"] for row in table}
        return np.array([found[place] for place in self.places])

    def rows(self, name: str, scores: np.ndarray) -> list[Row]:
        """AUPRC on contigs whose enhancers have orthologs in the training rows, and on the others."""
        groups = {"chr1-5": ~self.is_unseen, "chr6-8": self.is_unseen}
        what = f"enhancers of {HELD_OUT}"
        return [
            auprc_row(what, name, contigs, self.labels[chosen], scores[chosen], self.blocks[chosen])
            for contigs, chosen in groups.items()
        ]

    def plot(self, scores: dict[str, np.ndarray]) -> None:
        """A stretch of a contig that no species trained on: probabilities, and the planted enhancers."""
        chosen = [
            n
            for n, (contig, start) in enumerate(self.places)
            if contig == TEST[1] and 100_000 <= start < 130_000
        ]
        middles = np.array([self.places[n][1] + TILE_BP / 2 for n in chosen]) / 1000
        figure, panels = plt.subplots(len(scores) + 1, 1, figsize=(8, 5), sharex=True, layout="constrained")
        for axes, (name, values) in zip(panels, scores.items(), strict=False):
            axes.fill_between(middles, values[chosen], step="mid", color="C0", linewidth=0)
            axes.set(ylim=(0, 1), yticks=(0, 1))
            axes.set_ylabel(name, rotation=0, ha="right", va="center")
        panels[-1].fill_between(middles, self.labels[chosen], step="mid", color="0.3", linewidth=0)
        panels[-1].set(ylim=(0, 1), yticks=(), xlabel=f"{HELD_OUT} {TEST[1]}, kb")
        panels[-1].set_ylabel("planted", rotation=0, ha="right", va="center")
        figure.savefig(HERE / "clade_track.png", dpi=200)


def neighbours(clade: Path, enhancers: dict[str, Path], models: dict[str, Path], work: Path) -> list[Row]:
    """How often the nearest enhancer of another species is the ortholog, from demo_c."""
    names = {
        species: [line.split("\t")[3] for line in bed.read_text().splitlines()]
        for species, bed in enhancers.items()
    }
    vectors: dict[str, dict[str, np.ndarray]] = {"4-mers": {}, "6-mers": {}}
    for species, bed in enhancers.items():
        source = SequenceInput(path=bed, reference=clade / f"{species}.fa")
        codes = [item.codes for item in source]
        for k in (4, 6):
            vectors[f"{k}-mers"][species] = kmer_frequencies(codes, k=k)
        for name, model in models.items():
            out = work / f"{species}.{name}.npy"
            dnalm(
                out,
                "embed",
                f"model={model}",
                f"input={bed}",
                f"reference={clade}/{species}.fa",
                f"out={out}",
            )
            vectors.setdefault(name, {})[species] = read_embeddings(out).vectors
    rows: list[Row] = []
    for name, of_species in vectors.items():
        regions = {
            species: SpeciesRegions(tuple(names[species]), each) for species, each in of_species.items()
        }
        shares = [row.top1 for row in retrieve_orthologs(regions) if row.query == HELD_OUT]
        rows.append(
            {
                "what": "nearest is the ortholog", "by": name, "contigs": "all",
                "metric": "share, mean of 4 species",
                "rows": len(names[HELD_OUT]), "ones": "", "value": round(float(np.mean(shares)), 4),
                "low": round(min(shares), 4), "high": round(max(shares), 4),
            }
        )  # fmt: skip
    return rows
