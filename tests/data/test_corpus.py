"""Corpora: which genomes there are, in which order, and what is refused."""

from pathlib import Path

import pytest

from dnalm.data import GenomeCorpus, MultispeciesCorpus, SplitByContig
from dnalm.errors import DataError
from dnalm.simulation.settings import Clade
from tests.conftest import random_sequence


@pytest.fixture
def genomes(tmp_path: Path) -> dict[str, Path]:
    """Three genomes of two contigs, of which chr2 is a tenth and so held out."""
    found = {}
    for seed, name in enumerate(("yeast", "fly", "human")):
        found[name] = tmp_path / f"{name}.fa"
        found[name].write_text(
            f">chr1\n{random_sequence(900, seed)}\n>chr2\n{random_sequence(100, seed + 10)}\n"
        )
    return found


def test_genomes_come_in_the_order_they_are_named(genomes: dict[str, Path], tmp_path: Path) -> None:
    backwards = dict(reversed(genomes.items()))
    for named in (genomes, backwards):
        corpus = MultispeciesCorpus(genomes=named, cache=tmp_path / "cache")
        assert [genome.name for genome in corpus.genomes()] == list(named)


def test_each_genome_is_the_one_of_its_name(genomes: dict[str, Path], tmp_path: Path) -> None:
    opened = MultispeciesCorpus(genomes=genomes, cache=tmp_path / "cache").genomes()
    assert [genome.store.source.name for genome in opened] == ["yeast.fa", "fly.fa", "human.fa"]


def test_weights_go_by_name_and_not_by_order(genomes: dict[str, Path], tmp_path: Path) -> None:
    weights = {"human": 3.0, "yeast": 1.0, "fly": 2.0}
    opened = MultispeciesCorpus(genomes=genomes, weights=weights, cache=tmp_path / "cache").genomes()
    assert {genome.name: genome.weight for genome in opened} == weights


def test_without_weights_there_are_none(genomes: dict[str, Path], tmp_path: Path) -> None:
    opened = MultispeciesCorpus(genomes=genomes, cache=tmp_path / "cache").genomes()
    assert [genome.weight for genome in opened] == [None, None, None]


def test_the_split_divides_every_genome(genomes: dict[str, Path], tmp_path: Path) -> None:
    split = SplitByContig(validation=["chr1"])
    opened = MultispeciesCorpus(genomes=genomes, split=split, cache=tmp_path / "cache").genomes()
    assert [genome.division.validation.tolist() for genome in opened] == [[[0, 900]]] * 3


def test_a_vocabulary_is_learned_on_the_training_part_or_on_every_contig(
    genomes: dict[str, Path], tmp_path: Path
) -> None:
    (genome,) = MultispeciesCorpus(
        genomes={"yeast": genomes["yeast"]}, weights={"yeast": 2.0}, cache=tmp_path / "cache"
    ).genomes()
    training, whole = genome.training_text(), genome.whole_text()
    assert training.regions.tolist() == [[0, 900]]
    assert whole.regions.tolist() == [[0, 900], [900, 1000]]
    assert (training.name, training.weight, whole.weight) == ("yeast", 2.0, 2.0)


def test_no_genome_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^genomes is empty; name at least one: data\.genomes=\{yeast: sacCer3"
    ):
        MultispeciesCorpus(genomes={})


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            {"yeast": 1.0},
            "weights name yeast; they are to name fly, human, yeast, which train",
        ),
        (
            {"yeast": 1.0, "fly": 1.0, "human": 1.0, "mouse": 1.0},
            "weights name yeast, fly, human, mouse; they are to name fly, human, yeast, which train",
        ),
        ({}, "weights name ; they are to name fly, human, yeast, which train"),
        (
            {"yeast": 0.0, "fly": 1.0, "human": -2.0},
            "weights are yeast 0.0, human -2.0; a weight is a number above 0",
        ),
        (
            {"yeast": float("nan"), "fly": 1.0, "human": 1.0},
            "weights are yeast nan; a weight is a number above 0",
        ),
        (
            {"yeast": float("inf"), "fly": 1.0, "human": 1.0},
            "weights are yeast inf; a weight is a number above 0",
        ),
    ],
)
def test_impossible_weights_are_refused(
    weights: dict[str, float], message: str, genomes: dict[str, Path]
) -> None:
    with pytest.raises(ValueError, match=r"^weights ") as refused:
        MultispeciesCorpus(genomes=genomes, weights=weights)
    assert str(refused.value) == message


def test_a_file_that_cannot_be_a_genome_is_refused_before_any_store_is_built(
    genomes: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "notes.fa").write_text("no genome\n")
    with pytest.raises(DataError, match=r"^FASTA-\d+ .*notes\.fa"):
        MultispeciesCorpus(genomes=genomes | {"notes": tmp_path / "notes.fa"}, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_one_genome_is_named_by_its_file(genomes: dict[str, Path], tmp_path: Path) -> None:
    (genome,) = GenomeCorpus(fasta=genomes["fly"], cache=tmp_path / "cache").genomes()
    assert (genome.name, genome.weight) == ("fly.fa", None)
    assert genome.division.validation.tolist() == [[900, 1000]]


def test_neither_a_file_nor_a_clade_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^of fasta and clade neither is given; a run reads data=fasta data\.fasta"
    ):
        GenomeCorpus()


def test_both_a_file_and_a_clade_are_refused(genomes: dict[str, Path]) -> None:
    with pytest.raises(
        ValueError, match=r"^of fasta and clade both is given; a run reads data=fasta data\.fasta"
    ):
        GenomeCorpus(fasta=genomes["fly"], clade=Clade())


def test_a_species_that_the_clade_lacks_is_refused() -> None:
    names = ", ".join(Clade().species)
    with pytest.raises(ValueError, match=f"^species is mouse; the clade has {names}$"):
        GenomeCorpus(clade=Clade(), species="mouse")
