"""The baseline that every embedding is held against: how often each k-mer stands in a sequence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnalm.evaluation.embedding.reader import Vectors
from dnalm.genome.alphabet import Codes, bases


def kmer_frequencies(sequences: Sequence[Codes], *, k: int) -> Vectors:
    """The share of each k-mer among those of a sequence that hold no N, (S, 4^k); zeros where none is left.

    Args:
        sequences: (L,) codes each.
        k: 1 to 8.
    """
    counts = np.zeros((len(sequences), 4**k), dtype=np.float32)
    for row, codes in enumerate(sequences):
        letters = bases(codes).astype(np.int64)
        if len(letters) < k:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(letters, k)
        known = windows[(windows < 4).all(axis=1)]
        counts[row] = np.bincount(known @ 4 ** np.arange(k)[::-1], minlength=4**k)
    frequencies: Vectors = counts / counts.sum(1, keepdims=True).clip(1)
    return frequencies
