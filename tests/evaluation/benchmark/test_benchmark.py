"""Lists of tasks are whole; tasks are read once, from any published form, and what is wrong is a sentence."""

import csv
import gzip
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from tokenizers import Tokenizer

from dnalm.compose import build
from dnalm.compose.check import check
from dnalm.compose.groups import options
from dnalm.errors import ConfigError, DataError
from dnalm.evaluation.benchmark.benchmark import PARTS, Benchmark, choose_recipe, read_tasks
from dnalm.paths import config_folder

HEADER = "task\tpath\thub_path\tsha256\tlabels\tlength\tmetric\trecipe\n"


def node(name: str) -> dict[str, object]:
    import yaml

    found: dict[str, object] = yaml.safe_load((config_folder() / f"benchmark/{name}.yaml").read_text())
    return found


def benchmark(folder: Path, *, rows: str = "", **given: object) -> Benchmark:
    """A benchmark of one task `toy` of two classes, or of other rows."""
    (folder / "toy.tsv").write_text(HEADER + (rows or "toy\ttoy/{split}.csv\t\t\t2\t8\tmcc\tshort\n"))
    return Benchmark(name="toy", tasks=folder / "toy.tsv", cache=folder / "cache", **given)


def write_split(path: Path, rows: list[tuple[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("sequence,label\n" + "".join(f"{sequence},{label}\n" for sequence, label in rows))


@pytest.mark.parametrize("name", sorted({*options("benchmark")} - {"variants"}))  # whose list is of sets
def test_every_list_is_read(name: str) -> None:
    check(node(name))
    built = build(node(name))
    assert built.name == name
    assert built.tasks


@pytest.mark.parametrize(("name", "tasks"), [("gue", 28), ("nt", 18), ("nt_revised", 18)])
def test_lists_have_as_many_tasks_as_published(name: str, tasks: int) -> None:
    assert len(read_tasks(Path(f"{name}.tsv"))) == tasks


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("toy\t{split}\t\t\ttwo\t8\tmcc\tshort\n", "labels 'two'; a whole number"),
        ("toy\t{split}\t\t\t2\t8\tMCC\tshort\n", "metric 'MCC'; one of mcc"),
        ("toy\t{split}\t\t\t2\t8\tmcc\tlong\n", "recipe 'long'; one of gue_emp"),
        ("toy\ttrain.csv\t\t\t2\t8\tmcc\tshort\n", "path 'train.csv'; a path with {split} in it"),
        ("toy\t2\n", "toy.tsv:2: 2 fields; 8"),
        ("toy\t{split}\t\t\t2\t8\tmcc\tshort\n" * 2, "toy twice; each task once"),
    ],
)
def test_a_wrong_list_says_what_is_wrong(tmp_path: Path, row: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        benchmark(tmp_path, rows=row)
    assert says in str(caught.value)


def test_missing_files_are_named_and_where_they_belong(tmp_path: Path) -> None:
    root = tmp_path / "root"
    row = "{0}\t{0}/{{split}}.csv\t\t\t2\t8\tmcc\tshort\n"
    for split in ("train", "dev", "test"):
        write_split(root / f"here/{split}.csv", [("ACGT", "0"), ("ACGA", "1")])
    write_split(root / "half/dev.csv", [("ACGT", "0")])
    toy = benchmark(tmp_path, rows=row.format("here") + row.format("half"), root=root)
    with pytest.raises(DataError) as caught:
        toy.prepare(toy.choose(None))
    assert "BENCH-04" in str(caught.value)
    assert "2 files of 1 tasks are missing: half/train.csv, half/test.csv" in str(caught.value)
    assert f"put them below {root}; or run what is there: tasks=[here]" in str(caught.value)
    assert [len(task.read("train")) for task in toy.prepare(toy.choose(["here"]))] == [2]


def test_without_a_network_the_hub_and_the_folder_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def offline(*_: object, local_files_only: bool, **__: object) -> str:
        asked.append(local_files_only)
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    gue = build(node("gue"))
    with pytest.raises(DataError) as caught:
        gue.prepare(gue.choose(["tf3"]))
    assert "3 files of 1 tasks are missing: tf/3/train.csv, tf/3/dev.csv, tf/3/test.csv" in str(caught.value)
    assert "give benchmark.root=<folder>" in str(caught.value)
    assert asked == [False, True, True]
    assert "https://huggingface.co/datasets/fm4bio-ning/GUE_public/tree/65b468ce" in str(caught.value)


def test_rows_without_a_published_checksum_are_pinned_at_the_first_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("ACGT", "0"), ("ACGA", "1")]

    def download(_: str, name: str, **__: object) -> str:
        write_split(tmp_path / name, rows)
        return str(tmp_path / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    row = "toy\tx/{split}.csv\thub/{split}.csv\t\t2\t8\tmcc\tshort\n"
    toy = benchmark(tmp_path, rows=row, repository="me/toy", revision="abc", splits=("train", "test"))
    toy.prepare(toy.choose(None))
    said = "toy: no checksum was published for toy; their rows are pinned as downloaded now, in "
    assert said in " ".join(capsys.readouterr().err.split())
    toy.prepare(toy.choose(None))
    assert capsys.readouterr().err == ""
    rows[0] = ("ACGG", "0")
    with pytest.raises(DataError, match="as first downloaded") as caught:
        toy.prepare(toy.choose(None))
    assert str(tmp_path / "cache/benchmarks/toy/toy.sha256") in str(caught.value)


def test_the_hub_is_asked_at_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(repository: str, name: str, *, repo_type: str, revision: str, local_files_only: bool) -> str:
        assert not local_files_only
        asked.append((repository, name, repo_type, revision))
        write_split(tmp_path / name, [("ACGT", "0"), ("ACGA", "1")])
        return str(tmp_path / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    row = "toy\tx/{split}.csv\thub/{split}.csv\t\t2\t8\tmcc\tshort\n"
    toy = benchmark(tmp_path, rows=row, repository="me/toy", revision="abc", splits=("train", "test"))
    toy.prepare(toy.choose(None))
    assert asked == [("me/toy", f"hub/{split}.csv", "dataset", "abc") for split in ("train", "test")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sequence,class\nACGT,0\n", "no column 'label'; there are sequence, class"),
        ("sequence,label\nACGT,0\nAXGT,1\n", "train.csv:3: 'X' at position 2 of sequence"),
        ("sequence,label\nACGT,0\nACGT,0\n", "1 labels: 0; 2 classes of toy, each in the training set"),
        ("sequence,label\n", "no rows; a labelled sequence on each line"),
    ],
)
def test_a_damaged_table_says_the_line(tmp_path: Path, text: str, says: str) -> None:
    for split in ("train", "dev", "test"):
        write_split(tmp_path / f"toy/{split}.csv", [("ACGT", "0"), ("ACGA", "1")])
    (tmp_path / "toy/train.csv").write_text(text)
    toy = benchmark(tmp_path, root=tmp_path)
    with pytest.raises(DataError) as caught:
        toy.prepare(toy.choose(None))
    assert says in str(caught.value)


rows = st.lists(st.tuples(st.text("ACGTN", min_size=1), st.sampled_from(["EI", "IE"])), max_size=9)


@given(rows)
@settings(max_examples=20)
def test_every_form_is_the_same_task(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    pairs = [("ACGT", "EI"), ("ACGA", "IE"), *pairs]
    folder = tmp_path_factory.mktemp("forms")
    write_split(folder / "csv/train.csv", pairs)
    text = (folder / "csv/train.csv").read_text()
    for kind in ("gz", "tsv", "fna", "parquet"):
        (folder / kind).mkdir()
    (folder / "gz/train.csv.gz").write_bytes(gzip.compress(text.replace("\n", "\r\n").encode()))
    (folder / "tsv/train.tsv").write_text(text.replace(",", "\t"))
    fasta = "".join(f">x|{label}\n{sequence.lower()}\n" for sequence, label in pairs)
    (folder / "fna/train.fna").write_text(fasta)
    columns = {"sequence": [sequence for sequence, _ in pairs], "label": [label for _, label in pairs]}
    parquet.write_table(pa.table(columns), folder / "parquet/train.parquet")
    kinds = {"csv": "csv", "gz": "csv", "tsv": "tsv", "fna": "fna", "parquet": "parquet"}
    found = set()
    for name, kind in kinds.items():
        row = f"toy\t{{split}}.{kind}\t\t\t2\t8\tmcc\tshort\n"
        toy = benchmark(folder, rows=row, root=folder / name, splits=("train",))
        found |= {(task.sha256, task.classes) for task in toy.prepare(toy.choose(None))}
    published = "".join(f"{sequence}\t{label}\n" for sequence, label in pairs)
    assert found == {(hashlib.sha256(f"train\n{published}".encode()).hexdigest(), ("EI", "IE"))}


def test_what_differs_from_the_published_rows_is_refused(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        write_split(tmp_path / f"toy/{split}.csv", [("ACGT", "0"), ("ACGA", "1")])
    row = f"toy\ttoy/{{split}}.csv\t\t{'0' * 64}\t2\t8\tmcc\tshort\n"
    toy = benchmark(tmp_path, rows=row, root=tmp_path)
    with pytest.raises(DataError, match=r"BENCH-05 .* rows of toy with sha256"):
        toy.prepare(toy.choose(None))


def test_a_label_that_never_trains_is_refused(tmp_path: Path) -> None:
    write_split(tmp_path / "toy/train.csv", [("ACGT", "a"), ("ACGA", "b")])
    for split in ("dev", "test"):
        write_split(tmp_path / f"toy/{split}.csv", [("ACGT", "c")])
    toy = benchmark(tmp_path, root=tmp_path)
    with pytest.raises(DataError, match=r"dev\.csv:2: label is 'c'; one of a, b"):
        toy.prepare(toy.choose(None))


def test_a_task_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no task 'tata' in toy; some of toy"):
        benchmark(tmp_path).choose(["tata"])


def test_splits_that_are_not_published_are_drawn_class_by_class(tmp_path: Path) -> None:
    pairs = [("A" * (i + 1), "rare" if i % 10 == 0 else "often") for i in range(1000)]
    write_split(tmp_path / "toy/all.csv", pairs)
    toy = benchmark(tmp_path, root=tmp_path, splits=("all",))
    (task,) = toy.prepare(toy.choose(None))
    assert task.classes == ("often", "rare")
    tables = {part: task.read(part) for part in PARTS}
    assert {part: len(table) for part, table in tables.items()} == {"train": 810, "val": 90, "test": 100}
    assert Counter(tables["test"].labels.tolist()) == {0: 90, 1: 10}
    lengths = [length for table in tables.values() for length in table.lengths.tolist()]
    assert sorted(lengths) == list(range(1, 1001))


def test_the_real_sets_are_the_published_ones(shared_data: Path, tmp_path: Path) -> None:
    gue = build({**node("gue"), "root": str(shared_data / "gue"), "cache": str(tmp_path)})
    (task,) = gue.prepare(gue.choose(["prom_core_tata"]))
    assert [len(task.read(part)) for part in PARTS] == [4904, 613, 613]
    assert task.sha256 == task.task.sha256
    with pytest.raises(DataError, match=r"EMP/H3/train\.csv"):
        gue.prepare(gue.choose(["H3"]))
    uci = build({**node("uci_splice"), "root": str(shared_data / "uci_splice"), "cache": str(tmp_path)})
    (task,) = uci.prepare(uci.choose(None))
    assert task.classes == ("EI", "IE", "N")
    assert sum(len(task.read(part)) for part in PARTS) == 3190


@pytest.mark.parametrize(("task", "cut"), [("splice", 2931 / 4562), ("prom_300_tata", 12 / 613)])
def test_dnabert2s_published_length_cuts_these_shares_of_test_sequences(
    task: str, cut: float, shared_data: Path
) -> None:
    (listed,) = (each for each in read_tasks(Path("gue.tsv")) if each.name == task)
    words = dict(word.split("=") for word in choose_recipe(listed, "dnabert2", None).words)
    longest = int(words["sequences.max_tokens"])
    published = Tokenizer.from_file(str(shared_data / "tokenizers/dnabert2/tokenizer.json"))
    with gzip.open(shared_data / "gue" / f"{listed.path.format(split='test')}.gz", "rt") as file:
        texts = [row["sequence"] for row in csv.DictReader(file)]
    lengths = [len(each.ids) for each in published.encode_batch(texts, add_special_tokens=False)]
    assert np.mean(np.array(lengths) > longest) == pytest.approx(cut, abs=0.001)
