"""Models compared over seeds and items: variances against other estimators, errors of simulated tables."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit

from dnalm.data.labelled import MetricName
from dnalm.evaluation.statistics import (
    BOUNDS,
    MIN_CLUSTERS,
    MIN_OF_CLASS,
    Component,
    Interval,
    Labels,
    Measured,
    Scores,
    difference,
    half_width,
    holm,
    interval_inside,
    mean_difference,
    mean_interval,
    measure,
    metric_of,
    probability,
)

LEVEL = 0.05
WIDE = Interval(-2.0, 2.0)
components = st.lists(st.builds(Component, st.floats(1e-6, 10), st.integers(1, 300)), min_size=1, max_size=4)


def mean_score(labels: Labels, scores: Scores) -> float:  # noqa: ARG001 -- the interface of metrics
    return float(scores.mean())


def accuracy(labels: Labels, scores: Scores) -> float:
    return float(((scores > 0.5) == labels).mean())


# --- the variance over items ---


def test_the_jackknife_of_a_mean_is_its_variance_and_covariance() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 120))
    found = measure(mean_score, np.zeros(120), [one, other], bounds=WIDE).influences
    np.testing.assert_allclose(found @ found.T, np.cov(one, other) / 120)


def test_parts_of_unequal_size_give_the_variance_of_a_mean_too() -> None:
    """333 items in 200 parts, of one or two; the mean of 50 estimates, each with an error of 10 %."""
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(50, 333))
    found = measure(mean_score, np.zeros(333), list(draws), bounds=WIDE).influences
    assert (found**2).sum(axis=1).mean() == pytest.approx(1 / 333, rel=0.05)


def test_the_jackknife_of_an_area_is_that_of_delong() -> None:
    rng = np.random.default_rng(0)
    labels = (np.arange(150) < 60).astype(int)
    scores = expit(rng.normal(size=150) + labels)
    wins = (scores[:60, None] > scores[None, 60:]).astype(float)
    delong = wins.mean(axis=1).var(ddof=1) / 60 + wins.mean(axis=0).var(ddof=1) / 90
    area = metric_of("binary", "auroc", num_outputs=2)
    found = measure(area, labels, [scores], bounds=BOUNDS["auroc"])
    assert found.values[0] == pytest.approx(wins.mean())
    assert (found.influences**2).sum() == pytest.approx(delong, rel=0.05)


def test_copies_within_clusters_add_nothing() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 60), rng.random(60)
    once = measure(accuracy, labels, [scores], bounds=BOUNDS["accuracy"])
    copies = measure(
        accuracy,
        np.repeat(labels, 10),
        [np.repeat(scores, 10)],
        bounds=BOUNDS["accuracy"],
        clusters=np.repeat(np.arange(60), 10),
    )
    np.testing.assert_allclose(copies.influences, once.influences)
    assert copies.num_clusters == 60


# --- widths, probabilities, intervals ---


def test_the_interval_over_values_is_that_of_student_where_no_bound_is_near() -> None:
    values = [0.03, 0.05, 0.04]
    found = mean_interval(values, WIDE)
    expected = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-3)


def test_one_value_has_no_spread() -> None:
    with pytest.raises(ValueError, match="one value says nothing"):
        mean_interval([0.5], WIDE)


@given(components, st.floats(1e-12, 0.9))
def test_p_is_that_of_the_interval_which_reaches_zero(parts: list[Component], p: float) -> None:
    assert probability(half_width(parts, p=p), parts) == pytest.approx(p, rel=1e-6)


@given(st.integers(1, 300), st.floats(-30, 30).filter(bool))
def test_p_of_one_source_is_that_of_student(degrees: int, value: float) -> None:
    expected = 2 * stats.t.sf(abs(value), degrees)
    assert probability(value, [Component(1.0, degrees)]) == pytest.approx(max(expected, 1e-30), rel=1e-5)


@pytest.mark.parametrize("degrees", [1, 2, 4])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("p", [0.05, 0.001])
def test_the_interval_misses_no_more_often_than_it_may(degrees: int, share: float, p: float) -> None:
    """Two training variances of few degrees beside one of items: the proof of `half_width`, drawn."""
    rng = np.random.default_rng(0)
    draws = 200_000
    variances = np.array([1 - share, share * 0.7, share * 0.3])
    freedom = np.array([199, degrees, degrees])
    estimates = variances[:, None] * rng.chisquare(freedom[:, None], (3, draws)) / freedom[:, None]
    critical = [half_width([Component(1.0, int(each))], p=p) ** 2 for each in freedom]
    missed = int((rng.normal(size=draws) ** 2 > critical @ estimates).sum())
    assert stats.binom.sf(missed - 1, draws, p) > 1e-4


def test_satterthwaite_would_miss_ten_times_as_often_as_it_may() -> None:
    """Why it is not used: three seeds, most of the variance from training, a strict level."""
    rng = np.random.default_rng(0)
    draws, degrees, p = 400_000, 2, 1e-4
    training = 0.75 * rng.chisquare(degrees, draws) / degrees
    total = 0.25 + training
    freedom = total**2 / (training**2 / degrees)
    t = rng.normal(size=draws) / np.sqrt(total)
    missed = (2 * stats.t.sf(abs(t), freedom) < p).mean()
    assert missed > 10 * p


@given(st.floats(-1, 1), st.floats(0, 5), st.integers(1, 10_000))
def test_an_interval_is_inside_its_bounds_and_holds_its_figure(value: float, half: float, items: int) -> None:
    for bounds, figure in ((Interval(-1.0, 1.0), value), (Interval(0.0, 1.0), abs(value))):
        span = bounds.high - bounds.low
        found = interval_inside(figure, half, bounds, resolution=span / (2 * items))
        assert bounds.low <= found.low <= figure <= found.high <= bounds.high


def test_far_from_its_bounds_an_interval_is_the_plain_one() -> None:
    found = interval_inside(0.1, 0.02, Interval(-1.0, 1.0), resolution=1e-3)
    assert (found.low, found.high) == pytest.approx((0.08, 0.12), abs=1e-4)


@given(st.integers(30, 2000))
def test_a_model_without_an_error_has_the_interval_of_clopper_and_pearson(items: int) -> None:
    labels = np.arange(items) % 2
    found = measure(accuracy, labels, [labels.astype(float)], bounds=BOUNDS["accuracy"]).interval
    exact = stats.binomtest(items, items).proportion_ci(method="exact")
    assert found.high == exact.high == 1.0
    assert 1 - found.low == pytest.approx(1 - exact.low, rel=0.1)


# --- differences ---


def networks(
    rng: np.random.Generator, seeds: int, items: Scores, *, training: float, better: float = 0.0
) -> list[Scores]:
    """Scores of right answers: shared items, the model's own, each run's own level, and of run and items."""
    own = items + rng.normal(0, 0.5, len(items)) + better
    return [own + rng.normal(0, training) + rng.normal(0, 0.5, len(items)) for _ in range(seeds)]


def measured(scores: Sequence[Scores], *, by_class: bool = True) -> Measured:
    """Of scores that are positive where the answer is right."""
    if not by_class:
        return measure(mean_score, np.zeros(len(scores[0])), scores, bounds=WIDE)
    labels = np.arange(len(scores[0])) % 2
    said = [expit(np.where(labels == 1, each, -each)) for each in scores]
    return measure(accuracy, labels, said, bounds=BOUNDS["accuracy"])


def test_the_variance_is_that_of_the_model() -> None:
    """Over 400 draws of items and runs: the variance of the difference, and the mean of its estimates."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        items = rng.normal(0, 1, 50)
        sides = [networks(rng, seeds, items, training=0.2) for seeds in (4, 3)]
        found.append(difference(*(measured(side, by_class=False) for side in sides)))
    truth = 0.25 * 2 / 50 + (0.2**2 + 0.25 / 50) * (1 / 4 + 1 / 3)  # the models' own items, then runs
    assert np.var([each.value for each in found]) == pytest.approx(truth, rel=0.2)
    estimates = [sum(part.variance for part in each.components) for each in found]
    assert np.mean(estimates) == pytest.approx(truth, rel=0.05)


