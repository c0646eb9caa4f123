"""A base is hidden when no visible token covers it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dnalm.data.batch import find_hidden, join_hidden
from dnalm.genome.alphabet import UNKNOWN
from dnalm.tokenizers import KmerTokenizer


def spans_of(codes: np.ndarray, *, k: int) -> np.ndarray:
    tokenizer = KmerTokenizer(k=k)
    return tokenizer.spans(codes, tokenizer.encode(codes))


def brute_force(codes: np.ndarray, spans: np.ndarray, hidden: np.ndarray) -> list[int]:
    found = []
    for place in range(len(codes)):
        covering = [t for t, (start, end) in enumerate(spans) if start <= place < end]
        if covering and all(hidden[t] for t in covering) and codes[place] != UNKNOWN:
            found.append(place)
    return found


@given(
    codes=st.lists(st.integers(0, 4), min_size=6, max_size=60).map(lambda x: np.array(x, dtype=np.uint8)),
    k=st.sampled_from([1, 3, 6]),
    data=st.data(),
)
def test_equals_the_definition(codes: np.ndarray, k: int, data: st.DataObject) -> None:
    spans = spans_of(codes, k=k)
    hidden = np.array(data.draw(st.lists(st.booleans(), min_size=len(spans), max_size=len(spans))))
    hidden[[0, -1]] = False
    result = find_hidden(codes, spans, hidden, start=1000)
    expected = brute_force(codes, spans, hidden)
    assert (result.position_X - 1000).tolist() == expected
    assert result.base_X.tolist() == codes[expected].tolist()
    masked = spans[hidden]
    pairs = {
        (x, m, place - masked[m, 0])
        for x, place in enumerate(expected)
        for m in range(len(masked))
        if masked[m, 0] <= place < masked[m, 1]
    }
    found = zip(result.pair_base_P, result.pair_token_P, result.pair_offset_P, strict=True)
    assert {tuple(map(int, pair)) for pair in found} == {tuple(map(int, pair)) for pair in pairs}


def test_a_span_of_k_tokens_hides_one_base() -> None:
    codes = np.zeros(40, dtype=np.uint8)
    spans = spans_of(codes, k=6)
    hidden = np.zeros(len(spans), dtype=bool)
    hidden[11:17] = True  # k-mers 10 .. 15 share base 15 alone
    result = find_hidden(codes, spans, hidden, start=0)
    assert result.position_X.tolist() == [15]
    assert result.pair_offset_P.tolist() == [5, 4, 3, 2, 1, 0]


def test_joining_shifts_indices_past_earlier_sequences() -> None:
    codes = np.zeros(12, dtype=np.uint8)
    spans = spans_of(codes, k=1)
    hidden = np.zeros(14, dtype=bool)
    hidden[[3, 5]] = True
    part = find_hidden(codes, spans, hidden, start=0)
    joined = join_hidden([part, part], [2, 2])
    assert joined.pair_base_P.tolist() == [0, 1, 2, 3]
    assert joined.pair_token_P.tolist() == [0, 1, 2, 3]
