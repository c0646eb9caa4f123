"""Files in and out: every input says the same of the same bases, every output holds the same numbers."""

from __future__ import annotations

import gzip
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from dnalm.errors import ConfigError, DataError
from dnalm.evaluation.embedding import files as parts
from dnalm.evaluation.embedding.files import EmbeddingPlan, embed_file, read_embeddings
from dnalm.evaluation.embedding.reader import EmbeddingRecipe, SequenceReader
from dnalm.evaluation.inference import LoadedModel
from dnalm.evaluation.sequence_inputs import SequenceInput, in_parts
from dnalm.genome.alphabet import from_text, reverse_complement, to_text
from dnalm.models import Pretrained
from tests.conftest import random_sequence
from tests.evaluation.embedding.models import PAIRS, loaded, save, tiny

TEXTS = {f"s{number}": random_sequence(length, number) for number, length in enumerate((60, 33, 200, 12))}
OUTPUTS = ("out.parquet", "out.npy", "out.zarr")
TOLERANCE = 1e-6


def plan(folder: Path, *, keep: tuple[str, ...] = (), name: str = "kmer", **choices: object) -> EmbeddingPlan:
    model = save(name, folder / "model")
    recipe = EmbeddingRecipe(**choices)  # type: ignore[arg-type]
    return EmbeddingPlan(model=Pretrained(source=str(model)), recipe=recipe, keep=keep)


def write_inputs(folder: Path) -> dict[str, SequenceInput]:
    """The same sequences in every form."""
    fasta, table = folder / "in.fa", folder / "in.csv"
    fasta.write_text("".join(f">{name} about\n{text}\n" for name, text in TEXTS.items()))
    rows = [f"{name},{text.lower()},{number % 2}" for number, (name, text) in enumerate(TEXTS.items())]
    table.write_text("\n".join(["name,dna,label", *rows]) + "\n")
    (folder / "in.bed").write_text("".join(f"{n}\t0\t{len(t)}\t{n}\n" for n, t in TEXTS.items()))
    (folder / "in.fa.gz").write_bytes(gzip.compress(fasta.read_bytes()))
    pq.write_table(pa.table({"name": list(TEXTS), "dna": list(TEXTS.values())}), folder / "in.parquet")
    columns = {"sequence": "dna", "id": "name"}
    return {
        "fasta": SequenceInput(path=fasta),
        "gzip": SequenceInput(path=folder / "in.fa.gz"),
        "bed": SequenceInput(path=folder / "in.bed", reference=fasta, cache=folder / "cache"),
        "csv": SequenceInput(path=table, **columns),
        "parquet": SequenceInput(path=folder / "in.parquet", **columns),
    }


@pytest.mark.parametrize("resolution", ["sequence", "token", "base"])
def test_every_form_of_input_gives_the_same_ids_places_and_vectors(tmp_path: Path, resolution: str) -> None:
    chosen, found = plan(tmp_path, resolution=resolution), {}
    for form, source in write_inputs(tmp_path).items():
        embed_file(source, tmp_path / f"{form}.parquet", chosen)
        found[form] = read_embeddings(tmp_path / f"{form}.parquet")
    expected = found["fasta"]
    for embeddings in found.values():
        assert embeddings.index.drop_columns("contig") == expected.index.drop_columns("contig")
        assert embeddings.vectors.tobytes() == expected.vectors.tobytes()
    assert found["bed"].index["contig"] == expected.index["contig"]
    assert found["csv"].index["contig"].null_count == len(expected.index)


@pytest.mark.parametrize("name", PAIRS)
def test_rows_are_those_of_the_reader(tmp_path: Path, name: str) -> None:
    model, tokenizer = tiny(name)
    codes = [from_text(text) for text in TEXTS.values()]
    states = SequenceReader(loaded(model, tokenizer), EmbeddingRecipe()).read(codes)
    for resolution in ("sequence", "token", "base"):
        out = tmp_path / f"{resolution}.parquet"
        embed_file(write_inputs(tmp_path)["fasta"], out, plan(tmp_path, name=name, resolution=resolution))
        found = read_embeddings(out)
        expected = {
            "sequence": [state.pooled("mean")[None] for state in states],
            "token": [state.vectors for state in states],
            "base": [state.at_bases() for state in states],
        }[resolution]
        assert found.vectors == pytest.approx(np.concatenate(expected), abs=TOLERANCE, nan_ok=True)
        assert found.index["id"].to_pylist() == [
            name for name, vectors in zip(TEXTS, expected, strict=True) for _ in vectors
        ]


