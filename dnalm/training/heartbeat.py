"""Signs of life of each rank, in the run directory: which step it is at, and where it hangs if it does.

`ranks/<rank>.json` is rewritten at every step, a few microseconds' work; whoever ends the run reads there
what a rank was at. A rank that completes no step for longer than allowed writes the stacks of all its
threads to `ranks/<rank>.stacks` and ends with exit code 6; so do the others, which wait for it.

The run directory itself is looked at too: where it is deleted, moved or unmounted while the run trains, every
rank ends within seconds, for nothing of what it does could be kept.
"""

from __future__ import annotations

import faulthandler
import json
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from dnalm.console import stderr
from dnalm.data import Batch
from dnalm.errors import CheckpointError, DistributedError
from dnalm.training.crash import last_sign, report_crash
from dnalm.training.ranks import launched_by_us

_LOOKS = 2  # a second apart, for a network's file system may fail once

_WIDTH = 160  # bytes of a line, so that a shorter one covers a longer one


class RunFolder:
    """The run directory as it was at the start, held open, so that no other can be taken for it.

    Args:
        path: of the folder, which is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def is_replaced(self) -> bool:
        """Whether another folder lies at the path, into which nothing may be written.

        Raises:
            OSError: nothing lies there, or the file system does not answer.
        """
        return not os.path.samestat(self.path.stat(), os.fstat(self._descriptor))

    def fault(self) -> CheckpointError | None:
        """CKPT-15, what is at the path is not the folder; None if it is."""
        try:
            if not self.is_replaced():
                return None
            found = "another folder lies there now"
        except OSError as error:
            found = f"it was deleted, moved or unmounted ({error.strerror})"
        return CheckpointError(
            "CKPT-15",
            where=str(self.path),
            found=f"{found} while the run trained into it",
            expected="a run directory that stays where it is until the run has ended",
            fix="move it back and run the same command again, which continues from its last checkpoint; or "
            "begin anew under another run.name",
        )


class Heartbeat(Callback):
    """Keep the signs of life of this rank.

    Args:
        run: the run directory, which holds `ranks/`.
        rank: this process.
        stall_s: longest time without a step; validation and saving count as steps.
    """

    def __init__(self, run: RunFolder, rank: int, *, stall_s: float) -> None:
        self.run, self.folder = run, run.path / "ranks"
        self.rank, self.stall_s = rank, stall_s
        self._beat = time.monotonic()
        self._over = threading.Event()
        self._file: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Begin to watch."""
        self.folder.mkdir(exist_ok=True)
        self._file = os.open(self.folder / f"{self.rank}.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self._beat = time.monotonic()
        threading.Thread(target=self._watch, name="heartbeat", daemon=True).start()

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        batch: Batch,
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Say what is under way."""
        self._beat = time.monotonic()
        if self._file is not None:
            said = {"step": trainer.global_step, "samples": [batch.samples[0], batch.samples[-1]]}
            with suppress(OSError):  # a full disk must not cost the run
                os.pwrite(self._file, json.dumps(said).ljust(_WIDTH).encode(), 0)

    def on_validation_batch_start(self, *_: object) -> None:
        """It lives."""
        self._beat = time.monotonic()

    def on_validation_end(self, *_: object) -> None:
        """It lives."""
        self._beat = time.monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Stop watching."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """Stop watching."""
        self._close()

    def _close(self) -> None:
        self._over.set()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _watch(self) -> None:
        lost = 0
        while not self._over.wait(min(1.0, self.stall_s / 4)):
            fault = self.run.fault()
            lost = lost + 1 if fault else 0
            if fault and lost == _LOOKS:
                if not launched_by_us():  # else the process that started this one says it
                    stderr.print(f"dnalm: {fault}")
                stderr.show_cursor()
                os._exit(fault.exit_code)
            if time.monotonic() - self._beat > self.stall_s:
                path = self.folder / f"{self.rank}.stacks"
                with path.open("w") as file:
                    faulthandler.dump_traceback(file, all_threads=True)
                error = stalled(self.rank, self.stall_s, last_sign(self.folder, self.rank), path)
                report_crash(self.folder, self.rank, error)
                stderr.print(f"dnalm: {error}")
                os._exit(error.exit_code)


def stalled(rank: int, stall_s: float, at: str, stacks: Path) -> DistributedError:
    """A rank makes no progress."""
    return DistributedError(
        "DIST-04",
        where=f"rank {rank}, {at}",
        found=f"no progress for {stall_s:g} s; the stacks of all threads are in {stacks}",
        expected="a step, or a batch of validation",
        fix="see where the ranks wait; raise trainer.stall_s if steps truly take that long",
    )
