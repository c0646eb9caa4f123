"""Tracks of several genomes: read where they are, joined over those that train, refused early."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from dnalm.data import BatchPlan, Masking, MultispeciesCorpus, WindowRecipe
from dnalm.data.batch import collate, count_targets, is_known
from dnalm.data.corpus import Corpus
from dnalm.data.module import GenomeData
from dnalm.errors import DataError
from dnalm.genome.store import open_or_build
from dnalm.genome.track_recipes import IntervalClasses, IntervalLabels, Signal, TrackRecipe
from dnalm.models import Encoder
from dnalm.simulation.settings import Clade
from dnalm.tokenizers import KmerTokenizer
from dnalm.training.objectives import make_tasks
from dnalm.training.track_objectives import Conservation, RegionClass
from tests.conftest import random_sequence

LENGTHS = {"small": 2_000, "middle": 4_000, "large": 6_000}
LEVELS = {"small": (1.0, 3.0), "middle": (5.0, 5.0), "large": (100.0, 200.0)}  # of chr1's two halves
Tracks = dict[str, dict[str, TrackRecipe]]


@pytest.fixture
def genomes(tmp_path: Path) -> dict[str, str | Path]:
    """Three genomes of two contigs, and beside them classes of all bases, and values of chr1."""
    paths: dict[str, str | Path] = {}
    for number, (name, length) in enumerate(LENGTHS.items()):
        path = tmp_path / f"{name}.fa"
        path.write_text(
            f">chr1\n{random_sequence(length, number)}\n>chr2\n{random_sequence(500, 9 + number)}\n"
        )
        # The share of class a is that of the genome: a quarter, a half, three quarters
        cut = length * (number + 1) // 4
        rows = [
            ("chr1", 0, cut, "a"),
            ("chr1", cut, length, "b"),
            ("chr2", 0, 250, "a"),
            ("chr2", 250, 500, "b"),
        ]
        (tmp_path / f"{name}.bed").write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
        low, high = LEVELS[name]
        values = [("chr1", 0, length // 2, low), ("chr1", length // 2, length, high)]
        (tmp_path / f"{name}.bedgraph").write_text("".join("\t".join(map(str, row)) + "\n" for row in values))
        paths[name] = path
    return paths


def region(folder: Path, *names: str) -> dict[str, TrackRecipe]:
    return {name: IntervalClasses(files={"x": folder / f"{name}.bed"}) for name in names}


def level(folder: Path, *names: str) -> dict[str, TrackRecipe]:
    return {name: Signal(file=folder / f"{name}.bedgraph") for name in names}


def corpus_of(genomes: dict[str, str | Path], tracks: Tracks, **arguments: object) -> MultispeciesCorpus:
    cache = Path(genomes["small"]).parent / "cache"
    return MultispeciesCorpus(genomes=genomes, tracks=tracks, cache=cache, **arguments)  # type: ignore[arg-type]


def data_of(corpus: Corpus, *tracks: str) -> GenomeData:
    data = GenomeData(
        corpus,
        tokenizer=KmerTokenizer(k=3),
        windows=WindowRecipe(min_tokens=5, max_tokens=60, num_validation=30),
        masking=Masking(),
        batch=BatchPlan(global_size=8, micro_size=8),
        seed=3,
        targets=tracks,
    )
    data.prepare_data()
    data.setup("fit")
    return data


def test_samples_have_the_targets_of_their_own_genome(genomes: dict[str, str | Path], tmp_path: Path) -> None:
    data = data_of(corpus_of(genomes, {"region": region(tmp_path, *LENGTHS)}), "region")
    samples = data.training_samples()
    read = set()
    for index in range(60):
        number, place = samples.mixture[index]
        genome = samples.genomes[number]
        assert genome.training is not None
        window = genome.training[place]
        store = genome.tracks["region"]
        middle = (
            samples[index].ids.size - 2
        ) // 2  # of the tokens that spell bases, which start at each base
        expected = store.read(window.start + middle, window.start + middle + 3)  # type: ignore[union-attr]
        assert samples[index].tracks["region"][middle + 1] == np.bincount(expected).argmax()
        read.add(genome.name)
    assert read == set(LENGTHS)


def test_tokens_of_a_genome_without_the_track_are_missing_and_never_zero(
    genomes: dict[str, str | Path], tmp_path: Path
) -> None:
    labels = {"small": IntervalLabels(files={"x": tmp_path / "small.bed"}, label_by="class")}
    tracks: Tracks = {
        "region": region(tmp_path, "small"),
        "marks": {**labels},
        "level": level(tmp_path, "small"),
    }
    data = data_of(corpus_of(genomes, tracks), *tracks)
    samples = data.training_samples()
    known = dict.fromkeys(LENGTHS, 0)
    for index in range(200):
        genome = samples.genomes[samples.mixture[index][0]].name
        targets = samples[index].tracks
        assert set(targets) == set(tracks)
        known[genome] += sum(int(is_known(torch.from_numpy(of)).sum()) for of in targets.values())
    assert known["small"] > 0
    assert known["middle"] == known["large"] == 0


def test_a_batch_of_genomes_without_the_track_has_it_with_no_target(
    genomes: dict[str, str | Path], tmp_path: Path
) -> None:
    """So heads get a gradient, of zero, in every micro-batch of every rank."""
    labels: dict[str, TrackRecipe] = {
        "small": IntervalLabels(files={"x": tmp_path / "small.bed"}, label_by="class")
    }
    data = data_of(corpus_of(genomes, {"marks": labels}), "marks")
    samples = data.training_samples()
    without = [i for i in range(100) if samples.genomes[samples.mixture[i][0]].name != "small"][:4]
    batch = collate([samples[index] for index in without])
    assert batch.tracks["marks"].shape == (len(batch.ids_N), 2)
    assert count_targets(batch)["marks"] == 0


# Joined over the genomes that train


def test_classes_are_counted_over_the_genomes_that_train(
    genomes: dict[str, str | Path], tmp_path: Path
) -> None:
    data = data_of(corpus_of(genomes, {"region": region(tmp_path, *LENGTHS)}, held_out=("large",)), "region")
    joined = data.training_tracks()["region"]
    # 2,000 / 4 + 250 of small, 4,000 / 2 + 250 of middle
    assert joined.statistics.positive_bases == {"a": 750 + 2_250, "b": 1_750 + 2_250}
    assert list(joined.genomes) == ["small", "middle"]
    assert data.joined["region"].statistics.num_bases == sum(LENGTHS.values()) + 3 * 500


def test_values_are_standardised_over_the_genomes_that_train_weighted_by_bases(
    genomes: dict[str, str | Path], tmp_path: Path
) -> None:
    tracks: Tracks = {"conservation": level(tmp_path, *LENGTHS)}
    data = data_of(corpus_of(genomes, tracks, held_out=("large",)), "conservation")
    encoder = Encoder(vocab_size=99, hidden_size=8, num_layers=1, num_heads=2, intermediate_size=16)
    (task,) = make_tasks({"c": Conservation()}, data, encoder).values()
    values = np.repeat([1.0, 3.0, 5.0], [1_000, 1_000, 4_000])
    assert (task.mean, task.sd) == pytest.approx((values.mean(), values.std()))


def test_a_baseline_is_learned_on_the_genomes_that_have_the_track(
    genomes: dict[str, str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However rarely they are read: all of the windows it is learned on are theirs."""
    monkeypatch.setattr("dnalm.training.objectives.BASELINE_WINDOWS", 64)
    weights = {"small": 1e-3, "middle": 1.0, "large": 1.0}
    corpus = corpus_of(genomes, {"region": region(tmp_path, "small")}, weights=weights)
    data = data_of(corpus, "region")
    encoder = Encoder(vocab_size=99, hidden_size=8, num_layers=1, num_heads=2, intermediate_size=16)
    (task,) = make_tasks({"r": RegionClass()}, data, encoder).values()
    share = float(task.baseline.exp()[0])  # type: ignore[operator, union-attr]
    assert share == pytest.approx(0.25, abs=0.06)  # small's training contig, chr1, is a quarter a


