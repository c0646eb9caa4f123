"""Binding sites of Reb1 in a yeast that nothing was trained on.

A DNABERT-6 of minutes is pretrained between the genes of *S. cerevisiae* (sacCer3) and *S. paradoxus*
(CBS432), and fine-tuned on ChIP-exo peaks of Reb1 that lie between genes of sacCer3, against other windows
between genes; a twin is fine-tuned without pretraining; k-mers and a small CNN learn from the same rows. All
are asked of every tile of three chromosomes of *S. arboricola* (Sarb). chrVII and chrXIII test and chrXII
validates, so no model reads a contig of these names in training, in either species.

**No binding was measured in Sarb.** What stands for the truth is carried over from sacCer3: two genes that
are neighbours in both genomes, by their names, enclose a region in each, and Sarb's is positive if sacCer3's
has a peak. It is wrong where a site was lost or won since the species parted; the share of regions with the
motif's core in each species says how often that may be. A region's score is the greatest value of the track
in it. Regions count as unseen by the contig of their genes in sacCer3: Sarb's IV and XIII have exchanged
arms. Two references learn nothing here: the best match of JASPAR's profile of Reb1, and the region's length.
"""

from __future__ import annotations

import gzip
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from judging import (
    AUPRC,
    HERE,
    Floats,
    Integers,
    Row,
    auprc_row,
    baseline_scores,
    dnalm,
    interval,
    plot_auprc,
    write_tiles,
)

from dnalm.genome.alphabet import from_text, reverse_complement, to_text
from dnalm.genome.bed import BedReader
from dnalm.genome.bigwig import BigWigReader
from dnalm.genome.gff import GffReader
from dnalm.genome.intervals import Intervals, cut_at, merge, subtract
from dnalm.genome.store import GenomeStore, open_or_build

FACTOR, PROFILE, CORE = "Reb1", "MA0363.2", "TTACCCG"
PRETRAINED, LABELLED, HELD_OUT = ("sacCer3", "CBS432"), "sacCer3", "Sarb"
VALIDATION, TEST = "chrXII", ("chrVII", "chrXIII")
JUDGED = ("chrIV", "chrVII", "chrXIII")  # of Sarb: they hold the genes of sacCer3's VII, XIII and IV
TILE_BP, STRIDE_BP = 200, 100
SHORTEST_BP, LONGEST_BP = 100, 2000  # of a region that is judged
BLOCK_BP = 20_000
UNSEEN, SEEN = "VII, XIII", "others"
SHOWN = ("chrVII", 200_000, 240_000)  # of Sarb, in the picture of the tracks


def run(work: Path, data: Path) -> list[Row]:
    """Pretrain, fine-tune, predict, and hold the tracks against the regions of sacCer3's peaks."""
    pretrained = pretrain(work, data)
    task = write_task(work, data)
    genome = write_judged(work, data)
    regions = find_regions(data, open_or_build(genome))
    tiles = list(tile_genome(open_or_build(genome)))
    scores: dict[str, Tracks] = {}
    for name, model in {"pretrained": str(pretrained), "untrained": f"{pretrained}:untrained"}.items():
        run, track = work / f"finetuned_{name}", work / f"{HELD_OUT}.{name}.bw"
        dnalm(run / "summary.json", "finetune", f"model={model}", *task, "budget=tiny", f"run.dir={run}")
        words = [f"tile_bp={TILE_BP}", f"stride_bp={STRIDE_BP}", f"out={track}"]
        dnalm(track, "predict", f"model={run}", f"input={genome}", *words)
        scores[name] = read_track(track, genome)
    texts = [text for _, _, text in tiles]
    table = write_tiles(work / "tiles.tsv.gz", texts, np.arange(len(texts)) % 2)  # no label is known
    rows_of_task = write_rows(work)
    for name in ("kmer_logistic", "cnn"):
        values = baseline_scores(name, rows_of_task, table, work / name)
        scores[name] = average_tiles(genome, tiles, values)
    by_region = {name: regions.greatest(tracks) for name, tracks in scores.items()}
    by_region[f"JASPAR {PROFILE}"] = regions.best_matches(read_profile(data))
    by_region["length"] = regions.lengths.astype(float)
    rows = [row for name, values in by_region.items() for row in regions.auprc_rows(name, values)]
    plot_auprc(rows, {UNSEEN: "held out", SEEN: "orthologs in training"}, AXIS, HERE / "yeasts.png")
    plot_tracks(scores, regions)
    return [*rows, *regions.difference_rows(by_region), *regions.core_rows(), *leak_rows(data)]


