"""Windows: lengths, places, order, and never a base outside the regions."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnalm.data.windows import TrainingWindows, WindowRecipe, validation_windows

K = 6
SHORTEST, LONGEST = 5 + K - 1, 510 + K - 1  # bases of 5 and of 510 6-mers
RECIPE = WindowRecipe(min_tokens=5, max_tokens=510)


def windows_of(regions: list[tuple[int, int]], *, seed: int = 1, **recipe: float) -> TrainingWindows:
    return TrainingWindows(
        np.array(regions),
        recipe=WindowRecipe(min_tokens=5, max_tokens=510, **recipe),  # type: ignore[arg-type]
        shortest=SHORTEST,
        longest=LONGEST,
        seed=seed,
    )


regions_strategy = st.lists(st.integers(SHORTEST, 5000), min_size=1, max_size=8).map(
    lambda lengths: [(sum(lengths[:i]) + 7 * i, sum(lengths[: i + 1]) + 7 * i) for i in range(len(lengths))]
)


@settings(max_examples=50)
@given(regions=regions_strategy, seed=st.integers(0, 1000))
def test_every_window_lies_inside_one_region(regions: list[tuple[int, int]], seed: int) -> None:
    windows = windows_of(regions, seed=seed)
    for index in range(200):
        window = windows[index]
        assert any(start <= window.start < window.end <= end for start, end in regions)
        assert window.end - window.start <= LONGEST


@settings(max_examples=25)
@given(regions=regions_strategy, seed=st.integers(0, 1000))
def test_one_epoch_of_cuts_visits_every_base_once(regions: list[tuple[int, int]], seed: int) -> None:
    windows = windows_of(regions, seed=seed, random_share=0.0)
    cover = np.zeros(regions[-1][1], dtype=int)
    for index in range(windows.num_cuts):
        cover[windows[index].start : windows[index].end] += 1
    for start, end in regions:
        # The last piece of a block is dropped where it is shorter than the shortest window.
        missing = np.flatnonzero(cover[start:end] == 0)
        assert len(missing) < SHORTEST
        assert missing.size == 0 or missing[0] == end - start - len(missing)
    assert cover.max() == 1


def test_epochs_visit_the_same_cuts_in_another_order() -> None:
    windows = windows_of([(0, 200_000)], random_share=0.0)
    first = [windows[i] for i in range(windows.num_cuts)]
    second = [windows[i + windows.num_cuts] for i in range(windows.num_cuts)]
    assert Counter(first) == Counter(second)
    assert first != second


def test_half_of_the_samples_are_cuts_and_half_of_those_full() -> None:
    windows = windows_of([(0, 3_000_000)])
    count = 4000
    assert sum(windows._is_random(i) for i in range(count)) == count // 2
    cuts = [windows[i] for i in range(count) if not windows._is_random(i)]
    full = np.mean([w.end - w.start == LONGEST for w in cuts])
    # Half by the coin, and a short one is full by chance 1 in 506.
    expected = 0.5 + 0.5 / (LONGEST - SHORTEST + 1)
    assert full == pytest.approx(expected, abs=5 * 0.5 / np.sqrt(len(cuts)))


def test_random_windows_have_uniform_lengths_of_5_to_510_tokens() -> None:
    windows = windows_of([(0, 10_000_000)], random_share=1.0)
    tokens = np.array([windows[i].end - windows[i].start - K + 1 for i in range(20_000)])
    assert tokens.min() == 5
    assert tokens.max() == 510
    deviation = np.sqrt(((510 - 5 + 1) ** 2 - 1) / 12)
    assert tokens.mean() == pytest.approx((5 + 510) / 2, abs=5 * deviation / np.sqrt(len(tokens)))


def test_random_windows_begin_anywhere() -> None:
    windows = windows_of([(0, 1000), (5000, 6000)], random_share=1.0)
    starts = np.array([windows[i].start for i in range(20_000)])
    share = (starts < 1000).mean()
    assert share == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(len(starts)))
    assert starts[starts < 1000].max() == 1000 - SHORTEST


def test_windows_are_a_function_of_seed_and_index() -> None:
    first, second = windows_of([(0, 100_000)]), windows_of([(0, 100_000)])
    backwards = [second[i] for i in reversed(range(300))][::-1]
    assert [first[i] for i in range(300)] == backwards
    assert [windows_of([(0, 100_000)], seed=2)[i] for i in range(300)] != backwards


def test_reverse_complement_is_a_fair_coin() -> None:
    assert not any(windows_of([(0, 10_000)])[i].reverse for i in range(500))
    share = np.mean([windows_of([(0, 10_000)], reverse_complement=True)[i].reverse for i in range(1000)])
    assert share == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(1000))


def test_cutting_restarts_at_blocks_so_any_cut_is_reached_directly() -> None:
    windows = windows_of([(0, 900_000)], random_share=0.0)
    assert len(windows._cuts.up_to) == 4  # ceil(9e5 / 2^18)
    assert windows._cuts.lengths.dtype == np.uint16  # 2 bytes a cut, for a genome has millions
    ends = sorted(windows[i].end for i in range(windows.num_cuts))
    assert ends == sorted(set(ends))


@settings(max_examples=50)
@given(regions=regions_strategy, count=st.integers(1, 50))
def test_validation_windows_are_apart_and_as_many_as_asked(
    regions: list[tuple[int, int]], count: int
) -> None:
    chosen = validation_windows(np.array(regions), length=LONGEST, count=count)
    available = sum(max(1, (end - start) // LONGEST) for start, end in regions)
    assert len(chosen) == min(count, available)
    assert all(a.end <= b.start for a, b in pairwise(chosen))
    assert all(any(s <= w.start < w.end <= e for s, e in regions) for w in chosen)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"full_share": 1.2}, r"full_share is 1\.2; a share lies between 0 and 1"),
        ({"random_share": -0.1}, r"random_share is -0\.1; a share lies between 0 and 1"),
        ({"max_unknown": -1}, "max_unknown is -1; it must not be negative"),
    ],
)
def test_impossible_recipes_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WindowRecipe(min_tokens=5, max_tokens=510, **arguments)  # type: ignore[arg-type]


def test_lengths_must_be_ordered() -> None:
    with pytest.raises(ValueError, match="min_tokens is 9 and max_tokens 8; 1 <= min_tokens <= max_tokens"):
        WindowRecipe(min_tokens=9, max_tokens=8)
