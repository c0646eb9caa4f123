"""A benchmark: its list of tasks, where their files are, and the tables that every model reads.

A list is a TSV in `conf/benchmark/` with the columns `task`; `path` below `benchmark.root`, `hub_path` below
the hub repository (both with `{split}` for the split's name); `sha256` of the rows of all splits where it is
known; `labels`, how many; `length` of the longest sequence in bases; `metric`; `recipe`. Lines that begin
with `#` say where the numbers are from.

Files are in a local folder laid out as published, or on the hub at a commit. Whatever the published form,
every task is written once into the cache as `train.csv`, `val.csv` and `test.csv` with columns sequence and
label, labels as numbers from 0. So every model reads the same rows, and a task is known by the checksum of
what it holds.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import cast

import numpy as np
import platformdirs

from dnalm.console import stderr
from dnalm.data.labelled import METRICS, LabelledTable, MetricName, Part, TablePart, Task, TaskKind
from dnalm.data.labelled.rows import read_rows
from dnalm.data.labelled.table import fold_numbers, read_table, whole
from dnalm.durable import write_text
from dnalm.errors import ConfigError, DataError, DnalmError
from dnalm.genome.alphabet import to_text
from dnalm.genome.atomic_folder import locked
from dnalm.models import Pretrained
from dnalm.models.families import BERT, DNABERT2, NT_V1, NT_V2
from dnalm.models.pretrained import described_family
from dnalm.paths import UNTRAINED, CachePath, InputPath, config_folder, split_twin
from dnalm.simulation.settings import Clade
from dnalm.simulation.simulate import find_or_simulate
from dnalm.tables import replace_text
from dnalm.tokenizers import load_tokenizer

CLASSICAL = ("kmer_logistic", "cnn")  # models without a directory and without pretraining
WITHOUT_CHANCE = ("kmer_logistic",)  # models whose training draws nothing: one seed says all of it
ANY_FAMILY = "*"  # of models whose family has no recipe of its own
OURS = "ours"  # the recipe that nobody published
PARTS: tuple[Part, ...] = ("train", "val", "test")
_TENTH = 10
_SEED = 1  # of the tenths that stand in for splits that are not published
_SHOWN = 12  # missing files that are named


@dataclass(frozen=True, kw_only=True)
class ListedTask:
    """One row of a list.

    Args:
        name: of the task.
        path: of its files below a local root.
        hub_path: of its files below the hub repository; empty where none is pinned.
        sha256: of its rows; empty if unknown.
        labels: number of classes.
        length: of the longest sequence, in bases.
        metric: what it is judged by.
        recipe: how it is fine-tuned.
    """

    name: str
    path: str
    hub_path: str
    sha256: str
    labels: int
    length: int
    metric: MetricName
    recipe: str

    @property
    def kind(self) -> TaskKind:
        """What a label is."""
        return "binary" if self.labels == 2 else "multiclass"


def read_tasks(path: Path) -> list[ListedTask]:
    """Read a list.

    Args:
        path: the TSV; a relative one starts at `conf/benchmark/`.

    Raises:
        ConfigError: BENCH-01, it is not there, or a row is not as the columns want it.
    """
    recipes = read_recipes()
    columns = ["task", *[field.name for field in fields(ListedTask)][1:]]
    tasks = []
    for where, row in read_list(path, columns):
        if row["metric"] not in METRICS["multiclass"]:
            raise list_error(where, f"metric {row['metric']!r}", f"one of {', '.join(METRICS['multiclass'])}")
        if row["recipe"] not in recipes:
            raise list_error(where, f"recipe {row['recipe']!r}", f"one of {', '.join(recipes)}")
        if "{split}" not in row["path"]:
            raise list_error(where, f"path {row['path']!r}", "a path with {split} in it")
        for key in ("labels", "length"):
            if not row[key].isdecimal():
                raise list_error(where, f"{key} {row[key]!r}", "a whole number")
        labels, length, metric = int(row.pop("labels")), int(row.pop("length")), row.pop("metric")
        tasks.append(
            ListedTask(
                name=row.pop("task"),
                labels=labels,
                length=length,
                metric=cast("MetricName", metric),
                **row,
            )
        )
    times = Counter(task.name for task in tasks)
    if twice := sorted(name for name, count in times.items() if count > 1):
        raise list_error(str(path), f"{', '.join(twice)} twice", "each task once")
    return tasks


@dataclass(frozen=True)
class Recipe:
    """How models of a family are fine-tuned on some tasks.

    Attributes:
        name: whose it is, such as `nt_paper`, or `OURS`.
        words: of `dnalm finetune`.
    """

    name: str
    words: tuple[str, ...]


def read_recipes() -> dict[str, dict[str, tuple[Recipe, ...]]]:
    """Recipes by the name that lists of tasks give, then by family, from `conf/benchmark/recipes.tsv`.

    The first one of a family is its own. Every name has `OURS`, for `ANY_FAMILY`.

    Raises:
        ConfigError: BENCH-01, a family has a recipe twice, or there is none for any.
    """
    recipes: dict[str, dict[str, tuple[Recipe, ...]]] = {}
    for where, row in read_list(Path("recipes.tsv"), ["name", "recipe", "families", "words"]):
        of_family, recipe = recipes.setdefault(row["name"], {}), row["recipe"]
        for family in row["families"].split():
            if (family == ANY_FAMILY) != (recipe == OURS):
                raise list_error(
                    where, f"{recipe} for {family}", f"{OURS} for {ANY_FAMILY}, others for families"
                )
            if any(recipe == each.name for each in of_family.get(family, ())):
                raise list_error(where, f"{recipe} of {row['name']} for {family} twice", "one row for it")
            found = Recipe(recipe, tuple(row["words"].split()))
            of_family[family] = (*of_family.get(family, ()), found)
    for name, of_family in recipes.items():
        if ANY_FAMILY not in of_family:
            raise list_error(
                "recipes.tsv", f"{name} for {', '.join(of_family)}", f"a row for {ANY_FAMILY} too"
            )
    return recipes


def choose_recipe(task: ListedTask, family: str, asked: str | None) -> Recipe:
    """The recipe that is asked for where there is one of that name for the family, else the family's own."""
    of_family = read_recipes()[task.recipe]
    known = [*of_family.get(family, ()), *of_family[ANY_FAMILY]]
    return next((recipe for recipe in known if recipe.name == asked), known[0])


