"""R2: whatever the moment of a kill -9, the newest complete checkpoint is resumed and nothing else left."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from dnalm.training.checkpoint import CheckpointFolder, choose
from tests.training.checkpoint_library import fill, in_a_process, names, save, save_in_a_process, steps

WRITING = [f"writing:{hit}" for hit in (1, 2, 3)]
BEFORE = ["before_mkdir", "after_mkdir", *WRITING, "after_state", "after_manifest", "before_rename"]
AFTER = ["after_rename", "before_prune", "during_prune", "after_prune"]


@pytest.mark.parametrize("point", BEFORE + AFTER)
def test_a_kill_leaves_the_newest_complete(point: str, folder: CheckpointFolder) -> None:
    code = in_a_process(save_in_a_process, folder.path, 15, fault=f"checkpoint.{point}=kill9")
    assert code == -signal.SIGKILL
    kept = {
        "after_rename": [5, 10, 15],
        "before_prune": [5, 10, 15],
        "during_prune": [10, 15],
        "after_prune": [10, 15],
    }
    assert steps(folder) == kept.get(point, [5, 10])

    later = CheckpointFolder(folder.path)
    found, rejected = choose(later)
    assert found is not None
    assert found.step == steps(folder)[-1]
    assert rejected == [], "an unreadable folder at a final name"
    hidden = [name for name in names(folder.path) if name.startswith(".")]
    assert len(hidden) == (point not in ("before_mkdir", "after_rename", "before_prune", "after_prune"))
    assert [path.name for path in later.remove_leftovers()] == hidden
    assert names(folder.path) == [f"step-{step:08d}" for step in kept.get(point, [5, 10])]

    assert save(later, 15).written == (point in BEFORE)
    assert steps(later)[-1] == 15


def fill_in_a_process(path: Path, step: int) -> None:
    fill(path, step)


@pytest.mark.parametrize("hit", [1, 2, 3])
def test_a_kill_of_another_rank_leaves_what_was(hit: int, folder: CheckpointFolder) -> None:
    path, spec = folder.begin(15), f"checkpoint.writing@1:{hit}=kill9"
    assert in_a_process(fill_in_a_process, path, 15, RANK="1", fault=spec) == -signal.SIGKILL
    folder.abandon(15)
    assert names(folder.path) == ["step-00000005", "step-00000010"]


def test_a_kill_while_a_bad_one_is_replaced_leaves_the_one_before(folder: CheckpointFolder) -> None:
    (folder.path / "step-00000010/state.json").write_text("{}")
    code = in_a_process(save_in_a_process, folder.path, 10, fault="checkpoint.during_prune=kill9")
    assert code == -signal.SIGKILL
    found, _ = choose(folder)
    assert found is not None
    assert found.step == 5
    assert steps(folder) == [5]
