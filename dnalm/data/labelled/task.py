"""A supervised task: where its labelled sequences are, what their labels mean, and how answers are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, NonNegativeInt

from dnalm.genome.clade import Clade, find_or_simulate
from dnalm.limits import Classes, Folds, WindowBases
from dnalm.paths import CachePath, InputName

TaskKind = Literal["binary", "multiclass", "multilabel", "regression", "segmentation"]
MetricName = Literal[
    "mcc", "f1_macro", "accuracy", "auroc", "auprc", "spearman", "pearson", "r2"
]  # fmt: skip
Part = Literal["train", "val", "test"]


def _as_text(value: object) -> object:
    """Numbers as the texts that they are in a table, so that `task.classes=[1,2]` needs no quotes."""
    return str(value) if isinstance(value, int) else value


ClassName = Annotated[str, BeforeValidator(_as_text)]

METRICS: dict[
    TaskKind, tuple[MetricName, ...]
] = {  # of each the first is the one that is declared by default
    "binary": ("mcc", "f1_macro", "accuracy", "auroc", "auprc"),
    "multiclass": ("mcc", "f1_macro", "accuracy", "auroc", "auprc"),
    "multilabel": ("auroc", "auprc", "f1_macro", "accuracy"),
    "regression": ("spearman", "pearson", "r2"),
    "segmentation": ("mcc", "f1_macro", "accuracy", "auroc", "auprc"),  # over bases, as of classes
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is asked of a model.

    Args:
        train: a table (CSV, TSV, JSON, Parquet, Arrow, FASTA with labels in its headers), a folder of
            `save_to_disk`, or `owner/name` of the Hugging Face hub; `:split` may follow the last two. What is
            there on disk comes before the hub.
        val: the table that chooses a checkpoint; a tenth of `train` if absent.
        test: the table that judges; the validation table if absent.
        name: what the task is called; if absent the folder of `train`, or the task of the clade.
        kind: what a label is; of `segmentation` a text of one letter a base, each a class.
        sequence: the column of sequences.
        label: the column of labels; of a multi-label task the columns, of 0 and 1 each, or one column of
            lists.
        id: the column of names, which no two rows share; rows are numbered if absent.
        classes: the texts that labels are spelt with, in their order; numbers from 0 if absent.
        num_classes: how many classes there are, where the training table does not show it.
        delimiter: what separates columns, one character, or backslash and t; found by the header if absent.
        length_bp: bases that every sequence has; any number if absent.
        metric: by which models are compared.
        folds: parts that `train` is cut into for cross-validation; 0 for none. The next fold chooses the
            checkpoint; where there is a test table, that judges and the fold chooses.
        fold: the one that judges, from 0.
        clade: the simulated clade that has the tables.
        clade_task: which of its tasks.
        cache: folder of the simulated clade and of embeddings; the user's cache if absent.
    """

    train: InputName | None = None
    val: InputName | None = None
    test: InputName | None = None
    name: str | None = None
    kind: TaskKind = "binary"
    sequence: str = "sequence"
    label: str | tuple[str, ...] = "label"
    id: str | None = None
    classes: tuple[ClassName, ...] = ()
    num_classes: Classes | None = None
    delimiter: str | None = None
    length_bp: WindowBases | None = None
    metric: MetricName | None = None
    folds: Folds = 0
    fold: NonNegativeInt = 0
    clade: Clade | None = None
    clade_task: Literal["promoter", "enhancer", "splice"] = "promoter"
    cache: CachePath | None = None

    def __post_init__(self) -> None:
        if self.metric is not None and self.metric not in METRICS[self.kind]:
            raise ValueError(
                f"metric is {self.metric}; a {self.kind} task has {', '.join(METRICS[self.kind])}"
            )
        if self.kind != "multilabel" and not isinstance(self.label, str):
            raise ValueError(
                f"label is {list(self.label)}; a {self.kind} task has one column of labels, "
                "kind=multilabel several"
            )
        if self.delimiter is not None and len(self.delimiter.replace("\\t", "\t")) != 1:
            raise ValueError(f"delimiter is {self.delimiter!r}; it is one character, such as ';' or '\\t'")
        if self.folds == 1 or (self.folds and self.fold >= self.folds):
            raise ValueError(
                f"fold is {self.fold} of {self.folds}; folds are at least 2, and numbered from 0"
            )
        if self.folds and self.val:
            raise ValueError("val is given beside folds; a fold of the training table judges")
        if (self.train is None) == (self.clade is None):
            raise ValueError("train is not given; name a table: task.train=<file>")

    @property
    def metrics(self) -> tuple[MetricName, ...]:
        """What answers are judged by."""
        return METRICS[self.kind]

    @property
    def declared(self) -> MetricName:
        """The metric by which models are compared."""
        return self.metric or METRICS[self.kind][0]

    @property
    def title(self) -> str:
        """What the task is called."""
        if self.name:
            return self.name
        if self.train is None:
            return self.clade_task
        return Path(self.train).resolve().parent.name if Path(self.train).is_file() else self.train

    @property
    def label_columns(self) -> Sequence[str]:
        """The columns of labels."""
        return (self.label,) if isinstance(self.label, str) else self.label

    def sources(self) -> dict[Part, str]:
        """The tables that are there, by part; those of a clade are simulated on first use."""
        if self.clade is not None:
            folder = find_or_simulate(self.clade, self.cache) / "tasks" / self.clade_task
            return {"train": f"{folder}/train.csv", "val": f"{folder}/dev.csv", "test": f"{folder}/test.csv"}
        given: dict[Part, str | None] = {"train": self.train, "val": self.val, "test": self.test}
        return {part: source for part, source in given.items() if source is not None}


def label_names(columns: Sequence[str], number: int) -> Sequence[str]:
    """Names of the labels of a row: their columns, or the places in the one column that lists them."""
    return columns if len(columns) == number else [f"{columns[0]}_{n}" for n in range(number)]
