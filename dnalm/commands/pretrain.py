"""`dnalm pretrain`: train a masked language model and say how it compares with the baselines."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.loggers import Logger
from pydantic import NonNegativeInt, PositiveInt
from torch.optim import Optimizer

from dnalm.commands.pretrain_report import conclude, introduce, summarize
from dnalm.data import BatchPlan, Corpus, GenomeData, Masking, WindowRecipe
from dnalm.errors import ConfigError
from dnalm.evaluation import Judgement, count, judge, plot_training
from dnalm.evaluation.objectives import objective_sentences
from dnalm.models import Encoder, MaskedLM
from dnalm.tokenizers import BpeRecipe, Tokenizer
from dnalm.training import (
    MaskedLMTraining,
    MultiObjectiveTraining,
    RunDirectory,
    Schedule,
    Throughput,
    inform_embeddings,
    quiet_frameworks,
    write_model_directory,
)
from dnalm.training.objectives import (
    Goals,
    MaskedTokens,
    TrackObjective,
    WeightingName,
    check_sources,
    make_tasks,
)

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
    inputs: tuple[str, ...] = (),
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
        inputs: names of tracks of labels or classes that the model is told of every token (LOGO).
        seed: of everything random.
    """
    quiet_frameworks()
    began = time.perf_counter()
    run.refuse_if_taken()
    factor = schedule(total_steps=steps)
    tokenizer = _learned(tokenizer, data)
    goals = Goals(objectives, weighting, inputs)
    genome = GenomeData(
        data,
        tokenizer=tokenizer,
        windows=windows,
        masking=masking,
        batch=batch,
        seed=seed,
        tracks=goals.tracks,
        inputs=goals.inputs,
    )
    throughput = Throughput()
    extra = logger(save_dir=run.path) if logger else None
    fitter = trainer(run=run, batch=batch, steps=steps, throughput=throughput, logger=extra)
    seed_everything(seed, verbose=False)
    network = _network(model, genome, _channels(genome, goals), embedding_init)
    genome.prepare_data()
    genome.setup("fit")
    module = _module(network, genome, goals, optim, factor)
    run.create(config)
    introduce(run, genome, network, steps)
    _fit(fitter, module, genome)
    _leave_model(run, module, genome, config, fitter)
    judgement = _judge(genome, module)
    plot_training(run.path / "metrics.csv", judgement, run.path / "loss.png")
    scores = module.scores if isinstance(module, MultiObjectiveTraining) else {}
    seconds = round(time.perf_counter() - began, 1)
    summary = {**summarize(experiment, fitter, judgement, throughput, scores), "seconds": seconds}
    sentences = [judgement.sentences(), *objective_sentences(scores)]
    conclude(run, experiment, sentences, run.write_summary(summary), goals=goals)


def _learned(tokenizer: Tokenizer | BpeRecipe, data: Corpus) -> Tokenizer:
    """The tokenizer itself, or what its recipe learns on the parts of the genomes that train."""
    if not isinstance(tokenizer, BpeRecipe):
        return tokenizer
    data.prepare(tracks=())
    texts = [genome.training_text() for genome in data.genomes(tracks=()) if len(genome.division.train)]
    return tokenizer.open_or_train(texts, data.cache)


def _channels(data: GenomeData, goals: Goals) -> tuple[str, ...]:
    """Names of the annotation channels, which only the prepared tracks tell.

    Raises:
        ConfigError: CFG-30, an input is the annotation that an objective learns.
    """
    if not goals.inputs:
        return ()
    data.prepare_data()
    data.setup("fit")
    check_sources(goals.inputs, goals.on_tracks, [genome.tracks for genome in data.opened])
    return data.channels.names


def _network(
    model: Callable[..., Encoder | MaskedLM],
    data: GenomeData,
    channels: tuple[str, ...],
    embedding_init: str,
) -> MaskedLM:
    """A new network for the tokenizer's ids, or one to go on from, whose embeddings stay as they are."""
    tokenizer, special = data.tokenizer, data.tokenizer.special
    made = model(
        vocab_size=tokenizer.vocab_size,
        padding_id=special.padding,
        mask_id=special.mask,
        annotations=channels,
    )
    network = made if isinstance(made, MaskedLM) else MaskedLM(made)
    _check_positions(network, tokenizer, data.windows)
    if network is not made and embedding_init == "informed":
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


def _fit(fitter: Trainer, module: MaskedLMTraining, data: GenomeData) -> None:
    """Train, and validate at the end if that was not the last thing done."""
    fitter.fit(module, datamodule=data)
    if module.validated_at != fitter.global_step:
        fitter.validate(module, datamodule=data, verbose=False)


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
