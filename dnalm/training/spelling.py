"""Embeddings that begin by spelling: k-mers that share bases begin alike.

With independent random rows, as published, a model must first learn from scratch that ACGTAC is
followed by CGTAC?, for each of 4^k tokens; short runs end before that. Here a row starts as the
sum of one random vector for each base at each place, scaled to the same variance, so that what is
learned of one k-mer holds for its relatives at once. Our choice for small budgets, measured in
experiments/LOG.md; no published recipe uses it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from dnalm.models import MaskedLM


@torch.no_grad()
def spell_embeddings(model: MaskedLM, token_bases: npt.NDArray[np.uint8]) -> None:
    """Overwrite the rows of ids that spell bases; rows of special tokens stay.

    Args:
        model: whose token embedding, (V, D), is set; the new rows keep its standard deviation.
        token_bases: (V, K) bases that each id spells, 0-3; other values where it spells none.
    """
    embedding = model.encoder.embeddings.token
    bases_VK = torch.from_numpy(token_bases.astype(np.int64))
    spelled_VK = bases_VK < 4
    length_V = spelled_VK.sum(1)
    std = float(embedding.weight[length_V > 0].std())
    rows = torch.zeros_like(embedding.weight)
    for place in range(bases_VK.shape[1]):
        vectors = torch.randn(4, embedding.embedding_dim) * std
        told = spelled_VK[:, place]
        rows[told] += vectors[bases_VK[told, place]]
    embedding.weight[length_V > 0] = (rows / length_V[:, None].sqrt())[length_V > 0]
