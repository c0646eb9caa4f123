"""The arguments of the encoder: what each means, which values and which combinations are allowed.

`EncoderConfig` is a standard dataclass and not pydantic's: pydantic's own errors would come before our
sentences, and the types of a composed config are checked by pydantic in `dnalm.compose.check` already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from dnalm.errors import ConfigError, shown
from dnalm.limits import Depth, Width, WindowTokens
from dnalm.models.kernels import KERNELS
from dnalm.models.packing import KernelName, PositionKind

FeedForwardKind = Literal["gelu", "geglu", "swiglu"]
FeedForwardDropout = Literal["after", "inside"]
NormPlacement = Literal["post", "pre"]

CONV_STEM_WIDTHS = (2, 3, 5)  # Yang et al. 2022; released code, custom_conv_layer


# No `__eq__` and no `__repr__`: those of a module stay, since `Encoder` inherits this class.
@dataclass(kw_only=True, eq=False, repr=False)
class EncoderConfig:
    """Sizes and switches of an encoder; the defaults are BERT-base (Devlin et al. 2019).

    Every switch names the published model that needs it, and switches combine.

    Args:
        vocab_size: number of token ids, from the tokenizer.
        hidden_size: width of every hidden state, a multiple of num_heads.
        num_layers: number of blocks of attention.
        num_heads: attention heads per block.
        intermediate_size: width inside the feed-forward networks, of one half where they are gated.
        max_positions: longest sequence in tokens, special tokens included. With alibi it is no limit and
            only records what the model was trained for.
        positions: `learned` adds a trained vector per position (BERT, DNABERT, GROVER, NT v1, LOGO);
            `rotary` rotates queries and keys (NT v2); `alibi` lowers scores with distance (DNABERT-2).
        position_offset: rows of the learned positions that lie before the first token's (NT v1: 2).
        type_vocab_size: rows of the token-type table, of which DNA uses the first; 0 for none (NT).
        annotations: names of the annotation channels that are summed into the embeddings (LOGO's knowledge
            embedding), from the program.
        embedding_size: width of the embeddings and of the MLM head, mapped to hidden_size (ALBERT,
            LOGO); hidden_size if not given.
        embedding_norm: whether the summed embeddings are normalised; NT's are not.
        conv_stem: whether token vectors are first convolved, 2, 3 and 5 wide (LOGO).
        conv_dilations: convolutional blocks before those of attention, by their dilations: one block for
            each, residual like the others, with a feed-forward network of its own (after GPN, Benegas et al.
            2023). With some of them num_layers may be 0.
        conv_width: tokens that each of these convolutions sees, an odd number (GPN: 9).
        token_dropout: whether mask tokens are zeroed and other tokens rescaled to compensate, in training and
            after it (ESM, NT v1); needs mask_id.
        feed_forward: `gelu` (BERT and others), `geglu` (DNABERT-2) or `swiglu` (NT v2).
        up_bias: whether feed-forward networks have a bias on the way up; DNABERT-2, NT v2 have none.
        down_bias: the same on the way down; NT v2 has none.
        norm_placement: `post` normalises after each sublayer; `pre` before it and once at the end (NT).
        norm_eps: added to the variance in the layer norms.
        shared_layers: whether one block is applied num_layers times (ALBERT, LOGO's paper).
        causal: whether tokens attend only to themselves and earlier ones (LOGO's released code).
        tied_decoder: whether the MLM head decodes by the token embeddings; NT's does not.
        dropout: share of embeddings and sublayer outputs zeroed in training, in [0, 1).
        feed_forward_dropout: whether the feed-forward networks' dropout comes `after` them, or
            `inside`, before the map down (DNABERT-2).
        attention_dropout: share of attention weights zeroed in training, in [0, 1).
        kernel: how attention is computed; `auto` is the fastest that device, precision, positions and
            dropout admit (see `kernels.choose`), `eager` the readable one, `sdpa` PyTorch's own on any
            device; `flex` and `varlen` are for CUDA and skip all padding.
        initializer_range: standard deviation of the initial matrices.
        padding_id: the padding token's id, from the tokenizer.
        mask_id: the mask token's id, from the tokenizer.

    Raises:
        ConfigError: CFG-18, an argument is out of its range, or two contradict each other.
    """

    vocab_size: int
    hidden_size: Width = 768
    num_layers: Depth = 12
    num_heads: Width = 12
    intermediate_size: Width = 3072
    max_positions: WindowTokens = 512
    positions: PositionKind = "learned"
    position_offset: Width = 0
    type_vocab_size: Width = 2
    annotations: tuple[str, ...] = ()
    embedding_size: Width | None = None
    embedding_norm: bool = True
    conv_stem: bool = False
    conv_dilations: tuple[Width, ...] = ()
    conv_width: Width = 9
    token_dropout: bool = False
    feed_forward: FeedForwardKind = "gelu"
    up_bias: bool = True
    down_bias: bool = True
    norm_placement: NormPlacement = "post"
    norm_eps: float = 1e-12
    shared_layers: bool = False
    causal: bool = False
    tied_decoder: bool = True
    dropout: float = 0.1
    feed_forward_dropout: FeedForwardDropout = "after"
    attention_dropout: float = 0.1
    kernel: KernelName = "auto"
    initializer_range: float = 0.02
    padding_id: int = 0
    mask_id: int | None = None

    def __post_init__(self) -> None:
        self.annotations = tuple(self.annotations)  # lists where they come from config.json
        self.conv_dilations = tuple(self.conv_dilations)
        _check_ranges(self)
        _check_combinations(self)

    @property
    def embedding_width(self) -> int:
        """E, the width of the token embeddings."""
        return self.hidden_size if self.embedding_size is None else self.embedding_size

    @property
    def attention_blocks(self) -> int:
        """Blocks of attention that have weights of their own."""
        return min(1, self.num_layers) if self.shared_layers else self.num_layers

    @property
    def depth(self) -> int:
        """Blocks that a token passes through, convolutional ones included; shared ones as often as used."""
        return len(self.conv_dilations) + self.num_layers

    @property
    def longest_sequence(self) -> int | None:
        """Most tokens of one sequence, special ones included; None for any number (alibi)."""
        return None if self.positions == "alibi" else self.max_positions


# Far beyond every model of today; a larger value is a slip or an attack, and would take all memory.
_LARGEST = {
    "vocab_size": 1 << 24,
    "hidden_size": 1 << 16,
    "num_layers": 1000,
    "num_heads": 1 << 12,
    "intermediate_size": 1 << 20,
    "max_positions": 1 << 24,
    "type_vocab_size": 1 << 16,
    "position_offset": 1 << 24,
    "conv_width": 1 << 8,
}
_LARGEST_DILATION = 1 << 12
_MAY_BE_ZERO = ("type_vocab_size", "position_offset")
_CHOICES: dict[str, tuple[str, ...]] = {
    "positions": get_args(PositionKind),
    "feed_forward": get_args(FeedForwardKind),
    "norm_placement": get_args(NormPlacement),
    "feed_forward_dropout": get_args(FeedForwardDropout),
    "kernel": get_args(KernelName),
}


def _check_ranges(config: EncoderConfig) -> None:
    def require(holds: bool, name: str, rule: str) -> None:
        if not holds:
            value = getattr(config, name)
            raise ConfigError(
                "CFG-18",
                where=name,
                found=f"{name}={value if isinstance(value, str) else shown(value)}",
                expected=f"{name} must be {rule}",
                fix=f"set {name} within its range",
            )

    may_be_zero = (*_MAY_BE_ZERO, "num_layers") if config.conv_dilations else _MAY_BE_ZERO
    for name, largest in _LARGEST.items():
        least = 0 if name in may_be_zero else 1
        require(least <= getattr(config, name) <= largest, name, f"{least} to {largest:,}")
    dilations, most = config.conv_dilations, _LARGEST["num_layers"]
    in_range = len(dilations) <= most and all(1 <= each <= _LARGEST_DILATION for each in dilations)
    require(in_range, "conv_dilations", f"at most {most:,} numbers, each 1 to {_LARGEST_DILATION:,}")
    require(config.conv_width % 2 == 1, "conv_width", "odd, so that a token is in the middle of what it sees")
    for name in ("dropout", "attention_dropout"):
        require(0 <= getattr(config, name) < 1, name, "0 or more, and below 1")
    for name in ("norm_eps", "initializer_range"):
        require(0 < getattr(config, name) <= 1, name, "above 0, and 1 at most")
    for name, choices in _CHOICES.items():
        require(getattr(config, name) in choices, name, f"one of {', '.join(choices)}")
    largest = _LARGEST["hidden_size"]
    require(0 < config.embedding_width <= largest, "embedding_size", f"1 to {largest:,}")
    ids = range(config.vocab_size)
    require(config.padding_id in ids, "padding_id", "an id below vocab_size")
    require(config.mask_id is None or config.mask_id in ids, "mask_id", "an id below vocab_size")


def _check_combinations(config: EncoderConfig) -> None:
    head_width, rest = divmod(config.hidden_size, config.num_heads)
    if rest:
        raise _contradiction(
            f"hidden_size={config.hidden_size} and num_heads={config.num_heads}",
            expected="a hidden_size that num_heads divides, so that all heads are equally wide",
            fix="change one of the two",
        )
    if config.positions == "rotary" and head_width % 2:
        raise _contradiction(
            f"positions=rotary and heads {head_width} wide",
            expected="heads of an even width, whose halves are turned together",
            fix="change hidden_size or num_heads",
        )
    kernel = KERNELS.get(config.kernel)  # auto is one that can do what is asked
    if kernel is not None and config.positions == "alibi" and not kernel.alibi:
        raise _contradiction(
            f"kernel={config.kernel} and positions=alibi",
            expected="a kernel that can add ALiBi's penalty",
            fix=f"set kernel to {_one_of(['auto', *(name for name, each in KERNELS.items() if each.alibi)])}",
        )
    if kernel is not None and config.attention_dropout > 0 and not kernel.dropout:
        kernels = _one_of(["auto", *(name for name, each in KERNELS.items() if each.dropout)])
        raise _contradiction(
            f"kernel={config.kernel} and attention_dropout={config.attention_dropout}",
            expected="a kernel that can drop attention weights",
            fix=f"set attention_dropout=0.0, or kernel to {kernels}",
        )
    if config.positions != "learned" and config.position_offset:
        raise _contradiction(
            f"position_offset={config.position_offset} and positions={config.positions}",
            expected="an offset into the rows of learned positions only",
            fix="set position_offset=0, or positions=learned",
        )
    if config.token_dropout and config.mask_id is None:
        raise _contradiction(
            "token_dropout=true and no mask_id",
            expected="the mask token's id, whose vectors token dropout zeroes",
            fix="give mask_id, or set token_dropout=false",
        )
    if config.causal and config.conv_stem:
        raise _contradiction(
            "causal=true and conv_stem=true",
            expected="no stem where tokens must not see later ones, since it looks two tokens ahead",
            fix="set one of them to false",
        )
    if config.causal and config.conv_dilations:
        dilations = ",".join(map(str, config.conv_dilations))
        raise _contradiction(
            f"causal=true and conv_dilations=[{dilations}]",
            expected="no convolutions where tokens must not see later ones, since they look both ways",
            fix="set causal=false, or conv_dilations=[]",
        )


def check_length(config: EncoderConfig, tokens: int) -> None:
    """Refuse windows that are longer than the model reads.

    Args:
        config: the encoder, or its config.
        tokens: of a full window, special ones included.

    Raises:
        ConfigError: CFG-18.
    """
    limit = config.longest_sequence
    if limit is not None and tokens > limit:
        raise ConfigError(
            "CFG-18",
            where="windows.max_tokens, model.max_positions",
            found=f"windows of {tokens} tokens, special ones included",
            expected=f"at most model.max_positions={limit}",
            fix="use shorter windows or more positions",
        )


def _contradiction(found: str, *, expected: str, fix: str) -> ConfigError:
    keys = ", ".join(word.partition("=")[0] for word in found.split() if "=" in word)
    return ConfigError("CFG-18", where=keys, found=found, expected=expected, fix=fix)


def _one_of(names: list[str]) -> str:
    return ", ".join(names[:-1]) + f" or {names[-1]}"


def count_parameters(encoder: Mapping[str, Any], *, masked_lm: bool = True) -> int:
    """Number of parameters of an `Encoder` of these arguments, or of the `MaskedLM` on it; nothing is built.

    Args:
        encoder: arguments of `Encoder` by name; those left out take its defaults.
        masked_lm: count the head too; a tied decoder is the token embeddings, counted once.

    Raises:
        TypeError: an argument that `Encoder` does not have, or vocab_size is missing.
        ConfigError: as of `EncoderConfig`.
    """
    config = EncoderConfig(**encoder)
    hidden, width, inner = config.hidden_size, config.embedding_width, config.intermediate_size

    learned = config.max_positions + config.position_offset if config.positions == "learned" else 0
    rows = config.vocab_size + learned + config.type_vocab_size + 2 * len(config.annotations)
    embeddings = rows * width
    if config.embedding_norm:
        embeddings += 2 * width
    if config.conv_stem:
        embeddings += sum(_linear(size * width, width) for size in CONV_STEM_WIDTHS)
    if width != hidden:
        embeddings += _linear(width, hidden)

    norm = 2 * hidden
    attention = 4 * _linear(hidden, hidden) + norm
    convolution = _linear(config.conv_width * hidden, hidden) + norm
    up = inner if config.feed_forward == "gelu" else 2 * inner
    feed_forward = _linear(hidden, up, bias=config.up_bias) + norm
    feed_forward += _linear(inner, hidden, bias=config.down_bias)
    blocks = (attention + feed_forward) * config.attention_blocks
    blocks += (convolution + feed_forward) * len(config.conv_dilations)
    final_norm = norm if config.norm_placement == "pre" else 0

    decoder = 0 if config.tied_decoder else width * config.vocab_size
    head = _linear(hidden, width) + 2 * width + decoder + config.vocab_size
    return embeddings + blocks + final_norm + (head if masked_lm else 0)


def _linear(inputs: int, outputs: int, *, bias: bool = True) -> int:
    return inputs * outputs + (outputs if bias else 0)
