"""What of a pretrained network trains on a task: all of it, a head alone, a linear probe, or an adapter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import PositiveInt
from torch import nn

from dnalm.errors import ConfigError
from dnalm.models import HeadShape, MaskedLM, SequenceModel
from dnalm.models.pooling import PoolingName
from dnalm.training.trainer import TrainerRecipe


@runtime_checkable
class AdapterConfig(Protocol):
    """A config of the `peft` library, which takes seconds to import."""

    def to_dict(self) -> dict[str, Any]:
        """What it says."""

    def save_pretrained(self, save_directory: str) -> None:
        """Write it."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How a model is fine-tuned.

    Args:
        encoder: `full` trains all of it; `frozen` only the head on it; `cached` too, and encodes every
            sequence once, on both strands, for all runs to come.
        adapter: a config of the `peft` library (LoRA, IA3), whose weights train in place of the encoder's and
            are merged into them at the end.
        pooling: how tokens become one vector.
        dense: whether the head has a dense layer with tanh before its outputs.
        dropout: share of the inputs of the head's last layer zeroed in training.
        class_weights: `balanced` lets every class count the same in the loss.
        select: which checkpoint is left: the best by the task's metric, the best by loss (GUE), or the last.
        patience: validations without a better one that end the run; none if absent.
    """

    encoder: Literal["full", "frozen", "cached"] = "full"
    adapter: AdapterConfig | None = None
    pooling: PoolingName = "mean"
    dense: bool = True
    dropout: float = 0.1
    class_weights: Literal["none", "balanced"] = "none"
    select: Literal["metric", "loss", "last"] = "metric"
    patience: PositiveInt | None = None

    def __post_init__(self) -> None:
        if self.encoder == "cached" and self.pooling == "attention":
            raise ValueError("pooling is attention, which trains; a cached encoder has cls, mean or max")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; a share lies in [0, 1), such as 0.1")
        if self.encoder != "full" and self.adapter is not None:
            raise ValueError("adapter is given beside an encoder that does not train")

    def check(self, trainer: TrainerRecipe) -> None:
        """Refuse what cannot be computed.

        Raises:
            ConfigError: CFG-35, an adapter is to be sharded, which cannot be merged.
        """
        if self.adapter is not None and trainer.strategy == "fsdp":
            raise ConfigError(
                "CFG-35",
                where="tuning.adapter, trainer.strategy",
                found="an adapter in a sharded model",
                expected="a replicated model, whose adapter can be merged at the end",
                fix="set trainer.strategy=ddp; an adapter needs little memory beside the model",
            )

    def network(self, backbone: MaskedLM, *, num_outputs: int) -> SequenceModel:
        """A network whose trained parameters alone require gradients.

        Raises:
            ConfigError: CFG-34, the adapter fits no layer of the encoder.
        """
        shape = HeadShape(
            num_outputs=num_outputs, pooling=self.pooling, dense=self.dense, dropout=self.dropout
        )
        network = SequenceModel(backbone, shape, frozen=self.encoder != "full")
        if self.adapter is not None:
            attach(self.adapter, network)
        return network


def attach(adapter: Any, network: SequenceModel) -> None:  # noqa: ANN401 -- a config of peft
    """Put an adapter into the encoder; its weights require gradients, the encoder's do so no more.

    Raises:
        ConfigError: CFG-34, it fits no layer.
    """
    from peft import inject_adapter_in_model

    try:
        inject_adapter_in_model(adapter, network.encoder)
    except ValueError as error:
        layers = {
            name.rpartition(".")[2] for name, part in network.encoder.named_modules() if _is_linear(part)
        }
        raise ConfigError(
            "CFG-34",
            where="tuning.adapter",
            found=str(error).splitlines()[0].rstrip("."),
            expected=f"layers of the encoder: {', '.join(sorted(layers))}",
            fix="name some of these in tuning.adapter.target_modules",
        ) from error


def merge(network: SequenceModel) -> None:
    """Add the weights of an adapter into those they adapt, so that a plain network is left."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, part in list(network.encoder.named_modules()):
        if isinstance(part, BaseTunerLayer):
            part.merge(safe_merge=True)
            parent, _, own = name.rpartition(".")
            setattr(network.encoder.get_submodule(parent), own, part.get_base_layer())


def _is_linear(part: nn.Module) -> bool:
    return isinstance(part, nn.Linear)
