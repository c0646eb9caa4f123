"""The memory of a training step, counted from the config, beside what autograd really keeps on a CPU."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F  # noqa: N812 -- its usual name
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dnalm.models import Encoder, MaskedLM, Packed
from dnalm.models.layers import summed_loss
from dnalm.models.memory import Arithmetic, Machine, Memory, PackSize, count_memory
from dnalm.tokenizers import KmerTokenizer
from dnalm.training import TrainerRecipe
from dnalm.training.pretraining import base_indicator
from tests.models import zoo

LENGTHS = [64, 64, 64, 40, 64, 9]
SIZES: Mapping[str, object] = {
    "hidden_size": 128,
    "intermediate_size": 320,
    "num_layers": 6,
    "vocab_size": 301,
    "max_positions": 64,
}


class LiveBytes(TorchDispatchMode):
    """Bytes of the storages that operations have made and that are still there.

    Args:
        there: tensors that were there before, which are not counted.
    """

    def __init__(self, there: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in there}

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        result = function(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor):
                self._add(each.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, key, storage.nbytes())

    def _drop(self, key: int, num_bytes: int) -> None:
        self._known.discard(key)
        self.now -= num_bytes


@dataclass(frozen=True)
class Measured:
    """Bytes that autograd saved, that were alive when the loss was there, and at the peak of the step."""

    saved: int
    alive: int
    peak: int


def measure(model: MaskedLM, lengths: list[int], arithmetic: Arithmetic, predicted: int) -> Measured:
    """A second micro-batch of a step, when gradients are there."""
    model.train()
    total, packed = sum(lengths), Packed.from_lengths(lengths)
    ids, places = (
        zoo.random_ids(total, model.encoder.vocab_size),
        torch.arange(predicted) * total // predicted,
    )
    weights = {weight.untyped_storage()._cdata for weight in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in weights:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    def loss() -> Tensor:
        is_mixed = arithmetic == "bf16-mixed"
        with torch.autocast("cpu", torch.bfloat16) if is_mixed else nullcontext():
            return F.cross_entropy(model(ids, packed, places).float(), ids[places], reduction="sum")

    loss().backward()
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss()
    saved = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    kept.clear()
    there = [each for weight in model.parameters() for each in (weight, weight.grad) if each is not None]
    with LiveBytes([*there, ids, places, packed.cu_lengths]) as live:
        found = loss()
        alive = live.now
        found.backward()
    return Measured(saved, alive, live.peak)


def of_loss(indicator: Tensor | None) -> tuple[int, int]:
    """Bytes alive when the loss of logits is there, and at the peak of its differentiation."""
    logits, labels = torch.randn(64, 4101), torch.arange(64) + 5
    logits.requires_grad_()
    there = [logits, labels, *([] if indicator is None else [indicator])]
    with LiveBytes(there) as live:
        loss = summed_loss(logits, labels, indicator)
        alive = live.now
        loss.backward()
    return alive, live.peak


def test_a_loss_of_single_bases_keeps_and_needs_what_the_cross_entropy_does() -> None:
    """V numbers a token each time; with numbers for each place of a word besides it would be 6 V."""
    tokenizer = KmerTokenizer()
    of_bases = of_loss(base_indicator(torch.from_numpy(tokenizer.token_bases)))
    assert of_bases == pytest.approx(of_loss(None), rel=0.05)


def counted(
    encoder: Encoder, lengths: list[int], arithmetic: Arithmetic, predicted: int, *, recomputes: bool = False
) -> Memory:
    pack = PackSize.of(lengths, predicted=predicted)
    machine = Machine(device="cpu", arithmetic=arithmetic, recomputes=recomputes)
    return count_memory(encoder, pack, machine)


def modelled(name: str, arithmetic: Arithmetic, dropout: float) -> MaskedLM:
    model = zoo.model(name, **SIZES, dropout=dropout, attention_dropout=dropout)
    return model.bfloat16() if arithmetic == "bf16-true" else model


@pytest.mark.parametrize("name", zoo.ARCHITECTURES)
@pytest.mark.parametrize("arithmetic", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("lengths", [LENGTHS, [64] * 5], ids=["mixed", "full"])
def test_what_is_kept_and_the_peak_are_near_what_autograd_has(
    name: str, arithmetic: Arithmetic, dropout: float, lengths: list[int]
) -> None:
    model, predicted = modelled(name, arithmetic, dropout), sum(lengths) // 7
    found = counted(model.encoder, lengths, arithmetic, predicted)
    measured = measure(model, lengths, arithmetic, predicted)
    kept = found.copies + found.activations
    assert kept == pytest.approx(measured.saved, rel=0.05)
    assert kept == pytest.approx(measured.alive, rel=0.05)
    assert kept + found.temporary == pytest.approx(measured.peak, rel=0.1)


@pytest.mark.parametrize("name", zoo.ARCHITECTURES)
@pytest.mark.parametrize("arithmetic", ["32-true", "bf16-mixed"])
def test_recomputed_blocks_keep_their_inputs(name: str, arithmetic: Arithmetic) -> None:
    model, predicted = modelled(name, arithmetic, 0.0), sum(LENGTHS) // 7
    TrainerRecipe(activation_checkpointing=True).parallel(model, (), None)
    found = counted(model.encoder, LENGTHS, arithmetic, predicted, recomputes=True)
    measured = measure(model, LENGTHS, arithmetic, predicted)
    needed = found.activations + found.copies + found.temporary
    assert needed == pytest.approx(measured.peak, rel=0.13)
    whole = counted(model.encoder, LENGTHS, arithmetic, predicted)
    assert measured.peak < whole.activations + whole.copies


@pytest.mark.parametrize("name", zoo.ARCHITECTURES)
def test_a_residual_stream_in_bfloat16_is_counted(name: str) -> None:
    model, predicted = modelled(name, "bf16-mixed", 0.0), sum(LENGTHS) // 7
    TrainerRecipe(precision="bf16-mixed", bf16_residual=True).parallel(model, (), None)
    machine = Machine(device="cpu", arithmetic="bf16-mixed", bf16_residual=True)
    found = count_memory(model.encoder, PackSize.of(LENGTHS, predicted=predicted), machine)
    measured = measure(model, LENGTHS, "bf16-mixed", predicted)
    kept = found.copies + found.activations
    assert kept == pytest.approx(measured.saved, rel=0.05)
    assert found.activations <= counted(model.encoder, LENGTHS, "bf16-mixed", predicted).activations


def test_projections_side_by_side_are_a_copy_for_each_layer_on_a_gpu() -> None:
    """LOGO's twelve layers share one block's weights, 3 D^2 of them those of queries, keys and values."""
    pack = PackSize.of([64, 64], predicted=19)
    alike, apart = (
        count_memory(Encoder(vocab_size=37, shared_layers=shared), pack, Machine()).copies
        for shared in (True, False)
    )
    of_a_block = 2 * (4 * 768**2 + 2 * 768 * 3072)
    assert apart - alike == 11 * (of_a_block - 2 * 3 * 768**2)
    in_float32 = count_memory(Encoder(vocab_size=37), pack, Machine(arithmetic="32-true"))
    assert in_float32.copies == 12 * 4 * 3 * 768**2


def test_a_known_model_by_hand() -> None:
    """BERT-base in bf16 on a GPU, 64 windows of 512 tokens, 15 % predicted, by the lines of the docstring."""
    few = round(64 * 512 * 0.15)
    encoder, pack = Encoder(vocab_size=4101), PackSize.of([512] * 64, predicted=few)
    found = count_memory(encoder, pack, Machine())
    rows, wide, inner, heads = 64 * 512, 768, 3072, 12
    norms = 2 * (4 * wide + 8)
    inputs = 2 * 2 * wide  # of the one product of queries, keys and values, and of the map up
    attention, feed_forward, masks = 4 * 2 * wide + 4 * heads, 2 * 2 * inner, 2 * wide
    block = rows * (norms + inputs + attention + feed_forward + masks)
    last = rows * (2 * wide + attention) + few * (norms + 2 * 2 * wide + feed_forward + masks)
    embeddings = rows * (3 * 8 + 4 * wide + 8 + wide)
    head = few * (3 * 2 * wide + 4 * wide + 8 + 4 * 4101 + 2 * 8)
    assert found.activations == embeddings + 11 * block + last + head
    parameters = sum(weight.numel() for weight in MaskedLM(encoder).parameters())
    assert (found.weights, found.gradients, found.optimizer) == (
        4 * parameters,
        4 * parameters,
        8 * parameters,
    )
    matrices = [part.weight for part in MaskedLM(encoder).modules() if isinstance(part, nn.Linear)]
    assert found.copies == 2 * (
        sum(weight.numel() for weight in matrices) + wide * 4101
    )  # the tied decoder's
    assert found.temporary == 2 * 4 * few * 4101
    assert found.total == sum(
        (found.weights, found.gradients, found.optimizer, found.copies, found.activations, found.temporary)
    )


def test_kernels_of_a_gpu_keep_no_weights_but_where_they_pad() -> None:
    """Two sequences of 512 and two of 64: 1,152 tokens in a rectangle of 2,048."""
    pack = PackSize.of([512, 512, 64, 64], predicted=100)
    kept = {}
    for kernel in ("auto", "varlen", "sdpa", "eager"):
        encoder = Encoder(vocab_size=37, num_layers=1, kernel=kernel, attention_dropout=0.0)  # type: ignore[arg-type]
        kept[kernel] = count_memory(encoder, pack, Machine()).activations
    assert kept["auto"] == kept["varlen"] < kept["sdpa"] < kept["eager"]
    assert kept["sdpa"] - kept["varlen"] == (2048 - 1152) * (4 * 2 * 768 + 4 * 12)


def test_ranks_that_shard_hold_their_part_and_gather_a_block_at_a_time() -> None:
    encoder, pack = Encoder(vocab_size=37), PackSize.of([64, 64], predicted=19)
    alone, shared = (count_memory(encoder, pack, Machine(shards=shards)) for shards in (1, 8))
    assert (shared.gradients, shared.optimizer) == (-(-alone.gradients // 8), -(-alone.optimizer // 8))
    assert alone.weights / 8 < shared.weights < alone.weights / 2
    assert shared.activations == alone.activations
