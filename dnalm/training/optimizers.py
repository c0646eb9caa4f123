"""Which parameters the weight decay acts on."""

from __future__ import annotations

from typing import TypedDict

from torch import nn


class ParameterGroup(TypedDict):
    """An optimizer's group."""

    params: list[nn.Parameter]
    weight_decay: float


def parameter_groups(module: nn.Module, *, weight_decay: float) -> list[ParameterGroup]:
    """Two groups: matrices decay; biases and normalisation weights, which are vectors, do not.

    A parameter shared by several modules is listed once.

    Source: DNABERT's released run_pretrain.py, which exempts `bias` and `LayerNorm.weight`.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
