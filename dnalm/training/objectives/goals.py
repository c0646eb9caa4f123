"""All that a run is to learn, and from what, refused early if it does not fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dnalm.data.targets import target_name
from dnalm.errors import ConfigError
from dnalm.training.objectives.leakage import check_inputs
from dnalm.training.objectives.masked_tokens import MaskedTokens
from dnalm.training.objectives.task import TrackObjective
from dnalm.training.objectives.weighting import LossWeights, WeightingName


class Goals:
    """The objectives of a run.

    Attributes:
        masked_tokens: the name of masked language modelling among them.
        on_tracks: the others, by name.
        targets: what they learn of tracks, each once; see `target_name`.
        inputs: names of the tracks that the model is told instead.
        weights: how losses are summed.

    Args:
        objectives: by name; masked tokens alone if None.
        weighting: whether weights are fixed or learned.
        inputs: names of tracks that are inputs.

    Raises:
        ConfigError: CFG-30, a track is an input and learned, or an input twice; OBJ-03, masked language
            modelling is not among the objectives, or twice; OBJ-04, a name is no identifier; OBJ-05, weights
            are given where they are learned.
    """

    def __init__(
        self,
        objectives: Mapping[str, MaskedTokens | TrackObjective] | None = None,
        weighting: WeightingName = "fixed",
        inputs: Sequence[str] = (),
    ) -> None:
        objectives = objectives or {"masked_tokens": MaskedTokens()}
        masked = [name for name, objective in objectives.items() if isinstance(objective, MaskedTokens)]
        if len(masked) != 1:
            raise ConfigError(
                "OBJ-03",
                where="objectives",
                found=f"{len(masked)} objectives that predict masked tokens among {', '.join(objectives)}",
                expected="one, since the model directory is that of a masked language model",
                fix="give objectives.masked_tokens with dnalm.training.objectives.MaskedTokens",
            )
        self.masked_tokens = masked[0]
        self.on_tracks = {
            name: objective
            for name, objective in objectives.items()
            if not isinstance(objective, MaskedTokens)
        }
        for name in self.on_tracks:
            _check_name(name)
        check_inputs(inputs, self.on_tracks)
        self.inputs = tuple(inputs)
        targets = (target_name(objective.track, objective.per) for objective in self.on_tracks.values())
        self.targets = list(dict.fromkeys(targets))
        weights = {name: objective.weight for name, objective in objectives.items()}
        try:
            self.weights = LossWeights(weights, weighting=weighting)
        except ValueError as error:
            raise ConfigError(
                "OBJ-05",
                where="weighting",
                found=str(error),
                expected="either of both",
                fix="leave the weights out, or set weighting=fixed",
            ) from error


def _check_name(name: str) -> None:
    """Names of objectives become names of metrics and of weights."""
    if not name.isidentifier():
        raise ConfigError(
            "OBJ-04",
            where=f"objectives.{name}",
            found="a name that is more than letters, digits and _",
            expected="names that metrics can have, as in val_region_mcc",
            fix="rename the objective",
        )
