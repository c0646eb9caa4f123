"""Measure how much a reader of the source has before them, and how far one job is spread.

    python experiments/house/measure.py [FOLDER ...]

Each FOLDER is a checkout; this one if none is given. Prints a table with a column for each: source files and
lines, lines by package, the median file, the 90th percentile of functions, files and lines that
`dnalm/commands/pretrain.py` reaches by imports, and private functions that are called exactly once.
"""

from __future__ import annotations

import ast
import io
import statistics
import sys
import tokenize
from collections import Counter
from pathlib import Path

Functions = ast.FunctionDef | ast.AsyncFunctionDef
_NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
}  # fmt: skip


def figures(checkout: Path) -> dict[str, str]:
    """The figures of a checkout, as text, in the order of the table."""
    package = checkout / "dnalm"
    sources = {path.relative_to(checkout): path.read_text() for path in sorted(package.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in sources.items()}
    lines = {path: text.count("\n") for path, text in sources.items()}
    by_package = Counter[str]()
    for path, count in lines.items():
        by_package[path.parts[1] if len(path.parts) > 2 else "root"] += count
    lengths = sorted(
        (node.end_lineno or 0) - node.lineno + 1
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, Functions)
    )
    reached = reachable(Path("dnalm/commands/pretrain.py"), trees)
    private, once = private_functions(trees)
    tests = [path.read_text().count("\n") for path in (checkout / "tests").rglob("*.py")]
    return {
        "source files": f"{len(sources):,}",
        "source lines": f"{sum(lines.values()):,}",
        "  of them code": f"{sum(map(code_lines, sources.values())):,}",
        **{f"  {name}": f"{count:,}" for name, count in sorted(by_package.items())},
        "median file": f"{statistics.median(lines.values()):.0f}",
        "longest file": f"{max(lines.values()):,}",
        "p90 function": f"{lengths[int(0.9 * len(lengths))]}",
        "files reached from commands/pretrain.py": f"{len(reached):,}",
        "lines reached from commands/pretrain.py": f"{sum(lines[path] for path in reached):,}",
        "private functions": f"{private:,}",
        "  of them called once": f"{once:,}",
        "test files": f"{len(tests):,}",
        "test lines": f"{sum(tests):,}",
    }


def code_lines(text: str) -> int:
    """Lines that hold code: neither blank, nor comment, nor docstring."""
    documented = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, Functions | ast.Module | ast.ClassDef) and ast.get_docstring(node) is not None
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    held = [range(t.start[0], t.end[0] + 1) for t in tokens if t.type not in _NO_CODE]
    return len({line for lines in held for line in lines} - documented)


def reachable(start: Path, trees: dict[Path, ast.Module]) -> set[Path]:
    """The files that a file imports, at any depth, itself included."""
    seen, waiting = set[Path](), [start]
    while waiting:
        path = waiting.pop()
        if path in seen or path not in trees:
            continue
        seen.add(path)
        for node in ast.walk(trees[path]):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dnalm"):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                waiting += [place for name in names for place in _places(name)]
    return seen


def _places(module: str) -> tuple[Path, Path]:
    stem = Path(*module.split("."))
    return stem.with_suffix(".py"), stem / "__init__.py"


def private_functions(trees: dict[Path, ast.Module]) -> tuple[int, int]:
    """How many functions of modules have a private name, and how many of them their file names once."""
    private = once = 0
    for tree in trees.values():
        named = Counter(
            node.id if isinstance(node, ast.Name) else node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Name | ast.Attribute)
        )
        own = [node.name for node in tree.body if isinstance(node, Functions) and node.name.startswith("_")]
        private += len(own)
        once += sum(named[name] == 1 for name in own)
    return private, once


def main() -> None:
    """Print the table."""
    folders = [Path(word) for word in sys.argv[1:]] or [Path(__file__).resolve().parents[2]]
    found = [figures(folder) for folder in folders]
    names = dict.fromkeys(name for column in found for name in column)
    print("| figure |" + "".join(f" {folder.resolve().name} |" for folder in folders))
    print("|---|" + "---:|" * len(folders))
    for name in names:
        print(
            f"| {name.replace('  ', '&nbsp;&nbsp;')} |" + "".join(f" {one.get(name, '')} |" for one in found)
        )


if __name__ == "__main__":
    main()
