"""Names that mean one chromosome find it, and names that may mean two find none."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from dnalm.errors import DataError
from dnalm.genome.contig_aliases import ContigAliases, plain_name, roman_numbers
from dnalm.genome.store import GenomeStore

Make = Callable[[dict[str, str]], GenomeStore]
YEAST = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV", "XV", "XVI"]
WORM = ["I", "II", "III", "IV", "V", "X"]


def genome(make_store: Make, names: list[str]) -> GenomeStore:
    return make_store(dict.fromkeys(names, "ACGT"))


@pytest.mark.parametrize(
    ("names", "plain"),
    [
        (["20", "chr20", "NC_000020.10", "NC_000020.11", "chr020", "chromosome20", "Chrom_20"], "20"),
        (["X", "chrX", "NC_000023.10", "NC_000086.7"], "x"),
        (["Y", "chrY", "NC_000024.9", "NC_000087.7"], "y"),
        (["MT", "M", "chrM", "chrMT", "Mito", "chrmt", "NC_012920.1", "NC_005089.1", "NC_001224.1"], "mt"),
        (["chr01", "Umaydis:chr01:1:+:2476500", "1", "NC_000067.6", "NC_001133.9"], "1"),
        (["chr2R", "2R"], "2r"),
        (["um_contig_1.252", "Umaydis:um_contig_1.252:1:+:11353"], "um_contig_1.252"),
        (["MTR"], "mtr"),
        (["chr"], "chr"),
        (["NC_000913.3"], "nc_000913.3"),
    ],
)  # fmt: skip
def test_names_of_one_chromosome_have_one_plain_form(names: list[str], plain: str) -> None:
    assert {plain_name(name) for name in names} == {plain}


def test_yeast_x_is_ten_and_the_x_of_worm_and_human_is_not() -> None:
    assert roman_numbers(map(str.lower, YEAST)) == {name.lower(): n for n, name in enumerate(YEAST, 1)}
    assert roman_numbers(map(str.lower, WORM)) == {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5}
    assert roman_numbers([*map(str, range(1, 23)), "x", "y", "mt"]) == {}
    assert roman_numbers(["x"]) == roman_numbers(["i", "v", "x"]) == {}
    assert roman_numbers(["xiv"]) == {"xiv": 14}
    assert roman_numbers(["iix", "vv", "ivx", ""]) == {}


@pytest.mark.parametrize(
    ("contigs", "names", "expected"),
    [
        (["20"], ["chr20"], ["20"]),
        (["chr22"], ["NC_000022.10"], ["chr22"]),
        ([f"chr{n}" for n in YEAST], ["chr14", "chr10", "chr1"], ["chrXIV", "chrX", "chrI"]),
        (["chr14", "chr10", "chr9"], ["chrXIV", "chrX", "chrIX"], ["chr14", "chr10", "chr9"]),
        ([f"chr{n}" for n in YEAST], ["X"], ["chrX"]),
        (["chr1", "chr10", "chrX"], ["X", "10", "1"], ["chrX", "chr10", "chr1"]),
        (["chr10"], ["chr10", "chrX"], ["chr10", None]),
        ([f"chr{n}" for n in WORM], ["10", "5", "X"], [None, "chrV", "chrX"]),
        (["chrX"], ["10"], [None]),
        (["Umaydis:chr01:1:+:4"], ["chr01", "chr2"], ["Umaydis:chr01:1:+:4", None]),
        (["chrM", "chr1"], ["MT"], ["chrM"]),
        (["chrM", "chrMT"], ["MT", "chrM"], [None, "chrM"]),
        (["MT"], ["chrM", "MT"], [None, "MT"]),
        (["MT"], ["chrM", "chrMT"], ["MT", None]),
    ],
)  # fmt: skip
def test_names_find_their_contig_or_none(
    contigs: list[str], names: list[str], expected: list[str | None], make_store: Make
) -> None:
    aliases = ContigAliases(genome(make_store, contigs), names)
    found = [aliases.find(name) for name in names]
    assert [contig and contig.name for contig in found] == expected
    assert aliases.table == {name: c for name, c in zip(names, expected, strict=True) if c}


def test_errors_say_what_is_wrong_with_a_name(make_store: Make) -> None:
    store = genome(make_store, ["chrM", "chrMT", "chr1", "chr2"])
    aliases = ContigAliases(store, ["MT", "1", "chr01", "chr7"])
    error = aliases.error("BED-06", "a.bed:3", "MT")
    assert isinstance(error, DataError)
    assert "contig `MT` may be `chrM` or `chrMT`" in str(error)
    assert "contigs `chr01` and `1` of the file would both be `chr1`" in str(aliases.error("X", "a", "chr01"))
    unknown = str(aliases.error("BED-06", "a.bed:3", "chr7"))
    assert unknown.startswith(
        "BED-06 a.bed:3: unknown contig `chr7`; a contig of genome.fa. Fix: did you mean"
    )
    assert "`chr1`" in unknown
    assert aliases.unknown == ("chr7",)


def first_columns(path: Path) -> list[str]:
    lines = (gzip.open if path.suffix == ".gz" else open)(path, "rt")
    with lines as text:
        return list(dict.fromkeys(line.split("\t")[0] for line in text if "\t" in line))


@pytest.mark.parametrize(
    ("fasta_names", "files"),
    [
        ([f"chr{n}" for n in YEAST], ["annotations/yeast_chip_exo/Sua7.bed", "genomes/sacCer3.gff3.gz"]),
        (["20", "chr22"], ["annotations/hg19_chr20.refseq.gff3.gz", "annotations/hg19_chr22.refseq.gff3.gz"]),
        (["chr22"], ["annotations/hg19_chr22/phastcons_elements.bed.gz"]),
        ([f"Umaydis:chr{n:02}:1:+:4" for n in range(1, 24)], ["genomes/ustilago.gff3.gz"]),
    ],
)
def test_names_of_real_files_are_resolved(
    fasta_names: list[str], files: list[str], shared_data: Path, make_store: Make
) -> None:
    store = genome(make_store, fasta_names)
    for file in files:
        aliases = ContigAliases(store, first_columns(shared_data / file))
        unknown = [name for name in aliases.unknown if "contig" not in name]
        assert unknown == [], file
        assert len(set(aliases.table.values())) == len(aliases.table) >= 1
