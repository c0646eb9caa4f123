"""Tables as people have them are read: other endings, other tools, odd and harmless things."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.data.labelled import LabelledTable, Task, divide
from dnalm.data.labelled import rows as files
from dnalm.data.labelled import rows as json_rows
from dnalm.data.labelled.rows import Notes, file_kind, read_rows
from dnalm.data.labelled.table import read_letters, read_table
from dnalm.errors import DataError
from dnalm.genome.alphabet import to_text

ROWS = [("ACGTACGT", 0), ("TTTTAC", 1), ("GGGNCC", 1)]
CSV = "sequence,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS)
RECORDS = [{"sequence": text, "label": label} for text, label in ROWS]


def read(path: Path | str, **task: object) -> LabelledTable:
    return read_table(Task(train=str(path), **task), "train", source=str(path), num_classes=None)


def pairs(table: LabelledTable) -> list[tuple[str, int]]:
    return [(to_text(table.sequence(n)), int(table.labels[n])) for n in range(len(table))]


def table_of(texts: object, labels: object) -> pa.Table:
    return pa.table({"sequence": texts, "label": labels})


TEXTS, LABELS = [text for text, _ in ROWS], [label for _, label in ROWS]
FORMS: dict[str, tuple[str, bytes | pa.Table]] = {
    "a gzip that is called .csv": ("t.csv", gzip.compress(CSV.encode(), mtime=0)),
    "a CSV that is called .gz": ("t.csv.gz", CSV.encode()),
    "FASTA in capitals": ("T.FASTA", "".join(f">s label={y}\n{x}\n" for x, y in ROWS).encode()),
    "FASTA that is called .txt": ("t.txt", "".join(f">s|{y}\n{x}\n" for x, y in ROWS).encode()),
    "FASTA of ragged lines, blank ones and comments": (
        "t.ffn",
        b"\xef\xbb\xbf;by hand\n>s label=0\nAC\n\nGTACGT\n>s label=1\nTTT\n;\nT\nAC\n>s label=1\nGGGNCC",
    ),
    "an array": ("t.json", json.dumps(RECORDS).encode()),
    "an array over lines": ("t.json", json.dumps(RECORDS, indent=2).encode()),
    "an array that is called .jsonl": ("t.jsonl", b"\xef\xbb\xbf \n" + json.dumps(RECORDS).encode()),
    "lines that are called .json": ("t.json", "\n".join(map(json.dumps, RECORDS)).encode()),
    "lines that are called .ndjson.gz": ("t.ndjson.gz", "\n\n".join(map(json.dumps, RECORDS)).encode()),
    "Parquet that is called .csv": ("t.csv", table_of(TEXTS, LABELS)),
    "Parquet of categories": ("t.pq", table_of(pa.array(TEXTS).dictionary_encode(), LABELS)),
    "Parquet of large strings": (
        "t.pq",
        table_of(pa.array(TEXTS, pa.large_string()), pa.array(LABELS, pa.int8())),
    ),
    "Parquet of bytes": ("t.pq", table_of(pa.array(map(str.encode, TEXTS), pa.binary()), map(str, LABELS))),
    "Parquet of booleans": ("t.pq", table_of(TEXTS, [bool(label) for label in LABELS])),
    "Parquet of floats": ("t.PARQUET", table_of(TEXTS, list(map(float, LABELS)))),
    "a CSV of Excel": ("t.csv", ("\ufeff" + CSV.replace(",", ";").replace("\n", "\r\n")).encode()),
    "a CSV of old Excel for Mac": ("t.csv", CSV.replace("\n", "\r").encode()),
    "tabs in a CSV": ("t.csv", CSV.replace(",", "\t").encode()),
    "commas in a TSV": ("t.tsv", CSV.encode()),
    "pipes": ("t.txt", CSV.replace(",", "|").encode()),
    "no ending": ("table", CSV.encode()),
    "spaces after commas": ("t.csv", CSV.replace(",", " , ").encode()),
    "quotes everywhere": (
        "t.csv",
        "\n".join(f'"{x}","{y}"' for x, y in [("sequence", "label"), *ROWS]).encode(),
    ),
    "commas at the ends of lines": ("t.csv", CSV.replace("\n", ",,\n").encode()),
    "commas at the ends of rows": ("t.csv", CSV.replace("\n", ",\n").replace("label,", "label").encode()),
    "comments above": ("t.csv", f"# by hand, in 2024\n#\n\n{CSV}".encode()),
    "blank rows": ("t.csv", CSV.replace("TTTT", "\n  \n,\nTTTT").encode() + b" , \n\n\n"),
    "a comment above": ("t.csv", f"# by hand\n{CSV}".encode()),
    "a blank row": ("t.csv", CSV.replace("TTTT", ",\nTTTT").encode()),
    "a comma at the end of a row": ("t.csv", f"{CSV.rstrip()},\n".encode()),
    "truth as text": ("t.csv", CSV.replace(",0", ",False").replace(",1", ",TRUE").encode()),
    "floats": ("t.csv", CSV.replace(",0", ",0.0").replace(",1", ",1.0").encode()),
    "a remark over lines": (
        "t.csv",
        b'sequence,label,note\nACGTACGT,0,"one\ntwo, ""three"""\nTTTTAC,1,\nGGGNCC,1,"x"\n',
    ),
    "overlapping k-mers": (
        "t.tsv",
        b"sequence\tlabel\nACG CGT GTA TAC ACG CGT\t0\nTTTTA TTTAC\t1\nG G G N C C\t1\n",
    ),
    "k-mers as lists": (
        "t.jsonl",
        b'{"sequence": ["ACGTAC", "CGTACG", "GTACGT"], "label": 0}\n{"sequence": "TTTTAC", "label": 1}\n'
        b'{"sequence": ["G", "G", "G", "N", "C", "C"], "label": 1}',
    ),
    "an unnamed first column twice": (
        "t.csv",
        b",,sequence,label\n0,0,ACGTACGT,0\n1,1,TTTTAC,1\n2,2,GGGNCC,1\n",
    ),
    "a column twice that nobody asks for": (
        "t.csv",
        b"x,sequence,x,label\n0,ACGTACGT,0,0\n1,TTTTAC,1,1\n2,GGGNCC,2,1\n",
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_way_to_write_a_table_holds_the_same_rows(name: str, tmp_path: Path) -> None:
    file, content = FORMS[name]
    if isinstance(content, bytes):
        (tmp_path / file).write_bytes(content)
    else:
        pq.write_table(content, tmp_path / file)
    assert pairs(read(tmp_path / file)) == ROWS


@pytest.mark.parametrize("write", [pa.ipc.new_file, pa.ipc.new_stream])
def test_arrow_is_read_as_a_file_and_as_a_stream(write: Callable[..., Any], tmp_path: Path) -> None:
    table = table_of(TEXTS, LABELS)
    with write(tmp_path / "t.arrow", table.schema) as file:
        file.write_table(table)
    pyarrow.feather.write_feather(table, tmp_path / "t.feather")
    assert [pairs(read(tmp_path / f"t.{end}")) for end in ("arrow", "feather")] == [ROWS, ROWS]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("a CSV of Excel", "1 header line shows that columns are separated by ';'"),
        ("commas at the ends of rows", "3 rows have empty cells past the last column"),
        ("comments above", "2 comment lines above the header are left out"),
        ("blank rows", "2 rows without any value are left out"),
        ("a comment above", "1 comment line above the header is left out"),
        ("a blank row", "1 row without any value is left out"),
        ("a comma at the end of a row", "1 row has empty cells past the last column"),
        ("overlapping k-mers", "3 rows of overlapping k-mers are joined to sequences"),
    ],
)
def test_what_is_odd_is_counted(file: str, said: str, tmp_path: Path) -> None:
    (tmp_path / FORMS[file][0]).write_bytes(FORMS[file][1])  # type: ignore[arg-type]
    assert read(tmp_path / FORMS[file][0]).notes == (f"{tmp_path / FORMS[file][0]}: {said}",)


