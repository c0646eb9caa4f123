"""The layers of the encoder, in the order in which data passes through them, and the heads.

Embeddings, then blocks of a convolution or of attention and a feed-forward network, then a head. A layer
reads its sizes and switches from the `EncoderConfig` when it is made, and keeps no reference to it.

Shapes: B sequences, N packed tokens, L tokens of the longest sequence, C annotation channels,
D hidden_size, E embedding_width, H heads, K head width (D = H K), F intermediate_size,
M chosen positions, V vocabulary, O outputs, S sequences that may span several pieces of the pack.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- its usual name

from dnalm.models.config import CONV_STEM_WIDTHS, EncoderConfig
from dnalm.models.kernels import KERNELS, Dropout, attention_maps
from dnalm.models.packing import Layout

PLAIN_DEVICES = ("cpu",)  # where products are as written: elsewhere three are one, or have rows of zeros


class Embeddings(nn.Module):
    """Token ids to the first hidden states: the normalised sum of several vectors (Devlin et al. 2019).

    The vectors are those of a token, its position, its type and its annotations. DNA models give every
    token type 0; the table keeps its other rows because published weights have them. An annotation channel
    c has two rows, c where it is absent and C + c where it is present; where it is unknown nothing is added
    (LOGO, whose channels are known everywhere). Where E is not D, a biased linear map follows (ALBERT, LOGO).
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width, channels = config.embedding_width, len(config.annotations)
        self.position_offset = config.position_offset
        self.rescaled_mask_id = config.mask_id if config.token_dropout else None
        self.token = nn.Embedding(config.vocab_size, width, padding_idx=config.padding_id)
        self.conv_stem = ConvStem(width) if config.conv_stem else None
        self.position = None
        if config.positions == "learned":
            self.position = nn.Embedding(config.max_positions + config.position_offset, width)
        self.token_type = nn.Embedding(config.type_vocab_size, width) if config.type_vocab_size else None
        self.annotation = nn.Embedding(2 * channels, width) if channels else None
        self.norm = nn.LayerNorm(width, eps=config.norm_eps) if config.embedding_norm else None
        self.dropout = Dropout(config.dropout)
        self.mapping = nn.Linear(width, config.hidden_size) if width != config.hidden_size else None

    def forward(self, ids_N: Tensor, layout: Layout, annotations_NC: Tensor | None = None) -> Tensor:
        """(N, D); positions count from the start of each sequence.

        Args:
            ids_N: token ids.
            layout: where each sequence lies.
            annotations_NC: 1 where a channel is present, 0 where it is absent, -1 where it is unknown; all
                unknown if None.
        """
        vectors_NE: Tensor = self.token(ids_N)
        if self.rescaled_mask_id is not None:
            is_mask_N = ids_N == self.rescaled_mask_id
            vectors_NE = vectors_NE * token_dropout_scale(is_mask_N, layout, vectors_NE.dtype)
        if self.conv_stem is not None:
            vectors_NE = self.conv_stem(vectors_NE, layout)
        if self.position is not None:
            vectors_NE = vectors_NE + self.position(layout.position_N + self.position_offset)
        if self.token_type is not None:
            vectors_NE = vectors_NE + self.token_type.weight[0]
        if annotations_NC is not None:
            assert self.annotation is not None, "annotations are for a model that has channels"
            weight_2CE = self.annotation.weight
            assert 2 * annotations_NC.shape[1] == weight_2CE.shape[0], "as many channels as the model has"
            chosen_N2C = torch.cat([annotations_NC == 0, annotations_NC == 1], dim=1)
            vectors_NE = vectors_NE + chosen_N2C.to(weight_2CE.dtype) @ weight_2CE
        if self.norm is not None:
            vectors_NE = self.norm(vectors_NE)
        vectors_NE = self.dropout(vectors_NE)
        return vectors_NE if self.mapping is None else self.mapping(vectors_NE)


_TRAINED_MASK_FRACTION = 0.15 * 0.8  # ESM (Lin et al. 2023) and NT v1: masked, then shown as the mask token


