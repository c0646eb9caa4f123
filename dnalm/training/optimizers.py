"""Which parameters the weight decay acts on, and what to do where numbers are not finite."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import Optimizer

ParameterGroup = dict[str, list[nn.Parameter] | float]


def parameter_groups(module: nn.Module) -> list[ParameterGroup]:
    """Two groups: matrices have the optimizer's weight decay; biases and norms, vectors, have none.

    A parameter shared by several modules is listed once.

    Source: DNABERT's released run_pretrain.py, which exempts `bias` and `LayerNorm.weight`.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1]},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def how_to_stay_finite(optimizer: Optimizer) -> str:
    """What to change where losses, gradients or weights are not finite."""
    for group in optimizer.param_groups:
        eps = group.get("eps")
        if eps is not None and group["params"] and not torch.tensor(eps, dtype=group["params"][0].dtype):
            return (
                f"set optim.eps=1e-8: with {eps:g} a weight whose gradients were 0 so far is updated by 0/0"
            )
    return "lower optim.lr or lengthen the warm-up, or set trainer.not_finite=skip or rollback"
