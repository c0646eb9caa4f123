"""A probe is the solution that scikit-learn has, and the validation rows choose its layer and its penalty."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from dnalm.data.labelled import TaskKind
from dnalm.models import HeadShape
from dnalm.models.encoder import SequenceHead
from dnalm.training.metrics import mean_loss, probabilities_of
from dnalm.training.probing import Judge, Probe, as_head, choose_probe, outputs_of, solve_path

Floats = npt.NDArray[np.float64]
WIDTH = 6


def head(num_outputs: int, *, dense: bool = False, width: int = WIDTH) -> SequenceHead:
    shape = HeadShape(num_outputs=num_outputs, dense=dense, dropout=0.0)
    return SequenceHead(shape, hidden_size=width, initializer_range=0.02)


def planted(rows: int, seed: int) -> tuple[Floats, Floats]:
    """Vectors of unlike centers and scales, one dimension constant, and noisy scores of three directions."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, WIDTH)) * [1, 10, 0.1, 3, 1, 0] + [0, 50, -3, 0, 7, 2]
    z = StandardScaler().fit_transform(x)
    return x, z @ rng.normal(size=(WIDTH, 3)) + rng.normal(size=(rows, 3))


def solved(kind: TaskKind, x: Floats, labels: Tensor, outputs: int, c: float) -> Floats:
    """Probabilities or values of a probe."""
    found = next(
        iter(solve_path(head(outputs), torch.tensor(x), lambda o: mean_loss(kind, o, labels), [c], seed=1))
    )
    assert found[2], "it has converged"
    return probabilities_of(kind, outputs_of(found[1], torch.tensor(x)[:, None])).numpy()


@pytest.mark.parametrize("c", [0.001, 0.1, 10.0])
def test_the_probe_of_classes_labels_and_values_is_that_of_scikit_learn(c: float) -> None:
    x, scores = planted(80, seed=1)
    z = StandardScaler().fit_transform(x)
    three, two, several = scores.argmax(1), (scores[:, 0] > 0).astype(int), (scores > 0).astype(int)

    def logistic(strength: float, labels: npt.NDArray[np.int64]) -> Floats:
        model = LogisticRegression(C=strength, tol=1e-8, max_iter=10_000)
        return np.asarray(model.fit(z, labels).predict_proba(z))

    found = solved("multiclass", x, torch.tensor(three), 3, c)
    np.testing.assert_allclose(found, logistic(c, three), atol=1e-3)
    np.testing.assert_allclose(solved("binary", x, torch.tensor(two), 2, c), logistic(2 * c, two), atol=1e-3)
    each = np.stack([logistic(c / 3, column)[:, 1] for column in several.T], axis=1)
    np.testing.assert_allclose(solved("multilabel", x, torch.tensor(several), 3, c), each, atol=1e-3)
    ridge = Ridge(alpha=1 / (2 * c)).fit(z, scores[:, 0]).predict(z)
    found = solved("regression", x, torch.tensor(scores[:, 0]), 1, c)
    np.testing.assert_allclose(found[:, 0], ridge, atol=1e-3)


def test_the_path_of_penalties_ends_where_each_would_by_itself() -> None:
    x, scores = planted(60, seed=2)
    labels = torch.tensor(scores.argmax(1))

    def loss(outputs: Tensor) -> Tensor:
        return mean_loss("multiclass", outputs, labels)

    together = {
        c: found.output.weight
        for c, found, _ in solve_path(head(3), torch.tensor(x), loss, [1.0, 0.01], seed=1)
    }
    for c, weight in together.items():
        ((_, alone, _),) = solve_path(head(3), torch.tensor(x), loss, [c], seed=7)
        torch.testing.assert_close(alone.output.weight, weight, atol=1e-3, rtol=1e-3)


