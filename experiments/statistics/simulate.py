"""How often tables of benchmarks say what is not so, and how often they see what is: by simulation.

Usage: python experiments/statistics/simulate.py  (writes errors.csv, power.csv and power.png beside itself)

An answer is right where a margin is positive: the model's level, plus the training run's, plus the item's,
plus the model's own for the item, plus that of run and item, all normal. Accuracy goes through `Measured`
directly, whose influences are those of a mean; the other metrics through `measure`.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.special import expit

from dnalm.evaluation.plots import WIDTH, appearance, new_figure, printed, save_figure
from dnalm.evaluation.statistics import (
    BOUNDS,
    Difference,
    Measured,
    difference,
    holm,
    measure,
    metric_of,
)

HERE = Path(__file__).parent
LEVEL = 0.05
OWN, SINGLE = 0.5, 0.5  # standard deviations of a model's and of a run's margin at an item
Margins = npt.NDArray[np.float64]
Rule = Callable[[Difference], float]


SETTINGS = [  # metric, seeds of each model, standard deviation of the level of runs
    *(("accuracy", seeds, training) for seeds in (2, 3, 5, 10) for training in (0.0, 0.05, 0.2)),
    ("accuracy", 1, 0.0),
    *((name, seeds, training) for seeds, training in ((3, 0.05), (1, 0.0)) for name in ("mcc", "auroc")),
]


@dataclass(frozen=True, kw_only=True)
class Table:
    """What is simulated.

    Attributes:
        seeds: of each model.
        training: standard deviation of the level of runs; 0.05 is 0.012 of accuracy.
        items: of each test set.
        tasks: in the table.
        gain: of the first model's level.
    """

    seeds: Sequence[int]
    training: float
    items: int
    tasks: int = 3
    gain: float = 0.0

    def margins(self, rng: np.random.Generator) -> Iterator[list[Margins]]:
        """For each task, of each model, (S, N)."""
        for _ in range(self.tasks):
            shared = rng.normal(1.0, 1.0, self.items)
            yield [
                shared
                + (self.gain if place == 0 else 0.0)
                + rng.normal(0, OWN, self.items)
                + rng.normal(0, self.training, (number, 1))
                + rng.normal(0, SINGLE, (number, self.items))
                for place, number in enumerate(self.seeds)
            ]


def by_accuracy(margins: Margins) -> Measured:
    """The share of right answers, with the influences of a mean."""
    right = (margins > 0).astype(np.float64)
    number = right.shape[1]
    apart = right - right.mean(axis=1, keepdims=True)
    return Measured(
        values=right.mean(axis=1),
        influences=apart / np.sqrt(number * (number - 1)),
        bounds=BOUNDS["accuracy"],
        num_clusters=number,
        resolution=1 / (2 * number),
        has_enough_items=True,
    )


def by_metric(name: str) -> Callable[[Margins], Measured]:
    """MCC or AUROC, a quarter of the items being of the second class."""
    metric = metric_of("binary", name, num_outputs=2)

    def judged(margins: Margins) -> Measured:
        labels = (np.arange(margins.shape[1]) % 4 == 0).astype(np.int64)
        scores = expit(np.where(labels == 1, margins, -margins))
        return measure(metric, labels, list(scores), bounds=BOUNDS[name])

    return judged


def of_items(found: Difference) -> float:
    """The p of a test that takes the networks as they are, as paired tests over test items do."""
    part = found.components[-1]
    return float(2 * stats.t.sf(abs(found.value) / np.sqrt(part.variance), part.degrees))


def by_satterthwaite(found: Difference) -> float:
    """The p by Student's t with Satterthwaite's degrees of freedom, as Welch's test has them."""
    variances = np.array([part.variance for part in found.components])
    degrees = np.array([part.degrees for part in found.components])
    total = variances.sum()
    return float(2 * stats.t.sf(abs(found.value) / np.sqrt(total), total**2 / (variances**2 / degrees).sum()))


RULES: dict[str, Rule] = {
    "dnalm": lambda found: found.p,
    "satterthwaite": by_satterthwaite,
    "items_alone": of_items,
}


