"""dnalm's models as classes of `transformers`, in one file that needs torch and `transformers` alone.

`import dnalm.hf` makes the Auto classes know them; a directory that `dnalm export layout=standalone` has
written has this file beside its weights, for `trust_remote_code=True`. Tensors have dnalm's names, and
config.json the arguments of dnalm's encoder. Of token ids and a mask they compute what dnalm computes:

- `DnalmModel`: hidden states.
- `DnalmForMaskedLM`: the scores of every token id at every place.
- `DnalmForSequenceClassification`: scores of classes or labels, or values in the unit of the labels.
- `DnalmForTokenClassification`: scores for each **base**, not for each token.

What they cannot compute as dnalm does is a ValueError: a text of more tokens than a head was trained for,
which dnalm reads in pieces, or a class whose weights the directory lacks. A new head is drawn only where it
is asked for: `AutoModelForSequenceClassification.from_pretrained(folder, pooling="mean", num_labels=2)`.

Texts may be padded on either side. Annotation channels count as unknown, so they add nothing.

Shapes: B texts, L tokens of the longest, N tokens that spell bases, Q tokens or pairs of a token and a base,
S texts or bases, D hidden_size, E embedding width, H heads, K head width, C labels, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- its usual name
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import (
    BaseModelOutput,
    MaskedLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.utils.generic import can_return_tuple

_ENCODER = {  # the arguments of dnalm's EncoderConfig, which says what they mean, and their defaults
    "vocab_size": 4101,
    "hidden_size": 768,
    "num_layers": 12,
    "num_heads": 12,
    "intermediate_size": 3072,
    "max_positions": 512,
    "positions": "learned",  # or rotary, alibi
    "position_offset": 0,
    "type_vocab_size": 2,
    "annotations": (),
    "embedding_size": None,
    "embedding_norm": True,
    "conv_stem": False,
    "conv_dilations": (),
    "conv_width": 9,
    "token_dropout": False,
    "feed_forward": "gelu",  # or geglu, swiglu
    "up_bias": True,
    "down_bias": True,
    "norm_placement": "post",  # or pre
    "norm_eps": 1e-12,
    "shared_layers": False,
    "causal": False,
    "tied_decoder": True,
    "dropout": 0.1,
    "feed_forward_dropout": "after",  # or inside
    "attention_dropout": 0.1,
    "initializer_range": 0.02,
    "padding_id": 0,
    "mask_id": None,
}
_HEAD = {  # of a task; its labels are where all of `transformers` has them, in id2label and problem_type
    "pooling": None,  # how tokens become one vector: mean, max, attention or cls; None where there is no head
    "dense": True,  # whether a dense layer and tanh come before the outputs
    "head_dropout": 0.1,
    "head_layer": None,  # whose hidden states are read, 0 the embeddings; None for the last
    "per_base": False,
    "start_id": None,  # of the special token before a text, which spells no base
    "end_id": None,  # of the one after it
    "token_overlap": 1,  # tokens that a base lies in: k of overlapping k-mers
    "max_content_tokens": None,  # of a text, special ones not counted; any number if None
}


class DnalmConfig(PretrainedConfig):
    """Sizes and switches of an encoder, and what the head of a task is."""

    model_type = "dnalm: import dnalm.hf"  # stock code repeats it where it refuses a directory
    attribute_map = {  # noqa: RUF012 -- as `transformers` has it
        "num_hidden_layers": "num_layers",
        "num_attention_heads": "num_heads",
        "max_position_embeddings": "max_positions",
        "pad_token_id": "padding_id",
        "mask_token_id": "mask_id",
    }

    def __init__(self, **values: Any) -> None:
        for name, default in {**_ENCODER, **_HEAD}.items():
            setattr(self, name, values.pop(name, default))
        super().__init__(**values)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


class ConvStem(nn.Module):
    """The sum of convolutions 2, 3 and 5 tokens wide (LOGO); the one of width 2 sees a token and the next."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv1d(width, width, size) for size in (2, 3, 5))

    def forward(self, x_BLE: Tensor) -> Tensor:
        """(B, L, E), of vectors that are zero where there is no token."""
        x_BEL = x_BLE.transpose(1, 2)
        padded = (F.pad(x_BEL, (before, after)) for before, after in ((0, 1), (1, 1), (2, 2)))
        convolved = [each(x) for each, x in zip(self.convolutions, padded, strict=True)]
        return torch.stack(convolved).sum(0).transpose(1, 2)


