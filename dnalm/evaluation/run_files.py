"""What a run has left in its folder, read within limits: config, summary, curves, tables, pictures.

Nothing is computed and no model is opened. A part that is absent or cannot be read is a sentence in `notes`,
so that a run that was killed, or a folder that a stranger sent, still shows what it has.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from dnalm.errors import DataError, DnalmError
from dnalm.evaluation.plots import Curve, read_curves
from dnalm.evaluation.strata import STRATA_FILE
from dnalm.small_files import SmallFileError, read_provenance, read_small, require_file
from dnalm.tables import unharmed

MOST_RUNS = 24  # of a page
_MOST_FILE_BYTES = 64 << 20  # of metrics and tables
_MOST_PICTURE_BYTES = 2 << 20
_MOST_PICTURES = 8
_MOST_ROWS, _MOST_COLUMNS = 300, 40  # of a table
_MOST_SCORED = 100_000  # rows of a table of variants
_LEDGER = "sweep.jsonl"
BENCHMARK, MAP = "benchmark.csv", "map.csv"
_TABLES = {
    BENCHMARK: "results of the benchmark",
    "labels.csv": "results by number of labels",
    "probe.csv": "probes that were tried",
    "table.csv": "jobs of the sweep, or what was compared",
    "clusters.csv": "clusters against labels",
    "found.tsv": "motifs that the model knows, and the nearest known ones",
    "sites.tsv": "what the model knows at places of known motifs",
    "heads.tsv": "what attention heads look at",
}
_OF_BENCHMARK = ("task", "metric", "model", "from", "mean", "low", "high", "seeds", "error")
_DRAWN = {  # pictures that the page draws itself, and from what
    "loss.png": "metrics.csv",
    "clusters.png": MAP,
    "tasks.png": BENCHMARK,
}
_MOST_MAPPED, _MOST_LABELS = 2_000, 12  # points of a map, and labels
_PNG = b"\x89PNG\r\n\x1a\n"
Part = TypeVar("Part")


@dataclass(frozen=True, kw_only=True)
class FileTable:
    """A table of the folder, cut at 300 rows and 40 columns.

    Attributes:
        name: of the file.
        about: what it is.
        header: names of the columns.
        rows: cells.
        num_rows: of the whole file.
    """

    name: str
    about: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    num_rows: int


@dataclass(frozen=True, kw_only=True)
class ScoredTable:
    """Variants that `dnalm score` has written into the folder.

    Attributes:
        name: of the file.
        evaluation: figures against labels, a row for each score; empty without labels.
        scores: values by score, of the first 100,000 rows of a `.tsv`; empty for other formats.
    """

    name: str
    evaluation: Sequence[Mapping[str, Any]]
    scores: Mapping[str, Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """A run, or the folder of a sweep, a benchmark or another output.

    Attributes:
        name: of the folder.
        path: of the folder.
        command: that made it, such as `pretrain`; empty where that is not known.
        config: leaves of `config.yaml` as JSON, by dotted key.
        summary: `summary.json`.
        provenance: `dnalm.yaml` of the model directory.
        curves: of `metrics.csv`, by column.
        strata: rows of `strata.csv`.
        tables: that are there.
        scored: tables of variants.
        outputs: what `<file>.summary.json` says of each file.
        maps: points of `map.csv` by label, by what was embedded and how it was flattened.
        pictures: PNG files by name.
        notes: what is absent or unreadable, a sentence each.
    """

    name: str
    path: Path
    command: str = ""
    config: Mapping[str, str] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    strata: Sequence[Mapping[str, str | float]] = ()
    tables: Sequence[FileTable] = ()
    scored: Sequence[ScoredTable] = ()
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    maps: Mapping[tuple[str, str], Mapping[str, Sequence[tuple[float, float]]]] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    notes: Sequence[str] = ()


def read_runs(folders: Sequence[Path]) -> tuple[list[RunFiles], list[str]]:
    """Read runs and other outputs, and of a sweep or benchmark the folder and its jobs.

    Args:
        folders: of runs, sweeps, benchmarks and other outputs.

    Returns:
        The first 24 of them, of unlike names, and a sentence about those that were left out.

    Raises:
        DataError: REPORT-01, a folder holds nothing of ours.
    """
    found: list[Path] = []
    for folder in folders:
        found += [folder, *_jobs(folder)]
    found = list(dict.fromkeys(found))
    left_out = f"{len(found) - MOST_RUNS} more runs are not shown" if len(found) > MOST_RUNS else ""
    return [_read_run(path, found) for path in found[:MOST_RUNS]], [left_out] if left_out else []


def _jobs(folder: Path) -> list[Path]:
    """Run directories of a sweep's jobs; none of a run."""
    if not (folder / _LEDGER).is_file():
        return []
    return sorted(path for path in folder.iterdir() if (path / "config.yaml").is_file())


