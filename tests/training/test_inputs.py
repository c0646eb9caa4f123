"""Annotations as inputs reach the model in training and in validation, alone and beside objectives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- its usual name

from dnalm.data import Batch, BatchPlan, GenomeCorpus, Masking, WindowRecipe
from dnalm.data.batch import collate, labelled_places
from dnalm.data.module import GenomeData
from dnalm.genome.track_recipes import IntervalLabels, Signal
from dnalm.models import Encoder, MaskedLM, Packed
from dnalm.training import MaskedLMTraining, MultiObjectiveTraining
from dnalm.training.objectives import MaskedTokens, ObjectiveSet, make_tasks
from dnalm.training.track_objectives import Conservation
from tests.training.fitting import plan_of, trainer_of
from tests.training.test_masked_lm import GLOBAL, TOKENIZER
from tests.training.test_multi_objective import LR, write_annotations


def datamodule(folder: Path, *, micro: int, objectives: bool) -> GenomeData:
    if not (folder / "genome.fa").exists():
        write_annotations(folder)
    tracks = {
        "marks": IntervalLabels(files={"all": folder / "classes.bed"}, label_by="class"),
        "conservation": Signal(file=folder / "level.bedgraph"),
    }
    data = GenomeData(
        GenomeCorpus(fasta=folder / "genome.fa", cache=folder / "cache", tracks=tracks),
        tokenizer=TOKENIZER,
        windows=WindowRecipe(min_tokens=5, max_tokens=60, reverse_complement=True),
        masking=Masking(),
        batch=BatchPlan(global_size=GLOBAL, micro_size=micro),
        seed=1,
        targets=("conservation",) if objectives else (),
        inputs=("marks",),
    )
    data.prepare_data()
    data.setup("fit")
    return data


def network(channels: tuple[str, ...]) -> MaskedLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "intermediate_size": 32}
    still = {"dropout": 0.0, "attention_dropout": 0.0, "initializer_range": 0.3}
    return MaskedLM(
        Encoder(vocab_size=TOKENIZER.vocab_size, annotations=channels, **sizes, **still)  # type: ignore[arg-type]
    )


def module_of(data: GenomeData, *, objectives: bool) -> MaskedLMTraining:
    model = network(data.channels.names)
    assert model.encoder.annotations == ("marks/all/class0", "marks/all/class1", "marks/all/class2")
    plan = plan_of(TOKENIZER, global_batch=GLOBAL, lr=LR)
    if not objectives:
        return MaskedLMTraining(model, plan)
    goals = ObjectiveSet({"mlm": MaskedTokens(), "conservation": Conservation()}, inputs=("marks",))
    return MultiObjectiveTraining(
        model,
        plan=plan,
        tasks=make_tasks(goals.on_tracks, data, model.encoder),
        masked_tokens=goals.masked_tokens,
        weights=goals.weights,
    )


def loss(module: MaskedLMTraining, batch: Batch, annotations: Tensor | None) -> Tensor:
    """Mean at the masked tokens, and where it is learned that of conservation."""
    packed = Packed(batch.cu_lengths, batch.max_length)
    total = F.cross_entropy(module.model(batch.ids_N, packed, batch.targets_M, annotations), batch.labels_M)
    if isinstance(module, MultiObjectiveTraining):
        ((_, task),) = module.named_tasks()
        hidden, values = module.model.encoder(batch.ids_N, packed, annotations), batch.tracks[task.track]
        outputs, targets = task(hidden, values, labelled_places(values))
        total = total + task.loss(outputs, targets) / max(1, len(targets))
    return total


@pytest.mark.parametrize("objectives", [False, True])
@pytest.mark.parametrize("micro", [16, 4])
def test_an_update_is_that_of_the_global_mean_given_the_annotations(
    micro: int, objectives: bool, tmp_path: Path
) -> None:
    data = datamodule(tmp_path, micro=micro, objectives=objectives)
    trained, reference = (module_of(data, objectives=objectives) for _ in range(2))
    batch = collate([data.training_samples()[index] for index in range(GLOBAL)])
    assert batch.annotations_NC is not None
    assert {-1, 0, 1} == set(batch.annotations_NC.unique().tolist())
    fitter = fit(tmp_path, trained, data)
    loss(reference, batch, batch.annotations_NC).backward()
    pairs = zip(trained.model.named_parameters(), reference.model.parameters(), strict=True)
    for (name, weight), before in pairs:
        assert before.grad is not None, name
        assert torch.allclose(weight, before - LR * before.grad, rtol=1e-4, atol=1e-7), name
        assert "annotation" not in name or bool(before.grad.any(dim=1).all())
    check_validation(fitter, trained, data)


def check_validation(fitter: Trainer, module: MaskedLMTraining, data: GenomeData) -> None:
    """The judged loss is that of the model that reads annotations, and not that of the one without."""
    samples = data.validation_samples()
    batch = collate([samples[index] for index in range(len(samples))])
    packed = Packed(batch.cu_lengths, batch.max_length)
    with torch.no_grad():
        told, untold = (
            F.cross_entropy(module.model(batch.ids_N, packed, batch.targets_M, given), batch.labels_M).item()
            for given in (batch.annotations_NC, None)
        )
    judged = fitter.callback_metrics["val_loss"].item()
    assert judged == pytest.approx(told, rel=1e-5)
    assert abs(told - untold) > 1e-4 * told  # ten times what is allowed above


def fit(folder: Path, module: MaskedLMTraining, data: GenomeData) -> Trainer:
    trainer = trainer_of(folder / "run", data.batch, steps=1)
    trainer.fit(module, datamodule=data)
    return trainer
