"""Training and validation never share a base."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnalm.data.splits import (
    Division,
    SplitByContig,
    SplitByFraction,
    SplitByHomology,
    SplitByRandomContigs,
    SplitByRegion,
    choose_groups,
)
from dnalm.errors import ConfigError, DataError
from dnalm.genome.alphabet import reverse_complement, to_text
from dnalm.genome.store import Contig, GenomeStore
from tests.conftest import random_sequence
from tests.genome.planted import drawn, mutated, of

MakeStore = Callable[[dict[str, str]], GenomeStore]
LENGTHS = {"chrA": 6000, "chrB": 3000, "chrC": 1000}


@pytest.fixture
def store(make_store: MakeStore) -> GenomeStore:
    return make_store({name: random_sequence(length) for name, length in LENGTHS.items()})


def covered(intervals: np.ndarray, total: int) -> np.ndarray:
    cover = np.zeros(total, dtype=bool)
    for start, end in intervals:
        cover[start:end] = True
    return cover


def check_apart(division: Division, total: int) -> tuple[np.ndarray, np.ndarray]:
    train, validation = covered(division.train, total), covered(division.validation, total)
    assert not (train & validation).any()
    return train, validation


def test_named_contigs_are_held_out(store: GenomeStore) -> None:
    train, validation = check_apart(SplitByContig(validation=["chrB"]).divide(store), 10_000)
    assert validation.sum() == 3000
    assert train.sum() == 7000


def test_a_contig_is_found_by_its_number_and_no_other_is_taken_for_it(make_store: MakeStore) -> None:
    numerals = "I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI".split()  # noqa: SIM905
    yeast = make_store({f"chr{numeral}": random_sequence(3_000) for numeral in numerals})
    other_names = {"chr16": "chrXVI", "16": "chrXVI", "chr9": "chrIX", "X": "chrX", "10": "chrX"}
    for other, name in other_names.items():
        division = SplitByContig(validation=[other]).divide(yeast)
        assert division.description == f"validation on {name} (named {other})"
        contig = yeast.contig(name)
        assert division.validation.tolist() == [[contig.offset, contig.offset + contig.length]]
    with pytest.raises(DataError, match=r"STORE-07 .*there is no contig `chr17`"):
        SplitByContig(validation=["chr17"]).divide(yeast)
    with pytest.raises(ConfigError) as caught:
        SplitByContig(validation=["chr16", "chrXVI"]).divide(yeast)
    assert str(caught.value) == (
        "CFG-05 data.split.validation: chr16: another name of chrXVI, which is held out already; each contig "
        "once. Fix: leave chr16 out."
    )


def test_the_last_contig_of_fitting_size_is_held_out_by_default(store: GenomeStore) -> None:
    division = SplitByContig().divide(store)
    assert division.description == "validation on chrC"
    assert division.validation.tolist() == [[9000, 10_000]]


def test_a_genome_of_one_contig_is_split_by_fraction(make_store: MakeStore) -> None:
    division = SplitByContig().divide(make_store({"phage": random_sequence(50_000)}))
    assert division.validation.tolist() == [[47_500, 50_000]]
    assert division.train.tolist() == [[0, 46_500]]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fraction=st.floats(0.01, 0.9), gap=st.integers(0, 4000))
def test_fraction_leaves_a_gap_inside_each_contig(store: GenomeStore, fraction: float, gap: int) -> None:
    division = SplitByFraction(fraction=fraction, gap=gap).divide(store)
    train, validation = check_apart(division, 10_000)
    for contig in store.contigs:
        inside = slice(contig.offset, contig.offset + contig.length)
        held = round(contig.length * fraction)
        assert validation[inside].sum() == held
        assert train[inside].sum() == max(0, contig.length - held - gap)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.integers(0, 5900), st.integers(1, 100)), min_size=1), gap=st.integers(0, 900)
)
def test_a_gap_ends_with_its_contig(
    store: GenomeStore, tmp_path: Path, rows: list[tuple[int, int]], gap: int
) -> None:
    """Held against each base's distance from a region of its own contig."""
    bed = tmp_path / "regions.bed"
    regions = [("chrA", 0, start, start + length) for start, length in rows] + [("chrB", 6000, 2990, 3000)]
    bed.write_text("".join(f"{name}\t{start}\t{end}\n" for name, _, start, end in regions))
    train, _ = check_apart(SplitByRegion(bed=bed, gap=gap).divide(store), 10_000)
    expected = np.ones(10_000, dtype=bool)
    for name, offset, start, end in regions:
        expected[offset + max(0, start - gap) : offset + min(LENGTHS[name], end + gap)] = False
    assert (train == expected).all()


