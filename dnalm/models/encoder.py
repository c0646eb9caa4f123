"""The encoder that every model of the table is built on, and the models made of it and a head.

Token ids of a packed micro-batch go in, one vector per token comes out. `MaskedLM` predicts tokens,
`SequenceModel` classes, labels or a value of whole sequences. What the switches mean is said in `config.py`.

Shapes: B sequences, N packed tokens, L tokens of the longest sequence, C annotation channels,
D hidden_size, E embedding_width, H heads, M chosen positions, V vocabulary;
of a sequence model: P pieces of sequences in the pack, S sequences, O outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor, nn

from dnalm.errors import DataError
from dnalm.models.config import EncoderConfig
from dnalm.models.kernels import Dropout, prepare
from dnalm.models.layers import (
    Block,
    ConvBlock,
    Embeddings,
    MaskedLMHead,
    MissingHead,
    Pooling,
    PoolingName,
    initialize,
)
from dnalm.models.packing import Layout, Packed, Rotation, alibi_slopes


class Encoder(EncoderConfig, nn.Module):
    """A stack of blocks over embedded tokens: convolutional ones, if any, then those of attention.

    It inherits `EncoderConfig`, so the fields there are its keyword arguments, which configs and config.json
    name, and its attributes: written once, and no second signature forwards them.

    Attributes:
        window_tokens: longest sequence that it was trained on, special tokens not counted, where its
            directory says so; `load_pretrained` sets it. Longer sequences may be read, but learned positions
            beyond it keep their initial values.
        stream: dtype of hidden states between sublayers, if another one is wanted than comes of itself, as
            bfloat16 in mixed precision, where norms give float32.

    Raises:
        ConfigError: see `EncoderConfig`.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        nn.Module.__init__(self)
        self.window_tokens: int | None = None
        self.stream: torch.dtype | None = None
        is_pre_norm = self.norm_placement == "pre"
        self.embeddings = Embeddings(self)
        self.blocks = nn.ModuleList(ConvBlock(self, dilation) for dilation in self.conv_dilations)
        self.blocks.extend(Block(self) for _ in range(self.attention_blocks))
        self.final_norm = nn.LayerNorm(self.hidden_size, eps=self.norm_eps) if is_pre_norm else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial weights again, as after `to_empty` from the meta device."""
        initialize(self, std=self.initializer_range)

    def forward(
        self,
        ids_N: Tensor,
        packed: Packed,
        annotations_NC: Tensor | None = None,
        kept_M: Tensor | None = None,
    ) -> Tensor:
        """Hidden states of the last block, (N, D) or (M, D), after the final norm where there is one.

        Args:
            ids_N: token ids of all sequences end to end, (N,), int64 or int32.
            packed: where each sequence lies.
            annotations_NC: the value of each channel at each token, int8: 1 present, 0 absent, -1 unknown,
                which adds nothing; all unknown if None, as where only the sequence is known.
            kept_M: the places whose hidden states are wanted, (M,), int64; all if None. At the others the
                last block leaves out what follows the mixing of tokens: of one of attention three quarters
                of its work, the output projection and the feed-forward network.

        Raises:
            DataError: a sequence is longer than `longest_sequence`.
            ConfigError: the kernel cannot run where the tokens are.
        """
        layout = self._layout(ids_N, packed)
        hidden_ND: Tensor = layout.in_stream(self.embeddings(ids_N, layout, annotations_NC))
        *blocks, last = self._layers()
        for block in blocks:
            hidden_ND = block(hidden_ND, layout)
        hidden_ND = last(hidden_ND, layout, kept_M)
        hidden_ND = hidden_ND if self.final_norm is None else self.final_norm(hidden_ND)
        return hidden_ND if self.stream is None else hidden_ND.float()

    def hidden_states(self, ids_N: Tensor, packed: Packed) -> Iterator[Tensor]:
        """The embeddings, then each block's hidden states in turn, (N, D); the last as `forward` gives it."""
        layout = self._layout(ids_N, packed)
        hidden_ND: Tensor = self.embeddings(ids_N, layout, None)
        yield hidden_ND
        *blocks, last = self._layers()
        for block in blocks:
            hidden_ND = block(hidden_ND, layout)
            yield hidden_ND
        hidden_ND = last(hidden_ND, layout)
        yield hidden_ND if self.final_norm is None else self.final_norm(hidden_ND)

    def attention_maps(
        self, ids_N: Tensor, packed: Packed, annotations_NC: Tensor | None = None
    ) -> Iterator[Tensor]:
        """The attention weights of each block that has some in turn, (B, H, L, L); see `kernels`."""
        layout = self._layout(ids_N, packed)
        hidden_ND: Tensor = self.embeddings(ids_N, layout, annotations_NC)
        for block in self._layers():
            if isinstance(block, Block):
                yield block.attention_maps(hidden_ND, layout)
            hidden_ND = block(hidden_ND, layout)

    def _layers(self) -> Iterator[ConvBlock | Block]:
        """The blocks in the order of their use; shared layers are one block several times."""
        first = len(self.conv_dilations)
        for layer in range(self.depth):
            block = self.blocks[min(layer, first) if self.shared_layers else layer]
            assert isinstance(block, ConvBlock | Block)
            yield block

    def _layout(self, ids_N: Tensor, packed: Packed) -> Layout:
        if self.longest_sequence is not None and packed.max_length > self.longest_sequence:
            raise DataError(
                "MODEL-01",
                where="input sequence",
                found=f"{packed.max_length} tokens in one sequence",
                expected=f"at most max_positions={self.max_positions}, special tokens included",
                fix="use shorter windows, or train with a larger max_positions",
            )
        layout = replace(packed.layout(ids_N.shape[0]), causal=self.causal, stream=self.stream)
        head_width = self.hidden_size // self.num_heads
        if self.positions == "rotary" and self.num_layers:
            layout = replace(layout, rotation=Rotation.at(layout.position_N, head_width=head_width))
        if self.positions == "alibi":
            layout = replace(layout, slopes_H=alibi_slopes(self.num_heads, device=ids_N.device))
        kind, weight = ids_N.device.type, self.embeddings.token.weight
        return prepare(
            layout,
            self.kernel,
            dtype=torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype,
            dropout=self.attention_dropout if self.training else 0.0,
            width=head_width,
        )


