"""Does a small model find the grammar that the simulated clade has planted? See README.md.

    python experiments/grammar/measure.py model=runs/demo/model out=runs/grammar

Reads the held-out contig chr8 of demo_a only, but for variants, which are judged on all contigs too.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import stats

from dnalm.evaluation.inference import LoadedModel
from dnalm.evaluation.interpretation.reader import HiddenBase, Reader
from dnalm.evaluation.interpretation.seqlets import compare, find_seqlets, pile_up
from dnalm.genome.alphabet import UNKNOWN, bases
from dnalm.genome.meme import read_meme, write_meme
from dnalm.genome.store import GenomeStore, open_or_build
from dnalm.models import Pretrained
from dnalm.simulation.sequence import MOTIFS
from dnalm.simulation.settings import Clade
from dnalm.simulation.simulate import find_or_simulate

HELD_OUT = "chr8"
DECOYS = 5  # of each planted motif, its columns shuffled
AROUND_SPLICE_BP = 30
CONTEXT_BP = 4  # on either side, of the counts that the model is held against
WINDOWS_BP = (31, 67, 128, 507)  # 67 is 62 tokens, as in training, 507 the most that the config takes
ELEMENTS = ("enhancer", "promoter")
Rows = list[list[object]]


def main() -> None:
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    out = Path(given["out"])
    out.mkdir(parents=True)
    clade = find_or_simulate(Clade())
    store = open_or_build(clade / "demo_a.fa")
    began = time.perf_counter()
    write_regions(clade, out)
    write_known(out / "known.meme")
    words = [f"model={given['model']}", f"input={out}/regions.bed", f"reference={clade}/demo_a.fa"]
    words += ["what=motifs", f"known={out}/known.meme", f"run.dir={out}/motifs"]
    subprocess.run([sys.executable, "-m", "dnalm", "interpret", *words], check=True)
    write(out / "planted.csv", planted(clade, out / "motifs/scores.tsv"))
    write(out / "control.csv", control(out))
    print(f"{time.perf_counter() - began:.0f} s for motifs")
    reader = Reader(LoadedModel.open(Pretrained(source=given["model"])))
    write(out / "variants.csv", variants(clade, store, reader))
    write(out / "windows.csv", windows(clade, store, given["model"]))
    print(f"{time.perf_counter() - began:.0f} s in all")


def write_regions(clade: Path, out: Path) -> None:
    """Enhancers, promoters, and the surroundings of splice sites of the held-out contig, merged."""
    found = []
    for line in (clade / "demo_a.gff3").read_text().splitlines():
        columns = line.split("\t")
        if columns[0] == HELD_OUT and columns[2] in ELEMENTS:
            found.append((int(columns[3]) - 1, int(columns[4])))
    for site in sites(clade):
        if site[2] in ("DONOR", "ACCEPTOR"):
            found.append((site[0] - AROUND_SPLICE_BP, site[1] + AROUND_SPLICE_BP))
    merged: list[list[int]] = []
    for start, end in sorted(found):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(end, merged[-1][1])
        else:
            merged.append([start, end])
    (out / "regions.bed").write_text("".join(f"{HELD_OUT}\t{start}\t{end}\n" for start, end in merged))


def sites(clade: Path) -> Iterator[tuple[int, int, str, str]]:
    """Planted sites of the held-out contig: start, end, motif, strand."""
    for line in (clade / "demo_a.motifs.bed").read_text().splitlines():
        contig, start, end, name, _, strand, _ = line.split("\t")
        if contig == HELD_OUT:
            yield int(start), int(end), name, strand


def write_known(path: Path) -> None:
    """The planted motifs, and decoys: the same columns in another order."""
    draw = np.random.default_rng(1)
    tables = {name: np.maximum(motif.probabilities, 1e-3) for name, motif in MOTIFS.items()}
    tables = {name: table / table.sum(axis=1, keepdims=True) for name, table in tables.items()}
    decoys = {
        f"decoy{n}_{name}": draw.permutation(table, axis=0)
        for n in range(DECOYS)
        for name, table in tables.items()
    }
    every = {**tables, **decoys}
    write_meme(path, every, num_sites=dict.fromkeys(every, 100))


def planted(clade: Path, scores: Path) -> Rows:
    """How well the bases of planted sites are known, by motif; outside are bases in no planted site."""
    with scores.open(newline="") as file:
        bits = {int(row["position"]): float(row["bits"]) for row in csv.DictReader(file, delimiter="\t")}
    within: dict[str, list[float]] = {name: [] for name in MOTIFS}
    numbers = dict.fromkeys(MOTIFS, 0)
    taken: set[int] = set()
    for start, end, name, strand in sites(clade):
        motif = MOTIFS[name]
        taken.update(range(start, end))
        if all(place in bits for place in range(start, end)):
            core = [start + at if strand == "+" else end - 1 - at for at in motif.core]
            within[name] += [bits[place] for place in core]
            numbers[name] += 1
    outside = [value for place, value in bits.items() if place not in taken]
    rows: Rows = [["motif", "role", "sites", "core_bits", "outside_bits", "auroc"]]
    groups = {name: (MOTIFS[name].role, numbers[name], values) for name, values in within.items() if values}
    groups["all"] = ("", sum(numbers.values()), [value for values in within.values() for value in values])
    for name, (role, number, values) in groups.items():
        area = auroc(np.array(values), np.array(outside))
        rows.append([name, role, number, f"{np.mean(values):.4f}", f"{np.mean(outside):.4f}", f"{area:.4f}"])
    return rows


def control(out: Path) -> Rows:
    """Motifs piled up from the model's scores, and from these scores moved along each region at random."""
    texts: dict[str, list[int]] = {}
    bits: dict[str, list[float]] = {}
    with (out / "motifs/scores.tsv").open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            texts.setdefault(row["region"], []).append("ACGT".index(row["base"]))
            bits.setdefault(row["region"], []).append(float(row["bits"]))
    draw = np.random.default_rng(1)
    codes = [np.array(text, dtype=np.uint8) for text in texts.values()]
    scores = [np.array(values) for values in bits.values()]
    moved = [np.roll(values, draw.integers(len(values))) for values in scores]
    known = read_meme(out / "known.meme")
    rows: Rows = [["scores", "seqlets", "found", "match_planted", "match_decoy", "planted"]]
    for name, told in {"model": scores, "moved": moved}.items():
        seqlets = find_seqlets(told, most=4_000)
        found = pile_up(codes, told, seqlets, most=30, least_seqlets=20)
        matches = [match for match in compare(found, known) if match.e_value <= 0.05] if found else []
        true = sorted({match.known for match in matches if not match.known.startswith("decoy")})
        decoys = sum(match.known.startswith("decoy") for match in matches)
        rows.append([name, len(seqlets), len(found), len(matches) - decoys, decoys, " ".join(true)])
    return rows


