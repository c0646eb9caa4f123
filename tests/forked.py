"""Programs of Python that tests start, forked from a process that has imported torch and Lightning.

A run pays seven seconds of CPU for its imports and one or two for what a test is about. Where the claim is
not about how a process starts, `forked` replaces exec by a fork: each program is still a process of its own,
a child of whoever started it, with the environment, working directory, session, umask, ignored signals and
descriptors it would have had, so it may be signalled, killed and waited for. dnalm itself is imported anew.
Ranks and workers that such a program starts come from a second process, kept as clean as the first.

Real processes stay those which no fork can imitate: other interpreters, a preexec_fn, other locales, options
of the interpreter. On a machine with a GPU, and off Linux, everything is real.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import inspect
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import takewhile
from multiprocessing import process as processes
from multiprocessing import util
from pathlib import Path
from typing import Any

PRELOADED = (  # only what starts no thread; pyarrow does
    "torch", "lightning.pytorch", "torch.distributed.checkpoint.state_dict", "scipy.stats", "rich.progress",
    "matplotlib.backends.backend_agg", "hydra", "omegaconf", "pydantic.types", "requests",
)  # fmt: skip
IS_POSSIBLE = sys.platform == "linux" and not Path("/dev/nvidiactl").exists()
_SAME_PYTHON = ("LANG", "LC_", "TZ", "HOME", "PYTHON")  # read as Python starts; two names may differ
_MAY_DIFFER = ("PYTHONPATH", "PYTHONSAFEPATH")
_EXECUTE, _SPAWN = subprocess.Popen._execute_child, util.spawnv_passfds  # type: ignore[attr-defined]
_MAX_REQUEST = 1 << 17
_SET_SUBREAPER, _GET_SUBREAPER, _SET_NAME = 36, 37, 15  # linux/prctl.h


class Forker:
    """A process to fork from, and the socket by which it is asked.

    Args:
        channel: of packets; the process ends when this end of it is closed.
        environment: with which it started.
    """

    def __init__(self, channel: socket.socket, environment: dict[str, str]) -> None:
        self.channel = channel
        self.environment = environment
        self._lock = threading.Lock()

    def can_fork(self, arguments: Sequence[str], environment: dict[str, str]) -> bool:
        """Whether a command is a program of this Python which a fork can stand for."""
        if arguments[0] != sys.executable or _program(arguments) is None:
            return False
        names = {*environment, *self.environment} - {*_MAY_DIFFER}
        return not any(
            name.startswith(_SAME_PYTHON) and environment.get(name) != self.environment.get(name)
            for name in names
        )

    def start(
        self,
        arguments: Sequence[str],
        *,
        environment: dict[str, str],
        descriptors: dict[int, int],
        session: bool = False,
        cwd: str = "",
    ) -> int:
        """Fork a child of this process; its pid.

        Args:
            arguments: the command line.
            environment: all of it.
            descriptors: of this process, by their number in the child.
            session: whether it begins one.
            cwd: its working directory, if another one than here.
        """
        umask = os.umask(0)
        os.umask(umask)
        ignored = [int(n) for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN]
        request = {
            "program": _program(arguments), "environment": environment, "numbers": [*descriptors],
            "umask": umask, "ignored": ignored, "parent": os.getpid(),
            "session": session, "cwd": cwd or str(Path.cwd()),
        }  # fmt: skip
        with self._lock, _adopting():
            socket.send_fds(self.channel, [json.dumps(request).encode()], [*descriptors.values()])
            return int(self.channel.recv(32))


def forked(forker: Forker) -> AbstractContextManager[None]:
    """Let `subprocess` and `multiprocessing` fork from it what can be forked."""
    return _starting(_executing(forker), _spawning(forker))


def started() -> AbstractContextManager[None]:
    """Let them start real processes, within a block in which they are forked."""
    return _starting(_EXECUTE, _SPAWN)


@contextmanager
def _starting(execute: Callable[..., None], spawn: Callable[..., int]) -> Iterator[None]:
    before = subprocess.Popen._execute_child, util.spawnv_passfds  # type: ignore[attr-defined]
    subprocess.Popen._execute_child, util.spawnv_passfds = execute, spawn  # type: ignore[attr-defined]
    try:
        yield
    finally:
        subprocess.Popen._execute_child, util.spawnv_passfds = before  # type: ignore[attr-defined]


@contextmanager
def forker() -> Iterator[Forker]:
    """Start a process to fork from, for as long as the block lasts."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, __file__, str(theirs.fileno())],
        env=environment, pass_fds=[theirs.fileno()], start_new_session=True,
    )  # fmt: skip
    theirs.close()
    try:
        yield Forker(ours, environment)
    finally:
        ours.close()
        process.wait(timeout=60)


