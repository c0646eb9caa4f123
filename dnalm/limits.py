"""Upper bounds of numbers in configs: beyond them is a slip of the keyboard, refused before any work."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import Field

MOST_PROCESSES = max(256, 4 * (os.cpu_count() or 1))  # a node of 64 cores may be asked for from a small one
MOST_SAMPLES = 100_000  # of an optimizer step; published recipes take at most 4,096
MOST_JUDGED = 10_000_000  # validation windows; a human genome has 6 million of 510 bases
MOST_WINDOW_BP = 10_000_000  # ten times the longest window of a published model
MOST_WIDTH = 65_536  # of a layer; the widest published language models have 20,000

Processes = Annotated[int, Field(gt=0, le=MOST_PROCESSES)]
Workers = Annotated[int, Field(ge=0, le=MOST_PROCESSES)]
BatchSize = Annotated[int, Field(le=MOST_SAMPLES)]
JudgedWindows = Annotated[int, Field(gt=0, le=MOST_JUDGED)]
WindowBases = Annotated[int, Field(gt=0, le=MOST_WINDOW_BP)]
Width = Annotated[int, Field(le=MOST_WIDTH)]
