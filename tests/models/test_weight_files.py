"""Weights are read from published files without running anything in them, each damage is known."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dnalm.errors import CheckpointError
from dnalm.models import MaskedLM, fit_vocabulary, load_pretrained, save_pretrained
from dnalm.models.pretrained import LayoutName, family_of
from tests.models import zoo


@pytest.fixture
def model() -> MaskedLM:
    return zoo.model("dnabert2")


@pytest.fixture
def folder(model: MaskedLM, tmp_path: Path) -> Path:
    """A model directory whose weights are in a file of torch.save, as in many older repositories."""
    folder = tmp_path / "model"
    save_pretrained(model, folder, layout="published")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def _refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(folder)
    assert caught.value.exit_code == 4
    return str(caught.value).replace(str(folder), "FOLDER")


def _same(first: MaskedLM, second: MaskedLM) -> bool:
    states = first.state_dict(), second.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(weight, states[1][name]) for name, weight in states[0].items()
    )


def test_a_pytorch_file_gives_the_same_model(model: MaskedLM, folder: Path) -> None:
    assert _same(load_pretrained(folder), model)


def test_safetensors_are_preferred(model: MaskedLM, folder: Path) -> None:
    save_pretrained(model, folder)
    (folder / "pytorch_model.bin").write_bytes(b"not looked at")
    assert _same(load_pretrained(folder), model)


@pytest.mark.parametrize(("name", "kind"), [("model", "safetensors"), ("pytorch_model", "bin")])
def test_weights_in_several_files_are_joined(model: MaskedLM, folder: Path, name: str, kind: str) -> None:
    tensors = torch.load(folder / "pytorch_model.bin", weights_only=True)
    (folder / "pytorch_model.bin").unlink()
    files = [f"{name}-{number:05d}-of-00003.{kind}" for number in (1, 2, 3)]
    places = {tensor: files[number % 3] for number, tensor in enumerate(tensors)}
    for file in files:
        part = {tensor: tensors[tensor] for tensor, place in places.items() if place == file}
        (save_file if kind == "safetensors" else torch.save)(part, folder / file)
    index = folder / f"{name}.{kind}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    assert _same(load_pretrained(folder), model)
    (folder / files[1]).unlink()
    assert _refusal(folder).startswith(f"CKPT-04 FOLDER/{files[1]}: no such file;")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({}, "no weight_map"),
        ({"weight_map": {"a": "../elsewhere.safetensors"}}, "a file '../elsewhere.safetensors'"),
        ({"weight_map": {"a": "weights.pkl"}}, "a file 'weights.pkl'"),
    ],
)
def test_an_index_that_names_no_files_of_its_folder_is_refused(
    folder: Path, content: dict[str, object], found: str
) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))
    assert _refusal(folder) == (
        f"CKPT-05 FOLDER/model.safetensors.index.json: {found}; a weight_map from tensors to .safetensors "
        "files of this folder. Fix: copy or download it again; it may be cut short."
    )


def test_a_flipped_byte_in_a_pytorch_file_is_found_by_its_checksum(folder: Path) -> None:
    path = folder / "pytorch_model.bin"
    content = bytearray(path.read_bytes())
    largest = load_pretrained(folder).encoder.embeddings.token.weight.detach().numpy().tobytes()
    content[content.index(largest) + 77] ^= 1
    path.write_bytes(content)
    message = _refusal(folder)
    assert message.startswith("CKPT-03 FOLDER/pytorch_model.bin: the checksum of pytorch_model/data/")
    assert message.endswith(
        " does not match; matching checksums. Fix: copy or download it again; it may be cut short."
    )


@pytest.mark.parametrize("kept_bytes", [0, 100, 20_000])
def test_a_truncated_pytorch_file_is_refused(folder: Path, kept_bytes: int) -> None:
    path = folder / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:kept_bytes])
    assert _refusal(folder) == (
        "CKPT-03 FOLDER/pytorch_model.bin: no whole zip archive (File is not a zip file), "
        f"{kept_bytes:,} bytes; a file of torch.save since 1.6. Fix: copy or download it again; it may be "
        "cut short."
    )


class _Code:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def test_code_in_a_pytorch_file_is_refused_and_not_run(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    torch.save({"weight": _Code(marker)}, folder / "pytorch_model.bin")
    message = _refusal(folder)
    assert not marker.exists()
    assert message == (
        "CKPT-06 FOLDER/pytorch_model.bin: a pickle that holds more than tensors, which was not run; a state "
        "dict: tensors by name and nothing else. Fix: get the weights as safetensors, from whoever made the "
        "file."
    )
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert marker.exists(), "the file does hold code"


def test_a_bare_pickle_is_refused_unread(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Code(marker)))
    assert _refusal(folder).startswith("CKPT-03 FOLDER/pytorch_model.bin: no whole zip archive")
    assert not marker.exists()


def test_a_file_of_something_else_than_tensors_is_refused(folder: Path) -> None:
    torch.save({"epoch": 3, "weights": {}}, folder / "pytorch_model.bin")
    assert _refusal(folder).startswith(
        "CKPT-06 FOLDER/pytorch_model.bin: something else than tensors by name; a state dict:"
    )


def test_all_misfits_of_a_fused_layout_are_listed(folder: Path) -> None:
    path = folder / "pytorch_model.bin"
    tensors = torch.load(path, weights_only=True)
    fused = "bert.encoder.layer.{}.attention.self.Wqkv.weight"
    tensors[fused.format(1)] = torch.ones(32, 96)
    del tensors[fused.format(0)]
    tensors["bert.encoder.layer.0.attention.self.query.weight"] = torch.ones(32, 32)
    torch.save(tensors, path)
    assert _refusal(folder) == (
        f"CKPT-07 FOLDER/pytorch_model.bin: 1 missing: {fused.format(0)}; 1 unexpected: "
        "bert.encoder.layer.0.attention.self.query.weight; "
        f"1 of another shape: {fused.format(1)} is (32, 96) where config.json says (96, 32); the tensors of "
        "DNABERT-2, as config.json describes it. Fix: check that config.json and pytorch_model.bin are of "
        "one model."
    )


def test_weights_that_are_not_finite_are_refused(folder: Path) -> None:
    path = folder / "pytorch_model.bin"
    tensors = torch.load(path, weights_only=True)
    tensors["bert.encoder.layer.2.mlp.wo.bias"][3] = float("nan")
    torch.save(tensors, path)
    assert _refusal(folder) == (
        "CKPT-08 FOLDER/pytorch_model.bin: weights that are not finite: bert.encoder.layer.2.mlp.wo.bias; "
        "finite weights only. Fix: take an earlier checkpoint of that model."
    )


@pytest.mark.parametrize("offline", ["0", "1"])
def test_a_hub_that_cannot_be_reached_is_said_with_a_way_round(
    offline: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise FileNotFoundError("Cannot find an appropriate cached snapshot folder.\nMore.")

    if offline == "0":
        monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    else:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError) as caught:
        load_pretrained("zhihan1996/DNABERT-2-117M")
    message = str(caught.value)
    assert message.startswith(
        "MODEL-11 zhihan1996/DNABERT-2-117M: no folder of this name, and the hub did not give it "
        "(Cannot find "
        "an appropriate cached snapshot folder"
    )
    assert message.endswith(
        "); a model directory, or owner/name on the Hugging Face hub. Fix: download config.json, "
        "model.safetensors (or pytorch_model.bin) and the tokenizer's files from "
        "https://huggingface.co/zhihan1996/DNABERT-2-117M into a folder and name that."
    )


def test_a_hub_id_fetches_configs_tokenizers_and_weights_and_no_code(
    model: MaskedLM, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fetched, asked = tmp_path / "fetched", []
    for name in ("bert_layers.py", "tokenizer.json"):
        (folder / name).write_text("")

    def snapshot_download(repository: str, *, revision: str, allow_patterns: list[str]) -> str:
        asked.append((repository, revision))
        fetched.mkdir(exist_ok=True)
        for pattern in allow_patterns:
            for path in folder.glob(pattern):
                shutil.copy(path, fetched)
        return str(fetched)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert _same(load_pretrained("some/model", revision="7bce263b15"), model)
    assert asked == [("some/model", "7bce263b15")] * 2  # safetensors first, then what there is
    assert {path.name for path in fetched.iterdir()} == {"config.json", "pytorch_model.bin", "tokenizer.json"}


def test_a_folder_that_looks_like_a_hub_id_is_a_folder(
    model: MaskedLM, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent.parent)
    assert _same(load_pretrained(f"{folder.parent.name}/{folder.name}"), model)


@pytest.mark.parametrize(("ids", "rows"), [(37, 37), (4107, 4105), (610, 609)])
def test_a_tokenizer_of_as_many_ids_is_taken_and_published_exceptions_are_known(ids: int, rows: int) -> None:
    fit_vocabulary(zoo.model("bert", vocab_size=rows), ids, where="tokenizer")


@pytest.mark.parametrize(("ids", "rows"), [(4101, 4096), (36, 37), (4107, 4106), (611, 609)])
def test_a_tokenizer_of_another_model_is_refused(ids: int, rows: int) -> None:
    with pytest.raises(CheckpointError) as caught:
        fit_vocabulary(zoo.model("bert", vocab_size=rows), ids, where="runs/tokenizer")
    assert str(caught.value) == (
        f"MODEL-12 runs/tokenizer: a tokenizer of {ids:,} ids and a model of {rows:,} token embeddings; as "
        "many of one as of the other. Fix: use the tokenizer that the model was trained with."
    )


def test_every_architecture_has_its_layout() -> None:
    names = {name: family_of(zoo.encoder(name)).name for name in zoo.ARCHITECTURES}
    assert names == {
        "bert": "BERT, such as DNABERT or GROVER",
        "dnabert2": "DNABERT-2",
        "nt_v1": "ESM with learned positions, such as the Nucleotide Transformer v1",
        "nt_v2": "the Nucleotide Transformer v2",
        "logo": "ALBERT, such as the LOGO of the paper",
        "logo_released": "dnalm",
        "logo_convolved": "dnalm",
        "dnalm": "dnalm",
    }


@pytest.mark.parametrize("layout", ["safe", "published", "standalone"])
@pytest.mark.parametrize("name", zoo.ARCHITECTURES)
def test_out_and_in_again_is_the_same_model(name: str, layout: LayoutName, tmp_path: Path) -> None:
    model = zoo.model(name, dropout=0.25, attention_dropout=0.5, norm_eps=1e-6, initializer_range=0.7)
    save_pretrained(model, tmp_path, layout=layout)
    again = load_pretrained(tmp_path)
    assert _same(again, model)
    arguments = zoo.arguments(name, dropout=0.25, attention_dropout=0.5, norm_eps=1e-6, initializer_range=0.7)
    assert {key: getattr(again.encoder, key) for key in arguments} == arguments
