"""A small genome with N, and a way to write files of intervals for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dnalm.genome.store import GenomeStore, build_store

CONTIGS = {"chr1": "A" * 30, "chr2": "ACGTNNNACGTACGTACGTA", "chrM": "A" * 10}  # flat: 0, 30 (N at 34-37), 50
NUM_BASES = 60
UNKNOWN = slice(34, 37)
Write = Callable[..., Path]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> GenomeStore:
    folder = tmp_path_factory.mktemp("genome")
    (folder / "genome.fa").write_text("".join(f">{name}\n{text}\n" for name, text in CONTIGS.items()))
    return build_store(folder / "genome.fa", folder / "store")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write lines whose columns are separated by blanks here."""

    def write(name: str, *lines: str) -> Path:
        (tmp_path / name).write_text("".join("\t".join(line.split()) + "\n" for line in lines))
        return tmp_path / name

    return write
