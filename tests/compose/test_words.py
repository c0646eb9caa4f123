"""Any value can be typed, and a message says how."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.compose.config import read_config
from dnalm.compose.neighbours import pasteable, read_words
from dnalm.errors import ConfigError
from dnalm.paths import as_typed

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)


@given(TEXT | st.text("a\\\"'${}[],= :", min_size=1, max_size=8))
def test_a_quoted_word_arrives_as_it_was(value: str) -> None:
    (word,) = shlex.split(pasteable("run.dir", value))
    (read,) = read_words([word])
    assert (read.key, read.text) == ("run.dir", word)
    if "\\${" not in value:  # a backslash before an interpolation is OmegaConf's own
        assert read_config("pretrain", [word, "data=demo"])["run"]["dir"] == value


@pytest.mark.parametrize("group", ["model", "tokenizer"])
@pytest.mark.parametrize("path", ["a b/c", "./x,y", "/data/{run}", "it's/here", "[1]/2", "größe/ß"])
def test_a_quoted_path_is_taken_by_groups_as_by_keys(group: str, path: str) -> None:
    (word,) = shlex.split(pasteable(group, path))
    config = read_config("pretrain", [word])
    assert config[group]["source" if group == "model" else "path"] == path


@given(TEXT.filter(lambda text: "$" not in text))
def test_a_path_that_is_printed_to_be_typed_arrives_as_it_is(value: str) -> None:
    (word,) = shlex.split(as_typed("model", value))
    assert read_words([word])[0].value == value


def test_a_plain_path_is_typed_without_quotes() -> None:
    assert as_typed("model", "./my_run-1.fa") == "model=./my_run-1.fa"


def test_a_folder_without_a_slash_is_taken_where_no_option_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no option 'demo'.* or a path, such as model=\./demo\."):
        read_config("embed", ["model=demo"])
    for name in ("demo", "2026", "bert"):
        (tmp_path / name).mkdir()
    assert read_config("embed", ["model=demo"])["model"]["source"] == "demo"
    assert read_config("embed", ["model=2026"])["model"]["source"] == "2026"
    assert read_config("pretrain", ["model=bert"])["model"]["_target_"] == "dnalm.models.Encoder"


@pytest.mark.parametrize("name", ["a=b,c", "größe 空", "it's {x: 1}", "[1,2]", 'say "so"'])
def test_the_fix_of_a_message_can_be_pasted(name: str, tmp_path: Path) -> None:
    """S8."""
    with pytest.raises(ConfigError) as caught:
        read_words(["seed=1", f"run.dir={tmp_path}/{name}"])
    said = str(caught.value)
    assert said.startswith(f"CFG-01 run.dir: {tmp_path}/{name}; ")
    (word,) = shlex.split(said.partition("Fix: write ")[2].rstrip("."))
    assert read_config("pretrain", [word, "data=demo"])["run"]["dir"] == f"{tmp_path}/{name}"


@pytest.mark.parametrize(
    ("word", "twice"),
    [
        ("data.species={a: 1, a: 2}", "a"),
        ("data={b: {c: 1, a: 2, c: 3}}", "c"),
        ("data=[{a: 1}, {a: 2, b: 1, a: 3}]", "a"),
        ("data={1: x, 1: y}", "1"),
    ],
)
def test_a_key_that_stands_twice_within_braces_is_refused(word: str, twice: str) -> None:
    key = word.partition("=")[0]
    with pytest.raises(ConfigError, match=f"CFG-05 {key}: {twice}: given twice; each once"):
        read_words([word])


@pytest.mark.parametrize(
    "word", ["data={a: 1, b: 2}", "data=[{a: 1}, {a: 2}]", "data={a: {a: 1}}", "a='{b: 1'"]
)
def test_a_key_that_stands_once_in_each_pair_of_braces_is_read(word: str) -> None:
    assert read_words([word])[0].text == word
