"""From the objectives of a config to the tasks of a run, whose heads begin at the baselines."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from dnalm.data import GenomeData
from dnalm.data.batch import Sample
from dnalm.genome.tracks import TrackStore
from dnalm.models import Encoder
from dnalm.training.objectives.task import TrackObjective, TrackTask

BASELINE_WINDOWS = 4096  # training windows whose tokens the baselines are learned on; our choice


def make_tasks(
    objectives: Mapping[str, TrackObjective], data: GenomeData, encoder: Encoder
) -> dict[str, TrackTask]:
    """The tasks, whose heads begin at what the first training windows are like.

    Args:
        objectives: those on tracks, by name.
        data: already set up, with their tracks.
        encoder: whose hidden states the heads read.

    Raises:
        ConfigError: OBJ-01, a track is of another kind than its objective; OBJ-02, it cannot be learned.
    """
    tracks = tracks_of(data)
    tasks = {name: objective.make(tracks[objective.track], encoder) for name, objective in objectives.items()}
    samples = data.training_samples()
    drawn: list[Sample] = [samples[index] for index in range(BASELINE_WINDOWS if tasks else 0)]
    for task in tasks.values():
        parts = [sample.tracks[task.track] for sample in drawn if task.track in sample.tracks]
        task.begin_at(torch.from_numpy(np.concatenate(parts)))
    return tasks


def tracks_of(data: GenomeData) -> dict[str, TrackStore]:
    """The tracks that a run reads, by name; of several genomes that of the first that has it."""
    found: dict[str, TrackStore] = {}
    for genome in data.genomes:
        for name, track in genome.tracks.items():
            found.setdefault(name, track)
    return found
