"""What is hidden, how much of it, and what is shown in its place."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.data.masking import Masking, _published_spans, _uniform_spans, start_probability
from dnalm.paths import config_folder
from dnalm.tokenizers import KmerTokenizer

MASK = 4


def hide(masking: Masking, *, tokens: int, k: int, rate: float, seed: int = 0) -> tuple[np.ndarray, ...]:
    tokenizer = KmerTokenizer(k=k)
    random = np.random.default_rng(seed)
    codes = random.integers(0, 4, tokens + k - 1, dtype=np.uint8)
    ids = tokenizer.encode(codes)
    spans = tokenizer.spans(codes, ids)
    seen, hidden = masking.hide(ids, spans[:, 1] > spans[:, 0], tokenizer, rate=rate, random=random)
    return ids, seen, hidden


@pytest.mark.parametrize(
    ("k", "rate", "centre"),
    [
        (3, 0.15, 0.0527),
        (4, 0.15, 0.0398),
        (5, 0.15, 0.0320),
        (6, 0.15, 0.0267),
        (3, 0.20, 0.0717),
        (6, 0.20, 0.0365),
    ],
)
def test_start_probability_is_the_published_conversion(k: int, rate: float, centre: float) -> None:
    # DNABERT gives centre rates; 1 - (1 - p)^k is the share of tokens they hide.
    assert start_probability(rate, k) == pytest.approx(centre, abs=5e-5)


@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize("k", [3, 6])
@pytest.mark.parametrize("rate", [0.15, 0.2, 0.4])
def test_realised_rate(k: int, rate: float, faithful: bool) -> None:
    tokens = 200_000
    _, _, hidden = hide(Masking(faithful=faithful), tokens=tokens, k=k, rate=rate)
    # Tokens within k of each other are correlated, so a share of n tokens has at most the standard
    # deviation of n / k independent ones.
    assert hidden.mean() == pytest.approx(rate, abs=5 * np.sqrt(rate * (1 - rate) * k / tokens))


@given(
    seed=st.integers(0, 10_000),
    tokens=st.integers(1, 60),
    span=st.sampled_from([1, 3, 4, 5, 6]),
    rate=st.floats(0.01, 0.9),
)
def test_spans_of_tokens_taken_one_by_one(seed: int, tokens: int, span: int, rate: float) -> None:
    hidden, kind = _uniform_spans(tokens, span=span, rate=rate, random=np.random.default_rng(seed))
    random, probability = np.random.default_rng(seed), start_probability(rate, span)
    starts = random.random(tokens + span - 1) < probability
    kinds = random.random(tokens + span - 1)
    last = [max((p for p in range(t, t + span) if starts[p]), default=None) for t in range(tokens)]
    assert hidden.tolist() == [p is not None for p in last]
    assert kind.tolist() == [kinds[p] for p in last if p is not None]

    hidden, kind = _published_spans(tokens, span=span, rate=rate, random=np.random.default_rng(seed))
    random = np.random.default_rng(seed)
    centres = np.flatnonzero(random.random(tokens) < probability)
    before, after = (span - 1) // 2, span // 2
    reached = [any(c - before <= t <= c + after for c in centres) for t in range(tokens)]
    assert hidden.tolist() == reached
    assert kind.tolist() == random.random(tokens)[hidden].tolist()


def test_tokens_at_the_ends_are_hidden_as_often_as_others() -> None:
    rate, draws = 0.15, 20_000
    first = sum(hide(Masking(), tokens=8, k=6, rate=rate, seed=seed)[2][1] for seed in range(draws))
    assert first / draws == pytest.approx(rate, abs=5 * np.sqrt(rate * (1 - rate) / draws))


@given(seed=st.integers(0, 10_000), k=st.sampled_from([1, 3, 6]))
def test_hidden_runs_are_whole_spans_inside_the_sequence(seed: int, k: int) -> None:
    _, _, hidden = hide(Masking(), tokens=300, k=k, rate=0.15, seed=seed)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], hidden.astype(int), [0]])))
    for start, end in edges.reshape(-1, 2):
        touches_an_end = start == 1 or end == len(hidden) - 1  # [CLS] and [SEP] stand outside
        assert end - start >= k or touches_an_end


@given(seed=st.integers(0, 10_000))
def test_special_and_visible_tokens_stay(seed: int) -> None:
    ids, seen, hidden = hide(Masking(), tokens=100, k=6, rate=0.3, seed=seed)
    assert not hidden[[0, -1]].any()
    assert (seen[~hidden] == ids[~hidden]).all()


def test_eighty_ten_ten() -> None:
    ids, seen, hidden = hide(Masking(), tokens=400_000, k=6, rate=0.15)
    shown, true = seen[hidden], ids[hidden]
    tolerance = 5 * np.sqrt(0.8 * 0.2 * 6 / hidden.sum())
    assert (shown == MASK).mean() == pytest.approx(0.8, abs=tolerance)
    assert (shown == true).mean() == pytest.approx(0.1, abs=tolerance)
    replaced = shown[(shown != MASK) & (shown != true)]
    assert len(replaced) / hidden.sum() == pytest.approx(0.1, abs=tolerance)
    assert replaced.min() >= 5  # a real k-mer, never a special token


def test_a_span_is_shown_in_one_way() -> None:
    # So no token of a hidden span that is shown as it is can betray its neighbours.
    _, seen, hidden = hide(Masking(mask_share=0.5, random_share=0.0), tokens=100_000, k=6, rate=0.01)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], hidden.astype(int), [0]]))).reshape(-1, 2)
    single = [slice(start, end) for start, end in edges if end - start == 6]
    kinds = [set(seen[span] == MASK) for span in single]
    assert len(single) > 100
    # Two spans that begin at one place or overlap exactly are rare at this rate, never equal length.
    assert all(len(kind) == 1 for kind in kinds)


def test_faithful_draws_each_token_and_special_ids() -> None:
    masking = Masking(faithful=True, mask_share=0.0, random_share=1.0)
    _, seen, hidden = hide(masking, tokens=50_000, k=3, rate=0.15)
    # 5 of the 69 ids are special, [MASK] itself among them.
    share = (seen[hidden] < 5).mean()
    assert share == pytest.approx(5 / 69, abs=5 * np.sqrt(5 / 69 / hidden.sum()))


def test_faithful_spans_follow_the_published_offsets() -> None:
    # One centre in k=6 hides offsets -2 .. 3 of it, clipped to the sequence.
    masking = replace(Masking(faithful=True), mask_share=1.0, random_share=0.0)
    for seed in range(200):
        _, _, hidden = hide(masking, tokens=40, k=6, rate=0.05, seed=seed)
        places = np.flatnonzero(hidden) - 1
        if len(places) == 6 and np.ptp(places) == 5:
            return
    pytest.fail("no draw gave a single centre")


def test_the_rate_changes_once_if_at_all() -> None:
    assert {Masking().rate_at(step) for step in (0, 10**9)} == {0.15}
    masking = Masking(final_rate=0.2, final_from=100_000)
    assert [masking.rate_at(step) for step in (0, 99_999, 100_000, 119_999)] == [0.15, 0.15, 0.2, 0.2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": 1.5}, r"rate is 1\.5; a masking rate lies in \(0, 1\)"),
        ({"final_rate": 0.0}, r"final_rate is 0\.0; a masking rate lies in \(0, 1\)"),
        (
            {"mask_share": 0.95},
            r"mask_share is 0\.95 and random_share 0\.1; both must be >= 0 and their sum <= 1",
        ),
    ],
)
def test_impossible_settings_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Masking(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(("faithful", "revealed"), [(False, 0.13), (True, 1 - 0.9**6)])
def test_a_kept_token_reveals_this_share_of_the_hidden_bases(faithful: bool, revealed: float) -> None:
    """Of bases that only hidden 6-mers cover, those over which one is shown as it is; the header says so."""
    tokens, k = 200_000, 6
    ids, seen, hidden = hide(Masking(faithful=faithful), tokens=tokens, k=k, rate=0.15)
    covers = np.lib.stride_tricks.sliding_window_view
    hidden_bases = covers(hidden, k).all(axis=1)
    kept = covers(hidden & (seen == ids), k).any(axis=1)
    assert kept[hidden_bases].mean() == pytest.approx(revealed, abs=0.01)
    header = (config_folder() / "experiment/dnabert.yaml").read_text()
    assert f"{revealed:.0%}".replace("%", " %") in header
