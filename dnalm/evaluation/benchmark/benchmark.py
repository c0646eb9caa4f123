"""A benchmark: its tasks, where their files are, and the tables that its runs read.

Whatever the published form, every task is written once into the cache as `train.csv`, `val.csv` and
`test.csv` with columns sequence and label, labels as numbers from 0. So every model reads the same rows, and
a task is known by the checksum of what it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import platformdirs

from dnalm.console import stderr
from dnalm.durable import write_text
from dnalm.errors import ConfigError, DataError
from dnalm.evaluation.benchmark.prepared import Columns, PreparedTask, checksum, leave, read_published
from dnalm.evaluation.benchmark.sources import Source
from dnalm.evaluation.benchmark.task_list import ListedTask, read_tasks
from dnalm.genome.clade import Clade, find_or_simulate
from dnalm.paths import CachePath, InputPath

_MOST_SPLITS = 3


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
        columns: Columns = Columns(),  # noqa: B008 -- it is frozen
        root: InputPath | None = None,
        repository: str | None = None,
        revision: str | None = None,
        clade: Clade | None = None,
        published: tuple[str, ...] = (),
        cache: CachePath | None = None,
    ) -> None:
        if not 1 <= len(splits) <= _MOST_SPLITS:
            raise ValueError(f"splits has {len(splits)} names; one, two or three are read")
        self.name, self.tasks = name, read_tasks(tasks)
        self.columns, self.splits, self.published = columns, splits, published
        self._root, self._clade = root, clade
        self._hub = (repository, revision)
        self._cache = (cache or platformdirs.user_cache_path("dnalm")).absolute()

    def choose(self, names: Sequence[str] | None) -> list[ListedTask]:
        """The tasks of these names, all if none are given, in the order of the list.

        Raises:
            ConfigError: BENCH-02, there is no such task.
        """
        known = [task.name for task in self.tasks]
        for name in names or ():
            if name not in known:
                raise ConfigError(
                    "BENCH-02",
                    where="tasks",
                    found=f"no task {name!r} in {self.name}",
                    expected=f"some of {', '.join(known)}",
                    fix="choose among those",
                )
        return [task for task in self.tasks if names is None or task.name in names]

    def prepare(self, tasks: Sequence[ListedTask]) -> list[PreparedTask]:
        """Read the tasks and leave their tables in the cache.

        Raises:
            DataError: BENCH-04 to 06, CSV-01 to 12: files are missing, hold something else than was
                published, or cannot be read.
        """
        root = self._root
        if self._clade is not None and root is None:
            root = find_or_simulate(self._clade, self._cache) / "tasks"
        files = Source(self.name, root, *self._hub).find(tasks, self.splits)
        prepared = [self._prepared(task, [files[task.name, name] for name in self.splits]) for task in tasks]
        if root is None:
            self._pin([each for each in prepared if not each.task.sha256])
        return prepared

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

    @property
    def _folder(self) -> Path:
        return self._cache / "benchmarks" / self.name

    def _prepared(self, task: ListedTask, files: Sequence[Path]) -> PreparedTask:
        classes, tables = read_published(task, files, self.columns)
        found = checksum(dict(zip(self.splits, tables, strict=True)), classes)
        if task.sha256 and found != task.sha256:
            raise DataError(
                "BENCH-05",
                where=str(files[0].parent),
                found=f"rows of {task.name} with sha256 {found}",
                expected=f"{task.sha256}, as {self.name} was published",
                fix="put the published files there, or use a list of your own whose sha256 is empty",
            )
        folder = self._folder / f"{task.name.replace('/', '_')}-{found[:12]}"
        return leave(folder, task, tables, classes, sha256=found)
