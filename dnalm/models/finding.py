"""Where a model is: the folder that a path, a run or a name on the Hugging Face hub stands for."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from dnalm.errors import CheckpointError
from dnalm.models.weights import WEIGHTS, has_weights
from dnalm.paths import UNTRAINED
from dnalm.small_files import TOKENIZER_FILES, SmallFileError, read_small

_RUNS = Path("runs")  # where runs lie if nothing else is said
_ON_HUB = r"[\w-][\w.-]*/[\w.-]+"  # owner/name
_MOST_SHOWN = 1000  # characters of a path
_STEP = re.compile(r"step-(\d{8,})")


def find_folder(source: str | Path, *, revision: str | None = None) -> Path:
    """The model directory that `source` names: itself, a run's, or where the hub's files lie.

    Args:
        source: a folder, or `owner/name` on the hub if it does not look like a path: it begins with none of
            `.`, `/` and `~`, and there is no folder `owner` here.
        revision: the hub's branch, tag or commit.

    Raises:
        CheckpointError: CKPT-04, there is no such folder, or it is a run without weights yet; MODEL-11, the
            hub cannot be reached, or has no such model.
    """
    path = Path(source)
    if _is_there(path):
        return _directory_of(path, source)
    name, ending, _ = str(source).rpartition(":")
    if ending and (_is_there(Path(name)) or re.fullmatch(_ON_HUB, name)):
        raise CheckpointError(
            "CKPT-04",
            where=str(source)[:_MOST_SHOWN],
            found="no such folder",
            expected=f"a model, or {UNTRAINED} after its name",
            fix=f"did you mean {name} or {name}{UNTRAINED}?",
        )
    near = _near(path)
    is_path = isinstance(source, Path) or not re.fullmatch(_ON_HUB, source)
    if is_path or path.parent.is_dir() or near:
        raise CheckpointError(
            "CKPT-04",
            where=str(source)[:_MOST_SHOWN],
            found="no such folder",
            expected="a run, a model directory, or owner/name on the Hugging Face hub",
            fix=f"did you mean {' or '.join(near)}?" if near else "correct the path",
        )
    return _fetched(str(source), revision)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, or a folder above that may not be entered
        return False


def _directory_of(path: Path, source: str | Path) -> Path:
    if not path.is_dir():
        raise _no_directory(source, "a file", "name the folder that holds config.json and the weights")
    if (path / "MANIFEST.json").is_file() and not (path / "config.json").is_file():
        fix = f"make a model directory of it: dnalm export model={source}"
        raise _no_directory(source, "a checkpoint of a run", fix)
    is_run = (path / "config.yaml").is_file() and not (path / "config.json").is_file()
    folder = path / "model" if is_run else path
    run = path if is_run else path.resolve().parent
    is_of_run = is_run or (path.resolve().name == "model" and (run / "config.yaml").is_file())
    if is_of_run and not has_weights(folder):
        raise CheckpointError(
            "CKPT-04",
            where=str(source),
            found=f"the run has not finished{_progress(run)}",
            expected="a finished run, which leaves a model",
            fix="let it finish by the same command again, or use its newest checkpoint: dnalm export "
            f"model={path if is_run else path.parent}",
        )
    return folder


def _no_directory(source: str | Path, found: str, fix: str) -> CheckpointError:
    expected = "a run, a model directory, or owner/name on the Hugging Face hub"
    return CheckpointError("CKPT-04", where=str(source), found=found, expected=expected, fix=fix)


def _progress(run: Path) -> str:
    """How far a run has come by its checkpoints, as ` (step 4 of 8)`."""
    found = [_STEP.fullmatch(path.name) for path in (run / "checkpoints").glob("step-*")]
    done = max((int(step[1]) for step in found if step), default=0)
    try:
        total = read_small(run / "config.yaml", "yaml").get("steps")
    except (OSError, SmallFileError):
        total = None
    return f" (step {done:,} of {total:,})" if isinstance(total, int) else f" (step {done:,})"


def _near(path: Path) -> list[str]:
    """Folders with names like that of a path that is not there."""
    parents = [path.parent] if path.parent.is_dir() else []
    if len(path.parts) == 1:
        parents.append(_RUNS)
    elif not path.parent.is_dir():  # rnus/demo: the folder above is misspelt
        beside = [folder.name for folder in path.parent.parent.glob("*") if folder.is_dir()]
        alike = difflib.get_close_matches(path.parent.name, beside, n=3)
        return [str(near) for name in alike if (near := path.parent.with_name(name) / path.name).is_dir()]
    found = {folder.name: folder for parent in parents for folder in parent.glob("*") if folder.is_dir()}
    return [str(found[name]) for name in difflib.get_close_matches(path.name, found, n=3)]


def _fetched(source: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    files = ["config.json", *TOKENIZER_FILES]
    safe = [*files, "model*.safetensors", WEIGHTS[1]]
    pickled = [*files, "pytorch_model*.bin", WEIGHTS[3]]
    try:
        folder = Path(snapshot_download(source, revision=revision, allow_patterns=safe))
        if not any((folder / name).exists() for name in WEIGHTS):
            folder = Path(snapshot_download(source, revision=revision, allow_patterns=pickled))
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise CheckpointError(
            "MODEL-11",
            where=source,
            found=f"no folder of this name, and the hub did not give it ({reason})",
            expected="a model directory, or owner/name on the Hugging Face hub",
            fix="download config.json, model.safetensors (or pytorch_model.bin) and the tokenizer's files "
            f"from https://huggingface.co/{source} into a folder and name that",
        ) from error
    return folder
