"""What the operating system and libraries of file formats say, as errors that a user can act on.

`translate` stands wherever a process ends: at the command line, in ranks and in workers. What it does not
know is a bug of ours, which ends with a traceback.
"""

from __future__ import annotations

import errno
import io
import lzma
import os
import re
import select
import shutil
import sys
import traceback
import zipfile
import zlib
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from gzip import BadGzipFile
from pathlib import Path
from types import FrameType

from dnalm import __version__
from dnalm.durable import DISK_FULL, NOT_WRITABLE, errno_of, size_text
from dnalm.errors import ConfigError, DataError, DistributedError, DnalmError

_OTHER_KIND = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTEMPTY)
_GONE = (errno.ENOENT, errno.ESTALE, errno.ENODEV, errno.ENXIO)
_BROKEN = (errno.EIO, errno.ETIMEDOUT, errno.EREMOTEIO if hasattr(errno, "EREMOTEIO") else errno.EIO)
_OF_A_FILE = (*_GONE, *_OTHER_KIND, *NOT_WRITABLE)  # also of processes, where no file is named
_TOO_MANY = (errno.EMFILE, errno.ENFILE)
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, BadGzipFile, EOFError)
_NO_MEMORY = re.compile(
    r"out of memory|can't allocate memory|std::bad_alloc|Unable to allocate", re.IGNORECASE
)
_OF_ARROW = re.compile(r"pyarrow\.(parquet|feather|ipc|_parquet|_feather)")
_PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Reason:
    """Why a disk does not do what it is asked.

    Attributes:
        code: DISK-01 full, 02 not allowed, 03 something else lies there, 04 not there, 05 it fails, 06 too
            many files are open.
        found: what the system says, with the free space where that is why.
        expected: the rule it breaks.
        fix: what the user can do, as an imperative.
    """

    code: str
    found: str
    expected: str
    fix: str


def translate(error: BaseException) -> DnalmError | None:
    """The error that a user can act on; None of a bug.

    Args:
        error: as it was caught, with its traceback.

    Returns:
        The error itself if it is one of ours; DISK-01 to 06; MEM-01, no memory is left; DATA-21, text that
        is not UTF-8; DATA-22, a damaged file; DIST-21, a worker process was killed.
    """
    if isinstance(error, DnalmError):
        return error
    return _of_process(error) or _of_file(error, str(path_of(error) or ""))


def _of_process(error: BaseException) -> DnalmError | None:
    """The error of a process that lacks memory, or that was killed."""
    lines = [line.strip()[:120] for line in str(error).splitlines() if _NO_MEMORY.search(line)]
    is_said = isinstance(error, RuntimeError) and bool(lines)
    if isinstance(error, MemoryError) or is_said or errno_of(error) == errno.ENOMEM:
        return ConfigError(
            "MEM-01",
            where=f"process {os.getpid()}",
            found=f"no memory is left{f' ({lines[0]})' if lines else ''}",
            expected="a command that fits into memory",
            fix="give it more memory, or ask for less: batch.micro_size=1, batch_tokens=4096, workers=1",
        )
    if isinstance(error, BrokenProcessPool):
        return DistributedError(
            "DIST-21",
            where="a worker process",
            found="it was killed, perhaps for want of memory",
            expected="processes that live to the end",
            fix="run it again with fewer workers or more memory; dmesg names who was killed",
        )
    return None


def _of_file(error: BaseException, where: str) -> DataError | None:
    """The error of what a file holds, or of the disk it is on."""
    if isinstance(error, UnicodeDecodeError):
        byte, place = error.object[error.start], f"offset {error.start:,} of what was read"
        return DataError(
            "DATA-21",
            where=where or "an input file",
            found=f"byte {byte:#04x} at {place} is no {error.encoding}",
            expected="text in UTF-8",
            fix="convert it: iconv -f latin1 -t utf-8 old > new; or name the file that was meant",
        )
    if isinstance(error, _DAMAGED) or _is_arrow_reading(error):
        said = (str(error).splitlines() or [""])[0][:120]
        return DataError(
            "DATA-22",
            where=where or "an input file",
            found=f"damaged or cut short ({said or type(error).__name__})",
            expected="a whole file of the kind that its name says",
            fix="copy or download it again",
        )
    number = None if isinstance(error, ConnectionError) else errno_of(error)
    reason = disk_reason(number, Path(where) if where else None, needed=getattr(error, "needed", ""))
    if reason is None or (not where and number in _OF_A_FILE):
        return None
    frames = _our_frames(error)
    step = frames[0].f_code.co_name.strip("_") if frames else "library"
    place = where or f"a file that {step} uses"
    return DataError(reason.code, where=place, found=reason.found, expected=reason.expected, fix=reason.fix)


