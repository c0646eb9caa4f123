"""`import dnalm.hf`: the Auto classes give dnalm's numbers for every model and head, or a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    pipeline,
)

from dnalm.data.labelled import SequenceRecipe
from dnalm.data.labelled.samples import cut
from dnalm.genome.alphabet import Codes, from_text
from dnalm.hf import (
    DnalmConfig,
    DnalmForMaskedLM,
    DnalmForSequenceClassification,
    DnalmForTokenClassification,
    DnalmModel,
)
from dnalm.models import Encoder, HeadShape, MaskedLM, Packed, SequenceModel, TaskHead, TextTokens
from dnalm.models.families import MODEL_TYPE, OURS
from dnalm.models.layers import MissingHead
from dnalm.models.pretrained import load_pretrained, save_pretrained
from dnalm.tokenizers import Tokenizer
from dnalm.training.model_directory import DescribedHead, make_task_head
from tests.models import zoo
from tests.models.test_switches import SWITCHES, _arguments
from tests.tokenizers.examples import BPES, KMERS, LOGOS, SIX_MERS, fusing_bpe

OURS_ONLY = ["dnabert2", "nt_v2", "logo_released", "logo_convolved", "dnalm"]
LENGTHS = [9, 4, 1, 16]


def _same(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)


def _batch(lengths: list[int], *, left: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Ids end to end, the same as a padded batch, and its mask."""
    ids = zoo.random_ids(sum(lengths))
    padded, real = zoo.pad(ids, lengths)
    if left:
        rows = [row.roll(max(lengths) - length) for row, length in zip(padded, lengths, strict=True)]
        masks = [mask.roll(max(lengths) - length) for mask, length in zip(real, lengths, strict=True)]
        padded, real = torch.stack(rows), torch.stack(masks)
    return ids, padded, real


def _check_masked_lm(model: MaskedLM, folder: Path, *, left: bool = False) -> None:
    ids, padded, real = _batch(LENGTHS, left=left)
    packed = Packed.from_lengths(LENGTHS)
    opened = AutoModelForMaskedLM.from_pretrained(folder).eval()
    assert isinstance(opened, DnalmForMaskedLM)
    encoder = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        theirs = opened(input_ids=padded, attention_mask=real.long(), output_hidden_states=True)
        alone = encoder(input_ids=padded, attention_mask=real.long()).last_hidden_state
        _same(model(ids, packed, torch.arange(len(ids))), theirs.logits[real])
        _same(model.encode(ids, packed), alone[real])
        for ours, state in zip(model.encoder.hidden_states(ids, packed), theirs.hidden_states, strict=True):
            _same(ours, state[real])


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("name", OURS_ONLY)
def test_hidden_states_and_logits_of_a_padded_batch_are_dnalms_of_packed_ones(
    name: str, left: bool, tmp_path: Path
) -> None:
    model = zoo.model(name).eval()
    save_pretrained(model, tmp_path)
    _check_masked_lm(model, tmp_path, left=left)


