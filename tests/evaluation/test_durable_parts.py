"""Parts are kept, verified and deleted as their contract says, by one process or by two."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnalm.durable import write_text
from dnalm.errors import CheckpointError, ConfigError, DistributedError
from dnalm.evaluation.parts import DoneParts, PartFolder, work_on
from dnalm.lock import OutputLock
from dnalm.training.run_directory import RunLock

pytestmark = pytest.mark.usefixtures("forked_programs")

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Multiplying:
    """Writes a multiple of each number; one number kills the process."""

    factor: int = 2
    kills: int = -1

    def open(self) -> int:
        return self.factor

    def do(self, state: int, folder: PartFolder, number: int, part: list[int]) -> None:
        if self.kills in part:
            os.kill(os.getpid(), signal.SIGKILL)
        folder.keep(number, lambda beside: write_text(beside, f"{[state * item for item in part]}"))


PARTS = [[1, 2, 3], [4], [5, 6]]
DOUBLED = [b"[2, 4, 6]", b"[8]", b"[10, 12]"]


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[OutputLock]:
    with RunLock(tmp_path / "held") as held:
        yield held


def begin(out: Path, **contract: object) -> PartFolder:
    return PartFolder.begin(out, ".json", contract)


def work(folder: PartFolder, lock: OutputLock, done: Multiplying, *, workers: int = 1) -> DoneParts:
    return work_on(PARTS, folder, done, workers=workers, advance=lambda _: None, lock=lock)


@pytest.mark.parametrize("workers", [1, 2])
def test_parts_are_the_same_whoever_computes_them(workers: int, tmp_path: Path, lock: OutputLock) -> None:
    folder = begin(tmp_path / "out", model=1)
    advanced: list[int] = []
    done = work_on(PARTS, folder, Multiplying(), workers=workers, advance=advanced.append, lock=lock)
    assert done.num_items == sum(advanced) == 6
    assert list(done.contents()) == DOUBLED
    assert not list(folder.path.glob(".*")), "nothing half written"
    done.remove()
    assert not folder.path.exists()


def test_only_what_is_missing_is_computed(tmp_path: Path, lock: OutputLock) -> None:
    folder = begin(tmp_path / "out")
    folder.keep(1, lambda beside: write_text(beside, "kept"))
    assert list(work(folder, lock, Multiplying()).contents()) == [DOUBLED[0], b"kept", DOUBLED[2]]


def test_parts_of_another_contract_are_deleted(tmp_path: Path) -> None:
    begin(tmp_path / "out", window_bp=40).keep(0, lambda beside: write_text(beside, "x"))
    assert list(begin(tmp_path / "out", window_bp=40).kept()) == [0]
    assert begin(tmp_path / "out", window_bp=41).kept() == {}
    assert [path.name for path in (tmp_path / "out.parts").iterdir()] == ["contract.json"]


def test_a_part_with_a_flipped_bit_is_computed_anew(tmp_path: Path, lock: OutputLock) -> None:
    folder = begin(tmp_path / "out")
    path = work(folder, lock, Multiplying()).files[1]
    path.write_bytes(b"[9]")
    assert list(work(begin(tmp_path / "out"), lock, Multiplying()).contents()) == DOUBLED


@pytest.mark.parametrize("harm", ["change", "remove"])
def test_a_part_that_changes_before_it_is_read_is_an_error(
    harm: str, tmp_path: Path, lock: OutputLock
) -> None:
    done = work(begin(tmp_path / "out"), lock, Multiplying())
    if harm == "change":
        done.files[1].write_bytes(b"[9]")
    else:
        done.files[1].unlink()
    with pytest.raises(CheckpointError, match=r"^PART-01 .*out.parts/000001.*the part (is gone|has changed)"):
        list(done.contents())


def test_a_killed_process_is_named_and_what_is_done_stays(tmp_path: Path, lock: OutputLock) -> None:
    folder = begin(tmp_path / "out")
    with pytest.raises(DistributedError, match=r"^DIST-20 .*parts: a process was killed"):
        work(folder, lock, Multiplying(kills=6), workers=2)
    assert list(work(folder, lock, Multiplying()).contents()) == DOUBLED


FOREIGN = {
    "notes.txt": "notes.txt",
    "data/000000.json": "data",
    "000000.json": "000000.json",  # with no contract
    "000000.abc.def.json": "000000.abc.def.json",
    ".hidden": ".hidden",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_folder_that_dnalm_has_not_made_is_left_alone(name: str, tmp_path: Path) -> None:
    file = tmp_path / "out.parts" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(ConfigError, match=rf"^CFG-52 out: .*out.parts is there .* holds {FOREIGN[name]},"):
        begin(tmp_path / "out")
    assert file.read_text() == "mine"


def test_a_link_in_the_place_of_the_parts_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out.parts").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"out.parts is there already and is no folder"):
        begin(tmp_path / "out")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    writes=st.lists(st.tuples(st.sampled_from([2, 3]), st.integers(0, 2), st.booleans()), max_size=12),
    last=st.sampled_from([2, 3]),
)
def test_whatever_late_workers_write_the_parts_are_of_one_contract(
    writes: list[tuple[int, int, bool]], last: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Commands of two contracts begin, are killed, and their workers write at any later time."""
    out = tmp_path_factory.mktemp("late") / "out"
    folders: dict[int, PartFolder] = {}
    for factor, number, begins in writes:
        if begins or factor not in folders:
            folders[factor] = begin(out, factor=factor)
        Multiplying(factor).do(factor, folders[factor], number, PARTS[number])
    with RunLock(out.parent / "held") as lock:
        done = work(begin(out, factor=last), lock, Multiplying(last))
        for factor, folder in folders.items():
            Multiplying(factor).do(factor, folder, 0, PARTS[0])
        expected = [f"{[last * item for item in part]}".encode() for part in PARTS]
        assert list(done.contents()) == expected


