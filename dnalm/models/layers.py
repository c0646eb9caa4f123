"""Self-attention over a packed micro-batch, by the kernel of one's choice.

N packed tokens, D model width, H heads, K head width (D = H K), B sequences, L longest sequence.

One layer of the encoder: attention, then a feed-forward network, each added to its input.

N packed tokens, D model width, B sequences, H heads, L longest sequence.

A convolution over the embedded tokens, before the first block.

B sequences, N packed tokens, E embedding width, S tokens and gaps.

Token ids to the first hidden states.

B sequences, N packed tokens, C annotation channels, E embedding width, D model width.

What a block does to each token on its own.

N packed tokens, D model width, F feed-forward width.

Initial weights, as BERT draws them (Devlin et al. 2019, `initializer_range`).

What is put on the encoder's hidden states.

M positions, D model width, E embedding width, V vocabulary, O outputs.

One vector of each sequence from those of its tokens.

A sequence that is longer than the encoder comes as several pieces; its tokens are pooled over all of them.

N packed tokens, S sequences, D model width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- its usual name

from dnalm.models.kernels import KERNELS, Dropout, KernelName, attention_maps
from dnalm.models.packing import Layout


class Attention(nn.Module):
    """Multi-head self-attention with biased projections (Vaswani et al. 2017; BERT).

    Queries, keys and values have a projection each, rather than one for all three, so that adapters
    can be put on one of them and published weights map name by name.

    Args:
        hidden_size: D.
        num_heads: H, a divisor of D.
        dropout: share of attention weights zeroed in training.
        kernel: which of `KERNELS` computes it.
    """

    def __init__(self, *, hidden_size: int, num_heads: int, dropout: float, kernel: KernelName) -> None:
        super().__init__()
        assert hidden_size % num_heads == 0, "the encoder checks this"
        self.num_heads, self.dropout, self.kernel = num_heads, dropout, KERNELS[kernel]
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)

    def forward(self, hidden_ND: Tensor, layout: Layout, kept_M: Tensor | None = None) -> Tensor:
        """What each token, or each of those kept, takes from its sequence, (N, D) or (M, D)."""
        query_NHK, key_NHK = self._queries_and_keys(hidden_ND, layout)
        value_NHK = self._heads(self.value(hidden_ND))
        dropout = self.dropout if self.training else 0.0
        mixed_NHK = self.kernel.attend(query_NHK, key_NHK, value_NHK, layout, dropout)
        if kept_M is not None:
            mixed_NHK = mixed_NHK.index_select(0, kept_M)
        mixed_ND: Tensor = self.output(mixed_NHK.flatten(1))
        return mixed_ND

    def maps(self, hidden_ND: Tensor, layout: Layout) -> Tensor:
        """Attention weights before dropout, (B, H, L, L), whatever the kernel; see `attention_maps`."""
        return attention_maps(*self._queries_and_keys(hidden_ND, layout), layout)

    def _queries_and_keys(self, hidden_ND: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        query_NHK, key_NHK = self._heads(self.query(hidden_ND)), self._heads(self.key(hidden_ND))
        if layout.rotation is None:
            return query_NHK, key_NHK
        return layout.rotation.turn(query_NHK), layout.rotation.turn(key_NHK)

    def _heads(self, x_ND: Tensor) -> Tensor:
        return x_ND.view(x_ND.shape[0], self.num_heads, x_ND.shape[1] // self.num_heads)


KERNEL_WIDTHS = (2, 3, 5)  # Yang et al. 2022; released code, custom_conv_layer
_GAP = max(KERNEL_WIDTHS) // 2


class ConvStem(nn.Module):
    """The sum of convolutions 2, 3 and 5 tokens wide (LOGO, Yang et al. 2022).

    Each output has a window around its token: of width 3 one token to either side, of width 2 the
    token and the next, as TensorFlow's `same` padding has it. Past either end of a sequence, windows
    see zeros, and never the neighbours in the pack.

    Args:
        width: E, of the input and the output.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv1d(width, width, size) for size in KERNEL_WIDTHS)

    def forward(self, vectors_NE: Tensor, layout: Layout) -> Tensor:
        """(N, E). The sequences are laid out with gaps of zeros, which all windows fit into."""
        num_tokens, width = vectors_NE.shape
        place_N = torch.arange(num_tokens, device=vectors_NE.device) + _GAP * (layout.sequence_N + 1)
        spaced_SE = vectors_NE.new_zeros(num_tokens + _GAP * (layout.num_sequences + 1), width)
        spaced_1ES = spaced_SE.index_copy(0, place_N, vectors_NE).T[None]
        output_NE = torch.zeros_like(vectors_NE)
        for convolution, size in zip(self.convolutions, KERNEL_WIDTHS, strict=True):
            output_SE = convolution(spaced_1ES)[0].T
            output_NE = output_NE + output_SE[place_N - (size - 1) // 2]
        return output_NE


_TRAINED_MASK_FRACTION = 0.15 * 0.8  # ESM (Lin et al. 2023) and NT v1: masked, then shown as the mask token


class Embeddings(nn.Module):
    """The sum of vectors of a token, its position, its type and its annotations, normed (Devlin et al. 2019).

    DNA models give every token type 0; the table keeps its other rows because published weights
    have them. A channel of annotation has two rows, c where it is absent and C + c where it holds;
    where it is unknown it adds neither (LOGO, whose channels are known everywhere).

    Args:
        vocab_size: token ids, 0 to vocab_size - 1.
        width: E, of the tables and the norm.
        hidden_size: D; where E is another, a biased linear map leads there (ALBERT, LOGO).
        positions: rows of learned positions, 0 for no table (DNABERT-2, NT v2).
        position_offset: row of the first token's position.
        types: rows of the type table, 0 for no table (NT).
        annotations: C, 0 for none.
        norm: whether the sum is normed; NT's is not.
        conv_stem: whether token vectors are convolved before they are summed (LOGO).
        dropout: share of elements zeroed in training.
        norm_eps: added to the variance in the layer norm.
        padding_id: the id whose vector starts at zero and gets no gradient from here.
        rescaled_mask_id: the mask's id where its vector is zeroed and the others are rescaled, as
            dropout would (NT v1); None where the mask is a token like others.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        width: int,
        hidden_size: int,
        positions: int,
        position_offset: int,
        types: int,
        annotations: int,
        norm: bool,
        conv_stem: bool,
        dropout: float,
        norm_eps: float,
        padding_id: int,
        rescaled_mask_id: int | None,
    ) -> None:
        super().__init__()
        self.position_offset, self.rescaled_mask_id = position_offset, rescaled_mask_id
        self.token = nn.Embedding(vocab_size, width, padding_idx=padding_id)
        self.conv_stem = ConvStem(width) if conv_stem else None
        self.position = nn.Embedding(positions, width) if positions else None
        self.token_type = nn.Embedding(types, width) if types else None
        self.annotation = nn.Embedding(2 * annotations, width) if annotations else None
        self.norm = nn.LayerNorm(width, eps=norm_eps) if norm else None
        self.dropout = Dropout(dropout)
        self.mapping = nn.Linear(width, hidden_size) if width != hidden_size else None

    def forward(self, ids_N: Tensor, layout: Layout, annotations_NC: Tensor | None = None) -> Tensor:
        """(N, D); positions count from the start of each sequence.

        Args:
            ids_N: token ids.
            layout: where each sequence lies.
            annotations_NC: 1 where a channel holds, 0 where it does not, -1 where it is unknown; all
                unknown if None.
        """
        vectors_NE: Tensor = self.token(ids_N)
        if self.rescaled_mask_id is not None:
            vectors_NE = vectors_NE * _mask_scale(ids_N == self.rescaled_mask_id, layout, vectors_NE.dtype)
        if self.conv_stem is not None:
            vectors_NE = self.conv_stem(vectors_NE, layout)
        if self.position is not None:
            vectors_NE = vectors_NE + self.position(layout.position_N + self.position_offset)
        if self.token_type is not None:
            vectors_NE = vectors_NE + self.token_type.weight[0]
        if annotations_NC is not None:
            assert self.annotation is not None, "annotations are for a model that has channels"
            vectors_NE = vectors_NE + _chosen_rows(annotations_NC, self.annotation.weight)
        if self.norm is not None:
            vectors_NE = self.norm(vectors_NE)
        vectors_NE = self.dropout(vectors_NE)
        return vectors_NE if self.mapping is None else self.mapping(vectors_NE)


def _chosen_rows(annotations_NC: Tensor, weight_2CE: Tensor) -> Tensor:
    """The sum over channels of the row that each says, (N, E)."""
    assert 2 * annotations_NC.shape[1] == weight_2CE.shape[0], "as many channels as the model has"
    says = torch.cat([annotations_NC == 0, annotations_NC == 1], dim=1)
    return says.to(weight_2CE.dtype) @ weight_2CE


def _mask_scale(is_mask_N: Tensor, layout: Layout, dtype: torch.dtype) -> Tensor:
    """0 for masks, (1 - .12) / (1 - observed mask fraction of its sequence) for others, (N, 1)."""
    other_N = (~is_mask_N).to(torch.promote_types(dtype, torch.float32))
    others_B = other_N.new_zeros(layout.num_sequences).index_add(0, layout.sequence_N, other_N)
    share_B = others_B.clamp(min=1) / layout.lengths_B  # of masks alone, there is nothing to scale
    scale_N = other_N * (1 - _TRAINED_MASK_FRACTION) / share_B[layout.sequence_N]
    return scale_N[:, None].to(dtype)


FeedForwardKind = Literal["gelu", "geglu", "swiglu"]


class FeedForward(nn.Module):
    """D to F to D, with a nonlinearity between that may be gated (Shazeer 2020).

    `gelu` is the exact, erf GELU of one map (BERT, DNABERT, GROVER, NT v1). `geglu` (DNABERT-2) and
    `swiglu` (NT v2) map up to 2F and multiply the activated first half with the second.

    Args:
        hidden_size: D.
        intermediate_size: F, the width that `down` reads.
        kind: the nonlinearity.
        up_bias: whether the map up has a bias; DNABERT-2's and NT v2's have none.
        down_bias: whether the map down has a bias; NT v2's has none.
        inner_dropout: share of the F elements zeroed in training; DNABERT-2 drops here.
    """

    def __init__(
        self,
        *,
        hidden_size: int,
        intermediate_size: int,
        kind: FeedForwardKind,
        up_bias: bool,
        down_bias: bool,
        inner_dropout: float,
    ) -> None:
        super().__init__()
        self.gated = kind != "gelu"
        self.activate = F.silu if kind == "swiglu" else F.gelu
        outputs = 2 * intermediate_size if self.gated else intermediate_size
        self.up = nn.Linear(hidden_size, outputs, bias=up_bias)
        self.down = nn.Linear(intermediate_size, hidden_size, bias=down_bias)
        self.dropout = Dropout(inner_dropout)

    def forward(self, hidden_ND: Tensor) -> Tensor:
        """(N, D), each token on its own."""
        inner: Tensor = self.up(hidden_ND)
        if self.gated:
            gate_NF, value_NF = inner.chunk(2, dim=-1)
            inner_NF = self.activate(gate_NF) * value_NF
        else:
            inner_NF = self.activate(inner)
        output_ND: Tensor = self.down(self.dropout(inner_NF))
        return output_ND


NormPlacement = Literal["post", "pre"]


class Block(nn.Module):
    """A Transformer layer (Vaswani et al. 2017).

    Args:
        attention: the first sublayer.
        feed_forward: the second.
        hidden_size: D.
        norm_placement: `post` norms each sum (BERT, DNABERT, DNABERT-2, LOGO, GROVER); `pre` norms
            what each sublayer reads and leaves the sum alone (NT).
        norm_eps: added to the variance in the layer norms.
        attention_dropout: share of what attention adds that is zeroed in training.
        feed_forward_dropout: share of what the feed-forward network adds that is zeroed in training.
    """

    def __init__(
        self,
        attention: Attention,
        feed_forward: FeedForward,
        *,
        hidden_size: int,
        norm_placement: NormPlacement,
        norm_eps: float,
        attention_dropout: float,
        feed_forward_dropout: float,
    ) -> None:
        super().__init__()
        self.norm_first = norm_placement == "pre"
        self.attention = attention
        self.attention_norm = nn.LayerNorm(hidden_size, eps=norm_eps)
        self.attention_dropout = Dropout(attention_dropout)
        self.feed_forward = feed_forward
        self.feed_forward_norm = nn.LayerNorm(hidden_size, eps=norm_eps)
        self.feed_forward_dropout = Dropout(feed_forward_dropout)

    def forward(self, hidden_ND: Tensor, layout: Layout, kept_M: Tensor | None = None) -> Tensor:
        """The next hidden states, (N, D); or only those at places `kept_M`, (M, D), for less work."""
        attended_ND = self.attention(self._attention_input(hidden_ND), layout, kept_M)
        if kept_M is not None:
            hidden_ND = hidden_ND.index_select(0, kept_M)
        hidden_ND = hidden_ND + self.attention_dropout(attended_ND)
        if self.norm_first:
            transformed_ND = self.feed_forward(self.feed_forward_norm(hidden_ND))
            output_ND: Tensor = hidden_ND + self.feed_forward_dropout(transformed_ND)
        else:
            hidden_ND = self.attention_norm(hidden_ND)
            transformed_ND = self.feed_forward(hidden_ND)
            output_ND = self.feed_forward_norm(hidden_ND + self.feed_forward_dropout(transformed_ND))
        return output_ND

    def attention_maps(self, hidden_ND: Tensor, layout: Layout) -> Tensor:
        """This block's attention weights, (B, H, L, L); see `kernels.attention_maps`."""
        return self.attention.maps(self._attention_input(hidden_ND), layout)

    def _attention_input(self, hidden_ND: Tensor) -> Tensor:
        input_ND: Tensor = self.attention_norm(hidden_ND) if self.norm_first else hidden_ND
        return input_ND


def initialize(module: nn.Module, *, std: float) -> None:
    """Draw every weight of `module` and its parts from the default generator, in place.

    Matrices and embedding tables are normal with this standard deviation, the padding row and all
    biases zero, norms the identity. Parts of other kinds are left as they are.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding | nn.Conv1d):
            nn.init.normal_(part.weight, std=std)
        if isinstance(part, nn.Linear | nn.Conv1d) and part.bias is not None:
            nn.init.zeros_(part.bias)
        if isinstance(part, nn.Embedding) and part.padding_idx is not None:
            with torch.no_grad():
                part.weight[part.padding_idx].zero_()
        if isinstance(part, nn.LayerNorm):
            part.reset_parameters()


class MaskedLMHead(nn.Module):
    """Hidden states to scores of every token id (Devlin et al. 2019).

    A dense layer, erf-GELU and layer norm, then the transposed token embeddings, which the caller
    hands in: the decoder is tied by being the same tensor, so it is neither stored nor counted twice.

    Args:
        hidden_size: D.
        width: E, of the token embeddings and so of the dense layer's output.
        vocab_size: V.
        norm_eps: added to the variance in the layer norm.
        tied: whether the decoder is the token embeddings; NT has a decoder of its own.
    """

    def __init__(self, *, hidden_size: int, width: int, vocab_size: int, norm_eps: float, tied: bool) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, width)
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.decoder = None if tied else nn.Linear(width, vocab_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, hidden_MD: Tensor, token_VE: Tensor) -> Tensor:
        """Logits, (M, V).

        Args:
            hidden_MD: hidden states of the positions to predict.
            token_VE: the token embeddings, of use only to a tied decoder.
        """
        decoder_VE = token_VE if self.decoder is None else self.decoder.weight
        return F.linear(self.norm(F.gelu(self.dense(hidden_MD))), decoder_VE, self.bias)


class MissingHead(MaskedLMHead):
    """Stands for a head that a checkpoint lacks; whoever needs one says so to `load_pretrained`."""

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def forward(self, hidden_MD: Tensor, token_VE: Tensor) -> Tensor:  # noqa: ARG002 -- as of a head
        """Fail: what needs a head must have asked `load_pretrained` for one."""
        raise AssertionError("this model has no head that predicts tokens")


class TokenHead(nn.Module):
    """Hidden states to some numbers a token: logits of classes or labels, or values.

    A dense layer, erf-GELU, layer norm and a linear layer, as the head of masked language modelling has them,
    so that objectives compete with heads of one strength. Our choice.

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
        """Let the head begin near these outputs whatever it is shown, such as log-frequencies of classes."""
        self.output.bias.copy_(outputs_O)

    def forward(self, hidden_MD: Tensor) -> Tensor:
        """Outputs, (M, O)."""
        outputs_MO: Tensor = self.output(self.norm(F.gelu(self.dense(hidden_MD))))
        return outputs_MO


PoolingName = Literal["cls", "mean", "max", "attention"]


class Pooling(nn.Module):
    """Pool hidden states by sequence.

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
        """Begin with equal weights, that is with the mean."""
        if self.score is not None:
            nn.init.zeros_(self.score.weight)
            nn.init.zeros_(self.score.bias)

    def forward(self, hidden_ND: Tensor, used_N: Tensor, owner_N: Tensor, num_sequences: int) -> Tensor:
        """Vectors of the sequences, (S, D).

        Args:
            hidden_ND: hidden states of all packed tokens.
            used_N: which tokens are pooled, bool: for `cls` the first of each piece, else those that spell
                bases; each sequence has at least one.
            owner_N: the sequence of each token, int64 in [0, S).
            num_sequences: S.
        """
        places = used_N.nonzero().squeeze(1)
        hidden_ND, owner_N = hidden_ND[places], owner_N[places]
        shape = (num_sequences, hidden_ND.shape[1])
        index_ND = owner_N[:, None].expand_as(hidden_ND)
        if self.kind == "max":
            lowest = hidden_ND.new_full(shape, float("-inf"))
            return lowest.scatter_reduce(0, index_ND, hidden_ND, "amax")
        weight_N = self._weights(hidden_ND, owner_N, num_sequences)
        total_S = weight_N.new_zeros(num_sequences).index_add(0, owner_N, weight_N)
        share_N = (weight_N / total_S[owner_N]).to(hidden_ND.dtype)
        return hidden_ND.new_zeros(shape).index_add(0, owner_N, hidden_ND * share_N[:, None])

    def _weights(self, hidden_ND: Tensor, owner_N: Tensor, num_sequences: int) -> Tensor:
        """Positive weights, not summed to one yet, (N,) float32."""
        if self.score is None:
            return torch.ones(len(owner_N), device=owner_N.device)
        score_N = self.score(hidden_ND).squeeze(1).float()
        highest_S = score_N.new_full((num_sequences,), float("-inf"))
        highest_S = highest_S.scatter_reduce(0, owner_N, score_N.detach(), "amax")
        weight_N: Tensor = (score_N - highest_S[owner_N]).exp()
        return weight_N