def lengths_of(division: Division) -> tuple[int, int]:
    return tuple(int(np.diff(side).sum()) for side in (division.train, division.validation))  # type: ignore[return-value]


def test_many_short_contigs_are_held_out_at_random_and_most_bases_train(make_store: MakeStore) -> None:
    """The ends of 300 contigs of 200 to 1,200 bases would be too short to read."""
    lengths = np.random.default_rng(1).integers(200, 1200, 300).tolist()
    store = make_store({f"t{i}": random_sequence(length) for i, length in enumerate(lengths)})
    division = SplitByContig().divide(store)
    assert division.description == "validation on 15 of 300 contigs, drawn at random"
    train, validation = lengths_of(division)
    assert train + validation == sum(lengths)
    assert train > 0.9 * sum(lengths)
    held = {tuple(row) for row in division.validation.tolist()}
    assert held <= {tuple(row) for row in store.intervals.tolist()}


def test_a_hundred_thousand_contigs_are_divided_in_a_second() -> None:
    ends = np.cumsum(np.random.default_rng(2).integers(200, 1200, 100_000))
    contigs = [Contig(f"t{i}", end - length, length) for i, (end, length) in enumerate(
        zip(ends.tolist(), np.diff(ends, prepend=0).tolist(), strict=True))]  # fmt: skip
    store = cast(GenomeStore, _Lengths(contigs))
    for split in (SplitByContig(), SplitByFraction()):
        began = time.perf_counter()
        train, _ = lengths_of(split.divide(store))
        assert time.perf_counter() - began < 5
        assert train > 0.8 * ends[-1]


class _Lengths:
    """What a division asks of a genome."""

    def __init__(self, contigs: list[Contig]) -> None:
        self.contigs = contigs
        self.num_bases = contigs[-1].offset + contigs[-1].length
        self.intervals = np.array([(c.offset, c.offset + c.length) for c in contigs])
        self.offsets = self.intervals[:, 0]


def test_small_contigs_beside_a_chromosome_leave_its_end_to_validation(make_store: MakeStore) -> None:
    """A chromosome of 80 % and scaffolds below 1 %: 5 % of each, and gaps of a tenth at most."""
    scaffolds = {f"s{i}": random_sequence(400, i) for i in range(125)}
    division = SplitByContig().divide(make_store({"chr": random_sequence(200_000), **scaffolds}))
    assert lengths_of(division) == (200_000 - 10_000 - 1000 + 125 * (400 - 20 - 40), 10_000 + 125 * 20)


def test_a_long_contig_is_not_drawn_at_random(make_store: MakeStore) -> None:
    """It is 90 % of the bases: whatever the seed, the short ones are held out."""
    store = make_store(
        {"long": random_sequence(9000), **{f"s{i}": random_sequence(100, i) for i in range(10)}}
    )
    for seed in range(30):
        division = SplitByRandomContigs(fraction=0.3, seed=seed).divide(store)
        assert division.train[0].tolist() == [0, 9000]
        assert lengths_of(division)[1] == 300  # 30 % of 11 contigs


def test_a_gap_that_is_asked_for_is_kept_whole(make_store: MakeStore) -> None:
    store = make_store({"a": random_sequence(2000), "b": random_sequence(2000)})
    assert lengths_of(SplitByFraction().divide(store)) == (2 * (1900 - 200), 200)
    assert lengths_of(SplitByFraction(gap=1000).divide(store)) == (2 * (1900 - 1000), 200)


def test_a_split_that_trains_on_less_than_half_is_warned_of(store: GenomeStore) -> None:
    """The ends of 6,000, 3,000 and 1,000 bases leave 3,000, less gaps of 600, 300 and 100."""
    assert SplitByFraction(fraction=0.7).divide(store).description == (
        "validation on the last 70.0% of every contig, 600 bases apart; warning: only 20% of the bases train"
    )
    assert "warning" not in SplitByFraction(fraction=0.4).divide(store).description