@given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=20)
def test_neither_model_is_first(seed: int, one: int, other: int) -> None:
    rng = np.random.default_rng(seed)
    items = rng.normal(0.5, 1, 40)
    first, second = (measured(networks(rng, seeds, items, training=0.2)) for seeds in (one, other))
    forth, back = difference(first, second), difference(second, first)
    assert (forth.value, forth.low, forth.high) == pytest.approx((-back.value, -back.high, -back.low))
    assert forth.p == pytest.approx(back.p)


def test_a_single_network_speaks_for_itself_and_says_nothing_of_training() -> None:
    rng = np.random.default_rng(0)
    items = rng.normal(size=60)
    one, other = (measured(networks(rng, 1, items, training=3.0), by_class=False) for _ in range(2))
    (part,) = difference(one, other).components
    apart = one.influences[0] - other.influences[0]
    assert part == Component(pytest.approx((apart**2).sum()), 59)


def test_the_same_predictions_do_not_differ() -> None:
    model = measured([np.linspace(-1, 2, 50)] * 3)
    assert (difference(model, model).value, difference(model, model).p) == (0.0, 1.0)


@pytest.mark.parametrize("name", ["spearman", "pearson"])
def test_a_metric_that_is_not_defined_differs_from_nothing(name: MetricName) -> None:
    """A model of one value has no correlation with anything."""
    correlation = metric_of("regression", name, num_outputs=1)
    labels = np.arange(40.0)
    sides = [
        measure(correlation, labels, [scores], bounds=BOUNDS[name])
        for scores in (labels**2, np.full(40, 2.5))
    ]
    found = difference(*sides)
    assert (np.isnan(found.value), found.p) == (True, 1.0)


