"""The count from the arguments is the count of the model."""

from __future__ import annotations

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dnalm.models import Encoder, MaskedLM, count_parameters

# Published dimensions; totals without pooler.
PUBLISHED = {
    "DNABERT-3": (69, 86_095_941),
    "DNABERT-4": (261, 86_243_589),
    "DNABERT-5": (1029, 86_834_181),
    "DNABERT-6": (4101, 89_196_549),
    "GROVER": (609, 86_511_201),
}


@pytest.mark.parametrize(("vocab_size", "total"), PUBLISHED.values(), ids=PUBLISHED.keys())
def test_the_published_totals_come_out(vocab_size: int, total: int) -> None:
    assert count_parameters({"vocab_size": vocab_size}) == total
    with torch.device("meta"):
        model = MaskedLM(Encoder(vocab_size=vocab_size))
    assert sum(parameter.numel() for parameter in model.parameters()) == total


@settings(deadline=None, max_examples=30)
@given(
    arguments=st.fixed_dictionaries(
        {
            "vocab_size": st.integers(1, 50),
            "hidden_size": st.sampled_from([4, 8, 12]),
            "num_layers": st.integers(1, 3),
            "intermediate_size": st.integers(1, 20),
            "max_positions": st.integers(1, 20),
            "type_vocab_size": st.integers(1, 3),
        }
    )
)
def test_any_other_shape_is_counted_too(arguments: dict[str, int]) -> None:
    with torch.device("meta"):
        encoder = Encoder(**arguments, num_heads=2)  # type: ignore[arg-type]
        model = MaskedLM(encoder)
    assert count_parameters(arguments) == sum(parameter.numel() for parameter in model.parameters())
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
