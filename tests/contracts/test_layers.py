"""The house's rules, read off the source: who may import whom, how long things are."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "dnalm"
FILES = sorted(PACKAGE.rglob("*.py"))

EVERYWHERE = {
    "errors",
    "console",
    "limits",
    "paths",
    "durable",
    "grants",
    "lifetime",
    "lock",
    "small_files",
    "system_errors",
    "tables",
}
MAY_IMPORT = {
    "genome": {"genome"},
    "simulation": {"simulation", "genome"},
    "tokenizers": {"tokenizers", "genome"},
    "models": {"models"},
    "data": {"data", "simulation", "genome", "tokenizers"},
    "training": {"training", "data", "models", "genome", "tokenizers"},
    "evaluation": {"evaluation", "training", "data", "models", "simulation", "genome", "tokenizers"},
    "commands": {
        "commands",
        "compose",
        "sweeps",
        "evaluation",
        "training",
        "data",
        "models",
        "simulation",
        "genome",
        "tokenizers",
    },
    "compose": {"compose"},
    "sweeps": {"sweeps", "compose"},
    "cli": {"compose", "sweeps"},
    "hf": {"models"},
    "__main__": {"cli"},
    "errors": set(),
    "console": {"errors"},
    "limits": set(),
    "paths": set(),
    "durable": set(),
    "lock": set(),
    "lifetime": set(),
    "grants": set(),
    "tables": set(),
    "system_errors": set(),
    "small_files": set(),
    "__init__": {"api"},
    "api": {"evaluation", "training", "data", "models", "genome", "tokenizers"},
}
FORBIDDEN_LIBRARIES = {
    "genome": {"torch", "lightning", "hydra", "omegaconf", "transformers"},
    "simulation": {"torch", "lightning", "hydra", "omegaconf", "transformers"},
    "tokenizers": {"torch", "lightning", "hydra", "omegaconf"},
    "models": {"lightning", "hydra", "omegaconf", "transformers"},
    "data": {"hydra", "omegaconf", "transformers"},
    "training": {"hydra", "omegaconf", "transformers"},
    "evaluation": {"hydra", "omegaconf", "transformers"},
    "commands": {"hydra", "omegaconf", "transformers"},
    "sweeps": {"torch", "lightning", "transformers"},
}
MODELING = PACKAGE / "models/modeling_dnalm.py"  # copied into directories: classes as transformers calls them


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "dnalm"}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_layer_imports_only_what_lies_below_it(path: Path) -> None:
    layer = layer_of(path)
    allowed = MAY_IMPORT[layer] | EVERYWHERE
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "dnalm" and len(parts) > 1:
            assert parts[1] in allowed or parts[1] == "__version__", f"{path.name} of {layer} imports {name}"
        if path == MODELING:
            assert parts[0] in {"__future__", "typing", "torch", "transformers"}
        else:
            assert parts[0] not in FORBIDDEN_LIBRARIES.get(layer, set()), f"{layer} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short_and_well_named(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 800
    assert path.stem not in {"utils", "helpers", "common", "misc"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            passes_on = node.name == "make" or path == MODELING
            assert node.args.kwarg is None or passes_on, f"**kwargs in {node.name}"
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 80, f"{node.name} has {length} lines"


def test_no_file_is_a_paragraph_of_another() -> None:
    """Under 60 lines, and a single other file imports it: it belongs there."""
    importers = {path: {other for other, found in graph().items() if path in found} for path in graph()}
    short = [path for path in FILES if path.read_text().count("\n") < 60 and path.stem[:2] != "__"]
    assert [path for path in short if len(importers[path]) == 1] == []


def test_no_circle_of_imports() -> None:
    """Of files; a package's `__init__` hands names on, and is no part of a circle."""
    left = {path: found for path, found in graph().items() if path.stem != "__init__"}
    while free := [path for path, found in left.items() if not found & left.keys()]:
        for path in free:
            del left[path]
    assert {str(path.relative_to(ROOT)) for path in left} == set()


@cache
def graph() -> dict[Path, frozenset[Path]]:
    """The files that each file imports from, at the top or within a function."""
    places = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}
    places |= {name.removesuffix(".__init__"): path for name, path in places.items()}
    found: dict[Path, set[Path]] = {path: set() for path in FILES}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in places:
                names = [
                    places.get(f"{node.module}.{alias.name}", places[node.module]) for alias in node.names
                ]
                found[path] |= {*names} - {path}
    return {path: frozenset(others) for path, others in found.items()}


DOORS = {  # `import dnalm` is lazy, `dnalm.genome(...)` a call, and completion takes no Hydra or pydantic
    "__init__.py",
    "compose/__init__.py",
    "genome/__init__.py",
}


def test_package_inits_only_reexport() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        if str(path.relative_to(PACKAGE)) in DOORS:
            continue
        for node in ast.parse(path.read_text()).body:
            docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            assignment = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in {
                "__all__",
                "__version__",
            }
            assert docstring or assignment or isinstance(node, ast.ImportFrom), f"{path}: {ast.unparse(node)}"


@pytest.mark.parametrize("module", ["dnalm.data.samples", "dnalm.data.labelled.samples"])
def test_loader_workers_start_without_lightning(module: str) -> None:
    """They import where their samples are defined; Lightning would take two thirds of their start."""
    code = f"import sys, {module}; print({{'torch', 'lightning', 'torchmetrics'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "{'torch'}"


def test_conf_is_no_package() -> None:
    # An __init__.py there would make editable installs import conf from the repository root.
    assert not list((ROOT / "conf").rglob("*.py"))