def _read_run(folder: Path, others: Sequence[Path]) -> RunFiles:
    is_sweep = (folder / _LEDGER).is_file()
    is_run = is_sweep or any((folder / name).is_file() for name in ("config.yaml", "summary.json"))
    parts = _Parts(folder)
    beside = parts.names(f"*{_OF_FILE}")
    if not is_run and not beside:
        raise DataError(
            "REPORT-01",
            where=str(folder),
            found="neither config.yaml nor a summary.json" if folder.is_dir() else "no folder",
            expected="the folder of a run, a sweep or a benchmark, or one that dnalm has written a file into",
            fix="name one that dnalm has written, such as dnalm report runs/first",
        )
    config = parts.read(
        "config.yaml", lambda path: read_small(path, "yaml"), is_expected=not is_sweep and is_run
    )
    summary = parts.read("summary.json", lambda path: read_small(path, "json"), is_expected=is_run) or {}
    files = {name: parts.read(name, lambda path: read_small(path, "json")) for name in beside}
    outputs = {name.removesuffix(_OF_FILE): found for name, found in files.items() if found}
    command = _command(config or next((found.get("config") for found in outputs.values()), None))
    trains = command in ("pretrain", "finetune")
    steps = summary.get("steps_done", summary.get("steps"))
    whole = steps if isinstance(steps, int) else None
    model = "model" if trains or (folder / "model").is_dir() else "."
    tables = [
        parts.read(name, partial(_table, about=about), is_expected=False) for name, about in _TABLES.items()
    ]
    scored = [parts.read(name, _scored) for name in beside]
    drawn = [name for name, source in _DRAWN.items() if (folder / source).is_file()]
    pictures = {name: parts.read(name, _picture) for name in parts.names("*.png") if name not in drawn}
    is_alone = sum(other.name == folder.name for other in others) == 1
    return RunFiles(
        name=folder.resolve().name if is_alone else str(folder),
        path=folder,
        command=command or ("sweep" if is_sweep else ""),
        config=flattened(config or {}),
        summary=summary,
        curves=parts.read("metrics.csv", partial(_curves, steps=whole), is_expected=trains) or {},
        strata=parts.read(STRATA_FILE, _strata, is_expected=False) or [],
        provenance=parts.read(model, read_provenance, is_expected=trains) or {},
        tables=[table for table in tables if table],
        scored=[table for table in scored if table],
        outputs=outputs,
        maps=parts.read(MAP, _maps, is_expected=False) or {},
        pictures={name: content for name, content in pictures.items() if content},
        notes=parts.notes,
    )


_OF_FILE = ".summary.json"  # beside a file that a command has written


