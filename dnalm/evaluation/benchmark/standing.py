"""How models stand on the tasks of a benchmark: means, intervals, ranks, and tests between models.

All of it is a pure function of what jobs have left. Resampling is seeded by the names of task and models, so
neither the order in which jobs end nor a restart changes a digit.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from dnalm.evaluation.benchmark.outcomes import Outcome, by_cell
from dnalm.evaluation.benchmark.task_list import ListedTask
from dnalm.evaluation.resampling import (
    Interval,
    Metric,
    bootstrap_interval,
    holm,
    mean_ranks,
    metric_of,
    permutation_test,
    seed_interval,
)

LEVEL = 0.05


@dataclass(frozen=True)
class Cell:
    """A model on a task.

    Attributes:
        values: of the metric, by seed.
        interval: of their mean: over seeds, or of one seed over the test items.
        seconds: of a job, the mean.
        peak_memory: bytes, the largest.
        parameters: of the model.
        provenance: of the job of the first seed, by name.
    """

    values: Mapping[int, float]
    interval: Interval
    seconds: float
    peak_memory: float
    parameters: float
    provenance: Mapping[str, str]

    @property
    def mean(self) -> float:
        """Over seeds."""
        return fmean(self.values.values())


@dataclass(frozen=True)
class Pair:
    """Two models on the tasks that both have.

    Attributes:
        first: a model.
        second: another.
        difference: of the first's mean over these tasks from the second's.
        probabilities: by task, of a difference as large by chance, corrected for all tests of the table.
        better: tasks on which the first is better and the difference is not put down to chance.
        worse: likewise.
    """

    first: str
    second: str
    difference: float
    probabilities: Mapping[str, float]
    better: int
    worse: int


@dataclass(frozen=True)
class Standing:
    """A benchmark so far.

    Attributes:
        tasks: those that were asked for.
        models: likewise.
        cells: by task and model, as far as jobs are done.
        whole: tasks that all models have done, over which ranks and averages go.
        averages: by model, of the metric over those tasks.
        ranks: by model, the mean of its ranks, 1 the best.
        pairs: of models.
    """

    tasks: Sequence[ListedTask]
    models: Sequence[str]
    cells: Mapping[tuple[str, str], Cell]
    whole: Sequence[str]
    averages: Mapping[str, float]
    ranks: Mapping[str, float]
    pairs: Sequence[Pair]

    def best(self, task: str) -> float:
        """The best mean on a task; NaN while there is none."""
        means = [cell.mean for (name, _), cell in self.cells.items() if name == task]
        return max((mean for mean in means if np.isfinite(mean)), default=np.nan)


@dataclass
class Judge:
    """Computes standings; what it has resampled it remembers.

    Args:
        tasks: of the benchmark.
        models: in the order of the table.
    """

    tasks: Sequence[ListedTask]
    models: Sequence[str]
    _known: dict[tuple[object, ...], object] = field(default_factory=dict)

    def standing(self, outcomes: Sequence[Outcome]) -> Standing:
        """The standing after these jobs."""
        grouped = by_cell(outcomes)
        cells = {
            (task.name, model): self._cell(task, grouped[task.name, model])
            for task in self.tasks
            for model in self.models
            if (task.name, model) in grouped
        }
        whole = [
            task.name for task in self.tasks if all((task.name, model) in cells for model in self.models)
        ]
        table = [[cells[name, model].mean for model in self.models] for name in whole]
        return Standing(
            tasks=self.tasks,
            models=self.models,
            cells=cells,
            whole=whole,
            averages=dict(zip(self.models, np.mean(table, axis=0).tolist(), strict=True)) if whole else {},
            ranks=dict(zip(self.models, mean_ranks(table), strict=True)) if whole else {},
            pairs=self._pairs(grouped),
        )

    def _cell(self, task: ListedTask, outcomes: Sequence[Outcome]) -> Cell:
        return Cell(
            values={each.seed: each.value for each in outcomes},
            interval=self._interval(task, outcomes),
            seconds=fmean(each.seconds for each in outcomes),
            peak_memory=max(each.peak_memory for each in outcomes),
            parameters=outcomes[0].parameters,
            provenance=outcomes[0].provenance,
        )

    def _interval(self, task: ListedTask, outcomes: Sequence[Outcome]) -> Interval:
        if len(outcomes) > 1:
            low = -1.0 if task.metric == "mcc" else 0.0
            return seed_interval([each.value for each in outcomes], low=low, high=1.0)
        (only,) = outcomes
        key = ("interval", task.name, only.model, only.seed)
        if key not in self._known:
            rng = _random(*map(str, key))
            self._known[key] = bootstrap_interval(_metric(task), only.labels, only.scores, rng)
        found = self._known[key]
        assert isinstance(found, Interval), "an interval is remembered by this key"
        return found

    def _pairs(self, grouped: Mapping[tuple[str, str], Sequence[Outcome]]) -> list[Pair]:
        """All pairs of models that have a task in common; one correction for all tests of the table."""
        raw: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
        for first, second in itertools.combinations(self.models, 2):
            for task in self.tasks:
                one, other = grouped.get((task.name, first)), grouped.get((task.name, second))
                if one and other:
                    gap = fmean(each.value for each in one) - fmean(each.value for each in other)
                    probability = self._probability(task, one, other)
                    raw.setdefault((first, second), {})[task.name] = gap, probability
        corrected = iter(holm([p for of_tasks in raw.values() for _, p in of_tasks.values()]))
        pairs = []
        for (first, second), of_tasks in raw.items():
            probabilities = {task: next(corrected) for task in of_tasks}
            gaps = {task: gap for task, (gap, _) in of_tasks.items()}
            sure = [gaps[task] for task, probability in probabilities.items() if probability < LEVEL]
            pairs.append(
                Pair(
                    first=first,
                    second=second,
                    difference=fmean(gaps.values()),
                    probabilities=probabilities,
                    better=sum(gap > 0 for gap in sure),
                    worse=sum(gap < 0 for gap in sure),
                )
            )
        return pairs

    def _probability(self, task: ListedTask, one: Sequence[Outcome], other: Sequence[Outcome]) -> float:
        seeds = tuple(tuple(each.seed for each in side) for side in (one, other))
        key = ("pair", task.name, one[0].model, other[0].model, seeds)
        if key not in self._known:
            self._known[key] = permutation_test(
                _metric(task),
                one[0].labels,
                [each.scores for each in one],
                [each.scores for each in other],
                _random(*map(str, key)),
            )
        found = self._known[key]
        assert isinstance(found, float), "a probability is remembered by this key"
        return found


def _metric(task: ListedTask) -> Metric:
    return metric_of(task.kind, task.metric, num_outputs=task.labels)


def _random(*words: str) -> np.random.Generator:
    digest = hashlib.sha256("\0".join(words).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