@pytest.mark.parametrize("resolution", ["token", "base"])
def test_coordinates_of_rows_on_the_other_strand_are_on_the_forward_one(
    tmp_path: Path, resolution: str
) -> None:
    genome, text = tmp_path / "genome.fa", random_sequence(500)
    genome.write_text(f">chr7\n{text}\n")
    (tmp_path / "in.bed").write_text("7\t100\t140\tx\t5\t-\n7\t100\t140\t.\t9\t+\n")
    source = SequenceInput(
        path=tmp_path / "in.bed", reference=genome, cache=tmp_path / "cache", keep=("score",)
    )
    chosen = plan(tmp_path, keep=("score",), resolution=resolution)
    embed_file(source, tmp_path / "out.parquet", chosen)
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    minus, plus = ([row for row in rows if row["strand"] == strand] for strand in "-+")
    width = 3 if resolution == "token" else 1
    assert (minus[0]["start"], minus[0]["end"]) == (140 - width, 140)
    assert (plus[0]["start"], plus[0]["end"]) == (100, 100 + width)
    assert {(row["id"], row["contig"], row["score"]) for row in minus} == {("x", "chr7", "5")}
    assert {(row["id"], row["score"]) for row in plus} == {("chr7:100-140", "9")}
    assert [row["place"] for row in minus] == list(range(len(plus)))
    (tmp_path / "other.fa").write_text(
        f">x\n{text[100:140].translate(str.maketrans('ACGT', 'TGCA'))[::-1]}\n"
    )
    embed_file(
        SequenceInput(path=tmp_path / "other.fa"),
        tmp_path / "other.parquet",
        plan(tmp_path, resolution=resolution),
    )
    other = read_embeddings(tmp_path / "other.parquet").vectors
    assert np.array([row["vector"] for row in minus]) == pytest.approx(other, abs=TOLERANCE)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_form_of_output_holds_the_same_numbers_and_ids(tmp_path: Path, dtype: str) -> None:
    source, chosen = write_inputs(tmp_path)["fasta"], plan(tmp_path, dtype=dtype, resolution="token")
    done = [embed_file(source, tmp_path / name, chosen) for name in OUTPUTS]
    found = [read_embeddings(tmp_path / name) for name in OUTPUTS]
    assert {(file.num_sequences, file.num_rows, file.width) for file in done} == {
        (4, sum(len(text) - 2 for text in TEXTS.values()), 8)
    }
    for embeddings in found:
        assert embeddings.vectors.dtype == dtype
        assert np.asarray(embeddings.vectors).tobytes() == found[0].vectors.tobytes()
        assert embeddings.index == found[0].index
    array = zarr.open_group(tmp_path / "out.zarr", mode="r")["vectors"]
    assert isinstance(array, zarr.Array)
    assert array.shape == np.load(tmp_path / "out.npy").shape
    assert not list(tmp_path.glob("*.parts"))


def test_float16_is_float32_rounded(tmp_path: Path) -> None:
    source = write_inputs(tmp_path)["fasta"]
    embed_file(source, tmp_path / "a.npy", plan(tmp_path))
    embed_file(source, tmp_path / "b.npy", plan(tmp_path, dtype="float16"))
    assert (np.load(tmp_path / "b.npy") == np.load(tmp_path / "a.npy").astype(np.float16)).all()


def test_vectors_do_not_depend_on_the_order_of_the_input_or_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forwards, backwards = tmp_path / "a.fa", tmp_path / "b.fa"
    forwards.write_text("".join(f">{name}\n{text}\n" for name, text in TEXTS.items()))
    backwards.write_text("".join(f">{name}\n{text}\n" for name, text in reversed(TEXTS.items())))
    embed_file(SequenceInput(path=forwards), tmp_path / "a.npy", plan(tmp_path))
    monkeypatch.setattr(parts, "PART_SEQUENCES", 1)
    embed_file(SequenceInput(path=backwards), tmp_path / "b.npy", plan(tmp_path, batch_tokens=1))
    assert np.load(tmp_path / "a.npy")[::-1] == pytest.approx(np.load(tmp_path / "b.npy"), abs=TOLERANCE)


