"""The notebooks run as they are, one after the other, and say what is written down in them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[2] / "docs/notebooks"
# Cells whose numbers are of a trained network, in whose last digits machines differ.
TRAINED = ("!dnalm pretrain", "!dnalm finetune", "!dnalm score", "for row in rows", "card = ")


def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_notebooks", NOTEBOOKS / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where they all work: the model that the first one trains is that of the others."""
    return tmp_path_factory.mktemp("notebooks")


def code_cells(content: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    return [
        ("".join(cell["source"]), cell["outputs"]) for cell in content["cells"] if cell["cell_type"] == "code"
    ]


def texts(outputs: list[dict[str, Any]]) -> list[str]:
    return ["".join(output.get("text") or output["data"]["text/plain"]) for output in outputs]


@pytest.mark.parametrize("name", runner().NOTEBOOKS)
def test_a_notebook_runs_and_prints_what_it_shows(name: str, folder: Path) -> None:
    written = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))
    found = runner().run(NOTEBOOKS / name, folder)
    for (source, shown), (_, now) in zip(code_cells(written), code_cells(found), strict=True):
        if any(word in source for word in TRAINED):
            assert bool(shown) == bool(now), source
        else:
            assert texts(shown) == texts(now), source


def test_every_notebook_is_run() -> None:
    assert {path.name for path in NOTEBOOKS.glob("*.ipynb")} == {*runner().NOTEBOOKS}
    for path in NOTEBOOKS.glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        numbers = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
        assert numbers == list(range(1, len(numbers) + 1)), f"{path.name}: python docs/notebooks/run.py"
        assert path.stat().st_size < 50_000
