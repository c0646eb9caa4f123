"""A trained model to read or to go on from, as a config names it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dnalm.errors import CheckpointError
from dnalm.models.hub import find_folder
from dnalm.models.kernels import KernelName
from dnalm.models.masked_lm import MaskedLM
from dnalm.models.pretrained import fit_vocabulary, load_pretrained
from dnalm.paths import InputName


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Where a model is, and how to compute it.

    Args:
        source: a run directory, a model directory, or `owner/name` on the Hugging Face hub.
        revision: the hub's branch, tag or commit; its main branch if absent.
        kernel: how attention is computed.
    """

    source: InputName
    revision: str | None = None
    kernel: KernelName = "sdpa"

    def folder(self) -> Path:
        """The model directory: fetched from the hub, or of a run the one that it left.

        Raises:
            CheckpointError: there is none, the run has not finished, or the hub does not give it.
        """
        return find_folder(self.source, revision=self.revision)

    def load(self, *, needs_head: bool = True) -> MaskedLM:
        """Read the model, strictly; see `load_pretrained`."""
        return load_pretrained(self.folder(), kernel=self.kernel, needs_head=needs_head)

    def __call__(
        self,
        *,
        vocab_size: int,
        padding_id: int,  # noqa: ARG002
        mask_id: int,
        annotations: tuple[str, ...] = (),
    ) -> MaskedLM:
        """The model to go on from, held against the tokenizer and the inputs that it is trained on with.

        Args:
            vocab_size: ids of the tokenizer.
            padding_id: the tokenizer's; it may differ, as DNABERT-2's does.
            mask_id: the tokenizer's.
            annotations: names of the annotation channels that it is given.

        Raises:
            CheckpointError: it cannot be read, the tokenizer has other ids than it, or it has other channels.
        """
        model = self.load()
        fit_vocabulary(model, vocab_size, where=self.source)
        known = model.encoder.mask_id
        if known not in (None, mask_id):
            raise CheckpointError(
                "MODEL-12",
                where=self.source,
                found=f"a model whose mask token is {known} and a tokenizer whose mask token is {mask_id}",
                expected="the same of both",
                fix="use the tokenizer that the model was trained with",
            )
        if model.encoder.annotations != annotations:
            raise CheckpointError(
                "MODEL-13",
                where=self.source,
                found=f"a model whose inputs are {_say(model.encoder.annotations)}, and a run that gives "
                f"{_say(annotations)}",
                expected="the same annotation channels in the same order",
                fix="set inputs to the tracks that the model was trained with, named and labelled as there",
            )
        return model


def _say(annotations: tuple[str, ...]) -> str:
    return ", ".join(("tokens", *annotations)) if annotations else "tokens alone"
