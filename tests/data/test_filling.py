"""Packs that are filled up to few sizes: what is added counts for nothing, and is little."""

from __future__ import annotations

import math
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dnalm.compose import build, read_config
from dnalm.data import BatchPlan, GenomeCorpus
from dnalm.data.batch import IGNORED, Filling, PackPlan, Packs, Sample, collate_packs
from dnalm.data.module import GenomeData
from tests.conftest import random_sequence
from tests.training.fitting import trainer_of

PLAN = PackPlan.of(BatchPlan(global_size=12, micro_tokens=4 * 64), longest=64)


def sample(index: int, length: int) -> Sample:
    """Every seventh token is predicted."""
    ids, targets = np.arange(5, 5 + length), np.arange(length) % 7 == 0
    return Sample(
        index=index,
        seen=ids,
        ids=ids,
        masked=targets,
        targets=targets,
        content=np.ones(length, dtype=np.bool_),
        num_bases=length,
    )


@given(lengths=st.lists(st.integers(1, 64), min_size=1, max_size=40), passes=st.integers(1, 8))
def test_what_is_added_is_padding_without_targets(lengths: list[int], passes: int) -> None:
    samples, passes = [sample(*each) for each in enumerate(lengths)], min(passes, len(lengths))
    filling = Filling.of(PLAN, share=1 / 7, padding=0)
    assert filling.step == 4, "the largest power of two in 256 / 64"
    plain, filled = (
        collate_packs(samples, passes=passes),
        collate_packs(samples, passes=passes, filling=filling),
    )
    for before, after in zip(plain, filled, strict=True):
        tokens, targets = len(before.ids_N), len(before.labels_M)
        if tokens == 64 * len(before.samples):
            assert after.filled_tokens == 0
            continue
        assert len(after.cu_lengths) == -(-len(samples) // passes) + 2
        assert (after.num_tokens, after.num_targets) == (tokens, targets)
        assert torch.equal(after.ids_N[:tokens], before.ids_N)
        assert not after.ids_N[tokens:].any()
        assert not after.content_N[tokens:].any()
        assert torch.equal(after.cu_lengths[: len(before.cu_lengths)], before.cu_lengths)
        assert (after.cu_lengths.diff() > 0).all()
        assert (after.cu_lengths.diff() <= 64).all()
        assert after.cu_lengths[-1] == len(after.ids_N)
        assert len(after.ids_N) % 4 == 0
        assert 1 <= after.filled_tokens <= 5, "two sequences at most, and less than a step more"
        assert torch.equal(after.targets_M[:targets], before.targets_M)
        assert torch.equal(after.labels_M[:targets], before.labels_M)
        assert (after.labels_M[targets:] == IGNORED).all()
        assert (after.targets_M[targets:] == len(after.ids_N) - 1).all()
        assert (after.samples, after.num_pairs, after.num_masked, after.num_content) == (
            before.samples, before.num_pairs, before.num_masked, before.num_content,
        )  # fmt: skip
        assert after.max_length == 64


@pytest.mark.parametrize(("tokens", "most_waste", "most_sizes"), [(65_536, 0.02, 3), (16_384, 0.02, 3)])
def test_dnaberts_mix_of_lengths_is_filled_by_at_most_three_percent(
    tokens: int, most_waste: float, most_sizes: int, tmp_path: Path
) -> None:
    """Windows of 7 to 512 tokens: packs have 0.63 of what they may, and are filled by half a step."""
    genome = tmp_path / "genome.fa"
    genome.write_text(f">chr1\n{random_sequence(400_000)}\n>chr2\n{random_sequence(4_000, 1)}\n")
    config = read_config("pretrain", ["experiment=dnabert", "size=full"])
    plan = PackPlan.of(BatchPlan(global_size=2000, micro_tokens=tokens), longest=512)
    data = GenomeData(
        GenomeCorpus(fasta=genome, cache=tmp_path),
        tokenizer=build(config["tokenizer"]),
        windows=build(config["windows"]),
        masking=build(config["masking"]),
        batch=plan,
        seed=1,
    )
    data.filled_devices = ("cpu",)  # type: ignore[misc]
    data.trainer = trainer_of(tmp_path / "loader", plan, steps=1)
    data.prepare_data()
    data.setup("fit")
    loader = data.train_dataloader()
    assert isinstance(loader, Packs)
    packs = [*islice(loader, 2 * plan.accumulation(1))]
    filled, all_tokens = sum(pack.filled_tokens for pack in packs), sum(len(pack.ids_N) for pack in packs)
    assert filled / all_tokens <= most_waste <= 0.03
    assert max(pack.filled_tokens / len(pack.ids_N) for pack in packs) <= 0.03
    sizes = Counter((len(pack.ids_N), len(pack.labels_M), len(pack.cu_lengths)) for pack in packs)
    assert len(sizes) <= most_sizes
    assert all(int(pack.cu_lengths.diff().max()) == 512 == pack.max_length for pack in packs)


def test_a_pack_of_the_longest_samples_stays_a_rectangle() -> None:
    """Nucleotide Transformer: 8 windows of 2,048 tokens; where one is shorter by a token, that is added."""
    plan = PackPlan.of(BatchPlan(global_size=8, micro_tokens=16_384), longest=2048)
    filling = Filling.of(plan, share=0.15, padding=1)
    windows = [sample(index, 2048) for index in range(8)]
    (full,) = collate_packs(windows, passes=1, filling=filling)
    assert (len(full.ids_N), full.filled_tokens, len(full.cu_lengths)) == (16_384, 0, 9)
    assert len(full.labels_M) == math.ceil(16_384 * 0.15 * 1.25)
    assert full.num_targets == 8 * math.ceil(2048 / 7)
    (other,) = collate_packs([*windows[1:], sample(8, 2047)], passes=1, filling=filling)
    assert (len(other.ids_N), other.filled_tokens, len(other.cu_lengths)) == (16_384, 1, 10)
