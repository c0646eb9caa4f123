"""What can be wrong with a file of variants, as sentences with file and line."""

from __future__ import annotations

from pathlib import Path

from dnalm.errors import DataError

_FIXES = {
    "VCF-01": "give a VCF, five tab columns CHROM POS ID REF ALT, or a table with these in its header",
    "VCF-02": "copy the file again, or remove the line",
    "VCF-03": "write positions as whole numbers from 1",
    "VCF-05": "give the genome build that the file was made for",
    "VCF-08": "write the reference bases, or remove the line",
    "VCF-09": "write alleles in the letters A, C, G, T, N",
    "VCF-14": "separate the columns by tabs",
    "VCF-16": "write a number or `.`",
    "VCF-22": "split the record, or remove it",
    "VCF-19": "make the columns of the line those of the header",
}


def fault(code: str, path: Path, line: int, found: str, expected: str) -> DataError:
    """The error of a line, with the advice that belongs to its code."""
    return DataError(code, where=f"{path}:{line}", found=found, expected=expected, fix=_FIXES[code])
