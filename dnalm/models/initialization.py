"""Initial weights, as BERT draws them (Devlin et al. 2019, `initializer_range`)."""

from __future__ import annotations

import torch
from torch import nn


def initialize(module: nn.Module, *, std: float) -> None:
    """Draw every weight of `module` and its parts from the default generator, in place.

    Matrices and embedding tables are normal with this standard deviation, the padding row and all
    biases zero, norms the identity. Parts of other kinds are left as they are.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding | nn.Conv1d):
            nn.init.normal_(part.weight, std=std)
        if isinstance(part, nn.Linear | nn.Conv1d) and part.bias is not None:
            nn.init.zeros_(part.bias)
        if isinstance(part, nn.Embedding) and part.padding_idx is not None:
            with torch.no_grad():
                part.weight[part.padding_idx].zero_()
        if isinstance(part, nn.LayerNorm):
            part.reset_parameters()
