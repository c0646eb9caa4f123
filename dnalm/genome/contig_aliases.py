"""One table of contig names: `20`, `chr20` and `NC_000020.10` are one chromosome.

A name of a file is looked up among a genome's contigs in this order, and the first step that finds any
decides; it must find exactly one, and two names of a file must not claim the same contig.

1. The name itself.
2. Its plain form: without `species:...:1:+:length` around it, `chr` or `chromosome`, leading zeros, and case;
   M, MT, Mito, chrmt are one; RefSeq accessions of human, mouse and budding yeast become numbers, X, Y, MT.
3. Its number, if it is a roman numeral: `chrXIV` is `chr14`.

Numerals of several letters, such as XIV, are read as such. Single letters need the whole set of names of
their file or genome to show what they are: I and V are numbers beside any numeral of several letters, X is
10 only beside IX, XI or a higher one. So chrX of human and of the worm (I to V and X) stay sex chromosomes,
and chrX of yeast is 10.

Accessions: NCBI Assembly GRCh37.p13, GRCh38.p14, GRCm38.p6, GRCm39, R64. Versions are not compared, so a
file for another assembly of the species is noticed by lengths alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from dnalm.errors import DataError
from dnalm.genome.store import Contig, GenomeStore, nearest_names

_WRAPPED = re.compile(r"[^:]+:([^:]+):\d+:[+-]:\d+")  # species:contig:start:strand:length of MAF tools
_PREFIX = re.compile(r"^(chromosome|chrom|chr)_?")
_ACCESSION = re.compile(r"nc_(\d{6})(?:\.\d+)?")
_MITOCHONDRION = {"m", "mt", "mito", "mitochondrion", "mtdna"}
_NUMERAL = re.compile(r"x{0,3}(?:ix|iv|v?i{0,3})")
_VALUES = {"i": 1, "v": 5, "x": 10}


_ACCESSIONS = (
    {12920: "mt", 5089: "mt", 1224: "mt", 23: "x", 24: "y", 86: "x", 87: "y"}
    | {number: str(number) for number in range(1, 23)}  # human
    | {66 + number: str(number) for number in range(1, 20)}  # mouse
    | {1132 + number: str(number) for number in range(1, 17)}  # budding yeast
)


def plain_name(name: str) -> str:
    """The plain form of a contig's name, the same for names that mean the same in step 2."""
    wrapped = _WRAPPED.fullmatch(name)
    text = (wrapped[1] if wrapped else name).lower()
    accession = _ACCESSION.fullmatch(text)
    if accession:
        return _ACCESSIONS.get(int(accession[1]), text)
    text = _PREFIX.sub("", text) or text
    if text in _MITOCHONDRION:
        return "mt"
    return (text.lstrip("0") or "0") if text.isdecimal() else text


def roman_numbers(plain_names: Iterable[str]) -> dict[str, int]:
    """Which of a set of plain names are roman numerals, judged by the whole set, and their values."""
    numerals = {name: _value(name) for name in plain_names if name and _NUMERAL.fullmatch(name)}
    highest = max((value for name, value in numerals.items() if len(name) > 1), default=0)
    needed = {"i": 1, "v": 1, "x": 9}
    return {name: value for name, value in numerals.items() if highest >= needed.get(name, 1)}


def _value(numeral: str) -> int:
    values = [_VALUES[letter] for letter in numeral]
    pairs = zip(values, [*values[1:], 0], strict=True)
    return sum(-value if value < following else value for value, following in pairs)


class ContigAliases:
    """Resolves the contig names of a file among those of a genome.

    Args:
        store: the genome.
        names: every name in the file, which decides whether its X is a numeral.

    Attributes:
        table: the genome's name of every name of the file that has one, in the order of the file.
        unknown: the names of the file that the genome lacks, in the order of the file.
    """

    def __init__(self, store: GenomeStore, names: Iterable[str]) -> None:
        self._store = store
        names = list(dict.fromkeys(names))
        contigs = [contig.name for contig in store.contigs]
        self._found: dict[str, list[str]] = {}  # contigs by the first step that finds any
        for keys_of in (_names_themselves, _plain_names, _numbers):
            index: dict[str, list[str]] = {}
            for contig, key in keys_of(contigs).items():
                index.setdefault(key, []).append(contig)
            for name, key in keys_of(names).items():
                if key in index:
                    self._found.setdefault(name, index[key])
        self.unknown = tuple(name for name in names if name not in self._found)
        self._claims: dict[str, str] = {}  # names of the file by contig; a namesake goes before an alias
        for name in sorted(names, key=lambda name: self._found.get(name) != [name]):
            if len(self._found.get(name, [])) == 1:
                self._claims.setdefault(self._found[name][0], name)
        table = {name: contig for contig, name in self._claims.items()}
        self.table = {name: table[name] for name in names if name in table}

    def is_unknown(self, name: str) -> bool:
        """Whether the genome lacks a name of the file, rather than it being unclear which contig it is."""
        return name not in self._found

    def find(self, name: str) -> Contig | None:
        """The contig of a name of the file; None if the genome lacks it or it is not clear which it is."""
        contig = self.table.get(name)
        return self._store.contig(contig) if contig else None

    def error(self, code: str, where: str, name: str, *, can_skip: bool = True) -> DataError:
        """What is wrong with a name that `find` does not find; `can_skip` by a key `other_contigs`."""
        found, expected = f"unknown contig `{name}`", f"a contig of {self._store.source.name}"
        candidates = self._found.get(name, [])
        if len(candidates) > 1:
            found = f"contig `{name}` may be " + " or ".join(f"`{contig}`" for contig in candidates)
            fix = "name it as the genome does"
        elif candidates:
            rival = self._claims[candidates[0]]
            found = f"contigs `{name}` and `{rival}` of the file would both be `{candidates[0]}`"
            expected, fix = "one name of the file for a contig", "rename or remove one of them"
        else:
            hint = nearest_names(name, self._store)
            fix = f"did you mean {hint}? Else give the file of this genome"
            fix += ", or other_contigs=skip" if can_skip else ""
        return DataError(code, where=where, found=found, expected=expected, fix=fix)


def _names_themselves(names: list[str]) -> dict[str, str]:
    return {name: name for name in names}


def _plain_names(names: list[str]) -> dict[str, str]:
    return {name: plain_name(name) for name in names}


def _numbers(names: list[str]) -> dict[str, str]:
    """The number of every name that has one, numerals read by the whole set."""
    plain = _plain_names(names)
    numbers = roman_numbers(plain.values())
    read = {name: str(numbers.get(text, text)) for name, text in plain.items()}
    return {name: text for name, text in read.items() if text.isdecimal()}