def test_ambiguous_letters_are_counted(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("sequence,label\nACRY,0\nACGk,1\n")
    assert read(tmp_path / "t.csv").notes == (f"{tmp_path / 't.csv'}: 3 ambiguous letters are read as N",)


@given(text=st.text("ACGTNacgtn", min_size=1, max_size=40), size=st.integers(1, 8))
def test_overlapping_kmers_spell_their_sequence(text: str, size: int) -> None:
    words = [text[place : place + size] for place in range(max(1, len(text) - size + 1))]
    given_ = read_letters(" ".join(words), column="sequence", where="", notes=Notes())
    assert given_.tolist() == read_letters(text, column="sequence", where="", notes=Notes()).tolist()


@given(
    rows=st.lists(
        st.dictionaries(
            st.sampled_from(["sequence", "x"]), st.text() | st.integers() | st.lists(st.text()), min_size=1
        )
    ),
    indent=st.sampled_from([None, 0, 2]),
    piece=st.integers(1, 9),
)
def test_an_array_is_read_as_json_reads_it_however_it_is_cut(
    rows: list[dict[str, object]], indent: int | None, piece: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("array") / "t.json"
    path.write_text(json.dumps(rows, indent=indent))
    text = path.read_bytes()

    def chunks(_: Path, *, chunk_bytes: int, **__: object) -> Iterator[bytes]:
        size = piece if chunk_bytes > len(text) else chunk_bytes
        return (text[place : place + size] for place in range(0, len(text), size))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "read_chunks", chunks)
        patch.setattr(json_rows, "read_chunks", chunks)
        assert [row.values for row in read_rows(str(path), part="train")] == rows


def test_labels_of_a_list_are_those_of_a_multilabel_task(tmp_path: Path) -> None:
    expected = [[0, 1, 1], [1, 0, 0]]
    (tmp_path / "a.jsonl").write_text(
        '{"sequence": "AC", "y": [0, 1, 1]}\n{"sequence": "AC", "y": [true, false, 0.0]}'
    )
    (tmp_path / "b.csv").write_text('sequence,y\nAC,"[0, 1, 1]"\nAC,1;0;0\n')
    (tmp_path / "c.csv").write_text("sequence,y\nAC,[0 1 1]\nAC,1|0|0\n")
    pq.write_table(pa.table({"sequence": ["AC", "AC"], "y": expected}), tmp_path / "d.parquet")
    for name in ("a.jsonl", "b.csv", "c.csv", "d.parquet"):
        for label in ("y", ("y",)):
            table = read(tmp_path / name, kind="multilabel", label=label)
            np.testing.assert_array_equal(table.labels, expected)
    path = str(tmp_path / "a.jsonl")
    division = divide(Task(train=path, val=path, test=path, kind="multilabel", label="y"), seed=1)
    assert division.num_classes == 3


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([1, 2, 2], ("1", "2")),
        ([1.0, 2.0, 2.0], ("1", "2")),
        (["1", "2", "2"], ("1", "2")),
        ([-1, 1, 1], ("-1", "1")),
    ],
)
def test_classes_are_named_by_their_numbers_in_any_form(
    labels: list[object], classes: tuple[str, ...], tmp_path: Path
) -> None:
    pq.write_table(table_of(TEXTS, labels), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet", classes=classes).labels.tolist() == [0, 1, 1]


def test_saved_datasets_are_read_by_split_and_whole(tmp_path: Path) -> None:
    whole = datasets.Dataset.from_list(RECORDS)
    whole.save_to_disk(tmp_path / "whole")
    splits = {"train": whole, "validation": whole.select([0, 1]), "odd": whole.select([2])}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "parts")
    assert pairs(read(tmp_path / "whole")) == ROWS
    assert pairs(read(tmp_path / "parts")) == ROWS
    assert pairs(read(f"{tmp_path / 'parts'}:odd")) == ROWS[2:]
    assert pairs(read(tmp_path / "parts/odd")) == ROWS[2:]
    task = Task(train=str(tmp_path / "parts"), val=str(tmp_path / "parts"))
    assert len(divide(task, seed=1).val) == 2
    with pytest.raises(
        DataError, match=r"DSET-01 .*no split test; there are train, validation, odd; .*parts:train"
    ):
        divide(Task(train=str(tmp_path / "parts"), test=str(tmp_path / "parts")), seed=1)


