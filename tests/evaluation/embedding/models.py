"""Tiny models with tokenizers of every kind, and sequences for them."""

from pathlib import Path

from dnalm.evaluation.inference import LoadedModel
from dnalm.genome.alphabet import Codes, from_text
from dnalm.models import MaskedLM, save_pretrained
from dnalm.tokenizers import Tokenizer
from tests.conftest import random_sequence
from tests.models import zoo
from tests.tokenizers.examples import EVERY

PAIRS = {
    "kmer": ("bert", "kmer_3"),
    "six_mer": ("nt_v2", "six_mer_v2"),
    "bpe": ("dnabert2", "bpe"),
    "logo": ("logo", "logo_3"),
}


def tiny(name: str, *, max_positions: int = 24, **changes: object) -> tuple[MaskedLM, Tokenizer]:
    """A model of random weights that takes sequences of `max_positions` tokens, and its tokenizer."""
    architecture, kind = PAIRS[name]
    tokenizer = EVERY[kind]
    special = tokenizer.special
    ids = {"vocab_size": tokenizer.vocab_size, "padding_id": special.padding, "mask_id": special.mask}
    sizes = {"hidden_size": 8, "num_heads": 2, "intermediate_size": 12, "max_positions": max_positions}
    narrow = {"embedding_size": 6} if name == "logo" else {}
    model = zoo.model(architecture, **{**ids, **sizes, **narrow, "num_layers": 2, **changes})
    return model.eval(), tokenizer


def save(name: str, folder: Path, *, max_positions: int = 24) -> Path:
    """A model directory."""
    model, tokenizer = tiny(name, max_positions=max_positions)
    save_pretrained(model, folder)
    tokenizer.save(folder)
    return folder


def loaded(network: MaskedLM, tokenizer: Tokenizer) -> LoadedModel:
    return LoadedModel(network=network, tokenizer=tokenizer)


def sequences(*lengths: int) -> list[Codes]:
    return [from_text(random_sequence(length, seed)) for seed, length in enumerate(lengths)]
