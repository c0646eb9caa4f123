"""Runs that several files compare with, and the record of what was found.

With DNALM_FIGURES=file every test here adds a line to that file: its outcome, its figures, its seconds.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.reliability.harness import Place, make_place


@pytest.fixture(scope="module", autouse=True)
def _forked(forked_programs: None) -> None:
    """But for those tests that ask for `real_programs`."""


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return make_place(tmp_path_factory.mktemp("reliability"))


@pytest.fixture
def own(tmp_path: Path) -> Place:
    return make_place(tmp_path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add the outcome of a test to the file of figures, if one is named."""
    report: pytest.TestReport = yield  # type: ignore[assignment, misc]
    target = os.environ.get("DNALM_FIGURES")
    if target and report.when == "call":
        line = {
            "test": item.name,
            "claim": " ".join((item.function.__doc__ or "").split()),  # type: ignore[attr-defined]
            "outcome": report.outcome,
            **dict(report.user_properties),
            "seconds": round(report.duration, 1),
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}",
            "versions": {name: version(name) for name in ("torch", "lightning")},
        }
        with Path(target).open("a") as file:
            file.write(json.dumps(line) + "\n")
    return report  # type: ignore[return-value]
