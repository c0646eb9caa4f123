"""What is printed is text: no markup, nothing invisible; and long work says so where no bar is drawn."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from rich.progress import Progress

from dnalm import console
from dnalm.console import progress_bar, stderr, stdout, text_column

PACKAGE = Path(__file__).parents[1] / "dnalm"
FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("run runs/[bold]x[/bold] [x] [/]", "run runs/[bold]x[/bold] [x] [/]"),
        ("chr1:100:A :dna: [link=file:///x]y", "chr1:100:A :dna: [link=file:///x]y"),
        ("\x1b[2Jgone \u202eabc \u2066x\u200b", r"\x1b[2Jgone \u202eabc \u2066x\u200b"),
        ("name \udcff", r"name \xff"),
    ],
)
def test_a_name_is_printed_as_it_is(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    stdout.print(text)
    stderr.print(text)
    assert capsys.readouterr() == (f"{shown}\n", f"{shown}\n")


def test_the_title_of_a_bar_is_no_markup() -> None:
    bar = Progress(disable=True)
    bar.add_task("Reading [/] [red]x.fa", total=3)
    shown = text_column("running {task.description}").render(bar.tasks[0])
    assert shown.plain == "running Reading [/] [red]x.fa"
    assert not shown.spans


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(console, "time", made)
    return made


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([0.5], ""),  # short work says nothing
        ([12.34], "Reading x.fa ... 12.3 s\n"),
        (
            [31.0, 31.0],
            "Reading x.fa ... 25% after 31 s\nReading x.fa ... 50% after 62 s\nReading x.fa ... 62.0 s\n",
        ),
        ([20.0, 20.0], "Reading x.fa ... 50% after 40 s\nReading x.fa ... 40.0 s\n"),
    ],
)
def test_off_a_terminal_long_work_is_a_line_a_stage_and_one_every_half_minute(
    steps: list[float], expected: str, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bar("Reading x.fa", total=4) as advance:
        for seconds in steps:
            clock.now += seconds
            advance(1)
    assert capsys.readouterr() == ("", expected)


def test_work_of_unknown_amount_is_counted(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("Embedding", total=None) as advance:
        clock.now += 30
        advance(1234)
    assert capsys.readouterr().err == "Embedding ... 1,234 after 30 s\nEmbedding ... 30.0 s\n"


def test_a_process_beside_others_is_silent(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_hidden", [True])
    with progress_bar("Reading x.fa", total=4) as advance:
        clock.now += 60
        advance(4)
    assert capsys.readouterr() == ("", "")


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_one_writer_and_one_printer(path: Path) -> None:
    """Tables are written in tables.py, and whoever prints does so as text."""
    for call in calls(path):
        name = ast.unparse(call.func)
        where = f"{path.name}:{call.lineno}"
        if path.name != "tables.py":
            assert name not in ("csv.writer", "csv.DictWriter", "writer", "DictWriter"), where
        if path.name != "console.py":
            assert name.rpartition(".")[2] not in ("TextColumn", "Console", "from_markup"), where
            markup = [word for word in call.keywords if word.arg in ("markup", "emoji")]
            assert not markup, f"{where}: text is text"
