"""Motifs in MEME's minimal format: names and tables of letter probabilities.

Every `MOTIF` line names a motif; a `letter-probability matrix` line follows, then a row of four numbers a
place, as many as its `w=` says. Other lines are skipped, so that MEME's full text output is read too.
Errors: MEME-01 no motif, 02 another alphabet, 03 a row that is not four numbers that sum to 1, 04 a motif
without rows or with others than `w=`, 05 a name that stands twice, 06 not text, compressed data that is
damaged.

Format: https://meme-suite.org/meme/doc/meme-format.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dnalm.errors import DataError
from dnalm.genome.text import MEME, Line, read_lines
from dnalm.tables import replace_text

Table = npt.NDArray[np.float64]
_WIDTH = re.compile(r"\bw\s*=\s*(\d+)")
_TOLERANCE = 0.02  # of a row's sum: files are rounded


def read_meme(path: Path) -> dict[str, Table]:
    """(W, 4) probabilities of A, C, G, T by the motif's name, in the order of the file.

    Raises:
        DataError: MEME-01 to MEME-06, naming the line.
    """
    rows: dict[str, list[list[float]]] = {}
    name, in_table = "", False
    start, width = Line(path, 1, ""), None  # of the motif: its first line, and its rows by `w=`
    for line in read_lines(path, MEME):
        words = line.text.split()
        if line.text.startswith("ALPHABET") and line.text.partition("=")[2].split() not in (["ACGT"], []):
            raise _error("02", line, f"the line {line.text!r}", "ALPHABET= ACGT")
        if words[:1] == ["MOTIF"]:
            _check_motif(start, name, rows.get(name), width)
            name, in_table = " ".join(words[1:]), False
            start, width = line, None
            if not name or name in rows:
                raise _error("05", line, f"the name {name!r} again or none", "a name for each motif")
            rows[name] = []
        elif line.text.startswith("letter-probability matrix"):
            in_table, written = bool(name), _WIDTH.search(line.text)
            width = int(written[1]) if written else width
        elif in_table and words and words[0].lstrip(".-+")[:1].isdigit():
            rows[name].append(_read_row(line, words))
        elif words:
            in_table = False
    _check_motif(start, name, rows.get(name), width)
    if not rows:
        raise _error("01", start, "no line that begins with MOTIF", "motifs in MEME's minimal format")
    return {name: np.array(table) for name, table in rows.items()}


def write_meme(
    path: Path, motifs: Mapping[str, npt.NDArray[np.floating]], *, num_sites: Mapping[str, int]
) -> None:
    """Write motifs; (W, 4) probabilities and the number of sites that they are of, by name."""
    lines = ["MEME version 4", "", "ALPHABET= ACGT", "", "strands: + -", ""]
    lines += ["Background letter frequencies", "A 0.25 C 0.25 G 0.25 T 0.25", ""]
    for name, table in motifs.items():
        lines += [f"MOTIF {name}"]
        lines += [f"letter-probability matrix: alength= 4 w= {len(table)} nsites= {num_sites[name]} E= 0"]
        lines += [" ".join(f"{value:.6f}" for value in row) for row in table]
        lines += [""]
    replace_text(path, "\n".join(lines))


def _check_motif(start: Line, name: str, rows: list[list[float]] | None, width: int | None) -> None:
    if rows == []:
        raise _error("04", start, f"{name} has no rows", "a letter-probability matrix after its name")
    if rows and width not in (None, len(rows)):
        raise _error("04", start, f"{name} has {len(rows)} rows", f"{width}, as its w= says")


def _read_row(line: Line, words: list[str]) -> list[float]:
    try:
        row = [float(word) for word in words]
    except ValueError:
        row = []
    if len(row) != 4 or min(row) < 0 or not abs(sum(row) - 1) <= _TOLERANCE:
        raise _error("03", line, f"the row {' '.join(words)!r}", "four probabilities that sum to 1")
    return [value / sum(row) for value in row]


def _error(case: str, line: Line, found: str, expected: str) -> DataError:
    fix = "correct the line, or export the motifs again in MEME's minimal format"
    return line.error(f"MEME-{case}", found, expected, fix)
