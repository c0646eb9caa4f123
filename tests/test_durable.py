"""What is written is on disk in full, and a sum is that of every byte."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.durable import atomic_write, file_sha256, sync, write_text


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.integers(1, 9))
def test_short_writes_lose_nothing(tmp_path_factory: pytest.TempPathFactory, text: str, most: int) -> None:
    path, write = tmp_path_factory.mktemp("text") / "file", os.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:most]))
        path.write_text("longer than what follows" * 9)
        write_text(path, text)
    assert path.read_bytes() == text.encode()


def test_files_and_folders_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = list[int]()
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    write_text(tmp_path / "file", "text")
    sync(tmp_path)
    assert synced == [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]


def test_a_sum_is_that_of_every_byte(tmp_path: Path) -> None:
    for size in (0, 9, 1 << 18, (1 << 19) + 1):
        content = os.urandom(size)
        (tmp_path / "file").write_bytes(content)
        assert file_sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_a_file_has_the_mode_of_the_umask_whatever_a_library_gives_it(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with atomic_write(tmp_path / "file") as beside:
        beside.touch(mode=0o600)
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode
