"""One encoder, its parts and heads, and the tables that convert it to published layouts."""

from dnalm.models.encoder import Encoder
from dnalm.models.heads import MaskedLMHead, TokenHead
from dnalm.models.masked_lm import MaskedLM
from dnalm.models.packing import Layout, Packed
from dnalm.models.parameters import count_parameters
from dnalm.models.pretrained import (
    build_described,
    check_vocabulary,
    describe,
    family_of,
    load_pretrained,
    save_pretrained,
)
from dnalm.models.sequence_model import HeadShape, SequenceModel, head_shape
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
    "TokenHead",
    "build_described",
    "check_vocabulary",
    "count_parameters",
    "describe",
    "family_of",
    "has_weights",
    "head_shape",
    "load_pretrained",
    "save_pretrained",
]
