"""From the objectives of a config to the tasks of a run, whose heads begin at the baselines."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from dnalm.data.module import GenomeData
from dnalm.data.targets import Target
from dnalm.models import Encoder
from dnalm.training.objectives.task import TrackObjective, TrackTask

BASELINE_WINDOWS = 4096  # training windows whose targets the baselines are learned on; our choice


def make_tasks(
    objectives: Mapping[str, TrackObjective], data: GenomeData, encoder: Encoder
) -> dict[str, TrackTask]:
    """The tasks, whose heads begin at what the first training windows are like.

    Of several genomes those windows are of the ones that have the track, mixed as in training.

    Args:
        objectives: those on tracks, by name.
        data: already set up, with their tracks.
        encoder: whose hidden states the heads read.

    Raises:
        ConfigError: OBJ-01, a track is of another kind than its objective; OBJ-02, it cannot be learned.
        DataError: DATA-07, no genome that trains has a track.
    """
    tracks = data.training_tracks()
    tasks = {name: objective.make(tracks[objective.track], encoder) for name, objective in objectives.items()}
    drawn: dict[frozenset[str], list[Mapping[str, Target]]] = {}  # by the genomes that have the track
    for task in tasks.values():
        genomes = frozenset(tracks[task.track].genomes)
        if genomes not in drawn:
            samples = data.training_samples(track=task.track)
            drawn[genomes] = [samples[index].tracks for index in range(BASELINE_WINDOWS)]
        task.begin_at(torch.from_numpy(np.concatenate([targets[task.target] for targets in drawn[genomes]])))
    return tasks
