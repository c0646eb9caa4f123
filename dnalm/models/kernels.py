"""Attention kernels: how each token attends to the other tokens of its own sequence.

A kernel maps queries, keys and values of a packed micro-batch, each (N, H, K), to (N, H, K). The
layout says which tokens share a sequence, whether later ones are visible, and ALiBi's slopes; a
rotation has already been applied. `eager` is the specification: the equations as written. The others
compute the same faster, and list their limits in `cannot`. `choose` decides among them for `auto`.

What all blocks share, a mask or bias, is made by `prepare` before the first of them: once a forward, and
outside compiled blocks, which are then alike.

Dropout on CPU has code of its own (`attend_by_parts`, `Dropout`), which the published recipes with
dropout 0.1 use there. With PyTorch's a training step takes 1.12 to 1.41, 1.15 to 1.16 and 1.02 to 1.18 times
as much CPU time (the tiny and small sizes, two layers of BERT-base; 64, 128 and 512 tokens; two runs of one
thread, alternating), so it stays. The same code gives the gradients of training in bf16, where those of
PyTorch take 1.5 to 5 times as long (512 to 64 tokens). experiments/throughput/encoder_kernels.py measures the
parts.

Shapes: B sequences, N packed tokens, L tokens of the longest sequence, H heads, K head width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nested import nested_tensor_from_jagged
from torch.nn import functional as F  # noqa: N812 -- its usual name
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.attention.varlen import varlen_attn

from dnalm.errors import ConfigError
from dnalm.models.packing import KernelName, Layout


@dataclass(frozen=True)
class Kernel:
    """One way to compute attention.

    Attributes:
        attend: (query_NHK, key_NHK, value_NHK, layout, dropout) to (N, H, K), where dropout is the
            share of attention weights to zero, 0 outside training.
        prepare: (layout, dtype of the queries) to what `attend` reads from `layout.prepared`.
        cannot: its limits, in words.
        alibi: whether it can add ALiBi's penalty.
        dropout: whether it can drop attention weights.
    """

    attend: Callable[[Tensor, Tensor, Tensor, Layout, float], Tensor]
    prepare: Callable[[Layout, torch.dtype], Tensor | BlockMask | None]
    cannot: str
    alibi: bool = True
    dropout: bool = True


def prepare(layout: Layout, name: KernelName, *, dtype: torch.dtype, dropout: float, width: int) -> Layout:
    """The layout with its kernel decided, and with what that kernel computes once for all blocks.

    Args:
        layout: positions and causality included.
        name: of the kernel; `auto` for that of `choose`.
        dtype: of queries, keys and values.
        dropout: share of attention weights that will be dropped.
        width: K.

    Raises:
        ConfigError: the kernel cannot run on this device or in this dtype.
    """
    if name == "auto":
        name = choose(layout, dtype=dtype, dropout=dropout, width=width)
    return replace(layout, kernel=name, prepared=KERNELS[name].prepare(layout, dtype))


def choose(layout: Layout, *, dtype: torch.dtype, dropout: float, width: int) -> KernelName:
    """The kernel of `kernel=auto` for a layout; see `fastest_kernel`."""
    return fastest_kernel(
        layout.lengths_B.device.type,
        is_alibi=layout.slopes_H is not None,
        is_full=layout.is_full,
        dtype=dtype,
        dropout=dropout,
        width=width,
    )


def fastest_kernel(
    device: str, *, is_alibi: bool, is_full: bool, dtype: torch.dtype, dropout: float, width: int
) -> KernelName:
    """The kernel of `kernel=auto`: that of the first line which fits.

    ```
    device  dtype       positions  dropout  pack    head width       kernel  which is there
    CPU     any         any        any      any     any              sdpa    run by run, nothing padded
    CUDA    any         not ALiBi  any      full    any              sdpa    a dense block without a mask
    CUDA    bf16, fp16  not ALiBi  any      any     8, 16, … 256     varlen  FlashAttention by lengths
    CUDA    any         ALiBi      0        any     16 or more       flex    FlexAttention
    any     any         any        any      any     any              sdpa    padded, with a mask
    ```
    A pack is full where all its sequences are L long.

    Args:
        device: type of the tokens' device.
        is_alibi: whether positions enter by ALiBi.
        is_full: whether the pack is full.
        dtype: of queries, keys and values.
        dropout: share of attention weights that will be dropped.
        width: K.
    """
    if device != "cuda" or (is_full and not is_alibi):
        return "sdpa"
    if not is_alibi and dtype in _HALF and width % 8 == 0 and width <= _WIDEST_OF_FLASH:
        return "varlen"
    if is_alibi and dropout == 0 and width >= _NARROWEST_OF_FLEX:
        return "flex"
    return "sdpa"


_HALF = (torch.bfloat16, torch.float16)
_WIDEST_OF_FLASH = 256  # torch/nested/_internal/sdpa.py, _check_head_dim_size_flash_nested
_NARROWEST_OF_FLEX = 16  # torch/nn/attention/flex_attention.py


def eager(query_NHK: Tensor, key_NHK: Tensor, value_NHK: Tensor, layout: Layout, dropout: float) -> Tensor:
    """Softmax(Q K^T / sqrt(K) + penalty) V, each sequence on its own: the specification.

    It holds B x H x L x L weights, and more of the same for the gradient.
    """
    weights_BHLL = F.dropout(attention_maps(query_NHK, key_NHK, layout), dropout)
    return layout.unpad((weights_BHLL @ layout.pad(value_NHK).transpose(1, 2)).transpose(1, 2))


def attention_maps(query_NHK: Tensor, key_NHK: Tensor, layout: Layout) -> Tensor:
    """Attention weights of each token (row) on each other (column), (B, H, L, L).

    Rows of real tokens sum to 1; columns past the end of a sequence are 0. Rows past the end of a
    sequence belong to no token and mean nothing.
    """
    query_BHLK = layout.pad(query_NHK).transpose(1, 2)
    key_BHLK = layout.pad(key_NHK).transpose(1, 2)
    scores_BHLL = query_BHLK @ key_BHLK.transpose(2, 3) * query_NHK.shape[-1] ** -0.5
    bias = position_bias(layout, query_NHK.dtype)
    if bias is not None:
        scores_BHLL = scores_BHLL + bias
    past_end_B11L = ~layout.real_tokens()[:, None, None, :]
    weights_BHLL: Tensor = scores_BHLL.masked_fill(past_end_B11L, float("-inf")).softmax(dim=-1)
    return weights_BHLL.to(query_NHK.dtype)


def position_bias(layout: Layout, dtype: torch.dtype) -> Tensor | None:
    """The positions' term in the scores, (H, L, L), or (1, L, L) where all heads are alike.

    Of this dtype, or float32 where that is wider.

    ALiBi adds -slope * |i - j|, in both directions (DNABERT-2; Press et al. 2022 only look back); a
    causal layout -inf where j > i. None where nothing is added.
    """
    if layout.slopes_H is None and not layout.causal:
        return None
    place_L = torch.arange(layout.max_length, device=layout.lengths_B.device)
    ahead_LL = place_L - place_L[:, None]
    bias = torch.zeros(1, *ahead_LL.shape, device=ahead_LL.device)
    if layout.slopes_H is not None:
        bias = -layout.slopes_H[:, None, None] * ahead_LL.abs()
    if layout.causal:
        bias = bias.masked_fill(ahead_LL > 0, float("-inf"))
    return bias.to(torch.promote_types(dtype, torch.float32))


def sdpa(query_NHK: Tensor, key_NHK: Tensor, value_NHK: Tensor, layout: Layout, dropout: float) -> Tensor:
    """PyTorch's fused attention: by runs of equal lengths on CPU, else as a dense block, else padded.

    On CPU, training with attention dropout or in bf16 takes `attend_by_parts` instead. Elsewhere a pack of
    sequences that are all L long is its own dense block, which needs neither copies nor a mask of the ends,
    so that FlashAttention may serve it; other packs are padded, with a mask, which rules that out.
    """
    if layout.runs is not None:
        return _attend_runs(query_NHK, key_NHK, value_NHK, layout, dropout)
    inputs = query_NHK, key_NHK, value_NHK
    if not layout.is_full:
        return layout.unpad(_attend_dense([layout.pad(packed) for packed in inputs], layout, dropout))
    shape_BLHK = layout.num_sequences, layout.max_length, *query_NHK.shape[1:]
    return _attend_dense([packed.view(shape_BLHK) for packed in inputs], layout, dropout).flatten(0, 1)


def sdpa_mask(layout: Layout, dtype: torch.dtype) -> Tensor | None:
    """What `sdpa` adds to scores, or where it may look: for runs, for a dense block, for a padded one.

    On CPU `position_bias`. Elsewhere of this dtype, since the fused kernels want the queries': rounding
    moves ALiBi's penalty by 2^-9 of itself in bfloat16, where `eager` and `flex` add it in float32.
    """
    bias = position_bias(layout, dtype)
    if layout.runs is not None:
        return bias
    if layout.is_full:  # a causal block says so by a flag, and needs no bias for it
        return None if bias is None or layout.slopes_H is None else bias.to(dtype)
    real_B11L = layout.real_tokens()[:, None, None, :]
    return real_B11L if bias is None else bias.masked_fill(~real_B11L, float("-inf")).to(dtype)


def _attend_dense(inputs_BLHK: Sequence[Tensor], layout: Layout, dropout: float) -> Tensor:
    query, key, value = (x.transpose(1, 2) for x in inputs_BLHK)
    mask = layout.prepared
    assert mask is None or isinstance(mask, Tensor), "as sdpa_mask makes it"
    causal = layout.causal and mask is None
    mixed_BHLK = F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=causal
    )
    return mixed_BHLK.transpose(1, 2)


def _attend_runs(
    query_NHK: Tensor, key_NHK: Tensor, value_NHK: Tensor, layout: Layout, dropout: float
) -> Tensor:
    runs, bias = layout.runs, layout.prepared
    assert runs is not None, "they are known on CPU"
    assert bias is None or isinstance(bias, Tensor), "as sdpa_mask makes it"
    sizes = [run.count * run.length for run in runs]
    mixed = []
    packed = (torch.split(x, sizes) for x in (query_NHK, key_NHK, value_NHK))
    for run, *parts in zip(runs, *packed, strict=True):
        query, key, value = (x.view(run.count, run.length, *x.shape[1:]).transpose(1, 2) for x in parts)
        of_run = None if bias is None else bias[:, : run.length, : run.length]
        if dropout > 0 or (query.dtype == torch.bfloat16 and query.requires_grad):
            block = attend_by_parts(query, key, value, dropout, of_run)
        else:
            block = _fused_on_cpu(query, key, value, bias=of_run)
        mixed.append(block.transpose(1, 2).flatten(0, 1))
    return torch.cat(mixed) if len(mixed) > 1 else mixed[0]


def _fused_on_cpu(query_BHLK: Tensor, key_BHLK: Tensor, value_BHLK: Tensor, *, bias: Tensor | None) -> Tensor:
    """PyTorch's fused attention; with a bias of three dimensions it would hold every weight."""
    mask = None if bias is None else bias[None]
    return F.scaled_dot_product_attention(query_BHLK, key_BHLK, value_BHLK, attn_mask=mask)