def test_a_dense_layer_reads_what_no_linear_probe_can_and_is_the_same_for_a_seed() -> None:
    """Exclusive or of two signs."""
    x = np.random.default_rng(3).normal(size=(200, WIDTH))
    labels = torch.tensor((x[:, 0] * x[:, 1] > 0).astype(np.int64))

    def accuracy(dense: bool, seed: int) -> tuple[float, Tensor]:
        ((_, found, _),) = solve_path(
            head(2, dense=dense), torch.tensor(x), lambda o: mean_loss("binary", o, labels), [10.0], seed=seed
        )
        outputs = outputs_of(found, torch.tensor(x)[:, None])
        return float((outputs.argmax(1) == labels).double().mean()), outputs

    assert accuracy(False, 1)[0] < 0.65
    assert accuracy(True, 1)[0] > 0.9
    assert torch.equal(accuracy(True, 1)[1], accuracy(True, 1)[1])


def chosen(
    vectors: Callable[[int, npt.NDArray[np.int64], np.random.Generator], Floats],
    *,
    layers: int = 4,
    rows: int = 60,
    penalties: tuple[float, ...] = (1e-3, 0.1, 10.0),
    width: int = WIDTH,
) -> tuple[Probe, dict[str, Tensor]]:
    """The probe of planted vectors of each layer, from the labels; and what each part has."""
    rng = np.random.default_rng(5)
    truth = {part: np.arange(rows) % 2 for part in ("train", "val", "test")}
    made = {
        part: {
            layer: np.repeat(vectors(layer, labels, rng)[:, None], 2, axis=1).astype(np.float32)
            for layer in range(layers)
        }
        for part, labels in truth.items()
    }
    val = torch.tensor(truth["val"])

    def judged(outputs: Tensor) -> tuple[float, float]:
        value = (outputs.argmax(1) == val).double().mean()
        return float(mean_loss("binary", outputs, val).mean()), float(value)

    probe = choose_probe(
        head(2, width=width),
        {"train": made["train"], "val": made["val"]},
        torch.tensor(truth["train"]),
        Judge(loss=partial(mean_loss, "binary"), judged=judged, metric="accuracy"),
        inverse_penalties=penalties,
        select="loss",
        strands={"train": 1, "val": 1},
        seed=1,
        device="cpu",
    )
    return probe, {
        "vectors": torch.tensor(made["test"][probe.chosen.layer][:, 0]).double(),
        "labels": torch.tensor(truth["test"]),
    }


@pytest.mark.parametrize("place", range(4))
def test_the_layer_that_holds_the_label_is_found(place: int) -> None:
    def vectors(layer: int, labels: npt.NDArray[np.int64], rng: np.random.Generator) -> Floats:
        noise = rng.normal(size=(len(labels), WIDTH))
        noise[:, 2] += 3.0 * (2 * labels - 1) * (layer == place)
        return noise

    probe, test = chosen(vectors)
    assert probe.chosen.layer == place
    assert len(probe.candidates) == 4 * 3
    right = (probe.head(test["vectors"]).argmax(1) == test["labels"]).double().mean()
    assert right > 0.95
    told = probe.summary()
    assert (told["layer"], told["chosen_by"]) == (place, "val_loss")
    assert [row[-1] for row in probe.table()[1:]].count("True") == 1
    last = as_head(probe, head(2), 3)
    assert last.shape.layer == (None if place == 3 else place)
    np.testing.assert_allclose(last(test["vectors"].float()).detach(), probe.head(test["vectors"]), atol=1e-3)


def test_the_penalty_that_is_chosen_is_better_on_new_rows_than_both_ends_of_the_grid() -> None:
    """A signal in 5 of 200 dimensions: a weak penalty fits the noise, a strong one learns nothing."""
    grid = (1e-6, 1e-3, 1e-2, 0.1, 1e3)

    def vectors(_: int, labels: npt.NDArray[np.int64], rng: np.random.Generator) -> Floats:
        return rng.normal(size=(len(labels), 200)) + 0.8 * (2 * labels[:, None] - 1) * (np.arange(200) < 5)

    def lost(penalties: tuple[float, ...]) -> tuple[float, float]:
        probe, test = chosen(vectors, layers=1, penalties=penalties, width=200)
        loss = mean_loss("binary", probe.head(test["vectors"]), test["labels"]).mean()
        return float(loss), probe.chosen.inverse_penalty

    best, c = lost(grid)
    assert c in grid[1:-1]
    assert best < 0.9 * lost(grid[:1])[0]
    assert best < 0.9 * lost(grid[-1:])[0]
