"""What a run says while it works."""

import io
import itertools
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from dnalm import console as console_module
from dnalm.models.flops import count_flops
from dnalm.training import Throughput
from dnalm.training import callbacks as progress_module
from dnalm.training.callbacks import ProgressBar
from tests.models import zoo
from tests.training.fitting import trainer_of
from tests.training.test_masked_lm import datamodule, module_of, network

FIGURES = r"loss \d+\.\d{3}  bits/base \d\.\d{4}  [\d,]+ tokens/s  MFU \d+%  \d+\.\d GB"


def watched_on(out: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (progress_module, console_module):
        monkeypatch.setattr(module, "stderr", out)


def run_with(out: Console, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    watched_on(out, monkeypatch)
    data = datamodule(folder, micro=8)
    trainer = trainer_of(folder / "run", data.batch, steps=4, validate_every=2)
    trainer.fit(module_of(network()), datamodule=data)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_without_a_terminal_lines_are_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = run_with(Console(file=io.StringIO(), width=200), tmp_path, monkeypatch)
    assert "\x1b" not in text
    second, fourth = text.splitlines()
    assert re.fullmatch(rf"step 2/4  0:00:\d\d left  {FIGURES}", second)
    assert re.fullmatch(rf"step 4/4  0:00:00 left  {FIGURES}", fourth)


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal_a_bar_and_a_line_below_it_show_all_of_it(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Console(file=io.StringIO(), force_terminal=True, width=width, highlight=False, no_color=True)
    text = re.sub(r"\x1b\[[?\d]*[A-Za-z]", "", run_with(out, tmp_path, monkeypatch).replace("\r", "\n"))
    drawn = [line.rstrip() for line in text.splitlines() if line.strip()]
    assert re.fullmatch(r"Training ━{30} 4/4  0:00:00 left", drawn[-2])
    assert re.fullmatch(FIGURES, drawn[-1])
    assert max(len(line) for line in drawn if line.startswith(("Training", "loss"))) < width


def test_a_line_is_printed_every_half_minute_at_first_and_every_ten_minutes_in_a_long_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A step takes ten seconds; of a day of them lines tell, each after a twentieth of the time so far."""
    clock, out = SimpleNamespace(now=0.0), Console(file=io.StringIO(), width=200)
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    watched_on(out, monkeypatch)
    module = SimpleNamespace(device=torch.device("cpu"))
    trainer = SimpleNamespace(
        global_step=0,
        max_steps=8640,
        accumulate_grad_batches=1,
        is_global_zero=True,
        val_check_batch=10**9,
        callback_metrics={},
        lightning_module=module,
        world_size=1,
    )
    bar = ProgressBar(Throughput())
    bar.on_train_start(trainer, None)  # type: ignore[arg-type]
    for step in range(1, 8640):
        clock.now += 10
        trainer.global_step = step
        bar.on_train_batch_end(trainer, None, None, None, step)  # type: ignore[arg-type]
    assert isinstance(out.file, io.StringIO)
    said = [line.split("  ") for line in out.file.getvalue().splitlines()]
    steps = [int(words[0].removeprefix("step ").split("/")[0].replace(",", "")) for words in said]
    assert steps[:4] == [3, 6, 9, 12]
    apart = [10 * (after - before) for before, after in itertools.pairwise(steps)]
    for seconds, until in zip(apart, steps[1:], strict=True):
        least = min(max(30, 0.05 * 10 * until), 600)
        assert least <= seconds < least + 10
    assert apart[-1] == 600
    left = 10 * (8640 - steps[-1])
    assert said[-1][1] == f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"


@pytest.mark.parametrize(
    ("seconds_a_batch", "passes", "said_after", "hours"),
    [
        (4.0, 1, 5, "about 111 hours for the 99,995 steps left"),  # 5 steps; 99,995 x 4 s
        (
            120.0,
            10,
            1,
            "about 33,333 hours for the 100,000 steps left",
        ),  # one of 10 micro-batches says enough
        (0.5, 4, 20, "about 56 hours"),  # 99,995 x 4 x 0.5 s
        (0.001, 1, 5000, None),  # 95 s are left
    ],
)
def test_a_run_of_hours_says_so_once_after_its_first_steps(
    seconds_a_batch: float, passes: int, said_after: int, hours: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(file=io.StringIO(), width=200)
    watched_on(console, monkeypatch)
    assert isinstance(console.file, io.StringIO)
    trainer = SimpleNamespace(
        global_step=0,
        max_steps=100_000,
        accumulate_grad_batches=passes,
        is_global_zero=True,
        val_check_batch=10**9,
        callback_metrics={},
    )
    throughput = Throughput()
    bar = ProgressBar(throughput, place="cpu, 2 threads", advice="size=tiny is smaller")
    bar.on_train_start(trainer, None)  # type: ignore[arg-type]
    for batch in range(said_after + 40):
        throughput.seconds += seconds_a_batch
        trainer.global_step = (batch + 1) // passes
        bar.on_train_batch_end(trainer, None, None, None, batch)  # type: ignore[arg-type]
        assert ("forecast" in console.file.getvalue()) == (hours is not None and batch + 1 >= said_after)
    text = console.file.getvalue()
    if hours is not None:
        assert hours in text
        assert "on this machine (cpu, 2 threads); size=tiny is smaller" in text
        assert text.count("forecast") == 1


def test_the_share_of_the_time_that_waits_for_data_leaves_validation_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, loader = SimpleNamespace(now=0.0), SimpleNamespace(waited_s=0.0)
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    trainer = SimpleNamespace(
        train_dataloader=loader, world_size=1, global_step=0, log_every_n_steps=10**9, loggers=[]
    )
    batch = SimpleNamespace(num_tokens=2, num_bases=2, num_masked=1, num_content=2)
    throughput = Throughput()

    def wait(seconds: float) -> None:
        clock.now += seconds
        loader.waited_s += seconds

    def train(seconds: float) -> None:
        throughput.on_train_batch_start(trainer)  # type: ignore[arg-type]
        clock.now += seconds
        trainer.global_step += 1
        throughput.on_train_batch_end(trainer, None, None, batch)  # type: ignore[arg-type]

    clock.now = 1.0
    wait(10)  # the first batch, before the clock runs
    train(3)
    wait(1)
    train(4)
    throughput.on_validation_start()
    wait(100)
    train(2)
    assert throughput.seconds == 3 + 1 + 4 + 2
    assert throughput.data_wait == 1 / 10
    resumed = Throughput()
    resumed.load(throughput.counts())
    assert resumed.data_wait == 1 / 10


def test_utilisation_is_model_flops_over_what_the_processors_give(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks, three steps of 7 tokens in sequences of 3 and 4 with 2 to predict, two seconds each."""
    model = zoo.model("bert")
    clock, loader = SimpleNamespace(now=0.0), SimpleNamespace(waited_s=0.0)
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(progress_module, "matrix_rate", lambda *_: 1e6)
    trainer = SimpleNamespace(
        train_dataloader=loader,
        world_size=2,
        global_step=0,
        log_every_n_steps=10**9,
        loggers=[],
        precision="32-true",
    )
    module = SimpleNamespace(model=model, device=torch.device("cpu"))
    batch = SimpleNamespace(
        num_tokens=7, num_targets=2, num_bases=7, num_masked=2, num_content=7, num_pairs=3**2 + 4**2
    )
    throughput = Throughput()
    assert throughput.utilisation(module, 2) == {}  # type: ignore[arg-type]
    throughput.on_train_start(trainer, module)  # type: ignore[arg-type]
    for _ in range(3):
        throughput.on_train_batch_start(trainer)  # type: ignore[arg-type]
        clock.now += 2
        trainer.global_step += 1
        throughput.on_train_batch_end(trainer, module, None, batch)  # type: ignore[arg-type]
    flops = 3 * 2 * count_flops(model.encoder, tokens=7, pairs=25, predicted=2).training
    found = throughput.utilisation(module, 2)  # type: ignore[arg-type]
    assert found == pytest.approx({"model_flops_per_s": flops / 6, "mfu_of_measured": flops / 6 / 2e6})
    module.device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H200")
    listed = throughput.utilisation(module, 2)["mfu_of_listed"]  # type: ignore[arg-type]
    assert listed == pytest.approx(flops / 6 / 2 / 989.4e12)
