"""How many parameters a model has, from its arguments, without building it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from dnalm.models.encoder import Encoder


def count_parameters(encoder: Mapping[str, object], *, masked_lm: bool = True) -> int:
    """Parameters of an `Encoder` of these arguments, or of the `MaskedLM` on it.

    Args:
        encoder: arguments of `Encoder` by name; those left out take its defaults.
        masked_lm: count the head too; its decoder is the token embeddings, counted once.

    Raises:
        TypeError: an argument that `Encoder` does not have, or vocab_size is missing.
    """
    bound = inspect.signature(Encoder).bind(**encoder)
    bound.apply_defaults()
    width, inner = int(bound.arguments["hidden_size"]), int(bound.arguments["intermediate_size"])
    vocabulary = int(bound.arguments["vocab_size"])
    rows = vocabulary + int(bound.arguments["max_positions"]) + int(bound.arguments["type_vocab_size"])
    norm = 2 * width
    embeddings = rows * width + norm
    attention = 4 * _linear(width, width) + norm
    feed_forward = _linear(width, inner) + _linear(inner, width) + norm
    head = _linear(width, width) + norm + vocabulary if masked_lm else 0
    return embeddings + int(bound.arguments["num_layers"]) * (attention + feed_forward) + head


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs
