"""Files of public bug reports and of usual tools, in ../shared/cases, each with its right outcome."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pysam
import pytest

from dnalm.cli import main
from dnalm.data.labelled import LabelledTable, Task
from dnalm.data.labelled.table import read_table
from dnalm.data.splits import SplitByContig
from dnalm.errors import DataError
from dnalm.genome.genes import REGION_CLASSES
from dnalm.genome.store import GenomeStore, open_or_build
from dnalm.genome.track_recipes import RegionClasses
from tests.evaluation.embedding.models import save

Interval = tuple[str, int, int]


@pytest.fixture(scope="module")
def cases(shared_data: Path) -> Path:
    return shared_data.parent / "cases"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and room for stores."""
    folder = tmp_path_factory.mktemp("public")
    save("kmer", folder / "model")
    return folder


@pytest.fixture(scope="module")
def store(cases: Path, folder: Path) -> GenomeStore:
    return open_or_build(cases / "genome.fa", folder / "cache")


# Annotations: the class of bases, and a word of the notes. Positions from 1, both ends included.
TWO_GENES = {("chr1", 1001, 1900): "CDS", ("chr1", 3001, 3900): "CDS", ("chr2", 1001, 1900): "CDS"}
SPLICED = {
    ("chr1", 2001, 2100): "five_prime_UTR",
    ("chr1", 2101, 2600): "CDS",
    ("chr1", 2601, 5000): "intron",
    ("chr1", 5001, 5500): "CDS",
    ("chr1", 5501, 6000): "three_prime_UTR",
}
ANNOTATIONS: dict[str, tuple[dict[Interval, str], str | None]] = {
    "mgm.gff3": (TWO_GENES, None),
    "gencode_old.gtf": (SPLICED, None),
    "braker.gtf": (SPLICED, None),
    "circ.gff3": (
        {("chr4", 14501, 15000): "CDS", ("chr4", 1, 300): "CDS", ("chr1", 3001, 3900): "CDS"},
        None,
    ),
    "semi.gff3": ({("chr1", 1001, 1900): "CDS"}, "2 attributes without a value"),
}


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_annotations_paint_what_they_say(name: str, cases: Path, store: GenomeStore, folder: Path) -> None:
    expected, said = ANNOTATIONS[name]
    track = RegionClasses(gff=cases / name, promoter_upstream=0, promoter_downstream=0).prepare(store, folder)
    painted = track.read(0, store.num_bases).copy()
    intergenic = REGION_CLASSES.index("intergenic")
    for (contig, first, last), region in expected.items():
        start = store.contig(contig).offset
        assert set(painted[start + first - 1 : start + last]) == {REGION_CLASSES.index(region)}
        painted[start + first - 1 : start + last] = intergenic
    annotated = {contig for contig, _, _ in expected}
    for each in store.contigs:
        rest = set(painted[each.offset : each.offset + each.length])
        assert each.name not in annotated or rest <= {intergenic}
    notes = track.manifest.notes
    assert [said is not None and said in note for note in notes] == [True] * (said is not None)


# Variants: how many are scored, and a word of what is printed.
VARIANTS: dict[str, tuple[int, str]] = {
    "bom.vcf": (5, ""),
    "infoA.vcf": (6, "AC in 1 records, AF in 1 records"),
    "spacehdr.vcf": (5, ""),
    "table.csv": (5, ""),
}


def program(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*words])
    return int(ended.value.code or 0)


