"""Runs as processes of their own, which may be killed, and what they leave to be compared.

Every run writes a ledger: samples, mask, loss and learning rate of each micro-batch, to the bit. Two runs
are the same if their ledgers and their final weights are, whatever happened to one of them in between.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import random_sequence
from tests.faults import POINTS

ROOT = Path(__file__).parents[2]
Line = tuple[int, str, str]  # mask, loss, learning rate
STILL = (
    "schedule.warmup_steps=0",
    "schedule.floor=1.0",
)  # a rate that does not depend on the number of steps


@dataclass(frozen=True)
class Place:
    """Where runs of one genome lie."""

    folder: Path
    demo: bool = False  # train on the simulated clade

    def words(self, run: str, *more: str) -> list[str]:
        """The command line of a tiny run with dropout; of several words for a key the last."""
        own = ["data=fasta", f"data.fasta={self.folder}/genome.fa", f"data.cache={self.folder}/cache"]
        words = [
            "pretrain", "experiment=dnabert", "size=tiny", "debug=fast",
            *(["data=demo"] if self.demo else own),
            f"run.dir={self.folder}/{run}", "model.hidden_size=16", "model.num_heads=2", "model.dropout=0.1",
            "batch.global_size=4", "batch.micro_size=2", "trainer.validate_every=1000",
            "trainer.checkpoint_every=5", "trainer.callbacks=[{_target_: dnalm.training.Ledger}]", *more,
        ]  # fmt: skip
        return list({word[: word.find("=") + 1] or word: word for word in words}.values())

    def start(
        self, run: str, *more: str, environment: Mapping[str, str] | None = None, cwd: Path = ROOT
    ) -> subprocess.Popen[str]:
        """Start a run in a session of its own."""
        given = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **(environment or {})}
        return subprocess.Popen(
            [sys.executable, "-m", "dnalm", *self.words(run, *more)],
            env=given,
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(
        self,
        run: str,
        *more: str,
        environment: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        timeout_s: float = 240,
    ) -> tuple[int, str]:
        """Exit code and what was said, spaces and line breaks as one space."""
        process = self.start(run, *more, environment=environment, cwd=cwd)
        said, _ = process.communicate(timeout=timeout_s)
        return process.returncode, " ".join(said.split())

    def wait_for_step(self, run: str, step: int, *, rank: int = 0) -> None:
        """Wait until a rank is at a step."""
        until = time.monotonic() + 120
        while time.monotonic() < until:
            if (at := self.step_of(run, rank)) is not None and at >= step:
                return
            time.sleep(0.02)
        raise AssertionError(f"{run}: rank {rank} never came to step {step}")

    def step_of(self, run: str, rank: int) -> int | None:
        """The step a rank says that it is at."""
        try:
            return int(json.loads((self.folder / run / f"ranks/{rank}.json").read_text())["step"])
        except (OSError, ValueError, KeyError):
            return None

    def ledger(self, run: str) -> dict[tuple[int, tuple[int, ...]], set[Line]]:
        """What was written of each micro-batch, by step and samples: one line if nothing ever differed."""
        found: dict[tuple[int, tuple[int, ...]], set[Line]] = {}
        for path in (self.folder / run).glob("ledger-*.jsonl"):
            for text in path.read_text().splitlines():
                try:
                    line = json.loads(text)
                except ValueError:
                    continue  # cut short by a kill
                key = (line["step"], tuple(line["samples"]))
                found.setdefault(key, set()).add((line["mask"], line["loss"], line["rate"]))
        return found

    def weights(self, run: str) -> str:
        """SHA-256 of the final weights."""
        return hashlib.sha256((self.folder / run / "model/model.safetensors").read_bytes()).hexdigest()

    def hidden_folders(self, run: str) -> list[str]:
        """Temporary folders that lie among the checkpoints."""
        return [path.name for path in (self.folder / run / "checkpoints").iterdir() if path.name[0] == "."]


def make_place(folder: Path) -> Place:
    """A genome of two contigs, one of which judges."""
    folder.mkdir(parents=True, exist_ok=True)
    text = f">chr1\n{random_sequence(20_000)}\n>chr2\n{random_sequence(2_000, 1)}\n"
    (folder / "genome.fa").write_text(text)
    return Place(folder)


def children(pid: int) -> dict[int, int]:
    """Processes that a process has started, by their rank."""
    found = {}
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        child, parent = map(int, line.split())
        if parent == pid:
            try:
                environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
                environment.append(Path(f"/proc/{child}/comm").read_bytes().strip())  # of a forked one
            except OSError:
                continue
            ranks = [int(item[5:]) for item in environment if item.startswith(b"RANK=")]
            found |= dict.fromkeys(ranks, child)
    return found


def alive(pids: list[int]) -> list[int]:
    """Which of the processes still live; a zombie does not."""
    return [pid for pid in pids if _state(pid) not in ("", "Z")]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@contextmanager
def killed_at_the_end(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Leave nothing behind, whatever the test finds."""
    ranks = children(process.pid)
    try:
        yield process
        ranks |= children(process.pid)
    finally:
        for pid in (process.pid, *ranks.values()):
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


PATCH = """
import importlib.abc, importlib.util, sys
CODE = {code!r}
class _Patch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name not in CODE:
            return None
        code = CODE.pop(name)
        spec = importlib.util.find_spec(name)
        spec.loader = _Loader(spec.loader, code)
        return spec
class _Loader(importlib.abc.Loader):
    def __init__(self, loader, code):
        self.loader, self.code = loader, code
    def create_module(self, spec):
        return self.loader.create_module(spec)
    def exec_module(self, module):
        self.loader.exec_module(module)
        exec(self.code, module.__dict__)
sys.meta_path.insert(0, _Patch())
"""


def patched(folder: Path, code: Mapping[str, str]) -> dict[str, str]:
    """An environment in which code of the test follows a module of dnalm, in every process of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(PATCH.format(code=dict(code)))
    return {"PYTHONPATH": f"{folder}:{ROOT}"}


def faulty(folder: Path, spec: str, code: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment in which every process of a run has a fault (see `tests.faults`)."""
    module = POINTS[re.split("[@:=]", spec)[0]].module
    install = f"from tests.faults import install\ninstall({spec!r})\n"
    return patched(folder, {module: install, **(code or {})})
