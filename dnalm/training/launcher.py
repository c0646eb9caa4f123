"""Starting the processes of a run on this machine, and watching them until all have ended.

Ours and not torch's elastic agent, whose way to end the other ranks, SIGTERM and thirty seconds, is what
asks a rank of ours to save and stop; and not Lightning's, which starts the command line again, a whole sweep
of it. The config is composed once; ranks read the resolved file. Each has a session of its own, so that a
Ctrl-C reaches them only through here, and ends with this process whatever ends it.

What ranks leave in `ranks/` of the run directory: `<rank>.json` says what a rank is at. It is rewritten at
every micro-batch if `launch` watches the rank, which may be killed; else once a second, since the file system
may serve hundreds of ranks, and before a rank reports an error of its own. `<rank>.crash.json` says how it
failed, written without talking to the other ranks; `<rank>.stacks` where it hung; `nccl_<rank>` what
collectives it had waited for when NCCL aborted it; `<rank>.log` what others than the first printed. `launch`
reports the rank that failed first, since the others often fail only because it was gone.

A rank that completes no step for `stall_s` writes its stacks and ends with exit code 6 (DIST-04). The
watchdog is a thread and not `faulthandler.dump_traceback_later(exit=True)`, which ends a process with exit
code 1 and no sentence, and cannot notice that the run directory was deleted, moved or unmounted (CKPT-15).
"""

from __future__ import annotations

import faulthandler
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from dnalm.console import stderr
from dnalm.data import Batch
from dnalm.errors import BUG, CheckpointError, DataError, DistributedError, DnalmError, NumericsError
from dnalm.lifetime import PARENT, STOP_CODES, STOPPING, SignalCount, say_at_once, signal_handlers
from dnalm.system_errors import translate
from dnalm.training.distributed import LAUNCHED, NCCL_DUMP, launched_by_us, threads_of_a_rank

_POLL_S = 0.1
_REPORTS_S = 3.0  # time that the other ranks have to report once one has failed
_STACKS_S = 0.5
_LEAVE_S = 10.0  # time that the other ranks have to end once one has answered a signal; they end together
_WELL = (0, *STOP_CODES.values())
_REPORTED = (2, 3, 4, 5)  # exit codes of errors that a rank has printed, even if its report was not written
_CRASH = ".crash.json"
_LEFT = ("*.json", "*.stacks", f"{NCCL_DUMP}*")
_LOST_PEER = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out", "timeout")
_WORKER_ERRORS = ("DataLoader worker", "DataLoader timed out")  # what torch says of a loader's processes
_VANISHED_LOOKS = 2  # a second apart, for a network's file system may fail once
_OTHERS_LOOK_S = 1.5  # others that stall write their stacks too, before the end of this rank frees them
_SIGNS_S = 1.0  # between two writes of what a rank is at, where nobody watches it
_LINE_BYTES = 160  # so that a shorter line covers a longer one


@dataclass(frozen=True, kw_only=True)
class Crash:
    """How a rank failed.

    Attributes:
        rank: which.
        at: its step and samples, in words.
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
    """A step is given up since another rank cannot finish it, whose own report says why."""


class RankFailed(DistributedError):  # noqa: N818
    """A rank has ended otherwise than well; the exit code is the rank's own."""

    def __init__(self, crash: Crash) -> None:
        Exception.__init__(self, crash.message)
        self.exit_code, self.crash = crash.exit_code, crash


def launch(
    command: Sequence[str], *, num_ranks: int, folder: Path, start: Path | None, held: Sequence[int] = ()
) -> int:
    """Run a command once for each rank; the first prints to this terminal, the others into files.

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
    for path in (p for kind in _LEFT for p in folder.glob(kind)):  # of an earlier start
        path.unlink(missing_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    ranks = _Ranks()
    with signal_handlers(ranks.forward):
        try:
            for rank in range(num_ranks):
                environment = rank_environment(rank, num_ranks, port=port, start=start)
                ranks.start(command, environment, folder / f"{rank}.log" if rank else None, held)
            codes = ranks.wait()
        finally:
            ranks.kill()
    failed = [rank for rank, code in enumerate(codes) if code not in _WELL]
    if not failed:
        return max(code or 0 for code in codes)
    peerless = {crash.rank for crash in read_crashes(folder) if crash.lost_peer}
    if stopped := ranks.stopped([code for rank, code in enumerate(codes) if rank not in peerless]):
        return stopped
    if lost := run.fault():
        raise lost
    crash = _cause(folder, failed, codes)
    if crash.exit_code == BUG:
        stderr.print(crash.traceback)
    raise RankFailed(crash)


def rank_environment(rank: int, num_ranks: int, *, port: int, start: Path | None) -> dict[str, str]:
    """The environment of a rank: torch's variables, the checkpoint to start from, the process to end with."""
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


