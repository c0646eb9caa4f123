"""From the command line to checked, built objects.

`read_config` composes with Hydra, `check` holds every argument against the signature it is for,
`check_paths` all that is written against all that is read, `build` makes the objects, `run_command` makes
them and calls the command. Nothing is imported, opened or started before the whole config is known to be
buildable.
"""

from dnalm.compose.check import build, check, check_paths, run_command, with_defaults
from dnalm.compose.config import read_config, read_resolved

__all__ = ["build", "check", "check_paths", "read_config", "read_resolved", "run_command", "with_defaults"]
