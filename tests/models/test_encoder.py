"""The encoder: isolation of packed neighbours, initial weights, dropout, refusals."""

from __future__ import annotations

from math import sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dnalm.errors import ConfigError, DataError
from dnalm.models import Encoder, MaskedLM, Packed
from tests.models import zoo

TINY = {"vocab_size": 37, "hidden_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 24}


def _encoder(**changes: object) -> Encoder:
    return Encoder(**{**TINY, "max_positions": 16, "initializer_range": 0.3, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@settings(deadline=None, max_examples=20)
@given(lengths=st.lists(st.integers(1, 16), min_size=1, max_size=6))
def test_a_packed_sequence_comes_out_as_it_does_alone(kernel: str, lengths: list[int]) -> None:
    torch.manual_seed(0)
    encoder = _encoder(kernel=kernel).eval()
    ids = torch.randint(37, (sum(lengths),))
    with torch.no_grad():
        together = encoder(ids, Packed.from_lengths(lengths))
        alone = [encoder(part, Packed.from_lengths([len(part)])) for part in ids.split(lengths)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


@pytest.mark.parametrize("num_layers", [0, 1])
@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@settings(deadline=None, max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 16), min_size=1, max_size=6),
    dilations=st.lists(st.integers(1, 20), min_size=1, max_size=3),
    width=st.sampled_from([1, 3, 9]),
)
def test_convolutions_see_neither_neighbours_in_the_pack_nor_padding(
    num_layers: int, kernel: str, lengths: list[int], dilations: list[int], width: int
) -> None:
    torch.manual_seed(0)
    encoder = _encoder(
        kernel=kernel, num_layers=num_layers, conv_dilations=dilations, conv_width=width
    ).eval()
    ids, others = torch.randint(37, (2, sum(lengths)))
    first = slice(lengths[0])
    with torch.no_grad():
        together = encoder(ids, Packed.from_lengths(lengths))
        alone = [encoder(part, Packed.from_lengths([len(part)])) for part in ids.split(lengths)]
        others[first] = ids[first]
        beside_others = encoder(others, Packed.from_lengths(lengths))
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)
    assert torch.equal(together[first], beside_others[first])


@pytest.mark.parametrize(("dilations", "reach"), [([1], 1), ([3], 3), ([1, 2, 4], 7)])
def test_a_base_reaches_as_far_as_the_dilations_say(dilations: list[int], reach: int) -> None:
    encoder = _encoder(num_layers=0, positions="rotary", conv_dilations=dilations, conv_width=3).eval()
    ids = torch.arange(1, 17)
    changed = ids.clone()
    changed[8] = 30
    with torch.no_grad():
        before, after = (encoder(these, Packed.from_lengths([16])) for these in (ids, changed))
    differs = (before != after).any(1).nonzero().flatten().tolist()
    assert (differs[0], differs[-1]) == (max(0, 8 - reach), min(15, 8 + reach))


def test_the_order_of_tokens_matters() -> None:
    encoder = _encoder().eval()
    one, other = (encoder(torch.tensor(ids), Packed.from_lengths([3])) for ids in ([5, 6, 7], [6, 5, 7]))
    assert (one[2] - other[2]).abs().max() > 1e-2


def test_dropout_acts_in_training_only() -> None:
    encoder, ids, packed = _encoder(), torch.arange(1, 9), Packed.from_lengths([8])
    assert not torch.equal(encoder(ids, packed), encoder(ids, packed))
    encoder.eval()
    assert torch.equal(encoder(ids, packed), encoder(ids, packed))


def test_attention_dropout_acts_in_training_only() -> None:
    encoder, ids, packed = (
        _encoder(dropout=0.0, attention_dropout=0.5),
        torch.arange(1, 9),
        Packed.from_lengths([8]),
    )
    assert not torch.equal(encoder(ids, packed), encoder(ids, packed))
    encoder.eval()
    assert torch.equal(encoder(ids, packed), encoder(ids, packed))


def test_one_seed_gives_one_forward_pass_in_training() -> None:
    encoder, ids, packed = _encoder(), torch.arange(1, 9), Packed.from_lengths([5, 3])
    torch.manual_seed(1)
    first = encoder(ids, packed)
    torch.manual_seed(1)
    assert torch.equal(encoder(ids, packed), first)


def test_attention_maps_come_block_by_block() -> None:
    encoder = _encoder().eval()
    maps = list(encoder.attention_maps(torch.arange(1, 9), Packed.from_lengths([5, 3])))
    assert [tuple(map_BHLL.shape) for map_BHLL in maps] == [(2, 2, 5, 5)] * 2
    torch.testing.assert_close(maps[1][1, :, :3].sum(-1), torch.ones(2, 3))


def test_initial_weights_are_those_of_bert() -> None:
    model = MaskedLM(
        Encoder(
            vocab_size=500, hidden_size=128, num_layers=2, num_heads=2, intermediate_size=256, padding_id=3
        )
    )
    for name, weight in model.named_parameters():
        values = weight.detach()
        if "norm" in name:
            assert torch.equal(values, torch.full_like(values, float(name.endswith("weight")))), name
        elif name.endswith("bias"):
            assert not values.any(), name
        else:
            drawn = (
                values[torch.arange(len(values)) != 3] if name.endswith("embeddings.token.weight") else values
            )
            sigma = 0.02 / sqrt(2 * drawn.numel())
            assert drawn.std().item() == pytest.approx(0.02, abs=5 * sigma), name
            assert drawn.mean().item() == pytest.approx(0.0, abs=5 * 0.02 / sqrt(drawn.numel())), name
    assert not model.encoder.embeddings.token.weight[3].any()


def test_a_model_from_the_meta_device_can_draw_its_weights() -> None:
    with torch.device("meta"):
        model = MaskedLM(_encoder())
    model.to_empty(device="cpu")
    torch.manual_seed(4)
    model.reset_parameters()
    torch.manual_seed(4)
    again = MaskedLM(_encoder())
    again.reset_parameters()
    model.eval()
    assert all(weight.isfinite().all() for weight in model.state_dict().values())
    assert not model.head.bias.any()


def test_the_longest_sequence_has_max_positions_tokens() -> None:
    encoder = _encoder().eval()
    assert encoder(torch.ones(16, dtype=torch.int64), Packed.from_lengths([16])).shape == (16, 16)
    with pytest.raises(DataError) as caught:
        encoder(torch.ones(20, dtype=torch.int64), Packed.from_lengths([17, 3]))
    assert str(caught.value) == (
        "MODEL-01 input sequence: 17 tokens in one sequence; at most max_positions=16, special tokens "
        "included. Fix: use shorter windows, or train with a larger max_positions."
    )


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigError) as caught:
        _encoder(hidden_size=20, num_heads=3)
    assert str(caught.value) == (
        "CFG-18 hidden_size, num_heads: hidden_size=20 and num_heads=3; a hidden_size that num_heads "
        "divides, so that all heads are equally wide. Fix: change one of the two."
    )


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("vocab_size", 0, "1 to 16,777,216"),
        ("num_layers", 100_000_000, "1 to 1,000"),
        ("num_layers", 0, "1 to 1,000"),
        ("conv_width", 4, "odd, so that a token is in the middle of what it sees"),
        ("conv_width", 1001, "1 to 256"),
        ("num_heads", -1, "1 to 4,096"),
        ("max_positions", 0, "1 to 16,777,216"),
        ("type_vocab_size", -1, "0 to 65,536"),
        ("position_offset", -1, "0 to 16,777,216"),
        ("embedding_size", 0, "1 to 65,536"),
        ("mask_id", 37, "an id below vocab_size"),
        ("positions", "sinus", "one of learned, rotary, alibi"),
        ("feed_forward", "relu", "one of gelu, geglu, swiglu"),
        ("norm_placement", "both", "one of post, pre"),
        ("feed_forward_dropout", "before", "one of after, inside"),
        ("dropout", 1.0, "0 or more, and below 1"),
        ("attention_dropout", -0.1, "0 or more, and below 1"),
        ("norm_eps", 0.0, "above 0, and 1 at most"),
        ("initializer_range", -1.0, "above 0, and 1 at most"),
        ("padding_id", 37, "an id below vocab_size"),
        ("kernel", "flash", "one of auto, eager, sdpa, flex, varlen"),
    ],
)
def test_an_argument_out_of_range_is_named(name: str, value: object, rule: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _encoder(**{name: value})
    assert str(caught.value) == (
        f"CFG-18 {name}: {name}={value}; {name} must be {rule}. Fix: set {name} within its range."
    )


def test_dilations_are_numbers_from_one() -> None:
    with pytest.raises(ConfigError) as caught:
        _encoder(conv_dilations=[1, 0])
    assert str(caught.value) == (
        "CFG-18 conv_dilations: conv_dilations=(1, 0); conv_dilations must be at most 1,000 numbers, each "
        "1 to 4,096. Fix: set conv_dilations within its range."
    )


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # the compiler looks at it
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_compiled_encoder_gives_the_same(dropout: float) -> None:
    encoder = _encoder(dropout=dropout, attention_dropout=dropout)
    ids, packed = torch.arange(1, 10), Packed.from_lengths([5, 4])
    outputs = []
    for way in (encoder, torch.compile(encoder, backend="eager")):
        torch.manual_seed(2)
        outputs.append(way(ids, packed))
    torch.testing.assert_close(outputs[1], outputs[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", zoo.ARCHITECTURES)
@pytest.mark.parametrize("kept", [[], [4], [9, 0, 5, 5]])
def test_hidden_states_at_chosen_places_are_those_of_all(name: str, kept: list[int]) -> None:
    encoder, lengths = zoo.model(name).encoder.eval(), [3, 7]
    ids, packed, places = (
        zoo.random_ids(10),
        Packed.from_lengths(lengths),
        torch.tensor(kept, dtype=torch.long),
    )
    with torch.inference_mode():
        chosen, every = encoder(ids, packed, kept_M=places), encoder(ids, packed)
    torch.testing.assert_close(chosen, every[places], atol=1e-5, rtol=1e-5)
