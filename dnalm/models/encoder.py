"""The encoder that every model of the table is built on.

Token ids of a packed micro-batch go in, one vector per token comes out. The defaults are BERT-base
(Devlin et al. 2019), which DNABERT and GROVER use unchanged.

N packed tokens, D model width, B sequences, H heads, L longest sequence.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from dnalm.errors import ConfigError, DataError
from dnalm.models.block import Block
from dnalm.models.embeddings import Embeddings
from dnalm.models.initialization import initialize
from dnalm.models.kernels import KERNELS, KernelName
from dnalm.models.packing import Layout, Packed


class Encoder(nn.Module):
    """A stack of Transformer blocks over embedded tokens.

    Args:
        vocab_size: token ids, from the tokenizer.
        hidden_size: width of every hidden state, a multiple of num_heads.
        num_layers: blocks.
        num_heads: attention heads per block.
        intermediate_size: width inside the feed-forward networks.
        max_positions: longest sequence in tokens, special tokens included.
        dropout: share of embeddings and sublayer outputs zeroed in training, in [0, 1).
        attention_dropout: share of attention weights zeroed in training, in [0, 1).
        norm_eps: added to the variance in the layer norms.
        type_vocab_size: rows of the token-type table, of which DNA uses the first.
        kernel: how attention is computed; `eager` is the readable one, `sdpa` the fast one.
        initializer_range: standard deviation of the initial matrices.
        padding_id: the padding token's id, from the tokenizer.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        hidden_size: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        intermediate_size: int = 3072,
        max_positions: int = 512,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        norm_eps: float = 1e-12,
        type_vocab_size: int = 2,
        kernel: KernelName = "sdpa",
        initializer_range: float = 0.02,
        padding_id: int = 0,
    ) -> None:
        super().__init__()
        self.vocab_size, self.padding_id = vocab_size, padding_id
        self.hidden_size, self.num_layers, self.num_heads = hidden_size, num_layers, num_heads
        self.intermediate_size, self.max_positions = intermediate_size, max_positions
        self.type_vocab_size, self.initializer_range = type_vocab_size, initializer_range
        self.dropout, self.attention_dropout, self.norm_eps = dropout, attention_dropout, norm_eps
        self.kernel: KernelName = kernel
        _check(self)
        self.embeddings = Embeddings(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            max_positions=max_positions,
            type_vocab_size=type_vocab_size,
            dropout=dropout,
            norm_eps=norm_eps,
            padding_id=padding_id,
        )
        self.blocks = nn.ModuleList(
            Block(
                hidden_size=hidden_size,
                num_heads=num_heads,
                intermediate_size=intermediate_size,
                dropout=dropout,
                attention_dropout=attention_dropout,
                norm_eps=norm_eps,
                kernel=kernel,
            )
            for _ in range(num_layers)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial weights anew, as after `to_empty` from the meta device."""
        initialize(self, std=self.initializer_range)

    def forward(self, ids_N: Tensor, packed: Packed) -> Tensor:
        """Hidden states of the last block, (N, D).

        Args:
            ids_N: token ids of all sequences end to end, (N,), int64 or int32.
            packed: where each sequence lies.

        Raises:
            DataError: a sequence is longer than max_positions.
        """
        layout = self._layout(ids_N, packed)
        hidden_ND: Tensor = self.embeddings(ids_N, layout)
        for block in self.blocks:
            hidden_ND = block(hidden_ND, layout)
        return hidden_ND

    def attention_maps(self, ids_N: Tensor, packed: Packed) -> Iterator[Tensor]:
        """Each block's attention weights in turn, (B, H, L, L); see `kernels.attention_maps`."""
        layout = self._layout(ids_N, packed)
        hidden_ND: Tensor = self.embeddings(ids_N, layout)
        for block in self.blocks:
            assert isinstance(block, Block)
            yield block.attention.maps(hidden_ND, layout)
            hidden_ND = block(hidden_ND, layout)

    def _layout(self, ids_N: Tensor, packed: Packed) -> Layout:
        if packed.max_length > self.max_positions:
            raise DataError(
                "MODEL-01",
                where="input sequence",
                found=f"{packed.max_length} tokens in one sequence",
                expected=f"at most max_positions={self.max_positions}, special tokens included",
                fix="use shorter windows, or train with a larger max_positions",
            )
        return packed.layout(ids_N.shape[0])


def _check(encoder: Encoder) -> None:
    for name in ("vocab_size", "hidden_size", "num_layers", "num_heads", "intermediate_size"):
        _require(getattr(encoder, name) > 0, encoder, name, "at least 1")
    for name in ("max_positions", "type_vocab_size"):
        _require(getattr(encoder, name) > 0, encoder, name, "at least 1")
    for name in ("dropout", "attention_dropout"):
        _require(0 <= getattr(encoder, name) < 1, encoder, name, "0 or more, and below 1")
    for name in ("norm_eps", "initializer_range"):
        _require(getattr(encoder, name) > 0, encoder, name, "above 0")
    _require(0 <= encoder.padding_id < encoder.vocab_size, encoder, "padding_id", "an id below vocab_size")
    _require(encoder.kernel in KERNELS, encoder, "kernel", f"one of {', '.join(KERNELS)}")
    if encoder.hidden_size % encoder.num_heads:
        raise ConfigError(
            "CFG-18",
            where="hidden_size, num_heads",
            found=f"hidden_size={encoder.hidden_size} and num_heads={encoder.num_heads}",
            expected="a hidden_size that num_heads divides, so that all heads are equally wide",
            fix="change one of the two",
        )


def _require(holds: bool, encoder: Encoder, name: str, rule: str) -> None:
    if not holds:
        raise ConfigError(
            "CFG-18",
            where=name,
            found=f"{name}={getattr(encoder, name)}",
            expected=f"{name} must be {rule}",
            fix=f"set {name} within its range",
        )
