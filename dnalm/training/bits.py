"""Bits per base at hidden bases: a loss that compares tokenizers fairly.

Where tokens tile the sequence, a hidden token costs minus log2 of its probability, shared equally by its
bases. This charges for the length of the token too: to judge single bases of a token whose length is taken
as known would flatter vocabularies of unequal lengths, since their long words are the predictable ones.

Where tokens overlap, a hidden base lies in several masked ones. A masked token's distribution over the
vocabulary gives one over the base at each of its places, by summing the tokens that spell that base there;
the base's distribution is the mean of theirs, which is again a distribution.
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


def bits_of_tokens(logits_MV: Tensor, labels_M: Tensor, hidden: HiddenTensors) -> Tensor:
    """Bits of each hidden base where tokens tile: its token's bits, shared by the token's bases.

    Args:
        logits_MV: (M, V) logits at the masked tokens.
        labels_M: (M,) their true ids.
        hidden: the batch's hidden bases, each in one pair.

    Returns:
        (X,) bits.
    """
    nats_M = torch.nn.functional.cross_entropy(logits_MV.float(), labels_M, reduction="none")
    bases_M = torch.bincount(hidden.pair_token_P, minlength=len(labels_M))
    bits_P = (nats_M / bases_M / math.log(2))[hidden.pair_token_P]
    return torch.empty_like(bits_P).index_copy_(0, hidden.pair_base_P, bits_P)


def bits_of_marginals(logits_MV: Tensor, indicator: Tensor, hidden: HiddenTensors) -> Tensor:
    """Bits of each hidden base where tokens overlap: minus log2 of the mean of its marginal probabilities.

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
