"""One encoder, its parts and heads, and the tables that convert it to published layouts."""

from dnalm.models.encoder import Encoder
from dnalm.models.heads import MaskedLMHead
from dnalm.models.masked_lm import MaskedLM
from dnalm.models.packing import Layout, Packed
from dnalm.models.parameters import count_parameters
from dnalm.models.pretrained import check_vocabulary, load_pretrained, save_pretrained

__all__ = [
    "Encoder",
    "Layout",
    "MaskedLM",
    "MaskedLMHead",
    "Packed",
    "check_vocabulary",
    "count_parameters",
    "load_pretrained",
    "save_pretrained",
]
