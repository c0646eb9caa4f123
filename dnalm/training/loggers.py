"""Where a run logs beside `metrics.csv`: TensorBoard, W&B, or another logger of Lightning.

It gets the config, the rows of `metrics.csv` with speed, utilisation, wait and memory beside them, and at the
end the run's pictures and its summary. Rank 0 alone has one. `metrics.csv` stays the record: what a logger
raises is said in one sentence and costs the run neither a step nor a bit. What can be known before the first
step (a package or a login that is absent, a server that does not answer) refuses a new run, since that is
when somebody is there to act; one that continues trains without the logger.

A run that continues from a checkpoint repeats steps that an earlier start may have logged. TensorBoard drops
those when it reads, as `metrics.csv` does. W&B continues by the id that lies in `wandb/id` of the run
directory; it drops nothing, so repeated rows, which are the same to the bit, lie there twice. What it had not
written when it was killed, 32 KiB of rows at most of an offline run, it lacks.
"""

from __future__ import annotations

import inspect
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from textwrap import indent
from typing import Any, ClassVar

import yaml
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from dnalm.console import stderr, stdout
from dnalm.durable import atomic_write, errno_of
from dnalm.errors import ConfigError
from dnalm.system_errors import disk_reason
from dnalm.training.stop_flags import RunStopped

Row = dict[str, float]
_LONGEST_REASON = 200  # letters of what a library says
_OPEN_S, _CLOSE_S = 60.0, 60.0  # longest wait for W&B at either end of a run; other ranks wait for 120 s


class Sink:
    """A logger of which nothing is known but that it is one of Lightning's; others say what they add.

    Args:
        make: makes the logger for a folder.
        folder: the run directory.
        offline: whether the config says so, which W&B alone knows.
    """

    label: ClassVar[str] = "The logger"
    package: ClassVar[str | None] = None  # that has to be installed
    reopens: ClassVar[bool] = False  # whether it is opened again after it has failed

    def __init__(self, make: Callable[..., Logger], folder: Path, *, offline: bool = False) -> None:
        self.make, self.folder, self.offline = make, folder, offline
        self.logger: Any  # once it is open

    def check(self) -> None:
        """Make sure, before any work, that it can be opened, as far as that can be known.

        Raises:
            ConfigError: LOG-01, its package is not installed; LOG-02, nobody is logged in.
        """
        if self.package and find_spec(self.package) is None:
            raise ConfigError(
                "LOG-01",
                where="logger",
                found=f"{self.package}, which is not installed",
                expected="a logger whose package is installed",
                fix=f"run pip install {self.package}, or leave logger= out: metrics.csv is always written",
            )

    def open(self, step: int) -> None:
        """Begin to log, or continue after so many optimizer steps; rows of later ones come again."""
        del step
        self.logger = self.make(save_dir=self.folder)

    def where(self) -> str:
        """How to see what is logged; nothing if that is not known."""
        return ""

    def describe(self, config: Mapping[str, Any], metric: str, step: int) -> None:
        """Log the config, and by which figure runs compare."""
        del metric, step
        self.logger.log_hyperparams(dict(config))

    def row(self, step: int, metrics: Row) -> None:
        """Log the figures of a step."""
        self.logger.log_metrics(metrics, step)

    def rewind(self, step: int) -> None:
        """Rows from this one on come again."""

    def results(self, summary: Mapping[str, Any], pictures: Sequence[Path], step: int) -> None:
        """Log what a run leaves: the summary, as JSON has it, and pictures in PNG."""

    def save(self) -> None:
        """Bring to disk what is logged."""
        self.logger.save()

    def close(self, *, exit_code: int, is_stopped: bool) -> None:
        """End, also after a failure.

        Args:
            exit_code: of the run.
            is_stopped: whether a signal has stopped it, so that it will be continued.
        """
        del is_stopped
        self.logger.finalize("failed" if exit_code else "success")

    def abandon(self) -> None:
        """Let go of a logger that has failed, at the end of the run."""


class TensorBoard(Sink):
    """TensorBoard: curves, the config as text and hyperparameters, pictures, the summary as a table."""

    label, package, reopens = "TensorBoard", "tensorboard", True

    def open(self, step: int) -> None:
        """Begin a file of events; readers drop earlier events of later steps."""
        self.logger = self.make(save_dir=self.folder, purge_step=step)
        self.logger.experiment.flush()  # it is made when asked for

    def where(self) -> str:
        """The command."""
        return f"tensorboard --logdir {Path(self.logger.log_dir)}"

    def describe(self, config: Mapping[str, Any], metric: str, step: int) -> None:
        """As text, and flat in the table of hyperparameters beside the last value of the metric."""
        from torch.utils.tensorboard.summary import hparams

        writer = self.logger.experiment
        writer.add_text("config", indent(yaml.safe_dump(dict(config), sort_keys=False), " " * 4), step)
        plain = {name: _plain(value) for name, value in flat(config).items()}
        for part in hparams(plain, {metric: 0.0}):  # type: ignore[no-untyped-call]
            writer._get_file_writer().add_summary(part)

    def rewind(self, step: int) -> None:
        """Begin another file."""
        self.logger.finalize("success")
        self.open(step)

    def results(self, summary: Mapping[str, Any], pictures: Sequence[Path], step: int) -> None:
        """Pictures by the names of their files, and a table of the summary."""
        from matplotlib.image import imread

        writer = self.logger.experiment
        rows = "\n".join(f"| {name} | {_plain(value)} |" for name, value in flat(summary).items())
        writer.add_text("summary", f"| figure | value |\n|---|---|\n{rows}", step)
        for path in pictures:
            writer.add_image(f"figures/{path.stem}", imread(path), step, dataformats="HWC")


