"""Three real steps and a save, how fast they are, and how long all of the run will take at that speed.

The run is made anew in a temporary folder, as one process with its share of the global batch. Where steps of
the whole share would take long, as those of a published recipe do on a CPU, they have fewer samples; how
many, the operations of a step and the measured rate of this machine say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

import torch

from dnalm.console import progress_bar
from dnalm.data import BatchPlan
from dnalm.durable import size_text
from dnalm.evaluation.doctor import machine
from dnalm.evaluation.doctor.examination import Finding, Untried, passed, there, warned
from dnalm.evaluation.doctor.subject import Size, Speed, Subject
from dnalm.models.flops import count_flops
from dnalm.models.gpus import matrix_rate
from dnalm.models.memory import PackSize
from dnalm.training.run import Run
from dnalm.training.step import StepTraining

STEPS, TOO_LARGE = 3, "the memory is too small"
LONGEST_S = 10.0  # that a step of the trial may take, by estimate
_REACHED = 0.4  # of the rate of one large product
_WAITING = 0.3  # share of the time that a GPU may wait for batches
_DAYS = 14.0  # beyond which a forecast is a warning


def steps(subject: Subject[Any], data: Any) -> Iterator[Finding]:  # noqa: ANN401 -- the trial's
    """Take the first steps and save them.

    Args:
        subject: whose trial was made.
        data: which that has prepared.

    Raises:
        NumericsError: a loss is not finite.
    """
    trial = there(subject.trial, "the run was not made")
    if subject.obstacle:
        raise Untried(subject.obstacle)
    _built(trial, data)
    whole = trial.batch.global_size
    trial.batch = data.batch = _affordable(trial)
    taken = trial.batch.global_size
    with progress_bar(f"Taking {STEPS} steps ({taken:,} of {whole:,} samples)", total=STEPS) as advance:
        seen = trial.rehearse(data, steps=STEPS, after_step=lambda: advance(1))
    taken_s, update_s = fmean(seen.seconds[1:]), fmean(seen.updates[1:])  # the first one warms up
    step_s = (taken_s - update_s) * whole / taken + update_s
    subject.speed = Speed(step_s=step_s, save_s=seen.save_s)
    some = "" if taken == whole else f" of {taken:,} of {whole:,} samples"
    alone = "" if subject.trainer.world_size == 1 else f", by one of {subject.trainer.world_size} processes"
    speed = shown_number(whole / step_s)
    yield passed(
        f"{STEPS} steps{some}{alone}: first loss {seen.losses[0]:.4g}, {speed} samples/s, at most "
        f"{size_text(seen.peak_memory)} of memory; a checkpoint of {size_text(seen.saved_bytes)} in "
        f"{seen.save_s:.1f} s"
    )
    if subject.trainer.device == "cuda" and seen.data_wait > _WAITING:
        yield warned(
            f"the GPU waits for batches {seen.data_wait:.0%} of the time",
            fix="raise batch.num_workers, or store tokens ahead: dnalm prepare tokens=true",
        )


def build_and_weigh(subject: Subject[Any], data: Any) -> Iterator[Finding]:  # noqa: ANN401 -- the trial's
    """Build what trains, and hold the memory of a step against that of the device."""
    trial = there(subject.trial, "the run was not made")
    available = machine.free_memory()
    module = _built(trial, data)
    weights = [(each.numel(), each.requires_grad) for each in module.model.parameters()]
    subject.size = Size(
        parameters=sum(number for number, _ in weights),
        trained=sum(number for number, is_trained in weights if is_trained),
    )
    text = f"{subject.size.parameters:,} parameters, of which {subject.size.trained:,} train"
    if trial.capacity is None:
        yield passed(f"{text}; the encoder keeps no activations")
        return
    found = machine.weigh(
        trial.capacity.needed,
        available if trial.capacity.available is None else trial.capacity.available,
        f"{text}, and {trial.capacity.pack.tokens:,} tokens a pass need {{}} of {{}} of memory",
        fix="lower batch.micro_size, or train less of the model (finetune: tuning=lora or probe)",
    )
    yield subject.hindered_by(found, TOO_LARGE)


def _built(trial: Run[Any, Any], data: Any) -> StepTraining:  # noqa: ANN401
    """What trains, built once."""
    if not hasattr(trial, "module"):
        trial.module = trial.build(data)
    module: StepTraining = trial.module
    return module


def hours(subject: Subject[Any]) -> Iterator[Finding]:
    """All steps and saves at the speed of the trial."""
    trial = there(subject.trial, "the run was not made")
    speed = there(subject.speed, "no step was taken")
    trainer, number = subject.trainer, trial.num_steps
    total = number * speed.step_s + number // trainer.checkpoint_every * speed.save_s
    text = f"about {_duration(total)} for {number:,} steps of {_duration(speed.step_s)}, without validation"
    if trainer.world_size > 1:
        text += f", if {trainer.world_size} processes lose nothing to each other"
    if total > _DAYS * 86_400:
        yield warned(text, fix=f"{trial.shorter}; dnalm plan says what GPUs would take")
    else:
        yield passed(text)


def _affordable(trial: Run[Any, Any]) -> BatchPlan:
    """The batch of the trial's steps, on one process: the run's, or as much of it as a step has time for."""
    batch = trial.batch
    passes, most = batch.accumulation(1), batch.most
    if trial.capacity is None:  # the encoder does not train, and what its forward passes take is not counted
        fewer, micro = 1.0, most
    else:
        pass_s = _seconds(trial, trial.capacity.pack)
        if passes * pass_s <= LONGEST_S:
            return batch
        fewer, micro = LONGEST_S / pass_s, most
    if fewer < 1:
        micro = max(1, int(most * fewer))
    passes = max(1, min(passes, int(fewer)))
    return BatchPlan(global_size=passes * micro, micro_size=micro, num_workers=batch.num_workers)


def _seconds(trial: Run[Any, Any], pack: PackSize) -> float:
    """Of a forward and a backward pass, estimated."""
    device = torch.device(trial.trainer.device)
    is_narrow = trial.trainer.arithmetic != "32-true"
    rate = matrix_rate(device, torch.bfloat16 if is_narrow else torch.float32)
    predicted = pack.tokens if pack.predicted is None else pack.predicted
    flops = count_flops(trial.module.model.encoder, tokens=pack.tokens, pairs=pack.pairs, predicted=predicted)
    return flops.training / (rate * _REACHED)


_UNITS: Mapping[str, float] = {"days": 86_400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0}


def _duration(seconds: float) -> str:
    """A time in the largest unit of which there are two or more, such as `90 minutes`."""
    unit = next((unit for unit, size in _UNITS.items() if seconds >= 2 * size), "seconds")
    return f"{shown_number(seconds / _UNITS[unit])} {unit}"


def shown_number(value: float) -> str:
    """A number in three digits or more, such as `0.0123`, `1.23` or `12,345`."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
