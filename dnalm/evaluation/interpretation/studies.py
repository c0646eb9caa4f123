"""What `dnalm interpret` writes: each study reads regions one by one and writes data, and pictures beside.

Pictures are drawn of the first `MOST_PICTURES` regions, data are written of all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from dnalm.durable import atomic_write
from dnalm.errors import DataError
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
from dnalm.evaluation.sequence_inputs import NamedSequence
from dnalm.genome.meme import write_meme
from dnalm.tables import table_writer

MOST_PICTURES = 24
_STRONGEST = 100  # pairs of bases of a region that the table of dependencies lists
_MOST_SEQLETS, _MOST_MOTIFS, _LEAST_SEQLETS = 4_000, 30, 20
_SITE_P_VALUE = 1e-4  # FIMO's own
Summary = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study's inputs.

    Attributes:
        reader: the model.
        regions: sequences on the forward strand, read as they come.
        folder: where to write.
        done: called for every region that is done.
    """

    reader: Reader
    regions: Iterable[NamedSequence]
    folder: Path
    done: Callable[[int], None]

    def each(self) -> Iterator[tuple[NamedSequence, Path, bool]]:
        """The regions, each with the path of its files without their endings, and whether it is drawn.

        Raises:
            DataError: INT-04, a region holds no base but N.
        """
        for number, region in enumerate(self.regions, start=1):
            if not region.known():
                raise DataError(
                    "INT-04",
                    where=region.where,
                    found=f"no base but N in {region.id}",
                    expected="a region with known bases",
                    fix="leave it out",
                )
            yield region, self.folder / file_name(number, region.id), number <= MOST_PICTURES
            self.done(1)


def file_name(number: int, name: str) -> str:
    """Number and name of a region, without letters that file names may not have."""
    return f"{number:04d}-{re.sub(r'[^A-Za-z0-9.+-]+', '_', name)[:80]}"


def study_attention(study: Study) -> Summary:
    """`heads.tsv`, `heads.png`, and of each region its maps (`.npz`: tokens, bases, spans) and a picture."""
    summaries: list[list[list[HeadSummary]]] = []
    names = [field.name for field in fields(HeadSummary)]
    with table_writer(
        study.folder / "heads.tsv", ["region", "layer", "head", *names], delimiter="\t"
    ) as write:
        for region, stem, is_drawn in study.each():
            study.reader.check_length(region.codes, where=region.id)
            spans = study.reader.tokenizer.spans(region.codes, study.reader.tokenizer.encode(region.codes))
            layers = study.reader.attention(region.codes)
            size = len(region.codes)
            of_bases = [np.stack([to_bases(head, spans, size) for head in layer]) for layer in layers]
            with atomic_write(stem.with_name(f"{stem.name}.npz")) as beside:
                np.savez_compressed(
                    beside,
                    tokens=np.stack(layers),
                    bases=np.stack(of_bases).astype(np.float32),
                    spans=spans,
                )
            summaries.append([[summarize(head, spans, size) for head in layer] for layer in layers])
            for layer, heads in enumerate(summaries[-1], start=1):
                for head, summary in enumerate(heads, start=1):
                    write([region.id, layer, head, *(f"{value:.6g}" for value in astuple(summary))])
            if is_drawn:
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
        for region, stem, is_drawn in study.each():
            found = saturate(study.reader, region, neighbours_bp=neighbours_bp)
            for place in region.known():
                ref, row = int(region.codes[place]), place - region.inner[0]
                log_p, effect, near = found.log_p_R4[row], found.effect_R4[row], found.neighbours_R4[row]
                for alt in (base for base in range(4) if base != ref):
                    figures = (log_p[ref], log_p[alt], effect[alt], near[alt])
                    where = [
                        region.id,
                        region.coordinate_name,
                        region.position(place),
                        "ACGT"[ref],
                        "ACGT"[alt],
                    ]
                    write([*where, *(f"{value:.6f}" for value in figures)])
                    num_rows += 1
            num_regions += 1
            if is_drawn:
                pictures.draw_mutagenesis(region, found, stem)
    return {"regions": num_regions, "substitutions": num_rows}


def study_dependency(study: Study) -> Summary:
    """`strongest.tsv`, the strongest pairs of every region, and of each its map (`.npz`) and a picture."""
    header = ["region", "contig", "substituted", "hidden", "distance", "log2_odds"]
    num_regions = 0
    with table_writer(study.folder / "strongest.tsv", header, delimiter="\t") as write:
        for region, stem, is_drawn in study.each():
            map_RR = dependency_map(study.reader, region)
            with atomic_write(stem.with_name(f"{stem.name}.npz")) as beside:
                np.savez_compressed(beside, dependency=map_RR, start=region.start)
            flat = np.nan_to_num(map_RR, nan=-1.0).ravel()
            for index in np.argsort(-flat, kind="stable")[:_STRONGEST]:
                row, column = divmod(int(index), len(map_RR))
                if row != column and flat[index] >= 0:
                    pair = [region.start + row, region.start + column, column - row]
                    write([region.id, region.coordinate_name, *pair, f"{flat[index]:.6f}"])
            num_regions += 1
            if is_drawn:
                pictures.draw_dependency(region, map_RR, stem)
    return {"regions": num_regions}


def study_motifs(study: Study, *, known: dict[str, Table] | None) -> Summary:
    """`scores.tsv`, `found.meme`, `found.tsv`, `found.png`, and, with known motifs, `sites.tsv`."""
    seen = [(region, of_text(study.reader, region)) for region, _, _ in study.each()]
    regions, log_p = [region for region, _ in seen], [values for _, values in seen]
    texts = [region.codes[slice(*region.inner)] for region in regions]
    scores = scores_in_bits(texts, log_p)
    _write_scores(study.folder / "scores.tsv", regions, scores)
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


def _write_scores(path: Path, regions: list[NamedSequence], scores: list[Floats]) -> None:
    with table_writer(path, ["region", "contig", "position", "base", "bits"], delimiter="\t") as write:
        for region, row in zip(regions, scores, strict=True):
            for place in region.known():
                value = row[place - region.inner[0]]
                base = "ACGT"[region.codes[place]]
                write([region.id, region.coordinate_name, region.position(place), base, f"{value:.5f}"])


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