class _Ranks:
    """The processes, and the signals that were passed on to them."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self._received: list[signal.Signals] = []
        self._count = SignalCount()
        self._is_killed = False

    def start(
        self, command: Sequence[str], environment: dict[str, str], log: Path | None, held: Sequence[int]
    ) -> None:
        """Start the next rank; without a log it prints to this terminal."""
        with log.open("ab") if log else nullcontext() as file:
            process = subprocess.Popen(
                command,
                env=environment,
                start_new_session=True,
                pass_fds=tuple(held),
                stdout=file,
                stderr=subprocess.STDOUT if file else None,
            )
        self.processes.append(process)

    def forward(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Pass a signal on to every rank; a second Ctrl-C or SIGTERM ends them at once."""
        name = signal.Signals(number)
        self._is_killed = self._is_killed or self._count.is_second(number)
        if name not in self._received:
            self._received.append(name)
            say_at_once(f"{name.name}: {STOPPING}")
        for process in self._alive():
            process.send_signal(signal.SIGKILL if self._is_killed else number)

    def wait(self) -> list[int | None]:
        """Wait until all have ended, or one has failed or stopped and the others had time to do likewise.

        Returns:
            Their exit codes; None of those that still live, whose stacks have been written.
        """
        until = float("inf")
        while self._alive() and time.monotonic() < until:
            codes = {process.returncode for process in self.processes} - {None, 0}
            if codes and until == float("inf"):
                until = time.monotonic() + (_LEAVE_S if codes <= {*_WELL} else _REPORTS_S)
            time.sleep(_POLL_S)
        codes_of_ranks = [process.poll() for process in self.processes]
        if alive := self._alive():
            for process in alive:
                process.send_signal(signal.SIGUSR2)  # see dump_stacks_on_request
            time.sleep(_STACKS_S)
        return codes_of_ranks

    def kill(self) -> None:
        """End those that still live."""
        for process in self._alive():
            os.killpg(process.pid, signal.SIGKILL)
        for process in self.processes:
            process.wait()

    def stopped(self, codes: Sequence[int | None]) -> int:
        """The exit code if signals explain how ranks ended, some before they could answer; else 0."""
        own = [code for code in codes if code in STOP_CODES.values()]
        stops = [STOP_CODES[name] for name in self._received] + [code for code in own if code]
        ended = (None, *_WELL, *(-name for name in self._received), *([-signal.SIGKILL] * self._is_killed))
        return max(stops) if stops and all(code in ended for code in codes) else 0

    def _alive(self) -> list[subprocess.Popen[bytes]]:
        return [process for process in self.processes if process.poll() is None]


def _cause(folder: Path, failed: Sequence[int], codes: Sequence[int | None]) -> Crash:
    """The report of the rank that failed first; one that was killed has left none.

    Nor has one that NCCL has aborted: like a rank that has lost a peer it is a victim, unless all are.
    """
    crashes = read_crashes(folder)
    silent = [rank for rank in failed if rank not in {crash.rank for crash in crashes}]
    silent.sort(key=lambda rank: codes[rank] == -signal.SIGABRT)
    only_victims = not silent or codes[silent[0]] == -signal.SIGABRT
    if crashes and (only_victims or not crashes[0].lost_peer):
        return crashes[0]
    rank = silent[0] if silent else failed[0]
    code, at = codes[rank], last_sign(folder, rank)
    if code is None:
        found = f"no answer while the others waited; its stacks are in {folder / f'{rank}.stacks'}"
    elif code == -signal.SIGABRT and (dump := folder / f"{NCCL_DUMP}{rank}").exists():
        found = f"aborted by NCCL, whose wait for the other ranks was too long; its collectives are in {dump}"
    elif code < 0:
        found = f"killed by {signal.Signals(-code).name}"
    else:
        found = f"ended with exit code {code}"
    error = DistributedError(
        "DIST-03",
        where=f"rank {rank}, {at}",
        found=found,
        expected="a rank that continues or reports why not",
        fix="see dmesg for the out-of-memory killer, and the rank's log beside; the same command continues "
        "from the last checkpoint",
    )
    return replace(_crash(folder, rank, error), exit_code=code if code in _REPORTED else error.exit_code)


