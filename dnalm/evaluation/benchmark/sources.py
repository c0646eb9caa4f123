"""Where the files of a benchmark are: in a local folder laid out as published, or on the hub at a commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dnalm.errors import DataError
from dnalm.evaluation.benchmark.task_list import ListedTask

_SHOWN = 12  # missing files that are named


@dataclass(frozen=True)
class Source:
    """Where to look.

    Args:
        benchmark: its name.
        root: a local folder.
        repository: a dataset on the hub, asked where there is no root.
        revision: its commit.
    """

    benchmark: str
    root: Path | None
    repository: str | None
    revision: str | None

    def find(self, tasks: Sequence[ListedTask], splits: Sequence[str]) -> Mapping[tuple[str, str], Path]:
        """The file of each task and split.

        Raises:
            DataError: BENCH-04, some are missing; all of them are named, and where they belong.
        """
        found, missing = dict[tuple[str, str], Path](), dict[str, list[str]]()
        for task in tasks:
            for split in splits:
                path = self._local(task, split) if self.root else self._fetched(task, split)
                if path is None:
                    missing.setdefault(task.name, []).append(task.path.format(split=split))
                else:
                    found[task.name, split] = path
        if missing:
            raise self._missing(missing, [task.name for task in tasks if task.name not in missing])
        return found

    def _local(self, task: ListedTask, split: str) -> Path | None:
        assert self.root is not None, "asked only where there is one"
        plain = self.root / task.path.format(split=split)
        return next((path for path in (plain, plain.with_name(f"{plain.name}.gz")) if path.is_file()), None)

    def _fetched(self, task: ListedTask, split: str) -> Path | None:
        """The file from the hub, or from the hub's cache; None where it cannot be had."""
        if self.repository is None or not task.hub_path:
            return None
        from huggingface_hub import hf_hub_download

        name = task.hub_path.format(split=split)
        try:
            return Path(hf_hub_download(self.repository, name, repo_type="dataset", revision=self.revision))
        except (OSError, ValueError):
            return None

    def _missing(self, missing: Mapping[str, Sequence[str]], complete: Sequence[str]) -> DataError:
        files = [file for names in missing.values() for file in names]
        named = ", ".join(files[:_SHOWN]) + (
            f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
        )
        root = self.root or "<folder>"
        fix = f"put them below {root}"
        if self.root is None:
            fix = f"put them below a folder and give benchmark.root={root}"
            if self.repository is not None:
                fix += f"; they are published at https://huggingface.co/datasets/{self.repository}"
                fix += f"/tree/{self.revision}"
        if complete:
            fix += f"; or run what is there: tasks=[{','.join(complete)}]"
        return DataError(
            "BENCH-04",
            where=f"{self.benchmark}: {self.root or self.repository or 'benchmark.root'}",
            found=f"{len(files)} files of {len(missing)} tasks are missing: {named}",
            expected="every file of the chosen tasks, plain or with .gz",
            fix=fix,
        )
