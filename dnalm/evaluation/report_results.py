"""Sections of a page about results: bits per base and accuracy by parts, variants, tables, maps, pictures."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dnalm.evaluation.charts import (
    Drawing,
    Mark,
    as_number,
    histogram,
    map_chart,
    marks_chart,
    tenths_chart,
    with_interval,
)
from dnalm.evaluation.page import MOST_CHARTS, Cell, Section, Table, as_cell, by_run, cut_table
from dnalm.evaluation.run_files import BENCHMARK, FileTable, RunFiles
from dnalm.evaluation.strata import FREQUENCY, SPECIES, WHOLE


def file_tables(runs: Sequence[RunFiles]) -> Section:
    """Tables that lie in the folders; of a benchmark its figures with intervals are drawn too."""
    tables, figures = [], []
    for run in runs:
        for table in run.tables:
            caption = f"{run.name}: {_describe(table)}"
            rows = [
                [float(cell) if _FRACTION.fullmatch(cell) else cell for cell in row] for row in table.rows
            ]
            tables.append(Table(caption=caption, header=table.header, rows=rows))
            if table.name == BENCHMARK:
                figures += _benchmark_charts(run.name, table)
    return Section(title="Tables", tables=tables, figures=figures[:MOST_CHARTS])


_FRACTION = re.compile(r"-?\d{1,30}\.\d{1,30}(e-?\d{1,2})?")


def _describe(table: FileTable) -> str:
    is_cut = table.num_rows > len(table.rows)
    cut = f"; the first {len(table.rows)} of {table.num_rows:,} rows" if is_cut else ""
    return f"{table.about}, {table.name}{cut}"


def _benchmark_charts(name: str, table: FileTable) -> list[Drawing]:
    """A chart for each metric, with one axis for all of its tasks: a row a task, a point a model."""
    rows = [dict(zip(table.header, row, strict=True)) for row in table.rows]
    ours = [row for row in rows if row.get("from") == "ours" and row.get("mean")]
    return [
        marks_chart(
            f"{name}: {metric} on the test sets, with 95 % intervals",
            [
                Mark(
                    row["task"],
                    row.get("model", ""),
                    *(_as_float(row.get(key)) for key in ("mean", "low", "high")),
                )
                for row in ours
                if row.get("metric") == metric
            ],
            xlabel=f"{metric} on the test set",
        )
        for metric in dict.fromkeys(row.get("metric", "") for row in ours)
    ]


def _as_float(text: str | None) -> float:
    try:
        return as_number(float(text or "nan"))
    except ValueError:
        return math.nan


def outputs(runs: Sequence[RunFiles]) -> Section:
    """What commands that write a file say of it: scores, predictions, embeddings."""
    tables = []
    for run in runs:
        for name, summary in run.outputs.items():
            kept = {key: value for key, value in summary.items() if key not in _NOT_OF_OUTPUTS}
            tables.append(cut_table(f"{run.name}: {name}", ["", "value"], list(_leaves(kept))))
    return Section(title="Files of scores, predictions and embeddings", tables=tables)


_NOT_OF_OUTPUTS = ("config", "evaluation", "contract")


def _leaves(of: Mapping[str, Any], prefix: str = "") -> Iterator[Sequence[Cell]]:
    """Dotted key and value of what a summary holds."""
    for key, value in of.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            listed = ", ".join(map(str, value[:20])) if isinstance(value, list) else as_cell(value)
            yield [f"{prefix}{key}", listed]


def maps(runs: Sequence[RunFiles]) -> Section:
    """Vectors on a plane, coloured by annotation."""
    figures = [
        map_chart(f"{run.name}: {space}, {method.upper()}", points, axis=method.upper())
        for run in runs
        for (space, method), points in run.maps.items()
    ]
    return Section(
        title="Embedding maps",
        text="Each point is a sequence, by the annotation that the model has not seen. Axes have no unit; "
        "of UMAP only neighbourhoods mean anything, not distances.",
        figures=figures[:MOST_CHARTS],
    )


def bits(runs: Sequence[RunFiles]) -> Section:
    """Bits per base of each run and of its parts: species, regions, repeats, tokens by frequency."""
    rows: list[Sequence[Cell]] = []
    figures = []
    for run in runs:
        parts = run.strata or _of_summary(run.summary)
        rows += [[run.name, *(as_cell(part.get(key)) for key in _BITS)] for part in parts]
        for group, mine in _by_group(parts).items():
            marks = [
                with_interval(str(part["stratum"]), kind, part.get(key), part.get(f"{key}_se"))
                for part in mine
                for key, kind in _MODELS.items()
            ]
            title = f"{run.name}: bits per base by {group}"
            if group == FREQUENCY:
                figures.append(tenths_chart(title, marks, ylabel="bits per base"))
            else:
                figures.append(marks_chart(title, marks, xlabel="bits per base"))
    header = ["run", *_BITS.values()]
    caption = "Bits per base, of the model and of count models at the same hidden bases of validation windows"
    return Section(
        title="Bits per base",
        text="Less is better; a difference below 0 says that the model beats the two-sided context model. "
        "Standard errors are over windows, and bars are 95 % intervals by them; of fewer than 30 windows "
        "they are no verdict.",
        tables=[by_run(runs, cut_table(caption, header, rows))] if rows else [],
        figures=figures[:MOST_CHARTS],
    )


_MODELS = {
    "bits_per_base": "model",
    "two_sided_bits": "two-sided context model",
    "order0_bits": "order-0 entropy",
}
_BITS = {
    "group": "by",
    "stratum": "part",
    "hidden_bases": "hidden bases",
    "windows": "windows",
    "bits_per_base": "model",
    "bits_per_base_se": "its standard error",
    "order0_bits": "order-0 entropy",
    "two_sided_bits": "two-sided context model",
    "over_two_sided": "model less two-sided",
    "over_two_sided_se": "its standard error",
}


def _by_group(parts: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The parts of each division, the whole left out."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for part in parts:
        if part["group"] != WHOLE:
            groups.setdefault(str(part["group"]), []).append(part)
    return groups


def _of_summary(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The parts of a run that has no `strata.csv`: the whole, and species."""
    species = summary.get("species")
    named = {(WHOLE, WHOLE): summary}
    named |= {(SPECIES, str(name)): of for name, of in species.items()} if isinstance(species, dict) else {}
    parts = []
    for (group, stratum), found in named.items():
        if isinstance(found, dict) and "val_bits_per_base" in found:
            over = found.get("over_two_sided")
            over = over if isinstance(over, dict) else {}
            parts.append(
                {
                    "group": group,
                    "stratum": stratum,
                    "hidden_bases": found.get("hidden_bases"),
                    "windows": over.get("windows"),
                    "bits_per_base": found["val_bits_per_base"],
                    "order0_bits": found.get("baseline_order0_bits"),
                    "two_sided_bits": found.get("baseline_two_sided_bits"),
                    "over_two_sided": over.get("mean"),
                    "over_two_sided_se": over.get("standard_error"),
                }
            )
    return parts


