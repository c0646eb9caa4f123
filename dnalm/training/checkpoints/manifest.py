"""`MANIFEST.json` of a checkpoint: which files it has, with the size and the checksum of each.

It is written last, and a text is one only if it is, byte for byte, what `to_json` spells, so no damage to it
can go unseen: it is another manifest then, and does not fit the files, or none.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from dnalm.durable import FileSum
from dnalm.training.checkpoints.names import STATE_FILE, is_file_name

FORMAT, FORMAT_VERSION = "dnalm checkpoint", 1
MOST_BYTES = 4 << 20  # some 25,000 files
_SHA256 = re.compile(r"[0-9a-f]{64}")


class NewerVersionError(ValueError):
    """The manifest is of a later dnalm."""


@dataclass(frozen=True)
class Manifest:
    """The files of a checkpoint, without the manifest itself."""

    files: tuple[FileSum, ...]

    @property
    def num_bytes(self) -> int:
        """Of all files."""
        return sum(entry.num_bytes for entry in self.files)

    def to_json(self) -> str:
        """Spell it, sorted by name."""
        files = {entry.name: {"bytes": entry.num_bytes, "sha256": entry.sha256} for entry in self.files}
        fields = {"format": FORMAT, "version": FORMAT_VERSION, "files": files}
        return json.dumps(fields, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what `to_json` wrote.

        Raises:
            NewerVersionError: it is of a later version.
            ValueError: it is not what `to_json` wrote, or names a file as no file of a checkpoint is.
        """
        try:
            fields = json.loads(text)
        except RecursionError as error:
            raise ValueError("not JSON of any use: too deep") from error
        version = fields.get("version") if isinstance(fields, dict) else None
        if isinstance(version, int) and version > FORMAT_VERSION and fields.get("format") == FORMAT:
            raise NewerVersionError(f"format version {version}")
        try:
            manifest = cls(tuple(_entry(name, **entry) for name, entry in fields["files"].items()))
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not the fields of a manifest ({error})") from error
        if all(entry.name != STATE_FILE for entry in manifest.files):
            raise ValueError(f"no {STATE_FILE} in it")
        if manifest.to_json() != text:
            raise ValueError("changed after it was written")
        return manifest


def _entry(name: str, *, bytes: int, sha256: str) -> FileSum:  # noqa: A002
    if not is_file_name(name):
        raise ValueError(f"a file called {name[:80]!r}")
    if type(bytes) is not int or bytes < 0 or not _SHA256.fullmatch(sha256):
        raise ValueError(f"no size and checksum of {name}")
    return FileSum(name, bytes, sha256)