def check_recipe(asked: str | None, tasks: Sequence[ListedTask]) -> None:
    """Refuse a recipe that no family has on any of the tasks.

    Raises:
        ConfigError: BENCH-11.
    """
    recipes = read_recipes()
    of_tasks = [recipe for task in tasks for some in recipes[task.recipe].values() for recipe in some]
    names = list(dict.fromkeys(recipe.name for recipe in of_tasks))
    if asked is not None and asked not in names:
        raise ConfigError(
            "BENCH-11",
            where="recipe",
            found=f"{asked}, which no family has on these tasks",
            expected=f"one of {', '.join(names)}",
            fix="choose one of them, or leave it out: each model has the recipe of its own family",
        )


def weights_checksum(model: str) -> str:
    """Sha256 of a pretrained model's weights, or of what a twin's follow from; empty where there are none."""
    if not _is_pretrained(model):
        return ""
    try:
        return Pretrained(source=model).checksum()
    except (DnalmError, OSError):
        return ""


def recipe_family(model: str) -> str:
    """The family whose published recipes a model is fine-tuned by: `dnabert`, `dnabert2`, `nt`, or any.

    DNABERT and GROVER share BERT's layers; overlapping k-mers mark DNABERT.
    """
    if not _is_pretrained(model):
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


def check_models(models: Sequence[str]) -> None:
    """Refuse twins of what has no pretraining.

    Raises:
        ConfigError: BENCH-03.
    """
    for name, is_twin in map(split_twin, models):
        if is_twin and not _is_pretrained(name):
            raise ConfigError(
                "BENCH-03",
                where="models",
                found=f"{name}{UNTRAINED}",
                expected="the twin of a run, a model directory or owner/name on the hub",
                fix=f"leave it out: {name} has no pretraining that it could lack",
            )


