"""Files of other hosts: downloaded once, verified, whole at their name or not there at all.

A download grows in `.<name>.part` and is renamed when its checksum is right, so a killed one resumes later;
the server's version of the file (ETag, or else its date) lies beside it, so that no file is put together of
two versions. A file that lies at the name already, put there by hand, is verified and never changed.
`.<name>.verified` notes size, time of change and checksum, so that nothing is read or requested again.

A checksum is written `md5:<hex>` or `sha256:<hex>`, or looked up in the publisher's list: UCSC's md5sum.txt,
NCBI's md5checksums.txt. Where nobody has published one, the file's own is noted and printed.

The transfer is written on requests: pooch always starts at the first byte, and urllib3's Retry neither
resumes a body that breaks off nor counts attempts anew while bytes arrive. Bytes are kept as they lie on the
server: a `.fa.gz` that is sent as compressed text would otherwise be unpacked on the way and fail its
checksum.

What `dnalm fetch` can download by name (`GenomeRecipe`, `ManifestRecipe`) stands in `conf/download/`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs
import requests
import urllib3

from dnalm.console import progress_bar, stderr
from dnalm.durable import DISK_FULL, file_sha256, size_text
from dnalm.errors import DataError
from dnalm.genome.atomic_folder import hold_lock
from dnalm.paths import config_folder

SCHEMES = ("http", "https")
_DIGEST_LETTERS = {"md5": 32, "sha256": 64}
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LIST_LINE = re.compile(r"(?P<digest>[0-9a-fA-F]+)\s+\*?(?:\./)?(?P<name>\S+)")
_CHUNK_BYTES = 1 << 20
_LONGEST_WAIT_S = 60.0
_PASSING = (408, 425, 429)  # of the 4xx, those that may be gone in a moment
_CONTENT_RANGE = re.compile(r"bytes (?:(?P<start>\d+)-\d+|\*)/(?P<total>\d+|\*)")


@dataclass(frozen=True)
class Checksum:
    """What a file's bytes come to: `md5` or `sha256`, and the digest in lower-case hex."""

    algorithm: str
    digest: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digest}"

    def of(self, path: Path) -> Checksum:
        """A file's checksum by the same algorithm."""
        with path.open("rb") as file:
            return Checksum(self.algorithm, hashlib.file_digest(file, self.algorithm).hexdigest())


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

    The digest's length says which algorithm it is of. None where no line names the file.
    """
    for line in text.splitlines():
        entry = _LIST_LINE.fullmatch(line.strip())
        if entry is not None and entry["name"] == name:
            for algorithm, letters in _DIGEST_LETTERS.items():
                if len(entry["digest"]) == letters:
                    return Checksum(algorithm, entry["digest"].lower())
    return None


def check_name(name: str) -> str:
    """Return a name that is safe as a file's or folder's, below the one it is put in.

    Raises:
        ValueError: it holds anything but letters, digits and `. _ -`, or starts with one of these.
    """
    if _SAFE_NAME.fullmatch(name) is None:
        rule = "letters, digits, '.', '_' and '-', of which the first is a letter or digit, 100 at most"
        raise ValueError(f"name is {name!r}; it is made of {rule}")
    return name


def file_name_of(url: str) -> str:
    """Return the file name at the end of an address that may be downloaded from.

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
        return check_name(parts.path.rpartition("/")[2])
    except ValueError as error:
        raise ValueError(f"url is {url}; it does not end in a file name: its {error}") from error


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file and how it is verified.

    Args:
        url: http or https; its last part names the file.
        checksum: of the whole file; if absent, the list at `checksum_url` has it.
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
        name = file_name_of(self.url)
        if self.checksum_url is not None and file_name_of(self.checksum_url) == name:
            raise ValueError(f"checksum_url and url both end in {name}; they are two files")

    @property
    def name(self) -> str:
        """The file's name."""
        return file_name_of(self.url)

    @property
    def list_url(self) -> str | None:
        """The list of checksums, if it has to be read."""
        return self.checksum_url if self.checksum is None else None


@dataclass(frozen=True)
class Patience:
    """How long a server is tried.

    Attributes:
        attempts: in a row that bring nothing new.
        wait_s: before the second attempt; doubled before each further one, up to a minute.
        timeout_s: without an answer or a byte before an attempt is given up.
    """

    attempts: int = 5
    wait_s: float = 1.0
    timeout_s: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Download:
    """A verified file: where it is, its checksum and size, and whether it was downloaded just now."""

    path: Path
    checksum: Checksum
    num_bytes: int
    is_new: bool


