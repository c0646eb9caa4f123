"""Attention kernels: what each token takes from the other tokens of its own sequence.

A kernel maps queries, keys and values of a packed micro-batch, each (N, H, K), to (N, H, K). The
layout says which tokens share a sequence, whether later ones are visible, and ALiBi's slopes; a
rotation has already been applied. `eager` is the specification: the equations as written. The others
compute the same faster, and say in `cannot` what they are unable to do.

B sequences, N packed tokens, L tokens of the longest sequence, H heads, K head width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- its usual name

from dnalm.models.cuda_kernels import flex, varlen
from dnalm.models.dense_dropout import attend_with_dropout
from dnalm.models.packing import Layout

KernelName = Literal["eager", "sdpa", "flex", "varlen"]


@dataclass(frozen=True)
class Kernel:
    """One way to compute attention.

    Attributes:
        attend: (query_NHK, key_NHK, value_NHK, layout, dropout) to (N, H, K), where dropout is the
            share of attention weights to zero, 0 outside training.
        cannot: what this kernel is unable to do, in words.
        alibi: whether it can add ALiBi's penalty.
        dropout: whether it can drop attention weights.
    """

    attend: Callable[[Tensor, Tensor, Tensor, Layout, float], Tensor]
    cannot: str
    alibi: bool = True
    dropout: bool = True


def eager(query_NHK: Tensor, key_NHK: Tensor, value_NHK: Tensor, layout: Layout, dropout: float) -> Tensor:
    """Softmax(Q K^T / sqrt(K) + penalty) V, each sequence on its own: the specification.

    Cannot: save memory. It holds B x H x L x L weights, and more of the same for the gradient.
    """
    weights_BHLL = F.dropout(attention_maps(query_NHK, key_NHK, layout), dropout)
    return layout.unpad((weights_BHLL @ layout.pad(value_NHK).transpose(1, 2)).transpose(1, 2))


def attention_maps(query_NHK: Tensor, key_NHK: Tensor, layout: Layout) -> Tensor:
    """What share each token (row) takes from each other (column), (B, H, L, L).

    Rows of real tokens sum to 1; columns past the end of a sequence are 0. Rows past the end of a
    sequence belong to no token and mean nothing.
    """
    query_BHLK = layout.pad(query_NHK).transpose(1, 2)
    key_BHLK = layout.pad(key_NHK).transpose(1, 2)
    scores_BHLL = query_BHLK @ key_BHLK.transpose(2, 3) * query_NHK.shape[-1] ** -0.5
    bias = position_bias(layout.max_length, layout, query_NHK.dtype)
    if bias is not None:
        scores_BHLL = scores_BHLL + bias
    past_end_B11L = ~layout.real_tokens()[:, None, None, :]
    weights_BHLL: Tensor = scores_BHLL.masked_fill(past_end_B11L, float("-inf")).softmax(dim=-1)
    return weights_BHLL.to(query_NHK.dtype)


def position_bias(length: int, layout: Layout, dtype: torch.dtype) -> Tensor | None:
    """What positions add to the scores, (H, L, L), or (1, L, L) where all heads are alike.

    It is of this dtype, or float32 where that is wider.

    ALiBi adds -slope * |i - j|, in both directions (DNABERT-2; Press et al. 2022 only look back); a
    causal layout -inf where j > i. None where nothing is added.
    """
    if layout.slopes_H is None and not layout.causal:
        return None
    bias = layout.memo.get(f"bias {length}")
    if bias is None:
        place_L = torch.arange(length, device=layout.lengths_B.device)
        ahead_LL = place_L - place_L[:, None]
        bias = torch.zeros(1, length, length, device=ahead_LL.device)
        if layout.slopes_H is not None:
            bias = -layout.slopes_H[:, None, None] * ahead_LL.abs()
        if layout.causal:
            bias = bias.masked_fill(ahead_LL > 0, float("-inf"))
        layout.memo[f"bias {length}"] = bias
    assert isinstance(bias, Tensor)
    return bias.to(torch.promote_types(dtype, torch.float32))


def sdpa(query_NHK: Tensor, key_NHK: Tensor, value_NHK: Tensor, layout: Layout, dropout: float) -> Tensor:
    """PyTorch's fused attention; on CPU run by run without padding, elsewhere padded with a mask.

    On CPU, fused attention knows no dropout and would fall back to a slow path, so training with
    attention dropout takes `attend_with_dropout` instead (experiments/throughput/encoder_kernels.py
    compares the ways).

    Cannot: return attention maps; be differentiated twice on CPU with dropout; skip padding on a GPU.
    """
    if layout.runs is None:
        return _attend_padded(query_NHK, key_NHK, value_NHK, layout, dropout)
    return _attend_runs(query_NHK, key_NHK, value_NHK, layout, dropout)


def _attend_padded(
    query_NHK: Tensor, key_NHK: Tensor, value_NHK: Tensor, layout: Layout, dropout: float
) -> Tensor:
    query_BHLK, key_BHLK, value_BHLK = (
        layout.pad(packed).transpose(1, 2) for packed in (query_NHK, key_NHK, value_NHK)
    )
    mask = layout.real_tokens()[:, None, None, :]
    bias = position_bias(layout.max_length, layout, query_NHK.dtype)
    if bias is not None:
        mask = bias.masked_fill(~mask, float("-inf")).to(query_NHK.dtype)
    mixed_BHLK = F.scaled_dot_product_attention(
        query_BHLK, key_BHLK, value_BHLK, attn_mask=mask, dropout_p=dropout
    )
    return layout.unpad(mixed_BHLK.transpose(1, 2))


def _attend_runs(
    query_NHK: Tensor, key_NHK: Tensor, value_NHK: Tensor, layout: Layout, dropout: float
) -> Tensor:
    runs = layout.runs
    assert runs is not None, "they are known on CPU"
    sizes = [run.count * run.length for run in runs]
    mixed = []
    packed = (torch.split(x, sizes) for x in (query_NHK, key_NHK, value_NHK))
    for run, *parts in zip(runs, *packed, strict=True):
        query, key, value = (x.view(run.count, run.length, *x.shape[1:]).transpose(1, 2) for x in parts)
        bias = position_bias(run.length, layout, query_NHK.dtype)
        if dropout > 0:
            block = attend_with_dropout(query, key, value, dropout, bias)
        else:
            block = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        mixed.append(block.transpose(1, 2).flatten(0, 1))
    return torch.cat(mixed) if len(mixed) > 1 else mixed[0]


KERNELS: dict[KernelName, Kernel] = {
    "eager": Kernel(attend=eager, cannot="save memory: it holds every attention weight"),
    "sdpa": Kernel(
        attend=sdpa,
        cannot="return attention maps; be differentiated twice on CPU with dropout; skip padding on a GPU",
    ),
    "flex": Kernel(
        attend=flex,
        cannot="run on a CPU; drop attention weights; return attention maps",
        dropout=False,
    ),
    "varlen": Kernel(
        attend=varlen,
        cannot="run on a CPU; compute in fp32; add ALiBi's penalty; drop attention weights; "
        "return attention maps",
        alibi=False,
        dropout=False,
    ),
}
