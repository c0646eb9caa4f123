"""S1, S5, S6: nothing that a stranger puts into a checkpoint is run, followed or read outside of it."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dnalm.durable import FileSum, file_sha256
from dnalm.errors import CheckpointError
from dnalm.training import checkpoint_files as inside
from dnalm.training.checkpoint import CheckpointFolder
from dnalm.training.checkpoint_files import Manifest, open_checkpoint
from tests.training.checkpoints.library import fill, names


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def step(folder: CheckpointFolder) -> Path:
    return folder.path / "step-00000010"


def sign(step: Path) -> None:
    """Write the manifest that fits what is there, as whoever forged it would."""
    (step / "MANIFEST.json").unlink()
    files = sorted(file for file in step.rglob("*") if file.is_file())
    sums = [FileSum(str(file.relative_to(step)), file.stat().st_size, file_sha256(file)) for file in files]
    (step / "MANIFEST.json").write_text(Manifest(tuple(sums)).to_json())


def message_of(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    assert caught.value.exit_code == 4
    return str(caught.value).replace(str(path), "STEP")


def pickled(payload: Payload, kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "torch":
        torch.save({"weight": payload}, file)
    elif kind == "torch legacy":
        torch.save({"weight": payload}, file, _use_new_zipfile_serialization=False)
    elif kind == "npy":
        np.save(file, np.array([payload], dtype=object), allow_pickle=True)
    elif kind == "npz":
        np.savez(file, x=np.array([payload], dtype=object))
    elif kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("data.pkl", pickle.dumps(payload))
    else:
        return pickle.dumps(payload, protocol=int(kind))
    return file.getvalue()


WITHOUT_MAGIC = ["npy", "0", "1"]  # begin with text, or with numpy's magic
KINDS = ["torch", "torch legacy", "npz", "zip", "2", "3", "4", "5", *WITHOUT_MAGIC]
NAMES = ["model.pt", "last.ckpt", ".metadata", "rng.npy", "model.safetensors", "state.json", "config.yaml"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_no_pickle_is_run_under_any_name(name: str, kind: str, step: Path, tmp_path: Path) -> None:
    marker = tmp_path / "was-run"
    (step / name).write_bytes(pickled(Payload(marker), kind))
    if name != ".metadata":
        sign(step)
    without_magic = {"model.safetensors": "CKPT-03", "state.json": "CKPT-05", "config.yaml": ""}
    expected = without_magic.get(name, "CKPT-09") if kind in WITHOUT_MAGIC else "CKPT-09"
    if expected:
        assert message_of(step).startswith(expected)
    else:
        assert open_checkpoint(step).step == 10, "it is text to whoever reads a config"
    assert not marker.exists()


def test_a_pickle_is_named_as_one(step: Path, tmp_path: Path) -> None:
    (step / "model.safetensors").write_bytes(pickled(Payload(tmp_path / "was-run"), "2"))
    sign(step)
    rest = (
        "; only .safetensors, .json, .yaml files. "
        "Fix: resume from another checkpoint, or copy this one again from where it is whole."
    )
    assert message_of(step) == (
        f"CKPT-09 STEP/model.safetensors: a pickle or an archive of pickles, which was not opened{rest}"
    )
    (step / "model.pt").write_bytes(b"whatever")
    (step / "model.safetensors").unlink()
    sign(step)
    assert message_of(step) == f"CKPT-09 STEP/model.pt: a kind of file that is never read here{rest}"


def test_the_writer_refuses_pickles_too(folder: CheckpointFolder) -> None:
    path = folder.begin(15)
    fill(path, 15)
    torch.save({"weight": torch.ones(2)}, path / "optimizer.json")
    with pytest.raises(CheckpointError, match=r"CKPT-09 .*optimizer.json: a pickle"):
        folder.finish(15, {})
    assert names(folder.path) == ["step-00000005", "step-00000010"]


@pytest.mark.parametrize("length", [0x280, 0x380, 0x10280, 0x20580])
def test_a_header_whose_length_spells_a_pickle_is_none(length: int, folder: CheckpointFolder) -> None:
    path = folder.begin(15)
    header = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'.ljust(length)
    (path / "model.safetensors").write_bytes(length.to_bytes(8, "little") + header + b"1")
    assert folder.finish(15, {}).checkpoint.step == 15


def test_a_hostile_header_is_refused_though_its_sum_is_right(step: Path) -> None:
    (step / "model.safetensors").write_bytes((1 << 63).to_bytes(8, "little") + b"{}")
    sign(step)
    assert message_of(step).startswith("CKPT-03 STEP/model.safetensors: not readable as safetensors (")


@pytest.mark.parametrize(
    "name",
    [
        "../secret.json",
        "/etc/passwd",
        "a/../../secret.json",
        "..",
        "",
        "a/b/c.json",
        "a\nb",
        ".x",
        "-/",
        "é.json",
    ],
)
def test_a_manifest_names_nothing_outside(name: str, step: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = json.loads((step / "MANIFEST.json").read_text())
    fields["files"][name] = {"bytes": 1, "sha256": "0" * 64}
    (step / "MANIFEST.json").write_text(json.dumps(fields, indent=1, sort_keys=True) + "\n")
    opened = list[object]()
    monkeypatch.setattr(
        inside.os, "open", lambda path, *a, _open=os.open, **k: opened.append(path) or _open(path, *a, **k)
    )
    assert message_of(step).startswith(f"CKPT-05 STEP/MANIFEST.json: a file called {name!r}; ")
    assert opened == [step, "MANIFEST.json"]


def linked(path: Path, target: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize("name", ["config.yaml", "state.json", "model.safetensors", "extra.json"])
def test_a_link_is_refused(name: str, step: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    shutil.copy(step / "config.yaml", outside)
    linked(step / name, outside)
    assert message_of(step).startswith(f"CKPT-04 STEP: {name} is a link; files of its own only. Fix: ")


def test_a_linked_manifest_is_refused(step: Path, tmp_path: Path) -> None:
    shutil.copy(step / "MANIFEST.json", tmp_path / "secret")
    linked(step / "MANIFEST.json", tmp_path / "secret")
    assert message_of(step).startswith("CKPT-04 STEP/MANIFEST.json: is a link; readable files. Fix: ")


def test_a_linked_folder_is_refused(folder: CheckpointFolder, step: Path, tmp_path: Path) -> None:
    shutil.move(step, tmp_path / "elsewhere")
    step.symlink_to(tmp_path / "elsewhere")
    found, rejected = folder.newest_good()
    assert found is not None
    assert found.step == 5
    assert str(rejected[0]).startswith(f"CKPT-01 {step}/MANIFEST.json: {step.name} is a link or a file; ")
    shards = folder.path / "step-00000005/shards"
    shutil.move(shards, tmp_path / "shards")
    shards.symlink_to(tmp_path / "shards")
    assert message_of(shards.parent).startswith("CKPT-04 STEP: shards is a link; ")


@pytest.mark.parametrize("name", ["config.yaml", "MANIFEST.json", "extra.json"])
def test_a_pipe_keeps_nobody_waiting(name: str, step: Path) -> None:
    (step / name).unlink(missing_ok=True)
    os.mkfifo(step / name)
    assert message_of(step).startswith(f"CKPT-04 STEP: {name} is a pipe; files of its own only. Fix: ")


def test_a_device_is_refused(step: Path) -> None:
    (step / "config.yaml").unlink()
    try:
        os.mknod(step / "config.yaml", 0o020644, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root may make a device")
    assert message_of(step).startswith("CKPT-04 STEP: config.yaml is a device; ")


def test_folders_below_folders_are_refused(step: Path) -> None:
    (step / "shards/deeper").mkdir()
    assert message_of(step).startswith("CKPT-04 STEP: shards/deeper is a folder below a folder; ")


def test_a_manifest_of_a_million_entries_is_not_parsed(step: Path) -> None:
    entry = '"file-{:07d}.json":{{"bytes":1,"sha256":"' + "0" * 64 + '"}},'
    with (step / "MANIFEST.json").open("w") as file:
        file.writelines(entry.format(number) for number in range(1_000_000))
    assert message_of(step).startswith("CKPT-05 STEP/MANIFEST.json: more than 4,194,304 bytes; ")


def test_a_folder_of_too_many_entries_is_not_listed_to_its_end(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inside, "_MOST_ENTRIES", 4)
    assert message_of(step).startswith("CKPT-04 STEP: more than 4 entries; ")
