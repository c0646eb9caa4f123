"""What a model says of every row of a part, gathered from all ranks, in the order of the rows.

R rows, S sequences of a micro-batch, O outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from dnalm.training.processes import patient_group


@dataclass
class Answers:
    """Outputs of this rank, as they come."""

    rows: list[npt.NDArray[np.int64]] = field(default_factory=list)
    outputs: list[npt.NDArray[np.float32]] = field(default_factory=list)

    def append(self, rows: tuple[int, ...], outputs_SO: Tensor) -> None:
        """Keep those of a micro-batch, but for rows that only fill it."""
        numbers = np.array(rows, dtype=np.int64)
        self.rows.append(numbers[numbers >= 0])
        self.outputs.append(outputs_SO.detach().float().numpy(force=True)[numbers >= 0])

    def over_ranks(self, num_rows: int) -> Tensor:
        """The outputs of every row, a row's several averaged, (R, O) float64; the same on every rank."""
        mine: list[Any] = [np.concatenate(self.rows), np.concatenate(self.outputs)]
        parts = [mine]
        if dist.is_initialized() and dist.get_world_size() > 1:
            parts = [[] for _ in range(dist.get_world_size())]
            dist.all_gather_object(parts, mine, group=patient_group())
        rows, outputs = (np.concatenate(column) for column in zip(*parts, strict=True))
        total = np.zeros((num_rows, outputs.shape[1]))
        np.add.at(total, rows, outputs.astype(np.float64))
        counts = np.bincount(rows, minlength=num_rows)
        assert counts.all(), "every row is judged"
        return torch.from_numpy(total / counts[:, None])