def compare(
    table: Table, rng: np.random.Generator, judged: Callable[[Margins], Measured]
) -> tuple[list[Difference], list[bool]]:
    """All comparisons of a table, and which of them are of the first model."""
    found, of_first = [], []
    for models in table.margins(rng):
        measured = [judged(each) for each in models]
        for i in range(len(measured)):
            for j in range(i + 1, len(measured)):
                found.append(difference(measured[i], measured[j]))
                of_first.append(i == 0)
    return found, of_first


def errors(tables: int, further: int) -> Iterator[dict[str, object]]:
    """Of tables without any difference: how many say one, by rule."""
    for name, seeds, training in SETTINGS:
        plain = name == "accuracy"
        judged = by_accuracy if plain else by_metric(name)
        table = Table(seeds=(seeds,) * 4, training=training, items=200 if plain else 60)
        rng, number = np.random.default_rng(0), tables if plain else further
        said, single = dict.fromkeys(RULES, 0), 0
        for _ in range(number):
            found, _ = compare(table, rng, judged)
            single += sum(each.p < LEVEL for each in found)
            for rule, p in RULES.items():
                said[rule] += min(holm([p(each) for each in found])) < LEVEL
        yield {
            "metric": name,
            "seeds": seeds,
            "training_sd": training,
            "items": table.items,
            "tables": number,
            "comparisons": len(found),
            **{f"tables_wrong_{rule}": count / number for rule, count in said.items()},
            "single_wrong_uncorrected": single / number / len(found),
        }


def power(tables: int) -> Iterator[dict[str, object]]:
    """Of comparisons of a better model: how many are said to be better, by gain, seeds and size of table."""
    for models, tasks in ((2, 1), (4, 3)):
        for seeds in (1, 3, 5, 10):
            for gain in (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8):
                training = 0.05 if seeds > 1 else 0.0
                table = Table(seeds=(seeds,) * models, training=training, items=1000, tasks=tasks, gain=gain)
                rng, seen, count, gaps = np.random.default_rng(0), dict.fromkeys(RULES, 0), 0, []
                for _ in range(tables):
                    found, of_first = compare(table, rng, by_accuracy)
                    gaps += [each.value for each, first in zip(found, of_first, strict=True) if first]
                    count += sum(of_first)
                    for rule, p in RULES.items():
                        told = np.array(holm([p(each) for each in found])) < LEVEL
                        seen[rule] += int((told & np.array(of_first)).sum())
                yield {
                    "models": models,
                    "tasks": tasks,
                    "comparisons": len(found),
                    "seeds": seeds,
                    "accuracy_gained": round(float(np.mean(gaps)), 4),
                    "seen_dnalm": seen["dnalm"] / count,
                    "seen_satterthwaite": seen["satterthwaite"] / count,
                }


@printed
def draw(rows: Sequence[dict[str, object]], target: Path) -> None:
    """Share of differences that are seen, against their size; a panel for each size of table."""
    figure = new_figure(WIDTH, 2.8)
    sizes = sorted({int(str(row["comparisons"])) for row in rows})
    panels = figure.subplots(1, len(sizes), sharey=True)
    for panel, size in zip(panels, sizes, strict=True):
        for place, seeds in enumerate((1, 3, 5, 10)):
            chosen = [row for row in rows if (row["comparisons"], row["seeds"]) == (size, seeds)]
            gained, seen = (
                [float(str(row[key])) for row in chosen] for key in ("accuracy_gained", "seen_dnalm")
            )
            name = "1 seed (of these networks)" if seeds == 1 else f"{seeds} seeds"
            panel.plot(gained, seen, markersize=3.5, label=name, **appearance(place))
        panel.set(
            title=f"{size} comparison{'s' * (size > 1)} in the table",
            xlabel="gain in accuracy",
            ylabel="share that is said to be better" if size == sizes[0] else "",
            ylim=(-0.02, 1.02),
        )
        panel.grid(color="0.9")
    panels[0].legend(loc="lower right")
    save_figure(figure, target)


def main() -> None:
    """Simulate, write, draw."""
    tables = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    for name, rows in (("errors", errors(tables, tables // 4)), ("power", power(tables // 8))):
        with (HERE / f"{name}.csv").open("w", newline="") as file:
            found = []
            for row in rows:
                if not found:
                    writer = csv.DictWriter(file, list(row), lineterminator="\n")
                    writer.writeheader()
                writer.writerow({key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()})
                file.flush()
                found.append(row)
    draw(found, HERE / "power.png")


if __name__ == "__main__":
    main()
