"""`dnalm pretrain`: train a masked language model and say how it compares with the baselines."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.loggers import Logger
from pydantic import NonNegativeInt, PositiveInt
from torch.optim import Optimizer

from dnalm.console import stdout
from dnalm.data import BatchPlan, Corpus, GenomeData, Masking, WindowRecipe
from dnalm.errors import ConfigError
from dnalm.evaluation import Judgement, count, judge, plot_training
from dnalm.evaluation.objectives import describe_track, objective_figures, objective_sentences
from dnalm.evaluation.track_plot import plot_tracks
from dnalm.models import Encoder, MaskedLM
from dnalm.tokenizers import BpeRecipe, Tokenizer
from dnalm.training import (
    MaskedLMTraining,
    MultiObjectiveTraining,
    RunDirectory,
    Schedule,
    Throughput,
    inform_embeddings,
    peak_memory_bytes,
    quiet_frameworks,
    write_model_directory,
)
from dnalm.training.objectives import (
    Goals,
    MaskedTokens,
    TrackObjective,
    WeightingName,
    make_tasks,
    tracks_of,
)

_NAMED = 20  # genomes that are told one by one
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
    trainer: Callable[..., Trainer],
    steps: PositiveInt,
    experiment: str,
    config: dict[str, object],
    embedding_init: Literal["normal", "informed"] = "normal",
    logger: Callable[..., Logger] | None = None,
    objectives: dict[str, MaskedTokens | TrackObjective] | None = None,
    weighting: WeightingName = "fixed",
    seed: NonNegativeInt = 1,
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
        trainer: makes the Lightning trainer.
        steps: optimizer steps.
        experiment: name of the published model the config follows.
        config: the composed config.
        embedding_init: how embeddings begin: random rows, or with what is known of bases and places.
        logger: makes a further logger beside `metrics.csv`.
        objectives: what is learned, by name; masked tokens alone if absent.
        weighting: whether the weights of objectives are fixed, or learned with the model.
        seed: of everything random.
    """
    quiet_frameworks()
    began = time.perf_counter()
    run.refuse_if_taken()
    factor = schedule(total_steps=steps)
    tokenizer = _learned(tokenizer, data)
    goals = Goals(objectives, weighting)
    genome = GenomeData(
        data,
        tokenizer=tokenizer,
        windows=windows,
        masking=masking,
        batch=batch,
        seed=seed,
        tracks=goals.tracks,
    )
    throughput = Throughput()
    extra = logger(save_dir=run.path) if logger else None
    fitter = trainer(run=run, batch=batch, steps=steps, throughput=throughput, logger=extra)
    seed_everything(seed, verbose=False)
    network = _network(model, tokenizer, embedding_init)
    _check_positions(network, tokenizer, windows)
    genome.prepare_data()
    genome.setup("fit")
    module = _module(network, genome, goals, optim, factor)
    run.create(config)
    _introduce(run, genome, network, steps)
    fitter.fit(module, datamodule=genome)
    if module.validated_at != fitter.global_step:
        fitter.validate(module, datamodule=genome, verbose=False)
    _leave_model(run, module, genome, config, fitter)
    judgement = _judge(genome, module)
    plot_training(run.path / "metrics.csv", judgement, run.path / "loss.png")
    summary = _summary(experiment, fitter, judgement, throughput)
    scores = module.scores if isinstance(module, MultiObjectiveTraining) else {}
    if scores:
        summary["objectives"] = objective_figures(scores)
    summary["seconds"] = round(time.perf_counter() - began, 1)
    sentences = [judgement.sentences(), *objective_sentences(scores)]
    _conclude(run, experiment, sentences, run.write_summary(summary), annotated=bool(goals.tracks))


def _learned(tokenizer: Tokenizer | BpeRecipe, data: Corpus) -> Tokenizer:
    """The tokenizer itself, or what its recipe learns on the parts of the genomes that train."""
    if not isinstance(tokenizer, BpeRecipe):
        return tokenizer
    data.prepare(tracks=())
    texts = [genome.training_text() for genome in data.genomes(tracks=()) if len(genome.division.train)]
    return tokenizer.open_or_train(texts, data.cache)


def _network(model: Callable[..., Encoder | MaskedLM], tokenizer: Tokenizer, embedding_init: str) -> MaskedLM:
    """A new network for the tokenizer's ids, or one to go on from, whose embeddings stay as they are."""
    special = tokenizer.special
    made = model(vocab_size=tokenizer.vocab_size, padding_id=special.padding, mask_id=special.mask)
    if isinstance(made, MaskedLM):
        return made
    network = MaskedLM(made)
    if embedding_init == "informed":
        inform_embeddings(network, tokenizer.token_bases)
    return network


