"""The page of a run, or of several side by side: one HTML file without scripts that reads nothing else.

It is a pure function of what lies in the folders (`run_files`): the same folders give the same bytes.
Figures are inline SVG whose ink is the colour of the page's text, so that they follow light, dark and print.
Curves of more than 300 logged steps are shown as the means of 300 pieces, and tables are cut, so that the
page of any run is small. Whatever comes from files is escaped, and a policy in the page forbids scripts and
network.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dnalm import __version__
from dnalm.console import stdout
from dnalm.evaluation.charts import INK, MOST_POINTS, Line, as_number, curves_chart, look
from dnalm.evaluation.page import MOST_CHARTS, Cell, Section, as_cell, by_run, cut_table, shown
from dnalm.evaluation.plots import COLOURS, Curve
from dnalm.evaluation.report_results import accuracy, bits, file_tables, maps, outputs, pictures, variants
from dnalm.evaluation.run_files import RunFiles, differences, read_runs
from dnalm.tables import readable, replace_text

REPORT_FILE = "report.html"
_TEMPLATE = "report.html.jinja"
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
    "Bits per base at hidden bases": "bits per base",
    "Learning rate": "learning rate",
    "Share of tokens hidden": "share of tokens",
}
_TITLES = {
    "loss": "Loss",
    "bits_per_base": "Bits per base at hidden bases",
    "learning_rate": "Learning rate",
    "mask_rate": "Share of tokens hidden",
    "gradient_norm": "Norm of all gradients",
}


def write_report(folders: Sequence[Path], target: Path) -> Path:
    """Write the page of what commands have left in folders.

    Args:
        folders: of runs, sweeps, benchmarks and other outputs.
        target: the file, replaced if it is there.

    Raises:
        DataError: REPORT-01, a folder holds nothing of ours.
    """
    runs, notes = read_runs(folders)
    replace_text(target, report_page(runs, notes, links=_links(runs, target)))
    return target


def _links(runs: Sequence[RunFiles], target: Path) -> dict[str, str]:
    """By name, the page of each run that lies below the target's folder, relative to it."""
    above = target.parent.resolve()
    pages = {run.name: run.path.resolve() / REPORT_FILE for run in runs}
    return {
        name: quote(page.relative_to(above).as_posix())
        for name, page in pages.items()
        if page.is_relative_to(above) and page.parent != above and page.is_file()
    }


def leave_report(folder: Path) -> None:
    """Write the page of a folder into it, and print where it is."""
    stdout.print(f"report: {write_report([folder], folder / REPORT_FILE)}")


def report_page(
    runs: Sequence[RunFiles], notes: Sequence[str] = (), *, links: Mapping[str, str] | None = None
) -> str:
    """The page as text.

    Args:
        runs: to stand side by side, at least one.
        notes: sentences for its head.
        links: where pages of the runs lie, relative to this one, by the run's name.
    """
    environment = Environment(
        autoescape=True,
        loader=FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"shown": shown, "readable": readable, "exactly": repr}
    sections = [
        _what_ran(runs),
        _differences(runs),
        *_curves(runs),
        bits(runs),
        accuracy(runs),
        _objectives(runs),
        _tasks(runs),
        file_tables(runs),
        outputs(runs),
        variants(runs),
        maps(runs),
        pictures(runs),
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
        links=links or {},
    )


def _side_by_side(runs: Sequence[RunFiles], labels: Mapping[str, str]) -> list[Sequence[Cell]]:
    """A row for each plain figure of `summary.json` that a run has, a column for each run."""
    return [
        [label, *(as_cell(run.summary.get(key)) for run in runs)]
        for key, label in labels.items()
        if any(key in run.summary and not isinstance(run.summary[key], dict | list) for run in runs)
    ]


def _names(runs: Sequence[RunFiles]) -> list[str]:
    return [run.name for run in runs]


def _what_ran(runs: Sequence[RunFiles]) -> Section:
    known = {*_WHAT_RAN, *_SPEED, *_SHOWN_ELSEWHERE, "seed"}
    others = {key: key for run in runs for key in run.summary if key not in known}
    rows: list[Sequence[Cell]] = [["command", *(run.command or "unknown" for run in runs)]]
    rows += _side_by_side(runs, {**_WHAT_RAN, **others})
    rows.append(["seed", *(as_cell(run.summary.get("seed", run.config.get("seed"))) for run in runs)])
    return Section(title="What ran", tables=[cut_table("From summary.json", ["", *_names(runs)], rows)])