def download(remote: RemoteFile, folder: Path, *, patience: Patience) -> Download:
    """Download a file into a folder, unless it lies there already.

    Args:
        remote: the file.
        folder: where to; made if absent.
        patience: how often to try.

    Raises:
        DataError: FETCH-01 to 03, see `TransferError`; 04, another checksum twice; 05, the file that
            lies there has another checksum; 06, the list of checksums does not name the file; 07, the
            folder or a file in it cannot be used; 08, the disk is full; 09, files cannot be locked there.
    """
    target = folder / remote.name
    noted = _read_note(remote, target)
    if noted is not None:
        return noted
    try:
        with hold_lock(target, lambda: f"another process, which is downloading {target.name}"):
            noted = _read_note(remote, target)  # another process may have been first
            return noted or _verify_or_download(remote, target, patience)
    except NotImplementedError as error:
        fix = "choose a cache folder on a local disk"
        raise _error(
            "FETCH-09", folder, "files cannot be locked here", "a file system with locks", fix
        ) from error
    except TransferError as error:
        raise _unreachable(remote, folder, error) from error
    except OSError as error:
        raise not_written(folder, error) from error


def download_folder(url: str, cache: Path | None = None) -> Path:
    """A folder for the file of an address alone, since files of several addresses may have one name.

    Args:
        url: the address.
        cache: folder of the corpus's stores; the user's cache if absent.
    """
    downloads = (cache or platformdirs.user_cache_path("dnalm")) / "downloads"
    return downloads.absolute() / hashlib.sha256(url.encode()).hexdigest()[:12]


def _error(code: str, where: object, found: str, expected: str, fix: str) -> DataError:
    return DataError(code, where=str(where), found=found, expected=expected, fix=fix)


def _verify_or_download(remote: RemoteFile, target: Path, patience: Patience) -> Download:
    part = _part(target)
    expected = remote.checksum
    if remote.list_url is not None:
        expected = _look_up(remote.list_url, target, patience)
    if expected is None:
        return _unverified(remote, target, patience)
    if target.exists():  # put there by hand
        found = str(expected.of(target)) if target.is_file() else "no regular file"
        if found != str(expected):
            fix = "replace it with the published file, or delete it to have it downloaded"
            raise _error("FETCH-05", target, f"the file that lies here is {found}", str(expected), fix)
        return _note(target, expected, is_new=False)
    transfer(remote.url, part, patience=patience)
    if expected.of(part) != expected:  # perhaps begun with another version: once more, from the start
        stderr.print(f"{remote.name} fails its checksum, so it is downloaded once more ...")
        part.unlink()
        transfer(remote.url, part, patience=patience)
    actual = expected.of(part)
    if actual != expected:
        part.unlink()
        fix = (
            "ask who publishes the file which is right, or whether something on the way, such as a "
            "proxy, changes it; nothing was kept"
        )
        raise _error("FETCH-04", remote.url, f"downloaded twice, and it is {actual}", str(expected), fix)
    part.rename(target)
    return _note(target, expected, is_new=True)


