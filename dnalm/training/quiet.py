"""Keep the frameworks' adverts, tips and harmless warnings off the screen.

What is silenced is named one by one, so that a warning we have not judged still shows.
"""

from __future__ import annotations

import logging
import os
import warnings

_HARMLESS = (
    r".*`self\.log\(.*sync_dist=True\)`.*",  # what is logged is summed over the ranks already
    r".*does not have many workers.*",  # a tiny run loads in its own process on purpose
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",  # inside lightning
    r".*Experiment logs directory .* exists and is not empty.*",  # the run directory is ours
    r".*Found \d+ module\(s\) in eval mode.*",  # a frozen encoder is, on purpose
    r".*Checkpoint directory .* exists and is not empty.*",
)


def quiet_frameworks() -> None:
    """Call once, before the trainer is made."""
    os.environ.setdefault("WANDB_SILENT", "true")
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "torch.distributed"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in _HARMLESS:
        warnings.filterwarnings("ignore", message=message)
