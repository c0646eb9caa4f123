"""`dnalm embed` end to end: what it writes and says, and a kill in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dnalm.cli import main
from tests.conftest import random_sequence
from tests.evaluation.embedding.models import save

pytestmark = pytest.mark.usefixtures("forked_programs")

ROOT = Path(__file__).resolve().parents[2]
SINGLE = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model, and 12 sequences that make many parts of 3,000 bases."""
    save("kmer", tmp_path / "model")
    texts = [random_sequence(1500 + 37 * number, number) for number in range(12)]
    (tmp_path / "in.fa").write_text("".join(f">s{n}\n{text}\n" for n, text in enumerate(texts)))
    return tmp_path


def words(folder: Path, out: str, *more: str) -> list[str]:
    return ["embed", f"model={folder}/model", f"input={folder}/in.fa", f"out={folder}/{out}", *more]


def program(*given: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*given, "--debug"])
    assert ended.value.code == 0


def test_it_says_what_it_wrote_and_leaves_a_summary(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program(*words(folder, "out.parquet", "resolution=token"))
    summary = json.loads((folder / "out.parquet.summary.json").read_text())
    table = pq.read_table(folder / "out.parquet")
    assert (summary["sequences"], summary["rows"], summary["width"]) == (12, len(table), 8)
    assert f"{len(table):,} vectors of 8 numbers, of 12 sequences" in capsys.readouterr().out
    assert summary["contract"]["resolution"] == "token"


def test_a_killed_run_continues_in_two_processes_and_leaves_the_same_bytes(folder: Path) -> None:
    def start(out: str, *more: str) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-c", PROGRAM, *words(folder, out, "resolution=base", *more)]
        return subprocess.Popen(line, env=SINGLE, cwd=folder)

    whole, other = "whole.parquet", "other.parquet"
    assert start(whole).wait() == 0
    killed = start(other)
    while len(list((folder / f"{other}.parts").glob("*.parquet"))) < 2 and killed.poll() is None:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    done = {path: path.stat().st_ino for path in (folder / f"{other}.parts").glob("*.parquet")}
    assert len(done) >= 2
    assert start(other, "workers=2").wait() == 0
    assert (folder / whole).read_bytes() == (folder / other).read_bytes()
    assert not list(folder.glob("*.parts"))


PROGRAM = "\n".join(
    [
        "import time",
        "from dnalm.evaluation.embedding import files as parts",
        "from dnalm.cli import main",
        "parts.PART_BP = 3000",
        "keep = parts.PartFolder.keep",
        "parts.PartFolder.keep = lambda *given: (keep(*given), time.sleep(0.05))",
        "if __name__ == '__main__': main()",
    ]
)


def test_parts_of_other_choices_are_not_used(folder: Path) -> None:
    program(*words(folder, "out.npy", "layer=0"))
    expected = np.load(folder / "out.npy")
    stale = folder / "out.npy.parts"
    stale.mkdir()
    (stale / "contract.json").write_text("{}\n")
    (stale / "000000.parquet").write_text("of another model")
    program(*words(folder, "out.npy", "layer=0"))
    assert np.load(folder / "out.npy").tobytes() == expected.tobytes()


def test_precision_is_that_of_products_and_not_of_the_file(folder: Path) -> None:
    for name in ("float32", "bfloat16"):
        program(*words(folder, f"{name}.npy", f"precision={name}"))
    wide, narrow = (np.load(folder / f"{name}.npy") for name in ("float32", "bfloat16"))
    assert wide.dtype == narrow.dtype == np.float32
    assert (wide != narrow).any()
    np.testing.assert_allclose(wide, narrow, atol=0.05)


def test_a_model_of_another_vocabulary_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save("bpe", folder / "bpe")
    with pytest.raises(SystemExit) as ended:
        main([*words(folder, "out.npy"), f"tokenizer={folder}/bpe"])
    assert ended.value.code == 4
    assert "MODEL-12" in capsys.readouterr().err
