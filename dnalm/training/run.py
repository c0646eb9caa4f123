"""A run in one place: prepare, build, choose the start, fit, leave the model directory, finish.

`Run.train` is what each of a run's processes does. One of them validates everything before the run directory
is touched: paths, batch arithmetic, genomes and windows, the model, the checkpoint to start from. It then
trains by itself, or starts a process for each device and waits for them (`launch`). Under torchrun and srun,
which start all processes at once, the first one validates and tells the others where to start.

Where a run starts is never guessed. `resume=auto` continues from the newest valid checkpoint of the run
directory and fails if there are checkpoints and none is valid; `never` refuses a folder that holds a run; a
path starts the run from the checkpoint there.

The contract is a flat mapping of names to plain values, kept in every checkpoint: whatever decides which
samples a run sees. How many processes, loader workers and micro-batches share the work is not in it.
"""

from __future__ import annotations

import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast

import torch.distributed as dist
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.optim import Optimizer

from dnalm.console import stderr, stdout
from dnalm.data import BatchPlan
from dnalm.data.batch import PackPlan
from dnalm.errors import CheckpointError, ConfigError, NumericsError
from dnalm.grants import program
from dnalm.limits import Seed
from dnalm.models import EncoderConfig, has_weights
from dnalm.training.callbacks import (
    MetricsFile,
    ProgressBar,
    StepClock,
    Throughput,
    peak_memory_bytes,
)
from dnalm.training.capacity import Capacity, PackOf, decide, fit_tokens
from dnalm.training.checkpoint import CheckpointFolder, SavePolicy, choose, open_checkpoint
from dnalm.training.checkpointing import Checkpointing, SaveTimes
from dnalm.training.distributed import (
    LAUNCHED,
    Ranks,
    decided_by_first,
    join,
    launched_by_us,
    leave_process_group,
    set_gpu_environment,
)
from dnalm.training.launcher import (
    Heartbeat,
    RunFolder,
    dump_stacks_on_request,
    launch,
    report_crash,
    translate_worker_error,
)
from dnalm.training.loggers import RunLogger, Sink, sink_of
from dnalm.training.optim import Schedule, branch_step, check_branch
from dnalm.training.run_directory import RunDirectory, RunLock
from dnalm.training.step import StepTraining
from dnalm.training.stop_flags import LossHistory, RolledBack, RunStopped
from dnalm.training.trainer import TrainerRecipe, quiet_frameworks

