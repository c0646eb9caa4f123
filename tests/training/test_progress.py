"""What a run says while it works."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from dnalm.training import progress as progress_module
from dnalm.training.progress import ProgressBar
from tests.training.fitting import trainer_of
from tests.training.test_masked_lm import datamodule, module_of, network


def run_with(console: Console, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(progress_module, "stderr", console)
    data = datamodule(folder, micro=8)
    trainer = trainer_of(folder / "run", data.batch, steps=4, validate_every=2)
    (bar,) = (callback for callback in trainer.callbacks if isinstance(callback, ProgressBar))
    bar.lines_every = 2
    trainer.fit(module_of(network()), datamodule=data)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_terminal_lines_are_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = run_with(Console(file=io.StringIO(), width=200), tmp_path, monkeypatch)
    lines = text.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["step 2/4", "step 2/4", "step 4/4", "step 4/4"]
    assert "\x1b" not in text
    for part in ("loss ", "bits/base ", "tokens/s"):
        assert part in lines[-1]


def test_on_a_terminal_one_bar_shows_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    text = run_with(console, tmp_path, monkeypatch)
    for part in ("Training", "4/4", "loss ", "bits/base ", "tokens/s", "0:00:00"):
        assert part in text
