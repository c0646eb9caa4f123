"""A tiny model for any tokenizer, with large random weights, and texts."""

from __future__ import annotations

import numpy as np
import torch

from dnalm.evaluation.inference import LoadedModel, Precision
from dnalm.evaluation.interpretation.reader import Reader
from dnalm.evaluation.sequence_inputs import NamedSequence
from dnalm.genome.alphabet import Codes
from dnalm.models import Encoder, MaskedLM
from dnalm.tokenizers import Tokenizer
from tests.models.zoo import randomize


def make_model(tokenizer: Tokenizer, **changes: object) -> MaskedLM:
    arguments: dict[str, object] = {
        "vocab_size": tokenizer.vocab_size,
        "hidden_size": 16,
        "num_layers": 2,
        "num_heads": 2,
        "intermediate_size": 24,
        "max_positions": 64,
        "padding_id": tokenizer.special.padding,
        "mask_id": tokenizer.special.mask,
    }
    model = MaskedLM(Encoder(**{**arguments, **changes}))  # type: ignore[arg-type]
    randomize(model)
    return model


def make_reader(
    tokenizer: Tokenizer,
    *,
    window_bp: int = 40,
    batch_tokens: int = 16_384,
    precision: Precision = "float32",
    **changes: object,
) -> Reader:
    torch.manual_seed(0)
    model = LoadedModel(network=make_model(tokenizer, **changes), tokenizer=tokenizer, precision=precision)
    return Reader(model, window_bp=window_bp, batch_tokens=batch_tokens)


def random_codes(length: int, seed: int = 0) -> Codes:
    return np.random.default_rng(seed).integers(0, 4, length).astype(np.uint8)


def region_of(codes: Codes, first: int = 0, last: int | None = None) -> NamedSequence:
    last = len(codes) if last is None else last
    return NamedSequence(
        id="x",
        codes=codes,
        where="x.bed:1",
        contig="chr1",
        start=100,
        end=100 + last - first,
        flanks=(first, len(codes) - last),
    )
