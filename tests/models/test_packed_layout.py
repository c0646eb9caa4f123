"""Packing loses nothing, and padding is its inverse."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dnalm.models.packing import Packed, Run

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=7)


def test_layout_of_three_sequences() -> None:
    layout = Packed.from_lengths([2, 2, 3]).layout(7)
    assert layout.sequence_N.tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert layout.position_N.tolist() == [0, 1, 0, 1, 0, 1, 2]
    assert layout.padded_N.tolist() == [0, 1, 3, 4, 6, 7, 8]
    assert layout.runs == (Run(count=2, length=2), Run(count=1, length=3))
    assert layout.real_tokens().tolist() == [[True, True, False], [True, True, False], [True, True, True]]


@settings(deadline=None)
@given(lengths=LENGTHS)
def test_unpadding_undoes_padding(lengths: list[int]) -> None:
    packed = torch.randn(sum(lengths), 2, 3)
    layout = Packed.from_lengths(lengths).layout(sum(lengths))
    padded = layout.pad(packed)
    assert padded.shape == (len(lengths), max(lengths), 2, 3)
    assert torch.equal(layout.unpad(padded), packed)
    assert torch.equal(padded[layout.real_tokens()], packed)
    assert not padded[~layout.real_tokens()].any()


@settings(deadline=None)
@given(lengths=LENGTHS)
def test_runs_spell_the_lengths_in_order(lengths: list[int]) -> None:
    runs = Packed.from_lengths(lengths).layout(sum(lengths)).runs
    assert runs is not None
    assert [run.length for run in runs for _ in range(run.count)] == lengths


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_cumulative_lengths_may_be_of_either_width(dtype: torch.dtype) -> None:
    layout = Packed(cu_lengths=torch.tensor([0, 1, 4], dtype=dtype), max_length=3).layout(4)
    assert layout.position_N.tolist() == [0, 0, 1, 2]
    assert layout.position_N.dtype == torch.int64


def test_lengths_that_do_not_add_up_are_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="add up to N"):
        Packed.from_lengths([2, 3]).layout(6)
    with pytest.raises(AssertionError, match=r"outside 1\.\.max"):
        Packed(cu_lengths=torch.tensor([0, 2, 2, 5]), max_length=3).layout(5)


def test_gradients_come_back_through_padding() -> None:
    packed = torch.randn(5, 2, requires_grad=True)
    layout = Packed.from_lengths([2, 3]).layout(5)
    layout.unpad(layout.pad(packed) * 2).sum().backward()
    assert packed.grad is not None
    assert torch.equal(packed.grad, torch.full((5, 2), 2.0))
