"""The pages under docs/ that are read off the source: current, and fit to be looked things up in."""

import importlib.util
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pages", ROOT / "docs" / "pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pages"] = module
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_those_of_this_source() -> None:
    done = subprocess.run(
        [sys.executable, "docs/pages.py", "--check"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stderr == ""
    assert done.returncode == 0


def test_a_code_has_one_exit_code() -> None:
    """Whoever looks a code up learns who must act."""
    kinds = defaultdict(set)
    for use in pages().uses():
        kinds[use.code] |= {use.kind} - {""}
    assert {code: kind for code, kind in kinds.items() if len(kind) > 1} == {}


def test_every_code_of_a_message_is_on_the_page() -> None:
    text = (ROOT / "docs" / "errors.md").read_text()
    assert len(pages().uses()) > 400
    for use in pages().uses():
        assert f"\n| {use.code} |" in text
