"""From the command line to checked, built objects.

`read_config` composes with Hydra, `check.check` holds every argument against the signature it is for,
`check_paths` all that is written against all that is read, `build` makes the objects, `run_command` makes
them and calls the command. Nothing is imported, opened or started before the whole config is known to be
buildable. The names here are imported when they are first used, so that completion, which lies beside them,
answers without Hydra and pydantic.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnalm.compose.check import build, check_paths, run_command, with_defaults
    from dnalm.compose.config import read_config, read_resolved

__all__ = ["build", "check_paths", "read_config", "read_resolved", "run_command", "with_defaults"]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in __all__:
        module = "config" if name.startswith("read_") else "check"
        return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
