"""What a run on peaks leaves of its task: every row as a table, and how alike peaks and background are.

`task.tsv.gz` has a row for each window, in the order of the parts and of the genome, with the columns of
`dnalm.data.labelled.peaks.COLUMNS`: `label` is 1 or 0, and of several cell types there is a column of each
in its place; `source` is file and line of the peak, `sequence` the bases, in lower case where soft-masked.
So `task.train=runs/mine/task.tsv.gz` reads it as a table.

`task.png` shows GC and repeat share of both. `balance` of `summary.json` has, by part, its `regions`
(contigs, or `contig:start-end`, counted from 0), `positives`, `negatives`, `from_nearest_bin`, and for `gc`
and `repeats` the means of both and the largest distance of their distributions, the statistic of Kolmogorov
and Smirnov.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats

from dnalm.data.labelled import Division, PeakTables
from dnalm.data.labelled.peaks import COLUMNS, PeakRows
from dnalm.data.labelled.table import Part
from dnalm.durable import atomic_write
from dnalm.evaluation.plots import WIDTH, new_figure, printed, save_figure
from dnalm.genome.alphabet import to_text
from dnalm.tables import row_writer

TABLE, PICTURE = "task.tsv.gz", "task.png"
_SHARES = {"gc": "share of G and C in a window", "repeats": "share of soft-masked bases in a window"}
_PART_NAMES = {"train": "training", "val": "validation", "test": "test"}


def write_peaks(division: Division, folder: Path, *, labels: tuple[str, ...]) -> list[Path]:
    """Write the table and the picture of a division that is of peaks.

    Args:
        division: of the rows.
        folder: the run directory.
        labels: names of the labels.

    Returns:
        Both files; nothing of a division that is of no peaks.
    """
    if division.peaks is None:
        return []
    table, picture = folder / TABLE, folder / PICTURE
    with (
        atomic_write(table) as beside,
        beside.open("wb") as raw,
        # without name and time, so that the same rows are the same bytes
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as file,
    ):
        write = row_writer(file, delimiter="\t")
        for row in _table(division.peaks, labels):
            write(row)
    _plot(division.peaks, picture)
    return [table, picture]


def balance(division: Division) -> dict[str, object]:
    """The entry `balance` of a summary; nothing of a division that is of no peaks."""
    peaks = division.peaks
    if peaks is None:
        return {}
    return {"balance": {part: _balance(peaks, part) for part in peaks.rows}}


def _balance(peaks: PeakTables, part: Part) -> dict[str, object]:
    rows = peaks.rows[part]
    positives = int(rows.is_peak.sum())
    entry: dict[str, object] = {
        "regions": peaks.parts.names(part),
        "positives": positives,
        "negatives": len(rows.starts) - positives,
        "from_nearest_bin": peaks.drawn[part].nearest,
    }
    for name in _SHARES:
        of_peaks, background = _both(rows, name)
        entry[name] = {
            "positives": float(of_peaks.mean()),
            "negatives": float(background.mean()),
            "ks": float(stats.ks_2samp(of_peaks, background).statistic),
        }
    return entry


def _both(rows: PeakRows, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """A share of the peaks, and of the background."""
    values: npt.NDArray[np.float64] = getattr(rows.composition, name)
    return values[rows.is_peak], values[~rows.is_peak]


def _table(peaks: PeakTables, labels: tuple[str, ...]) -> Iterator[list[object]]:
    place = COLUMNS.index("label")
    yield [*COLUMNS[:place], *labels, *COLUMNS[place + 1 :]]
    for part, rows in peaks.rows.items():
        of_rows = rows.labels.reshape(len(rows.starts), -1).tolist()
        for number, start in enumerate(rows.starts.tolist()):
            yield [
                rows.contigs[number],
                start,
                start + rows.length,
                part,
                *of_rows[number],
                f"{rows.composition.gc[number]:.4f}",
                f"{rows.composition.repeats[number]:.4f}",
                rows.sources[number],
                to_text(rows.table.sequence(number)),
            ]


@printed
def _plot(peaks: PeakTables, target: Path) -> None:
    """Cumulative curves of GC, and of repeat share where any base is soft-masked; a row for each part."""
    has_repeats = any(rows.composition.repeats.any() for rows in peaks.rows.values())
    shares = {name: text for name, text in _SHARES.items() if name == "gc" or has_repeats}
    figure = new_figure(0.4 + (WIDTH - 0.4) / 2 * len(shares), 2.0 * len(peaks.rows))
    panels = figure.subplots(len(peaks.rows), len(shares), sharex="col", sharey=True, squeeze=False)
    for (part, rows), of_part in zip(peaks.rows.items(), panels, strict=True):
        for axes, name in zip(of_part, shares, strict=True):
            positives, negatives = _both(rows, name)
            distance = stats.ks_2samp(positives, negatives).statistic
            axes.set_title(f"{_PART_NAMES[part]}, largest distance {distance:.3f}", loc="left")
            axes.ecdf(positives, label=_described("peaks", positives), color="C0", linewidth=1.5)
            axes.ecdf(negatives, label=_described("background", negatives), color="C1", linestyle="--")
            axes.legend(loc="lower right", borderaxespad=0.2)
        of_part[0].set_ylabel("cumulative share of windows")
    for axes, text in zip(panels[-1], shares.values(), strict=True):
        axes.set_xlabel(text)
    save_figure(figure, target)


def _described(what: str, values: npt.NDArray[np.float64]) -> str:
    return f"{len(values):,} {what}, mean {values.mean():.3f}"
