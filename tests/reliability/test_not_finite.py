"""R12: what is not finite is treated alike by all ranks, and is never saved."""

from __future__ import annotations

import json

import pytest

from dnalm.training.checkpoint import open_checkpoint
from tests.reliability.harness import STILL, Place, patched

NAN = {
    "loss": "_right = MaskedLMTraining.add_to_step\n"
    "def _bad(self, batch, loss):\n"
    "    _right(self, batch, loss)\n"
    "    if self.global_rank == 1 and self.global_step == 6:\n"
    "        self.step_totals.loss = self.step_totals.loss * float('nan')\n"
    "MaskedLMTraining.add_to_step = _bad\n",
    "gradient": "_right = MaskedLMTraining.on_after_backward\n"
    "def _bad(self):\n"
    "    _right(self)\n"
    "    if self.global_rank == 1 and self.global_step == 6:\n"
    "        next(p for p in self.parameters() if p.grad is not None).grad.mul_(float('inf'))\n"
    "MaskedLMTraining.on_after_backward = _bad\n",
}


@pytest.mark.parametrize(
    ("policy", "code", "what"),
    [
        ("raise", 5, "loss"),
        ("skip", 0, "loss"),
        ("rollback", 0, "loss"),
        ("skip", 0, "gradient"),
        pytest.param("raise", 5, "gradient", marks=pytest.mark.long),
        pytest.param("rollback", 0, "gradient", marks=pytest.mark.long),
    ],
)
def test_all_ranks_treat_a_step_that_is_not_finite_alike(
    policy: str, code: int, what: str, own: Place
) -> None:
    """R12. Of step 6, whose checkpoint before is that of step 5."""
    environment = patched(own.folder / "patch", {"dnalm.training.pretraining": NAN[what]})
    words = ("steps=12", "trainer.devices=2", f"trainer.not_finite={policy}", *STILL)
    found, said = own.run("run", *words, environment=environment)
    assert found == code, said
    if policy == "raise":
        assert "NUM-01 optimizer step 6, rank 1: " in said
        assert "on samples 24 to 27" in said
    states = [open_checkpoint(path).state for path in sorted((own.folder / "run/checkpoints").iterdir())]
    assert [state["step"] for state in states] == ([5] if policy == "raise" else [10, 12])
    if policy != "raise":
        assert states[-1]["left_out"] == [6]
        assert {step for step, _ in own.ledger("run")} == set(range(12))
    if policy == "rollback":
        assert "step 6 is not finite: back to step 5, and on without it" in said


LATE = "StepTraining.late_devices = ('cpu',)\n"  # as on a GPU


@pytest.mark.parametrize(("policy", "code"), [("raise", 5), ("skip", 0), ("rollback", 0)])
def test_a_step_that_is_read_late_is_treated_alike(policy: str, code: int, own: Place) -> None:
    """R12. Step 4, the last before a checkpoint, which is not written unless the step is judged."""
    loss = NAN["loss"].replace("global_step == 6", "global_step == 4")
    patches = {"dnalm.training.step": LATE, "dnalm.training.pretraining": loss}
    environment = patched(own.folder / "patch", patches)
    words = ("steps=12", "trainer.devices=2", "trainer.log_every=100", *STILL)
    fused = ("optim.fused=true", "trainer.checkpoint_every=5", f"trainer.not_finite={policy}")
    found, said = own.run("run", *words, *fused, environment=environment)
    assert found == code, said
    states = [open_checkpoint(path).state for path in sorted((own.folder / "run").glob("checkpoints/*"))]
    assert [state["step"] for state in states] == ([] if policy == "raise" else [10, 12])
    if policy == "raise":
        assert "NUM-01 optimizer step 4, rank 1: the training loss is nan on samples 16 to 19" in said
    else:
        assert states[-1]["left_out"] == [4]
    if policy == "rollback":
        assert "step 4 is not finite: back to step 0, and on without it" in said


WEIGHT = (
    "_right = MaskedLMTraining.training_step\n"
    "_done = []\n"
    "def _bad(self, batch, index):\n"
    "    if self.global_rank == 1 and self.global_step == 6 and not _done:\n"
    "        _done.append(1)\n"
    "        next(self.parameters()).data.fill_(float('nan'))\n"
    "    return _right(self, batch, index)\n"
    "MaskedLMTraining.training_step = _bad\n"
)


@pytest.mark.parametrize(
    ("policy", "code"), [("raise", 5), ("rollback", 0), pytest.param("skip", 5, marks=pytest.mark.long)]
)
def test_a_weight_that_is_not_finite_is_never_saved(policy: str, code: int, own: Place) -> None:
    """R12. It stays so however many steps are skipped, and only a checkpoint mends it."""
    environment = patched(own.folder / "patch", {"dnalm.training.pretraining": WEIGHT})
    words = ("steps=12", "trainer.devices=2", f"trainer.not_finite={policy}", *STILL)
    found, said = own.run("run", *words, environment=environment)
    assert found == code, said
    states = [open_checkpoint(path).state for path in sorted((own.folder / "run/checkpoints").iterdir())]
    assert [state["step"] for state in states] == ([5] if code else [10, 12])
    message = {
        "raise": "NUM-01 optimizer step 6, rank ",
        "skip": "NUM-04 step 10: ",
        "rollback": "back to step 5",
    }
    assert message[policy] in said


def test_a_run_that_ends_above_its_start_has_diverged(own: Place) -> None:
    """At a thousand times the usual rate; the model is left, and the same command says the same again."""
    words = ("steps=40", "optim.lr=3.0", "schedule.warmup_steps=1")
    for _ in range(2):
        code, said = own.run("run", *words)
        assert code == 5, said
        assert f"NUM-02 {own.folder}/run: the run diverged: its training loss began at " in said
        assert f"Fix: try optim.lr=0.3 run.dir={own.folder}/run-2, or a longer schedule.warmup_steps" in said
        assert "Traceback" not in said
    summary = json.loads((own.folder / "run/summary.json").read_text())
    assert summary["diverged"]
    assert summary["end_train_loss"] > 1.02 * summary["first_train_loss"]
    assert own.weights("run")


def test_no_eps_is_named_where_it_is_the_cause(own: Place) -> None:
    code, said = own.run("run", "steps=8", "optim.eps=0")
    assert code == 5, said
    assert "Fix: set optim.eps=1e-8" in said
