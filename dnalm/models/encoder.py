"""The encoder that every model of the table is built on.

Token ids of a packed micro-batch go in, one vector per token comes out. The defaults are BERT-base
(Devlin et al. 2019), which DNABERT and GROVER use unchanged; every switch names the published model
that needs it, and switches combine.

N packed tokens, C annotation channels, D model width, B sequences, H heads, L longest sequence.

What the arguments of `Encoder` must be, each alone and together.

The encoder with the head of masked language modelling.

N packed tokens, C annotation channels, M masked positions, V vocabulary.

An encoder with a head for whole sequences: classes, labels or a value of each.

N packed tokens, P pieces of sequences, S sequences, D model width, O outputs.

How many parameters a model has, from its arguments, without building it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from dnalm.errors import ConfigError, DataError
from dnalm.limits import Depth, Width, WindowTokens
from dnalm.models.kernels import KERNELS, Dropout, KernelName
from dnalm.models.layers import (
    KERNEL_WIDTHS,
    Attention,
    Block,
    Embeddings,
    FeedForward,
    FeedForwardKind,
    MaskedLMHead,
    MissingHead,
    NormPlacement,
    Pooling,
    PoolingName,
    initialize,
)
from dnalm.models.packing import Layout, Packed, PositionKind, Rotation, alibi_slopes
from dnalm.small_files import shown

_CHOICES: dict[str, tuple[Any, ...]] = {
    "positions": get_args(PositionKind),
    "feed_forward": get_args(FeedForwardKind),
    "norm_placement": get_args(NormPlacement),
    "feed_forward_dropout": ("after", "inside"),
    "kernel": tuple(KERNELS),
}


def check_encoder(encoder: Encoder) -> None:
    """Refuse arguments that are out of range or make no sense together.

    Raises:
        ConfigError: naming the first of them.
    """
    _check_ranges(encoder)
    _check_widths(encoder)
    _check_kernel(encoder)
    if encoder.positions != "learned" and encoder.position_offset:
        raise _together(
            f"position_offset={encoder.position_offset} and positions={encoder.positions}",
            expected="an offset into the rows of learned positions only",
            fix="set position_offset=0, or positions=learned",
        )
    if encoder.token_dropout and encoder.mask_id is None:
        raise _together(
            "token_dropout=true and no mask_id",
            expected="the mask token's id, whose vectors token dropout zeroes",
            fix="give mask_id, or set token_dropout=false",
        )
    if encoder.causal and encoder.conv_stem:
        raise _together(
            "causal=true and conv_stem=true",
            expected="no stem where tokens must not see later ones, since it looks two tokens ahead",
            fix="set one of them to false",
        )


# Far beyond every model of today; what is larger is a slip or an attack, and would take all memory.
_MOST = {
    "vocab_size": 1 << 24,
    "hidden_size": 1 << 16,
    "num_layers": 1000,
    "num_heads": 1 << 12,
    "intermediate_size": 1 << 20,
    "max_positions": 1 << 24,
    "type_vocab_size": 1 << 16,
    "position_offset": 1 << 24,
}


def _check_ranges(encoder: Encoder) -> None:
    for name, most in _MOST.items():
        least = int(name not in ("type_vocab_size", "position_offset"))
        _require(least <= getattr(encoder, name) <= most, encoder, name, f"{least} to {most:,}")
    for name in ("dropout", "attention_dropout"):
        _require(0 <= getattr(encoder, name) < 1, encoder, name, "0 or more, and below 1")
    for name in ("norm_eps", "initializer_range"):
        _require(0 < getattr(encoder, name) <= 1, encoder, name, "above 0, and 1 at most")
    for name, choices in _CHOICES.items():
        _require(getattr(encoder, name) in choices, encoder, name, f"one of {', '.join(choices)}")
    most = _MOST["hidden_size"]
    _require(0 < encoder.embedding_width <= most, encoder, "embedding_size", f"1 to {most:,}")
    ids = range(encoder.vocab_size)
    _require(encoder.padding_id in ids, encoder, "padding_id", "an id below vocab_size")
    _require(encoder.mask_id is None or encoder.mask_id in ids, encoder, "mask_id", "an id below vocab_size")


def _check_widths(encoder: Encoder) -> None:
    if encoder.hidden_size % encoder.num_heads:
        raise ConfigError(
            "CFG-18",
            where="hidden_size, num_heads",
            found=f"hidden_size={encoder.hidden_size} and num_heads={encoder.num_heads}",
            expected="a hidden_size that num_heads divides, so that all heads are equally wide",
            fix="change one of the two",
        )
    width = encoder.hidden_size // encoder.num_heads
    if encoder.positions == "rotary" and width % 2:
        raise _together(
            f"positions=rotary and heads {width} wide",
            expected="heads of an even width, whose halves are turned together",
            fix="change hidden_size or num_heads",
        )


def _check_kernel(encoder: Encoder) -> None:
    kernel = KERNELS[encoder.kernel]
    if encoder.positions == "alibi" and not kernel.alibi:
        raise _together(
            f"kernel={encoder.kernel} and positions=alibi",
            expected="a kernel that can add ALiBi's penalty",
            fix=f"set kernel to {_kernels(alibi=True)}",
        )
    if encoder.attention_dropout > 0 and not kernel.dropout:
        raise _together(
            f"kernel={encoder.kernel} and attention_dropout={encoder.attention_dropout}",
            expected="a kernel that can drop attention weights",
            fix=f"set attention_dropout=0.0, or kernel to {_kernels(dropout=True)}",
        )


def _kernels(*, alibi: bool = False, dropout: bool = False) -> str:
    fit = [name for name, kernel in KERNELS.items() if kernel.alibi >= alibi and kernel.dropout >= dropout]
    return ", ".join(fit[:-1]) + f" or {fit[-1]}"


def _together(found: str, *, expected: str, fix: str) -> ConfigError:
    names = ", ".join(word.partition("=")[0] for word in found.split() if "=" in word)
    return ConfigError("CFG-18", where=names, found=found, expected=expected, fix=fix)


def _require(holds: bool, encoder: Encoder, name: str, rule: str) -> None:
    value = getattr(encoder, name)
    if not holds:
        raise ConfigError(
            "CFG-18",
            where=name,
            found=f"{name}={value if isinstance(value, str) else shown(value)}",
            expected=f"{name} must be {rule}",
            fix=f"set {name} within its range",
        )


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


class MaskedLM(nn.Module):
    """Predict tokens at chosen positions.

    Args:
        encoder: makes the hidden states; other heads can take it over as `model.encoder`.
        headless: whether the head that predicts tokens is missing, as of an encoder that was saved alone.
    """

    def __init__(self, encoder: Encoder, *, headless: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        self.head: MaskedLMHead = (
            MissingHead()
            if headless
            else MaskedLMHead(
                hidden_size=encoder.hidden_size,
                width=encoder.embedding_width,
                vocab_size=encoder.vocab_size,
                norm_eps=encoder.norm_eps,
                tied=encoder.tied_decoder,
            )
        )
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
        """Draw the initial weights anew, as after `to_empty` from the meta device."""
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
            annotations_NC: what each annotation channel says of each token; all unknown if None.

        Raises:
            DataError: a sequence is longer than the encoder's `longest_sequence`.
        """
        hidden_MD = self.encoder(ids_N, packed, annotations_NC, masked_M)
        logits_MV: Tensor = self.head(hidden_MD, self.encoder.embeddings.token.weight)
        return logits_MV

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


