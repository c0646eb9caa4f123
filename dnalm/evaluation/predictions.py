"""`predictions.parquet`: what a model says of each row of a test set, from which any metric can be computed.

Columns: `id`; `label`, or `label_<column>` for each of a multi-label task (`label_<column>_0` and so on where
one column lists them); `score`, the probability of the second of two classes or the value of a regression, or
`score_0` to `score_k`, the probabilities of more classes or of the labels in their order. Of more than 64
classes a row has `predicted`, the most probable one, `score`, its probability, and `score_of_label`, that of
the right one. Of segmentation there is a row for each base, with `base`, its place in the sequence from 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dnalm.data.labelled import AnyTask, TablePart
from dnalm.data.labelled.table import label_names
from dnalm.durable import atomic_write

_MOST_COLUMNS = 64
Scores = npt.NDArray[np.float64]


def write_predictions(path: Path, task: AnyTask, part: TablePart, scores: Scores) -> None:
    """Write the table, whole or not at all.

    Args:
        path: the file.
        task: whose columns name the labels.
        part: the rows.
        scores: (R,) or (R, O).
    """
    columns: dict[str, npt.NDArray[np.generic]] = {"id": part.names}
    if part.table.per_base:
        places = np.arange(part.lengths.sum()) - np.repeat(part.starts, part.lengths)
        columns = {"id": np.repeat(part.names, part.lengths), "base": places}
    if part.labels.ndim == 1:
        columns["label"] = part.labels
    else:
        names = label_names(task.label_columns, part.labels.shape[1])
        columns |= {f"label_{name}": part.labels[:, n] for n, name in enumerate(names)}
    if scores.ndim > 1 and part.labels.ndim == 1 and scores.shape[1] > _MOST_COLUMNS:
        best, rows = scores.argmax(axis=1), np.arange(len(scores))
        columns |= {"predicted": best, "score": scores[rows, best]}
        columns["score_of_label"] = scores[rows, part.labels.astype(np.int64)]
    elif scores.ndim == 1:
        columns["score"] = scores
    else:
        columns |= {f"score_{n}": scores[:, n] for n in range(scores.shape[1])}
    with atomic_write(path) as beside:
        pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), beside)
