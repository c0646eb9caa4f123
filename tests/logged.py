"""What TensorBoard and W&B hold of a run, read from their files."""

from __future__ import annotations

import csv
import json
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BLOCK, _HEADER = 32_768, 7


@dataclass
class Offline:
    """An offline run of W&B.

    Attributes:
        id: of the run.
        config: by name.
        rows: of its history, in their order.
        summary: by name.
        media: the folder of files that rows name.
        exit_code: None if it was not ended.
        is_preempting: whether it said that it would be continued.
    """

    id: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    media: Path = Path()
    exit_code: int | None = None
    is_preempting: bool = False


def offline_runs(run: Path) -> list[Offline]:
    """Those of a run directory, the oldest first."""
    return [_offline(path) for path in sorted(run.glob("wandb/offline-run-*/*.wandb"))]


def _offline(path: Path) -> Offline:
    found = Offline(media=path.parent / "files")
    for record in _records(path):
        kind = record.WhichOneof("record_type")
        part = getattr(record, kind)
        if kind == "run":
            found.id = part.run_id
        elif kind == "config":
            found.config |= _values(part.update)
        elif kind == "history":
            found.rows.append(_values(part.item))
        elif kind == "summary":
            found.summary |= _values(part.update)
        elif kind == "exit":
            found.exit_code = part.exit_code
        found.is_preempting |= kind == "preempting"
    return found


def _values(items: Any) -> dict[str, Any]:  # noqa: ANN401 -- messages of protobuf
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(path: Path) -> Iterator[Any]:
    """W&B's file is a log of LevelDB: blocks of parts, each with checksum, length and place in its record."""
    from wandb.proto import wandb_internal_pb2 as messages

    data, at, text = path.read_bytes(), _HEADER, b""
    while at + _HEADER <= len(data):
        if _BLOCK - at % _BLOCK < _HEADER:
            at += _BLOCK - at % _BLOCK
            continue
        _, length, place = struct.unpack("<IHB", data[at : at + _HEADER])
        text += data[at + _HEADER : at + _HEADER + length]
        at += _HEADER + length
        if place in (1, 4):  # whole, or the last part
            record = messages.Record()
            record.ParseFromString(text)
            text = b""
            yield record


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of TensorBoard's curves by name, as it shows them."""
    events = accumulated(folder)
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def accumulated(folder: Path) -> Any:  # noqa: ANN401 -- TensorBoard's own reader
    """All events of a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance=dict.fromkeys(("scalars", "images", "tensors"), 0))
    return events.Reload()


def columns(metrics: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of each column of a metrics.csv."""
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    with metrics.open(newline="") as file:
        for row in csv.DictReader(file):
            for name, text in row.items():
                if name != "step" and text:
                    found[name].append((int(row["step"]), float(text)))
    return dict(found)
