"""Fine-tuning: what of a pretrained network trains, one LightningModule for all kinds of labels, and the run.

The targets of a step are its sequences, or their bases where these are labelled (see `step`): a base has the
mean of the hidden states of the tokens that spell it, so the loss and the figures are of bases, whatever the
tokens are.

A probe (`tuning.encoder=cached`) takes no steps: see `probing`.

S sequences of a micro-batch, R rows of a part, O outputs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from lightning.pytorch import Callback, seed_everything
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from dnalm.console import stdout
from dnalm.data import Corpus
from dnalm.data.labelled import (
    AnyTask,
    Division,
    LabelledBatch,
    MetricName,
    NextKmer,
    Part,
    SequenceRecipe,
    TaskKind,
    divide,
)
from dnalm.data.labelled.module import SequenceData
from dnalm.data.labelled.table import label_names
from dnalm.errors import ConfigError
from dnalm.limits import Steps
from dnalm.models import (
    Encoder,
    HeadShape,
    Initialisation,
    MaskedLM,
    Packed,
    Pretrained,
    SequenceModel,
    fit_vocabulary,
)
from dnalm.models.layers import PoolingName
from dnalm.models.memory import PackSize
from dnalm.tokenizers import BpeRecipe, KmerTokenizer, Tokenizer, load_tokenizer
from dnalm.training.callbacks import EarlyStop
from dnalm.training.checkpoint import read_state
from dnalm.training.distributed import done_by_first, patient_group
from dnalm.training.metrics import class_weights, judge, mean_loss, scores_of, standardised
from dnalm.training.model_directory import DescribedHead, make_task_head, write_model_directory
from dnalm.training.probing import (
    Judge,
    Probe,
    as_head,
    choose_probe,
    find_or_embed,
    outputs_of,
    weights_checksum,
)
from dnalm.training.run import Contract, Run, check_contract
from dnalm.training.run_directory import RunLock
from dnalm.training.step import StepPlan, StepTraining
from dnalm.training.stop_flags import LossHistory
from dnalm.training.trainer import TrainerRecipe, quiet_frameworks


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
        encoder: `full` trains all of it; `frozen` only the head on it; `cached` is a probe, which is solved
            on vectors of every sequence, on both strands, that are computed once for all runs to come.
        adapter: a config of the `peft` library (LoRA, IA3), whose weights train in place of the encoder's and
            are merged into them at the end.
        pooling: how tokens become one vector.
        dense: whether the head has a dense layer with tanh before its outputs.
        dropout: share of the inputs of the head's last layer zeroed in training.
        class_weights: `balanced` lets every class count the same in the loss.
        select: which checkpoint is left: the best by the task's metric, by another of its metrics (`f1`), by
            loss (GUE), or the last.
        patience: validations without a better one that end the run; none if absent.
        layer: whose vectors a probe reads: 0 the embeddings, then the blocks, `last`, or `best`, the one that
            the validation rows choose.
        inverse_penalties: of a probe, scikit-learn's C, of which the validation rows choose.
    """

    encoder: Literal["full", "frozen", "cached"] = "full"
    adapter: AdapterConfig | None = None
    pooling: PoolingName = "mean"
    dense: bool = True
    dropout: float = 0.1
    class_weights: Literal["none", "balanced"] = "none"
    select: Literal["metric", "loss", "last"] | MetricName = "metric"
    patience: PositiveInt | None = None
    layer: NonNegativeInt | Literal["last", "best"] = "last"
    inverse_penalties: tuple[PositiveFloat, ...] = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)

    def __post_init__(self) -> None:
        if self.encoder == "cached" and self.pooling == "attention":
            raise ValueError("pooling is attention, which trains; a cached encoder has cls, mean or max")
        if self.encoder == "cached" and self.select == "last":
            raise ValueError("select is last; a probe takes no steps: choose it by metric or loss")
        if self.encoder != "cached" and self.layer != "last":
            raise ValueError(
                f"layer is {self.layer}; a probe alone reads another than the last: tuning=probe"
            )
        if not self.inverse_penalties:
            raise ValueError("inverse_penalties is empty; one at least is tried")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; a share lies in [0, 1), such as 0.1")
        if self.encoder != "full" and self.adapter is not None:
            raise ValueError("adapter is given beside an encoder that does not train")

    def check(self, trainer: TrainerRecipe) -> None:
        """Refuse what cannot be computed.

        Raises:
            ConfigError: CFG-35, an adapter is to be sharded, which cannot be merged; CFG-18, a probe is to be
                solved by several processes.
        """
        if self.encoder == "cached" and trainer.world_size > 1:
            raise ConfigError(
                "CFG-18",
                where="tuning.encoder, trainer",
                found=f"a probe by {trainer.world_size} processes",
                expected="one process, in which the encoder runs once over the sequences",
                fix="set trainer=cpu or trainer=gpu",
            )
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
        ConfigError: CFG-34, it fits no layer, or one that is not linear: peft's of a convolution ignore its
            dilation.
    """
    from peft import inject_adapter_in_model

    parts = {name.rpartition(".")[2]: part for name, part in network.encoder.named_modules()}
    layers = [name for name, part in parts.items() if isinstance(part, nn.Linear)]
    try:
        inject_adapter_in_model(adapter, network.encoder)
        if any("convolution.base_layer" in name for name, _ in network.encoder.named_modules()):
            raise ValueError("convolution is not linear")
    except ValueError as error:
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


@dataclass
class Answers:
    """Outputs of this rank, as they come."""

    rows: list[npt.NDArray[np.int64]] = field(default_factory=list)
    outputs: list[npt.NDArray[np.float32]] = field(default_factory=list)

    def append(self, rows: tuple[int, ...], outputs_SO: Tensor) -> None:
        """Keep those of a micro-batch, but for rows that only fill it."""
        numbers = np.array(rows, dtype=np.int64)
        self.rows.append(numbers[numbers >= 0])
        self.outputs.append(outputs_SO.detach().float().numpy(force=True)[numbers >= 0])

    def over_ranks(self, num_rows: int) -> Tensor:
        """The outputs of every row, a row's several averaged, (R, O) float64; the same on every rank."""
        mine: list[Any] = [np.concatenate(self.rows), np.concatenate(self.outputs)]
        parts = [mine]
        if dist.is_initialized() and dist.get_world_size() > 1:
            parts = [[] for _ in range(dist.get_world_size())]
            dist.all_gather_object(parts, mine, group=patient_group())
        rows, outputs = (np.concatenate(column) for column in zip(*parts, strict=True))
        total = np.zeros((num_rows, outputs.shape[1]))
        np.add.at(total, rows, outputs.astype(np.float64))
        counts = np.bincount(rows, minlength=num_rows)
        assert counts.all(), "every row is judged"
        return torch.from_numpy(total / counts[:, None])


