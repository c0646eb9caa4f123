"""Informed embeddings: relatives begin alike, and nothing else changes."""

import pytest
import torch

from dnalm.models import Encoder, MaskedLM, inform_embeddings
from dnalm.tokenizers import KmerTokenizer

TOKENIZER = KmerTokenizer(k=6)
STD = 0.05


@pytest.fixture(scope="module")
def models() -> tuple[MaskedLM, MaskedLM]:
    """Before and after."""
    pair = []
    for _ in range(2):
        torch.manual_seed(0)
        encoder = Encoder(
            vocab_size=TOKENIZER.vocab_size,
            hidden_size=256,
            num_layers=1,
            num_heads=2,
            intermediate_size=8,
            initializer_range=STD,
        )
        pair.append(MaskedLM(encoder))
    inform_embeddings(pair[1], TOKENIZER.token_bases)
    return pair[0], pair[1]


def test_likeness_is_the_share_of_bases_in_common(models: tuple[MaskedLM, MaskedLM]) -> None:
    # Rows are sums of independent vectors, so their correlation is the share of common terms, with
    # a standard deviation of at most 1 / sqrt(256) = 0.0625.
    rows = models[1].encoder.embeddings.token.weight.detach()
    ids = {kmer: rows[token] for token, kmer in enumerate(TOKENIZER.vocabulary())}
    for other, common in [("AAAAAA", 6), ("AAAAAC", 5), ("AAACCC", 3), ("CCCCCC", 0)]:
        likeness = torch.cosine_similarity(ids["AAAAAA"], ids[other], dim=0)
        assert likeness.item() == pytest.approx(common / 6, abs=5 * 0.0625)


def test_rows_keep_the_standard_deviation(models: tuple[MaskedLM, MaskedLM]) -> None:
    embeddings = models[1].encoder.embeddings
    # 24 random vectors of 256 entries make up all rows: relative error of a deviation 1 / sqrt(2 n).
    assert embeddings.token.weight[5:].std().item() == pytest.approx(STD, rel=5 / (2 * 24 * 256) ** 0.5)
    # sin^2 + cos^2 = 1, so the mean square is exactly STD^2.
    assert embeddings.position.weight.square().mean().sqrt().item() == pytest.approx(STD, rel=1e-5)


def test_likeness_of_positions_depends_on_their_distance_alone(models: tuple[MaskedLM, MaskedLM]) -> None:
    position = models[1].encoder.embeddings.position.weight.detach()
    products = position @ position.T
    for distance in (0, 1, 7):
        along = products.diagonal(distance)
        assert torch.allclose(along, along[0].expand_as(along), rtol=1e-3, atol=1e-5)
    assert products[0, 0] > products[0, 1] > products[0, 3]


def test_special_tokens_and_all_other_weights_stay(models: tuple[MaskedLM, MaskedLM]) -> None:
    before, after = (model.state_dict() for model in models)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"encoder.embeddings.token.weight", "encoder.embeddings.position.weight"}
    assert torch.equal(
        before["encoder.embeddings.token.weight"][:5], after["encoder.embeddings.token.weight"][:5]
    )


def test_factorised_embeddings_are_informed_and_absent_positions_left_alone() -> None:
    encoder = Encoder(
        vocab_size=TOKENIZER.vocab_size,
        hidden_size=64,
        embedding_size=32,
        num_layers=1,
        num_heads=2,
        intermediate_size=8,
        positions="alibi",
        initializer_range=STD,
    )
    model = MaskedLM(encoder)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    inform_embeddings(model, TOKENIZER.token_bases)
    changed = {name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed == {"encoder.embeddings.token.weight"}
