"""Regions that settings name: contigs and stretches of them, counted from 0."""

from __future__ import annotations

import numpy as np
import pytest

from dnalm.errors import ConfigError, DataError
from dnalm.genome.regions import read_regions, region_names
from dnalm.genome.store import GenomeStore, open_or_build

LENGTHS = {"chrI": 30, "chrIX": 20, "HLA:A-1": 10, "chrII:5-9": 12}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> GenomeStore:
    folder = tmp_path_factory.mktemp("genome")
    fasta = folder / "genome.fa"
    fasta.write_text(
        "".join(f">{name}\n{'ACGT' * 8}"[: len(name) + 2 + n] + "\n" for name, n in LENGTHS.items())
    )
    return open_or_build(fasta, folder)


def places(store: GenomeStore, *texts: str, **aliases: str) -> list[tuple[str, int, int]]:
    regions = read_regions(texts, key="task.test", store=store, aliases=aliases)
    assert [region.text for region in regions] == list(texts)
    return [(region.contig.name, region.start, region.end) for region in regions]


def test_a_region_counts_from_0_and_ends_before_its_end(store: GenomeStore) -> None:
    assert places(store, "chrI:0-10", "chrI:29-30") == [("chrI", 0, 10), ("chrI", 29, 30)]
    (region,) = read_regions(["chrIX:5-20"], key="task.test", store=store, aliases={})
    assert region.interval == (35, 50), "in the flat store, behind the 30 bases of chrI"


def test_a_contig_is_whole_and_names_may_be_aliases(store: GenomeStore) -> None:
    assert places(store, "chrI", "9") == [("chrI", 0, 30), ("chrIX", 0, 20)]
    assert places(store, "chr1:3-4", "1:5-6") == [("chrI", 3, 4), ("chrI", 5, 6)], "one contig by two names"
    assert places(store, "mine:3-4", mine="chrIX") == [("chrIX", 3, 4)]


def test_a_contig_whose_name_looks_like_a_region_is_that_contig(store: GenomeStore) -> None:
    assert places(store, "HLA:A-1", "HLA:A-1:2-3") == [("HLA:A-1", 0, 10), ("HLA:A-1", 2, 3)]
    assert places(store, "chrII:5-9", "chrII:5-9:0-4") == [("chrII:5-9", 0, 12), ("chrII:5-9", 0, 4)]


@pytest.mark.parametrize(
    "text", ["chrI:9", "chrI:5-5", "chrI:9-5", "chrI:1k-2k", "chrI:-5", "chrI:1,000-2", "chrI:"]
)
def test_what_is_no_region(store: GenomeStore, text: str) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"REGION-01 task.test: {text}, which is no region; a contig, or contig:start-end, where .*"
        r"Fix: write task.test=\[chrI\] or such as task.test=\[chrI:0-15\]",
    ):
        places(store, text)


def test_a_region_past_its_contig(store: GenomeStore) -> None:
    with pytest.raises(
        DataError, match=r"REGION-02 task.test: chrIX:5-21; chrIX has 20 bases; .*Fix: end it at 20"
    ):
        places(store, "chrIX:5-21")


def test_an_unknown_contig_is_named_without_its_coordinates(store: GenomeStore) -> None:
    with pytest.raises(
        DataError, match=r"STORE-07 task.test: unknown contig `chrXX`; .*did you mean `chrIX`"
    ):
        places(store, "chrI", "chrXX:1-5")
    with pytest.raises(DataError, match=r"STORE-07 task.test: unknown contig `nothing:here`"):
        places(store, "nothing:here")


def test_a_region_is_called_by_its_contig_where_it_is_whole(store: GenomeStore) -> None:
    intervals = np.array([[0, 30], [30, 49], [50, 60]])
    assert region_names(store, intervals) == ["chrI", "chrIX:0-19", "HLA:A-1"]
    assert places(store, *region_names(store, intervals)) == [
        ("chrI", 0, 30),
        ("chrIX", 0, 19),
        ("HLA:A-1", 0, 10),
    ]