Contract = dict[str, str | int | float | bool | None]
Data = TypeVar("Data", bound=LightningDataModule)
Module = TypeVar("Module", bound=StepTraining)


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where a run starts.

    Attributes:
        step: optimizer steps that are done.
        checkpoint: the folder to restore; None to start from step 0.
        state: what the checkpoint holds beside its tensors.
        rejected: newer checkpoints that are not valid, and why.
    """

    step: int = 0
    checkpoint: Path | None = None
    state: Mapping[str, Any] = field(default_factory=dict)
    rejected: Collection[str] = ()

    def describe(self, run: Path) -> str:
        """What is printed of it, with a line for each rejected checkpoint."""
        if self.checkpoint is None:
            return f"starting {run} from step 0"
        inside = self.checkpoint.is_relative_to(run)
        source = self.checkpoint.relative_to(run) if inside else self.checkpoint
        done = f"after step {self.step:,} ({self.state['samples']:,} samples)"
        return "\n  rejected ".join([f"continuing {run} {done}, from {source}", *self.rejected])


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """The first steps of a run, and a save.

    Attributes:
        losses: of each step, nats a target or the task's loss.
        seconds: of each step.
        updates: seconds of these that the optimizer took.
        data_wait: share of them in which batches were waited for.
        save_s: seconds of the save.
        saved_bytes: of the checkpoint.
        peak_memory: bytes that this process held at most.
    """

    losses: Sequence[float]
    seconds: Sequence[float]
    updates: Sequence[float]
    data_wait: float
    save_s: float
    saved_bytes: int
    peak_memory: int


@dataclass(kw_only=True, eq=False)
class Run(ABC, Generic[Data, Module]):
    """One process's part of a run. Subclasses fill in what is trained on what, and what is left at the end.

    Args:
        run: the run directory.
        trainer: how the run is computed, by how many processes.
        batch: the batch arithmetic.
        optim: makes the optimizer from parameter groups.
        schedule: makes the factor of the learning rate by step.
        config: the composed config.
        logger: makes a further logger beside `metrics.csv`.
        seed: of everything random.
        resume: `auto` continues a run that lies in the run directory, `never` refuses to; a path starts the
            run from the checkpoint there.
        resume_allow: what may have changed since the checkpoint, of what decides which samples are seen:
            fields of the contract, or prefixes of them, such as `masking`.

    Attributes:
        num_steps: optimizer steps in all.
        began: `time.perf_counter()` when the command started.
        ranks: the place of this process among those of the run.
        stop_flags: what all ranks decide together.
        throughput: counts tokens and seconds.
        checkpoints: the run's.
        start: where it has started.
        module: what trains.
        fitter: Lightning's trainer of the last fit.
        capacity: what the largest pack takes of the device's memory; None where the encoder is not trained.
        losses: `LossHistory.summary` of the run that has come to its end; empty before.

    Raises:
        ConfigError: the batch or the devices cannot be; see `TrainerRecipe.check`.
    """

    command: ClassVar[str]  # starts the processes of the run
    shorter: ClassVar[str]  # how a run is made shorter, said where it will take hours

    run: RunDirectory
    trainer: TrainerRecipe
    batch: BatchPlan
    optim: Callable[..., Optimizer]
    schedule: Callable[..., Schedule]
    config: dict[str, object]
    logger: Callable[..., Logger] | None = None
    seed: Seed = 1
    resume: str = "auto"
    resume_allow: tuple[str, ...] = ()
    num_steps: int = field(init=False)

    def __post_init__(self) -> None:
        self.began = time.perf_counter()
        self.trainer.check(self.batch)
        started = self.trainer.ranks()
        self.launches, self.ranks = started is None, started or Ranks()
        self.stop_flags, self.throughput, self.start = self.trainer.stop_flags(), Throughput(), Start()
        metric, mode = self.criterion()
        self.checkpoints = CheckpointFolder(
            self.run.checkpoints,
            keep_last=self.trainer.keep_checkpoints,
            keep_best=self.trainer.keep_best,
            keep_every=self.trainer.keep_every,
            best_metric=metric,
            best_mode=mode,
        )
        self.module: Module
        self.fitter: Trainer
        self.capacity: Capacity | None = None
        self.losses: Mapping[str, object] = {}
        self._contract: Contract = {}
        self._folder: RunFolder | None = None  # once the run has started

    @abstractmethod
    def prepare(self) -> Data:
        """The data, laid out; called on every process.

        Raises:
            ConfigError, DataError, CheckpointError: they cannot be.
        """

    @abstractmethod
    def build(self, data: Data) -> Module:
        """What trains, as it is before the first step; the same on every process and at every call."""

    @abstractmethod
    def contract(self, data: Data) -> Contract:
        """What must not change between the save of a run and its resume."""

    @abstractmethod
    def introduce(self, data: Data, module: Module) -> None:
        """Print what trains on what; called on the first process."""

    @abstractmethod
    def write_model(
        self,
        data: Data,
        module: Module,
        *,
        weights: Mapping[str, Tensor] | None,
        heads: Mapping[str, Mapping[str, Tensor]],
        steps: int,
    ) -> None:
        """Write the model directory; called on the first process.

        Args:
            data: what it trains on.
            module: what trains, which may hold but shards of its weights.
            weights: all of the network; None before the end, when only what describes it is written.
            heads: weights of what lies beside the network, by name.
            steps: optimizer steps it was trained for.
        """

    @abstractmethod
    def finish(self, data: Data, module: Module) -> None:
        """Write the summary and print how good the model is; called on every process."""

    def criterion(self) -> tuple[str, Literal["min", "max"]]:
        """The figure of a validation by which checkpoints are compared, and what is best of it."""
        return "val_bits_per_base", "min"

    def callbacks(self) -> list[Callback]:
        """Lightning callbacks beside the run's own."""
        return [*self.trainer.callbacks]

    def select_weights(self, data: Data, module: Module) -> None:
        """Load the weights that are to be left, on every process; by default those of the last step stay."""

    def fit_memory(self, encoder: EncoderConfig, pack_of: PackOf) -> TrainerRecipe:
        """Decide how many samples a pass takes, if `batch` counts tokens, and whether activations are kept.

        The latter is set in the recipe that is returned. A process that only starts the others leaves to
        them what depends on their GPUs.

        Args:
            encoder: what is trained.
            pack_of: the largest pack of so many samples.

        Raises:
            ConfigError: CFG-18, a sample has more than `batch.micro_tokens`.
        """
        if self.batch.micro_tokens is not None:
            self.batch = fit_tokens(self.trainer, encoder, pack_of, self.batch, decides=not self.launches)
        if self.launches:
            return self.trainer
        passes, pack = self.batch.accumulation(self.ranks.world_size), pack_of(self.batch.most)
        self.capacity = decide(self.trainer, encoder, pack, passes=passes)
        return replace(self.trainer, activation_checkpointing=self.capacity.recomputes)

    def train(self) -> None:
        """Train to the last step, and leave the run directory; called on every process of the run.

        Raises:
            ConfigError, DataError, CheckpointError: the run cannot start; no other process has been started.
            RankFailed: a process failed.
            NumericsError: NUM-02, the run has come to its end and has diverged.
            SystemExit: a signal has stopped the run, with 130 or 143.
        """
        quiet_frameworks()
        if self.trainer.device == "cuda":
            set_gpu_environment(self.run.ranks)  # which the processes that are started inherit
        try:
            exit_code = self._train_with_others() if self.ranks.world_size > 1 else self._train_alone()
            if self.losses.get("diverged"):
                raise self._diverged()
        except RunStopped as stopped:
            self._print_first(f"{stopped}. The same command continues from there.")
            exit_code = stopped.exit_code
        except Exception as error:
            reason, reported = self._report(error)
            if reported is not None and launched_by_us():
                os._exit(reported)  # at once, for the other ranks wait; the launcher prints the reason
            if reason is error:
                raise
            raise reason from error
        if exit_code:
            raise SystemExit(exit_code)

    def rehearse(self, data: Data, *, steps: int, after_step: Callable[[], None] = lambda: None) -> Rehearsal:
        """Take the first steps of `module` in this process, and save the last in the run directory.

        What the config adds, its callbacks and its logger, is left out, and nothing is validated.

        Args:
            data: what `module` was built for.
            steps: how many.
            after_step: called after each.

        Raises:
            NumericsError, CheckpointError: as of `train`.
            SystemExit: a signal has stopped it, with 130 or 143.
        """
        quiet_frameworks()
        self.run.path.mkdir(parents=True, exist_ok=True)
        self._contract, folder = self.contract(data), RunFolder(self.run.path)
        clock, times = StepClock(after_step), SaveTimes(steps, steps + 1, steps + 1)
        saving = Checkpointing(self.checkpoints, times, self.stop_flags, self._describe, SavePolicy(), folder)
        self.fitter = self.trainer.make(
            batch=self.batch,
            steps=steps,
            loggers=[],
            callbacks=[self.throughput, clock, saving],
            root=self.run.path,
            stop_flags=self.stop_flags,
        )
        self.fitter.limit_val_batches = 0
        try:
            with self.stop_flags.install_signal_handlers():
                self.fitter.fit(self.module, datamodule=data)
        except RunStopped as stopped:
            raise SystemExit(stopped.exit_code) from stopped
        saved = [path for path in self.run.checkpoints.rglob("*") if path.is_file()]
        return Rehearsal(
            losses=self.module.losses.last,
            seconds=clock.seconds,
            updates=clock.updates,
            data_wait=self.throughput.data_wait,
            save_s=saving.save_s,
            saved_bytes=sum(path.stat().st_size for path in saved),
            peak_memory=peak_memory_bytes(self.trainer.device),
        )

    def _train_alone(self) -> int:
        """Validate, then train here or start a process for each device; the exit code."""
        self._claim()
        data = self.prepare()
        self.module = self.build(data)
        with RunLock(self.run.path) as lock, self.run.undone_if_refused(lock):
            start = self._choose_start(data)
            if self._is_complete(start):
                self.losses = self.run.read_summary() or {}
                return 0
            if self.launches:
                del self.module  # each process builds its own
                return launch(
                    [*program(self.command), "--config", str(self.run.path / "config.yaml")],
                    num_ranks=self.trainer.world_size,
                    folder=self.run.ranks,
                    start=start.checkpoint,
                    held=(lock.descriptor,),
                )
            self._train_from(start, data)
        return 0

    def _train_with_others(self) -> int:
        """Join the other processes, start where the first of them says, and train; the exit code."""
        dump_stacks_on_request(self.run.ranks, self.ranks.rank)
        recipe = self.trainer
        join(self.ranks, recipe.cluster, device=recipe.device, timeout_s=recipe.longest_wait_s)
        if launched_by_us():
            path = os.environ[LAUNCHED]
        else:
            path = decided_by_first(self._choose_start_for_all, self.ranks)
        data = self.prepare()
        self.module = self.build(data)
        try:
            self._train_from(_read_start(path), data)
        except RunStopped:
            leave_process_group()
            raise
        leave_process_group()
        return 0

    def _choose_start_for_all(self) -> str:
        """Validate a run whose processes something else has started; the checkpoint to start from, or "".

        The run directory stays locked for as long as this process lives.
        """
        self._claim()
        data = self.prepare()
        self.build(data)
        lock = RunLock(self.run.path).__enter__()
        try:
            with self.run.undone_if_refused(lock):
                return str(self._choose_start(data).checkpoint or "")
        except BaseException:
            lock.__exit__()
            raise

    def _claim(self) -> None:
        """Refuse a folder that holds something else, and a logger that cannot be; nothing is changed."""
        if sink := self._sink():
            sink.check()
        self.run.claim(self.config, resumable=self.resume != "never")

    def _choose_start(self, data: Data) -> Start:
        """Choose where to start, make the run directory, whose lock is held, and print both.

        Raises:
            ConfigError: CFG-23, the checkpoint is in the run that run.replace moves away; CFG-26, it is
                beyond the last step; CKPT-10, the contract differs.
            CheckpointError: no checkpoint that is there is valid.
        """
        self._claim()  # again, for another process may have come first
        is_new = self.run.replace or not self.run.begun
        if not is_new:
            self.checkpoints.remove_leftovers()
        start, path = self._find_start(data, is_new=is_new), self.run.path
        if self.run.replace and start.checkpoint and start.checkpoint.is_relative_to(path):
            raise ConfigError(
                "CFG-23",
                where="resume",
                found=f"{start.checkpoint}, in the run that run.replace=true moves away",
                expected="a checkpoint of another run",
                fix=f"leave run.replace out, or choose another {self.run.key}",
            )
        if not is_new and self._is_complete(start):
            sentence = (
                f"run {path} is complete: {self.num_steps:,} steps. Extend it by a larger steps=…, or start "
                f"it anew by run.replace=true or under another {self.run.key}"
            )
        else:
            self.run.create(self.config)
            sentence = start.describe(path)
        others = "; trainer=ddp computes on all of them" if self.trainer.leaves_gpus else ""
        stdout.print(f"computing on {self.trainer.place}{others}")
        stdout.print(sentence)
        return start

    def _find_start(self, data: Data, *, is_new: bool) -> Start:
        rejected: list[str] = []
        if self.resume == "never" or (self.resume == "auto" and is_new):
            return Start()
        if self.resume == "auto":
            found, rejections = choose(self.checkpoints)
            rejected = [str(rejection) for rejection in rejections]
        else:
            found = open_checkpoint(Path(self.resume))
        if found is None:
            return Start()
        check_contract(found.state["contract"], self.contract(data), self.resume_allow, where=str(found.path))
        if found.step > self.num_steps:
            raise ConfigError(
                "CFG-26",
                where="steps",
                found=f"{self.num_steps}, and {found.path} is of step {found.step}",
                expected="at least the steps that are done",
                fix=f"raise steps, or start a new run under another {self.run.key}",
            )
        schedule = self.schedule(total_steps=self.num_steps)
        check_branch(schedule, step=found.step, state=found.state, where=found.path)
        return Start(step=found.step, checkpoint=found.path, state=found.state, rejected=rejected)

    def _is_complete(self, start: Start) -> bool:
        """Whether nothing is left to do."""
        summary = self.run.read_summary()
        if summary is None or self.resume != "auto":
            return False
        asked = summary.get("steps")
        return asked == self.num_steps and start.step == summary.get("steps_done", asked)

    def _train_from(self, start: Start, data: Data) -> None:
        """Fit, leave the model directory, finish."""
        self.start, self._contract = start, self.contract(data)
        self._folder = RunFolder(self.run.path)
        self.stop_flags.left_out = list(start.state.get("left_out", ()))
        self.throughput.load(start.state.get("throughput", {}))
        self.checkpoints.keep_step = branch_step(self.module.plan.schedule)
        if self.ranks.first:
            self.introduce(data, self.module)
            if isinstance(self.batch, PackPlan):
                stdout.print(self.batch.describe(self.ranks.world_size))
            if self.capacity and (sentence := self.capacity.sentence()):
                stdout.print(sentence)
            if not has_weights(self.run.model):
                self.write_model(data, self.module, weights=None, heads={}, steps=start.step)
        metrics = MetricsFile(self.run.metrics, self._folder)
        with self._logging() as logger:
            self._fit(data, metrics, logger)
            self.losses = self.module.losses.summary()
            self.select_weights(data, self.module)
            self._leave_model(data)
            self.finish(data, self.module)
            if logger is not None:
                pictures = sorted(self.run.path.glob("*.png"))
                logger.log_results(self.run.read_summary() or {}, pictures, self.fitter.global_step - 1)

    @contextmanager
    def _logging(self) -> Iterator[RunLogger | None]:
        """The logger beside `metrics.csv`, open in the block, on the first process."""
        sink = self._sink() if self.ranks.first else None
        if sink is None:
            yield None
            return
        with RunLogger(sink, self.run.metrics).opened(
            self.config, self.criterion()[0], step=self.start.step, is_new=not self.run.metrics.exists()
        ) as logger:
            yield logger

    def _sink(self) -> Sink | None:
        if self.logger is None:
            return None
        given = self.config.get("logger")
        offline = isinstance(given, Mapping) and bool(given.get("offline"))
        return sink_of(self.logger, self.run.path, offline=offline)

    def _fit(self, data: Data, metrics: MetricsFile, logger: RunLogger | None) -> None:
        """Train to the last step and validate it, rolling back over steps that are left out."""
        while True:
            self.module.losses = LossHistory(**self.start.state.get("losses", {}))
            metrics.drop_rows_after(self.start.step)
            self.fitter = self._make_fitter([metrics, *([logger] if logger else [])])
            try:
                with self.stop_flags.install_signal_handlers():
                    self.fitter.fit(self.module, datamodule=data, ckpt_path=self.start.checkpoint)
                    if self.module.validated_at != self.fitter.global_step:
                        self.fitter.validate(self.module, datamodule=data, verbose=False)
                return
            except RolledBack as back:
                self._roll_back(back.step)
                if logger is not None:
                    logger.rewind(self.start.step)
                self.module = self.build(data)

    def _roll_back(self, step: int) -> None:
        """Start from the last checkpoint, and leave a step out."""
        newest, _ = self.checkpoints.newest_good()
        self.start = _read_start(str(newest.path) if newest else "")
        self.stop_flags.left_out = sorted({*self.stop_flags.left_out, step})
        self.throughput.load(self.start.state.get("throughput", {}))
        self._print_first(f"step {step:,} is not finite: back to step {self.start.step:,}, and on without it")
        if dist.is_initialized():
            dist.barrier()

    def _make_fitter(self, loggers: list[Logger]) -> Trainer:
        recipe = self.trainer
        assert self._folder is not None, "the run has started"
        times = SaveTimes(
            recipe.checkpoint_every, recipe.validate_every, self.num_steps, self.checkpoints.keep_step
        )
        return recipe.make(
            batch=self.batch,
            steps=self.num_steps,
            loggers=loggers,
            callbacks=[
                self.throughput,
                ProgressBar(
                    self.throughput,
                    figure=self.criterion()[0],
                    place=recipe.place,
                    advice=self.shorter,
                ),
                Heartbeat(self._folder, self.ranks.rank, stall_s=recipe.stall_s),
                *self.callbacks(),  # before the run may stop
                Checkpointing(
                    self.checkpoints, times, self.stop_flags, self._describe, SavePolicy(), self._folder
                ),
            ],
            root=self.run.path,
            stop_flags=self.stop_flags,
            resumed_step=self.start.step,
        )

    def _describe(self, fitter: Trainer) -> Mapping[str, Any]:
        """What a checkpoint holds beside its tensors, in plain values; figures of its own step alone."""
        module = fitter.lightning_module
        assert isinstance(module, StepTraining), "a run trains nothing else"
        is_validated = module.validated_at == fitter.global_step
        figures = {n: float(v) for n, v in fitter.callback_metrics.items() if is_validated}
        return {
            "samples": fitter.global_step * self.batch.global_size,
            "contract": self._contract,
            "rate_factor": module.plan.schedule(fitter.global_step - 1),
            "left_out": self.stop_flags.left_out,
            "throughput": self.throughput.counts(),
            "losses": asdict(module.losses),
            "metrics": {n: v for n, v in figures.items() if n.startswith("val_") and math.isfinite(v)},
        }

    def _leave_model(self, data: Data) -> None:
        if lost := self._folder_fault():
            raise lost
        weights = _whole_weights(self.module.model)
        heads = {name: _whole_weights(head) for name, head in self.module.named_heads().items()}
        if self.ranks.first:
            self.write_model(data, self.module, weights=weights, heads=heads, steps=self.fitter.global_step)

    @property
    def retry(self) -> str | None:
        """What to try next where the run has diverged; None where it has not."""
        if not self.losses.get("diverged"):
            return None
        return f"the same, but {self._lower_rate()} {self.run.another}"

    def _diverged(self) -> NumericsError:
        return NumericsError(
            "NUM-02",
            where=str(self.run.path),
            found=f"the run diverged: its training loss began at {self.losses['first_train_loss']:.4g} and "
            f"ended at {self.losses['end_train_loss']:.4g}",
            expected="a loss that ends below its start",
            fix=f"try {self._lower_rate()} {self.run.another}, or a longer schedule.warmup_steps",
        )

    def _lower_rate(self) -> str:
        """A tenth of the learning rate, as a word of the command line."""
        optim = self.config.get("optim")
        rate = optim.get("lr") if isinstance(optim, Mapping) else None
        return f"optim.lr={rate / 10:g}" if isinstance(rate, int | float) else "optim.lr ten times lower"

    def _report(self, error: Exception) -> tuple[Exception, int | None]:
        """The error a user can act on, and the exit code if this rank has reported it to the launcher."""
        if not self.run.undone and (lost := self._folder_fault()):
            return lost, lost.exit_code
        if self.launches or not self.run.begun:
            return error, None
        reason = translate_worker_error(error, self.run.ranks, self.ranks.rank)
        return reason, report_crash(self.run.ranks, self.ranks.rank, reason).exit_code

    def _folder_fault(self) -> CheckpointError | None:
        """What has become of the run directory, if it is not where it was when the run started."""
        return self._folder.fault() if self._folder else None

    def _print_first(self, sentence: str) -> None:
        if self.ranks.first:
            stderr.print(sentence)


