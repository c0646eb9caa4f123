"""Labels of chosen classes, and of the types of GFF features."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dnalm.genome.alphabet import is_unknown
from dnalm.genome.store import GenomeStore, open_or_build
from dnalm.genome.track_recipes import IntervalLabels
from tests.genome.conftest import NUM_BASES, Write
from tests.genome.test_track_recipes import letter_column, whole

GFF = [
    "##gff-version 3",
    "chr1 . gene 1 20 . + . ID=g",
    "chr1 . exon 1 8 . + . Parent=g",
    "chr1 . exon 15 20 . + . Parent=g",
    "chr1 . gene 23 26 . - . ID=p;pseudo=true",
    "chr2 . gene 3 7 . + . ID=q;gene_biotype=unprocessed_pseudogene",
    "chr2 . region 1 20 . + . ID=r",
]


def test_types_of_features_are_labels_on_the_contigs_that_a_gff_names(
    store: GenomeStore, write: Write, tmp_path: Path
) -> None:
    path = write("a.gff3", *GFF)
    chosen = ["exon", "gene", "pseudogene", "silencer"]
    track = IntervalLabels(files={"x": path}, label_by="class", classes=chosen).prepare(store, tmp_path / "t")
    assert (track.kind, track.names) == ("labels", ("x/exon", "x/gene", "x/pseudogene", "x/silencer"))
    none = "0000???" + "0" * 13 + "?" * 10  # chr2 has N at 4-6; the file does not name chrM
    expected = [
        "1" * 8 + "0" * 6 + "1" * 6 + "0" * 10 + none,
        "1" * 20 + "0" * 10 + none,
        "0" * 22 + "1" * 4 + "0" * 4 + "0011???" + "0" * 13 + "?" * 10,
        "?" * NUM_BASES,  # a type that the file lacks is unknown, never absent
    ]
    assert [letter_column(column) for column in whole(track).T] == expected
    assert track.manifest.notes == (f"TRACK-14 {path}: there is no silencer; missing there, not absent",)
    every = IntervalLabels(files={"x": path}, label_by="class").prepare(store, tmp_path / "t")
    assert every.names == ("x/exon", "x/gene", "x/pseudogene", "x/region")


def test_chosen_classes_of_bed_leave_the_others_out(store: GenomeStore, write: Write, tmp_path: Path) -> None:
    files = {"p": write("p.bed", "chr1 0 5 a", "chr1 5 9 b"), "q": write("q.bed", "chr1 2 4 b")}
    track = IntervalLabels(files=files, label_by="class", classes=["a"]).prepare(store, tmp_path / "t")
    assert track.names == ("p/a", "q/a")
    assert [letter_column(column) for column in whole(track).T] == ["1" * 5 + "0" * 4 + "?" * 51, "?" * 60]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": ["a"]}, "classes is given and label_by is file"),
        ({"classes": [], "label_by": "class"}, r"classes is \[\]; at least one class, and each once"),
        ({"classes": ["a", "a"], "label_by": "class"}, r"classes is \['a', 'a'\]; at least one class"),
    ],
)
def test_classes_that_choose_nothing_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IntervalLabels(files={"x": Path("a.bed")}, **arguments)


def test_types_of_refseq_cover_what_its_lines_cover(shared_data: Path, tmp_path: Path) -> None:
    store = open_or_build(shared_data / "genomes/hg19_chr22.fa.gz", tmp_path)
    path = shared_data / "annotations/hg19_chr22.refseq.gff3.gz"
    chosen = ["pseudogene", "gene", "exon", "CDS", "tRNA", "enhancer"]
    recipe = IntervalLabels(files={"refseq": path}, label_by="class", classes=chosen)
    track = recipe.prepare(store, tmp_path / "t")
    covered = {name: np.zeros(store.num_bases, dtype=bool) for name in chosen}
    with gzip.open(path, "rt") as lines:
        for columns in (line.split("\t") for line in lines if not line.startswith("#")):
            kind = "pseudogene" if columns[2] == "gene" and "pseudo=true" in columns[8] else columns[2]
            if kind in covered:
                covered[kind][int(columns[3]) - 1 : int(columns[4])] = True
    known = ~is_unknown(np.asarray(store.codes))
    counts = {f"refseq/{name}": int((bases & known).sum()) for name, bases in covered.items()}
    assert track.statistics.positive_bases == counts
    assert min(counts[f"refseq/{name}"] for name in chosen[:-1]) > 50
    assert track.statistics.covered_bases == {
        f"refseq/{name}": 0 if name == "enhancer" else int(known.sum()) for name in chosen
    }
