"""Order, strands, pieces and micro-batches of labelled sequences."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnalm.data import BatchPlan
from dnalm.data.labelled import SequenceRecipe, Task
from dnalm.data.labelled.module import LengthBuckets
from dnalm.data.labelled.samples import (
    EvaluationSequences,
    SequenceReader,
    TrainingSequences,
    collate_labelled,
    cut,
)
from dnalm.data.labelled.table import read_table, whole
from dnalm.errors import DataError
from dnalm.genome.alphabet import from_text
from dnalm.tokenizers import KmerTokenizer
from tests.conftest import random_sequence
from tests.data.labelled.tables import rows, write

K3 = KmerTokenizer(k=3)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> SequenceReader:
    path = write(tmp_path_factory.mktemp("tables") / "t.csv", rows(13))
    table = read_table(Task(train=str(path)), "train", source=str(path), num_classes=2)
    return SequenceReader(part=whole(table), tokenizer=K3, recipe=SequenceRecipe())


@given(seed=st.integers(0, 2**31), epoch=st.integers(0, 50))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_is_seen_once_an_epoch(seed: int, epoch: int, reader: SequenceReader) -> None:
    samples = TrainingSequences(reader, seed)
    assert sorted(samples.rows_of(np.arange(13) + 13 * epoch)) == list(range(13))


def test_epochs_have_orders_of_their_own(reader: SequenceReader) -> None:
    samples = TrainingSequences(reader, 1)
    orders = {tuple(samples.rows_of(np.arange(13) + 13 * epoch).tolist()) for epoch in range(20)}
    assert len(orders) == 20


def test_about_half_the_sequences_are_read_on_the_other_strand(reader: SequenceReader) -> None:
    turning = SequenceReader(part=reader.part, tokenizer=K3, recipe=SequenceRecipe(reverse_complement=True))
    plain, turned = TrainingSequences(reader, 1), TrainingSequences(turning, 1)
    differ = sum(
        not np.array_equal(plain[index].pieces.ids, turned[index].pieces.ids) for index in range(400)
    )
    assert 160 <= differ <= 240, "4 standard deviations of 400 tosses are 40"


@given(world=st.sampled_from([1, 2, 4]), step=st.integers(0, 5), micro=st.sampled_from([1, 2]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_step_has_the_same_samples_however_it_is_cut(
    world: int, step: int, micro: int, reader: SequenceReader
) -> None:
    samples = TrainingSequences(reader, 3)
    plan = BatchPlan(global_size=8, micro_size=micro)
    batches = [
        batch
        for rank in range(world)
        for batch in islice(
            LengthBuckets(plan, samples, rank=rank, world_size=world, start_step=step), 8 // micro // world
        )
    ]
    assert sorted(index for batch in batches for index in batch) == list(range(8 * step, 8 * step + 8))
    lengths = sorted(sorted(samples.lengths_of(np.array(batch)).tolist()) for batch in batches)
    assert [n for batch in lengths for n in batch] == sorted(n for batch in lengths for n in batch)


@given(length=st.integers(3, 120), limit=st.integers(1, 40))
def test_pieces_hold_every_token_once_and_in_order(length: int, limit: int) -> None:
    codes = from_text(random_sequence(length, length))
    ids = K3.encode(codes)
    pieces = cut(codes, K3, SequenceRecipe(), limit=limit, where="t:1")
    assert np.array_equal(pieces.ids[pieces.spells], ids[1:-1])
    assert (pieces.lengths <= limit + 2).all()
    assert pieces.lengths.max() - pieces.lengths.min() <= 1
    assert len(pieces.lengths) == -(-(length - 2) // limit)
    begins = np.cumsum(pieces.lengths) - pieces.lengths
    assert (pieces.ids[begins] == 2).all()
    assert (pieces.ids[begins + pieces.lengths - 1] == 3).all()


def test_a_long_sequence_is_cut_off_or_refused_if_so_asked() -> None:
    codes = from_text(random_sequence(50))
    pieces = cut(codes, K3, SequenceRecipe(long="truncate"), limit=10, where="t:1")
    assert np.array_equal(pieces.ids[1:-1], K3.encode(codes)[1:11])
    with pytest.raises(DataError, match=r"^SEQ-02 t:1: 48 tokens; at most 10"):
        cut(codes, K3, SequenceRecipe(long="refuse"), limit=10, where="t:1")


def test_a_sequence_too_short_for_a_token_is_reported_by_its_line() -> None:
    with pytest.raises(DataError, match=r"t\.csv:7: .* Fix: leave the row out"):
        cut(from_text("AC"), K3, SequenceRecipe(), limit=None, where="t.csv:7")


def test_rows_are_judged_shortest_first_and_on_both_strands_if_asked(reader: SequenceReader) -> None:
    both = SequenceReader(part=reader.part, tokenizer=K3, recipe=SequenceRecipe(average_strands=True))
    judged = EvaluationSequences(both)
    assert len(judged) == 26
    rows_ = [judged[index].row for index in range(26)]
    assert rows_[::2] == rows_[1::2]
    lengths = reader.part.lengths[rows_[::2]]
    assert (np.diff(lengths) >= 0).all()
    assert judged[26].row == -1


def test_a_batch_is_packed_without_padding(reader: SequenceReader) -> None:
    samples = [reader.read(row, reverse=False, index=row) for row in range(5)]
    batch = collate_labelled(samples, first_tokens=False)
    assert len(batch.ids_N) == sum(len(sample.pieces.ids) for sample in samples)
    assert batch.num_content == len(batch.used_M) == sum(int(reader.part.lengths[r]) - 2 for r in range(5))
    first = collate_labelled(samples, first_tokens=True)
    assert first.used_M.tolist() == batch.cu_lengths[:-1].tolist()
