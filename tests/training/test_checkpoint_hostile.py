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
from dnalm.training.checkpoint import CheckpointFolder, manifest_text, open_checkpoint


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
    (step / "MANIFEST.json").write_text(manifest_text(sums))


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


KINDS = ["torch", "torch legacy", "npy", "npz", "zip", "0", "1", "2", "3", "4", "5"]
NAMES = ["model.pt", "last.ckpt", ".metadata", "rng.npy", "model.safetensors", "state.json", "config.yaml"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_no_pickle_is_run_under_any_name(name: str, kind: str, step: Path, tmp_path: Path) -> None:
    marker = tmp_path / "was-run"
    (step / name).write_bytes(pickled(Payload(marker), kind))
    if name != ".metadata":
        sign(step)
    expected = {"model.safetensors": "CKPT-03", "state.json": "CKPT-05", "config.yaml": ""}.get(
        name, "CKPT-09"
    )
    if expected:
        assert message_of(step).startswith(expected)
    else:
        assert open_checkpoint(step).step == 10, "it is text to whoever reads a config"
    assert not marker.exists()


def test_a_pickle_is_no_safetensors_file_and_no_other_kind_is_opened(step: Path, tmp_path: Path) -> None:
    (step / "model.safetensors").write_bytes(pickled(Payload(tmp_path / "was-run"), "2"))
    sign(step)
    assert message_of(step).startswith("CKPT-03 STEP/model.safetensors: not readable as safetensors (")
    (step / "model.pt").write_bytes(b"whatever")
    (step / "model.safetensors").unlink()
    sign(step)
    assert message_of(step) == (
        "CKPT-09 STEP/model.pt: a kind of file that is never read here; only .safetensors, .json, .yaml "
        "files. Fix: resume from another checkpoint, or copy this one again from where it is whole."
    )


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
        Path, "open", lambda self, *a, _open=Path.open, **k: opened.append(self) or _open(self, *a, **k)
    )
    assert message_of(step).startswith(f"CKPT-05 STEP/MANIFEST.json: a file called {name!r}; ")
    assert opened == [step / "MANIFEST.json"]


def linked(path: Path, target: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize(
    "name", ["config.yaml", "state.json", "model.safetensors", "extra.json", "MANIFEST.json"]
)
def test_a_link_is_refused(name: str, step: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    shutil.copy(step / "config.yaml", outside)
    linked(step / name, outside)
    assert message_of(step).startswith(f"CKPT-04 STEP/{name}: a link; regular files only. Fix: ")


def test_a_linked_folder_is_refused(step: Path, tmp_path: Path) -> None:
    shutil.move(step / "shards", tmp_path / "shards")
    (step / "shards").symlink_to(tmp_path / "shards")
    assert message_of(step).startswith("CKPT-04 STEP/shards: a link; ")


def test_a_pipe_keeps_nobody_waiting(step: Path) -> None:
    (step / "config.yaml").unlink()
    os.mkfifo(step / "config.yaml")
    assert message_of(step).startswith("CKPT-04 STEP/config.yaml: no regular file; ")


def test_a_manifest_of_a_million_entries_is_not_parsed(step: Path) -> None:
    entry = '"file-{:07d}.json":{{"bytes":1,"sha256":"' + "0" * 64 + '"}},'
    with (step / "MANIFEST.json").open("w") as file:
        file.writelines(entry.format(number) for number in range(1_000_000))
    size = (step / "MANIFEST.json").stat().st_size
    assert message_of(step).startswith(f"CKPT-05 STEP/MANIFEST.json: {size:,} bytes; ")
