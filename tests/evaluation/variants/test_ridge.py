"""A regression on embeddings has not seen what it predicts."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from dnalm.evaluation.variants import ridge
from dnalm.evaluation.variants.ridge import ridge_predictions
from dnalm.evaluation.variants.set_metrics import Grouping


def by(clusters: np.ndarray, groups: np.ndarray | None = None) -> Grouping:
    return Grouping(groups=clusters if groups is None else groups, clusters=clusters)


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 100.0])
def test_each_cluster_is_predicted_by_the_regression_of_scikit_learn_on_the_others(
    penalty: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ridge, "PENALTIES", (penalty,))
    rng, clusters = np.random.default_rng(0), np.repeat(np.arange(6), 25)
    features = rng.normal(size=(150, 9)) @ rng.normal(size=(9, 9)) + 3
    labels = (features[:, 0] + rng.normal(size=150) > 3).astype(np.float64)
    wanted = np.empty(150)
    for cluster in range(6):
        train = clusters != cluster
        mean, spread = features[train].mean(axis=0), features[train].std(axis=0)
        fitted = Ridge(alpha=penalty * train.sum()).fit((features[train] - mean) / spread, labels[train])
        wanted[~train] = fitted.predict((features[~train] - mean) / spread)
    np.testing.assert_allclose(ridge_predictions(features, labels, by(clusters)), wanted, atol=1e-9)


@pytest.mark.parametrize("number", [8, 30])
def test_what_only_a_cluster_itself_tells_is_not_learned(number: int) -> None:
    """Features name the cluster, and labels follow it: within clusters known by heart nothing is left."""
    rng, clusters = np.random.default_rng(1), np.repeat(np.arange(number), 20)
    names = np.eye(number)[clusters] + rng.normal(0, 0.01, (len(clusters), number))
    labels = (rng.random(number) < 0.5).astype(np.float64)[clusters]
    assert roc_auc_score(labels, Ridge().fit(names, labels).predict(names)) > 0.99
    assert roc_auc_score(labels, ridge_predictions(names, labels, by(clusters))) < 0.6


def test_experiments_of_other_scales_teach_each_other() -> None:
    rng, clusters = np.random.default_rng(2), np.repeat(np.arange(6), 50)
    features, scale = rng.normal(size=(300, 4)), np.array([1.0, 100, 0.01, 1, 1000, 1])
    labels = (features[:, 1] + 0.1 * rng.normal(size=300)) * scale[clusters] + scale[clusters]
    found = ridge_predictions(features, labels, by(clusters))
    assert min(np.corrcoef(found[clusters == c], labels[clusters == c])[0, 1] for c in range(6)) > 0.98


def test_two_clusters_cannot_choose_a_penalty() -> None:
    assert np.isnan(
        ridge_predictions(np.ones((4, 2)), np.array([0.0, 1, 0, 1]), by(np.array([0, 0, 1, 1])))
    ).all()