def _executing(forker: Forker) -> Callable[..., None]:
    """For `Popen._execute_child`, before which the pipes are made and which closes their far ends."""
    signature = inspect.signature(_EXECUTE)

    def execute_child(popen: subprocess.Popen[Any], *given: object) -> None:
        asked = signature.bind(popen, *given).arguments
        environment = dict(os.environ if asked["env"] is None else asked["env"])
        words = asked["args"]
        words = [os.fspath(word) for word in words] if isinstance(words, list | tuple) else [""]
        is_plain = asked["preexec_fn"] is None and not asked["shell"] and asked["executable"] is None
        if not is_plain or not forker.can_fork(words, environment):
            _EXECUTE(popen, *given)
            return
        pipes = ("p2cread", "c2pwrite", "errwrite")
        descriptors = {n: n if asked[pipe] == -1 else asked[pipe] for n, pipe in enumerate(pipes)}
        descriptors |= {number: number for number in asked["pass_fds"]}
        popen.pid = forker.start(
            words, environment=environment, descriptors=descriptors,
            session=bool(asked["start_new_session"]), cwd=os.fspath(asked["cwd"] or ""),
        )  # fmt: skip
        popen._child_created = True  # type: ignore[attr-defined]
        ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        popen._close_pipe_fds(*(asked[end] for end in ends))  # type: ignore[attr-defined]

    return execute_child


def _spawning(forker: Forker) -> Callable[..., int]:
    """For `multiprocessing.util.spawnv_passfds`, by which workers and fork servers start."""

    def spawnv_passfds(path: bytes, args: Sequence[str | bytes], passfds: Sequence[int]) -> int:
        words, environment = [os.fsdecode(word) for word in args], dict(os.environ)
        is_tracker = any("resource_tracker" in word for word in words)  # it imports next to nothing
        if is_tracker or os.fsdecode(path) != sys.executable or not forker.can_fork(words, environment):
            return _SPAWN(path, args, passfds)
        descriptors = {number: number for number in (0, 1, 2, *passfds)}
        return forker.start(words, environment=environment, descriptors=descriptors)

    return spawnv_passfds


def _program(arguments: Sequence[str]) -> dict[str, Any] | None:
    """How a command line of Python begins: options, `-m MODULE`, `-c CODE` or FILE.py; None of any other."""
    rest = list(arguments[1:])
    options = list(takewhile(lambda word: word in ("-B", "-P", "-u"), rest))
    rest = rest[len(options) :]
    if rest and rest[0].endswith(".py"):
        return {"options": options, "how": "file", "what": rest[0], "words": rest[1:]}
    if len(rest) < 2 or rest[0] not in ("-m", "-c"):
        return None
    return {"options": options, "how": rest[0], "what": rest[1], "words": rest[2:]}


@contextmanager
def _adopting() -> Iterator[None]:
    """Let a process whose parent has ended become a child of this one."""
    prctl, before = ctypes.CDLL(None).prctl, ctypes.c_int()
    prctl(_GET_SUBREAPER, ctypes.byref(before))
    prctl(_SET_SUBREAPER, 1)
    try:
        yield
    finally:
        prctl(_SET_SUBREAPER, before.value)


def serve(channel: socket.socket) -> dict[str, Any] | None:
    """Fork a process for each request, until nobody can ask; it returns in that process, with the request."""
    while True:
        data, descriptors, _, _ = socket.recv_fds(channel, _MAX_REQUEST, 32)
        if not data:
            return None
        if middle := os.fork():
            for descriptor in descriptors:
                os.close(descriptor)
            os.waitpid(middle, 0)
            continue
        middle = os.getpid()
        if os.fork():
            os._exit(0)
        while os.getppid() == middle:
            time.sleep(0.0005)
        request: dict[str, Any] = json.loads(data)
        if os.getppid() != request["parent"]:
            os._exit(1)
        return _begin(channel, request, descriptors)


