"""What a run of fine-tuning is made of: the data, the network, what must not change, and what is left."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lightning.pytorch import seed_everything
from torch import Tensor
from torch.optim import Optimizer

from dnalm.data import BatchPlan
from dnalm.data.labelled import AnyTask, Division, NextKmer, SequenceRecipe
from dnalm.data.labelled.module import SequenceData
from dnalm.errors import ConfigError
from dnalm.models import Encoder, MaskedLM, Pretrained, fit_vocabulary
from dnalm.tokenizers import BpeRecipe, KmerTokenizer, Tokenizer, load_tokenizer
from dnalm.training.contract import Contract
from dnalm.training.embeddings import find_or_embed
from dnalm.training.finetuned import describe_head, stock_head
from dnalm.training.finetuning import Finetuning
from dnalm.training.guard import StepGuard
from dnalm.training.model_directory import write_model_directory
from dnalm.training.plan import StepPlan
from dnalm.training.schedules import Schedule
from dnalm.training.trainer import TrainerRecipe
from dnalm.training.tuning import Tuning

_BACKBONE, _HEAD = "backbone.", "head."


@dataclass
class Preparation:
    """Makes the parts of a run.

    Args:
        model: what is fine-tuned: a pretrained model, or what makes one that has learned nothing.
        tokenizer: bases to ids; that of the model's folder if absent, or overlapping 6-mers.
        task: what is asked.
        division: what trains, chooses and judges.
        sequences: how sequences are read.
        tuning: what trains.
        optim: makes the optimizer.
        schedule: factor of the learning rate by step.
        batch: the batch arithmetic.
        trainer: how the run is computed.
        guard: what the ranks decide together.
        config: the composed config.
        seed: of the run.
    """

    model: Pretrained | Callable[..., Encoder]
    tokenizer: Tokenizer | None
    task: AnyTask
    division: Division
    sequences: SequenceRecipe
    tuning: Tuning
    optim: Callable[..., Optimizer]
    schedule: Schedule
    batch: BatchPlan
    trainer: TrainerRecipe
    guard: StepGuard
    config: dict[str, object]
    seed: int
    _spare: MaskedLM | None = field(default=None, init=False)  # loaded to see how long sequences may be

    def lay_out(self) -> SequenceData:
        """The sequences, held against the tokenizer and what the encoder takes.

        Raises:
            ConfigError: CFG-18, pieces are longer than the encoder takes, there is no first token, or a
                strand would be turned whose labels do not turn.
            CheckpointError: the model cannot be read, or the tokenizer is another model's.
            DataError: a sequence is too short or too long.
        """
        if isinstance(self.task, NextKmer) and (
            self.sequences.reverse_complement or self.sequences.average_strands
        ):
            raise _misfit(
                "sequences.reverse_complement, sequences.average_strands",
                "both strands, and on the other one the next bases come first",
                "false, for next-k-mer prediction",
            )
        if self.task.kind == "segmentation":
            self._check_per_base()
        tokenizer = self._tokenizer()
        self._spare = self._backbone(tokenizer)
        data = SequenceData(
            self.task,
            self.division,
            tokenizer=tokenizer,
            recipe=self.sequences,
            batch=self.batch,
            seed=self.seed,
            limit=self._limit(self._spare.encoder, tokenizer),
            first_tokens=self.tuning.pooling == "cls",
        )
        if data.first_tokens and tokenizer.special.start is None:
            raise _misfit(
                "tuning.pooling", "cls, and the tokenizer puts no token first", "mean, max or attention"
            )
        data.check_lengths()
        return data

    def make_module(self, data: SequenceData) -> Finetuning:
        """What trains, as it is before the first step; the same on every process."""
        backbone, self._spare = self._spare or self._backbone(data.tokenizer), None
        seed_everything(self.seed, verbose=False)
        network = self.tuning.network(backbone, num_outputs=self.division.num_classes)
        if self.tuning.encoder == "cached":
            cache, device = self.task.cache, self.trainer.device
            data.vectors = {
                part: find_or_embed(network, data, part, cache=cache, device=device)
                for part in self.division.parts
            }
        plan = StepPlan(
            optimizer=self.optim,
            schedule=self.schedule,
            seed=self.seed,
            global_batch=self.batch.global_size,
            guard=self.guard,
            parallel=self.trainer.parallel,
            exact=self.trainer.strategy == "exact",
        )
        balanced = self.tuning.class_weights == "balanced"
        return Finetuning(network, self.task, self.division, plan, balanced=balanced)

    def contract(self, data: SequenceData) -> Contract:
        """What must not change when the run goes on."""
        contract: Contract = {"seed": self.seed, "batch.global_size": self.batch.global_size}
        contract["tokenizer"] = data.tokenizer.fingerprint
        for part, rows in self.division.parts.items():
            contract[f"task.{part}"] = rows.fingerprint
        for setting in dataclasses.fields(self.sequences):
            contract[f"sequences.{setting.name}"] = getattr(self.sequences, setting.name)
        for name in ("encoder", "pooling", "dense", "dropout", "class_weights"):
            contract[f"tuning.{name}"] = getattr(self.tuning, name)
        return contract

    def write_model(
        self,
        folder: Path,
        module: Finetuning,
        data: SequenceData,
        *,
        weights: Mapping[str, Tensor] | None,
        heads: Mapping[str, Mapping[str, Tensor]],  # noqa: ARG002 -- the head is part of the network
        steps: int,
    ) -> None:
        """Write the model directory: the encoder's, with the head beside it."""
        described = describe_head(module, data)
        head = {n.removeprefix(_HEAD): w for n, w in (weights or {}).items() if n.startswith(_HEAD)}
        backbone = {
            n.removeprefix(_BACKBONE): w for n, w in (weights or {}).items() if n.startswith(_BACKBONE)
        }
        write_model_directory(
            folder,
            model=module.model.backbone,
            weights=backbone if weights is not None else None,
            tokenizer=data.tokenizer,
            config=self.config,
            data_fingerprint=data.fingerprint,
            precision=self.trainer.precision,
            steps=steps,
            window_tokens=data.longest_piece,
            heads={"task": head} if head else None,
            described={"head": dataclasses.asdict(described)},
            task_head=stock_head(described, head) if head else None,
        )

    def _check_per_base(self) -> None:
        if self.sequences.long == "truncate":
            raise _misfit("sequences.long", "truncate, and every base has a label", "pieces or refuse")
        if self.tuning.pooling == "cls":
            raise _misfit("tuning.pooling", "cls, which has no vector for a base", "mean, max or attention")
        if self.tuning.encoder == "cached":
            raise _misfit("tuning.encoder", "cached, which keeps a vector a sequence", "frozen or full")

    def _tokenizer(self) -> Tokenizer:
        if isinstance(self.tokenizer, BpeRecipe):
            raise _misfit("tokenizer", "a vocabulary that is yet to be learned", "one that is there")
        if self.tokenizer is not None:
            return self.tokenizer
        return load_tokenizer(self.model.folder()) if isinstance(self.model, Pretrained) else KmerTokenizer()

    def _backbone(self, tokenizer: Tokenizer) -> MaskedLM:
        seed_everything(self.seed, verbose=False)
        if isinstance(self.model, Pretrained):
            network = self.model.load(needs_head=False)
            fit_vocabulary(network, tokenizer.vocab_size, where=self.model.source)
            return network
        special = tokenizer.special
        encoder = self.model(
            vocab_size=tokenizer.vocab_size, padding_id=special.padding, mask_id=special.mask
        )
        return MaskedLM(encoder)

    def _limit(self, encoder: Encoder, tokenizer: Tokenizer) -> int | None:
        longest, asked = encoder.longest_sequence, self.sequences.max_tokens
        if longest is None:
            return asked
        fits = longest - tokenizer.special.num_wrapping
        if asked is not None and asked > fits:
            raise _misfit("sequences.max_tokens", f"{asked}", f"at most {fits}, which the encoder takes")
        return asked or fits


def _misfit(where: str, found: str, expected: str) -> ConfigError:
    return ConfigError(
        "CFG-18", where=where, found=found, expected=expected, fix="set it so, or choose another model"
    )