AXIS = f"AUPRC over regions between genes of {HELD_OUT}"


# Training


def open_genome(data: Path, name: str) -> GenomeStore:
    return open_or_build(data / f"genomes/{name}.fa.gz")


def find_genes(data: Path, name: str) -> Intervals:
    """Where genes lie, flat."""
    features = GffReader(data / f"genomes/{name}.gff3.gz", open_genome(data, name))
    return merge(
        np.array(
            [
                (each.contig.offset + each.start, each.contig.offset + each.end)
                for each in features
                if each.kind in ("gene", "tRNA")
            ]
        )
    )


def write_bed(path: Path, store: GenomeStore, intervals: Intervals) -> Path:
    lines = []
    for start, end in cut_at(intervals, store.offsets).tolist():
        contig = store.contigs[int(np.searchsorted(store.offsets, start, side="right")) - 1]
        lines.append(f"{contig.name}\t{start - contig.offset}\t{end - contig.offset}\n")
    path.write_text("".join(lines))
    return path


def pretrain(work: Path, data: Path) -> Path:
    """Between the genes of both species, the contigs that validate and test held out of both."""
    run, beds = work / "pretrained", {}
    for name in PRETRAINED:
        store = open_genome(data, name)
        gaps = cut_at(subtract(store.intervals, find_genes(data, name)), store.offsets)
        gaps = gaps[gaps[:, 1] - gaps[:, 0] >= SHORTEST_BP]
        beds[name] = write_bed(work / f"{name}.gaps.bed", store, gaps)
    genomes = ", ".join(f"{name}: {data}/genomes/{name}.fa.gz" for name in PRETRAINED)
    dnalm(
        run / "summary.json",
        *("pretrain", "experiment=dnabert", "size=tiny", "data=multispecies", f"data.genomes={{{genomes}}}"),
        f"data.regions={{{', '.join(f'{name}: {bed}' for name, bed in beds.items())}}}",
        *(f"data.split.validation=[{','.join(sorted({VALIDATION, *TEST}))}]", f"run.dir={run}"),
        *("windows.max_tokens=200", "windows.num_validation=2000"),  # as long as the task's windows
    )
    return run


