"""R1: killed at any moment, a run goes on as if it had not been; R16: whatever is around it."""

from __future__ import annotations

import ctypes
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dnalm.errors import CheckpointError
from dnalm.training.run_directory import RunLock
from tests.reliability.harness import ROOT, STILL, Place, alive, children, killed_at_the_end, patched

KILLS = int(os.environ.get("DNALM_KILLS", "25"))
STEPS = 16 * KILLS  # six kills of ten come after some fifteen of them, the others by the first
EVERY = 5
CHAIN = ("trainer.strategy=exact", f"steps={STEPS}")


@pytest.fixture(scope="module")
def whole(place: Place) -> str:
    """A run that nothing has interrupted, and its name."""
    code, said = place.run("whole", *CHAIN, timeout_s=240 + STEPS)
    assert code == 0, said
    return "whole"


def test_after_random_kills_every_step_and_the_weights_are_the_same(
    place: Place, whole: str, record_property: Callable[[str, object], None]
) -> None:
    """R1: one chain over one and two processes, with and without loader workers; any moment may be hit."""
    dice = random.Random(1)
    lost: list[int] = []
    kills = 0
    for _ in range(KILLS):
        done = _done(place)
        devices, workers = dice.choice((1, 1, 2)), dice.choice((0, 0, 1, 2))
        shape = (f"trainer.devices={devices}", f"batch.num_workers={workers}")
        with killed_at_the_end(place.start("killed", *CHAIN, *shape)) as process:
            training = dice.random() < 0.6  # else while it starts
            lines, seconds = (2 * dice.randrange(1, 30), 120.0) if training else (1, dice.uniform(0.2, 4))
            enough, until = _written(place) + lines, time.monotonic() + seconds
            while _written(place) < enough and time.monotonic() < until and process.poll() is None:
                time.sleep(0.02)
            if process.poll() is not None:  # a fast machine has come to the end
                assert process.returncode == 0, process.communicate()[0]
                break
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
            said, _ = process.communicate()
        assert "Traceback" not in said, said
        if found := re.search(r"continuing \S+ after step ([\d,]+)", said):
            lost.append(done - int(found[1].replace(",", "")))
    code, said = place.run("killed", *CHAIN, timeout_s=240 + STEPS)
    assert code == 0, said
    assert kills > KILLS // 2, f"the run was done after {kills} kills; give it more steps"
    assert lost, "some kill came after a checkpoint"
    assert max(lost) <= EVERY, f"steps lost by the kills: {lost}"
    ours, theirs = place.ledger("killed"), place.ledger(whole)
    wrong = [key for key in theirs if ours.get(key) != theirs[key]]
    for name, figure in (("kills", kills), ("micro-batches", len(theirs)), ("mismatching", len(wrong))):
        record_property(name, figure)
    record_property("steps lost at most", max(lost))
    assert wrong == []
    assert place.weights("killed") == place.weights(whole)
    assert place.hidden_folders("killed") == []
    metrics = [(place.folder / run / "metrics.csv").read_bytes() for run in ("killed", whole)]
    assert metrics[0] == metrics[1]


def _written(place: Place) -> int:
    """Micro-batches in the ledgers, two a step, those done again counted again."""
    return sum(path.read_bytes().count(b"\n") for path in (place.folder / "killed").glob("ledger-*.jsonl"))


def _done(place: Place) -> int:
    return max((step + 1 for step, _ in place.ledger("killed")), default=0)


@pytest.mark.usefixtures("real_programs")
@pytest.mark.parametrize(
    ("environment", "umask"),
    [
        ({"TZ": "Asia/Kathmandu", "LANG": "tr_TR.UTF-8", "PYTHONHASHSEED": "1"}, 0o077),
        ({"HOME": "/nonexistent", "LANG": "C", "PYTHONHASHSEED": "0", "COLUMNS": "20"}, 0o022),
    ],
)
def test_what_is_around_a_run_does_not_change_it(
    environment: dict[str, str], umask: int, place: Place, tmp_path: Path
) -> None:
    """R16: time zone, language, home, hash seed, umask, and a folder with spaces and odd letters."""
    if not (place.folder / "plain").exists():
        assert place.run("plain", "steps=6")[0] == 0
    odd = f"ödd {tmp_path.name} 空"
    before = os.umask(umask)
    try:
        where = f'run.dir="{place.folder}/{odd}"'
        code, said = place.run("unused", "steps=6", where, environment=environment, cwd=tmp_path)
    finally:
        os.umask(before)
    assert code == 0, said
    assert place.weights(odd) == place.weights("plain")
    assert place.ledger(odd) == place.ledger("plain")