def _part(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _look_up(list_url: str, target: Path, patience: Patience) -> Checksum:
    """The checksum from the publisher's list: the one that lies in the folder, or else the server's."""
    path = target.with_name(file_name_of(list_url))
    where: object = path
    if path.exists():
        text = path.read_text(encoding="utf-8", errors="replace")
    else:
        part, where = _part(path), list_url
        part.unlink(missing_ok=True)
        transfer(list_url, part, patience=patience)
        text = part.read_text(encoding="utf-8", errors="replace")
        part.unlink()
    found = find_checksum(text, target.name)
    if found is None:
        expected = "a line with its md5 or sha256 and its name"
        fix = "give the checksum itself, as md5:… or sha256:…, from a source that you trust"
        raise _error("FETCH-06", where, f"no checksum of {target.name}", expected, fix)
    return found


def _unverified(remote: RemoteFile, target: Path, patience: Patience) -> Download:
    """The file as it lies there or as the server sends it; its checksum is printed, as none is published."""
    is_new = not target.exists()
    if is_new:
        transfer(remote.url, _part(target), patience=patience)
        _part(target).rename(target)
    checksum = Checksum("sha256", file_sha256(target))
    stderr.print(
        f"{remote.url}: no checksum is known, so nothing tells whether the file is as published; "
        f"it is {checksum}, which a manifest can hold it to",
    )
    return _note(target, checksum, is_new=is_new, is_verified=False)


def _note_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.verified")


def _note(target: Path, checksum: Checksum, *, is_new: bool, is_verified: bool = True) -> Download:
    status = target.stat()
    fields = {
        "checksum": str(checksum),
        "num_bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "is_verified": is_verified,
    }
    _note_path(target).write_text(json.dumps(fields) + "\n")
    return Download(path=target, checksum=checksum, num_bytes=status.st_size, is_new=is_new)


def _read_note(remote: RemoteFile, target: Path) -> Download | None:
    """The file as verified before, if it is still the same and the same checksum is asked for."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        status, fields = target.stat(), json.loads(_note_path(target).read_text())
        checksum = parse_checksum(fields["checksum"])
        same = (status.st_size, status.st_mtime_ns) == (fields["num_bytes"], fields["mtime_ns"])
        same = same and (fields.get("is_verified", True) or remote.list_url is None)
        if same and remote.checksum in (None, checksum):
            return Download(path=target, checksum=checksum, num_bytes=status.st_size, is_new=False)
    return None


def _unreachable(remote: RemoteFile, folder: Path, error: TransferError) -> DataError:
    """What to put where by hand."""
    known = [f"{remote.num_bytes:,} bytes"] if remote.num_bytes else []
    known += [str(remote.checksum)] if remote.checksum else []
    details = f" ({', '.join(known)})" if known else ""
    listed = f" and {remote.list_url} as {folder / file_name_of(remote.list_url)}" if remote.list_url else ""
    verified = " to have it verified" if remote.checksum or listed else ""
    fix = (
        f"try again later, or bring {remote.url}{details} by other means and put it as "
        f"{folder / remote.name}{listed}, then run this again{verified}"
    )
    return _error(error.code, remote.url, str(error), "a server that sends the file", fix)


def not_written(folder: Path, error: OSError) -> DataError:
    """FETCH-07 or 08: the folder of downloads cannot be read or written, or its disk is full."""
    where, reason = error.filename or folder, error.strerror or error
    fix = "choose another folder with cache=…, of a run data.cache=…"
    if error.errno in DISK_FULL:
        found, fix = f"the disk is full ({reason})", f"free space there, or {fix}"
        return _error("FETCH-08", where, found, "space for the file", fix)
    return _error("FETCH-07", where, f"cannot be read or written ({reason})", "a folder that is yours", fix)


class TransferError(Exception):
    """A transfer that failed.

    Args:
        code: FETCH-01 the host is not reached, 02 it refuses, 03 the transfer ends early.
        reason: what happened.
        passing: whether trying again may help.
        wait_s: what the server asks to wait.
    """

    def __init__(self, code: str, reason: str, *, passing: bool = True, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.code, self.passing, self.wait_s = code, passing, wait_s


def transfer(url: str, part: Path, *, patience: Patience) -> None:
    """Download a file into a partial file, which may hold its beginning already.

    Args:
        url: http or https.
        part: the partial file; it stays where the transfer fails, for the next time.
        patience: how often to try.

    Raises:
        TransferError: it failed for good.
        OSError: the partial file cannot be written.
    """
    failures, furthest = 0, _size(part)
    while True:
        try:
            return _attempt(url, part, timeout_s=patience.timeout_s)
        except TransferError as error:
            reached = _size(part)
            failures = 1 if reached > furthest else failures + 1
            furthest = max(furthest, reached)
            if not error.passing or failures >= patience.attempts:
                raise
            wait_s = min(max(patience.wait_s * 2 ** (failures - 1), error.wait_s), _LONGEST_WAIT_S)
            stderr.print(f"{url}: {error}; attempt {failures + 1} of {patience.attempts} in {wait_s:g} s")
            time.sleep(wait_s)


def _attempt(url: str, part: Path, *, timeout_s: float) -> None:
    """Ask once for what is missing, of the version of the file that the partial one is of."""
    start, version = _size(part), part.with_name(f"{part.name}.version")
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if version.exists():
            headers["If-Range"] = version.read_text()
    try:
        with requests.get(url, headers=headers, stream=True, timeout=timeout_s) as response:
            _check_redirects(url, response)
            _write_answer(response, part, version, start)
    except requests.Timeout as error:
        raise TransferError("FETCH-01", f"its host does not answer in {timeout_s:g} s") from error
    except (requests.TooManyRedirects, ValueError) as error:  # such as a redirect to file://
        raise TransferError("FETCH-02", f"it redirects to nowhere ({error})", passing=False) from error
    except requests.RequestException as error:
        raise TransferError("FETCH-01", f"its host cannot be reached ({_root(error)})") from error
    version.unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check_redirects(url: str, response: requests.Response) -> None:
    """Follow redirects among http and https only, and never from https to http."""
    allowed = SCHEMES if url.startswith("http:") else ("https",)
    for address in (step.url for step in [*response.history, response]):
        if address.partition(":")[0] not in allowed:
            raise TransferError("FETCH-02", f"it redirects to {address}", passing=False)


def _write_answer(response: requests.Response, part: Path, version: Path, start: int) -> None:
    """Append the bytes from `start` on, or begin anew where the server sends all of them."""
    sent = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if start and response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        if sent and sent["total"] == str(start):
            return  # the partial file is whole
        part.unlink()
        raise TransferError("FETCH-03", "the partial file is longer than the server's, so it starts over")
    if not response.ok:
        status, wait = response.status_code, response.headers.get("Retry-After", "")
        raise TransferError(
            "FETCH-02",
            f"its host answers {status} {response.reason or ''}".strip(),
            passing=status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR,
            wait_s=float(wait) if wait.isdigit() else 0.0,
        )
    if response.status_code != HTTPStatus.PARTIAL_CONTENT:
        start = 0
    elif not sent or sent["start"] != str(start):
        raise TransferError("FETCH-02", "it sends another part than asked", passing=False)
    if not start:
        _note_version(response, version)
    _receive(response, part, start)


def _note_version(response: requests.Response, path: Path) -> None:
    """Keep the server's name of this version of the file; a weak ETag does not identify it byte for byte."""
    version = response.headers.get("ETag", "")
    if not version or version.startswith("W/"):
        version = response.headers.get("Last-Modified", "")
    path.unlink(missing_ok=True)
    if version:
        path.write_text(version)


def _receive(response: requests.Response, part: Path, start: int) -> None:
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdigit() else None
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - start > free:
        needed = f"{size_text(total - start)} are needed, {size_text(free)} are free"
        raise OSError(errno.ENOSPC, needed, str(part))
    title = f"Downloading {response.url.rpartition('/')[2]}"
    with (
        part.open("ab" if start else "wb") as file,
        progress_bar(title, total=total, in_bytes=True) as advance,
    ):
        advance(start)
        try:
            for piece in response.raw.stream(_CHUNK_BYTES, decode_content=False):
                file.write(piece)
                advance(len(piece))
        except urllib3.exceptions.HTTPError as error:
            promised = f" of {total:,}" if total is not None else ""
            reason = f"the transfer ended after {file.tell():,}{promised} bytes"
            raise TransferError("FETCH-03", reason) from error
        file.flush()
        os.fsync(file.fileno())


def _root(error: BaseException) -> str:
    """The operating system's message, below the exceptions of the libraries."""
    reason, below = "no connection", error.__cause__ or error.__context__
    while below is not None:
        if isinstance(below, OSError) and below.strerror:
            reason = below.strerror
        below = below.__cause__ or below.__context__
    return reason


@dataclass(frozen=True, kw_only=True)
class GenomeRecipe:
    """One genome.

    Args:
        name: of the assembly, and of its folder in the cache.
        url: http or https; FASTA (plain, gzip, bgzip) or 2bit.
        checksum: `md5:…` or `sha256:…`; if absent, `checksum_url` says it.
        checksum_url: a list as md5sum writes it, published beside the file.
        num_bytes: the file's size, for messages.

    Raises:
        ValueError: a name or address that may not be used, a checksum that is none, or none at all.
    """

    name: str
    url: str
    checksum: str | None = None
    checksum_url: str | None = None
    num_bytes: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.checksum is None and self.checksum_url is None:
            raise ValueError(
                f"neither checksum nor checksum_url of {self.url}; one of them verifies the file"
            )
        self.remote  # noqa: B018 -- checks the rest

    @property
    def remote(self) -> RemoteFile:
        """The file."""
        return RemoteFile(
            url=self.url,
            checksum=None if self.checksum is None else parse_checksum(self.checksum),
            checksum_url=self.checksum_url,
            num_bytes=self.num_bytes,
        )


@dataclass(frozen=True)
class ManifestRecipe:
    """A corpus of many species, of which a manifest lists the files.

    Args:
        name: of the corpus, and of its folder in the cache.
        template: a manifest to be filled; a relative path starts at `conf/download/`.

    Raises:
        ValueError: the name is no safe folder name.
    """

    name: str
    template: Path

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def template_path(self) -> Path:
        """Where the template is."""
        return config_folder() / "download" / self.template
