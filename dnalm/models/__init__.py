"""One encoder, its parts and heads, and the tables that convert it to published layouts."""

from dnalm.models.config import EncoderConfig, count_parameters
from dnalm.models.encoder import Encoder, HeadShape, MaskedLM, SequenceModel
from dnalm.models.initialisation import Initialisation, inform_embeddings, read_initialisation
from dnalm.models.layers import MaskedLMHead, TokenHead
from dnalm.models.packing import Layout, Packed
from dnalm.models.pretrained import (
    Ensemble,
    LayoutName,
    Pretrained,
    TaskHead,
    TextTokens,
    build_described,
    describe,
    family_of,
    fit_vocabulary,
    layout_of,
    load_pretrained,
    save_pretrained,
)
from dnalm.models.weights import has_weights

__all__ = [
    "Encoder",
    "EncoderConfig",
    "Ensemble",
    "HeadShape",
    "Initialisation",
    "Layout",
    "LayoutName",
    "MaskedLM",
    "MaskedLMHead",
    "Packed",
    "Pretrained",
    "SequenceModel",
    "TaskHead",
    "TextTokens",
    "TokenHead",
    "build_described",
    "count_parameters",
    "describe",
    "family_of",
    "fit_vocabulary",
    "has_weights",
    "inform_embeddings",
    "layout_of",
    "load_pretrained",
    "read_initialisation",
    "save_pretrained",
]