def test_regions_of_a_bed_file(store: GenomeStore, tmp_path: Path) -> None:
    bed = tmp_path / "held_out.bed"
    bed.write_text("chrA\t100\t200\nchrA\t150\t300\nchrB\t0\t50\n")
    division = SplitByRegion(bed=bed, gap=30).divide(store)
    train, validation = check_apart(division, 10_000)
    assert division.validation.tolist() == [[100, 300], [6000, 6050]]
    assert validation.sum() == 250
    # 100 .. 300 with 30 on each side, and 0 .. 50 of chrB, which has nothing on its left.
    assert train.sum() == 10_000 - 260 - 80


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(st.integers(0, 5900), st.integers(1, 100)), min_size=1))
def test_within_regions_both_sides_keep_what_lies_there(
    store: GenomeStore, tmp_path: Path, rows: list[tuple[int, int]]
) -> None:
    bed = tmp_path / "regions.bed"
    lines = [f"chrA\t{start}\t{start + length}\n" for start, length in rows]
    bed.write_text("".join(lines) + "chrC\t100\t300\n")
    whole = SplitByContig().divide(store)
    train, validation = check_apart(whole.within(bed, store), 10_000)
    wanted = covered(np.array([*((a, a + n) for a, n in rows), (9_100, 9_300)]), 10_000)
    assert (train == (covered(whole.train, 10_000) & wanted)).all()
    assert (validation == (covered(whole.validation, 10_000) & wanted)).all()


def test_regions_are_reported(store: GenomeStore, tmp_path: Path) -> None:
    bed = tmp_path / "regions.bed"
    bed.write_text("chrA\t0\t10\nchrA\t5\t90\nchrC\t100\t300\n")
    division = SplitByContig().divide(store).within(bed, store)
    assert division.description == "validation on chrC; windows lie in 2 regions of regions.bed"


@pytest.mark.parametrize(("contig", "verb"), [("chrA", "validates"), ("chrC", "trains")])
def test_regions_on_one_side_only_are_an_error(
    store: GenomeStore, tmp_path: Path, contig: str, verb: str
) -> None:
    bed = tmp_path / "regions.bed"
    bed.write_text(f"{contig}\t0\t100\n")
    with pytest.raises(DataError, match=f"DATA-11 .*: none of its 1 regions lies where the genome {verb}"):
        SplitByContig().divide(store).within(bed, store)


def test_an_unknown_contig_is_an_error(store: GenomeStore) -> None:
    with pytest.raises(DataError, match="chrQ"):
        SplitByContig(validation=["chrQ"]).divide(store)


def test_nothing_to_train_on_is_an_error(store: GenomeStore) -> None:
    with pytest.raises(ConfigError, match="every contig is held out; at least one contig to train on"):
        SplitByContig(validation=list(LENGTHS)).divide(store)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SplitByFraction(fraction=1.0), r"fraction is 1\.0; the share held out lies in \(0, 1\)"),
        (lambda: SplitByFraction(gap=-1), "gap is -1; a number of bases must not be negative"),
        (lambda: SplitByRegion(bed=Path("x"), gap=-1), "gap is -1"),
    ],
)
def test_impossible_splits_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_blocks_held_out_by_homology_have_no_relative_that_trains(
    make_store: MakeStore, tmp_path: Path
) -> None:
    """Two genomes whose stretches are related in pairs, on either strand, within and between them."""
    rng = np.random.default_rng(1)
    genomes = [drawn(rng, 60_000), drawn(rng, 60_000)]
    for number in range(20):
        source, target = rng.integers(0, 2, 2)
        start, end = rng.integers(0, 59_000, 2)
        relative = mutated(rng, genomes[source][start : start + 400], identity=0.8, indels=0.08)
        relative = reverse_complement(relative) if number % 2 else relative
        genomes[target][end : end + len(relative)] = relative
    stores = [make_store({"chr1": to_text(codes)}) for codes in genomes]
    split = SplitByHomology(fraction=0.2, block_bp=2_000)
    one, two = split.divide_together(stores, tmp_path)
    again = split.divide_together(stores, tmp_path)  # as it was kept
    for division, kept, store in zip((one, two), again, stores, strict=True):
        train, validation = check_apart(division, store.num_bases)
        assert (train | validation).all()
        assert kept.validation.tolist() == division.validation.tolist()
        assert kept.description == division.description
    left = one.similarity
    assert left is not None
    assert left == two.similarity
    assert 0.1 < left.validation <= 0.2
    assert left.shared_words < 0.001
    rows, parts = [], []
    for division, codes in zip((one, two), genomes, strict=True):
        for part, side in enumerate((division.train, division.validation)):
            rows += [codes[start:end] for start, end in side.tolist()]
            parts += [part] * len(side)
    assert not of(rows).in_earlier_parts(np.array(parts)).any()


