"""Where tokens stand, for attention: rotated queries and keys, or a penalty on distance.

Both are worked out once per forward pass and travel with the layout. Learned positions are part of
the embeddings instead.

N packed tokens, H heads, K head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

PositionKind = Literal["learned", "rotary", "alibi"]

_ROTARY_BASE = 10_000.0  # Su et al. 2021, section 3.2.2


@dataclass(frozen=True, eq=False)
class Rotation:
    """Angles by which the pairs of a head's elements turn, as cosines and sines.

    The pairs are element i and element i + K / 2, the half-split form of GPT-NeoX and ESM, not the
    neighbouring elements of the paper.

    Attributes:
        cos_NK: (N, K / 2), float32.
        sin_NK: (N, K / 2), float32.
    """

    cos_NK: Tensor  # noqa: N815
    sin_NK: Tensor  # noqa: N815

    @classmethod
    def at(cls, position_N: Tensor, *, head_width: int) -> Rotation:
        """The rotation of each token by its place in its sequence (Su et al. 2021).

        Args:
            position_N: places from 0, (N,), int64.
            head_width: K, even.
        """
        assert head_width % 2 == 0, "the encoder checks this"
        frequency_K = rotary_frequencies(head_width, device=position_N.device)
        angle_NK = position_N[:, None].float() * frequency_K
        return cls(cos_NK=angle_NK.cos(), sin_NK=angle_NK.sin())

    def turn(self, x_NHK: Tensor) -> Tensor:
        """Queries or keys, (N, H, K), turned; computed in float32 at least, returned in their dtype."""
        wide = torch.promote_types(x_NHK.dtype, torch.float32)
        first, second = x_NHK.to(wide).chunk(2, dim=-1)
        cos, sin = self.cos_NK[:, None], self.sin_NK[:, None]
        turned = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
        return turned.to(x_NHK.dtype)


def rotary_frequencies(head_width: int, *, device: torch.device | None = None) -> Tensor:
    """Radians per position of each pair, (K / 2,), float32: what published files call inv_freq."""
    step_K = torch.arange(0, head_width, 2, dtype=torch.float32, device=device)
    return 1.0 / _ROTARY_BASE ** (step_K / head_width)


def alibi_slopes(num_heads: int, *, device: torch.device | None = None) -> Tensor:
    """How steeply each head's scores fall with distance, (H,), float32 (Press et al. 2022, section 3).

    For a power of two, the geometric sequence that starts at its ratio 2^(-8 / H). For other numbers,
    the slopes of the next lower power, then every other slope of the next higher one, as the released
    code has it.
    """
    lower = 2 ** (num_heads.bit_length() - 1)
    head_H = torch.arange(num_heads, device=device)
    steps_H = torch.where(head_H < lower, 2 * head_H + 2, 2 * (head_H - lower) + 1)
    return torch.exp2(-4.0 * steps_H / lower)
