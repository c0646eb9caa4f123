"""A value that is not finite is found wherever it is, in every type, and nothing else is."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dnalm.models.weights import not_finite

FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e5m2]


@given(st.integers(1, 5000), st.data())
def test_one_value_is_found_wherever_it_is(size: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, size - 1))
    bad = data.draw(st.sampled_from([math.nan, math.inf, -math.inf]))
    values = torch.zeros(size, dtype=data.draw(st.sampled_from(FLOATS[:4])))
    assert not_finite({"values": values}) == []
    values[place] = bad
    assert not_finite({"others": torch.ones(3), "values": values}) == ["values"]


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_largest_number_of_a_type_is_finite(dtype: torch.dtype) -> None:
    largest = torch.tensor([torch.finfo(dtype).max, torch.finfo(dtype).min], dtype=torch.float64).to(dtype)
    assert not_finite({"largest": largest, "bad": torch.tensor([math.inf]).to(dtype)}) == ["bad"]


@pytest.mark.parametrize(
    "tensor", [torch.zeros(0), torch.tensor([1]), torch.tensor(True), torch.tensor(1j)], ids=str
)
def test_what_cannot_be_infinite_is_finite(tensor: Tensor) -> None:
    assert not_finite({"tensor": tensor}) == []


def test_an_imaginary_part_is_looked_at() -> None:
    assert not_finite({"tensor": torch.tensor(complex(0, math.nan))}) == ["tensor"]