def test_one_group_of_everything_leaves_nothing_to_hold_out(make_store: MakeStore, tmp_path: Path) -> None:
    contig = random_sequence(5_000)
    store = make_store({f"chr{number}": contig for number in range(4)})
    with pytest.raises(DataError) as caught:
        SplitByHomology().divide_together([store], tmp_path)
    assert str(caught.value) == (
        f"DATA-12 {store.source.name}: one group of homologous blocks has 100.0% of the bases, and cannot be "
        "broken: 0.0% fit into validation; 5.0% of the bases held out. Fix: lower data.split.block_bp, hold "
        "out less (data.split.fraction), soft-mask repeats, or use data/split=contigs."
    )


def test_strains_are_held_out_at_the_same_places_and_no_relative_trains(
    make_store: MakeStore, tmp_path: Path
) -> None:
    """Three strains, their blocks out of step, with a repeat at ten places: one group, which is broken."""
    rng = np.random.default_rng(2)
    ancestor, repeat = drawn(rng, 200_000), drawn(rng, 300)
    for start in rng.integers(0, 199_000, 10).tolist():
        ancestor[start : start + 300] = repeat
    shifts = (0, 700, 1_300)
    genomes = [mutated(rng, ancestor[shift:], identity=0.98, indels=0.0) for shift in shifts]
    stores = [make_store({"chr1": to_text(codes)}) for codes in genomes]
    split = SplitByHomology(fraction=0.1, block_bp=2_000)
    divisions = split.divide_together(stores, tmp_path)
    left = divisions[0].similarity
    assert left is not None
    assert left.largest_group > 0.99
    assert 0.05 <= left.validation <= 0.1
    assert 0 < left.left_out <= left.validation
    assert left.shared_words == 0
    assert f"the {left.left_out:.1%} of bases that are homologous to both sides" in divisions[0].description
    rows, parts, held = [], [], []
    for division, store, shift in zip(divisions, stores, shifts, strict=True):
        train, validation = check_apart(division, store.num_bases)
        held.append(np.append(np.zeros(shift, bool), validation))
        for part, side in enumerate((train, validation)):
            edges = np.flatnonzero(np.diff(side, prepend=False, append=False)).reshape(-1, 2)
            rows += [store.codes[start:end] for start, end in edges.tolist()]
            parts += [part] * len(edges)
    assert not of(rows).in_earlier_parts(np.array(parts)).any()
    in_all, in_any = np.logical_and.reduce(held), np.logical_or.reduce(held)
    assert in_all.sum() > 0.5 * in_any.sum()


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 100)), min_size=1, max_size=40),
    st.floats(0.01, 0.99),
)
def test_groups_are_whole_and_fit_and_the_largest_trains(units: list[tuple[int, int]], share: float) -> None:
    groups = np.unique([group for group, _ in units], return_inverse=True)[1]
    sizes = np.array([size for _, size in units])
    held = choose_groups(groups, sizes, share=share, seed=1)
    totals = np.bincount(groups, weights=sizes)
    sides = [{*held[groups == group].tolist()} for group in range(len(totals))]
    assert all(len(side) == 1 for side in sides)
    assert sides[int(totals.argmax())] == {False}
    assert sizes[held].sum() <= share * sizes.sum() + 1e-6


def test_homology_takes_sequences_and_blocks_that_are_long_enough() -> None:
    with pytest.raises(ValueError, match="block_bp is 20; homology takes 30 bases at least"):
        SplitByHomology(block_bp=20)
