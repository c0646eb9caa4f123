"""The packed layout: all sequences of a micro-batch end to end, nothing padded, and where tokens stand.

`Packed` is what a batch carries; `Layout` is computed from it once per forward and shared by all blocks.
Padding appears only where a kernel asks for it, through `Layout.pad`. Positions enter attention as rotated
queries and keys (`Rotation`) or as a penalty on distance (`alibi_slopes`); learned ones are part of the
embeddings. Nothing here waits for a GPU.

Shapes: B sequences, N packed tokens, L tokens of the longest sequence, H heads, K head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

PositionKind = Literal["learned", "rotary", "alibi"]
KernelName = Literal["auto", "eager", "sdpa", "flex", "varlen"]


@dataclass(frozen=True, eq=False)
class Packed:
    """Where each sequence of a packed micro-batch lies.

    Attributes:
        cu_lengths: where each sequence begins, and N at the end, (B + 1,), int32 or int64.
        max_length: tokens of the longest sequence.
    """

    cu_lengths: Tensor
    max_length: int

    @classmethod
    def from_lengths(cls, lengths: Sequence[int]) -> Packed:
        """Sequences of these many tokens, each at least one, in this order."""
        ends = torch.tensor([0, *lengths], dtype=torch.int64).cumsum(0)
        return cls(cu_lengths=ends.to(torch.int32), max_length=max(lengths))

    def layout(self, num_tokens: int) -> Layout:
        """The layout of a pack of `num_tokens` tokens in all."""
        runs = self._runs() if self.cu_lengths.device.type == "cpu" else None
        if runs is not None:
            assert sum(run.count * run.length for run in runs) == num_tokens, "lengths must add up to N"
            assert all(0 < run.length <= self.max_length for run in runs), "a length is outside 1..max"
        starts_B = self.cu_lengths[:-1]
        place_N = torch.arange(num_tokens, dtype=starts_B.dtype, device=starts_B.device)
        sequence_N = torch.searchsorted(self.cu_lengths[1:], place_N, right=True)
        position_N = (place_N - starts_B[sequence_N]).long()
        return Layout(
            max_length=self.max_length,
            lengths_B=self.cu_lengths.diff(),
            sequence_N=sequence_N,
            position_N=position_N,
            padded_N=sequence_N * self.max_length + position_N,
            # B L = N says so without a look at the lengths, which lie on the device
            is_full=starts_B.shape[0] * self.max_length == num_tokens,
            runs=runs,
            cu_lengths=self.cu_lengths,
        )

    def _runs(self) -> tuple[Run, ...]:
        lengths: list[int] = self.cu_lengths.diff().tolist()
        return tuple(Run(count=len(list(same)), length=length) for length, same in groupby(lengths))


@dataclass(frozen=True, eq=False, kw_only=True)
class Layout:
    """Everything that blocks and kernels need to know of a packed micro-batch.

    Attributes:
        max_length: L.
        lengths_B: tokens of each sequence, (B,).
        sequence_N: which sequence each token belongs to, (N,), int64.
        position_N: place of each token in its own sequence, from 0, (N,), int64.
        padded_N: place of each token in the flattened (B, L) rectangle, (N,), int64.
        is_full: whether every sequence has L tokens, so that the pack is a dense block.
        runs: the pack cut into runs of equal lengths; None on an accelerator, where learning the
            lengths would wait for the device.
        cu_lengths: where each sequence begins, and N at the end, (B + 1,).
        causal: whether a token attends to itself and earlier tokens only.
        slopes_H: ALiBi's slopes, (H,), float32; None where positions enter otherwise.
        rotation: how queries and keys turn; None where positions enter otherwise.
        kernel: how attention is computed, as `kernels.prepare` decides.
        prepared: what that kernel computed once for all blocks: a mask, or ends of sequences.
        stream: dtype of hidden states between sublayers, if another one is wanted than comes of itself.
    """

    max_length: int
    lengths_B: Tensor  # noqa: N815
    sequence_N: Tensor  # noqa: N815
    position_N: Tensor  # noqa: N815
    padded_N: Tensor  # noqa: N815
    is_full: bool
    runs: tuple[Run, ...] | None
    cu_lengths: Tensor
    causal: bool = False
    slopes_H: Tensor | None = None  # noqa: N815
    rotation: Rotation | None = None
    kernel: KernelName = "eager"
    prepared: Tensor | BlockMask | None = None
    stream: torch.dtype | None = None

    @property
    def num_sequences(self) -> int:
        """B."""
        return self.lengths_B.shape[0]

    def in_stream(self, hidden_ND: Tensor) -> Tensor:
        """Hidden states as they go from sublayer to sublayer, (N, D)."""
        return hidden_ND if self.stream is None else hidden_ND.to(self.stream)

    def pad(self, packed: Tensor) -> Tensor:
        """(N, ...) to (B, L, ...), zeros after the end of each sequence."""
        shape = (self.num_sequences, self.max_length, *packed.shape[1:])
        flat = packed.new_zeros((shape[0] * shape[1], *shape[2:]))
        return flat.index_copy(0, self.padded_N, packed).view(shape)

    def unpad(self, padded: Tensor) -> Tensor:
        """(B, L, ...) to (N, ...): the inverse of `pad`."""
        return padded.flatten(0, 1).index_select(0, self.padded_N)

    def real_tokens(self) -> Tensor:
        """(B, L), bool: True where `pad` puts a token, False where it puts nothing."""
        place_L = torch.arange(self.max_length, device=self.lengths_B.device)
        return place_L < self.lengths_B[:, None]


@dataclass(frozen=True)
class Run:
    """Neighbouring sequences of equal length: a dense block that needs neither padding nor mask."""

    count: int
    length: int


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
    """Slopes by which each head's scores fall with distance, (H,), float32 (Press et al. 2022, section 3).

    For a power of two, the geometric sequence that starts at its ratio 2^(-8 / H). For other numbers,
    the slopes of the next lower power, then every other slope of the next higher one, as the released
    code has it.
    """
    lower = 2 ** (num_heads.bit_length() - 1)
    head_H = torch.arange(num_heads, device=device)
    steps_H = torch.where(head_H < lower, 2 * head_H + 2, 2 * (head_H - lower) + 1)
    return torch.exp2(-4.0 * steps_H / lower)
