"""Scores compared with labels: AUROC, AUPRC or Spearman, with intervals, over all and by group.

Alleles of one group, such as those of one element of an assay, are not independent: with groups, the interval
over all alleles draws whole groups, and a further row has the mean over groups with Student's interval of it,
inside the metric's range.

Labels 0 and 1 ask whether scores rank the ones first; ratios and dot products are negated for that, since an
allele that a model finds unlikely is the suspicious one. Other labels are values: their rank
correlation with the scores as they are, and of the sizes of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from dnalm.console import progress_bar
from dnalm.errors import ConfigError, DataError
from dnalm.evaluation.statistics import (
    BOUNDS,
    Interval,
    Metric,
    Scores,
    bootstrap_interval,
    mean_interval,
    metric_of,
    spearman_interval,
)
from dnalm.evaluation.variants.output import Scored
from dnalm.genome.contig_aliases import ContigAliases
from dnalm.genome.store import GenomeStore
from dnalm.genome.variants import Form, Record, Survey, find_form, miscounted, num_values, read_records

_SMALLEST_GROUP = 10
_SEED = 0
_spearman = metric_of("regression", "spearman", num_outputs=1)
_CORRELATIONS: dict[str, Callable[[Scores], Scores]] = {
    "spearman": lambda values: values,
    "spearman_of_sizes": np.abs,
}
_RANKINGS: dict[str, Metric] = {
    "auroc": metric_of("binary", "auroc", num_outputs=2),
    "auprc": metric_of("binary", "auprc", num_outputs=2),
}


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Where the label and the group of an allele are.

    Attributes:
        path: the file of variants.
        form: of its lines.
        aliases: its contigs.
        label: a column or an INFO field; `label` of the `table` if there is one.
        group: likewise of the file of variants.
        table: labels by contig, start, REF and ALT, of a file beside.
    """

    path: Path
    form: Form
    aliases: ContigAliases
    label: str
    group: str | None
    table: dict[tuple[str, int, str, str], float] | None

    @classmethod
    def find(
        cls, labels: str, group: str | None, variants: Path, found: Survey, store: GenomeStore
    ) -> Labels:
        """Find the column, INFO field or file of labels, and the group.

        Raises:
            ConfigError: CFG-55, there is no such column, INFO field or file.
            DataError: VCF-17, the INFO field has values for other than the ALTs; or the file of labels cannot
                be read.
        """
        known = {*found.form.columns, *found.form.counts, *found.undeclared}
        for key, name in (("labels", labels), ("group", group)):
            if name is None or name in known or (key == "labels" and Path(name).is_file()):
                continue
            raise ConfigError(
                "CFG-55",
                where=key,
                found=f"{name} is no column and no INFO field of the variants",
                expected=", ".join(sorted(known)) + (", or a file" if key == "labels" else ""),
                fix="name one of these",
            )
        for name in (labels, group):
            if name in found.miscounted and name not in found.form.columns:
                raise _miscounted(variants, found, name)
        return cls(
            path=variants,
            form=found.form,
            aliases=found.aliases,
            label=labels,
            group=group,
            table=None if labels in known else _read_table(Path(labels), store),
        )

    def label_of(self, record: Record, place: int) -> float:
        """Of an ALT of a record; NaN if it has none."""
        if self.table is not None:
            contig = self.aliases.find(record.contig)
            key = (contig.name if contig else "", record.start, record.ref, record.alts[place])
            return self.table.get(key, float("nan"))
        text = _entry(self.form, record, self.label, place)
        return _number(text, f"{self.path}:{record.line}", self.label)

    def group_of(self, record: Record, place: int) -> str:
        """Of an ALT of a record."""
        return _entry(self.form, record, self.group, place) if self.group else ""


def rank(scored: Iterable[Scored], truth: Labels, names: tuple[str, ...]) -> list[dict[str, object]]:
    """Figures for each score: over all, for each group of ten and more, and the mean over these groups."""
    labels, groups, rows = [], [], []
    for record, entries in scored:
        for place, entry in enumerate(entries):
            label = truth.label_of(record, place)
            if isinstance(entry, str) or np.isnan(label):
                continue
            labels.append(label)
            groups.append(truth.group_of(record, place))
            rows.append(entry)
    label_N, score_NS = np.asarray(labels), np.asarray(rows).reshape(len(rows), len(names))
    group_names, cluster_N = np.unique(groups, return_inverse=True)
    chosen = {"all": np.arange(len(labels))}
    if truth.group:
        members = {str(name): np.flatnonzero(cluster_N == n) for n, name in enumerate(group_names)}
        chosen |= {name: items for name, items in members.items() if len(items) >= _SMALLEST_GROUP}
    is_class = set(np.unique(label_N)) <= {0.0, 1.0}
    figures = []
    with progress_bar("Ranking", total=len(names) * len(chosen), unit="groups") as advance:
        for place, name in enumerate(names):
            of_groups = []
            for group, items in chosen.items():
                clusters = cluster_N if truth.group and group == "all" else None
                numbers = label_N[items], score_NS[items, place]
                of_groups.append(_figures(group, name, *numbers, is_class=is_class, clusters_N=clusters))
                advance(1)
            figures += [*of_groups, *_mean_over_groups(name, of_groups[1:])]
    return figures