COMMAND = """
import sys, time
from pathlib import Path
from tests.evaluation.test_durable_parts import Multiplying, PARTS, begin
from dnalm.evaluation.parts import work_on
from dnalm.evaluation.parts import opened_output

class Waiting(Multiplying):
    def do(self, state, folder, number, part):
        Path(f"began-{state}").touch()
        while not Path(f"go-{state}").exists():
            time.sleep(0.01)
        super().do(state, folder, number, part)

if __name__ == "__main__":
    factor, workers = map(int, sys.argv[1:])
    with opened_output(Path("out.json"), (".json",)) as lock:
        folder = begin(Path("out.json"), factor=factor)
        done = work_on(PARTS, folder, Waiting(factor), workers=workers, advance=print, lock=lock)
        Path("out.json").write_bytes(b"".join(done.contents()))
        done.remove()
"""


def start(folder: Path, *, factor: int, workers: int = 1) -> subprocess.Popen[str]:
    (folder / "command.py").write_text(COMMAND)
    return subprocess.Popen(
        [sys.executable, "command.py", str(factor), str(workers)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def test_a_second_command_with_the_same_output_is_refused_and_the_first_ends_well(tmp_path: Path) -> None:
    with start(tmp_path, factor=2) as first:
        wait_for(tmp_path / "began-2", first)
        with start(tmp_path, factor=3) as second:
            error = second.communicate()[1]
        assert second.returncode == 1
        assert f"CKPT-12 out.json: process {first.pid} on" in error
        assert "has been writing to it since" in error
        (tmp_path / "go-2").touch()
        assert first.wait() == 0
    assert (tmp_path / "out.json").read_bytes() == b"".join(DOUBLED)
    assert not list(tmp_path.glob(".out.json.lock*"))


def test_workers_hold_the_lock_of_a_command_and_end_with_it(tmp_path: Path) -> None:
    (tmp_path / "go-3").touch()
    with start(tmp_path, factor=2, workers=2) as first:
        wait_for(tmp_path / "began-2", first)
        children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
        assert sum(holds(pid, tmp_path / ".out.json.lock") for pid in children) == 2, "each worker, alone"
        first.kill()
    with start(tmp_path, factor=3) as second:
        assert second.wait() == 0
    assert (tmp_path / "out.json").read_bytes() == b"[3, 6, 9][12][15, 18]"


def holds(pid: str, file: Path) -> bool:
    links = [path for path in Path(f"/proc/{pid}/fd").iterdir() if path.exists()]
    return any(path.readlink() == file for path in links)