class WandB(Sink):
    """W&B: curves, the config, pictures, the summary by name and as a table; online or offline."""

    label, package = "W&B", "wandb"

    def check(self) -> None:
        """See `Sink`; nobody has to be logged in where nothing is sent."""
        super().check()
        import wandb

        if self.offline or wandb.setup().settings.mode in ("offline", "dryrun", "disabled"):
            return
        try:
            found = "" if wandb.login(prompt=False, verify=False) else "nobody is logged in to W&B here"
        except wandb.Error as error:
            found = _reason(error)
        if found:
            raise ConfigError(
                "LOG-02",
                where="logger",
                found=found,
                expected="an API key of W&B",
                fix="run wandb login, or set WANDB_API_KEY; without a network add logger.offline=true",
            )

    def open(self, step: int) -> None:
        """Begin a run of W&B, or continue the one whose id lies in the run directory."""
        import wandb

        del step
        file = self.folder / "wandb/id"
        if not file.is_file():
            file.parent.mkdir(exist_ok=True)
            with atomic_write(file) as beside:
                beside.write_text(secrets.token_hex(4))
        self.logger = self.make(
            save_dir=self.folder,
            id=file.read_text(),
            settings=wandb.Settings(
                console="off",  # which would record the bar
                init_timeout=_OPEN_S,
                finish_timeout=_CLOSE_S,
                finish_timeout_raises=True,
            ),
        )
        self.logger._wandb_init.pop("anonymous", None)  # of which W&B warns, whatever it is
        before = os.environ.get("WANDB_MODE")
        try:
            self._run = self.logger.experiment  # it is made when asked for
        finally:  # Lightning sets it for all runs to come
            os.environ.pop("WANDB_MODE", None)
            os.environ.update({} if before is None else {"WANDB_MODE": before})

    def where(self) -> str:
        """The page, or the command that brings an offline run there."""
        return self._run.url or f"wandb sync {Path(self._run.dir).parent}"

    def results(self, summary: Mapping[str, Any], pictures: Sequence[Path], step: int) -> None:
        """Pictures by the names of their files, the summary by its names and as a table."""
        import wandb

        rows = [[name, str(_plain(value))] for name, value in flat(summary).items()]
        shown = {f"figures/{path.stem}": wandb.Image(str(path)) for path in pictures}
        self.logger.log_metrics(
            {"results": wandb.Table(columns=["figure", "value"], data=rows), **shown}, step
        )
        self._run.summary.update(dict(summary))

    def close(self, *, exit_code: int, is_stopped: bool) -> None:
        """Wait until all is sent, a minute at most."""
        if is_stopped:
            self._run.mark_preempting()
        self._run.finish(exit_code=exit_code)

    def abandon(self) -> None:
        """Keep W&B from trying again as the program ends, where it would print a traceback."""
        import wandb

        with suppress(Exception, SystemExit):
            wandb.teardown()


def sink_of(make: Callable[..., Logger], folder: Path, *, offline: bool = False) -> Sink:
    """What logs for a run, by the class that the config names; arguments as of `Sink`."""
    made = inspect.unwrap(make)
    for base, kind in ((TensorBoardLogger, TensorBoard), (WandbLogger, WandB)):
        if isinstance(made, type) and issubclass(made, base):
            return kind(make, folder, offline=offline)
    return Sink(make, folder)


