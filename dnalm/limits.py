"""Bounds of numbers and lists in configs: beyond them is a slip of the keyboard, refused before any work.

A number of ours that is in no type of this file is held against what it is about (the layers of a model, the
rows of a table), or means "never" or "all" where it is large: tests/compose/test_limits.py lists those.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Annotated, Final

from pydantic import Field

MOST_PROCESSES = max(256, 4 * (os.cpu_count() or 1))  # a node of 64 cores may be asked for from a small one
MOST_SAMPLES = 100_000  # of an optimizer step; published recipes take at most 4,096
MOST_VALIDATION_WINDOWS = 10_000_000  # validation windows; a human genome has 6 million of 510 bases
MOST_WINDOW_BP = 10_000_000  # ten times the longest window of a published model
MOST_WIDTH = 65_536  # of a layer; the widest published language models have 20,000
MOST_LAYERS = 1_000  # the deepest published transformer
MOST_STEPS = 100_000_000  # a hundred times the longest published pretraining
MOST_ROWS = 100_000_000  # drawn from a genome for a table
MOST_TOKENS = 100_000_000  # of a batch; their vectors of 768 numbers take 300 GB
MOST_JOBS = 10_000  # of a sweep or a cluster
MOST_SEED = 2**32 - 1  # what Lightning and NumPy take

# Whole numbers from 1, from 0, or judged from below by the component itself
Processes = Annotated[int, Field(gt=0, le=MOST_PROCESSES)]
Workers = Annotated[int, Field(ge=0, le=MOST_PROCESSES)]
BatchSize = Annotated[int, Field(le=MOST_SAMPLES)]
Samples = Annotated[int, Field(gt=0, le=MOST_SAMPLES)]
ValidationWindows = Annotated[int, Field(gt=0, le=MOST_VALIDATION_WINDOWS)]
WindowBases = Annotated[int, Field(gt=0, le=MOST_WINDOW_BP)]
FlankBases = Annotated[int, Field(ge=0, le=MOST_WINDOW_BP)]
WindowTokens = Annotated[int, Field(ge=2, le=MOST_WINDOW_BP)]  # one alone has no context
Tokens = Annotated[int, Field(gt=0, le=MOST_TOKENS)]
Width = Annotated[int, Field(le=MOST_WIDTH)]
LayerWidth = Annotated[int, Field(gt=0, le=MOST_WIDTH)]
Depth = Annotated[int, Field(le=MOST_LAYERS)]
Steps = Annotated[int, Field(gt=0, le=MOST_STEPS)]
Epochs = Annotated[int, Field(gt=0, le=MOST_JOBS)]
DrawnRows = Annotated[int, Field(gt=0, le=MOST_ROWS)]
Classes = Annotated[int, Field(gt=0, le=MOST_WIDTH)]
Bins = Annotated[int, Field(gt=0, le=1_000)]  # of a histogram that windows are matched by
Folds = Annotated[int, Field(ge=0, le=MOST_JOBS)]
Vocabulary = Annotated[int, Field(gt=0, le=MOST_WIDTH)]  # merges and tokens of a BPE
KmerLength = Annotated[int, Field(gt=0, le=8)]  # 65,536 classes
Jobs = Annotated[int, Field(gt=0, le=MOST_JOBS)]
Attempts = Annotated[int, Field(gt=0, le=100)]
Minutes = Annotated[int, Field(gt=0, le=366 * 24 * 60)]  # a year
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]

NOT_EMPTY: Final = Field(min_length=1)


class EachOnce:
    """Marks a list of numbers in which none may stand twice."""


EACH_ONCE: Final = EachOnce()


class AsWritten:
    """Marks a part of a config that a command reads as it is written, and of which nothing is imported."""


AS_WRITTEN: Final = AsWritten()


def first_repeated(entries: Iterable[object]) -> object | None:
    """The first entry that was there before; None if there is none."""
    seen: set[object] = set()
    for entry in entries:
        if entry in seen:
            return entry
        seen.add(entry)
    return None
