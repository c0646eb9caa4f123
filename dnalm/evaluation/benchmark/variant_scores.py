"""What scores of variants are worth on a set: rows of the table, which way each score points, and outcomes.

Which way a score points is decided here, before any result, and is the same for all models and sets. A model
finds a variant *damaging* where

- `llr`, `pll`: ALT is less likely than REF; the larger -score, the more;
- `distance`, the cosine distance of the hidden states over the variant: ALT lies far from REF;
- `prediction`: the head's answer changes; of classes by its size, of values where it falls;
- `ridge`: a regression on embeddings, which has not seen its chromosome or element, says so.

Of sets with classes the ones are to be the damaging variants. Of sets with values, lower where function is
lost, `llr`, `pll`, `prediction` and `ridge` are held to the values with their sign, and `distance`, which has
none, to the sizes of the values. Baselines (conservation of the bases, nearness of a gene) are held to what
the row's score is.

N variants.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dnalm.errors import DataError
from dnalm.evaluation.benchmark.report import Captions, Outcome, Row, Sheet
from dnalm.evaluation.benchmark.variant_sets import CHROMOSOME, PreparedSet, SuiteScore
from dnalm.evaluation.statistics import MIN_OF_CLASS, Measured, Scores
from dnalm.evaluation.variants.ridge import ridge_predictions
from dnalm.evaluation.variants.set_metrics import (
    DRAWS,
    FEWEST_CLUSTERS,
    VERDICT_CLUSTERS,
    VariantMetric,
    measure_set,
)

SCORES_FILE = "scores.parquet"
_UNSIGNED = ("distance",)


@dataclass(frozen=True, kw_only=True)
class SetScore:
    """A row of the table: a score of a set by a metric.

    Attributes:
        of: the set.
        score: what the models give.
        metric: what they are judged by.
    """

    of: PreparedSet
    score: SuiteScore
    metric: VariantMetric

    @property
    def name(self) -> str:
        """Unique in the suite."""
        several = f", {self.metric}" if len(self.of.listed.metrics) > 1 else ""
        return f"{self.of.listed.name} {self.score}{several}"

    @property
    def labels(self) -> Scores:
        """What scores are held to, (N,)."""
        is_of_sizes = not self.of.listed.is_class and self.score in _UNSIGNED
        return np.abs(self.of.labels) if is_of_sizes else self.of.labels

    def measure(self, outcomes: Sequence[Outcome]) -> Measured:
        """What the networks of a model are worth."""
        return measure_set(self.metric, self.labels, [each.scores for each in outcomes], self.of.grouping)

    def oriented(self, damage_N: Scores) -> Scores:
        """Scores that rank as the row's labels do, from how damaging each variant is found."""
        return damage_N if self.of.listed.is_class or self.score in _UNSIGNED else -damage_N


def measured_by(row: Row, outcomes: Sequence[Outcome]) -> Measured:
    """As `Comparison` asks for it."""
    assert isinstance(row, SetScore)
    return row.measure(outcomes)


def rows_of(sets: Sequence[PreparedSet], scores: Sequence[SuiteScore]) -> list[SetScore]:
    """Every set with every score and metric."""
    return [
        SetScore(of=each, score=score, metric=metric)
        for each in sets
        for metric in each.listed.metrics
        for score in scores
    ]


def damage(score: SuiteScore, column_N: Scores, *, is_class: bool) -> Scores:
    """How damaging a model finds each variant, from what `dnalm score` wrote."""
    if score in ("llr", "pll") or (score == "ridge" and not is_class):
        return -column_N
    if score == "prediction":
        return np.abs(column_N) if is_class else -column_N
    return column_N