def test_a_track_that_only_judging_genomes_have_is_refused(
    genomes: dict[str, str | Path], tmp_path: Path
) -> None:
    corpus = corpus_of(genomes, {"region": region(tmp_path, "large")}, held_out=("large",))
    data = data_of(corpus, "region")
    with pytest.raises(DataError) as caught:
        data.training_tracks()
    assert str(caught.value) == (
        "DATA-07 data.tracks.region: none of small, middle, which train, has it; a genome that trains "
        "with every track that an objective learns. Fix: hold out another genome, give the track of one that "
        "trains, or leave that objective out."
    )


# Preparing


@pytest.mark.parametrize("workers", [1, 2])
def test_a_track_that_fails_is_named_by_genome_and_stops_no_other(
    workers: int, genomes: dict[str, str | Path], tmp_path: Path
) -> None:
    (tmp_path / "middle.bed").write_text("chr1\t0\t99999\ta\n")
    tracks: Tracks = {"region": region(tmp_path, *LENGTHS), "level": level(tmp_path, *LENGTHS)}
    corpus = corpus_of(genomes, tracks, prepare_workers=workers)
    with pytest.raises(DataError, match=r"DATA-02 .*: 1 of 3 genomes failed: middle: track region: BED-"):
        corpus.prepare()
    built = {path.name.split("-")[1] for path in (tmp_path / "cache/tracks").iterdir() if path.is_dir()}
    kinds = [path.name.split("-")[0] for path in (tmp_path / "cache/tracks").iterdir() if path.is_dir()]
    assert built == set(LENGTHS)
    assert (kinds.count("IntervalClasses"), kinds.count("Signal")) == (2, 3)
    (tmp_path / "middle.bed").write_text("chr1\t0\t10\ta\nchr1\t10\t20\tb\n")
    corpus.prepare()
    assert all("region" in genome.tracks for genome in corpus.genomes())


