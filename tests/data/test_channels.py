"""Annotations as inputs: what the channels say of tokens, strand by strand, and how batches carry them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dnalm.data import BatchPlan, GenomeCorpus, Masking, WindowRecipe
from dnalm.data.batch import collate
from dnalm.data.corpus import CorpusGenome
from dnalm.data.module import GenomeData
from dnalm.data.targets import Channels, find_channels
from dnalm.data.windows import Window
from dnalm.errors import ConfigError, DataError
from dnalm.genome.alphabet import reverse_complement
from dnalm.genome.track_recipes import IntervalClasses, IntervalLabels, Signal
from dnalm.genome.tracks import MISSING
from dnalm.tokenizers import KmerTokenizer, LogoTokenizer, Tokenizer
from tests.conftest import random_sequence, training_window
from tests.tokenizers.examples import EVERY

NAMES = tuple(f"{track}/class{number}" for track in ("marks/all", "kinds") for number in range(3))
LENGTH = 900


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> GenomeCorpus:
    """Labels and classes known on parts of two contigs only, and values."""
    folder = tmp_path_factory.mktemp("channels")
    (folder / "genome.fa").write_text(f">chr1\n{random_sequence(LENGTH)}\n>chr2\n{random_sequence(150)}\n")
    spans = [(80 * n, 80 * n + 30 + n, f"class{n % 3}") for n in range(9)]
    (folder / "a.bed").write_text("".join(f"chr1\t{a}\t{b}\t{name}\n" for a, b, name in spans))
    (folder / "b.bed").write_text("".join(f"chr1\t{a + 3}\t{b + 3}\t{name}\n" for a, b, name in spans))
    (folder / "v.bedgraph").write_text("chr1\t0\t50\t2.5\n")
    return GenomeCorpus(
        fasta=folder / "genome.fa",
        cache=folder / "cache",
        tracks={
            "kinds": IntervalClasses(files={"all": folder / "b.bed"}),
            "marks": IntervalLabels(files={"all": folder / "a.bed"}, label_by="class"),
            "level": Signal(file=folder / "v.bedgraph"),
        },
    )


def data_of(
    corpus: GenomeCorpus,
    tokenizer: Tokenizer,
    inputs: tuple[str, ...] = ("marks", "kinds"),
    targets: tuple[str, ...] = ("level",),
) -> GenomeData:
    data = GenomeData(
        corpus,
        tokenizer=tokenizer,
        windows=WindowRecipe(min_tokens=5, max_tokens=40, reverse_complement=True),
        masking=Masking(),
        batch=BatchPlan(global_size=4, micro_size=2),
        seed=1,
        targets=targets,
        inputs=inputs,
    )
    data.prepare_data()
    data.setup("fit")
    return data


@pytest.mark.parametrize("tokenizer", EVERY.values(), ids=EVERY)
def test_a_channel_holds_where_any_base_of_a_token_does(corpus: GenomeCorpus, tokenizer: Tokenizer) -> None:
    data = data_of(corpus, tokenizer)
    assert data.channels.names == NAMES
    genome, samples = data.opened[0], data.training_samples()
    strands = set()
    for index in range(20):
        window, sample = training_window(data, index), samples[index]
        strands.add(window.reverse)
        codes = np.asarray(genome.store.codes[window.start : window.end])
        codes = reverse_complement(codes) if window.reverse else codes
        spans = tokenizer.spans(codes, tokenizer.encode(codes))
        marks, kinds = (genome.tracks[name].read(window.start, window.end) for name in ("marks", "kinds"))
        bases = np.full((len(codes), 6), -1)
        bases[:, :3] = np.where(marks == MISSING, -1, marks.astype(int))
        for number in range(3):
            bases[:, 3 + number] = np.where(kinds == MISSING, -1, kinds == number)
        bases = bases[::-1] if window.reverse else bases
        assert sample.annotations is not None
        assert sample.annotations.shape == (len(sample.ids), 6)
        if len(spans) != len(sample.ids):
            continue  # longer than 40 tokens, and cut
        expected = [bases[a:b].max(axis=0, initial=-1).tolist() for a, b in spans]
        assert sample.annotations.tolist() == expected
        assert set(sample.tracks) == {"level"}
    assert strands == {False, True}


@settings(max_examples=40)
@given(start=st.integers(0, LENGTH - 60), length=st.integers(20, 60), k=st.integers(1, 6))
def test_the_reverse_strand_turns_the_channels_round(
    corpus: GenomeCorpus, start: int, length: int, k: int
) -> None:
    """Overlapping k-mers lie alike on both strands, so the channels of one are those of the other, turned."""
    genome, tokenizer = corpus.genome(("marks", "kinds")), KmerTokenizer(k=k)
    channels = find_channels(("marks", "kinds"), [genome])
    codes = np.asarray(genome.store.codes[start : start + length])
    found = []
    for reverse in (False, True):
        turned = reverse_complement(codes) if reverse else codes
        spans = tokenizer.spans(turned, tokenizer.encode(turned))
        read = channels.read(genome.tracks, Window(start, start + length, reverse), spans, length)
        assert read is not None
        found.append(read)
    assert np.array_equal(found[1], found[0][::-1])
    assert (found[0][[0, -1]] == -1).all()  # [CLS] and [SEP] stand for no base


def test_batches_carry_them_end_to_end_in_training_and_validation(corpus: GenomeCorpus) -> None:
    data = data_of(corpus, LogoTokenizer(k=5))
    for samples in (data.training_samples(), data.validation_samples()):
        two = [samples[0], samples[0]]
        batch = collate(two)
        assert batch.annotations_NC is not None
        assert (batch.annotations_NC.dtype, batch.annotations_NC.shape) == (
            torch.int8,
            (len(batch.ids_N), len(NAMES)),
        )
        assert np.array_equal(batch.annotations_NC, np.concatenate([s.annotations for s in two]))  # type: ignore[misc]
        moved = batch.to(torch.device("meta")).annotations_NC
        assert moved is not None
        assert moved.is_meta


def test_a_run_without_inputs_has_none(corpus: GenomeCorpus) -> None:
    data = data_of(corpus, LogoTokenizer(k=5), inputs=(), targets=("marks",))
    assert data.channels.names == ()
    sample = data.training_samples()[0]
    assert (sample.annotations, collate([sample]).annotations_NC, set(sample.tracks)) == (
        None,
        None,
        {"marks"},
    )


def test_channels_of_a_track_that_a_genome_lacks_are_unknown(corpus: GenomeCorpus) -> None:
    genome = corpus.genome(("marks",))
    channels = Channels({"marks": genome.tracks["marks"].names, "other": ("x", "y")})
    read = channels.read(genome.tracks, Window(0, 20), np.array([[0, 5], [5, 10], [10, 10]]), 20)
    assert read is not None
    assert read.tolist() == [[1, 0, 0, -1, -1], [1, 0, 0, -1, -1], [-1] * 5]


def test_a_target_as_an_input_is_our_own_mistake(corpus: GenomeCorpus) -> None:
    with pytest.raises(AssertionError, match="a target must not be an input"):
        data_of(corpus, LogoTokenizer(k=5), inputs=("marks",), targets=("marks",))


def test_numbers_are_no_channels(corpus: GenomeCorpus) -> None:
    with pytest.raises(ConfigError) as caught:
        data_of(corpus, LogoTokenizer(k=5), inputs=("level",), targets=())
    assert str(caught.value) == (
        "CFG-31 inputs: track 'level', which has numbers; tracks of labels or classes, each of which has an "
        "embedding. Fix: leave level out, or learn it as an objective."
    )


def test_a_track_that_is_not_there_is_named(corpus: GenomeCorpus) -> None:
    with pytest.raises(DataError, match=r"DATA-05 .*no track 'marx'; there are kinds, marks, level"):
        data_of(corpus, LogoTokenizer(k=5), inputs=("marx",))
    with pytest.raises(DataError, match=r"DATA-05 data.tracks: no track 'marks'; there is none"):
        find_channels(("marks",), [corpus.genome(())])


def test_genomes_with_other_labels_are_named(corpus: GenomeCorpus, tmp_path: Path) -> None:
    genome = corpus.genome(("marks",))
    (tmp_path / "c.bed").write_text("chr1\t0\t5\tclass0\n")
    recipe = IntervalLabels(files={"all": tmp_path / "c.bed"}, label_by="class")
    other: CorpusGenome = replace(
        genome, name="other", tracks={"marks": recipe.prepare(genome.store, tmp_path / "t")}
    )
    assert find_channels(("marks",), [genome, replace(genome, tracks={})]).names == NAMES[:3]
    with pytest.raises(DataError) as caught:
        find_channels(("marks",), [genome, other])
    assert str(caught.value) == (
        "DATA-10 data.tracks, track 'marks': genome.fa has all/class0, all/class1, all/class2, and other "
        "all/class0; the same labels in the same order of every genome, since each is an input of the model. "
        "Fix: name files alike, and list the classes that become labels, as in data=knowledge."
    )
