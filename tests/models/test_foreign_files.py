"""Model directories that others made: other prefixes, no head, padding, absent fields, published configs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, BertModel, EsmConfig, EsmModel

from dnalm.errors import CheckpointError
from dnalm.models import MaskedLM, Packed, Pretrained, fit_vocabulary, load_pretrained, save_pretrained
from dnalm.models.families import BERT, DNABERT2, NT_V1, NT_V2, recognise
from dnalm.tokenizers import KmerTokenizer, load_tokenizer
from tests.models import zoo

SIZES = {
    "vocab_size": 37,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 20,
}


def _write(folder: Path, weights: dict[str, Tensor], config: object) -> Path:
    folder.mkdir(exist_ok=True)
    save_file({name: weight.contiguous() for name, weight in weights.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _refusal(folder: Path, *, needs_head: bool = True) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(folder, needs_head=needs_head)
    return str(caught.value).replace(str(folder), "FOLDER")


def _same(first: nn.Module, second: nn.Module) -> bool:
    states = first.state_dict(), second.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(weight, states[1][name]) for name, weight in states[0].items()
    )


# Prefixes

CHANGES = {
    "module.": lambda name: f"module.{name}",
    "_orig_mod.": lambda name: f"_orig_mod.{name}",
    "module._orig_mod.": lambda name: f"module._orig_mod.{name}",
    "model.": lambda name: f"model.{name}",
    "encoder.": lambda name: f"encoder.{name}",
    "net.backbone.": lambda name: f"net.backbone.{name}",
    "compiled blocks": lambda name: name.replace(".layer.1.", ".layer.1._orig_mod."),
    "fsdp": lambda name: f"_fsdp_wrapped_module.{name}",
    "no first part": lambda name: name.removeprefix("bert.").removeprefix("esm."),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["bert", "dnabert2", "nt_v2", "logo"])
def test_a_common_prefix_is_found(name: str, change: str, tmp_path: Path) -> None:
    model = zoo.model(name)
    save_pretrained(model, tmp_path)
    path = tmp_path / "model.safetensors"
    save_file({CHANGES[change](key): weight for key, weight in load_file(path).items()}, path)
    assert _same(load_pretrained(tmp_path), model)


@pytest.mark.parametrize("has_config", [False, True])
def test_an_adapter_is_not_taken_for_a_damaged_model(has_config: bool, tmp_path: Path) -> None:
    if has_config:
        (tmp_path / "config.json").write_text(json.dumps(BertConfig(**SIZES).to_dict()))
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    save_file(
        {"base_model.model.bert.lora_A.weight": torch.zeros(2, 2)}, tmp_path / "adapter_model.safetensors"
    )
    said = _refusal(tmp_path)
    assert said.startswith("CKPT-04 FOLDER: an adapter of PEFT, without the model that it changes;")
    assert "merge_and_unload().save_pretrained('merged')" in said


def test_a_model_in_data_parallel_is_read(tmp_path: Path) -> None:
    stock = BertForMaskedLM(BertConfig(**SIZES))
    _write(tmp_path, {}, stock.config.to_dict())
    (tmp_path / "model.safetensors").unlink()
    torch.save(nn.DataParallel(stock).state_dict(), tmp_path / "pytorch_model.bin")
    state = load_pretrained(tmp_path).state_dict()
    assert all(torch.equal(weight, stock.state_dict()[BERT.name_of(name)]) for name, weight in state.items())


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    save_pretrained(zoo.model("bert"), tmp_path)
    path, name = tmp_path / "model.safetensors", "cls.predictions.bias"
    weights = load_file(path)
    save_file({**weights, f"module.{name}": weights[name] + 1}, path)
    assert _refusal(tmp_path).startswith(
        f"CKPT-07 FOLDER/model.safetensors: {name} and module.{name}, which are both {name}; each tensor "
        "once."
    )


def test_weights_of_another_model_are_five_names_and_a_count(tmp_path: Path) -> None:
    save_pretrained(zoo.model("bert"), tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    token = "bert.embeddings.word_embeddings.weight"
    save_file(
        {name if name == token else f"other{i}": w for i, (name, w) in enumerate(weights.items())}, path
    )
    message = _refusal(tmp_path, needs_head=False)
    count = len(weights) - 1
    heads = 5  # of cls.predictions, which an encoder alone lacks
    assert f"{count - heads} missing: " in message
    assert f"{count} unexpected: other" in message
    assert f"and {count - heads - 5} more; " in message
    assert f"and {count - 5} more; " in message
    assert len(message) < 1000


# Encoders alone


@pytest.mark.parametrize("kind", ["bert", "esm"])
def test_an_encoder_alone_is_read_where_no_head_is_needed(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    extra = {"pad_token_id": 1, "mask_token_id": 2, "emb_layer_norm_before": False}
    stock = BertModel(BertConfig(**SIZES)) if kind == "bert" else EsmModel(EsmConfig(**SIZES, **extra))
    stock.eval().save_pretrained(tmp_path)
    model = load_pretrained(tmp_path, needs_head=False).eval()
    ids = torch.arange(5, 17)
    with torch.no_grad():
        ours = model.encode(ids, Packed.from_lengths([12]))
        theirs = stock(input_ids=ids[None]).last_hidden_state[0]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    name = "BertForMaskedLM" if kind == "bert" else "EsmForMaskedLM"
    assert _refusal(tmp_path) == (
        "MODEL-16 FOLDER/model.safetensors: an encoder without the head that predicts tokens; the weights of "
        "a "
        f"{name}. Fix: name a checkpoint that was saved with its head; dnalm embed, dnalm finetune and "
        "score=distance need none."
    )


# Padded vocabularies


@pytest.mark.parametrize("name", ["bert", "nt_v1", "dnabert2"])
def test_padding_of_a_vocabulary_is_cut_off_and_said(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offset = {"position_offset": 2} if name == "nt_v1" else {}
    model = zoo.model(name, vocab_size=64, **offset)
    save_pretrained(model, tmp_path)
    padded = load_pretrained(tmp_path).eval()
    ids, packed = zoo.random_ids(9), Packed.from_lengths([9])
    with torch.no_grad():
        before = padded(ids, packed, torch.arange(9))
        fit_vocabulary(padded, 37, where="folder")
        after = padded(ids, packed, torch.arange(9))
    assert capsys.readouterr().err == (
        "folder: 27 of 64 token embeddings pad the vocabulary and are left out\n"
    )
    assert padded.encoder.vocab_size == 37
    torch.testing.assert_close(after, before[:, :37])  # so probabilities are of real tokens alone
    save_pretrained(padded, tmp_path / "again")
    assert load_pretrained(tmp_path / "again").encoder.vocab_size == 37


@pytest.mark.parametrize("rows", [38, 41, 44, 200, 256])
def test_rows_that_pad_to_no_usual_multiple_are_refused(rows: int) -> None:
    with pytest.raises(CheckpointError, match=r"MODEL-12 .*a tokenizer of 37 ids"):
        fit_vocabulary(zoo.model("bert", vocab_size=rows), 37, where="folder")


# Fields that are absent


@pytest.mark.parametrize("key", sorted(BertConfig().to_dict()))
def test_a_bert_without_a_field_has_that_of_bertconfig(key: str) -> None:
    config = BertConfig(architectures=["BertForMaskedLM"]).to_dict()
    whole = BERT.encoder_arguments(config, where=Path("config.json"))
    rest = {name: value for name, value in config.items() if name != key}
    assert recognise(rest) is BERT
    assert BERT.encoder_arguments(rest, where=Path("config.json")) == whole


@pytest.mark.parametrize("key", sorted(EsmConfig().to_dict()))
def test_an_esm_without_a_field_has_that_of_esmconfig(key: str) -> None:
    given = {"vocab_size": 37, "pad_token_id": 1, "mask_token_id": 2}
    config = EsmConfig(architectures=["EsmForMaskedLM"], **given).to_dict()
    whole = NT_V1.encoder_arguments(config, where=Path("config.json"))
    rest = {name: value for name, value in config.items() if name != key}
    assert recognise(rest) is NT_V1
    if key in ("vocab_size", "pad_token_id"):  # which EsmConfig has no default of
        with pytest.raises(
            CheckpointError, match=f"MODEL-10 config.json: {key} is absent; {key}: an integer"
        ):
            NT_V1.encoder_arguments(rest, where=Path("config.json"))
    elif key == "mask_token_id":
        assert NT_V1.encoder_arguments(rest, where=Path("config.json")) == {**whole, "mask_id": None}
    else:
        assert NT_V1.encoder_arguments(rest, where=Path("config.json")) == whole


def test_another_base_of_rotary_positions_is_refused() -> None:
    config = {"model_type": "esm", "position_embedding_type": "rotary", "add_bias_fnn": False}
    assert recognise(config) is NT_V2
    with pytest.raises(CheckpointError, match=r"MODEL-10 .*rope_theta is 500000"):
        NT_V2.encoder_arguments({**config, "rope_theta": 500000}, where=Path("config.json"))


# Published configs


@pytest.mark.parametrize(("folder", "family"), [("dnabert2", DNABERT2), ("dnabert6", BERT)])
def test_a_published_config_without_a_model_type_is_read(
    folder: str, family: object, shared_data: Path, tmp_path: Path
) -> None:
    published = json.loads((shared_data / "configs" / folder / "config.json").read_text())
    assert "model_type" not in published
    assert recognise(published) is family
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    name = "dnabert2" if folder == "dnabert2" else "bert"
    model = zoo.model(
        name,
        vocab_size=published["vocab_size"],
        num_layers=2,
        max_positions=512,
        padding_id=0,
        mask_id=None,
        attention_dropout=0.0 if name == "dnabert2" else 0.1,
        dropout=0.1,
    )
    save_pretrained(model, tmp_path, layout="published")
    (tmp_path / "config.json").write_text(json.dumps({**published, **sizes}))
    again = load_pretrained(tmp_path)
    assert _same(again, model)
    assert again.encoder.dropout == 0.1
    files = "tokenizers/dnabert2/tokenizer.json" if name == "dnabert2" else "tokenizers/dnabert/bert-config-6"
    fit_vocabulary(again, load_tokenizer(shared_data / files).vocab_size, where="published")


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "bert", "alibi_starting_size": 512},
        {"alibi_starting_size": 512},
        {"model_type": "bert", "auto_map": {"AutoModel": "zhihan1996/DNABERT-2-117M--bert_layers.BertModel"}},
        {"auto_map": {"AutoModel": "bert_layers.BertModel"}, "architectures": ["BertForMaskedLM"]},
        {"model_type": "dnabert2"},
    ],
)
def test_dnabert2_is_recognised_by_its_own_fields(config: dict[str, object]) -> None:
    assert recognise(config) is DNABERT2


@pytest.mark.parametrize(
    "config", [{}, {"architectures": ["GPT2LMHeadModel"]}, {"architectures": 3}, {"auto_map": [1]}]
)
def test_a_config_that_says_nothing_is_refused(config: dict[str, object], tmp_path: Path) -> None:
    _write(tmp_path, {"a": torch.ones(1)}, config)
    assert _refusal(tmp_path).startswith(
        "MODEL-10 FOLDER/config.json: no model_type; model_type albert, bert,"
    )


# Old formats


def test_a_file_of_before_torch_1_6_is_named_and_how_to_convert_it(tmp_path: Path) -> None:
    model = zoo.model("bert")
    save_pretrained(model, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save(weights, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    message = _refusal(tmp_path)
    assert message.startswith(
        "CKPT-06 FOLDER/pytorch_model.bin: a file of torch.save before version 1.6, which has no checksums; "
    )
    code = message.partition('python -c "')[2].partition('"')[0]
    assert "mv pytorch_model.bin.new pytorch_model.bin" in message
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        exec(code)
    finally:
        os.chdir(here)
    (tmp_path / "pytorch_model.bin.new").rename(tmp_path / "pytorch_model.bin")
    assert _same(load_pretrained(tmp_path), model)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # of torch 2.11, where it reads a sparse tensor
@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({1: torch.ones(1)}, "CKPT-06 FOLDER/pytorch_model.bin: something else than tensors by name; "),
        ({"cls.predictions.bias": torch.ones(37).to_sparse()}, "CKPT-06 "),
        ({"cls.predictions.bias": torch.ones(37, device="meta")}, "CKPT-06 "),
        (
            {"cls.predictions.bias": torch.ones(37, dtype=torch.int64)},
            "CKPT-07 FOLDER/pytorch_model.bin: 1 of no floating point: cls.predictions.bias is int64; ",
        ),
    ],
)
def test_tensors_that_are_no_plain_numbers_are_refused(
    change: dict[object, Tensor], found: str, tmp_path: Path
) -> None:
    save_pretrained(zoo.model("bert"), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save({**weights, **change}, tmp_path / "pytorch_model.bin")
    assert _refusal(tmp_path).startswith(found)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "dnalm.yaml"])
def test_a_link_to_itself_is_one_sentence(name: str, tmp_path: Path) -> None:
    save_pretrained(zoo.model("bert"), tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).symlink_to(name)
    assert f"FOLDER/{name}: " in _refusal(tmp_path)


# Where a model is


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a run that has not finished; the hub must not be asked."""

    def fail(*_: object, **__: object) -> str:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs/demo"
    (run / "checkpoints/step-00000004").mkdir(parents=True)
    (run / "checkpoints/.step-00000005.tmp-h-1-a").mkdir()
    (run / "config.yaml").write_text("steps: 1200\n")
    return tmp_path


