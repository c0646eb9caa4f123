"""`dnalm pretrain`: train a masked language model and say how it compares with the baselines.

The run directory holds `config.yaml`, `metrics.csv`, `checkpoints/`, `model/`, `loss.png` and `summary.json`,
and `tracks.png` where objectives on tracks are learned. Losses are in nats per masked token, memory in bytes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from lightning.pytorch.loggers import Logger
from torch.optim import Optimizer

from dnalm.console import stdout
from dnalm.data import BatchPlan, Corpus, Masking, WindowRecipe
from dnalm.data.module import GenomeData
from dnalm.evaluation import Judgement, PairedDifference, count, judge, plot_training
from dnalm.evaluation.objectives import describe_track, objective_figures, objective_sentences
from dnalm.evaluation.plots import plot_tracks
from dnalm.limits import Seed, Steps
from dnalm.models import Encoder, MaskedLM
from dnalm.paths import as_typed
from dnalm.tokenizers import BpeRecipe, Tokenizer
from dnalm.training import (
    HiddenBits,
    MaskedLMTraining,
    MultiObjectiveTraining,
    RunDirectory,
    Schedule,
    TrainerRecipe,
    peak_memory_bytes,
    quiet_frameworks,
)
from dnalm.training.objectives import MaskedTokens, ObjectiveSet, TrackObjective, WeightingName
from dnalm.training.pretraining import Pretraining

_NAMED = 20  # genomes that are listed one by one


def pretrain(
    *,
    run: RunDirectory,
    data: Corpus,
    tokenizer: Tokenizer | BpeRecipe,
    windows: WindowRecipe,
    masking: Masking,
    batch: BatchPlan,
    model: Callable[..., Encoder | MaskedLM],
    optim: Callable[..., Optimizer],
    schedule: Callable[..., Schedule],
    trainer: TrainerRecipe,
    steps: Steps,
    experiment: str,
    config: dict[str, object],
    embedding_init: Literal["normal", "informed"] = "normal",
    logger: Callable[..., Logger] | None = None,
    objectives: dict[str, MaskedTokens | TrackObjective] | None = None,
    weighting: WeightingName = "fixed",
    inputs: tuple[str, ...] = (),
    seed: Seed = 1,
    resume: str = "auto",
    resume_allow: tuple[str, ...] = (),
) -> None:
    """Train, validate, judge, and leave the run directory.

    Args:
        run: the run directory.
        data: the genomes.
        tokenizer: bases to ids, or how to learn that from the training parts of the genomes.
        windows: how long windows are and where they come from.
        masking: what is hidden.
        batch: the batch arithmetic.
        model: makes the encoder, or loads a model to continue from.
        optim: makes the optimizer.
        schedule: makes the factor of the learning rate by step.
        trainer: how the run is computed, by how many processes.
        steps: optimizer steps.
        experiment: name of the published model the config follows.
        config: the composed config.
        embedding_init: how embeddings begin: random rows, or with what is known of bases and places.
        logger: makes a further logger beside `metrics.csv`.
        objectives: what is learned, by name; masked tokens alone if absent.
        weighting: whether the weights of objectives are fixed, or learned with the model.
        inputs: names of tracks of labels or classes that the model reads beside every token (LOGO).
        seed: of everything random.
        resume: `auto` continues a run that lies in the run directory, `never` refuses to; a path
            starts the run from the checkpoint there.
        resume_allow: what may have changed since the checkpoint, of what decides which samples are seen.
    """
    quiet_frameworks()
    JudgedPretraining(
        directory=run,
        began=time.perf_counter(),
        data=data,
        tokenizer=tokenizer,
        windows=windows,
        masking=masking,
        batch=batch,
        model=model,
        optim=optim,
        schedule=schedule(total_steps=steps),
        trainer=trainer,
        steps=steps,
        experiment=experiment,
        config=config,
        embedding_init=embedding_init,
        logger=logger,
        objectives=ObjectiveSet(objectives, weighting, inputs),
        seed=seed,
        resume=resume,
        resume_allow=resume_allow,
    ).train()


@dataclass(kw_only=True, eq=False)
class JudgedPretraining(Pretraining):
    """A pretraining that is compared with the baselines at its end.

    Args:
        experiment: name of the published model the config follows.
    """

    experiment: str

    def introduce(self, data: GenomeData, module: MaskedLMTraining) -> None:
        """Print what trains on what, and how the labels of tracks are balanced, which is drawn too."""
        stdout.print(f"model of {_num_parameters(module):,} parameters, {self.steps:,} steps")
        for opened, laid_out in zip(data.opened[:_NAMED], data.genomes, strict=False):
            stdout.print(
                f"genome {opened.path}: {len(opened.store.contigs)} contigs, "
                f"{opened.store.num_bases:,} bases; {opened.division.description}; "
                f"{laid_out.describe_sides()}",
            )
        if len(data.opened) > _NAMED:
            stdout.print(f"and {len(data.opened) - _NAMED} more genomes")
        if data.channels.names:
            stdout.print(f"inputs beside tokens: {', '.join(data.channels.names)}")
        for name, track in data.joined.items():
            stdout.print(describe_track(name, track))
        if data.joined:
            plot_tracks(data.joined, self.directory.path / "tracks.png")

    def finish(self, data: GenomeData, module: MaskedLMTraining) -> None:
        """Compare the model with the baselines on the first process; draw, write and print that."""
        hidden = module.hidden_bits.gather()
        if not self.ranks.first:
            return
        judgement = _judge(data, hidden)
        plot = self.directory.path / "loss.png"
        plot_training(self.directory.metrics, judgement, plot, steps=self.fitter.global_step)
        scores = module.scores if isinstance(module, MultiObjectiveTraining) else {}
        metrics = {name: float(value) for name, value in self.fitter.callback_metrics.items()}
        summary = self.directory.write_summary(
            {
                "experiment": self.experiment,
                "parameters": _num_parameters(module),
                "steps": self.fitter.global_step,
                "tokens": self.throughput.tokens,
                "bases": self.throughput.bases,
                "train_loss": metrics.get("train_loss"),  # none if a finished run was started again
                "val_loss": metrics["val_loss"],
                **self.losses,
                **_figures(judgement),
                "species": {name: _figures(of) for name, of in judgement.species.items()},
                **({"objectives": objective_figures(scores)} if scores else {}),
                "realised_mask_rate": self.throughput.realised_mask_rate,
                "tokens_per_s": round(self.throughput.tokens_per_s),
                "bases_per_s": round(self.throughput.bases_per_s),
                "peak_memory": peak_memory_bytes(),
                "seconds": round(time.perf_counter() - self.began, 1),
            }
        )
        for sentence in (judgement.sentences(), *objective_sentences(scores)):
            stdout.print(sentence)
        stdout.print(f"model directory: {self.directory.model}")
        stdout.print(f"loss plot: {plot}")
        following = (
            f"dnalm finetune {as_typed('model', self.directory.as_path)} task=demo_promoter budget=tiny"
        )
        stdout.print(f"next: {self.retry or following}")
        stdout.print(f"summary: {summary}")


def _judge(data: GenomeData, hidden: HiddenBits) -> Judgement:
    """Compare the bits at hidden bases with those of the baselines."""
    windows = np.concatenate(hidden.windows)
    return judge(
        [(genome.name, genome.store) for genome in data.genomes],
        count([(genome.store, genome.train) for genome in data.genomes]),
        genome=np.array([number for number, _ in data.judged])[windows],
        positions=np.concatenate(hidden.positions),
        windows=windows,
        bits=np.concatenate(hidden.bits),
    )


def _num_parameters(module: MaskedLMTraining) -> int:
    """Of the whole network, however it is sharded."""
    return sum(parameter.numel() for parameter in module.model.parameters())


def _figures(judgement: Judgement) -> dict[str, object]:
    return {
        "val_bits_per_base": judgement.model,
        "hidden_bases": judgement.hidden_bases,
        "baseline_order0_bits": judgement.order0,
        "baseline_two_sided_bits": judgement.two_sided,
        "over_order0": _difference(judgement.over_order0),
        "over_two_sided": _difference(judgement.over_two_sided),
    }


def _difference(found: PairedDifference) -> dict[str, object]:
    """A difference and whether its standard error can be relied on; of one window there is none: null."""
    return {
        "mean": found.mean,
        "standard_error": found.standard_error if math.isfinite(found.standard_error) else None,
        "windows": found.num_clusters,
        "enough_windows": found.has_enough_clusters,
    }
