"""Planted relatives are found at the rate that the seeds promise, strangers are not; MMseqs2 agrees."""

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from dnalm.genome import homology
from dnalm.genome.alphabet import SOFT_MASK, UNKNOWN, Codes, bases, from_text, reverse_complement, to_text
from dnalm.genome.homology import SEEDS, WEIGHT, Homology, low_complexity
from dnalm.simulation.evolution import Lineage, build_ancestor, evolve
from dnalm.simulation.settings import Clade
from tests.genome.planted import drawn, mutated, of


def components(sequences: list[Codes]) -> np.ndarray:
    return of(sequences).components()


def test_seeds_read_the_same_from_both_ends() -> None:
    for seed in SEEDS:
        assert seed == seed[::-1]
        assert seed.count("1") == WEIGHT
        assert len(seed) <= 32


def test_seeds_miss_one_of_a_thousand_stretches_of_100_bases_with_30_differences() -> None:
    """The figure of the module's docstring, drawn again."""
    rng = np.random.default_rng(1)
    agrees = np.ones((20_000, 100), dtype=bool)
    agrees[:, :30] = False
    agrees = rng.permuted(agrees, axis=1)
    hits = np.zeros(len(agrees), dtype=np.int64)
    for seed in SEEDS:
        ones = [place for place, sign in enumerate(seed) if sign == "1"]
        starts = 101 - len(seed)
        hits += np.logical_and.reduce([agrees[:, one : one + starts] for one in ones]).sum(axis=1)
    expected = sum(101 - len(seed) for seed in SEEDS) * np.prod([(70 - n) / (100 - n) for n in range(WEIGHT)])
    assert hits.mean() == pytest.approx(expected, rel=0.02)
    assert 0.998 < (hits > 0).mean() < 0.9995


@pytest.mark.parametrize("share", [0.0, 0.08], ids=["substitutions", "with the clade's indels"])
def test_relatives_of_70_to_100_percent_over_100_bases_are_found(share: float) -> None:
    rng = np.random.default_rng(2)
    pairs = []
    for number in range(600):
        relative = drawn(rng, 100)
        other = mutated(rng, relative, identity=rng.uniform(0.7, 1.0), indels=share)
        other = reverse_complement(other) if number % 2 else other
        pairs += [np.concatenate([drawn(rng, 50), each, drawn(rng, 50)]) for each in (relative, other)]
    labels = components(pairs)
    assert (labels[::2] == labels[1::2]).mean() >= 0.99
    assert len(np.unique(labels[::2])) == 600  # and no two pairs have become one


@pytest.mark.parametrize("share", [0.0, 0.08], ids=["substitutions", "with the clade's indels"])
def test_at_70_percent_exactly_99_of_100_are_found(share: float) -> None:
    """Among 2,000 pairs, every second one on the other strand."""
    rng = np.random.default_rng(3)
    pairs = []
    for number in range(2_000):
        relative = drawn(rng, 100)
        other = mutated(rng, relative, identity=0.7, indels=share)
        other = reverse_complement(other) if number % 2 else other
        pairs += [np.concatenate([drawn(rng, 50), each, drawn(rng, 50)]) for each in (relative, other)]
    labels = components(pairs)
    found = (labels[::2] == labels[1::2]).sum()
    assert found >= 0.99 * 2_000
    assert binomtest(int(found), 2_000).proportion_ci(method="wilson").low > 0.985


def test_random_dna_has_no_relatives() -> None:
    """By chance 0.3 * (1.2 * 10^6)^2 * exp(-1.03 * 30) = 0.02 alignments have the points."""
    codes = drawn(np.random.default_rng(13), 1_200_000)
    units = np.arange(0, len(codes) + 1, 5_000)
    labels = Homology(codes, np.array([0, len(codes)]), units=units).components()
    assert labels.tolist() == list(range(240))


def test_twenty_equal_bases_are_no_homology() -> None:
    """They are expected between any two genomes of a million bases: 10^12 / 4^20 = 0.9."""
    rng = np.random.default_rng(4)
    shared = drawn(rng, 20)
    sequences = [np.concatenate([drawn(rng, 80), shared, drawn(rng, 80)]) for _ in range(20)]
    assert len(np.unique(components(sequences))) == 20


