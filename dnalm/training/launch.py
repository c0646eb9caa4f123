"""Starting the processes of a run on this machine, and watching them until all have ended.

Ours and not torch's elastic agent, whose way to end the other ranks, SIGTERM and thirty seconds, is what
asks a rank of ours to save and stop; and not Lightning's, which starts the command line again, a whole
sweep of it.

The config is composed once; ranks read the resolved file. Each has a session of its own, so that a Ctrl-C
reaches them only through here, and ends with this process whatever ends it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from dnalm.console import stderr
from dnalm.errors import BUG, DistributedError
from dnalm.training.crash import Crash, forget_crashes, last_sign, read_crashes
from dnalm.training.ranks import JOB_THREADS, LAUNCHED

_POLL_S = 0.1
_REPORTS_S = 3.0  # time that the other ranks have to say how they fared once one has failed
_STACKS_S = 0.5
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_WELL = (0, 130, 143)
_SAID = (2, 3, 4, 5)  # exit codes of errors that a rank has told, even if its report could not be written
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class RankFailed(DistributedError):  # noqa: N818
    """A rank has ended otherwise than well; the exit code is the rank's own."""

    def __init__(self, crash: Crash) -> None:
        Exception.__init__(self, crash.message)
        self.exit_code, self.crash = crash.exit_code, crash


def launch(command: Sequence[str], *, num_ranks: int, folder: Path, start: Path | None) -> int:
    """Run a command once for each rank; the first speaks on this terminal, the others into files.

    Args:
        command: the program and its arguments, the same for all.
        num_ranks: how many.
        folder: `ranks/` of the run directory.
        start: the checkpoint to start from.

    Returns:
        The exit code that all ranks have agreed on: 0, or 130 and 143 if they were told to stop.

    Raises:
        RankFailed: a rank failed; the others have been ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    forget_crashes(folder)
    port = _free_port()
    processes = [
        _start(command, _environment(rank, num_ranks, port, start), folder, rank) for rank in range(num_ranks)
    ]
    try:
        with _forwarding(processes):
            codes = _watch(processes)
            _ask_for_stacks(processes)
    finally:
        _end(processes)
    failed = [rank for rank, code in enumerate(codes) if code not in _WELL]
    if failed:
        crash = _cause(folder, failed, codes)
        if crash.exit_code == BUG:
            stderr.print(crash.traceback)
        raise RankFailed(crash)
    return max(code or 0 for code in codes)


def _environment(rank: int, num_ranks: int, port: int, start: Path | None) -> dict[str, str]:
    cores = int(os.environ.get(JOB_THREADS, os.cpu_count() or 1))
    threads = {"OMP_NUM_THREADS": str(max(1, cores // num_ranks))}
    return {
        **threads,
        **os.environ,
        **(threads if JOB_THREADS in os.environ else {}),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(num_ranks),
        "LOCAL_WORLD_SIZE": str(num_ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        LAUNCHED: str(start or ""),
    }


def _start(
    command: Sequence[str], environment: dict[str, str], folder: Path, rank: int
) -> subprocess.Popen[bytes]:
    if rank == 0:
        return subprocess.Popen(command, env=environment, start_new_session=True)
    with (folder / f"{rank}.log").open("ab") as log:
        return subprocess.Popen(
            command, env=environment, start_new_session=True, stdout=log, stderr=subprocess.STDOUT
        )


def die_with_parent() -> None:
    """Ask Linux to end this process when the one that started it is gone; called in each rank."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:
            os._exit(DistributedError.exit_code)


def _watch(processes: Sequence[subprocess.Popen[bytes]]) -> list[int | None]:
    """Wait until all have ended, or one has failed and the others had time to say so."""
    until = float("inf")
    while any(process.poll() is None for process in processes) and time.monotonic() < until:
        if until == float("inf") and any(p.returncode not in (None, *_WELL) for p in processes):
            until = time.monotonic() + _REPORTS_S
        time.sleep(_POLL_S)
    return [process.poll() for process in processes]


@contextmanager
def _forwarding(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Pass signals on to every rank; a second Ctrl-C or SIGTERM ends them at once."""
    heard: set[int] = set()

    def forward(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        again = number in heard and number != signal.SIGUSR1
        heard.add(number)
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL if again else number)

    before = {number: signal.signal(number, forward) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ask_for_stacks(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    alive = [process for process in processes if process.poll() is None]
    for process in alive:
        process.send_signal(signal.SIGUSR2)
    if alive:
        time.sleep(_STACKS_S)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _cause(folder: Path, failed: Sequence[int], codes: Sequence[int | None]) -> Crash:
    """The report that tells the cause; of a rank that was killed there is none."""
    crashes = read_crashes(folder)
    silent = [rank for rank in failed if rank not in {crash.rank for crash in crashes}]
    if crashes and not (crashes[0].lost_peer and silent):
        return crashes[0]
    rank = silent[0] if silent else failed[0]
    code, at = codes[rank], last_sign(folder, rank)
    if code is None:
        found = f"no answer while the others waited; its stacks are in {folder / f'{rank}.stacks'}"
    elif code < 0:
        found = f"killed by {signal.Signals(-code).name}"
    else:
        found = f"ended with exit code {code}"
    error = DistributedError(
        "DIST-03",
        where=f"rank {rank}, {at}",
        found=found,
        expected="a rank that goes on or says why not",
        fix="see dmesg for the out-of-memory killer, and the rank's log beside; started again, the run goes "
        "on from its last checkpoint",
    )
    said = code if code in _SAID else error.exit_code
    return Crash(rank, at, str(error), said, lost_peer=False, time=time.time(), traceback="")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
