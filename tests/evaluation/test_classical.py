"""Classical baselines learn what they can see, and nothing of the test set."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dnalm.data.labelled import Division, LabelledTable, TablePart
from dnalm.data.labelled.table import whole
from dnalm.errors import ConfigError
from dnalm.evaluation.classical import (
    KmerLogistic,
    SmallCnn,
    kmers,
    log_loss,
    one_hot,
    refuse_other_kinds,
)
from dnalm.genome.alphabet import from_text
from tests.conftest import random_sequence
from tests.evaluation.benchmark.test_leakage import table


def planted(rows: int, seed: int) -> LabelledTable:
    """Sequences of three lengths; those of class 1 have a motif somewhere."""
    made = []
    for row in range(rows):
        text = random_sequence(40 + row % 3, seed + row)
        made.append((text[:20] + "TATAAGCGC" + text[29:] if row % 2 else text, row % 2))
    return table(made)


@pytest.fixture(scope="module")
def division() -> Division:
    parts = [whole(planted(rows, seed)) for rows, seed in ((300, 0), (60, 1000), (100, 2000))]
    return Division(train=parts[0], val=parts[1], test=parts[2], num_classes=2, notes=())


@given(st.text("ACGTNacgtn", max_size=30), st.integers(1, 4))
def test_kmers_are_those_of_the_text(text: str, k: int) -> None:
    words = [text[place : place + k].upper() for place in range(len(text) - k + 1)]
    numbers = [
        sum("ACGT".index(letter) * 4 ** (k - 1 - n) for n, letter in enumerate(word))
        for word in words
        if "N" not in word
    ]
    assert kmers(from_text(text), k).tolist() == numbers


@given(st.lists(st.text("ACGTN", min_size=1, max_size=20), min_size=1, max_size=5))
def test_counts_are_scaled_to_length_one(texts: list[str]) -> None:
    found = KmerLogistic(k=2).counts(whole(table([(text, 0) for text in texts]))).toarray()
    for row, text in zip(found, texts, strict=True):
        counts = Counter(kmers(from_text(text), 2).tolist())
        length = max(np.sqrt(sum(number**2 for number in counts.values())), 1)
        assert {n: row[n] for n in np.flatnonzero(row)} == pytest.approx(
            {n: c / length for n, c in counts.items()}
        )


@given(st.lists(st.text("ACGTN", min_size=1, max_size=20), min_size=1, max_size=5))
def test_one_hot_spells_the_bases(texts: list[str]) -> None:
    hot = one_hot(whole(table([(text, 0) for text in texts])), np.arange(len(texts)))
    for row, text in zip(hot, texts, strict=True):
        letters = ["ACGT"[int(column.argmax())] if column.any() else "N" for column in row.T]
        assert "".join(letters) == text + "N" * (hot.shape[2] - len(text))


@pytest.mark.parametrize("model", [KmerLogistic(k=4), SmallCnn(epochs=12, filters=16)], ids=lambda m: m.name)
def test_a_planted_motif_is_learned_and_the_same_seed_gives_the_same(
    model: KmerLogistic | SmallCnn, division: Division
) -> None:
    torch.manual_seed(99)
    first = model.fit(division, seed=1)
    torch.manual_seed(7)
    answers, again = (fitted.answer(division.test) for fitted in (first, model.fit(division, seed=1)))
    assert np.array_equal(answers, again)
    assert answers.sum(axis=1) == pytest.approx(np.ones(100))
    assert (answers.argmax(axis=1) == division.test.labels).mean() > 0.9


def test_log_loss_is_the_mean_surprise() -> None:
    answers = np.array([[0.5, 0.5], [0.25, 0.75]])
    assert log_loss(answers, np.array([0, 1])) == pytest.approx((np.log(2) + np.log(4 / 3)) / 2)


@pytest.mark.parametrize("recipe", [KmerLogistic(k=5), SmallCnn(epochs=12, patience=12)])
def test_each_of_several_labels_is_learned(recipe: KmerLogistic | SmallCnn) -> None:
    """Label 0 is a motif, label 1 another; sequences have both, one or none."""

    def part(rows: int, seed: int) -> TablePart:
        made = []
        for row in range(rows):
            text = random_sequence(60, seed + row)
            text = text[:10] + ("TATAAGCGC" if row % 2 else text[10:19]) + text[19:]
            made.append((text[:40] + ("GGCCAATCT" if row // 2 % 2 else text[40:49]) + text[49:], row % 2))
        labels = np.stack([np.arange(rows) % 2, np.arange(rows) // 2 % 2], axis=1)
        return whole(replace(table(made), labels=labels))

    parts = part(300, 0), part(60, 1000), part(100, 2000)
    division = Division(train=parts[0], val=parts[1], test=parts[2], num_classes=2, notes=())
    fitted = recipe.fit(division, seed=1)
    answers = fitted.answer(division.test)
    assert answers.shape == (100, 2)
    assert ((answers > 0.5) == division.test.labels).mean(axis=0).min() > 0.85
    if isinstance(recipe, KmerLogistic):
        assert fitted.parameters == 2 * (4**5 + 1)
    surprise = -np.log(np.where(division.test.labels > 0, answers, 1 - answers)).mean()
    assert log_loss(answers, division.test.labels) == pytest.approx(surprise)


def test_other_kinds_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="a regression task for cnn; a binary, multiclass or multilabel one"
    ):
        refuse_other_kinds("cnn", "regression")


@pytest.mark.parametrize(("given_", "says"), [({"k": 9}, "k is 9"), ({"inverse_penalties": ()}, "is empty")])
def test_what_cannot_be_counted_is_refused(given_: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        KmerLogistic(**given_)  # type: ignore[arg-type]
