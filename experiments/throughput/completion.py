"""What an answer of shell completion costs: CPU seconds of the process that a shell starts, start included.

python experiments/throughput/completion.py
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

from dnalm.cli import COMMANDS

ROUNDS = 5
LINES = (
    "dnalm ",
    *(f"dnalm {command} " for command in COMMANDS),
    "dnalm pretrain experiment=",
    "dnalm pretrain optim.",
    "dnalm pretrain -m sweep.",
)


def cpu_seconds(line: str) -> float:
    """User and system time of one answer."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [sys.executable, "-m", "dnalm", "completion", "for", line]
    subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the median and the greatest of each line, the cheapest first."""
    found = [(line, [cpu_seconds(line) for _ in range(ROUNDS)]) for line in LINES]
    for line, costs in sorted(found, key=lambda row: statistics.median(row[1])):
        print(f"{statistics.median(costs):.3f} {max(costs):.3f} {line}")


if __name__ == "__main__":
    main()