@settings(deadline=None, max_examples=40)
@given(switches=SWITCHES)
def test_every_combination_of_switches_gives_the_same_numbers(
    switches: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("model")
    model = MaskedLM(Encoder(**_arguments(switches))).eval()  # type: ignore[arg-type]
    zoo.randomize(model)
    model.double()  # sums in another order differ by more than the bound where numbers are large
    config = {**OURS.config(model.encoder), "architectures": ["DnalmForMaskedLM"], "dtype": "float64"}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(dict(model.state_dict()), folder / "model.safetensors", metadata={"format": "pt"})
    _check_masked_lm(model, folder)


def test_the_one_file_and_the_table_agree_on_name_and_defaults() -> None:
    assert DnalmConfig.model_type == MODEL_TYPE
    config = DnalmConfig()
    assert {name: getattr(config, name) for name in OURS.defaults} == dict(OURS.defaults)


def test_annotation_channels_count_as_unknown(tmp_path: Path) -> None:
    model = zoo.model("bert", annotations=("gene", "exon")).eval()
    save_pretrained(model, tmp_path)
    _check_masked_lm(model, tmp_path)


# Heads of whole sequences

HEADS = [
    HeadShape(num_outputs=3, pooling="mean"),
    HeadShape(num_outputs=3, pooling="max", dense=False),
    HeadShape(num_outputs=3, pooling="attention"),
    HeadShape(num_outputs=3, pooling="cls"),
    HeadShape(num_outputs=3, pooling="cls", dense=False),
    HeadShape(num_outputs=3, pooling="mean", dense=False, layer=1),
]
START, END = 5, 6


def _finetuned(name: str, shape: HeadShape, **changes: object) -> SequenceModel:
    network = SequenceModel(zoo.model(name, **changes), shape)
    zoo.randomize(network.head)
    return network.eval()


def _head(network: SequenceModel, problem: str | None, **fields: Any) -> TaskHead:  # noqa: ANN401
    tokens = fields.pop("tokens", TextTokens(start_id=START, end_id=END))
    weights, shape = network.head.state_dict(), network.head.shape
    return TaskHead(weights=weights, shape=shape, problem=problem, tokens=tokens, **fields)


def _wrapped(lengths: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """As `_batch`, with a special token before and after each text."""
    parts = [
        torch.cat([torch.tensor([START]), part, torch.tensor([END])])
        for part in zoo.random_ids(sum(lengths)).split(lengths)
    ]
    padded, real = zoo.pad(torch.cat(parts), [length + 2 for length in lengths])
    return torch.cat(parts), padded, real


def _answers(network: SequenceModel, ids: Tensor, lengths: list[int]) -> Tensor:
    flags = [[False, *[True] * length, False] for length in lengths]
    if network.head.shape.pooling == "cls":
        flags = [[True, *[False] * (length + 1)] for length in lengths]
    packed = Packed.from_lengths([length + 2 for length in lengths])
    with torch.no_grad():
        used = torch.tensor([flag for each in flags for flag in each]).nonzero().squeeze(1)
        owner = torch.arange(len(lengths))
        outputs: Tensor = network(ids, packed, used, owner, len(lengths))
    return outputs


PROBLEMS = ["single_label_classification", "multi_label_classification", "regression"]


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("shape", HEADS, ids=lambda shape: f"{shape.pooling}-{shape.dense}")
@pytest.mark.parametrize("name", [*OURS_ONLY, "bert", "nt_v1", "logo"])
def test_every_head_of_sequences_answers_as_dnalms(
    name: str, shape: HeadShape, problem: str, tmp_path: Path
) -> None:
    network = _finetuned(name, shape, **({"position_offset": 2} if name == "nt_v1" else {}))
    center, scale = (5.0, 0.25) if problem == "regression" else (0.0, 1.0)
    classes = ("low", "middle", "high")
    head = _head(network, problem, classes=classes, center=center, scale=scale)
    save_pretrained(network.backbone, tmp_path, task_head=head)
    lengths = [9, 4, 1, 14]
    ids, padded, real = _wrapped(lengths)
    opened = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    is_stock = name in ("bert", "nt_v1", "logo") and shape.pooling == "cls" and shape.dense
    assert isinstance(opened, DnalmForSequenceClassification) != is_stock
    assert opened.config.id2label == dict(enumerate(classes))
    assert opened.config.problem_type == problem
    with torch.no_grad():
        _same(
            _answers(network, ids, lengths) * scale + center,
            opened(input_ids=padded, attention_mask=real.long()).logits,
        )
    again = load_pretrained(tmp_path).state_dict()
    assert all(torch.equal(weight, again[key]) for key, weight in network.backbone.state_dict().items())
    if not is_stock:
        _check_masked_lm(network.backbone.eval(), tmp_path)


def test_losses_are_those_of_transformers(tmp_path: Path) -> None:
    network = _finetuned("dnabert2", HEADS[0])
    _, padded, real = _wrapped([9, 4])
    labels = {
        "single_label_classification": torch.tensor([2, 0]),
        "multi_label_classification": torch.tensor([[0.0, 1, 1], [1, 0, 0]]),
        "regression": torch.tensor([[0.5, 1, -1], [1, 0, 2]]),
    }
    functions = (
        torch.nn.functional.cross_entropy,
        torch.nn.functional.binary_cross_entropy_with_logits,
        torch.nn.functional.mse_loss,
    )
    for (problem, wanted), function in zip(labels.items(), functions, strict=True):
        save_pretrained(network.backbone, tmp_path, task_head=_head(network, problem))
        opened = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
        with torch.no_grad():
            found = opened(input_ids=padded, attention_mask=real, labels=wanted)
        assert found.loss == function(found.logits, wanted)


def test_a_head_that_reads_less_than_the_encoder_is_no_stock_classifier(tmp_path: Path) -> None:
    network = _finetuned("bert", HeadShape(num_outputs=2, pooling="cls"))
    for limit, is_ours in ((13, True), (14, False)):  # 14 tokens and two special ones are all that it takes
        tokens = TextTokens(limit=limit, start_id=START, end_id=END)
        head = _head(network, "single_label_classification", tokens=tokens)
        save_pretrained(network.backbone, tmp_path, task_head=head)
        opened = AutoModelForSequenceClassification.from_pretrained(tmp_path)
        assert isinstance(opened, DnalmForSequenceClassification) == is_ours


@pytest.mark.parametrize("name", ["bert", "dnabert2"])
def test_a_text_of_more_tokens_than_the_head_was_trained_for_is_refused(name: str, tmp_path: Path) -> None:
    network = _finetuned(name, HEADS[0])
    tokens = TextTokens(limit=8, start_id=START, end_id=END)
    save_pretrained(network.backbone, tmp_path, task_head=_head(network, PROBLEMS[0], tokens=tokens))
    opened = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    _, padded, real = _wrapped([8, 3])
    opened(input_ids=padded, attention_mask=real)
    _, padded, real = _wrapped([3, 9])
    with pytest.raises(
        ValueError, match="a text of 9 tokens besides special ones; the head was trained for at"
    ):
        opened(input_ids=padded, attention_mask=real)


# Heads of bases

SEGMENTED: dict[str, Tokenizer] = {
    "bpe": BPES["bpe"],
    "six_mer": SIX_MERS["six_mer_v2"],
    "kmer_3": KMERS["kmer_3"],
    "kmer_1": KMERS["kmer_1"],
    "logo_3": LOGOS["logo_3"],
}
TEXTS = ["ACGTACGTTTGACCATGA", "ttgaca", "AAACATGCGG"]


def _segmenting(tokenizer: Tokenizer, pooling: Any, **changes: object) -> tuple[SequenceModel, TaskHead]:  # noqa: ANN401
    special = tokenizer.special
    sizes = {
        "vocab_size": tokenizer.vocab_size,
        "max_positions": 40,
        "padding_id": special.padding,
        "mask_id": special.mask,
        **changes,
    }
    network = _finetuned("nt_v2", HeadShape(num_outputs=3, pooling=pooling), **sizes)
    described = DescribedHead(
        task="exons",
        kind="segmentation",
        classes=["intron", "exon", "none"],
        limit=40 - special.num_wrapping,
        length_bp=18,
        center=0.0,
        scale=1.0,
        shape=network.head.shape,
    )
    return network, make_task_head(described, network.head.state_dict(), tokenizer)


def _per_base(network: SequenceModel, tokenizer: Tokenizer, codes: Codes) -> Tensor:
    pieces = cut(codes, tokenizer, SequenceRecipe(), limit=None, where="test", per_base=True)
    assert pieces.covers is not None
    with torch.no_grad():
        outputs: Tensor = network(
            torch.from_numpy(pieces.ids),
            Packed.from_lengths(pieces.lengths.tolist()),
            torch.from_numpy(np.flatnonzero(pieces.spells)),
            torch.tensor([0]),
            len(codes),
            covers_Q2=torch.from_numpy(pieces.covers),
        )
    return outputs


def _ids(tokenizer: Tokenizer, texts: list[str]) -> tuple[Tensor, Tensor]:
    encoded = [torch.from_numpy(tokenizer.encode(from_text(text))) for text in texts]
    return zoo.pad(torch.cat(encoded), [len(each) for each in encoded])


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
@pytest.mark.parametrize("kind", SEGMENTED)
def test_every_base_is_answered_as_by_dnalm(kind: str, pooling: str, tmp_path: Path) -> None:
    tokenizer = SEGMENTED[kind]
    network, head = _segmenting(tokenizer, pooling)
    save_pretrained(network.backbone, tmp_path, task_head=head)
    opened = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    assert isinstance(opened, DnalmForTokenClassification)
    texts = [*TEXTS, "ACNGTTACGGA"] if kind != "logo_3" else TEXTS
    padded, real = _ids(tokenizer, texts)
    with torch.no_grad():
        logits = opened(input_ids=padded, attention_mask=real).logits
    assert logits.shape == (len(texts), max(map(len, texts)), 3)
    for text, found in zip(texts, logits, strict=True):
        _same(_per_base(network, tokenizer, from_text(text)), found[: len(text)])
        assert found[len(text) :].isnan().all()
    labels = torch.full(logits.shape[:2], -100)
    labels[0, :4] = torch.tensor([2, 0, 1, 1])
    loss = opened(input_ids=padded, attention_mask=real, labels=labels).loss
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits[0, :4], labels[0, :4]))
    loss.backward()
    assert opened.task.output.weight.grad.isfinite().all()


