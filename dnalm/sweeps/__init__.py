"""Sweeps: many jobs of one command, each in a process tree of its own, and a table of how they ended.

A job is an id, its overrides and a command line; nothing here knows what it trains.
"""

from dnalm.compose.words import overridden
from dnalm.paths import quoted
from dnalm.sweeps.axes import Axis, Interval, read_axes
from dnalm.sweeps.folder import SweepFolder
from dnalm.sweeps.grid import Grid, Trial
from dnalm.sweeps.job import Job
from dnalm.sweeps.ledger import Ledger, Record
from dnalm.sweeps.local import LocalLauncher
from dnalm.sweeps.optuna_search import OptunaSearch
from dnalm.sweeps.slurm import SlurmLauncher
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
