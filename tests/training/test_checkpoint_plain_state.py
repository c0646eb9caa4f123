"""What is written reads back as it was, or is refused by the place and the name of what is wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dnalm.errors import NumericsError
from dnalm.training.checkpoint import CheckpointFolder, spell_state
from tests.training.checkpoint_library import fill, names

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), PLAIN))
def test_plain_types_read_back_as_they_were(state: dict[str, Any]) -> None:
    assert json.loads(spell_state(state)) == state
    assert "-0.0" in spell_state({"x": -0.0})


@pytest.mark.parametrize("value", [np.float32(1), torch.ones(1), Path("a")], ids=repr)
def test_other_types_are_refused(value: object, folder: CheckpointFolder) -> None:
    fill(folder.begin(15), 15)
    with pytest.raises(TypeError, match="not JSON serializable"):
        folder.finish(15, {"run": {"x": [0, value]}})
    assert names(folder.path) == ["step-00000005", "step-00000010"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused(value: float, folder: CheckpointFolder) -> None:
    fill(folder.begin(15), 15)
    with pytest.raises(NumericsError) as caught:
        folder.finish(15, {"metrics": {"val_loss": value}})
    assert caught.value.exit_code == 5
    assert str(caught.value).startswith(f"NUM-04 state.metrics.val_loss: {value}; finite values only. Fix: ")
    assert names(folder.path) == ["step-00000005", "step-00000010"]
