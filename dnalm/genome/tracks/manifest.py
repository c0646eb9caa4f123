"""The manifest of a track: what it is, of which genome, from which files, and its statistics."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from dnalm.durable import FileSum
from dnalm.errors import DataError
from dnalm.genome.manifest import MANIFEST_FILE

TRACK_VERSION = 1
TrackKind = Literal["classes", "labels", "values"]
Encoding = Literal["dense", "runs"]


@dataclass(frozen=True)
class TrackStatistics:
    """How a track fills its genome, for class balance before training.

    Attributes:
        num_bases: of the genome.
        num_covered: bases with a class, with a value, or with at least one label that is known.
        positive_bases: bases of each class or label; empty of values.
        covered_bases: bases where each label is known; empty but of labels.
        mean, sd: of the values over covered bases (population); None but of values.
        minimum, maximum: of the values; None but of values.
    """

    num_bases: int
    num_covered: int
    positive_bases: dict[str, int]
    covered_bases: dict[str, int]
    mean: float | None = None
    sd: float | None = None
    minimum: float | None = None
    maximum: float | None = None

    @property
    def num_missing(self) -> int:
        """Bases without any information."""
        return self.num_bases - self.num_covered

    def fractions(self) -> dict[str, float]:
        """Share of each class or label among the bases where it is known; 0 where it is known nowhere."""
        known = self.covered_bases or dict.fromkeys(self.positive_bases, self.num_covered)
        return {name: count / max(1, known[name]) for name, count in self.positive_bases.items()}


@dataclass(frozen=True)
class TrackManifest:
    """What `manifest.json` of a track says.

    Attributes:
        kind: what a base has.
        encoding: how the arrays are laid out.
        names: of the classes or labels, in the order of their numbers; empty of values.
        genome: fingerprint of the genome.
        genome_name: the genome's source file, for messages.
        recipe: class name and arguments of what made it.
        sources: the files it was made from.
        aliases: the genome's contig for every contig name of the sources.
        notes: what was skipped or looked odd.
        files: the arrays.
        statistics: see there.
    """

    kind: TrackKind
    encoding: Encoding
    names: tuple[str, ...]
    genome: str
    genome_name: str
    recipe: dict[str, Any]
    sources: tuple[FileSum, ...]
    aliases: dict[str, str]
    notes: tuple[str, ...]
    files: tuple[FileSum, ...]
    statistics: TrackStatistics

    def to_json(self) -> str:
        """Spell the manifest as JSON."""
        return (
            json.dumps({"format": "dnalm track", "version": TRACK_VERSION, **asdict(self)}, indent=1) + "\n"
        )

    @classmethod
    def from_json(cls, text: str) -> TrackManifest:
        """Read what `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: it is not that.
        """
        fields: dict[str, Any] = json.loads(text)
        if fields.pop("format") != "dnalm track" or fields.pop("version") != TRACK_VERSION:
            raise ValueError("not a track's manifest")
        for key in ("sources", "files"):
            fields[key] = tuple(FileSum(**entry) for entry in fields[key])
        for key in ("names", "notes"):
            fields[key] = tuple(fields[key])
        fields["statistics"] = TrackStatistics(**fields["statistics"])
        return cls(**fields)


def read_track_manifest(path: Path) -> tuple[str, TrackManifest]:
    """The manifest in a track's folder, as text and as value.

    Raises:
        DataError: TRACK-01 (missing), 02 (damaged), 03 (another format version).
    """
    try:
        text = (path / MANIFEST_FILE).read_text(encoding="utf-8")
        fields = json.loads(text)
        version = fields.get("version") if isinstance(fields, dict) else None
        if isinstance(version, int) and version != TRACK_VERSION:
            found = f"the track has format version {version}"
            raise track_error("TRACK-03", path, found, f"version {TRACK_VERSION}")
        return text, TrackManifest.from_json(text)
    except OSError as error:
        found = f"{MANIFEST_FILE} is missing or unreadable ({error.strerror})"
        raise track_error("TRACK-01", path, found, "a track has one") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        found = f"{MANIFEST_FILE} is damaged ({type(error).__name__})"
        raise track_error("TRACK-02", path, found, "the JSON that dnalm wrote") from error


def track_error(
    code: str,
    path: Path,
    found: str,
    expected: str,
    fix: str = "delete the folder, it is rebuilt from its sources",
) -> DataError:
    """An error about a track's folder or what it is made from."""
    return DataError(code, where=str(path), found=found, expected=expected, fix=fix)
