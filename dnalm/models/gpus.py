"""What GPUs give: arithmetic and memory that their makers list, and the rate measured on this machine.

Nothing reaches the listed rate, and of the listed memory a few percent are not there for programs. The
measured rate is that of one large product, which counts the clock of this very machine, its power limit and
its neighbours.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

_GIB = 2**30
_CUDA_SIZE, _CPU_SIZE, _REPEATS = 8192, 1024, 3


@dataclass(frozen=True)
class Gpu:
    """A kind of GPU, by its maker's data sheet.

    Attributes:
        name: a word or two of what `torch.cuda.get_device_name` says.
        peak: dense bfloat16 FLOP/s with float32 sums, without sparsity.
        gibibytes: of memory; of kinds that are sold with less or more, the more.
    """

    name: str
    peak: float
    gibibytes: float

    @property
    def memory(self) -> int:
        """Bytes of memory."""
        return round(self.gibibytes * _GIB)


# A device's name may hold several of these names: the first is its own.
GPUS = (
    Gpu("B200", 2250e12, 180),
    Gpu("H100 PCIe", 756e12, 80),
    Gpu("H100", 989.4e12, 80),
    Gpu("H200", 989.4e12, 139),  # of the 141 GB of its sheet, which are no GiB
    Gpu("GH200", 989.4e12, 96),
    Gpu("A100", 312e12, 80),
    Gpu("A800", 312e12, 80),
    Gpu("L40S", 362e12, 48),
    Gpu("L40", 181e12, 48),
    Gpu("A40", 149.7e12, 48),
    Gpu("A10", 125e12, 24),
    Gpu("L4", 121e12, 24),
    Gpu("4090", 165.2e12, 24),
    Gpu("3090", 71e12, 24),
)


def find_gpu(name: str) -> Gpu | None:
    """The kind of a device, in either case; None of one that is not in the table.

    Args:
        name: as `torch.cuda.get_device_name` says it, such as `NVIDIA H100 80GB HBM3`, or one of the table.
    """
    words = f" {name.replace('-', ' ').lower()} "
    return next((gpu for gpu in GPUS if f" {gpu.name.lower()} " in words), None)


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