def test_what_is_on_disk_comes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    datasets.Dataset.from_list(RECORDS).save_to_disk("owner/name")
    assert pairs(read("owner/name")) == ROWS


@pytest.mark.parametrize(
    "source", ["tabel.csv", "data/none.csv", "none", "C:\\data\\t.csv", "a/b/c/d", "x.parquet"]
)
def test_a_file_that_is_not_there_is_not_sought_on_the_hub(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text(CSV)
    with pytest.raises(DataError, match=r"CSV-04 .*no such file") as error:
        read(source)
    assert ("did you mean table.csv?" in str(error.value)) == (source == "tabel.csv")


def test_the_name_decides_where_the_content_does_not(tmp_path: Path) -> None:
    names = {"a.BED.gz": "bed", "a.narrowPeak": "bed", "a.Fna": "fasta", "a.TXT": "delimited", "a.doc": None}
    for name, kind in names.items():
        (tmp_path / name).write_text("chr1\t0\t10\n")
        assert file_kind(tmp_path / name) == file_kind(Path(name)) == kind
    (tmp_path / "b.bed").write_text(">a\nACGT\n")
    assert (file_kind(tmp_path / "b.bed"), file_kind(tmp_path)) == ("fasta", "folder")


def test_a_cell_longer_than_csv_readers_expect_is_read(tmp_path: Path) -> None:
    long = "ACGT" * 40_000
    (tmp_path / "t.csv").write_text(f'sequence,label\n{long},1\n"{long}",0\n')
    assert read(tmp_path / "t.csv").lengths.tolist() == [160_000, 160_000]


def test_parquets_own_checksums_are_held(tmp_path: Path) -> None:
    pq.write_table(
        table_of(TEXTS, LABELS), tmp_path / "t.parquet", compression="none", write_page_checksum=True
    )
    content = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(content.replace(b"TTTTAC", b"TTTTAG"))
    with pytest.raises(DataError, match=r"^CSV-02 .*could not verify page integrity, CRC checksum"):
        read(tmp_path / "t.parquet")


def test_a_flipped_letter_in_parquet_is_no_traceback(tmp_path: Path) -> None:
    pq.write_table(table_of(TEXTS, LABELS), tmp_path / "t.parquet", compression="none", use_dictionary=False)
    content = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(content.replace(b"TTTTAC", b"TT\xffTAC"))
    with pytest.raises(DataError, match=r"^CSV-02 .*t.parquet: it breaks off after row 0"):
        read(tmp_path / "t.parquet")
