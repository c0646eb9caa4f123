"""R6, R21, S7, S8: however batches are fetched, without a network, with secrets about, and by any path."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader

from dnalm.compose.neighbours import pasteable
from dnalm.data import BatchPlan, GenomeCorpus, Masking, WindowRecipe
from dnalm.data.batch import StepBatches, collate
from dnalm.data.module import GenomeData
from dnalm.tokenizers import KmerTokenizer
from tests.reliability.harness import ROOT, STILL, Place, faulty

METHODS = ("fork", "forkserver", "spawn")
FETCHED = [
    *itertools.product((2,), (1, 8), METHODS),
    *(
        pytest.param(*shape, marks=pytest.mark.long)
        for shape in itertools.product((1, 3, 5), (1, 2, 8), METHODS)
    ),
]


@pytest.fixture(scope="module")
def data(place: Place) -> GenomeData:
    """Of a genome of two contigs."""
    made = GenomeData(
        GenomeCorpus(fasta=place.folder / "genome.fa", cache=place.folder / "cache"),
        tokenizer=KmerTokenizer(k=3),
        windows=WindowRecipe(min_tokens=5, max_tokens=60),
        masking=Masking(),
        batch=BatchPlan(global_size=6, micro_size=2),
        seed=1,
    )
    made.prepare_data()
    made.setup("fit")
    return made


def bits(value: object) -> object:
    """What a batch holds, to be compared."""
    if isinstance(value, torch.Tensor):
        return value.dtype, value.tolist()
    if dataclasses.is_dataclass(value):
        return {field.name: bits(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: bits(held) for name, held in value.items()}
    return value


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize(("workers", "prefetch", "method"), FETCHED)
def test_batches_do_not_depend_on_who_fetches_them(
    workers: int, prefetch: int, method: str, data: GenomeData
) -> None:
    """R6. Every field of 36 micro-batches, to the bit."""
    samples = data.training_samples()
    order = list(islice(StepBatches(data.batch, rank=0, world_size=1, start_step=3), 36))
    fetched = DataLoader(
        samples,
        batch_sampler=order,
        collate_fn=collate,
        num_workers=workers,
        prefetch_factor=prefetch,
        multiprocessing_context=method,
    )
    for indices, batch in zip(order, fetched, strict=True):
        assert bits(batch) == bits(collate([samples[index] for index in indices]))


ALONE = ("sh", "-c", 'ip link set lo up && exec "$@"', "sh")  # a network of this machine and nothing else


def commanded(
    place: Place, run: str, *more: str, before: tuple[str, ...] = (), **env: str
) -> tuple[int, str]:
    """Run a command line; its exit code, and what it said on one line."""
    done = subprocess.run(
        [*before, sys.executable, "-m", "dnalm", *place.words(run, *more)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **env},
        capture_output=True, text=True, check=False, timeout=240, cwd=place.folder,
    )  # fmt: skip
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.mark.skipif(
    subprocess.run(["unshare", "-rn", *ALONE, "true"], capture_output=True, check=False).returncode != 0,
    reason="this machine lets nobody make a network of their own (unshare -rn)",
)
@pytest.mark.parametrize("devices", [1, 2])
def test_a_run_needs_no_network(devices: int, own: Place) -> None:
    """R21. Nor does it look for one, and wandb offline does not either."""
    traced = ("strace", "-f", "-qq", "-e", "trace=connect,sendto", "-o", str(own.folder / "calls"))
    watched = traced if shutil.which("strace") and devices == 1 else ()
    words = ("steps=6", f"trainer.devices={devices}", "logger=wandb", "logger.offline=true")
    code, said = commanded(own, "run", *words, before=("unshare", "-rn", *ALONE, *watched))
    assert code == 0, said
    assert (own.folder / "run/model/model.safetensors").is_file()
    if watched:
        calls = (own.folder / "calls").read_text()
        inet = re.findall(r"sa_family=AF_INET6?, [^}]*", calls)
        assert [call for call in inet if "127.0.0.1" not in call and '"::1"' not in call] == []


def test_a_secret_of_the_environment_is_written_nowhere(own: Place) -> None:
    """S7. Neither by a run that ends well nor by one that fails."""
    canary = "canary-5b1f09"
    secrets = {"DNALM_TEST_SECRET": canary, "WANDB_API_KEY": canary * 3, "HF_TOKEN": f"hf_{canary}"}
    assert commanded(own, "run", "steps=6", **secrets)[0] == 0
    failing = {**faulty(own.folder / "patch", "train.step_end@1:3=raise"), **secrets}
    code, said = commanded(own, "failed", "steps=6", "trainer.devices=2", **failing)
    assert code == 1, said  # the injected error stands for a bug of ours
    assert canary not in said
    files = [path for path in own.folder.rglob("*") if path.is_file()]
    assert any(path.name == "config.yaml" for path in files)
    assert [path for path in files if canary.encode() in path.read_bytes()] == []


def test_a_run_in_an_odd_folder_continues_and_is_begun_from(own: Place) -> None:
    """S8. What the message of a bare word says to write is written; the checkpoint's path likewise."""
    odd = own.folder / "größe a=b, {it's}"
    code, said = commanded(own, "unused", f"run.dir={odd}")
    assert code == 2
    (word,) = shlex.split(said.partition("Fix: write ")[2].rstrip("."))
    for steps in (5, 8):
        code, said = commanded(own, "unused", word, f"steps={steps}", *STILL)
        assert code == 0, said
    assert " after step 5 (" in said
    (checkpoint,) = (odd / "checkpoints").glob("*8")
    (word,) = shlex.split(pasteable("resume", str(checkpoint)))
    code, said = commanded(own, "next", word, "steps=10", *STILL)
    assert code == 0, said
