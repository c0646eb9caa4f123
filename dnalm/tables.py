"""Tables as text: CSV that no spreadsheet takes for formulas, Markdown, LaTeX, HTML; whole at any moment."""

from __future__ import annotations

import csv
import html
import io
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

Row = Sequence[str]
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


def replace_text(path: Path, text: str) -> None:
    """Put a text in the place of a file, so that a reader finds the old one or the new one."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8", newline="")
    os.replace(beside, path)  # noqa: PTH105 -- the name says that it overwrites


def csv_text(rows: Iterable[Row]) -> str:
    """Rows as CSV."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([[harmless(cell) for cell in row] for row in rows])
    return text.getvalue()


def harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: one line, an apostrophe before what begins one."""
    cell = "".join(letter if letter.isprintable() else " " for letter in cell)
    if cell.lstrip()[:1] in ("=", "+", "-", "@") and cell.strip() and not _is_number(cell):
        return f"'{cell}"
    return cell


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-](inf|nan)", cell) is not None


def markdown_text(names: Row, rows: Iterable[Row]) -> str:
    """A Markdown table."""
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(map(escaped, line))} |\n" for line in lines)


def escaped(cell: str) -> str:
    """A cell of a Markdown table: on one line, and read as the text it is."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", " ".join(cell.split())) if cell != "---" else cell


def latex_text(names: Row, rows: Iterable[Row], *, caption: str) -> str:
    """A LaTeX table, of the package `booktabs`."""
    lines = [" & ".join(map(_latex, row)) + r" \\" for row in (names, *rows)]
    body = "\n".join([lines[0], r"\midrule", *lines[1:]])
    columns = "l" * len(names)
    return (
        "\\begin{table}\n"
        f"\\caption{{{_latex(caption)}}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{body}\n"
        "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )


def _latex(cell: str) -> str:
    """A cell of LaTeX; a bracket at its beginning would be an argument of the line break before it."""
    text = "".join(_LATEX.get(letter, letter) for letter in " ".join(cell.split()))
    return f"{{}}{text}" if text.startswith(("[", "*")) else text


def html_text(names: Row, rows: Iterable[Row], *, caption: str) -> str:
    """An HTML table."""

    def line(cells: Row, tag: str) -> str:
        return (
            "<tr>"
            + "".join(f"<{tag}>{html.escape(' '.join(cell.split()))}</{tag}>" for cell in cells)
            + "</tr>"
        )

    body = "\n".join(line(row, "td") for row in rows)
    return (
        f"<table>\n<caption>{html.escape(caption)}</caption>\n<thead>{line(names, 'th')}</thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>\n"
    )
