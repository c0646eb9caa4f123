"""How many parameters a model has, from its arguments, without building it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields

from dnalm.models.conv_stem import KERNEL_WIDTHS
from dnalm.models.encoder import Encoder


def count_parameters(encoder: Mapping[str, object], *, masked_lm: bool = True) -> int:
    """Parameters of an `Encoder` of these arguments, or of the `MaskedLM` on it.

    Args:
        encoder: arguments of `Encoder` by name; those left out take its defaults.
        masked_lm: count the head too; a tied decoder is the token embeddings, counted once.

    Raises:
        TypeError: an argument that `Encoder` does not have, or vocab_size is missing.
    """
    bound = inspect.signature(Encoder).bind(**encoder)
    bound.apply_defaults()
    sizes = _Sizes(**{field.name: bound.arguments[field.name] for field in fields(_Sizes)})
    return sizes.embeddings() + sizes.blocks() + (sizes.head() if masked_lm else 0)


@dataclass(frozen=True)
class _Sizes:
    """Those arguments of `Encoder` that parameters follow from."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    intermediate_size: int
    max_positions: int
    positions: str
    position_offset: int
    type_vocab_size: int
    annotations: tuple[str, ...]
    embedding_size: int | None
    embedding_norm: bool
    conv_stem: bool
    feed_forward: str
    up_bias: bool
    down_bias: bool
    norm_placement: str
    shared_layers: bool
    tied_decoder: bool

    @property
    def width(self) -> int:
        return self.hidden_size if self.embedding_size is None else self.embedding_size

    def embeddings(self) -> int:
        learned = self.max_positions + self.position_offset if self.positions == "learned" else 0
        tables = (self.vocab_size + learned + self.type_vocab_size + 2 * len(self.annotations)) * self.width
        norm = 2 * self.width if self.embedding_norm else 0
        stem = sum(_linear(size * self.width, self.width) for size in KERNEL_WIDTHS) if self.conv_stem else 0
        mapping = _linear(self.width, self.hidden_size) if self.width != self.hidden_size else 0
        return tables + norm + stem + mapping

    def blocks(self) -> int:
        norm = 2 * self.hidden_size
        attention = 4 * _linear(self.hidden_size, self.hidden_size) + norm
        up = self.intermediate_size * (1 if self.feed_forward == "gelu" else 2)
        feed_forward = _linear(self.hidden_size, up, bias=self.up_bias) + norm
        feed_forward += _linear(self.intermediate_size, self.hidden_size, bias=self.down_bias)
        final_norm = norm if self.norm_placement == "pre" else 0
        return (attention + feed_forward) * (1 if self.shared_layers else self.num_layers) + final_norm

    def head(self) -> int:
        decoder = 0 if self.tied_decoder else self.width * self.vocab_size
        return _linear(self.hidden_size, self.width) + 2 * self.width + decoder + self.vocab_size


def _linear(inputs: int, outputs: int, *, bias: bool = True) -> int:
    return inputs * outputs + (outputs if bias else 0)
