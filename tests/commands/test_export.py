"""`dnalm export`: each layout is written, with its head, and said to be opened as it can be."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

import dnalm.hf
from dnalm.cli import main
from dnalm.genome.alphabet import from_text
from dnalm.models import HeadShape, Packed, Pretrained, SequenceModel
from dnalm.small_files import read_provenance
from dnalm.tokenizers import KmerTokenizer, SixMerTokenizer, Tokenizer
from dnalm.training import write_model_directory
from dnalm.training.model_directory import DescribedHead, load_finetuned, make_task_head
from tests.models import zoo

TEXT = "ACGTACGTTTGACC"
Finetuned = Callable[[str, str], Path]


@pytest.fixture
def finetuned(tmp_path: Path) -> Finetuned:
    """What `dnalm finetune` leaves of a tiny model with a head of this pooling."""

    def write(name: str, pooling: str) -> Path:
        tokenizer: Tokenizer = KmerTokenizer(k=3) if name == "bert" else SixMerTokenizer()
        special = tokenizer.special
        ids = {"vocab_size": tokenizer.vocab_size, "padding_id": special.padding, "mask_id": special.mask}
        network = SequenceModel(zoo.model(name, **ids), HeadShape(num_outputs=2, pooling=pooling))  # type: ignore[arg-type]
        zoo.randomize(network.head)
        head = DescribedHead(
            task="promoters",
            kind="binary",
            classes=["no", "yes"],
            limit=None if name == "dnabert2" else zoo.MAX_POSITIONS - special.num_wrapping,
            length_bp=14,
            center=0.0,
            scale=1.0,
            shape=network.head.shape,
        )
        weights = network.head.state_dict()
        write_model_directory(
            tmp_path / "model",
            model=network.backbone,
            weights=network.backbone.state_dict(),
            tokenizer=tokenizer,
            config={"seed": 1},
            data_fingerprint="abc",
            precision="fp32",
            steps=3,
            window_tokens=14,
            heads={"task": weights},
            described={"head": asdict(head)},
            task_head=make_task_head(head, weights, tokenizer),
        )
        return tmp_path / "model"

    return write


def export(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["export", *words])
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("name", "pooling", "layout", "opens", "head"),
    [
        ("bert", "cls", "safe", "transformers opens it as it is", "BertForSequenceClassification"),
        ("bert", "cls", "standalone", "transformers opens it as it is", "BertForSequenceClassification"),
        ("bert", "mean", "safe", "after import dnalm.hf", "DnalmForSequenceClassification"),
        ("nt_v2", "cls", "safe", "after import dnalm.hf", "DnalmForSequenceClassification"),
        ("nt_v2", "mean", "standalone", "with trust_remote_code=True", "DnalmForSequenceClassification"),
        ("nt_v2", "cls", "published", "for a plain ESM", "EsmForSequenceClassification"),
        (
            "dnabert2",
            "cls",
            "published",
            "for a BERT and gives its layers",
            "BertForSequenceClassification",
        ),
        ("bert", "mean", "published", "the published classes have none with pooling=mean", None),
    ],
)
def test_each_layout_keeps_model_and_head_and_says_how_to_open_it(
    name: str,
    pooling: str,
    layout: str,
    opens: str,
    head: str | None,
    finetuned: Finetuned,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = finetuned(name, pooling)
    assert export(f"model={folder}", f"run.dir={tmp_path}/out", f"layout={layout}") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert opens in said
    assert f"as {head} in model.safetensors" in said or head is None
    before, after = (load_finetuned(Pretrained(source=str(each))) for each in (folder, tmp_path / "out"))
    for ours, again in zip(
        before.model.state_dict().values(), after.model.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, again)
    files = read_provenance(tmp_path / "out")["files"]
    assert ("modeling_dnalm.py" in files) == (layout == "standalone" and name != "bert")
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["architectures"] == [head] or head is None


@pytest.mark.parametrize(("name", "pooling"), [("bert", "cls"), ("bert", "mean"), ("nt_v2", "attention")])
def test_the_three_calls_of_a_fine_tuned_directory(name: str, pooling: str, finetuned: Finetuned) -> None:
    folder = finetuned(name, pooling)
    ours = load_finetuned(Pretrained(source=str(folder)))
    ids = torch.from_numpy(ours.tokenizer.encode(from_text(TEXT)))
    packed, spells = Packed.from_lengths([len(ids)]), torch.ones(len(ids), dtype=torch.bool)
    spells[0] = False
    if ours.tokenizer.special.end is not None:
        spells[-1] = False
    if pooling == "cls":
        spells = torch.arange(len(ids)) == 0
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert theirs.config.id2label == {0: "no", 1: "yes"}
    with torch.no_grad():
        answers = ours.model(ids, packed, spells, torch.tensor([0]), 1)
        logits = ours.model.backbone(ids, packed, torch.arange(len(ids)))
        torch.testing.assert_close(theirs(input_ids=ids[None]).logits, answers, atol=1e-5, rtol=1e-5)
        masked_lm = AutoModelForMaskedLM.from_pretrained(folder).eval()
        torch.testing.assert_close(masked_lm(input_ids=ids[None]).logits[0], logits, atol=1e-5, rtol=1e-5)
        raw = AutoTokenizer.from_pretrained(folder)(TEXT.lower(), return_tensors="pt")
        assert torch.equal(raw["input_ids"][0], ids)
        torch.testing.assert_close(theirs(**raw).logits, answers, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(masked_lm(**raw).logits[0], logits, atol=1e-5, rtol=1e-5)


def test_another_layout_is_refused(
    finetuned: Finetuned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = finetuned("bert", "cls")
    assert export(f"model={folder}", f"run.dir={tmp_path}/out", "layout=standalne") == 2
    assert "layout" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert dnalm.hf.DnalmConfig.model_type not in (folder / "config.json").read_text()
