"""The wheel holds the configs and every file that they name inside the package, and works from any folder.

`tests/wheel.sh` installs it with its runtime dependencies alone and lets every command do its work.
"""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_every_config_lies_inside_the_package_and_nothing_else_is_shipped(unpacked: Path) -> None:
    shipped = {
        str(path.relative_to(unpacked / "dnalm/conf")) for path in (unpacked / "dnalm/conf").rglob("*.*")
    }
    assert shipped == {str(path.relative_to(ROOT / "conf")) for path in (ROOT / "conf").rglob("*.*")}
    assert "download/nt_multispecies.tsv" in shipped
    assert (unpacked / "dnalm/published/gue_dnabert2_table4.csv").is_file()
    assert (unpacked / "dnalm/evaluation/report.html.jinja").is_file()
    tops = {path.name for path in unpacked.iterdir()}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"dnalm"}


def files_named_by_configs() -> list[tuple[str, str]]:
    """Each YAML of conf/ with a file that one of its values names, by the endings that we ship."""
    named = []
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        for value in leaves(yaml.safe_load(path.read_text())):
            if isinstance(value, str) and re.fullmatch(r"[\w./-]+\.(tsv|csv|json|txt|bed|meme)", value):
                named.append((path.relative_to(ROOT).as_posix(), value))
    return named


def leaves(node: object) -> Iterator[object]:
    if isinstance(node, dict | list):
        for below in node.values() if isinstance(node, dict) else node:
            yield from leaves(below)
    else:
        yield node


def test_every_file_that_a_config_names_is_in_the_wheel(unpacked: Path) -> None:
    named = files_named_by_configs()
    assert ("conf/benchmark/nt.yaml", "nt_18_tasks.csv") in named
    assert ("conf/download/nt_multispecies.yaml", "nt_multispecies.tsv") in named
    shipped = {path.name for path in (unpacked / "dnalm").rglob("*") if path.is_file()}
    assert [(config, name) for config, name in named if name not in shipped] == []


def test_what_the_wheel_is_made_of_is_there_and_in_the_image() -> None:
    """Hatchling passes over a path that is absent without a word."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    parts = build["wheel"]["only-include"]
    assert [part for part in parts if not any((ROOT / part).iterdir())] == []
    copied = [
        line.split()[1:]
        for line in (ROOT / "docker/Dockerfile").read_text().splitlines()
        if line[:5] == "COPY "
    ]
    assert [part for part in parts if [part, part] not in copied] == []


def test_the_installed_package_composes_from_an_unrelated_folder(unpacked: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dnalm", "pretrain", "experiment=dnabert", "size=tiny", "--cfg"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        check=True,
    )
    assert yaml.safe_load(done.stdout)["data"]["clade"]["_target_"] == "dnalm.simulation.settings.Clade"
