"""`dnalm report`: what runs have left in their folders as one page that needs no network; no model is run."""

from __future__ import annotations

from typing import Annotated

from dnalm.console import stdout
from dnalm.evaluation.report import REPORT_FILE, write_report
from dnalm.limits import NOT_EMPTY
from dnalm.paths import InputPath, OutputFile


def report(
    *,
    runs: Annotated[tuple[InputPath, ...], NOT_EMPTY],
    config: dict[str, object],  # noqa: ARG001 -- every command gets it
    out: OutputFile | None = None,
) -> None:
    """Write the page.

    Args:
        runs: folders that commands have left, such as runs, sweeps and benchmarks, to stand side by side.
        config: the composed config.
        out: the HTML file; if absent `report.html`, of one folder in it, of several beside the first.

    Raises:
        DataError: REPORT-01, a folder holds nothing of ours.
    """
    first = runs[0].resolve()
    target = out or (first if len(runs) == 1 else first.parent) / REPORT_FILE
    stdout.print(f"report: {write_report(runs, target)}")
