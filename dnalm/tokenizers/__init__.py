"""Bases to token ids and back."""

from dnalm.tokenizers.bpe import BpeTokenizer
from dnalm.tokenizers.bpe_training import BpeRecipe, TrainingText
from dnalm.tokenizers.folder import load_tokenizer
from dnalm.tokenizers.kmer import KmerTokenizer
from dnalm.tokenizers.logo import LogoTokenizer
from dnalm.tokenizers.protocol import Ids, SpecialIds, Tokenizer
from dnalm.tokenizers.six_mer import SixMerTokenizer

__all__ = [
    "BpeRecipe",
    "BpeTokenizer",
    "Ids",
    "KmerTokenizer",
    "LogoTokenizer",
    "SixMerTokenizer",
    "SpecialIds",
    "Tokenizer",
    "TrainingText",
    "load_tokenizer",
]