@pytest.mark.parametrize(("tokenizer", "text"), [(fusing_bpe(), "ACNNNGT"), (LOGOS["logo_3"], "ACGNNN")])
def test_a_token_of_unknown_length_is_refused(tokenizer: Tokenizer, text: str, tmp_path: Path) -> None:
    network, head = _segmenting(tokenizer, "mean")
    save_pretrained(network.backbone, tmp_path, task_head=head)
    opened = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    padded, real = _ids(tokenizer, [text])
    with pytest.raises(ValueError, match="a token does not say how many bases it spells"):
        opened(input_ids=padded, attention_mask=real)


# What is refused


@pytest.mark.parametrize("name", ["dnabert2", "logo_convolved"])
def test_a_class_without_weights_is_a_sentence(name: str, tmp_path: Path) -> None:
    model = zoo.model(name)
    model.head = MissingHead()
    save_pretrained(model, tmp_path)
    with pytest.raises(
        ValueError, match=r"lacks weights of a DnalmForMaskedLM: .* It was written as a DnalmModel: op"
    ):
        AutoModelForMaskedLM.from_pretrained(tmp_path)
    for door, each in (
        (AutoModelForSequenceClassification, "text"),
        (AutoModelForTokenClassification, "base"),
    ):
        with pytest.raises(ValueError, match=f"the directory has no head of a task, and .* for each {each}"):
            door.from_pretrained(tmp_path)
    assert AutoModel.from_pretrained(tmp_path).config.num_hidden_layers == 3


