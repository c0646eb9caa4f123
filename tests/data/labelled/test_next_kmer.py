"""Next-k-mer prediction: what is drawn of a genome, and what its labels say."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnalm.data import GenomeCorpus
from dnalm.data.labelled import NextKmer, Task, divide
from dnalm.data.labelled.table import LabelledTable
from dnalm.data.splits import SplitByContig
from dnalm.errors import ConfigError, DataError
from dnalm.genome.alphabet import bases, to_text
from tests.conftest import random_sequence

TRAIN = random_sequence(2000, 1) + "N" * 30 + random_sequence(1000, 2)
JUDGED = random_sequence(500, 3).lower() + "N" + random_sequence(700, 4)
CONTIGS = {"first": TRAIN, "second": random_sequence(900, 5), "judged": JUDGED}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> GenomeCorpus:
    folder = tmp_path_factory.mktemp("genome")
    return corpus_of(folder, CONTIGS)


def corpus_of(folder: Path, contigs: dict[str, str]) -> GenomeCorpus:
    path = folder / "genome.fa"
    path.write_text("".join(f">{name}\n{text}\n" for name, text in contigs.items()))
    return GenomeCorpus(fasta=path, cache=folder, split=SplitByContig(validation=["judged"]))


def places(table: LabelledTable) -> list[tuple[str, int, int]]:
    """Contig, start and end of each row, as its name tells."""
    parted = (str(name).replace("-", ":").split(":") for name in table.names)
    return [(contig, int(start), int(end)) for contig, start, end in parted]


@given(k=st.integers(1, 8), context=st.integers(1, 60), seed=st.integers(0, 2**31))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_are_what_stands_in_the_genome_and_labels_what_follows(
    k: int, context: int, seed: int, corpus: GenomeCorpus
) -> None:
    task = NextKmer(k=k, context_bp=context, num_train=40, num_val=3, num_test=8)
    for table in task.tables(corpus, seed=seed).values():
        for row, (contig, start, end) in enumerate(places(table)):
            assert end - start == context
            assert to_text(bases(table.sequence(row))) == CONTIGS[contig][start:end].upper()
            digits = ["ACGT".index(letter) for letter in CONTIGS[contig][end : end + k].upper()]
            assert table.labels[row] == sum(digit * 4 ** (k - 1 - n) for n, digit in enumerate(digits))


@given(k=st.integers(1, 8), seed=st.integers(0, 2**31))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_two_rows_share_a_base_and_parts_are_of_their_contigs(
    k: int, seed: int, corpus: GenomeCorpus
) -> None:
    tables = NextKmer(k=k, context_bp=20).tables(corpus, seed=seed)
    assert {contig for contig, _, _ in places(tables["train"])} == {"first", "second"}
    judged = [*places(tables["val"]), *places(tables["test"])]
    assert {contig for contig, _, _ in judged} == {"judged"}
    seen = sorted([*places(tables["train"]), *judged])
    for (contig, _, end), (other, start, _) in pairwise(seen):
        assert contig != other or end + k <= start


def test_of_a_small_genome_all_stretches_without_n_are_drawn_and_judges_share_them(
    corpus: GenomeCorpus,
) -> None:
    tables = NextKmer(k=2, context_bp=8, num_val=10, num_test=30).tables(corpus, seed=1)
    # 3030 / 10 less the three that the run of N fills, and 900 / 10
    assert len(tables["train"]) == 303 - 3 + 90
    # 1201 bases: 120 stretches, one of them with the N; 119 rows where 40 were asked for
    assert [len(tables[part]) for part in ("val", "test")] == [10, 30]
    more = NextKmer(k=2, context_bp=8, num_val=1000, num_test=3000).tables(corpus, seed=1)
    assert [len(more[part]) for part in ("val", "test")] == [29, 90], "119 in the proportion of 1 to 3"


def test_a_seed_draws_the_same_rows_and_another_seed_others(corpus: GenomeCorpus) -> None:
    task = NextKmer(k=3, context_bp=20, num_train=30)
    again = [task.tables(corpus, seed=seed)["train"].names.tolist() for seed in (1, 1, 2)]
    assert again[0] == again[1] != again[2]
    assert again[0] != sorted(again[0]), "in an order that tells nothing"


def test_a_division_knows_all_kmers_as_classes(corpus: GenomeCorpus) -> None:
    division = divide(NextKmer(k=5, context_bp=20), seed=1, data=corpus)
    assert division.num_classes == 1024
    assert np.isin(division.test.labels, division.train.labels).mean() < 1, (
        "some were never seen; that may be"
    )


def test_contigs_too_short_for_a_row_are_reported(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, {"first": random_sequence(300, 1), "judged": "ACGTN" * 20})
    with pytest.raises(DataError, match=r"CSV-04 genome.* \(val\): no stretch of 54 bases without N"):
        NextKmer(k=4).tables(corpus, seed=1)


def test_a_genome_is_needed_by_this_task_alone(corpus: GenomeCorpus) -> None:
    with pytest.raises(ConfigError, match=r"CFG-18 data: no genome; .*data=fasta data.fasta="):
        divide(NextKmer(), seed=1)
    with pytest.raises(ConfigError, match="CFG-18 data: a genome beside a task that has tables"):
        divide(Task(train="t.csv"), seed=1, data=corpus)


def test_more_bases_than_classes_can_tell_are_refused() -> None:
    with pytest.raises(ValueError, match="k is 9; at most 8"):
        NextKmer(k=9)
