"""Annotation tracks: what every base of a genome is, prepared from annotation files, read by windows."""

from dnalm.genome.tracks.interval_classes import IntervalClasses
from dnalm.genome.tracks.interval_labels import IntervalLabels
from dnalm.genome.tracks.joined import JoinedTrack, join_track
from dnalm.genome.tracks.manifest import TrackKind, TrackManifest, TrackStatistics
from dnalm.genome.tracks.recipe import TrackRecipe
from dnalm.genome.tracks.region_classes import RegionClasses
from dnalm.genome.tracks.signal import Signal
from dnalm.genome.tracks.store import MISSING, TrackArray, TrackStore

__all__ = [
    "MISSING",
    "IntervalClasses",
    "IntervalLabels",
    "JoinedTrack",
    "RegionClasses",
    "Signal",
    "TrackArray",
    "TrackKind",
    "TrackManifest",
    "TrackRecipe",
    "TrackStatistics",
    "TrackStore",
    "join_track",
]
