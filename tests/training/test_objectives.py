"""Losses, metrics and baselines of objectives, against numbers worked out by hand."""

import math
from dataclasses import dataclass, field

import pytest
import torch

from dnalm.data.batch import labelled_places
from dnalm.errors import ConfigError
from dnalm.genome.tracks import TrackStatistics
from dnalm.models import Encoder
from dnalm.training.objectives import LossWeights, MaskedTokens, ObjectiveSet
from dnalm.training.track_objectives import (
    ChromatinState,
    ChromatinTask,
    Conservation,
    ConservationTask,
    RankCorrelation,
    RegionClass,
    RegionTask,
)

NAN = float("nan")
TRUE = torch.tensor(True)


@dataclass
class FakeTrack:
    """What objectives ask of a track."""

    kind: str
    names: tuple[str, ...] = ()
    statistics: TrackStatistics = field(
        default_factory=lambda: TrackStatistics(num_bases=9, num_covered=9, mean=5.0, sd=2.0)
    )


def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(vocab_size=9, hidden_size=8, num_layers=1, num_heads=2, intermediate_size=16)


def region() -> RegionTask:
    return RegionTask("region", num_classes=3, encoder=encoder())


def test_unknown_tokens_reach_neither_head_nor_loss() -> None:
    task = region()
    hidden = torch.randn(5, 8, requires_grad=True)
    classes = torch.tensor([2, -1, 0, -1, -1])
    outputs, targets = task(hidden, classes, labelled_places(classes))
    assert (outputs.shape, targets.tolist()) == ((2, 3), [2, 0])
    task.loss(outputs, targets).backward()
    assert hidden.grad is not None
    assert [bool(row.any()) for row in hidden.grad] == [True, False, True, False, False]


@pytest.mark.parametrize(
    ("task", "targets"),
    [
        (region(), torch.full((4,), -1)),
        (ChromatinTask("chromatin", names=("a", "b"), encoder=encoder()), torch.full((4, 2), -1).char()),
        (ConservationTask("c", mean=0.0, sd=1.0, delta=1.0, encoder=encoder()), torch.full((4,), NAN)),
    ],
    ids=["classes", "labels", "values"],
)
def test_windows_without_labels_cost_nothing(task: RegionTask, targets: torch.Tensor) -> None:
    hidden = torch.randn(4, 8, requires_grad=True)
    loss = task.loss(*task(hidden, targets, labelled_places(targets)))
    loss.backward()
    assert loss.item() == 0.0
    assert not hidden.grad.any()  # type: ignore[union-attr]
    gradients = [parameter.grad for parameter in task.parameters()]
    assert all(grad is not None and not grad.any() for grad in gradients)  # every rank has all of them
    task.judge(*task(hidden, targets, labelled_places(targets)))
    scores = task.scores()
    assert scores.num_targets == 0
    assert all(math.isnan(value) for value in scores.model.values())


def test_region_figures() -> None:
    task = region()
    # 2, 1 and 0 tokens and a half each: 2.5 / 4.5, 1.5 / 4.5, 0.5 / 4.5
    task.begin_at(torch.tensor([0, 0, 1, -1]))
    chosen, true = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 0, 1, 0, 2, 1])
    task.judge(torch.nn.functional.one_hot(chosen, 3).float() * 9, true)
    scores = task.scores()
    # Gorodkin's R_K: c s - sum p t over the root of (s^2 - sum p^2)(s^2 - sum t^2), 4 of 6 correct,
    # predicted 2, 2, 2, true 3, 2, 1
    assert scores.model["mcc"] == pytest.approx((4 * 6 - 12) / math.sqrt((36 - 12) * (36 - 14)))
    assert scores.model["accuracy"] == pytest.approx(4 / 6)
    right, wrong = math.log(1 + 2 * math.exp(-9)), 9 + math.log(1 + 2 * math.exp(-9))
    assert scores.model["loss"] == pytest.approx((4 * right + 2 * wrong) / 6, rel=1e-5)
    assert (scores.baseline["accuracy"], scores.baseline["mcc"]) == (0.5, 0.0)
    frequencies = -(3 * math.log(2.5 / 4.5) + 2 * math.log(1.5 / 4.5) + math.log(0.5 / 4.5)) / 6
    assert scores.baseline["loss"] == pytest.approx(frequencies, rel=1e-6)


@pytest.mark.parametrize("chosen", [[0] * 10, [0] * 9 + [1]])
def test_of_two_classes_a_constant_answer_has_no_correlation(chosen: list[int]) -> None:
    """By the formula 0 / 0 for ten times the first, which counts as 0; torchmetrics gives 0.276 there."""
    task = RegionTask("r", num_classes=2, encoder=encoder())
    true = torch.tensor([0] * 7 + [1] * 3)
    task.judge(torch.nn.functional.one_hot(torch.tensor(chosen), 2).float(), true)
    # one of the three found and no false one: (1 x 7 - 0 x 2) / sqrt(1 x 3 x 7 x 9)
    assert task.scores().model["mcc"] == pytest.approx(7 / math.sqrt(189) if 1 in chosen else 0.0)


