"""Every directory that is written gives stock `transformers` the same numbers, or is refused by it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from dnalm.genome.alphabet import from_text, to_text
from dnalm.models import (
    HeadShape,
    MaskedLM,
    Packed,
    SequenceModel,
    TaskHead,
    load_pretrained,
    save_pretrained,
)
from dnalm.models.layers import MissingHead
from dnalm.tokenizers import LogoTokenizer
from tests.models import zoo
from tests.tokenizers.examples import BPES

REFUSED = ["dnabert2", "nt_v2", "logo_released", "logo_convolved", "dnalm"]  # test_standalone.py shows it
EQUAL = ["bert", "nt_v1", "nt_v1_tied", "logo"]
STOCK = ["bert", "nt_v1", "logo"]
LENGTH = 9


def _model(name: str) -> MaskedLM:
    if name == "nt_v1_tied":
        return zoo.model("nt_v1", position_offset=2, tied_decoder=True).eval()
    return zoo.model(name, **({"position_offset": 2} if name == "nt_v1" else {})).eval()


def _states(model: MaskedLM) -> tuple[Tensor, Tensor, Tensor]:
    ids, packed = zoo.random_ids(LENGTH), Packed.from_lengths([LENGTH])
    with torch.no_grad():
        return ids, model.encode(ids, packed), model(ids, packed, torch.arange(LENGTH))


def _equal(ours: Tensor, theirs: Tensor) -> None:
    assert ours.std() > 0.05
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", EQUAL)
def test_hidden_states_and_logits_are_the_same(name: str, tmp_path: Path) -> None:
    model = _model(name)
    save_pretrained(model, tmp_path)
    ids, hidden, logits = _states(model)
    with torch.no_grad():
        _equal(hidden, AutoModel.from_pretrained(tmp_path).eval()(input_ids=ids[None]).last_hidden_state[0])
        _equal(logits, AutoModelForMaskedLM.from_pretrained(tmp_path).eval()(input_ids=ids[None]).logits[0])


@pytest.mark.parametrize("name", STOCK)
def test_sequences_of_a_padded_batch_answer_as_they_do_alone(name: str, tmp_path: Path) -> None:
    model, lengths = _model(name), [9, 4, 1]
    save_pretrained(model, tmp_path)
    ids = zoo.random_ids(sum(lengths))
    ids[[0, 9, 13]] = 5  # stock ESM divides by zero where a text is of masks alone
    padded, real = zoo.pad(ids, lengths)
    with torch.no_grad():
        ours = model(ids, Packed.from_lengths(lengths), torch.arange(len(ids)))
        theirs = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
        _equal(ours, theirs(input_ids=padded, attention_mask=real.long()).logits[real])


@pytest.mark.parametrize("name", STOCK)
def test_a_pretrained_directory_is_where_stock_fine_tuning_begins(name: str, tmp_path: Path) -> None:
    """It has no head, and no head stands in the way of the new one that stock code draws and warns of."""
    model = _model(name)
    save_pretrained(model, tmp_path)
    stock, report = AutoModelForSequenceClassification.from_pretrained(
        tmp_path, num_labels=3, output_loading_info=True
    )
    assert stock.config.num_labels == 3
    assert all(re.search("classifier|pooler", key) for key in report["missing_keys"])
    assert torch.equal(stock.get_input_embeddings().weight, model.encoder.embeddings.token.weight)


@pytest.mark.parametrize("name", ["dnabert2", "logo_released"])
def test_its_tokenizer_is_read_all_the_same(name: str, tmp_path: Path) -> None:
    tokenizer = {"dnabert2": BPES["bpe"], "logo_released": LogoTokenizer(k=3)}[name]
    save_pretrained(_model(name), tmp_path)
    tokenizer.save(tmp_path)
    codes = from_text("ACGTACGTTTGACCATG")
    assert (
        AutoTokenizer.from_pretrained(tmp_path)(to_text(codes))["input_ids"]
        == tokenizer.encode(codes).tolist()
    )


def test_every_family_is_tried() -> None:
    assert {name.removesuffix("_tied") for name in EQUAL} | set(REFUSED) == set(zoo.ARCHITECTURES)


@pytest.mark.parametrize(("name", "model_type"), [("dnabert2", "bert"), ("nt_v2", "esm")])
def test_a_published_layout_is_written_where_it_is_asked_for(
    name: str, model_type: str, tmp_path: Path
) -> None:
    model = _model(name)
    save_pretrained(model, tmp_path, layout="published")
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == model_type
    assert all("--" in place for place in config["auto_map"].values())
    for ours, again in zip(_states(model), _states(load_pretrained(tmp_path).eval()), strict=True):
        torch.testing.assert_close(ours, again)


@pytest.mark.parametrize("name", ["dnabert2", "nt_v2"])
@pytest.mark.parametrize("model_type", ["dnabert2", "dnalm", "esm"])
def test_what_earlier_versions_wrote_is_read(name: str, model_type: str, tmp_path: Path) -> None:
    """DNABERT-2 by its own name, NT v2 as esm, and our own layout as dnalm."""
    model = _model(name)
    if (model_type == "esm") != (name == "nt_v2") and model_type != "dnalm":
        return
    save_pretrained(model, tmp_path, layout="safe" if model_type == "dnalm" else "published")
    path = tmp_path / "config.json"
    config = json.loads(path.read_text()) | {"model_type": model_type}
    if model_type == "dnalm":
        config["architectures"] = ["MaskedLM"]
    elif model_type == "dnabert2":
        del config["auto_map"]
    path.write_text(json.dumps(config))
    for ours, again in zip(_states(model), _states(load_pretrained(tmp_path).eval()), strict=True):
        torch.testing.assert_close(ours, again)


def _finetuned(name: str, shape: HeadShape) -> SequenceModel:
    network = SequenceModel(_model(name), shape)
    zoo.randomize(network.head)
    return network.eval()


def _answers(network: SequenceModel) -> Tensor:
    first = torch.zeros(LENGTH, dtype=torch.bool)
    first[0] = True
    packed, owner = Packed.from_lengths([LENGTH]), torch.tensor([0])
    with torch.no_grad():
        outputs: Tensor = network(zoo.random_ids(LENGTH), packed, first, owner, 1)
    return outputs


def _task_head(network: SequenceModel, problem: str | None, **fields: Any) -> TaskHead:  # noqa: ANN401
    return TaskHead(weights=network.head.state_dict(), shape=network.head.shape, problem=problem, **fields)


@pytest.mark.parametrize("name", STOCK)
@pytest.mark.parametrize(
    ("problem", "outputs", "center", "scale"),
    [
        ("single_label_classification", 3, 0.0, 1.0),
        ("multi_label_classification", 4, 0.0, 1.0),
        ("regression", 1, 5.0, 0.25),
    ],
)
def test_a_cls_head_answers_as_the_stock_classifier(
    name: str, problem: str, outputs: int, center: float, scale: float, tmp_path: Path
) -> None:
    network = _finetuned(name, HeadShape(num_outputs=outputs, pooling="cls"))
    labels = tuple(f"class {number}" for number in range(outputs))
    head = _task_head(network, problem, classes=labels, center=center, scale=scale)
    save_pretrained(network.backbone, tmp_path, task_head=head)
    stock, report = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert (stock.config.problem_type, stock.config.num_labels) == (problem, outputs)
    assert stock.config.id2label == dict(enumerate(labels))
    with torch.no_grad():
        theirs = stock.eval()(input_ids=zoo.random_ids(LENGTH)[None]).logits
    torch.testing.assert_close(theirs, _answers(network) * scale + center, atol=1e-5, rtol=1e-5)
    again = load_pretrained(tmp_path).state_dict()
    assert all(torch.equal(weight, again[key]) for key, weight in network.backbone.state_dict().items())
    assert not AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)[1]["missing_keys"]


@pytest.mark.parametrize("name", STOCK)
@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        (HeadShape(num_outputs=2, pooling="mean"), "single_label_classification"),
        (HeadShape(num_outputs=2, pooling="cls", dense=False), "single_label_classification"),
        (HeadShape(num_outputs=2, pooling="attention"), "single_label_classification"),
        (HeadShape(num_outputs=2, pooling="cls"), None),
    ],
)
def test_no_classifier_is_invented_for_another_head_in_a_published_layout(
    name: str, shape: HeadShape, problem: str | None, tmp_path: Path
) -> None:
    network = _finetuned(name, shape)
    save_pretrained(network.backbone, tmp_path, task_head=_task_head(network, problem), layout="published")
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path)
    if name == "bert":
        with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
            AutoModelForTokenClassification.from_pretrained(tmp_path)
    ids, hidden, logits = _states(load_pretrained(tmp_path).eval())
    with torch.no_grad():
        _equal(logits, AutoModelForMaskedLM.from_pretrained(tmp_path).eval()(input_ids=ids[None]).logits[0])
        _equal(hidden, AutoModel.from_pretrained(tmp_path).eval()(input_ids=ids[None]).last_hidden_state[0])


def test_no_classifier_of_tokens_is_invented_beside_esms_classifier(tmp_path: Path) -> None:
    network = _finetuned("nt_v1", HeadShape(num_outputs=2, pooling="cls"))
    head = _task_head(network, "single_label_classification")
    save_pretrained(network.backbone, tmp_path, task_head=head)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        AutoModelForTokenClassification.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", STOCK)
def test_no_masked_lm_is_invented_for_an_encoder_alone(name: str, tmp_path: Path) -> None:
    model = _model(name)
    ids, hidden, _ = _states(model)
    model.head = MissingHead()
    save_pretrained(model, tmp_path)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        AutoModelForMaskedLM.from_pretrained(tmp_path)
    with torch.no_grad():
        _equal(hidden, AutoModel.from_pretrained(tmp_path).eval()(input_ids=ids[None]).last_hidden_state[0])
    assert load_pretrained(tmp_path, needs_head=False).headless