def score(folder: Path, variants: Path, reference: Path, out: str, *more: str) -> int:
    where = [f"model={folder}/model", f"cache={folder}/cache", f"out={folder}/{out}", "window_bp=20"]
    return program("score", f"variants={variants}", f"reference={reference}", *where, *more)


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_scored(name: str, cases: Path, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    scored, said = VARIANTS[name]
    assert score(folder, cases / name, cases / "genome.fa", f"{name}.parquet", "device=cpu") == 0
    llr = pq.read_table(folder / f"{name}.parquet")["llr"].to_numpy(zero_copy_only=False)
    assert (len(llr), int(np.isfinite(llr).sum())) == (scored, scored)
    assert said in "".join(capfd.readouterr())


# Tables: what the task is beyond its file, and the shape of its labels. All sequences have 80 bases.
TABLES: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "kmers.tsv": ({}, (40,)),
    "array.json": ({}, (40,)),
    "lists.jsonl": ({"kind": "multilabel", "label": "labels"}, (40, 3)),
    "hf_saved": ({}, (40,)),
    "UPPER.FASTA": ({}, (40,)),
    "short.csv": ({}, (60,)),
}


def read(path: Path, **task: Any) -> LabelledTable:  # noqa: ANN401
    return read_table(Task(train=str(path), **task), "train", source=str(path), num_classes=None)


@pytest.mark.parametrize("name", TABLES)
def test_tables_hold_their_rows(name: str, cases: Path) -> None:
    task, shape = TABLES[name]
    table = read(cases / name, **task)
    assert table.labels.shape == shape
    assert set(table.lengths.tolist()) == {80}
    assert set(table.labels.ravel().tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cut.csv.gz", r"^CSV-18 .*cut.csv.gz"),
        ("unlabelled.csv", r"^CSV-01 .*no column 'label'; there are sequence; .*dnalm embed"),
    ],
)
def test_tables_without_an_answer_say_why(name: str, said: str, cases: Path) -> None:
    with pytest.raises(DataError, match=said):
        read(cases / name)


@pytest.mark.parametrize(("name", "rows"), [("UPPER.FASTA", 40), ("unlabelled.csv", 19)])
def test_sequences_are_embedded(name: str, rows: int, cases: Path, folder: Path) -> None:
    out = folder / f"{name}.npy"
    assert program("embed", f"model={folder}/model", f"input={cases / name}", f"out={out}") == 0
    assert len(np.load(out)) == rows


# Genomes of many short contigs: whole contigs judge, and the others train.
def of_training(fasta: Path, folder: Path) -> float:
    store = open_or_build(fasta, folder / "cache")
    division = SplitByContig().divide(store)
    assert "contigs, drawn at random" in division.description
    return float(np.diff(division.train).sum() / store.num_bases)


def test_300_contigs_of_900_bases_train(cases: Path, folder: Path) -> None:
    assert of_training(cases / "few900.fa", folder) > 0.9


def test_no_window_in_300_contigs_is_an_error_of_the_data(
    cases: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["data=fasta", f"data.fasta={cases}/few900.fa", f"data.cache={folder}/cache"]
    words += ["data/split=fraction", "data.split.gap=1000", "size=tiny", f"run.dir={folder}/run"]
    assert program("pretrain", *words) == DataError.exit_code
    said = capfd.readouterr().err
    assert all(word in said for word in ("few900.fa", "validation on the last 5.0%", "a window of"))
    assert not (folder / "run").exists()


@pytest.fixture(scope="module")
def large(cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inputs that are made rather than kept."""
    made = tmp_path_factory.mktemp("large")
    subprocess.run([sys.executable, str(cases / "make_large.py"), str(made)], check=True)
    return made


@pytest.mark.long
def test_100_000_transcripts_train_within_seconds(large: Path, folder: Path) -> None:
    assert of_training(large / "transcripts_100k.fa", folder) > 0.9


@pytest.mark.long
def test_a_cell_of_140_000_bases_is_read(large: Path) -> None:
    assert read(large / "long_field.csv").lengths.tolist() == [80] * 12 + [140_000]


@pytest.mark.long
def test_variants_beyond_what_tbi_can_index_are_scored_with_csi(large: Path, folder: Path) -> None:
    assert score(folder, large / "big.vcf", large / "big.fa.gz", "big.vcf.gz") == 0
    with pysam.VariantFile(str(folder / "big.vcf.gz"), index_filename=str(folder / "big.vcf.gz.csi")) as file:
        assert sum(1 for record in file.fetch("chrBig") if "DNALM_LLR" in record.info) == 2
