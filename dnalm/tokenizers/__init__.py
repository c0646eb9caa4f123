"""Bases to token ids and back."""

from dnalm.tokenizers.kmer import KmerTokenizer
from dnalm.tokenizers.protocol import Ids, SpecialIds, Tokenizer

__all__ = ["Ids", "KmerTokenizer", "SpecialIds", "Tokenizer"]
