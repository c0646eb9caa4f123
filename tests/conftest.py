"""What tests of several parts share."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from dnalm.data.module import GenomeData
from dnalm.data.windows import Window
from dnalm.genome.store import GenomeStore, open_or_build
from tests import forked as forking

settings.register_profile("dnalm", deadline=None, derandomize=True)  # no clocks, the same every time
settings.load_profile("dnalm")

# Threads of two test processes on two cores wait for each other; tensors here are too small to share
if "OMP_NUM_THREADS" not in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)

# A shell ignores SIGINT for what it runs in the background, and so would programs that tests start and signal
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SLOW = (  # killed runs, several processes, whole commands: more than half the time of all tests
    "tests/reliability/",
    "tests/integration/",
    "tests/commands/test_benchmark.py",
    "tests/commands/test_benchmark_variants.py",
    "tests/commands/test_doctor.py",
    "tests/commands/test_embed.py",
    "tests/commands/test_predict.py",
    "tests/commands/test_score.py",
    "tests/contracts/test_images.py::test_the_pip_lines",
    "tests/contracts/test_notebooks.py",
    "tests/contracts/test_site.py",
    "tests/data/test_loading.py",
    "tests/evaluation/test_durable_parts.py",
    "tests/evaluation/variants/test_scorer.py",
    "tests/models/test_compiled_blocks.py",
    "tests/models/test_fake_cuda.py",
    "tests/models/test_transformers_matrix.py::test_a_slice",
    "tests/sweeps/test_sweep.py",
    "tests/training/test_sharded.py",
)

SHARED = Path(__file__).resolve().parents[2] / "shared/data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make test` leaves out."""
    for item in items:
        if item.nodeid.startswith(SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module", autouse=True)
def same_environment() -> Iterator[None]:
    """What a command in a test's own process sets for its programs does not reach those of other files."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real genomes and published files, which the project must not hold."""
    if not SHARED.is_dir():
        pytest.skip(f"real data is absent: {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def forker() -> Iterator[forking.Forker]:
    """A process that has imported torch and Lightning."""
    with forking.forker() as started:
        yield started


@pytest.fixture(scope="module")
def forked_programs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where no claim of a file is about how a process starts: programs are forked (tests/forked.py)."""
    with forking.forked(request.getfixturevalue("forker")) if forking.IS_POSSIBLE else nullcontext():
        yield


@pytest.fixture
def real_programs() -> Iterator[None]:
    """For a test of such a file whose claim is: programs start as they do elsewhere."""
    with forking.started():
        yield


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[[dict[str, str]], GenomeStore]:
    """Build a store from contig names and their sequences."""

    def make(contigs: dict[str, str]) -> GenomeStore:
        fasta = tmp_path / "genome.fa"
        fasta.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in contigs.items()))
        return open_or_build(fasta, tmp_path / "cache")

    return make


def random_sequence(length: int, seed: int = 0) -> str:
    """Uniform random bases."""
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), length))


def training_window(data: GenomeData, index: int) -> Window:
    """Window `index` of a corpus of one genome."""
    training = data.genomes[0].training
    assert training is not None
    return training[index]
