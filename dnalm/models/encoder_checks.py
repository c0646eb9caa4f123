"""What the arguments of `Encoder` must be, each alone and together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from dnalm.errors import ConfigError
from dnalm.models.block import NormPlacement
from dnalm.models.feed_forward import FeedForwardKind
from dnalm.models.kernels import KERNELS
from dnalm.models.positions import PositionKind
from dnalm.small_files import shown

if TYPE_CHECKING:
    from dnalm.models.encoder import Encoder

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
