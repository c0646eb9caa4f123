"""The size of a step and the learning rate against those of the recipe that a config follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dnalm.evaluation.doctor.examination import Finding, failed, passed, warned
from dnalm.training.optim import Schedule

NEAR, FAR = 3.0, 30.0  # times a recipe's number: what is said beyond, and a rate at which training diverges


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a recipe states.

    Attributes:
        name: the options it is composed of, as words of the command line.
        lr: the peak learning rate; None where it states none.
        of_step: what an optimizer step takes at most, of the unit that is compared.
        samples: the same in samples.
    """

    name: str
    lr: float | None
    of_step: int
    samples: int


def batch(found: int, unit: str, reference: Reference | None) -> Iterator[Finding]:
    """What an optimizer step takes, against the recipe.

    Args:
        found: of the run, over all processes.
        unit: what is counted, such as `tokens`.
        reference: the recipe; None where there is none.
    """
    if reference is None:
        yield passed(f"{found:,} {unit} a step; no recipe to compare with")
        return
    text = f"{found:,} {unit} a step; {reference.name} has {reference.of_step:,}"
    ratio = found / reference.of_step
    if 1 / NEAR <= ratio <= NEAR:
        yield passed(text)
    else:
        yield warned(
            f"{text}, {_times(ratio)}: its learning rate and number of steps are made for its own",
            fix=f"batch.global_size={reference.samples}; batch.micro_size may be what fits the memory",
        )


def rate(
    config: Mapping[str, Any],
    schedule: Callable[..., Schedule],
    num_steps: int,
    reference: Reference | None,
) -> Iterator[Finding]:
    """The peak learning rate against the recipe, and whether the schedule fits the steps.

    Args:
        config: of the run; its `optim.lr` is looked at.
        schedule: makes the factor of the rate.
        num_steps: of the run.
        reference: the recipe; None where there is none.

    Raises:
        ConfigError: CFG-18, the rise is longer than the run.
    """
    factors = schedule(total_steps=num_steps)
    lr = config["optim"].get("lr")
    if lr is None:
        yield passed("optim.lr is left to the optimizer")
        return
    top = lr * max(factors(step) for step in range(0, num_steps, max(1, num_steps // 1000)))
    text = f"{lr:g}, at most {top:.3g} in {num_steps:,} steps"
    if reference is None or reference.lr is None:
        yield passed(f"{text}; no recipe to compare with")
        return
    ratio, fix = lr / reference.lr, f"optim.lr={reference.lr:g}"
    text = f"{text}; {reference.name} has {reference.lr:g}"
    if ratio > FAR:
        yield failed(f"{text}, {_times(ratio)}: training would diverge", fix=fix)
    elif not 1 / NEAR <= ratio <= NEAR:
        yield warned(f"{text}, {_times(ratio)}", fix=fix)
    else:
        yield passed(text)


def _times(ratio: float) -> str:
    return f"{ratio:,.3g} times as much" if ratio > 1 else f"{1 / ratio:,.3g} times less"