class Embeddings(nn.Module):
    """Token ids to the normalised sum of the vectors of a token, its position and its type."""

    def __init__(self, config: DnalmConfig) -> None:
        super().__init__()
        width = config.embedding_size or config.hidden_size
        rows = config.max_positions + config.position_offset
        self.offset = config.position_offset
        self.rescaled_mask_id = config.mask_id if config.token_dropout else None
        self.token = nn.Embedding(config.vocab_size, width, padding_idx=config.padding_id)
        self.conv_stem = ConvStem(width) if config.conv_stem else None
        self.position = nn.Embedding(rows, width) if config.positions == "learned" else None
        self.token_type = nn.Embedding(config.type_vocab_size, width) if config.type_vocab_size else None
        self.annotation = nn.Embedding(2 * len(config.annotations), width) if config.annotations else None
        self.norm = nn.LayerNorm(width, eps=config.norm_eps) if config.embedding_norm else None
        self.dropout = nn.Dropout(config.dropout)
        self.mapping = nn.Linear(width, config.hidden_size) if width != config.hidden_size else None

    def forward(self, ids_BL: Tensor, real_BL: Tensor, position_BL: Tensor) -> Tensor:
        """(B, L, D)."""
        x_BLE: Tensor = self.token(ids_BL)
        if self.rescaled_mask_id is not None:  # ESM's token dropout: masks are zeroed, others rescaled
            other_BL = (ids_BL != self.rescaled_mask_id) & real_BL
            share_B = other_BL.sum(1).clamp(min=1) / real_BL.sum(1).clamp(min=1)
            x_BLE = x_BLE * (other_BL * (1 - 0.15 * 0.8) / share_B[:, None])[..., None].to(x_BLE.dtype)
        if self.conv_stem is not None:
            x_BLE = self.conv_stem(x_BLE * real_BL[..., None])
        if self.position is not None:
            x_BLE = x_BLE + self.position(position_BL + self.offset)
        if self.token_type is not None:
            x_BLE = x_BLE + self.token_type.weight[0]
        x_BLE = self.dropout(x_BLE if self.norm is None else self.norm(x_BLE))
        return x_BLE if self.mapping is None else self.mapping(x_BLE)


def rotate(x_BHLK: Tensor, position_BL: Tensor) -> Tensor:
    """Turn elements i and i + K / 2 by an angle that the position gives (Su et al. 2021)."""
    width = x_BHLK.shape[-1]
    step_K = torch.arange(0, width, 2, dtype=torch.float32, device=x_BHLK.device)
    angle_BHLK = position_BL[:, None, :, None].float() * (1.0 / 10_000.0 ** (step_K / width))
    cos, sin = angle_BHLK.cos(), angle_BHLK.sin()
    first, second = x_BHLK.float().chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x_BHLK.dtype)


def alibi_slopes(num_heads: int, device: torch.device) -> Tensor:
    """How fast each head's scores fall with distance, (H,) (Press et al. 2022 and its code)."""
    lower = 2 ** (num_heads.bit_length() - 1)
    head_H = torch.arange(num_heads, device=device)
    return torch.exp2(-4.0 * torch.where(head_H < lower, 2 * head_H + 2, 2 * (head_H - lower) + 1) / lower)


