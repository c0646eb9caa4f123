"""Checkpoints on disk: folders that are whole or not there, and are verified before they are trusted.

`checkpoints/step-00001234/` holds safetensors files, `state.json` and `MANIFEST.json` with the size and the
sha256 of each file. It is written under a hidden name and renamed when it is on disk, so that a process that
is killed, or a disk that is full, leaves at a final name what is complete or nothing. Nothing here knows of
Lightning or of ranks: one process begins and finishes a folder, whoever likes writes files into it between.
"""

from dnalm.training.checkpoints.folder import CheckpointFolder, Saved, choose
from dnalm.training.checkpoints.reading import Checkpoint, Rejected, open_checkpoint
from dnalm.training.checkpoints.saving import SaveFailed, SavePolicy, disk_errors

__all__ = [
    "Checkpoint",
    "CheckpointFolder",
    "Rejected",
    "SaveFailed",
    "SavePolicy",
    "Saved",
    "choose",
    "disk_errors",
    "open_checkpoint",
]
