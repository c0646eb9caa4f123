"""What is read off a model for a sequence: which layer, pooled how, at which resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from dnalm.errors import ConfigError
from dnalm.limits import Tokens

PoolingKind = Literal["mean", "cls", "max", "none"]
Resolution = Literal["sequence", "token", "base"]


@dataclass(frozen=True, kw_only=True)
class EmbeddingRecipe:
    """How a sequence becomes vectors.

    A sequence of more tokens than the model takes is tokenized once, and its tokens are cut into windows of
    equal length that overlap. A token's vector is its mean over the windows that hold it; so is that of `cls`
    over all windows. Nothing else differs between short sequences and long ones.

    Args:
        layer: 0 are the embeddings, `num_layers` the last block's output; -1 is the last, -2 the one before.
        pooling: of a sequence's vector: `mean` and `max` over the tokens that spell bases, `cls` the start
            token. `none` of tokens and bases; mean of sequences if absent.
        resolution: a vector for each sequence, token or base; that of a base is the mean over the tokens that
            cover it, NaN where none does.
        long: `windows`, or `refuse`, which makes a longer sequence an error.
        overlap: share of a window that lies in the next one too, at least.
        max_tokens: tokens of a window, special ones not counted; those of the windows that it was trained
            on if absent, or what it takes where they are unknown.
        dtype: of the vectors in the file; they are computed in float32.
        batch_tokens: tokens of a batch, about; changes speed and memory, and no vector.
    """

    layer: int = -1
    pooling: PoolingKind | None = None
    resolution: Resolution = "sequence"
    long: Literal["windows", "refuse"] = "windows"
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    max_tokens: Tokens | None = None
    dtype: Literal["float32", "float16"] = "float32"
    batch_tokens: Tokens = 16_384

    def __post_init__(self) -> None:
        if (self.kind == "none") == (self.resolution == "sequence"):
            raise ConfigError(
                "CFG-53",
                where="pooling",
                found=f"pooling={self.kind} at resolution={self.resolution}",
                expected="mean, cls or max of a sequence, none of tokens and bases",
                fix="leave pooling out, or choose resolution=sequence to pool and token or base not to",
            )

    @property
    def kind(self) -> PoolingKind:
        """The pooling, as given or by default."""
        return self.pooling or ("mean" if self.resolution == "sequence" else "none")

    def chosen_layer(self, num_layers: int) -> int:
        """The layer counted from the embeddings, 0 to `num_layers`.

        Raises:
            ConfigError: CFG-53, there is no such layer.
        """
        chosen = self.layer if self.layer >= 0 else num_layers + 1 + self.layer
        if not 0 <= chosen <= num_layers:
            raise ConfigError(
                "CFG-53",
                where="layer",
                found=f"layer {self.layer} of a model of {num_layers} blocks",
                expected=f"0 (the embeddings) to {num_layers}, or from the end, -1 to {-num_layers - 1}",
                fix="choose one of them",
            )
        return chosen