_MOST_OUTPUTS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class HeadShape:
    """What a head is made of.

    Args:
        num_outputs: O, at most 2^20.
        pooling: how tokens become one vector.
        dense: whether a dense layer and tanh come before the outputs, as in BERT's classifiers; a linear head
            else.
        dropout: share of the inputs of its last layer zeroed in training, in [0, 1); before the dense layer
            nothing is, as in the classifiers of BERT and DNABERT-2.
    """

    num_outputs: int
    pooling: PoolingName = "mean"
    dense: bool = True
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1 or not 1 <= self.num_outputs <= _MOST_OUTPUTS:
            raise ValueError(f"dropout is {self.dropout} and num_outputs {self.num_outputs}")

    def as_plain(self) -> dict[str, object]:
        """For YAML; `HeadShape(**…)` reads it."""
        return asdict(self)


class SequenceHead(nn.Module):
    """Vectors of sequences to outputs.

    Args:
        shape: what it is made of.
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
    """Predict something of each sequence.

    Args:
        backbone: the pretrained network; its own head is kept for its directory and does not train.
        shape: the head.
        frozen: whether the encoder stays as it is, and computes as in evaluation.
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
        used_N: Tensor,
        owner_P: Tensor,
        num_sequences: int,
        covers_Q2: Tensor | None = None,
    ) -> Tensor:
        """Vectors of the sequences, or of their bases, (S, D).

        Args:
            ids_N: token ids of all pieces end to end, (N,), int64.
            packed: where each piece lies.
            used_N: which tokens are pooled; see `Pooling`.
            owner_P: the sequence of each piece, (P,), int64.
            num_sequences: S.
            covers_Q2: pairs of a token and a base that it spells, where vectors of S bases are wanted.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            hidden_ND = self.encoder(ids_N, packed)
        if covers_Q2 is not None:
            spelling_Q, base_Q = covers_Q2.unbind(1)
            used_Q = torch.ones_like(base_Q, dtype=torch.bool)
            of_bases: Tensor = self.head.pooling(hidden_ND[spelling_Q], used_Q, base_Q, num_sequences)
            return of_bases
        owner_N = owner_P[packed.layout(len(ids_N)).sequence_N]
        pooled_SD: Tensor = self.head.pooling(hidden_ND, used_N, owner_N, num_sequences)
        return pooled_SD

    def forward(
        self,
        ids_N: Tensor,
        packed: Packed,
        used_N: Tensor,
        owner_P: Tensor,
        num_sequences: int,
        pooled_SD: Tensor | None = None,
        covers_Q2: Tensor | None = None,
    ) -> Tensor:
        """Outputs, (S, O).

        Args:
            ids_N: as of `pool`, like the next four.
            packed: where each piece lies.
            used_N: which tokens are pooled.
            owner_P: the sequence of each piece.
            num_sequences: S.
            pooled_SD: vectors that are known already, in place of all that; from a frozen encoder.
            covers_Q2: as of `pool`.
        """
        if pooled_SD is None:
            pooled_SD = self.pool(ids_N, packed, used_N, owner_P, num_sequences, covers_Q2)
        outputs_SO: Tensor = self.head(pooled_SD)
        return outputs_SO


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