def check_names(names: Sequence[str], known: Sequence[str], *, kind: str, benchmark: str) -> None:
    """Refuse what a benchmark does not list.

    Raises:
        ConfigError: BENCH-02.
    """
    for name in names:
        if name not in known:
            raise ConfigError(
                "BENCH-02",
                where="tasks",
                found=f"no {kind} {name!r} in {benchmark}",
                expected=f"some of {', '.join(known)}",
                fix="choose among those",
            )


def _is_pretrained(model: str) -> bool:
    """Whether it names a run, a directory or a model of the hub, and no architecture of `conf/model`."""
    return model not in CLASSICAL and not (config_folder() / "model" / f"{model}.yaml").is_file()


def read_list(path: Path, columns: list[str]) -> list[tuple[str, dict[str, str]]]:
    """Where each row stands, and its cells by column."""
    file = config_folder() / "benchmark" / path
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise list_error(str(file), f"it cannot be read: {error.strerror}", "a list of tasks") from error
    kept = [(number, line) for number, line in enumerate(lines, 1) if line and not line.startswith("#")]
    header, *rows = csv.reader((line for _, line in kept), delimiter="\t") if kept else [[]]
    if header != columns:
        raise list_error(str(file), f"columns {', '.join(header) or 'none'}", f"columns {', '.join(columns)}")
    cells = []
    for (number, _), row in zip(kept[1:], rows, strict=True):
        if len(row) != len(columns):
            raise list_error(f"{file}:{number}", f"{len(row)} fields", f"{len(columns)}")
        cells.append((f"{file}:{number}", dict(zip(columns, row, strict=True))))
    return cells