def token_dropout_scale(is_mask_N: Tensor, layout: Layout, dtype: torch.dtype) -> Tensor:
    """0 for masks, (1 - .12) / (1 - observed mask fraction of its sequence) for others, (N, 1)."""
    other_N = (~is_mask_N).to(torch.promote_types(dtype, torch.float32))
    others_B = other_N.new_zeros(layout.num_sequences).index_add(0, layout.sequence_N, other_N)
    share_B = others_B.clamp(min=1) / layout.lengths_B  # of masks alone, there is nothing to scale
    scale_N = other_N * (1 - _TRAINED_MASK_FRACTION) / share_B[layout.sequence_N]
    return scale_N[:, None].to(dtype)


class ConvStem(nn.Module):
    """The sum of convolutions 2, 3 and 5 tokens wide over the token vectors (LOGO, Yang et al. 2022).

    Each output has a window around its token: of width 3 one token to either side, of width 2 the
    token and the next, as TensorFlow's `same` padding has it. Past either end of a sequence, windows
    see zeros, and never the neighbours in the pack.

    Args:
        width: E, of the input and the output.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv1d(width, width, size) for size in CONV_STEM_WIDTHS)

    def forward(self, vectors_NE: Tensor, layout: Layout) -> Tensor:
        """(N, E). Sequences are laid out with gaps of zeros that the widest window fits into, T places."""
        num_tokens, width = vectors_NE.shape
        gap = max(CONV_STEM_WIDTHS) // 2
        place_N = torch.arange(num_tokens, device=vectors_NE.device) + gap * (layout.sequence_N + 1)
        spaced_TE = vectors_NE.new_zeros(num_tokens + gap * (layout.num_sequences + 1), width)
        spaced_1ET = spaced_TE.index_copy(0, place_N, vectors_NE).T[None]
        output_NE = torch.zeros_like(vectors_NE)
        for convolution, size in zip(self.convolutions, CONV_STEM_WIDTHS, strict=True):
            output_TE = convolution(spaced_1ET)[0].T
            output_NE = output_NE + output_TE[place_N - (size - 1) // 2]
        return output_NE


class Attention(nn.Module):
    """Multi-head self-attention with biased projections (Vaswani et al. 2017; BERT).

    Queries, keys and values have a projection each, rather than one for all three, so that adapters
    can be put on one of them and published weights map name by name. A GPU computes the three as one
    product, which reads, and in mixed precision converts, the hidden states once; the last bits of gradients
    may differ. A CPU gains nothing by it, and a projection under an adapter is asked by itself.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads, self.dropout = config.num_heads, config.attention_dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, hidden_ND: Tensor, layout: Layout, kept_M: Tensor | None = None) -> Tensor:
        """The values of its sequence mixed for each token, (N, D), or for those at `kept_M`, (M, D)."""
        query_NHK, key_NHK, value_NHK = self._projected(hidden_ND, layout)
        dropout = self.dropout if self.training else 0.0
        mixed_NHK = KERNELS[layout.kernel].attend(query_NHK, key_NHK, value_NHK, layout, dropout)
        if kept_M is not None:
            mixed_NHK = mixed_NHK.index_select(0, kept_M)
        mixed_ND: Tensor = self.output(mixed_NHK.flatten(1))
        return mixed_ND

    def maps(self, hidden_ND: Tensor, layout: Layout) -> Tensor:
        """Attention weights before dropout, (B, H, L, L), whatever the kernel; see `attention_maps`."""
        query_NHK, key_NHK, _ = self._projected(hidden_ND, layout)
        return attention_maps(query_NHK, key_NHK, layout)

    def _projected(self, hidden_ND: Tensor, layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (N, H, K) each, the first two turned where positions are rotations."""
        maps = self.query, self.key, self.value
        if hidden_ND.device.type in PLAIN_DEVICES or any(type(each) is not nn.Linear for each in maps):
            parts = [each(hidden_ND) for each in maps]
        else:
            weight = torch.cat([each.weight for each in maps])
            bias = torch.cat([each.bias for each in maps])
            parts = [*F.linear(hidden_ND, weight, bias).chunk(3, dim=1)]
        num_tokens, width = hidden_ND.shape
        query, key, value = (x.view(num_tokens, self.num_heads, width // self.num_heads) for x in parts)
        if layout.rotation is None:
            return query, key, value
        return layout.rotation.turn(query), layout.rotation.turn(key), value


class FeedForward(nn.Module):
    """D to F to D on each token by itself, with a nonlinearity that may be gated (Shazeer 2020).

    `gelu` is the exact, erf GELU of one map (BERT, DNABERT, GROVER, NT v1). `geglu` (DNABERT-2) and
    `swiglu` (NT v2) map up to 2F and multiply the activated first half with the second. DNABERT-2 has its
    dropout inside, on the F elements.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        inner = config.intermediate_size
        self.gated = config.feed_forward != "gelu"
        self.activate = F.silu if config.feed_forward == "swiglu" else F.gelu
        self.up = nn.Linear(config.hidden_size, 2 * inner if self.gated else inner, bias=config.up_bias)
        self.down = nn.Linear(inner, config.hidden_size, bias=config.down_bias)
        self.dropout = Dropout(config.dropout if config.feed_forward_dropout == "inside" else 0.0)

    def forward(self, hidden_ND: Tensor) -> Tensor:
        """(N, D)."""
        inner: Tensor = self.up(hidden_ND)
        if self.gated:
            gate_NF, value_NF = inner.chunk(2, dim=-1)
            inner_NF = self.activate(gate_NF) * value_NF
        else:
            inner_NF = self.activate(inner)
        output_ND: Tensor = self.down(self.dropout(inner_NF))
        return output_ND


class ResidualBlock(nn.Module):
    """What follows the mixing of tokens in any block: the sum, and a feed-forward network, residual too.

    Norms are applied to each sum (`post`: BERT, DNABERT, DNABERT-2, LOGO, GROVER), or to the input of each
    sublayer (`pre`: NT).
    """

    norm_first: bool
    feed_forward: FeedForward
    feed_forward_norm: nn.LayerNorm
    feed_forward_dropout: Dropout

    def finish(self, hidden_ND: Tensor, mixed_ND: Tensor, norm: nn.LayerNorm, layout: Layout) -> Tensor:
        """The next hidden states, (N, D).

        Args:
            hidden_ND: those that the block was given.
            mixed_ND: what its first sublayer adds.
            norm: of that sublayer.
            layout: of the pack.
        """
        hidden_ND = hidden_ND + mixed_ND
        if self.norm_first:
            transformed_ND = self.feed_forward(self.feed_forward_norm(hidden_ND))
            output_ND: Tensor = hidden_ND + self.feed_forward_dropout(transformed_ND)
        else:
            hidden_ND = layout.in_stream(norm(hidden_ND))
            transformed_ND = self.feed_forward(hidden_ND)
            output_ND = self.feed_forward_norm(hidden_ND + self.feed_forward_dropout(transformed_ND))
            output_ND = layout.in_stream(output_ND)
        return output_ND


class Block(ResidualBlock):
    """A Transformer layer (Vaswani et al. 2017): attention, then a feed-forward network, both residual."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.norm_eps
        after = config.dropout if config.feed_forward_dropout == "after" else 0.0
        self.norm_first = config.norm_placement == "pre"
        self.attention = Attention(config)
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.attention_dropout = Dropout(config.dropout)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = nn.LayerNorm(width, eps=eps)
        self.feed_forward_dropout = Dropout(after)

    def forward(self, hidden_ND: Tensor, layout: Layout, kept_M: Tensor | None = None) -> Tensor:
        """The next hidden states, (N, D); or only those at places `kept_M`, (M, D), for less work."""
        attended_ND = self.attention(self._attention_input(hidden_ND), layout, kept_M)
        if kept_M is not None:
            hidden_ND = hidden_ND.index_select(0, kept_M)
        return self.finish(hidden_ND, self.attention_dropout(attended_ND), self.attention_norm, layout)

    def attention_maps(self, hidden_ND: Tensor, layout: Layout) -> Tensor:
        """This block's attention weights, (B, H, L, L); see `kernels.attention_maps`."""
        return self.attention.maps(self._attention_input(hidden_ND), layout)

    def _attention_input(self, hidden_ND: Tensor) -> Tensor:
        input_ND: Tensor = self.attention_norm(hidden_ND) if self.norm_first else hidden_ND
        return input_ND


class ConvBlock(ResidualBlock):
    """A dilated convolution and its GELU, then a feed-forward network, both residual (after GPN).

    In GPN (Benegas et al. 2023) norms are the last step of each sublayer; here they stand where the other
    blocks have them. A convolution sees zeros past either end of a sequence, as if it were alone.

    Args:
        config: of the encoder.
        dilation: tokens from one that the convolution sees to the next.
    """

    def __init__(self, config: EncoderConfig, dilation: int) -> None:
        super().__init__()
        width, eps, size = config.hidden_size, config.norm_eps, config.conv_width
        after = config.dropout if config.feed_forward_dropout == "after" else 0.0
        self.norm_first = config.norm_placement == "pre"
        self.gap = size // 2 * dilation
        self.convolution = nn.Conv2d(width, width, (1, size), padding=(0, self.gap), dilation=(1, dilation))
        self.convolution_norm = nn.LayerNorm(width, eps=eps)
        self.convolution_dropout = Dropout(config.dropout)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = nn.LayerNorm(width, eps=eps)
        self.feed_forward_dropout = Dropout(after)

    def forward(self, hidden_ND: Tensor, layout: Layout, kept_M: Tensor | None = None) -> Tensor:
        """The next hidden states, (N, D); or only those at places `kept_M`, (M, D), for less work."""
        input_ND = self.convolution_norm(hidden_ND) if self.norm_first else hidden_ND
        convolved_ND = self._convolve(input_ND, layout)
        if kept_M is not None:
            hidden_ND, convolved_ND = (each.index_select(0, kept_M) for each in (hidden_ND, convolved_ND))
        mixed_ND = self.convolution_dropout(F.gelu(convolved_ND))
        return self.finish(hidden_ND, mixed_ND, self.convolution_norm, layout)

    def _convolve(self, input_ND: Tensor, layout: Layout) -> Tensor:
        """(N, D).

        Sequences of one length are a dense block; others are laid out with gaps of zeros between them that
        half of what the convolution sees fits into, T places.
        """
        if layout.is_full:
            return self._convolve_dense(input_ND, rows=layout.num_sequences)
        num_tokens, width = input_ND.shape
        place_N = torch.arange(num_tokens, device=input_ND.device) + self.gap * layout.sequence_N
        spaced_TD = input_ND.new_zeros(num_tokens + self.gap * (layout.num_sequences - 1), width)
        spaced_TD = spaced_TD.index_copy(0, place_N, input_ND)
        return self._convolve_dense(spaced_TD, rows=1).index_select(0, place_N)

    def _convolve_dense(self, input_TD: Tensor, *, rows: int) -> Tensor:
        """(T, D), of rows of equal length; as pictures one high whose channels come last none is copied."""
        pictures = input_TD.view(rows, 1, -1, input_TD.shape[1]).permute(0, 3, 1, 2)
        convolved: Tensor = self.convolution(pictures)
        return convolved.permute(0, 2, 3, 1).flatten(0, 2)


def initialize(module: nn.Module, *, std: float) -> None:
    """Draw every weight of `module` and its parts from the default generator, in place (Devlin et al. 2019).

    Matrices and embedding tables are normal with this standard deviation, the padding row and all
    biases zero, norms the identity. Parts of other kinds are left as they are.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding | nn.Conv1d | nn.Conv2d):
            nn.init.normal_(part.weight, std=std)
        if isinstance(part, nn.Linear | nn.Conv1d | nn.Conv2d) and part.bias is not None:
            nn.init.zeros_(part.bias)
        if isinstance(part, nn.Embedding) and part.padding_idx is not None:
            with torch.no_grad():
                part.weight[part.padding_idx].zero_()
        if isinstance(part, nn.LayerNorm):
            part.reset_parameters()


_TINY = torch.finfo(torch.float32).tiny
_ROWS_TOGETHER = 64  # of the decoder; a multiple for which matrix products have kernels


class MaskedLMHead(nn.Module):
    """Hidden states to scores of every token id (Devlin et al. 2019).

    A dense layer, erf-GELU and layer norm, then the transposed token embeddings, which the caller
    passes in: the decoder is tied by being the same tensor, so it is neither stored nor counted twice.
    NT has a decoder of its own.

    On a GPU the product with the decoder has rows of zeros up to a multiple of 64, which are cut off again:
    with DNABERT-6's 4,101 ids one row of the logits in eight would begin where tensor cores can load it.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.embedding_width
        self.dense = nn.Linear(config.hidden_size, width)
        self.norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.decoder = None if config.tied_decoder else nn.Linear(width, config.vocab_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, hidden_MD: Tensor, token_VE: Tensor) -> Tensor:
        """Logits, (M, V).

        Args:
            hidden_MD: hidden states of the positions to predict.
            token_VE: the token embeddings, which only a tied decoder uses.
        """
        decoder_VE = token_VE if self.decoder is None else self.decoder.weight
        states_ME = self.norm(F.gelu(self.dense(hidden_MD)))
        missing = -len(decoder_VE) % _ROWS_TOGETHER
        if missing == 0 or hidden_MD.device.type in PLAIN_DEVICES:
            return F.linear(states_ME, decoder_VE, self.bias)
        padded_VE, padded_V = F.pad(decoder_VE, (0, 0, 0, missing)), F.pad(self.bias, (0, missing))
        return F.linear(states_ME, padded_VE, padded_V)[:, : len(decoder_VE)]

    def loss(
        self, hidden_MD: Tensor, token_VE: Tensor, labels_M: Tensor, indicator_VX: Tensor | None = None
    ) -> Tensor:
        """See `summed_loss`; the other arguments as of `forward`."""
        return summed_loss(self(hidden_MD, token_VE), labels_M, indicator_VX)


def summed_loss(logits_MV: Tensor, labels_M: Tensor, indicator_VX: Tensor | None = None) -> Tensor:
    """The sum of the losses, nats, () float32 whatever the logits are: bfloat16 has 8 bits for a sum.

    Args:
        logits_MV: at the tokens to predict.
        labels_M: their true ids; a negative one is no target.
        indicator_VX: which base each id spells at each place, (V, 4 K). With it the loss is not the token's
            cross-entropy but the sum, over the bases that the true id spells, of minus the logarithm of the
            probability that the token spells this base there; see `base_probabilities`. Below the least
            normal float (87 nats a base) it grows no more and has no gradient.
    """
    if indicator_VX is None:
        return F.cross_entropy(logits_MV.float(), labels_M, reduction="sum")
    log_p_MX = base_probabilities(logits_MV, indicator_VX).clamp_min(_TINY).log().flatten(1)
    spelled_MX = indicator_VX[labels_M.clamp(min=0)] * (labels_M >= 0).unsqueeze(1)
    return -(spelled_MX * log_p_MX).sum()


def base_probabilities(logits_MV: Tensor, indicator_VX: Tensor) -> Tensor:
    """The probability that a token spells each base at each place, (M, K, 4), in float32 at least.

    It is the sum of the probabilities of all ids that do. Ids that spell no base at a place, special ones,
    shorter ones and those with an N there, have what is missing to 1. One product with an indicator holds no
    V x K numbers for a row, and costs 4 K / E of the decoder's; sums over the halves of words in
    lexicographic order were as fast on a CPU and need that order.

    Args:
        logits_MV: of the whole vocabulary.
        indicator_VX: as of `summed_loss`.
    """
    wide_MV = logits_MV.to(torch.promote_types(logits_MV.dtype, torch.float32))
    with torch.autocast(logits_MV.device.type, enabled=False):  # sums of 4^(k-1) terms
        sums_MX = wide_MV.softmax(-1) @ indicator_VX.to(wide_MV.dtype)
    return sums_MX.view(len(sums_MX), indicator_VX.shape[1] // 4, 4)


class MissingHead(MaskedLMHead):
    """Placeholder for a head that a checkpoint lacks; `load_pretrained` refuses one where it is needed."""

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def forward(self, hidden_MD: Tensor, token_VE: Tensor) -> Tensor:  # noqa: ARG002 -- as of a head
        """Fail: code that needs a head must have asked `load_pretrained` for one."""
        raise AssertionError("this model has no head that predicts tokens")


class TokenHead(nn.Module):
    """Hidden states to O numbers per token: logits of classes or labels, or values.

    A dense layer, erf-GELU, layer norm and a linear layer, as the masked-LM head has them, so that
    objectives compete with heads of equal strength. Our choice.

    Args:
        hidden_size: D.
        num_outputs: O.
        norm_eps: added to the variance in the layer norm.
        initializer_range: standard deviation of the first weights.
    """

    def __init__(
        self, *, hidden_size: int, num_outputs: int, norm_eps: float, initializer_range: float
    ) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size, eps=norm_eps)
        self.output = nn.Linear(hidden_size, num_outputs)
        initialize(self, std=initializer_range)

    @torch.no_grad()
    def start_at(self, outputs_O: Tensor) -> None:
        """Set the bias so that first outputs are near these for any input, such as log-frequencies."""
        self.output.bias.copy_(outputs_O)

    def forward(self, hidden_MD: Tensor) -> Tensor:
        """Outputs, (M, O)."""
        outputs_MO: Tensor = self.output(self.norm(F.gelu(self.dense(hidden_MD))))
        return outputs_MO


PoolingName = Literal["cls", "mean", "max", "attention"]


class Pooling(nn.Module):
    """One vector of each sequence from those of its tokens.

    A sequence that is longer than the encoder takes comes as several pieces; its tokens are pooled over all
    of them.

    Args:
        kind: `cls` takes the first token of each piece, and their mean where there are several; `mean` and
            `max` run over the tokens that spell bases; `attention` is a mean whose weights are learned.
        hidden_size: D.
    """

    def __init__(self, kind: PoolingName, *, hidden_size: int) -> None:
        super().__init__()
        self.kind: PoolingName = kind
        self.score = nn.Linear(hidden_size, 1) if kind == "attention" else None

    def reset_parameters(self) -> None:
        """Start with equal weights, that is with the mean."""
        if self.score is not None:
            nn.init.zeros_(self.score.weight)
            nn.init.zeros_(self.score.bias)

    def forward(self, hidden_ND: Tensor, used_M: Tensor, owner_N: Tensor, num_sequences: int) -> Tensor:
        """Vectors of the sequences, (S, D).

        Args:
            hidden_ND: hidden states of all packed tokens.
            used_M: places of the tokens that are pooled, int64: for `cls` the first of each piece, else those
                that spell bases; each sequence has at least one.
            owner_N: the sequence of each token, int64 in [0, S).
            num_sequences: S.
        """
        hidden_ND, owner_N = hidden_ND[used_M], owner_N[used_M]
        shape = (num_sequences, hidden_ND.shape[1])
        if self.kind == "max":
            index_ND = owner_N[:, None].expand_as(hidden_ND)
            lowest = hidden_ND.new_full(shape, float("-inf"))
            return lowest.scatter_reduce(0, index_ND, hidden_ND, "amax")
        weight_N = self._weights(hidden_ND, owner_N, num_sequences)
        total_S = weight_N.new_zeros(num_sequences).index_add(0, owner_N, weight_N)
        share_N = (weight_N / total_S[owner_N]).to(hidden_ND.dtype)
        return hidden_ND.new_zeros(shape).index_add(0, owner_N, hidden_ND * share_N[:, None])

    def _weights(self, hidden_ND: Tensor, owner_N: Tensor, num_sequences: int) -> Tensor:
        """Positive weights, not normalised yet, (N,) float32."""
        if self.score is None:
            return torch.ones(len(owner_N), device=owner_N.device)
        score_N = self.score(hidden_ND).squeeze(1).float()
        highest_S = score_N.new_full((num_sequences,), float("-inf"))
        highest_S = highest_S.scatter_reduce(0, owner_N, score_N.detach(), "amax")
        weight_N: Tensor = (score_N - highest_S[owner_N]).exp()
        return weight_N
