"""Bring a file over HTTP, going on where an earlier attempt ended, and trying again where that may help.

pooch verifies files but always starts at the first byte, so the transfer itself is written here on
requests, the library below pooch. Bytes are taken as they lie on the server: a `.fa.gz` that is
sent as compressed text would otherwise be unpacked on the way and fail its checksum. What the server calls
the version of a file (ETag, or else its date) lies beside the partial one, so that no file is put together
of two versions.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import requests
import urllib3

from dnalm.console import progress_bar, stderr
from dnalm.durable import size_text
from dnalm.genome.remote_file import SCHEMES

_CHUNK_BYTES = 1 << 20
_LONGEST_WAIT_S = 60.0
_PASSING = (408, 425, 429)  # of the 4xx, those that may be gone in a moment
_CONTENT_RANGE = re.compile(r"bytes (?:(?P<start>\d+)-\d+|\*)/(?P<total>\d+|\*)")


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
            told = f"{url}: {error}; attempt {failures + 1} of {patience.attempts} in {wait_s:g} s"
            stderr.print(told)
            time.sleep(wait_s)


def _attempt(url: str, part: Path, *, timeout_s: float) -> None:
    start = _size(part)
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if _version_path(part).exists():
            headers["If-Range"] = _version_path(part).read_text()
    try:
        with requests.get(url, headers=headers, stream=True, timeout=timeout_s) as response:
            _check_way(url, response)
            if start and response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return _check_whole(response, part)
            _check_status(response)
            if response.status_code != HTTPStatus.PARTIAL_CONTENT:
                start = 0  # the whole file: this server does not go on from the middle
            elif _content_range(response, "start") != str(start):
                raise TransferError("FETCH-02", "it sends another part than asked", passing=False)
            if not start:
                _note_version(response, part)
            _receive(response, part, start)
            _version_path(part).unlink(missing_ok=True)
    except requests.Timeout as error:
        raise TransferError("FETCH-01", f"its host does not answer in {timeout_s:g} s") from error
    except (requests.TooManyRedirects, ValueError) as error:  # such as a redirect to file://
        raise TransferError("FETCH-02", f"it redirects to nowhere ({error})", passing=False) from error
    except requests.RequestException as error:
        raise TransferError("FETCH-01", f"its host cannot be reached ({_root(error)})") from error


def _version_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _note_version(response: requests.Response, part: Path) -> None:
    """Keep what tells this version of the file from a later one; a weak ETag does not, byte for byte."""
    etag = response.headers.get("ETag", "")
    version = response.headers.get("Last-Modified", "") if etag.startswith("W/") or not etag else etag
    _version_path(part).unlink(missing_ok=True)
    if version:
        _version_path(part).write_text(version)


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
            file.flush()
            promised = f" of {total:,}" if total is not None else ""
            reason = f"the transfer ended after {_size(part):,}{promised} bytes"
            raise TransferError("FETCH-03", reason) from error
        file.flush()
        os.fsync(file.fileno())


def _check_whole(response: requests.Response, part: Path) -> None:
    """The server has nothing after the partial file's end: it is whole, or of another file."""
    if _content_range(response, "total") != str(_size(part)):
        part.unlink()
        raise TransferError("FETCH-03", "the partial file is longer than the server's, so it starts over")
    _version_path(part).unlink(missing_ok=True)


def _check_way(url: str, response: requests.Response) -> None:
    """Follow redirects among http and https only, and never from https to http."""
    allowed = SCHEMES if url.startswith("http:") else ("https",)
    for address in (step.url for step in [*response.history, response]):
        if address.partition(":")[0] not in allowed:
            raise TransferError("FETCH-02", f"it redirects to {address}", passing=False)


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if response.ok:
        return
    reason = f"its host answers {status} {response.reason or ''}".strip()
    wait = response.headers.get("Retry-After", "")
    passing = status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    raise TransferError("FETCH-02", reason, passing=passing, wait_s=float(wait) if wait.isdigit() else 0.0)


def _content_range(response: requests.Response, field: str) -> str | None:
    header = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return header[field] if header else None


def _root(error: BaseException) -> str:
    """What the operating system said, below what the libraries made of it."""
    reason, below = "no connection", error.__cause__ or error.__context__
    while below is not None:
        if isinstance(below, OSError) and below.strerror:
            reason = below.strerror
        below = below.__cause__ or below.__context__
    return reason


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
