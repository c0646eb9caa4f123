"""A sharded run of two processes goes on as one; a sweep of real jobs runs only what has failed once more."""

from __future__ import annotations

import csv
import os
import signal
from pathlib import Path

import pytest

from dnalm.cli import main
from dnalm.training.checkpoint import open_checkpoint
from tests.conftest import random_sequence
from tests.reliability.harness import Place, children, killed_at_the_end

NT = (
    "experiment=nt_v2_50m", "debug=none", "model.hidden_size=32", "model.dropout=0.0",
    "batch.global_size=8", "batch.micro_size=2", "schedule.warmup_steps=1",
)  # fmt: skip
SHARDED = ("trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=bf16-mixed")


def seen(place: Place, run: str) -> dict[int, dict[int, str]]:
    """By step and micro-batch of two: the samples and the sum of their masks."""
    found: dict[int, dict[int, str]] = {}
    for (step, samples), lines in place.ledger(run).items():
        (mask,) = {line[0] for line in lines}
        found.setdefault(step, {})[samples[0]] = f"{samples}: {mask}"
    return found


def test_two_sharded_bf16_processes_killed_go_on_as_one_with_other_workers(own: Place) -> None:
    """Done when. nt_v2_50m size=tiny on the demo clade: samples and masks are as undisturbed."""
    place = Place(own.folder, demo=True)
    words = (*NT, "trainer.validate_every=1000", "trainer.checkpoint_every=5", "batch.num_workers=1")
    with killed_at_the_end(place.start("cut", *words, *SHARDED, "steps=1000")) as process:
        place.wait_for_step("cut", 8, rank=1)
        os.kill(children(process.pid)[1], signal.SIGKILL)
        process.communicate(timeout=60)
        assert process.returncode == 6
    newest = max(open_checkpoint(path).step for path in (place.folder / "cut/checkpoints").glob("step*"))
    assert newest >= 5
    steps = newest + 6
    alone = ("trainer=cpu", "trainer.devices=1", "batch.num_workers=2", f"steps={steps}")
    code, said = place.run("cut", *NT, *alone, "trainer.checkpoint_every=5")
    assert code == 0, said
    assert f" after step {newest} (" in said
    code, said = place.run("whole", *words, *SHARDED, f"steps={steps}")
    assert code == 0, said
    ours, theirs = seen(place, "cut"), seen(place, "whole")
    assert sorted(theirs) == list(range(steps))
    assert {step: ours[step] for step in theirs} == theirs


def test_of_a_sweep_only_the_failed_job_is_run_once_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Done when. One of two genomes is damaged: exit code 1 and a whole table; once mended, the rest."""
    good, bad = tmp_path / "good.fa", tmp_path / "bad.fa"
    text = f">chr1\n{random_sequence(20_000)}\n>chr2\n{random_sequence(2_000, 1)}\n"
    good.write_text(text)
    bad.write_text(text.replace("A", "!", 1))
    words = [
        "pretrain", "-m", "experiment=dnabert", "size=tiny", "debug=fast",
        "data=fasta", "steps=3",
        f"data.fasta={good},{bad}", f"data.cache={tmp_path}/cache", f"sweep.dir={tmp_path}/sweep",
    ]  # fmt: skip
    table = tmp_path / "sweep/table.csv"

    def swept() -> tuple[int, dict[str, str], dict[str, float]]:
        with pytest.raises(SystemExit) as ended:
            main(words)
        rows = list(csv.DictReader(table.read_text().splitlines()))
        assert len(rows) == 2
        status = {row["data.fasta"]: row["status"] for row in rows}
        times = {
            row["data.fasta"]: (Path(row["run"]) / "summary.json").stat().st_mtime_ns
            for row in rows
            if row["status"] == "done"
        }
        return int(str(ended.value.code)), status, times

    code, status, first = swept()
    assert code == 1
    assert status == {str(good): "done", str(bad): "failed"}
    assert "FASTA-" in table.read_text()
    bad.write_text(text)
    code, status, second = swept()
    assert code == 0
    assert status == {str(good): "done", str(bad): "done"}
    assert second[str(good)] == first[str(good)], "the job that was done is left as it was"
    capsys.readouterr()
