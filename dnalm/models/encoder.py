"""The encoder that every model of the table is built on.

Token ids of a packed micro-batch go in, one vector per token comes out. The defaults are BERT-base
(Devlin et al. 2019), which DNABERT and GROVER use unchanged; every switch names the published model
that needs it, and switches combine.

N packed tokens, C annotation channels, D model width, B sequences, H heads, L longest sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from torch import Tensor, nn

from dnalm.errors import DataError
from dnalm.limits import Depth, Width, WindowTokens
from dnalm.models.attention import Attention
from dnalm.models.block import Block, NormPlacement
from dnalm.models.embeddings import Embeddings
from dnalm.models.encoder_checks import check_encoder
from dnalm.models.feed_forward import FeedForward, FeedForwardKind
from dnalm.models.initialization import initialize
from dnalm.models.kernels import KernelName
from dnalm.models.packing import Layout, Packed
from dnalm.models.positions import PositionKind, Rotation, alibi_slopes


class Encoder(nn.Module):
    """A stack of Transformer blocks over embedded tokens.

    Args:
        vocab_size: token ids, from the tokenizer.
        hidden_size: width of every hidden state, a multiple of num_heads.
        num_layers: blocks.
        num_heads: attention heads per block.
        intermediate_size: width inside the feed-forward networks, of one half where they are gated.
        max_positions: longest sequence in tokens, special tokens included. With alibi it limits
            nothing and only tells what the model was trained for.
        positions: `learned` adds a trained vector per place (BERT, DNABERT, GROVER, NT v1, LOGO);
            `rotary` turns queries and keys (NT v2); `alibi` lowers scores with distance (DNABERT-2).
        position_offset: rows of the learned positions that lie before the first token's (NT v1: 2).
        type_vocab_size: rows of the token-type table, of which DNA uses the first; 0 for none (NT).
        annotations: names of the annotation channels that are summed into the embeddings (LOGO's knowledge
            embedding), from the program.
        embedding_size: width of the embeddings and of the MLM head, mapped to hidden_size (ALBERT,
            LOGO); hidden_size if not given.
        embedding_norm: whether the summed embeddings are normed; NT's are not.
        conv_stem: whether token vectors are first convolved, 2, 3 and 5 wide (LOGO).
        token_dropout: whether masks are zeroed and other tokens rescaled for them, in training and
            after it (ESM, NT v1); needs mask_id.
        feed_forward: `gelu` (BERT and others), `geglu` (DNABERT-2) or `swiglu` (NT v2).
        up_bias: whether feed-forward networks have a bias on the way up; DNABERT-2, NT v2 have none.
        down_bias: the same on the way down; NT v2 has none.
        norm_placement: `post` norms after each sublayer; `pre` before it and once at the end (NT).
        norm_eps: added to the variance in the layer norms.
        shared_layers: whether one block is applied num_layers times (ALBERT, LOGO's paper).
        causal: whether tokens see only themselves and earlier ones (LOGO's released code).
        tied_decoder: whether the MLM head decodes by the token embeddings; NT's does not.
        dropout: share of embeddings and sublayer outputs zeroed in training, in [0, 1).
        feed_forward_dropout: whether the feed-forward networks' share is taken `after` them, or
            `inside`, before the map down (DNABERT-2).
        attention_dropout: share of attention weights zeroed in training, in [0, 1).
        kernel: how attention is computed; `eager` is the readable one, `sdpa` the fast one on any
            device, `flex` and `varlen` are for CUDA and skip all padding.
        initializer_range: standard deviation of the initial matrices.
        padding_id: the padding token's id, from the tokenizer.
        mask_id: the mask token's id, from the tokenizer.

    Attributes:
        window_tokens: longest sequence that it was trained on, special tokens not counted, where its
            directory says so; `load_pretrained` sets it. What lies beyond may be read, but learned positions
            there are as they were drawn.

    Raises:
        ConfigError: an argument is out of its range, or two make no sense together.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        hidden_size: Width = 768,
        num_layers: Depth = 12,
        num_heads: Width = 12,
        intermediate_size: Width = 3072,
        max_positions: WindowTokens = 512,
        positions: PositionKind = "learned",
        position_offset: Width = 0,
        type_vocab_size: Width = 2,
        annotations: tuple[str, ...] = (),
        embedding_size: Width | None = None,
        embedding_norm: bool = True,
        conv_stem: bool = False,
        token_dropout: bool = False,
        feed_forward: FeedForwardKind = "gelu",
        up_bias: bool = True,
        down_bias: bool = True,
        norm_placement: NormPlacement = "post",
        norm_eps: float = 1e-12,
        shared_layers: bool = False,
        causal: bool = False,
        tied_decoder: bool = True,
        dropout: float = 0.1,
        feed_forward_dropout: Literal["after", "inside"] = "after",
        attention_dropout: float = 0.1,
        kernel: KernelName = "sdpa",
        initializer_range: float = 0.02,
        padding_id: int = 0,
        mask_id: int | None = None,
    ) -> None:
        super().__init__()
        self.vocab_size, self.padding_id, self.mask_id = vocab_size, padding_id, mask_id
        self.hidden_size, self.num_layers, self.num_heads = hidden_size, num_layers, num_heads
        self.intermediate_size, self.max_positions = intermediate_size, max_positions
        self.positions: PositionKind = positions
        self.position_offset, self.type_vocab_size = position_offset, type_vocab_size
        self.annotations = tuple(annotations)  # of config.json they come as a list
        self.embedding_size, self.embedding_norm = embedding_size, embedding_norm
        self.conv_stem, self.token_dropout = conv_stem, token_dropout
        self.feed_forward: FeedForwardKind = feed_forward
        self.up_bias, self.down_bias = up_bias, down_bias
        self.norm_placement: NormPlacement = norm_placement
        self.norm_eps, self.initializer_range = norm_eps, initializer_range
        self.shared_layers, self.causal, self.tied_decoder = shared_layers, causal, tied_decoder
        self.dropout, self.attention_dropout = dropout, attention_dropout
        self.feed_forward_dropout: Literal["after", "inside"] = feed_forward_dropout
        self.kernel: KernelName = kernel
        self.window_tokens: int | None = None
        check_encoder(self)
        self.embeddings = self._make_embeddings()
        self.blocks = nn.ModuleList(self._make_block() for _ in range(1 if shared_layers else num_layers))
        self.final_norm = nn.LayerNorm(hidden_size, eps=norm_eps) if norm_placement == "pre" else None
        self.reset_parameters()

    @property
    def embedding_width(self) -> int:
        """Width of the token embeddings."""
        return self.hidden_size if self.embedding_size is None else self.embedding_size

    @property
    def longest_sequence(self) -> int | None:
        """Tokens of the longest sequence it takes, special ones included; None for any (alibi)."""
        return None if self.positions == "alibi" else self.max_positions

    def reset_parameters(self) -> None:
        """Draw the initial weights anew, as after `to_empty` from the meta device."""
        initialize(self, std=self.initializer_range)

    def forward(
        self,
        ids_N: Tensor,
        packed: Packed,
        annotations_NC: Tensor | None = None,
        kept_M: Tensor | None = None,
    ) -> Tensor:
        """Hidden states of the last block, normed where blocks norm their inputs only, (N, D) or (M, D).

        Args:
            ids_N: token ids of all sequences end to end, (N,), int64 or int32.
            packed: where each sequence lies.
            annotations_NC: what each channel says of each token, int8: 1 it holds, 0 it does not, -1
                unknown, which adds nothing. All are unknown where None is given, as whoever knows the
                sequence alone does.
            kept_M: the places whose hidden states are wanted, (M,), int64; all if None. Of the last block,
                three quarters of the work are left out at the others: its output projection and
                feed-forward network.

        Raises:
            DataError: a sequence is longer than `longest_sequence`.
            ConfigError: the kernel cannot run where the tokens are.
        """
        layout = self._layout(ids_N, packed)
        hidden_ND: Tensor = self.embeddings(ids_N, layout, annotations_NC)
        *blocks, last = self._layers()
        for block in blocks:
            hidden_ND = block(hidden_ND, layout)
        hidden_ND = last(hidden_ND, layout, kept_M)
        return hidden_ND if self.final_norm is None else self.final_norm(hidden_ND)

    def hidden_states(self, ids_N: Tensor, packed: Packed) -> Iterator[Tensor]:
        """The embeddings, then each block's hidden states in turn, (N, D); the last as `forward` gives it."""
        layout = self._layout(ids_N, packed)
        hidden_ND: Tensor = self.embeddings(ids_N, layout, None)
        yield hidden_ND
        for number, block in enumerate(self._layers(), start=1):
            hidden_ND = block(hidden_ND, layout)
            is_last = number == self.num_layers and self.final_norm is not None
            yield self.final_norm(hidden_ND) if is_last and self.final_norm is not None else hidden_ND

    def attention_maps(
        self, ids_N: Tensor, packed: Packed, annotations_NC: Tensor | None = None
    ) -> Iterator[Tensor]:
        """Each block's attention weights in turn, (B, H, L, L); see `kernels.attention_maps`."""
        layout = self._layout(ids_N, packed)
        hidden_ND: Tensor = self.embeddings(ids_N, layout, annotations_NC)
        for block in self._layers():
            yield block.attention_maps(hidden_ND, layout)
            hidden_ND = block(hidden_ND, layout)

    def _layers(self) -> Iterator[Block]:
        for layer in range(self.num_layers):
            block = self.blocks[0 if self.shared_layers else layer]
            assert isinstance(block, Block)
            yield block

    def _make_embeddings(self) -> Embeddings:
        learned = self.positions == "learned"
        return Embeddings(
            vocab_size=self.vocab_size,
            width=self.embedding_width,
            hidden_size=self.hidden_size,
            positions=self.max_positions + self.position_offset if learned else 0,
            position_offset=self.position_offset,
            types=self.type_vocab_size,
            annotations=len(self.annotations),
            norm=self.embedding_norm,
            conv_stem=self.conv_stem,
            dropout=self.dropout,
            norm_eps=self.norm_eps,
            padding_id=self.padding_id,
            rescaled_mask_id=self.mask_id if self.token_dropout else None,
        )

    def _make_block(self) -> Block:
        inside = self.feed_forward_dropout == "inside"
        return Block(
            Attention(
                hidden_size=self.hidden_size,
                num_heads=self.num_heads,
                dropout=self.attention_dropout,
                kernel=self.kernel,
            ),
            FeedForward(
                hidden_size=self.hidden_size,
                intermediate_size=self.intermediate_size,
                kind=self.feed_forward,
                up_bias=self.up_bias,
                down_bias=self.down_bias,
                inner_dropout=self.dropout if inside else 0.0,
            ),
            hidden_size=self.hidden_size,
            norm_placement=self.norm_placement,
            norm_eps=self.norm_eps,
            attention_dropout=self.dropout,
            feed_forward_dropout=0.0 if inside else self.dropout,
        )

    def _layout(self, ids_N: Tensor, packed: Packed) -> Layout:
        if self.longest_sequence is not None and packed.max_length > self.longest_sequence:
            raise DataError(
                "MODEL-01",
                where="input sequence",
                found=f"{packed.max_length} tokens in one sequence",
                expected=f"at most max_positions={self.max_positions}, special tokens included",
                fix="use shorter windows, or train with a larger max_positions",
            )
        layout = packed.layout(ids_N.shape[0])
        if self.positions == "rotary":
            rotation = Rotation.at(layout.position_N, head_width=self.hidden_size // self.num_heads)
            return replace(layout, causal=self.causal, rotation=rotation)
        if self.positions == "alibi":
            slopes_H = alibi_slopes(self.num_heads, device=ids_N.device)
            return replace(layout, causal=self.causal, slopes_H=slopes_H)
        return replace(layout, causal=self.causal)