def accuracy(runs: Sequence[RunFiles]) -> Section:
    """How often the model ranks a masked token first, by how frequent the token is."""
    rows: list[Sequence[Cell]] = []
    figures = []
    for run in runs:
        parts = [part for part in run.strata if part.get("masked_tokens")]
        rows += [[run.name, *(as_cell(part.get(key)) for key in _ACCURACY)] for part in parts]
        marks = [
            with_interval(str(part["stratum"]), kind, part.get(key), part.get(f"{key}_se"))
            for part in parts
            if part["group"] == FREQUENCY
            for key, kind in (
                ("accuracy", "model"),
                ("most_frequent_accuracy", "always the most frequent token"),
            )
        ]
        if marks:
            title = f"{run.name}: accuracy by token frequency"
            figures.append(tenths_chart(title, marks, ylabel="share ranked first"))
    caption = "Masked tokens of validation windows whose id is ranked first"
    return Section(
        title="Accuracy by token frequency",
        text="Tokens by their frequency in the training text, in tenths of its tokens from the rarest; bars "
        "are 95 % intervals over windows.",
        tables=[by_run(runs, cut_table(caption, ["run", *_ACCURACY.values()], rows))] if rows else [],
        figures=figures[:MOST_CHARTS],
    )


_ACCURACY = {
    "stratum": "tenth",
    "masked_tokens": "masked tokens",
    "accuracy": "accuracy",
    "accuracy_se": "its standard error",
    "most_frequent_accuracy": "always the most frequent token",
    "most_frequent_accuracy_se": "its standard error",
    "about": "tokens of the tenth",
}