def _read_start(path: str) -> Start:
    """The start that another process has chosen and verified, by its path."""
    if not path:
        return Start()
    found = open_checkpoint(Path(path), verify=False)
    return Start(step=found.step, checkpoint=found.path, state=found.state)


def _whole_weights(module: nn.Module) -> dict[str, Tensor]:
    """All weights on the CPU, by name, on the first rank; others have none. Called on every rank."""
    whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return cast(dict[str, Tensor], get_model_state_dict(module, options=whole))


def check_contract(saved: Mapping[str, Any], now: Contract, allowed: Collection[str], *, where: str) -> None:
    """Refuse to continue with other samples.

    Args:
        saved: the contract in the checkpoint.
        now: that of the run.
        allowed: fields that may differ, or what they begin with, such as `masking`.
        where: the checkpoint.

    Raises:
        ConfigError: CKPT-10, a field differs; all that do are named.
    """

    def may_differ(name: str) -> bool:
        return any(name == entry or name.startswith(f"{entry}.") for entry in allowed)

    changed = [
        f"{name} was {saved.get(name, 'absent')}, now {now.get(name, 'absent')}"
        for name in sorted(saved.keys() | now.keys())
        if saved.get(name, "absent") != now.get(name, "absent") and not may_differ(name)
    ]
    if changed:
        raise ConfigError(
            "CKPT-10",
            where=where,
            found="; ".join(changed),
            expected="the settings that the run was begun with, since they decide what it sees",
            fix="set them back, start a new run under another run.name, or allow the change by "
            f"resume_allow=[{changed[0].split()[0]}]",
        )