def report_crash(folder: Path, rank: int, error: BaseException) -> Crash:
    """Write the report of this rank."""
    crash = _crash(folder, rank, error)
    try:
        folder.mkdir(exist_ok=True)
        (folder / f"{rank}{_CRASH}").write_text(json.dumps(asdict(crash), indent=2))
    except OSError:  # such as the full disk that is being reported: the exit code is left, and this line
        stderr.print(f"dnalm: {crash.message}")
    return crash


def _crash(folder: Path, rank: int, error: BaseException) -> Crash:
    text, known = str(error) or type(error).__name__, isinstance(error, DnalmError)
    lost_peer = isinstance(error, OnOtherRanks) or (not known and any(words in text for words in _LOST_PEER))
    at = last_sign(folder, rank)
    code = DistributedError.exit_code if lost_peer else BUG
    return Crash(
        rank=rank,
        at=at,
        message=text if known else f"rank {rank}, {at}: {type(error).__name__}: {text.splitlines()[0]}",
        exit_code=error.exit_code if isinstance(error, DnalmError) else code,
        lost_peer=lost_peer,
        time=time.time(),
        traceback="".join(traceback.format_exception(error)),
    )


def read_crashes(folder: Path) -> list[Crash]:
    """The reports, causes before consequences, then by time."""
    found = []
    for path in folder.glob(f"*{_CRASH}"):
        with suppress(OSError, ValueError, TypeError):
            found.append(Crash(**json.loads(path.read_text())))
    return sorted(found, key=lambda crash: (crash.lost_peer, crash.time))


def last_sign(folder: Path, rank: int) -> str:
    """The step and samples that a rank was at, in words."""
    try:
        sign = json.loads((folder / f"{rank}.json").read_text())
        return f"step {sign['step']}, samples {sign['samples'][0]} to {sign['samples'][1]}"
    except (OSError, ValueError, KeyError):
        return "before the first step"


def dump_stacks_on_request(folder: Path, rank: int) -> None:
    """Let SIGUSR2 write the stacks of this process; `launch` sends it to a rank that does not answer."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / f"{rank}.stacks").open("w")  # open for as long as the process lives
    faulthandler.register(signal.SIGUSR2, file=file, all_threads=True)


def translate_worker_error(error: Exception, folder: Path, rank: int) -> Exception:
    """Turn torch's DataLoader-worker errors into a DataError, system errors as `translate`; others unchanged.

    Args:
        error: what has ended the training.
        folder: `ranks/` of the run directory.
        rank: this process.
    """
    where = f"rank {rank}, {last_sign(folder, rank)}"
    pipes = multiprocessing.current_process()._config.get("tempdir")  # type: ignore[attr-defined]
    if isinstance(error, FileNotFoundError) and pipes and not Path(pipes).is_dir():
        return DataError(
            "DATA-20",
            where=where,
            found=f"{pipes}, through which loader workers are reached, was deleted",
            expected="a folder for temporary files that stays as long as the run",
            fix="set TMPDIR to a folder that nobody clears, such as /var/tmp, or batch.num_workers=0. The "
            "same command continues from the last checkpoint",
        )
    is_torchs = isinstance(error, RuntimeError) and any(words in str(error) for words in _WORKER_ERRORS)
    if not is_torchs and not isinstance(error, ConnectionError | EOFError):  # multiprocessing's, of its pipes
        if (known := translate(error)) is None:
            error.add_note(where)
        return known or error
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    found = lines[-1] if lines[0].startswith("Caught") else lines[0]
    return DataError(
        "DATA-20",
        where=where,
        found=found.rstrip(".") if is_torchs else f"a loader worker is gone ({found})",
        expected="loader workers that live as long as the run",
        fix="give the job more memory or fewer batch.num_workers; dmesg says who killed them. The same "
        "command continues from the last checkpoint",
    )


class RunFolder:
    """The run directory as it was at the start, held open, so that no other can be taken for it.

    Args:
        path: of the folder, which is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def is_replaced(self) -> bool:
        """Whether another folder lies at the path, into which nothing may be written.

        Raises:
            OSError: nothing lies there, or the file system does not answer.
        """
        return not os.path.samestat(self.path.stat(), os.fstat(self._descriptor))

    def fault(self) -> CheckpointError | None:
        """CKPT-15, what is at the path is not the folder; None if it is."""
        try:
            if not self.is_replaced():
                return None
            found = "another folder lies there now"
        except OSError as error:
            found = f"it was deleted, moved or unmounted ({error.strerror})"
        return CheckpointError(
            "CKPT-15",
            where=str(self.path),
            found=f"{found} while the run trained into it",
            expected="a run directory that stays where it is until the run has ended",
            fix="move it back and run the same command again, which continues from its last checkpoint; or "
            "start a new run under another run.name",
        )


