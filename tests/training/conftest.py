import os
from pathlib import Path

import pytest

from dnalm.training.checkpoint import CheckpointFolder
from tests.training.checkpoint_library import save


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    """Two good checkpoints, of steps 5 and 10."""
    folder = CheckpointFolder(tmp_path / "checkpoints")
    with pytest.MonkeyPatch.context() as patch:  # hundreds of tests need no disk to take its time
        patch.setattr(os, "fsync", lambda _: None)
        save(folder, 5)
        save(folder, 10)
    return folder
