"""Annotation channels as inputs: what is summed, what unknown means, and that names go with the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dnalm.errors import CheckpointError
from dnalm.models import MaskedLM, Packed, Pretrained, count_parameters, load_pretrained, save_pretrained
from dnalm.models.families import MODEL_TYPE
from tests.models import zoo

CHANNELS = ("knowledge/gff/gene", "knowledge/gff/exon", "region/CDS")
LENGTHS = [5, 1, 7]
ABSENT, PRESENT, UNKNOWN = 0, 1, -1


def annotated(name: str = "logo", **changes: object) -> MaskedLM:
    return zoo.model(name, annotations=CHANNELS, **changes).eval()


def plain_part(model: MaskedLM, name: str = "logo", **changes: object) -> MaskedLM:
    """The same weights in a model without channels."""
    plain = zoo.model(name, **changes).eval()
    state = {key: weight for key, weight in model.state_dict().items() if ".annotation." not in key}
    plain.load_state_dict(state)
    return plain


def says(seed: int, num_tokens: int = sum(LENGTHS)) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 2, (num_tokens, len(CHANNELS)), generator=generator, dtype=torch.int8)


def logits(model: MaskedLM, annotations: Tensor | None) -> Tensor:
    ids = zoo.random_ids(sum(LENGTHS))
    with torch.no_grad():
        return model(ids, Packed.from_lengths(LENGTHS), torch.arange(len(ids)), annotations)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31))
def test_embeddings_are_the_sum_over_channels_by_hand(seed: int) -> None:
    embeddings = annotated().encoder.embeddings
    ids, layout = zoo.random_ids(sum(LENGTHS)), Packed.from_lengths(LENGTHS).layout(sum(LENGTHS))
    chosen = says(seed)
    assert embeddings.annotation is not None
    assert embeddings.position is not None
    assert embeddings.token_type is not None
    assert embeddings.norm is not None
    assert embeddings.mapping is not None
    rows = embeddings.annotation.weight
    expected = []
    for token, (number, row) in enumerate(zip(ids, chosen.tolist(), strict=True)):
        vector = embeddings.token.weight[number] + embeddings.position.weight[layout.position_N[token]]
        vector = vector + embeddings.token_type.weight[0]
        for channel, value in enumerate(row):
            if value == PRESENT:
                vector = vector + rows[len(CHANNELS) + channel]
            if value == ABSENT:
                vector = vector + rows[channel]
        expected.append(vector)
    by_hand = embeddings.mapping(embeddings.norm(torch.stack(expected)))
    torch.testing.assert_close(embeddings(ids, layout, chosen), by_hand)


@pytest.mark.parametrize("name", zoo.ARCHITECTURES)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**31))
def test_unknown_adds_exactly_nothing(name: str, seed: int) -> None:
    """All channels unknown, or none given: the logits of the model without channels, bit for bit."""
    model = annotated(name)
    zoo.randomize(model)
    with torch.no_grad():
        weight = model.encoder.embeddings.annotation.weight  # type: ignore[union-attr]
        weight.normal_(std=3.0, generator=torch.Generator().manual_seed(seed))
    plain = logits(plain_part(model, name), None)
    unknown = torch.full((sum(LENGTHS), len(CHANNELS)), UNKNOWN, dtype=torch.int8)
    assert torch.equal(logits(model, unknown), plain)
    assert torch.equal(logits(model, None), plain)
    assert not torch.allclose(logits(model, torch.zeros_like(unknown)), plain)  # absent is not unknown


def test_rows_learn_from_tokens_that_say_them_alone() -> None:
    model = annotated()
    chosen = torch.full((sum(LENGTHS), len(CHANNELS)), UNKNOWN, dtype=torch.int8)
    chosen[2, 0], chosen[3, 1] = PRESENT, ABSENT
    ids = zoo.random_ids(sum(LENGTHS))
    out = model(ids, Packed.from_lengths(LENGTHS), torch.arange(len(ids)), chosen)
    out.square().sum().backward()
    gradient = model.encoder.embeddings.annotation.weight.grad  # type: ignore[union-attr]
    assert gradient is not None
    assert gradient.any(dim=1).nonzero().flatten().tolist() == [1, len(CHANNELS) + 0]


def test_a_channel_of_another_number_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="as many channels"):
        logits(annotated(), says(0)[:, :2])
    with pytest.raises(AssertionError, match="for a model that has channels"):
        logits(plain_part(annotated()), says(0))


def test_attention_maps_know_the_annotations_too() -> None:
    model = annotated(kernel="eager")
    ids, packed = zoo.random_ids(sum(LENGTHS)), Packed.from_lengths(LENGTHS)
    with torch.no_grad():
        told, untold = (next(model.encoder.attention_maps(ids, packed, given)) for given in (says(1), None))
    assert not torch.allclose(told, untold)


@pytest.mark.parametrize("count", [0, 1, 3, 11])
@pytest.mark.parametrize("width", [12, None])
def test_a_channel_is_two_rows_of_parameters(count: int, width: int | None) -> None:
    names = tuple(f"a/{number}" for number in range(count))
    arguments = zoo.arguments("logo", embedding_size=width)
    counted = count_parameters({**arguments, "annotations": names})
    assert counted == count_parameters(arguments) + 2 * count * (width or 32)
    built = zoo.model("logo", embedding_size=width, annotations=names)
    assert counted == sum(parameter.numel() for parameter in built.parameters())


def test_names_and_rows_go_out_and_come_in_again(tmp_path: Path) -> None:
    model = annotated()
    save_pretrained(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["model_type"], config["annotations"]) == (MODEL_TYPE, list(CHANNELS))
    again = load_pretrained(tmp_path).eval()
    assert again.encoder.annotations == CHANNELS
    assert torch.equal(logits(again, says(4)), logits(model, says(4)))


def test_any_architecture_with_channels_is_written_in_our_own_layout(tmp_path: Path) -> None:
    """Stock BERT has no such inputs, and would read the rest as if nothing were missing."""
    save_pretrained(zoo.model("bert"), tmp_path / "plain")
    save_pretrained(annotated("bert"), tmp_path / "annotated")
    kinds = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("plain", "annotated")]
    assert [kind["model_type"] for kind in kinds] == ["bert", MODEL_TYPE]


def test_a_config_whose_channels_are_no_names_is_refused(tmp_path: Path) -> None:
    save_pretrained(annotated(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "annotations": ["a", 3]}))
    with pytest.raises(CheckpointError, match=r"MODEL-10 .*annotations is \['a', 3\]; .*a list of names"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "a run that gives tokens alone"),
        (CHANNELS[::-1], f"a run that gives tokens, {', '.join(CHANNELS[::-1])}"),
        (CHANNELS[:2], f"a run that gives tokens, {', '.join(CHANNELS[:2])}"),
    ],
)
def test_continuing_with_other_channels_is_refused(given: tuple[str, ...], said: str, tmp_path: Path) -> None:
    save_pretrained(annotated(), tmp_path)
    source = Pretrained(source=str(tmp_path))
    sizes = {"vocab_size": zoo.VOCAB, "padding_id": 1, "mask_id": zoo.MASK}
    assert source(**sizes, annotations=CHANNELS).encoder.annotations == CHANNELS
    with pytest.raises(CheckpointError) as caught:
        source(**sizes, annotations=given)
    assert str(caught.value) == (
        f"MODEL-13 {tmp_path}: a model whose inputs are tokens, {', '.join(CHANNELS)}, and {said}; the same "
        "annotation channels in the same order. Fix: set inputs to the tracks that the model was trained "
        "with, named and labelled as there."
    )
