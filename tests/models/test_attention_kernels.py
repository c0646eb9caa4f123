"""Every kernel computes what the eager one says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nested._internal.sdpa as jagged_sdpa
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention import SDPBackend
from torch.nn.attention.flex_attention import flex_attention
from torch.utils._python_dispatch import TorchDispatchMode

from dnalm.models import kernels
from dnalm.models.kernels import (
    KERNELS,
    attend_by_parts,
    attend_flex,
    attention_maps,
    document_mask,
    draw_kept,
    eager,
    prepare,
)
from dnalm.models.packing import KernelName, Layout, Packed
from tests.models import zoo

LENGTHS = [6, 6, 1, 9, 4]
HEADS, WIDTH = 3, 8
ON_CPU: list[KernelName] = ["eager", "sdpa"]
UNIT_FP32, UNIT_BF16 = 2**-24, 2**-9  # half the gap between 1 and the next number


def _qkv(*, dtype: torch.dtype = torch.float32, num_tokens: int = sum(LENGTHS)) -> list[Tensor]:
    return [torch.randn(num_tokens, HEADS, WIDTH).to(dtype).requires_grad_() for _ in range(3)]


def _tolerance(inputs: list[Tensor], unit: float, *, sums: int) -> float:
    """A bound on the rounding error of a weighted mean of values.

    A score s is off by sums * unit * |q||k| / sqrt(K) at most, its weight by twice that, relatively;
    the mean adds `sums` roundings more. `sums` is the number of terms where sums are in the working
    precision, and 1 where they are in a wider one.
    """
    query, key, value = (x.detach().float() for x in inputs)
    largest_score = (query.norm(dim=-1).max() * key.norm(dim=-1).max()).item() / WIDTH**0.5
    return unit * sums * (2 * largest_score + 3) * value.abs().max().item()


SLOPES = torch.tensor([0.5, 0.25, 0.0625])
LAYOUTS: dict[str, dict[str, object]] = {
    "plain": {},
    "causal": {"causal": True},
    "alibi": {"slopes_H": SLOPES},
    "causal alibi": {"causal": True, "slopes_H": SLOPES},
}
EVERY_LAYOUT = pytest.mark.parametrize("changes", LAYOUTS.values(), ids=LAYOUTS.keys())


def _layout(
    changes: dict[str, object],
    lengths: list[int] = LENGTHS,
    *,
    kernel: KernelName = "sdpa",
    dtype: torch.dtype = torch.float32,
    is_known: bool = True,
) -> Layout:
    """A layout as the encoder makes it; where the lengths are not known, as on a GPU."""
    layout = replace(Packed.from_lengths(lengths).layout(sum(lengths)), **changes)  # type: ignore[arg-type]
    if not is_known:
        layout = replace(layout, runs=None)
    return prepare(layout, kernel, dtype=dtype, dropout=0.0, width=WIDTH)


def _attend(layout: Layout, inputs: list[Tensor], dropout: float = 0.0) -> Tensor:
    return KERNELS[layout.kernel].attend(*inputs, layout, dropout)


@EVERY_LAYOUT
def test_eager_is_the_sum_over_visible_tokens_as_written(changes: dict[str, object]) -> None:
    query, key, value = (x.detach().double() for x in _qkv())
    output = eager(query, key, value, _layout(changes), 0.0)
    start = 0
    for length in LENGTHS:
        for head in range(HEADS):
            for i in range(length):
                seen = range(i + 1) if "causal" in changes else range(length)
                slope = SLOPES[head].item() if "slopes_H" in changes else 0.0
                scores = [
                    (query[start + i, head] @ key[start + j, head]).item() / WIDTH**0.5 - slope * abs(i - j)
                    for j in seen
                ]
                weights = torch.tensor(scores, dtype=torch.float64).softmax(dim=0)
                expected = weights @ value[start : start + len(scores), head]
                torch.testing.assert_close(output[start + i, head], expected)
        start += length


@EVERY_LAYOUT
@pytest.mark.parametrize("lengths", [LENGTHS, [9, 9, 9]], ids=["ragged", "full"])
def test_sdpa_equals_eager_in_fp32_forward_and_backward(
    lengths: list[int], changes: dict[str, object]
) -> None:
    by_runs, padded_or_dense = (_layout(changes, lengths, is_known=known) for known in (True, False))
    inputs, weight = _qkv(num_tokens=sum(lengths)), torch.randn(sum(lengths), HEADS, WIDTH)
    tolerance = _tolerance(inputs, UNIT_FP32, sums=WIDTH + max(lengths))
    layouts = (_layout(changes, lengths, kernel="eager"), by_runs, padded_or_dense)
    outputs = [_attend(layout, inputs) for layout in layouts]
    grads = [torch.autograd.grad((output * weight).sum(), inputs) for output in outputs]
    for output, grad in zip(outputs[1:], grads[1:], strict=True):
        torch.testing.assert_close(output, outputs[0], atol=tolerance, rtol=0)
        for ours, expected in zip(grad, grads[0], strict=True):
            torch.testing.assert_close(ours, expected, atol=10 * tolerance, rtol=1e-5)


def _operations(call: Callable[[], object]) -> Counter[str]:
    """How often each operation of PyTorch's is called."""
    seen: Counter[str] = Counter()

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN204
            seen[func.overloadpacket.__name__] += 1
            return func(*args, **(kwargs or {}))

    with Count():
        call()
    return seen


