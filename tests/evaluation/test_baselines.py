"""Count models against counting by hand, and the standard error against simulation."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dnalm.evaluation.baselines import SIDE, Judgement, count, judge, judge_bases
from dnalm.evaluation.statistics import PairedDifference, paired_difference
from dnalm.genome.store import GenomeStore, open_or_build
from tests.conftest import random_sequence

MakeStore = Callable[[dict[str, str]], GenomeStore]


def test_counts_equal_counting_by_hand(make_store: MakeStore) -> None:
    text = random_sequence(3000, seed=1)[:1500] + "NN" + random_sequence(1500, seed=2)
    store = make_store({"chr1": text})
    regions = np.array([[0, 1000], [1200, 3000]])
    models = count([(store, regions)])
    bases, contexts = Counter(), Counter()
    for start, end in regions:
        for place in range(start, end):
            bases[text[place]] += 1
            around = text[max(start, place - SIDE) : min(end, place + SIDE + 1)]
            if len(around) == 2 * SIDE + 1 and "N" not in around:
                contexts[around[:SIDE] + around[SIDE + 1 :], text[place]] += 1
    assert models.base_counts.tolist() == [bases[base] for base in "ACGT"]
    assert models.context_counts.sum() == sum(contexts.values())
    for (context, base), number in contexts.items():
        index = sum("ACGT".index(letter) * 4 ** (7 - i) for i, letter in enumerate(context))
        assert models.context_counts[index, "ACGT".index(base)] == number


def test_counting_in_chunks_loses_no_context(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store({"chr1": random_sequence(5000)})
    regions = np.array([[0, 5000]])
    whole = count([(store, regions)])
    monkeypatch.setattr("dnalm.evaluation.baselines._CHUNK", 97)
    assert (count([(store, regions)]).context_counts == whole.context_counts).all()


def test_bits_are_those_of_add_one_smoothed_counts(make_store: MakeStore) -> None:
    text = "ACGTACGTACGTTTTTACGTACGTA"
    store = make_store({"chr1": text, "chr2": "ACGTACGTA"})
    models = count([(store, np.array([[0, len(text)]]))])
    position = 4
    same = [
        text[p]
        for p in range(4, len(text) - 4)
        if text[p - 4 : p] + text[p + 1 : p + 5] == text[0:4] + text[5:9]
    ]
    expected = -np.log2((same.count(text[position]) + 1) / (len(same) + 4))
    assert models.two_sided_bits(store, np.array([position]))[0] == pytest.approx(expected)
    # Position 1 has no four bases on its left, and 25 is the first base of chr2: order 0 judges them.
    share = (np.array([text.count(b) for b in "ACGT"]) + 1) / (len(text) + 4)
    bits = models.two_sided_bits(store, np.array([1, 25]))
    assert bits.tolist() == pytest.approx([-np.log2(share[1]), -np.log2(share[0])])


def test_order0_entropy_of_yeast_under_other_chromosomes(shared_data: Path, tmp_path: Path) -> None:
    store = open_or_build(shared_data / "genomes/sacCer3.fa.gz", tmp_path)
    held_out = store.contig("chrXVI")
    start, end = held_out.offset, held_out.offset + held_out.length
    models = count([(store, np.array([[0, start]]))])  # chrXVI is the last contig
    assert end == store.num_bases
    bits = models.order0_bits(np.asarray(store.codes[start:end] & 7))
    assert bits.mean() == pytest.approx(1.9585, abs=5e-5)  # stated in the project's first issue


def test_a_planted_dependence_is_found_and_judged(make_store: MakeStore) -> None:
    # In every other base equal to its left neighbour the context tells all, order 0 nothing.
    random = np.random.default_rng(0)
    text = "".join(base * 2 for base in random.choice(list("ACGT"), 50_000))
    store = make_store({"chr1": text})
    models = count([(store, np.array([[0, 90_000]]))])
    positions = np.arange(90_001, 99_990, 2)
    judged = judge_bases(
        [store],
        models,
        genome=np.zeros(len(positions), dtype=np.int64),
        positions=positions,
        windows=positions // 200,  # 50 windows
        bits=np.full(len(positions), 1.0, dtype=np.float32),
    )
    result = judge(judged, ["genome"])
    assert result.order0 == pytest.approx(2.0, abs=0.01)
    assert result.two_sided < 1.0
    assert result.over_order0.mean == pytest.approx(-1.0, abs=0.01)
    assert result.over_order0.in_standard_errors < -5
    assert result.over_two_sided.mean > 0
    sentences = result.sentences()
    assert f"the model is {-result.over_order0.mean:.4f} better" in sentences
    assert f"the model is {result.over_two_sided.mean:.4f} worse" in sentences


def test_standard_error_of_clusters_covers_the_truth() -> None:
    # 95 % of intervals of +-1.96 hold the true mean 0; 400 trials give +-5 standard deviations.
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        cluster = np.repeat(np.arange(60), random.integers(5, 15, 60))
        values = random.normal(size=60)[cluster] + random.normal(size=len(cluster))
        difference = paired_difference(values, np.zeros(len(values)), cluster=cluster)
        covered += abs(difference.in_standard_errors) < 1.96
    assert covered / 400 == pytest.approx(0.95, abs=5 * np.sqrt(0.95 * 0.05 / 400))


def test_independent_items_give_the_textbook_standard_error() -> None:
    values = np.array([1.0, 2.0, 4.0, 7.0])
    difference = paired_difference(values, np.zeros(4), cluster=np.arange(4))
    assert difference.mean == 3.5
    assert difference.standard_error == pytest.approx(values.std(ddof=1) / 2)


def test_one_cluster_has_no_standard_error() -> None:
    difference = paired_difference(np.ones(3), np.zeros(3), cluster=np.zeros(3, dtype=int))
    assert difference.standard_error == float("inf")
    assert difference.in_standard_errors == 0


def _difference(windows: int, each: int = 2) -> PairedDifference:
    """Of `windows` windows of so many bases: the first is 1 bit better at every second base, else 0.5."""
    gain = np.tile([1.0, 0.5], windows * each)[: windows * each]
    return paired_difference(2 - gain, np.full(len(gain), 2.0), cluster=np.repeat(np.arange(windows), each))


def test_thirty_windows_are_needed_for_a_standard_error() -> None:
    assert [_difference(number).has_enough_clusters for number in (1, 2, 29, 30, 31)] == [False] * 3 + [
        True
    ] * 2


@pytest.mark.parametrize(
    ("windows", "said"),
    [
        (1, "no verdict, for the hidden bases lie in 1 window and a standard error needs 30"),
        (3, "no verdict, for the hidden bases lie in 3 windows and a standard error needs 30"),
        (29, "no verdict, for the hidden bases lie in 29 windows and a standard error needs 30"),
    ],
)
def test_few_windows_give_figures_and_no_verdict(windows: int, said: str) -> None:
    lines = _judgement(windows).sentences().splitlines()
    assert lines[0] == f"bits per base at {2 * windows} hidden validation bases: 1.2500"
    for line, name in zip(lines[1:3], ("order-0 entropy", "two-sided context model"), strict=True):
        assert line.startswith(f"  {name} 2.0000: {said}; hold out more bases")
    assert lines[3].startswith("  yeast: 1.2500 at ")
    assert f"(no verdict from {windows} window{'s' * (windows > 1)}, 30 are needed)" in lines[3]
    for word in ("better", "worse", "standard errors"):
        assert word not in "".join(lines)


def test_thirty_windows_give_a_verdict() -> None:
    lines = _judgement(30).sentences().splitlines()
    # Every window gains 1 and 0.5 bits, 0.75 on the mean.
    assert lines[1].startswith("  order-0 entropy 2.0000: the model is 0.7500 better (")
    assert lines[3].endswith("standard errors), two-sided 2.0000")


def _judgement(windows: int) -> Judgement:
    of = _difference(windows)
    plain = Judgement(
        hidden_bases=2 * windows, model=1.25, order0=2.0, two_sided=2.0, over_order0=of, over_two_sided=of
    )
    return replace(plain, species={"yeast": plain})
