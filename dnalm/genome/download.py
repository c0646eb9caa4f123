"""A file of another host in a folder: downloaded once, verified, whole at its name or not there at all.

A download grows in `.<name>.part` beside its place and is renamed when its checksum is right, so a
killed one goes on later. What lies at the name already, put there by hand, is verified and never
changed. `.<name>.verified` notes a file's size, time of change and checksum, so that nothing is read
or asked for again. Of a file whose checksum nobody has published, the one it came with is noted and said.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from dnalm.console import stderr
from dnalm.durable import DISK_FULL, file_sha256
from dnalm.errors import DataError
from dnalm.genome.remote_file import Checksum, RemoteFile, find_checksum, parse_checksum
from dnalm.genome.transfer import Patience, TransferError, transfer


@dataclass(frozen=True)
class Download:
    """A verified file: where it is, its checksum and size, and whether it was downloaded just now."""

    path: Path
    checksum: Checksum
    num_bytes: int
    is_new: bool


def download(remote: RemoteFile, folder: Path, *, patience: Patience) -> Download:
    """Have a file in a folder: as it lies there, or downloaded.

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
        with _locked(target):
            noted = _read_note(remote, target)  # another process may have been first
            if noted is not None:
                return noted
            if remote.checksum is None and remote.checksum_url is None:
                return _unverified(remote, target, patience)
            expected = remote.checksum or _look_up(remote, folder, patience)
            if target.exists():
                return _accept(target, expected)
            return _download(remote, target, expected, patience)
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


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.parent / f".{target.name}.lock")
    try:
        try:
            lock.acquire(timeout=0.2)
        except Timeout:
            stderr.print(f"Waiting for another process, which is downloading {target.name} ...")
            lock.acquire()
    except NotImplementedError as error:
        raise DataError(
            "FETCH-09",
            where=str(target.parent),
            found="files cannot be locked here",
            expected="a file system with locks",
            fix="choose a cache folder on a local disk",
        ) from error
    try:
        yield
    finally:
        lock.release()


def _look_up(remote: RemoteFile, folder: Path, patience: Patience) -> Checksum:
    """The checksum from the publisher's list: the one that lies in the folder, or else the server's."""
    assert remote.checksum_url is not None, "asked for where there is a list"
    path = folder / remote.list_name
    if path.exists():
        text, where = path.read_text(encoding="utf-8", errors="replace"), str(path)
    else:
        part = folder / f".{remote.list_name}.part"
        part.unlink(missing_ok=True)
        transfer(remote.checksum_url, part, patience=patience)
        text, where = part.read_text(encoding="utf-8", errors="replace"), remote.checksum_url
        part.unlink()
    found = find_checksum(text, remote.name)
    if found is None:
        raise DataError(
            "FETCH-06",
            where=where,
            found=f"no checksum of {remote.name}",
            expected="a line with its md5 or sha256 and its name",
            fix="give the checksum itself, as md5:… or sha256:…, from a source that you trust",
        )
    return found


def _accept(target: Path, expected: Checksum) -> Download:
    """Verify a file that was put there by hand."""
    found = str(expected.of(target)) if target.is_file() else "no regular file"
    if found != str(expected):
        raise DataError(
            "FETCH-05",
            where=str(target),
            found=f"the file that lies here is {found}",
            expected=f"{expected}",
            fix="replace it with the published file, or delete it to have it downloaded",
        )
    return _note(target, expected, is_new=False)


def _download(remote: RemoteFile, target: Path, expected: Checksum, patience: Patience) -> Download:
    part = target.parent / f".{target.name}.part"
    transfer(remote.url, part, patience=patience)
    if not expected.matches(
        part
    ):  # perhaps begun with another version of the file: once more, from the start
        stderr.print(f"{remote.name} fails its checksum, so it is downloaded once more ...")
        part.unlink()
        transfer(remote.url, part, patience=patience)
    found = expected.of(part)
    if found != expected:
        part.unlink()
        raise DataError(
            "FETCH-04",
            where=remote.url,
            found=f"downloaded twice, and it is {found}",
            expected=f"{expected}",
            fix="ask who publishes the file which is right, or whether something on the way, such as a "
            "proxy, changes it; nothing was kept",
        )
    part.rename(target)
    return _note(target, expected, is_new=True)


def _unverified(remote: RemoteFile, target: Path, patience: Patience) -> Download:
    """The file as it lies there or as the server sends it; its checksum is said, for nobody has told it."""
    is_new = not target.exists()
    if is_new:
        part = target.parent / f".{target.name}.part"
        transfer(remote.url, part, patience=patience)
        part.rename(target)
    checksum = Checksum("sha256", file_sha256(target))
    stderr.print(
        f"{remote.url}: no checksum is known, so nothing tells whether the file is as published; "
        f"it is {checksum}, which a manifest can hold it to",
    )
    return _note(target, checksum, is_new=is_new, is_verified=False)


def _note(target: Path, checksum: Checksum, *, is_new: bool, is_verified: bool = True) -> Download:
    status = target.stat()
    fields = {
        "checksum": str(checksum),
        "num_bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "is_verified": is_verified,
    }
    _note_path(target).write_text(json.dumps(fields) + "\n")
    return Download(target, checksum, status.st_size, is_new)


def _read_note(remote: RemoteFile, target: Path) -> Download | None:
    """The file as verified before, if it is still the same and the same checksum is asked for."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        status, fields = target.stat(), json.loads(_note_path(target).read_text())
        checksum = parse_checksum(fields["checksum"])
        same = (status.st_size, status.st_mtime_ns) == (fields["num_bytes"], fields["mtime_ns"])
        same = same and (fields.get("is_verified", True) or not remote.needs_list)
        if same and remote.checksum in (None, checksum):
            return Download(target, checksum, status.st_size, is_new=False)
    return None


def _note_path(target: Path) -> Path:
    return target.parent / f".{target.name}.verified"


def _unreachable(remote: RemoteFile, folder: Path, error: TransferError) -> DataError:
    """What to put where by hand."""
    known = [f"{remote.num_bytes:,} bytes"] if remote.num_bytes else []
    known += [str(remote.checksum)] if remote.checksum else []
    told = f" ({', '.join(known)})" if known else ""
    listed = f" and {remote.checksum_url} as {folder / remote.list_name}" if remote.needs_list else ""
    verified = " to have it verified" if remote.checksum or remote.needs_list else ""
    return DataError(
        error.code,
        where=remote.url,
        found=str(error),
        expected="a server that sends the file",
        fix=f"try again later, or bring {remote.url}{told} by other means and put it as "
        f"{folder / remote.name}{listed}, then run this again{verified}",
    )


def not_written(folder: Path, error: OSError) -> DataError:
    """FETCH-07 or 08: what the operating system says of the folder of downloads."""
    code, found, expected = "FETCH-07", "cannot be read or written", "a folder that is yours"
    if error.errno in DISK_FULL:
        code, found, expected = "FETCH-08", "the disk is full", "space for the file"
    return DataError(
        code,
        where=str(error.filename or folder),
        found=f"{found} ({error.strerror or error})",
        expected=expected,
        fix=("free space there, or " if code == "FETCH-08" else "")
        + "choose another folder with cache=…, of a run data.cache=…",
    )
