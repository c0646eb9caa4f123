"""`dnalm pretrain`: train a masked language model and say how it compares with the baselines.

What `dnalm pretrain` says before training and after, and writes to `summary.json`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from lightning.pytorch import seed_everything
from lightning.pytorch.loggers import Logger
from torch import Tensor
from torch.optim import Optimizer

from dnalm.console import stdout
from dnalm.data import BatchPlan, Corpus, Masking, WindowRecipe
from dnalm.data.module import GenomeData
from dnalm.errors import ConfigError
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
    TrainingPlan,
    inform_embeddings,
    peak_memory_bytes,
    quiet_frameworks,
    write_model_directory,
)
from dnalm.training.objectives import (
    MaskedTokens,
    ObjectiveSet,
    Scores,
    TrackObjective,
    WeightingName,
    check_sources,
    make_tasks,
)
from dnalm.training.run import Session, Work, all_hidden, contract_of
from dnalm.training.stop_flags import StopFlags

_NAMED = 20  # genomes that are told one by one


def introduce(run: RunDirectory, genome: GenomeData, steps: int, module: MaskedLMTraining) -> None:
    """Say what trains on what, and how the labels of tracks are balanced, which is drawn too."""
    stdout.print(f"model of {num_parameters(module):,} parameters, {steps:,} steps")
    for opened, laid_out in zip(genome.opened[:_NAMED], genome.genomes, strict=False):
        stdout.print(
            f"genome {opened.path}: {len(opened.store.contigs)} contigs, "
            f"{opened.store.num_bases:,} bases; {opened.division.description}; {laid_out.describe_sides()}",
        )
    if len(genome.opened) > _NAMED:
        stdout.print(f"and {len(genome.opened) - _NAMED} more genomes")
    if genome.channels.names:
        stdout.print(f"inputs beside tokens: {', '.join(genome.channels.names)}")
    for name, track in genome.joined.items():
        stdout.print(describe_track(name, track))
    if genome.joined:
        plot_tracks(genome.joined, run.path / "tracks.png")


def judge_run(data: GenomeData, hidden: HiddenBits) -> Judgement:
    """Hold the bits at hidden bases against the baselines."""
    windows = np.concatenate(hidden.windows)
    return judge(
        [(genome.name, genome.store) for genome in data.genomes],
        count([(genome.store, genome.train) for genome in data.genomes]),
        genome=np.array([number for number, _ in data.judged])[windows],
        positions=np.concatenate(hidden.positions),
        windows=windows,
        bits=np.concatenate(hidden.bits),
    )


def num_parameters(module: MaskedLMTraining) -> int:
    """Of the whole network, however it is sharded."""
    return sum(parameter.numel() for parameter in module.model.parameters())


def summarize(
    experiment: str,
    session: Session[GenomeData, MaskedLMTraining],
    module: MaskedLMTraining,
    judgement: Judgement,
    scores: Mapping[str, Scores],
) -> dict[str, object]:
    """The figures of `summary.json`; memory in bytes, losses in nats per masked token."""
    fitter, throughput = session.fitter, session.throughput
    metrics = {name: float(value) for name, value in fitter.callback_metrics.items()}
    return {
        "experiment": experiment,
        "parameters": num_parameters(module),
        "steps": fitter.global_step,
        "tokens": throughput.tokens,
        "bases": throughput.bases,
        "train_loss": metrics.get("train_loss"),  # none if a finished run was started again
        "val_loss": metrics["val_loss"],
        **module.losses.summary(),
        **_figures(judgement),
        "species": {name: _figures(of) for name, of in judgement.species.items()},
        **({"objectives": objective_figures(scores)} if scores else {}),
        "realised_mask_rate": throughput.realised_mask_rate,
        "tokens_per_s": round(throughput.tokens_per_s),
        "bases_per_s": round(throughput.bases_per_s),
        "peak_memory": peak_memory_bytes(),
    }


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


def conclude(
    run: RunDirectory,
    sentences: Sequence[str],
    summary: Path,
    *,
    retry: str | None = None,
) -> None:
    """Say how good the model is, where it lies, and what to try next: of a run that diverged, `retry`."""
    for sentence in sentences:
        stdout.print(sentence)
    stdout.print(f"model directory: {run.model}")
    stdout.print(f"loss plot: {run.path / 'loss.png'}")
    following = f"dnalm finetune {as_typed('model', run.as_path)} task=demo_promoter budget=tiny"
    stdout.print(f"next: {retry or following}")
    stdout.print(f"summary: {summary}")


_LOGGED = 32  # genomes that have a column of their own in metrics.csv


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
        model: makes the encoder, or loads a model to go on from.
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
        inputs: names of tracks of labels or classes that the model is told of every token (LOGO).
        seed: of everything random.
        resume: `auto` goes on with a run that lies in the run directory, `never` refuses to; a path
            begins the run with the checkpoint there.
        resume_allow: what may have changed since the checkpoint, of what decides which samples are seen.
    """
    quiet_frameworks()
    began = time.perf_counter()
    factor, goals = schedule(total_steps=steps), ObjectiveSet(objectives, weighting, inputs)
    trainer.check(batch)
    stop_flags = trainer.stop_flags()
    recipes = _Recipes(tokenizer, windows, masking, model, embedding_init, optim)
    work = Work(
        command="pretrain",
        config=config,
        steps=steps,
        lay_out=partial(_laid_out, data, recipes, goals, batch, seed),
        make_module=partial(_module, recipes, goals, factor, trainer, stop_flags),
        contract=contract_of,
        write_model=partial(_write_model, config, trainer),
        logger=logger,
        resume=resume,
        allowed=resume_allow,
    )
    session = Session(run, trainer, batch, stop_flags, work)
    with session.opened() as genome:
        if genome is None:
            return
        trained = session.fit(genome, introduce=partial(introduce, run, genome, steps))
        session.leave_model(trained, genome)
        _judge(session, trained, genome, experiment=experiment, began=began)


