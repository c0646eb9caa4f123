"""Time two checkouts of dnalm against each other: seconds to pretrain and score, and trained tokens a second.

    python experiments/throughput/two_checkouts.py OLD NEW [--pairs 3] [--steps 300] [--variants 400]

Both run the same commands in turn, old new old new, each with a cache of its own, and the ratio NEW / OLD is
taken pair by pair, since machines are busy. The simulated clade is made before anything is timed. Prints a
table, the median of the ratios with the least and the largest.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run(checkout: Path, work: Path, *words: str) -> float:
    """Run a command of a checkout in its own folder; seconds from its start to its end."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "XDG_CACHE_HOME": str(work / "cache")}
    began = time.perf_counter()
    command = [sys.executable, "-m", "dnalm", *words]
    subprocess.run(command, cwd=work, env=environment, check=True, capture_output=True)
    return time.perf_counter() - began


def measure(checkout: Path, work: Path, number: int, *, steps: int, variants: int) -> dict[str, float]:
    """One round of a checkout."""
    folder = f"run{number}"
    recipe = ("experiment=dnabert", "size=tiny", "data=demo", f"steps={steps}")
    whole = run(checkout, work, "pretrain", *recipe, f"run.dir={folder}")
    summary = json.loads((work / folder / "summary.json").read_text())
    clade = next((work / "cache/dnalm/demo").glob("*/"))
    source = next(clade.glob("*.vcf*"))
    lines = source.read_text().splitlines()
    header = [line for line in lines if line.startswith("#")]
    some = [line for line in lines if not line.startswith("#")][:variants]
    (work / "some.vcf").write_text("\n".join([*header, *some]) + "\n")
    genome = next(clade.glob("demo_a.fa"))
    of = (f"model={folder}", "variants=some.vcf", f"reference={genome}", f"out=scored{number}.tsv")
    return {
        "pretrain, seconds": whole,
        "training, tokens/s": float(summary["tokens_per_s"]),
        "score, seconds": run(checkout, work, "score", *of),
        "pretrain --help, seconds": run(checkout, work, "pretrain", "--help"),
        "pretrain --cfg, seconds": run(checkout, work, "pretrain", "--cfg"),
    }


def main() -> None:
    """Time both, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--variants", type=int, default=400)
    asked = parser.parse_args()
    checkouts = [asked.old.resolve(), asked.new.resolve()]
    sizes = {"steps": asked.steps, "variants": asked.variants}
    with tempfile.TemporaryDirectory() as folder:
        works = [Path(folder, name) for name in ("old", "new")]
        for checkout, work in zip(checkouts, works, strict=True):
            work.mkdir()
            measure(checkout, work, 0, steps=2, variants=2)
        rounds = [
            [measure(*of, number, **sizes) for of in zip(checkouts, works, strict=True)]
            for number in range(1, asked.pairs + 1)
        ]
    print("| | old, median | new, median | new / old, median (least to largest) |\n|---|---:|---:|---:|")
    for name in rounds[0][0]:
        old, new = ([pair[which][name] for pair in rounds] for which in (0, 1))
        ratios = [after / before for before, after in zip(old, new, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {name} | {statistics.median(old):,.1f} | {statistics.median(new):,.1f} | {spread} |")


if __name__ == "__main__":
    main()
