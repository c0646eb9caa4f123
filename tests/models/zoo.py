"""Tiny models of every architecture in conf/model, and batches to try them on."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from torch import Tensor

from dnalm.models import Encoder, MaskedLM

CONF = Path(__file__).resolve().parents[2] / "conf" / "model"
VOCAB, MAX_POSITIONS, MASK = 37, 16, 2
SIZES: dict[str, object] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_layers": 3,
    "num_heads": 4,
    "intermediate_size": 48,
    "max_positions": MAX_POSITIONS,
    "padding_id": 1,
    "mask_id": MASK,
}
# What the released LOGO code does, and what its downstream models put before the first layer.
VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    "logo_released": ("logo", {"causal": True, "shared_layers": False}),
    "logo_convolved": ("logo", {"conv_stem": True}),
}
ARCHITECTURES = ["bert", "dnabert2", "nt_v1", "nt_v2", "logo", "dnalm", *VARIANTS]
NARROW: dict[str, dict[str, object]] = {
    "logo": {"embedding_size": 12},
    "dnalm": {"conv_dilations": (1, 3), "conv_width": 5},
}
CASES = {
    "padded batch": [MAX_POSITIONS, 3, 7, 7],
    "single token": [1],
    "single tokens": [1, 1, 1],
    "maximum length": [MAX_POSITIONS, MAX_POSITIONS],
}


def switches(name: str) -> dict[str, object]:
    """Encoder arguments of conf/model/<name>.yaml."""
    published = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    return {key: value for key, value in published.items() if not key.startswith("_")}


def arguments(name: str, **changes: object) -> dict[str, object]:
    """The same, or of a variant, at a tiny size and without dropout."""
    file, variant = VARIANTS.get(name, (name, {}))
    still = {"dropout": 0.0, "attention_dropout": 0.0}
    return {**switches(file), **variant, **SIZES, **NARROW.get(file, {}), **still, **changes}


def encoder(name: str, **changes: object) -> Encoder:
    return Encoder(**arguments(name, **changes))  # type: ignore[arg-type]


def model(name: str, **changes: object) -> MaskedLM:
    """All weights random and large, so that every part of the model matters to its output."""
    made = MaskedLM(encoder(name, **changes))
    randomize(made)
    return made


def randomize(module: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            weight.normal_(std=0.2, generator=generator)
            if weight.dim() == 1 and "norm" in name.lower() and name.endswith("weight"):
                weight.add_(1.0)


def random_ids(count: int, vocab_size: int = VOCAB) -> Tensor:
    """Ids among which are masks, and no padding."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(3, min(vocab_size, VOCAB), (count,), generator=generator)
    return torch.where(torch.rand(count, generator=generator) < 0.3, MASK, ids)


def pad(ids: Tensor, lengths: list[int]) -> tuple[Tensor, Tensor]:
    """The ids as a right-padded (B, L) batch, and where they are, bool."""
    padded = torch.nn.utils.rnn.pad_sequence(ids.split(lengths), batch_first=True, padding_value=1)
    return padded, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
