"""What a run logs beside metrics.csv, and a logger that fails."""

import io
import itertools
import os
import resource
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from rich.console import Console
from tensorboard.summary.writer import event_file_writer

from dnalm.errors import ConfigError
from dnalm.training import loggers as module
from dnalm.training.loggers import RunLogger, Sink, TensorBoard, WandB, flat, sink_of
from tests.logged import accumulated, columns, scalars
from tests.training.fitting import trainer_of
from tests.training.test_masked_lm import datamodule, module_of, network

CONFIG = {"optim": {"lr": 0.1, "betas": [0.9, 0.95]}, "resume": None}
TENSORBOARD = partial(TensorBoardLogger, name="tensorboard", version="")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is printed to stderr."""
    text = io.StringIO()
    monkeypatch.setattr(module, "stderr", Console(file=text, width=10_000, highlight=False))
    return text


class Faulty(Logger):
    """One that raises at the named calls."""

    def __init__(self, *, save_dir: Path, calls: tuple[str, ...], error: Exception, after: int = 0) -> None:
        super().__init__()
        self.folder, self.calls, self.error, self.after = save_dir, calls, error, after
        self.rows: dict[int, Mapping[str, float]] = {}

    def _perhaps(self, call: str) -> None:
        if call in self.calls and len(self.rows) >= self.after:
            raise self.error

    @property
    def name(self) -> str:
        return "faulty"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *_: object) -> None:
        self._perhaps("log_hyperparams")

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._perhaps("log_metrics")
        assert step is not None
        assert step not in self.rows, "a row comes once"
        self.rows[step] = dict(metrics)

    def save(self) -> None:
        self._perhaps("save")

    def finalize(self, status: str) -> None:  # noqa: ARG002
        self._perhaps("finalize")


def trained(folder: Path, logger: Logger | None = None) -> tuple[bytes, list[torch.Tensor]]:
    """metrics.csv and the weights of six steps."""
    torch.manual_seed(0)
    data, trained = datamodule(folder, micro=8), module_of(network())
    loggers = () if logger is None else (logger,)
    trainer_of(folder / "run", data.batch, steps=6, validate_every=3, loggers=loggers).fit(
        trained, datamodule=data
    )
    return (folder / "run/metrics.csv").read_bytes(), list(trained.model.state_dict().values())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[torch.Tensor]]:
    return trained(tmp_path_factory.mktemp("without"))


@pytest.mark.parametrize("calls", [("log_metrics",), ("save",), ("finalize",), ()])
@pytest.mark.parametrize(
    "error", [RuntimeError("the server\nis gone."), OSError(28, "No space left on device")]
)
def test_a_logger_that_raises_ends_no_run_and_changes_no_bit(
    calls: tuple[str, ...],
    error: Exception,
    undisturbed: tuple[bytes, list[torch.Tensor]],
    tmp_path: Path,
    said: io.StringIO,
) -> None:
    sink = Sink(partial(Faulty, calls=calls, error=error, after=2), tmp_path)
    with RunLogger(sink, Path("runs/x/metrics.csv")).opened(
        CONFIG, "val_loss", step=0, is_new=True
    ) as logger:
        metrics, weights = trained(tmp_path, logger)
        logger.log_results({"val_loss": 1.0}, [], 5)
    assert metrics == undisturbed[0]
    assert all(torch.equal(*pair) for pair in zip(weights, undisturbed[1], strict=True))
    if not calls:
        assert said.getvalue() == ""
        expected = columns(tmp_path / "run/metrics.csv")
        for name, rows in expected.items():
            assert [(step, row[name]) for step, row in sink.logger.rows.items() if name in row] == rows
        assert {"tokens_per_s", "bases_per_s", "data_wait", "mfu_of_measured", "peak_memory"} <= set(
            sink.logger.rows[5]
        )
        return
    assert len(sink.logger.rows) == (2 if calls == ("log_metrics",) else 6)
    (line,) = said.getvalue().splitlines()
    reason = "the server" if isinstance(error, RuntimeError) else "No space left"
    assert line.startswith("The logger has failed: ")
    assert reason in line
    assert line.endswith(
        "Training continues; runs/x/metrics.csv has every figure, and it gets nothing more of this start."
    )


@pytest.mark.parametrize("where", ["made", "log_hyperparams"])
def test_a_logger_that_cannot_be_opened_refuses_a_new_run_and_not_one_that_continues(
    where: str, tmp_path: Path, said: io.StringIO
) -> None:
    def make(save_dir: Path) -> Logger:
        if where == "made":
            raise RuntimeError("no such server")
        return Faulty(save_dir=save_dir, calls=(where,), error=RuntimeError("no such server"))

    with pytest.raises(
        ConfigError, match=r"LOG-03 logger: The logger cannot be opened: no such server; .* Fix:"
    ):
        RunLogger(Sink(make, tmp_path), Path("m.csv")).opened(CONFIG, "x", step=0, is_new=True).__enter__()
    for step in (4, 0):  # the second was killed before its first checkpoint
        logger = RunLogger(Sink(make, tmp_path), Path("m.csv"))
        with logger.opened(CONFIG, "x", step=step, is_new=False):
            logger.log_metrics({"loss": 1.0}, step)
            logger.flush()
    assert said.getvalue().count("no such server") == 2


@pytest.mark.parametrize("full", [range(3, 6), range(3, 9), range(0, 2), range(6, 12), range(0, 12)])
def test_what_a_full_disk_does_not_take_tensorboard_gets_later(
    full: range,
    tmp_path: Path,
    said: io.StringIO,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every row once, after one sentence, and no thread prints a traceback."""
    seconds = itertools.count(10**9)  # in the names of files, by which they are read
    monkeypatch.setattr(event_file_writer, "time", SimpleNamespace(time=lambda: next(seconds)))
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    shown = threading.excepthook
    with RunLogger(TensorBoard(TENSORBOARD, tmp_path), Path("m.csv")).opened(
        CONFIG, "x", step=0, is_new=True
    ) as log:
        for step in range(12):
            resource.setrlimit(resource.RLIMIT_FSIZE, (20 if step in full else hard, hard))
            try:
                log.log_metrics({"loss": step / 8}, step)
                log.flush()
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert threading.excepthook is shown
    assert scalars(tmp_path / "tensorboard")["loss"] == [(step, step / 8) for step in range(12)]
    (line,) = said.getvalue().splitlines()
    assert line.startswith("TensorBoard has failed: ")
    assert line.endswith("m.csv has every figure, and the next save tries again.")
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("saved", [0, 3, 5])
def test_tensorboard_has_no_step_twice_where_steps_are_repeated(
    saved: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after step 5, continued from `saved`; then gone back over."""
    seconds = itertools.count(10**9)
    monkeypatch.setattr(event_file_writer, "time", SimpleNamespace(time=lambda: next(seconds)))
    sink = TensorBoard(TENSORBOARD, tmp_path)
    with RunLogger(sink, Path("m.csv")).opened(CONFIG, "x", step=0, is_new=True) as log:
        for step in range(5):
            log.log_metrics({"loss": step}, step)
    with RunLogger(sink, Path("m.csv")).opened(CONFIG, "x", step=saved, is_new=False) as log:
        for step in range(saved, 8):
            log.log_metrics({"loss": step + 0.5}, step)
        log.rewind(6)
        log.log_metrics({"loss": 9}, 6)
    before = [(step, float(step)) for step in range(saved)]
    assert scalars(tmp_path / "tensorboard")["loss"] == [
        *before, *((step, step + 0.5) for step in range(saved, 6)), (6, 9.0)
    ]  # fmt: skip


def test_tensorboard_shows_config_pictures_and_summary(tmp_path: Path) -> None:
    from matplotlib.image import imread, imsave

    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    imsave(tmp_path / "loss.png", picture)
    with RunLogger(TensorBoard(TENSORBOARD, tmp_path), Path("m.csv")).opened(
        CONFIG, "val_loss", step=0, is_new=True
    ) as log:
        log.log_results({"test": {"mcc": 0.5, "f1": None}}, [tmp_path / "loss.png"], 7)
    events = accumulated(tmp_path / "tensorboard")
    (config,), (summary,) = (events.Tensors(f"{name}/text_summary") for name in ("config", "summary"))
    assert b"    optim:\n      lr: 0.1\n" in config.tensor_proto.string_val[0]
    assert summary.tensor_proto.string_val[0].endswith(b"| test.mcc | 0.5 |\n| test.f1 | null |")
    (image,) = events.Images("figures/loss")
    shown = imread(io.BytesIO(image.encoded_image_string), format="png")[..., :3] * 255
    assert np.abs(shown - picture).max() <= 1
    assert (image.step, summary.step) == (7, 7)
    from tensorboard.plugins.hparams import plugin_data_pb2

    found = plugin_data_pb2.HParamsPluginData.FromString(
        events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    ).session_start_info.hparams
    assert found["optim.lr"].number_value == 0.1
    assert (found["optim.betas"].string_value, found["resume"].string_value) == ("[0.9, 0.95]", "null")


def test_what_is_not_installed_is_said_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    for made, name in ((TensorBoardLogger, "tensorboard"), (WandbLogger, "wandb")):
        with pytest.raises(
            ConfigError, match=f"LOG-01 logger: {name}, which is not .* Fix: run pip install {name}"
        ):
            sink_of(made, tmp_path).check()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "mode", "offline", "refused"),
    [
        (None, None, False, "LOG-02 logger: nobody is logged in to W&B here; .* Fix: run wandb login"),
        ("short", None, False, "LOG-02 logger: .*Fix: run wandb login"),
        ("a" * 40, None, False, None),
        (None, "offline", False, None),
        (None, "disabled", False, None),
        (None, None, True, None),
    ],
)
def test_nobody_logged_in_is_said_before_anything_is_done(
    key: str | None,
    mode: str | None,
    offline: bool,
    refused: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import wandb

    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    for name, value in (("WANDB_API_KEY", key), ("WANDB_MODE", mode)):
        if value is not None:
            monkeypatch.setenv(name, value)
    wandb.teardown()  # forgets what an earlier test has read
    try:
        sink = sink_of(WandbLogger, tmp_path / "run", offline=offline)
        assert isinstance(sink, WandB)
        if refused is None:
            sink.check()
        else:
            with pytest.raises(ConfigError, match=refused):
                sink.check()
    finally:
        wandb.teardown()


NESTED = st.recursive(
    st.integers() | st.none(), lambda below: st.dictionaries(st.text("ab", min_size=1), below, max_size=3)
)


@given(nested=st.dictionaries(st.text("ab", min_size=1), NESTED, max_size=3))
def test_flat_names_are_paths(nested: dict[str, Any]) -> None:
    found = flat(nested)
    for name, value in found.items():
        there: Any = nested
        for part in name.split("."):
            there = there[part]
        assert there == value

    def leaves(value: object) -> int:
        return sum(map(leaves, value.values())) if isinstance(value, dict) and value else 1

    assert len(found) == (leaves(nested) if nested else 0)
