"""A picture of how a tokenizer reads a genome."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dnalm.durable import atomic_write
from dnalm.tokenizers import Tokenizer
from dnalm.tokenizers.statistics import TokenStatistics

_SHOWN = 25


def plot_tokens(statistics: TokenStatistics, tokenizer: Tokenizer, title: str, target: Path) -> None:
    """Draw the lengths of tokens, their frequencies by rank, and the most frequent ones.

    Args:
        statistics: what was counted.
        tokenizer: whose ids they are.
        title: what was read by what.
        target: the PNG to write.
    """
    figure = Figure(figsize=(13, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    lengths, ranks, frequent = figure.subplots(1, 3)
    used = np.flatnonzero(statistics.lengths)
    lengths.bar(used, statistics.lengths[used] / statistics.num_known, color="C0")
    lengths.set(xlabel="bases a token covers", ylabel="share of known tokens", title="Token lengths")
    lengths.axvline(
        statistics.mean_length, color="C1", linestyle="--", label=f"mean {statistics.mean_length:.2f}"
    )
    lengths.legend()

    counts = statistics.counts[statistics.words]
    share = np.sort(counts[counts > 0])[::-1] / statistics.num_known
    ranks.loglog(np.arange(1, len(share) + 1), share, color="C0", label="tokens")
    ranks.axhline(1 / len(statistics.words), color="C1", linestyle="--", label="all equally frequent")
    ranks.set(xlabel="rank", ylabel="share of tokens", title=f"Balance {statistics.balance:.3f}")
    ranks.legend()

    top = statistics.most_frequent(_SHOWN)
    top = top[statistics.counts[top] > 0]
    words = tokenizer.vocabulary()
    frequent.barh(np.arange(len(top)), statistics.counts[top] / statistics.num_known, color="C0")
    frequent.set_yticks(np.arange(len(top)), [words[i] for i in top], fontsize=7, family="monospace")
    frequent.invert_yaxis()
    frequent.set(xlabel="share of tokens", title="Most frequent")
    with atomic_write(target) as beside:
        figure.savefig(beside, dpi=120)
