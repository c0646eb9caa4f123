"""Which number of merges predicts the next bases best: mean rank over k, a table, a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from dnalm.evaluation import statistics
from dnalm.evaluation.plots import WIDTH, new_figure, printed, save_figure
from dnalm.tables import csv_text, markdown_text

_MISSING = "-"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How well a model of one tokenizer predicts the next k bases.

    Attributes:
        tokenizer: as in the table.
        merges: of a BPE; None for fixed k-mers.
        k: bases that are predicted.
        status: how the job ended.
        accuracy: on the test rows; None where it is not known.
        majority: that of always predicting the most frequent k-mer of training.
        rows: test rows.
        run: the run directory.
    """

    tokenizer: str
    merges: int | None
    k: int
    status: str
    accuracy: float | None
    majority: float | None
    rows: int
    run: str

    @property
    def error(self) -> float | None:
        """Standard error of the accuracy, rows taken as independent."""
        if self.accuracy is None or not self.rows:
            return None
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.rows)


def mean_ranks(outcomes: Sequence[Outcome]) -> dict[int, float]:
    """The mean rank over k of each number of merges that has an accuracy for every k, 1 being best.

    Equal accuracies share their rank. Ranks are of these alone, without fixed k-mers.
    """
    ks = {each.k for each in outcomes}
    known = {(each.merges, each.k): each.accuracy for each in outcomes if each.accuracy is not None}
    counts = {each.merges for each in outcomes if each.merges is not None}
    whole = sorted(count for count in counts if all((count, k) in known for k in ks))
    ranks = statistics.mean_ranks([[known[count, k] for count in whole] for k in ks]) if whole else []
    return dict(zip(whole, ranks, strict=True))


def choose(ranks: dict[int, float]) -> int | None:
    """The number of merges of the best mean rank, the fewest of several; None if there is none."""
    return min(ranks, key=lambda count: (ranks[count], count), default=None)


_COLUMNS = (
    "tokenizer", "merges", "k", "accuracy", "standard_error", "majority", "chance", "rows", "status", "run"
)  # fmt: skip


def outcomes_csv(outcomes: Sequence[Outcome]) -> str:
    """All figures, a line a tokenizer and k; what is not known is empty."""
    rows = [
        (e.tokenizer, e.merges, e.k, e.accuracy, e.error, e.majority, 4.0**-e.k, e.rows, e.status, e.run)
        for e in outcomes
    ]
    return csv_text([_COLUMNS, *(["" if cell is None else str(cell) for cell in row] for row in rows)])


def outcomes_markdown(outcomes: Sequence[Outcome]) -> str:
    """Accuracies in per cent with standard errors, a line a tokenizer, a column a k."""
    ks = sorted({each.k for each in outcomes})
    ranks = mean_ranks(outcomes)
    found = {(each.tokenizer, each.k): each for each in outcomes}
    lines: list[list[str]] = []
    for name, merges in dict.fromkeys((each.tokenizer, each.merges) for each in outcomes):
        rank = ranks.get(merges) if merges is not None else None
        cells = [_percent(found.get((name, k))) for k in ks]
        lines.append([name, *cells, _MISSING if rank is None else f"{rank:.2f}"])
    shares = [_majority([each for each in outcomes if each.k == k]) for k in ks]
    texts = [_MISSING if share is None else f"{100 * share:.2f}" for share in shares]
    lines.append(["most frequent k-mer", *texts, _MISSING])
    return markdown_text(["tokenizer", *(f"k = {k}" for k in ks), "mean rank"], lines)


def _percent(outcome: Outcome | None) -> str:
    if outcome is None or outcome.accuracy is None or outcome.error is None:
        return outcome.status if outcome else _MISSING
    return f"{100 * outcome.accuracy:.2f} ± {100 * outcome.error:.2f}"


def _majority(outcomes: Sequence[Outcome]) -> float | None:
    """That of outcomes of one k, which is the same for every tokenizer."""
    return next((each.majority for each in outcomes if each.majority is not None), None)


@printed
def plot_choice(outcomes: Sequence[Outcome], target: Path) -> bool:
    """Draw accuracy by number of merges, a panel a k, fixed k-mers as horizontal lines.

    Returns:
        Whether there was anything to draw.
    """
    known = [each for each in outcomes if each.accuracy is not None]
    ks = sorted({each.k for each in known})
    if not ks:
        return False
    figure = new_figure(min(WIDTH, 3.4 * len(ks) + 0.6), 2.8)
    for panel, k in zip(figure.subplots(1, len(ks), squeeze=False)[0], ks, strict=True):
        _draw(panel, [each for each in known if each.k == k])
        panel.set(title=f"next {k} bases", xlabel="merges", ylabel="accuracy, %")
    save_figure(figure, target)
    return True


def _draw(panel: Axes, outcomes: Sequence[Outcome]) -> None:
    line = [(each.merges, each.accuracy, each.error) for each in outcomes if each.merges is not None]
    counts = [merges for merges, _, _ in line]
    heights = [100 * (accuracy or 0) for _, accuracy, _ in line]
    panel.errorbar(
        counts,
        heights,
        [196 * (error or 0) for _, _, error in line],
        marker="o",
        label="BPE, ± 1.96 standard errors",
    )
    for number, each in enumerate(each for each in outcomes if each.merges is None):
        height = 100 * (each.accuracy or 0)
        panel.axhline(height, color=f"C{number + 1}", linestyle="--", label=each.tokenizer)
    if (majority := _majority(outcomes)) is not None:
        panel.axhline(100 * majority, color="0.6", linestyle=":", label="most frequent")
    panel.legend()
