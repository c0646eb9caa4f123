"""Repository files in step: workflows call the Makefile, and versions are those of the project.

Their schemas are checked where `check-jsonschema` is installed; it is no dependency, see docs/shipping.md.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import dnalm

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCHEMAS = {
    "vendor.github-workflows": [".github/workflows/checks.yml", ".github/workflows/nightly.yml"],
    "vendor.github-issue-forms": [".github/ISSUE_TEMPLATE/bug.yml", ".github/ISSUE_TEMPLATE/feature.yml"],
    "vendor.citation-file-format": ["CITATION.cff"],
    "vendor.github-issue-config": [".github/ISSUE_TEMPLATE/config.yml"],
    "vendor.compose-spec": ["docker/compose.yaml"],
}


def targets_called(text: str) -> set[str]:
    return set(re.findall(r"^\s*(?:- run: )?make ([\w-]+)$", text, re.MULTILINE))


def jobs() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted((ROOT / ".github/workflows").glob("*.yml")):
        found |= yaml.safe_load(path.read_text())["jobs"]
    return found


def test_workflows_call_what_ci_runs_and_nothing_that_the_makefile_lacks() -> None:
    defined = set(re.findall(r"^([\w-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    of_script = targets_called((ROOT / ".ci/run").read_text())
    of_workflows = {
        target
        for path in (ROOT / ".github/workflows").glob("*.yml")
        for target in targets_called(path.read_text())
    }
    assert of_script == {"check", "test-wheel", "test-all"}
    assert of_script | {"test", "docs"} == of_workflows
    assert of_workflows <= defined


def test_a_step_is_an_action_of_a_version_or_a_target_of_make() -> None:
    steps = [step for job in jobs().values() for step in job["steps"]]
    for step in steps:
        assert re.fullmatch(r"[\w/-]+@v\d+", step.get("uses", "")) or step["run"].startswith("make ")


def test_the_pythons_tested_are_those_the_project_states() -> None:
    stated = [word.rpartition(" ")[2] for word in PROJECT["classifiers"] if "Python :: 3." in word]
    assert jobs()["test"]["strategy"]["matrix"]["python"] == stated
    assert PROJECT["requires-python"] == f">={stated[0]}"
    others = [
        step["with"]["python-version"]
        for job in jobs().values()
        for step in job["steps"]
        if "matrix" not in str(step) and step.get("uses", "").startswith("actions/setup-python")
    ]
    assert set(others) <= set(stated)


def test_the_version_has_one_place_and_the_citation_follows() -> None:
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (dnalm.__version__, PROJECT["license"])


def test_the_changelog_has_an_unreleased_part_and_kinds_of_changes_that_readers_know() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE)[0] == "[Unreleased]"
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds


def test_hooks_run_what_the_environment_of_make_has() -> None:
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    entries = [hook["entry"].split() for repo in repos for hook in repo["hooks"]]
    assert {entry[0] for entry in entries} == {".venv/bin/ruff", ".venv/bin/python"}
    named = [word for entry in entries for word in entry[1:] if word.endswith(".py")]
    assert [word for word in named if not (ROOT / word).is_file()] == []


@pytest.mark.skipif(shutil.which("check-jsonschema") is None, reason="check-jsonschema is not installed")
@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_file_has_the_form_that_its_readers_ask_for(schema: str) -> None:
    words = ["check-jsonschema", "--builtin-schema", schema, *SCHEMAS[schema]]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
