"""The page of a run, or of several side by side: one HTML file without scripts that reads nothing else.

It is a pure function of what lies in the folders (`run_files`): the same folders give the same bytes.
Figures are inline SVG whose ink is the colour of the page's text, so that they follow light, dark and print.
Curves of more than 300 logged steps are shown as the means of 300 pieces, and tables are cut, so that the
page of any run is small. Whatever comes from files is escaped, and a policy in the page forbids scripts and
network.
"""

from __future__ import annotations

import base64
import io
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dnalm import __version__
from dnalm.console import stdout
from dnalm.errors import escape_controls
from dnalm.evaluation.plots import Curve, new_figure
from dnalm.evaluation.run_files import FileTable, RunFiles, ScoredTable, differences, read_runs
from dnalm.tables import readable, replace_text

REPORT_FILE = "report.html"
_TEMPLATE = "report.html.jinja"
_MOST_LETTERS = 240  # of a cell
_MOST_ROWS = 400  # of a table
_MOST_POINTS = 300  # of a curve
_MOST_CHARTS = 24  # of a section
_BINS = 40
_INCHES = (5.0, 3.1)
_INK = "#010203"  # of figures; in the page the colour of its text
_COLOURS = ("#3b82d6", "#d9711a", "#2b9a66", "#cf5a94", "#8d6be0", "#a8842a")  # legible on light and on dark
_DASHES = ("", "6 3", "2 2", "8 2 2 2")
_STYLE: dict[Any, Any] = {  # whose keys matplotlib types as literals
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 11,
    "legend.fontsize": 9,
    "grid.alpha": 0.15,
    "grid.color": _INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.parse_math": False,  # a run may be called $x$
}
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
class Drawing:
    """A figure: inline SVG, or the data URI of a picture."""

    caption: str
    svg: Markup | None = None
    source: str = ""


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


class _Line(NamedTuple):
    """A line of a chart."""

    label: str
    curve: Curve
    colour: str
    dashes: str
    is_validation: bool


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
    """Bits per base of each run and of its parts (species, or whatever else the summary divides by)."""
    rows: list[Sequence[Cell]] = []
    figures = []
    for run in runs:
        parts = {"all": run.summary} if "val_bits_per_base" in run.summary else {}
        for name, value in run.summary.items():
            for part, found in value.items() if isinstance(value, dict) else ():
                if isinstance(found, dict) and "val_bits_per_base" in found:
                    parts[f"{name}: {part}"] = found
        rows += [[run.name, part, *_bits_row(found)] for part, found in parts.items()]
        if len(parts) > 1:
            figures.append(_bits_chart(run, parts))
    header = ["run", "hidden bases of", "how many", "model", "order-0 entropy", "two-sided context model"]
    header += ["model less two-sided", "standard error", "windows"]
    caption = "Bits per base, of the model and of count models at the same hidden bases of validation windows"
    return Section(
        title="Bits per base",
        text="Less is better; a difference below 0 says that the model beats the two-sided context model. "
        "Of fewer than 30 windows a standard error is no verdict.",
        tables=[_by_run(runs, _table(caption, header, rows))] if rows else [],
        figures=figures[:_MOST_CHARTS],
    )


def _bits_row(found: Mapping[str, Any]) -> list[Cell]:
    over = found.get("over_two_sided")
    over = over if isinstance(over, dict) else {}
    names = ("hidden_bases", "val_bits_per_base", "baseline_order0_bits", "baseline_two_sided_bits")
    return [
        *(_cell(found.get(name)) for name in names),
        *(_cell(over.get(name)) for name in ("mean", "standard_error", "windows")),
    ]


def _bits_chart(run: RunFiles, parts: Mapping[str, Mapping[str, Any]]) -> Drawing:
    shown = dict(itertools.islice(parts.items(), 30))
    kinds = {
        "val_bits_per_base": ("model", "o", _COLOURS[0]),
        "baseline_order0_bits": ("order-0 entropy", "|", _INK),
        "baseline_two_sided_bits": ("two-sided context model", "D", _COLOURS[1]),
    }
    with mpl.rc_context(_STYLE):
        figure = new_figure(_INCHES[0], 1.2 + 0.25 * len(shown))
        axes = figure.subplots()
        for key, (label, marker, colour) in kinds.items():
            values = [_number(found.get(key)) for found in shown.values()]
            axes.scatter(values, range(len(shown)), marker=marker, color=colour, s=36, label=label)
        axes.set_yticks(range(len(shown)), [_label(name.partition(": ")[2] or name) for name in shown])
        axes.invert_yaxis()
        axes.margins(y=0.15)
        axes.set_xlabel("bits per base")
        figure.legend(loc="outside upper center", ncols=3, handletextpad=0.2, columnspacing=1)
        caption = f"{run.name}: bits per base beside count models"
        return Drawing(caption=caption, svg=_svg(figure, caption))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e30 else math.nan


def _label(name: str) -> str:
    return escape_controls(name if len(name) <= 28 else f"…{name[-27:]}")


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
            figures += [_histogram(run, scored, name) for name in scored.scores]
    return Section(title="Variants", tables=tables, figures=figures[:_MOST_CHARTS])


