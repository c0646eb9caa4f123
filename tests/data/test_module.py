"""The datamodule: which stretches are read, and that N is not among them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dnalm.data import BatchPlan, GenomeCorpus, Masking, SplitByContig, SplitByRegion, WindowRecipe
from dnalm.data.module import GenomeData
from dnalm.data.splits import Split
from dnalm.errors import DataError
from dnalm.genome.alphabet import UNKNOWN, bases, reverse_complement
from dnalm.tokenizers import BpeRecipe, KmerTokenizer
from dnalm.training.pretraining import learned_tokenizer
from tests.conftest import random_sequence, training_window

TOKENIZER = KmerTokenizer(k=4)


def genome_with_gaps(folder: Path) -> Path:
    """Every 500 bases a run of N, of 1, 2, 3 ... bases."""
    parts = [random_sequence(500, seed) + "N" * (seed + 1) for seed in range(12)]
    fasta = folder / "gaps.fa"
    fasta.write_text(">chr1\n" + "".join(parts) + "\n>chr2\n" + "".join(parts[:3]) + "\n")
    return fasta


def data_of(fasta: Path, *, split: Split | None = None, shortest: int = 5, **recipe: float) -> GenomeData:
    split = split or SplitByContig(validation=["chr2"])
    data = GenomeData(
        GenomeCorpus(fasta=fasta, split=split, cache=fasta.parent / "cache"),
        tokenizer=TOKENIZER,
        windows=WindowRecipe(min_tokens=shortest, max_tokens=max(200, shortest), **recipe),  # type: ignore[arg-type]
        masking=Masking(),
        batch=BatchPlan(global_size=4, micro_size=4),
        seed=3,
    )
    data.prepare_data()
    data.setup("fit")
    return data


@pytest.mark.parametrize("max_unknown", [0, 4])
def test_windows_hold_no_run_of_n_longer_than_allowed(max_unknown: int, tmp_path: Path) -> None:
    data = data_of(genome_with_gaps(tmp_path), max_unknown=max_unknown)
    longest = 0
    windows = [training_window(data, i) for i in range(800)] + data.genomes[0].validation
    for window in windows:
        codes = bases(data.genomes[0].store.codes[window.start : window.end])
        edges = np.flatnonzero(np.diff(np.concatenate([[0], codes == UNKNOWN, [0]]).astype(int)))
        longest = max(longest, int((edges[1::2] - edges[::2]).max(initial=0)))
    assert longest == max_unknown


def test_training_and_validation_windows_share_no_base(tmp_path: Path) -> None:
    data = data_of(genome_with_gaps(tmp_path))
    cover = np.zeros(data.genomes[0].store.num_bases, dtype=bool)
    for index in range(800):
        cover[training_window(data, index).start : training_window(data, index).end] = True
    for window in data.genomes[0].validation:
        assert not cover[window.start : window.end].any()


def test_a_reversed_window_reads_the_other_strand(tmp_path: Path) -> None:
    data = data_of(genome_with_gaps(tmp_path), reverse_complement=True)
    samples = data.training_samples()
    strands = set()
    for index in range(40):
        window = training_window(data, index)
        forward = np.asarray(data.genomes[0].store.codes[window.start : window.end])
        read = reverse_complement(forward) if window.reverse else forward
        assert (samples[index].ids == TOKENIZER.encode(read)).all()
        strands.add(window.reverse)
    assert strands == {True, False}


def test_the_masking_rate_follows_the_step_of_the_sample(tmp_path: Path) -> None:
    data = data_of(genome_with_gaps(tmp_path))
    masking = Masking(rate=0.05, final_rate=0.6, final_from=50)
    samples = replace(data.training_samples(), masking=masking)

    def rate(first: int) -> float:
        drawn = [samples[i] for i in range(first, first + 200)]
        return sum(s.masked.sum() for s in drawn) / sum(int(s.content.sum()) for s in drawn)

    # 200 samples of about 100 tokens, alike within 4: a deviation of at most 0.5 * sqrt(4 / 20000).
    assert rate(0) == pytest.approx(0.05, abs=5 * 0.22 * (4 / 20_000) ** 0.5)
    assert rate(200) == pytest.approx(0.6, abs=5 * 0.5 * (4 / 20_000) ** 0.5)


def test_a_validation_side_without_a_window_is_named(tmp_path: Path) -> None:
    fasta = tmp_path / "short.fa"
    fasta.write_text(f">chr1\n{random_sequence(500)}\n>chr2\nACGTN\n")
    with pytest.raises(
        DataError, match="no validation window fits: the longest stretch without N has 4 bases"
    ):
        data_of(fasta)


def test_a_clade_species_is_checked_before_anything_is_simulated(tmp_path: Path) -> None:
    from dnalm.simulation.settings import Clade

    with pytest.raises(ValueError, match="species is human; the clade has demo_a, demo_b"):
        GenomeCorpus(clade=Clade(), species="human", cache=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("learns", [False, True])
def test_a_division_that_leaves_nothing_to_train_on_names_genome_split_and_window(
    learns: bool, tmp_path: Path
) -> None:
    """Without a base to train on there is no genome to draw windows from."""
    (tmp_path / "short.fa").write_text(f">a\n{random_sequence(900, 1)}\n>b\n{random_sequence(700, 2)}\n")
    (tmp_path / "all.bed").write_text("a\t0\t900\nb\t0\t700\n")
    split = SplitByRegion(bed=tmp_path / "all.bed", gap=100)
    corpus = GenomeCorpus(fasta=tmp_path / "short.fa", split=split, cache=tmp_path / "cache")
    data = GenomeData(
        corpus,
        tokenizer=TOKENIZER,
        windows=WindowRecipe(min_tokens=5, max_tokens=200),
        masking=Masking(),
        batch=BatchPlan(global_size=4, micro_size=4),
        seed=3,
    )
    data.prepare_data()
    with pytest.raises(DataError) as refused:
        learned_tokenizer(BpeRecipe(vocab_size=20), corpus) if learns else data.setup("fit")
    if learns:
        assert str(refused.value).startswith("TOK-09 short.fa: no base other than N to learn a vocabulary")
    else:
        assert str(refused.value).startswith(
            "DATA-08 short.fa: no base is left for training windows: validation on 1 regions of all.bed"
        )
        assert "stretches of at least 8 bases, a window of 5 tokens" in str(refused.value)


def test_the_bases_of_both_sides_are_reported_and_short_stretches_with_a_warning(tmp_path: Path) -> None:
    """Windows of 201 tokens of 4 bases are 204 long, and 30 contigs have 203."""
    contigs = {"chr1": 1000, "chr2": 1000, **{f"s{i}": 203 for i in range(30)}}
    fasta = tmp_path / "short.fa"
    fasta.write_text("".join(f">{name}\n{random_sequence(length, 5)}\n" for name, length in contigs.items()))
    data = data_of(fasta)
    assert data.genomes[0].describe_sides() == f"{1000 + 30 * 203:,} bases train, 1,000 validate"
    long = data_of(fasta, shortest=201)
    assert long.genomes[0].describe_sides() == (
        "1,000 bases train, 1,000 validate; warning: 6,090 more lie in stretches too short for a window"
    )
