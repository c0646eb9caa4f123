"""The frame of the doctor: every check has its line, no check ends the others, lines fit their width."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dnalm.commands.plan import read_recipe
from dnalm.compose import read_config
from dnalm.data import BatchPlan
from dnalm.data.batch import PackPlan
from dnalm.errors import CheckpointError, ConfigError, DataError
from dnalm.evaluation.doctor import machine, trial
from dnalm.evaluation.doctor.examination import (
    Check,
    Finding,
    Line,
    Untried,
    examine,
    failed,
    failed_by,
    passed,
    there,
    warned,
)
from dnalm.evaluation.doctor.finetuning import _rule
from dnalm.evaluation.doctor.pretraining import _on_gpus
from dnalm.evaluation.doctor.recipe import Reference, batch, rate
from dnalm.evaluation.plan import Plan
from dnalm.models.gpus import find_gpu

WORD = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
SENTENCE = st.lists(WORD, min_size=1, max_size=30).map(" ".join)


def raising(error: Exception) -> Check:
    def look() -> Iterator[Finding]:
        yield passed("so far")
        raise error

    return Check("raising", look)


ERROR = {"where": "here", "found": "this", "expected": "that", "fix": "do it"}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("CSV-01", **ERROR), 3),
        (ConfigError("CFG-01", **ERROR), 2),
        (CheckpointError("CKPT-01", **ERROR), 2),
        (OSError(errno.ENOSPC, "No space left on device", "/a/file"), 3),
        (ZeroDivisionError("a bug"), 2),
    ],
)
def test_an_error_is_a_fail_with_its_own_sentence_and_the_next_check_follows(
    error: Exception, code: int
) -> None:
    found = examine([raising(error), Check("next", lambda: [passed("well")])], prints=False)
    assert [line.finding.level for line in found.lines] == ["PASS", "FAIL", "PASS"]
    assert found.exit_code == code
    said = found.lines[1].finding
    assert said.fix
    if hasattr(error, "fix"):
        assert f"{said.found}. Fix: {said.fix}." == str(error)


def test_the_exit_code_is_that_of_the_first_fail() -> None:
    both = [
        Check("a", lambda: [failed("x", fix="y", of_data=True)]),
        Check("b", lambda: [failed("x", fix="y")]),
    ]
    assert examine(both, prints=False).exit_code == 3
    assert examine(both[::-1], prints=False).exit_code == 2
    assert examine([Check("a", lambda: [warned("x", fix="y"), passed("z")])], prints=False).exit_code == 0


def test_what_was_not_left_is_a_skip_and_no_fail() -> None:
    found = examine([Check("a", lambda: [passed(there(None, "no genome was opened"))])], prints=False)
    assert [vars(line.finding) for line in found.lines] == [
        {"level": "SKIP", "found": "not tried: no genome was opened", "fix": "", "exit_code": 0}
    ]
    with pytest.raises(Untried, match="no genome"):
        there(None, "no genome")


def test_checks_in_a_row_that_were_not_tried_share_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    def untried() -> list[Finding]:
        raise Untried("no genome was opened")

    examine([Check("first", untried), Check("second", untried), Check("last", lambda: [passed("well")])])
    assert capsys.readouterr().out == (
        "SKIP  first     not tried: no genome was opened; nor second\nPASS  last      well\n"
    )


@given(SENTENCE, SENTENCE, st.integers(min_value=60, max_value=100))
def test_a_line_keeps_every_word_within_its_width(found: str, fix: str, width: int) -> None:
    text = Line("precision", failed(found, fix=fix)).text(width)
    assert max(map(len, text.splitlines())) <= width
    assert text.split() == ["FAIL", "precision", *found.split(), "->", *fix.split()]
    assert all(line.startswith((" " * 16, "FAIL  ")) for line in text.splitlines())


def test_an_invisible_character_of_a_name_is_an_escape() -> None:
    assert "\\x1b[2J" in Line("paths", failed_by(DataError("A-01", **ERROR | {"where": "\x1b[2J"}))).text(80)


@given(st.integers(min_value=0, max_value=10**12), st.integers(min_value=1, max_value=10**12))
def test_a_need_is_weighed_by_what_there_is(needed: int, available: int) -> None:
    level = machine.weigh(needed, available, "{} of {}", fix="free some").level
    assert level == ("FAIL" if needed > available else "WARN" if needed > 0.7 * available else "PASS")


REFERENCE = Reference(name="experiment=x", lr=1e-3, of_step=1000, samples=10)


@pytest.mark.parametrize(
    ("lr", "level"),
    [(1e-3, "PASS"), (3e-3, "PASS"), (3.1e-3, "WARN"), (3e-4, "WARN"), (3.3e-2, "FAIL"), (1e-5, "WARN")],
)
def test_a_rate_is_compared_with_the_recipe(lr: float, level: str) -> None:
    def constant(*, total_steps: int) -> Any:  # noqa: ANN401
        return lambda step: 0.5 if step < total_steps else 0.0

    (found,) = rate({"optim": {"lr": lr}}, constant, 10, REFERENCE)
    assert found.level == level
    assert f"at most {lr / 2:.3g} in 10 steps" in found.found
    assert found.fix == ("" if level == "PASS" else "optim.lr=0.001")


@pytest.mark.parametrize(("tokens", "level"), [(1000, "PASS"), (3000, "PASS"), (3001, "WARN"), (333, "WARN")])
def test_a_step_is_compared_with_the_recipe(tokens: int, level: str) -> None:
    assert [each.level for each in batch(tokens, "tokens", REFERENCE)] == [level]
    assert [each.level for each in batch(tokens, "tokens", None)] == ["PASS"]


@pytest.mark.parametrize(
    ("pass_s", "expected"),
    [
        (2.4, (32, 8)),  # four passes of 2.4 s take less than 10 s: the whole step
        (4.0, (16, 8)),  # two of them
        (9.0, (8, 8)),
        (20.0, (4, 4)),  # half a pass
        (1e6, (1, 1)),
    ],
)
def test_a_trial_takes_as_much_of_a_step_as_there_is_time_for(
    pass_s: float, expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_seconds", lambda *_: pass_s)
    for plan in (
        BatchPlan(global_size=32, micro_size=8),
        PackPlan(global_size=32, micro_size=8, micro_tokens=999),
    ):
        run: Any = SimpleNamespace(batch=plan, capacity=SimpleNamespace(pack=None))
        taken = trial._affordable(run)
        assert (taken.global_size, taken.most) == expected
        assert taken.accumulation(1) * taken.most == taken.global_size
        assert (taken is plan) == (expected == (32, 8))


def on_a_gpu(monkeypatch: pytest.MonkeyPatch, name: str, gibibytes: int, *, free: float = 1.0) -> None:
    total = gibibytes * 2**30
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=total))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (int(free * total), total))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_a_model_too_large_for_the_gpus_fails_with_what_the_plan_advises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = read_recipe(read_config("plan", ["experiment=nt_v2_500m", "batch.micro_size=64"]))
    on_a_gpu(monkeypatch, "NVIDIA A10", 24)
    found = _on_gpus(recipe, 2)
    kind = find_gpu("A10")
    assert kind is not None
    plan = Plan(recipe=recipe, gpu=kind, gpus=2)
    assert not plan.fits
    assert (found.level, found.fix) == ("FAIL", " or ".join(plan.advice()))
    on_a_gpu(monkeypatch, "NVIDIA H200", 139)
    assert _on_gpus(recipe, 2).level == "PASS"


@pytest.mark.parametrize(("free", "level"), [(0.9, "PASS"), (0.5, "WARN")])
def test_a_gpu_that_others_use_is_a_warning(free: float, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_gpu(monkeypatch, "NVIDIA A10", 24, free=free)
    trainer = SimpleNamespace(device="cuda", world_size=1, place="1 of 2 GPUs, bf16-mixed", check=print)
    subject: Any = SimpleNamespace(trainer=trainer, batch=None)
    found = [*machine.device(subject)]
    assert found[0].level == level
    assert found[-1] == passed("1 of 2 GPUs, bf16-mixed: NVIDIA A10")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.1234, "0.123 seconds"), (119, "119 seconds"), (7200, "2 hours"), (1e9, "11,574 days")],
)
def test_durations_have_three_digits(seconds: float, text: str) -> None:
    assert trial._duration(seconds) == text


def test_a_rule_without_bases_is_learned_on_training_and_judged_on_the_test() -> None:
    lengths, labels = np.array([60, 60, 66, 66]), np.array([0, 0, 1, 1])
    assert _rule(lengths, labels, lengths, labels) == 1.0
    assert _rule(lengths, labels, np.array([60, 66, 99]), np.array([1, 1, 0])) == pytest.approx(2 / 3)
