"""The arguments of components as their source states them: names, types, defaults, what is said of them.

Nothing is imported, since neither a misspelt key nor a completed one should cost the seconds that importing
torch takes. What cannot be read this way (a class made at run time, one whose base lies elsewhere) is left
to `check`, which imports.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from dnalm.grants import LIBRARIES

_DOCUMENTED = re.compile(r"^    (\w+): ", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Argument:
    """An argument of a component.

    Attributes:
        name: the config key, without those above it.
        type: its annotation, as the source spells it.
        default: the expression of its default, as the source spells it; None if it is required.
        text: what the docstring says of it; empty if nothing.
    """

    name: str
    type: str
    default: str | None
    text: str = ""


def documented_arguments(docstring: str) -> dict[str, str]:
    """The entries of `Args:` or `Attributes:` of a docstring."""
    sections = re.split(
        r"^(?:Args|Attributes):\n", inspect.cleandoc(docstring), maxsplit=1, flags=re.MULTILINE
    )
    if len(sections) < 2:
        return {}
    body = re.split(r"^\S", sections[1], maxsplit=1, flags=re.MULTILINE)[0]
    parts = _DOCUMENTED.split(body)
    return {name: " ".join(text.split()) for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def argument_names(target: object) -> list[str] | None:
    """Names of a target's arguments, in order; None where they cannot be read from source."""
    found = arguments(target)
    return None if found is None else [argument.name for argument in found]


def arguments(target: object) -> list[Argument] | None:
    """A target's arguments, in order; None where they cannot be read from source.

    Args:
        target: the value of `_target_`, such as `dnalm.data.Masking`.
    """
    if not isinstance(target, str) or "." not in target or target.partition(".")[0] not in LIBRARIES:
        return None
    module, _, name = target.rpartition(".")
    found = _definition(module, name)
    if found is None:
        return None
    module, node = found
    return _of_class(module, node) if isinstance(node, ast.ClassDef) else _of_function(node, node)


def literal_defaults(target: object, names: Collection[str] | None = None) -> dict[str, Any] | None:
    """Defaults of a target's arguments, in order, but for objects, which no YAML holds.

    Args:
        target: the value of `_target_`.
        names: the arguments that count; None for all.

    Returns:
        None where the source does not state all of them as literals.
    """
    found: dict[str, Any] = {}
    known = arguments(target)
    for argument in known or ():
        if argument.default is None or (names is not None and argument.name not in names):
            continue
        expression = ast.parse(argument.default, mode="eval").body
        if isinstance(expression, ast.Call):
            continue
        try:
            found[argument.name] = ast.literal_eval(expression)
        except ValueError:
            return None
    return None if known is None else found


_Definition = ast.ClassDef | ast.FunctionDef
_MOST_HOPS = 8  # re-exports between the name of a component and its definition


def _definition(module: str, name: str, hops: int = _MOST_HOPS) -> tuple[str, _Definition] | None:
    """Where a name of a module is defined, through re-exports: the module there, and the definition."""
    package, body = _source(module)
    for node in body:
        if isinstance(node, _Definition) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom) and hops:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                    return _definition(origin, alias.name, hops - 1)
    return None


@cache
def _source(module: str) -> tuple[str, list[ast.stmt]]:
    """The package of a module and its statements, without importing it; none where it has no source."""
    top, *below = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent.joinpath(*below)
        package = module if path.is_dir() else module.rpartition(".")[0]
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if file.is_file():
            return package, ast.parse(file.read_text(encoding="utf-8")).body
    return module, []


def _of_function(node: ast.FunctionDef, documented: _Definition) -> list[Argument] | None:
    """Arguments of a function, as something documents them; None if it is decorated or takes any names."""
    if node.decorator_list or node.args.kwarg is not None:
        return None
    positional = [*node.args.posonlyargs, *node.args.args]
    defaults = [*[None] * (len(positional) - len(node.args.defaults)), *node.args.defaults]
    pairs = [*zip(positional, defaults, strict=True)]
    pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    found = [
        Argument(name=argument.arg, type=_spelt(argument.annotation) or "", default=_spelt(default))
        for argument, default in pairs
    ]
    return _with_texts(found, documented)


def _with_texts(found: Iterable[Argument], node: _Definition) -> list[Argument]:
    texts = documented_arguments(ast.get_docstring(node) or "")
    return [replace(argument, text=texts.get(argument.name, argument.text)) for argument in found]


def _spelt(expression: ast.expr | None) -> str | None:
    return None if expression is None else ast.unparse(expression)


def _of_class(module: str, node: ast.ClassDef) -> list[Argument] | None:
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
            found = _of_function(inner, node)
            return found[1:] if found is not None else None
    if _is_dataclass(node):
        return _fields(module, node)
    if not node.bases:
        return []
    first = _base(module, node.bases[0])  # of several, a dataclass that comes first has the `__init__`
    decides = first is not None and (len(node.bases) == 1 or _is_dataclass(first[1]))
    return _of_class(*first) if first is not None and decides else None


def _fields(module: str, node: ast.ClassDef) -> list[Argument] | None:
    """Fields of a dataclass, those of its bases first; None if a base is not found."""
    fields: dict[str, Argument] = {}
    for base in node.bases:
        if _last_part(base) in ("Generic", "Protocol", "ABC"):
            continue
        found = _base(module, base)
        inherited = _fields(*found) if found is not None else None
        if inherited is None:
            return None
        fields |= {argument.name: argument for argument in inherited}
    for inner in node.body if _is_dataclass(node) else ():
        if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
            stated = _spelt(inner.value) or ""
            if _last_part(inner.annotation) != "ClassVar" and "init=False" not in stated:
                name, default = inner.target.id, _spelt(_of_field(inner.value))
                fields[name] = Argument(name=name, type=ast.unparse(inner.annotation), default=default)
    return _with_texts(fields.values(), node)


def _of_field(default: ast.expr | None) -> ast.expr | None:
    """The default in `field(default=…)`; any other as it is."""
    if isinstance(default, ast.Call) and _last_part(default) == "field":
        return next((word.value for word in default.keywords if word.arg == "default"), default)
    return default


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any(_last_part(decorator) == "dataclass" for decorator in node.decorator_list)


def _last_part(expression: ast.expr) -> str:
    """The name at the end of a dotted one, what it is called with or subscripted by left out."""
    return re.split(r"[(\[]", ast.unparse(expression))[0].rpartition(".")[2]


def _base(module: str, base: ast.expr) -> tuple[str, ast.ClassDef] | None:
    named = base.value if isinstance(base, ast.Subscript) else base  # of a generic class
    found = _definition(module, named.id) if isinstance(named, ast.Name) else None
    return (found[0], found[1]) if found is not None and isinstance(found[1], ast.ClassDef) else None
