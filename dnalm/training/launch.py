"""Starting the processes of a run on this machine, and watching them until all have ended.

Ours and not torch's elastic agent, whose way to end the other ranks, SIGTERM and thirty seconds, is what
asks a rank of ours to save and stop; and not Lightning's, which starts the command line again, a whole
sweep of it.

The config is composed once; ranks read the resolved file. Each has a session of its own, so that a Ctrl-C
reaches them only through here, and ends with this process whatever ends it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import FrameType

from dnalm.console import stderr
from dnalm.errors import BUG, DistributedError
from dnalm.lifetime import PARENT, STOP_CODES, STOPPING, SignalCount, say_at_once, signal_handlers
from dnalm.training.crash import Crash, forget_crashes, last_sign, read_crashes
from dnalm.training.heartbeat import RunFolder
from dnalm.training.ranks import LAUNCHED, threads_of_a_rank

_POLL_S = 0.1
_REPORTS_S = 3.0  # time that the other ranks have to say how they fared once one has failed
_STACKS_S = 0.5
_LEAVE_S = 10.0  # time that the other ranks have to end once one has heeded a signal; they end together
_WELL = (0, *STOP_CODES.values())
_SAID = (2, 3, 4, 5)  # exit codes of errors that a rank has told, even if its report could not be written


class RankFailed(DistributedError):  # noqa: N818
    """A rank has ended otherwise than well; the exit code is the rank's own."""

    def __init__(self, crash: Crash) -> None:
        Exception.__init__(self, crash.message)
        self.exit_code, self.crash = crash.exit_code, crash


def launch(
    command: Sequence[str], *, num_ranks: int, folder: Path, start: Path | None, held: Sequence[int] = ()
) -> int:
    """Run a command once for each rank; the first speaks on this terminal, the others into files.

    Args:
        command: the program and its arguments, the same for all.
        num_ranks: how many.
        folder: `ranks/` of the run directory.
        start: the checkpoint to start from.
        held: descriptors that every rank inherits: a lock is held for as long as one of them lives.

    Returns:
        The exit code that all ranks have agreed on: 0, or 130 and 143 if a signal has stopped them.

    Raises:
        RankFailed: a rank failed; the others have been ended.
        CheckpointError: CKPT-15, the run directory has vanished.
    """
    run = RunFolder(folder.parent)
    folder.mkdir(exist_ok=True)
    forget_crashes(folder)
    port = _free_port()
    ranks = _Ranks()
    with signal_handlers(ranks.forward):
        try:
            for rank in range(num_ranks):
                environment = _environment(rank, num_ranks, port, start)
                ranks.processes.append(_start(command, environment, folder, rank, held))
            codes = _watch(ranks.processes)
            _ask_for_stacks(ranks.processes)
        finally:
            _end(ranks.processes)
    failed = [rank for rank, code in enumerate(codes) if code not in _WELL]
    peerless = {crash.rank for crash in read_crashes(folder) if crash.lost_peer}
    if failed and (
        stopped := ranks.stopped([code for rank, code in enumerate(codes) if rank not in peerless])
    ):
        return stopped
    if failed and (lost := run.fault()):
        raise lost
    if failed:
        crash = _cause(folder, failed, codes)
        if crash.exit_code == BUG:
            stderr.print(crash.traceback)
        raise RankFailed(crash)
    return max(code or 0 for code in codes)


class _Ranks:
    """The processes, and the signals that were passed on to them."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self._asked: list[signal.Signals] = []
        self._count = SignalCount()
        self._is_killed = False

    def forward(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Pass a signal on to every rank; a second Ctrl-C or SIGTERM ends them at once."""
        name = signal.Signals(number)
        self._is_killed = self._is_killed or self._count.is_second(number)
        if name not in self._asked:
            self._asked.append(name)
            say_at_once(f"{name.name}: {STOPPING}")
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL if self._is_killed else number)

    def stopped(self, codes: Sequence[int | None]) -> int:
        """The exit code if signals explain how ranks ended, some before they could answer; else 0."""
        own = [code for code in codes if code in STOP_CODES.values()]
        asked = [STOP_CODES[name] for name in self._asked] + [code for code in own if code]
        ended = (None, *_WELL, *(-name for name in self._asked), *([-signal.SIGKILL] * self._is_killed))
        return max(asked) if asked and all(code in ended for code in codes) else 0


def _environment(rank: int, num_ranks: int, port: int, start: Path | None) -> dict[str, str]:
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads_of_a_rank(num_ranks)),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(num_ranks),
        "LOCAL_WORLD_SIZE": str(num_ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        LAUNCHED: str(start or ""),
        PARENT: str(os.getpid()),
    }


def _start(
    command: Sequence[str], environment: dict[str, str], folder: Path, rank: int, held: Sequence[int]
) -> subprocess.Popen[bytes]:
    with (folder / f"{rank}.log").open("ab") if rank else nullcontext() as log:
        return subprocess.Popen(
            command,
            env=environment,
            start_new_session=True,
            pass_fds=tuple(held),
            stdout=log,
            stderr=subprocess.STDOUT if log else None,
        )


def _watch(processes: Sequence[subprocess.Popen[bytes]]) -> list[int | None]:
    """Wait until all have ended, or one has failed or stopped and the others had time to do likewise."""
    until = float("inf")
    while any(process.poll() is None for process in processes) and time.monotonic() < until:
        codes = {process.returncode for process in processes} - {None, 0}
        if codes and until == float("inf"):
            until = time.monotonic() + (_LEAVE_S if codes <= {*_WELL} else _REPORTS_S)
        time.sleep(_POLL_S)
    return [process.poll() for process in processes]


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