def test_chromatin_figures_and_its_missing_labels() -> None:
    task = ChromatinTask("chromatin", names=("a", "b", "c"), encoder=encoder())
    task.begin_at(torch.tensor([[1, 0, -1], [0, 0, -1], [0, -1, -1]]).char())
    assert task.baseline.sigmoid().tolist() == pytest.approx([1.5 / 4, 0.5 / 3, 0.5])
    logits = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    labels = torch.tensor([[1, 0, -1], [0, 0, -1], [1, -1, -1], [0, 0, -1]]).char()
    task.judge(logits, labels)
    scores = task.scores()
    # a, by falling score: 1 0 1 0. Of 4 pairs 3 are in order; precision 1 at recall 1/2, 2/3 at recall 1
    assert scores.each["a"] == pytest.approx({"auroc": 3 / 4, "auprc": (1 + 2 / 3) / 2, "prevalence": 0.5})
    assert math.isnan(scores.each["b"]["auroc"])  # it holds nowhere
    assert (scores.model["auroc"], scores.baseline["auprc"]) == (pytest.approx(3 / 4), 0.5)
    assert scores.num_targets == 7

    def cost(x: float, y: int) -> float:
        return math.log1p(math.exp(-x)) if y else math.log1p(math.exp(x))

    of_a = cost(2, 1) + cost(1, 0) + cost(0, 1) + cost(-1, 0)
    assert scores.model["loss"] == pytest.approx((of_a + 3 * math.log(2)) / 7, rel=1e-6)
    of_a = -2 * math.log(1.5 / 4) - 2 * math.log(2.5 / 4)
    assert scores.baseline["loss"] == pytest.approx((of_a - 3 * math.log(2.5 / 3)) / 7, rel=1e-5)


def test_conservation_figures() -> None:
    task = ConservationTask("conservation", mean=5.0, sd=2.0, delta=1.0, encoder=encoder())
    task.begin_at(torch.tensor([5.0, 7.0, NAN]))  # 0 and 1 standard deviations: the mean is 0.5
    outputs, true = torch.tensor([[0.5], [0.0], [-1.0]]), torch.tensor([5.0, 9.0, 3.0])  # 0, 2, -1
    task.judge(outputs, true)
    scores = task.scores()
    assert scores.model["loss"] == pytest.approx((0.5 * 0.5**2 + (2 - 0.5) + 0) / 3)
    assert scores.model["mse"] == pytest.approx((0.25 + 4 + 0) / 3)
    assert scores.model["spearman"] == pytest.approx(0.5)  # ranks 3 2 1 and 2 3 1: 1 - 6 * 2 / (3 * 8)
    assert scores.baseline["loss"] == pytest.approx((0.125 + (1.5 - 0.5) + (1.5 - 0.5)) / 3)
    assert scores.baseline["mse"] == pytest.approx((0.25 + 2.25 + 2.25) / 3)


def test_tied_values_share_their_ranks_however_many() -> None:
    correlation = RankCorrelation()
    correlation.update(torch.tensor([5.0, 1.0, 5.0, 9.0]), torch.tensor([2.5, 1.0, 2.5, 4.0]))
    assert correlation.compute() == pytest.approx(1.0)
    correlation.reset()
    many = torch.cat([torch.zeros(100_000), torch.ones(1)])  # their ranks add up to more than int32 holds
    correlation.update(many, many.flip(0))
    assert correlation.compute() == pytest.approx(-1e-5)


def test_a_constant_answer_has_no_rank_correlation() -> None:
    task = ConservationTask("conservation", mean=0.0, sd=1.0, delta=1.0, encoder=encoder())
    task.judge(torch.zeros(3, 1), torch.tensor([1.0, 2.0, 3.0]))
    assert math.isnan(task.scores().model["spearman"])


def test_a_head_begins_near_its_baseline() -> None:
    task = region()
    task.begin_at(torch.tensor([0] * 90 + [1] * 9))
    outputs, _ = task(torch.randn(50, 8), torch.zeros(50, dtype=torch.long), torch.arange(50))
    assert torch.allclose(outputs, task.baseline, atol=0.5)


def test_forgetting_begins_anew() -> None:
    task = region()
    task.judge(torch.eye(3), torch.tensor([0, 1, 1]))
    task.forget()
    task.judge(torch.eye(3), torch.tensor([0, 1, 2]))
    assert (task.scores().num_targets, task.scores().model["accuracy"]) == (3, 1.0)


