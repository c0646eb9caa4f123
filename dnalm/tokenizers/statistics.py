"""How a tokenizer reads a genome: how many tokens, how long, how evenly used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dnalm.console import progress_bar
from dnalm.errors import DataError
from dnalm.genome.alphabet import UNKNOWN
from dnalm.tokenizers.bpe_training import TrainingText
from dnalm.tokenizers.protocol import Ids, Tokenizer

# Bases encoded at a time: a multiple of every k up to 6, so that blocks of k-mers keep their phase
_CHUNK = 60 << 14


@dataclass(frozen=True, kw_only=True)
class TokenStatistics:
    """Counts over the genomes; start and end tokens are left out.

    A token is known if it begins with a base, and only known ones have a length; the others stand for N.

    Attributes:
        counts: occurrences of each id, (V,).
        lengths: known tokens by the number of bases they cover, index 0 upwards.
        words: ids that spell bases and nothing else, all of full length where lengths are fixed, (R,).
        overlap: neighbouring tokens that share a base.
        num_bases: bases that were read, N included.
    """

    counts: Ids
    lengths: Ids
    words: Ids
    overlap: int
    num_bases: int

    @property
    def num_tokens(self) -> int:
        """All tokens."""
        return int(self.counts.sum())

    @property
    def num_known(self) -> int:
        """Known tokens."""
        return int(self.lengths.sum())

    @property
    def mean_length(self) -> float:
        """Bases that a known token covers on average."""
        return float(self.lengths @ np.arange(len(self.lengths))) / self.num_known

    @property
    def tokens_per_kb(self) -> float:
        """Known tokens to a thousand bases that they spell; overlapping ones count for one base each."""
        return 1000 * self.overlap / self.mean_length

    @property
    def unknown_share(self) -> float:
        """Share of the tokens that are not known."""
        return 1 - self.num_known / self.num_tokens

    @property
    def entropy_bits(self) -> float:
        """Entropy of the frequencies of the words; 0 where none occurs."""
        counts = self.counts[self.words]
        share = counts[counts > 0] / max(1, counts.sum())
        return float(-(share * np.log2(share)).sum()) + 0.0

    @property
    def balance(self) -> float:
        """Entropy relative to that of equally frequent ids, 0 to 1."""
        return self.entropy_bits / math.log2(len(self.words))

    @property
    def num_unused(self) -> int:
        """Words that never occur."""
        return int((self.counts[self.words] == 0).sum())

    def most_frequent(self, number: int) -> Ids:
        """The most frequent words that occur, equally frequent ones in their order, (number,) at most."""
        order = self.words[np.argsort(-self.counts[self.words], kind="stable")[:number]]
        return order[self.counts[order] > 0]


def count_tokens(tokenizer: Tokenizer, sources: Sequence[TrainingText]) -> TokenStatistics:
    """Encode genomes and count.

    A stretch is encoded in pieces of about a million bases, so a few tokens may differ from an encoding in
    one piece. Stretches shorter than a token are left out.

    Args:
        tokenizer: what to look at.
        sources: the genomes and their regions; weights are ignored.

    Raises:
        DataError: TOK-11, not one token spells a base.
    """
    counts, lengths = np.zeros(tokenizer.vocab_size, dtype=np.int64), np.zeros(1, dtype=np.int64)
    is_known = tokenizer.token_bases[:, 0] != UNKNOWN
    total = sum(int((source.regions[:, 1] - source.regions[:, 0]).sum()) for source in sources)
    with progress_bar("Encoding", total=total, in_bytes=True) as advance:
        for source in sources:
            for start, end in _pieces(source, tokenizer.overlap):
                codes = source.store.codes[start:end].view(np.ndarray)
                ids = tokenizer.encode(codes)
                spans = tokenizer.spans(codes, ids)
                widths = spans[:, 1] - spans[:, 0]
                counts += np.bincount(ids[widths > 0], minlength=len(counts))
                found = np.bincount(widths[is_known[ids]], minlength=len(lengths))
                found[: len(lengths)] += lengths
                lengths = found
                advance(end - start)
    if not lengths.sum():
        raise DataError(
            "TOK-11",
            where=", ".join(source.name for source in sources),
            found="no token that spells a base",
            expected="a genome with stretches of bases as long as a token",
            fix="give a longer genome",
        )
    return TokenStatistics(
        counts=counts,
        lengths=lengths,
        words=tokenizer.replacement_ids,
        overlap=tokenizer.overlap,
        num_bases=total,
    )


def _pieces(source: TrainingText, overlap: int) -> list[tuple[int, int]]:
    """Pieces whose overlapping tokens are each counted once."""
    return [
        (start, min(start + _CHUNK + overlap - 1, last))
        for first, last in source.regions.tolist()
        for start in range(first, last, _CHUNK)
        if last - start >= overlap
    ]
