"""How many planted relatives `dnalm.genome.homology` finds, and how many strangers it takes for relatives.

Usage: python experiments/homology/planted.py  (from the repository's root; writes planted.csv beside itself)
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from dnalm.genome.alphabet import Codes, is_unknown, reverse_complement
from dnalm.genome.homology import Homology, low_complexity
from dnalm.simulation.evolution import build_ancestor, evolve
from dnalm.simulation.settings import Clade
from tests.genome.planted import drawn, mutated, of
from tests.genome.test_homology import aligned

HERE = Path(__file__).parent
FLANK, PAIRS = 50, 5_000
Pair = tuple[Codes, Codes]


def planted(seed: int, *, lowest: float, highest: float, indels: float) -> list[Pair]:
    """Pairs of 100 bases of an identity, with other bases on both sides."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(PAIRS):
        relative = drawn(rng, 100)
        other = mutated(rng, relative, identity=rng.uniform(lowest, highest), indels=indels)
        one, two = (
            np.concatenate([drawn(rng, FLANK), each, drawn(rng, FLANK)]) for each in (relative, other)
        )
        pairs.append((one, two))
    return pairs


def orthologs(seed: int) -> list[Pair]:
    """Windows of 120 ancestral bases in two species, 70 to 73 % of whose true alignment agrees.

    Those of low complexity, which are not compared, are left out: 5.8 %.
    """
    clade = Clade(
        genome_bp=2_400_000,
        num_contigs=3,
        dev_contigs=1,
        test_contigs=1,
        tree="(a:0.16,b:0.16);",
        seed=seed,
    )
    ancestor = build_ancestor(clade)
    one, other = evolve(ancestor, clade).values()
    pairs = []
    for start in range(0, ancestor.block.size - 120, 120):
        first, second, identity, columns = aligned(one, other, start, start + 120)
        if columns < 100 or not 0.7 <= identity < 0.73:
            continue
        if not any((is_unknown(each) | low_complexity(each)).any() for each in (first, second)):
            pairs.append((first, second))
    return pairs


def found_of(pairs: list[Pair], *, one_genome: bool) -> tuple[int, int, int, int]:
    """Pairs found of all, of those on one strand and those on both.

    Args:
        pairs: every second one is turned.
        one_genome: the pairs lie end to end in one sequence, as paralogs; else each is a sequence.
    """
    rows = [
        reverse_complement(each) if side and number % 2 else each
        for number, pair in enumerate(pairs)
        for side, each in enumerate(pair)
    ]
    homology = of(rows)
    if one_genome:
        codes, ends = np.concatenate(rows), np.cumsum([0, *map(len, rows)])
        homology = Homology(codes, np.array([0, len(codes)]), units=ends)
    labels = homology.components()
    found = labels[::2] == labels[1::2]
    return int(found[::2].sum()), len(found[::2]), int(found[1::2].sum()), len(found[1::2])


def strangers(bases: int = 12_000_000, block: int = 5_000) -> tuple[int, int]:
    """Pairs of blocks of a random genome that are taken for homologous, and all pairs."""
    codes = drawn(np.random.default_rng(6), bases)
    units = np.arange(0, bases + 1, block)
    found: set[tuple[int, int]] = set()
    for one, other in Homology(codes, np.array([0, bases]), units=units).pairs(np.not_equal):
        found |= set(zip(one.tolist(), other.tolist(), strict=True))
    blocks = bases // block
    return len({(min(pair), max(pair)) for pair in found}), blocks * (blocks - 1) // 2


def main() -> None:
    """Write the table."""
    kinds: dict[str, tuple[list[Pair], bool]] = {
        "70 %, substitutions": (planted(1, lowest=0.7, highest=0.7, indels=0), False),
        "70 %, indels of the clade": (planted(2, lowest=0.7, highest=0.7, indels=0.08), False),
        "70 %, indels of the clade, one genome": (planted(3, lowest=0.7, highest=0.7, indels=0.08), True),
        "70 to 100 %, indels of the clade": (planted(4, lowest=0.7, highest=1, indels=0.08), False),
        "orthologs of the clade, 70 to 73 %": (orthologs(5), False),
    }
    with (HERE / "planted.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["pairs", "strand", "found", "of", "share", "low", "high"])
        for kind, (pairs, one_genome) in kinds.items():
            same, same_of, other, other_of = found_of(pairs, one_genome=one_genome)
            rows = [("same", same, same_of), ("other", other, other_of)]
            for strand, found, of_all in [*rows, ("either", same + other, same_of + other_of)]:
                low, high = binomtest(found, of_all).proportion_ci(method="wilson")
                shares = (f"{value:.4f}" for value in (found / of_all, low, high))
                table.writerow([kind, strand, found, of_all, *shares])
        found, of_all = strangers()
        low, high = binomtest(found, of_all).proportion_ci(method="wilson")
        shares = (f"{value:.1e}" for value in (found / of_all, low, high))
        table.writerow(["blocks of a random genome of 12 Mb", "either", found, of_all, *shares])


if __name__ == "__main__":
    main()