def _judge(
    session: Session[GenomeData, MaskedLMTraining],
    trained: MaskedLMTraining,
    genome: GenomeData,
    *,
    experiment: str,
    began: float,
) -> None:
    """Hold the model against the baselines, draw that and say it, on the first process."""
    hidden, run = all_hidden(trained.hidden_bits), session.run
    if not session.ranks.first:
        return
    judgement = judge_run(genome, hidden)
    plot_training(run.metrics, judgement, run.path / "loss.png", steps=session.fitter.global_step)
    scores = trained.scores if isinstance(trained, MultiObjectiveTraining) else {}
    summary = summarize(experiment, session, trained, judgement, scores)
    summary["seconds"] = round(time.perf_counter() - began, 1)
    sentences = [judgement.sentences(), *objective_sentences(scores)]
    path = run.write_summary(summary)
    conclude(run, sentences, path, retry=session.retry)


@dataclass(frozen=True)
class _Recipes:
    """What the config says of the tokens and of the network."""

    tokenizer: Tokenizer | BpeRecipe
    windows: WindowRecipe
    masking: Masking
    model: Callable[..., Encoder | MaskedLM]
    embedding_init: str
    optim: Callable[..., Optimizer]


def _laid_out(
    data: Corpus, recipes: _Recipes, goals: ObjectiveSet, batch: BatchPlan, seed: int
) -> GenomeData:
    """The genomes prepared and divided, their windows laid out.

    Raises:
        ConfigError: CFG-30, an input is the annotation that an objective learns.
    """
    genome = GenomeData(
        data,
        tokenizer=learned_tokenizer(recipes.tokenizer, data),
        windows=recipes.windows,
        masking=recipes.masking,
        batch=batch,
        seed=seed,
        targets=goals.targets,
        inputs=goals.inputs,
    )
    genome.prepare_data()
    genome.setup("fit")
    check_sources(goals.inputs, goals.on_tracks, [opened.tracks for opened in genome.opened])
    return genome