# Dropout, and training in bf16, on CPU

_LEVELS = 2**16


class Dropout(nn.Dropout):
    """`nn.Dropout` by the draw of `draw_kept` on CPUs; keyed, like it, by `torch.manual_seed`."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 -- the name in nn.Dropout
        """Zero a share `p` of the elements and scale the others up, in training only."""
        if not self.training or self.p == 0:
            return input
        if input.device.type != "cpu":
            return nn.functional.dropout(input, self.p)
        keep, kept = draw_kept(input.shape, self.p)
        return input * (keep.to(input.dtype) / kept)


def draw_kept(shape: Sequence[int], rate: float) -> tuple[Tensor, float]:
    """Choose the elements that dropout keeps, on CPU, from the default generator.

    `torch.nn.functional.dropout` draws one number per element, in which it spends nine tenths of its time on
    CPU. Four 16-bit numbers from each 64-bit draw of the same generator serve as well: the rate is rounded to
    a multiple of 2^-16 and kept elements are scaled by the exact inverse of the rounded rate, so the mean is
    kept.

    Args:
        shape: of the mask.
        rate: probability that an element is dropped, in (0, 1).

    Returns:
        The mask, uint8, 1 where kept, which PyTorch converts to floats nine times as fast as bool; and the
        exact probability of 1.
    """
    num_elements = prod(shape)
    threshold = min(max(round((1 - rate) * _LEVELS), 1), _LEVELS - 1)
    draws = torch.empty(-(-num_elements // 4), dtype=torch.int64).random_(-(2**63), None)
    keep = draws.view(torch.int16)[:num_elements] < threshold - _LEVELS // 2
    return keep.view(torch.uint8).view(*shape), threshold / _LEVELS


# Weights that go through all steps together. One thread wants them in its second-level cache; several wait
# for each other after every step, and want few and long ones. At 2^23 in float32 each of them is 32 MiB,
# which the allocator maps anew each time: 8 x 512 tokens take 1.3 times as long (experiments/LOG.md).
_AT_ONCE_ALONE, WEIGHTS_AT_ONCE = 2**19, 2**21


@torch.compiler.disable  # type: ignore[untyped-decorator]
def attend_by_parts(
    query_BHLK: Tensor, key_BHLK: Tensor, value_BHLK: Tensor, rate: float, bias: Tensor | None = None
) -> Tensor:
    """Softmax attention of every token over its block, a share `rate` of the weights zeroed, on CPU.

    PyTorch's fused CPU attention has no dropout; its fall-back writes every intermediate of the whole
    block to memory and draws one random number per weight. Here a few heads at a time go through all
    steps while they lie in the cache, the weights are computed again for the gradient rather than kept,
    and the draw is `draw_kept`. One byte per weight is kept: whether it was dropped. Without dropout the
    output is that of PyTorch's fused attention, whose gradient alone is slow, in bf16.

    Gradient, with weights P = softmax(S), where S may hold a constant bias, mask M, kept share r,
    D = P * M / r and output O = D V:
    dV = D^T dO; dP = (dO V^T) * M / r; dS = P * (dP - rowsum(dO * O)), since rowsum(dP * P) equals
    rowsum(dO * O), as in FlashAttention (Dao et al. 2022, appendix B.4). Below, X is batches times heads.

    Args:
        query_BHLK: queries; all three on CPU, of one dtype and one shape (B, H, L, K).
        key_BHLK: keys.
        value_BHLK: values.
        rate: share of weights dropped, in [0, 1).
        bias: added to the scores, (H, L, L) or (1, L, L), float32; it gets no gradient.

    Returns:
        (B, H, L, K). It can be differentiated once, and compiled models call it uncompiled.
    """
    blocks = (x.flatten(0, 1).contiguous() for x in (query_BHLK, key_BHLK, value_BHLK))
    mixed: Tensor = _AttentionByParts.apply(*blocks, rate, bias)  # type: ignore[no-untyped-call]
    return mixed.view(query_BHLK.shape)


class _AttentionByParts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        query: Tensor,
        key: Tensor,
        value: Tensor,
        rate: float,
        bias: Tensor | None,
    ) -> Tensor:
        """(X, L, K) from queries, keys and values of the same shape."""
        num_blocks, length, _ = query.shape
        ctx.bias, ctx.kept = bias, 1.0
        if rate == 0:
            shape = -1, 1 if bias is None else bias.shape[0], *query.shape[1:]
            blocks = (x.view(shape) for x in (query, key, value))
            output = _fused_on_cpu(*blocks, bias=bias).view(query.shape)
            ctx.save_for_backward(query, key, value, output, None)
            return output
        keep = torch.empty(num_blocks, length, length, dtype=torch.uint8)
        output = torch.empty_like(query)
        for part in _parts(num_blocks, length):
            weights = _softmax_weights(query[part], key[part], _bias_of(part, bias, num_blocks))
            keep[part], ctx.kept = draw_kept(weights.shape, rate)
            torch.bmm(weights.mul_(keep[part].to(weights.dtype)), value[part] / ctx.kept, out=output[part])
        ctx.save_for_backward(query, key, value, output, keep)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:  # noqa: ANN401
        query, key, value, output, keep = ctx.saved_tensors
        grad_query, grad_key, grad_value = (torch.empty_like(x) for x in (query, key, value))
        scale = query.shape[-1] ** -0.5
        row_sums = (grad_output * output).sum(dim=-1, keepdim=True)
        scaled_grad = grad_output / ctx.kept
        for part in _parts(*query.shape[:2]):
            weights = _softmax_weights(query[part], key[part], _bias_of(part, ctx.bias, query.shape[0]))
            dropped = weights if keep is None else weights * keep[part].to(weights.dtype)
            torch.bmm(dropped.transpose(1, 2), scaled_grad[part], out=grad_value[part])
            grad_scores = torch.bmm(scaled_grad[part], value[part].transpose(1, 2))
            grad_scores.mul_(dropped).addcmul_(weights, row_sums[part], value=-1)
            torch.bmm(grad_scores, key[part] * scale, out=grad_query[part])
            torch.bmm(grad_scores.transpose(1, 2), query[part] * scale, out=grad_key[part])
        return grad_query, grad_key, grad_value, None, None


def _parts(num_blocks: int, length: int) -> Iterator[slice]:
    at_once = _AT_ONCE_ALONE if torch.get_num_threads() == 1 else WEIGHTS_AT_ONCE
    size = max(1, at_once // length**2)
    return (slice(start, start + size) for start in range(0, num_blocks, size))


def _bias_of(part: slice, bias: Tensor | None, num_blocks: int) -> Tensor | None:
    """The bias of these blocks, which are heads within batches."""
    if bias is None or bias.shape[0] == 1:
        return bias
    return bias[torch.arange(*part.indices(num_blocks)) % bias.shape[0]]


def _softmax_weights(query: Tensor, key: Tensor, bias: Tensor | None) -> Tensor:
    scores = torch.bmm(query * query.shape[-1] ** -0.5, key.transpose(1, 2))
    if bias is not None:
        scores += bias
    weights: Tensor = torch.softmax(scores, dim=-1, out=scores)
    return weights


# Kernels for CUDA, which take the packed layout as it is and skip padding


def flex(query_NHK: Tensor, key_NHK: Tensor, value_NHK: Tensor, layout: Layout, dropout: float) -> Tensor:
    """PyTorch's FlexAttention: blocks of the pack that hold no pair of one sequence are skipped."""
    assert dropout == 0, "the encoder refuses it"
    mask = layout.prepared
    assert isinstance(mask, BlockMask), "as flex_mask makes it"
    return attend_flex(query_NHK, key_NHK, value_NHK, layout, mask, attention=_compiled(flex_attention))