class _Parts:
    """Reads the parts of a folder, and notes those that are absent or unreadable."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.notes = folder, list[str]()

    def names(self, pattern: str) -> list[str]:
        """The first files of a pattern."""
        return sorted(path.name for path in self.folder.glob(pattern))[:_MOST_PICTURES]

    def read(self, name: str, read: Callable[[Path], Part], *, is_expected: bool = True) -> Part | None:
        """What the file holds; None where it is absent, which is noted if it was expected, or unreadable."""
        try:
            path = self.folder / name
            path.stat()
            return read(path)
        except FileNotFoundError:
            if not is_expected:
                return None
            reason = "is missing"
        except DnalmError as error:
            reason = f"cannot be read: {error.found}"
        except OSError as error:
            reason = f"cannot be read: {error.strerror}"
        except (ValueError, csv.Error) as error:
            reason = f"cannot be read: {error}"
        self.notes.append(f"{name} {reason}")
        return None


def _command(config: object) -> str:
    """`pretrain` of `dnalm.commands.pretrain.PretrainCommand`."""
    parts = str(config.get("_target_", "")).split(".") if isinstance(config, Mapping) else []
    return parts[2] if parts[:2] == ["dnalm", "commands"] and len(parts) > 3 else ""


def flattened(config: Mapping[str, Any], key: str = "") -> dict[str, str]:
    """The leaves of a config by dotted key, as JSON, so that 1 and "1" differ; empty mappings are leaves."""
    found: dict[str, str] = {}
    for name, value in config.items():
        dotted = f"{key}.{name}" if key else str(name)
        if isinstance(value, Mapping) and value:
            found |= flattened(value, dotted)
        else:
            found[dotted] = json.dumps(value, ensure_ascii=False, default=str, sort_keys=True)
    return found


def _require_small(path: Path, most_bytes: int) -> None:
    if (size := require_file(path)) > most_bytes:
        raise SmallFileError(f"{size:,} bytes", f"a page reads at most {most_bytes:,}")


def _curves(path: Path, *, steps: int | None) -> dict[str, Curve]:
    _require_small(path, _MOST_FILE_BYTES)
    return read_curves(path, steps=steps)


def _picture(path: Path) -> bytes:
    _require_small(path, _MOST_PICTURE_BYTES)
    content = path.read_bytes()
    if not content.startswith(_PNG):
        raise ValueError("it is no PNG")
    return content


def _table(path: Path, *, about: str) -> FileTable:
    _require_small(path, _MOST_FILE_BYTES)
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        header = next(rows, [])
        wanted = [n for n, name in enumerate(header) if path.name != BENCHMARK or name in _OF_BENCHMARK]
        wanted = wanted[:_MOST_COLUMNS]
        kept = [
            [unharmed(row[n]) if n < len(row) else "" for n in wanted]
            for row in itertools.islice(rows, _MOST_ROWS)
        ]
        num_rows = len(kept) + sum(1 for _ in rows)
    return FileTable(
        name=path.name, about=about, header=[header[n] for n in wanted], rows=kept, num_rows=num_rows
    )


def _strata(path: Path) -> list[dict[str, str | float]]:
    _require_small(path, _MOST_FILE_BYTES)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(itertools.islice(csv.DictReader(file), _MOST_ROWS))
    texts = ("group", "stratum", "about")
    if any(name not in row for row in rows for name in texts):
        raise ValueError(f"the columns {', '.join(texts)} are missing")
    return [
        {
            **{name: unharmed(row[name] or "") for name in texts},
            **{name: float(value) for name, value in row.items() if name not in texts and value},
        }
        for row in rows
    ]


def _maps(path: Path) -> dict[tuple[str, str], dict[str, list[tuple[float, float]]]]:
    """Points of each map, evenly thinned; labels beyond the twelfth are "other"."""
    _require_small(path, _MOST_FILE_BYTES)
    with path.open(newline="", encoding="utf-8") as file:
        rows = [
            (row["vectors"], row["method"], row["label"], row["x"], row["y"]) for row in csv.DictReader(file)
        ]
    labels = sorted({unharmed(label) for _, _, label, _, _ in rows})[:_MOST_LABELS]
    each = max(1, len(rows) // max(1, len({row[:2] for row in rows})))
    found: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for vectors, method, label, x, y in rows[:: -(-each // _MOST_MAPPED)]:
        name = unharmed(label) if unharmed(label) in labels else "other"
        points = found.setdefault((unharmed(vectors), unharmed(method)), {})
        points.setdefault(name, []).append((float(x), float(y)))
    return {key: dict(sorted(points.items())) for key, points in found.items()}


def _scored(path: Path) -> ScoredTable | None:
    """The table that a `<table>.summary.json` of `dnalm score` is about; None of other commands."""
    summary = read_small(path, "json")
    names, rows = summary.get("scores"), summary.get("evaluation")
    if not isinstance(names, list) or not isinstance(rows, list):
        return None
    table = path.with_name(path.name.removesuffix(".summary.json"))
    scores: dict[str, list[float]] = {}
    if table.suffix == ".tsv":
        _require_small(table, _MOST_FILE_BYTES)
        with table.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, delimiter="\t")
            kept = [name for name in map(str, names) if name in (reader.fieldnames or ())]
            for row in itertools.islice(reader, _MOST_SCORED):
                for name in kept:
                    if row[name]:
                        scores.setdefault(name, []).append(float(row[name]))
    evaluation = [row for row in rows if isinstance(row, dict)]
    return ScoredTable(name=table.name, evaluation=evaluation, scores=scores)


def differences(runs: Sequence[RunFiles]) -> dict[str, list[str]]:
    """Keys whose values differ between configs, `run.*` excepted, and the values in the order of the runs.

    A key that a config lacks is "absent"; values are JSON, in which a text has quotes.
    """
    keys = dict.fromkeys(key for run in runs for key in run.config)
    rows = {key: [run.config.get(key, "absent") for run in runs] for key in keys}
    return {key: row for key, row in rows.items() if len(set(row)) > 1 and not key.startswith("run.")}
