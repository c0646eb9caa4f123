"""Arguments of components, read from their source without importing it.

A misspelt key should not cost the seconds that importing torch takes. What cannot be read this way (a
class made at run time, one whose base lies elsewhere) is left to `check`, which imports.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_ROOTS = ("dnalm", "torch", "lightning", "torchmetrics", "peft")
_MOST_HOPS = 8  # re-exports between the name of a component and its definition


def parameters_of(target: object) -> list[str] | None:
    """Names of a target's arguments, in order; None where the source does not tell.

    Args:
        target: the value of `_target_`, such as `dnalm.data.Masking`.
    """
    if not isinstance(target, str) or target.partition(".")[0] not in _ROOTS:
        return None
    found = _find(target, _MOST_HOPS)
    if found is None:
        return None
    path, node = found
    return _of_class(path, node) if isinstance(node, ast.ClassDef) else _of_function(node)


_Definition = ast.ClassDef | ast.FunctionDef


def _find(dotted: str, hops: int) -> tuple[Path, _Definition] | None:
    """The file and the definition that a dotted path leads to, through re-exports."""
    package, *names = dotted.split(".")
    path = _package_file(package)
    while path is not None and names and path.name == "__init__.py":
        below = path.parent / names[0]
        module = next(
            (file for file in (below / "__init__.py", below.with_suffix(".py")) if file.is_file()), None
        )
        if module is None:
            break
        path, names = module, names[1:]
    return _in_module(path, names[0], hops) if path is not None and len(names) == 1 else None


@cache
def _package_file(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin) if spec is not None and spec.origin else None


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _in_module(path: Path, name: str, hops: int) -> tuple[Path, _Definition] | None:
    for node in _parsed(path).body:
        if isinstance(node, _Definition) and node.name == name:
            return path, node
        if isinstance(node, ast.ImportFrom) and hops:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find(f"{_imported_module(path, node)}.{alias.name}", hops - 1)
    return None


def _imported_module(path: Path, node: ast.ImportFrom) -> str:
    """The absolute dotted name of what `from … import` names, relative ones resolved."""
    if not node.level:
        return node.module or ""
    folder = path.parent
    for _ in range(node.level - 1):
        folder = folder.parent
    parts = [folder.name]
    while (folder := folder.parent) and (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
    return ".".join([*parts, *([node.module] if node.module else [])])


def _of_function(node: ast.FunctionDef) -> list[str] | None:
    """Arguments of a function; None if it is decorated or takes any names."""
    if node.decorator_list or node.args.kwarg is not None:
        return None
    return [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]


def _of_class(path: Path, node: ast.ClassDef) -> list[str] | None:
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
            names = _of_function(inner)
            return names[1:] if names is not None else None
    if _is_dataclass(node):
        return _fields(path, node)
    if not node.bases:
        return []
    found = [_base(path, base) for base in node.bases]
    return _of_class(*found[0]) if len(found) == 1 and found[0] is not None else None


def _fields(path: Path, node: ast.ClassDef) -> list[str] | None:
    """Fields of a dataclass, those of its bases first; None if a base is not found."""
    names: dict[str, None] = {}
    for base in node.bases:
        if ast.unparse(base).partition("[")[0].rpartition(".")[2] in ("Generic", "Protocol", "ABC"):
            continue
        found = _base(path, base)
        inherited = _fields(*found) if found is not None else None
        if inherited is None:
            return None
        names |= dict.fromkeys(inherited)
    return [*(names | dict.fromkeys(_own_fields(node)))] if _is_dataclass(node) else list(names)


def _own_fields(node: ast.ClassDef) -> Iterator[str]:
    for inner in node.body:
        if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
            outer = ast.unparse(inner.annotation).partition("[")[0]
            is_class_variable = outer.rpartition(".")[2] == "ClassVar"
            is_filled = inner.value is not None and "init=False" in ast.unparse(inner.value)
            if not is_class_variable and not is_filled:
                yield inner.target.id


def _is_dataclass(node: ast.ClassDef) -> bool:
    names = [ast.unparse(decorator).partition("(")[0] for decorator in node.decorator_list]
    return any(name.rpartition(".")[2] == "dataclass" for name in names)


def _base(path: Path, base: ast.expr) -> tuple[Path, ast.ClassDef] | None:
    found = _in_module(path, base.id, _MOST_HOPS) if isinstance(base, ast.Name) else None
    return (found[0], found[1]) if found is not None and isinstance(found[1], ast.ClassDef) else None
