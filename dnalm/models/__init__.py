"""One encoder, its parts and heads, and the tables that convert it to published layouts."""

from dnalm.models.config import EncoderConfig, count_parameters
from dnalm.models.encoder import Encoder, HeadShape, MaskedLM, SequenceModel
from dnalm.models.layers import MaskedLMHead, TokenHead
from dnalm.models.packing import Layout, Packed
from dnalm.models.pretrained import (
    Pretrained,
    TaskHead,
    build_described,
    describe,
    family_of,
    fit_vocabulary,
    load_pretrained,
    save_pretrained,
)
from dnalm.models.weights import has_weights

__all__ = [
    "Encoder",
    "EncoderConfig",
    "HeadShape",
    "Layout",
    "MaskedLM",
    "MaskedLMHead",
    "Packed",
    "Pretrained",
    "SequenceModel",
    "TaskHead",
    "TokenHead",
    "build_described",
    "count_parameters",
    "describe",
    "family_of",
    "fit_vocabulary",
    "has_weights",
    "load_pretrained",
    "save_pretrained",
]
