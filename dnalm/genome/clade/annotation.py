"""Sequence and annotation files of a species: FASTA, GFF3, motifs, repeats, orthologs.

GFF3 and VCF count from 1 and include the last base; BED and everything inside count from 0 and exclude it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from dnalm.genome.alphabet import Codes, to_text
from dnalm.genome.clade.blocks import Feature
from dnalm.genome.clade.motifs import MOTIFS
from dnalm.genome.clade.species import Species, transcription_start

_LINE_BP = 60
_ORDER = (
    "promoter", "enhancer", "insulator", "gap", "gene", "mRNA", "exon", "five_prime_UTR", "CDS",
    "three_prime_UTR", "polyA_signal_sequence",
)  # fmt: skip


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write text lines, ended alike on every platform."""
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)


def write_fasta(species: Species, path: Path) -> None:
    """Write all contigs, 60 bases a line, soft-masked bases in lower case."""
    with path.open("wb") as file:
        for number, contig in enumerate(species.contigs):
            codes = species.codes[species.edges[number] : species.edges[number + 1]]
            file.write(f">{contig}\n".encode())
            file.write(_wrap(codes))


def _wrap(codes: Codes) -> bytes:
    letters = np.frombuffer(to_text(codes).encode(), dtype=np.uint8)
    full = letters.size // _LINE_BP * _LINE_BP
    lines = np.full((full // _LINE_BP, _LINE_BP + 1), ord("\n"), dtype=np.uint8)
    lines[:, :-1] = letters[:full].reshape(-1, _LINE_BP)
    rest = letters[full:].tobytes()
    return lines.tobytes() + (rest + b"\n" if rest else b"")


def write_gff3(species: Species, path: Path) -> None:
    """Write genes and their parts, promoters, enhancers, insulators, gaps: terms of the Sequence Ontology."""
    rank = {kind: number for number, kind in enumerate(_ORDER)}
    rows = sorted(species.of_kind(*_ORDER), key=lambda item: (item.start, rank[item.kind], item.end))
    sizes = np.diff(species.edges).tolist()
    head = ["##gff-version 3", f"#!species {species.name}"]
    head += [f"##sequence-region {name} 1 {size}" for name, size in zip(species.contigs, sizes, strict=True)]
    write_lines(path, [*head, *(_gff_row(species, item) for item in rows)])


def _gff_row(species: Species, item: Feature) -> str:
    contig, start = species.locate(item.start)
    end = start + item.end - item.start
    phase = item.detail if item.kind == "CDS" else "."
    columns = (contig, "dnalm", item.kind, start + 1, end, ".", item.strand, phase, _attributes(item))
    return "\t".join(map(str, columns))


def _attributes(item: Feature) -> str:
    name = item.name
    if item.kind == "gene":
        return f"ID=gene-{name};Name={name};gene_biotype=protein_coding"
    if item.kind == "mRNA":
        return f"ID=rna-{name};Parent=gene-{name};Name={name}"
    if item.kind == "CDS":
        return f"ID=cds-{name};Parent=rna-{name};gene={name}"
    if item.kind == "promoter":
        return f"ID=promoter-{name};gene={name};promoter_class={item.detail}"
    if item.kind == "enhancer":
        return f"ID=enhancer-{name};Name={name};tissues={item.detail}"
    if item.kind == "insulator":
        return f"ID=insulator-{name};Name={name};bound_moiety=CTCF"
    return "estimated_length=known" if item.kind == "gap" else f"Parent=rna-{name};gene={name}"


def write_motifs(species: Species, path: Path) -> None:
    """Write every planted site: BED6 and the element that holds it; score = 1000 x score / best score."""
    write_lines(path, _motif_rows(species))


def _motif_rows(species: Species) -> Iterator[str]:
    scores = species.motif_scores
    for item in species.of_kind("motif"):
        contig, start = species.locate(item.start)
        score = round(1000 * scores[item] / MOTIFS[item.name].best)
        end = start + item.end - item.start
        yield f"{contig}\t{start}\t{end}\t{item.name}\t{score}\t{item.strand}\t{item.parent}"


def write_repeats(species: Species, path: Path) -> None:
    """Write every repeat copy: BED6; score = 1000 x identity of the ancestral copy with its family."""
    rows = []
    for item in species.of_kind("repeat"):
        contig, start = species.locate(item.start)
        identity = round(1000 * (1 - float(item.detail)))
        rows.append(
            f"{contig}\t{start}\t{start + item.end - item.start}\t{item.name}\t{identity}\t{item.strand}"
        )
    write_lines(path, rows)


def write_orthologs(clade: Iterable[Species], path: Path) -> None:
    """Write where every gene starts in every species: gene, species, contig, tss (from 0), strand."""
    rows = []
    for species in clade:
        for gene in species.of_kind("gene"):
            contig, tss = species.locate(transcription_start(gene))
            rows.append((gene.name, species.name, contig, str(tss), gene.strand))
    write_lines(path, ["gene\tspecies\tcontig\ttss\tstrand", *("\t".join(row) for row in sorted(rows))])
