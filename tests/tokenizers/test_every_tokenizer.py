"""What the protocol promises, for every tokenizer: spans, bases, round trips, N, case."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnalm.errors import DataError
from dnalm.genome.alphabet import SOFT_MASK, UNKNOWN, Codes, bases, from_text, is_unknown, to_text
from dnalm.tokenizers import BpeTokenizer, KmerTokenizer, LogoTokenizer, Tokenizer
from tests.tokenizers.examples import (
    BPES,
    EVERY,
    KMERS,
    LOGOS,
    SIX_MERS,
    TILING,
    any_codes,
    plain_codes,
    slides_by_one,
    tiles,
)

every = pytest.mark.parametrize("tokenizer", EVERY.values(), ids=EVERY)
tiling = pytest.mark.parametrize("tokenizer", TILING.values(), ids=TILING)
sliding = pytest.mark.parametrize("tokenizer", KMERS.values(), ids=KMERS)
fewer = settings(max_examples=40)


def content(tokenizer: Tokenizer, codes: Codes) -> tuple[np.ndarray, np.ndarray]:
    """Ids and spans without those of the start and end tokens."""
    ids = tokenizer.encode(codes)
    first, last = tokenizer.special.start is not None, len(ids) - (tokenizer.special.end is not None)
    return ids[first:last], tokenizer.spans(codes, ids)[first:last]


@every
@fewer
@given(codes=any_codes)
def test_ids_are_those_of_the_vocabulary(tokenizer: Tokenizer, codes: Codes) -> None:
    ids = tokenizer.encode(codes)
    assert ids.dtype == np.int64
    assert ids.min() >= 0
    assert ids.max() < tokenizer.vocab_size == len(tokenizer.vocabulary()) == len(tokenizer.token_bases)


@every
@fewer
@given(codes=any_codes)
def test_start_and_end_tokens_stand_outside_and_have_empty_spans(tokenizer: Tokenizer, codes: Codes) -> None:
    ids = tokenizer.encode(codes)
    spans = tokenizer.spans(codes, ids)
    assert spans.shape == (len(ids), 2)
    if tokenizer.special.start is not None:
        assert (ids[0], *spans[0]) == (tokenizer.special.start, 0, 0)
    if tokenizer.special.end is not None:
        assert (ids[-1], *spans[-1]) == (tokenizer.special.end, len(codes), len(codes))
    spells = spans[:, 0] < spans[:, 1]
    place = tokenizer.special.content(len(ids))
    assert np.flatnonzero(spells).tolist() == list(range(len(ids)))[place]
    assert (tokenizer.special.wrap(ids[place]) == ids).all()


@tiling
@fewer
@given(codes=any_codes)
def test_spans_tile_the_sequence(tokenizer: Tokenizer, codes: Codes) -> None:
    _, spans = content(tokenizer, codes)
    assert tiles(spans, len(codes))


@sliding
@fewer
@given(codes=any_codes)
def test_spans_of_overlapping_kmers_slide_by_one(tokenizer: KmerTokenizer, codes: Codes) -> None:
    _, spans = content(tokenizer, codes)
    assert len(spans) == len(codes) - tokenizer.k + 1
    assert slides_by_one(spans, tokenizer.k)


@every
@fewer
@given(codes=any_codes)
def test_a_known_token_spells_the_bases_of_its_span(tokenizer: Tokenizer, codes: Codes) -> None:
    ids, spans = content(tokenizer, codes)
    for token, (start, end) in zip(ids, spans, strict=True):
        if token != tokenizer.special.unknown:
            assert (tokenizer.token_bases[token][: end - start] == bases(codes[start:end])).all()
            assert (tokenizer.token_bases[token][end - start :] == UNKNOWN).all()


@every
@fewer
@given(codes=any_codes)
def test_an_unknown_token_stands_only_where_there_is_n(tokenizer: Tokenizer, codes: Codes) -> None:
    ids, spans = content(tokenizer, codes)
    for start, end in spans[ids == tokenizer.special.unknown]:
        assert is_unknown(codes[start:end]).any()


@pytest.mark.parametrize("tokenizer", [*BPES.values(), *SIX_MERS.values()], ids=[*BPES, *SIX_MERS])
@fewer
@given(codes=any_codes)
def test_decoding_gives_the_bases_back_with_every_n(tokenizer: Tokenizer, codes: Codes) -> None:
    assert to_text(tokenizer.decode(tokenizer.encode(codes))) == to_text(bases(codes))


@every
@fewer
@given(codes=plain_codes)
def test_decoding_gives_the_bases_back_without_n(tokenizer: Tokenizer, codes: Codes) -> None:
    assert to_text(tokenizer.decode(tokenizer.encode(codes))) == to_text(codes)


@pytest.mark.parametrize("tokenizer", LOGOS.values(), ids=LOGOS)
@fewer
@given(codes=any_codes)
def test_decoding_logo_gives_n_back_that_begins_no_kmer(tokenizer: LogoTokenizer, codes: Codes) -> None:
    codes[:: tokenizer.k] &= 0b0011  # no N at the beginning of a k-mer
    assert to_text(tokenizer.decode(tokenizer.encode(codes))) == to_text(bases(codes))


@every
@fewer
@given(codes=any_codes)
def test_case_never_matters(tokenizer: Tokenizer, codes: Codes) -> None:
    assert (tokenizer.encode(codes | SOFT_MASK) == tokenizer.encode(bases(codes))).all()


@every
def test_replacements_spell_real_bases_and_are_not_special(tokenizer: Tokenizer) -> None:
    spelled = tokenizer.token_bases[tokenizer.replacement_ids] != UNKNOWN
    lengths = spelled.sum(axis=1)
    assert (lengths >= 1).all()
    assert (spelled == (np.arange(spelled.shape[1]) < lengths[:, None])).all()  # no N between bases
    assert not set(tokenizer.special) & set(tokenizer.replacement_ids.tolist())


@every
def test_special_tokens_spell_no_base(tokenizer: Tokenizer) -> None:
    special = [i for i in tokenizer.special if i is not None]
    assert (tokenizer.token_bases[special] == UNKNOWN).all()


@every
def test_the_text_of_a_replacement_is_its_bases(tokenizer: Tokenizer) -> None:
    words = tokenizer.vocabulary()
    for token in tokenizer.replacement_ids[:: max(1, tokenizer.vocab_size // 500)]:
        spelled = tokenizer.token_bases[token]
        assert words[token] == to_text(spelled[spelled != UNKNOWN])


def test_fingerprints_tell_all_tokenizers_apart() -> None:
    assert len({tokenizer.fingerprint for tokenizer in EVERY.values()}) == len(EVERY)


@every
@fewer
@given(num_bases=st.integers(8, 40))
def test_n_alone_is_read_and_decoded_as_n(tokenizer: Tokenizer, num_bases: int) -> None:
    codes = np.full(num_bases, UNKNOWN, dtype=np.uint8)
    ids, spans = content(tokenizer, codes)
    assert spans[-1, 1] == num_bases
    assert set(to_text(tokenizer.decode(ids))) == {"N"}


@every
def test_a_tokenizer_can_be_sent_to_another_process(tokenizer: Tokenizer) -> None:
    sent = pickle.loads(pickle.dumps(tokenizer))
    codes = from_text("ACGTNACACGATTTGCANNAACATGC")
    assert sent.fingerprint == tokenizer.fingerprint
    assert sent.encode(codes).tolist() == tokenizer.encode(codes).tolist()


@every
def test_an_empty_sequence_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"^SEQ-01 sequence: 0 bases; at least \d base") as refused:
        tokenizer.encode(np.zeros(0, dtype=np.uint8))
    assert str(refused.value).endswith(
        "choose a smaller k." if tokenizer.overlap > 1 else "drop such sequences."
    )


@tiling
def test_a_single_base_is_enough_where_tokens_do_not_overlap(tokenizer: Tokenizer) -> None:
    for base in range(5):
        ids, spans = content(tokenizer, np.array([base], dtype=np.uint8))
        assert len(ids) == 1
        assert spans.tolist() == [[0, 1]]


@every
def test_a_length_in_bases_gives_about_so_many_tokens(tokenizer: Tokenizer) -> None:
    codes = np.random.default_rng(3).integers(0, 4, tokenizer.length_in_bases(3000)).astype(np.uint8)
    ids, _ = content(tokenizer, codes)
    # Two other draws of random DNA differ by some sqrt(3000) tokens; other kinds count exactly.
    assert len(ids) == pytest.approx(3000, rel=0.02 if isinstance(tokenizer, BpeTokenizer) else 0)
