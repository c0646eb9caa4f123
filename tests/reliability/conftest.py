"""Runs that several files compare with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.harness import Place, make_place


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return make_place(tmp_path_factory.mktemp("reliability"))


@pytest.fixture
def own(tmp_path: Path) -> Place:
    return make_place(tmp_path)
