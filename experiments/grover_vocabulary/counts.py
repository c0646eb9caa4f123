"""What counting alone tells of the next k bases: the k-mer that most often follows the last m bases.

Usage: python experiments/grover_vocabulary/counts.py sacCer3.fa.gz

Counted on the training rows, and judged on the test rows, that `dnalm tokenizer select` draws.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from dnalm.data import GenomeCorpus
from dnalm.data.labelled import NextKmer
from dnalm.data.labelled.table import LabelledTable, Rows
from dnalm.genome.alphabet import bases


def last_bases(table: LabelledTable, m: int) -> Rows:
    """The last m bases of each row as a number."""
    codes = bases(table.codes).reshape(len(table), -1)[:, table.lengths[0] - m :].astype(np.int64)
    numbers: Rows = codes @ 4 ** np.arange(m)
    return numbers


def accuracy(train: LabelledTable, test: LabelledTable, *, m: int, num_classes: int) -> float:
    """The share of test rows that are followed by what most often follows their last m bases."""
    counts = np.zeros((4**m, num_classes), dtype=np.int64)
    np.add.at(counts, (last_bases(train, m), train.labels), 1)
    said = counts.argmax(axis=1)[last_bases(test, m)]
    return float((said == test.labels).mean())


def main() -> None:
    """Print a line for each k and m."""
    corpus = GenomeCorpus(fasta=Path(sys.argv[1]))
    for k in (2, 4, 6):
        task = NextKmer(k=k, num_val=1_000, num_test=10_000)
        tables = task.tables(corpus, seed=1)
        for m in (0, 1, 2):
            found = accuracy(tables["train"], tables["test"], m=m, num_classes=task.num_classes)
            print(f"k {k}, last {m} bases: {100 * found:.2f} %")


if __name__ == "__main__":
    main()
