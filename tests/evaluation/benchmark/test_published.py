"""Published tables are read with their scale, and one that cannot be read is a sentence."""

from pathlib import Path

import pytest

from dnalm.errors import ConfigError
from dnalm.evaluation.benchmark.benchmark import read_recipes, read_tasks
from dnalm.evaluation.benchmark.published import Published, read_published
from dnalm.paths import published_folder

LISTS = {
    "gue_dnabert2_table4.csv": "gue",
    "gue_grover.csv": "gue",
    "nt_18_tasks.csv": "nt",
    "nt_grover.csv": "nt",
}


@pytest.mark.parametrize("name", sorted(path.name for path in published_folder().glob("*.csv")))
def test_every_published_number_is_of_a_listed_task_and_has_a_source(name: str) -> None:
    tasks = {task.name for task in read_tasks(Path(f"{LISTS[name]}.tsv"))}
    found = read_published([name])
    assert {each.task for each in found} <= tasks
    assert all(-1 <= each.value <= 1 for each in found)
    known = {recipe.name for some in read_recipes().values() for of in some.values() for recipe in of}
    assert {each.recipe for each in found} <= {*known, ""}
    assert (published_folder() / name).read_text().startswith("# ")


def test_the_averages_of_gue_are_the_published_ones() -> None:
    values: dict[str, list[float]] = {}
    for each in read_published(["gue_dnabert2_table4.csv"]):
        values.setdefault(each.model, []).append(each.value)
    assert {len(of) for of in values.values()} == {28}
    means = [100 * sum(of) / len(of) for of in values.values()]
    published = [61.62, 61.14, 60.05, 60.51, 55.43, 57.79, 61.41, 66.93, 66.81, 67.78]
    assert means == pytest.approx(published, abs=0.011)


def test_scale_and_empty_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "paper.csv").write_text("# A paper\n# recipe: of_x\n# scale: 100\ntask,x,y\na,50,\nb,,25\n")
    monkeypatch.setattr("dnalm.evaluation.benchmark.published.published_folder", lambda: tmp_path)
    expected = [
        Published(task="a", model="x", value=0.5, source="paper.csv", recipe="of_x"),
        Published(task="b", model="y", value=0.25, source="paper.csv", recipe="of_x"),
    ]
    assert read_published(["paper.csv"]) == expected


def test_what_cannot_be_read_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "paper.csv").write_text("task,x\na,high\n")
    monkeypatch.setattr("dnalm.evaluation.benchmark.published.published_folder", lambda: tmp_path)
    with pytest.raises(ConfigError, match=r"BENCH-08 .*paper\.csv: a cell 'high'; a number, or nothing"):
        read_published(["paper.csv"])
    with pytest.raises(ConfigError, match=r"other\.csv: it cannot be read: No such file"):
        read_published(["other.csv"])