def _histogram(run: RunFiles, scored: ScoredTable, name: str) -> Drawing:
    values = np.array([each for each in scored.scores[name] if abs(each) < 1e30])
    with mpl.rc_context(_STYLE):
        figure = new_figure(*_INCHES)
        axes = figure.subplots()
        axes.hist(values, bins=_BINS, color=_COLOURS[0])
        axes.set(xlabel=_label(name), ylabel="alleles")
        caption = f"{run.name}: {scored.name}, {name} of {len(values):,} alleles"
        return Drawing(caption=caption, svg=_svg(figure, caption))


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
        figures = [_chart(title, lines) for title, lines in itertools.islice(charts.items(), _MOST_CHARTS)]
        more = f" {len(charts) - _MOST_CHARTS} more are in metrics.csv." if len(charts) > _MOST_CHARTS else ""
        longest = max(len(curve.steps) for run in group for curve in run.curves.values())
        cut = (
            f" Of more than {_MOST_POINTS} values means of pieces are drawn."
            if longest > _MOST_POINTS
            else ""
        )
        text = f"By optimizer step, from metrics.csv; dots are of the validation.{cut}{more}"
        legend = [(run.name, *_look(n)) for n, run in enumerate(group)] if len(group) > 1 else []
        sections.append(Section(title=f"Curves: {command}", text=text, figures=figures, legend=legend))
    return sections


def _look(number: int) -> tuple[str, str]:
    """Colour and dashes of a run's lines."""
    return _COLOURS[number % len(_COLOURS)], _DASHES[number // len(_COLOURS) % len(_DASHES)]


def _charts(runs: Sequence[RunFiles]) -> dict[str, list[_Line]]:
    """Lines by chart: training and validation of a figure share one; genomes do where there is one run."""
    charts: dict[str, list[_Line]] = {title: [] for title in _TITLES.values()}
    for number, run in enumerate(runs):
        for name, curve in run.curves.items():
            stem = name.removeprefix("train_").removeprefix("val_")
            figure, _, genome = stem.partition("/")
            if genome and len(runs) > 1:
                continue
            title = _TITLES.get(figure, figure.replace("_", " ")) + (" by genome" if genome else "")
            lines = charts.setdefault(title, [])
            look = _look(len(lines) if genome else number)
            kind = "validation" if name.startswith("val_") else "training"
            lines.append(_Line(genome or kind, curve, *look, name.startswith("val_")))
        if len(runs) == 1 and charts[_TITLES["bits_per_base"]]:
            for key, label, look in (
                ("baseline_order0_bits", "order-0 entropy", (_INK, "2 2")),
                ("baseline_two_sided_bits", "two-sided context model", (_COLOURS[1], "6 3")),
            ):
                if math.isfinite(level := _number(run.summary.get(key))):
                    ends = charts[_TITLES["bits_per_base"]][0].curve.steps
                    level_curve = Curve([min(ends), max(ends)], [level, level])
                    charts[_TITLES["bits_per_base"]].append(_Line(label, level_curve, *look, False))
    return {title: lines for title, lines in charts.items() if lines}


def _chart(title: str, lines: Sequence[_Line]) -> Drawing:
    with mpl.rc_context(_STYLE):
        figure = new_figure(*_INCHES)
        axes = figure.subplots()
        kinds = {line.is_validation for line in lines}
        for line in lines:
            _draw(axes, line, is_pale=len(kinds) > 1 and line.label == "training")
        axes.set(xlabel="optimizer step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=6))
        labels = dict.fromkeys(line.label for line in lines)
        if len(labels) > 1 and len({(line.colour, line.label) for line in lines}) == len(labels):
            figure.legend(loc="outside lower center", ncols=min(3, len(labels)))
        return Drawing(caption=title, svg=_svg(figure, title))


def _draw(axes: Axes, line: _Line, *, is_pale: bool) -> None:
    steps, values = _thinned(line.curve)
    dashes = [float(each) for each in line.dashes.split()]
    axes.plot(
        steps,
        values,
        color=line.colour,
        linestyle=(0, dashes) if dashes else "-",
        linewidth=1 if is_pale else 1.5,
        alpha=0.5 if is_pale else 1,
        marker="o" if (line.is_validation and len(steps) <= 60) or len(steps) == 1 else "",
        markersize=3,
        label=_label(line.label),
    )


def _thinned(curve: Curve) -> tuple[list[float], list[float]]:
    """The means of at most 300 pieces."""
    if len(curve.steps) <= _MOST_POINTS:
        return list(curve.steps), curve.values
    pieces = (np.array_split(np.array(each, float), _MOST_POINTS) for each in (curve.steps, curve.values))
    steps, values = ([float(f"{piece.mean():.6g}") for piece in each] for each in pieces)
    return steps, values


def _svg(figure: Figure, caption: str) -> Markup:
    """A figure as inline SVG: no sizes, names or addresses of its own, its ink that of the page."""
    text = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": caption}):
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    svg = text.getvalue()
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    head, _, body = svg.partition(">")
    head = re.sub(r' (xmlns(:\w+)?|width|height|version)="[^"]*"', "", head)
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace("xlink:href", "href")
    label = escape(_shown(caption))
    described = head.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    return Markup((f"{described}>{body}").replace(_INK, "currentColor"))
