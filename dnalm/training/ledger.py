"""A line for each micro-batch of each rank: which samples, which masks, which loss, to the last bit.

Two runs of one config have the same lines, whatever killed one of them between; `ledger-<rank>.jsonl` in
the run directory is the evidence. It is an observation and never read by a run.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import IO, Any

from lightning.pytorch import Callback, LightningModule, Trainer

from dnalm.data import Batch


class Ledger(Callback):
    """Write the ledger: `trainer.callbacks=[{_target_: dnalm.training.Ledger}]`.

    Each line has `step` (optimizer step under way), `rank`, `world`, `samples`, `mask` (CRC-32 of what the
    model sees and of what it is to predict), `loss` (of the micro-batch, hexadecimal) and `rate` (learning
    rate, hexadecimal).
    """

    def __init__(self) -> None:
        self._file: IO[str] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Go on with the file; later lines of a step replace earlier ones."""
        path = Path(trainer.default_root_dir) / f"ledger-{trainer.global_rank}.jsonl"
        self._file = path.open("a")
        self._step = trainer.global_step

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        batch: Batch,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Remember the step, which the batch may complete."""
        self._step = trainer.global_step
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ANN401 -- Lightning's signature
        batch: Batch,
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Write the line of a micro-batch."""
        assert self._file is not None, "on_train_start opens it"
        line = {
            "step": self._step,
            "rank": trainer.global_rank,
            "world": trainer.world_size,
            "samples": list(batch.samples),
            "mask": zlib.crc32(
                b"".join(t.cpu().numpy().tobytes() for t in (batch.ids_N, batch.targets_M, batch.labels_M))
            ),
            "loss": (float(outputs["loss"]) * trainer.accumulate_grad_batches).hex(),
            "rate": float(self._rate).hex(),
        }
        print(json.dumps(line), file=self._file, flush=True)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
