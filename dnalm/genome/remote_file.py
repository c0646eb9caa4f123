"""A file of another host: where it is, and the checksum that proves it.

A checksum is spelled `md5:<hex>` or `sha256:<hex>`, as pooch spells it. Where it is not known
beforehand, the publisher's list of checksums is: UCSC's md5sum.txt, NCBI's md5checksums.txt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pooch

SCHEMES = ("http", "https")
_DIGEST_LETTERS = {"md5": 32, "sha256": 64}
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LIST_LINE = re.compile(r"(?P<digest>[0-9a-fA-F]+)\s+\*?(?:\./)?(?P<name>\S+)")


@dataclass(frozen=True)
class Checksum:
    """What a file's bytes come to: `md5` or `sha256`, and the digest in lower-case hex."""

    algorithm: str
    digest: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digest}"

    def matches(self, path: Path) -> bool:
        """Whether a file has it; reads the whole file."""
        return self.of(path) == self

    def of(self, path: Path) -> Checksum:
        """A file's checksum by the same algorithm."""
        return Checksum(self.algorithm, pooch.file_hash(str(path), alg=self.algorithm))


def parse_checksum(text: str) -> Checksum:
    """Read `md5:<hex>` or `sha256:<hex>`, in either case.

    Raises:
        ValueError: it is neither.
    """
    algorithm, _, digest = text.strip().lower().partition(":")
    if len(digest) != _DIGEST_LETTERS.get(algorithm) or re.fullmatch("[0-9a-f]+", digest) is None:
        raise ValueError(f"checksum is {text}; it is md5: and 32 hexadecimal digits, or sha256: and 64")
    return Checksum(algorithm, digest)


def find_checksum(text: str, name: str) -> Checksum | None:
    """The checksum of a file in a list as `md5sum` and `sha256sum` write them: digest, blanks, name.

    The algorithm is told by the digest's length. None where no line names the file.
    """
    for line in text.splitlines():
        entry = _LIST_LINE.fullmatch(line.strip())
        if entry is not None and entry["name"] == name:
            for algorithm, letters in _DIGEST_LETTERS.items():
                if len(entry["digest"]) == letters:
                    return Checksum(algorithm, entry["digest"].lower())
    return None


def check_name(name: str) -> str:
    """Give back a name that is safe as a file's or folder's, below the one it is put in.

    Raises:
        ValueError: it holds anything but letters, digits and `. _ -`, or starts with one of these.
    """
    if _SAFE_NAME.fullmatch(name) is None:
        rule = "letters, digits, '.', '_' and '-', of which the first is a letter or digit, 100 at most"
        raise ValueError(f"name is {name!r}; it is made of {rule}")
    return name


def check_url(url: str) -> str:
    """Give back an address that may be downloaded from.

    Raises:
        ValueError: another scheme than http and https, no host, a password, or no plain file name at
            its end.
    """
    try:
        parts = urlsplit(url)
        host, user = parts.hostname, parts.username
    except ValueError as error:
        raise ValueError(f"url is {url}; it cannot be read ({error})") from error
    if parts.scheme not in SCHEMES or not host:
        raise ValueError(f"url is {url}; it starts with https:// or http:// and a host")
    if user is not None:
        raise ValueError(f"url of {host} holds a user name; only public files are downloaded")
    try:
        check_name(_last_part(url))
    except ValueError as error:
        raise ValueError(f"url is {url}; it does not end in a file name: its {error}") from error
    return url


def _last_part(url: str) -> str:
    return urlsplit(url).path.rpartition("/")[2]


@dataclass(frozen=True)
class RemoteFile:
    """A file and how it is verified.

    Args:
        url: http or https; its last part names the file.
        checksum: what the file must come to; if absent, the list at `checksum_url` says it.
        checksum_url: a list of checksums that names the file; without either, nothing verifies the file.
        num_bytes: its size, for messages.

    Raises:
        ValueError: an address that may not be used.
    """

    url: str
    checksum: Checksum | None = None
    checksum_url: str | None = None
    num_bytes: int | None = None

    def __post_init__(self) -> None:
        check_url(self.url)
        if self.checksum_url is not None:
            check_url(self.checksum_url)
            if self.list_name == self.name:
                raise ValueError(f"checksum_url and url both end in {self.name}; they are two files")

    @property
    def name(self) -> str:
        """The file's name."""
        return _last_part(self.url)

    @property
    def needs_list(self) -> bool:
        """Whether the checksum is in a list that is to be read first."""
        return self.checksum is None and self.checksum_url is not None

    @property
    def list_name(self) -> str:
        """The name of the list of checksums; only where there is one."""
        assert self.checksum_url is not None, "the file's checksum is known, no list is needed"
        return _last_part(self.checksum_url)
