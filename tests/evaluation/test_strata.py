"""Strata partition what is judged: their weighted means are the run's figures, whatever the bases are."""

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dnalm.data.batch import HiddenTensors
from dnalm.data.corpus import GenomeCorpus, region_tracks
from dnalm.evaluation.baselines import JudgedBases
from dnalm.evaluation.strata import (
    FREQUENCY,
    REPEATS,
    SPECIES,
    WHOLE,
    JudgedTokens,
    Stratum,
    region_members,
    repeat_members,
    species_members,
    strata_of,
    tenths,
    training_counts,
    write_strata,
)
from dnalm.genome.genes import REGION_CLASSES
from dnalm.genome.store import GenomeStore
from dnalm.genome.track_recipes import RegionClasses
from dnalm.tokenizers import KmerTokenizer, TrainingText
from dnalm.training.pretraining import central_tokens
from tests.conftest import random_sequence

MakeStore = Callable[[dict[str, str]], GenomeStore]


def judged(
    seed: int, *, num_bases: int, num_windows: int, num_genomes: int, vocabulary: int
) -> list[Stratum]:
    """Strata of random bases and tokens; each window is of one genome."""
    random = np.random.default_rng(seed)
    windows = np.sort(random.integers(num_windows, size=num_bases))
    bases = JudgedBases(
        genome=random.integers(num_genomes, size=num_windows)[windows],
        positions=np.arange(num_bases),
        windows=windows,
        bits=random.exponential(size=num_bases).astype(np.float32),
        order0=random.exponential(size=num_bases),
        two_sided=random.exponential(size=num_bases),
    )
    counts_V = random.integers(1000, size=vocabulary) * random.integers(2, size=vocabulary)
    ids = random.integers(vocabulary, size=num_bases // 2 + 1)
    tokens = JudgedTokens(
        windows=random.integers(num_windows, size=len(ids)),
        ids=ids,
        hits=random.random(len(ids)) < 0.3,
        likeliest=ids == counts_V.argmax(),
    )
    masked = random.random(num_bases) < 0.5
    return strata_of(
        bases,
        tokens,
        id_of_base=random.integers(vocabulary, size=num_bases),
        counts_V=counts_V,
        divisions={
            SPECIES: species_members([f"g{number}" for number in range(num_genomes)], bases.genome),
            REPEATS: {"soft-masked": masked, "not soft-masked": ~masked},
        },
    )


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**32),
    num_bases=st.integers(1, 300),
    num_windows=st.integers(1, 40),
    num_genomes=st.integers(1, 4),
    vocabulary=st.integers(1, 30),
)
def test_the_parts_of_every_division_weighted_by_their_bases_are_the_whole(
    seed: int, num_bases: int, num_windows: int, num_genomes: int, vocabulary: int
) -> None:
    whole, *parts = judged(
        seed, num_bases=num_bases, num_windows=num_windows, num_genomes=num_genomes, vocabulary=vocabulary
    )
    assert (whole.group, whole.hidden_bases) == (WHOLE, num_bases)
    for group in {part.group for part in parts}:
        mine = [part for part in parts if part.group == group]
        assert sum(part.hidden_bases for part in mine) == num_bases
        for figure in ("bits_per_base", "order0_bits", "two_sided_bits", "over_order0", "over_two_sided"):
            sums = [part.hidden_bases * getattr(part, figure) for part in mine if part.hidden_bases]
            assert math.fsum(sums) / num_bases == pytest.approx(getattr(whole, figure), rel=1e-12, abs=1e-12)
    of_tokens = [part for part in parts if part.group == FREQUENCY]
    assert sum(part.masked_tokens for part in of_tokens) == whole.masked_tokens
    for figure in ("accuracy", "most_frequent_accuracy"):
        sums = [part.masked_tokens * getattr(part, figure) for part in of_tokens if part.masked_tokens]
        assert math.fsum(sums) / whole.masked_tokens == pytest.approx(getattr(whole, figure), abs=1e-12)


def test_a_difference_is_that_of_the_means_beside_it() -> None:
    for row in judged(1, num_bases=500, num_windows=40, num_genomes=3, vocabulary=9):
        assert row.over_order0 == pytest.approx(row.bits_per_base - row.order0_bits)
        assert row.over_two_sided == pytest.approx(row.bits_per_base - row.two_sided_bits)