@pytest.mark.parametrize("number", [0, 1])
def test_a_test_set_of_next_to_nothing_says_nothing(number: int) -> None:
    area = metric_of("binary", "auroc", num_outputs=2)
    model = measure(area, np.ones(number, int), [np.full(number, 0.7)], bounds=BOUNDS["auroc"])
    found = difference(model, model)
    assert (found.p, found.has_enough_items, np.isnan(model.interval.low)) == (1.0, False, True)


def test_models_on_different_items_are_not_compared() -> None:
    with pytest.raises(ValueError, match="the same items"):
        difference(measured([np.ones(40)]), measured([np.ones(41)]))


@pytest.mark.parametrize(
    ("items", "of_class", "enough"),
    [
        (MIN_CLUSTERS, MIN_OF_CLASS, True),
        (MIN_CLUSTERS - 1, MIN_OF_CLASS, False),
        (MIN_CLUSTERS, MIN_OF_CLASS - 1, False),
    ],
)
def test_a_verdict_needs_items_and_some_of_each_class(items: int, of_class: int, *, enough: bool) -> None:
    labels = (np.arange(items) < of_class).astype(int)
    model = measure(accuracy, labels, [np.linspace(0, 1, items)], bounds=BOUNDS["accuracy"])
    assert difference(model, model).has_enough_items is enough


def test_the_mean_over_tasks_has_the_variances_of_its_parts() -> None:
    rng = np.random.default_rng(0)
    each = []
    for items in (40, 90):
        shared = rng.normal(size=items)
        each.append(difference(*(measured(networks(rng, 3, shared, training=0.2)) for _ in range(2))))
    found = mean_difference(each)
    assert found.value == pytest.approx((each[0].value + each[1].value) / 2)
    assert half_width(found.components) == pytest.approx(
        np.hypot(half_width(each[0].components), half_width(each[1].components)) / 2
    )


# --- whole tables ---


def told(
    rng: np.random.Generator,
    seeds: Sequence[int],
    training: Sequence[float],
    *,
    better: float = 0.0,
    by_class: bool = True,
    tasks: int = 2,
    items: int = 40,
) -> list[bool]:
    """Of a table of tasks and models: whether each comparison is said to be a difference.

    The first model is better by `better`; its comparisons come first.
    """
    p = []
    for _ in range(tasks):
        shared = rng.normal(0.8, 1, items)
        models = [
            measured(
                networks(rng, number, shared, training=spread, better=better if place == 0 else 0.0),
                by_class=by_class,
            )
            for place, (number, spread) in enumerate(zip(seeds, training, strict=True))
        ]
        p += [
            difference(models[i], models[j]).p for i in range(len(models)) for j in range(i + 1, len(models))
        ]
    return [each < LEVEL for each in holm(p)]


@pytest.mark.parametrize(
    ("seeds", "training", "by_class"),
    [
        ((1, 1, 1), (0.0, 0.0, 0.0), True),  # of these networks: they alone, other items
        ((2, 2, 2), (0.3, 0.3, 0.3), True),
        ((3, 3, 1), (0.1, 0.1, 0.0), True),  # the last one's training draws nothing
        ((5, 5, 5), (0.0, 0.0, 0.0), True),
        ((3, 5, 3), (0.05, 0.5, 1.0), False),  # unequal spreads; the metric is linear, so means are equal
    ],
)
def test_under_no_difference_five_tables_of_a_hundred_say_one_at_most(
    seeds: tuple[int, ...], training: tuple[float, ...], *, by_class: bool
) -> None:
    """The false positive rate of whole tables; the bound is passed by chance once in a thousand times."""
    rng = np.random.default_rng(0)
    tables = 120
    wrong = sum(any(told(rng, seeds, training, by_class=by_class)) for _ in range(tables))
    assert wrong <= stats.binom.isf(1e-3, tables, LEVEL)


@pytest.mark.parametrize(("seeds", "seen"), [(1, 0.9), (5, 0.8)])
def test_a_large_difference_is_seen(seeds: int, seen: float) -> None:
    """Accuracy 0.76 against 0.97 on 100 items, corrected for three comparisons; runs differ by 0.03."""
    rng = np.random.default_rng(0)
    training = 0.1 if seeds > 1 else 0.0
    found = [told(rng, (seeds,) * 3, (training,) * 3, better=1.5, tasks=1, items=100)[:2] for _ in range(25)]
    assert np.mean(found) >= seen
