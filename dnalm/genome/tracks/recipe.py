"""What makes a track of annotation files, whichever kind it is of."""

from __future__ import annotations

from dnalm.genome.tracks.interval_classes import IntervalClasses
from dnalm.genome.tracks.interval_labels import IntervalLabels
from dnalm.genome.tracks.region_classes import RegionClasses
from dnalm.genome.tracks.signal import Signal

TrackRecipe = RegionClasses | IntervalClasses | IntervalLabels | Signal