def flex_mask(layout: Layout, dtype: torch.dtype) -> BlockMask:  # noqa: ARG001 -- as of every kernel
    """Which blocks of the pack hold pairs that see each other.

    Raises:
        ConfigError: the tokens are on a CPU.
    """
    _require_cuda(layout, "flex")
    return document_mask(layout, create=_compiled(create_block_mask))


def attend_flex(
    query_NHK: Tensor,
    key_NHK: Tensor,
    value_NHK: Tensor,
    layout: Layout,
    mask: BlockMask,
    *,
    attention: Callable[..., Any],
) -> Tensor:
    """FlexAttention with ALiBi's penalty, compiled or not, (N, H, K)."""
    inputs_1HNK = (x.transpose(0, 1)[None] for x in (query_NHK, key_NHK, value_NHK))
    mixed_1HNK: Tensor = attention(*inputs_1HNK, score_mod=_penalty(layout), block_mask=mask)
    return mixed_1HNK[0].transpose(0, 1)


def document_mask(layout: Layout, *, create: Callable[..., Any] = create_block_mask) -> BlockMask:
    """Which pairs of packed tokens see each other: those of one sequence, and backwards if causal."""
    sequence_N, causal = layout.sequence_N, layout.causal

    def visible(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same = sequence_N[query] == sequence_N[key]
        return same & (query >= key) if causal else same

    num_tokens = sequence_N.shape[0]
    mask: BlockMask = create(visible, None, None, num_tokens, num_tokens, device=sequence_N.device)
    return mask


def _penalty(layout: Layout) -> Callable[..., Tensor] | None:
    slopes_H = layout.slopes_H
    if slopes_H is None:
        return None

    def penalize(score: Tensor, _batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        # Within one sequence, distances in the pack are distances in the sequence.
        return score - slopes_H[head] * (query - key).abs()

    return penalize


def varlen(query_NHK: Tensor, key_NHK: Tensor, value_NHK: Tensor, layout: Layout, dropout: float) -> Tensor:
    """PyTorch's FlashAttention over sequences of unequal lengths.

    `varlen_attn` drops no weights (torch/nn/attention/varlen.py, "dropout_p hardcoded to 0.0"). With dropout
    the same kernel is reached by the public way that does: scaled_dot_product_attention of jagged nested
    tensors, which hands dropout_p and the ends on to it (torch/nested/_internal/sdpa.py). No length is
    waited for: the longest is known, and none is empty.
    """
    ends, longest = layout.prepared, layout.max_length
    assert isinstance(ends, Tensor), "as varlen_ends makes it"
    if dropout > 0:
        query, key, value = (
            nested_tensor_from_jagged(x, ends, min_seqlen=1, max_seqlen=longest).transpose(1, 2)
            for x in (query_NHK, key_NHK, value_NHK)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=layout.causal)
        return mixed.transpose(1, 2).values()
    window = (-1, 0) if layout.causal else (-1, -1)
    mixed_NHK = varlen_attn(query_NHK, key_NHK, value_NHK, ends, ends, longest, longest, window_size=window)
    assert isinstance(mixed_NHK, Tensor), "no auxiliary outputs are asked for"
    return mixed_NHK


def varlen_ends(layout: Layout, dtype: torch.dtype) -> Tensor:
    """Where sequences begin, (B + 1,), int32.

    Raises:
        ConfigError: the tokens are on a CPU, or the queries in fp32.
    """
    _require_cuda(layout, "varlen")
    assert layout.slopes_H is None, "the encoder refuses it"
    if dtype not in _HALF:
        raise ConfigError(
            "CFG-18",
            where="model.kernel",
            found=f"kernel=varlen with {dtype}".replace("torch.", ""),
            expected="bf16 or fp16, in which alone varlen computes",
            fix="train in bf16, or set model.kernel=auto",
        )
    return layout.cu_lengths.to(torch.int32)


def _require_cuda(layout: Layout, name: str) -> None:
    if layout.lengths_B.device.type != "cuda":
        raise ConfigError(
            "CFG-18",
            where="model.kernel",
            found=f"kernel={name} on {layout.lengths_B.device.type}",
            expected=f"a CUDA device, on which alone {name} runs",
            fix="set model.kernel=auto",
        )


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled; as it is where the caller is being compiled, which then includes it."""
    return function if torch.compiler.is_compiling() else _compile_once(function)


@cache
def _compile_once(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = torch.compile(function)
    return compiled


KERNELS: dict[KernelName, Kernel] = {
    "eager": Kernel(
        attend=eager,
        prepare=lambda _layout, _dtype: None,
        cannot="save memory: it holds every attention weight",
    ),
    "sdpa": Kernel(
        attend=sdpa,
        prepare=sdpa_mask,
        cannot="return attention maps; be differentiated twice on CPU with dropout; skip padding on a GPU "
        "where lengths differ",
    ),
    "flex": Kernel(
        attend=flex,
        prepare=flex_mask,
        cannot="run on a CPU; drop attention weights; return attention maps",
        dropout=False,
    ),
    "varlen": Kernel(
        attend=varlen,
        prepare=varlen_ends,
        cannot="run on a CPU; compute in fp32; add ALiBi's penalty; return attention maps",
        alibi=False,
    ),
}
