"""Jobs that take milliseconds and end in every way a job can; as a program, a sweep of them."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dnalm.sweeps import Axis, Grid, Job, LocalLauncher, SweepFolder, run_sweep

GOOD = """
import json, os, pathlib
run = pathlib.Path(RUN); run.mkdir(parents=True, exist_ok=True)
open(run.parent / (run.name + '.runs'), 'a').write('x')
(run / 'summary.json').write_text(json.dumps({'val_bits_per_base': 1.5, 'name': '=1+1'}))
"""
_TERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
BAD = {  # what a job does, and how that must be called
    "raises": ("raise ValueError('x')", "failed"),
    "exits_0": ("raise SystemExit(0)", "failed"),
    "exits_3": ("raise SystemExit(3)", "failed"),
    "interrupts": ("raise KeyboardInterrupt", "interrupted"),
    "quits": ("import os; os._exit(7)", "failed"),
    "is_killed": ("import os; os.kill(os.getpid(), 9)", "killed"),
    "segfaults": ("import os; os.kill(os.getpid(), 11)", "killed"),
    "eats_memory": (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**27, 2**27)); bytearray(2**30)",
        "oom",
    ),
    "is_refused": ("raise SystemExit(2)", "config"),
    "hangs": (_TERM + "import time; time.sleep(600)", "timeout"),
}


def program(name: str, run: Path) -> tuple[str, ...]:
    """A command that Python starts in about 10 ms."""
    text = BAD[name][0] if name in BAD else "import time; time.sleep(0.15)" if name == "slow" else ""
    code = text if name in BAD else f"RUN = {str(run)!r}; {text}\n{GOOD}"
    return (sys.executable, "-S", "-E", "-c", code)


def make_job(folder: Path, overrides: Mapping[str, str]) -> Job:
    name = f"{overrides['what']}-{overrides['number']}"
    return Job(name, overrides, program(overrides["what"], folder / name))


def check(job: Job) -> str:
    return "CFG-99 what: unknown" if job.overrides["what"] == "unknown" else ""


def sweep(
    folder: Path, whats: Sequence[str], *, numbers: int = 1, parallel: int = 1, timeout_s: float = 60.0
) -> int:
    """A sweep of these jobs, the numbers fastest; its exit code."""
    place = SweepFolder(dir=folder, parallel=parallel, timeout_s=timeout_s, grace_s=0.1)
    axes = [Axis("what", tuple(whats)), Axis("number", tuple(map(str, range(numbers))))]
    return run_sweep(
        sweep=place,
        launcher=LocalLauncher(),
        hparams_search=Grid(),
        name="unused",
        axes=axes,
        make_job=make_job,
        check=check,
    )


if __name__ == "__main__":
    sys.exit(sweep(Path(sys.argv[1]), sys.argv[2].split(","), numbers=int(sys.argv[3]), parallel=2))
