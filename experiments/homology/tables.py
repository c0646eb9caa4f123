"""How many test sequences of published benchmarks have a homologous training sequence; MMseqs2 beside.

Usage: python experiments/homology/tables.py ../shared/data <cache>  (from the repository's root; adds a row
for each task to tables.csv beside itself, and leaves out those that it has)
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from dnalm.compose import build
from dnalm.data.labelled import LabelledTable
from dnalm.evaluation.benchmark.benchmark import PreparedTask
from dnalm.evaluation.benchmark.leakage import leakage_of
from dnalm.genome.alphabet import to_text
from tests.evaluation.benchmark.test_benchmark import node

TABLE = Path(__file__).parent / "tables.csv"
COLUMNS = ["task", "test", "train", "exact", "other_strand", "homologous", "share", "mmseqs2", "both"]
BENCHMARKS = {
    "gue": (
        "gue",
        ["prom_core_tata", "prom_300_tata", "tf0", "tf1", "tf2", "prom_core_all", "prom_core_notata"],
    ),
    "genomic_benchmarks_chr20_22": ("genomic_benchmarks", None),
}
SEARCHED = 10_000_000  # bases of training sequences, up to which MMseqs2 is asked too


def in_training_by_mmseqs2(train: LabelledTable, test: LabelledTable) -> set[int]:
    """Test rows with an alignment to a training row, on either strand, of E-value 0.001 at most."""
    program = shutil.which("mmseqs")
    assert program is not None, "apt-get install mmseqs2"
    with tempfile.TemporaryDirectory() as folder:
        for name, table in (("targets", train), ("queries", test)):
            rows = (f">{row}\n{to_text(table.sequence(row))}\n" for row in range(len(table)))
            (Path(folder) / f"{name}.fa").write_text("".join(rows))
        words = (
            "easy-search queries.fa targets.fa hits.tsv tmp --search-type 3 --strand 2 -e 0.001 --threads 1"
        )
        subprocess.run([program, *words.split()], cwd=folder, check=True, capture_output=True)
        hits = (Path(folder) / "hits.tsv").read_text().splitlines()
    return {int(line.split("\t")[0]) for line in hits}


def counted(task: PreparedTask) -> list[object]:
    """The row of a task."""
    (found,) = (each for each in leakage_of(task) if (each.part, each.other) == ("test", "train"))
    train, test = task.read("train"), task.read("test")
    share = f"{len(found.related) / found.rows:.3f}"
    row = [task.task.name, found.rows, len(train), found.exact, found.reverse, found.homologous, share]
    if int(train.lengths.sum()) > SEARCHED:
        return [*row, "", ""]
    theirs = in_training_by_mmseqs2(train, test)
    return [*row, len(theirs), len(theirs & set(found.related))]


def main(data: Path, cache: Path) -> None:
    """Count task by task."""
    known = TABLE.read_text().splitlines() if TABLE.exists() else []
    with TABLE.open("a", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        if not known:
            table.writerow(COLUMNS)
        for name, (folder, chosen) in BENCHMARKS.items():
            benchmark = build({**node(name), "root": str(data / folder), "cache": str(cache)})
            for task in benchmark.choose(chosen):
                if not any(line.startswith(f"{task.name},") for line in known):
                    table.writerow(counted(*benchmark.prepare([task])))
                    file.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