def test_parts_are_bounded_in_sequences_and_bases(tmp_path: Path) -> None:
    cut = list(in_parts(write_inputs(tmp_path)["fasta"], most=3, most_bp=100))
    assert [[len(sequence.codes) for sequence in part] for part in cut] == [[60, 33], [200], [12]]


def test_reverse_complement_of_the_input_is_read_as_such() -> None:
    assert reverse_complement(from_text("AACG")).tolist() == from_text("CGTT").tolist()


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"path": "in.fa", "reference": "in.fa"}, "CFG-54 reference: reference beside no BED; the genome"),
        ({"path": "in.bed"}, "CFG-54 reference: a BED without reference; the genome that intervals of a BED"),
        (
            {"path": "in.doc"},
            "CFG-54 input: in.doc; a FASTA (.fa), BED (.bed) or table (.csv, .tsv, .parquet)",
        ),
        (
            {"path": "in.fa", "keep": ("label",)},
            "CFG-54 keep: keep=label of a FASTA; columns of a table or a",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused(choices: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        SequenceInput(**choices and {**choices, "path": Path(str(choices["path"]))})  # type: ignore[arg-type]
    assert message in str(error.value)


def test_a_column_that_is_not_there_and_letters_that_are_no_dna_are_reported(tmp_path: Path) -> None:
    sources = write_inputs(tmp_path)
    with pytest.raises(
        DataError, match=r"CSV-01 .*in.csv:2: no column 'sequence'; there are name, dna, label"
    ):
        list(SequenceInput(path=sources["csv"].path))
    (tmp_path / "bad.csv").write_text("sequence\nACGT\nACUT\n")
    with pytest.raises(DataError, match=r"CSV-10 .*bad.csv:3: 'U' at position 3 of sequence"):
        list(SequenceInput(path=tmp_path / "bad.csv"))
    with pytest.raises(DataError, match=r"BED-01 .*in.bed:1: no 'score' among its 4 columns"):
        list(
            SequenceInput(
                path=tmp_path / "in.bed",
                reference=tmp_path / "in.fa",
                cache=tmp_path / "cache",
                keep=("score",),
            )
        )


def test_a_sequence_too_long_to_hold_is_refused(tmp_path: Path) -> None:
    path = write_inputs(tmp_path)["fasta"].path
    with pytest.raises(DataError) as error:
        list(SequenceInput(path=path, max_bp=199))
    assert str(error.value) == (
        f"SEQ-03 {path} s2: a sequence of 200 bases or more; at most max_bp=199. "
        "Fix: give intervals of it: a BED with reference=<this file>, or raise max_bp."
    )
    assert len(list(SequenceInput(path=path, max_bp=200))) == 4


def test_outputs_and_columns_that_cannot_be_are_refused_before_any_work(tmp_path: Path) -> None:
    source = write_inputs(tmp_path)["fasta"]
    with pytest.raises(
        ConfigError, match=r"CFG-52 out: .*out.txt: a name with no known ending; .* ends in .parquet"
    ):
        embed_file(source, tmp_path / "out.txt", plan(tmp_path))
    with pytest.raises(ConfigError, match=r"CFG-52 out: .* what another output has beside it"):
        embed_file(source, tmp_path / "out.npy.index.parquet", plan(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"CFG-52 out: .*file cannot be written: Not a directory"):
        embed_file(source, tmp_path / "file/out.npy", plan(tmp_path))
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(ConfigError, match=r"CFG-52 out: .*folder.npy is a folder"):
        embed_file(source, tmp_path / "folder.npy", plan(tmp_path))
    with pytest.raises(
        ConfigError, match=r"CFG-54 keep: id; each once, and none of the table's own: id, contig"
    ):
        embed_file(source, tmp_path / "out.npy", plan(tmp_path, keep=("id",)))


def test_windows_are_as_long_as_those_that_the_model_was_trained_on(tmp_path: Path) -> None:
    chosen = plan(tmp_path)
    assert chosen.open().limit == 22  # 24 positions, two special tokens
    (tmp_path / "model/dnalm.yaml").write_text("steps: 3\nwindow_tokens: 7\n")
    assert chosen.open().limit == 7
    assert plan(tmp_path, max_tokens=9).open().limit == 9


def test_the_python_path_gives_the_vectors_of_the_command(tmp_path: Path) -> None:
    source, out = write_inputs(tmp_path)["fasta"], tmp_path / "out.npy"
    chosen = plan(tmp_path)
    (tmp_path / "model/dnalm.yaml").write_text("steps: 3\nwindow_tokens: 7\n")
    embed_file(source, out, chosen)
    model = LoadedModel.open(Pretrained(source=str(tmp_path / "model")))
    reader = SequenceReader(model, EmbeddingRecipe())
    codes = [item.codes for item in source]
    assert max(len(text) for text in codes) > 20, "some are longer than a window"
    pooled = np.stack([states.pooled("mean") for states in reader.read(codes)])
    np.testing.assert_allclose(pooled, np.load(out), atol=1e-6)
    untrained = SequenceReader(model, EmbeddingRecipe(max_tokens=22))
    assert np.abs(np.stack([s.pooled("mean") for s in untrained.read(codes)]) - pooled).max() > 1e-3


def test_the_kind_of_an_input_is_its_content_and_what_is_odd_is_counted(tmp_path: Path) -> None:
    (tmp_path / "IN.TXT").write_bytes(gzip.compress(b">a x\nACGT\nAC\n\n>b\nACR\n>a\nT\n"))
    source = SequenceInput(path=tmp_path / "IN.TXT")
    assert [(item.id, item.contig, to_text(item.codes)) for item in source] == [
        ("a", "a", "ACGTAC"),
        ("b", "b", "ACN"),
        ("a", "a", "T"),
    ]
    assert set(source.notes) == {
        f"{source.path}: 1 ambiguous letter is read as N",
        f"{source.path}: 1 sequence has an id that another has too",
    }
    (tmp_path / "t.csv").write_text("id;sequence;y\na;ACG CGT;up\n")
    table = SequenceInput(path=tmp_path / "t.csv", id="id", keep=("y",))
    assert [(item.id, to_text(item.codes), item.kept) for item in table] == [("a", "ACGT", ("up",))]
    assert "separated by ';'" in table.notes[0]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"keep": ("label",), "kept_by": "label"}, r"CSV-01 .*Fix: set label=Label\."),
        ({"id": "Seq_ID"}, r"CSV-01 .*Fix: set 'id=seq id'\."),
        ({"max_bp": 3, "has_max_bp": False}, r"SEQ-03 .*at most 3. Fix: give intervals of it: [^,]*\."),
    ],
)
def test_advice_names_the_keys_that_a_command_has(
    choices: dict[str, object], message: str, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text("seq id,sequence,Label\na,ACGT,1\n")
    choices = {"keep": (), **choices}
    with pytest.raises(DataError, match=message):
        list(SequenceInput(path=tmp_path / "t.csv", **choices))  # type: ignore[arg-type]


def test_a_saved_dataset_is_embedded_where_it_has_no_splits(tmp_path: Path) -> None:
    dataset = datasets.Dataset.from_dict({"sequence": ["ACGT", "AC"]})
    datasets.DatasetDict({"train": dataset}).save_to_disk(tmp_path / "parts")
    source = SequenceInput(path=tmp_path / "parts/train")
    assert [len(item.codes) for item in source] == [4, 2]
    assert source.checksum == SequenceInput(path=tmp_path / "parts/train").checksum
    with pytest.raises(ConfigError, match=r"CFG-54 input: the folder .*parts; .*input=.*parts/train"):
        SequenceInput(path=tmp_path / "parts")
    (tmp_path / "empty.csv").write_text("sequence\n")
    with pytest.raises(DataError, match=r"CSV-04 .*empty.csv: no sequence"):
        list(SequenceInput(path=tmp_path / "empty.csv"))
