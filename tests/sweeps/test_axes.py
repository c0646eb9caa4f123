"""Axes are read by Hydra's grammar, and a grid is their product."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.errors import ConfigError
from dnalm.sweeps import Axis, Grid, Interval, read_axes
from dnalm.sweeps.results import job_id, program_job

values = st.lists(st.integers(-1000, 1000).map(str), min_size=2, max_size=5, unique=True)
keys = st.lists(
    st.sampled_from(["a", "b.c", "optim.lr", "model/head", "d"]), min_size=1, max_size=4, unique=True
)


@given(keys=keys, data=st.data())
def test_a_grid_has_every_combination_once(keys: list[str], data: st.DataObject) -> None:
    lists = {key: data.draw(values) for key in keys}
    axes, shared = read_axes([f"{key}={','.join(texts)}" for key, texts in lists.items()])
    jobs = Grid().known(axes, [])
    assert shared == []
    assert len({tuple(job.items()) for job in jobs}) == len(jobs) == math.prod(map(len, lists.values()))
    assert all(list(job) == keys and all(job[key] in lists[key] for key in keys) for job in jobs)
    assert len({job_id("pretrain", [], job) for job in jobs}) == len(jobs)


@pytest.mark.parametrize(
    ("word", "axis"),
    [
        ("a=1,2", Axis("a", ("1", "2"))),
        ("a=1,1,2", Axis("a", ("1", "2"))),
        ("a=choice(x,'y,z')", Axis("a", ("x", r"y\,z"))),
        ("a=[1,2],[3]", Axis("a", ("[1,2]", "[3]"))),
        ("a=range(1,4)", Axis("a", ("1", "2", "3"), ordered=True)),
        ("a=range(0.1,0.5,0.1)", Axis("a", ("0.1", "0.2", "0.3", "0.4"), ordered=True)),
        ("a=range(1e-6,4e-6,1e-6)", Axis("a", ("1e-06", "2e-06", "3e-06"), ordered=True)),
        ("++a=1e-4,4e-4", Axis("++a", ("0.0001", "0.0004"))),
        ("size=glob(*,exclude=f*)", Axis("size", ("small", "tiny"))),
        ("a=interval(1,10)", Axis("a", (), interval=Interval(1.0, 10.0, log=False))),
        ("a=int(interval(1,10))", Axis("a", (), interval=Interval(1, 10, log=False))),
        ("a=tag(log,interval(1e-5,1e-2))", Axis("a", (), interval=Interval(1e-5, 1e-2, log=True))),
    ],
)
def test_axes_of_hydras_grammar(word: str, axis: Axis) -> None:
    assert read_axes([word, "b=1", "~c"]) == ([axis], ["b=1", "~c"])


@pytest.mark.parametrize("words", [["a=1,2", "a=3"], ["a=3", "++a=1,2"], ["a=1,2", "a=3,4"], ["a=1", "a=1"]])
def test_a_key_that_is_given_twice_is_refused_as_in_one_run(words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read_axes(words)
    assert str(caught.value) == (
        f"CFG-05 a: {words[0]} and {words[1]}: given twice; each once. Fix: leave one of them out."
    )


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("a=(1", "SWEEP-01 a=(1: "),
        ("a=range(3,1)", "SWEEP-01 a=range(3,1): no value; values in Hydra's grammar"),
        ("a=range(0,1000000000)", "SWEEP-01 a=range(0,1000000000): more than 10,000 values;"),
        ("a=interval(3,1)", "SWEEP-01 a=interval(3,1): an interval without numbers;"),
        ("a=tag(log,interval(0,1))", "SWEEP-01 a=tag(log,interval(0,1)): an interval without numbers;"),
        ("a=glob(*)", "SWEEP-01 a=glob(*): no value;"),
    ],
)
def test_an_axis_that_cannot_be_swept_is_refused(word: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_axes([word])
    assert str(caught.value).startswith(message)


def test_a_grid_refuses_intervals_and_too_many_jobs() -> None:
    axes, _ = read_axes(["a=interval(0,1)"])
    with pytest.raises(ConfigError, match=r"an interval on a grid; .*hparams_search=optuna"):
        Grid().known(axes, [])
    axes, _ = read_axes(["a=range(0,1000)", "b=range(0,11)"])
    with pytest.raises(ConfigError, match="SWEEP-02 -m: 11,000 jobs; at most 10,000"):
        Grid().known(axes, [])


def test_a_job_id_depends_on_what_is_given_and_not_on_its_order() -> None:
    first = job_id("pretrain", ["size=tiny", "steps=4"], {"optim.lr": "1e-4"})
    assert first == job_id("pretrain", ["steps=4", "size=tiny"], {"optim.lr": "1e-4"})
    assert first.startswith("lr_1e-4-")
    others = (
        job_id("finetune", ["size=tiny", "steps=4"], {"optim.lr": "1e-4"}),
        job_id("pretrain", ["size=tiny", "steps=5"], {"optim.lr": "1e-4"}),
        job_id("pretrain", ["size=tiny", "steps=4"], {"optim.lr": "2e-4"}),
        job_id("pretrain", ["steps=5", "size=tiny", "steps=4"], {"optim.lr": "1e-4"}),
    )
    assert len({first, *others}) == 5


@given(value=st.text(max_size=200))
def test_a_job_id_is_one_plain_file_name(value: str) -> None:
    name = job_id("pretrain", [], {"a.b": value})
    assert Path(name).name == name
    assert len(name) <= 80
    assert not name.startswith((".", "-"))


def test_a_run_directory_may_have_any_name() -> None:
    job = program_job("pretrain", ["a=1"], Path('a b/"c, d"'), {"lr": "2"}, ["--config-dir", "mine"])
    where = f'run.dir="a b/\\"c, d\\"/{job.id}"'
    assert job.command[3:] == ("dnalm", "pretrain", "a=1", "lr=2", where, "--config-dir", "mine")


def test_a_command_that_cannot_go_on_begins_anew() -> None:
    assert "run.replace=true" in program_job("export", [], Path("x"), {}, []).command
    assert "run.replace=true" not in program_job("pretrain", [], Path("x"), {}, []).command
