"""What is imported is declared; what is installed is pinned and not known as hostile; imports do nothing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOSTILE = {"lightning": {"2.6.2", "2.6.3"}, "pytorch-lightning": {"2.6.2", "2.6.3"}}  # GHSA-w37p-236h-pfx3
WATCHED = """
import sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.posix_spawn"):
        done.append((event, repr(arguments)))
done = []
sys.addaudithook(watch)
import dnalm, dnalm.cli, dnalm.commands.pretrain, dnalm.commands.export, dnalm.commands.fetch
import dnalm.data, dnalm.models, dnalm.training, dnalm.evaluation, dnalm.sweeps
print(done)
"""


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    assert all(len(pair) == 2 and re.fullmatch(r"[\w.!+]+", pair[1]) for pair in pairs), "each is exact"
    return {name.lower().replace("_", "-"): version for name, version in pairs}


def imported_roots(tree: ast.AST) -> Iterator[str]:
    """The first names of all imports of a file, those inside functions and blocks included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]


def test_what_the_package_imports_it_declares_as_a_runtime_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.match(r"[\w-]+", word)[0].lower().replace("_", "-") for word in project["dependencies"]}  # type: ignore[index]
    ours = {"dnalm", *sys.stdlib_module_names}
    roots = {
        root: path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "dnalm").rglob("*.py"))
        for root in imported_roots(ast.parse(path.read_text()))
        if root not in ours
    }
    assert {"torch", "pysam", "yaml", "sklearn"} <= set(roots)
    owners = packages_distributions()
    names = {root: {name.lower().replace("_", "-") for name in owners.get(root, [root])} for root in roots}
    assert {root: roots[root] for root, found in names.items() if not found & declared} == {}


def test_every_dependency_is_pinned_and_none_is_known_to_be_hostile() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = [word for group in groups for word in group]
    names = [re.match(r"[\w-]+", word)[0].lower() for word in wanted]  # type: ignore[index]
    pinned = pins()
    assert [name for name in names if name not in pinned] == []
    assert [name for name, bad in HOSTILE.items() if pinned[name] in bad] == []


def test_wheels_for_a_machine_without_a_registry_are_pinned() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    carried = re.search(r"^CARRIED := (.+)$", makefile, re.MULTILINE)[1].split()  # type: ignore[index]
    names = {name.replace("_", "-") for name in [*carried, "antlr4-python3-runtime"]}
    assert {"hydra-core", "omegaconf", "pydantic", "pydantic-core"} <= names <= set(pins())


def test_an_import_opens_no_connection_and_starts_no_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "[]"
