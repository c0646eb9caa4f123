"""Tokenizers and sequences that several tests try."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from dnalm.genome.alphabet import Codes
from dnalm.genome.store import GenomeStore, open_or_build
from dnalm.tokenizers import BpeTokenizer, KmerTokenizer, LogoTokenizer, SixMerTokenizer, Tokenizer
from dnalm.tokenizers.bpe_training import bpe_document
from dnalm.tokenizers.stock import Document

DNABERT2_SPECIALS = ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")
# AACA is made in two ways, so its second merge adds no token: 9 + 10 ids
MERGES = [
    ("A", "A"),
    ("T", "T"),
    ("C", "A"),
    ("AA", "CA"),
    ("TT", "TT"),
    ("G", "C"),
    ("AA", "C"),
    ("AAC", "A"),
    ("T", "GC"),
    ("AACA", "TGC"),
    ("G", "G"),
]


def small_document() -> Document:
    """A BPE of eleven merges as DNABERT-2's is written; ids 0 to 4 are special, 5 to 8 A C G T."""
    return bpe_document(MERGES, DNABERT2_SPECIALS)


def small_bpe(merges: int | None = None) -> BpeTokenizer:
    return BpeTokenizer(small_document(), where=Path("small.json"), merges=merges)


def fusing_bpe() -> BpeTokenizer:
    """The same, with one unknown token for a run of N."""
    document = small_document()
    document["model"]["fuse_unk"] = True
    return BpeTokenizer(document, where=Path("fusing.json"))


BPES: dict[str, Tokenizer] = {"bpe": small_bpe(), "bpe_cut": small_bpe(4)}
SIX_MERS: dict[str, Tokenizer] = {f"six_mer_v{v}": SixMerTokenizer(version=v) for v in (1, 2)}
LOGOS: dict[str, LogoTokenizer] = {f"logo_{k}": LogoTokenizer(k=k) for k in (1, 3, 5)}
KMERS: dict[str, KmerTokenizer] = {f"kmer_{k}": KmerTokenizer(k=k) for k in (1, 3, 6, 8)}
TILING: dict[str, Tokenizer] = {**BPES, "bpe_fusing": fusing_bpe(), **SIX_MERS, **LOGOS}
EVERY: dict[str, Tokenizer] = {**TILING, **KMERS}


def _as_codes(values: list[int]) -> Codes:
    return np.array(values, dtype=np.uint8)


def _repeated(parts: list[tuple[list[int], int]]) -> Codes:
    return _as_codes([base for motif, times in parts for base in motif * times])


_BASE = st.integers(0, 3)
_ANY = st.sampled_from([0, 1, 2, 3, 0, 1, 2, 3, 8, 9, 10, 11, 4, 12])  # soft-masked from 8, N 4 and 12
plain_codes = st.lists(_BASE, min_size=8, max_size=100).map(_as_codes)
any_codes = st.lists(_ANY, min_size=8, max_size=100).map(_as_codes)
# Short motifs many times over, where merges overlap themselves and counts tie
repetitive_codes = st.lists(
    st.tuples(st.lists(_BASE, min_size=1, max_size=3), st.integers(1, 7)), min_size=1, max_size=8
).map(_repeated)


def bytes_pair_by_hand(text: str, merges: list[tuple[str, str]]) -> list[str]:
    """The definition of BPE: every merge in its turn, from left to right, over the whole text."""
    words = list(text)
    for pair in merges:
        merged: list[str] = []
        while words:
            found = tuple(words[:2]) == pair
            merged.append("".join(words[: 1 + found]))
            words = words[1 + found :]
        words = merged
    return words


def store_of(folder: Path, name: str, contigs: dict[str, str]) -> GenomeStore:
    """Build a store of a name of its own, so that a test may have several."""
    fasta = folder / f"{name}.fa"
    fasta.write_text("".join(f">{contig}\n{sequence}\n" for contig, sequence in contigs.items()))
    return open_or_build(fasta, folder / "cache")


def stock_tokenizer(folder: Path):  # noqa: ANN201 -- a class of transformers that only its registry knows
    """The tokenizer that `transformers` makes of a folder, which must hold nothing but its files."""
    from transformers import AutoTokenizer

    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    return AutoTokenizer.from_pretrained(folder)


def slides_by_one(spans: np.ndarray, width: int) -> bool:
    """Whether (T, 2) spans are all of one width and begin at 0, 1, 2 …"""
    starts = np.arange(len(spans))
    return bool((spans == np.stack([starts, starts + width], axis=1)).all())


def tiles(spans: np.ndarray, num_bases: int) -> bool:
    """Whether (T, 2) spans, none empty, cover the bases end to end."""
    rows = spans.tolist()
    joined = all(left[1] == right[0] for left, right in pairwise(rows))
    return joined and all(a < b for a, b in rows) and rows[0][0] == 0 and rows[-1][1] == num_bases