MUTANTS = {
    "a resume counter that is one behind": (
        "dnalm.training.trainer",
        "_right = loops_after\ndef loops_after(trainer, step, passes):\n"
        "    return _right(trainer, step - 1, passes)",
    ),
    "a mask that is drawn anew each time": (
        "dnalm.data.samples",
        "import numpy as _np\n_right = generator\n"
        "def generator(seed, stream, index, *more):\n"
        "    keyed = _right(seed, stream, index, *more)\n"
        "    return _np.random.default_rng() if stream == Stream.MASK else keyed",
    ),
    "dropout that goes on where the process was": (
        "dnalm.training.pretraining",
        "MaskedLMTraining.key_dropout = lambda self, batch_index: None",
    ),
}


@pytest.fixture(scope="module")
def eight(place: Place) -> str:
    """Eight steps that nothing has interrupted."""
    assert place.run("eight", "steps=8", *STILL)[0] == 0
    return "eight"


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_comparison_notices(mutant: str, own: Place, place: Place, eight: str) -> None:
    """Each mutant breaks the property; what the tests above compare must say so."""
    module, code = MUTANTS[mutant]
    environment = patched(own.folder / "patch", {module: code})
    assert own.run("cut", "steps=5", *STILL, environment=environment)[0] == 0
    own.run("cut", "steps=8", *STILL, environment=environment)
    ours, theirs = own.ledger("cut"), place.ledger(eight)
    assert [key for key in theirs if ours.get(key) != theirs[key]]


@pytest.fixture
def subreaper() -> Iterator[None]:
    """Orphans are adopted by this process and not by process 1, as in containers and user sessions."""
    prctl = ctypes.CDLL(None).prctl
    prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
    yield
    prctl(36, 0)


@pytest.mark.usefixtures("subreaper", "real_programs")
@pytest.mark.parametrize("after_s", [0.0, 0.3, 1.0, pytest.param(3.0, marks=pytest.mark.long)])
def test_ranks_end_with_a_launcher_that_is_killed_while_they_import(after_s: float, own: Place) -> None:
    """Under a child subreaper, where the parent of an orphan is never process 1."""
    with killed_at_the_end(own.start("run", "steps=100000", "trainer.devices=2", *STILL)) as process:
        while not (ranks := children(process.pid)):
            time.sleep(0.02)
        time.sleep(after_s)
        ranks |= children(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        killed = time.monotonic()
        while (left := alive([*ranks.values()])) and time.monotonic() < killed + 2:
            time.sleep(0.02)
        assert left == []
    assert own.step_of("run", 0) is None, "it was killed before training"


HOLDING = (
    "import sys\nfrom pathlib import Path\nfrom dnalm.training.run_directory import RunLock\n"
    "from dnalm.training.launcher import launch\n"
    "run = Path(sys.argv[1])\n"
    "with RunLock(run) as lock:\n"
    "    launch(['sleep', '60'], num_ranks=1, folder=run / 'ranks', start=None, held=[lock.descriptor])\n"
)


@pytest.mark.usefixtures("subreaper")
def test_a_run_is_locked_for_as_long_as_one_of_its_ranks_lives(tmp_path: Path) -> None:
    """Here a rank that does not end with its launcher."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    launcher = subprocess.Popen([sys.executable, "-c", HOLDING, tmp_path], env=environment)
    while not (ranks := children(launcher.pid)):
        time.sleep(0.02)
    launcher.kill()
    launcher.wait()
    assert alive([*ranks.values()])
    with pytest.raises(CheckpointError, match="it has ended, but a process that it started has not"):
        RunLock(tmp_path).__enter__()
    os.kill(ranks[0], signal.SIGKILL)
    os.waitpid(ranks[0], 0)
    with RunLock(tmp_path):
        pass
