"""Models compiled as for a GPU: few graphs, none of them broken, none made again for another pack.

A CPU takes paths of its own in three places, which are put out of the way here: it knows the lengths of a
pack without waiting, it has a dropout of its own, and it computes products apart that a GPU joins. The graphs
are those that a GPU would get; what its compiler makes of them only a GPU can show.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from dnalm.models import MaskedLM, Packed, layers
from dnalm.models.kernels import Dropout
from dnalm.training.trainer import TrainerRecipe
from tests.models import zoo

FAMILIES: dict[str, tuple[str, dict[str, object]]] = {
    "learned": ("bert", {}),
    "rotary": ("nt_v2", {}),
    "alibi": ("dnabert2", {}),
    "causal": ("bert", {"causal": True}),
    "shared": ("logo", {}),
    "token dropout": ("nt_v1", {}),
    "conv stem": ("logo_convolved", {}),
    "convolutions": ("dnalm", {"conv_dilations": (1, 2, 3, 4, 5), "conv_width": 3}),
    "convolutions alone": ("dnalm", {"num_layers": 0}),
}
# Ways of compiling: whether activations are computed again; whether the gradient's graph is made too, which
# costs most of the time and may ask for shapes of its own.
WAYS = [
    ("learned", False, "aot_eager"),
    ("alibi", True, "aot_eager"),
    *((name, False, "eager") for name in ("rotary", "alibi", "causal")),
    *((name, True, "eager") for name in FAMILIES if name != "alibi"),
]
NUM_PACKS = 14
# Of the embeddings, of a block, and of the last one, which keeps chosen places only; in training and in
# evaluation. In training another of the head and its loss. Convolutions have one for each dilation, more in
# all than torch would make of one function by itself
GRAPHS = {"convolutions": 3 + 5, "convolutions alone": 1 + 2}

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # the compiler looks at it


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Packed, "_runs", lambda _self: None)
    monkeypatch.setattr(Dropout, "forward", nn.Dropout.forward)
    monkeypatch.setattr(layers, "PLAIN_DEVICES", ())
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def _pack(number: int) -> tuple[torch.Tensor, Packed, torch.Tensor]:
    draw = random.Random(number)
    lengths = [draw.randint(2, zoo.MAX_POSITIONS) for _ in range(6)]
    ids = zoo.random_ids(sum(lengths))
    return ids, Packed.from_lengths(lengths), torch.arange(number % 3, len(ids), 5)


def _model(name: str, recipe: TrainerRecipe, *, dropout: float = 0.0) -> MaskedLM:
    architecture, changes = FAMILIES[name]
    model = zoo.model(architecture, dropout=dropout, **changes).train()
    recipe.parallel(model, [], None)
    return model


def _loss(model: MaskedLM, number: int) -> torch.Tensor:
    ids, packed, places = _pack(number)
    return model.loss(ids, packed, places, ids[places])


def _graphs() -> int:
    return counters["stats"]["unique_graphs"]


@pytest.mark.parametrize(("name", "recomputed", "backend"), WAYS)
def test_few_graphs_serve_packs_of_any_length(
    name: str, recomputed: bool, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    model = _model(name, TrainerRecipe(compile=True, activation_checkpointing=recomputed), dropout=0.1)
    for number in range(NUM_PACKS):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            _loss(model, number).backward()
        assert _graphs() == 1 + GRAPHS.get(name, 3) * (1 if number <= 3 else 2)
        if number in (3, 9):
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
                model.eval()(*_pack(number))
            model.train()
    assert not counters["graph_break"]


@pytest.mark.parametrize("name", ["rotary", "alibi"])
def test_losses_and_gradients_are_those_of_the_model_as_written(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    found = []
    for recipe in (TrainerRecipe(), TrainerRecipe(compile=True, activation_checkpointing=True)):
        model = _model(name, recipe)
        loss = _loss(model, 3)
        loss.backward()
        found.append((loss, {key: weight.grad for key, weight in model.named_parameters()}))
    assert _graphs() == 1 + GRAPHS.get(name, 3)
    torch.testing.assert_close(found[1], found[0], atol=0, rtol=0)


def test_a_loss_of_single_bases_is_one_graph_with_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of k-mers with the special tokens of the zoo's models before them."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    indicator = torch.rand(zoo.VOCAB, 12).round()
    found = []
    for recipe in (TrainerRecipe(), TrainerRecipe(compile=True)):
        model = _model("rotary", recipe)
        for number in range(5):
            ids, packed, places = _pack(number)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model.loss(ids, packed, places, ids[places], None, indicator)
            model.zero_grad()
            loss.backward()
        found.append((loss, {key: weight.grad for key, weight in model.named_parameters()}))
    assert not counters["graph_break"]
    assert _graphs() == 1 + GRAPHS.get("rotary", 3)
    (plain, gradients), (compiled, found_gradients) = found
    assert compiled.item() == pytest.approx(plain.item(), rel=0.01)  # in bfloat16, fused in another order
    for key, gradient in gradients.items():
        assert (found_gradients[key] - gradient).norm() <= 0.05 * gradient.norm(), key
