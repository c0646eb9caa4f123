"""A run is never written over."""

from pathlib import Path

import pytest
import yaml

from dnalm.errors import ConfigError
from dnalm.training import RunDirectory


def test_the_folder_is_a_function_of_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = RunDirectory(name="yeast")
    run.create({"seed": 1})
    assert yaml.safe_load((tmp_path / "runs/yeast/config.yaml").read_text()) == {"seed": 1}


def test_a_run_that_is_there_is_refused_unless_it_may_go_on(tmp_path: Path) -> None:
    RunDirectory(name="a", dir=tmp_path / "a").create({})
    RunDirectory(name="a", dir=tmp_path / "a").claim(goes_on=True)
    with pytest.raises(ConfigError, match=r"CFG-23 run.dir: .*/a .* holds a run; .*run.replace=true"):
        RunDirectory(name="a", dir=tmp_path / "a").claim(goes_on=False)


def test_what_is_no_run_is_never_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match=r"CFG-23 run.dir: .* is there already and holds something else"):
        RunDirectory(name="a", dir=tmp_path).claim(goes_on=True)


def test_replacing_moves_the_old_run_aside(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        run = RunDirectory(name="a", dir=tmp_path / "a", replace=True)
        run.claim(goes_on=True)
        run.create({"seed": seed})
    seeds = {
        path.name: yaml.safe_load((path / "config.yaml").read_text())["seed"] for path in tmp_path.iterdir()
    }
    assert seeds == {"a.old-1": 1, "a.old-2": 2, "a": 3}


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    RunDirectory(name="a", dir=tmp_path / "a").create({})
    assert (tmp_path / "a/config.yaml").exists()


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        RunDirectory(name="a", dir=tmp_path / "runs/a").create({})
