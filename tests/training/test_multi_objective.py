"""Several objectives: the update is that of the global means however the batch is cut, and logs say so."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torch.nn import functional as F  # noqa: N812

from dnalm.data import BatchPlan, GenomeCorpus, Masking, WindowRecipe
from dnalm.data.batch import Batch, collate, is_known
from dnalm.data.module import GenomeData
from dnalm.errors import NumericsError
from dnalm.genome.track_recipes import IntervalClasses, IntervalLabels, Signal
from dnalm.models import MaskedLM, Packed
from dnalm.training import MultiObjectiveTraining
from dnalm.training.objectives import MaskedTokens, ObjectiveSet, WeightingName, make_tasks
from dnalm.training.track_objectives import ChromatinState, Conservation, RegionClass
from tests.conftest import random_sequence
from tests.training.fitting import plan_of, trainer_of
from tests.training.test_masked_lm import GLOBAL, TOKENIZER, network

LR = 1e-2


def write_annotations(folder: Path) -> None:
    """Chr1 is annotated in its first half only, and sparsely, so that windows differ in their labels."""
    (folder / "genome.fa").write_text(
        f">chr1\n{random_sequence(20_000)}\n>chr2\n{random_sequence(2_000, 1)}\n"
    )
    spans = [(150 * n, 150 * n + 20 + n, f"class{n % 3}") for n in range(60)]
    rows = [f"chr1\t{a}\t{b}\t{name}\n" for a, b, name in spans]
    rows += [f"chr2\t{a}\t{b}\t{name}\n" for a, b, name in spans[:12]]
    (folder / "classes.bed").write_text("".join(rows))
    levels = [row.rsplit("\t", 1)[0] + f"\t{number % 7}\n" for number, row in enumerate(rows)]
    (folder / "level.bedgraph").write_text("".join(levels))


def datamodule(folder: Path, *, micro: int, targets: Sequence[str] | None = None) -> GenomeData:
    if not (folder / "genome.fa").exists():
        write_annotations(folder)
    tracks = {
        "region": IntervalClasses(files={"all": folder / "classes.bed"}),
        "chromatin": IntervalLabels(files={"all": folder / "classes.bed"}, label_by="class"),
        "conservation": Signal(file=folder / "level.bedgraph"),
    }
    return GenomeData(
        GenomeCorpus(fasta=folder / "genome.fa", cache=folder / "cache", tracks=tracks),
        tokenizer=TOKENIZER,
        windows=WindowRecipe(min_tokens=5, max_tokens=60, reverse_complement=True),
        masking=Masking(),
        batch=BatchPlan(global_size=GLOBAL, micro_size=micro),
        seed=1,
        targets=targets or list(tracks),
    )


def goals_of(weighting: WeightingName) -> ObjectiveSet:
    weight = 0.5 if weighting == "fixed" else 1.0
    objectives = {
        "mlm": MaskedTokens(),
        "region": RegionClass(weight=weight),
        "chromatin": ChromatinState(),
        "conservation": Conservation(),
    }
    return ObjectiveSet(objectives, weighting)


def module_of(
    data: GenomeData, *, weighting: WeightingName = "fixed", dropout: float = 0.0
) -> MultiObjectiveTraining:
    model, goals = network(dropout=dropout), goals_of(weighting)
    plan = plan_of(TOKENIZER, global_batch=GLOBAL, lr=LR)
    return MultiObjectiveTraining(
        model,
        plan=plan,
        tasks=make_tasks(goals.on_tracks, data, model.encoder),
        masked_tokens=goals.masked_tokens,
        weights=goals.weights,
    )


def fit(
    folder: Path,
    name: str,
    *,
    micro: int,
    steps: int = 1,
    weighting: WeightingName = "fixed",
    dropout: float = 0.0,
) -> tuple[MultiObjectiveTraining, Trainer]:
    data = datamodule(folder, micro=micro)
    data.prepare_data()
    data.setup("fit")
    module = module_of(data, weighting=weighting, dropout=dropout)
    trainer = trainer_of(folder / name, data.batch, steps=steps)
    trainer.fit(module, datamodule=data)
    return module, trainer


def expected_losses(folder: Path) -> tuple[MultiObjectiveTraining, dict[str, torch.Tensor]]:
    """Each objective's mean over the first step's samples, taken as one batch, by its definition."""
    data = datamodule(folder, micro=GLOBAL)
    data.setup("fit")
    module = module_of(data)
    batch = collate([data.training_samples()[index] for index in range(GLOBAL)])
    return module, means(module.model, module, batch)


def means(model: MaskedLM, module: MultiObjectiveTraining, batch: Batch) -> dict[str, torch.Tensor]:
    hidden = model.encoder(batch.ids_N, Packed(batch.cu_lengths, batch.max_length))
    logits = model(batch.ids_N, Packed(batch.cu_lengths, batch.max_length), batch.targets_M)
    heads = {name: task.head(hidden) for name, task in module.named_tasks()}
    held, level = batch.tracks["chromatin"], batch.tracks["conservation"]
    known, valued = is_known(held), is_known(level)
    statistics = module.tasks["conservation"]
    true = (level[valued] - statistics.mean) / statistics.sd
    return {
        "mlm": F.cross_entropy(logits, batch.labels_M),
        "region": F.cross_entropy(heads["region"], batch.tracks["region"], ignore_index=-1),
        "chromatin": F.binary_cross_entropy_with_logits(heads["chromatin"][known], held[known].float()),
        "conservation": F.huber_loss(heads["conservation"][valued, 0], true),
    }


@pytest.mark.parametrize("micro", [16, 4, 1])
@pytest.mark.parametrize("weighting", ["fixed", "uncertainty"])
def test_an_update_is_that_of_the_global_means(micro: int, weighting: WeightingName, tmp_path: Path) -> None:
    trained, _ = fit(tmp_path, f"{weighting}{micro}", micro=micro, weighting=weighting)
    reference, losses = expected_losses(tmp_path)
    total = losses["mlm"] + losses["chromatin"] + losses["conservation"]
    total = total + (0.5 if weighting == "fixed" else 1.0) * losses["region"]  # exp(-0) = 1
    total.backward()
    for part in ("model", "tasks"):
        ours, theirs = getattr(trained, part), getattr(reference, part)
        for (name, weight), before in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert before.grad is not None, name
            expected = before.detach() - LR * before.grad
            assert torch.allclose(weight, expected, rtol=1e-4, atol=1e-7), name
    if weighting == "uncertainty":  # d/ds (exp(-s) L + s / 2) at 0
        moved = [-LR * (0.5 - losses[name].item()) for name in ("mlm", "region", "chromatin", "conservation")]
        assert trained.weights.log_variance is not None
        assert trained.weights.log_variance.tolist() == pytest.approx(moved, rel=1e-4)


def test_micro_batches_differ_in_their_labels(tmp_path: Path) -> None:
    """So the cut would matter if each micro-batch had its own mean, and the test above can tell."""
    data = datamodule(tmp_path, micro=4)
    data.prepare_data()
    data.setup("fit")
    samples = data.training_samples()
    counts = [
        int(is_known(collate([samples[4 * n + i] for i in range(4)]).tracks["region"]).sum())
        for n in range(4)
    ]
    assert max(counts) > 1.5 * min(counts)


def test_the_log_has_every_objectives_mean_and_figures(tmp_path: Path) -> None:
    module, trainer = fit(tmp_path, "run", micro=4, weighting="uncertainty")
    _, losses = expected_losses(tmp_path)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert logged["train_loss"] == pytest.approx(losses["mlm"].item(), rel=1e-4)
    for name in ("region", "chromatin", "conservation"):
        assert logged[f"train_{name}_loss"] == pytest.approx(losses[name].item(), rel=1e-4), name
        assert logged[f"weight_{name}"] == 1.0
    assert {
        "val_loss", "val_bits_per_base", "val_region_loss", "val_region_accuracy", "val_region_mcc",
        "val_chromatin_loss", "val_chromatin_auroc", "val_chromatin_auprc",
        "val_conservation_loss", "val_conservation_mse", "val_conservation_spearman",
    } <= set(logged)  # fmt: skip
    with (tmp_path / "run/metrics.csv").open(newline="") as file:
        assert {"val_region_mcc", "train_chromatin_loss"} <= set(next(csv.reader(file)))
    assert set(module.scores) == {"region", "chromatin", "conservation"}


def test_validation_figures_are_those_of_all_labelled_tokens(tmp_path: Path) -> None:
    module, trainer = fit(tmp_path, "run", micro=4)
    data = trainer.datamodule  # type: ignore[attr-defined]
    samples = data.validation_samples()
    batch = collate([samples[index] for index in range(len(samples))])
    classes = batch.tracks["region"]
    with torch.no_grad():
        expected = means(module.model.eval(), module.eval(), batch)
        hidden = module.encode(batch)
        chosen = module.tasks["region"].head(hidden).argmax(dim=1)
    known = classes >= 0
    scores = module.scores["region"]
    assert scores.num_targets == int(known.sum()) > 100
    assert scores.model["accuracy"] == pytest.approx((chosen == classes)[known].double().mean().item())
    for name in ("region", "chromatin", "conservation"):
        assert module.scores[name].model["loss"] == pytest.approx(expected[name].item(), rel=1e-4), name
    most = int(module.tasks["region"].baseline.argmax())
    assert scores.baseline["accuracy"] == pytest.approx((classes[known] == most).double().mean().item())


def test_two_runs_are_equal_to_the_last_bit(tmp_path: Path) -> None:
    first, _ = fit(tmp_path, "first", micro=4, steps=3, dropout=0.1)
    torch.manual_seed(999)
    second, _ = fit(tmp_path, "second", micro=4, steps=3, dropout=0.1)
    for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_weights_of_the_model_are_named_as_in_any_run(tmp_path: Path) -> None:
    module, _ = fit(tmp_path, "run", micro=16)
    assert list(module.model.state_dict()) == list(network().state_dict())
    others = {name.split(".")[0] for name in module.state_dict()} - {"model"}
    assert others == {"tasks"}


def test_a_loss_that_is_not_finite_names_its_objective(tmp_path: Path) -> None:
    data = datamodule(tmp_path, micro=4)
    data.prepare_data()
    data.setup("fit")
    module = module_of(data)
    with torch.no_grad():
        module.tasks["region"].head.output.bias[0] = math.nan
    trainer = trainer_of(tmp_path / "nan", data.batch, steps=2)
    with pytest.raises(
        NumericsError, match="NUM-01 optimizer step 0, rank 0: the region loss is nan on samples 0"
    ):
        trainer.fit(module, datamodule=data)
