"""The pages make a site: no link or anchor is broken, experiments and docstrings are part of it."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None, reason="mkdocs is absent: pip install '.[docs]'"
)
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert 'class="mermaid"' in (tmp_path / "architecture/index.html").read_text()
    assert "masked_probabilities" in (tmp_path / "python/index.html").read_text()
    links = (tmp_path / "variants/index.html").read_text()
    assert 'href="../experiments/LOG/"' in links
    assert (tmp_path / "experiments/LOG/index.html").is_file()
