"""What a run stands on may vanish while it trains: its folder, or the cache."""

from __future__ import annotations

import shutil
import time

import pytest

from tests.reliability.harness import STILL, Place, killed_at_the_end

ENDLESS = ("steps=100000", "trainer.checkpoint_every=20", "trainer.validate_every=100000", *STILL)


@pytest.mark.parametrize(("devices", "what"), [(1, "deleted"), (1, "moved"), (2, "moved"), (1, "replaced")])
def test_a_run_whose_folder_vanishes_ends_within_seconds_and_makes_no_other(
    devices: int, what: str, own: Place
) -> None:
    run, aside = own.folder / "run", own.folder / "aside"
    with killed_at_the_end(own.start("run", *ENDLESS, f"trainer.devices={devices}")) as process:
        for rank in range(devices):
            own.wait_for_step("run", 3, rank=rank)
        run.rename(aside)
        if what == "deleted":
            shutil.rmtree(aside)
        if what == "replaced":
            run.mkdir()
        began = time.monotonic()
        said, _ = process.communicate(timeout=60)
        assert time.monotonic() - began < 10, "two looks, a second apart"
    message = " ".join(said.split())
    assert process.returncode == 4, message
    found = "another folder lies there now" if what == "replaced" else "it was deleted, moved or unmounted"
    assert f"CKPT-15 {run}: {found}" in message
    assert message.count("CKPT-15") == 1
    assert "Traceback" not in message
    assert not run.exists() or not list(run.rglob("*")), "nothing is made anew"
    if what == "moved":
        aside.rename(run)
        saved = [int(path.name.removeprefix("step-")) for path in run.glob("checkpoints/step-*")]
        more = f"steps={max(saved, default=0) + 10}"
        code, said = own.run("run", more, *STILL, "trainer.checkpoint_every=20")
        assert code == 0, said


def test_loader_workers_whose_genome_is_deleted_end_the_run_with_a_sentence(own: Place) -> None:
    """Those of validation open it when they start, after the first steps."""
    words = (*ENDLESS[:2], "trainer.validate_every=300", "batch.num_workers=1", *STILL)
    with killed_at_the_end(own.start("run", *words)) as process:
        own.wait_for_step("run", 1)
        shutil.rmtree(own.folder / "cache")
        said, _ = process.communicate(timeout=90)
    message = " ".join(said.split())
    assert process.returncode == 3, message
    assert "STORE-04" in message
    assert "Traceback" not in message
