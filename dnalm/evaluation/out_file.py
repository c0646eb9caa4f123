"""The file that a command is told to write: refused before any work where it cannot be, then locked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dnalm.errors import CheckpointError, ConfigError, DataError
from dnalm.evaluation.durable_parts import check_parts, parts_path, remove_parts
from dnalm.lock import OutputLock
from dnalm.paths import BESIDE

_OF_ZARR = {"zarr.json", "vectors"}


@contextmanager
def opened_output(out: Path, endings: Sequence[str]) -> Iterator[OutputLock]:
    """Hold a file's name against what can be written, and lock it, with what is written beside it.

    Args:
        out: the file; its folder is made, and removed again if nothing is written into it.
        endings: of names that are known; the file of one that ends in `.zarr` is a folder.

    If the block raises an error that the user has to mend, nothing of it is left.

    Raises:
        ConfigError: CFG-52, it ends otherwise, or as what is written beside an output, is a folder of others,
            or is in none that may be written.
        CheckpointError: CKPT-12, another process writes it.
    """
    if not out.name.endswith(tuple(endings)):
        raise _refused(f"{out}: a name that does not tell its form", endings)
    if beside := next((ending for ending in BESIDE if out.name.endswith(ending)), None):
        raise _refused(f"{out}: {beside} is the name of what another output has beside it", endings)
    if out.is_dir() and not _is_own_zarr(out):
        raise _refused(f"{out} is a folder", endings)
    check_parts(out)
    is_new = not parts_path(out).exists()
    with ExitStack() as stack:
        try:
            lock = OutputLock(out.with_name(f".{out.name}.lock"), output=out, key="out")
            stack.enter_context(lock)
        except OSError as error:
            raise _refused(f"{out.parent} cannot be written: {error.strerror}", endings) from error
        try:
            yield lock
        except (ConfigError, DataError, CheckpointError):
            if is_new:
                remove_parts(out)
            raise


def _is_own_zarr(out: Path) -> bool:
    """Whether a folder is a group that `dnalm embed` wrote, with its table beside it."""
    index = out.with_name(f"{out.name}.index.parquet")
    names = {entry.name for entry in out.iterdir()}
    return out.suffix == ".zarr" and not out.is_symlink() and names <= _OF_ZARR and index.is_file()


def _refused(found: str, endings: Sequence[str]) -> ConfigError:
    return ConfigError(
        "CFG-52",
        where="out",
        found=found,
        expected=f"a file that ends in {' or '.join(endings)}, in a folder that may be written",
        fix=f"choose another, such as out=result{endings[0]}",
    )
