"""`make .whl` collects what a machine with a GPU lacks, and with that alone a run comes to its end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts.test_supply import pins

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that it makes."""
    folder = tmp_path_factory.mktemp("machine")
    for name in ("Makefile", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    words = ["make", "--directory", folder, ".whl", f"PYTHON={sys.executable}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if "after connection broken" in done.stderr:
        pytest.skip("downloading wheels needs a package registry: none is reached")
    assert done.returncode == 0, done.stderr
    return folder / ".whl"


def test_each_is_the_pinned_version_for_the_python_of_such_a_machine(wheels: Path) -> None:
    pinned = pins()
    for path in wheels.iterdir():
        name, version, *_, python, _, platform = path.stem.split("-")
        assert version == pinned[name.lower().replace("_", "-")]
        assert (python, platform) == ("py3", "any") or (python == "cp312" and "x86_64" in platform)


def test_a_run_needs_nothing_else(wheels: Path, tmp_path: Path) -> None:
    """Imports of all other packages are refused (`on_a_gpu_machine`)."""
    program = [sys.executable, "-m", "tests.integration.on_a_gpu_machine", wheels, "pretrain"]
    words = ["experiment=dnabert", "size=tiny", "debug=fast", "data=demo", "trainer=cpu"]
    done = subprocess.run(
        [*program, *words, f"run.dir={tmp_path / 'run'}"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/model/model.safetensors").exists()
