"""What only a GPU computes so, tried on a CPU: joined projections, a decoder with more rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- its usual name

from dnalm.models import MaskedLM, Packed, layers
from dnalm.training.trainer import TrainerRecipe
from tests.models import zoo

LENGTHS = [16, 3, 7, 7]
PLACES = torch.arange(0, sum(LENGTHS), 3)


def _loss_and_gradients(model: MaskedLM) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    ids, packed = zoo.random_ids(sum(LENGTHS)), Packed.from_lengths(LENGTHS)
    torch.manual_seed(3)
    loss = model.loss(ids, packed, PLACES, ids[PLACES])
    loss.backward()
    return loss, {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("name", zoo.ARCHITECTURES)
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_they_are_what_the_plain_products_are(
    name: str, dropout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the order of sums: three products' input gradients are added, one product's are one sum."""
    model = zoo.model(name, attention_dropout=dropout).train()
    plain = _loss_and_gradients(model)
    monkeypatch.setattr(layers, "PLAIN_DEVICES", ())
    torch.testing.assert_close(_loss_and_gradients(model), plain, rtol=1e-4, atol=1e-4)


class Doubled(nn.Linear):
    """Stands for an adapter over a projection."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 -- the name in nn.Linear
        """Twice the map."""
        return 2 * super().forward(input)


def test_a_projection_under_an_adapter_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    model = zoo.model("bert")
    query = model.encoder.get_submodule("blocks.1.attention.query")
    assert isinstance(query, nn.Linear)
    with torch.no_grad():
        twice = zoo.model("bert")
        for weight in twice.encoder.get_submodule("blocks.1.attention.query").parameters():
            weight.mul_(2)
    query.__class__ = Doubled
    monkeypatch.setattr(layers, "PLAIN_DEVICES", ())
    torch.testing.assert_close(_loss_and_gradients(model)[0], _loss_and_gradients(twice)[0])


def test_logits_of_a_padded_decoder_begin_at_multiples_of_64(monkeypatch: pytest.MonkeyPatch) -> None:
    model, hidden = zoo.model("bert"), torch.randn(9, 32)
    words = model.encoder.embeddings.token.weight
    plain = model.head(hidden, words)
    monkeypatch.setattr(layers, "PLAIN_DEVICES", ())
    padded = model.head(hidden, words)
    assert (plain.stride(), padded.stride()) == ((zoo.VOCAB, 1), (64, 1))
    assert padded.shape == plain.shape
    torch.testing.assert_close(padded, plain)


def test_the_loss_is_the_sum_over_the_targets() -> None:
    model, packed = zoo.model("nt_v2").eval(), Packed.from_lengths(LENGTHS)
    ids = zoo.random_ids(sum(LENGTHS))
    logits = model(ids, packed, PLACES)
    expected = -logits.log_softmax(-1)[torch.arange(len(PLACES)), ids[PLACES]].sum()
    torch.testing.assert_close(model.loss(ids, packed, PLACES, ids[PLACES]), expected)
    of_all = model.predicted_loss(model.encode(ids, packed), PLACES, ids[PLACES])
    torch.testing.assert_close(of_all, expected)
    none = torch.arange(0)
    assert model.loss(ids, packed, none, ids[none]) == 0


@pytest.mark.parametrize("name", zoo.ARCHITECTURES)
def test_a_residual_stream_in_bfloat16(name: str) -> None:
    """Blocks take and give it; what leaves the encoder is float32, and near what it was."""
    model, packed = zoo.model(name, num_layers=2).eval(), Packed.from_lengths(LENGTHS)
    ids = zoo.random_ids(sum(LENGTHS))
    plain = model.encode(ids, packed)
    TrainerRecipe(precision="bf16-mixed", bf16_residual=True).parallel(model, (), None)
    seen: list[torch.dtype] = []
    for block in model.encoder.blocks:
        block.register_forward_hook(lambda _, given, found: seen.extend([given[0].dtype, found.dtype]))
    with torch.autocast("cpu", torch.bfloat16):
        narrow = model.encode(ids, packed)
        loss = model.loss(ids, packed, PLACES, ids[PLACES])
    assert set(seen) == {torch.bfloat16}
    assert (narrow.dtype, loss.dtype) == (torch.float32, torch.float32)
    assert F.cosine_similarity(narrow.flatten(), plain.flatten(), dim=0) > 0.999
