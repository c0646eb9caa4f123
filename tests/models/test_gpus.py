"""Listed figures are found by names that drivers give and people type; the measured rate is a product's."""

from __future__ import annotations

import time

import pytest
import torch

from dnalm.models.gpus import GPUS, Gpu, find_gpu, matrix_rate


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989.4e12),
        ("NVIDIA GH200 480GB", 989.4e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A10", 125e12),
        ("NVIDIA GeForce RTX 4090", 165.2e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40", 181e12),
        ("NVIDIA L40S", 362e12),
        ("Tesla V100-SXM2-16GB", None),  # has no bfloat16
        ("cpu", None),
    ],
)
def test_a_device_is_known_by_its_name(name: str, peak: float | None) -> None:
    found = find_gpu(name)
    assert (found.peak if found else None) == peak


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_a_name_of_the_table_finds_its_own_row_in_either_case(gpu: Gpu) -> None:
    assert find_gpu(gpu.name.lower()) == gpu


def test_the_rate_is_that_of_the_fastest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that says 4, 2 and 8 ms: 2 x 1024^3 operations in 2 ms."""
    ticks = iter([0, 4, 10, 12, 20, 28])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks) / 1000)
    assert matrix_rate(torch.device("cpu"), torch.float32) == pytest.approx(2 * 1024**3 / 0.002)
