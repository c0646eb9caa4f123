"""A run from its start to its last step, as one of its processes sees it.

One process validates everything first. It then trains by itself, or starts a process for each device and
watches them. Under torchrun and srun, which start all processes at once, the first of them validates and
the others are told where to begin.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Generic

import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger

from dnalm.console import stderr
from dnalm.data import BatchPlan
from dnalm.errors import CheckpointError
from dnalm.models import has_weights
from dnalm.training.beginning import Beginning, Data, Module, Work, diverged, lower_rate
from dnalm.training.checkpointing import Checkpointing, SaveTimes
from dnalm.training.checkpoints import CheckpointFolder, SavePolicy
from dnalm.training.contract import Contract
from dnalm.training.crash import dump_stacks_on_request, explained, report_crash
from dnalm.training.gather import whole_weights
from dnalm.training.guard import LossHistory, RolledBack, RunStopped, StepGuard
from dnalm.training.heartbeat import Heartbeat, RunFolder
from dnalm.training.metrics_file import MetricsFile
from dnalm.training.processes import decided_by_first, join, part
from dnalm.training.progress import ProgressBar
from dnalm.training.ranks import LAUNCHED, Ranks, launched_by_us
from dnalm.training.resume import Start, read_start
from dnalm.training.run_directory import RunDirectory, RunLock
from dnalm.training.step_training import StepTraining
from dnalm.training.throughput import Throughput
from dnalm.training.trainer import TrainerRecipe

_SHORTER = {  # what shortens a run, by command
    "pretrain": "size=tiny or size=small is a smaller model; steps=3000 is a shorter run",
    "finetune": "tuning=probe trains a head alone; epochs=1 or steps=300 is a shorter run",
}


class Session(Generic[Data, Module]):
    """One process's part of a run.

    Args:
        run: the run directory.
        recipe: how the run is computed.
        batch: the batch arithmetic.
        guard: what the ranks decide together.
        work: what the run does.
    """

    def __init__(
        self,
        run: RunDirectory,
        recipe: TrainerRecipe,
        batch: BatchPlan,
        guard: StepGuard,
        work: Work[Data, Module],
    ) -> None:
        self.run, self.recipe, self.batch, self.guard, self.work = run, recipe, batch, guard, work
        self.launches = recipe.ranks() is None
        self.ranks = recipe.ranks() or Ranks()
        self.throughput = Throughput()
        self.start, self.contract = Start(), Contract()
        self.folder = CheckpointFolder(
            run.checkpoints,
            keep_last=recipe.keep_checkpoints,
            keep_best=recipe.keep_best,
            keep_every=recipe.keep_every,
            best_metric=work.best_metric,
            best_mode=work.best_mode,
        )
        self._run_folder: RunFolder | None = None  # once the run has begun
        self._trained: Module | None = None
        self._made: Module | None = None  # for the first fit, by the process that has validated it

    @contextmanager
    def opened(self) -> Iterator[Data | None]:
        """Begin or go on; yields the data, or None where this process has nothing to train.

        Raises:
            ConfigError, DataError, CheckpointError: the run cannot begin; no other process has been started.
            RankFailed: a process failed.
            NumericsError: NUM-02, the run has come to its end and has diverged.
        """
        try:
            yield from self._begun_together() if self.ranks.world_size > 1 else self._begun_alone()
            if self._trained is not None and self._trained.losses.has_diverged:
                raise diverged(self.run, self._trained.losses.summary(), self.work.config)
        except RunStopped as stopped:
            self._say(f"{stopped}. The same command continues from there.")
            sys.exit(stopped.exit_code)
        except Exception as error:
            if not self.run.undone and (lost := self._folder_fault()):
                if launched_by_us():
                    os._exit(lost.exit_code)
                raise lost from error
            if self.launches or not self.run.begun:
                raise
            reason = explained(error, self.run.ranks, self.ranks.rank)
            crash = report_crash(self.run.ranks, self.ranks.rank, reason)
            if launched_by_us():
                os._exit(crash.exit_code)  # at once: the others wait, and `launch` tells the reason
            if reason is error:
                raise
            raise reason from error

    def fit(self, data: Data, *, introduce: Callable[[Module], None]) -> Module:
        """Train to the last step and validate it.

        Args:
            data: what it trains on.
            introduce: says what trains, on the first process.
        """
        metrics = MetricsFile(self.run.metrics, self._run_folder)
        further = [self.work.logger(save_dir=self.run.path)] if self.work.logger else []
        module = self._made or self.work.make_module(data)
        if self.ranks.first:
            introduce(module)
            if not has_weights(self.run.model):
                self._write_model(module, data, weights=None)
        while True:
            module.losses = LossHistory(**self.start.state.get("losses", {}))
            metrics.go_on_after(self.start.step)
            fitter = self._trainer([metrics, *further])
            try:
                with self.guard.listening():
                    fitter.fit(module, datamodule=data, ckpt_path=self.start.checkpoint)
                    if module.validated_at != fitter.global_step:
                        fitter.validate(module, datamodule=data, verbose=False)
            except RolledBack as back:
                self._go_back(back.step)
                module = self.work.make_module(data)
            else:
                self.fitter, self._trained = fitter, module
                return module

    def leave_model(self, module: Module, data: Data) -> None:
        """Write the model directory, on the first process; called on every one."""
        if lost := self._folder_fault():
            raise lost
        weights = whole_weights(module.model)
        heads = {name: whole_weights(head) for name, head in module.named_heads().items()}
        if self.ranks.first:
            self._write_model(module, data, weights=weights, heads=heads)

    @property
    def retry(self) -> str | None:
        """What to try next where the run has diverged; None where it has not."""
        if self._trained is None or not self._trained.losses.has_diverged:
            return None
        return f"the same, but {lower_rate(self.work.config)} {self.run.another}"

    def _folder_fault(self) -> CheckpointError | None:
        """What has become of the run directory, if it is not where it was when the run began."""
        return self._run_folder.fault() if self._run_folder else None

    def _begun_alone(self) -> Iterator[Data | None]:
        beginning = Beginning(self.run, self.recipe, self.work, self.folder)
        data, module = beginning.validated()
        with RunLock(self.run.path) as lock, self.run.undone_if_refused(lock):
            start = beginning.begin(data)
            if beginning.is_complete(start):
                beginning.check_divergence()
                yield None
            elif self.launches:
                del module  # each process makes its own
                beginning.launch(start, lock)
                yield None
            else:
                self._made = module
                self._begin_at(start, data)
                yield data

    def _begun_together(self) -> Iterator[Data]:
        dump_stacks_on_request(self.run.ranks, self.ranks.rank)
        join(self.ranks, self.recipe.cluster, device=self.recipe.device, timeout_s=self.recipe.timeout_s)
        if launched_by_us():
            path = os.environ[LAUNCHED]
        else:
            beginning = Beginning(self.run, self.recipe, self.work, self.folder)
            path = decided_by_first(beginning.begin_for_others, self.ranks)
        data = self.work.lay_out()
        self._begin_at(read_start(path), data)
        try:
            yield data
        except RunStopped:
            part()
            raise
        part()

    def _begin_at(self, start: Start, data: Data) -> None:
        self.start, self.contract = start, self.work.contract(data)
        self._run_folder = RunFolder(self.run.path)
        self.guard.left_out = list(start.state.get("left_out", ()))
        self.throughput.load(start.state.get("throughput", {}))

    def _go_back(self, step: int) -> None:
        """Start from the last checkpoint, and leave a step out."""
        newest, _ = self.folder.newest_good()
        self.start = read_start(str(newest.path) if newest else "")
        self.guard.left_out = sorted({*self.guard.left_out, step})
        self.throughput.load(self.start.state.get("throughput", {}))
        self._say(f"step {step:,} is not finite: back to step {self.start.step:,}, and on without it")
        if dist.is_initialized():
            dist.barrier()

    def _trainer(self, loggers: list[Logger]) -> Trainer:
        recipe, steps = self.recipe, self.work.steps
        assert self._run_folder is not None, "the run has begun"
        times = SaveTimes(recipe.checkpoint_every, recipe.validate_every, steps)
        return recipe.make(
            batch=self.batch,
            steps=steps,
            loggers=loggers,
            callbacks=[
                self.throughput,
                ProgressBar(self.throughput, place=recipe.place, advice=_SHORTER[self.work.command]),
                Heartbeat(self._run_folder, self.ranks.rank, stall_s=recipe.stall_s),
                *recipe.callbacks,  # before the run may stop
                Checkpointing(self.folder, times, self.guard, self._describe, SavePolicy(), self._run_folder),
            ],
            root=self.run.path,
            guard=self.guard,
            resumed_step=self.start.step,
        )

    def _describe(self, trainer: Trainer) -> Mapping[str, Any]:
        """What a checkpoint says beside its tensors, in plain values; figures of its own step alone."""
        module = trainer.lightning_module
        assert isinstance(module, StepTraining), "a session trains nothing else"
        is_validated = module.validated_at == trainer.global_step
        figures = {n: float(v) for n, v in trainer.callback_metrics.items() if is_validated}
        return {
            "samples": trainer.global_step * self.batch.global_size,
            "contract": self.contract,
            "left_out": self.guard.left_out,
            "throughput": self.throughput.counts(),
            "losses": asdict(module.losses),
            "metrics": {n: v for n, v in figures.items() if n.startswith("val_") and math.isfinite(v)},
        }

    def _write_model(
        self,
        module: Module,
        data: Data,
        *,
        weights: Mapping[str, Any] | None,
        heads: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Write the model directory; without weights, which lie in checkpoints so far, what describes it."""
        self.work.write_model(
            self.run.model,
            module,
            data,
            weights=weights,
            heads=heads or {},
            steps=self.start.step if weights is None else self.fitter.global_step,
        )

    def _say(self, sentence: str) -> None:
        if self.ranks.first:
            stderr.print(sentence)
