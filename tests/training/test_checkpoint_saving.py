"""R4: a disk that is full costs one checkpoint, never an older one, and the run only if it stays full."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from dnalm.errors import CheckpointError
from dnalm.training import checkpoint as module
from dnalm.training.checkpoint import CheckpointFolder, SaveFailed, SavePolicy, disk_errors
from tests.faults import install
from tests.training.checkpoint_library import fill, in_a_process, names, save, steps

POINTS = ["before_mkdir", "after_mkdir", "writing", "after_state", "after_manifest", "before_rename"]


@pytest.mark.parametrize("point", POINTS)
def test_a_full_disk_leaves_what_was_and_the_next_try_saves(
    point: str, folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(f"checkpoint.{point}=enospc", monkeypatch)
    with pytest.raises(SaveFailed) as caught, disk_errors(folder.path):
        save(folder, 15)
    assert caught.value.exit_code == 4
    assert str(caught.value) == (
        f"CKPT-14 {folder.path}: the disk is full (No space left on device); space for one more checkpoint. "
        "Fix: free space there."
    )
    assert steps(folder) == [5, 10]
    if point != "writing":  # where the ranks write, the folder does not know
        assert names(folder.path) == ["step-00000005", "step-00000010"]
    assert save(folder, 15).written
    assert names(folder.path) == [f"step-{step:08d}" for step in (5, 10, 15)]


@pytest.mark.parametrize("point", ["after_rename", "before_prune", "during_prune", "after_prune"])
def test_once_the_new_one_is_there_the_next_try_finds_it(
    point: str, folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = CheckpointFolder(folder.path, keep_last=2, keep_best=0)
    install(f"checkpoint.{point}=enospc", monkeypatch)
    saved = SavePolicy().attempt(lambda: save(folder, 15))
    assert saved is not None
    assert not saved.written
    assert steps(folder) == [10, 15]


def test_a_full_disk_takes_all_but_the_two_newest_good(
    folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(folder, 15)
    (folder.path / "step-00000015/config.yaml").write_text("damaged")
    save(folder, 20)
    assert steps(folder) == [5, 10, 15, 20]
    install("checkpoint.after_state=enospc", monkeypatch)
    with pytest.raises(SaveFailed):
        save(folder, 25)
    assert names(folder.path) == ["step-00000010", "step-00000020"]


def test_a_step_begun_once_more_makes_room(folder: CheckpointFolder) -> None:
    save(folder, 15)
    folder.begin(20)  # and a rank finds the disk full
    (folder.begin(20) / "config.yaml").touch()
    folder.finish(20, {})
    assert steps(folder) == [10, 15, 20]


def save_with_small_files(path: Path) -> None:
    folder = CheckpointFolder(path)
    fill(folder.begin(15), 15)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, resource.RLIM_INFINITY))
    state = {"text": "x" * 1000}
    with pytest.raises(SaveFailed, match=r"CKPT-14 .*: the disk is full \(File too large\)"):
        folder.finish(15, state)
    assert names(path) == ["step-00000005", "step-00000010"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    fill(folder.begin(15), 15)
    assert folder.finish(15, state).checkpoint.state["text"] == state["text"]


def test_a_limit_on_file_sizes_is_a_full_disk(folder: CheckpointFolder) -> None:
    assert in_a_process(save_with_small_files, folder.path) == 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG], ids=errno.errorcode.get)
def test_short_writes_are_gone_on_with_until_the_disk_is_full(
    code: int, folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, room = os.write, [2000]

    def short(descriptor: int, content: memoryview) -> int:
        if room[0] <= 0:
            raise OSError(code, os.strerror(code))
        written = write(descriptor, content[: min(7, room[0])])
        room[0] -= written
        return written

    fill(folder.begin(15), 15)
    monkeypatch.setattr(os, "write", short)
    with pytest.raises(SaveFailed, match=f"the disk is full \\({os.strerror(code)}\\)"):
        folder.finish(15, {"text": "x" * 2000})
    assert names(folder.path) == ["step-00000005", "step-00000010"]
    room[0] = 10_000
    fill(folder.begin(15), 15)
    saved = folder.finish(15, {"text": "x" * 2000})
    assert saved.checkpoint.state == {"step": 15, "text": "x" * 2000}


def test_space_is_looked_for_before_anything_is_written(
    folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(file.stat().st_size for file in folder.path.glob("step-00000010/**/*") if file.is_file())
    for free, fits in ((int(1.2 * size) - 1, False), (int(1.2 * size), True)):
        monkeypatch.setattr(module.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        if fits:
            assert save(folder, 15).written
        else:
            with pytest.raises(SaveFailed, match=rf"CKPT-14 .* {free + 1:,} bytes are needed .* {free:,} "):
                folder.begin(15)
            assert steps(folder) == [5, 10]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("only root may mount a file system here")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_on_a_disk_that_really_is_full(small_disk: Path) -> None:
    folder, said = CheckpointFolder(small_disk / "checkpoints"), list[str]()
    policy = SavePolicy(warn=said.append)
    for step in (5, 10, 15):
        save(folder, step)

    def write(step: int) -> None:
        with disk_errors(folder.path):
            (folder.begin(step) / "large.json").write_bytes(b" " * (2 << 20))

    assert policy.attempt(lambda: write(20)) is None
    assert said == [
        f"Not saved: CKPT-14 {folder.path}: the disk is full (No space left on device); space for one more "
        "checkpoint. Fix: free space there. Training continues; 2 more failed saves in a row would end the "
        "run."
    ]
    found, rejected = folder.newest_good()
    assert found is not None
    assert (found.step, rejected) == (15, [])
    assert steps(folder) == [10, 15]
    assert policy.attempt(lambda: save(folder, 25)) is not None
    assert names(folder.path) == ["step-00000010", "step-00000015", "step-00000025"]


def test_a_read_only_file_system_is_named(folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(SaveFailed) as caught:
        folder.begin(15)
    assert str(caught.value) == (
        f"CKPT-13 {folder.path}: not writable (Read-only file system); a folder that may be written. "
        "Fix: mount it for writing, or give yourself the right."
    )


def test_everything_is_on_disk_before_it_has_its_name(
    folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, fsync, rename = list[str](), os.fsync, Path.rename

    def watched_fsync(descriptor: int) -> None:
        events.append(os.path.relpath(Path(f"/proc/self/fd/{descriptor}").readlink(), path))
        fsync(descriptor)

    def watched_rename(self: Path, target: Path) -> Path:
        events.append(f"renamed to {target.name}")
        return rename(self, target)

    path = folder.begin(15)
    fill(path, 15)
    files = sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "rename", watched_rename)
    folder.finish(15, {})
    named = events.index("renamed to step-00000015")
    assert events.index("MANIFEST.json") == named - 2, "the last file, and then its folder"
    assert events[named - 1 : named + 2] == [".", "renamed to step-00000015", ".."]
    assert {*files, "state.json", "shards", "."} <= set(events[: named - 2])


class Disk:
    """Fails as often as it is asked to, then works."""

    def __init__(self, failures: int) -> None:
        self.failures, self.tries = failures, 0

    def write(self) -> str:
        self.tries += 1
        if self.tries <= self.failures:
            with disk_errors(Path("run")):
                raise OSError(errno.ENOSPC, "No space left on device")
        return "written"


def test_one_failure_is_tried_again_in_silence() -> None:
    said = list[str]()
    disk, policy = Disk(1), SavePolicy(warn=said.append)
    assert policy.attempt(disk.write) == "written"
    assert (disk.tries, said, policy.failed_in_a_row) == (2, [], 0)


def test_two_failures_give_up_one_save_and_a_success_forgets_them() -> None:
    said = list[str]()
    disk, policy = Disk(4), SavePolicy(max_failed_saves=3, warn=said.append)
    assert [policy.attempt(disk.write) for _ in range(3)] == [None, None, "written"]
    assert disk.tries == 2 + 2 + 1
    assert policy.failed_in_a_row == 0
    assert ["2 more failed" in said[0], "1 more failed" in said[1], len(said)] == [True, True, 2]


def test_the_run_ends_after_so_many_failed_saves_in_a_row() -> None:
    disk, policy = Disk(6), SavePolicy(max_failed_saves=3, warn=lambda _: None)
    policy.attempt(disk.write)
    policy.attempt(disk.write)
    with pytest.raises(CheckpointError) as caught:
        policy.attempt(disk.write)
    assert caught.value.exit_code == 4
    assert str(caught.value) == (
        "CKPT-14 run: 3 saves in a row have failed, the last: the disk is full (No space left on "
        "device); a disk that takes a checkpoint. "
        "Fix: free space there, then start the run again: it continues from its newest checkpoint."
    )


def test_another_error_is_not_tried_again() -> None:
    tries = []

    def write() -> None:
        tries.append(1)
        raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        SavePolicy().attempt(write)
    assert len(tries) == 1
