"""Tables as text: CSV that no spreadsheet takes for formulas, Markdown, LaTeX, HTML; whole at any moment."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TextIO

from dnalm.durable import atomic_write
from dnalm.errors import escape_controls

Row = Sequence[str]
Delimiter = Literal[",", "\t"]
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


def replace_text(path: Path, text: str) -> None:
    """Put a text in the place of a file, so that a reader finds the old one or the new one."""
    with atomic_write(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="")


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV."""
    text = io.StringIO(newline="")
    write = row_writer(text)
    for row in rows:
        write(row)
    return text.getvalue()


@contextmanager
def table_writer(
    path: Path, columns: Iterable[str], *, delimiter: Delimiter = ","
) -> Iterator[Callable[[Iterable[object]], None]]:
    """A table that is written row by row, whole or not at all; yields what writes a row.

    Args:
        path: the file, replaced if it is there.
        columns: their names.
        delimiter: between cells.

    Raises:
        NotWritten: the file is as it was.
    """
    with atomic_write(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        write = row_writer(file, delimiter=delimiter)
        write(columns)
        yield write


def row_writer(file: TextIO, *, delimiter: Delimiter = ",") -> Callable[[Iterable[object]], None]:
    """What writes rows of cells that no spreadsheet takes for formulas; `unharmed` reads them back."""
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    return lambda row: writer.writerow([harmless(str(cell)) for cell in row])


def harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: on one line, an apostrophe before what begins one.

    Numbers and lone signs, such as those of strands, stay; invisible characters become escapes.
    """
    if not cell.isprintable():
        cell = escape_controls(re.sub(r"[\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029]", " ", cell))
    begins = cell.lstrip()[:1]
    if begins and begins in "=+-@" and cell.strip() not in ("+", "-") and not _is_number(cell):
        return f"'{cell}"
    return cell


def unharmed(cell: str) -> str:
    """The value of a cell that `harmless` has written; any other cell as it is."""
    return cell[1:] if re.match(r"'\s*[=+@-]", cell) else cell


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-](inf|nan)", cell) is not None


def readable(value: object) -> str:
    """A figure as people read it: five significant digits, or a whole number by thousands; text as it is."""
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "undefined" if value is None else str(value)


def markdown_text(names: Row, rows: Iterable[Row]) -> str:
    """A Markdown table."""
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(map(escaped, line))} |\n" for line in lines)


def escaped(cell: str) -> str:
    """A cell of a Markdown table: on one line, and read as the text it is."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", _one_line(cell)) if cell != "---" else cell


def _one_line(cell: str) -> str:
    """A text for a page: on one line, nothing in it invisible."""
    return escape_controls(" ".join(cell.split()))


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
    text = "".join(_LATEX.get(letter, letter) for letter in _one_line(cell))
    return f"{{}}{text}" if text.startswith(("[", "*")) else text


def html_text(names: Row, rows: Iterable[Row], *, caption: str) -> str:
    """An HTML table."""

    def line(cells: Row, tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(_one_line(cell))}</{tag}>" for cell in cells) + "</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return (
        f"<table>\n<caption>{html.escape(_one_line(caption))}</caption>\n<thead>{line(names, 'th')}</thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>\n"
    )
