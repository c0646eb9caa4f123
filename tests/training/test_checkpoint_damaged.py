"""R3: no damage to a checkpoint goes unseen; the one before is used, and the message says what is wrong."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnalm.errors import CheckpointError
from dnalm.training.checkpoint import CheckpointFolder, choose, open_checkpoint
from tests.training.checkpoint_library import in_a_process, names, save

FILES = [
    "MANIFEST.json",
    "state.json",
    "config.yaml",
    "model.safetensors",
    "shards/optimizer-0.safetensors",
]
NEWEST = "step-00000010"


def code_of(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    assert caught.value.exit_code == 4
    return caught.value.code


def message_of(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    return str(caught.value).replace(str(path), "STEP")


def damages(content: bytes) -> Iterator[bytes]:
    """The file cut at 16 places, and with one of 200 random bits the other way."""
    for part in range(16):
        yield content[: len(content) * part // 16]
    draw = random.Random(len(content))
    for _ in range(200):
        place, bit = draw.randrange(len(content)), 1 << draw.randrange(8)
        yield content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]


@pytest.mark.parametrize("file", FILES)
def test_every_cut_and_every_flipped_bit_is_seen(file: str, folder: CheckpointFolder) -> None:
    path = folder.path / NEWEST / file
    whole = path.read_bytes()
    seen = []
    for damaged in damages(whole):
        path.write_bytes(damaged)
        found, rejected = folder.newest_good()
        assert found is not None
        assert found.step == 5
        seen += [one.code for one in rejected]
    assert len(seen) == 216, "each is rejected once"
    assert set(seen) <= {"CKPT-02", "CKPT-03", "CKPT-04", "CKPT-05", "CKPT-06", "CKPT-09"}
    path.write_bytes(whole)
    assert open_checkpoint(folder.path / NEWEST).step == 10


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_seen(file: str, folder: CheckpointFolder) -> None:
    (folder.path / NEWEST / file).unlink()
    assert code_of(folder.path / NEWEST) == ("CKPT-01" if file == "MANIFEST.json" else "CKPT-04")


@pytest.mark.parametrize("file", FILES)
def test_a_file_of_another_step_is_seen(file: str, folder: CheckpointFolder) -> None:
    shutil.copy(folder.path / "step-00000005" / file, folder.path / NEWEST / file)
    assert code_of(folder.path / NEWEST) in ("CKPT-02", "CKPT-03")


def test_a_folder_of_another_step_is_seen(folder: CheckpointFolder) -> None:
    shutil.copytree(folder.path / "step-00000005", folder.path / "step-00000020")
    assert message_of(folder.path / "step-00000020") == (
        "CKPT-05 STEP/state.json: step 5; the state of the step that the folder is named by. "
        "Fix: resume from another checkpoint, or copy this one again from where it is whole."
    )


def test_a_folder_may_be_moved_under_a_name_of_ones_own(folder: CheckpointFolder, tmp_path: Path) -> None:
    shutil.copytree(folder.path / NEWEST, tmp_path / "best")
    (tmp_path / "link").symlink_to(tmp_path / "best")
    assert open_checkpoint(tmp_path / "link").step == 10


@pytest.mark.parametrize("extra", ["notes.json", "shards/model.safetensors", ".hidden.json", "run.yaml"])
def test_an_extra_file_is_seen(extra: str, folder: CheckpointFolder) -> None:
    (folder.path / NEWEST / extra).write_text("{}")
    assert message_of(folder.path / NEWEST) == (
        f"CKPT-04 STEP/{extra}: a file too many; the files of its manifest. "
        "Fix: resume from another checkpoint, or copy this one again from where it is whole."
    )


def test_messages_say_file_and_sums(folder: CheckpointFolder) -> None:
    path = folder.path / NEWEST / "config.yaml"
    path.write_text("steps: 11\n")
    sums = [hashlib.sha256(text).hexdigest() for text in (b"steps: 11\n", b"steps: 10\n")]
    assert message_of(folder.path / NEWEST).startswith(
        f"CKPT-02 STEP/config.yaml: sha256 {sums[0]}; {sums[1]} by its manifest. Fix: "
    )
    path.write_text("steps: 1\n")
    assert message_of(folder.path / NEWEST) == (
        "CKPT-03 STEP/config.yaml: 9 bytes; 10 by its manifest. "
        "Fix: resume from another checkpoint, or copy this one again from where it is whole."
    )


def test_a_manifest_of_a_later_version_is_named_as_that(folder: CheckpointFolder) -> None:
    path = folder.path / NEWEST / "MANIFEST.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    assert message_of(folder.path / NEWEST) == (
        "CKPT-06 STEP/MANIFEST.json: format version 2; at most version 1. "
        "Fix: resume with the newer dnalm, or from another checkpoint."
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("[]", "a JSON list"),
        ('{"files": 3}', "not the fields of a manifest"),
        ('{"files": {}}', "no state.json in it"),
        ('{"files": {"state.json": {}}}', "not the fields of a manifest"),
        ('{"files": {"state.json": {"bytes": -1, "sha256": ""}}}', "no size and checksum of state.json"),
        ('{"files": {"state.json": {"bytes": 1.0, "sha256": ""}}}', "no size and checksum of state.json"),
        ("[" * 100_000, "too deep"),
    ],
    ids=range(8),
)
def test_what_is_no_manifest_is_said(text: str, reason: str, folder: CheckpointFolder) -> None:
    (folder.path / NEWEST / "MANIFEST.json").write_text(text)
    message = message_of(folder.path / NEWEST)
    assert message.startswith("CKPT-05 STEP/MANIFEST.json: ")
    assert reason in message


def read_as_nobody(path: Path) -> None:
    if os.getuid() == 0:  # whom no permission stops
        os.setgid(65534)
        os.setuid(65534)
    found, rejected = CheckpointFolder(path).newest_good()
    assert found is not None, [str(one) for one in rejected]
    assert found.step == 5
    assert str(rejected[0]) == (
        f"CKPT-04 {path}/{NEWEST}/model.safetensors: cannot be read (Permission denied); readable files. "
        "Fix: give yourself the right to read it, or resume from another checkpoint."
    )


def test_a_file_without_permission_is_passed_over(folder: CheckpointFolder) -> None:
    (folder.path / "step-00000005/model.safetensors").chmod(0o644)
    (folder.path / NEWEST / "model.safetensors").chmod(0)
    for parent in folder.path.parents:
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(0o755)
    assert in_a_process(read_as_nobody, folder.path) == 0


def test_if_all_are_bad_nothing_is_begun_anew(folder: CheckpointFolder) -> None:
    (folder.path / NEWEST / "MANIFEST.json").unlink()
    (folder.path / "step-00000005/config.yaml").write_text("")
    with pytest.raises(CheckpointError) as caught:
        choose(folder)
    assert caught.value.exit_code == 4
    fix = "Fix: resume from another checkpoint, or copy this one again from where it is whole."
    assert str(caught.value).replace(str(folder.path), "RUN") == (
        "CKPT-11 RUN: no valid checkpoint among 2:\n"
        f"  CKPT-01 RUN/{NEWEST}/MANIFEST.json: no manifest; "
        f"a checkpoint that was written to its end. {fix}\n"
        f"  CKPT-03 RUN/step-00000005/config.yaml: 0 bytes; 9 by its manifest. {fix}\n"
        "; a valid one; refusing to restart from step 0 silently. "
        "Fix: copy one again from where it is whole, or begin a new run by run.replace=true or another "
        "run.name."
    )


def test_a_run_without_checkpoints_begins_anew(tmp_path: Path) -> None:
    assert choose(CheckpointFolder(tmp_path / "none")) == (None, [])


def test_a_bad_checkpoint_of_the_same_step_is_replaced(folder: CheckpointFolder) -> None:
    (folder.path / NEWEST / "config.yaml").write_text("")
    assert save(folder, 10).written
    assert open_checkpoint(folder.path / NEWEST).step == 10
    assert names(folder.path) == ["step-00000005", NEWEST]


def test_what_a_spoilt_disk_gives_back_is_not_kept(
    folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def spoil(self: Path, target: Path) -> Path:
        if target.name == "step-00000015":
            (self / "config.yaml").write_bytes(b"\0" * 10)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", spoil)
    with pytest.raises(CheckpointError, match=r"CKPT-02 .*config.yaml: .*Fix: look at the disk's state"):
        save(folder, 15)
    assert names(folder.path) == ["step-00000005", NEWEST]