@dataclass(frozen=True)
class Verdict:
    """How a model did on a part.

    Attributes:
        scores: as of `scores_of`, in the unit of the labels.
        figures: by metric.
        loss: mean over the rows.
    """

    scores: Tensor
    figures: dict[MetricName, float]
    loss: float


class FinetuneModule(StepTraining):
    """Fine-tune a model on a task.

    Args:
        model: the network.
        task: what is asked.
        division: what trains, chooses and judges.
        plan: how steps are taken.
        balanced: let every class count the same in the loss.

    Attributes:
        num_parameters: of the network, an adapter's among them.
        num_trained: those that train.
        verdicts: by part, of the last test.
    """

    def __init__(
        self, model: SequenceModel, task: AnyTask, division: Division, plan: StepPlan, *, balanced: bool
    ) -> None:
        super().__init__(model, plan)
        self.model: SequenceModel
        self.task, self.division = task, division
        parameters = list(model.parameters())
        self.num_parameters = sum(parameter.numel() for parameter in parameters)
        self.num_trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
        self.verdicts: dict[Part, Verdict] = {}
        self._answers = Answers()
        self._tested: list[Answers] = []
        labels = torch.from_numpy(division.train.labels)
        is_values = self.kind == "regression"
        self.loss_spread = 2.0 if is_values else 1.0  # squares of normal errors: the root of 2
        self.center = float(labels.double().mean()) if is_values else 0.0
        self.scale = float(labels.double().std()) if is_values else 1.0
        of_classes = balanced and self.kind in ("binary", "multiclass", "segmentation")
        weights_O = class_weights(labels, division.num_classes) if of_classes else torch.zeros(0)
        self.weights_O: Tensor
        self.register_buffer("weights_O", weights_O, persistent=False)

    @property
    def kind(self) -> TaskKind:
        """Of the task."""
        return self.task.kind

    def forward(self, batch: LabelledBatch) -> Tensor:
        """Outputs, (S, O)."""
        packed = Packed(cu_lengths=batch.cu_lengths, max_length=batch.max_length)
        outputs_SO: Tensor = self.model(
            batch.ids_N,
            packed,
            batch.used_M,
            batch.owner_P,
            len(batch.rows),
            batch.covers_Q2,
        )
        return outputs_SO

    def training_step(self, batch: LabelledBatch, batch_index: int) -> Tensor:
        """The sum of the losses; dropout is keyed by (seed, step, micro-batch)."""
        self.key_dropout(batch_index)
        weights_O = self.weights_O if len(self.weights_O) else None
        labels_S = self.as_learned(batch.labels_S)
        loss = mean_loss(self.kind, self(batch).float(), labels_S, weights_O=weights_O).sum()
        self.step_totals.loss += loss.detach().double()
        self.step_totals.targets += len(batch.rows)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the last pass."""
        self._answers = Answers()

    def validation_step(self, batch: LabelledBatch, batch_index: int) -> None:  # noqa: ARG002
        """Take note of what the model says."""
        self._answers.append(batch.rows, self(batch))

    def on_validation_epoch_end(self) -> None:
        """Judge all rows, and log it."""
        verdict = self.judged("val", self._answers.over_ranks(self._num_rows("val")))
        self.validated_at = self.global_step
        self.log("val_loss", verdict.loss)
        for name, value in verdict.figures.items():
            self.log(f"val_{name}", value)

    def on_test_epoch_start(self) -> None:
        """Forget the last pass."""
        self._tested = [Answers(), Answers()]

    def test_step(self, batch: LabelledBatch, batch_index: int, dataloader_idx: int = 0) -> None:  # noqa: ARG002
        """Take note of what the model says of the rows that choose, and of those that judge."""
        self._tested[dataloader_idx].append(batch.rows, self(batch))

    def on_test_epoch_end(self) -> None:
        """Judge all rows."""
        parts: tuple[Part, ...] = ("val", "test")
        for part, answers in zip(parts, self._tested, strict=True):
            self.verdicts[part] = self.judged(part, answers.over_ranks(self._num_rows(part)))

    def as_learned(self, labels: Tensor) -> Tensor:
        """Labels, values standardised by the training rows."""
        if self.kind != "regression":
            return labels
        return standardised(labels, self.center, self.scale)

    def _num_rows(self, part: Part) -> int:
        return len(self.division.parts[part].labels)

    def judged(self, part: Part, outputs_RO: Tensor) -> Verdict:
        """How outputs, (R, O) float64, do on a part."""
        labels = torch.from_numpy(self.division.parts[part].labels)
        loss = mean_loss(
            self.kind, outputs_RO, self.as_learned(labels.double() if labels.is_floating_point() else labels)
        )
        scores = scores_of(self.kind, outputs_RO) * self.scale + self.center
        truth = labels.double() if labels.is_floating_point() else labels
        figures = judge(self.task.metrics, self.kind, scores, truth, num_outputs=self.division.num_classes)
        return Verdict(scores, figures, float(loss.mean()))


@dataclass(kw_only=True, eq=False)
class Finetuning(Run[SequenceData, FinetuneModule]):
    """A run of fine-tuning on labelled sequences.

    Args:
        model: the pretrained model, or what makes one that has learned nothing.
        task: what is asked: tables, columns, the meaning of labels, the metric.
        tuning: what of the model trains, and which checkpoint is left.
        data: the genomes of a task that reads genomes; others have tables.
        tokenizer: bases to ids; that of the model if absent, overlapping 6-mers where it has none.
        sequences: how sequences are read.
        epochs: how often each row is seen; with few labels (`task.labels`) as many steps as with all, which a
            recipe's warm-up asks for and few rows need (Zhang et al. 2021, "Revisiting few-sample BERT
            fine-tuning").
        steps: optimizer steps, in place of epochs.

    Attributes:
        division: what trains, chooses and judges.
        best_step: of the weights that are left, once they are chosen.
        probe: that was chosen, where the encoder is cached.

    Raises:
        ConfigError: see `Tuning.check` and `Run`.
    """

    command = "finetune"
    shorter = "tuning=probe trains a head alone; epochs=1 or steps=300 is a shorter run"

    model: Pretrained | Callable[..., Encoder]
    task: AnyTask
    tuning: Tuning
    data: Corpus | None = None
    tokenizer: Tokenizer | None = None
    sequences: SequenceRecipe = SequenceRecipe()  # noqa: RUF009 -- it is frozen
    epochs: PositiveFloat = 3.0
    steps: Steps | None = None

    def __post_init__(self) -> None:
        self.tuning.check(self.trainer)
        if isinstance(self.model, Pretrained) and self.model.is_twin and self.model.seed is None:
            self.model = dataclasses.replace(self.model, seed=self.seed)
        super().__post_init__()
        self.division = divide(self.task, seed=self.seed, data=self.data)
        whole = math.ceil(self.epochs * self.division.all_rows / self.batch.global_size)
        self.num_steps = self.steps or whole
        self.best_step = 0
        self.probe: Probe | None = None
        if self.tuning.encoder == "cached":
            self.num_steps = 0
        self._spare: MaskedLM | None = None  # loaded to see how long sequences may be

    def criterion(self) -> tuple[str, Literal["min", "max"]]:
        """The task's declared metric, or what `tuning.select` names; the loss if that is `last`."""
        select = self.tuning.select
        if select in ("loss", "last"):
            return "val_loss", "min"
        return f"val_{self.task.declared if select == 'metric' else select}", "max"

    def callbacks(self) -> list[Callback]:
        """Those of the config, and early stopping if it is asked for."""
        early = []
        if self.tuning.patience is not None:
            early = [EarlyStop(self.run.metrics, *self.criterion(), self.tuning.patience)]
        return [*super().callbacks(), *early]

    def prepare(self) -> SequenceData:
        """The sequences, checked against the tokenizer and what the encoder takes.

        Raises:
            ConfigError: CFG-18, pieces are longer than the encoder takes, there is no first token, or a
                strand would be turned whose labels do not turn.
            CheckpointError: the model cannot be read, or the tokenizer is another model's.
            DataError: a sequence is too short or too long.
        """
        self._check_fit()
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
        layer, last = self.tuning.layer, self._spare.encoder.depth
        if isinstance(layer, int) and layer > last:
            found = f"{layer}, of an encoder of {last} layers"
            raise _misfit("tuning.layer", found, f"0 (the embeddings) to {last}, last or best")
        if data.first_tokens and tokenizer.special.start is None:
            raise _misfit(
                "tuning.pooling", "cls, and the tokenizer puts no token first", "mean, max or attention"
            )
        data.check_lengths()
        return data

    def train(self) -> None:
        """As `Run.train`; a probe is solved, in this process.

        Raises:
            ConfigError: CKPT-10, the folder holds the result of another probe.
        """
        if self.tuning.encoder != "cached":
            super().train()
            return
        quiet_frameworks()
        self._claim()
        data = self.prepare()
        self.module = self.build(data)
        with RunLock(self.run.path) as lock, self.run.undone_if_refused(lock):
            self._claim()
            contract = self.contract(data)
            done = self.run.read_summary() if not self.run.replace else None
            if done is not None:
                saved = done.get("contract")
                saved = saved if isinstance(saved, dict) else {}
                check_contract(saved, contract, self.resume_allow, where=str(self.run.path))
                stdout.print(f"run {self.run.path} is complete; start it anew by run.replace=true")
                return
            self.run.create(self.config)
            stdout.print(f"computing on {self.trainer.place}")
            self.introduce(data, self.module)
            with self._logging() as logger:
                self.probe = self._probe(data, self.module)
                self.losses = LossHistory().summary()
                weights = self.module.model.state_dict()
                self.write_model(data, self.module, weights=weights, heads={}, steps=0)
                self.finish(data, self.module)
                if logger is not None:
                    logger.log_results(self.run.read_summary() or {}, [], 0)

    def _probe(self, data: SequenceData, module: FinetuneModule) -> Probe:
        """Solve the probe, put it into the network, and judge the validation and test rows by it."""
        network, tuning, device = module.model, self.tuning, self.trainer.device
        last = network.encoder.depth
        layers = {"best": [*range(last + 1)], "last": [last]}.get(str(tuning.layer), [tuning.layer])
        vectors = {
            part: find_or_embed(network, data, part, layers=layers, cache=self.task.cache, device=device)
            for part in self.division.parts
        }
        averaged = 2 if self.sequences.average_strands else 1
        weights_O = module.weights_O.double() if len(module.weights_O) else None
        labels, declared = torch.from_numpy(self.division.train.labels), self.task.declared

        def judged(outputs_RO: Tensor) -> tuple[float, float]:
            verdict = module.judged("val", outputs_RO)
            return verdict.loss, verdict.figures[declared]

        probe = choose_probe(
            network.head,
            vectors,
            module.as_learned(labels.double() if labels.is_floating_point() else labels),
            Judge(loss=partial(mean_loss, module.kind, weights_O=weights_O), judged=judged, metric=declared),
            inverse_penalties=tuning.inverse_penalties,
            select="metric" if tuning.select == "metric" else "loss",
            strands={"train": 2 if self.sequences.reverse_complement else 1, "val": averaged},
            seed=self.seed,
            device=device,
        )
        network.head = as_head(probe, network.head, last)
        for part in ("val", "test"):
            rows = np.array(vectors[part][probe.chosen.layer][:, :averaged], dtype=np.float64)
            module.verdicts[part] = module.judged(part, outputs_of(probe.head, torch.from_numpy(rows)))
        return probe

    def build(self, data: SequenceData) -> FinetuneModule:
        """The network with its head."""
        backbone, self._spare = self._spare or self._backbone(data.tokenizer), None
        seed_everything(self.seed, verbose=False)
        network = self.tuning.network(backbone, num_outputs=self.division.num_classes)
        trainer = self.fit_memory(network.encoder, partial(self._largest_pack, data))
        data.batch = self.batch
        if network.frozen:  # keeps no activations
            trainer, self.capacity = self.trainer, None
        is_probe = self.tuning.encoder == "cached"
        plan = StepPlan(
            optimizer=self.optim,
            schedule=(lambda _: 1.0) if is_probe else self.schedule(total_steps=self.num_steps),
            seed=self.seed,
            global_batch=self.batch.global_size,
            stop_flags=self.stop_flags,
            parallel=trainer.parallel,
            exact=trainer.strategy == "exact",
        )
        balanced = self.tuning.class_weights == "balanced"
        return FinetuneModule(network, self.task, self.division, plan, balanced=balanced)

    def _largest_pack(self, data: SequenceData, num_sequences: int) -> PackSize:
        """Of sequences like the one of most bases that trains, all of whose hidden states are pooled.

        A BPE may make a few tokens more of a shorter one.
        """
        longest = int(np.argmax(self.division.train.lengths))
        reader = data.reader("train")
        lengths = reader.read(longest, reverse=False, index=0).pieces.lengths.tolist()
        return PackSize.of(lengths * num_sequences, predicted=None)

    def contract(self, data: SequenceData) -> Contract:
        """What must not change: the rows, how they are read, and what of the model trains."""
        contract: Contract = {"seed": self.seed, "batch.global_size": self.batch.global_size}
        contract["tokenizer"] = data.tokenizer.fingerprint
        for part, rows in self.division.parts.items():
            contract[f"task.{part}"] = rows.fingerprint
        for setting in dataclasses.fields(self.sequences):
            contract[f"sequences.{setting.name}"] = getattr(self.sequences, setting.name)
        for name in ("encoder", "pooling", "dense", "dropout", "class_weights"):
            contract[f"tuning.{name}"] = getattr(self.tuning, name)
        if self.tuning.encoder == "cached":  # has no checkpoint whose weights would say the rest
            contract["model"] = weights_checksum(self.module.model.encoder)
            for name in ("layer", "inverse_penalties", "select"):
                contract[f"tuning.{name}"] = str(getattr(self.tuning, name))
        return contract

    def select_weights(self, data: SequenceData, module: FinetuneModule) -> None:
        """Load the best checkpoint's weights, merge adapters, and judge the validation and test rows."""
        path = ""
        if self.tuning.select != "last":
            path = done_by_first(
                lambda: str(best.path) if (best := self.checkpoints.best()) else "",
                first=self.ranks.first,
                group=patient_group(),
            )
        if path:
            read_state(Path(path), module, self.fitter.optimizers[0])
        if self.tuning.adapter is not None:
            merge(module.model)
        self.best_step = int(Path(path).name.rpartition("-")[2]) if path else self.fitter.global_step
        self.fitter.test(module, datamodule=data, verbose=False)

    def write_model(
        self,
        data: SequenceData,
        module: FinetuneModule,
        *,
        weights: Mapping[str, Tensor] | None,
        heads: Mapping[str, Mapping[str, Tensor]],  # noqa: ARG002 -- the head is part of the network
        steps: int,
    ) -> None:
        """Write the model directory: the encoder's, with the head beside it."""
        described = DescribedHead(
            task=data.task.title,
            kind=data.task.kind,
            classes=_names_of_outputs(data.task, self.division.num_classes),
            limit=data.limit,
            length_bp=int(np.median(data.division.train.lengths)),
            center=module.center,
            scale=module.scale,
            shape=module.model.head.shape,
            long=self.sequences.long,
            average_strands=self.sequences.average_strands,
        )

        def below(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(prefix): w for n, w in (weights or {}).items() if n.startswith(prefix)}

        head = below("head.")
        write_model_directory(
            self.run.model,
            model=module.model.backbone,
            weights=below("backbone.") if weights is not None else None,
            tokenizer=data.tokenizer,
            config=self.config,
            data_fingerprint=data.fingerprint,
            precision=self.trainer.arithmetic,
            steps=steps,
            window_tokens=data.longest_piece,
            heads={"task": head} if head else None,
            began=self._initialisation(),
            described={"head": dataclasses.asdict(described)},
            task_head=make_task_head(described, head, data.tokenizer) if head else None,
        )

    def _initialisation(self) -> Initialisation | None:
        """How encoder and head began; None where nothing says it of the encoder."""
        if not isinstance(self.model, Pretrained):
            return Initialisation(seed=self.seed, head_seed=self.seed)
        began = self.model.initialisation()
        return began and dataclasses.replace(began, head_seed=self.seed)

    @property
    def steps_done(self) -> int:
        """Optimizer steps that were taken."""
        return 0 if self.tuning.encoder == "cached" else self.fitter.global_step

    def _check_fit(self) -> None:
        """Refuse settings that the kind of task does not allow."""
        if isinstance(self.task, NextKmer) and (
            self.sequences.reverse_complement or self.sequences.average_strands
        ):
            raise _misfit(
                "sequences.reverse_complement, sequences.average_strands",
                "both strands, and on the other one the next bases come first",
                "false, for next-k-mer prediction",
            )
        if (select := self.tuning.select) not in ("metric", "loss", "last", *self.task.metrics):
            found = f"{select}, a figure that a {self.task.kind} task does not have"
            raise _misfit("tuning.select", found, f"metric, loss, last, {', '.join(self.task.metrics)}")
        if self.task.kind != "segmentation":
            return
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
            network = self.model.load(token_bases=tokenizer.token_bases, needs_head=False)
            fit_vocabulary(network, tokenizer.vocab_size, where=self.model.source)
            return network
        special = tokenizer.special
        encoder = self.model(
            vocab_size=tokenizer.vocab_size, padding_id=special.padding, mask_id=special.mask
        )
        return MaskedLM(encoder)

    def _limit(self, encoder: Encoder, tokenizer: Tokenizer) -> int | None:
        """Tokens of a piece at most, special ones not counted; None for any."""
        longest, asked = encoder.longest_sequence, self.sequences.max_tokens
        if longest is None:
            return asked
        fits = longest - tokenizer.special.num_wrapping
        if asked is not None and asked > fits:
            raise _misfit("sequences.max_tokens", f"{asked}", f"at most {fits}, which the encoder takes")
        return asked or fits


def _names_of_outputs(task: AnyTask, number: int) -> list[str]:
    """The labels of a multi-label task by name; the texts of classes, where they have any."""
    return list(label_names(task.label_columns, number) if task.kind == "multilabel" else task.classes)


def _misfit(where: str, found: str, expected: str) -> ConfigError:
    return ConfigError(
        "CFG-18", where=where, found=found, expected=expected, fix="set it so, or choose another model"
    )
