"""Which parameters the weight decay acts on."""

from __future__ import annotations

from torch import nn

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
