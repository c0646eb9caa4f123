"""One small clade in a folder and one default clade in memory, shared by all tests of the simulation."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnalm.simulation.evolution import Ancestor, Species
from dnalm.simulation.settings import Clade
from dnalm.simulation.simulate import grow, simulate

SMALL_TREE = "((one:0.05,two:0.08):0.05,three:0.15);"


@pytest.fixture(scope="session")
def small() -> Clade:
    return Clade(
        seed=7,
        tree=SMALL_TREE,
        genome_bp=144_000,
        num_contigs=4,
        dev_contigs=1,
        test_contigs=1,
        isochore_bp=6_000,
        num_motif_variants=60,
        num_splice_variants=20,
    )


@pytest.fixture(scope="session")
def folder(small: Clade, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(small, tmp_path_factory.mktemp("clade") / "small")


@pytest.fixture(scope="session")
def small_grown(small: Clade) -> tuple[Ancestor, list[Species]]:
    return grow(small)


@pytest.fixture(scope="session")
def default_grown() -> tuple[Ancestor, list[Species]]:
    return grow(Clade())