def test_finished_tracks_are_not_made_again(
    genomes: dict[str, str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = corpus_of(genomes, {"region": region(tmp_path, *LENGTHS)})
    corpus.prepare()
    monkeypatch.setattr("dnalm.genome.track_recipes._Recipe._write_all", None)  # calling it would fail
    corpus.prepare()
    assert [list(genome.tracks) for genome in corpus.genomes()] == [["region"]] * 3


def test_tracks_that_are_not_wanted_are_not_made(genomes: dict[str, str | Path], tmp_path: Path) -> None:
    corpus = corpus_of(genomes, {"region": region(tmp_path, *LENGTHS)})
    corpus.prepare(tracks=())
    assert not (tmp_path / "cache/tracks").exists()


# What is refused


@pytest.mark.parametrize(
    ("tracks", "message"),
    [
        (
            {"region": {"smal": "small.bed"}},
            "tracks.region names smal; the genomes are small, middle, large; did you mean small?",
        ),
        (
            {"region": "small.bed"},
            "tracks.region is one IntervalClasses; each genome has its own: data.tracks.region={small: "
            "{_target_: dnalm.genome.track_recipes.…}}",
        ),
        (
            {"region": {}},
            "tracks.region is {}; what makes it for a genome is as in data.tracks.region={small: ",
        ),
        (
            {"region": {"small": "small.bed", "middle": "middle.bedgraph"}},
            "tracks.region is of classes in small (IntervalClasses) and of values in middle (Signal); one "
            "head learns both, so they are of one kind",
        ),
    ],
)
def test_tracks_that_cannot_be_one_are_refused(
    tracks: dict[str, object], message: str, genomes: dict[str, str | Path], tmp_path: Path
) -> None:
    def made(value: object) -> object:
        if isinstance(value, dict):
            return {name: made(item) for name, item in value.items()}
        file = tmp_path / str(value)
        return Signal(file=file) if file.suffix == ".bedgraph" else IntervalClasses(files={"x": file})

    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        corpus_of(genomes, made(tracks))  # type: ignore[arg-type]


def test_a_track_that_no_genome_has_is_named(genomes: dict[str, str | Path], tmp_path: Path) -> None:
    corpus = corpus_of(genomes, {"region": region(tmp_path, *LENGTHS)})
    for call in (corpus.prepare, corpus.genomes):
        with pytest.raises(DataError, match=r"DATA-05 data\.tracks: no track 'marks'; there are region; "):
            call(["marks"])


def test_genomes_with_other_labels_are_both_named(genomes: dict[str, str | Path], tmp_path: Path) -> None:
    (tmp_path / "large.bed").write_text("chr1\t0\t10\ta\nchr1\t10\t20\tz\n")
    with pytest.raises(
        DataError, match=r"TRACK-13 data.tracks.region: small has b that the other lacks, and large has z"
    ):
        data_of(corpus_of(genomes, {"region": region(tmp_path, *LENGTHS)}), "region")


# The simulated clade


def test_every_species_of_a_clade_has_its_tracks_and_the_first_conservation(tmp_path: Path) -> None:
    clade = Clade(genome_bp=200_000)
    corpus = MultispeciesCorpus(clade=clade, cache=tmp_path)
    corpus.prepare(["region", "chromatin", "conservation"])
    opened = {genome.name: genome for genome in corpus.genomes(["region", "chromatin", "conservation"])}
    first, *others = clade.species
    assert set(opened[first].tracks) == {"region", "chromatin", "conservation"}
    for name in others:
        assert set(opened[name].tracks) == {"region", "chromatin"}
        store = open_or_build(opened[name].path, tmp_path)
        assert opened[name].tracks["region"].manifest.genome == store.fingerprint
    assert all(not genome.tracks for genome in corpus.genomes())  # opened where they are wanted