def is_of_closed_stdout(error: BaseException) -> bool:
    """Whether nobody reads our output any more, as in `dnalm ... | head`; it goes nowhere from then on."""
    if not isinstance(error, BrokenPipeError):
        return False
    watch = select.poll()
    watch.register(sys.stdout.fileno(), 0)
    if not any(events & select.POLLERR for _, events in watch.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def bug_report() -> str:
    """The line after the traceback of what no user has caused."""
    return (
        f"dnalm: this is a bug in dnalm {__version__}, not a mistake in your config or data. Please send its "
        f"maintainers the command line, the traceback above and, of a run, its config.yaml"
    )


def disk_reason(number: int | None, path: Path | None, *, needed: str = "") -> Reason | None:
    """What an error number of the operating system means for a file.

    Args:
        number: such as `errno.ENOSPC`.
        path: the file, which need not be there.
        needed: how much space, in words, where that is known.

    Returns:
        The reason; None if the number says nothing of a disk.
    """
    if number is None:
        return None
    said = os.strerror(number)
    if number in DISK_FULL and number != errno.EFBIG:
        said = "; ".join(filter(None, (said, f"{needed} needed" if needed else "", free_text(path))))
    for numbers, code, found, expected, fix in _REASONS:
        if number in numbers:
            return Reason(code, f"{found} ({said})", expected, fix)
    return None


_REASONS = (  # the first that holds the number
    (
        (errno.EFBIG,),
        "DISK-01",
        "the file grew too large",
        "a file within the limits of system and disk",
        "raise the limit (ulimit -f unlimited), or choose another disk",
    ),
    (
        DISK_FULL,
        "DISK-01",
        "the disk is full",
        "space for the file",
        "free space there, or choose another disk, then run it again",
    ),
    (
        NOT_WRITABLE,
        "DISK-02",
        "not allowed",
        "a file or folder that you may read and write",
        "give yourself the right (chmod u+rwX), or choose another folder",
    ),
    (
        _OTHER_KIND,
        "DISK-03",
        "cannot be used",
        "a file or folder of that name",
        "choose another path, or move away what lies in its way",
    ),
    (
        _GONE,
        "DISK-04",
        "not there",
        "files and folders that stay while the command runs",
        "see who moved or deleted it, then run the command again",
    ),
    (
        _BROKEN,
        "DISK-05",
        "the disk fails",
        "a disk that works",
        "look at the disk's state (dmesg), or choose another disk",
    ),
    (
        _TOO_MANY,
        "DISK-06",
        "no more files can be opened",
        "a limit above what the command opens",
        "raise the limit (ulimit -n 4096), or use fewer workers",
    ),
)


def free_text(path: Path | None) -> str:
    """`12.3 MB free`, on the disk of a path; nothing where that cannot be asked."""
    for folder in (path, *path.absolute().parents) if path else ():
        try:
            return f"{size_text(shutil.disk_usage(folder).free)} free"
        except OSError:
            continue
    return ""


def path_of(error: BaseException) -> Path | None:
    """The file that an error is about: the one it names, or else the one that our innermost function handles.

    Libraries often name none. A function with several paths gives no answer, and its caller is looked at.
    """
    named = getattr(error, "filename", None)
    if isinstance(named, bytes):
        named = os.fsdecode(named)
    if isinstance(named, str | os.PathLike):
        return Path(named)
    for frame in _our_frames(error):
        values = frame.f_locals.values()
        names = {getattr(value, "name", None) for value in values if isinstance(value, io.IOBase)}
        paths = {Path(name) for name in names if isinstance(name, str)}
        paths = paths or {value for value in values if isinstance(value, Path)}
        if len(paths) == 1:
            return paths.pop()
    return None


def _our_frames(error: BaseException) -> list[FrameType]:
    """The calls of our functions that led to an error, the innermost first."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return [frame for frame in reversed(frames) if Path(frame.f_code.co_filename).is_relative_to(_PACKAGE)]


def _is_arrow_reading(error: BaseException) -> bool:
    """Whether pyarrow refuses a file, rather than a table of ours."""
    arrow = sys.modules.get("pyarrow")
    if arrow is None or not isinstance(error, arrow.ArrowException):
        return False
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    of_arrow = next((frame for frame in frames if _OF_ARROW.match(frame.f_globals.get("__name__", ""))), None)
    return of_arrow is not None and "write" not in of_arrow.f_code.co_name
