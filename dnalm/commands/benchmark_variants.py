"""Sets of variants in `dnalm benchmark`: a job of `dnalm score` for each set, model and seed; tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dnalm import grants
from dnalm.errors import ConfigError, DnalmError
from dnalm.evaluation.benchmark.benchmark import weights_checksum
from dnalm.evaluation.benchmark.report import Comparison, Leaderboard, Outcome, write_report
from dnalm.evaluation.benchmark.variant_scores import (
    CAPTIONS,
    SCORES_FILE,
    baseline_outcomes,
    measured_by,
    read_outcomes,
    rows_of,
    sheet_of_sets,
)
from dnalm.evaluation.benchmark.variant_sets import PreparedSet, SuiteScore, VariantSuite
from dnalm.grants import program
from dnalm.models import Pretrained
from dnalm.paths import split_twin
from dnalm.sweeps import Job, Record, quoted
from dnalm.sweeps.command_line import what_is_wrong
from dnalm.sweeps.results import job_id
from dnalm.training.model_directory import read_head


@dataclass(frozen=True, kw_only=True)
class ScoreWork:
    """A set, a model and a seed.

    Attributes:
        of: the set, prepared.
        model: as it was given.
        seed: that an untrained twin is drawn with; 1 of a trained model, whose scores draw nothing.
        scores: that the model can give.
        checksum: of the model's weights.
        words: further words of `dnalm score`.
        config_dir: a folder of the user's own configs.
    """

    of: PreparedSet
    model: str
    seed: int
    scores: tuple[SuiteScore, ...]
    checksum: str
    words: tuple[str, ...]
    config_dir: Path | None = None

    @property
    def overrides(self) -> dict[str, str]:
        """What distinguishes it from other jobs of the suite."""
        return {"task": self.of.listed.name, "model": self.model, "seed": str(self.seed)}

    def line(self) -> list[str]:
        """The words of its command line, without its output."""
        twin = [f"model.seed={self.seed}"] if split_twin(self.model)[1] else []
        return [
            f"model={self.model}",
            *twin,
            f"variants={quoted(str(self.of.table))}",
            f"reference={quoted(str(self.of.reference))}",
            f"score=[{','.join('embedding' if score == 'ridge' else score for score in self.scores)}]",
            *self.words,
        ]

    def job(self, folder: Path) -> Job:
        """As a job of a sweep; another model of the same name is another job. A killed one continues."""
        name = job_id("score", [*self.line(), self.checksum], self.overrides)
        out = f"out={quoted(str(folder / name / SCORES_FILE))}"
        command = (*program("score"), *self.line(), out, *self._options)
        return Job(name, self.overrides, command, summary=f"{SCORES_FILE}.summary.json")

    def what_is_wrong(self) -> str:
        """The sentence that says what is wrong with its config, or nothing."""
        return what_is_wrong("score", [*self.line(), f"out={SCORES_FILE}"], self.config_dir)

    def made_by(self) -> dict[str, str]:
        """What the job is made of."""
        words = ["dnalm", "score", *grants.current.words(), *self.line(), *self._options]
        return {
            "model_sha256": self.checksum,
            "data_sha256": self.of.sha256,
            "recipe": "no training",
            "command": " ".join(words),
        }

    @property
    def _options(self) -> tuple[str, ...]:
        return ("--config-dir", str(self.config_dir)) if self.config_dir else ()


def all_score_work(
    suite: VariantSuite,
    sets: Sequence[PreparedSet],
    models: Sequence[str],
    seeds: int,
    words: tuple[str, ...],
    config_dir: Path | None = None,
) -> list[ScoreWork]:
    """Every set with every model, twins with every seed from 1.

    Raises:
        ConfigError: BENCH-03, a model has no pretraining, or none of the scores.
    """
    checksums = {model: weights_checksum(model) for model in models}
    scores = {model: scores_of(model, suite.scores) for model in models}
    for model, checksum in checksums.items():
        if not checksum or not scores[model]:
            raise ConfigError(
                "BENCH-03",
                where="models",
                found=f"{model}, which gives none of the scores {', '.join(suite.scores)}",
                expected="a run, a model directory or owner/name on the hub, or the untrained twin of one",
                fix="leave it out, or correct the path: models=[runs/mine,runs/mine:untrained]",
            )
    return [
        ScoreWork(
            of=each,
            model=model,
            seed=seed,
            scores=scores[model],
            checksum=checksums[model],
            words=(*suite.words, *words),
            config_dir=config_dir,
        )
        for each in sets
        for model in models
        for seed in range(1, (seeds if split_twin(model)[1] else 1) + 1)
    ]


def scores_of(model: str, asked: Sequence[SuiteScore]) -> tuple[SuiteScore, ...]:
    """Those that a model can give: `prediction` only with the head of a task that has one answer."""
    try:
        head = read_head(Pretrained(source=model).folder())
    except (DnalmError, OSError):  # the checksum is empty then, and the model is refused
        return tuple(asked)
    can_predict = head is not None and head.kind in ("binary", "regression")
    return tuple(score for score in asked if score != "prediction" or can_predict)


class ScoreReporter:
    """Writes the tables of what jobs have left; a finished job is read once.

    Args:
        folder: where.
        suite: whose sets they are.
        sets: that are judged.
        work: jobs by id, models in the order of the table.
    """

    def __init__(
        self,
        folder: Path,
        suite: VariantSuite,
        sets: Sequence[PreparedSet],
        work: Mapping[str, ScoreWork],
    ) -> None:
        self._folder, self._name, self._sets, self._work = folder, suite.name, sets, work
        given = {score for each in work.values() for score in each.scores}
        self._rows = rows_of(sets, [score for score in suite.scores if score in given])
        self._known = baseline_outcomes(self._rows)
        models = [*(each.model for each in work.values()), *(each.model for each in self._known)]
        self._comparison = Comparison(self._rows, list(dict.fromkeys(models)), measured_by=measured_by)
        self._read: dict[str, list[Outcome]] = {}

    def __call__(self, last: Mapping[str, Record]) -> None:
        """Write the tables after these last events of the jobs."""
        failures: dict[tuple[str, str], str] = {}
        for name, work in self._work.items():
            record = last.get(name)
            rows = [row for row in self._rows if row.of is work.of and row.score in work.scores]
            if record is None or record.status == "running":
                continue
            if record.status != "done":
                failures |= {(row.name, work.model): f"{record.status}: {record.error}" for row in rows}
            elif name not in self._read:
                found = read_outcomes(
                    Path(record.run), rows, model=work.model, seed=work.seed, made_by=work.made_by()
                )
                if found:
                    self._read[name] = found
        write_report(
            self._folder,
            self._name,
            self.leaderboard,
            published=[],
            failures=failures,
            leakage={},
            captions=CAPTIONS,
            more=[sheet_of_sets(self._sets)],
        )

    @property
    def leaderboard(self) -> Leaderboard:
        """After the jobs that are done."""
        of_models = [each for found in self._read.values() for each in found]
        return self._comparison.leaderboard([*self._known, *of_models])
