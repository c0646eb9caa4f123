"""Known motifs that an allele loses or gains: what FIMO finds over the variant in REF and in ALT.

Both alleles are scanned in the same flanks, as wide as the widest motif, on both strands. Of each motif the
best hit that touches the variant counts. A motif is lost where its p-value in REF is at most 1e-4 and in ALT
at least ten times as large, where worse than 1e-3 counts as 1e-3; gained is the reverse. What is named is the
motif whose p-value changes most. This is a reading of the DNA alone: no model has a part in it.

FIMO is memelite's (Grant et al. 2011); its p-values take A, C, G and T as equally frequent. Rounding makes
some of the best words 0: a p-value here is at least 4^-W, that of one word.

N alleles, W bases of a motif, R bases of a window.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from dnalm.console import stdout
from dnalm.evaluation.interpretation.seqlets import find_sites
from dnalm.evaluation.variants.output import Scored, number_text
from dnalm.evaluation.variants.scoring import Pair, ScoringPlan, make_pair
from dnalm.genome.alphabet import UNKNOWN
from dnalm.genome.meme import Table
from dnalm.genome.store import GenomeStore
from dnalm.genome.variants import Allele, Survey, judge
from dnalm.tables import table_writer

THRESHOLD = 1e-4  # FIMO's own
_WEAKEST = 10 * THRESHOLD
_SCANNED_AT_ONCE = 500
_MOTIF_COLUMNS = ("lost", "lost_p_ref", "lost_p_alt", "gained", "gained_p_ref", "gained_p_alt")


@dataclass(frozen=True)
class MotifChange:
    """A motif whose site one allele has and the other lacks.

    Attributes:
        name: of the motif.
        p_ref: FIMO's p-value of its best site over REF; `_WEAKEST` where there is none that good.
        p_alt: of its best site over ALT, likewise.
    """

    name: str
    p_ref: float
    p_alt: float

    @property
    def orders(self) -> float:
        """Orders of magnitude by which the site is better in REF; below 0 where it is better in ALT."""
        return math.log10(self.p_alt / self.p_ref)


@dataclass(frozen=True)
class MotifChanges:
    """The motif that an allele loses and the one that it gains, where there are such."""

    lost: MotifChange | None = None
    gained: MotifChange | None = None

    def cells(self) -> list[str]:
        """As a table's columns `_MOTIF_COLUMNS`."""
        return [
            text
            for change in (self.lost, self.gained)
            for text in (
                ["."] * 3 if change is None else [change.name, f"{change.p_ref:.2g}", f"{change.p_alt:.2g}"]
            )
        ]


def find_motif_changes(pairs: Sequence[Pair], known: Mapping[str, Table]) -> list[MotifChanges]:
    """What each pair of alleles loses and gains, (N,).

    Args:
        pairs: windows of REF and ALT; sites are looked for in all of each, and count over the allele.
        known: (W, 4) probabilities by name, at least one.
    """
    best_REF_ALT = _best_sites(pairs, known)
    names = list(known)
    found = []
    for number in range(len(pairs)):
        changes = [
            MotifChange(name, *map(float, best_REF_ALT[:, number, motif]))
            for motif, name in enumerate(names)
            if best_REF_ALT[:, number, motif].min() <= THRESHOLD
        ]
        lost = max((each for each in changes if each.orders >= 1), key=lambda each: each.orders, default=None)
        gained = min(
            (each for each in changes if each.orders <= -1), key=lambda each: each.orders, default=None
        )
        found.append(MotifChanges(lost, gained))
    return found


