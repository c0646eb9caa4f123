"""How many bytes a training step needs at its peak, from a model's config and the sizes of its packs alone.

A step holds weights, gradients and optimizer state from beginning to end, and what the forward pass keeps for
the backward pass until that has used it. On top comes what is there for a moment: the gradients inside the
head while the loss is differentiated, or inside a block, or a block that is computed again. The peak is the
larger of the two moments. Kept are (autograd's own rules; c bytes of a product's dtype, s of the residual
stream's, m of an element that dropout has drawn):

- weights: P x 4 (2 in bf16-true), as much for gradients, twice as much for Adam; all of it divided by the
  ranks that shard. In mixed precision a copy of every matrix in bfloat16, which the products keep.
- a norm: its input, D s, and a mean and a deviation, 8, a token.
- a product: its input, D c. Where the stream is wider than c, queries, keys and values keep a copy each; on
  a GPU, where they are one product, one, and the weights of the three side by side.
- attention, fused (FlashAttention, flex, a CPU's): queries, keys, values and outputs, 4 D c, and a sum for
  each head, 4 H; no L x L. A CPU with dropout: a byte for each pair and head besides. `eager`: two or
  more weights of float32. A kernel that pads keeps B x L tokens in place of N.
- a convolution: its input and its output, 2 D c; between sequences of several lengths are gaps.
- a feed-forward network: what goes up and what comes out of the activation, 2 F c, gated networks 4 F c.
- dropout: m for each element, 1 on a GPU, the element's own width on a CPU.
- the head, at predicted tokens alone, like the last block past its attention: three more inputs and the
  logarithms of the V probabilities, 4 V; twice as much again while the loss is differentiated;
  the loss of single bases keeps and needs the same.

With activation checkpointing the blocks keep their inputs, D s each, and one of them at a time all the rest.
Bytes are those of tensors. A GPU needs more, for CUDA's context, the workspaces of its libraries and the gaps
between blocks of memory; its compiled blocks keep less. Only a CPU's steps in float32 and bf16-mixed were
measured, and its coefficients of what is there for a moment were fitted to them (tests/models/test_memory.py
has the differences). The lines of a GPU, of sharding and of bf16-true are derived. Not counted: gradients
that FSDP keeps whole between micro-batches, heads of tracks, annotation channels.

N tokens, B sequences, L tokens of the longest, M predicted tokens, P parameters, D model width, F inner
width, E embedding width, H heads, K head width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import torch

from dnalm.models.config import CONV_STEM_WIDTHS, EncoderConfig, count_parameters
from dnalm.models.kernels import WEIGHTS_AT_ONCE, fastest_kernel
from dnalm.models.packing import KernelName

Arithmetic = Literal["32-true", "bf16-mixed", "bf16-true"]
StrategyName = Literal["ddp", "fsdp", "exact"]
# CUDA's context and modules take 0.5 to 1 GiB, workspaces of cuBLAS 32 MiB a stream, buffers of NCCL 0.5 GiB.
RESERVED = 2 * 2**30
# Gaps between blocks of memory, and what is not counted: heads of tracks, channels, padding of packs, more
# masked tokens than the rate says. An estimate too.
SPARE = 0.1
GPU_TOKENS = 65_536  # of micro_tokens=auto at most; an estimate, as no GPU was measured
_FLOAT32, _BFLOAT16, _INT64 = 4, 2, 8


@dataclass(frozen=True, kw_only=True)
class PackSize:
    """How large a micro-batch is.

    Attributes:
        tokens: N.
        sequences: B.
        longest: L.
        pairs: sum of squared lengths.
        predicted: M; None where hidden states of all tokens are wanted and none is predicted.
    """

    tokens: int
    sequences: int
    longest: int
    pairs: int
    predicted: int | None

    @classmethod
    def of(cls, lengths: Sequence[int], *, predicted: int | None) -> PackSize:
        """Of sequences of these many tokens."""
        return cls(
            tokens=sum(lengths),
            sequences=len(lengths),
            longest=max(lengths),
            pairs=sum(length**2 for length in lengths),
            predicted=predicted,
        )

    @property
    def padded(self) -> int:
        """Tokens of the rectangle that holds it."""
        return self.sequences * self.longest


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a step is computed on, as far as memory depends on it.

    Attributes:
        device: what computes.
        arithmetic: precision of weights and arithmetic.
        shards: ranks that share weights, gradients and optimizer state.
        recomputes: whether blocks are computed again in the backward pass.
        bf16_residual: whether the residual stream is in bfloat16, in bf16-mixed.
    """

    device: Literal["cpu", "cuda"] = "cuda"
    arithmetic: Arithmetic = "bf16-mixed"
    shards: int = 1
    recomputes: bool = False
    bf16_residual: bool = False

    @property
    def weight(self) -> int:
        """Bytes of a weight."""
        return _BFLOAT16 if self.arithmetic == "bf16-true" else _FLOAT32

    @property
    def product(self) -> int:
        """Bytes of an element of what matrix products take and give, c."""
        return _FLOAT32 if self.arithmetic == "32-true" else _BFLOAT16

    @property
    def is_mixed(self) -> bool:
        """Whether weights are wider than products."""
        return self.weight > self.product

    def mask(self, element: int) -> int:
        """Bytes that dropout keeps of an element so wide, m."""
        return 1 if self.device == "cuda" else element


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of a training step by part; their sum is its peak.

    Attributes:
        weights: the weights, and what is gathered of those that are sharded.
        gradients: of them.
        optimizer: Adam's two averages.
        copies: of the weights in the dtype of products.
        activations: what the forward pass keeps.
        temporary: the most that is there for a moment in the backward pass.
    """

    weights: int
    gradients: int
    optimizer: int
    copies: int
    activations: int
    temporary: int

    @property
    def total(self) -> int:
        """At the peak."""
        return sum(asdict(self).values())


def count_memory(config: EncoderConfig, pack: PackSize, machine: Machine) -> Memory:
    """Bytes of a training step of a `MaskedLM` trained by Adam, gradients of earlier micro-batches included.

    Args:
        config: the encoder, or its config.
        pack: the largest micro-batch.
        machine: what it is computed on.
    """
    counted = _Counted(config, pack, machine)
    weights, shards = counted.weights, machine.shards
    block, root = counted.largest_block, weights - sum(counted.blocks_weights)
    gathered, copies = 0, counted.copies(gathered=shards > 1)
    if shards > 1:  # the next block is gathered while one computes, and the gradients of one are reduced
        gathered = (root + 2 * block) * machine.product + block * _FLOAT32
    whole = weights * machine.weight
    activations, temporary = counted.kept_and_temporary()
    return Memory(
        weights=-(-whole // shards) + gathered,
        gradients=-(-whole // shards),
        optimizer=-(-2 * whole // shards),
        copies=copies,
        activations=activations,
        temporary=temporary,
    )


def count_run(
    config: EncoderConfig,
    pack: PackSize,
    machine: Machine,
    *,
    strategy: StrategyName,
    world_size: int,
    passes: int,
    total: int | None,
) -> Memory:
    """Bytes of a step by part, with the gradients and weights that its strategy holds besides.

    Args:
        config: as of `count_memory`.
        pack: the same.
        machine: the same.
        strategy: how several processes share the work.
        world_size: processes in all.
        passes: micro-batches of a step on each rank.
        total: bytes of the GPU; None where they do not matter.
    """
    counted = count_memory(config, pack, machine)
    whole = count_memory(config, pack, Machine(arithmetic=machine.arithmetic))
    if strategy == "exact":  # sums of subtrees, and those of all ranks
        further = whole.gradients * (passes.bit_length() + world_size)
        counted = replace(counted, gradients=counted.gradients + further)
    if machine.shards > 1 and passes > 1:  # see `Sharded.block_backward_sync`
        gradients = whole.weights // machine.weight * _FLOAT32
        if total is None or 4 * (whole.weights + gradients) <= total:
            counted = replace(
                counted,
                weights=counted.weights + whole.weights,
                gradients=counted.gradients + gradients,
            )
    return counted


def room(total: int) -> int:
    """Bytes of a GPU of so many that tensors may take."""
    return int((total - RESERVED) * (1 - SPARE))


class _Counted:
    """The parts of one model and pack, bytes; rows are tokens."""

    def __init__(self, config: EncoderConfig, pack: PackSize, machine: Machine) -> None:
        self.config, self.pack, self.machine = config, pack, machine
        self.c = machine.product
        is_mapped = config.embedding_width != config.hidden_size
        # A CPU's norms leave bfloat16 as it is; a GPU's compute and give float32 in mixed precision.
        is_narrow = not machine.is_mixed or (machine.device == "cpu" and is_mapped)
        self.s = self.c if is_narrow or machine.bf16_residual else _FLOAT32
        self.n = _FLOAT32 if machine.is_mixed and machine.device == "cuda" else self.s  # of a norm's input
        self.weights = count_parameters(_arguments(config), masked_lm=pack.predicted is not None)
        width, inner = config.hidden_size, config.intermediate_size
        feed_forward = (2 if config.feed_forward == "gelu" else 3) * inner * width
        self.blocks_weights = [config.conv_width * width**2 + feed_forward] * len(config.conv_dilations)
        self.blocks_weights += [4 * width**2 + feed_forward] * config.attention_blocks

    @property
    def largest_block(self) -> int:
        """Weights of it."""
        return max(self.blocks_weights)

    def copies(self, *, gathered: bool) -> int:
        """Of matrices: in bfloat16 for mixed precision, if not gathered so; of projections side by side."""
        config = self.config
        narrow, width = config.embedding_width, config.hidden_size
        joined = 3 * width**2 if self.machine.device == "cuda" else 0
        if self.machine.recomputes:  # those of a block that is computed again go with its pass
            layers, matrices = 1, self.largest_block - joined
        else:
            layers = config.num_layers
            matrices = sum(self.blocks_weights) - config.attention_blocks * joined
        matrices += width * narrow if width != narrow else 0
        matrices += sum(CONV_STEM_WIDTHS) * narrow**2 if config.conv_stem else 0
        if self.pack.predicted is not None:
            matrices += width * narrow + narrow * config.vocab_size
        is_copied = self.machine.is_mixed and not gathered
        return self.c * (layers * joined + (matrices if is_copied else 0))

    def kept_and_temporary(self) -> tuple[int, int]:
        """What the forward pass keeps, and the most that comes on top of it in the backward pass."""
        rows, config = self.pack.tokens, self.config
        last = rows if self.pack.predicted is None else self.pack.predicted
        kept = [rows] * (config.depth - 1) + [last]
        first = len(config.conv_dilations)
        blocks = [
            self.block(self.convolution(dilation), kept=each, convolves=True)
            for each, dilation in zip(kept, config.conv_dilations, strict=False)
        ]
        blocks += [self.block(self.attention(), kept=each, convolves=False) for each in kept[first:]]
        around = self.embeddings() + self.head()
        in_loss = 2 * _FLOAT32 * (self.pack.predicted or 0) * config.vocab_size
        inner = rows * config.intermediate_size * self.c
        gradients = 2 * rows * config.hidden_size * self.s
        gradients += inner if config.feed_forward == "gelu" else 2 * inner
        weights = 0  # of the heads that are computed together, and their gradients
        if self._by_parts and config.num_layers:
            weights = 3 * min(self.pack.pairs * config.num_heads, WEIGHTS_AT_ONCE) * self.c
        if self.machine.recomputes:  # a block's feed-forward network is through before its attention
            inputs = config.depth * rows * config.hidden_size * self.s
            in_block = gradients + max(0, weights - inner) + max(blocks)
            return around + inputs, max(in_loss, in_block - self.head())
        in_block = gradients + inner + weights - blocks[-1]
        return around + sum(blocks), max(in_loss, in_block - self.head())

    def embeddings(self) -> int:
        """Of the embeddings, and positions."""
        config, rows = self.config, self.pack.tokens
        width = config.embedding_width
        found = rows * 3 * _INT64  # ids, positions, sequences
        if config.embedding_norm:
            found += self._norm(rows, width, self.machine.weight)
        if config.dropout:
            found += rows * width * self.machine.mask(self.machine.weight)
        if width != config.hidden_size:
            found += rows * width * self.c
        if config.conv_stem:
            found += rows * (6 * _INT64 + (3 if self.machine.is_mixed else 1) * width * self.c)
        if config.positions == "rotary" and config.num_layers:
            found += rows * config.hidden_size // config.num_heads * _FLOAT32
        return found

    def block(self, mixing: int, *, kept: int, convolves: bool) -> int:
        """Of a block whose rows past its mixing of tokens are `kept`, which keeps `mixing` bytes for that."""
        config, c = self.config, self.c
        rows, width, inner = self.pack.tokens, config.hidden_size, config.intermediate_size
        is_gated, is_inside = config.feed_forward != "gelu", config.feed_forward_dropout == "inside"
        before = rows if config.norm_placement == "pre" else kept
        found = self._norm(before, width, self.n) + self._norm(kept, width, self.n) + mixing
        found += kept * width * c  # of the map up
        found += kept * (4 if is_gated else 2) * inner * c
        if not convolves and (self._copies_mixed or kept < rows):
            found += kept * width * c
        if convolves:  # of the GELU
            found += kept * width * c
        if config.dropout:
            found += kept * width * self.machine.mask(c)
            found += kept * (inner if is_inside else width) * self.machine.mask(c)
        return found

    def convolution(self, dilation: int) -> int:
        """Of the input of a convolution, and the places of its tokens where there are gaps."""
        rows, pack = self.pack.tokens, self.pack
        if pack.padded == rows:
            return rows * self.config.hidden_size * self.c
        gaps = (pack.sequences - 1) * (self.config.conv_width // 2) * dilation
        return (rows + gaps) * self.config.hidden_size * self.c + rows * _INT64

    @property
    def kernel(self) -> KernelName:
        """That computes attention."""
        if self.config.kernel != "auto":
            return self.config.kernel
        return fastest_kernel(
            self.machine.device,
            is_alibi=self.config.positions == "alibi",
            is_full=self.pack.padded == self.pack.tokens,
            dtype=torch.float32 if self.c == _FLOAT32 else torch.bfloat16,
            dropout=self.config.attention_dropout,
            width=self.config.hidden_size // self.config.num_heads,
        )

    @property
    def _pads(self) -> bool:
        is_padded = self.pack.padded > self.pack.tokens
        return self.kernel == "eager" or (
            self.kernel == "sdpa" and self.machine.device == "cuda" and is_padded
        )

    @property
    def _by_parts(self) -> bool:
        """Whether `attend_by_parts` computes attention."""
        is_asked = self.config.attention_dropout > 0 or self.c < _FLOAT32
        return self.kernel == "sdpa" and self.machine.device == "cpu" and is_asked

    @property
    def _copies_mixed(self) -> bool:
        """Whether what attention gives is copied before it is mapped."""
        is_one_run = self.pack.padded == self.pack.tokens and not self._by_parts
        return self._pads or (self.machine.device == "cpu" and not is_one_run)

    def attention(self) -> int:
        """Of the input of attention, queries, keys, values, weights and what it gives."""
        config, c, pack = self.config, self.c, self.pack
        inputs = 3 if self.s > c and self.machine.device == "cpu" else 1
        return pack.tokens * inputs * config.hidden_size * c + self._attended()

    def _attended(self) -> int:
        config, c, pack = self.config, self.c, self.pack
        rows = pack.padded if self._pads else pack.tokens
        heads, width, is_dropping = config.num_heads, config.hidden_size, config.attention_dropout > 0
        if self.kernel == "eager":
            of_weight = (
                _FLOAT32 + (c if self.s > c else 0) + ((c + self.machine.mask(c)) if is_dropping else 0)
            )
            return rows * 3 * width * c + rows * pack.longest * heads * of_weight
        if self._by_parts:
            return rows * 4 * width * c + (pack.pairs * heads if is_dropping else 0)
        return rows * (4 * width * c + heads * _FLOAT32)

    def head(self) -> int:
        """Of the head that predicts tokens, the final norm and the loss."""
        config, rows = self.config, self.pack.predicted
        final = self._norm(self.pack.tokens if rows is None else rows, config.hidden_size, self.n)
        final = final if config.norm_placement == "pre" else 0
        if rows is None:
            return final
        narrow = config.embedding_width
        normed = _FLOAT32 if self.machine.device == "cuda" and self.machine.is_mixed else self.c
        inputs = rows * (config.hidden_size + 2 * narrow) * self.c + self._norm(rows, narrow, normed)
        return final + inputs + rows * (config.vocab_size * _FLOAT32 + 2 * _INT64)

    @staticmethod
    def _norm(rows: int, width: int, element: int) -> int:
        return rows * (width * element + 2 * _FLOAT32)


def _arguments(config: EncoderConfig) -> dict[str, object]:
    return {name: getattr(config, name) for name in EncoderConfig.__dataclass_fields__}
