"""A run is never written over, and what is no run is never touched."""

from pathlib import Path

import pytest
import yaml

from dnalm.errors import CheckpointError, ConfigError, DataError
from dnalm.training import RunDirectory
from dnalm.training.run_directory import RunLock

CONFIG = {"_target_": "dnalm.commands.interpret.interpret", "seed": 1}
OTHER = {"_target_": "dnalm.commands.export.export"}


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder with what it holds."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_the_folder_is_a_function_of_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    RunDirectory(name="yeast").create(CONFIG)
    assert yaml.safe_load((tmp_path / "runs/yeast/config.yaml").read_text()) == CONFIG


def test_a_run_that_is_there_is_refused_unless_it_may_be_continued(tmp_path: Path) -> None:
    run = RunDirectory(name="a", dir=tmp_path / "a")
    run.create(CONFIG)
    run.claim(CONFIG, resumable=True)
    with pytest.raises(ConfigError, match=r"CFG-23 run.dir: .*/a .* holds a run; .*run.replace=true"):
        run.claim(CONFIG, resumable=False)
    with pytest.raises(
        ConfigError, match=r"CFG-23 run.dir: .*/a .* holds a run of another command, interpret;"
    ):
        run.claim(OTHER, resumable=True)


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize(
    "files",
    [
        {"thesis.tex": ""},
        {"config.yaml": "learning_rate: 3\n"},  # of another program
        {"config.yaml": "model:\n  _target_: dnalm.commands.x.y\n"},
        {"config.yaml": ""},
        {"ranks.txt": ""},
    ],
)
def test_what_is_no_run_is_never_continued_or_moved(
    files: dict[str, str], replace: bool, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    before = tree(tmp_path)
    with pytest.raises(ConfigError, match=r"CFG-23 run.dir: .* is there already and holds something else"):
        RunDirectory(name="a", dir=tmp_path, replace=replace).claim(CONFIG, resumable=True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/abs", "-rf", ".git", "a\0b", "a\nb", " a", "x" * 201]
)
def test_a_name_is_a_name(name: str) -> None:
    with pytest.raises(ConfigError, match=r"CFG-23 run.name: .* a plain name"):
        RunDirectory(name=name)


@pytest.mark.parametrize("name", ["yeast", "läuft", "v1.2", "a b", "x" * 200])
def test_what_a_name_may_hold(name: str) -> None:
    assert RunDirectory(name=name).path == Path("runs") / name


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("folder", ["", ".", "..", "/", "~", "home/..", "../work"])
def test_the_users_own_folders_are_no_outputs(
    folder: str, replace: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    path = tmp_path / "home" if folder == "~" else tmp_path / folder if "home" in folder else Path(folder)
    with pytest.raises(ConfigError, match=r"CFG-55 run.dir: .* is the (working|home) directory, or holds it"):
        RunDirectory(name="a", dir=path, replace=replace).claim(CONFIG, resumable=True)


def test_a_link_to_a_run_is_not_moved(tmp_path: Path) -> None:
    RunDirectory(name="a", dir=tmp_path / "a").create(CONFIG)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(ConfigError, match=r"holds a link to a run, which run.replace does not move"):
        RunDirectory(name="a", dir=tmp_path / "link", replace=True).claim(CONFIG, resumable=False)
    RunDirectory(name="a", dir=tmp_path / "link").claim(CONFIG, resumable=True)


def test_replacing_moves_the_old_run_aside_once_the_new_one_begins(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        run = RunDirectory(name="a", dir=tmp_path / "a", replace=True)
        with run.opened(CONFIG, resumable=False):
            assert tree(tmp_path).keys() >= {"a/config.yaml"} or seed == 1
            run.create({**CONFIG, "seed": seed})
    seeds = {
        path.name: yaml.safe_load((path / "config.yaml").read_text())["seed"] for path in tmp_path.iterdir()
    }
    assert seeds == {"a.old-1": 1, "a.old-2": 2, "a": 3}
    assert all(path.name == "config.yaml" for path in tmp_path.glob("*/*"))


def test_a_run_at_work_is_not_moved_away(tmp_path: Path) -> None:
    RunDirectory(name="a", dir=tmp_path / "a").create(CONFIG)
    replacing = RunDirectory(name="a", dir=tmp_path / "a", replace=True)
    with (
        RunLock(tmp_path / "a"),
        pytest.raises(CheckpointError, match="CKPT-12"),
        replacing.opened(CONFIG, resumable=False),
    ):
        pass
    with RunLock(tmp_path / "a"), pytest.raises(CheckpointError, match="CKPT-12"):
        replacing.create(CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def refuse(error: type[ConfigError | DataError | CheckpointError]) -> None:
    raise error("X-01", where="here", found="that", expected="this", fix="mend it")


def begin_and_refuse(
    run: RunDirectory, error: type[ConfigError | DataError | CheckpointError], folder: str = "ranks"
) -> None:
    with run.opened(CONFIG, resumable=False):
        run.create({**CONFIG, "seed": 2})
        (run.path / folder).mkdir()
        (run.path / folder / "0.log").touch()
        refuse(error)


@pytest.mark.parametrize("error", [ConfigError, DataError, CheckpointError])
@pytest.mark.parametrize("state", ["absent", "empty", "run"])
def test_a_refusal_leaves_all_as_it_was(
    state: str, error: type[ConfigError | DataError | CheckpointError], tmp_path: Path
) -> None:
    path = tmp_path / "runs/deep/a"
    if state != "absent":
        path.mkdir(parents=True)
    if state == "run":
        RunDirectory(name="a", dir=path).create(CONFIG)
        (path / "checkpoints").mkdir()
    before = tree(tmp_path)
    run = RunDirectory(name="a", dir=path, replace=state == "run")
    with pytest.raises(error), run.opened(CONFIG, resumable=False):
        refuse(error)
    assert tree(tmp_path) == before
    with pytest.raises(error):
        begin_and_refuse(run, error)
    assert tree(tmp_path) == before


def test_a_run_with_checkpoints_is_kept_whatever_ends_it(tmp_path: Path) -> None:
    run = RunDirectory(name="a", dir=tmp_path / "a")
    with pytest.raises(DataError):
        begin_and_refuse(run, DataError, folder="checkpoints")
    assert run.begun


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    RunDirectory(name="a", dir=tmp_path / "a").create(CONFIG)
    assert (tmp_path / "a/config.yaml").exists()


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        RunDirectory(name="a", dir=tmp_path / "runs/a").create(CONFIG)


def test_a_folder_that_took_the_place_of_the_run_is_not_emptied(tmp_path: Path) -> None:
    """Somebody moved the run away while it ran, and put a folder of their own there."""
    run = RunDirectory(name="a", dir=tmp_path / "a")
    lock = RunLock(run.path)
    with pytest.raises(DataError, match="late"), lock, run.undone_if_refused(lock):
        _replace_by_anothers(run.path)
    assert not run.undone
    assert [path.name for path in run.path.iterdir()] == ["mine.txt"]


def _replace_by_anothers(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.mkdir()
    (path / "mine.txt").write_text("keep")
    raise DataError("X-01", where="late", found="a", expected="b", fix="c=d")


def test_a_run_beside_this_one_is_named_by_the_key_that_named_this_one(tmp_path: Path) -> None:
    assert RunDirectory(name="yeast").another == "run.name=yeast-2"
    assert RunDirectory(name="yeast", dir=tmp_path / "a").another == f"run.dir={tmp_path / 'a'}-2"