def _module(
    network: MaskedLM,
    data: GenomeData,
    goals: Goals,
    optim: Callable[..., Optimizer],
    schedule: Schedule,
) -> MaskedLMTraining:
    make: Callable[..., MaskedLMTraining] = MaskedLMTraining
    if goals.on_tracks:
        make = partial(
            MultiObjectiveTraining,
            tasks=make_tasks(goals.on_tracks, data, network.encoder),
            masked_tokens=goals.masked_tokens,
            weights=goals.weights,
        )
    names = [genome.name for genome in data.opened]
    return make(
        network,
        token_bases=data.tokenizer.token_bases,
        overlap=data.tokenizer.overlap,
        optimizer=optim,
        schedule=schedule,
        seed=data.seed,
        species=names if 1 < len(names) <= _LOGGED else (),
        species_of=np.array([number for number, _ in data.judged]),
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


def _introduce(run: RunDirectory, genome: GenomeData, network: MaskedLM, steps: int) -> None:
    parameters = sum(parameter.numel() for parameter in network.parameters())
    stdout.print(f"run {run.path}: {parameters:,} parameters, {steps:,} steps")
    for opened in genome.opened[:_NAMED]:
        store = opened.store
        stdout.print(
            f"genome {opened.name}: {len(store.contigs)} contigs, {store.num_bases:,} bases; "
            f"{opened.division.description}; {store.path}",
            markup=False,
        )
    if len(genome.opened) > _NAMED:
        stdout.print(f"and {len(genome.opened) - _NAMED} more genomes")
    tracks = tracks_of(genome)
    for name, track in tracks.items():
        stdout.print(describe_track(name, track), markup=False)
    if tracks:
        plot_tracks(tracks, run.path / "tracks.png")


def _leave_model(
    run: RunDirectory,
    module: MaskedLMTraining,
    genome: GenomeData,
    config: dict[str, object],
    fitter: Trainer,
) -> None:
    tasks = module.named_tasks() if isinstance(module, MultiObjectiveTraining) else []
    write_model_directory(
        run.model,
        model=module.model,
        tokenizer=genome.tokenizer,
        config=config,
        data_fingerprint=genome.fingerprint,
        precision=str(fitter.precision),
        steps=fitter.global_step,
        heads={name: task.head for name, task in tasks},
    )


def _judge(data: GenomeData, module: MaskedLMTraining) -> Judgement:
    hidden = module.hidden_bits
    windows = np.concatenate(hidden.windows)
    return judge(
        [(genome.name, genome.store) for genome in data.genomes],
        count([(genome.store, genome.train) for genome in data.genomes]),
        genome=np.array([number for number, _ in data.judged])[windows],
        positions=np.concatenate(hidden.positions),
        windows=windows,
        bits=np.concatenate(hidden.bits),
    )


def _summary(
    experiment: str, fitter: Trainer, judgement: Judgement, throughput: Throughput
) -> dict[str, object]:
    """The figures of `summary.json`; memory in bytes, losses in nats per masked token."""
    metrics = {name: float(value) for name, value in fitter.callback_metrics.items()}
    return {
        "experiment": experiment,
        "steps": fitter.global_step,
        "tokens": throughput.tokens,
        "bases": throughput.bases,
        "train_loss": metrics["train_loss"],
        "val_loss": metrics["val_loss"],
        **_figures(judgement),
        "species": {name: _figures(of) for name, of in judgement.species.items()},
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
        "over_order0": vars(judgement.over_order0),
        "over_two_sided": vars(judgement.over_two_sided),
    }


def _conclude(
    run: RunDirectory, experiment: str, sentences: Sequence[str], summary: Path, *, annotated: bool
) -> None:
    for sentence in sentences:
        stdout.print(sentence, markup=False)
    stdout.print(f"model directory: {run.model}")
    stdout.print(f"loss plot: {run.path / 'loss.png'}")
    yours = "data=fasta data.fasta=<your genome>"
    if annotated:
        yours = "data=annotated data.fasta=<your genome> data.tracks.…=<your annotations>"
    stdout.print(f"next: dnalm pretrain experiment={experiment} size=small {yours}")
    stdout.print(f"summary: {summary}")
