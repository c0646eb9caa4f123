"""Write what is read off the source.

Whole: `errors.md`, `config.md`, `commands.md`, and `requirements.md`, which is computed from the recipes.
In part: the tree of `architecture.md`, recipes in `reproducing/`.

    python docs/pages.py          # writes them beside this file
    python docs/pages.py --check  # exit code 1, and their names, if some are not current

An error code is any string such as `FASTA-05` that the source passes to a call. Its meaning is the `expected`
of that call, the rule that the input breaks; what is computed in it stands as `…`.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
_CODE = re.compile(r"[A-Z]{2,9}-\d\d")
_TREE = re.compile(r"(?<=<!-- tree -->\n).*(?=<!-- end of tree -->)", re.DOTALL)
_RECIPE = re.compile(r"(<!-- recipes: ([\w ]+) -->)\n.*(<!-- end of recipes -->)", re.DOTALL)
_RULE = ("expected", "rule", "wanted")  # what the parameter of a builder of errors is called
_EXITS = {
    "ConfigError": "2 config",
    "DataError": "3 data",
    "CheckpointError": "4 checkpoint",
    "NumericsError": "5 numerics",
    "DistributedError": "6 distributed",
}

Functions = Mapping[str, list[ast.FunctionDef]]


@dataclass(frozen=True)
class Use:
    """A place where a code is raised; kind and meaning are empty where the call does not show them."""

    code: str
    file: str
    kind: str
    meaning: str


def errors_page() -> str:
    """Every code: the exit code of the program, the rule, the files."""
    by_code: dict[str, list[Use]] = defaultdict(list)
    for use in uses():
        by_code[use.code].append(use)
    lines = [
        "# Error codes",
        "",
        "Written by `python docs/pages.py` from the source; a test holds it current. An error reads",
        "`CODE where: found; expected. Fix: what to do.` The exit code of the program says who must act:",
        "2 the config or the command line, 3 the data, 4 a checkpoint or model directory, 5 numbers, 6 the",
        "processes of a run. Below, the rule that is broken (`…` stands for what is computed) and the files",
        "that raise it.",
    ]
    for family in sorted({code.partition("-")[0] for code in by_code}):
        lines += ["", f"## {family}", "", "| code | exit | rule | raised in |", "|---|---|---|---|"]
        lines += [_row(code, by_code[code]) for code in sorted(by_code) if code.partition("-")[0] == family]
    return "\n".join(lines) + "\n"


def _row(code: str, found: list[Use]) -> str:
    exits = " or ".join(sorted({_EXITS[use.kind] for use in found if use.kind}))
    rules = "; ".join(dict.fromkeys(_cell(use.meaning) for use in found if use.meaning))
    files = ", ".join(dict.fromkeys(f"`{use.file.removeprefix('dnalm/')}`" for use in found))
    return f"| {code} | {exits} | {rules} | {files} |"


def _cell(text: str) -> str:
    return " ".join(re.sub(r"(?<!\\)\|", r"\|", text).split())


def uses() -> list[Use]:
    """Every use of a code under `dnalm/`, in the order of files and lines."""
    trees = {path: ast.parse(path.read_text()) for path in sorted((ROOT / "dnalm").rglob("*.py"))}
    everywhere = _functions(node for tree in trees.values() for node in ast.walk(tree))
    return [
        use for path, tree in trees.items() for use in _uses_in(tree, str(path.relative_to(ROOT)), everywhere)
    ]


def _functions(nodes: Iterable[ast.AST]) -> Functions:
    found: dict[str, list[ast.FunctionDef]] = defaultdict(list)
    for node in nodes:
        if isinstance(node, ast.FunctionDef):
            found[node.name].append(node)
    return found


def _uses_in(tree: ast.Module, file: str, everywhere: Functions) -> Iterator[Use]:
    own = _functions(ast.walk(tree))
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        given = [*call.args, *(word.value for word in call.keywords)]
        texts = [part.value for part in given if isinstance(part, ast.Constant)]
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        builder = next(iter(own.get(name) or everywhere.get(name) or []), None)
        for code in texts:
            if isinstance(code, str) and _CODE.fullmatch(code):
                yield Use(code, file, _kind(name, builder), _meaning(call, builder))


def _kind(name: str, builder: ast.FunctionDef | None) -> str:
    if name in _EXITS or builder is None:
        return name if name in _EXITS else ""
    returned = ast.unparse(builder.returns) if builder.returns else ""
    found = [kind for kind in _EXITS if kind in returned or f"{kind}(" in ast.unparse(builder)]
    return found[0] if found else ""


def _meaning(call: ast.Call, builder: ast.FunctionDef | None) -> str:
    words = {word.arg: word.value for word in call.keywords}
    names = [argument.arg for argument in builder.args.args if argument.arg != "self"] if builder else []
    for rule in _RULE:
        if rule in words:
            return _text(words[rule])
        if rule in names and names.index(rule) < len(call.args):
            return _text(call.args[names.index(rule)])
    return ""


def _text(node: ast.expr) -> str:
    """A string of the source; what is computed in it is `…`."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return "…"