def list_error(where: str, found: str, expected: str) -> ConfigError:
    """BENCH-01: what is wrong with a list."""
    return ConfigError(
        "BENCH-01", where=where, found=found, expected=expected, fix="correct the list of tasks"
    )


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a table."""

    sequence: str = "sequence"
    label: str = "label"


@dataclass(frozen=True, kw_only=True)
class PreparedTask:
    """A task that can be run.

    Attributes:
        task: its row of the list.
        folder: of its three tables.
        sha256: of the published rows.
        classes: labels as published, by number.
    """

    task: ListedTask
    folder: Path
    sha256: str
    classes: tuple[str, ...]

    def file(self, part: Part) -> Path:
        """The table of a part."""
        return self.folder / f"{part}.csv"

    @property
    def whole(self) -> Path:
        """The table that is cut into folds: training and validation rows, once `join` has written it."""
        return self.folder / "train_val.csv"

    def join(self) -> None:
        """Write the table of training and validation rows, if it is not there."""
        if not self.whole.is_file():
            train, val = (self.file(part).read_text().splitlines(keepends=True) for part in PARTS[:2])
            replace_text(self.whole, "".join([*train, *val[1:]]))

    def read(self, part: Part) -> LabelledTable:
        """The rows of a part."""
        task = Task(train=str(self.file("train")), kind=self.task.kind)
        return read_table(task, part, source=str(self.file(part)), num_classes=len(self.classes))


class Benchmark:
    """A published benchmark.

    Args:
        name: of the benchmark.
        tasks: its list, a TSV in `conf/benchmark/`.
        splits: what the published files call the training, validation and test set; where only two are
            named, a tenth of the training set validates, and where one is, a tenth tests too.
        columns: of the published tables.
        root: a local folder laid out as published.
        repository: a dataset on the Hugging Face hub.
        revision: its commit.
        clade: a simulated clade, whose tasks are the root.
        published: tables of published results, in `conf/benchmark/published/`.
        cache: where prepared tasks go; the user's cache if absent.
    """

    def __init__(
        self,
        *,
        name: str,
        tasks: Path,
        splits: tuple[str, ...] = ("train", "dev", "test"),
        columns: Columns = Columns(),
        root: InputPath | None = None,
        repository: str | None = None,
        revision: str | None = None,
        clade: Clade | None = None,
        published: tuple[str, ...] = (),
        cache: CachePath | None = None,
    ) -> None:
        if not 1 <= len(splits) <= len(PARTS):
            raise ValueError(f"splits has {len(splits)} names; one, two or three are read")
        self.name, self.tasks = name, read_tasks(tasks)
        self.columns, self.splits, self.published = columns, splits, published
        self._root, self._clade, self._repository, self._revision = root, clade, repository, revision
        self._cache = (cache or platformdirs.user_cache_path("dnalm")).absolute()
        self._folder = self._cache / "benchmarks" / name

    def choose(self, names: Sequence[str] | None) -> list[ListedTask]:
        """The tasks of these names, all if none are given, in the order of the list.

        Raises:
            ConfigError: BENCH-02, there is no such task.
        """
        check_names(names or (), [task.name for task in self.tasks], kind="task", benchmark=self.name)
        return [task for task in self.tasks if names is None or task.name in names]

    def prepare(self, tasks: Sequence[ListedTask]) -> list[PreparedTask]:
        """Read the tasks and write their tables into the cache.

        Raises:
            DataError: BENCH-04 to 06, CSV-01 to 12: files are missing, hold something else than was
                published, or cannot be read.
        """
        root = self._root
        if self._clade is not None and root is None:
            root = find_or_simulate(self._clade, self._cache) / "tasks"
        files = self._find(tasks, root)
        prepared = [self._prepared(task, files[task.name]) for task in tasks]
        if root is None:
            self._pin([each for each in prepared if not each.task.sha256])
        return prepared

    def _find(self, tasks: Sequence[ListedTask], root: Path | None) -> dict[str, list[Path]]:
        """The files of each task, below a folder or from the hub; the error names all that are missing."""
        found: dict[str, list[Path]] = {}
        missing: dict[str, list[str]] = {}
        is_online = True
        for task in tasks:
            for split in self.splits:
                name = task.path.format(split=split)
                if root is not None:
                    plain = root / name
                    both = (plain, plain.with_name(f"{plain.name}.gz"))
                    path = next((path for path in both if path.is_file()), None)
                else:
                    path = self._download(task, split, is_online=is_online)
                    is_online = is_online and (path is not None or not task.hub_path)
                if path is None:
                    missing.setdefault(task.name, []).append(name)
                else:
                    found.setdefault(task.name, []).append(path)
        if missing:
            raise self._missing(root, missing, [task.name for task in tasks if task.name not in missing])
        return found

    def _download(self, task: ListedTask, split: str, *, is_online: bool) -> Path | None:
        """A file of the hub, or of its cache if that cannot be reached; None where it is not there."""
        if self._repository is None or not task.hub_path:
            return None
        from huggingface_hub import hf_hub_download

        try:
            return Path(
                hf_hub_download(
                    self._repository,
                    task.hub_path.format(split=split),
                    repo_type="dataset",
                    revision=self._revision,
                    local_files_only=not is_online,
                )
            )
        except (OSError, ValueError):
            return None

    def _missing(
        self, root: Path | None, missing: Mapping[str, Sequence[str]], complete: Sequence[str]
    ) -> DataError:
        files = [file for names in missing.values() for file in names]
        named = ", ".join(files[:_SHOWN]) + (
            f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
        )
        fix = f"put them below {root}" if root else "put them below a folder and give benchmark.root=<folder>"
        if root is None and self._repository is not None:
            address = f"https://huggingface.co/datasets/{self._repository}/tree/{self._revision}"
            fix += f"; they are published at {address}"
        if complete:
            fix += f"; or run what is there: tasks=[{','.join(complete)}]"
        return DataError(
            "BENCH-04",
            where=f"{self.name}: {root or self._repository or 'benchmark.root'}",
            found=f"{len(files)} files of {len(missing)} tasks are missing: {named}",
            expected="every file of the chosen tasks, plain or with .gz",
            fix=fix,
        )

    def _prepared(self, task: ListedTask, files: Sequence[Path]) -> PreparedTask:
        """Read the published tables of a task, the training set first, and write ours where they are not."""
        classes, tables = _read_published(task, files, self.columns)
        digest = hashlib.sha256()  # of what the splits hold, whatever their format
        for split, table in zip(self.splits, tables, strict=True):
            rows = (f"{sequence}\t{classes[label]}\n" for sequence, label in _rows(whole(table)))
            digest.update("".join([f"{split}\n", *rows]).encode())
        sha256 = digest.hexdigest()
        if task.sha256 and sha256 != task.sha256:
            raise DataError(
                "BENCH-05",
                where=str(files[0].parent),
                found=f"rows of {task.name} with sha256 {sha256}",
                expected=f"{task.sha256}, as {self.name} was published",
                fix="put the published files there, or use a list of your own whose sha256 is empty",
            )
        folder = self._folder / f"{task.name.replace('/', '_')}-{sha256[:12]}"
        with locked(folder):
            for part, rows_of_part in zip(PARTS, _divided(tables), strict=True):
                path = folder / f"{part}.csv"
                if not path.is_file():
                    folder.mkdir(parents=True, exist_ok=True)
                    lines = [f"{sequence},{label}\n" for sequence, label in _rows(rows_of_part)]
                    replace_text(path, "".join(["sequence,label\n", *lines]))
        return PreparedTask(task=task, folder=folder, sha256=sha256, classes=classes)

    def _pin(self, downloaded: Sequence[PreparedTask]) -> None:
        """Remember the rows of a first download without a published checksum; hold later ones to them."""
        new = []
        for each in downloaded:
            pin = self._folder / f"{each.task.name.replace('/', '_')}.sha256"
            if not pin.is_file():
                write_text(pin, f"{each.sha256}\n")
                new.append(each.task.name)
            elif (known := pin.read_text().strip()) != each.sha256:
                raise DataError(
                    "BENCH-05",
                    where=f"{self.name}: {each.task.name}",
                    found=f"rows with sha256 {each.sha256}",
                    expected=f"{known}, as first downloaded",
                    fix=f"see which of the two is right; to accept the new one remove {pin}",
                )
        if new:
            stderr.print(
                f"{self.name}: no checksum was published for {', '.join(new)}; their rows are pinned as "
                f"downloaded now, in {self._folder}",
            )


def _read_published(
    task: ListedTask, files: Sequence[Path], columns: Columns
) -> tuple[tuple[str, ...], list[LabelledTable]]:
    """The labels as published, by number, and the tables."""
    labels = (row.values.get(columns.label) for row in read_rows(str(files[0]), part="train"))
    texts = {str(label).strip() for label in labels if label is not None}
    numbered = all(text.isdecimal() for text in texts)
    classes = tuple(sorted(texts, key=lambda text: (int(text) if numbered else 0, text)))
    reads = Task(
        train=str(files[0]),
        kind=task.kind,
        sequence=columns.sequence,
        label=columns.label,
        classes=() if numbered else classes,
    )
    tables = [
        read_table(reads, part, source=str(file), num_classes=task.labels, prefix="benchmark.columns.")
        for part, file in zip(PARTS, files, strict=False)
    ]
    if len(classes) != task.labels:
        raise DataError(
            "BENCH-06",
            where=str(files[0]),
            found=f"{len(classes)} labels: {', '.join(classes[:20])}",
            expected=f"{task.labels} classes of {task.name}, each in the training set",
            fix="put the published files there",
        )
    return classes, tables


def _divided(tables: Sequence[LabelledTable]) -> list[TablePart]:
    """Training, validation and test set; what is not published is taken from the first, class by class."""
    train, *others = [whole(table) for table in tables]
    while len(others) < len(PARTS) - 1:
        folds = fold_numbers(train.labels, folds=_TENTH, seed=_SEED)
        held = TablePart(train.table, train.rows[folds == 0])
        train = TablePart(train.table, train.rows[folds != 0])
        others.insert(0, held)
    return [train, *others]


def _rows(part: TablePart) -> Iterator[tuple[str, int]]:
    for row, label in zip(part.rows, np.asarray(part.labels), strict=True):
        yield to_text(part.table.sequence(int(row))).upper(), int(label)