def test_a_head_of_sequences_does_not_answer_for_bases_nor_the_other_way(tmp_path: Path) -> None:
    network = _finetuned("dnabert2", HEADS[0])
    save_pretrained(network.backbone, tmp_path / "texts", task_head=_head(network, PROBLEMS[0]))
    with pytest.raises(ValueError, match="has a head of another kind, and DnalmForTokenClassification"):
        AutoModelForTokenClassification.from_pretrained(tmp_path / "texts")
    network, head = _segmenting(BPES["bpe"], "mean")
    save_pretrained(network.backbone, tmp_path / "bases", task_head=head)
    with pytest.raises(ValueError, match="has a head of another kind, and DnalmForSequenceClassification"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "bases")


def test_a_head_whose_weights_are_lost_is_not_drawn_anew(tmp_path: Path) -> None:
    network = _finetuned("nt_v2", HEADS[0])
    save_pretrained(network.backbone, tmp_path, task_head=_head(network, PROBLEMS[0]))
    path = tmp_path / "model.safetensors"
    save_file(
        {k: v for k, v in load_file(path).items() if "task.output" not in k}, path, metadata={"format": "pt"}
    )
    with pytest.raises(
        ValueError, match=r"lacks weights of a .*: task\.output\.bias, task\.output\.weight\."
    ):
        AutoModelForSequenceClassification.from_pretrained(tmp_path)


def test_a_new_head_is_drawn_where_it_is_asked_for(tmp_path: Path) -> None:
    model = zoo.model("nt_v2")
    save_pretrained(model, tmp_path)
    opened = AutoModelForSequenceClassification.from_pretrained(tmp_path, pooling="mean", num_labels=4)
    assert opened.task.output.weight.shape == (4, 32)
    assert 0.01 < opened.task.output.weight.std() < 0.03
    assert torch.equal(opened.encoder.embeddings.token.weight, model.encoder.embeddings.token.weight)
    loss = opened(input_ids=zoo.random_ids(9)[None], labels=torch.tensor([1])).loss
    loss.backward()
    assert opened.encoder.blocks[0].attention.query.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"token_type_ids": torch.ones(1, 9, dtype=torch.long)}, "second text"),
        ({"output_attentions": True}, "dnalm's models take no output_attentions"),
        ({"inputs_embeds": torch.zeros(1, 9, 32)}, "dnalm's models take no inputs_embeds"),
    ],
)
def test_what_the_models_do_not_do_is_refused(asked: dict[str, Any], found: str) -> None:
    model = DnalmModel(DnalmConfig(**OURS.config(zoo.encoder("nt_v2"))))
    ids = zoo.random_ids(9)[None]
    model(input_ids=ids, token_type_ids=torch.zeros_like(ids), output_attentions=False, inputs_embeds=None)
    with pytest.raises(ValueError, match=found):
        model(input_ids=ids, **asked)
    with pytest.raises(ValueError, match="a text of 17 tokens; the model takes at most 16"):
        model(input_ids=zoo.random_ids(17)[None])


