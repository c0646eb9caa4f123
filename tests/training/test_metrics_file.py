"""metrics.csv of a run that was interrupted is that of one that was not."""

import csv
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.training import MetricsFile


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def log(logger: MetricsFile, steps: range) -> None:
    for step in steps:
        logger.log_metrics({"train_loss": 1 / (step + 3), "epoch": 0}, step)
        if step % 4 == 3:
            logger.log_metrics({"val_loss": 2 / (step + 3)}, step)


def test_metrics_of_one_step_are_one_row_and_floats_keep_every_bit(tmp_path: Path) -> None:
    logger = MetricsFile(tmp_path / "metrics.csv")
    log(logger, range(5))
    logger.finalize("success")
    found = rows(logger.path)
    assert list(found[0]) == ["step", "train_loss", "val_loss"]
    assert [row["step"] for row in found] == ["0", "1", "2", "3", "4"]
    assert [float(row["train_loss"]) for row in found] == [1 / 3, 1 / 4, 1 / 5, 1 / 6, 1 / 7]
    assert [row["val_loss"] for row in found] == ["", "", "", str(2 / 6), ""]


@given(killed=st.integers(1, 12), saved=st.integers(0, 12), cut=st.integers(0, 12))
def test_continuing_after_any_step_gives_the_same_bytes(
    tmp_path_factory: object, killed: int, saved: int, cut: int
) -> None:
    """Killed after some step, the last row perhaps cut short, and resumed from a checkpoint before."""
    folder = tmp_path_factory.mktemp("m")  # type: ignore[attr-defined]
    whole = MetricsFile(folder / "whole.csv")
    log(whole, range(12))
    whole.finalize("success")
    saved = min(saved, killed)
    first = MetricsFile(folder / "cut.csv")
    log(first, range(saved))
    first.save()  # as the checkpoint does
    log(first, range(saved, killed))
    text = first.path.read_bytes() if first.path.exists() else b""
    kept = len(b"".join(text.splitlines(keepends=True)[: 1 + saved]))
    first.path.write_bytes(text[: max(kept, len(text) - cut)])
    second = MetricsFile(first.path)
    second.drop_rows_after(saved)
    log(second, range(saved, 12))
    second.finalize("success")
    assert rows(second.path) == rows(whole.path)


@pytest.mark.parametrize("full", [range(3, 6), range(3, 9), range(0, 2), range(6, 12)])
def test_rows_that_a_full_disk_does_not_take_wait_for_the_next_save(
    full: range, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training continues, one line says why rows are missing, and the file is that of a disk with room."""
    whole, cut = MetricsFile(tmp_path / "whole.csv"), MetricsFile(tmp_path / "cut.csv")
    log(whole, range(12))
    whole.finalize("success")
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    for step in range(12):
        resource.setrlimit(resource.RLIMIT_FSIZE, (20 if step in full else hard, hard))
        try:
            log(cut, range(step, step + 1))
            cut.save()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        if step in full:
            assert all(row["step"].isdecimal() for row in (rows(cut.path) if cut.path.exists() else []))
    cut.finalize("success")
    assert cut.path.read_bytes() == whole.path.read_bytes()
    said = capsys.readouterr().err
    assert said.count("Not written yet: DISK-01 ") == 1
    assert "Training continues" in said
    assert "Traceback" not in said