def variants(clade: Path, store: GenomeStore, reader: Reader) -> Rows:
    """AUROC of log p(REF) - log p(ALT), functional against neutral variants, of the model and of counts."""
    lines = variant_lines(clade)
    texts = {name: bases(store.fetch(name, 0, store.contig(name).length)) for name in store}
    asked, ref, alt, kinds = questions_of(lines, texts)
    told = reader.log_probabilities(asked)
    counted = counts_of_context({name: text for name, text in texts.items() if name != HELD_OUT})
    context = np.array([code_of_context(q.codes, q.place) for q in asked])
    known = np.log(counted[context])
    order = np.arange(len(lines))
    losses = {"model": told[order, ref] - told[order, alt], "counts": known[order, ref] - known[order, alt]}
    contigs = np.array([columns[0] for columns in lines])
    rows: Rows = [["contigs", "class", "functional", "neutral", "scored_by", "auroc", "low", "high"]]
    for where, chosen in {HELD_OUT: contigs == HELD_OUT, "all": contigs != ""}.items():
        for kind in ("motif", "splice"):
            for name, loss in losses.items():
                inside, outside = loss[chosen & (kinds == kind)], loss[chosen & (kinds == "neutral")]
                interval = [f"{value:.4f}" for value in bootstrap(inside, outside)]
                area = f"{auroc(inside, outside):.4f}"
                rows.append([where, kind, len(inside), len(outside), name, area, *interval])
    return rows


