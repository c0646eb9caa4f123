"""Attention kernels that run on CUDA only and skip padding: `flex` and `varlen`.

Both take the packed layout as it is. What they compute is `kernels.eager`, which says what is right.

N packed tokens, H heads, K head width, B sequences.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.attention.varlen import varlen_attn

from dnalm.errors import ConfigError
from dnalm.models.packing import Layout


def flex(query_NHK: Tensor, key_NHK: Tensor, value_NHK: Tensor, layout: Layout, dropout: float) -> Tensor:
    """PyTorch's FlexAttention: blocks of the pack that hold no pair of one sequence are skipped.

    Cannot: run on a CPU; drop attention weights; return attention maps.

    Raises:
        ConfigError: the tensors are on a CPU.
    """
    _require_cuda(query_NHK, "flex")
    assert dropout == 0, "the encoder refuses it"
    mask = layout.memo.get("flex")
    if mask is None:
        mask = layout.memo["flex"] = document_mask(layout, create=_compiled(create_block_mask))
    assert isinstance(mask, BlockMask)
    return attend_flex(query_NHK, key_NHK, value_NHK, layout, mask, attention=_compiled(flex_attention))


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

    Cannot: run on a CPU; compute in fp32; add ALiBi's penalty; drop attention weights; return
    attention maps.

    Raises:
        ConfigError: the tensors are on a CPU or in fp32.
    """
    _require_cuda(query_NHK, "varlen")
    assert dropout == 0, "the encoder refuses it"
    assert layout.slopes_H is None, "the encoder refuses it"
    if query_NHK.dtype not in (torch.bfloat16, torch.float16):
        raise ConfigError(
            "CFG-18",
            where="model.kernel",
            found=f"kernel=varlen with {query_NHK.dtype}".replace("torch.", ""),
            expected="bf16 or fp16, in which alone varlen computes",
            fix="train in bf16, or set model.kernel=flex",
        )
    ends = layout.cu_lengths.to(torch.int32)
    window = (-1, 0) if layout.causal else (-1, -1)
    longest = layout.max_length
    mixed_NHK = varlen_attn(query_NHK, key_NHK, value_NHK, ends, ends, longest, longest, window_size=window)
    assert isinstance(mixed_NHK, Tensor), "no auxiliary outputs are asked for"
    return mixed_NHK


def _require_cuda(query_NHK: Tensor, name: str) -> None:
    if query_NHK.device.type != "cuda":
        raise ConfigError(
            "CFG-18",
            where="model.kernel",
            found=f"kernel={name} on {query_NHK.device.type}",
            expected=f"a CUDA device, on which alone {name} runs",
            fix="set model.kernel=sdpa",
        )


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled; as it is where the caller is being compiled, which then includes it."""
    return function if torch.compiler.is_compiling() else _compile_once(function)


@cache
def _compile_once(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = torch.compile(function)
    return compiled
