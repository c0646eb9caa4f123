"""`dnalm pretrain`: train a masked language model and say how it compares with the baselines.

The run directory holds `config.yaml`, `metrics.csv`, `checkpoints/`, `model/`, `loss.png`, `summary.json` and
`strata.csv` (bits per base by species, region, repeats and token frequency), and `tracks.png` where
objectives on tracks are learned. Losses are in nats per masked token, memory in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from dnalm.data.module import GenomeData
from dnalm.evaluation.pretraining_report import introduce_pretraining, report_pretraining
from dnalm.training.pretraining import MaskedLMTraining, Pretraining


@dataclass(kw_only=True, eq=False)
class PretrainCommand(Pretraining):
    """Train, validate, compare with the baselines, and leave the run directory.

    Args:
        experiment: name of the published model the config follows.
    """

    experiment: str

    def introduce(self, data: GenomeData, module: MaskedLMTraining) -> None:
        """See `introduce_pretraining`."""
        introduce_pretraining(self, data, module)

    def finish(self, data: GenomeData, module: MaskedLMTraining) -> None:
        """See `report_pretraining`."""
        report_pretraining(self, data, module, experiment=self.experiment)
