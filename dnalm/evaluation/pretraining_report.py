"""What a pretraining says of itself: what trains on what, and at its end how it compares with the baselines.

Bits per base are of the model and of the count models at the same hidden bases. Annotation tracks are
described by their coverage and balance, objectives by their figures beside a baseline's on the same targets.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from dnalm.console import stderr, stdout
from dnalm.data.corpus import region_tracks
from dnalm.data.module import GenomeData
from dnalm.errors import DnalmError
from dnalm.evaluation.baselines import JudgedBases, Judgement, count, judge, judge_bases
from dnalm.evaluation.model_card import GenomeSource, HeldOutBits, PretrainingResults, leave_results
from dnalm.evaluation.plots import plot_tracks, plot_training
from dnalm.evaluation.report import leave_report
from dnalm.evaluation.statistics import PairedDifference
from dnalm.evaluation.strata import (
    REGION,
    REPEATS,
    SPECIES,
    JudgedTokens,
    Stratum,
    region_members,
    repeat_members,
    species_members,
    strata_of,
    training_counts,
    write_strata,
)
from dnalm.genome.tracks import JoinedTrack, TrackStatistics
from dnalm.paths import as_typed
from dnalm.tokenizers import TrainingText
from dnalm.training.callbacks import peak_memory_bytes
from dnalm.training.objectives import Scores
from dnalm.training.pretraining import (
    HiddenBits,
    MaskedHits,
    MaskedLMTraining,
    MultiObjectiveTraining,
    Pretraining,
)

_GENOMES = 20  # that are listed one by one
_LABELS = 12  # likewise


def introduce_pretraining(pretraining: Pretraining, data: GenomeData, module: MaskedLMTraining) -> None:
    """Print what trains on what, and how the labels of tracks are balanced, which is drawn too."""
    stdout.print(f"model of {_num_parameters(module):,} parameters, {pretraining.num_steps:,} steps")
    for opened, laid_out in zip(data.opened[:_GENOMES], data.genomes, strict=False):
        stdout.print(
            f"genome {opened.path}: {len(opened.store.contigs)} contigs, {opened.store.num_bases:,} bases; "
            f"{opened.division.description}; {laid_out.describe_sides()}",
        )
    if len(data.opened) > _GENOMES:
        stdout.print(f"and {len(data.opened) - _GENOMES} more genomes")
    if data.channels.names:
        stdout.print(f"inputs beside tokens: {', '.join(data.channels.names)}")
    for name, track in data.joined.items():
        stdout.print(describe_track(name, track))
    if data.joined:
        plot_tracks(data.joined, pretraining.run.path / "tracks.png")


def report_pretraining(
    pretraining: Pretraining, data: GenomeData, module: MaskedLMTraining, *, experiment: str
) -> None:
    """Compare the model with the baselines; draw, write and print that, on the first process.

    Args:
        pretraining: the run, at its last step.
        data: what it was trained on.
        module: what was trained.
        experiment: name of the published model the config follows.
    """
    hidden, masked = module.hidden_bits.gather(), module.masked_hits.gather()  # on every process
    if not pretraining.ranks.first:
        return
    run, throughput, fitter = pretraining.run, pretraining.throughput, pretraining.fitter
    judged = _judge(data, hidden)
    judgement = judge(judged, [genome.name for genome in data.genomes])
    write_strata(_strata(data, judged, hidden, masked), run.path)
    plot = run.path / "loss.png"
    loss_of = "base" if pretraining.learned.loss == "per_base" else "masked token"
    plot_training(run.metrics, judgement, plot, steps=fitter.global_step, loss_of=loss_of)
    scores = module.scores if isinstance(module, MultiObjectiveTraining) else {}
    metrics = {name: float(value) for name, value in fitter.callback_metrics.items()}
    summary = run.write_summary(
        {
            "experiment": experiment,
            "parameters": _num_parameters(module),
            "steps": fitter.global_step,
            "tokens": throughput.tokens,
            "bases": throughput.bases,
            "train_loss": metrics.get("train_loss"),  # none if a finished run was started again
            "val_loss": metrics["val_loss"],
            **pretraining.losses,
            **_figures(judgement),
            "species": {name: _figures(of) for name, of in judgement.species.items()},
            **_similarity(data),
            **({"objectives": objective_figures(scores)} if scores else {}),
            "realised_mask_rate": throughput.realised_mask_rate,
            "tokens_per_s": round(throughput.tokens_per_s),
            "bases_per_s": round(throughput.bases_per_s),
            "data_wait": round(throughput.data_wait, 4),
            **_rounded(throughput.utilisation(module, fitter.world_size)),
            "peak_memory": peak_memory_bytes(pretraining.trainer.device),
            **(pretraining.capacity.figures() if pretraining.capacity else {}),
            "seconds": round(time.perf_counter() - pretraining.began, 1),
        }
    )
    leave_results(run.model, _results(data, module, experiment, judgement, scores))
    for sentence in (judgement.sentences(), *objective_sentences(scores)):
        stdout.print(sentence)
    stdout.print(f"model directory: {run.model}")
    stdout.print(f"loss plot: {plot}")
    leave_report(run.path)
    following = f"dnalm finetune {as_typed('model', run.as_path)} task=demo_promoter budget=tiny"
    stdout.print(f"next: {pretraining.retry or following}")
    stdout.print(f"summary: {summary}")


def _similarity(data: GenomeData) -> dict[str, object]:
    """What both sides of a division by homology still share, which is of all genomes."""
    left = data.opened[0].division.similarity
    return {} if left is None else {"similarity": asdict(left)}


def _rounded(utilisation: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in utilisation.items()}


def _judge(data: GenomeData, hidden: HiddenBits) -> JudgedBases:
    """Compare the bits at hidden bases with those of the baselines."""
    (windows,), (positions,), (bits,) = hidden.windows, hidden.positions, hidden.bits
    return judge_bases(
        [genome.store for genome in data.genomes],
        count([(genome.store, genome.train) for genome in data.genomes]),
        genome=np.array([number for number, _ in data.validation_windows])[windows],
        positions=positions,
        windows=windows,
        bits=bits,
    )


def _strata(data: GenomeData, judged: JudgedBases, hidden: HiddenBits, masked: MaskedHits) -> list[Stratum]:
    """The figures by species, region, soft-masking and token frequency."""
    training = [genome for genome in data.genomes if len(genome.train)]
    texts = [TrainingText(genome.name, genome.store, genome.train) for genome in training]
    counts_V = training_counts(data.tokenizer, texts)
    (windows,), (ids,), (hits,) = masked.windows, masked.ids, masked.hits
    stores, where = [genome.store for genome in data.genomes], (judged.genome, judged.positions)
    divisions = {
        SPECIES: species_members([genome.name for genome in data.genomes], judged.genome),
        REPEATS: repeat_members(stores, *where),
    }
    try:
        tracks = region_tracks(data.corpus)
    except DnalmError as error:  # of an annotation that the run itself does not read
        stderr.print(f"no figures by region: {error}")
        tracks = {}
    if tracks:
        divisions[REGION] = region_members([tracks.get(genome.name) for genome in data.genomes], *where)
    return strata_of(
        judged,
        JudgedTokens(windows=windows, ids=ids, hits=hits, likeliest=ids == counts_V.argmax()),
        id_of_base=hidden.ids[0],
        counts_V=counts_V,
        divisions=divisions,
    )


def _num_parameters(module: MaskedLMTraining) -> int:
    """Of the whole network, however it is sharded."""
    return sum(parameter.numel() for parameter in module.model.parameters())


def _results(
    data: GenomeData,
    module: MaskedLMTraining,
    experiment: str,
    judgement: Judgement,
    scores: Mapping[str, Scores],
) -> PretrainingResults:
    """What the model card says; the same of the same run, however fast it was."""
    return PretrainingResults(
        experiment=experiment,
        parameters=_num_parameters(module),
        genomes=[
            GenomeSource(
                name=genome.name,
                num_bases=genome.store.num_bases,
                sha256=genome.store.manifest.source.sha256,
            )
            for genome in data.genomes[:_GENOMES]
        ],
        num_genomes=len(data.genomes),
        bits=_bits(judgement),
        species={name: _bits(of) for name, of in judgement.species.items()},
        objectives={
            name: {
                metric: {"model": value, of.baseline_name: _defined(of.baseline).get(metric)}
                for metric, value in _defined(of.model).items()
            }
            for name, of in scores.items()
        },
    )


def _bits(judgement: Judgement) -> HeldOutBits:
    over = judgement.over_two_sided
    return HeldOutBits(
        hidden_bases=judgement.hidden_bases,
        model=judgement.model,
        order0=judgement.order0,
        two_sided=judgement.two_sided,
        over_two_sided=over.mean,
        over_two_sided_se=over.standard_error if math.isfinite(over.standard_error) else None,
    )


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


def describe_track(name: str, track: JoinedTrack) -> str:
    """Coverage and balance of a track, one line; of several genomes over all of them, and a line for each."""
    known = f"{_coverage(track.statistics)}; {_balance(track)}"
    if track.num_genomes == 1:
        (only,) = track.genomes.values()
        return f"track {name}: {known}; {only.path}"
    lines = [f"track {name} of {len(track.genomes)} of {track.num_genomes} genomes: {known}"]
    for genome, store in [*track.genomes.items()][:_GENOMES]:
        lines.append(f"  {genome}: {_coverage(store.statistics)}; {store.path}")
    if len(track.genomes) > _GENOMES:
        lines.append(f"  and {len(track.genomes) - _GENOMES} more genomes")
    return "\n".join(lines)


def _coverage(statistics: TrackStatistics) -> str:
    return f"{statistics.num_covered / max(1, statistics.num_bases):.1%} of the bases known"


def _balance(track: JoinedTrack) -> str:
    statistics = track.statistics
    if track.kind == "values":
        figures = (statistics.mean, statistics.sd, statistics.minimum, statistics.maximum)
        if None in figures:
            return "no value"
        return "mean {:.4g}, standard deviation {:.4g}, from {:.4g} to {:.4g}".format(*figures)
    nowhere = [label for label, count in statistics.covered_bases.items() if not count]
    known = {label: share for label, share in statistics.fractions().items() if label not in nowhere}
    shares = sorted(known.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{label} {share:.2%}" for label, share in shares[:_LABELS])
    more = f", {len(shares) - _LABELS} rarer down to {shares[-1][1]:.3%}" if len(shares) > _LABELS else ""
    absent = sum(share == 0 for _, share in shares)
    listed += more + (f", {absent} absent" if absent else "")
    return listed + (f", {len(nowhere)} known nowhere: {', '.join(nowhere)}" if nowhere else "")


def objective_figures(scores: Mapping[str, Scores]) -> dict[str, object]:
    """What `summary.json` says of objectives; a figure that is not defined is null."""
    return {
        name: {
            "targets": of.num_targets,
            "model": _defined(of.model),
            "baseline": _defined(of.baseline),
            "baseline_name": of.baseline_name,
            "labels": {label: _defined(row) for label, row in of.each.items()},
        }
        for name, of in scores.items()
    }


def objective_sentences(scores: Mapping[str, Scores]) -> list[str]:
    """Each objective's validation figures beside its baseline's on the same targets."""
    return [_sentence(name, of) for name, of in scores.items()]


def _sentence(name: str, scores: Scores) -> str:
    if not scores.num_targets:
        return f"{name}: no validation token has a target"
    figures = [
        f"{metric} {value:.4f}, {scores.baseline_name} {scores.baseline[metric]:.4f}"
        for metric, value in sorted(scores.model.items(), key=lambda item: item[0] == "loss")
    ]
    return f"{name}: {'; '.join(figures)} ({scores.num_targets:,} validation targets)"


def _defined(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in figures.items()}