class RunLogger(Logger):
    """Give a sink what a run logs, row by row, and let nothing of it end the run.

    Rows stay here until they are on disk. A sink that has failed and may be opened again is, at the next
    save, and gets those that it lacks.

    Args:
        sink: where it goes.
        record: the file that has all figures, for the sentence of a failure.
    """

    def __init__(self, sink: Sink, record: Path) -> None:
        super().__init__()
        self.sink, self.record = sink, record
        self._is_open, self._has_warned = False, False
        self._step: int | None = None  # of the row under way
        self._row: Row = {}
        self._unsaved: list[tuple[int, Row]] = []

    @property
    def name(self) -> str:
        """Lightning asks for one."""
        return self.sink.label

    @property
    def version(self) -> str:
        """Lightning asks for one."""
        return ""

    @property
    def experiment(self) -> Any:  # noqa: ANN401 -- another library's
        """What a callback may log further things to."""
        return self.sink.logger.experiment

    @contextmanager
    def opened(
        self, config: Mapping[str, Any], metric: str, *, step: int, is_new: bool
    ) -> Iterator[RunLogger]:
        """Log in a block.

        Args:
            config: the composed config.
            metric: the figure by which runs compare.
            step: optimizer steps that are done.
            is_new: whether no earlier start has logged.

        Raises:
            ConfigError: LOG-03, the sink of a run that begins cannot be opened.
        """
        with _quiet_writers():
            self._open(config, metric, step=step, is_new=is_new)
            exit_code, is_stopped = 1, False
            try:
                yield self
                exit_code = 0
            except RunStopped as stopped:
                exit_code, is_stopped = stopped.exit_code, True
                raise
            finally:
                self.flush()
                close = partial(self.sink.close, exit_code=exit_code, is_stopped=is_stopped)
                if not (self._is_open and self._attempt(close)):
                    self.sink.abandon()
                self._is_open = False

    def _open(self, config: Mapping[str, Any], metric: str, *, step: int, is_new: bool) -> None:
        try:
            self.sink.open(step)
            self.sink.describe(config, metric, step)
            stdout.print(f"{self.sink.label}: {self.sink.where()}")
            self._is_open = True
        except Exception as error:
            if not is_new:
                self._give_up(error)
                return
            raise ConfigError(
                "LOG-03",
                where="logger",
                found=f"{self.sink.label} cannot be opened: {_reason(error)}",
                expected="a logger that takes the config before the first step",
                fix="mend that, or leave logger= out: metrics.csv is always written; for W&B without a "
                "network add logger.offline=true",
            ) from error

    def log_hyperparams(self, *_: object) -> None:
        """They are logged when the sink is opened."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add figures to the row of a step."""
        assert step is not None, "Lightning counts"
        if step != self._step:
            self._send()
            self._step = step
        self._row.update({name: float(value) for name, value in metrics.items() if name != "epoch"})

    def rewind(self, step: int) -> None:
        """Forget the rows from this one on, which come again."""
        self._row, self._unsaved = {}, [row for row in self._unsaved if row[0] < step]
        if self._is_open:
            self._attempt(partial(self.sink.rewind, step))

    def log_results(self, summary: Mapping[str, Any], pictures: Sequence[Path], step: int) -> None:
        """Log what a run leaves; see `Sink.results`."""
        self.flush()
        if self._is_open:
            self._attempt(partial(self.sink.results, summary, pictures, step))

    def save(self) -> None:
        """Lightning asks for it at every part of a row; `flush` does it, when a checkpoint is saved."""

    def flush(self) -> None:
        """Send the row under way and bring all to disk; open the sink again if it has failed."""
        self._send()
        if self._unsaved and not self._is_open and self.sink.reopens:
            self._is_open = True
            self._attempt(self._resend)
        if self._is_open and self._attempt(self.sink.save):
            self._unsaved, self._has_warned = [], False

    def finalize(self, status: str) -> None:  # noqa: ARG002 -- Lightning's signature
        """A fit, a validation or a test has ended; others may follow."""
        self.flush()

    def _send(self) -> None:
        if not self._row or not (self._is_open or self.sink.reopens):
            return
        assert self._step is not None, "a row has one"
        row, self._row = (self._step, self._row), {}
        self._unsaved.append(row)
        if self._is_open:
            self._attempt(partial(self.sink.row, *row))

    def _resend(self) -> None:
        self.sink.open(self._unsaved[0][0])
        for row in self._unsaved:
            self.sink.row(*row)

    def _attempt(self, action: Callable[[], None]) -> bool:
        """Whether it has succeeded; the sink of one that has not is left alone."""
        try:
            action()
        except Exception as error:
            self._give_up(error)
            return False
        return True

    def _give_up(self, error: Exception) -> None:
        self._is_open = False
        if not self._has_warned:
            then = "the next save tries again" if self.sink.reopens else "it gets nothing more of this start"
            stderr.print(
                f"{self.sink.label} has failed: {_reason(error)}. Training continues; {self.record} has "
                f"every figure, and {then}."
            )
        self._has_warned = True


def flat(nested: Mapping[str, Any]) -> dict[str, Any]:
    """The values of nested mappings by their names as the command line writes them, such as `optim.lr`."""
    found: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping) and value:
            found |= {f"{name}.{below}": each for below, each in flat(value).items()}
        else:
            found[name] = value
    return found


def _plain(value: object) -> str | bool | int | float:
    """A value that the tables of loggers take: lists and null as JSON."""
    return value if isinstance(value, str | bool | int | float) else json.dumps(value)


def _reason(error: BaseException) -> str:
    """What a library says, in one line; of a disk what is wrong with it and what to do."""
    reason = disk_reason(errno_of(error), None) if isinstance(error, OSError) else None
    if reason is not None:
        return f"{reason.found}; {reason.fix}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:_LONGEST_REASON].rstrip(".")


@contextmanager
def _quiet_writers() -> Iterator[None]:
    """In the block threads of TensorBoard print no traceback; what fails there is raised at the next row."""
    shown = threading.excepthook

    def show(args: threading.ExceptHookArgs) -> None:
        if not type(args.thread).__module__.startswith("tensorboard."):
            shown(args)

    threading.excepthook = show
    try:
        yield
    finally:
        threading.excepthook = shown
