"""Train DNA language models from config files, and use them from Python.

`dnalm.load` opens a trained model, `dnalm.genome` a genome; see `dnalm.api`. Both are imported when they are
first used, so that `import dnalm` takes no time.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnalm.api import Model, genome, load

__all__ = ["Model", "__version__", "genome", "load"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "genome":
        return import_module("dnalm.genome")  # a package that can be called
    if name in ("Model", "load"):
        return getattr(import_module("dnalm.api"), name)
    raise AttributeError(f"module 'dnalm' has no attribute {name!r}")
