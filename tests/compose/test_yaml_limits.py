"""S9: a config file costs no more than its size, and is refused in one sentence if it would."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dnalm.compose import read_config, read_resolved
from dnalm.compose.config import check_yaml
from dnalm.errors import ConfigError
from dnalm.small_files import DEEPEST, MOST_BYTES

HEAD = "# @package _global_\n"
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 7)
)  # 9^7 values, on which OmegaConf works for longer than anybody waits
HOSTILE = {
    "aliases that stand for each other": (BOMB, ":2: &a0; no anchors or aliases; "),
    "a merge key": ("b: &b {x: 1}\na:\n  <<: *b\n", ":2: &b; no anchors or aliases; "),
    "an alias of nothing": ("a: *b\n", ":2: *b; no anchors or aliases; "),
    "5,000 levels": ("a: " + "[" * 5000 + "]" * 5000 + "\n", ":2: more than 64 levels; a flatter file"),
    "5,000 levels, not closed": ("a: " + "{b: " * 5000, ":2: more than 64 levels; a flatter file"),
    "50 MB": ("a: " + "x" * 50_000_000, f": more than {MOST_BYTES:,} bytes; a smaller file"),
}


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "experiment/mine.yaml"
    path.parent.mkdir()
    path.write_bytes(HEAD.encode() + (content if isinstance(content, bytes) else content.encode()))
    return path


@pytest.mark.parametrize("what", HOSTILE)
def test_what_would_cost_too_much_is_refused_by_file_and_line(what: str, tmp_path: Path) -> None:
    content, message = HOSTILE[what]
    path = written(tmp_path, content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ways = (
        lambda: read_config("pretrain", ["experiment=mine"], extra_folder=tmp_path),
        lambda: read_config("pretrain", [], extra_folder=tmp_path),  # whether it is asked for or not
        lambda: read_resolved(path, []),
    )
    for way in ways:
        with pytest.raises(ConfigError) as refused:
            way()
        assert str(refused.value).startswith(f"CFG-32 {path}{message}")
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib <= 100 * 1024


def test_bytes_that_are_no_text_are_reported_by_their_line(tmp_path: Path) -> None:
    path = written(tmp_path, b"seed: 1\nsteps: \xff\n")
    with pytest.raises(ConfigError, match=f"CFG-32 {path}:3: a byte 0xff; text in UTF-8"):
        read_config("pretrain", [], extra_folder=tmp_path)


@pytest.mark.parametrize(
    "content", ["seed: \0 1\n", "a: 1\na: 2\n", "seed: !!python/object/apply:os.system ['touch pwned']\n"]
)
def test_other_mistakes_are_one_sentence(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, content)
    with pytest.raises(ConfigError, match=r"^CFG-01 config: "):
        read_config("pretrain", ["experiment=mine"], extra_folder=tmp_path)
    assert not (tmp_path / "pwned").exists()


def test_a_byte_order_mark_is_named(tmp_path: Path) -> None:
    """Behind it Hydra overlooks the first line, and what follows would be put elsewhere in silence."""
    path = tmp_path / "experiment/mine.yaml"
    path.parent.mkdir()
    path.write_text(f"\ufeff{HEAD}seed: 3\n")
    with pytest.raises(ConfigError, match=f"CFG-32 {path}:1: a byte order mark; text in UTF-8 without one"):
        read_config("pretrain", ["experiment=mine"], extra_folder=tmp_path)


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=20,
)


@given(_PLAIN)
def test_what_a_run_writes_is_let_through(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.mktemp("yaml") / "config.yaml"
    path.write_text(yaml.safe_dump({"a": value}, sort_keys=False))
    check_yaml(path)


@given(st.integers(0, 2 * DEEPEST))
def test_the_limit_of_levels_is_where_it_says(tmp_path_factory: pytest.TempPathFactory, levels: int) -> None:
    path = tmp_path_factory.mktemp("yaml") / "config.yaml"
    path.write_text("[" * levels + "]" * levels)
    if levels <= DEEPEST:
        check_yaml(path)
    else:
        with pytest.raises(ConfigError, match="CFG-32"):
            check_yaml(path)
