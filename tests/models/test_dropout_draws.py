"""The faster draw is still dropout."""

from __future__ import annotations

from math import sqrt

import pytest
import torch
from torch import nn

from dnalm.models.kernels import Dropout, draw_kept

NUM = 400_000


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5, 0.9])
def test_the_share_kept_is_one_minus_the_rate(rate: float) -> None:
    keep, kept = draw_kept((NUM,), rate)
    assert kept == pytest.approx(1 - rate, abs=2**-17)
    five_sigma = 5 * sqrt(kept * (1 - kept) / NUM)
    assert keep.double().mean().item() == pytest.approx(kept, abs=five_sigma)


@pytest.mark.parametrize("lag", [1, 2, 3, 4])
def test_neighbours_cut_from_one_draw_are_uncorrelated(lag: int) -> None:
    keep = draw_kept((NUM,), 0.3)[0].double() - 0.7
    correlation = (keep[lag:] * keep[:-lag]).mean() / (0.7 * 0.3)
    assert abs(correlation.item()) < 5 / sqrt(NUM)


@pytest.mark.parametrize("rate", [1e-9, 1 - 1e-9])
def test_rates_next_to_0_and_1_are_rounded_inwards(rate: float) -> None:
    kept = draw_kept((8,), rate)[1]
    assert kept == pytest.approx(1 - rate, abs=2**-16)
    assert 0 < kept < 1


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5), (2, 1, 7)])
def test_any_shape_can_be_drawn(shape: tuple[int, ...]) -> None:
    assert draw_kept(shape, 0.5)[0].shape == shape


def test_the_mean_of_the_output_is_the_input() -> None:
    output = Dropout(0.1)(torch.full((NUM,), 3.0))
    assert output.unique().numel() == 2
    assert output.mean().item() == pytest.approx(3.0, abs=5 * 3.0 * sqrt(0.1 / 0.9 / NUM))


def test_the_gradient_is_zero_where_dropped_and_scaled_where_kept() -> None:
    values = torch.ones(1000, requires_grad=True)
    output = Dropout(0.25)(values)
    output.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, output.detach())


def test_evaluation_and_rate_zero_leave_the_input_alone() -> None:
    values = torch.randn(5)
    assert Dropout(0.5).eval()(values) is values
    assert Dropout(0.0)(values) is values


def test_one_seed_gives_one_mask() -> None:
    def drop() -> torch.Tensor:
        torch.manual_seed(11)
        return Dropout(0.5)(torch.ones(64))

    assert torch.equal(drop(), drop())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_dtype_is_kept(dtype: torch.dtype) -> None:
    assert Dropout(0.5)(torch.ones(8, dtype=dtype)).dtype == dtype


def test_other_code_finds_it_as_a_dropout() -> None:
    assert isinstance(Dropout(0.5), nn.Dropout)