class Heartbeat(Callback):
    """Write what this rank is at, and end it when it stalls or its run directory vanishes.

    Args:
        run: the run directory, which holds `ranks/`.
        rank: this process.
        stall_s: longest time without a step; validation and saving count as steps.
    """

    def __init__(self, run: RunFolder, rank: int, *, stall_s: float) -> None:
        self.run, self.folder = run, run.path / "ranks"
        self.rank, self.stall_s = rank, stall_s
        self._last_progress = time.monotonic()
        self._over = threading.Event()
        self._file: int | None = None
        self._sign: dict[str, Any] | None = None  # what this rank is at, until it is written
        self._writing = threading.Lock()
        self._next_write = float("-inf")

    def on_train_start(self, *_: object) -> None:
        """Start the watchdog."""
        self.folder.mkdir(exist_ok=True)
        self._file = os.open(self.folder / f"{self.rank}.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self._last_progress = time.monotonic()
        threading.Thread(target=self._watch, name="heartbeat", daemon=True).start()

    def on_train_batch_start(self, trainer: Trainer, _: LightningModule, batch: Batch, *__: object) -> None:
        """Reset the stall timer, and note the step and its samples."""
        self._last_progress = now = time.monotonic()
        self._sign = {"step": trainer.global_step, "samples": [batch.samples[0], batch.samples[-1]]}
        if launched_by_us() or now >= self._next_write:
            self._next_write = now + _SIGNS_S
            self._write_sign()

    def on_validation_batch_start(self, *_: object) -> None:
        """Reset the stall timer."""
        self._last_progress = time.monotonic()

    def on_validation_end(self, *_: object) -> None:
        """Reset the stall timer."""
        self._last_progress = time.monotonic()

    def on_exception(self, *_: object) -> None:
        """Stop the watchdog."""
        self.on_train_end()

    def on_train_end(self, *_: object) -> None:
        """Stop the watchdog."""
        self._over.set()
        self._write_sign()
        with self._writing:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _write_sign(self) -> None:
        with self._writing:
            sign, self._sign = self._sign, None
            if self._file is not None and sign is not None:
                with suppress(OSError):  # a full disk must not cost the run
                    os.pwrite(self._file, json.dumps(sign).ljust(_LINE_BYTES).encode(), 0)

    def _watch(self) -> None:
        lost = 0
        while not self._over.wait(min(_SIGNS_S, self.stall_s / 4)):
            self._write_sign()  # of a long step too
            fault = self.run.fault()
            lost = lost + 1 if fault else 0
            if fault and lost == _VANISHED_LOOKS:
                if not launched_by_us():  # else the process that started this one says it
                    stderr.print(f"dnalm: {fault}")
                stderr.show_cursor()
                os._exit(fault.exit_code)
            if time.monotonic() - self._last_progress > self.stall_s:
                self._end_stalled()

    def _end_stalled(self) -> None:
        path = self.folder / f"{self.rank}.stacks"
        self._write_sign()
        with path.open("w") as file:
            faulthandler.dump_traceback(file, all_threads=True)
        error = DistributedError(
            "DIST-04",
            where=f"rank {self.rank}, {last_sign(self.folder, self.rank)}",
            found=f"no progress for {self.stall_s:g} s; the stacks of all threads are in {path}",
            expected="a step, or a batch of validation",
            fix="see where the ranks wait; raise trainer.stall_s if steps truly take that long",
        )
        report_crash(self.folder, self.rank, error)
        stderr.print(f"dnalm: {error}")
        time.sleep(_OTHERS_LOOK_S)
        os._exit(error.exit_code)