def write_task(work: Path, data: Path) -> list[str]:
    """Peaks whose middle lies between genes, against windows whose middle does: genes tell nothing apart."""
    store, genes = open_genome(data, LABELLED), find_genes(data, LABELLED)
    cores = genes + np.array([TILE_BP // 2, -TILE_BP // 2])  # what no window centred between genes reaches
    excluded = write_bed(work / "genes.bed", store, cores[cores[:, 0] < cores[:, 1]])
    between = subtract(store.intervals, genes)
    peaks = work / f"{FACTOR}.bed"
    lines = []
    for row in BedReader(data / f"annotations/yeast_chip_exo/{FACTOR}.bed", store):
        middle = row.contig.offset + (row.start + row.end) // 2
        if ((between[:, 0] <= middle) & (middle < between[:, 1])).any():
            lines.append(f"{row.contig.name}\t{row.start}\t{row.end}\n")
    peaks.write_text("".join(lines))
    return [
        *("task=peaks", f"task.peaks={peaks}", f"task.reference={data}/genomes/{LABELLED}.fa.gz"),
        *(f"task.length_bp={TILE_BP}", f"task.negatives={{ratio: 2, exclude: [{excluded}]}}"),
        *(f"task.validation=[{VALIDATION}]", f"task.test=[{','.join(TEST)}]", "task.metric=auprc"),
    ]


def write_rows(work: Path) -> list[str]:
    """The rows of the task, by part, as files that baselines learn from."""
    with gzip.open(work / "finetuned_pretrained/task.tsv.gz", "rt") as file:
        header, *lines = file.read().splitlines()
    part = header.split("\t").index("part")
    for name in ("train", "val"):
        with gzip.open(work / f"{name}.tsv.gz", "wt", compresslevel=1) as file:
            file.write(
                "\n".join([header, *(line for line in lines if line.split("\t")[part] == name)]) + "\n"
            )
    return ["task=files", f"task.train={work}/train.tsv.gz", f"task.val={work}/val.tsv.gz"]


# Tracks of the held-out genome, by contig a value for each base

Tracks = dict[str, Floats]


def write_judged(work: Path, data: Path) -> Path:
    """The chromosomes that are judged, as a genome."""
    store, fasta = open_genome(data, HELD_OUT), work / f"{HELD_OUT}.fa"
    if not fasta.exists():
        chosen = [contig for contig in store.contigs if contig.name in JUDGED]
        fasta.write_text(
            "".join(f">{each.name}\n{to_text(store.fetch(each.name, 0, each.length))}\n" for each in chosen)
        )
    return fasta


def tile_genome(store: GenomeStore) -> list[tuple[str, int, str]]:
    """Contig, start and letters of each tile without N."""
    tiles = []
    for contig in store.contigs:
        for start in range(0, contig.length - TILE_BP + 1, STRIDE_BP):
            text = to_text(store.fetch(contig.name, start, start + TILE_BP) & 7)
            if "N" not in text:
                tiles.append((contig.name, start, text))
    return tiles


def read_track(track: Path, genome: Path) -> Tracks:
    """The values of a bigWig; 0 where there is none."""
    store = open_or_build(genome)
    tracks = {contig.name: np.zeros(contig.length) for contig in store.contigs}
    for contig, records in BigWigReader(track, store):
        for start, end, value in records.tolist():
            tracks[contig.name][start:end] = value
    return tracks


def average_tiles(genome: Path, tiles: list[tuple[str, int, str]], values: Floats) -> Tracks:
    """The mean of the tiles that cover a base, as `dnalm predict` writes it."""
    lengths = {contig.name: contig.length for contig in open_or_build(genome).contigs}
    sums = {name: np.zeros(length) for name, length in lengths.items()}
    counts = {name: np.zeros(length) for name, length in lengths.items()}
    for (name, start, _), value in zip(tiles, values.tolist(), strict=True):
        sums[name][start : start + TILE_BP] += value
        counts[name][start : start + TILE_BP] += 1
    return {name: sums[name] / counts[name].clip(1) for name in lengths}


# Regions between genes that are neighbours in both species

Pair = frozenset[str]
Place = tuple[str, int, int]  # contig, start, end


def find_neighbours(data: Path, name: str) -> dict[Pair, Place]:
    """What lies between two neighbouring genes, by their names; a name that is there twice is none."""
    store = open_genome(data, name)
    symbols = {
        each.attributes["gene"]: each.attributes["locus_tag"]
        for each in GffReader(data / f"genomes/{LABELLED}.gff3.gz", open_genome(data, LABELLED))
        if each.kind == "gene" and "gene" in each.attributes
    }
    genes: dict[str, list[tuple[int, int, str]]] = {}
    for each in GffReader(data / f"genomes/{name}.gff3.gz", store):
        if each.kind == "gene":
            gene = each.attributes.get("locus_tag") or each.attributes.get("Name", "")
            genes.setdefault(each.contig.name, []).append((each.start, each.end, symbols.get(gene, gene)))
    times = Counter(gene for of_contig in genes.values() for _, _, gene in of_contig)
    return {
        frozenset((left, right)): (contig, end, start)
        for contig, of_contig in genes.items()
        for (_, end, left), (start, _, right) in pairwise(sorted(of_contig))
        if times[left] == times[right] == 1 and SHORTEST_BP <= start - end <= LONGEST_BP
    }


@dataclass(frozen=True, kw_only=True)
class Regions:
    """Regions of the held-out genome and of the labelled one, (R,), and whether the latter's have peaks."""

    places: list[Place]
    orthologs: list[Place]
    texts: list[str]
    ortholog_texts: list[str]
    labels: Integers

    @property
    def lengths(self) -> Integers:
        return np.array([end - start for _, start, end in self.places])

    def greatest(self, tracks: Tracks) -> Floats:
        """The greatest value of a track in each region."""
        return np.array([tracks[contig][start:end].max() for contig, start, end in self.places])

    def best_matches(self, profile: Floats) -> Floats:
        """The best log-odds of a profile in each region, on either strand."""
        return np.array([best_match(text, profile) for text in self.texts])

    def groups(self) -> dict[str, Integers]:
        """The regions that no model read an ortholog of, and those whose orthologs were there to train."""
        contigs = np.array([contig for contig, _, _ in self.orthologs])
        return {
            UNSEEN: np.flatnonzero(np.isin(contigs, TEST)),
            SEEN: np.flatnonzero(~np.isin(contigs, (VALIDATION, *TEST))),
        }

    def blocks(self, chosen: Integers) -> np.ndarray:
        """Stretches of the held-out genome that intervals draw."""
        places = [self.places[n] for n in chosen]
        return np.array([f"{contig}:{start // BLOCK_BP}" for contig, start, _ in places])

    def auprc_rows(self, name: str, scores: Floats) -> list[Row]:
        what = f"{FACTOR} in {HELD_OUT}, by synteny"
        return [
            auprc_row(what, name, contigs, self.labels[chosen], scores[chosen], self.blocks(chosen))
            for contigs, chosen in self.groups().items()
        ]

    def difference_rows(self, scores: dict[str, Floats]) -> list[Row]:
        """How far the pretrained model is ahead of each other one on the same regions."""
        rows: list[Row] = []
        for contigs, chosen in self.groups().items():
            labels, best = self.labels[chosen], scores["pretrained"][chosen]
            for name in ("untrained", "kmer_logistic", "cnn"):
                both = np.stack([best, scores[name][chosen]], axis=1)
                rows.append(
                    {
                        "what": f"pretrained minus {name}", "by": "pretrained", "contigs": contigs,
                        "metric": "auprc difference", "rows": len(labels), "ones": int(labels.sum()),
                        "value": round(difference(labels, both), 4),
                        **interval(difference, labels, both, self.blocks(chosen)),
                    }
                )  # fmt: skip
        return rows

    def core_rows(self) -> list[Row]:
        """How often regions hold the motif's core, in each species: what the stand-in can be trusted for."""
        rows: list[Row] = []
        for label, what in enumerate(("no peak", "peak")):
            chosen = np.flatnonzero(self.labels == label)
            here = np.array([has_core(self.texts[n]) for n in chosen])
            there = np.array([has_core(self.ortholog_texts[n]) for n in chosen])
            for name, has in {LABELLED: there, HELD_OUT: here, "both": here & there}.items():
                rows.append(
                    {
                        "what": f"regions with {what} that hold {CORE}", "by": name, "contigs": "all",
                        "metric": "share", "rows": len(chosen), "ones": int(has.sum()),
                        "value": round(float(has.mean()), 4), "low": "", "high": "",
                    }
                )  # fmt: skip
        return rows


def difference(labels: Integers, both: Floats) -> float:
    """AUPRC of the first of two scores, (R, 2), less that of the second."""
    return AUPRC(labels, both[:, 0]) - AUPRC(labels, both[:, 1])


def find_regions(data: Path, judged: GenomeStore) -> Regions:
    """Regions between genes that are neighbours in both genomes, in the order of the judged one."""
    theirs, ours = find_neighbours(data, LABELLED), find_neighbours(data, HELD_OUT)
    store = open_genome(data, LABELLED)
    peaks: dict[str, list[int]] = {}
    for row in BedReader(data / f"annotations/yeast_chip_exo/{FACTOR}.bed", store):
        peaks.setdefault(row.contig.name, []).append((row.start + row.end) // 2)
    pairs = sorted((pair for pair in ours.keys() & theirs.keys() if ours[pair][0] in JUDGED), key=ours.get)
    orthologs = [theirs[pair] for pair in pairs]
    places = [ours[pair] for pair in pairs]
    return Regions(
        places=places,
        orthologs=orthologs,
        texts=[to_text(judged.fetch(*place) & 7) for place in places],
        ortholog_texts=[to_text(store.fetch(*place) & 7) for place in orthologs],
        labels=np.array([any(s <= at < e for at in peaks[c]) for c, s, e in orthologs]).astype(np.int64),
    )


def opposite(text: str) -> str:
    """The other strand."""
    return to_text(reverse_complement(from_text(text)))


def has_core(text: str) -> bool:
    return CORE in text or CORE in opposite(text)


def read_profile(data: Path) -> Floats:
    """Log-odds of A, C, G, T against 0.31, 0.19, 0.19, 0.31 at each place of JASPAR's profile."""
    with gzip.open(data / "motifs/JASPAR2022.pfm.gz", "rt") as file:
        entries = file.read().split(">")
    rows = next(entry for entry in entries if entry.startswith(PROFILE)).splitlines()[1:]
    counts = np.array([[float(word) for word in row.split()] for row in rows if row]) + 1
    return np.log(counts / counts.sum(axis=1, keepdims=True) / np.array([0.31, 0.19, 0.19, 0.31]))


def best_match(text: str, profile: Floats) -> float:
    best = -np.inf
    for strand in (text, opposite(text)):
        codes = np.array(["ACGT".find(letter) for letter in strand])
        windows = np.lib.stride_tricks.sliding_window_view(codes, len(profile))
        odds = profile[np.arange(len(profile)), windows].sum(axis=1)
        best = max(best, float(odds[(windows >= 0).all(axis=1)].max(initial=-np.inf)))
    return max(best, -1e3)


def leak_rows(data: Path) -> list[Row]:
    """How many regions were read in pretraining, in the other species, whose ortholog is held out."""
    theirs, held_out = find_neighbours(data, LABELLED), (VALIDATION, *TEST)
    rows: list[Row] = []
    for name in PRETRAINED[1:]:
        ours = find_neighbours(data, name)
        shared = ours.keys() & theirs.keys()
        read = [pair for pair in shared if ours[pair][0] not in held_out]
        leaks = sum(theirs[pair][0] in held_out for pair in read)
        rows.append(
            {
                "what": f"regions of {name} read in pretraining whose ortholog is held out", "by": name,
                "contigs": "all", "metric": "share", "rows": len(read), "ones": leaks,
                "value": round(leaks / len(read), 4), "low": "", "high": "",
            }
        )  # fmt: skip
    return rows


def plot_tracks(scores: dict[str, Tracks], regions: Regions) -> None:
    """A stretch of a held-out contig: tracks, and the regions with a peak in sacCer3 and without."""
    contig, first, last = SHOWN
    figure, panels = plt.subplots(len(scores) + 1, 1, figsize=(8, 5), sharex=True, layout="constrained")
    at = np.arange(first, last) / 1000
    for axes, (name, tracks) in zip(panels, scores.items(), strict=False):
        axes.fill_between(at, tracks[contig][first:last], step="post", color="C0", linewidth=0)
        axes.set(ylim=(0, 1), yticks=(0, 1), xlim=(first / 1000, last / 1000))
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
    for (name, start, end), label in zip(regions.places, regions.labels, strict=True):
        if name == contig and first <= start and end <= last:
            color = "0.2" if label else "0.8"
            panels[-1].axvspan(start / 1000, end / 1000, color=color, linewidth=0)
    panels[-1].set(yticks=(), xlabel=f"{HELD_OUT} {contig}, kb")
    panels[-1].set_ylabel("regions; dark:\npeak in sacCer3", rotation=0, ha="right", va="center")
    figure.savefig(HERE / "yeasts_track.png", dpi=200)
