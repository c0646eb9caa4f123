"""Model directories go out to stock `transformers` and come in from it, bit for bit or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForMaskedLM, BertForMaskedLM

from dnalm.errors import CheckpointError, NumericsError
from dnalm.models import Encoder, MaskedLM, load_pretrained, pretrained, save_pretrained
from dnalm.models.families import BERT

BIAS = "cls.predictions.bias"
WORDS = "bert.embeddings.word_embeddings.weight"


@pytest.fixture
def model() -> MaskedLM:
    return MaskedLM(
        Encoder(
            vocab_size=11,
            hidden_size=8,
            num_layers=2,
            num_heads=2,
            intermediate_size=12,
            max_positions=9,
            dropout=0.25,
            attention_dropout=0.5,
            norm_eps=1e-6,
            type_vocab_size=1,
            initializer_range=0.7,
            padding_id=4,
        )
    )


@pytest.fixture
def folder(model: MaskedLM, tmp_path: Path) -> Path:
    save_pretrained(model, tmp_path / "model")
    return tmp_path / "model"


def _change(folder: Path, *, drop: tuple[str, ...] = (), **add: Tensor) -> None:
    path = folder / "model.safetensors"
    tensors = {name: tensor for name, tensor in load_file(path).items() if name not in drop}
    save_file({**tensors, **{name.replace("__", "."): tensor for name, tensor in add.items()}}, path)


def _configure(folder: Path, **fields: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def _refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(folder)
    assert caught.value.exit_code == 4
    return str(caught.value).replace(str(folder), "FOLDER")


def test_ours_loads_in_transformers_bit_for_bit(model: MaskedLM, folder: Path) -> None:
    theirs, report = AutoModelForMaskedLM.from_pretrained(folder, output_loading_info=True)
    assert isinstance(theirs, BertForMaskedLM)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    state = theirs.state_dict()
    for name, weight in model.state_dict().items():
        assert torch.equal(state[BERT.name_of(name)], weight), name
    assert torch.equal(state["cls.predictions.decoder.weight"], model.encoder.embeddings.token.weight)
    assert torch.equal(state["cls.predictions.decoder.bias"], model.head.bias)


def test_theirs_loads_in_ours_bit_for_bit(stock: BertForMaskedLM, stock_folder: Path) -> None:
    state = stock.state_dict()
    ours = load_pretrained(stock_folder).state_dict()
    assert {BERT.name_of(name) for name in ours} == {n for n in state if ".decoder." not in n}
    assert all(torch.equal(weight, state[BERT.name_of(name)]) for name, weight in ours.items())


def test_there_and_back_is_the_same_model(model: MaskedLM, folder: Path, tmp_path: Path) -> None:
    AutoModelForMaskedLM.from_pretrained(folder).save_pretrained(tmp_path / "theirs")
    for place in (folder, tmp_path / "theirs"):
        again = load_pretrained(place)
        assert all(
            torch.equal(a, b)
            for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
        )
        kept = {
            name: value for name, value in vars(model.encoder).items() if isinstance(value, int | float | str)
        }
        assert kept == {name: getattr(again.encoder, name) for name in kept}
        assert kept["padding_id"] == 4


def test_the_files_are_as_transformers_writes_them(folder: Path) -> None:
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert not [name for name in file.keys() if ".decoder." in name]  # noqa: SIM118 -- not a mapping
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["BertForMaskedLM"]
    assert (config["model_type"], config["hidden_act"], config["pad_token_id"]) == ("bert", "gelu", 4)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_further_fields_of_the_config_are_kept(model: MaskedLM, tmp_path: Path) -> None:
    save_pretrained(model, tmp_path, extra_config={"mask_token_id": 4})
    assert json.loads((tmp_path / "config.json").read_text())["mask_token_id"] == 4
    with pytest.raises(AssertionError, match="hidden_size"):
        save_pretrained(model, tmp_path, extra_config={"hidden_size": 4})


def test_weights_gathered_elsewhere_can_be_written(model: MaskedLM, tmp_path: Path) -> None:
    weights = {name: torch.full_like(weight, 2.0) for name, weight in model.state_dict().items()}
    save_pretrained(model, tmp_path, weights=weights)
    assert all((weight == 2).all() for weight in load_pretrained(tmp_path).state_dict().values())


def test_half_precision_is_written_as_it_is_and_read_as_float32(model: MaskedLM, tmp_path: Path) -> None:
    save_pretrained(model.bfloat16(), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    again = load_pretrained(tmp_path)
    assert again.head.bias.dtype == torch.float32
    assert torch.equal(again.head.dense.weight, model.head.dense.weight.float())


def test_weights_that_are_not_finite_are_not_written(model: MaskedLM, tmp_path: Path) -> None:
    with torch.no_grad():
        model.head.bias[2] = float("nan")
    with pytest.raises(NumericsError) as caught:
        save_pretrained(model, tmp_path / "new")
    assert str(caught.value) == (
        f"NUM-04 {tmp_path}/new: weights that are not finite: cls.predictions.bias; finite weights only. "
        "Fix: go back to a checkpoint from before the training diverged."
    )
    assert not (tmp_path / "new").exists()


def test_a_write_that_fails_leaves_the_old_files(
    model: MaskedLM, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fill_the_disk(_: object, path: Path, **__: object) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pretrained, "save_file", fill_the_disk)
    model.reset_parameters()
    with pytest.raises(OSError, match=r"No space left on device: '.*model\.safetensors'"):
        save_pretrained(model, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_poolers_and_copies_of_tied_weights_are_left_out(model: MaskedLM, folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    _change(
        folder,
        bert__pooler__dense__weight=torch.ones(8, 8),
        cls__seq_relationship__bias=torch.ones(2),
        bert__embeddings__position_ids=torch.arange(9)[None],
        cls__predictions__decoder__weight=stored[WORDS].clone(),
        cls__predictions__decoder__bias=stored[BIAS].clone(),
    )
    assert torch.equal(load_pretrained(folder).head.dense.weight, model.head.dense.weight)


def test_the_bias_may_be_stored_under_the_decoder_alone(folder: Path) -> None:
    _change(folder, drop=(BIAS,), cls__predictions__decoder__bias=torch.arange(11.0))
    assert torch.equal(load_pretrained(folder).head.bias, torch.arange(11.0))


def test_fields_that_dnabert_leaves_out_are_those_of_bert(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(
        json.dumps({k: v for k, v in config.items() if k not in ("layer_norm_eps", "pad_token_id")})
    )
    encoder = load_pretrained(folder).encoder
    assert (encoder.norm_eps, encoder.padding_id) == (1e-12, 0)


def test_old_names_of_the_layer_norms_are_understood(folder: Path) -> None:
    name = "cls.predictions.transform.LayerNorm."
    _change(
        folder,
        drop=(name + "weight", name + "bias"),
        cls__predictions__transform__LayerNorm__gamma=torch.full((8,), 3.0),
        cls__predictions__transform__LayerNorm__beta=torch.full((8,), 5.0),
    )
    norm = load_pretrained(folder).head.norm
    assert (norm.weight.unique().item(), norm.bias.unique().item()) == (3.0, 5.0)


def test_every_tensor_that_does_not_fit_is_listed_at_once(folder: Path) -> None:
    _change(
        folder,
        drop=(BIAS, "bert.encoder.layer.1.output.dense.bias"),
        bert__encoder__layer__2__output__dense__bias=torch.ones(8),
        esm__contact=torch.ones(1),
        cls__predictions__transform__dense__bias=torch.ones(7),
    )
    assert _refusal(folder) == (
        "CKPT-07 FOLDER/model.safetensors: "
        "2 missing: bert.encoder.layer.1.output.dense.bias, cls.predictions.bias; "
        "2 unexpected: bert.encoder.layer.2.output.dense.bias, esm.contact; "
        "1 of another shape: cls.predictions.transform.dense.bias is (7,) where config.json says (8,); "
        "the tensors of BERT, such as DNABERT or GROVER, as config.json describes it. "
        "Fix: check that config.json and model.safetensors are of one model."
    )


def test_an_untied_decoder_is_refused(folder: Path) -> None:
    _change(folder, cls__predictions__decoder__weight=torch.ones(11, 8))
    assert _refusal(folder) == (
        "MODEL-10 FOLDER/model.safetensors: cls.predictions.decoder.weight differs from "
        "bert.embeddings.word_embeddings.weight; a decoder tied to the token embeddings. "
        "Fix: name a checkpoint of BERT, such as DNABERT or GROVER, whose decoder is tied."
    )


def test_stored_weights_that_are_not_finite_are_refused(folder: Path) -> None:
    _change(folder, drop=(BIAS,), cls__predictions__bias=torch.full((11,), float("inf")))
    assert _refusal(folder) == (
        "CKPT-08 FOLDER/model.safetensors: weights that are not finite: cls.predictions.bias; finite "
        "weights only. Fix: take an earlier checkpoint of that model."
    )


@pytest.mark.parametrize("kept_bytes", [0, 5, 100, 2000])
def test_a_truncated_file_is_refused(folder: Path, kept_bytes: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept_bytes])
    message = _refusal(folder)
    assert message.startswith("CKPT-03 FOLDER/model.safetensors: not readable as safetensors (")
    assert message.endswith(
        f"), {kept_bytes:,} bytes; a whole safetensors file. "
        "Fix: copy or download it again; it may be cut short."
    )


def test_a_pickle_under_the_name_is_refused_unread(folder: Path) -> None:
    torch.save({"weight": torch.ones(3)}, folder / "model.safetensors")
    assert _refusal(folder).startswith("CKPT-03 FOLDER/model.safetensors: not readable as safetensors (")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert _refusal(folder) == (
        f"CKPT-04 FOLDER/{name}: no such file; a model directory with config.json and model.safetensors "
        "or pytorch_model.bin. Fix: name the folder that holds both."
    )


def test_a_missing_folder_is_named(folder: Path) -> None:
    shutil.rmtree(folder)
    assert _refusal(folder) == (
        "CKPT-04 FOLDER: no such folder; a run, a model directory, or owner/name on the Hugging Face hub. "
        "Fix: correct the path."
    )


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"{", "not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b"[]", "a JSON list"),
        (b"\xff", "not JSON: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_a_config_that_is_no_json_object_is_refused(folder: Path, content: bytes, found: str) -> None:
    (folder / "config.json").write_bytes(content)
    assert _refusal(folder) == (
        f"CKPT-05 FOLDER/config.json: {found}; a JSON object. "
        "Fix: copy or download it again; it may be cut short."
    )


def test_another_architecture_is_refused(folder: Path) -> None:
    _configure(folder, model_type="gpt2")
    assert _refusal(folder) == (
        "MODEL-10 FOLDER/config.json: model_type is 'gpt2'; model_type albert, bert, dnabert2, esm or "
        "'dnalm: import dnalm.hf'. Fix: "
        "name a checkpoint of DNABERT-2; the Nucleotide Transformer v2; BERT, such as DNABERT or GROVER; ESM "
        "with "
        "learned positions, such as the Nucleotide Transformer v1; ALBERT, such as the LOGO of the paper; "
        "dnalm."
    )


def test_a_variant_of_the_architecture_is_refused(folder: Path) -> None:
    _configure(folder, hidden_act="relu", is_decoder=True)
    assert _refusal(folder) == (
        "MODEL-10 FOLDER/config.json: hidden_act is 'relu', is_decoder is True; hidden_act 'gelu', "
        "is_decoder "
        "False. Fix: name a checkpoint of the architecture of BERT, such as DNABERT or GROVER."
    )


def test_a_protein_model_with_rotary_positions_is_no_nucleotide_transformer(folder: Path) -> None:
    _configure(folder, model_type="esm", position_embedding_type="rotary", tie_word_embeddings=False)
    assert _refusal(folder).startswith(
        "MODEL-10 FOLDER/config.json: position_embedding_type is 'rotary'; position_embedding_type "
        "'absolute'."
    )


def test_a_config_field_that_is_no_number_is_refused(folder: Path) -> None:
    _configure(folder, hidden_size="8", num_attention_heads=True)
    assert _refusal(folder) == (
        "MODEL-10 FOLDER/config.json: hidden_size is '8', num_attention_heads is "
        "True; hidden_size: an integer; num_attention_heads: an integer. "
        "Fix: restore the config.json that came with the weights."
    )


def test_a_config_of_an_impossible_shape_is_refused(folder: Path) -> None:
    _configure(folder, num_attention_heads=3)
    assert _refusal(folder) == (
        "MODEL-10 FOLDER/config.json: hidden_size=8 and num_heads=3; a hidden_size that num_heads "
        "divides, so "
        "that all heads are equally wide. Fix: restore the config.json that came with the weights."
    )
