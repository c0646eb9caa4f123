"""DNA on disk: alphabet, readers, the genome store, intervals; `dnalm.genome(path)` opens a genome."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from dnalm.genome.genome import Genome


class _Callable(ModuleType):
    """The class of this package, so that `dnalm.genome` is both a package and a function."""

    def __call__(self, path: str | Path, *, cache: str | Path | None = None) -> Genome:
        """Open a genome; see `dnalm.genome.genome.open_genome`."""
        from dnalm.genome.genome import open_genome

        return open_genome(path, cache=cache)


sys.modules[__name__].__class__ = _Callable
