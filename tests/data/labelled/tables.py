"""Small labelled tables, in every form."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.conftest import random_sequence

Rows = list[dict[str, object]]


def rows(number: int, *, length: int = 20, seed: int = 0) -> Rows:
    """Rows whose labels alternate."""
    return [
        {"id": f"s{seed}_{n}", "sequence": random_sequence(length + n % 3, 100 * seed + n), "label": n % 2}
        for n in range(number)
    ]


def write(path: Path, table: Rows) -> Path:
    """Write rows in the form that the ending names."""
    columns = list(table[0])
    form = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if form == ".parquet":
        pq.write_table(pa.table({name: [row[name] for row in table] for name in columns}), path)
        return path
    if form == ".jsonl":
        text = "".join(json.dumps(row) + "\n" for row in table)
    elif form == ".fa":
        text = "".join(f">{row['id']} label={row['label']}\n{row['sequence']}\n" for row in table)
    else:
        mark = "\t" if form == ".tsv" else ","
        lines = [columns, *([str(row[name]) for name in columns] for row in table)]
        text = "".join(mark.join(line) + "\n" for line in lines)
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def letters(codes: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> str:
    """Codes as text."""
    return "".join("ACGTN"[code & 7] for code in codes)