def config_page() -> str:
    """Every key of every command and component, from signatures and docstrings."""
    from dnalm.compose.targets import COMPONENTS, ROOTS, resolve

    lines = [
        "# Config keys",
        "",
        "Written by `python docs/pages.py` from the signatures; a test holds it current.",
        "`dnalm <command> --cfg` prints a composed config, `conf/` holds the files. A key whose type is a",
        "component takes `_target_` and the keys of that component, listed further below; files in",
        "`conf/<key>/` are its named choices. What is required has no default in the source: the root config",
        "or the command line gives it.",
        "",
        "## Commands",
    ]
    for command, target in ROOTS.items():
        lines += _keys(f"dnalm {command}", resolve(target, key="_target_", command=command))
    lines += ["", "## Components"]
    for target in COMPONENTS:
        if target.startswith("dnalm."):
            lines += _keys(f"`{target}`", resolve(target, key="_target_"))
    return "\n".join(lines) + "\n"


def _keys(title: str, built: Callable[..., Any]) -> list[str]:
    from dnalm.compose.signatures import documented_arguments

    documented = built.__doc__ or ""
    own = getattr(built, "__init__", None).__doc__ or ""
    texts = documented_arguments(documented) or documented_arguments(own)
    for base in getattr(built, "__mro__", ())[1:]:
        texts = documented_arguments(vars(base).get("__doc__") or "") | texts
    rows = []
    for name, parameter in inspect.signature(built).parameters.items():
        if name != "config":
            cells = [name, f"`{_cell(_annotation(parameter))}`", _default(parameter)]
            rows.append(f"| {' | '.join([*cells, _cell(texts.get(name, ''))])} |")
    summary = _cell(documented.strip().split("\n\n")[0])
    head = ["| key | type | default | |", "|---|---|---|---|"]
    return ["", f"### {title}", "", summary, "", *((*head, *rows) if rows else ())]


def _annotation(parameter: inspect.Parameter) -> str:
    found = parameter.annotation
    return (
        ""
        if found is parameter.empty
        else found
        if isinstance(found, str)
        else inspect.formatannotation(found)
    )


def _default(parameter: inspect.Parameter) -> str:
    found = parameter.default
    if found is parameter.empty:
        return "required"
    text = repr(found)
    return f"`{_cell(text)}`" if " object at 0x" not in text and "<" not in text else ""


def architecture_page() -> str:
    """The page as it is, with today's tree of files and what each of them promises first."""
    page = (DOCS / "architecture.md").read_text()
    lines = ["", "```text"]
    folder = None
    for path in sorted((ROOT / "dnalm").rglob("*.py"), key=lambda path: (path.parent, path.name)):
        promise = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0]
        if path.name == "__init__.py" and path.parent != ROOT / "dnalm":
            continue
        if path.parent != folder:
            folder = path.parent
            lines.append(f"{folder.relative_to(ROOT)}/")
        first = _cell(promise).split(". ")[0].rstrip(".")
        lines.append(f"  {path.name:<22}{first}")
    return _TREE.sub(lambda _: "\n".join([*lines, "```", "", ""]), page)


def commands_page() -> str:
    """Every command with its groups; every option of a group with the comment that its file begins with."""
    from dnalm.cli import ABOUT, COMMANDS
    from dnalm.compose.groups import composed_groups, options
    from dnalm.compose.signatures import argument_names
    from dnalm.compose.targets import ROOTS

    printing = [name for name in COMMANDS if "json" in (argument_names(ROOTS[name]) or ())]
    lines = [
        "# Commands",
        "",
        "Written by `python docs/pages.py` from the program and `conf/`; a test holds it current.",
        "Every command is `dnalm <command> group=option key=value …`;",
        "[how these compose](quickstart.md#how-configs-compose).",
        "",
        "| command | | groups | keys |",
        "|---|---|---|---|",
    ]
    groups = {command: composed_groups(command.replace(" ", "_")) for command in COMMANDS}
    for command, text in COMMANDS.items():
        keys = f"[keys](config.md#dnalm-{command.replace(' ', '-')})"
        links = ", ".join(f"[{group}](#{group.replace('/', '')})" for group in groups[command])
        lines.append(f"| `dnalm {command}` | {_cell(text)} | {links} | {keys} |")
    lines += [
        "",
        "`dnalm <command> -m` runs [sweeps](sweeps.md), with the groups",
        "[hparams_search](#hparams_search) and [launcher](#launcher).",
        "Options with a dash are listed by `dnalm --help`.",
        f"`dnalm config [command] …`: {ABOUT['config'].partition(':')[0]}",
        "([how](quickstart.md#how-configs-compose)).",
        f"`dnalm completion bash`, `zsh` or `fish`: {ABOUT['completion']}",
        "([how](shipping.md#shell-completion)).",
        "",
        "## Results for scripts",
        "",
        "What a command writes is described by `summary.json` in its folder, or by `<out>.summary.json`",
        "beside its file; its last line says where, and `-q` prints no line at all. Commands that write",
        f"nothing print JSON with `json=true`: {', '.join(f'`{name}`' for name in [*printing, 'config'])}.",
        "A report is made of such summaries, and `push` ends with the address of what it has sent.",
        "No colours are written where stdout is no terminal or `NO_COLOR` is set.",
    ]
    for group in sorted(
        {"hparams_search", "launcher", *(name for found in groups.values() for name in found)}
    ):
        lines += ["", f"## {group}", "", f"| `{group}=` | |", "|---|---|"]
        for option in options(group):
            comment = _header(ROOT / "conf" / group / f"{option}.yaml")
            lines.append(f"| `{option}` | {_cell(comment)} |")
    return "\n".join(lines) + "\n"


