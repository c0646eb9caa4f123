"""Each switch does what it says, packed as well as alone, and with every kernel alike."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dnalm.errors import ConfigError, DataError
from dnalm.models import Encoder, MaskedLM, Packed, load_pretrained, save_pretrained
from dnalm.models.layers import Block
from dnalm.models.packing import KernelName, Rotation, alibi_slopes
from tests.models import zoo

EVERY_MODEL = pytest.mark.parametrize("name", zoo.ARCHITECTURES)
SWITCHES = st.fixed_dictionaries(
    {
        "positions": st.sampled_from(["learned", "rotary", "alibi"]),
        "type_vocab_size": st.integers(0, 2),
        "embedding_size": st.sampled_from([None, 12, 32]),
        "embedding_norm": st.booleans(),
        "stem": st.sampled_from(["none", "conv_stem", "causal"]),
        "conv_dilations": st.sampled_from([(), (1,), (2, 1, 3)]),
        "conv_width": st.sampled_from([1, 3, 9]),
        "num_layers": st.integers(0, 3),
        "token_dropout": st.booleans(),
        "feed_forward": st.sampled_from(["gelu", "geglu", "swiglu"]),
        "up_bias": st.booleans(),
        "down_bias": st.booleans(),
        "norm_placement": st.sampled_from(["post", "pre"]),
        "shared_layers": st.booleans(),
        "tied_decoder": st.booleans(),
        "feed_forward_dropout": st.sampled_from(["after", "inside"]),
    }
)


def _arguments(switches: dict[str, object], **changes: object) -> dict[str, object]:
    """Any combination that makes sense: causal models have no convolutions, and no model lacks all blocks."""
    stem = switches["stem"]
    switches = switches | ({"conv_dilations": ()} if stem == "causal" else {})
    if not switches["conv_dilations"]:
        switches = switches | {"num_layers": 3}
    named = {key: value for key, value in switches.items() if key != "stem"}
    named |= {"conv_stem": stem == "conv_stem", "causal": stem == "causal"}
    return {**zoo.SIZES, **named, "dropout": 0.0, "attention_dropout": 0.0, **changes}


def _run(encoder: Encoder, ids: Tensor, lengths: list[int]) -> Tensor:
    output: Tensor = encoder(ids, Packed.from_lengths(lengths))
    return output


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@EVERY_MODEL
def test_neighbours_in_a_pack_cannot_see_each_other(name: str, kernel: KernelName) -> None:
    lengths = [5, 1, 16, 2, 5, 5]
    encoder, ids = zoo.model(name, kernel=kernel).encoder.eval(), zoo.random_ids(sum(lengths))
    with torch.no_grad():
        together = _run(encoder, ids, lengths)
        alone = torch.cat([_run(encoder, part, [len(part)]) for part in ids.split(lengths)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@settings(deadline=None, max_examples=60)
@given(switches=SWITCHES)
def test_switches_combine(switches: dict[str, object]) -> None:
    lengths = [4, 7, 7, 1]
    ids = zoo.random_ids(sum(lengths))
    outputs = []
    for kernel in ("eager", "sdpa"):
        encoder = Encoder(**_arguments(switches, kernel=kernel))  # type: ignore[arg-type]
        zoo.randomize(encoder)
        outputs.append(_run(encoder, ids, lengths))
    alone = torch.cat([_run(encoder, part, [len(part)]) for part in ids.split(lengths)])
    torch.testing.assert_close(outputs[1], outputs[0], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(outputs[1], alone, atol=2e-5, rtol=1e-5)


@settings(deadline=None, max_examples=40)
@given(switches=SWITCHES)
def test_every_combination_goes_out_and_comes_in_again(
    switches: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    arguments, folder = _arguments(switches), tmp_path_factory.mktemp("model")
    model = MaskedLM(Encoder(**arguments))  # type: ignore[arg-type]
    save_pretrained(model, folder)
    again = load_pretrained(folder)
    assert {name: getattr(again.encoder, name) for name in arguments} == arguments
    state = again.state_dict()
    assert all(torch.equal(weight, state[name]) for name, weight in model.state_dict().items())


@EVERY_MODEL
def test_bf16_is_off_by_its_rounding_alone(name: str) -> None:
    ids, lengths = zoo.random_ids(17), [9, 4, 4]
    encoder = zoo.model(name).encoder.eval().bfloat16()
    exact = zoo.encoder(name).eval()
    exact.load_state_dict({key: weight.float() for key, weight in encoder.state_dict().items()})
    with torch.no_grad():
        expected = _run(exact, ids, lengths)
        eager = zoo.encoder(name, kernel="eager").eval().bfloat16()
        eager.load_state_dict(encoder.state_dict())
        errors = [(_run(made, ids, lengths).float() - expected).norm() for made in (encoder, eager)]
    # Three layers of about ten roundings of 2^-9 each, adding up as a random walk.
    assert max(errors) < 4 * 30**0.5 * 2**-9 * expected.norm()


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@pytest.mark.parametrize("positions", ["learned", "rotary", "alibi"])
def test_causal_tokens_do_not_depend_on_later_ones(positions: str, kernel: KernelName) -> None:
    encoder = zoo.model("logo_released", positions=positions, kernel=kernel).encoder.eval()
    ids = zoo.random_ids(12)
    changed = ids.clone()
    changed[5:8] = torch.tensor([7, 8, 9])
    with torch.no_grad():
        before, after = (_run(encoder, these, [8, 4]) for these in (ids, changed))
    torch.testing.assert_close(after[:5], before[:5], atol=1e-6, rtol=0)
    assert (after[5:8] - before[5:8]).abs().max() > 0.1
    torch.testing.assert_close(after[8:], before[8:], atol=1e-6, rtol=0)


def test_without_causal_every_token_depends_on_later_ones() -> None:
    encoder, ids = zoo.model("logo").encoder.eval(), zoo.random_ids(8)
    changed = ids.clone()
    changed[7] = 9
    before, after = (_run(encoder, these, [8]) for these in (ids, changed))
    assert (after[0] - before[0]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("num_heads", "slopes"),
    [
        (1, [2**-8]),
        (4, [2**-2, 2**-4, 2**-6, 2**-8]),
        # 8 of a power of two, then every other of 16's; facts of the published 12 heads.
        (12, [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625]),
        (3, [2**-4, 2**-8, 2**-2]),
    ],
)
def test_slopes_are_the_published_ones(num_heads: int, slopes: list[float]) -> None:
    ours = alibi_slopes(num_heads)
    assert ours.shape == (num_heads,)
    torch.testing.assert_close(ours[: len(slopes)], torch.tensor(slopes), atol=0, rtol=1e-6)


def test_the_last_four_of_twelve_slopes_lie_between_the_others() -> None:
    assert alibi_slopes(12)[8:].tolist() == pytest.approx(
        [0.7071068, 0.3535534, 0.1767767, 0.0883883], rel=1e-6
    )


def test_alibi_takes_sequences_longer_than_it_was_trained_for() -> None:
    encoder = zoo.model("dnabert2").encoder.eval()
    assert encoder.longest_sequence is None
    ids = zoo.random_ids(3 * zoo.MAX_POSITIONS)
    with torch.no_grad():
        eager = zoo.model("dnabert2", kernel="eager").encoder.eval()
        outputs = [_run(made, ids, [len(ids)]) for made in (encoder, eager)]
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=0)


def test_rotary_attention_depends_on_distance_alone() -> None:
    block = next(zoo.model("nt_v2").encoder._layers())
    assert isinstance(block, Block)
    attention = block.attention
    hidden = torch.randn(6, 32)
    layout = zoo.model("nt_v2").encoder._layout(torch.zeros(6, dtype=torch.int64), Packed.from_lengths([6]))
    assert layout.rotation is not None
    later = Packed.from_lengths([16]).layout(16)
    shifted = replace(layout, rotation=Rotation.at(later.position_N[10:], head_width=8))
    torch.testing.assert_close(attention.maps(hidden, shifted), attention.maps(hidden, layout))


@pytest.mark.parametrize("name", ["nt_v1", "nt_v2"])
def test_a_sequence_past_the_limit_is_refused_with_rotary_positions_too(name: str) -> None:
    with pytest.raises(DataError) as caught:
        _run(zoo.encoder(name), zoo.random_ids(17), [17])
    assert str(caught.value) == (
        "MODEL-01 input sequence: 17 tokens in one sequence; at most max_positions=16, special tokens "
        "included. Fix: use shorter windows, or train with a larger max_positions."
    )


def test_the_limit_is_named_where_positions_have_one() -> None:
    limits = {name: zoo.encoder(name).longest_sequence for name in zoo.ARCHITECTURES}
    assert limits == {name: None if name == "dnabert2" else 16 for name in zoo.ARCHITECTURES}


def test_shared_layers_are_one_block_applied_again() -> None:
    shared = zoo.model("logo").encoder.eval()
    apart = zoo.model("logo", shared_layers=False).encoder.eval()
    assert (len(shared.blocks), len(apart.blocks)) == (1, 3)
    state = shared.state_dict()
    copies = {
        name.replace("blocks.0.", f"blocks.{n}."): weight for name, weight in state.items() for n in range(3)
    }
    apart.load_state_dict(copies)
    ids = zoo.random_ids(9)
    assert torch.equal(_run(apart, ids, [4, 5]), _run(shared, ids, [4, 5]))


@EVERY_MODEL
def test_attention_maps_are_those_that_the_output_is_made_of(name: str) -> None:
    encoder, ids, packed = zoo.model(name).encoder.eval(), zoo.random_ids(7), Packed.from_lengths([5, 2])
    maps = list(encoder.attention_maps(ids, packed))
    assert [tuple(map_BHLL.shape) for map_BHLL in maps] == [(2, 4, 5, 5)] * 3
    layout = encoder._layout(ids, packed)
    hidden = encoder.embeddings(ids, layout)
    for block in encoder._layers():
        if isinstance(block, Block):
            break
        hidden = block(hidden, layout)
    assert isinstance(block, Block)
    normed = block.attention_norm(hidden) if block.norm_first else hidden
    values = layout.pad(block.attention.value(normed).view(7, 4, 8)).transpose(1, 2)
    mixed = layout.unpad((maps[0] @ values).transpose(1, 2)).flatten(1)
    torch.testing.assert_close(block.attention.output(mixed), block.attention(normed, layout))


@pytest.mark.parametrize("where", ["after", "inside"])
def test_dropout_of_the_feed_forward_acts_where_it_says(where: str) -> None:
    model = zoo.model("dnabert2", dropout=0.5, feed_forward_dropout=where)
    block = next(model.encoder._layers())
    assert isinstance(block, Block)
    rates = (block.feed_forward.dropout.p, block.feed_forward_dropout.p, block.attention_dropout.p)
    assert rates == ((0.5, 0.0, 0.5) if where == "inside" else (0.0, 0.5, 0.5))


@EVERY_MODEL
def test_a_compiled_model_gives_the_same(name: str) -> None:
    encoder, ids = zoo.model(name).encoder.eval(), zoo.random_ids(9)
    with torch.no_grad():
        expected = _run(encoder, ids, [5, 4])
        compiled = torch.compile(encoder, backend="eager")(ids, Packed.from_lengths([5, 4]))
    torch.testing.assert_close(compiled, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"positions": "rotary", "position_offset": 2},
            "CFG-18 position_offset, positions: position_offset=2 and positions=rotary; an offset into the "
            "rows of learned positions only. Fix: set position_offset=0, or positions=learned.",
        ),
        (
            {"token_dropout": True, "mask_id": None},
            "CFG-18 token_dropout: token_dropout=true and no mask_id; the mask token's id, whose vectors "
            "token dropout zeroes. Fix: give mask_id, or set token_dropout=false.",
        ),
        (
            {"causal": True, "conv_stem": True},
            "CFG-18 causal, conv_stem: causal=true and conv_stem=true; no stem where tokens must not see "
            "later ones, since it looks two tokens ahead. Fix: set one of them to false.",
        ),
        (
            {"positions": "rotary", "hidden_size": 12},
            "CFG-18 positions: positions=rotary and heads 3 wide; heads of an even width, whose halves are "
            "turned together. Fix: change hidden_size or num_heads.",
        ),
        (
            {"causal": True, "conv_dilations": [1, 2]},
            "CFG-18 causal, conv_dilations: causal=true and conv_dilations=[1,2]; no convolutions where "
            "tokens must not see later ones, since they look both ways. Fix: set causal=false, or "
            "conv_dilations=[].",
        ),
        (
            {"kernel": "varlen", "positions": "alibi"},
            "CFG-18 kernel, positions: kernel=varlen and positions=alibi; a kernel that can add ALiBi's "
            "penalty. Fix: set kernel to auto, eager, sdpa or flex.",
        ),
        (
            {"kernel": "flex", "attention_dropout": 0.1},
            "CFG-18 kernel, attention_dropout: kernel=flex and attention_dropout=0.1; a kernel that can drop "
            "attention weights. Fix: set attention_dropout=0.0, or kernel to auto, eager, sdpa or varlen.",
        ),
    ],
)
def test_what_makes_no_sense_together_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        zoo.encoder("bert", **changes)
    assert str(caught.value) == message


@pytest.mark.parametrize("kernel", ["flex", "varlen"])
def test_kernels_for_cuda_say_so_on_a_cpu(kernel: KernelName) -> None:
    encoder = zoo.encoder("bert", kernel=kernel)
    with pytest.raises(ConfigError) as caught:
        _run(encoder, zoo.random_ids(3), [3])
    assert str(caught.value) == (
        f"CFG-18 model.kernel: kernel={kernel} on cpu; a CUDA device, on which alone {kernel} runs. "
        "Fix: set model.kernel=auto."
    )