def _speed(runs: Sequence[RunFiles]) -> Section:
    rows = _side_by_side(runs, _SPEED)
    tables = [cut_table("From summary.json", ["", *_names(runs)], rows)] if rows else []
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
            tables.append(cut_table(caption, ["key", *_names(group)], rows))
    return Section(
        title="What differs in the configs",
        text="Values are JSON; run.* (name and place of the folder) is left out; all else is the same.",
        tables=tables,
    )


def _configs(runs: Sequence[RunFiles]) -> Section:
    tables = [
        cut_table(
            f"{run.name}: config.yaml, {len(run.config)} values", ["key", "value"], [*run.config.items()]
        )
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
                rows.setdefault(key.removeprefix("versions "), {})[run.name] = as_cell(each)
        for genome in genomes if isinstance(genomes, list) else ():
            if isinstance(genome, dict):
                key = f"genome {genome.get('name')}, {readable(genome.get('num_bases'))} bases, sha256"
                rows.setdefault(key, {})[run.name] = str(genome.get("sha256"))
    table = cut_table(
        "From dnalm.yaml of the model directory and summary.json",
        ["", *_names(runs)],
        [[key, *(values.get(run.name) for run in runs)] for key, values in rows.items()],
    )
    return Section(title="Versions and checksums", tables=[table] if rows else [])


def _if_mapping(summary: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: summary[name] for name in names if isinstance(summary.get(name), dict)}


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
                figures = (as_cell(value), as_cell(beside), as_cell(found.get("baseline_name")))
                rows.append([run.name, name, metric, *figures, as_cell(found.get("targets"))])
    header = ["run", "objective", "figure", "model", "baseline", "the baseline is", "validation targets"]
    tables = [by_run(runs, cut_table("Of the validation, from summary.json", header, rows))] if rows else []
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
            task = as_cell(run.summary.get("task"))
            numbers = (found.get("val", {}).get(metric), value, low, high)
            figures.append([run.name, task, f"{metric}{declared}", *map(as_cell, numbers)])
        for part, number in found.get("rows", {}).items():
            sizes.append([run.name, part, as_cell(number), as_cell(found.get("data", {}).get(part))])
    tables = []
    if figures:
        header = ["run", "task", "metric", "validation", "test", "95 % from", "to"]
        caption = "Figures of the task; intervals by the bootstrap over the test set"
        tables.append(by_run(runs, cut_table(caption, header, figures)))
    if sizes:
        header = ["run", "part", "rows", "checksum"]
        tables.append(by_run(runs, cut_table("Rows and their checksums", header, sizes)))
    return Section(title="Labelled tasks", tables=tables)


def _curves(runs: Sequence[RunFiles]) -> list[Section]:
    """A section for each command, since losses of different commands cannot be compared."""
    sections = []
    for command, group in _by_command(run for run in runs if run.curves).items():
        charts = _charts(group)
        figures = [
            curves_chart(title, lines, unit=_unit(title, command, group))
            for title, lines in itertools.islice(charts.items(), MOST_CHARTS)
        ]
        more = f" {len(charts) - MOST_CHARTS} more are in metrics.csv." if len(charts) > MOST_CHARTS else ""
        longest = max(len(curve.steps) for run in group for curve in run.curves.values())
        cut = (
            f" Of more than {MOST_POINTS} values means of pieces are drawn." if longest > MOST_POINTS else ""
        )
        text = f"By optimizer step, from metrics.csv; dots are of the validation.{cut}{more}"
        legend = [(run.name, *look(n)) for n, run in enumerate(group)] if len(group) > 1 else []
        sections.append(Section(title=f"Curves: {command}", text=text, figures=figures, legend=legend))
    return sections


def _unit(title: str, command: str, runs: Sequence[RunFiles]) -> str:
    """What the axis of a figure is; losses of pretraining are of masked tokens, others of their tasks."""
    if title == _TITLES["loss"] and command == "pretrain":
        per_base = {'"per_base"' in run.config.values() for run in runs}
        return " or ".join(f"nats per {'base' if each else 'masked token'}" for each in sorted(per_base))
    if title == _TITLES["loss"]:
        return "mean loss"
    figure = title.removesuffix(" by genome")
    return _UNITS.get(figure, figure)


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
