"""A run from its start to its last step, as one of its processes sees it.

One process validates everything first. It then trains by itself, or starts a process for each device and
watches them. Under torchrun and srun, which start all processes at once, the first of them validates and
the others are told where to begin.

How a run begins: everything is validated before any of its processes trains, and by one of them.

Paths, the batch arithmetic, the genomes and their windows, the model, and the checkpoint to go on from:
what is wrong with one of these is said before the run directory is touched.

Where a run begins: anew, or after the newest checkpoint that can be trusted.

`resume=auto` goes on with what lies in the run directory, `never` refuses to, and a path begins a run with
the checkpoint there. It is never guessed: if checkpoints are there and none is good, the run ends.

What must not change between the save of a run and its resume: whatever decides which samples it sees.

The contract is a flat mapping of names to plain values, kept in every checkpoint. How many processes, loader
workers and micro-batches share the work is not in it.

What all ranks hold of a trained run, brought to the first of them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch.distributed as dist
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from dnalm.console import stderr, stdout
from dnalm.data import BatchPlan
from dnalm.data.module import GenomeData
from dnalm.data.targets import AbsentTrack
from dnalm.errors import CheckpointError, ConfigError, NumericsError
from dnalm.grants import program
from dnalm.models import has_weights
from dnalm.training.callbacks import MetricsFile, ProgressBar, Throughput
from dnalm.training.checkpoint import CheckpointFolder, SavePolicy, choose
from dnalm.training.checkpoint_files import Checkpoint, open_checkpoint
from dnalm.training.checkpointing import Checkpointing, SaveTimes
from dnalm.training.distributed import LAUNCHED, Ranks, decided_by_first, join, launched_by_us, part
from dnalm.training.launcher import (
    Heartbeat,
    RunFolder,
    dump_stacks_on_request,
    explained,
    launch,
    report_crash,
)
from dnalm.training.pretraining import HiddenBits
from dnalm.training.run_directory import RunDirectory, RunLock
from dnalm.training.step import StepTraining
from dnalm.training.stop_flags import LossHistory, RolledBack, RunStopped, StopFlags
from dnalm.training.trainer import TrainerRecipe

Contract = dict[str, str | int | float | bool | None]


def contract_of(data: GenomeData) -> Contract:
    """The contract of a run whose genomes are divided and laid out."""
    contract: Contract = {"seed": data.seed, "batch.global_size": data.batch.global_size}
    contract["tokenizer"] = data.tokenizer.fingerprint
    for name, settings in (("windows", data.windows), ("masking", data.masking)):
        for entry in dataclasses.fields(settings):
            contract[f"{name}.{entry.name}"] = getattr(settings, entry.name)
    for opened, genome in zip(data.opened, data.genomes, strict=True):
        trained = hashlib.sha256(genome.train.tobytes()).hexdigest()[:16]
        contract[f"data.{genome.name}"] = genome.store.fingerprint
        contract[f"data.{genome.name}.split"] = trained
        contract[f"data.{genome.name}.weight"] = opened.weight
        for track, store in genome.tracks.items():
            known = None if isinstance(store, AbsentTrack) else store.fingerprint
            contract[f"data.{genome.name}.tracks.{track}"] = known
    return contract


def check_contract(saved: Mapping[str, Any], now: Contract, allowed: Collection[str], *, where: str) -> None:
    """Refuse to go on with other samples.

    Args:
        saved: the contract in the checkpoint.
        now: that of the run.
        allowed: fields that may differ, or what they begin with, such as `masking`.
        where: the checkpoint.

    Raises:
        ConfigError: CKPT-10, a field differs; all that do are named.
    """
    changed = [
        f"{name} was {saved.get(name, 'absent')}, now {now.get(name, 'absent')}"
        for name in sorted(saved.keys() | now.keys())
        if saved.get(name, "absent") != now.get(name, "absent") and not _allowed(name, allowed)
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


def _allowed(name: str, allowed: Collection[str]) -> bool:
    return any(name == field or name.startswith(f"{field}.") for field in allowed)


@dataclass(frozen=True)
class Start:
    """Where a run begins.

    Attributes:
        step: optimizer steps that are done.
        checkpoint: the folder to restore; None to begin anew.
        state: what the checkpoint says beside its tensors.
        sentence: what is told of it.
    """

    step: int = 0
    checkpoint: Path | None = None
    state: Mapping[str, Any] = field(default_factory=dict)
    sentence: str = "starts anew: step 0"


def find_start(
    run: RunDirectory,
    folder: CheckpointFolder,
    resume: str,
    *,
    steps: int,
    contract: Contract,
    allowed: Collection[str],
) -> Start:
    """Choose the checkpoint to start from.

    Args:
        run: the run directory.
        folder: its checkpoints.
        resume: `auto`, `never`, or the path of a checkpoint.
        steps: of the whole run.
        contract: what the run would see.
        allowed: fields of it that may have changed.

    Raises:
        ConfigError: CKPT-10, the contract differs; CFG-26, the checkpoint is beyond the last step.
        CheckpointError: no checkpoint that is there can be trusted.
    """
    rejected: list[str] = []
    if resume == "never":
        return Start()
    if resume == "auto":
        found, rejections = choose(folder)
        rejected = [str(rejection) for rejection in rejections]
    else:
        found = open_checkpoint(Path(resume))
    if found is None:
        return Start()
    check_contract(found.state["contract"], contract, allowed, where=str(found.path))
    if found.step > steps:
        raise ConfigError(
            "CFG-26",
            where="steps",
            found=f"{steps}, and {found.path} is of step {found.step}",
            expected="at least the steps that are done",
            fix=f"raise steps, or start a new run under another {run.key}",
        )
    return Start(found.step, found.path, found.state, _sentence(run, found, rejected))


def read_start(path: str) -> Start:
    """The start that another process has chosen and verified, by its path."""
    if not path:
        return Start()
    found = open_checkpoint(Path(path), verify=False)
    return Start(found.step, found.path, found.state)


def _sentence(run: RunDirectory, found: Checkpoint, rejected: list[str]) -> str:
    path = found.path.relative_to(run.path) if found.path.is_relative_to(run.path) else found.path
    said = f"goes on after step {found.step:,} ({found.state['samples']:,} samples), from {path}"
    return "\n".join([said, *(f"  rejected {rejection}" for rejection in rejected)])


Data = TypeVar("Data", bound=LightningDataModule)
Module = TypeVar("Module", bound=StepTraining)
Given = TypeVar("Given", contravariant=True)
Trained = TypeVar("Trained", contravariant=True)


class WriteModel(Protocol[Trained, Given]):
    """Writes a model directory."""

    def __call__(
        self,
        folder: Path,
        module: Trained,
        data: Given,
        *,
        weights: Mapping[str, Tensor] | None,
        heads: Mapping[str, Mapping[str, Tensor]],
        steps: int,
    ) -> None:
        """Write it.

        Args:
            folder: where.
            module: what trains, which may hold but shards of its weights.
            data: what it trains on.
            weights: all of the network; None while they lie in checkpoints, and what describes it is written.
            heads: weights of what lies beside the network, by name.
            steps: optimizer steps it was trained for.
        """


def diverged(run: RunDirectory, summary: Mapping[str, object], config: Mapping[str, object]) -> NumericsError:
    """NUM-02, of a run that has come to its end.

    Args:
        run: the run directory.
        summary: its figures, with those of `LossHistory.summary`.
        config: of the run.
    """
    return NumericsError(
        "NUM-02",
        where=str(run.path),
        found=f"the run diverged: its training loss began at {summary['first_train_loss']:.4g} and ended at "
        f"{summary['end_train_loss']:.4g}",
        expected="a loss that ends below its start",
        fix=f"try {lower_rate(config)} {run.another}, or a longer schedule.warmup_steps",
    )


def lower_rate(config: Mapping[str, object]) -> str:
    """A tenth of the learning rate of a config, as a word of the command line."""
    optim = config.get("optim")
    rate = optim.get("lr") if isinstance(optim, Mapping) else None
    return f"optim.lr={rate / 10:g}" if isinstance(rate, int | float) else "optim.lr ten times lower"


@dataclass(frozen=True, kw_only=True)
class Work(Generic[Data, Module]):
    """What a run does, whoever does it.

    Attributes:
        command: the command that its processes are started with.
        config: the composed config.
        steps: optimizer steps.
        lay_out: prepares the data and lays them out.
        make_module: makes the training module as it is before the first step.
        contract: what must not change when the run goes on.
        write_model: writes the model directory.
        logger: makes a further logger beside `metrics.csv`.
        resume: where it begins; see `resume`.
        allowed: fields of the contract that may have changed.
        best_metric: the figure of a validation by which checkpoints are compared.
        best_mode: whether the lowest or the highest is best.
    """

    command: str
    config: dict[str, object]
    steps: int
    lay_out: Callable[[], Data]
    make_module: Callable[[Data], Module]
    contract: Callable[[Data], Contract]
    write_model: WriteModel[Module, Data]
    logger: Callable[..., Logger] | None
    resume: str
    allowed: Collection[str]
    best_metric: str = "val_bits_per_base"
    best_mode: Literal["min", "max"] = "min"


@dataclass(frozen=True)
class Beginning(Generic[Data, Module]):
    """The first process's part of a run, before it trains or lets others train.

    Attributes:
        run: the run directory.
        recipe: how the run is computed.
        work: what it does.
        folder: its checkpoints.
    """

    run: RunDirectory
    recipe: TrainerRecipe
    work: Work[Data, Module]
    folder: CheckpointFolder

    def validated(self) -> tuple[Data, Module]:
        """The data laid out and the module as it is before the first step; nothing is written for the run.

        Raises:
            ConfigError, DataError: the run cannot begin.
        """
        self.run.claim(self.work.config, resumable=self.work.resume != "never")
        data = self.work.lay_out()
        return data, self.work.make_module(data)

    def begin(self, data: Data) -> Start:
        """Choose where to begin, and make the run directory, whose lock is held; say both.

        Raises:
            ConfigError, CheckpointError: there is no such place.
        """
        self.run.claim(self.work.config, resumable=self.work.resume != "never")  # another may have come first
        is_new, resume = self.run.replace or not self.run.begun, self.work.resume
        if not is_new:
            self.folder.remove_leftovers()
        start = find_start(
            self.run,
            self.folder,
            "never" if is_new and resume == "auto" else resume,
            steps=self.work.steps,
            contract=self.work.contract(data),
            allowed=self.work.allowed,
        )
        if self.run.replace and start.checkpoint and start.checkpoint.is_relative_to(self.run.path):
            raise _resumes_what_moves(start.checkpoint, self.run.key)
        if not is_new and self.is_complete(start):
            sentence = (
                f"is complete: {self.work.steps:,} steps. Extend it by a larger steps=…, or start it anew by "
                f"run.replace=true or under another {self.run.key}"
            )
        else:
            self.run.create(self.work.config)
            sentence = start.sentence
        stdout.print(f"computing on {self.recipe.place}")
        stdout.print(f"run {self.run.path} {sentence}")
        return start

    def is_complete(self, start: Start) -> bool:
        """Whether nothing is left to do."""
        summary = self.run.read_summary()
        if summary is None or self.work.resume != "auto":
            return False
        asked = summary.get("steps")
        return asked == self.work.steps and start.step == summary.get("steps_done", asked)

    def check_divergence(self) -> None:
        """Of a run that is complete: its end stays what it was.

        Raises:
            NumericsError: NUM-02.
        """
        summary = self.run.read_summary() or {}
        if summary.get("diverged"):
            raise diverged(self.run, summary, self.work.config)

    def begin_for_others(self) -> str:
        """Begin a run whose processes something else has started; the checkpoint to start from, or nothing.

        The run directory is locked for as long as this process lives.
        """
        data, _ = self.validated()
        lock = RunLock(self.run.path).__enter__()
        try:
            with self.run.undone_if_refused(lock):
                return str(self.begin(data).checkpoint or "")
        except BaseException:
            lock.__exit__()
            raise

    def launch(self, start: Start, lock: RunLock) -> None:
        """Start the processes, and end with their exit code if they were told to stop.

        Raises:
            RankFailed: one has failed.
        """
        words = [*program(self.work.command), "--config", str(self.run.path / "config.yaml")]
        world = self.recipe.world_size
        held, first = (lock.descriptor,), start.checkpoint
        if code := launch(words, num_ranks=world, folder=self.run.ranks, start=first, held=held):
            sys.exit(code)


def _resumes_what_moves(checkpoint: Path, key: str) -> ConfigError:
    return ConfigError(
        "CFG-23",
        where="resume",
        found=f"{checkpoint}, in the run that run.replace=true moves away",
        expected="a checkpoint of another run",
        fix=f"leave run.replace out, or choose another {key}",
    )


_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def whole_weights(module: nn.Module) -> dict[str, Tensor]:
    """All weights on the CPU, by name, on the first rank; others have none. Called on every rank."""
    return cast(dict[str, Tensor], get_model_state_dict(module, options=_WHOLE))


def all_hidden(hidden: HiddenBits) -> HiddenBits:
    """The hidden bases of every rank on the first, in the order of their windows, whoever judged them.

    On other ranks, what they have themselves. Called on every rank.
    """
    mine = [np.concatenate(part) if part else np.zeros(0) for part in vars(hidden).values()]
    parts: list[Any] = [mine]
    if dist.is_initialized() and dist.get_world_size() > 1:
        first = dist.get_rank() == 0
        parts = [None] * dist.get_world_size()
        dist.gather_object(mine, parts if first else None)
        if not first:
            return hidden
    positions, windows, bits = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order: npt.NDArray[np.int64] = np.argsort(windows, kind="stable")
    return HiddenBits([positions[order]], [windows[order]], [bits[order]])


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
        stop_flags: what the ranks decide together.
        work: what the run does.
    """

    def __init__(
        self,
        run: RunDirectory,
        recipe: TrainerRecipe,
        batch: BatchPlan,
        stop_flags: StopFlags,
        work: Work[Data, Module],
    ) -> None:
        self.run, self.recipe, self.batch, self.stop_flags, self.work = run, recipe, batch, stop_flags, work
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
                with self.stop_flags.install_signal_handlers():
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
        self.stop_flags.left_out = list(start.state.get("left_out", ()))
        self.throughput.load(start.state.get("throughput", {}))

    def _go_back(self, step: int) -> None:
        """Start from the last checkpoint, and leave a step out."""
        newest, _ = self.folder.newest_good()
        self.start = read_start(str(newest.path) if newest else "")
        self.stop_flags.left_out = sorted({*self.stop_flags.left_out, step})
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
                Checkpointing(
                    self.folder, times, self.stop_flags, self._describe, SavePolicy(), self._run_folder
                ),
            ],
            root=self.run.path,
            stop_flags=self.stop_flags,
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
            "left_out": self.stop_flags.left_out,
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
