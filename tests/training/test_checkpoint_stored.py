"""Which checkpoints stay, and what dead processes left; the whole folder against a model of it."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dnalm.errors import CheckpointError
from dnalm.lock import Process, _birth
from dnalm.training.checkpoint import CheckpointFolder, choose, open_checkpoint
from tests.faults import injected
from tests.training.checkpoint_library import in_a_process, names, save, steps


def test_the_last_the_best_and_every_nth_are_kept(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep_last=2, keep_best=1, keep_every=4)
    for step, bits in enumerate([1.9, 1.8, 1.5, 1.8, 1.7, 1.9, 1.6, 1.9], start=1):
        save(folder, step, val_bits_per_base=bits)
    assert steps(folder) == [3, 4, 7, 8]  # 3 is best; 4 and 8 are multiples; 7 and 8 are last
    assert folder.path.stat().st_nlink == 2 + 4, "nothing is hidden there"


def test_the_best_may_be_the_highest_of_another_metric(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep_last=1, keep_best=2, best_metric="accuracy", best_mode="max")
    for step, accuracy in enumerate([0.5, 0.9, 0.7, 0.8, 0.1], start=1):
        save(folder, step, accuracy=accuracy, val_bits_per_base=step)
    assert steps(folder) == [2, 4, 5]


def test_of_equally_good_ones_the_newer_is_best() -> None:
    states = {step: {"metrics": {"val_bits_per_base": 1.9}} for step in range(5)}
    for best in (1, 2):  # never fewer than two
        assert CheckpointFolder(Path("any"), keep_last=1, keep_best=best).kept(states) == {4, 3}


@given(
    st.dictionaries(st.integers(0, 50), st.none() | st.floats(0, 2), max_size=20),
    st.integers(1, 4),
    st.integers(0, 3),
    st.none() | st.integers(1, 7),
)
def test_what_is_kept_follows_from_its_definition(
    scores: dict[int, float | None], last: int, best: int, every: int | None
) -> None:
    states = {step: {"metrics": {} if x is None else {"val_bits_per_base": x}} for step, x in scores.items()}
    kept = CheckpointFolder(Path("any"), keep_last=last, keep_best=best, keep_every=every).kept(states)
    assert kept >= set(sorted(states)[-last:])
    assert every is None or kept >= {step for step in states if step % every == 0}
    known = {step: x for step, x in scores.items() if x is not None}
    for step in known.keys() - kept:
        assert sum(x <= known[step] for other, x in known.items() if other in kept) >= best
    assert len(kept) >= min(2, len(states))
    assert len(kept) <= max(2, last + best + (len(states) if every else 0))


def test_a_good_checkpoint_of_the_step_is_not_replaced(folder: CheckpointFolder) -> None:
    before = (folder.path / "step-00000010").stat().st_ino
    saved = save(folder, 10, val_bits_per_base=1.0)
    assert not saved.written
    assert saved.checkpoint.state["metrics"] == {}, "that which was there"
    assert (folder.path / "step-00000010").stat().st_ino == before
    assert names(folder.path) == ["step-00000005", "step-00000010"]


def test_a_bad_one_counts_for_nothing_and_is_left_to_be_looked_into(folder: CheckpointFolder) -> None:
    (folder.path / "step-00000010/config.yaml").write_text("damaged")
    for step in (15, 20, 25, 30):
        save(folder, step)
    assert steps(folder) == [10, 20, 25, 30]


def test_steps_are_sorted_as_numbers_and_other_names_are_let_be(folder: CheckpointFolder) -> None:
    for name in ("step-7", "step-000000012", "best", "notes.txt"):
        (folder.path / name).mkdir()
    save(folder, 123_456_789)
    assert steps(folder) == [5, 10, 123_456_789]
    found, rejected = choose(folder)
    assert found is not None
    assert (found.step, rejected) == (123_456_789, [])


def make_leftover(folder: CheckpointFolder, process: Process, kind: str = "tmp") -> Path:
    path = folder.path / f".step-00000015.{kind}-{process.host}-{process.pid}-{process.birth}"
    (path / "shards").mkdir(parents=True)
    (path / "shards/model.safetensors").touch()
    return path


def begin_only(path: Path) -> None:
    CheckpointFolder(path).begin(15)


def test_what_a_dead_process_left_is_removed(folder: CheckpointFolder) -> None:
    in_a_process(begin_only, folder.path)
    assert len(names(folder.path)) == 3
    reused = make_leftover(folder, Process(socket.gethostname(), os.getppid(), "00000000"))
    assert reused in folder.remove_leftovers()
    assert names(folder.path) == ["step-00000005", "step-00000010"]


@pytest.mark.parametrize("kind", ["tmp", "pruned"])
def test_what_a_living_process_writes_is_left(kind: str, folder: CheckpointFolder) -> None:
    parent = os.getppid()
    left = make_leftover(folder, Process(socket.gethostname(), parent, _birth(parent) or ""), kind)
    assert folder.remove_leftovers() == []
    assert left.exists()


def test_what_another_machine_writes_is_left_for_a_day(folder: CheckpointFolder) -> None:
    left = make_leftover(folder, Process("node-7.cluster", 1, "00000000"))
    for file in (left, *left.rglob("*")):
        os.utime(file, (0, time.time() - 90_000))
    os.utime(left / "shards/model.safetensors")
    assert folder.remove_leftovers() == []
    os.utime(left / "shards/model.safetensors", (0, time.time() - 90_000))
    assert folder.remove_leftovers() == [left]


AT_THE_FINAL_NAME = ["after_rename", "before_prune", "during_prune", "after_prune"]
POINTS = ["after_mkdir", "writing", "after_state", "after_manifest", "before_rename", *AT_THE_FINAL_NAME]
DAMAGED = [
    "MANIFEST.json",
    "state.json",
    "config.yaml",
    "model.safetensors",
    "shards/optimizer-0.safetensors",
]


class Run(RuleBasedStateMachine):
    """A run that saves, dies, is damaged and goes on; `good` is what must be on disk, whole."""

    @initialize(last=st.integers(1, 3), best=st.integers(0, 2), every=st.none() | st.integers(2, 5))
    def start(self, last: int, best: int, every: int | None) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(os, "fsync", lambda _: None)  # no power is cut here, and a disk takes its time
        self.path, self.step = Path(tempfile.mkdtemp()), 0
        self.keep = {"keep_last": last, "keep_best": best, "keep_every": every}
        self.good: set[int] = set()
        self.bad: set[int] = set()
        self.resume()

    def teardown(self) -> None:
        if hasattr(self, "path"):
            self.patch.undo()
            shutil.rmtree(self.path)

    @rule(bits=st.none() | st.floats(0, 2))
    def save(self, bits: float | None) -> None:
        self.step += 1
        metrics = {} if bits is None else {"val_bits_per_base": bits}
        assert save(self.folder, self.step, **metrics).written
        self.bad.discard(self.step)
        self.good.add(self.step)
        self._look(newest=self.step)

    @rule(point=st.sampled_from(POINTS))
    def die(self, point: str) -> None:
        try:
            with injected(f"checkpoint.{point}=raise"):
                self.save(None)
        except RuntimeError:
            target = self.path / f"step-{self.step:08d}"
            if target.exists() and point in AT_THE_FINAL_NAME:
                self.good.add(self.step)
            if self.step in self.good or not target.exists():
                self.bad.discard(self.step)  # replaced, or removed to be replaced
        self._look(newest=max(self.good, default=None))
        self.resume()

    @rule()
    def resume(self) -> None:
        self.folder = CheckpointFolder(self.path, **self.keep)  # type: ignore[arg-type]
        self.folder.remove_leftovers()
        assert not [path for path in self.path.iterdir() if path.name.startswith(".")]
        self.step = max(self.good, default=0)

    @precondition(lambda self: self.good)
    @rule(which=st.integers(0, 9), file=st.sampled_from(DAMAGED), place=st.floats(0, 1, exclude_max=True))
    def damage(self, which: int, file: str, place: float) -> None:
        step = sorted(self.good)[which % len(self.good)]
        path = self.path / f"step-{step:08d}" / file
        content = bytearray(path.read_bytes())
        content[int(place * len(content))] ^= 16
        path.write_bytes(content)
        # Disks spoil files long after they are written; a test may do so in the same tick of the clock.
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))
        self.good.remove(step)
        self.bad.add(step)

    @rule()
    def make_room(self) -> None:
        self.folder.make_room()
        if len(self.good) >= 2:
            assert set(steps(self.folder)) == set(sorted(self.good)[-2:])
            self.bad.clear()
        self._look(newest=max(self.good, default=None))

    def _look(self, newest: int | None) -> None:
        """Take over what pruning has removed; it may not take the newest, nor leave fewer than two."""
        there = set(steps(self.folder))
        assert len(there & self.good) >= min(2, len(self.good))
        assert newest is None or newest in there
        self.good &= there

    @invariant()
    def newest_complete_wins(self) -> None:
        if not hasattr(self, "good"):
            return
        there = set(steps(self.folder))
        assert there == self.good | self.bad
        for step in there:
            try:
                assert open_checkpoint(self.path / f"step-{step:08d}").step == step
                assert step in self.good
            except CheckpointError:
                assert step in self.bad
        try:
            found, rejected = choose(self.folder)
        except CheckpointError as error:
            assert error.code == "CKPT-11"  # noqa: PT017 -- whether it raises depends on the state
            assert self.bad
            assert not self.good
        else:
            newest = max(self.good, default=None)
            assert (found.step if found else None) == newest
            assert len(rejected) == sum(step > (newest or 0) for step in self.bad)


TestRun = Run.TestCase
TestRun.settings = settings(max_examples=120, stateful_step_count=20)
