"""Sweeps: many jobs of one command, each in a process tree of its own, and a table of how they ended.

A job is an id, its overrides and a command line; nothing here knows what it trains.
"""

from dnalm.compose.neighbours import overridden
from dnalm.paths import quoted
from dnalm.sweeps.launchers import LocalLauncher, SlurmLauncher
from dnalm.sweeps.results import Job, Ledger, Record, SweepFolder
from dnalm.sweeps.search import Axis, Grid, Interval, OptunaSearch, Trial, read_axes
from dnalm.sweeps.sweep import run_sweep

__all__ = [
    "Axis",
    "Grid",
    "Interval",
    "Job",
    "Ledger",
    "LocalLauncher",
    "OptunaSearch",
    "Record",
    "SlurmLauncher",
    "SweepFolder",
    "Trial",
    "overridden",
    "quoted",
    "read_axes",
    "run_sweep",
]
