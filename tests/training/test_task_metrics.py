"""Figures of tasks are scikit-learn's, also where a class is missing or all rows are predicted alike."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics as of_sklearn
from torch import Tensor

from dnalm.training.metrics import judge

CLASSES = st.lists(st.integers(0, 2), min_size=2, max_size=12)


def answers(rows: int, outputs: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, outputs, generator=generator, dtype=torch.float64).softmax(1)


@given(labels=st.lists(st.integers(0, 1), min_size=2, max_size=12), seed=st.integers(0, 99))
def test_binary_figures_are_those_of_scikit_learn(labels: list[int], seed: int) -> None:
    scores = answers(len(labels), 2, seed)[:, 1]
    found = judge(["mcc", "auroc", "auprc", "f1"], "binary", scores, torch.tensor(labels), num_outputs=2)
    f1 = of_sklearn.f1_score(labels, scores > 0.5, zero_division=0)  # of class 1, as scikit-learn has it
    assert found["f1"] == pytest.approx(f1, abs=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert found["mcc"] == pytest.approx(of_sklearn.matthews_corrcoef(labels, scores > 0.5), abs=1e-6)
    if len({*labels}) == 1:
        assert math.isnan(found["auroc"])
        assert math.isnan(found["auprc"])
    else:
        assert found["auroc"] == pytest.approx(of_sklearn.roc_auc_score(labels, scores), abs=1e-6)
        assert found["auprc"] == pytest.approx(of_sklearn.average_precision_score(labels, scores), abs=1e-6)


@given(labels=CLASSES, seed=st.integers(0, 99))
def test_a_class_without_rows_has_no_part_in_the_mean(labels: list[int], seed: int) -> None:
    """Each class that is there and is not all is held against the others, and those are averaged."""
    assume(len({*labels}) > 1)
    scores, truth = answers(len(labels), 3, seed), np.array(labels)
    found = judge(["mcc", "auroc", "auprc"], "multiclass", scores, torch.tensor(labels), num_outputs=3)
    by_class = [(truth == each, scores[:, each].numpy()) for each in sorted({*labels})]
    areas = [np.mean([area(*pair) for pair in by_class]) for area in
             (of_sklearn.roc_auc_score, of_sklearn.average_precision_score)]  # fmt: skip
    assert [found["auroc"], found["auprc"]] == pytest.approx(areas, abs=1e-6)
    told = scores.argmax(1).numpy()
    assert found["mcc"] == pytest.approx(of_sklearn.matthews_corrcoef(truth, told), abs=1e-6)


def test_a_model_that_says_one_thing_only_has_an_mcc_of_zero() -> None:
    """torchmetrics gives (7 - 3) / sqrt(10 x 7 x 3) = 0.276 for seven zeros of ten, predicted all zero."""
    labels = torch.tensor([0] * 7 + [1] * 3)
    found = judge(["mcc"], "binary", torch.full((10,), 0.2, dtype=torch.float64), labels, num_outputs=2)
    assert found == {"mcc": 0.0}
