"""Tables as text: no cell is a formula, none hides what it says, and our readers get back the value."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.tables import (
    csv_text,
    escaped,
    harmless,
    html_text,
    latex_text,
    markdown_text,
    row_writer,
    table_writer,
    unharmed,
)

HIDDEN = "a\x1b[2Jb\u202ec\u2066d\u200be\ufefff"
SHOWN = r"a\x1b[2Jb\u202ec\u2066d\u200be\ufefff"


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=cmd|'/c calc'!A1", "'=cmd|'/c calc'!A1"),
        (" =1+1", "' =1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+1-2", "'+1-2"),
        ("-0.25", "-0.25"),
        ("+1e-3", "+1e-3"),
        ("-inf", "-inf"),
        ("-", "-"),  # a strand, or an allele that is gone
        ("+", "+"),
        (HIDDEN, SHOWN),
        ("a\tb\nc", "a b c"),
    ],
)
def test_a_cell_is_no_formula_and_shows_all_it_holds(cell: str, written: str) -> None:
    assert harmless(cell) == written


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=12))
def test_what_is_written_is_read_back(cell: str) -> None:
    assert harmless(harmless(cell)) == harmless(cell)
    assert unharmed(harmless(cell)) == unharmed(cell)
    if not (cell.startswith("'") and cell[1:].lstrip()[:1] in tuple("=+-@")):
        assert unharmed(harmless(cell)) == cell


@given(st.lists(st.lists(st.text(max_size=8), min_size=2, max_size=2), max_size=4), st.sampled_from(",\t"))
def test_rows_have_the_cells_they_were_given(rows: list[list[str]], delimiter: str) -> None:
    text = io.StringIO(newline="")
    write = row_writer(text, delimiter=delimiter)  # type: ignore[arg-type]
    for row in rows:
        write(row)
    read = list(csv.reader(io.StringIO(text.getvalue(), newline=""), delimiter=delimiter))
    assert read == [[harmless(cell) for cell in row] for row in rows]


def test_a_table_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    with table_writer(path, ["name", "value"], delimiter="\t") as write:
        write(["=1", 0.5])
    assert path.read_text() == "name\tvalue\n'=1\t0.5\n"
    with pytest.raises(KeyError), table_writer(path, ["other"]) as write:
        write({}["no such row"])
    assert path.read_text() == "name\tvalue\n'=1\t0.5\n"
    assert [each.name for each in tmp_path.iterdir()] == ["table.tsv"]


def test_pages_show_what_cells_hide() -> None:
    pages = [
        markdown_text(["name"], [[HIDDEN]]),
        latex_text(["name"], [[HIDDEN]], caption=HIDDEN),
        html_text(["name"], [[HIDDEN]], caption=HIDDEN),
        csv_text([[HIDDEN]]),
    ]
    for page in pages:
        assert all(letter.isprintable() or letter == "\n" for letter in page)
        assert "u202e" in page
    assert escaped("[x](javascript:1)") == r"\[x\](javascript:1)"
