"""Labels of bases: how they are read, and which tokens answer for which base."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.data.labelled import SequenceRecipe, Task, TaskKind
from dnalm.data.labelled.samples import SequenceReader, collate_labelled, cut
from dnalm.data.labelled.table import LabelledTable, TablePart, read_table
from dnalm.errors import DataError
from dnalm.genome.alphabet import from_text
from dnalm.tokenizers import KmerTokenizer, LogoTokenizer, SixMerTokenizer, Tokenizer

TOKENIZERS = [KmerTokenizer(k=1), KmerTokenizer(k=3), LogoTokenizer(k=4), SixMerTokenizer()]
KIND: TaskKind = "segmentation"


def table_of(folder: Path, *rows: str, classes: tuple[str, ...] = ()) -> LabelledTable:
    path = folder / "t.csv"
    path.write_text("\n".join(["sequence,label", *rows]) + "\n")
    task = Task(train=str(path), kind=KIND, classes=classes)
    return read_table(task, "train", source=str(path), num_classes=len(classes) or None)


def test_each_letter_is_the_class_of_a_base(tmp_path: Path) -> None:
    table = table_of(tmp_path, "ACGT,0012", "GG,20")
    assert [table.label(row).tolist() for row in (0, 1)] == [[0, 0, 1, 2], [2, 0]]
    assert TablePart(table, np.array([1, 0])).labels.tolist() == [2, 0, 0, 0, 1, 2]
    assert TablePart(table, np.array([1, 0])).starts.tolist() == [0, 2]


def test_letters_may_be_named(tmp_path: Path) -> None:
    assert table_of(tmp_path, "ACGT,..EE", classes=(".", "E")).labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("ACGT,001", r"CSV-16 .*t.csv:3: label has 3 labels for 4 bases; one letter a base"),
        ("ACGT,00x1", r"CSV-03 .*t.csv:3: label is 'x'; the number of a class"),
    ],
)
def test_labels_that_do_not_fit_are_reported_with_their_line(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        table_of(tmp_path, "AC,01", row)


@given(
    text=st.text("ACGTN", min_size=7, max_size=60),
    tokenizer=st.sampled_from(TOKENIZERS),
    limit=st.none() | st.integers(3, 9),
)
def test_every_base_is_answered_for_by_the_tokens_that_spell_it(
    text: str, tokenizer: Tokenizer, limit: int | None
) -> None:
    codes = from_text(text)
    pieces = cut(codes, tokenizer, SequenceRecipe(), limit=limit, where="here", per_base=True)
    assert pieces.covers is not None
    ids = tokenizer.encode(codes)
    spells = [
        (token, span)
        for token, span in zip(ids, tokenizer.spans(codes, ids), strict=True)
        if span[0] < span[1]
    ]
    pairs = [(int(token), base) for token, span in spells for base in range(*span)]
    assert [(int(pieces.ids[place]), int(base)) for place, base in pieces.covers] == pairs
    assert sorted({base for _, base in pairs}) == list(range(len(text)))


def test_the_other_strand_has_the_labels_of_its_own_bases(tmp_path: Path) -> None:
    table = table_of(tmp_path, "AAA,000", "AACCG,01234")
    reader = SequenceReader(
        part=TablePart(table, np.array([0, 1])), tokenizer=TOKENIZERS[0], recipe=SequenceRecipe()
    )
    turned = reader.read(1, reverse=True, index=0)
    assert turned.label.tolist() == [4, 3, 2, 1, 0]
    assert turned.bases is not None
    assert turned.bases.tolist() == [7, 6, 5, 4, 3]


def test_a_batch_has_a_label_and_a_place_for_each_base_and_its_tokens(tmp_path: Path) -> None:
    table = table_of(tmp_path, "AACCG,01210", "ACGT,2222", "CCC,012")
    reader = SequenceReader(
        part=TablePart(table, np.arange(3)), tokenizer=KmerTokenizer(k=3), recipe=SequenceRecipe()
    )
    samples = [reader.read(row, reverse=False, index=row, fills=row == 1) for row in range(3)]
    batch = collate_labelled(samples, first_tokens=False)
    assert batch.covers_Q2 is not None
    assert len(batch.rows) == len(batch.labels_S) == 12
    kept = {place: int(label) for place, label in zip(batch.rows, batch.labels_S, strict=True) if place >= 0}
    assert kept == {place: int(table.labels[place]) for place in (*range(5), *range(9, 12))}
    assert sum(place == -1 for place in batch.rows) == 4
    tokens = batch.covers_Q2[:, 0]
    assert bool((batch.ids_N[tokens] >= 5).all()), "special ones spell nothing"
    # 3-mers over 5, 4 and 3 bases: 3, 2 and 1 tokens, each of three bases
    assert len(batch.covers_Q2) == 3 * (3 + 2 + 1)
