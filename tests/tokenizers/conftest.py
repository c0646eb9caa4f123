"""Real data that several tests of tokenizers read."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dnalm.genome.alphabet import is_unknown
from dnalm.genome.store import GenomeStore, open_or_build


@dataclass(frozen=True)
class Windows:
    """Codes of real DNA, and what kinds of stretches are among them."""

    codes: list[np.ndarray]
    num_with_n: int
    num_soft_masked: int


@pytest.fixture(scope="session")
def yeast(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> GenomeStore:
    """Sixteen chromosomes, 12 Mb, no N."""
    return open_or_build(shared_data / "genomes/sacCer3.fa.gz", tmp_path_factory.mktemp("yeast"))


@pytest.fixture(scope="session")
def dnabert2_file(shared_data: Path) -> Path:
    """The published tokenizer of DNABERT-2."""
    return shared_data / "tokenizers/dnabert2/tokenizer.json"


@pytest.fixture(scope="session")
def real_windows(yeast: GenomeStore, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Windows:
    """10,000 windows of 50 to 700 bases: yeast, soft-masked fly, human, and human at the edges of N."""
    cache = tmp_path_factory.mktemp("genomes")
    human = open_or_build(shared_data / "genomes/hg19_chr20.fa.gz", cache)
    fly = open_or_build(shared_data / "genomes/dm3_chr2R.fa.gz", cache)
    draw = random.Random(0)
    windows: list[np.ndarray] = []
    for store, number in ((yeast, 3000), (fly, 3000), (human, 3000)):
        for _ in range(number):
            start, length = draw.randrange(store.num_bases - 700), draw.randint(50, 700)
            windows.append(np.asarray(store.codes[start : start + length]))
    edges = human.unknown_runs.ravel().tolist()
    for _ in range(1000):
        length = draw.randint(50, 700)
        start = draw.choice(edges) - draw.randrange(length)
        start = min(max(start, 0), human.num_bases - length)
        windows.append(np.asarray(human.codes[start : start + length]))
    return Windows(
        windows,
        num_with_n=sum(bool(is_unknown(codes).any()) for codes in windows),
        num_soft_masked=sum(bool((codes >= 8).any()) for codes in windows),
    )