def windows(clade: Path, store: GenomeStore, model: str) -> Rows:
    """The same AUROC, and bits of REF, of 1,000 variants by how much the model reads around them."""
    lines = variant_lines(clade)
    lines = [lines[at] for at in np.random.default_rng(1).permutation(len(lines))[:1000]]
    texts = {name: bases(store.fetch(name, 0, store.contig(name).length)) for name in store}
    asked, ref, alt, kinds = questions_of(lines, texts)
    order = np.arange(len(lines))
    rows: Rows = [["window_bp", "motif", "splice", "bits_of_ref"]]
    for window_bp in WINDOWS_BP:
        reader = Reader(LoadedModel.open(Pretrained(source=model)), window_bp=window_bp)
        told = reader.log_probabilities(asked)
        loss = told[order, ref] - told[order, alt]
        areas = [auroc(loss[kinds == kind], loss[kinds == "neutral"]) for kind in ("motif", "splice")]
        bits = float(-told[order, ref].mean() / np.log(2))
        rows.append([window_bp, *(f"{value:.4f}" for value in (*areas, bits))])
    return rows


def variant_lines(clade: Path) -> list[list[str]]:
    """Columns of the clade's VCF."""
    lines = [line.split("\t") for line in (clade / "variants.vcf").read_text().splitlines()]
    return [columns for columns in lines if not columns[0].startswith("#")]


def questions_of(
    lines: list[list[str]], texts: dict[str, np.ndarray]
) -> tuple[list[HiddenBase], np.ndarray, np.ndarray, np.ndarray]:
    """Each variant's place to be hidden, REF, ALT and class."""
    asked = [HiddenBase(texts[columns[0]], int(columns[1]) - 1) for columns in lines]
    ref = np.array(["ACGT".index(columns[3]) for columns in lines])
    alt = np.array(["ACGT".index(columns[4]) for columns in lines])
    kinds = np.array([columns[7].split(";")[0].removeprefix("CLASS=") for columns in lines])
    return asked, ref, alt, kinds


def code_of_context(text: np.ndarray, place: int) -> int:
    """The bases on both sides as a number; 0 where one is N or outside."""
    around = np.concatenate([text[place - CONTEXT_BP : place], text[place + 1 : place + 1 + CONTEXT_BP]])
    if len(around) < 2 * CONTEXT_BP or (around == UNKNOWN).any():
        return 0
    return int(around @ 4 ** np.arange(2 * CONTEXT_BP))


def counts_of_context(texts: dict[str, np.ndarray]) -> np.ndarray:
    """(4^8, 4) share of each base between its neighbours, one count added to each, on both strands."""
    counts = np.ones((4 ** (2 * CONTEXT_BP), 4))
    for forward in texts.values():
        for text in (forward, np.where(forward < UNKNOWN, 3 - forward, forward)[::-1]):
            views = np.lib.stride_tricks.sliding_window_view(text, 2 * CONTEXT_BP + 1).astype(np.int64)
            views = views[(views < UNKNOWN).all(axis=1)]
            around = np.delete(views, CONTEXT_BP, axis=1) @ 4 ** np.arange(2 * CONTEXT_BP)
            np.add.at(counts, (around, views[:, CONTEXT_BP]), 1)
    return counts / counts.sum(axis=1, keepdims=True)


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """Chance that one of the first is above one of the second."""
    wins = stats.mannwhitneyu(inside, outside, method="asymptotic").statistic
    return float(wins) / len(inside) / len(outside)


def bootstrap(inside: np.ndarray, outside: np.ndarray) -> list[float]:
    """95 % interval of the AUROC, 1,000 draws."""
    draw = np.random.default_rng(1)
    areas = [auroc(draw.choice(inside, len(inside)), draw.choice(outside, len(outside))) for _ in range(1000)]
    return [float(value) for value in np.quantile(areas, [0.025, 0.975])]


def write(path: Path, rows: Rows) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    print("\n".join("\t".join(map(str, row)) for row in rows))


if __name__ == "__main__":
    main()