def test_the_standard_error_of_one_window_is_not_defined_and_is_an_empty_cell(tmp_path: Path) -> None:
    whole, *_ = strata = judged(3, num_bases=20, num_windows=1, num_genomes=1, vocabulary=5)
    assert math.isnan(whole.bits_per_base_se)
    with write_strata(strata, tmp_path).open(newline="") as file:
        row = next(csv.DictReader(file))
    assert row["bits_per_base_se"] == ""
    assert float(row["bits_per_base"]) == whole.bits_per_base


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=200))
def test_tenths_follow_frequency_and_hold_about_a_tenth_of_the_text_each(counts: list[int]) -> None:
    counts_V = np.array(counts)
    tenth_V = tenths(counts_V)
    order = np.argsort(counts_V, kind="stable")
    assert (np.diff(tenth_V[order]) >= 0).all()
    assert (tenth_V[counts_V == 0] == 0).all()
    for tenth in range(10):  # none holds more than a tenth and half a token on either side
        mine = counts_V[tenth_V == tenth]
        assert mine.sum() <= counts_V.sum() / 10 + mine.max(initial=0)


def test_a_base_belongs_to_the_token_in_whose_middle_it_lies() -> None:
    # 3-mers that begin at 0, 1 and 2 are masked; the first and the last base are in the middle of none.
    base, token, offset = np.array([(at + place, at, place) for at in range(3) for place in range(3)]).T
    pairs = {"pair_base_P": base, "pair_token_P": token, "pair_offset_P": offset}
    bases = dict.fromkeys(("position_X", "base_X", "sequence_X"), np.arange(5))
    hidden = HiddenTensors(**{name: torch.from_numpy(each) for name, each in {**pairs, **bases}.items()})
    assert central_tokens(hidden, np.array([3, 3, 3])).tolist() == [0, 0, 1, 2, 2]


def test_soft_masked_bases_are_those_in_lower_case(make_store: MakeStore) -> None:
    stores = [make_store({"chr1": "ACgtACGTAC"}), make_store({"chr1": "acgtACGTAA"})]
    genome_X, positions_X = np.array([0, 0, 0, 1, 1]), np.array([1, 2, 4, 3, 4])
    members = repeat_members(stores, genome_X, positions_X)
    assert members["soft-masked"].tolist() == [False, True, False, True, False]
    assert members["not soft-masked"].tolist() == [True, False, True, False, True]


def write_gff(path: Path) -> RegionClasses:
    """One gene of two exons of ten bases, 21-60 of chr1."""
    parts = ["gene\t21\t60\t.\t+\t.\tID=g", "mRNA\t21\t60\t.\t+\t.\tID=t;Parent=g"]
    parts += [f"exon\t{first}\t{last}\t.\t+\t.\tParent=t" for first, last in ((21, 30), (51, 60))]
    path.write_text("##gff-version 3\n" + "".join(f"chr1\tx\t{part}\n" for part in parts))
    return RegionClasses(gff=path, promoter_upstream=10, promoter_downstream=0)


def test_every_base_has_one_region_that_of_the_annotation(tmp_path: Path, make_store: MakeStore) -> None:
    recipe, store = write_gff(tmp_path / "a.gff3"), make_store({"chr1": random_sequence(100)})
    genome_X, positions_X = np.array([0, 0, 0, 0, 1]), np.array([5, 12, 25, 40, 7])
    members = region_members([recipe.prepare(store, tmp_path / "cache"), None], genome_X, positions_X)
    assert [*members] == [*REGION_CLASSES, "not annotated"]
    assert np.sum([*members.values()], axis=0).tolist() == [1] * 5
    of = [next(name for name, mine in members.items() if mine[place]) for place in range(5)]
    assert of == ["intergenic", "promoter", "noncoding_exon", "intron", "not annotated"]


def test_an_annotation_is_found_whatever_its_track_is_called_and_though_no_run_reads_it(
    tmp_path: Path,
) -> None:
    fasta = tmp_path / "fly.fa"
    fasta.write_text(f">chr1\n{random_sequence(100)}\n>chr2\n{random_sequence(100)}\n")
    recipe = write_gff(tmp_path / "a.gff3")
    corpus = GenomeCorpus(fasta=fasta, tracks={"genes": recipe}, cache=tmp_path / "cache")
    assert [(name, track.names) for name, track in region_tracks(corpus).items()] == [
        ("fly.fa", REGION_CLASSES)
    ]
    assert region_tracks(GenomeCorpus(fasta=fasta, cache=tmp_path / "cache")) == {}


def test_of_a_long_text_evenly_spaced_pieces_are_counted(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, tokenizer = make_store({"chr1": random_sequence(3000)}), KmerTokenizer(k=2)
    text = TrainingText("one", store, store.intervals)
    assert training_counts(tokenizer, [text]).sum() == 2999
    monkeypatch.setattr("dnalm.evaluation.strata._MOST_BP", 1000)
    monkeypatch.setattr("dnalm.evaluation.strata._PIECE_BP", 100)
    assert training_counts(tokenizer, [text]).sum() == 10 * 99  # every third piece of 100 bases
