"""The count from the arguments is the count of the model, and of the published models."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dnalm.models import Encoder, MaskedLM, count_parameters
from tests.models import zoo


class Published(NamedTuple):
    """A model's architecture and sizes, its published total, and what that counts and ours does not."""

    model: str
    sizes: dict[str, int]
    total: int
    not_ours: int = 0


def _nt(version: int, layers: int, width: int, heads: int, total: int) -> Published:
    """Vocabulary 4105 or 4107; the feed-forward width is 4 times the width."""
    vocabulary = {1: 4105, 2: 4107}[version]
    sizes = {"vocab_size": vocabulary, "num_layers": layers, "hidden_size": width, "num_heads": heads}
    contact_head = layers * heads + 1  # one weight per attention map, and a bias
    unused_positions = {1: 0, 2: 2050 * width}[version]  # v2's code makes this table and never reads it
    model, not_ours = f"nt_v{version}", contact_head + unused_positions
    return Published(model, {**sizes, "intermediate_size": 4 * width}, total, not_ours)


# Poolers, which masked language models lack, are left out of all totals.
PUBLISHED = {
    "DNABERT-3": Published("bert", {"vocab_size": 69}, 86_095_941),
    "DNABERT-4": Published("bert", {"vocab_size": 261}, 86_243_589),
    "DNABERT-5": Published("bert", {"vocab_size": 1029}, 86_834_181),
    "DNABERT-6": Published("bert", {"vocab_size": 4101}, 89_196_549),
    "GROVER": Published("bert", {"vocab_size": 609}, 86_511_201),
    # Its decoder's bias stands for BERT's; the tied matrix is counted once, the two types are counted.
    "DNABERT-2": Published("dnabert2", {"vocab_size": 4096}, 117_074_176),
    "NT 500M": _nt(1, 24, 1280, 20, 485_699_306),
    "NT 2.5B": _nt(1, 32, 2560, 20, 2_547_801_226),
    "NT v2 50M": _nt(2, 12, 512, 16, 55_904_972),
    "NT v2 100M": _nt(2, 22, 512, 16, 97_889_132),
    "NT v2 250M": _nt(2, 24, 768, 16, 235_120_780),
    "NT v2 500M": _nt(2, 29, 1024, 16, 498_345_436),
}
# k: millions in the released code, whose layers differ, and with shared layers as in the paper.
LOGO = {3: (1.73, 0.94), 4: (1.79, 1.00), 5: (2.12, 1.33), 6: (3.73, 2.94)}
TINY = {"hidden_size": 128, "num_layers": 2, "num_heads": 4, "intermediate_size": 512}  # conf/size/tiny.yaml


def _built(arguments: dict[str, object]) -> int:
    with torch.device("meta"):
        model = MaskedLM(Encoder(**arguments))  # type: ignore[arg-type]
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("published", PUBLISHED.values(), ids=PUBLISHED.keys())
def test_published_totals_come_out(published: Published) -> None:
    arguments = {**zoo.switches(published.model), **published.sizes, "mask_id": 2}
    assert count_parameters(arguments) == published.total - published.not_ours
    assert _built(arguments) == published.total - published.not_ours


@pytest.mark.parametrize("k", LOGO)
def test_logo_has_its_published_millions(k: int) -> None:
    vocabulary = 5**k + 13  # the n-grams of five letters, and 13 ids before and between
    for shared, millions in zip((False, True), LOGO[k], strict=True):
        arguments = {**zoo.switches("logo"), "vocab_size": vocabulary, "shared_layers": shared}
        assert round(count_parameters(arguments) / 1e6, 2) == millions
        assert _built(arguments) == count_parameters(arguments)


@pytest.mark.parametrize("name", zoo.ARCHITECTURES)
def test_every_model_can_be_tiny(name: str) -> None:
    file, variant = zoo.VARIANTS.get(name, (name, {}))
    arguments = {**zoo.switches(file), **variant, **TINY, "vocab_size": 69, "mask_id": 4}
    assert (
        200_000
        < count_parameters(arguments)
        == _built(arguments)
        < (2_500_000 if name == "dnalm" else 1_000_000)
    )


@settings(deadline=None, max_examples=60)
@given(
    arguments=st.fixed_dictionaries(
        {
            "vocab_size": st.integers(1, 50),
            "hidden_size": st.sampled_from([4, 8, 12]),
            "num_layers": st.integers(0, 3),
            "intermediate_size": st.integers(1, 20),
            "max_positions": st.integers(1, 20),
            "positions": st.sampled_from(["learned", "rotary", "alibi"]),
            "type_vocab_size": st.integers(0, 3),
            "annotations": st.sampled_from([(), ("a/b",), ("a/b", "a/c", "d/e")]),
            "embedding_size": st.sampled_from([None, 3, 8]),
            "embedding_norm": st.booleans(),
            "conv_stem": st.booleans(),
            "conv_dilations": st.sampled_from([(), (1,), (4, 1, 16)]),
            "conv_width": st.sampled_from([1, 3, 9]),
            "feed_forward": st.sampled_from(["gelu", "geglu", "swiglu"]),
            "up_bias": st.booleans(),
            "down_bias": st.booleans(),
            "norm_placement": st.sampled_from(["post", "pre"]),
            "shared_layers": st.booleans(),
            "tied_decoder": st.booleans(),
        }
    ),
    offset=st.integers(0, 3),
)
def test_any_other_shape_is_counted_too(arguments: dict[str, Any], offset: int) -> None:
    arguments["num_layers"] = max(arguments["num_layers"], 0 if arguments["conv_dilations"] else 1)
    arguments |= {"num_heads": 2, "position_offset": offset if arguments["positions"] == "learned" else 0}
    with torch.device("meta"):
        encoder = Encoder(**arguments)  # type: ignore[arg-type]
    assert count_parameters(arguments) == _built(arguments)
    assert count_parameters(arguments, masked_lm=False) == sum(p.numel() for p in encoder.parameters())


def test_an_argument_the_encoder_lacks_is_refused() -> None:
    with pytest.raises(TypeError, match="num_layer"):
        count_parameters({"vocab_size": 5, "num_layer": 3})
    with pytest.raises(TypeError, match="vocab_size"):
        count_parameters({})


def test_every_argument_of_the_encoder_is_kept_on_it() -> None:
    encoder = Encoder(vocab_size=9, hidden_size=4, num_heads=2, num_layers=1)
    for name, parameter in inspect.signature(Encoder).parameters.items():
        chosen = {"vocab_size": 9, "hidden_size": 4, "num_heads": 2, "num_layers": 1}
        assert getattr(encoder, name) == chosen.get(name, parameter.default), name
