"""What a rank leaves when it fails: `ranks/<rank>.crash.json`, written without talking to the other ranks.

Whoever started the ranks reads the reports and tells the one that failed first, since the others often fail
only because it was gone.
"""

from __future__ import annotations

import faulthandler
import json
import multiprocessing
import signal
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

from dnalm.console import stderr
from dnalm.errors import BUG, DataError, DistributedError, DnalmError, NumericsError
from dnalm.system_errors import translate

_SUFFIX = ".crash.json"
_LOST_PEER = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out", "timeout")
_OF_WORKERS = ("DataLoader worker", "DataLoader timed out")  # what torch says of a loader's processes


@dataclass(frozen=True)
class Crash:
    """How a rank failed.

    Attributes:
        rank: which.
        at: what it was at, in words.
        message: one line.
        exit_code: what the program is to end with.
        lost_peer: whether it failed since another rank was gone.
        time: seconds since 1970.
        traceback: of the exception.
    """

    rank: int
    at: str
    message: str
    exit_code: int
    lost_peer: bool
    time: float
    traceback: str


class OnOtherRanks(NumericsError):  # noqa: N818
    """A step is given up since another rank cannot finish it, whose own report tells more."""


def explained(error: Exception, folder: Path, rank: int) -> Exception:
    """The error a user can act on: as `translate` has it, or of a loader that lost a process; else the same.

    Args:
        error: what has ended the training.
        folder: of the signs of life.
        rank: this process.
    """
    if isinstance(error, FileNotFoundError) and (gone := _lost_temporary_folder()):
        return DataError(
            "DATA-20",
            where=f"rank {rank}, {last_sign(folder, rank)}",
            found=f"{gone}, through which loader workers are reached, was deleted",
            expected="a folder for temporary files that stays as long as the run",
            fix="set TMPDIR to a folder that nobody clears, such as /var/tmp, or batch.num_workers=0. The "
            "same command continues from the last checkpoint",
        )
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    told = isinstance(error, RuntimeError) and any(words in str(error) for words in _OF_WORKERS)
    if not told and not isinstance(error, ConnectionError | EOFError):  # multiprocessing's, of its pipes
        if (known := translate(error)) is None:
            error.add_note(f"rank {rank}, {last_sign(folder, rank)}")
        return known or error
    found = lines[-1] if lines[0].startswith("Caught") else lines[0]
    return DataError(
        "DATA-20",
        where=f"rank {rank}, {last_sign(folder, rank)}",
        found=found.rstrip(".") if told else f"a loader worker is gone ({found})",
        expected="loader workers that live as long as the run",
        fix="give the job more memory or fewer batch.num_workers; dmesg tells who killed them. Started "
        "again, the run goes on from its last checkpoint",
    )


def _lost_temporary_folder() -> Path | None:
    """The folder of this process's pipes to its workers, if it is gone."""
    made = multiprocessing.current_process()._config.get("tempdir")  # type: ignore[attr-defined]
    return Path(made) if made and not Path(made).is_dir() else None


def report_crash(folder: Path, rank: int, error: BaseException) -> Crash:
    """Write the report of this rank."""
    text, known = str(error) or type(error).__name__, isinstance(error, DnalmError)
    lost_peer = isinstance(error, OnOtherRanks) or (not known and any(words in text for words in _LOST_PEER))
    at = last_sign(folder, rank)
    if isinstance(error, DnalmError):
        code = error.exit_code
    else:
        code = DistributedError.exit_code if lost_peer else BUG
    crash = Crash(
        rank=rank,
        at=at,
        message=text if known else f"rank {rank}, {at}: {type(error).__name__}: {text.splitlines()[0]}",
        exit_code=code,
        lost_peer=lost_peer,
        time=time.time(),
        traceback="".join(traceback.format_exception(error)),
    )
    try:
        folder.mkdir(exist_ok=True)
        (folder / f"{rank}{_SUFFIX}").write_text(json.dumps(asdict(crash), indent=2))
    except OSError:  # such as the full disk that is being reported: the exit code is left, and this line
        stderr.print(f"dnalm: {crash.message}")
    return crash


def read_crashes(folder: Path) -> list[Crash]:
    """The reports, causes before consequences, then by time."""
    found = []
    for path in folder.glob(f"*{_SUFFIX}"):
        try:
            found.append(Crash(**json.loads(path.read_text())))
        except (OSError, ValueError, TypeError):
            continue
    return sorted(found, key=lambda crash: (crash.lost_peer, crash.time))


def forget_crashes(folder: Path) -> None:
    """Remove what an earlier start has left."""
    for path in (*folder.glob(f"*{_SUFFIX}"), *folder.glob("*.stacks"), *folder.glob("*.json")):
        path.unlink(missing_ok=True)


def dump_stacks_on_request(folder: Path, rank: int) -> None:
    """Let SIGUSR2 write the stacks of this process; `launch` asks a rank so that does not answer."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / f"{rank}.stacks").open("w")  # open for as long as the process lives
    faulthandler.register(signal.SIGUSR2, file=file, all_threads=True)


def last_sign(folder: Path, rank: int) -> str:
    """What a rank was at, in words."""
    try:
        said = json.loads((folder / f"{rank}.json").read_text())
        return f"step {said['step']}, samples {said['samples'][0]} to {said['samples'][1]}"
    except (OSError, ValueError, KeyError):
        return "before the first step"
