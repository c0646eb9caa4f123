"""A store is built once, whole or not at all, whatever happens to the process that builds it."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from dnalm.errors import DataError
from dnalm.genome import atomic_folder
from dnalm.genome import store as building
from dnalm.genome.store import Content, GenomeStore, StoreWriter, build_store, open_or_build
from tests.genome.malformed_fasta import GOOD


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "genome.fa"
    path.write_bytes(GOOD)
    return path


def entries(folder: Path) -> list[str]:
    """What is in a folder, locks left out."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_second_opening_builds_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_or_build(source, tmp_path / "cache")
    monkeypatch.setattr(building, "_build", lambda *_, **__: pytest.fail("built again"))
    assert open_or_build(source, tmp_path / "cache").path == first.path
    assert first.path.name.startswith("genome-")
    assert entries(tmp_path / "cache") == [first.path.name]


def test_folder_of_a_store_is_opened_as_it_is(source: Path, tmp_path: Path) -> None:
    store = build_store(source, tmp_path / "store")
    assert open_or_build(store.path, tmp_path / "cache").fingerprint == store.fingerprint
    assert not (tmp_path / "cache").exists()


def test_changed_source_gets_its_own_store(source: Path, tmp_path: Path) -> None:
    first = open_or_build(source, tmp_path / "cache")
    source.write_bytes(GOOD + b">chr3\nACGT\n")
    second = open_or_build(source, tmp_path / "cache")
    assert second.path != first.path
    assert second.num_bases == first.num_bases + 4


def test_default_cache_is_the_users(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building.platformdirs, "user_cache_path", lambda name: tmp_path / "home" / name)
    assert open_or_build(source).path.parent == tmp_path / "home" / "dnalm" / "genomes"


def test_existing_target_is_not_overwritten(source: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with pytest.raises(DataError, match=r"STORE-08 .*already exists"):
        build_store(source, tmp_path / "store")


@pytest.mark.parametrize(
    ("error", "raised", "words"),
    [
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
        (OSError(errno.ENOSPC, "No space left on device"), DataError, "STORE-10 .*disk is full.*free space"),
        (OSError(errno.EDQUOT, "Quota exceeded"), DataError, "STORE-10 .*disk is full"),
        (OSError(errno.EROFS, "Read-only file system"), DataError, "STORE-09 .*not writable"),
    ],
    ids=["Ctrl-C", "disk full", "quota", "read-only"],
)
def test_failed_build_leaves_nothing(
    error: BaseException,
    raised: type[BaseException],
    words: str,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: StoreWriter) -> None:
        raise error

    monkeypatch.setattr(StoreWriter, "finish", fail)
    with pytest.raises(raised, match=words):
        build_store(source, tmp_path / "stores" / "store")
    assert entries(tmp_path / "stores") == []


def test_too_small_disk_is_noticed_before_work(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic_folder.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(DataError, match=r"STORE-10 .*are needed, \d+ bytes are free.*another disk"):
        build_store(source, tmp_path / "store")


def test_cache_that_cannot_be_made_is_named(source: Path) -> None:
    with pytest.raises(DataError, match=r"STORE-09 .*not writable.*choose another cache folder"):
        open_or_build(source, source / "cache")


def test_source_that_grows_while_read_is_an_error(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = StoreWriter.finish

    def grow_and_finish(self: StoreWriter) -> Content:
        with source.open("ab") as file:
            file.write(b"ACGT\n")
        return finish(self)

    monkeypatch.setattr(StoreWriter, "finish", grow_and_finish)
    with pytest.raises(DataError, match=r"STORE-12 .*changed while it was read"):
        build_store(source, tmp_path / "stores" / "store")
    assert entries(tmp_path / "stores") == []


def build_and_log(source: Path, cache: Path, log: Path, start: threading.Barrier) -> None:
    """In a child: open a store at the same time as others, and log whether it was built here."""
    build = building._build

    def logged(source: Path, target: Path, *, chunk_bytes: int) -> GenomeStore:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return build(source, target, chunk_bytes=chunk_bytes)

    building._build = logged
    start.wait()
    assert open_or_build(source, cache).num_bases == 22


def test_processes_that_start_together_build_once(source: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    arguments = (source, tmp_path / "cache", tmp_path / "log", context.Barrier(2))
    children = [context.Process(target=build_and_log, args=arguments) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert len((tmp_path / "log").read_text().splitlines()) == 1
    assert len(entries(tmp_path / "cache")) == 1


def build_and_stall(source: Path, target: Path, marker: Path) -> None:
    """In a child: stop with the bases written and the manifest not."""

    def stall(self: StoreWriter) -> None:
        self._flush()
        marker.touch()
        time.sleep(600)

    StoreWriter.finish = stall  # type: ignore[assignment, method-assign]
    build_store(source, target)


def test_killed_build_leaves_no_store_and_the_next_removes_its_leftovers(
    source: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "stores"
    child = multiprocessing.get_context("spawn").Process(
        target=build_and_stall, args=(source, folder / "one", tmp_path / "marker")
    )
    child.start()
    while not (tmp_path / "marker").exists():
        assert child.is_alive()
        time.sleep(0.01)
    (leftover,) = entries(folder)
    build_store(source, folder / "other")
    assert leftover in entries(folder), "a living process's folder was removed"
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert entries(folder) == sorted([leftover, "other"])
    build_store(source, folder / "third")
    assert entries(folder) == ["other", "third"]
    assert build_store(source, folder / "one").num_bases == 22


def test_who_waits_says_for_whom(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "store"
    said, opened = [], []
    waits = threading.Event()
    monkeypatch.setattr(
        atomic_folder, "stderr", SimpleNamespace(print=lambda text: (said.append(text), waits.set()))
    )
    (tmp_path / ".store.building-node7.example-4711").mkdir()
    with FileLock(tmp_path / ".store.lock"):
        thread = threading.Thread(target=lambda: opened.append(build_store(source, target)))
        thread.start()
        assert waits.wait(timeout=60)
    thread.join()
    assert said == ["Waiting for process 4711 on node7.example, which is building store ..."]
    assert opened[0].num_bases == 22
