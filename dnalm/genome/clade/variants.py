"""Single-base variants on the first species whose effect is known.

`motif`: at a core position of a factor's or promoter's site, to the base that lowers its score most.
`splice`: at the GT or AG of an intron. `neutral`: between genes, outside repeats and elements; each is the
partner (INFO PAIR) of a functional one, with the same REF, the same ALT and similar GC around it, so that
neither composition nor the kind of change tells the classes apart. DELTA is the change of the site's score
in bits, LABEL 1 for functional and 0 for neutral.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dnalm.genome.alphabet import bases, is_unknown
from dnalm.genome.clade.annotation import write_lines
from dnalm.genome.clade.blocks import Feature
from dnalm.genome.clade.motifs import MOTIFS
from dnalm.genome.clade.settings import Clade, stream
from dnalm.genome.clade.species import Species

_GC_WINDOW_BP = 101
_GC_STEP = 0.08  # width of the classes inside which GC is matched
_ELEMENTS = ("gene", "promoter", "enhancer", "insulator", "repeat", "gap")


@dataclass(frozen=True)
class Variant:
    """A change of one base; bases as values 0-3 on the forward strand.

    Args:
        position: in the species' `codes`.
        ref: the base there.
        alt: the base instead.
        label: `motif`, `splice` or `neutral`.
        motif: the site's motif, or nothing.
        delta: change of its score in bits, 0 where neutral.
        pair: number that functional variant and neutral partner share.
    """

    position: int
    ref: int
    alt: int
    label: str
    motif: str
    delta: float
    pair: int


def draw_variants(species: Species, clade: Clade) -> list[Variant]:
    """Draw functional variants with their neutral partners, in order of position."""
    rng = stream(clade, "variants")
    sites = species.of_kind("motif")
    factors = [item for item in sites if MOTIFS[item.name].role in ("factor", "promoter")]
    splices = [item for item in sites if item.name in ("DONOR", "ACCEPTOR")]
    functional = _break_sites(species, factors, clade.num_motif_variants, "motif", rng)
    rng = stream(clade, "variants", 1)
    functional += _break_sites(species, splices, clade.num_splice_variants, "splice", rng)
    numbered = [Variant(*item, pair=number) for number, item in enumerate(functional, start=1)]
    neutral = _match_neutral(species, numbered, stream(clade, "variants", 2))
    return sorted([*numbered, *neutral], key=lambda item: (item.position, item.label))


def _break_sites(
    species: Species, sites: list[Feature], count: int, label: str, rng: np.random.Generator
) -> list[tuple[int, int, int, str, str, float]]:
    """At most one variant a site: position, ref, alt, label, motif, delta."""
    found: list[tuple[int, int, int, str, str, float]] = []
    for number in rng.permutation(len(sites)):
        if len(found) >= count:
            break
        item = sites[number]
        motif = MOTIFS[item.name]
        site = bases(species.read(item.start, item.end, item.strand))
        places = list(motif.frozen if label == "splice" else motif.core)
        place = places[rng.integers(len(places))]
        losses = motif.weights[place] - motif.weights[place, site[place]]
        alt = int(rng.choice(np.flatnonzero(losses == losses.min())))
        if losses[alt] >= 0:  # the site has a mismatch here already
            continue
        reverse = item.strand == "-"
        position = item.end - 1 - place if reverse else item.start + place
        ref = int(site[place])
        pair = (3 - ref, 3 - alt) if reverse else (ref, alt)
        found.append((position, *pair, label, item.name, float(losses[alt])))
    return found


def _match_neutral(species: Species, functional: list[Variant], rng: np.random.Generator) -> list[Variant]:
    """A partner for every functional variant that has a free neutral position like it."""
    classes = _gc_class(species)
    letters = bases(species.codes)
    free = ~species.cover(*_ELEMENTS) & ~_near_unknown(species)
    pool = rng.permutation(np.flatnonzero(free))
    keys = letters[pool].astype(np.int64) * 1_000 + classes[pool]
    order = np.argsort(keys, kind="stable")
    pool, keys = pool[order], keys[order]
    used: dict[int, int] = {}
    partners = []
    for item in functional:
        key = item.ref * 1_000 + int(classes[item.position])
        first, last = np.searchsorted(keys, [key, key + 1])
        place = int(first) + used.get(key, 0)
        if place < last:
            used[key] = used.get(key, 0) + 1
            partners.append(Variant(int(pool[place]), item.ref, item.alt, "neutral", "", 0.0, item.pair))
    return partners


def window_sums(flags: npt.NDArray[np.bool_], width: int) -> npt.NDArray[np.int64]:
    """(L,) number of True in the window of odd width around every base, cut at the ends."""
    total = np.concatenate([[0], np.cumsum(flags)])
    middle = np.arange(flags.size)
    high = np.minimum(middle + width // 2 + 1, flags.size)
    return np.asarray(total[high] - total[np.maximum(middle - width // 2, 0)])


def _gc_class(species: Species) -> npt.NDArray[np.int64]:
    letters = bases(species.codes)
    share = window_sums((letters == 1) | (letters == 2), _GC_WINDOW_BP) / _GC_WINDOW_BP
    return (share / _GC_STEP).astype(np.int64)


def _near_unknown(species: Species) -> npt.NDArray[np.bool_]:
    return window_sums(is_unknown(species.codes), _GC_WINDOW_BP) > 0


def write_vcf(species: Species, variants: list[Variant], path: Path) -> None:
    """Write variants as VCF 4.3."""
    sizes = np.diff(species.edges).tolist()
    head = [
        "##fileformat=VCFv4.3",
        "##source=dnalm",
        f"##reference={species.name}.fa",
        *(f"##contig=<ID={name},length={size}>" for name, size in zip(species.contigs, sizes, strict=True)),
        '##FILTER=<ID=PASS,Description="All filters passed">',
        '##INFO=<ID=CLASS,Number=1,Type=String,Description="motif, splice or neutral">',
        '##INFO=<ID=MOTIF,Number=1,Type=String,Description="Motif whose site is changed">',
        '##INFO=<ID=DELTA,Number=1,Type=Float,Description="Change of the motif score, in bits">',
        '##INFO=<ID=PAIR,Number=1,Type=Integer,Description="Number shared with the matched partner">',
        '##INFO=<ID=LABEL,Number=1,Type=Integer,Description="1 functional, 0 neutral">',
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO",
    ]
    write_lines(path, [*head, *(_vcf_row(species, item) for item in variants)])


def _vcf_row(species: Species, item: Variant) -> str:
    contig, place = species.locate(item.position)
    motif = f"MOTIF={item.motif};" if item.motif else ""
    label = int(item.label != "neutral")
    info = f"CLASS={item.label};{motif}DELTA={item.delta:.3f};PAIR={item.pair};LABEL={label}"
    name = f"{item.label[0]}{item.pair}"
    return f"{contig}\t{place + 1}\t{name}\t{'ACGT'[item.ref]}\t{'ACGT'[item.alt]}\t.\tPASS\t{info}"