# Kendall, Gal & Cipolla 2018


@pytest.mark.parametrize("log_variance", [[0.0, 0.0], [0.7, -1.3]])
def test_uncertainty_weighting_is_the_papers_formula(log_variance: list[float]) -> None:
    weights = LossWeights({"mlm": 1.0, "region": 1.0}, weighting="uncertainty")
    assert weights.log_variance is not None
    with torch.no_grad():
        weights.log_variance.copy_(torch.tensor(log_variance))
    losses = {"mlm": torch.tensor(3.0), "region": torch.tensor(0.5)}
    total = weights(losses, present={"mlm": TRUE, "region": TRUE}, share=1.0)
    sigma = [math.exp(s / 2) for s in log_variance]
    expected = 3.0 / sigma[0] ** 2 + math.log(sigma[0]) + 0.5 / sigma[1] ** 2 + math.log(sigma[1])
    assert float(total.detach()) == pytest.approx(expected)


def test_an_objective_without_targets_does_not_move_its_uncertainty() -> None:
    weights = LossWeights({"mlm": 1.0, "region": 1.0}, weighting="uncertainty")
    losses = {"mlm": torch.tensor(3.0), "region": torch.tensor(0.0)}
    weights(losses, present={"mlm": TRUE, "region": ~TRUE}, share=1.0).backward()
    assert weights.log_variance is not None
    assert weights.log_variance.grad is not None
    assert weights.log_variance.grad.tolist() == [0.5 - 3.0, 0.0]


def test_fixed_weights_multiply_and_are_not_trained() -> None:
    weights = LossWeights({"mlm": 1.0, "region": 0.25})
    losses = {"mlm": torch.tensor(3.0), "region": torch.tensor(2.0)}
    assert float(weights(losses, present={}, share=1.0)) == 3.5
    assert list(weights.parameters()) == []


def test_weights_that_would_have_no_effect_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weighting is uncertainty, .* and region 0\.25 is given"):
        LossWeights({"mlm": 1.0, "region": 0.25}, weighting="uncertainty")
    for weight in (0.0, -1.0, math.inf, NAN):
        with pytest.raises(ValueError, match="a number above 0"):
            RegionClass(weight=weight)
    with pytest.raises(ValueError, match="delta is 0"):
        Conservation(delta=0)


# What cannot be learned


@pytest.mark.parametrize(
    ("objective", "kind", "message"),
    [
        (RegionClass(), "labels", "OBJ-01 .*'region': a track of labels for RegionClass; a track of classes"),
        (ChromatinState(), "values", "OBJ-01 .*a track of values for ChromatinState; a track of labels"),
        (Conservation(), "classes", "OBJ-01 .*a track of classes for Conservation; a track of values"),
        (RegionClass(), "classes", "OBJ-02 .*'region': the one class only; two classes at least"),
    ],
)
def test_a_track_of_another_kind_is_refused(objective: RegionClass, kind: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        objective.make(FakeTrack(kind, ("only",)), encoder())  # type: ignore[arg-type]


@pytest.mark.parametrize(("mean", "sd"), [(None, None), (1.0, 0.0)])
def test_values_that_do_not_vary_are_refused(mean: float | None, sd: float | None) -> None:
    track = FakeTrack("values", statistics=TrackStatistics(num_bases=9, num_covered=0, mean=mean, sd=sd))
    with pytest.raises(ConfigError, match=r"OBJ-02 .*'conservation': no value, or the same everywhere"):
        Conservation().make(track, encoder())  # type: ignore[arg-type]


def test_goals_are_masked_tokens_and_others() -> None:
    goals = ObjectiveSet({"mlm": MaskedTokens(), "r": RegionClass(), "again": RegionClass(weight=2.0)})
    assert (goals.masked_tokens, goals.targets) == ("mlm", ["region"])
    assert goals.weights.factors() == {"mlm": 1.0, "r": 1.0, "again": 2.0}
    assert ObjectiveSet().on_tracks == {}


def test_goals_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"OBJ-03 objectives: 0 objectives that predict masked tokens"):
        ObjectiveSet({"r": RegionClass()})
    with pytest.raises(ConfigError, match=r"OBJ-03 objectives: 2 objectives"):
        ObjectiveSet({"a": MaskedTokens(), "b": MaskedTokens()})
    with pytest.raises(ConfigError, match=r"OBJ-04 objectives\.a\.b: a name that is more than letters"):
        ObjectiveSet({"mlm": MaskedTokens(), "a.b": RegionClass()})
    with pytest.raises(ConfigError, match=r"OBJ-05 weighting: .*mlm 2\.0 is given; either of both"):
        ObjectiveSet({"mlm": MaskedTokens(weight=2.0), "r": RegionClass()}, "uncertainty")