def recipes_page(name: str) -> str:
    """A page of `reproducing/` as it is, with today's numbers of its experiments and their sources."""
    page = (DOCS / name).read_text()
    return _RECIPE.sub(lambda found: f"{found[1]}\n{_recipes(found[2].split())}\n{found[3]}", page)


def _recipes(experiments: Iterable[str]) -> str:
    lines: list[str] = []
    seen: set[tuple[Path, str]] = set()
    for experiment in experiments:
        rows = []
        for path in _files_of(ROOT / "conf/experiment" / f"{experiment}.yaml"):
            group = path.parent.relative_to(ROOT / "conf").as_posix()
            prefix = "" if group == "experiment" else "tokenizer." if group == "bpe" else f"{group}."
            header = "" if group == "experiment" else _header(path)
            numbers = _numbers(path)
            found = [f"| {prefix}{key} | {value} | {source or header} |" for key, value, source in numbers]
            rows += [row for row in found if (path, row) not in seen]
            seen |= {(path, row) for row in found}
        lines += ["", f"## {experiment}", "", _header(ROOT / "conf/experiment" / f"{experiment}.yaml")]
        lines += ["", "| key | value | source |", "|---|---|---|", *rows] if rows else []
    return "\n".join([*lines, ""])


def _files_of(path: Path) -> Iterator[Path]:
    """A file of `conf/` and the files that its defaults name, itself first."""
    yield path
    for line in path.read_text().split("defaults:\n")[-1].splitlines():
        if found := re.fullmatch(r"  - (?:override )?(?:/?([\w/]+)(?:@_here_)?: )?(\w+)", line):
            folder = ROOT / "conf" / found[1] if found[1] else path.parent
            if (named := folder / f"{found[2]}.yaml").is_file():
                yield from _files_of(named)


def _numbers(path: Path) -> Iterator[tuple[str, str, str]]:
    """Every value that a file of `conf/` gives: its key, itself, the comment beside it."""
    above: list[str] = []
    for line in path.read_text().splitlines():
        if found := re.fullmatch(r"( *)(\w+): *([^#]*?) *(?:# *(.*))?", line):
            above = [*above[: len(found[1]) // 2], found[2]]
            if found[3] and not found[2].startswith("_"):
                yield ".".join(above), f"`{found[3]}`", _markdown(found[4] or "")


def _header(path: Path) -> str:
    """The comment that a file of `conf/` begins with."""
    lines = path.read_text().splitlines()
    first = [line[2:] for line in itertools.takewhile(lambda line: line.startswith("#"), lines)]
    return _markdown(" ".join(line for line in first if not line.startswith("@package")))


def _markdown(text: str) -> str:
    """Plain text, no letter of which is Markdown or HTML."""
    return re.sub(r"([*_<>|])", r"\\\1", text)


def requirements_page() -> str:
    """What every experiment takes, computed from its recipe."""
    from dnalm.commands.models import requirements_page

    return requirements_page()


PAGES = {
    "errors.md": errors_page,
    "config.md": config_page,
    "requirements.md": requirements_page,
    "commands.md": commands_page,
    "architecture.md": architecture_page,
    **{
        name: partial(recipes_page, name)
        for name in (f"reproducing/{path.name}" for path in sorted((DOCS / "reproducing").glob("*.md")))
    },
}


def main() -> None:
    """Write the pages, or check them."""
    stale = [name for name, make in PAGES.items() if _read(DOCS / name) != make()]
    if sys.argv[1:] == ["--check"]:
        sys.exit(f"not current: {', '.join(stale)}; run python docs/pages.py" if stale else 0)
    for name in stale:
        (DOCS / name).write_text(PAGES[name]())


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    main()