def read_outcomes(
    run: Path, rows: Sequence[SetScore], *, model: str, seed: int, made_by: Mapping[str, str]
) -> list[Outcome]:
    """Read what `dnalm score` has left of a set; nothing while it is not whole.

    A variant without a number of a model gets the median of the others, so that it counts neither way.

    Args:
        run: the directory.
        rows: of the set, of the scores that were asked of the model.
        model: as it was given.
        seed: of the job.
        made_by: what the job was made of, by name.

    Raises:
        DataError: BENCH-16, the scores are of other variants.
    """
    file = run / SCORES_FILE
    try:
        summary: dict[str, Any] = json.loads((run / f"{SCORES_FILE}.summary.json").read_text())
        table = pq.read_table(file)
    except (OSError, ValueError):
        return []
    outcomes = []
    for row in rows:
        if table.num_rows != len(row.of.labels):
            raise DataError(
                "BENCH-16",
                where=str(file),
                found=f"{table.num_rows} variants",
                expected=f"{len(row.of.labels)}, as {row.of.listed.name} has",
                fix=f"remove {run}, and run the same command again",
            )
        column = _numbers(row, table)
        known = np.isfinite(column)
        if not known.any():  # a regression needs three clusters
            continue
        filled = np.where(known, column, np.median(column[known]))
        outcomes.append(
            Outcome(
                task=row.name,
                model=model,
                seed=seed,
                value=np.nan,
                seconds=float(summary["seconds"]),
                peak_memory=float(summary["peak_memory"]),
                parameters=float(summary["parameters"]),
                labels=row.labels,
                scores=row.oriented(damage(row.score, filled, is_class=row.of.listed.is_class)),
                provenance={**made_by, "without_number": str(int((~known).sum()))},
            )
        )
    return outcomes


def baseline_outcomes(rows: Sequence[SetScore]) -> list[Outcome]:
    """What is known of the places of the variants, held to what each row's scores are."""
    return [
        Outcome(
            task=row.name,
            model=name,
            seed=1,
            value=np.nan,
            seconds=0.0,
            peak_memory=0.0,
            parameters=0.0,
            labels=row.labels,
            scores=row.oriented(damage_N),
            provenance={"recipe": "no model", "data_sha256": row.of.sha256},
        )
        for row in rows
        for name, damage_N in row.of.baselines.items()
    ]


def _numbers(row: SetScore, table: pa.Table) -> Scores:
    """What `dnalm score`'s table says of each variant: of `distance` the cosine distance over the variant."""
    names = table.column_names
    if row.score == "ridge":
        read = [name for name in names if name.startswith(("ref_", "change_"))]
        features_NF = np.stack([table[name].to_numpy() for name in read], axis=1)
        return ridge_predictions(np.nan_to_num(features_NF), row.of.labels, row.of.grouping)
    prefix = "cosine_variant_" if row.score == "distance" else row.score
    (column,) = [name for name in names if name.startswith(prefix)][:1]
    return np.asarray(table[column].to_numpy(), dtype=np.float64)


CAPTIONS = Captions(
    results="Scores of variants by models that were not trained on them (95 % interval by the bootstrap of "
    f"clusters, {DRAWS:,} draws; of an untrained twin over its seeds too). Below {FEWEST_CLUSTERS} clusters "
    "a figure has no interval; * is the best",
    gains="What pretraining adds: each model less its untrained twin, the network as it was before its first "
    "step, drawn anew with each seed (95 % interval of the paired difference, over clusters and seeds; the p "
    "of each verdict is in the table of all differences)",
    tests="Differences (95 % interval over the same draws of clusters, and over seeds of untrained twins) of "
    "these pretrained networks. p is corrected for all {number} comparisons of this table (Holm); below "
    f"{{level}} a model is better or worse. Below {VERDICT_CLUSTERS} clusters, or {MIN_OF_CLASS} variants of "
    "a class, there is no verdict",
    has_means=False,
)


def sheet_of_sets(sets: Sequence[PreparedSet]) -> Sheet:
    """What the sets hold, and what was left out of them."""
    rows = []
    for each in sets:
        listed = each.listed
        ones = str(int((each.labels == 1).sum())) if listed.is_class else "values"
        aside = ", ".join(f"{number:,} {reason}" for reason, number in sorted(each.aside.items()))
        cluster = {CHROMOSOME: "chromosomes", "overlap": "elements that do not overlap"}.get(listed.cluster)
        clusters = f"{each.grouping.num_clusters} {cluster or listed.cluster}"
        genome = each.reference.name
        rows.append([listed.name, f"{len(each.labels):,}", ones, clusters, aside, genome, each.sha256[:12]])
    names = ["set", "variants", "positives", "clusters", "left out", "genome", "sha256"]
    return Sheet("Sets of variants: what is judged, and what is left out", names, rows)
