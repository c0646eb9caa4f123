"""Windows with more tokens than reckoned are cut to the longest that is allowed."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnalm.data import BatchPlan, GenomeCorpus, Masking, WindowRecipe
from dnalm.data.module import GenomeData
from dnalm.data.samples import _read
from dnalm.data.windows import Window
from dnalm.genome.alphabet import bases, is_unknown, reverse_complement
from dnalm.genome.store import GenomeStore
from dnalm.tokenizers import KmerTokenizer, LogoTokenizer, SixMerTokenizer, Tokenizer
from tests.conftest import random_sequence, training_window
from tests.tokenizers.examples import small_bpe, store_of

# The merges of the small BPE read the first part in long words, and the second base by base
SEQUENCE = "AACATGC" * 60 + "GA" * 200 + random_sequence(400) + "AANNNCC" * 20
MAX_TOKENS = 50
TOKENIZERS: dict[str, Tokenizer] = {
    "bpe": small_bpe(),
    "six_mer": SixMerTokenizer(),
    "logo_1": LogoTokenizer(k=1),
    "logo_3": LogoTokenizer(k=3),
    "kmer_1": KmerTokenizer(k=1),
    "kmer_6": KmerTokenizer(k=6),
}
every = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
windows = st.builds(
    lambda start, length, reverse: Window(start, min(start + length, len(SEQUENCE)), reverse),
    st.integers(0, len(SEQUENCE) - 8),
    st.integers(8, 500),
    st.booleans(),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> GenomeStore:
    return store_of(tmp_path_factory.mktemp("truncation"), "genome", {"chr1": SEQUENCE})


def whole(store: GenomeStore, window: Window) -> np.ndarray:
    codes = np.asarray(store.codes[window.start : window.end])
    return reverse_complement(codes) if window.reverse else codes


@every
@settings(max_examples=60)
@given(window=windows, max_tokens=st.integers(1, 120))
def test_the_first_tokens_are_kept_between_start_and_end(
    store: GenomeStore, tokenizer: Tokenizer, window: Window, max_tokens: int
) -> None:
    special = tokenizer.special
    everything = tokenizer.encode(whole(store, window))
    content = everything[special.start is not None : len(everything) - (special.end is not None)]
    found = _read(store, window, tokenizer, max_tokens)
    assert found.ids.tolist() == special.wrap(content[:max_tokens]).tolist()
    assert int(found.content.sum()) == min(max_tokens, len(content))


@every
@settings(max_examples=60)
@given(window=windows, max_tokens=st.integers(1, 120))
def test_bases_end_with_the_last_token(
    store: GenomeStore, tokenizer: Tokenizer, window: Window, max_tokens: int
) -> None:
    found = _read(store, window, tokenizer, max_tokens)
    assert found.spans[found.content][-1, 1] == len(found.codes) == found.spans.max()
    assert (found.codes == whole(store, window)[: len(found.codes)]).all()
    if tokenizer.special.end is not None:
        assert found.spans[-1].tolist() == [len(found.codes)] * 2


@every
@settings(max_examples=60)
@given(window=windows)
def test_kept_tokens_spell_the_bases_of_their_spans(
    store: GenomeStore, tokenizer: Tokenizer, window: Window
) -> None:
    found = _read(store, window, tokenizer, MAX_TOKENS)
    for token, (start, end) in zip(found.ids, found.spans, strict=True):
        if token != tokenizer.special.unknown:
            assert (tokenizer.token_bases[token][: end - start] == bases(found.codes[start:end])).all()


@every
def test_a_window_of_as_many_tokens_as_allowed_is_left_whole(
    store: GenomeStore, tokenizer: Tokenizer
) -> None:
    window = Window(420, 470)
    count = len(tokenizer.encode(whole(store, window))) - tokenizer.special.num_wrapping
    found = _read(store, window, tokenizer, count)
    assert len(found.codes) == 50
    assert len(_read(store, window, tokenizer, count - 1).codes) < 50


def data_of(folder: Path) -> GenomeData:
    """Windows of three bases a token, which words of the BPE fill in part of the genome only."""
    fasta = folder / "genome.fa"
    fasta.write_text(f">chr1\n{SEQUENCE * 4}\n>chr2\n{SEQUENCE[:700]}\n")
    data = GenomeData(
        GenomeCorpus(fasta=fasta, cache=folder / "cache"),
        tokenizer=small_bpe(),
        windows=WindowRecipe(min_tokens=5, max_tokens=MAX_TOKENS, bases_per_token=3),
        masking=Masking(),
        batch=BatchPlan(global_size=4, micro_size=4),
        seed=3,
    )
    data.prepare_data()
    data.setup("fit")
    return data


def test_training_samples_have_no_more_tokens_than_allowed(tmp_path: Path) -> None:
    data = data_of(tmp_path)
    samples = data.training_samples()
    drawn = [samples[index] for index in range(300)]
    special = data.tokenizer.special
    assert max(int(sample.content.sum()) for sample in drawn) == MAX_TOKENS
    assert {(sample.ids[0], sample.ids[-1]) for sample in drawn} == {(special.start, special.end)}
    cut = [
        index
        for index in range(300)
        if drawn[index].num_bases < len(whole(data.genomes[0].store, training_window(data, index)))
    ]
    assert len(cut) > 30
    assert {len(drawn[index].ids) for index in cut} == {MAX_TOKENS + 2}


def test_the_bases_of_a_sample_are_those_under_its_tokens(tmp_path: Path) -> None:
    data = data_of(tmp_path)
    samples = data.training_samples()
    for index in range(100):
        assert samples[index].num_bases == len(data.tokenizer.decode(samples[index].ids))


def test_hidden_bases_of_a_cut_window_lie_where_the_store_has_them(tmp_path: Path) -> None:
    data = data_of(tmp_path)
    samples = data.validation_samples()
    cut = 0
    for index, window in enumerate(data.genomes[0].validation):
        hidden, sample = samples[index].hidden, samples[index]
        assert hidden is not None
        assert not is_unknown(hidden.base_X).any()
        assert (bases(data.genomes[0].store.codes[hidden.position_X]) == hidden.base_X).all()
        assert hidden.position_X.max(initial=0) < window.start + sample.num_bases
        cut += sample.num_bases < window.end - window.start
    assert cut > 0
