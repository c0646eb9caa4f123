"""Many genomes as one corpus: shares, sides, faults by name, and what 850 genomes cost."""

import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from dnalm.data import BatchPlan, Masking, MultispeciesCorpus, SplitByHomology, WindowRecipe
from dnalm.data.corpus import Corpus
from dnalm.data.module import GenomeData
from dnalm.errors import DataError
from dnalm.genome.species import COLUMNS
from dnalm.genome.store import open_or_build
from dnalm.tokenizers import KmerTokenizer
from tests.conftest import random_sequence

LENGTHS = {"small": 2_000, "middle": 4_000, "large": 14_000}


@pytest.fixture(scope="module")
def genomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three genomes of two contigs, the second a tenth of the first."""
    folder = tmp_path_factory.mktemp("genomes")
    paths = {}
    for number, (name, length) in enumerate(LENGTHS.items()):
        paths[name] = folder / f"{name}.fa"
        chr1, chr2 = random_sequence(length * 10 // 11, number), random_sequence(length // 11, 9 + number)
        paths[name].write_text(f">chr1\n{chr1}\n>chr2\n{chr2}\n")
    return paths


def corpus_of(genomes: dict[str, Path], **arguments: object) -> MultispeciesCorpus:
    cache = next(iter(genomes.values())).parent / "cache"
    return MultispeciesCorpus(genomes=genomes, cache=cache, **arguments)  # type: ignore[arg-type]


def manifest(path: Path, *rows: dict[str, object]) -> Path:
    """Write a manifest; what a row leaves out is absent."""
    lines = ["\t".join(COLUMNS), *("\t".join(str(row.get(name, "-")) for name in COLUMNS) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def data_of(corpus: Corpus, *, num_validation: int = 300) -> GenomeData:
    data = GenomeData(
        corpus,
        tokenizer=KmerTokenizer(k=3),
        windows=WindowRecipe(min_tokens=5, max_tokens=60, num_validation=num_validation),
        masking=Masking(),
        batch=BatchPlan(global_size=4, micro_size=4),
        seed=3,
    )
    data.prepare_data()
    data.setup("fit")
    return data


def shares_of(data: GenomeData, count: int = 2_000) -> dict[str, float]:
    samples = data.training_samples()
    found = [samples.genomes[samples.mixture[i][0]].name for i in range(count)]
    return {name: found.count(name) / count for name in LENGTHS if name in found}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, {"small": 0.1, "middle": 0.2, "large": 0.7}),  # 2, 4 and 14 kb
        ({"length_power": 0.0}, {"small": 1 / 3, "middle": 1 / 3, "large": 1 / 3}),
        ({"length_power": 0.5}, {"small": 0.1975, "middle": 0.2793, "large": 0.5226}),  # of 2, 2.83, 5.29
        ({"weights": {"small": 3, "middle": 1, "large": 1}}, {"small": 0.6, "middle": 0.2, "large": 0.2}),
    ],
)
def test_genomes_are_mixed_as_asked(
    arguments: dict[str, object], expected: dict[str, float], genomes: dict[str, Path]
) -> None:
    found = shares_of(data_of(corpus_of(genomes, **arguments)))
    assert found == pytest.approx(expected, abs=0.003)


def test_a_held_out_species_trains_nothing_and_judges_whole(genomes: dict[str, Path]) -> None:
    data = data_of(corpus_of(genomes, held_out=("middle",)))
    assert shares_of(data) == pytest.approx({"small": 0.125, "large": 0.875}, abs=0.003)
    middle = next(genome for genome in data.genomes if genome.name == "middle")
    assert middle.training is None
    starts = [window.start for window in middle.validation]
    assert min(starts) < 100 and max(starts) > 3_700  # noqa: PT018 -- both ends of its 4,000 bases
    judged = {data.genomes[number].name for number, _ in data.validation_windows}
    assert judged == set(LENGTHS)


def test_a_species_held_out_whole_is_refused_beside_a_split_by_homology(genomes: dict[str, Path]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the whole message follows
        corpus_of(genomes, held_out=("middle",), split=SplitByHomology())
    assert str(caught.value) == (
        "middle trains or validates whole, which data/split=homology cannot keep from relatives in other "
        "genomes; leave data.held_out out, or use data/split=contigs"
    )


def test_each_species_is_judged_by_as_many_windows(genomes: dict[str, Path]) -> None:
    data = data_of(corpus_of(genomes), num_validation=6)
    found = [data.genomes[number].name for number, _ in data.validation_windows]
    assert {name: found.count(name) for name in LENGTHS} == {"small": 2, "middle": 2, "large": 2}


def test_samples_read_the_genome_and_place_they_are_of(genomes: dict[str, Path]) -> None:
    data = data_of(corpus_of(genomes))
    samples = data.training_samples()
    for index in range(60):
        number, place = samples.mixture[index]
        genome = samples.genomes[number]
        assert genome.training is not None
        window = genome.training[place]
        codes = genome.store.codes[window.start : window.end]
        assert (samples[index].ids == data.tokenizer.encode(np.asarray(codes))).all()


def test_windows_of_a_genome_lie_in_its_regions(genomes: dict[str, Path], tmp_path: Path) -> None:
    bed = tmp_path / "large.bed"
    bed.write_text("chr1\t1000\t1200\nchr1\t4000\t4100\nchr2\t0\t300\n")
    samples = data_of(corpus_of(genomes, regions={"large": bed})).training_samples()
    read = {genome.name: genome.training for genome in samples.genomes}
    assert read["large"] is not None
    assert read["middle"] is not None
    of_large, of_middle = ([read[name][number] for number in range(600)] for name in ("large", "middle"))
    inside = [(1_000, 1_200), (4_000, 4_100)]
    assert all(any(a <= window.start < window.end <= b for a, b in inside) for window in of_large)
    assert any(window.start > 1_200 for window in of_middle)


def test_genomes_of_the_same_length_are_cut_differently(tmp_path: Path) -> None:
    paths = {}
    for name in ("one", "two"):
        paths[name] = tmp_path / f"{name}.fa"
        paths[name].write_text(f">chr1\n{random_sequence(9_000)}\n>chr2\n{random_sequence(900)}\n")
    first, second = (genome.training for genome in data_of(corpus_of(paths)).genomes)
    assert first is not None
    assert second is not None
    assert [first[i] for i in range(20)] != [second[i] for i in range(20)]


def test_a_manifest_gives_weights_sides_and_taxa(genomes: dict[str, Path], tmp_path: Path) -> None:
    table = manifest(
        tmp_path / "species.tsv",
        {"name": "small", "path": genomes["small"], "weight": 3, "split": "train"},
        {"name": "middle", "path": genomes["middle"], "weight": 1, "split": "validation"},
        {"name": "large", "path": genomes["large"], "weight": 1},
        {"name": "kept", "path": genomes["small"], "weight": 9, "split": "test"},
    )
    corpus = MultispeciesCorpus(manifest=table, cache=tmp_path / "cache")
    data = data_of(corpus)
    assert shares_of(data) == pytest.approx({"small": 0.75, "large": 0.25}, abs=0.003)
    judged = {data.genomes[number].name for number, _ in data.validation_windows}
    assert judged == {"middle", "large"}


def test_taxa_share_as_configured_and_by_length_within(genomes: dict[str, Path], tmp_path: Path) -> None:
    taxa = {"small": "a", "middle": "a", "large": "b"}
    rows = [{"name": name, "path": genomes[name], "taxon": taxon} for name, taxon in taxa.items()]
    table = manifest(tmp_path / "species.tsv", *rows)
    corpus = MultispeciesCorpus(manifest=table, taxon_weights={"a": 3, "b": 1}, cache=tmp_path / "cache")
    # a has 3/4, of which small has a third
    expected = {"small": 0.25, "middle": 0.5, "large": 0.25}
    assert shares_of(data_of(corpus)) == pytest.approx(expected, abs=0.003)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_genome_that_fails_is_named_and_stops_no_other(workers: int, tmp_path: Path) -> None:
    paths = {}
    for name, text in (("good", "ACGT" * 50), ("bad", "ACGT1"), ("fine", "GGCA" * 50), ("worse", "MKVL!")):
        paths[name] = tmp_path / f"{name}.fa"
        paths[name].write_text(f">chr1\n{text[:5]}\n>chr2\n{text}\n")
    corpus = MultispeciesCorpus(genomes=paths, cache=tmp_path / "cache", prepare_workers=workers)
    with pytest.raises(DataError, match=r"DATA-02 data.genomes: 2 of 4 genomes failed: ") as failed:
        corpus.prepare()
    for name in ("bad: FASTA-13", "worse: FASTA-1"):
        assert name in str(failed.value)
    built = {path.name.rpartition("-")[0] for path in (tmp_path / "cache").iterdir() if path.is_dir()}
    assert built == {"good", "fine"}


def test_a_finished_genome_is_not_built_again(
    genomes: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = corpus_of(genomes)
    corpus.prepare()
    monkeypatch.setattr("dnalm.genome.store._build", None)  # calling it would fail
    corpus.prepare()
    assert [genome.name for genome in corpus.genomes()] == list(LENGTHS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"held_out": ("mouse",)}, "held_out names mouse; the genomes are small, middle, large"),
        (
            {"held_out": ("midle",)},
            "held_out names midle; the genomes are small, middle, large; did you mean middle?",
        ),
        ({"length_power": 2.0}, "length_power is 2.0; it lies between 0 (uniform) and 1 (proportional)"),
        ({"weights": {"small": 1}}, "weights name small; they are to name large, middle, small, which train"),
        ({"taxon_weights": {"a": 1}}, "taxon_weights name a; the genomes that train are of None"),
        (
            {"weights": {"small": 1, "middle": 1, "large": 1}, "taxon_weights": {"a": 1}},
            "weights and taxon_weights are both given; genomes are mixed by one of them",
        ),
        ({"manifest": Path("x.tsv")}, "of genomes, manifest and clade one is to be given"),
    ],
)
def test_impossible_corpora_are_refused(
    arguments: dict[str, object], message: str, genomes: dict[str, Path]
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        corpus_of(genomes, **arguments)


def test_a_corpus_that_nothing_judges_is_refused(genomes: dict[str, Path], tmp_path: Path) -> None:
    manifest(tmp_path / "species.tsv", {"name": "small", "path": genomes["small"], "split": "train"})
    with pytest.raises(
        DataError, match="DATA-04 data: no validation data: every genome is used for training"
    ):
        data_of(MultispeciesCorpus(manifest=tmp_path / "species.tsv", cache=tmp_path / "cache"))


def test_850_genomes_cost_a_few_kilobytes_each(tmp_path: Path) -> None:
    """Design for the Nucleotide Transformer's corpus: what is held in memory does not grow with bases."""
    cache = tmp_path / "cache"
    paths = {}
    for number in range(850):
        path = tmp_path / f"g{number}.fa"
        path.write_text(f">a\n{random_sequence(700, number)}\n>b\n{random_sequence(90, number)}\n")
        paths[f"g{number}"] = path
        open_or_build(path, cache)
    tracemalloc.start()
    data = data_of(MultispeciesCorpus(genomes=paths, cache=cache), num_validation=850)
    samples = data.training_samples()
    held, _ = tracemalloc.get_traced_memory()
    for index in range(2_000):
        samples[index]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data.genomes) == len(data.validation_windows) == 850
    table = 8 * (1 << 18)  # the mixture's slots
    assert (held - table) / 850 < 30_000  # bytes a genome
    assert (after - held) / 850 < 20_000  # what reading it once adds: its cuts and its open map
