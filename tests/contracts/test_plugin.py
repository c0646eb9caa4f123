"""A lab's own package, found by its entry point, trains an objective; the page about it shows its code."""

import csv
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from dnalm import grants
from dnalm.compose.targets import resolve
from dnalm.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "tests/plugin"
PAGE = (ROOT / "docs/extending.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """What `pip install -e tests/plugin` leaves: the folder on Python's path, and its metadata."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    info = tmp_path / "site/my_lab-1.0.dist-info"
    info.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(metadata)
    (points,) = project["entry-points"].items()
    lines = [f"{name} = {value}" for name, value in points[1].items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{points[0]}]", *lines]) + "\n")
    return info.parent


def test_the_page_shows_the_code_of_the_package() -> None:
    assert blocks("python") == [(PACKAGE / "my_lab/__init__.py").read_text()]
    assert blocks("toml") == [(PACKAGE / "pyproject.toml").read_text()]


def test_the_command_of_the_page_trains_the_objective(installed: Path, tmp_path: Path) -> None:
    (commands,) = blocks("console")
    words = commands.replace("\\\n", " ").split("dnalm pretrain ")[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(installed), str(PACKAGE)])}
    command = f"{sys.executable} -P -m dnalm pretrain {words.strip()} steps=3 debug=fast run.dir=run"
    done = subprocess.run(
        command.replace(" steps=20", ""), shell=True, cwd=tmp_path, env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert "conserved" in json.dumps(summary)
    with (tmp_path / "run/metrics.csv").open() as file:
        assert any("conserved" in name for name in next(csv.reader(file)))
    assert "plugins:\n- my_lab\n" in (tmp_path / "run/config.yaml").read_text()


def test_an_installed_package_is_admitted_only_by_name(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(PACKAGE))
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.setattr(grants, "current", grants.Grants())
    with pytest.raises(ConfigError, match=r"CFG-21 objectives\._target_: .*add plugins=\[my_lab\]"):
        resolve("my_lab.Conserved", key="objectives")
    assert "my_lab" not in sys.modules
    assert grants.take_grants(["plugins=[lab]", "a=1"]) == ["a=1"]
    assert grants.current.plugins == ("my_lab",)
    assert resolve("my_lab.Conserved", key="objectives").__name__ == "Conserved"
    with pytest.raises(ConfigError, match=r"CFG-37 plugins: labb, which .*; installed ones: lab\b"):
        grants.take_grants(["plugins=[labb]"])
