"""What `dnalm pretrain` says before training and after, and writes to `summary.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dnalm.console import stdout
from dnalm.data.module import GenomeData
from dnalm.evaluation import Judgement, PairedDifference, count, judge
from dnalm.evaluation.objectives import describe_track, objective_figures
from dnalm.evaluation.track_plot import plot_tracks
from dnalm.paths import as_typed
from dnalm.training import HiddenBits, MaskedLMTraining, RunDirectory, peak_memory_bytes
from dnalm.training.objectives import Scores
from dnalm.training.session import Session

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
