"""How much of a machine's arithmetic a run uses: model FLOPs utilisation (MFU), against two ceilings.

The listed peak is what the maker says of dense bfloat16 products; nothing reaches it. The measured rate is
that of one large product on this very machine, which counts its clock, its power limit and its neighbours.
"""

from __future__ import annotations

import time

import torch

# Dense bfloat16 FLOP/s with float32 sums, without sparsity; makers' data sheets. The first of these names
# that is among the words of the device's own counts.
DENSE_PEAKS: dict[str, float] = {
    "B200": 2250e12,
    "H100 PCIe": 756e12,
    "H100": 989.4e12,
    "H200": 989.4e12,
    "GH200": 989.4e12,
    "A100": 312e12,
    "A800": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "A40": 149.7e12,
    "A10": 125e12,
    "L4": 121e12,
    "4090": 165.2e12,
    "3090": 71e12,
}
_CUDA_SIZE, _CPU_SIZE, _REPEATS = 8192, 1024, 3


def dense_peak(device_name: str) -> float | None:
    """Listed dense bfloat16 FLOP/s of a device by its name; None of one that is not in the table.

    Args:
        device_name: as `torch.cuda.get_device_name` says it, such as `NVIDIA H100 80GB HBM3`.
    """
    words = f" {device_name.replace('-', ' ')} "
    return next((peak for name, peak in DENSE_PEAKS.items() if f" {name} " in words), None)


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the fastest of three large square products, measured now.

    Args:
        device: 8192 wide on a GPU, 1024 on a CPU.
        dtype: of the matrices.
    """
    size = _CUDA_SIZE if device.type == "cuda" else _CPU_SIZE
    left, right = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    product, fastest = left @ right, float("inf")
    for _ in range(_REPEATS):
        _wait(device)
        began = time.perf_counter()
        torch.mm(left, right, out=product)
        _wait(device)
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * size**3 / fastest


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