@pytest.mark.parametrize("causal", [False, True])
def test_where_all_are_of_one_length_nothing_is_copied_or_masked(causal: bool) -> None:
    inputs = _qkv()
    full, ragged = (_layout({"causal": causal}, lengths, is_known=False) for lengths in ([13, 13], LENGTHS))
    assert (full.is_full, ragged.is_full) == (True, False)
    assert full.prepared is None
    copies = {"index_copy", "index_select", "new_zeros"}
    assert copies <= _operations(lambda: _attend(ragged, inputs)).keys()
    assert not copies & _operations(lambda: _attend(full, inputs)).keys()


@pytest.mark.parametrize("name", ["dnabert2", "logo_released"])
@pytest.mark.parametrize("is_known", [True, False])
def test_what_positions_add_to_scores_is_made_once_a_forward(
    name: str, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_known:
        monkeypatch.setattr(Packed, "_runs", lambda _self: None)
    encoder, ids = zoo.encoder(name), zoo.random_ids(sum(LENGTHS))
    layout = encoder._layout(ids, Packed.from_lengths(LENGTHS))
    made = _operations(lambda: encoder._layout(ids, Packed.from_lengths(LENGTHS)))["arange"]
    assert isinstance(layout.prepared, Tensor)
    assert _operations(lambda: encoder(ids, Packed.from_lengths(LENGTHS)))["arange"] == made


@EVERY_LAYOUT
@pytest.mark.parametrize("name", ON_CPU)
def test_bf16_is_off_by_its_rounding_alone(name: KernelName, changes: dict[str, object]) -> None:
    layout = _layout(changes, kernel=name, dtype=torch.bfloat16)
    inputs = _qkv(dtype=torch.bfloat16)
    exact = eager(*(x.float() for x in inputs), layout, 0.0)
    output = _attend(layout, inputs)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), exact, atol=_tolerance(inputs, UNIT_BF16, sums=1), rtol=0)


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6), name=st.sampled_from(ON_CPU))
def test_neighbours_in_a_pack_do_not_see_each_other(lengths: list[int], name: KernelName) -> None:
    inputs = _qkv(num_tokens=sum(lengths))
    together = _attend(_layout({}, lengths, kernel=name), inputs)
    alone = [
        _attend(_layout({}, [length], kernel=name), parts)
        for length, *parts in zip(lengths, *(x.split(lengths) for x in inputs), strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


@EVERY_LAYOUT
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
def test_flex_masks_and_penalties_equal_eager_uncompiled(
    changes: dict[str, object], dtype: torch.dtype
) -> None:
    # On a CPU, only the plain, unfused form runs, and only forward; tests/gpu holds the compiled one.
    layout, inputs = _layout(changes), [x.detach() for x in _qkv(dtype=dtype)]
    exact = eager(*(x.float() for x in inputs), layout, 0.0)
    output = attend_flex(*inputs, layout, document_mask(layout), attention=flex_attention)
    assert output.dtype == dtype
    unit, sums = (UNIT_FP32, WIDTH + max(LENGTHS)) if dtype == torch.float32 else (UNIT_BF16, 1)
    torch.testing.assert_close(output.float(), exact, atol=_tolerance(inputs, unit, sums=sums), rtol=0)


def _flash_by_hand(
    query: Tensor, key: Tensor, value: Tensor, ends: Tensor, ends_k: Tensor, longest: int, longest_k: int,
    dropout: float, causal: bool, *_: object, **_options: object,
) -> tuple[Tensor, ...]:  # fmt: skip
    """What FlashAttention promises of packed inputs, (N, H, K), with the arguments it is called by."""
    assert ends.dtype == torch.int32
    assert torch.equal(ends, ends_k)
    assert longest == longest_k == int(ends.diff().max())
    FLASH_DROPOUT.append(dropout)
    changes: dict[str, object] = {"causal": causal}
    output = eager(query, key, value, _layout(changes, ends.diff().tolist(), kernel="eager"), 0.0)
    counters = torch.zeros(2, dtype=torch.uint64)
    return output, torch.zeros(query.shape[1], query.shape[0]), counters, counters[0], torch.zeros(0)


FLASH_DROPOUT: list[float] = []


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_flash_attention_is_given_the_pack_and_the_dropout(
    causal: bool, dropout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The operator that both ways of `varlen` end in, in place of the one that only a GPU has
    library = torch.library.Library("aten", "IMPL")
    library.impl("_flash_attention_forward", _flash_by_hand, "CPU")
    monkeypatch.setattr(kernels, "_require_cuda", lambda *_: None)
    monkeypatch.setattr(jagged_sdpa, "_select_sdp_backend", lambda *_: SDPBackend.FLASH_ATTENTION)
    FLASH_DROPOUT.clear()
    inputs = [x.detach() for x in _qkv(dtype=torch.bfloat16)]
    try:
        layout = _layout({"causal": causal}, kernel="varlen", dtype=torch.bfloat16)
        output = _attend(layout, inputs, dropout)
    finally:
        library._destroy()
    assert [dropout] == FLASH_DROPOUT
    expected = _attend(_layout({"causal": causal}, kernel="eager"), inputs)
    torch.testing.assert_close(output, expected, atol=0, rtol=0)


def test_attention_rows_sum_to_one_and_never_reach_past_the_end() -> None:
    query, key, _ = _qkv()
    layout = Packed.from_lengths(LENGTHS).layout(sum(LENGTHS))
    maps_BHLL = attention_maps(query, key, layout)
    rows_NH = layout.unpad(maps_BHLL.sum(dim=-1).transpose(1, 2))
    torch.testing.assert_close(rows_NH, torch.ones_like(rows_NH), atol=1e-6, rtol=0)
    past_end_B11L = ~layout.real_tokens()[:, None, None, :]
    assert not maps_BHLL.masked_select(past_end_B11L).any()


def test_a_token_alone_attends_to_itself() -> None:
    inputs = _qkv(num_tokens=1)
    for name in ON_CPU:
        torch.testing.assert_close(_attend(_layout({}, [1], kernel=name), inputs), inputs[2])


def test_every_kernel_says_what_it_cannot_do() -> None:
    assert all(len(kernel.cannot) > 20 for kernel in KERNELS.values())


@pytest.mark.parametrize("heads_of_bias", [0, 1, HEADS])
@pytest.mark.parametrize("weights_at_once", [1, 2 * 36, 2**19])
def test_attention_with_dropout_is_the_plain_equations(
    weights_at_once: int, heads_of_bias: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_AT_ONCE_ALONE", "WEIGHTS_AT_ONCE"):
        monkeypatch.setattr(kernels, name, weights_at_once)
    inputs = [torch.randn(2, HEADS, 6, WIDTH, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    weight = torch.randn_like(inputs[0])
    bias = torch.randn(heads_of_bias, 6, 6, dtype=torch.float64) if heads_of_bias else None
    torch.manual_seed(5)
    output = attend_by_parts(*inputs, 0.3, bias)
    torch.manual_seed(5)  # 36 weights a head are nine draws of four, however the heads are grouped
    keep, kept = draw_kept((2, HEADS, 6, 6), 0.3)
    query, key, value = inputs
    scores = query @ key.mT / WIDTH**0.5
    weights = (scores if bias is None else scores + bias).softmax(dim=-1)
    expected = weights * keep / kept @ value
    torch.testing.assert_close(output, expected)
    grads = torch.autograd.grad((output * weight).sum(), inputs)
    for ours, reference in zip(grads, torch.autograd.grad((expected * weight).sum(), inputs), strict=True):
        torch.testing.assert_close(ours, reference)


@pytest.mark.parametrize("heads_of_bias", [0, 1, HEADS])
def test_attention_by_parts_without_dropout_is_the_plain_equations(
    heads_of_bias: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_AT_ONCE_ALONE", "WEIGHTS_AT_ONCE"):
        monkeypatch.setattr(kernels, name, 2 * 36)
    inputs = [torch.randn(2, HEADS, 6, WIDTH, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    weight = torch.randn_like(inputs[0])
    bias = torch.randn(heads_of_bias, 6, 6, dtype=torch.float64) if heads_of_bias else None
    query, key, value = inputs
    scores = query @ key.mT / WIDTH**0.5
    expected = (scores if bias is None else scores + bias).softmax(dim=-1) @ value
    output = attend_by_parts(*inputs, 0.0, bias)
    torch.testing.assert_close(output, expected)
    grads = torch.autograd.grad((output * weight).sum(), inputs)
    for ours, reference in zip(grads, torch.autograd.grad((expected * weight).sum(), inputs), strict=True):
        torch.testing.assert_close(ours, reference)


@EVERY_LAYOUT
def test_gradients_in_bf16_without_dropout_are_off_by_their_rounding_alone(
    changes: dict[str, object],
) -> None:
    inputs = _qkv(dtype=torch.bfloat16)
    exact = [x.detach().float().requires_grad_() for x in inputs]
    weight = torch.randn(sum(LENGTHS), HEADS, WIDTH)
    output = _attend(_layout(changes, dtype=torch.bfloat16), inputs)
    assert output.dtype == torch.bfloat16
    assert any("AttentionByParts" in name for name in _functions_of(output))
    expected = _attend(_layout(changes, kernel="eager"), exact)
    tolerance = _tolerance(inputs, UNIT_BF16, sums=1)
    torch.testing.assert_close(output.float(), expected, atol=tolerance, rtol=0)
    grads = torch.autograd.grad((output.float() * weight).sum(), inputs)
    references = torch.autograd.grad((expected * weight).sum(), exact)
    for ours, reference in zip(grads, references, strict=True):
        # Fewer than 16 roundings lie between the inputs and a gradient.
        assert (ours.float() - reference).norm() < 16 * UNIT_BF16 * reference.norm()


def _functions_of(output: Tensor) -> set[str]:
    """Names of the functions that a gradient of the output goes through."""
    names, left = set(), [output.grad_fn]
    while left:
        node = left.pop()
        if node is not None:
            names.add(node.name())
            left += [following for following, _ in node.next_functions]
    return names


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@EVERY_LAYOUT
def test_a_cpu_holds_no_weights_of_pairs_without_dropout(
    changes: dict[str, object], dtype: torch.dtype
) -> None:
    inputs = [x.detach() for x in _qkv(dtype=dtype)]
    with torch.profiler.profile() as profiled:
        _attend(_layout(changes, dtype=dtype), inputs)
    names = {event.key for event in profiled.key_averages()}
    assert "aten::_scaled_dot_product_flash_attention_for_cpu" in names
    assert "aten::_scaled_dot_product_attention_math" not in names


def test_attention_with_dropout_in_bf16_is_off_by_its_rounding_alone() -> None:
    inputs = [torch.randn(2, HEADS, 6, WIDTH).bfloat16().requires_grad_() for _ in range(3)]
    exact = [x.detach().float().requires_grad_() for x in inputs]
    outputs = []
    for blocks in (inputs, exact):
        torch.manual_seed(5)
        outputs.append(attend_by_parts(*blocks, 0.3))
    tolerance = _tolerance(inputs, UNIT_BF16, sums=1) / 0.7
    torch.testing.assert_close(outputs[0].float(), outputs[1], atol=tolerance, rtol=0)
    grads = [
        torch.autograd.grad(output.float().square().sum(), x)
        for output, x in zip(outputs, (inputs, exact), strict=True)
    ]
    for ours, reference in zip(*grads, strict=True):
        assert ours.dtype == torch.bfloat16
        # Fewer than 16 roundings lie between the inputs and a gradient.
        assert (ours.float() - reference).norm() < 16 * UNIT_BF16 * reference.norm()


@pytest.mark.parametrize("changes", [{}, LAYOUTS["causal alibi"]], ids=["plain", "causal alibi"])
@pytest.mark.parametrize("name", ON_CPU)
def test_dropout_keeps_the_mean_of_the_output(name: KernelName, changes: dict[str, object]) -> None:
    inputs = [x.detach() for x in _qkv()]
    layout = _layout(changes, kernel=name)
    draws = torch.stack([_attend(layout, inputs, 0.2) for _ in range(500)])
    error = (draws.mean(0) - _attend(layout, inputs)).abs()
    assert (error <= 6 * draws.std(0) / 500**0.5 + 1e-4).all()
    assert draws.std(0).max() > 0.1


def test_differentiating_dropout_twice_is_refused() -> None:
    inputs = [torch.randn(1, 1, 3, 4, requires_grad=True) for _ in range(3)]
    grad = torch.autograd.grad(attend_by_parts(*inputs, 0.5).square().sum(), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad[0].sum().backward()