class MaskedLM(nn.Module):
    """Predict tokens at chosen positions.

    Args:
        encoder: makes the hidden states; other heads can use it as `model.encoder`.
        headless: whether the head that predicts tokens is missing, as of an encoder that was saved alone.
    """

    def __init__(self, encoder: Encoder, *, headless: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        self.head: MaskedLMHead = MissingHead() if headless else MaskedLMHead(encoder)
        initialize(self.head, std=encoder.initializer_range)

    @property
    def headless(self) -> bool:
        """Whether it cannot predict tokens."""
        return isinstance(self.head, MissingHead)

    @property
    def head_decoder(self) -> nn.Linear | None:
        """The head's own decoder, where it has one."""
        return None if self.headless else self.head.decoder

    def reset_parameters(self) -> None:
        """Draw the initial weights again, as after `to_empty` from the meta device."""
        self.encoder.reset_parameters()
        initialize(self.head, std=self.encoder.initializer_range)
        if not self.headless:
            nn.init.zeros_(self.head.bias)

    def forward(
        self, ids_N: Tensor, packed: Packed, masked_M: Tensor, annotations_NC: Tensor | None = None
    ) -> Tensor:
        """Logits at the masked positions only, (M, V).

        Args:
            ids_N: token ids of all sequences end to end, (N,), int64 or int32.
            packed: where each sequence lies.
            masked_M: places among the packed tokens, (M,), int64; M may be 0.
            annotations_NC: as of `Encoder.forward`.

        Raises:
            DataError: a sequence is longer than the encoder's `longest_sequence`.
        """
        hidden_MD = self.encoder(ids_N, packed, annotations_NC, masked_M)
        logits_MV: Tensor = self.head(hidden_MD, self.encoder.embeddings.token.weight)
        return logits_MV

    def loss(
        self,
        ids_N: Tensor,
        packed: Packed,
        masked_M: Tensor,
        labels_M: Tensor,
        annotations_NC: Tensor | None = None,
        indicator_VX: Tensor | None = None,
    ) -> Tensor:
        """Summed loss of the true ids at the masked positions, nats, () float32; see `summed_loss`.

        Args:
            ids_N: as of `forward`, like all but one.
            packed: where each sequence lies.
            masked_M: places among the packed tokens.
            labels_M: their true ids, (M,), int64.
            annotations_NC: as of `Encoder.forward`.
            indicator_VX: as of `summed_loss`.
        """
        hidden_MD = self.encoder(ids_N, packed, annotations_NC, masked_M)
        return self.head.loss(hidden_MD, self.encoder.embeddings.token.weight, labels_M, indicator_VX)

    def encode(self, ids_N: Tensor, packed: Packed, annotations_NC: Tensor | None = None) -> Tensor:
        """Hidden states of all packed tokens, (N, D); arguments as of `forward`."""
        hidden_ND: Tensor = self.encoder(ids_N, packed, annotations_NC)
        return hidden_ND

    def predict(self, hidden_ND: Tensor, masked_M: Tensor) -> Tensor:
        """Logits at the masked positions, (M, V), from the encoder's hidden states.

        Args:
            hidden_ND: of all packed tokens.
            masked_M: places among the packed tokens, (M,), int64; M may be 0.
        """
        logits_MV: Tensor = self.head(
            hidden_ND.index_select(0, masked_M), self.encoder.embeddings.token.weight
        )
        return logits_MV

    def predicted_loss(
        self, hidden_ND: Tensor, masked_M: Tensor, labels_M: Tensor, indicator_VX: Tensor | None = None
    ) -> Tensor:
        """As `loss`, from the encoder's hidden states of all packed tokens, (N, D)."""
        token_VE = self.encoder.embeddings.token.weight
        return self.head.loss(hidden_ND.index_select(0, masked_M), token_VE, labels_M, indicator_VX)


_MOST_OUTPUTS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class HeadShape:
    """The layers of a sequence model's head.

    Args:
        num_outputs: O, at most 2^20.
        pooling: how tokens become one vector.
        dense: whether a dense layer and tanh come before the outputs, as in BERT's classifiers; a linear head
            else.
        dropout: share of the inputs of its last layer zeroed in training, in [0, 1); before the dense layer
            nothing is, as in the classifiers of BERT and DNABERT-2.
        layer: whose hidden states it reads, 0 the embeddings; None for the last.
    """

    num_outputs: int
    pooling: PoolingName = "mean"
    dense: bool = True
    dropout: float = 0.1
    layer: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1 or not 1 <= self.num_outputs <= _MOST_OUTPUTS:
            raise ValueError(f"dropout is {self.dropout} and num_outputs {self.num_outputs}")
        if self.layer is not None and self.layer < 0:
            raise ValueError(f"layer is {self.layer}; layers count from 0, the embeddings")


class SequenceHead(nn.Module):
    """Pooled vectors of sequences to outputs.

    Args:
        shape: its layers.
        hidden_size: D.
        initializer_range: standard deviation of the first weights.
    """

    def __init__(self, shape: HeadShape, *, hidden_size: int, initializer_range: float) -> None:
        super().__init__()
        self.shape = shape
        self.pooling = Pooling(shape.pooling, hidden_size=hidden_size)
        self.dense = nn.Linear(hidden_size, hidden_size) if shape.dense else None
        self.dropout = Dropout(shape.dropout)
        self.output = nn.Linear(hidden_size, shape.num_outputs)
        initialize(self, std=initializer_range)
        self.pooling.reset_parameters()

    def forward(self, pooled_SD: Tensor) -> Tensor:
        """Outputs, (S, O)."""
        if self.dense is not None:
            pooled_SD = torch.tanh(self.dense(pooled_SD))
        outputs_SO: Tensor = self.output(self.dropout(pooled_SD))
        return outputs_SO


class SequenceModel(nn.Module):
    """Predict classes, labels or a value of each sequence.

    Args:
        backbone: the pretrained network; its own head is kept for its directory and does not train.
        shape: the head.
        frozen: whether the encoder is not trained, and computes as in evaluation.
    """

    def __init__(self, backbone: MaskedLM, shape: HeadShape, *, frozen: bool = False) -> None:
        super().__init__()
        self.backbone, self.frozen = backbone, frozen
        self.head = SequenceHead(
            shape,
            hidden_size=backbone.encoder.hidden_size,
            initializer_range=backbone.encoder.initializer_range,
        )
        for name, parameter in backbone.named_parameters():
            if frozen or name.startswith("head."):
                parameter.requires_grad_(False)
        self.train()

    @property
    def encoder(self) -> Encoder:
        """The encoder under the head."""
        return self.backbone.encoder

    def train(self, mode: bool = True) -> SequenceModel:
        """Switch dropout on or off; a frozen encoder has none."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def pool(
        self,
        ids_N: Tensor,
        packed: Packed,
        used_M: Tensor,
        owner_P: Tensor,
        num_sequences: int,
        covers_Q2: Tensor | None = None,
    ) -> Tensor:
        """Vectors of the sequences, or of their bases, (S, D).

        Args:
            ids_N: token ids of all pieces end to end, (N,), int64.
            packed: where each piece lies.
            used_M: places of the tokens that are pooled; see `Pooling`.
            owner_P: the sequence of each piece, (P,), int64.
            num_sequences: S.
            covers_Q2: pairs of a token and a base that it spells, where vectors of S bases are wanted.
        """
        layer = self.head.shape.layer
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            if layer is None:
                hidden_ND = self.encoder(ids_N, packed)
            else:
                hidden_ND = next(islice(self.encoder.hidden_states(ids_N, packed), layer, None))
        if covers_Q2 is not None:
            spelling_Q, base_Q = covers_Q2.unbind(1)
            used_Q = torch.arange(len(base_Q), device=base_Q.device)
            of_bases: Tensor = self.head.pooling(hidden_ND[spelling_Q], used_Q, base_Q, num_sequences)
            return of_bases
        owner_N = owner_P[packed.layout(len(ids_N)).sequence_N]
        pooled_SD: Tensor = self.head.pooling(hidden_ND, used_M, owner_N, num_sequences)
        return pooled_SD

    def pool_layers(
        self, ids_N: Tensor, packed: Packed, used_M: Tensor, owner_P: Tensor, num_sequences: int
    ) -> Iterator[Tensor]:
        """Vectors of the sequences by the embeddings, then by each block, (S, D); arguments as of `pool`."""
        owner_N = owner_P[packed.layout(len(ids_N)).sequence_N]
        for hidden_ND in self.encoder.hidden_states(ids_N, packed):
            yield self.head.pooling(hidden_ND, used_M, owner_N, num_sequences)

    def forward(
        self,
        ids_N: Tensor,
        packed: Packed,
        used_M: Tensor,
        owner_P: Tensor,
        num_sequences: int,
        covers_Q2: Tensor | None = None,
    ) -> Tensor:
        """Outputs, (S, O); arguments as of `pool`."""
        pooled_SD = self.pool(ids_N, packed, used_M, owner_P, num_sequences, covers_Q2)
        outputs_SO: Tensor = self.head(pooled_SD)
        return outputs_SO
