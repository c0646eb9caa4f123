"""What `dnalm interpret` writes: each study reads regions one by one and writes data, and pictures beside.

Pictures are drawn of the first `MOST_PICTURES` regions, data are written of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from dnalm.durable import atomic_write
from dnalm.evaluation.inference import Floats
from dnalm.evaluation.interpretation import pictures
from dnalm.evaluation.interpretation.reader import (
    HeadSummary,
    Reader,
    dependency_map,
    of_text,
    saturate,
    summarize,
    to_bases,
)
from dnalm.evaluation.interpretation.regions import Region
from dnalm.evaluation.interpretation.seqlets import (
    FoundMotif,
    Match,
    SiteKnowledge,
    Table,
    compare,
    find_seqlets,
    pile_up,
    scan,
    scores_in_bits,
)
from dnalm.faults import fault
from dnalm.genome.alphabet import Codes
from dnalm.genome.meme import write_meme
from dnalm.tables import table_writer

MOST_PICTURES = 24
_STRONGEST = 100  # pairs of bases of a region that the table of dependencies lists
_MOST_SEQLETS, _MOST_MOTIFS, _LEAST_SEQLETS = 4_000, 30, 20
_SITE_P_VALUE = 1e-4  # FIMO's own
Done = Callable[[int], None]
Summary = dict[str, object]


@dataclass(frozen=True)
class Study:
    """A study's inputs.

    Attributes:
        reader: the model.
        regions: read as they come.
        folder: where to write.
        done: called for every region that is done.
    """

    reader: Reader
    regions: Iterable[Region]
    folder: Path
    done: Done

    def each(self) -> Iterator[tuple[Region, Path | None]]:
        """The regions, each with where its picture goes, or None once there are enough."""
        for number, region in enumerate(self.regions):
            fault("interpret.region")
            yield region, self.folder / region.file_name if number < MOST_PICTURES else None
            self.done(1)


def study_attention(study: Study) -> Summary:
    """`heads.tsv`, `heads.png`, and of each region its maps (`.npz`: tokens, bases, spans) and a picture."""
    summaries: list[list[list[HeadSummary]]] = []
    names = [field.name for field in fields(HeadSummary)]
    with table_writer(
        study.folder / "heads.tsv", ["region", "layer", "head", *names], delimiter="\t"
    ) as write:
        for region, stem in study.each():
            study.reader.check_length(region.codes, where=region.name)
            spans = study.reader.tokenizer.spans(region.codes, study.reader.tokenizer.encode(region.codes))
            layers = list(study.reader.attention(region.codes))
            size = len(region.codes)
            of_bases = [np.stack([to_bases(head, spans, size) for head in layer]) for layer in layers]
            with atomic_write(study.folder / f"{region.file_name}.npz") as beside:
                np.savez_compressed(
                    beside,
                    tokens=np.stack(layers),
                    bases=np.stack(of_bases).astype(np.float32),
                    spans=spans,
                )
            summaries.append([[summarize(head, spans, size) for head in layer] for layer in layers])
            for layer, heads in enumerate(summaries[-1], start=1):
                for head, summary in enumerate(heads, start=1):
                    write([region.name, layer, head, *(f"{value:.6g}" for value in astuple(summary))])
            if stem:
                pictures.draw_attention(region, [maps.mean(axis=0) for maps in of_bases], stem)
    values = np.array([[[astuple(head) for head in layer] for layer in region] for region in summaries])
    means = dict(zip(names, np.moveaxis(values.mean(axis=0), -1, 0), strict=True))
    pictures.draw_heads(means, study.folder / "heads")
    return {"regions": len(summaries), **{name: float(mean.mean()) for name, mean in means.items()}}


def study_mutagenesis(study: Study, *, neighbours_bp: int) -> Summary:
    """`mutagenesis.tsv`, a row for every substitution, and a picture of each region."""
    header = ["region", "contig", "position", "ref", "alt", "log_p_ref", "log_p_alt", "effect", "neighbours"]
    num_regions = num_rows = 0
    with table_writer(study.folder / "mutagenesis.tsv", header, delimiter="\t") as write:
        for region, stem in study.each():
            found = saturate(study.reader, region, neighbours_bp=neighbours_bp)
            for place in region.known():
                ref, row = int(region.codes[place]), place - region.inner[0]
                log_p, effect, near = found.log_p_R4[row], found.effect_R4[row], found.neighbours_R4[row]
                for alt in (base for base in range(4) if base != ref):
                    figures = (log_p[ref], log_p[alt], effect[alt], near[alt])
                    where = [region.name, region.contig, region.position(place), "ACGT"[ref], "ACGT"[alt]]
                    write([*where, *(f"{value:.6f}" for value in figures)])
                    num_rows += 1
            num_regions += 1
            if stem:
                pictures.draw_mutagenesis(region, found, stem)
    return {"regions": num_regions, "substitutions": num_rows}


def study_dependency(study: Study) -> Summary:
    """`strongest.tsv`, the strongest pairs of every region, and of each its map (`.npz`) and a picture."""
    header = ["region", "contig", "substituted", "hidden", "distance", "log2_odds"]
    num_regions = 0
    with table_writer(study.folder / "strongest.tsv", header, delimiter="\t") as write:
        for region, stem in study.each():
            map_RR = dependency_map(study.reader, region)
            with atomic_write(study.folder / f"{region.file_name}.npz") as beside:
                np.savez_compressed(beside, dependency=map_RR, start=region.start)
            flat = np.nan_to_num(map_RR, nan=-1.0).ravel()
            for index in np.argsort(-flat, kind="stable")[:_STRONGEST]:
                row, column = divmod(int(index), len(map_RR))
                if row != column and flat[index] >= 0:
                    pair = [region.start + row, region.start + column, column - row]
                    write([region.name, region.contig, *pair, f"{flat[index]:.6f}"])
            num_regions += 1
            if stem:
                pictures.draw_dependency(region, map_RR, stem)
    return {"regions": num_regions}


def study_motifs(study: Study, *, known: dict[str, Table] | None) -> Summary:
    """`scores.tsv`, `found.meme`, `found.tsv`, `found.png`, and, with known motifs, `sites.tsv`."""
    texts: list[Codes] = []
    log_p: list[Floats] = []
    seen: list[Region] = []
    for region, _ in study.each():
        texts.append(region.codes[slice(*region.inner)])
        log_p.append(of_text(study.reader, region))
        seen.append(region)
    scores = scores_in_bits(texts, log_p)
    _write_scores(study.folder / "scores.tsv", seen, scores)
    seqlets = find_seqlets(scores, most=_MOST_SEQLETS)
    found = pile_up(texts, scores, seqlets, most=_MOST_MOTIFS, least_seqlets=_LEAST_SEQLETS)
    matches = compare(found, known) if found and known else []
    _write_found(study.folder, found, matches)
    pictures.draw_motifs(found, matches, known or {}, study.folder / "found")
    if known:
        with table_writer(
            study.folder / "sites.tsv", [field.name for field in fields(SiteKnowledge)], delimiter="\t"
        ) as write:
            for row in scan(texts, scores, known, threshold=_SITE_P_VALUE):
                write([value if isinstance(value, str) else f"{value:.6g}" for value in astuple(row)])
    bits = np.concatenate(scores)
    return {
        "regions": len(texts),
        "mean_score_bits": float(np.nanmean(bits)),
        "seqlets": len(seqlets),
        "found": len(found),
        "matched": sum(match.e_value <= 0.05 for match in matches),
    }


def _write_scores(path: Path, regions: list[Region], scores: list[Floats]) -> None:
    with table_writer(path, ["region", "contig", "position", "base", "bits"], delimiter="\t") as write:
        for region, row in zip(regions, scores, strict=True):
            for place in region.known():
                value = row[place - region.inner[0]]
                base = "ACGT"[region.codes[place]]
                write([region.name, region.contig, region.position(place), base, f"{value:.5f}"])


def _write_found(folder: Path, found: list[FoundMotif], matches: list[Match]) -> None:
    tables = {motif.name: motif.frequencies for motif in found}
    write_meme(folder / "found.meme", tables, num_sites={m.name: m.num_seqlets for m in found})
    header = ["motif", "consensus", "seqlets", "bits", "known", "p_value", "e_value", "overlap", "strand"]
    by_name = {match.found: match for match in matches}
    with table_writer(folder / "found.tsv", header, delimiter="\t") as write:
        for motif in found:
            match = by_name.get(motif.name)
            matched: list[Any] = [""] * 5
            if match:
                matched = [
                    match.known,
                    f"{match.p_value:.3g}",
                    f"{match.e_value:.3g}",
                    match.overlap,
                    match.strand,
                ]
            write([motif.name, motif.consensus, motif.num_seqlets, f"{motif.mean_score:.4f}", *matched])
