"""Scores are what a slow reading of the definition gives, whatever else is scored beside."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnalm.evaluation.variants.scoring import Pair, ScoringPlan, Window, make_pair
from dnalm.genome.alphabet import from_text
from dnalm.genome.store import GenomeStore
from dnalm.genome.variants import Allele, trim
from dnalm.models import Pretrained
from tests.conftest import random_sequence
from tests.evaluation.variants.library import (
    TOKENIZERS,
    SlowLook,
    flanks,
    make_model,
    make_scorer,
    slow_llr,
    slow_pll,
)

TEXT = random_sequence(200)
PLACES = (30, 31, 77, 100, 168, 190, 3)
KINDS = pytest.mark.parametrize("kind", TOKENIZERS)


def other(base: str) -> str:
    return "ACGT"[("ACGT".index(base) + 1) % 4]


def allele(start: int, ref: str, alt: str, contig: str = "c") -> Allele:
    return Allele(contig=contig, start=start, ref=ref, alt=alt)


def variants(text: str = TEXT) -> list[Allele]:
    """SNVs, a deletion, insertions, a substitution of two bases by three."""
    snvs = [allele(place, text[place], other(text[place])) for place in PLACES]
    changes = [(50, text[50:53], text[50]), (120, text[120], text[120] + "GATTA"), (90, text[90:92], "TAC")]
    return [*snvs, *(allele(*trim(*change)) for change in changes)]


@pytest.fixture
def store(make_store: Callable[[dict[str, str]], GenomeStore]) -> GenomeStore:
    return make_store({"c": TEXT})


@KINDS
def test_llr_is_that_of_one_variant_at_a_time(kind: str, store: GenomeStore) -> None:
    tokenizer = TOKENIZERS[kind]
    model = make_model(tokenizer)
    look = SlowLook(model, tokenizer)
    expected = [slow_llr(look, flanks(TEXT, allele)) for allele in variants()]
    found = [row[0] for row in make_scorer(tokenizer, store, model=model).score(variants())]
    assert np.abs(expected).min() > 1e-3
    np.testing.assert_allclose(found, expected, atol=1e-5)


@KINDS
def test_pll_is_that_of_one_variant_at_a_time(kind: str, store: GenomeStore) -> None:
    tokenizer = TOKENIZERS[kind]
    model = make_model(tokenizer)
    look = SlowLook(model, tokenizer)
    one_of_each = [variants()[index] for index in (0, 7, 8, 9)]
    expected = [slow_pll(look, flanks(TEXT, allele), half=6) for allele in one_of_each]
    found = [row[1] for row in make_scorer(tokenizer, store, model=model).score(one_of_each)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@KINDS
def test_hidden_states_of_the_last_layer_are_those_of_the_encoder(kind: str, store: GenomeStore) -> None:
    import torch

    from dnalm.models import Packed

    tokenizer = TOKENIZERS[kind]
    model = make_model(tokenizer)
    scorer = make_scorer(tokenizer, store, model=model)
    allele = variants()[2]
    place = scorer.names.index("l2_window_2")
    norms = []
    pair = make_pair(store, allele, window_bp=48)
    for strand in (pair, pair.reverse_complement()):
        means = []
        for window in (strand.ref, strand.alt):
            ids = tokenizer.encode(window.codes)
            spans = tokenizer.spans(window.codes, ids)
            with torch.no_grad():
                hidden = model.encode(torch.from_numpy(ids), Packed.from_lengths([len(ids)])).double().numpy()
            means.append(hidden[spans[:, 1] > spans[:, 0]].mean(axis=0))
        norms.append(np.linalg.norm(means[1] - means[0]))
    assert scorer.score([allele])[0][place] == pytest.approx(np.mean(norms), abs=1e-5)


@KINDS
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(10)), batch_tokens=st.sampled_from([1, 64, 333, 5000]))
def test_neither_order_nor_batch_size_matters(
    kind: str, order: list[int], batch_tokens: int, store: GenomeStore
) -> None:
    tokenizer = TOKENIZERS[kind]
    model = make_model(tokenizer)
    expected = np.array(make_scorer(tokenizer, store, model=model).score(variants()))
    scorer = make_scorer(tokenizer, store, batch_tokens=batch_tokens, model=model)
    found = np.array(scorer.score([variants()[index] for index in order]))
    pll = scorer.names.index("pll")
    allowed = np.full(len(scorer.names), 1e-6)
    allowed[pll] = 2e-6  # it is the difference of two sums over 13 bases, some 18 nats each
    assert (np.abs(found - expected[order]) <= allowed * np.maximum(1, np.abs(expected[order]))).all()


@KINDS
def test_an_allele_against_itself_scores_zero(kind: str, store: GenomeStore) -> None:
    scorer = make_scorer(TOKENIZERS[kind], store)
    row = scorer.score([allele(77, TEXT[77], TEXT[77])])[0]
    for name, value in zip(scorer.names, row, strict=True):
        assert value == 0 or name.startswith("dot_"), name


@KINDS
def test_swapping_ref_and_alt_negates_both_ratios(
    kind: str, make_store: Callable[[dict[str, str]], GenomeStore]
) -> None:
    changed = TEXT[:77] + "GG" + TEXT[78:]
    store = make_store({"c": TEXT, "d": changed})
    scorer = make_scorer(TOKENIZERS[kind], store)
    there = scorer.score([allele(77, TEXT[77], "GG")])[0]
    back = scorer.score([allele(77, "GG", TEXT[77], contig="d")])[0]
    np.testing.assert_allclose(there[:2], [-value for value in back[:2]], atol=1e-6)


def test_alleles_of_one_place_share_their_hidden_text(store: GenomeStore) -> None:
    scorer = make_scorer(TOKENIZERS["3-mer"], store)
    queue = scorer._queue
    alleles = [allele(77, TEXT[77], alt) for alt in "ACGT" if alt != TEXT[77]]
    asked: list[int] = []
    run = queue.run

    def count() -> None:
        asked.append(sum(len(request.tokens) > 0 for request in queue._requests.values()))
        run()

    queue.run = count  # type: ignore[method-assign]
    scorer._scores = scorer._scores[:1]
    scorer.score(alleles)
    assert asked == [2]  # one text a strand, for three alleles and their reference


def test_windows_are_cut_at_the_ends_of_a_contig(store: GenomeStore) -> None:
    pair = make_pair(store, allele(0, "", "A"), window_bp=48)
    assert (pair.ref.start, pair.ref.end) == (0, 1)  # no base before it
    assert (pair.alt.start, pair.alt.end) == (0, 2)


@given(st.text("ACGT", min_size=1, max_size=40), st.data())
def test_the_other_strand_of_the_other_strand_is_this_one(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    window = Window(from_text(text), start, end)
    again = Pair(window, window).reverse_complement().reverse_complement().alt
    assert (again.start, again.end, again.codes.tolist()) == (start, end, window.codes.tolist())


def test_windows_are_those_that_the_model_was_trained_on(tmp_path: Path) -> None:
    tokenizer = TOKENIZERS["3-mer"]
    model = Pretrained(source=str(tmp_path))
    assert ScoringPlan(model=model).chosen_window_bp(tokenizer) == 512
    (tmp_path / "dnalm.yaml").write_text("window_tokens: 62")
    assert ScoringPlan(model=model).chosen_window_bp(tokenizer) == 62 + 2
    assert ScoringPlan(model=model, window_bp=7).chosen_window_bp(tokenizer) == 7