def _begin(channel: socket.socket, request: dict[str, Any], descriptors: list[int]) -> dict[str, Any] | None:
    """Become the process that was asked for; what forks for it is begun first, while this one is clean."""
    if request["session"]:
        os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if not os.fork():
        for descriptor in (ours.detach(), channel.detach(), *descriptors):
            os.close(descriptor)
        return _stand_by(theirs)
    theirs.close()
    channel.send(str(os.getpid()).encode())
    channel.close()
    request["channel"] = _place(request["numbers"], descriptors, ours.detach())
    os.umask(request["umask"])
    os.chdir(request["cwd"])
    for number in set(request["ignored"]) - {signal.SIGPIPE, signal.SIGXFSZ}:
        signal.signal(number, signal.SIG_IGN)
    return request


def _stand_by(channel: socket.socket) -> dict[str, Any] | None:
    """Serve one process, deaf to what is sent to its whole group and without a hand on its output."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    return serve(channel)


def _place(numbers: list[int], descriptors: list[int], channel: int) -> int:
    """Give descriptors the numbers that were asked for; the new number of the channel."""
    import fcntl

    high = max(numbers) + 1
    *moved, channel = (fcntl.fcntl(n, fcntl.F_DUPFD_CLOEXEC, high) for n in (*descriptors, channel))
    for number, descriptor in zip(numbers, moved, strict=True):
        os.dup2(descriptor, number)
    for number in {int(path.name) for path in Path("/proc/self/fd").iterdir()} - {*numbers, channel}:
        with suppress(OSError):  # the one by which they were listed
            os.close(number)
    return channel


def run(request: dict[str, Any], path: list[str]) -> None:
    """Run the program that was asked for as Python would.

    Args:
        request: of `Forker.start`.
        path: where modules lie, PYTHONPATH aside.
    """
    import torch
    from lightning.fabric.utilities.rank_zero import _get_rank, rank_zero_only

    environment, program = request["environment"], request["program"]
    started_with = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        before = getattr(sys, name)  # which may take a pipe for the file that it was opened for
        stream = open(number, mode, encoding=before.encoding, errors=before.errors, closefd=False)  # noqa: SIM115
        stream.reconfigure(line_buffering=name == "stderr", write_through="-u" in program["options"])
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    rank_zero_only.rank = _get_rank() or 0
    if "RANK" in environment:  # /proc/PID/environ remains that of the first process
        ctypes.CDLL(None).prctl(_SET_NAME, f"RANK={environment['RANK']}".encode())
    is_safe = "-P" in program["options"] or bool(environment.get("PYTHONSAFEPATH"))
    named = [entry for entry in environment.get("PYTHONPATH", "").split(":") if entry]
    what, how = program["what"], program["how"]
    where = {"-m": str(Path.cwd()), "-c": "", "file": str(Path(what).resolve().parent)}[how]
    sys.path[:] = [os.devnull if is_safe else where, *named, *path]
    sys.argv[:] = ["-c" if how == "-c" else what, *program["words"]]
    processes.ORIGINAL_DIR = str(Path.cwd())  # where workers look for a main module of relative path
    sys.modules.pop("sitecustomize", None)
    with suppress(ImportError):
        importlib.import_module("sitecustomize")
    with forked(Forker(socket.socket(fileno=request["channel"]), started_with)):
        if how == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        elif how == "file":
            runpy.run_path(what, run_name="__main__")
        else:
            main = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(what, "<string>", "exec"), main.__dict__)


def main() -> None:
    """Import what takes long, then serve whoever started this process."""
    del sys.path[0]  # the folder of this file, in which tests of tokenizers are called as a library is
    named = os.environ.get("PYTHONPATH", "").split(":")
    path = [entry for entry in sys.path if entry not in named]
    for name in PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    if request is None:
        os._exit(0)
    run(request, path)


if __name__ == "__main__":
    main()
