"""Next-k-mer prediction: which k bases follow a stretch of a genome.

What is told is bases, whatever the tokens are, so it compares tokenizers fairly. The genome's parts are laid
out in stretches of context and answer, end to end and without N, of which rows are drawn; so no two rows
share a base. The parts that train give the training rows, those that judge the others.

Source: GROVER (Sanabria et al. 2024), which chose its vocabulary so: 50 bases, k of 2 to 6, 500,000 rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import PositiveInt

from dnalm.data.corpus import Corpus, CorpusGenome
from dnalm.data.labelled.files import table_error
from dnalm.data.labelled.table import LabelledTable, Rows
from dnalm.data.labelled.task import MetricName, Part, TaskKind
from dnalm.data.order import permute
from dnalm.genome.alphabet import Codes, bases, is_unknown
from dnalm.limits import DrawnRows, WindowBases
from dnalm.paths import CachePath

_LONGEST = 8
_DRAWN_AT_ONCE = 1 << 16
_JUDGED, _TRAINED = 0, 1  # keys of both drawings


@dataclass(frozen=True, kw_only=True)
class NextKmer:
    """The task, whose genome is the run's `data`.

    Args:
        k: bases to be told, 1 to 8; the classes are the 4^k k-mers in the order of A, C, G, T.
        context_bp: bases that are read before them.
        num_train: rows that train, at most.
        num_val: rows that choose a checkpoint, at most.
        num_test: rows that judge, at most.
        cache: folder of embeddings; the user's cache if absent.
    """

    k: PositiveInt = 4
    context_bp: WindowBases = 50
    num_train: DrawnRows = 20_000
    num_val: DrawnRows = 2_000
    num_test: DrawnRows = 5_000
    cache: CachePath | None = None

    kind: ClassVar[TaskKind] = "multiclass"
    metrics: ClassVar[tuple[MetricName, ...]] = ("accuracy",)
    declared: ClassVar[MetricName] = "accuracy"
    classes: ClassVar[tuple[str, ...]] = ()
    label_columns: ClassVar[tuple[str, ...]] = ("label",)

    def __post_init__(self) -> None:
        if self.k > _LONGEST:
            raise ValueError(f"k is {self.k}; at most {_LONGEST} bases are told, of 65,536 classes")

    @property
    def title(self) -> str:
        """What the task is called."""
        return f"next_{self.k}mer"

    @property
    def num_classes(self) -> int:
        """How many k-mers there are."""
        return int(4**self.k)

    def tables(self, corpus: Corpus, *, seed: int) -> dict[Part, LabelledTable]:
        """The rows of each part.

        Args:
            corpus: the genomes and their division.
            seed: of the drawing.

        Raises:
            DataError: CSV-04, a part has no stretch without N.
        """
        corpus.prepare(tracks=())
        genomes = corpus.genomes(tracks=())
        trains = _Stretches(self, genomes, [genome.division.train for genome in genomes])
        judges = _Stretches(self, genomes, [genome.division.validation for genome in genomes])
        judged = judges.drawn(self.num_val + self.num_test, key=(seed, _JUDGED))
        num_val = len(judged) * self.num_val // (self.num_val + self.num_test)
        drawn: dict[Part, Rows] = {
            "train": trains.drawn(self.num_train, key=(seed, _TRAINED)),
            "val": judged[:num_val],
            "test": judged[num_val:],
        }
        source = ", ".join(genome.name for genome in genomes)
        return {
            part: (trains if part == "train" else judges).table(rows, source=f"{source} ({part})")
            for part, rows in drawn.items()
        }


class _Stretches:
    """Stretches of equal length, end to end in regions of several genomes, numbered through.

    Args:
        task: how long they are.
        genomes: of the regions.
        regions: (R, 2) flat intervals of each genome.
    """

    def __init__(self, task: NextKmer, genomes: Sequence[CorpusGenome], regions: Sequence[Rows]) -> None:
        self.task, self.genomes = task, genomes
        self.width = task.context_bp + task.k
        self.genome = np.repeat(np.arange(len(genomes)), [len(of_one) for of_one in regions])
        joined = np.concatenate([of_one.reshape(-1, 2) for of_one in regions])
        self.starts = joined[:, 0]
        self.ends = np.cumsum((joined[:, 1] - joined[:, 0]) // self.width)  # numbers of stretches

    def drawn(self, most: int, *, key: tuple[int, int]) -> Rows:
        """Numbers of stretches without N in a random order, none twice."""
        size = int(self.ends[-1]) if len(self.ends) else 0
        found = [np.zeros(0, np.int64)]
        for start in range(0, size, _DRAWN_AT_ONCE):
            slots = np.arange(start, min(start + _DRAWN_AT_ONCE, size))
            numbers = permute(slots, size=size, key=np.tile(np.array(key), (len(slots), 1)))
            found.append(numbers[~is_unknown(self.codes(numbers)).any(axis=1)])
            if sum(map(len, found)) >= most:
                break
        return np.concatenate(found)[:most]

    def places(self, numbers: Rows) -> tuple[Rows, Rows]:
        """Genome and flat start of each stretch."""
        regions = np.searchsorted(self.ends, numbers, side="right")
        first = np.concatenate([[0], self.ends])[regions]
        return self.genome[regions], self.starts[regions] + (numbers - first) * self.width

    def codes(self, numbers: Rows) -> Codes:
        """Their bases, (S, width)."""
        genomes, starts = self.places(numbers)
        codes = np.empty((len(numbers), self.width), dtype=np.uint8)
        for genome in np.unique(genomes):
            here = genomes == genome
            codes[here] = self.genomes[genome].store.codes[starts[here, None] + np.arange(self.width)]
        return codes

    def table(self, numbers: Rows, *, source: str) -> LabelledTable:
        """Their contexts as sequences, their last k bases as labels, their places as names.

        Raises:
            DataError: CSV-04, there are none.
        """
        if not len(numbers):
            raise table_error(
                "CSV-04",
                source,
                f"no stretch of {self.width} bases without N",
                "some in the contigs that train and in those that judge",
                "divide the genome otherwise: data.split.validation=[…], or data/split=fraction",
            )
        codes, context = self.codes(numbers), self.task.context_bp
        digits = bases(codes[:, context:]).astype(np.int64)
        return LabelledTable(
            source=source,
            codes=np.ascontiguousarray(codes[:, :context]).reshape(-1),
            offsets=np.arange(len(numbers) + 1) * context,
            labels=digits @ 4 ** np.arange(self.task.k - 1, -1, -1),
            names=np.array(list(self._names(numbers))),
            lines=np.arange(1, len(numbers) + 1),
        )

    def _names(self, numbers: Rows) -> Iterator[str]:
        """`contig:start-end` of what is read, 0-based and half-open."""
        for genome, start in zip(*self.places(numbers), strict=True):
            store = self.genomes[genome].store
            number = int(np.searchsorted(store.offsets, start, side="right")) - 1
            contig = store.contigs[number]
            local = int(start) - contig.offset
            yield f"{contig.name}:{local}-{local + self.task.context_bp}"
