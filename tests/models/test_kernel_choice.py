"""`kernel=auto` takes the fastest kernel that device, precision, positions, dropout and pack admit."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention.varlen import varlen_attn

from dnalm.models import Encoder, Packed
from dnalm.models.kernels import KERNELS, choose
from dnalm.models.packing import KernelName, Layout, alibi_slopes
from tests.models import zoo

RAGGED, FULL = [5, 3], [4, 4]
BF16, FP32 = torch.bfloat16, torch.float32


def _layout(lengths: list[int], *, device: str, alibi: bool) -> Layout:
    """A layout whose lengths lie on a device that need not be there."""
    layout = Packed.from_lengths(lengths).layout(sum(lengths))
    with FakeTensorMode():
        there = torch.empty(len(lengths), dtype=torch.int32, device=device)
    return replace(layout, lengths_B=there, slopes_H=alibi_slopes(4) if alibi else None)


@pytest.mark.parametrize(
    ("device", "dtype", "alibi", "dropout", "lengths", "width", "expected"),
    [
        ("cpu", BF16, False, 0.0, RAGGED, 64, "sdpa"),
        ("cpu", FP32, True, 0.1, FULL, 64, "sdpa"),
        ("cuda", BF16, False, 0.0, FULL, 64, "sdpa"),
        ("cuda", FP32, False, 0.1, FULL, 12, "sdpa"),
        ("cuda", BF16, False, 0.0, RAGGED, 64, "varlen"),
        ("cuda", torch.float16, False, 0.0, RAGGED, 256, "varlen"),
        ("cuda", BF16, False, 0.0, RAGGED, 12, "sdpa"),
        ("cuda", BF16, False, 0.0, RAGGED, 264, "sdpa"),
        ("cuda", FP32, False, 0.0, RAGGED, 64, "sdpa"),
        ("cuda", BF16, False, 0.1, RAGGED, 64, "varlen"),
        ("cuda", BF16, True, 0.0, RAGGED, 64, "flex"),
        ("cuda", FP32, True, 0.0, FULL, 16, "flex"),
        ("cuda", BF16, True, 0.0, RAGGED, 8, "sdpa"),
        ("cuda", BF16, True, 0.1, RAGGED, 64, "sdpa"),
    ],
)
def test_the_first_line_of_the_table_that_fits(
    device: str,
    dtype: torch.dtype,
    alibi: bool,
    dropout: float,
    lengths: list[int],
    width: int,
    expected: KernelName,
) -> None:
    layout = _layout(lengths, device=device, alibi=alibi)
    assert choose(layout, dtype=dtype, dropout=dropout, width=width) == expected


def test_auto_stands_for_one_of_the_others() -> None:
    assert set(get_args(KernelName)) == {"auto", *KERNELS}
    assert zoo.encoder("bert").kernel == "auto"


def _output_and_gradient(encoder: Encoder, ids: Tensor, lengths: list[int]) -> tuple[Tensor, Tensor]:
    torch.manual_seed(5)
    output = encoder(ids, Packed.from_lengths(lengths))
    output.sum().backward()
    gradient = encoder.get_parameter(f"blocks.{len(encoder.conv_dilations)}.attention.query.weight").grad
    assert gradient is not None
    return output, gradient


@pytest.mark.parametrize("name", zoo.ARCHITECTURES)
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_on_a_cpu_auto_is_sdpa_to_the_bit(name: str, dropout: float) -> None:
    lengths = [16, 3, 7, 7, 16]
    auto, sdpa = (
        _output_and_gradient(
            zoo.model(name, kernel=kernel, attention_dropout=dropout).encoder.train(),
            zoo.random_ids(sum(lengths)),
            lengths,
        )
        for kernel in ("auto", "sdpa")
    )
    assert all(torch.equal(*pair) for pair in zip(auto, sdpa, strict=True))


@pytest.mark.parametrize(
    ("is_training", "has_autocast", "expected"),
    [(True, False, (FP32, 0.1)), (True, True, (BF16, 0.1)), (False, True, (BF16, 0.0))],
)
def test_the_choice_is_by_the_dtype_of_the_queries_and_the_dropout_of_the_mode(
    is_training: bool,
    has_autocast: bool,
    expected: tuple[torch.dtype, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def record(_layout: Layout, *, dtype: torch.dtype, dropout: float, width: int) -> KernelName:
        seen.append((dtype, dropout, width))
        return "sdpa"

    monkeypatch.setattr("dnalm.models.kernels.choose", record)
    encoder = zoo.encoder("bert", attention_dropout=0.1).train(is_training)
    with torch.autocast("cpu", dtype=BF16, enabled=has_autocast):
        encoder(zoo.random_ids(5), Packed.from_lengths([5]))
    assert seen == [(*expected, 8)]


def test_torch_takes_a_causal_window_where_the_varlen_kernel_gives_one() -> None:
    """2.10 has `is_causal` in its place, so that pyproject.toml asks for 2.11."""
    assert inspect.signature(varlen_attn).parameters["window_size"].default == (-1, -1)