def learned_tokenizer(tokenizer: Tokenizer | BpeRecipe, data: Corpus) -> Tokenizer:
    """The tokenizer itself, or what its recipe learns on the parts of the genomes that train.

    Raises:
        DataError: TOK-09, no part trains.
    """
    if not isinstance(tokenizer, BpeRecipe):
        return tokenizer
    data.prepare(tracks=())
    genomes = data.genomes(tracks=())
    training = [genome for genome in genomes if len(genome.division.train)] or genomes  # or TOK-09 names them
    return tokenizer.open_or_train([genome.training_text() for genome in training], data.cache)


def _network(model: Callable[..., Encoder | MaskedLM], data: GenomeData, embedding_init: str) -> MaskedLM:
    """A new network for the tokenizer's ids, or one to go on from, whose embeddings stay as they are."""
    tokenizer, special = data.tokenizer, data.tokenizer.special
    made = model(
        vocab_size=tokenizer.vocab_size,
        padding_id=special.padding,
        mask_id=special.mask,
        annotations=data.channels.names,
    )
    network = made if isinstance(made, MaskedLM) else MaskedLM(made)
    _check_positions(network, tokenizer, data.windows)
    if network is not made and embedding_init == "informed":
        inform_embeddings(network, tokenizer.token_bases)
    return network


def _module(
    recipes: _Recipes,
    goals: ObjectiveSet,
    schedule: Schedule,
    trainer: TrainerRecipe,
    stop_flags: StopFlags,
    data: GenomeData,
) -> MaskedLMTraining:
    """What trains, as it is before the first step; the same on every process."""
    seed_everything(data.seed, verbose=False)
    network = _network(recipes.model, data, recipes.embedding_init)
    names = [genome.name for genome in data.opened]
    plan = TrainingPlan(
        token_bases=data.tokenizer.token_bases,
        overlap=data.tokenizer.overlap,
        optimizer=recipes.optim,
        schedule=schedule,
        seed=data.seed,
        global_batch=data.batch.global_size,
        species=names if 1 < len(names) <= _LOGGED else (),
        species_of=np.array([number for number, _ in data.judged]),
        stop_flags=stop_flags,
        parallel=trainer.parallel,
        exact=trainer.strategy == "exact",
    )
    if not goals.on_tracks:
        return MaskedLMTraining(network, plan)
    return MultiObjectiveTraining(
        network,
        plan=plan,
        tasks=make_tasks(goals.on_tracks, data, network.encoder),
        masked_tokens=goals.masked_tokens,
        weights=goals.weights,
    )


def _write_model(
    config: dict[str, object],
    trainer: TrainerRecipe,
    folder: Path,
    module: MaskedLMTraining,
    data: GenomeData,
    *,
    weights: Mapping[str, Tensor] | None,
    heads: Mapping[str, Mapping[str, Tensor]],
    steps: int,
) -> None:
    """Write the model directory."""
    write_model_directory(
        folder,
        model=module.model,
        weights=weights,
        tokenizer=data.tokenizer,
        config=config,
        data_fingerprint=data.fingerprint,
        precision=trainer.precision,
        steps=steps,
        window_tokens=data.windows.max_tokens,
        heads=heads,
    )


def _check_positions(network: MaskedLM, tokenizer: Tokenizer, windows: WindowRecipe) -> None:
    longest = windows.max_tokens + tokenizer.special.num_wrapping
    limit = network.encoder.longest_sequence
    if limit is not None and longest > limit:
        raise ConfigError(
            "CFG-18",
            where="windows.max_tokens, model.max_positions",
            found=f"windows of {longest} tokens, special ones included",
            expected=f"at most model.max_positions={limit}",
            fix="use shorter windows or more positions",
        )
