"""How often the nearest upstream region of another species is the ortholog's, beside k-mer frequencies.

    PYTHONPATH=. python experiments/pan_species/measure.py yeasts <work folder> trained=runs/yeast untrained=…
    PYTHONPATH=. python experiments/pan_species/measure.py clade <work folder> trained=runs/demo

Five yeasts of ../shared/data/genomes, whose gene names are shared, or the five species of the simulated clade
with its `orthologs.tsv`. A region is the 500 bases before a gene's start, read on the gene's strand. Genes
are those that all five have, once each; of them 600, drawn with seed 1. Vectors are means over tokens of
the last layer. Written here: <set>.csv, <set>.md, <set>.png.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from dnalm.evaluation.classical import kmer_frequencies
from dnalm.evaluation.embedding.clusters import Retrieval, SpeciesRegions, plot_retrieval, retrieve_orthologs
from dnalm.evaluation.embedding.files import EmbeddingPlan, embed_file, read_embeddings
from dnalm.evaluation.embedding.reader import EmbeddingRecipe
from dnalm.evaluation.sequence_inputs import SequenceInput
from dnalm.genome.gff import GffReader
from dnalm.genome.store import open_or_build
from dnalm.models import Pretrained
from dnalm.simulation.settings import Clade
from dnalm.simulation.simulate import find_or_simulate

HERE = Path(__file__).parent
YEASTS = ("sacCer3", "SK1", "CBS432", "N44", "Sarb")
GENOMES = HERE.parents[2] / "shared/data/genomes"
UPSTREAM_BP, NUM_GENES = 500, 600
Starts = dict[str, tuple[str, int, str]]  # by gene: contig, boundary before its first base, strand


def main() -> None:
    """Embed every species with every model, search, and write table and picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", choices=("yeasts", "clade"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="*", help="name=<run or model directory>")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    species = dict(yeasts() if given.set == "yeasts" else clade())
    inputs = write_regions(species, given.folder)
    sequences = {name: [item.codes for item in source] for name, source in inputs.items()}
    genes = {name: tuple(item.id for item in source) for name, source in inputs.items()}
    found: dict[str, list[Retrieval]] = {}
    for k in (4, 6):
        vectors = {name: kmer_frequencies(mine, k=k) for name, mine in sequences.items()}
        found[f"{k}-mers"] = retrieve_orthologs({s: SpeciesRegions(genes[s], v) for s, v in vectors.items()})
    for name, _, model in (word.partition("=") for word in given.models):
        plan = EmbeddingPlan(model=Pretrained(source=model), recipe=EmbeddingRecipe(overlap=0))
        regions = {}
        for one, source in inputs.items():
            out = given.folder / f"{one}.{name}.npy"
            embed_file(source, out, plan)
            regions[one] = SpeciesRegions(genes[one], read_embeddings(out).vectors)
        found[name] = retrieve_orthologs(regions)
    write_tables(found, HERE / given.set)
    plot_retrieval(found, [HERE / f"{given.set}.png"])


def yeasts() -> Iterator[tuple[str, tuple[Path, Starts]]]:
    """Where genes start in each yeast, by systematic name where that is known."""
    systematic: dict[str, str] = {}
    for name in YEASTS:
        fasta = GENOMES / f"{name}.fa.gz"
        store = open_or_build(fasta)
        starts: Starts = {}
        seen = set[str]()
        for feature in GffReader(GENOMES / f"{name}.gff3.gz", store):
            if feature.kind != "gene":
                continue
            values = feature.attributes
            gene = values.get("locus_tag") or values.get("Name", "")
            if "gene" in values:
                systematic[values["gene"]] = gene
            gene = systematic.get(gene, gene)
            place = feature.start if feature.strand == "+" else feature.end
            starts[gene] = (feature.contig.name, place, feature.strand)
            if gene in seen:
                starts.pop(gene)  # a name given twice tells no ortholog
            seen.add(gene)
        yield name, (fasta, starts)


def clade() -> Iterator[tuple[str, tuple[Path, Starts]]]:
    """Where genes start in each species of the clade."""
    folder = find_or_simulate(Clade())
    species: dict[str, Starts] = {}
    with (folder / "orthologs.tsv").open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            place = int(row["tss"]) + (row["strand"] == "-")
            species.setdefault(row["species"], {})[row["gene"]] = (row["contig"], place, row["strand"])
    for name, starts in species.items():
        yield name, (folder / f"{name}.fa", starts)


def write_regions(species: dict[str, tuple[Path, Starts]], folder: Path) -> dict[str, SequenceInput]:
    """A BED of the same genes for each species."""
    regions = {name: dict(_upstream(fasta, starts)) for name, (fasta, starts) in species.items()}
    shared = sorted(set.intersection(*(set(mine) for mine in regions.values())))
    rng = np.random.default_rng(1)
    chosen = [shared[i] for i in sorted(rng.choice(len(shared), min(NUM_GENES, len(shared)), replace=False))]
    print(f"{len(shared)} genes that all have, {len(chosen)} of them taken")
    inputs = {}
    for name, (fasta, _) in species.items():
        path = folder / f"{name}.bed"
        path.write_text("".join(regions[name][gene] for gene in chosen))
        inputs[name] = SequenceInput(path=path, reference=fasta)
    return inputs


def _upstream(fasta: Path, starts: Starts) -> Iterator[tuple[str, str]]:
    """The line of each gene whose region lies within its contig."""
    lengths = {contig.name: contig.length for contig in open_or_build(fasta).contigs}
    for gene, (contig, place, strand) in starts.items():
        first = place - UPSTREAM_BP if strand == "+" else place
        if gene and first >= 0 and first + UPSTREAM_BP <= lengths[contig]:
            yield gene, f"{contig}\t{first}\t{first + UPSTREAM_BP}\t{gene}\t0\t{strand}\n"


def write_tables(found: dict[str, list[Retrieval]], target: Path) -> None:
    """All figures as CSV; the share of nearest ones as Markdown."""
    with target.with_suffix(".csv").open("w", newline="") as file:
        names = ["vectors", *asdict(next(iter(found.values()))[0])]
        table = csv.DictWriter(file, names, lineterminator="\n")
        table.writeheader()
        for name, rows in found.items():
            for row in rows:
                figures = {k: f"{v:.4f}" if isinstance(v, float) else v for k, v in asdict(row).items()}
                table.writerow({"vectors": name, **figures})
    lines = [
        "| query | target | genes | " + " | ".join(found) + " |",
        "|---|---|---" + "|---" * len(found) + "|",
    ]
    for one in zip(*found.values(), strict=True):
        figures = " | ".join(f"{row.top1:.3f}" for row in one)
        lines.append(f"| {one[0].query} | {one[0].target} | {one[0].num_genes} | {figures} |")
    means = " | ".join(f"{np.mean([row.top1 for row in rows]):.3f}" for rows in found.values())
    lines.append(f"| all | | | {means} |")
    target.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