# There and back


@pytest.mark.parametrize("name", OURS_ONLY)
def test_what_transformers_saves_is_the_same_model_there_and_in_dnalm(name: str, tmp_path: Path) -> None:
    network = _finetuned(name, HEADS[2])
    save_pretrained(network.backbone, tmp_path / "ours", task_head=_head(network, PROBLEMS[0]))
    for place, door in (("encoder", AutoModel), ("lm", AutoModelForMaskedLM)):
        door.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / place)
        again = load_pretrained(tmp_path / place, needs_head=place == "lm").state_dict()
        weights = network.backbone.state_dict()
        kept = {key: weight for key, weight in weights.items() if place == "lm" or key.startswith("encoder.")}
        assert again.keys() == kept.keys()
        assert all(torch.equal(weight, again[key]) for key, weight in kept.items())
    opened = AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours").eval()
    opened.save_pretrained(tmp_path / "theirs")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "theirs").eval()
    _, padded, real = _wrapped([9, 4])
    with torch.no_grad():
        before, after = (each(input_ids=padded, attention_mask=real).logits for each in (opened, again))
    assert torch.equal(before, after)
    assert AutoConfig.from_pretrained(tmp_path / "theirs").pooling == "attention"


def test_half_precision_answers_near_the_full_one(tmp_path: Path) -> None:
    network = _finetuned("nt_v2", HEADS[0])
    save_pretrained(network.backbone, tmp_path, task_head=_head(network, PROBLEMS[0]))
    _, padded, real = _wrapped([9, 4])
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        opened = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=dtype).eval()
        with torch.no_grad():
            found.append(opened(input_ids=padded, attention_mask=real).logits.float())
    assert (found[0] - found[1]).abs().max() < 0.1 * found[0].std()
    assert np.isfinite(found[1].numpy()).all()


def test_a_pipeline_and_a_trainer_take_it_as_any_model(tmp_path: Path) -> None:
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    tokenizer = KMERS["kmer_3"]
    special = tokenizer.special
    sizes = {"vocab_size": tokenizer.vocab_size, "padding_id": special.padding, "mask_id": special.mask}
    network = _finetuned("nt_v2", HeadShape(num_outputs=2), **sizes)
    tokens = TextTokens(start_id=special.start, end_id=special.end)
    head = _head(network, PROBLEMS[0], classes=("no", "yes"), tokens=tokens)
    save_pretrained(network.backbone, tmp_path / "model", task_head=head)
    tokenizer.save(tmp_path / "model")
    texts = ["ACGTACGTT", "TTGACCA"]
    classify = pipeline("text-classification", model=str(tmp_path / "model"), top_k=None)
    ids = torch.cat([torch.from_numpy(tokenizer.encode(from_text(text))) for text in texts])
    lengths = [len(text) - 2 for text in texts]
    packed = Packed.from_lengths([length + 2 for length in lengths])
    spells = torch.tensor([flag for length in lengths for flag in (False, *[True] * length, False)])
    with torch.no_grad():
        expected = network(ids, packed, spells, torch.arange(2), 2).softmax(1)
    for found, shares in zip(classify(texts, batch_size=2), expected.tolist(), strict=True):
        scores = {each["label"]: each["score"] for each in found}
        assert scores == pytest.approx(dict(zip(("no", "yes"), shares, strict=True)), abs=1e-5)

    rows = [{**classify.tokenizer(text), "labels": number} for number, text in enumerate(texts)]
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    options: dict[str, Any] = {"max_steps": 2, "report_to": [], "use_cpu": True, "disable_tqdm": True}
    trainer = Trainer(
        model=model,
        args=TrainingArguments(output_dir=str(tmp_path / "run"), learning_rate=0.01, **options),
        train_dataset=rows,
        data_collator=DataCollatorWithPadding(classify.tokenizer),
    )
    trainer.train()
    before = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").task.output.weight
    assert not torch.equal(model.task.output.weight, before)
