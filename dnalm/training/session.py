"""A run from its start to its last step: who starts it, where it begins, and how it ends.

One process validates everything first: paths, the batch arithmetic, the genomes and their windows, and the
checkpoint to go on from. It then trains by itself, or starts a process for each device and watches them.
Under torchrun and srun, which start all processes at once, the first of them validates and the others are
told.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger

from dnalm.console import stderr, stdout
from dnalm.data import BatchPlan, GenomeData
from dnalm.models import MaskedLM, has_weights
from dnalm.training.checkpointing import Checkpointing, SaveTimes
from dnalm.training.checkpoints import CheckpointFolder, RunLock, SavePolicy
from dnalm.training.contract import Contract, contract_of
from dnalm.training.crash import dump_stacks_on_request, report_crash
from dnalm.training.gather import whole_weights
from dnalm.training.guard import RolledBack, RunStopped
from dnalm.training.heartbeat import Heartbeat
from dnalm.training.launch import die_with_parent, launch
from dnalm.training.masked_lm import MaskedLMTraining
from dnalm.training.metrics_file import MetricsFile
from dnalm.training.model_directory import write_model_directory
from dnalm.training.processes import decided_by_first, join
from dnalm.training.progress import ProgressBar
from dnalm.training.ranks import LAUNCHED, Ranks, launched_by_us
from dnalm.training.resume import Start, find_start, read_start
from dnalm.training.run_directory import RunDirectory
from dnalm.training.throughput import Throughput
from dnalm.training.trainer import TrainerRecipe


class Session:
    """One process's part of a run.

    Args:
        run: the run directory.
        recipe: how the run is computed.
        batch: the batch arithmetic.
        steps: optimizer steps of the run.
        resume: where it begins; see `resume`.
        allowed: fields of the contract that may have changed.
    """

    def __init__(
        self,
        run: RunDirectory,
        recipe: TrainerRecipe,
        batch: BatchPlan,
        *,
        steps: int,
        resume: str,
        allowed: Collection[str],
    ) -> None:
        self.run, self.recipe, self.batch, self.steps = run, recipe, batch, steps
        self.resume, self.allowed = resume, allowed
        started = recipe.ranks()
        self.launches = started is None
        self.ranks = started or Ranks()
        self.guard, self.throughput = recipe.guard(), Throughput()
        self.start, self.contract = Start(), Contract()
        self._made: MaskedLMTraining | None = None  # for the first fit
        self.folder = CheckpointFolder(
            run.checkpoints,
            keep_last=recipe.keep_checkpoints,
            keep_best=recipe.keep_best,
            keep_every=recipe.keep_every,
        )

    @contextmanager
    def opened(
        self,
        lay_out: Callable[[], GenomeData],
        make_module: Callable[[GenomeData], MaskedLMTraining],
        command: str,
        config: dict[str, object],
    ) -> Iterator[GenomeData | None]:
        """Begin or go on; yields the genomes, or None where this process has nothing to train.

        Args:
            lay_out: prepares the genomes, divides them and lays out the windows.
            make_module: makes the training module as it is before the first step; fails if it cannot be.
            command: the command that a process of the run is started with.
            config: the composed config.

        Raises:
            ConfigError, DataError, CheckpointError: the run cannot begin; no other process has been started.
            RankFailed: a process failed.
        """
        try:
            if self.ranks.world_size > 1:
                self._join()
                begun = partial(self._begun_elsewhere, lay_out, make_module, config)
                path = os.environ[LAUNCHED] if launched_by_us() else decided_by_first(begun, self.ranks)
                data = lay_out()
                self._begin_at(read_start(path), data)
                yield data
                return
            data = self._checked(lay_out, make_module)
            with RunLock(self.run.path):
                start = self._begin(data, config)
                if self._is_complete(start):
                    yield None
                elif self.launches:
                    self._launch(command, start)
                    yield None
                else:
                    self._begin_at(start, data)
                    yield data
        except RunStopped as stopped:
            self._say(f"stopped after step {stopped.step:,}, which is saved; started again, the run goes on")
            sys.exit(stopped.exit_code)
        except Exception as error:
            if self.launches or not self.run.begun:
                raise
            crash = report_crash(self.run.ranks, self.ranks.rank, error)
            if launched_by_us():
                os._exit(crash.exit_code)  # at once: the others wait, and `launch` tells the reason
            raise

    def fit(
        self,
        make_module: Callable[[GenomeData], MaskedLMTraining],
        data: GenomeData,
        logger: Callable[..., Logger] | None,
        config: dict[str, object],
        *,
        introduce: Callable[[MaskedLM], None],
    ) -> MaskedLMTraining:
        """Train to the last step and validate it.

        Args:
            make_module: makes the training module as it is before the first step.
            data: the genomes.
            logger: makes a further logger beside `metrics.csv`.
            config: the composed config.
            introduce: says what trains, on the first process.
        """
        metrics = MetricsFile(self.run.metrics)
        loggers = [metrics, *([logger(save_dir=self.run.path)] if logger else [])]
        introduced = False
        while True:
            module, self._made = self._made or make_module(data), None
            if self.ranks.first and not introduced:
                introduce(module.model)
                if not has_weights(self.run.model):
                    self.leave_model(module, data, config, described=True)
                introduced = True
            metrics.go_on_after(self.start.step)
            fitter = self._trainer(loggers)
            try:
                with self.guard.listening():
                    fitter.fit(module, datamodule=data, ckpt_path=self.start.checkpoint)
                    if module.validated_at != fitter.global_step:
                        fitter.validate(module, datamodule=data, verbose=False)
            except RolledBack as back:
                self._go_back(back.step)
                continue
            self.fitter = fitter
            return module

    def leave_model(
        self,
        module: MaskedLMTraining,
        data: GenomeData,
        config: dict[str, object],
        *,
        described: bool = False,
    ) -> None:
        """Write the model directory, on the first process; called on every one.

        Args:
            module: what was trained, or is going to be.
            data: the genomes.
            config: the composed config.
            described: leave the weights out, which lie in checkpoints so far.
        """
        weights = None if described else whole_weights(module.model)
        heads = {} if described else {n: whole_weights(head) for n, head in module.named_heads().items()}
        if self.ranks.first:
            write_model_directory(
                self.run.model,
                model=module.model,
                weights=weights,
                tokenizer=data.tokenizer,
                config=config,
                data_fingerprint=data.fingerprint,
                precision=str(self.recipe.precision),
                steps=self.start.step if described else self.steps,
                heads=heads,
            )

    def _join(self) -> None:
        if launched_by_us():
            die_with_parent()
        dump_stacks_on_request(self.run.ranks, self.ranks.rank)
        join(self.ranks, self.recipe.cluster, device=self.recipe.device, timeout_s=self.recipe.timeout_s)

    def _checked(
        self, lay_out: Callable[[], GenomeData], make_module: Callable[[GenomeData], MaskedLMTraining]
    ) -> GenomeData:
        """Validate everything before anything is written into the run directory."""
        self.run.claim(goes_on=self.resume != "never")
        data = lay_out()
        self._made = make_module(data)
        if self.launches:
            self._made = None  # each process makes its own
        return data

    def _begun_elsewhere(
        self,
        lay_out: Callable[[], GenomeData],
        make_module: Callable[[GenomeData], MaskedLMTraining],
        config: dict[str, object],
    ) -> str:
        """What the first of processes that were started by others tells them: the checkpoint."""
        data = self._checked(lay_out, make_module)
        RunLock(self.run.path).__enter__()  # until the process ends
        return str(self._begin(data, config).checkpoint or "")

    def _begin(self, data: GenomeData, config: dict[str, object]) -> Start:
        """Choose where to begin, and make the run directory."""
        self.folder.remove_leftovers()
        start = find_start(
            self.run,
            self.folder,
            self.resume,
            steps=self.steps,
            contract=contract_of(data),
            allowed=self.allowed,
        )
        if not self._is_complete(start):
            self.run.create(config)
            self._say(f"run {self.run.path} {start.sentence}")
        return start

    def _begin_at(self, start: Start, data: GenomeData) -> None:
        self.start, self.contract = start, contract_of(data)
        self.guard.left_out = list(start.state.get("left_out", ()))
        self.throughput.load(start.state.get("throughput", {}))

    def _is_complete(self, start: Start) -> bool:
        summary = self.run.read_summary()
        if self.resume != "auto" or not summary or not start.step == self.steps == summary.get("steps"):
            return False
        self._say(
            f"run {self.run.path} is complete: {self.steps:,} steps. Extend it by a larger steps=…, or start "
            "it anew by run.replace=true or under another run.name"
        )
        return True

    def _launch(self, command: str, start: Start) -> None:
        words = [sys.executable, "-m", "dnalm", command, "--config", str(self.run.path / "config.yaml")]
        code = launch(words, num_ranks=self.recipe.world_size, folder=self.run.ranks, start=start.checkpoint)
        if code:
            sys.exit(code)

    def _trainer(self, loggers: list[Logger]) -> Trainer:
        times = SaveTimes(self.recipe.checkpoint_every, self.recipe.validate_every, self.steps)
        return self.recipe.make(
            batch=self.batch,
            steps=self.steps,
            loggers=loggers,
            callbacks=[
                self.throughput,
                ProgressBar(self.throughput),
                Heartbeat(self.run.ranks, self.ranks.rank, stall_s=self.recipe.stall_s),
                Checkpointing(self.folder, times, self.guard, self._describe, SavePolicy()),
            ],
            root=self.run.path,
            guard=self.guard,
            resumed_step=self.start.step,
        )

    def _describe(self, trainer: Trainer) -> Mapping[str, Any]:
        """What a checkpoint says beside its tensors; plain values."""
        return {
            "samples": trainer.global_step * self.batch.global_size,
            "contract": self.contract,
            "left_out": self.guard.left_out,
            "throughput": self.throughput.counts(),
            "metrics": {
                name: float(value)
                for name, value in trainer.callback_metrics.items()
                if name.startswith("val_") and math.isfinite(value)
            },
        }

    def _go_back(self, step: int) -> None:
        """Start from the last checkpoint, and leave a step out."""
        newest, _ = self.folder.newest_good()
        path = Path(newest.path) if newest else None
        self.start = read_start(str(path or ""))
        self.guard.left_out = sorted({*self.guard.left_out, step})
        self.throughput.load(self.start.state.get("throughput", {}))
        self._say(f"step {step:,} is not finite: back to step {self.start.step:,}, and on without it")
        if dist.is_initialized():
            dist.barrier()

    def _say(self, sentence: str) -> None:
        if self.ranks.first:
            (stdout if sentence.startswith("run ") else stderr).print(sentence, markup=False)