def _best_sites(
    pairs: Sequence[Pair], known: Mapping[str, Table]
) -> np.ndarray[tuple[int, int, int], np.dtype[np.float64]]:
    """The least p-value of each motif's sites over each allele, (2, N, motifs): of REF and of ALT."""
    windows = [window for pair in pairs for window in (pair.ref, pair.alt)]
    hits = find_sites([window.codes for window in windows], known, threshold=_WEAKEST)
    starts = np.array([window.start for window in windows])
    ends = np.array([window.end for window in windows])
    longest = max(len(window.codes) for window in windows)
    is_known = np.array(
        [np.pad(window.codes < UNKNOWN, (1, longest - len(window.codes))) for window in windows]
    )
    known_bases = is_known.cumsum(axis=1)
    best = np.full((len(windows), len(known)), _WEAKEST)
    for motif, (table, width) in enumerate(zip(hits, map(len, known.values()), strict=True)):
        owner, first = table["sequence_name"].to_numpy(int), table["start"].to_numpy(int)
        last = first + width
        inside = last < known_bases.shape[1]
        touches = (first < ends[owner]) & (last > starts[owner]) & inside
        owner, first, last = owner[touches], first[touches], last[touches]
        whole = known_bases[owner, last] - known_bases[owner, first] == width  # no N, and within the window
        p_values = np.maximum(table["p-value"].to_numpy(float), 4.0**-width)
        np.minimum.at(best[:, motif], owner[whole], p_values[touches][whole])
    return best.reshape(len(pairs), 2, len(known)).transpose(1, 0, 2)


def write_ranked(
    out: Path,
    scored: Iterator[Scored],
    known: Mapping[str, Table],
    *,
    plan: ScoringPlan,
    names: Sequence[str],
    found: Survey,
    store: GenomeStore,
    most: int = 1000,
) -> None:
    """Write `<out>.ranked.tsv`: alleles by the size of their first score, and the motifs they lose and gain.

    Columns: `rank`; `chrom`, `pos`, `id`, `ref`, `alt` as in the input; the scores; `lost`, the name of a
    motif whose site REF has, with its p-values `lost_p_ref` and `lost_p_alt`; `gained` likewise; `.` if none.

    Args:
        out: the scored file.
        scored: the records with their numbers, in order.
        known: (W, 4) probabilities by motif.
        plan: how they were scored.
        names: of the numbers.
        found: what is known of the input.
        store: the genome.
        most: rows.
    """
    rows = _alleles(scored, found, store, plan.max_allele_bp)
    best = iter(heapq.nlargest(most, rows, key=lambda row: abs(row[2][0])))
    widest, number = max(map(len, known.values())), 0
    path = out.with_name(f"{out.name}.ranked.tsv")
    columns = ("rank", "chrom", "pos", "id", "ref", "alt", *names, *_MOTIF_COLUMNS)
    with table_writer(path, columns, delimiter="\t") as write:
        while part := list(islice(best, _SCANNED_AT_ONCE)):
            pairs = [_around(store, allele, widest) for allele, _, _ in part]
            for (_, cells, scores), changes in zip(part, find_motif_changes(pairs, known), strict=True):
                number += 1
                write([number, *cells, *map(number_text, scores), *changes.cells()])
    stdout.print(f"{number:,} alleles, largest {names[0]} first, with motifs lost and gained: {path}")


def _alleles(
    scored: Iterator[Scored], found: Survey, store: GenomeStore, max_allele_bp: int
) -> Iterator[tuple[Allele, list[str], list[float]]]:
    """Every allele that has a first score, with the cells that name it."""
    places = [found.form.places.get(name) for name in ("chrom", "pos", "id", "ref")]
    for record, entries in scored:
        judged = judge(record, found.aliases, store, max_allele_bp=max_allele_bp)
        cells = ["." if place is None else record.fields[place] for place in places]
        for alt, allele, entry in zip(record.alts, judged, entries, strict=True):
            if isinstance(allele, Allele) and not isinstance(entry, str) and not math.isnan(entry[0]):
                yield allele, [*cells, alt], entry


def _around(store: GenomeStore, allele: Allele, flank_bp: int) -> Pair:
    """Both alleles with flanks that hold every site over them."""
    longest = max(len(allele.ref), len(allele.alt)) + 2  # an indel is read with a base on either side
    return make_pair(store, allele, window_bp=longest + 2 * flank_bp)
