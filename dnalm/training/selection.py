"""Which weights of a run are left: those of the checkpoint whose validation was best."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dnalm.data.labelled import AnyTask
from dnalm.data.labelled.module import SequenceData
from dnalm.training.finetuning import Finetuning
from dnalm.training.processes import done_by_first, patient_group
from dnalm.training.session import Session
from dnalm.training.training_state import read_state
from dnalm.training.tuning import Tuning, merge


def criterion(task: AnyTask, tuning: Tuning) -> tuple[str, Literal["min", "max"]]:
    """The column of `metrics.csv` by which checkpoints are compared, and what is best of it."""
    return (f"val_{task.declared}", "max") if tuning.select == "metric" else ("val_loss", "min")


def choose_weights(session: Session[SequenceData, Finetuning], module: Finetuning, tuning: Tuning) -> int:
    """Let the module have the chosen checkpoint's weights, adapters merged; called on every rank.

    Returns:
        The step they are of.
    """
    fitter, folder = session.fitter, session.folder
    path = ""
    if tuning.select != "last":
        path = done_by_first(
            lambda: str(best.path) if (best := folder.best()) else "",
            first=session.ranks.first,
            group=patient_group(),
        )
    if path:
        read_state(Path(path), module, fitter.optimizers[0])
    if tuning.adapter is not None:
        merge(module.model)
    return int(Path(path).name.rpartition("-")[2]) if path else fitter.global_step
