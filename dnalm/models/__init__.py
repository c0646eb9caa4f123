"""One encoder, its parts and heads, and the tables that convert it to published layouts."""

from dnalm.models.encoder import Encoder
from dnalm.models.heads import MaskedLMHead, TokenHead
from dnalm.models.masked_lm import MaskedLM
from dnalm.models.packing import Layout, Packed
from dnalm.models.parameters import count_parameters
from dnalm.models.pretrained import (
    TaskHead,
    build_described,
    describe,
    family_of,
    fit_vocabulary,
    load_pretrained,
    save_pretrained,
)
from dnalm.models.sequence_model import HeadShape, SequenceModel
from dnalm.models.source import Pretrained
from dnalm.models.weight_files import has_weights

__all__ = [
    "Encoder",
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
