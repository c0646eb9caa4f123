"""Parts are kept, counted and thrown away as their contract says, by one process or by two."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from dnalm.durable import write_text
from dnalm.errors import DistributedError
from dnalm.evaluation.durable_parts import PartFolder, work_on


@dataclass(frozen=True)
class Doubling:
    """Writes twice each number; one number kills the process."""

    kills: int = -1

    def open(self) -> int:
        return 2

    def do(self, state: int, folder: PartFolder, number: int, part: list[int]) -> None:
        if self.kills in part:
            os.kill(os.getpid(), signal.SIGKILL)
        folder.keep(number, lambda beside: write_text(beside, f"{[state * item for item in part]}"))


PARTS = [[1, 2, 3], [4], [5, 6]]


def contents(folder: PartFolder) -> list[str]:
    return [path.read_text() for path in folder.files()]


@pytest.mark.parametrize("workers", [1, 2])
def test_parts_are_the_same_whoever_computes_them(workers: int, tmp_path: Path) -> None:
    folder = PartFolder.beside(tmp_path / "out", ".txt")
    folder.begin({"model": 1})
    done: list[int] = []
    assert work_on(PARTS, folder, Doubling(), workers=workers, advance=done.append) == 6
    assert contents(folder) == ["[2, 4, 6]", "[8]", "[10, 12]"]
    assert sum(done) == 6
    assert sorted(path.name for path in folder.path.iterdir())[:1] == ["000000.txt"], "nothing half written"


def test_only_what_is_missing_is_computed(tmp_path: Path) -> None:
    folder = PartFolder(tmp_path / "parts", ".txt")
    folder.begin({})
    folder.keep(1, lambda beside: write_text(beside, "kept"))
    work_on(PARTS, folder, Doubling(), workers=1, advance=lambda _: None)
    assert contents(folder) == ["[2, 4, 6]", "kept", "[10, 12]"]
    folder.remove()
    assert not folder.path.exists()


def test_parts_of_another_contract_are_thrown_away(tmp_path: Path) -> None:
    folder = PartFolder(tmp_path / "parts", ".txt")
    folder.begin({"window_bp": 40})
    folder.keep(0, lambda beside: write_text(beside, "x"))
    folder.begin({"window_bp": 40})
    assert folder.has(0)
    folder.begin({"window_bp": 41})
    assert not folder.has(0)


def test_a_killed_process_is_told_and_what_is_done_stays(tmp_path: Path) -> None:
    folder = PartFolder(tmp_path / "parts", ".txt")
    folder.begin({})
    with pytest.raises(DistributedError, match=r"^DIST-20 .*parts: a process was killed"):
        work_on(PARTS, folder, Doubling(kills=6), workers=2, advance=lambda _: None)
    assert work_on(PARTS, folder, Doubling(), workers=1, advance=lambda _: None) == 6
    assert contents(folder) == ["[2, 4, 6]", "[8]", "[10, 12]"]