def test_orthologs_of_the_clade_are_found() -> None:
    """Windows of 120 ancestral bases in two species whose neutral sites differ at three of ten."""
    clade = Clade(genome_bp=150_000, num_contigs=3, dev_contigs=1, test_contigs=1, tree="(a:0.16,b:0.16);")
    ancestor = build_ancestor(clade)
    one, other = evolve(ancestor, clade).values()
    sequences, kept = [], []
    for start in range(0, ancestor.block.size - 120, 120):
        first, second, identity, columns = aligned(one, other, start, start + 120)
        if columns >= 100 and identity >= 0.7 and not (first & bases(first) == UNKNOWN).any():
            kept.append(identity)
            sequences += [first, second if len(kept) % 2 else reverse_complement(second)]
    found = of(sequences)
    labels = found.components()
    ends = np.cumsum([0, *map(len, sequences)])
    plain = np.array([found.compared[a:b].mean() > 0.95 for a, b in pairwise(ends.tolist())])
    plain = plain[::2] & plain[1::2]
    assert plain.sum() > 800
    assert min(kept) < 0.72
    assert (labels[::2] == labels[1::2])[plain].mean() >= 0.99


def aligned(one: Lineage, other: Lineage, start: int, end: int) -> tuple[Codes, Codes, float, int]:
    """Both descendants of an ancestral window, their identity, and the columns of their true alignment."""
    reads = [each.codes[each.place[start] : each.place[end]] for each in (one, other)]
    alive = [each.alive[start:end] for each in (one, other)]
    placed = [
        bases(each.codes[np.minimum(each.place[start:end], len(each.codes) - 1)]) for each in (one, other)
    ]
    equal = int((alive[0] & alive[1] & (placed[0] == placed[1])).sum())
    inserted = sum(len(read) - int(kept.sum()) for read, kept in zip(reads, alive, strict=True))
    columns = int((alive[0] | alive[1]).sum()) + inserted
    return reads[0], reads[1], equal / max(columns, 1), columns


def test_copies_of_a_repeat_are_one_component_though_few_are_compared() -> None:
    rng = np.random.default_rng(5)
    consensus = drawn(rng, 300)
    assert homology._COMPARED < 100
    labels = components([mutated(rng, consensus, identity=0.85, indels=0.08) for _ in range(200)])
    assert len(np.unique(labels)) == 1


def test_blocks_that_share_a_stretch_are_one_component() -> None:
    rng = np.random.default_rng(6)
    contig = drawn(rng, 10_000)
    contig[7_200:7_400] = reverse_complement(contig[2_100:2_300])
    made = Homology(contig, np.array([0, 10_000]), units=np.arange(0, 10_001, 1_000))
    assert made.components().tolist() == [0, 1, 2, 3, 4, 5, 6, 2, 7, 8]


def test_each_sequence_is_looked_for_in_the_parts_before_its_own() -> None:
    rng = np.random.default_rng(7)
    a, b = drawn(rng, 120), drawn(rng, 120)
    rows, parts = of([a, b, a, b, drawn(rng, 120), a]), np.array([2, 0, 0, 1, 2, 2])
    assert rows.in_earlier_parts(parts).tolist() == [
        [True, False, False],
        [False, False, False],
        [False, False, False],
        [True, False, False],
        [False, False, False],
        [True, False, False],
    ]


@pytest.mark.parametrize("dull", ["A" * 150, "CA" * 75, "AAT" * 50, "N" * 150])
def test_low_complexity_and_unknown_bases_are_not_compared(dull: str) -> None:
    rng = np.random.default_rng(8)
    sequences = [np.concatenate([drawn(rng, 100), from_text(dull), drawn(rng, 100)]) for _ in range(2)]
    made = of(sequences)
    assert not made.compared[100:250].any()
    assert len(np.unique(made.components())) == 2


def test_little_of_random_dna_is_of_low_complexity() -> None:
    assert low_complexity(drawn(np.random.default_rng(9), 200_000)).mean() < 0.001


def test_soft_masked_bases_are_left_out_where_asked_for() -> None:
    rng = np.random.default_rng(10)
    repeat = drawn(rng, 200) | SOFT_MASK
    sequences = [np.concatenate([drawn(rng, 100), repeat, drawn(rng, 100)]) for _ in range(2)]
    assert len(np.unique(of(sequences).components())) == 1
    assert len(np.unique(of(sequences, skip_masked=True).components())) == 2


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6))
@settings(max_examples=25)
def test_sequences_without_a_place_for_a_seed_stay_alone(lengths: list[int]) -> None:
    rng = np.random.default_rng(11)
    sequences = [drawn(rng, length) for length in lengths]
    assert components(sequences).tolist() == list(range(len(lengths)))


@given(st.integers(0, 10**6))
@settings(max_examples=15)
def test_the_strand_of_a_sequence_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ancestor = drawn(rng, 200)
    family = [mutated(rng, ancestor, identity=0.85, indels=0.0) for _ in range(3)]
    turned = [reverse_complement(each) if rng.random() < 0.5 else each for each in [*family, drawn(rng, 200)]]
    assert components(turned).tolist() == [0, 0, 0, 1]


@given(st.integers(0, 10**6))
@settings(max_examples=15)
def test_alignments_have_the_points_of_smith_and_waterman(seed: int) -> None:
    rng = np.random.default_rng(seed)
    query = drawn(rng, 60)
    relative = mutated(rng, query, identity=0.8, indels=0.2)
    band = homology._BAND
    target = np.concatenate([drawn(rng, band), relative, drawn(rng, band + 60)])[: 60 + 2 * band]
    (points,) = homology._align(query[:, None], target[:, None])
    assert points == min(smith_waterman(query, target, band), homology._MOST)


def smith_waterman(query: Codes, target: Codes, band: int) -> int:
    """Gotoh's three tables, cell by cell, on the diagonals of the band."""
    width, none = 2 * band + 1, -(10**6)
    score = np.zeros((len(query) + 1, len(target) + 1), int)
    down, along = np.full(score.shape, none), np.full(score.shape, none)
    for row in range(1, len(query) + 1):
        for column in range(row, row + width):
            inside_above = column < row - 1 + width
            above = score[row - 1, column] if inside_above else none
            down[row, column] = max(above - 4, down[row - 1, column] - 1 if inside_above else none)
            left = score[row, column - 1] if column > row else none
            along[row, column] = max(left - 4, along[row, column - 1] - 1 if column > row else none)
            match = 1 if query[row - 1] == target[column - 1] else -1
            options = (0, score[row - 1, column - 1] + match, down[row, column], along[row, column])
            score[row, column] = max(options)
    return int(score.max())


def test_mmseqs2_finds_the_same_relatives(tmp_path: Path) -> None:
    """Of rows that are relatives of 70 to 95 % or strangers; an oracle, and no dependency."""
    program = shutil.which("mmseqs")
    if program is None:
        pytest.skip("MMseqs2 is absent: apt-get install mmseqs2")
    rng = np.random.default_rng(12)
    rows, asked = [], []
    for number in range(300):
        relative = drawn(rng, 300)
        other = mutated(rng, relative, identity=rng.uniform(0.7, 0.95), indels=0.08)
        rows.append(relative)
        asked.append(drawn(rng, 300) if number % 3 == 0 else other)
    for name, of_name in (("targets", rows), ("queries", asked)):
        text = "".join(f">{number}\n{to_text(codes)}\n" for number, codes in enumerate(of_name))
        (tmp_path / f"{name}.fa").write_text(text)
    words = "easy-search queries.fa targets.fa hits.tsv tmp --search-type 3 --strand 2 -e 0.001 --threads 1"
    subprocess.run([program, *words.split()], cwd=tmp_path, check=True, capture_output=True)
    theirs = np.zeros(300, dtype=bool)
    for line in (tmp_path / "hits.tsv").read_text().splitlines():
        theirs[int(line.split("\t")[0])] = True
    ours = of([*rows, *asked]).in_earlier_parts(np.repeat([0, 1], 300))[300:, 0]
    assert ours.tolist() == [number % 3 != 0 for number in range(300)]
    assert ours[theirs].all()
    assert (theirs == ours).mean() > 0.9
