"""What may not change between save and resume, and what may."""

from pathlib import Path

import pytest

from dnalm.data import Masking
from dnalm.errors import ConfigError
from dnalm.training.pretraining import contract_of
from dnalm.training.run import check_contract
from tests.training.test_masked_lm import datamodule


def contract(folder: Path, **changes: object) -> dict[str, object]:
    data = datamodule(folder, **{"micro": 4, **changes})  # type: ignore[arg-type]
    data.prepare_data()
    data.setup("fit")
    return dict(contract_of(data))


def test_ranks_workers_and_micro_batches_may_change(tmp_path: Path) -> None:
    saved = contract(tmp_path)
    check_contract(saved, contract(tmp_path, micro=16, workers=3), (), where="here")  # type: ignore[arg-type]


def test_each_field_that_differs_is_named_with_both_values(tmp_path: Path) -> None:
    saved = contract(tmp_path)
    now = contract(tmp_path, seed=2, masking=Masking(rate=0.2))
    with pytest.raises(ConfigError) as caught:
        check_contract(saved, now, (), where="runs/a/checkpoints/step-00000010")  # type: ignore[arg-type]
    text = str(caught.value)
    assert text.startswith("CKPT-10 runs/a/checkpoints/step-00000010: ")
    assert "masking.rate was 0.15, now 0.2; seed was 1, now 2;" in text
    assert "resume_allow=[masking.rate]" in text
    assert caught.value.exit_code == 2


def test_what_is_allowed_may_change(tmp_path: Path) -> None:
    saved, now = contract(tmp_path), contract(tmp_path, seed=2, masking=Masking(rate=0.2))
    check_contract(saved, now, ("seed", "masking"), where="here")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"CKPT-10 here: masking\.rate was"):
        check_contract(saved, now, ("seed", "mask"), where="here")  # type: ignore[arg-type]


def test_another_genome_or_another_division_differs(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    saved = contract(tmp_path / "a")
    name, sequence = (tmp_path / "a/genome.fa").read_text().split("\n", 1)
    (tmp_path / "b/genome.fa").write_text(f"{name}\n{sequence[1:]}")
    with pytest.raises(ConfigError, match=r"CKPT-10 here: data\.genome\.fa was [0-9a-f]+, now"):
        check_contract(saved, contract(tmp_path / "b"), (), where="here")  # type: ignore[arg-type]
