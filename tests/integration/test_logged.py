"""What TensorBoard and W&B hold of whole runs is what the run directory holds."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.image import imread

from dnalm.training.loggers import flat
from tests.integration import test_finetune
from tests.integration.test_pretrain import genome, on, pretrain
from tests.logged import Offline, accumulated, columns, offline_runs, scalars

__all__ = ["genome", "tables"]  # fixtures
tables = test_finetune.tables
BESIDE = {"tokens_per_s", "bases_per_s", "data_wait", "peak_memory", "model_flops_per_s", "mfu_of_measured"}


@pytest.fixture(scope="module")
def plain(genome: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that logs nowhere else."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    pretrain(*on(genome), f"run.dir={folder}")
    return folder


def same_bits(run: Path, other: Path) -> None:
    for name in ("metrics.csv", "model/model.safetensors"):
        assert (run / name).read_bytes() == (other / name).read_bytes()


def summary_of(run: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return summary


def hold_the_same(found: Offline, run: Path) -> None:
    """Config, rows, summary and its table."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert {name: found.config[name] for name in config} == config
    for name, values in columns(run / "metrics.csv").items():
        assert [(row["trainer/global_step"], row[name]) for row in found.rows if name in row] == values
    summary = summary_of(run)
    assert {name: found.summary[name] for name in summary} == summary
    (table,) = (row["results/path"] for row in found.rows if "results/path" in row)
    shown = json.loads((found.media / table).read_text())
    assert shown["columns"] == ["figure", "value"]
    expected = flat(summary)
    assert dict(shown["data"]) == {
        name: value if isinstance(value, str) else str(value) if value is not None else "null"
        for name, value in expected.items()
        if not isinstance(value, list | dict)
    } | {name: json.dumps(value) for name, value in expected.items() if isinstance(value, list | dict)}
    assert found.exit_code == 0
    assert not found.is_preempting


def test_wandb_offline_holds_config_rows_pictures_and_summary(
    genome: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pretrain(*on(genome), "logger=wandb", "logger.offline=true", "run.name=bias")
    run = Path("runs/bias")
    (found,) = offline_runs(run)
    assert found.id == (run / "wandb/id").read_text()
    hold_the_same(found, run)
    steps = [row["trainer/global_step"] for row in found.rows if "train_loss" in row]
    assert steps == [0, 1, 2, 3], "one row a step"
    assert all(row.keys() >= BESIDE for row in found.rows if "train_loss" in row)
    (name,) = (row["figures/loss/path"] for row in found.rows if "figures/loss/path" in row)
    assert (found.media / name).read_bytes() == (run / "loss.png").read_bytes()
    same_bits(run, plain)
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    shutil.rmtree("runs")


def test_tensorboard_holds_config_rows_pictures_and_summary(
    genome: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pretrain(*on(genome), "logger=tensorboard", "run.name=board")
    run, folder = Path("runs/board"), Path("runs/board/tensorboard")
    shown, expected = scalars(folder), columns(run / "metrics.csv")
    for name, values in expected.items():
        assert shown[name] == [(step, float(np.float32(value))) for step, value in values]
    assert set(shown) == BESIDE | set(expected)
    assert [step for step, _ in shown["tokens_per_s"]] == [0, 1, 2, 3]
    events = accumulated(folder)
    (config,) = events.Tensors("config/text_summary")
    text = config.tensor_proto.string_val[0].decode()
    assert yaml.safe_load(text) == yaml.safe_load((run / "config.yaml").read_text())
    (table,) = events.Tensors("summary/text_summary")
    rows = dict(
        line.strip("| ").split(" | ") for line in table.tensor_proto.string_val[0].decode().splitlines()[2:]
    )
    summary = summary_of(run)
    assert rows.keys() == flat(summary).keys()
    assert float(rows["val_bits_per_base"]) == summary["val_bits_per_base"]
    (image,) = events.Images("figures/loss")
    assert (image.height, image.width) == imread(run / "loss.png").shape[:2]
    same_bits(run, plain)
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    shutil.rmtree("runs")


def test_a_finetuning_logs_the_figures_of_its_task(tables: Path, tmp_path: Path) -> None:
    board, bias = tmp_path / "board", tmp_path / "bias"
    summary = test_finetune.finetune(tables, board, "logger=tensorboard")
    test_finetune.finetune(tables, bias, "logger=wandb", "logger.offline=true")
    (found,) = offline_runs(bias)
    hold_the_same(found, bias)
    assert found.summary["test"] == summary["test"]
    (table,) = accumulated(board / "tensorboard").Tensors("summary/text_summary")
    text = table.tensor_proto.string_val[0].decode()
    for part in ("val", "test"):
        for name, value in summary[part].items():
            assert f"| {part}.{name} | {'null' if value is None else value} |" in text
    shown = scalars(board / "tensorboard")
    assert shown[f"val_{summary['metric']}"]
    same_bits(board, bias)


def test_only_the_first_of_two_processes_logs(genome: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ("logger=wandb", "logger.offline=true", "trainer.devices=2", "batch.micro_size=1")
    pretrain(*on(genome), f"run.dir={run}", *words)
    (found,) = offline_runs(run)
    hold_the_same(found, run)


def test_wandb_without_a_login_refuses_before_the_folder_is_made(
    genome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import wandb

    from dnalm.cli import main

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    wandb.teardown()
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", "size=tiny", "debug=fast", *on(genome), f"run.dir={tmp_path}/run", "logger=wandb"])
    assert ended.value.code == 2
    assert "LOG-02 logger: nobody is logged in to W&B here; " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
