"""Jobs on configs of their own: what they are called, what they are given, what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dnalm.errors import ConfigError
from dnalm.sweeps import Job
from dnalm.sweeps.command_line import as_words, composed_job, wrong_with

KMERS = {"_target_": "dnalm.tokenizers.KmerTokenizer", "k": 3}


def job(folder: Path, *words: str, parts: dict[str, object] | None = None) -> Job:
    return composed_job(
        "pretrain", words, folder, {"tokenizer": "3-mers"}, parts=parts or {"tokenizer": KMERS}
    )


def test_a_config_is_written_beside_the_run_directory_and_handed_over(tmp_path: Path) -> None:
    made = job(tmp_path, "size=tiny", "steps=7")
    assert made.command[-4:] == ("dnalm", "pretrain", "--config", str(tmp_path / f"{made.id}.yaml"))
    config = yaml.safe_load((tmp_path / f"{made.id}.yaml").read_text())
    assert (config["steps"], config["tokenizer"]) == (7, KMERS)
    assert config["run"]["dir"] == str(tmp_path / made.id)
    assert wrong_with(made) == ""


def test_the_same_config_is_the_same_job_in_any_folder_and_another_is_another(tmp_path: Path) -> None:
    names = [
        job(tmp_path / "a", "steps=7", "size=tiny").id,
        job(tmp_path / "b", "size=tiny", "steps=7").id,
        job(tmp_path / "a", "size=tiny", "steps=8").id,
        job(tmp_path / "a", "size=tiny", "steps=7", parts={"tokenizer": {**KMERS, "k": 4}}).id,
    ]
    assert names[0] == names[1]
    assert len(set(names)) == 3


def test_what_is_wrong_with_a_config_is_a_sentence(tmp_path: Path) -> None:
    assert "tokenizer.j" in wrong_with(job(tmp_path, parts={"tokenizer": {**KMERS, "j": 4}}))


def test_words_that_cannot_be_read_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="CFG-03 size: no option 'tinny'"):
        job(tmp_path, "size=tinny")


def test_a_job_may_be_composed_of_the_users_own_configs(tmp_path: Path) -> None:
    (tmp_path / "mine/size").mkdir(parents=True)
    (tmp_path / "mine/size/ours.yaml").write_text("# @package _global_\nsteps: 7\n")
    told = {"tokenizer": "3-mers"}
    mine = tmp_path / "mine"
    made = composed_job(
        "pretrain", ["size=ours"], tmp_path, told, parts={"tokenizer": KMERS}, config_dir=mine
    )
    assert yaml.safe_load((tmp_path / f"{made.id}.yaml").read_text())["steps"] == 7


def test_nested_settings_are_words() -> None:
    settings = {"size": "tiny", "optim": {"lr": 0.1, "betas": [0.9, 0.98]}, "flag": True, "none": None}
    assert as_words(settings) == [
        "size=tiny", "optim.lr=0.1", "optim.betas=[0.9, 0.98]", "flag=true", "none=null",
    ]  # fmt: skip


@given(
    st.dictionaries(
        st.sampled_from("abc"), st.integers() | st.dictionaries(st.sampled_from("de"), st.integers())
    )
)
def test_every_leaf_is_one_word(settings: dict[str, int | dict[str, int]]) -> None:
    leaves = sum(len(value) if isinstance(value, dict) else 1 for value in settings.values())
    assert len(as_words(settings)) == leaves
