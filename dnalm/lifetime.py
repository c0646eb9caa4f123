"""How processes end: with the process that started them, and by signals.

Every process of dnalm runs this first, before imports that take seconds, so it imports nothing but the
standard library. On Linux a process that another one started is killed by the kernel as soon as that one has
ended, whatever ended it; elsewhere a process only notices at its start.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

PARENT = "DNALM_PARENT"  # environment: the process to end with
STOP_CODES = {
    signal.SIGTERM: 143,  # 128 + the number of the signal, as shells say
    signal.SIGUSR1: 143,  # sbatch --signal=USR1@90, asked for as a preemption
    signal.SIGHUP: 143,  # the terminal is gone
    signal.SIGINT: 130,
}
STOPPING = "stopping after this micro-batch; a second signal stops at once, without saving"
_ORPHANED = 6  # the exit code of distributed errors
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PATIENCE_S = 5.0  # of a worker whose group was sent SIGTERM
_AGAIN_S = 0.01  # after which an exception that was dropped is raised again
_SAME_SIGNAL_S = 0.3  # a signal to a group arrives once directly and once through the launcher


def die_with_parent(parent: int) -> None:
    """Let Linux kill this process when the one that started it ends; end now if that one is gone.

    Args:
        parent: pid of the process that started this one. It is the thread which did so that counts, so that
            thread must live as long as the process is needed.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    if os.getppid() != parent:  # not 1: orphans may be adopted by any subreaper
        os._exit(_ORPHANED)


def die_with_launcher() -> bool:
    """Do so with the process that the environment names, if it names one, which is returned.

    The name is removed from the environment: it is not the parent of processes that this one starts.
    """
    parent = os.environ.pop(PARENT, None)
    if parent is not None:
        die_with_parent(int(parent))
    return parent is not None


class StoppedBySignal(BaseException):
    """A signal has asked this process to stop.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        self.exit_code = STOP_CODES[self.signal]
        super().__init__(self.signal.name)


class SignalCount:
    """Distinguishes the first signal of a kind from the second, which ends the process at once."""

    def __init__(self) -> None:
        self._first: dict[int, float] = {}

    def is_second(self, number: int) -> bool:
        """Count a signal. Warnings that a scheduler sends ahead (SIGUSR1) never count as a second one."""
        now = time.monotonic()
        first = self._first.setdefault(number, now)
        return number != signal.SIGUSR1 and now - first > _SAME_SIGNAL_S


@contextmanager
def signal_handlers(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Install a handler for all signals that ask to stop; afterwards earlier handlers are back.

    Signals that the process was started to ignore (nohup, background jobs) stay ignored. Outside the main
    thread nothing is done, for Python allows handlers only there.
    """
    before = {number: signal.getsignal(number) for number in STOP_CODES}
    install_handlers(handle)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def install_handlers(handle: Callable[[int, FrameType | None], None]) -> None:
    """Install a handler for all signals that ask to stop, but those that are ignored."""
    if threading.current_thread() is threading.main_thread():
        for number in STOP_CODES:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, handle)


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Raise `StoppedBySignal` in the block at the first signal; end the process at the second.

    Where Python or a library drops the exception, as Python does with what a destructor or the callback of a
    weak reference raises, it is raised again a moment later.

    Raises:
        StoppedBySignal: anywhere in the block.
    """
    count = SignalCount()
    stopping: list[int] = []
    dropped: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if number in dropped:
            dropped.remove(number)
        elif count.is_second(number):
            os._exit(STOP_CODES[signal.Signals(number)])
        if not stopping:  # what cleans up after the first is not interrupted
            stopping.append(number)
            raise _noticed_when_dropped(number, stop_again)

    def stop_again(number: int) -> None:
        if stopping:
            stopping.clear()
            dropped.append(number)
            timer = threading.Timer(_AGAIN_S, signal.raise_signal, (number,))
            timer.daemon = True
            timer.start()

    said, sys.unraisablehook = sys.unraisablehook, _quiet_of_signals(sys.unraisablehook)
    with signal_handlers(stop):
        try:
            yield
        finally:
            stopping.clear()
            sys.unraisablehook = said


def _noticed_when_dropped(number: int, notice: Callable[[int], None]) -> StoppedBySignal:
    """An exception whose end is noticed; no frame of its traceback has a name for it."""
    stopped = StoppedBySignal(number)
    weakref.finalize(stopped, notice, number).atexit = False
    return stopped


def _quiet_of_signals(
    say: Callable[[sys.UnraisableHookArgs], object],
) -> Callable[[sys.UnraisableHookArgs], object]:
    """Say nothing of a signal's exception that Python cannot raise: it is raised again."""

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if not isinstance(unraisable.exc_value, StoppedBySignal):
            say(unraisable)

    return hook


def leave_signals_to_parent() -> None:
    """Let a worker outlive signals to a whole group of processes, since its parent needs it to stop well.

    SIGTERM, by which multiprocessing ends workers too, ends it a few seconds later.
    """

    def end_later(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        timer = threading.Timer(_PATIENCE_S, os._exit, (STOP_CODES[signal.SIGTERM],))
        timer.daemon = True
        timer.start()

    for number in STOP_CODES:
        signal.signal(number, end_later if number == signal.SIGTERM else signal.SIG_IGN)


def say_at_once(sentence: str) -> None:
    """Write a line to stderr from within a signal handler, where Python's streams may be in use."""
    text = f"dnalm: {sentence}\n"
    if os.isatty(2):
        text = f"\n{text}"  # below a progress bar, or the ^C of the terminal
    os.write(2, text.encode())


class InheritedFile:
    """An open file that a spawned worker keeps open too, such as a lock.

    Args:
        descriptor: in this process; in the worker it has another number, which nobody needs.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __reduce__(self) -> tuple[type[InheritedFile] | Callable[..., object], tuple[object, ...]]:
        """Pickled while the worker is being started."""
        from multiprocessing.reduction import DupFd

        return _detach, (DupFd(self.descriptor),)


def _detach(duplicate: object) -> InheritedFile:
    return InheritedFile(duplicate.detach())  # type: ignore[attr-defined]


@contextmanager
def worker_pool(
    workers: int, initialize: Callable[..., None], *arguments: object, held: int | None = None
) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that end with this one, and at once if the block ends by an exception or a signal.

    Args:
        workers: how many.
        initialize: called first in each, once it ends with this process. It and what it needs may take
            seconds to import.
        arguments: for it.
        held: descriptor of a lock that each worker holds for as long as it lives.
    """
    import multiprocessing
    import pickle
    from concurrent.futures import ProcessPoolExecutor

    lock = () if held is None else (InheritedFile(held),)
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin_worker,
        initargs=(os.getpid(), pickle.dumps((initialize, arguments)), *lock),
    )
    try:
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):  # kill_workers of Python 3.14
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


_held: list[object] = []  # of a worker


def _begin_worker(parent: int, pickled: bytes, *held: object) -> None:
    """The pickled part is read only now, for that may import a framework."""
    import pickle

    die_with_parent(parent)
    leave_signals_to_parent()
    _held.extend(held)
    initialize, arguments = pickle.loads(pickled)
    initialize(*arguments)