NONE = "a run, a model directory, or owner/name on the Hugging Face hub. Fix: "


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("source", "found", "fix"),
    [
        ("runs/dmeo", "no such folder", "did you mean runs/demo?"),
        ("rnus/demo", "no such folder", "did you mean runs/demo?"),
        ("deom", "no such folder", "did you mean runs/demo?"),
        ("./runs/nothing", "no such folder", "correct the path."),
        ("/missing", "no such folder", "correct the path."),
        ("x" * 999, "no such folder", "correct the path."),
        ("runs/xyz", "no such folder", "correct the path."),
        ("runs/demo/config.yaml", "a file", "name the folder that holds config.json and the weights."),
    ],
)
def test_a_path_that_is_not_there_is_never_asked_of_the_hub(source: str, found: str, fix: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        Pretrained(source=source).folder()
    assert str(caught.value) == f"CKPT-04 {source}: {found}; {NONE}{fix}"


@pytest.mark.parametrize("source", ["runs/demo", "runs/demo/model", "./runs/demo/"])
def test_a_run_that_has_not_finished_says_how_far_it_is(source: str, here: Path) -> None:
    (here / "runs/demo/model").mkdir()
    (here / "runs/demo/model/config.json").write_text("{}")
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(source)
    assert str(caught.value) == (
        f"CKPT-04 {source}: the run has not finished (step 4 of 1,200); a finished run, which leaves a "
        "model. "
        "Fix: let it finish by the same command again, or use its newest checkpoint: dnalm export "
        "model=runs/demo."
    )


def test_a_checkpoint_is_not_taken_for_a_model_directory(here: Path) -> None:
    (here / "runs/demo/checkpoints/step-00000004/MANIFEST.json").write_text("{}")
    source = "runs/demo/checkpoints/step-00000004"
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(source)
    assert str(caught.value) == (
        f"CKPT-04 {source}: a checkpoint of a run; {NONE}make a model directory of it: dnalm export "
        f"model={source}."
    )


def test_a_run_is_read_by_its_own_folder(here: Path) -> None:
    model = zoo.model("bert")
    save_pretrained(model, here / "runs/demo/model")
    KmerTokenizer(k=2).save(here / "runs/demo/model")
    assert _same(load_pretrained("runs/demo"), model)
    assert isinstance(load_pretrained(here / "runs/demo"), MaskedLM)
    assert load_tokenizer(here / "runs/demo").vocab_size == 21
