"""Bits per base at hidden bases: a loss that compares tokenizers fairly.

A masked token's distribution over the vocabulary gives one over the base at each of its places, by
summing the tokens that spell that base there. A hidden base lies in several masked tokens of an
overlapping tokenization; its distribution is the mean of theirs, which is again a distribution.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dnalm.data import HiddenTensors

_TINY = torch.finfo(torch.float32).tiny


def base_indicator(token_bases_VK: Tensor) -> Tensor:
    """Which base each id spells at each place.

    Args:
        token_bases_VK: (V, K) values 0-3, other values where the id spells none.

    Returns:
        (V, K * 4) float, 1 where id v spells base b at place k, in column 4 k + b.
    """
    spelled = torch.nn.functional.one_hot(token_bases_VK.long().clamp(max=4), num_classes=5)[..., :4]
    return spelled.flatten(1).float()


def bits_per_hidden_base(logits_MV: Tensor, indicator: Tensor, hidden: HiddenTensors) -> Tensor:
    """Minus log2 of the probability given to each hidden base.

    Args:
        logits_MV: (M, V) logits at the masked tokens.
        indicator: (V, K * 4) from `base_indicator`.
        hidden: the batch's hidden bases.

    Returns:
        (X,) bits. Ids that spell no base at a place have no share in its distribution.
    """
    places = indicator.shape[1] // 4
    with torch.autocast(logits_MV.device.type, enabled=False):  # sums of 4^(k-1) terms want float32
        marginal_MK4 = (logits_MV.float().softmax(-1) @ indicator).view(len(logits_MV), places, 4)
    marginal_MK4 = marginal_MK4 / marginal_MK4.sum(-1, keepdim=True).clamp_min(_TINY)
    true_base_P = hidden.base_X[hidden.pair_base_P]
    told_P = marginal_MK4[hidden.pair_token_P, hidden.pair_offset_P, true_base_P]
    sums = torch.zeros(len(hidden.base_X), device=told_P.device).index_add_(0, hidden.pair_base_P, told_P)
    counts = torch.bincount(hidden.pair_base_P, minlength=len(hidden.base_X))
    mean = (sums / counts).clamp_min(_TINY)
    return -mean.log() / math.log(2)
