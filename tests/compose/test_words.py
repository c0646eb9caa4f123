"""Any value can be typed, and a message says how."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.compose.config import read_config
from dnalm.compose.words import pasteable, unreadable

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)


@given(TEXT | st.text("a\\\"'${}[],= :", min_size=1, max_size=8))
def test_a_quoted_word_arrives_as_it_was(value: str) -> None:
    (word,) = shlex.split(pasteable("run.dir", value))
    assert unreadable([word]) is None
    if "\\${" not in value:  # a backslash before an interpolation is OmegaConf's own
        assert read_config("pretrain", [word, "data=demo"])["run"]["dir"] == value


@pytest.mark.parametrize("name", ["a=b,c", "größe 空", "it's {x: 1}", "[1,2]", 'say "so"'])
def test_the_fix_of_a_message_can_be_pasted(name: str, tmp_path: Path) -> None:
    """S8."""
    error = unreadable(["seed=1", f"run.dir={tmp_path}/{name}"])
    assert error is not None
    said = str(error)
    assert said.startswith(f"CFG-01 run.dir: {tmp_path}/{name}; ")
    (word,) = shlex.split(said.partition("Fix: write ")[2].rstrip("."))
    assert read_config("pretrain", [word, "data=demo"])["run"]["dir"] == f"{tmp_path}/{name}"
