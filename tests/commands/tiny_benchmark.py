"""A benchmark whose jobs copy what a job leaves, in milliseconds; as a program, the whole command."""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from dnalm.commands.benchmark import BenchmarkFolder, Work, benchmark
from dnalm.evaluation.benchmark.benchmark import Benchmark
from dnalm.sweeps import Job, LocalLauncher
from tests.evaluation.benchmark.outcomes import ROWS, listed, outcome
from tests.evaluation.benchmark.test_benchmark import HEADER, write_split

MODELS = ("tiny", "kmer_logistic", "absent/model")
TASKS = ("a", "b")
_COPY = """
import shutil, sys, time
time.sleep(0.1)
import os; os.makedirs(RUN, exist_ok=True)
for name in ("config.yaml", "predictions.parquet", "summary.json"):
    shutil.copyfile(MADE + "/" + name, RUN + "/" + name)
"""


def lay_out(folder: Path) -> None:
    """Two tasks, and what a job of each task, model and seed leaves; of one model nothing."""
    (folder / "toy.tsv").write_text(
        HEADER + "".join(f"{task}\t{task}/{{split}}.csv\t\t\t2\t8\tmcc\tdemo\n" for task in TASKS)
    )
    for task in TASKS:
        known = [("ACGT", "0"), ("ACGA", "1")]  # in every split; the rest of the test set is of its own
        new = [
            (f"GG{format(n, '06b').translate(str.maketrans('01', 'AC'))}", str(n % 2)) for n in range(2, ROWS)
        ]
        for split, rows in (("train", known), ("dev", known), ("test", [*known, *new])):
            write_split(folder / f"root/{task}/{split}.csv", rows)
        for model in MODELS[:2]:
            for seed in (1, 2):
                made = outcome(listed(task), model, seed)
                run = folder / f"made/{task}-{model}-{seed}"
                run.mkdir(parents=True)
                (run / "config.yaml").write_text(f"seed: {seed}\nrun: {{dir: elsewhere}}\n")
                columns = {"id": range(len(made.labels)), "label": made.labels, "score": made.scores}
                parquet.write_table(
                    pa.table({n: pa.array(v) for n, v in columns.items()}), run / "predictions.parquet"
                )
                summary = {"test": {"mcc": made.value}, "seconds": 1.5, "peak_memory": 7, "parameters": 3}
                (run / "summary.json").write_text(json.dumps(summary))


def tiny_job(work: Work, folder: Path) -> Job:
    """In place of `Work.job`."""
    name = "-".join(work.overrides.values()).replace("/", "_")
    made = ROOT / "made" / name
    code = f"RUN, MADE = {str(folder / name)!r}, {str(made)!r}\n{_COPY}"
    return Job(name, work.overrides, (sys.executable, "-S", "-E", "-c", code))


def run(root: Path, target: Path) -> None:
    """The whole command; it exits with 1, for one model cannot be had."""
    benchmark(
        benchmark=Benchmark(name="toy", tasks=root / "toy.tsv", root=root / "root", cache=root / "cache"),
        models=MODELS,
        sweep=BenchmarkFolder(dir=target),
        launcher=LocalLauncher(),
        config_dir=None,
        config={},
        seeds=2,
    )


if __name__ == "__main__":
    ROOT = Path(sys.argv[1])
    patch = pytest.MonkeyPatch()
    patch.setattr(Work, "job", tiny_job)
    patch.setattr(Work, "what_is_wrong", lambda _: "")
    run(ROOT, Path(sys.argv[2]))
