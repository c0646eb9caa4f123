"""How a tokenizer reads a genome: how many tokens, how long, how evenly used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dnalm.console import progress_bar
from dnalm.tokenizers.protocol import Ids, Tokenizer
from dnalm.tokenizers.training_texts import TrainingText

# Bases encoded at a time: a multiple of every k up to 6, so that blocks of k-mers keep their phase
_CHUNK = 60 << 14


@dataclass(frozen=True)
class TokenStatistics:
    """Counts over the genomes; start and end tokens are left out.

    Attributes:
        counts: occurrences of each id, (V,).
        lengths: tokens by the number of bases they cover, index 0 upwards.
        num_bases: bases read.
        num_unknown: tokens that are the unknown token.
        usable: ids that spell bases.
    """

    counts: Ids
    lengths: Ids
    num_bases: int
    num_unknown: int
    usable: Ids

    @property
    def num_tokens(self) -> int:
        """All tokens."""
        return int(self.counts.sum())

    @property
    def tokens_per_kb(self) -> float:
        """Tokens to a thousand bases."""
        return 1000 * self.num_tokens / self.num_bases

    @property
    def mean_length(self) -> float:
        """Bases that a token covers on average."""
        return float(self.lengths @ np.arange(len(self.lengths))) / self.num_tokens

    @property
    def unknown_share(self) -> float:
        """Share of the tokens that are unknown."""
        return self.num_unknown / self.num_tokens

    @property
    def entropy_bits(self) -> float:
        """Entropy of the frequencies of the ids that spell bases; 0 where there are none."""
        counts = self.counts[self.usable]
        share = counts[counts > 0] / max(1, counts.sum())
        return float(-(share * np.log2(share)).sum()) + 0.0

    @property
    def balance(self) -> float:
        """Entropy relative to that of equally frequent ids, 0 to 1."""
        return self.entropy_bits / math.log2(len(self.usable))

    @property
    def num_unused(self) -> int:
        """Ids that spell bases and never occur."""
        return int((self.counts[self.usable] == 0).sum())

    def most_frequent(self, number: int) -> Ids:
        """The most frequent ids, equally frequent ones in their order, (number,)."""
        return np.argsort(-self.counts, kind="stable")[:number]


def count_tokens(tokenizer: Tokenizer, sources: Sequence[TrainingText]) -> TokenStatistics:
    """Encode genomes and count.

    A stretch is encoded in pieces of about a million bases, so a few tokens may differ from an encoding in
    one piece. Stretches shorter than a token are left out.

    Args:
        tokenizer: what to look at.
        sources: the genomes and their regions; weights are ignored.
    """
    counts, lengths = np.zeros(tokenizer.vocab_size, dtype=np.int64), np.zeros(1, dtype=np.int64)
    num_bases = 0
    total = sum(int((source.regions[:, 1] - source.regions[:, 0]).sum()) for source in sources)
    with progress_bar("Encoding", total=total, in_bytes=True) as advance:
        for source in sources:
            for start, end in _pieces(source, tokenizer.overlap):
                codes = source.store.codes[start:end].view(np.ndarray)
                advance(end - start)
                if len(codes) < tokenizer.overlap:
                    continue
                ids = tokenizer.encode(codes)
                spans = tokenizer.spans(codes, ids)
                widths = spans[:, 1] - spans[:, 0]
                counts += np.bincount(ids[widths > 0], minlength=len(counts))
                found = np.bincount(widths[widths > 0], minlength=len(lengths))
                found[: len(lengths)] += lengths
                lengths, num_bases = found, num_bases + int(spans[-1, 1]) - (tokenizer.overlap - 1)
    unknown = int(counts[tokenizer.special.unknown])
    return TokenStatistics(counts, lengths, num_bases, unknown, tokenizer.replacement_ids)


def _pieces(source: TrainingText, overlap: int) -> list[tuple[int, int]]:
    """Pieces whose overlapping tokens are each counted once."""
    return [
        (start, min(start + _CHUNK + overlap - 1, last))
        for first, last in source.regions.tolist()
        for start in range(first, last, _CHUNK)
        if last - start >= overlap
    ]