def _mean_over_groups(name: str, of_groups: list[dict[str, object]]) -> list[dict[str, object]]:
    """A row with the mean over groups of each metric, where at least two have it."""
    row: dict[str, object] = {"group": "mean over groups", "score": name}
    for key in (*_RANKINGS, *_CORRELATIONS):
        values = [value for each in of_groups if isinstance(value := each.get(key), float)]
        if len(values) > 1:
            interval = mean_interval(values, BOUNDS["auroc" if key in _RANKINGS else "spearman"])
            row |= {key: _short(fmean(values)), f"{key}_low": _short(interval.low)}
            row |= {f"{key}_high": _short(interval.high), "groups": len(values)}
    return [row] if "groups" in row else []


def _figures(
    group: str,
    name: str,
    labels_N: Scores,
    scores_N: Scores,
    *,
    is_class: bool,
    clusters_N: npt.NDArray[np.integer] | None,
) -> dict[str, object]:
    there = np.isfinite(scores_N)
    labels_N, scores_N = labels_N[there], scores_N[there]
    clusters_N = None if clusters_N is None else clusters_N[there]
    row: dict[str, object] = {"group": group, "score": name, "alleles": len(labels_N)}
    if is_class:
        turned = name in ("llr", "pll") or name.startswith("dot_")
        scores_N = -scores_N if turned else scores_N
        row["ones"] = int((labels_N == 1).sum())
        labels_N = labels_N.astype(np.int64)
        scores_N = rankdata(scores_N) / max(1, len(scores_N))  # torchmetrics squeezes what is no probability
    if not len(labels_N):
        return row
    for key, value, interval in _judged(labels_N, scores_N, clusters_N, is_class=is_class):
        row |= {key: _short(value)}
        row |= {f"{key}_low": _short(interval.low), f"{key}_high": _short(interval.high)}
    return row


def _judged(
    labels_N: Scores, scores_N: Scores, clusters_N: npt.NDArray[np.integer] | None, *, is_class: bool
) -> Iterator[tuple[str, float, Interval]]:
    """Each metric of these alleles, with its interval."""
    if is_class:
        for key, metric in _RANKINGS.items():
            rng = np.random.default_rng(_SEED)
            interval = bootstrap_interval(metric, labels_N, scores_N, rng, clusters=clusters_N)
            yield key, metric(labels_N, scores_N), interval
        return
    for key, change in _CORRELATIONS.items():
        true_N, found_N, rng = change(labels_N), change(scores_N), np.random.default_rng(_SEED)
        interval = spearman_interval(true_N, found_N, rng, clusters=clusters_N)
        yield key, _spearman(true_N, found_N), interval


def _short(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _entry(form: Form, record: Record, name: str | None, place: int) -> str:
    if name in form.columns:
        return record.fields[form.columns.index(name)]
    for entry in record.fields[7].split(";"):
        key, _, value = entry.partition("=")
        if key == name:
            values = value.split(",")
            if len(values) == len(record.alts) + 1 == num_values(form, name, len(record.alts)):
                return values[place + 1]
            return values[place] if len(values) == len(record.alts) else value
    return "."


def _miscounted(path: Path, found: Survey, name: str) -> DataError:
    """The error of the first record whose field has values for other than its ALTs."""
    records = read_records(path, found.form)
    record = next(each for each in records if name in miscounted(each, found.form))
    entries = (entry.partition("=") for entry in record.fields[7].split(";"))
    count = next(value.count(",") + 1 for key, _, value in entries if key == name)
    per = num_values(found.form, name, len(record.alts))
    return DataError(
        "VCF-17",
        where=f"{path}:{record.line}",
        found=f"INFO {name} has {count} values for {len(record.alts)} ALTs, the first of "
        f"{found.miscounted[name]:,} such records",
        expected=f"{per}, as its Number is {found.form.counts[name]}",
        fix=f"correct the INFO field, or write {name}=. in records that are not to be ranked",
    )


def _number(text: str, where: str, name: str) -> float:
    try:
        return float("nan") if text in (".", "", "NA") else float(text)
    except ValueError:
        raise DataError(
            "VCF-26",
            where=where,
            found=f"label `{text}` in {name}",
            expected="0 and 1, or values",
            fix="name a column of numbers by labels=",
        ) from None


def _read_table(path: Path, store: GenomeStore) -> dict[tuple[str, int, str, str], float]:
    form = find_form(path)
    if "label" not in form.columns:
        raise DataError(
            "VCF-26",
            where=str(path),
            found=f"the columns {', '.join(form.columns)}",
            expected="a table with the columns chrom, pos, ref, alt, label",
            fix="add a column `label`",
        )
    aliases = ContigAliases(store, {record.contig for record in read_records(path, form)})
    column, table = form.columns.index("label"), {}
    for record in read_records(path, form):
        contig = aliases.find(record.contig)
        for alt in record.alts if contig else ():
            label = _number(record.fields[column], f"{path}:{record.line}", "label")
            table[contig.name if contig else "", record.start, record.ref, alt] = label
    return table
