"""The page of a run, or of several side by side: one HTML file without scripts that reads nothing else.

It is a pure function of what lies in the folders (`run_files`): the same folders give the same bytes.
Figures are inline SVG whose ink is the colour of the page's text, so that they follow light, dark and print.
Curves of more than 300 logged steps are shown as the means of 300 pieces, and tables are cut, so that the
page of any run is small. Whatever comes from files is escaped, and a policy in the page forbids scripts and
network.
"""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dnalm import __version__
from dnalm.console import stdout
from dnalm.errors import escape_controls
from dnalm.evaluation.charts import (
    COLOURS,
    INK,
    MOST_POINTS,
    Drawing,
    Line,
    Mark,
    as_number,
    curves_chart,
    histogram,
    look,
    marks_chart,
    tenths_chart,
    with_interval,
)
from dnalm.evaluation.plots import Curve
from dnalm.evaluation.run_files import FileTable, RunFiles, differences, read_runs
from dnalm.evaluation.strata import FREQUENCY, SPECIES, WHOLE
from dnalm.tables import readable, replace_text

REPORT_FILE = "report.html"
_TEMPLATE = "report.html.jinja"
_MOST_LETTERS = 240  # of a cell
_MOST_ROWS = 400  # of a table
_MOST_CHARTS = 24  # of a section
_WHAT_RAN = {
    "experiment": "experiment",
    "task": "task",
    "kind": "kind of task",
    "metric": "metric",
    "model": "model",
    "parameters": "parameters",
    "trained_parameters": "parameters that train",
    "steps": "steps",
    "steps_done": "steps done",
    "best_step": "step of the best validation",
    "diverged": "diverged",
    "train_loss": "training loss, last step",
    "first_train_loss": "training loss, start",
    "end_train_loss": "training loss, end",
    "val_loss": "validation loss",
    "val_bits_per_base": "validation bits per base",
    "score": "metric on the test set",
    "majority": "accuracy of the most frequent class",
}
_SPEED = {
    "tokens": "tokens read",
    "bases": "bases read",
    "tokens_per_s": "tokens a second",
    "bases_per_s": "bases a second",
    "data_wait": "share of the time that waited for data",
    "realised_mask_rate": "share of tokens hidden",
    "model_flops_per_s": "model FLOP a second",
    "mfu_of_measured": "share of the FLOP rate measured here",
    "mfu_of_peak": "share of the peak FLOP rate",
    "peak_memory": "peak memory, bytes",
    "memory_counted": "memory of a step by count, bytes",
    "memory_available": "memory available, bytes",
    "activation_checkpointing": "activations computed again",
    "seconds": "seconds in all",
}
_SHOWN_ELSEWHERE = ("hidden_bases", "baseline_order0_bits", "baseline_two_sided_bits")
_UNITS = {  # of the axes of curves, by title
    "Loss": "nats per target",
    "Bits per base at hidden bases": "bits per base",
    "Learning rate": "learning rate",
    "Share of tokens hidden": "share of tokens",
}
_TITLES = {
    "loss": "Loss",
    "bits_per_base": "Bits per base at hidden bases",
    "learning_rate": "Learning rate",
    "mask_rate": "Share of tokens hidden",
}
Cell = str | float | int | None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the page; the first cell of a row is its heading, numbers are shown in five digits."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what stands below it.

    Attributes:
        title: the heading.
        text: a sentence below it.
        tables: in order.
        figures: after the tables.
        legend: names of runs, their colour and dashes; empty for one run.
        folded: whether tables are opened by a click.
    """

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[Drawing] = ()
    legend: Sequence[tuple[str, str, str]] = ()
    folded: bool = False


def write_report(folders: Sequence[Path], target: Path) -> Path:
    """Write the page of runs, sweeps or benchmarks.

    Args:
        folders: what they have left.
        target: the file, replaced if it is there.

    Raises:
        DataError: REPORT-01, a folder is no run.
    """
    runs, notes = read_runs(folders)
    replace_text(target, report_page(runs, notes))
    return target


def leave_report(folder: Path) -> None:
    """Write the page of a folder into it, and print where it is."""
    stdout.print(f"report: {write_report([folder], folder / REPORT_FILE)}")


def report_page(runs: Sequence[RunFiles], notes: Sequence[str] = ()) -> str:
    """The page as text.

    Args:
        runs: to stand side by side, at least one.
        notes: sentences for its head.
    """
    environment = Environment(
        autoescape=True,
        loader=FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"shown": _shown, "readable": readable, "exactly": repr}
    sections = [
        _what_ran(runs),
        _differences(runs),
        *_curves(runs),
        _bits(runs),
        _accuracy(runs),
        _objectives(runs),
        _tasks(runs),
        _file_tables(runs),
        _variants(runs),
        _pictures(runs),
        _speed(runs),
        _provenance(runs),
        _configs(runs),
    ]
    return environment.get_template(_TEMPLATE).render(
        title=", ".join(run.name for run in runs[:3])
        + (f" and {len(runs) - 3} more" if len(runs) > 3 else ""),
        version=__version__,
        num_runs=len(runs),
        notes=[*notes, *(f"{run.name}: {note}" for run in runs for note in run.notes)],
        sections=[each for each in sections if each.tables or each.figures],
    )


def _shown(value: object) -> str:
    """A text of a file as the page shows it: nothing invisible, cut; a dash where there is nothing."""
    if value is None or value == "":
        return "\N{EN DASH}"
    text = str(value)
    cut = "…" if len(text) > _MOST_LETTERS else ""
    return escape_controls(text[:_MOST_LETTERS]) + cut


def _cell(value: object) -> Cell:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, int | float | None) else str(value)


def _side_by_side(runs: Sequence[RunFiles], labels: Mapping[str, str]) -> list[Sequence[Cell]]:
    """A row for each plain figure of `summary.json` that a run has, a column for each run."""
    return [
        [label, *(_cell(run.summary.get(key)) for run in runs)]
        for key, label in labels.items()
        if any(key in run.summary and not isinstance(run.summary[key], dict | list) for run in runs)
    ]


def _table(caption: str, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Table:
    cut = f"; the first {_MOST_ROWS} of {len(rows):,} rows" if len(rows) > _MOST_ROWS else ""
    return Table(caption=caption + cut, header=header, rows=rows[:_MOST_ROWS])


def _by_run(runs: Sequence[RunFiles], table: Table) -> Table:
    """A table whose first column is the run, without that column where there is one run."""
    if len(runs) > 1:
        return table
    return Table(caption=table.caption, header=table.header[1:], rows=[row[1:] for row in table.rows])


def _names(runs: Sequence[RunFiles]) -> list[str]:
    return [run.name for run in runs]


def _what_ran(runs: Sequence[RunFiles]) -> Section:
    known = {*_WHAT_RAN, *_SPEED, *_SHOWN_ELSEWHERE, "seed"}
    others = {key: key for run in runs for key in run.summary if key not in known}
    rows: list[Sequence[Cell]] = [["command", *(run.command or "unknown" for run in runs)]]
    rows += _side_by_side(runs, {**_WHAT_RAN, **others})
    rows.append(["seed", *(_cell(run.summary.get("seed", run.config.get("seed"))) for run in runs)])
    return Section(title="What ran", tables=[_table("From summary.json", ["", *_names(runs)], rows)])


def _speed(runs: Sequence[RunFiles]) -> Section:
    rows = _side_by_side(runs, _SPEED)
    tables = [_table("From summary.json", ["", *_names(runs)], rows)] if rows else []
    return Section(title="Throughput, waits and memory", tables=tables)


def _by_command(runs: Iterable[RunFiles]) -> dict[str, list[RunFiles]]:
    groups: dict[str, list[RunFiles]] = {}
    for run in runs:
        groups.setdefault(run.command, []).append(run)
    return groups


def _differences(runs: Sequence[RunFiles]) -> Section:
    """Of runs of the same command, the keys whose values differ."""
    tables = []
    for command, group in _by_command(run for run in runs if run.config).items():
        if len(group) > 1:
            rows: list[Sequence[Cell]] = [[key, *values] for key, values in differences(group).items()]
            caption = f"{command or 'unknown command'}: {len(rows)} keys differ" if rows else (
                f"{command or 'unknown command'}: no key differs"
            )  # fmt: skip
            tables.append(_table(caption, ["key", *_names(group)], rows))
    return Section(
        title="What differs in the configs",
        text="Values are JSON; run.* (name and place of the folder) is left out; all else is the same.",
        tables=tables,
    )


def _configs(runs: Sequence[RunFiles]) -> Section:
    tables = [
        _table(f"{run.name}: config.yaml, {len(run.config)} values", ["key", "value"], [*run.config.items()])
        for run in runs
        if run.config
    ]
    return Section(title="Configs", text="As they were resolved.", tables=tables, folded=True)


def _provenance(runs: Sequence[RunFiles]) -> Section:
    """Versions and checksums of code, data, tokenizer and files."""
    rows: dict[str, dict[str, Cell]] = {}
    for run in runs:
        results = run.provenance.get("results")
        genomes = results.get("genomes") if isinstance(results, dict) else None
        found = {name: value for name, value in run.provenance.items() if name not in ("config", "results")}
        for name, value in {**found, **_if_mapping(run.summary, "versions", "data")}.items():
            if isinstance(value, dict):
                parts = {f"{name} {key}": each for key, each in value.items()}
            else:
                parts = {name: value}
            for key, each in parts.items():
                rows.setdefault(key.removeprefix("versions "), {})[run.name] = _cell(each)
        for genome in genomes if isinstance(genomes, list) else ():
            if isinstance(genome, dict):
                key = f"genome {genome.get('name')}, {readable(genome.get('num_bases'))} bases, sha256"
                rows.setdefault(key, {})[run.name] = str(genome.get("sha256"))
    table = _table(
        "From dnalm.yaml of the model directory and summary.json",
        ["", *_names(runs)],
        [[key, *(values.get(run.name) for run in runs)] for key, values in rows.items()],
    )
    return Section(title="Versions and checksums", tables=[table] if rows else [])


def _if_mapping(summary: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: summary[name] for name in names if isinstance(summary.get(name), dict)}


def _bits(runs: Sequence[RunFiles]) -> Section:
    """Bits per base of each run and of its parts: species, regions, repeats, tokens by frequency."""
    rows: list[Sequence[Cell]] = []
    figures = []
    for run in runs:
        parts = run.strata or _of_summary(run.summary)
        rows += [[run.name, *(_cell(part.get(key)) for key in _BITS)] for part in parts]
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
        tables=[_by_run(runs, _table(caption, header, rows))] if rows else [],
        figures=figures[:_MOST_CHARTS],
    )


_MODELS = {
    "bits_per_base": "model",
    "two_sided_bits": "two-sided context model",
    "order0_bits": "order-0 entropy",
}
_BITS = {
    "group": "by",
    "stratum": "part",
    "about": "which is",
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


def _accuracy(runs: Sequence[RunFiles]) -> Section:
    """How often the model ranks a masked token first, by how frequent the token is."""
    rows: list[Sequence[Cell]] = []
    figures = []
    for run in runs:
        parts = [part for part in run.strata if part.get("masked_tokens")]
        rows += [[run.name, *(_cell(part.get(key)) for key in _ACCURACY)] for part in parts]
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
        tables=[_by_run(runs, _table(caption, ["run", *_ACCURACY.values()], rows))] if rows else [],
        figures=figures[:_MOST_CHARTS],
    )


_ACCURACY = {
    "stratum": "tenth",
    "about": "which is",
    "masked_tokens": "masked tokens",
    "accuracy": "accuracy",
    "accuracy_se": "its standard error",
    "most_frequent_accuracy": "always the most frequent token",
    "most_frequent_accuracy_se": "its standard error",
}


def _objectives(runs: Sequence[RunFiles]) -> Section:
    """What was learned beside masked tokens."""
    rows: list[Sequence[Cell]] = []
    for run in runs:
        for name, found in _if_mapping(run.summary, "objectives").get("objectives", {}).items():
            if not isinstance(found, dict):
                continue
            of = _if_mapping(found, "model", "baseline")
            for metric, value in of.get("model", {}).items():
                beside = of.get("baseline", {}).get(metric)
                figures = (_cell(value), _cell(beside), _cell(found.get("baseline_name")))
                rows.append([run.name, name, metric, *figures, _cell(found.get("targets"))])
    header = ["run", "objective", "figure", "model", "baseline", "the baseline is", "validation targets"]
    tables = [_by_run(runs, _table("Of the validation, from summary.json", header, rows))] if rows else []
    return Section(title="Objectives on tracks", tables=tables)


def _tasks(runs: Sequence[RunFiles]) -> Section:
    """Figures of labelled tasks, and their rows."""
    figures: list[Sequence[Cell]] = []
    sizes: list[Sequence[Cell]] = []
    for run in runs:
        found = _if_mapping(run.summary, "val", "test", "rows", "data")
        intervals = _if_mapping(_if_mapping(run.provenance, "results").get("results", {}), "intervals")
        for metric, value in found.get("test", {}).items():
            interval = intervals.get("intervals", {}).get(metric)
            low, high = interval if isinstance(interval, list) and len(interval) == 2 else (None, None)
            declared = " (declared)" if metric == run.summary.get("metric") else ""
            task = _cell(run.summary.get("task"))
            numbers = (found.get("val", {}).get(metric), value, low, high)
            figures.append([run.name, task, f"{metric}{declared}", *map(_cell, numbers)])
        for part, number in found.get("rows", {}).items():
            sizes.append([run.name, part, _cell(number), _cell(found.get("data", {}).get(part))])
    tables = []
    if figures:
        header = ["run", "task", "metric", "validation", "test", "95 % from", "to"]
        caption = "Figures of the task; intervals by the bootstrap over the test set"
        tables.append(_by_run(runs, _table(caption, header, figures)))
    if sizes:
        header = ["run", "part", "rows", "checksum"]
        tables.append(_by_run(runs, _table("Rows and their checksums", header, sizes)))
    return Section(title="Labelled tasks", tables=tables)


def _file_tables(runs: Sequence[RunFiles]) -> Section:
    tables = [
        Table(caption=f"{run.name}: {_describe(table)}", header=table.header, rows=table.rows)
        for run in runs
        for table in run.tables
    ]
    return Section(title="Tables", tables=tables)


def _describe(table: FileTable) -> str:
    is_cut = table.num_rows > len(table.rows)
    cut = f"; the first {len(table.rows)} of {table.num_rows:,} rows" if is_cut else ""
    return f"{table.about}, {table.name}{cut}"


def _variants(runs: Sequence[RunFiles]) -> Section:
    """Scored variants: how well scores rank labels, and how scores are distributed."""
    tables, figures = [], []
    for run in runs:
        for scored in run.scored:
            if scored.evaluation:
                header = list(dict.fromkeys(name for row in scored.evaluation for name in row))
                rows = [[_cell(row.get(name)) for name in header] for row in scored.evaluation]
                tables.append(_table(f"{run.name}: {scored.name}, scores against labels", header, rows))
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
    return Section(title="Variants", tables=tables, figures=figures[:_MOST_CHARTS])


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


def _pictures(runs: Sequence[RunFiles]) -> Section:
    figures = [
        Drawing(
            caption=f"{run.name}: {name}",
            source=f"data:image/png;base64,{base64.b64encode(content).decode()}",
        )
        for run in runs
        for name, content in run.pictures.items()
    ]
    return Section(title="Pictures of the run", figures=figures[:_MOST_CHARTS])


def _curves(runs: Sequence[RunFiles]) -> list[Section]:
    """A section for each command, since losses of different commands cannot be compared."""
    sections = []
    for command, group in _by_command(run for run in runs if run.curves).items():
        charts = _charts(group)
        figures = [
            curves_chart(title, lines, unit=_UNITS.get(title, title.removesuffix(" by genome")))
            for title, lines in itertools.islice(charts.items(), _MOST_CHARTS)
        ]
        more = f" {len(charts) - _MOST_CHARTS} more are in metrics.csv." if len(charts) > _MOST_CHARTS else ""
        longest = max(len(curve.steps) for run in group for curve in run.curves.values())
        cut = (
            f" Of more than {MOST_POINTS} values means of pieces are drawn." if longest > MOST_POINTS else ""
        )
        text = f"By optimizer step, from metrics.csv; dots are of the validation.{cut}{more}"
        legend = [(run.name, *look(n)) for n, run in enumerate(group)] if len(group) > 1 else []
        sections.append(Section(title=f"Curves: {command}", text=text, figures=figures, legend=legend))
    return sections


def _charts(runs: Sequence[RunFiles]) -> dict[str, list[Line]]:
    """Lines by chart: training and validation of a figure share one; genomes do where there is one run."""
    charts: dict[str, list[Line]] = {title: [] for title in _TITLES.values()}
    for number, run in enumerate(runs):
        for name, curve in run.curves.items():
            stem = name.removeprefix("train_").removeprefix("val_")
            figure, _, genome = stem.partition("/")
            if genome and len(runs) > 1:
                continue
            title = _TITLES.get(figure, figure.replace("_", " ")) + (" by genome" if genome else "")
            lines = charts.setdefault(title, [])
            appearance = look(len(lines) if genome else number)
            kind = "validation" if name.startswith("val_") else "training"
            lines.append(Line(genome or kind, curve, *appearance, name.startswith("val_")))
        if len(runs) == 1 and charts[_TITLES["bits_per_base"]]:
            for key, label, appearance in (
                ("baseline_order0_bits", "order-0 entropy", (INK, "2 2")),
                ("baseline_two_sided_bits", "two-sided context model", (COLOURS[1], "6 3")),
            ):
                if math.isfinite(level := as_number(run.summary.get(key))):
                    ends = charts[_TITLES["bits_per_base"]][0].curve.steps
                    level_curve = Curve([min(ends), max(ends)], [level, level])
                    charts[_TITLES["bits_per_base"]].append(Line(label, level_curve, *appearance, False))
    return {title: lines for title, lines in charts.items() if lines}