def attention_bias(config: DnalmConfig, real_BL: Tensor, position_BL: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to attention scores, (B, 1 or H, L, L): -inf where nothing may be seen, and ALiBi."""
    seen_BLL = real_BL[:, None].expand(-1, real_BL.shape[1], -1)
    if config.causal:
        seen_BLL = seen_BLL & (position_BL[:, None] <= position_BL[:, :, None])
    seen_BLL = seen_BLL | torch.eye(real_BL.shape[1], dtype=torch.bool, device=real_BL.device)
    bias = torch.zeros((), device=real_BL.device)
    if config.positions == "alibi":
        distance_BLL = (position_BL[:, None] - position_BL[:, :, None]).abs()
        bias = -alibi_slopes(config.num_heads, real_BL.device)[:, None, None] * distance_BLL[:, None]
    return torch.where(seen_BLL[:, None], bias, float("-inf")).to(dtype)


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017)."""

    def __init__(self, config: DnalmConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads, self.dropout = config.num_heads, config.attention_dropout
        self.is_rotary = config.positions == "rotary"
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.output = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x_BLD: Tensor, bias: Tensor, position_BL: Tensor) -> Tensor:
        """(B, L, D)."""
        parts = (each(x_BLD) for each in (self.query, self.key, self.value))
        query, key, value = (part.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        if self.is_rotary:
            query, key = rotate(query, position_BL), rotate(key, position_BL)
        dropout = self.dropout if self.training else 0.0
        mixed_BHLK = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
        output_BLD: Tensor = self.output(mixed_BHLK.transpose(1, 2).flatten(2))
        return output_BLD


class FeedForward(nn.Module):
    """D to F to D; where it is gated, the activated first half inside times the second (Shazeer 2020)."""

    def __init__(self, config: DnalmConfig) -> None:
        super().__init__()
        inner, self.is_gated = config.intermediate_size, config.feed_forward != "gelu"
        self.activate = F.silu if config.feed_forward == "swiglu" else F.gelu
        self.up = nn.Linear(config.hidden_size, 2 * inner if self.is_gated else inner, bias=config.up_bias)
        self.down = nn.Linear(inner, config.hidden_size, bias=config.down_bias)
        self.dropout = nn.Dropout(config.dropout if config.feed_forward_dropout == "inside" else 0.0)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, D)."""
        gate, *values = self.up(x_BLD).chunk(2 if self.is_gated else 1, dim=-1)
        inner = self.activate(gate) * values[0] if values else self.activate(gate)
        output_BLD: Tensor = self.down(self.dropout(inner))
        return output_BLD


class ResidualBlock(nn.Module):
    """What any block does after its tokens are mixed; normalised before each sublayer (`pre`) or after."""

    norm_first: bool
    feed_forward: FeedForward
    feed_forward_norm: nn.LayerNorm
    feed_forward_dropout: nn.Dropout

    def finish(self, x_BLD: Tensor, mixed_BLD: Tensor, norm: nn.LayerNorm) -> Tensor:
        """(B, L, D), of the block's input, what its first sublayer adds, and the norm of that sublayer."""
        x_BLD = x_BLD + mixed_BLD if self.norm_first else norm(x_BLD + mixed_BLD)
        input_BLD = self.feed_forward_norm(x_BLD) if self.norm_first else x_BLD
        output_BLD: Tensor = x_BLD + self.feed_forward_dropout(self.feed_forward(input_BLD))
        return output_BLD if self.norm_first else self.feed_forward_norm(output_BLD)


class Block(ResidualBlock):
    """Attention and a feed-forward network, both residual."""

    def __init__(self, config: DnalmConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.norm_eps
        after = config.dropout if config.feed_forward_dropout == "after" else 0.0
        self.norm_first = config.norm_placement == "pre"
        self.attention, self.attention_norm = Attention(config), nn.LayerNorm(width, eps=eps)
        self.feed_forward, self.feed_forward_norm = FeedForward(config), nn.LayerNorm(width, eps=eps)
        self.attention_dropout, self.feed_forward_dropout = nn.Dropout(config.dropout), nn.Dropout(after)

    def forward(self, x_BLD: Tensor, real_BL: Tensor, position_BL: Tensor, bias: Tensor) -> Tensor:  # noqa: ARG002 -- as of ConvBlock
        """(B, L, D)."""
        input_BLD = self.attention_norm(x_BLD) if self.norm_first else x_BLD
        mixed_BLD = self.attention_dropout(self.attention(input_BLD, bias, position_BL))
        return self.finish(x_BLD, mixed_BLD, self.attention_norm)


class ConvBlock(ResidualBlock):
    """A dilated convolution and a feed-forward network, both residual (after GPN, Benegas et al. 2023)."""

    def __init__(self, config: DnalmConfig, dilation: int) -> None:
        super().__init__()
        width, eps, size = config.hidden_size, config.norm_eps, config.conv_width
        after = config.dropout if config.feed_forward_dropout == "after" else 0.0
        self.norm_first = config.norm_placement == "pre"
        padding, steps = (0, size // 2 * dilation), (1, dilation)
        self.convolution = nn.Conv2d(width, width, (1, size), padding=padding, dilation=steps)
        self.convolution_norm = nn.LayerNorm(width, eps=eps)
        self.feed_forward, self.feed_forward_norm = FeedForward(config), nn.LayerNorm(width, eps=eps)
        self.convolution_dropout, self.feed_forward_dropout = nn.Dropout(config.dropout), nn.Dropout(after)

    def forward(self, x_BLD: Tensor, real_BL: Tensor, position_BL: Tensor, bias: Tensor) -> Tensor:  # noqa: ARG002 -- as of Block
        """(B, L, D); where there is no token, convolutions see zeros."""
        input_BLD = self.convolution_norm(x_BLD) if self.norm_first else x_BLD
        input_BD1L = (input_BLD * real_BL[..., None])[:, None].permute(0, 3, 1, 2)
        mixed_BLD = F.gelu(self.convolution(input_BD1L)).permute(0, 2, 3, 1)[:, 0]
        return self.finish(x_BLD, self.convolution_dropout(mixed_BLD), self.convolution_norm)


class DnalmPreTrainedModel(PreTrainedModel):
    """Reads directories, and draws no weights that they lack."""

    config: DnalmConfig
    config_class = DnalmConfig
    base_model_prefix = "encoder"
    _supports_sdpa = True
    accepts_loss_kwargs = False  # for `Trainer`: a loss is the mean over its batch
    _keys_to_ignore_on_load_unexpected = [r"^head\.", r"^task\."]  # noqa: RUF012 -- of the other classes

    @classmethod
    def from_pretrained(cls, *sources: Any, output_loading_info: bool = False, **options: Any) -> Any:
        """As of any model.

        Raises:
            ValueError: the directory lacks weights of this class, and no new head is asked for.
        """
        loaded: Any = super().from_pretrained(*sources, output_loading_info=True, **options)
        model, report = loaded
        missing, written = sorted(report["missing_keys"]), (model.config.architectures or ["no class"])[0]
        may_be_new = cls is DnalmForSequenceClassification and written != cls.__name__
        if missing and not (may_be_new and all(name.startswith("task.") for name in missing)):
            raise ValueError(
                f"{model.name_or_path} lacks weights of a {cls.__name__}: {', '.join(missing[:3])}. It was "
                f"written as a {written}: open it as that, or train what it lacks with dnalm"
            )
        return (model, report) if output_loading_info else model

    def get_input_embeddings(self) -> nn.Module:
        """The table of token vectors."""
        base: Any = self.base_model
        table: nn.Module = base.embeddings.token
        return table


def real_tokens(input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Where there is a token, (B, L), bool."""
    return torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()


class DnalmModel(DnalmPreTrainedModel):
    """Token ids to hidden states."""

    def __init__(self, config: DnalmConfig) -> None:
        super().__init__(config)
        own = min(1, config.num_layers) if config.shared_layers else config.num_layers
        self.embeddings = Embeddings(config)
        self.blocks = nn.ModuleList(ConvBlock(config, dilation) for dilation in config.conv_dilations)
        self.blocks.extend(Block(config) for _ in range(own))
        is_pre = config.norm_placement == "pre"
        self.final_norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps) if is_pre else None
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **others: object,
    ) -> BaseModelOutput:
        """Hidden states, after the last norm where there is one.

        Args:
            input_ids: (B, L).
            attention_mask: (B, L), 1 where there is a token; everywhere if None.
            token_type_ids: zeros, as tokenizers give them.
            output_hidden_states: add those of the embeddings and of every layer, the last as above.
            others: what other models take; only None or False.

        Raises:
            ValueError: a text is longer than the model takes, or it is asked for what it does not do.
        """
        asked = [name for name, value in others.items() if value is not None and value is not False]
        if asked or (token_type_ids is not None and token_type_ids.any()):
            raise ValueError(f"dnalm's models take no {', '.join(asked) or 'second text (token_type_ids)'}")
        real_BL = real_tokens(input_ids, attention_mask)
        longest = int(real_BL.sum(1).max())
        if self.config.positions != "alibi" and longest > self.config.max_positions:
            most = self.config.max_positions
            raise ValueError(f"a text of {longest} tokens; the model takes at most {most}")
        position_BL = (real_BL.cumsum(1) - 1).clamp(min=0)
        x_BLD = self.embeddings(input_ids, real_BL, position_BL)
        bias = attention_bias(self.config, real_BL, position_BL, x_BLD.dtype)
        states = [x_BLD]
        first = len(self.config.conv_dilations)
        for layer in range(first + self.config.num_layers):
            block = self.blocks[min(layer, first) if self.config.shared_layers else layer]
            states.append(block(states[-1], real_BL, position_BL, bias))
        if self.final_norm is not None:
            states[-1] = self.final_norm(states[-1])
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        return BaseModelOutput(last_hidden_state=states[-1], hidden_states=tuple(states) if wanted else None)


class MaskedLMHead(nn.Module):
    """A dense layer, GELU and norm, then the token vectors or a decoder of its own."""

    def __init__(self, config: DnalmConfig) -> None:
        super().__init__()
        width = config.embedding_size or config.hidden_size
        self.dense, self.norm = nn.Linear(config.hidden_size, width), nn.LayerNorm(width, eps=config.norm_eps)
        self.decoder = None if config.tied_decoder else nn.Linear(width, config.vocab_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, x_BLD: Tensor, token_VE: Tensor) -> Tensor:
        """(B, L, V)."""
        decoder_VE = token_VE if self.decoder is None else self.decoder.weight
        return F.linear(self.norm(F.gelu(self.dense(x_BLD))), decoder_VE, self.bias)


class DnalmForMaskedLM(DnalmPreTrainedModel):
    """Scores of every token id at every place."""

    def __init__(self, config: DnalmConfig) -> None:
        super().__init__(config)
        self.encoder, self.head = DnalmModel(config), MaskedLMHead(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **options: object,
    ) -> MaskedLMOutput:
        """Logits, (B, L, V).

        Args:
            input_ids: as of `DnalmModel`.
            attention_mask: likewise, and `options`.
            labels: ids to predict, (B, L); -100 where none is, which is left out of the loss.
            options: as of `DnalmModel`.
        """
        found = self.encoder(input_ids, attention_mask, return_dict=True, **options)
        logits_BLV = self.head(found.last_hidden_state, self.encoder.embeddings.token.weight)
        loss = None if labels is None else F.cross_entropy(logits_BLV.flatten(0, 1), labels.flatten())
        return MaskedLMOutput(loss=loss, logits=logits_BLV, hidden_states=found.hidden_states)


class Pooling(nn.Module):
    """One vector of several: their mean, their maximum, or a mean with learned weights."""

    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        self.kind = kind
        self.score = nn.Linear(width, 1) if kind == "attention" else None

    def forward(self, x_QD: Tensor, owner_Q: Tensor, count: int) -> Tensor:
        """(S, D), of vectors that belong to `owner_Q`, each in [0, S), of which each has one or more."""
        if self.kind == "max":
            lowest_SD = x_QD.new_full((count, x_QD.shape[1]), float("-inf"))
            return lowest_SD.scatter_reduce(0, owner_Q[:, None].expand_as(x_QD), x_QD, "amax")
        weight_Q = torch.ones(len(owner_Q), device=x_QD.device)
        if self.score is not None:
            score_Q = self.score(x_QD).squeeze(1).float()
            highest_S = score_Q.new_full((count,), float("-inf"))
            highest_S = highest_S.scatter_reduce(0, owner_Q, score_Q.detach(), "amax")
            weight_Q = (score_Q - highest_S[owner_Q]).exp()
        total_S = weight_Q.new_zeros(count).index_add(0, owner_Q, weight_Q)
        share_Q = (weight_Q / total_S[owner_Q]).to(x_QD.dtype)
        return x_QD.new_zeros(count, x_QD.shape[1]).index_add(0, owner_Q, x_QD * share_Q[:, None])


class TaskHead(nn.Module):
    """Pooled vectors to outputs."""

    def __init__(self, config: DnalmConfig) -> None:
        super().__init__()
        width: int = config.hidden_size
        self.pooling = Pooling(config.pooling, width)
        self.dense = nn.Linear(width, width) if config.dense else None
        self.dropout = nn.Dropout(config.head_dropout)
        self.output = nn.Linear(width, config.num_labels or 2)
        if config.per_base:
            self.token_bases: Tensor
            self.register_buffer("token_bases", torch.zeros(config.vocab_size, dtype=torch.int32))

    def forward(self, x_QD: Tensor, owner_Q: Tensor, count: int) -> Tensor:
        """Outputs, (S, C); arguments as of `Pooling`."""
        pooled_SD = self.pooling(x_QD, owner_Q, count)
        if self.dense is not None:
            pooled_SD = torch.tanh(self.dense(pooled_SD))
        outputs_SC: Tensor = self.output(self.dropout(pooled_SD))
        return outputs_SC


class _WithTaskHead(DnalmPreTrainedModel):
    """An encoder with the head of a task."""

    per_base = False

    def __init__(self, config: DnalmConfig) -> None:
        super().__init__(config)
        if config.pooling is None or config.per_base != self.per_base:
            has = "no head of a task" if config.pooling is None else "a head of another kind"
            new = "" if self.per_base else ", or ask for a new one: pooling='mean', num_labels=2"
            raise ValueError(
                f"the directory has {has}, and {type(self).__name__} needs one "
                f"for each {'base' if self.per_base else 'text'}. Train it by dnalm finetune{new}"
            )
        self.encoder, self.task = DnalmModel(config), TaskHead(config)
        self.post_init()

    def spelling(self, input_ids: Tensor, real_BL: Tensor) -> Tensor:
        """Which tokens spell bases, (B, L), bool: all but padding and the special ones around a text.

        Raises:
            ValueError: a text has none, or more than the head was trained for.
        """
        is_first_BL = real_BL & (real_BL.cumsum(1) == 1) & (input_ids == self._id(self.config.start_id))
        after_BL = real_BL.flip(1).cumsum(1).flip(1)
        is_last_BL = real_BL & (after_BL == 1) & (input_ids == self._id(self.config.end_id))
        spells_BL = real_BL & ~is_first_BL & ~is_last_BL
        counts, most = spells_BL.sum(1), self.config.max_content_tokens
        if int(counts.min()) == 0:
            raise ValueError("a text has no token that spells a base")
        if most is not None and int(counts.max()) > most:
            raise ValueError(
                f"a text of {int(counts.max())} tokens besides special ones; the head was trained for at "
                f"most {most}: cut the text, or use dnalm predict, which does as in training"
            )
        return spells_BL

    def _id(self, special: int | None) -> int:
        return -1 if special is None else special


class DnalmForSequenceClassification(_WithTaskHead):
    """Scores of classes or labels of each text, or values in the unit of the labels."""

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **options: object,
    ) -> SequenceClassifierOutput:
        """Logits or values, (B, C).

        Args:
            input_ids: as of `DnalmModel`.
            attention_mask: likewise, and `options`.
            labels: (B,) classes, (B, C) labels or values, as config.problem_type says.
            options: as of `DnalmModel`.

        Raises:
            ValueError: as of `DnalmModel`, and see `spelling`.
        """
        real_BL = real_tokens(input_ids, attention_mask)
        used_BL = self.spelling(input_ids, real_BL)
        if self.config.pooling == "cls":
            used_BL = real_BL & (real_BL.cumsum(1) == 1)
        layer, wanted = self.config.head_layer, options.pop("output_hidden_states", None)
        wanted = self.config.output_hidden_states if wanted is None else wanted
        found = self.encoder(
            input_ids,
            attention_mask,
            return_dict=True,
            output_hidden_states=wanted or layer is not None,
            **options,
        )
        x_BLD = found.last_hidden_state if layer is None else found.hidden_states[layer]
        logits_BC = self.task(x_BLD[used_BL], used_BL.nonzero()[:, 0], len(used_BL))
        loss = None if labels is None else self._loss(logits_BC, labels)
        states = found.hidden_states if wanted else None
        return SequenceClassifierOutput(loss=loss, logits=logits_BC, hidden_states=states)

    def _loss(self, logits_BC: Tensor, labels: Tensor) -> Tensor:
        if self.config.problem_type == "regression":
            return F.mse_loss(logits_BC, labels.to(logits_BC.dtype).view_as(logits_BC))
        if self.config.problem_type == "multi_label_classification":
            return F.binary_cross_entropy_with_logits(logits_BC, labels.to(logits_BC.dtype))
        return F.cross_entropy(logits_BC, labels)


class DnalmForTokenClassification(_WithTaskHead):
    """Scores of classes of each base: the vectors of the tokens that cover it are pooled."""

    per_base = True

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **options: object,
    ) -> TokenClassifierOutput:
        """Logits, (B, bases of the longest text, C); NaN after the last base of a shorter one.

        Args:
            input_ids: as of `DnalmModel`.
            attention_mask: likewise, and `options`.
            labels: classes of bases, (B, bases); -100 where none is, as after a text's last base.
            options: as of `DnalmModel`.

        Raises:
            ValueError: as of `DnalmModel`, see `spelling`, or a token that may spell any number of bases.
        """
        spells_BL = self.spelling(input_ids, real_tokens(input_ids, attention_mask))
        width_N, row_N = self.task.token_bases[input_ids[spells_BL]].long(), spells_BL.nonzero()[:, 0]
        if int(width_N.min()) == 0:
            raise ValueError("a token does not say how many bases it spells, such as a mask or an N here")
        found = self.encoder(input_ids, attention_mask, return_dict=True, **options)
        # Bases of all texts end to end: each text begins where the one before ends.
        extra = self.config.token_overlap - 1  # bases of a text's last token that no further token begins at
        step_N = torch.ones_like(width_N) if extra else width_N
        bases_B = step_N.new_full((len(spells_BL),), extra).index_add(0, row_N, step_N)
        start_N = step_N.cumsum(0) - step_N + extra * row_N
        within_Q = torch.arange(int(width_N.sum()), device=width_N.device)
        within_Q = within_Q - (width_N.cumsum(0) - width_N).repeat_interleave(width_N)
        base_Q = start_N.repeat_interleave(width_N) + within_Q
        covering_QD = found.last_hidden_state[spells_BL].repeat_interleave(width_N, dim=0)
        logits_SC = self.task(covering_QD, base_Q, int(bases_B.sum()))
        is_base_BL = torch.arange(int(bases_B.max()), device=bases_B.device) < bases_B[:, None]
        logits: Tensor = logits_SC.new_full((*is_base_BL.shape, logits_SC.shape[1]), float("nan"))
        logits[is_base_BL] = logits_SC
        loss = None if labels is None else F.cross_entropy(logits_SC, labels[is_base_BL])
        return TokenClassifierOutput(loss=loss, logits=logits, hidden_states=found.hidden_states)