def variants(runs: Sequence[RunFiles]) -> Section:
    """Scored variants: how well scores rank labels, and how scores are distributed."""
    tables, figures = [], []
    for run in runs:
        for scored in run.scored:
            if scored.evaluation:
                header = list(dict.fromkeys(name for row in scored.evaluation for name in row))
                rows = [[as_cell(row.get(name)) for name in header] for row in scored.evaluation]
                tables.append(cut_table(f"{run.name}: {scored.name}, scores against labels", header, rows))
                figures += _ranking_charts(f"{run.name}: {scored.name}", scored.evaluation)
            figures += [
                histogram(
                    f"{run.name}: {scored.name}, {name} of {len(values):,} alleles",
                    values,
                    xlabel=name,
                    ylabel="alleles",
                )
                for name, values in scored.scores.items()
            ]
    return Section(title="Variants", tables=tables, figures=figures[:MOST_CHARTS])


def _ranking_charts(name: str, rows: Sequence[Mapping[str, Any]]) -> list[Drawing]:
    """A chart for each figure that has an interval: a row for each group of alleles, a point a score."""
    figures = dict.fromkeys(key for row in rows for key in row if f"{key}_low" in row)
    return [
        marks_chart(
            f"{name}, {figure.replace('_', ' ')} with 95 % intervals",
            [
                Mark(
                    str(row.get("group", "all")),
                    str(row.get("score", "")),
                    *(as_number(row.get(key)) for key in (figure, f"{figure}_low", f"{figure}_high")),
                )
                for row in rows
                if figure in row
            ],
            xlabel=_RANKINGS.get(figure, figure.replace("_", " ")),
        )
        for figure in figures
    ]


_RANKINGS = {
    "auroc": "area under the ROC curve (0.5: chance)",
    "auprc": "area under the precision-recall curve",
    "spearman": "Spearman correlation with the label",
    "spearman_of_sizes": "Spearman correlation of absolute values",
}


def pictures(runs: Sequence[RunFiles]) -> Section:
    """PNG files of the folders, wide ones over the whole page."""
    figures = [
        Drawing(
            caption=f"{run.name}: {_PICTURES.get(name) or _of_region(run, name)}",
            source=f"data:image/png;base64,{base64.b64encode(content).decode()}",
            is_wide=int.from_bytes(content[16:20]) > _WIDE_PX,
        )
        for run in runs
        for name, content in run.pictures.items()
    ]
    return Section(title="Pictures", figures=figures[:MOST_CHARTS])


_WIDE_PX = 900
_PICTURES = {
    "clusters.png": "embedding map, clusters.png",
    "found.png": "motifs that the model knows, found.png",
    "heads.png": "attention heads, heads.png",
    "heatmap.png": "models by task, heatmap.png",
    "labels.png": "results by number of labels, labels.png",
    "plot.png": "what the jobs reached, plot.png",
    "task.png": "composition of peaks and background, task.png",
    "tasks.png": "results by task, tasks.png",
    "tracks.png": "labels of the annotations, tracks.png",
}


def _of_region(run: RunFiles, name: str) -> str:
    """`0001-x.png` of `dnalm interpret` is about a region."""
    number, _, region = name.removesuffix(".png").partition("-")
    what = run.summary.get("what")
    return f"{what} in region {region}" if what and region and number.isdecimal() else name
