"""`dnalm finetune`: teach a pretrained model a task of labelled sequences, and judge it.

The run directory holds `config.yaml`, `metrics.csv`, `checkpoints/`, `model/` (the encoder in Hugging Face
layout, its head in `heads.safetensors`, described in `dnalm.yaml`), and `predictions.parquet` and
`summary.json`, which `dnalm.evaluation.finetuning_report` describes.
"""

from __future__ import annotations

from dataclasses import dataclass

from dnalm.data.labelled.module import SequenceData
from dnalm.evaluation.finetuning_report import introduce_finetuning, report_finetuning
from dnalm.training.finetuning import FinetuneModule, Finetuning


@dataclass(kw_only=True, eq=False)
class FinetuneCommand(Finetuning):
    """Fine-tune, judge, and leave the run directory."""

    def introduce(self, data: SequenceData, module: FinetuneModule) -> None:
        """See `introduce_finetuning`."""
        introduce_finetuning(self, data, module)

    def finish(self, data: SequenceData, module: FinetuneModule) -> None:
        """See `report_finetuning`."""
        report_finetuning(self, data, module)
