"""The manifest of a genome store: what the folder holds, and the checksums that prove it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dnalm.durable import FileSum
from dnalm.errors import DataError

FORMAT_VERSION = 1
BASES_FILE, UNKNOWN_FILE, MANIFEST_FILE = "bases.bin", "unknown.npy", "manifest.json"


@dataclass(frozen=True, slots=True)
class Contig:
    """A sequence of the genome: `length` bases from `offset` in the flat array."""

    name: str
    offset: int
    length: int


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says.

    Attributes:
        contigs: in the order of the source; offsets follow from the lengths.
        num_unknown: bases that are N, replaced ambiguous letters included.
        num_soft_masked: bases in lower case.
        base_counts: bases by letter A, C, G, T, N, in either case; they sum to the genome.
        ambiguous_counts: how many of the N were which IUPAC letter.
        source: the file the store was built from.
        files: bases.bin and unknown.npy.
    """

    contigs: tuple[Contig, ...]
    num_unknown: int
    num_soft_masked: int
    base_counts: dict[str, int]
    ambiguous_counts: dict[str, int]
    source: FileSum
    files: tuple[FileSum, FileSum]

    @property
    def num_bases(self) -> int:
        """Bases of all contigs."""
        return self.contigs[-1].offset + self.contigs[-1].length

    def to_json(self) -> str:
        """Spell the manifest as JSON, a contig a line."""
        fields = {"format": "dnalm genome", "version": FORMAT_VERSION, **vars(self)}
        fields |= {"source": asdict(self.source), "files": [asdict(file) for file in self.files]}
        del fields["contigs"]
        contigs = ",\n".join(
            json.dumps([contig.name, contig.offset, contig.length]) for contig in self.contigs
        )
        return f'{json.dumps(fields, indent=1)[:-2]},\n "contigs": [\n{contigs}\n]}}\n'

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: it is not that.
        """
        fields: dict[str, Any] = json.loads(text)
        if fields.pop("format") != "dnalm genome" or fields.pop("version") != FORMAT_VERSION:
            raise ValueError("not a genome's manifest")
        bases, unknown = (FileSum(**entry) for entry in fields.pop("files"))
        contigs = tuple(Contig(*row) for row in fields.pop("contigs"))
        manifest = cls(
            contigs=contigs, source=FileSum(**fields.pop("source")), files=(bases, unknown), **fields
        )
        ends = [0, *(contig.offset + contig.length for contig in contigs)]
        if ends[:-1] != [contig.offset for contig in contigs] or ends[-1] != bases.num_bytes or not contigs:
            raise ValueError("the contigs do not cover the bases")
        return manifest


def read_manifest(path: Path) -> tuple[str, Manifest]:
    """The manifest in a store's folder, as text and as value.

    Raises:
        DataError: STORE-01 (missing), 02 (damaged), 03 (another format version).
    """
    try:
        text = (path / MANIFEST_FILE).read_text(encoding="utf-8")
    except OSError as error:
        found = f"{MANIFEST_FILE} is missing or unreadable ({error.strerror})"
        raise broken("STORE-01", path, found, "a genome store has one") from error
    except UnicodeDecodeError as error:
        raise broken("STORE-02", path, f"{MANIFEST_FILE} is damaged", "UTF-8 text") from error
    try:
        fields = json.loads(text)
        version = fields.get("version") if isinstance(fields, dict) else None
        if isinstance(version, int) and version != FORMAT_VERSION:
            found = f"the store has format version {version}"
            raise broken("STORE-03", path, found, f"version {FORMAT_VERSION}")
        return text, Manifest.from_json(text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        found = f"{MANIFEST_FILE} is damaged ({type(error).__name__}: {error})"
        raise broken("STORE-02", path, found, "the JSON that dnalm wrote") from error


def broken(code: str, path: Path, found: str, expected: str, manifest: Manifest | None = None) -> DataError:
    """A store that cannot be used as it is: STORE-01 to STORE-06."""
    source = manifest.source.name if manifest else "its source"
    fix = f"delete the folder, it is rebuilt from {source}"
    return DataError(code, where=str(path), found=found, expected=expected, fix=fix)
