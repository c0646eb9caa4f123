"""The wheel holds the configs inside the package, and works from any folder."""

import os
import subprocess
import sys
import zipfile
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
    assert "recipe/nt_multispecies.tsv" in shipped
    assert (unpacked / "dnalm/published/gue_dnabert2_table4.csv").is_file()
    tops = {path.name for path in unpacked.iterdir()}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"dnalm"}


def test_the_installed_package_composes_from_an_unrelated_folder(unpacked: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dnalm", "pretrain", "experiment=dnabert", "size=tiny", "--cfg"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        check=True,
    )
    assert yaml.safe_load(done.stdout)["data"]["clade"]["_target_"] == "dnalm.genome.clade.Clade"
