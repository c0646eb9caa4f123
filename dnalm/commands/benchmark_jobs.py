"""The jobs of a benchmark: the one place where the command line of a task, a model and a seed is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dnalm import grants
from dnalm.durable import file_sha256
from dnalm.errors import DnalmError
from dnalm.evaluation.benchmark import ANY_FAMILY, PARTS, PreparedTask, read_recipes
from dnalm.grants import program
from dnalm.models import Pretrained
from dnalm.models.families import BERT, DNABERT2, NT_V1, NT_V2
from dnalm.models.pretrained import described_family
from dnalm.models.weight_files import find_weights
from dnalm.sweeps import Grid, Job, overridden, quoted
from dnalm.sweeps.axes import Axis
from dnalm.sweeps.command_line import what_is_wrong
from dnalm.sweeps.job import job_id
from dnalm.tokenizers import load_tokenizer

CLASSICAL = ("kmer_logistic", "cnn")
UNTRAINED = "random"
_WITHOUT_CHANCE = ("kmer_logistic",)  # one seed says all of it


@dataclass(frozen=True)
class Work:
    """A task, a model and a seed.

    Attributes:
        task: prepared.
        model: as it was given.
        seed: of the job.
        checksum: of the model's weights; empty where it has none.
        family: of the model, as `recipes.tsv` names families.
        words: further words of `dnalm finetune`.
        config_dir: a folder of the user's own configs.
    """

    task: PreparedTask
    model: str
    seed: int
    checksum: str
    family: str
    words: tuple[str, ...]
    config_dir: Path | None = None

    @property
    def command(self) -> str:
        """What runs it."""
        return "baseline" if self.model in CLASSICAL else "finetune"

    @property
    def overrides(self) -> dict[str, str]:
        """What tells it from other jobs of the benchmark."""
        return {"task": self.task.task.name, "model": self.model, "seed": str(self.seed)}

    def line(self) -> list[str]:
        """The words of its command line, without the run directory."""
        listed = self.task.task
        if self.command == "baseline":
            chosen = [f"baseline={self.model}"]
        else:
            of_family = read_recipes()[listed.recipe]
            recipe = of_family.get(self.family, of_family[ANY_FAMILY])
            chosen = [f"model={self.model}", *overridden(recipe, self.words)]
        parts = [f"task.{part}={quoted(str(self.task.file(part)))}" for part in PARTS]
        about = [f"task.name={listed.name}", f"task.kind={listed.kind}", f"task.metric={listed.metric}"]
        return [*chosen, *parts, *about, f"task.num_classes={listed.labels}", f"seed={self.seed}"]

    @property
    def is_pretrained(self) -> bool:
        """Whether the model has learned from DNA before."""
        return self.model not in (*CLASSICAL, UNTRAINED)

    @property
    def recipe(self) -> str:
        """Where the recipe is from: published for the model's family, or ours."""
        named = self.family != ANY_FAMILY and self.family in read_recipes()[self.task.task.recipe]
        return f"published for {self.family}" if named else "ours"

    def job(self, folder: Path) -> Job:
        """As a job of a sweep; another model of the same name is another job."""
        line = self.line()
        name = job_id(self.command, [*line, self.checksum], self.overrides)
        again = ("run.replace=true",) if self.command == "baseline" else ()
        where = f"run.dir={quoted(str(folder / name))}"
        command = (*program(self.command), *line, *again, where, *self._options)
        return Job(name, self.overrides, command)

    def what_is_wrong(self) -> str:
        """The sentence that says what is wrong with its config, or nothing."""
        return what_is_wrong(self.command, self.line(), self.config_dir)

    def made_by(self) -> dict[str, str]:
        """What the job is made of."""
        return {
            "model_sha256": self.checksum,
            "data_sha256": self.task.sha256,
            "recipe": self.recipe,
            "command": " ".join(
                ["dnalm", self.command, *grants.current.words(), *self.line(), *self._options]
            ),
        }

    @property
    def _options(self) -> tuple[str, ...]:
        return ("--config-dir", str(self.config_dir)) if self.config_dir else ()


def all_work(
    tasks: Sequence[PreparedTask],
    models: Sequence[str],
    seeds: int,
    words: tuple[str, ...],
    config_dir: Path | None = None,
) -> list[Work]:
    """Every task with every model and every seed, from 1."""
    known = {model: (weights_checksum(model), recipe_family(model)) for model in models}
    return [
        Work(task, model, seed, *known[model], words, config_dir)
        for task in tasks
        for model in models
        for seed in range(1, (1 if model in _WITHOUT_CHANCE else seeds) + 1)
    ]


def weights_checksum(model: str) -> str:
    """Sha256 of the weights of a pretrained model; empty where there is none, which its job will tell."""
    if model in (*CLASSICAL, UNTRAINED):
        return ""
    try:
        return file_sha256(find_weights(Pretrained(source=model).folder()))
    except (DnalmError, OSError):
        return ""


def recipe_family(model: str) -> str:
    """The family whose published recipes a model is fine-tuned by: `dnabert`, `dnabert2`, `nt`, or any.

    DNABERT and GROVER share BERT's layers; overlapping k-mers tell DNABERT.
    """
    if model in (*CLASSICAL, UNTRAINED):
        return ANY_FAMILY
    try:
        folder = Pretrained(source=model).folder()
        layout = described_family(folder)
        if layout is BERT:
            return "dnabert" if load_tokenizer(folder).overlap > 1 else ANY_FAMILY
    except (DnalmError, OSError):  # the job says what is wrong
        return ANY_FAMILY
    if layout is DNABERT2:
        return "dnabert2"
    return "nt" if layout in (NT_V1, NT_V2) else ANY_FAMILY


class JobList(Grid):
    """A sweep of these jobs, in this order.

    Args:
        overrides: of each.
    """

    def __init__(self, overrides: Iterable[Mapping[str, str]]) -> None:
        self._overrides = list(overrides)

    def known(
        self,
        axes: Sequence[Axis],  # noqa: ARG002 -- the interface of searches
        tried: Sequence[Mapping[str, str]],  # noqa: ARG002
    ) -> list[Mapping[str, str]]:
        """All of them."""
        return self._overrides
