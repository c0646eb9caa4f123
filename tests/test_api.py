"""`import dnalm`: light until it is used, typed, and of the commands' numbers."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import dnalm
from dnalm import api
from dnalm.commands.score import score as score_command
from dnalm.errors import CheckpointError, ConfigError, DataError
from dnalm.evaluation.embedding.files import EmbeddingPlan, embed_file, read_embeddings
from dnalm.evaluation.embedding.reader import EmbeddingRecipe
from dnalm.evaluation.prediction.reader import Predictor
from dnalm.evaluation.sequence_inputs import SequenceInput
from dnalm.genome.alphabet import from_text
from dnalm.models import HeadShape, Packed, Pretrained, SequenceModel
from dnalm.training.model_directory import DescribedHead, write_model_directory
from tests.conftest import random_sequence
from tests.evaluation.embedding.models import PAIRS, save, tiny

ROOT = Path(__file__).resolve().parents[1]
TEXTS = [random_sequence(length, length) for length in (60, 33, 200, 12)]
CONTIG = random_sequence(400, 5)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: save(name, tmp_path_factory.mktemp(name), max_positions=40) for name in PAIRS}


@pytest.fixture
def genome_file(tmp_path: Path) -> Path:
    path = tmp_path / "genome.fa"
    path.write_text(f">chr1\n{CONTIG}\n>chrM\n{CONTIG[:50].lower()}NNRY\n")
    return path


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert not done.returncode, done.stderr
    return done.stdout.strip()


def test_importing_dnalm_imports_none_of_the_libraries() -> None:
    heavy = "{'torch', 'lightning', 'numpy', 'pyarrow', 'hydra', 'pydantic', 'dnalm.api'} & {*sys.modules}"
    assert run_python(f"import sys, dnalm; dnalm.__version__; print({heavy} or 'none')") == "none"
    assert run_python(f"import sys, dnalm; callable(dnalm.genome); print({heavy} or 'none')") == "none"


def test_a_genome_is_opened_without_torch(genome_file: Path) -> None:
    code = f"""
import sys, dnalm
print(dnalm.genome({str(genome_file)!r}, cache={str(genome_file.parent / "cache")!r}).fetch("chr1", 3, 9))
print("torch" in sys.modules)
"""
    assert run_python(code).split() == [CONTIG[3:9], "False"]


def test_the_package_of_genomes_stays_a_package() -> None:
    import dnalm.genome.store

    assert dnalm.genome.store.GenomeStore.__name__ == "GenomeStore"
    with pytest.raises(AttributeError, match="has no attribute 'laod'"):
        dnalm.laod  # type: ignore[attr-defined] # noqa: B018


def test_a_type_checker_sees_the_signatures(tmp_path: Path) -> None:
    user = tmp_path / "user.py"
    user.write_text(
        "import dnalm\n"
        'model = dnalm.load("runs/demo", device="cpu", dtype="bfloat16")\n'
        'reveal_type(model.embed(["ACGT"]))\n'
        'reveal_type(model.embed(["ACGT"], resolution="base"))\n'
        'reveal_type(dnalm.genome("genome.fa").fetch("chr1", 100, 200))\n'
        'model.embed(["ACGT"], pooling="median")\n'
        'dnalm.load("runs/demo", devise="cpu")\n'
    )
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--follow-imports=silent", str(user)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    shown = [line.partition("user.py:")[2] for line in done.stdout.splitlines() if "user.py" in line]
    text = "\n".join(shown)
    assert re.search(r'^3: note: .*"numpy.ndarray\[.*floating\[.*_32Bit', text, re.M), text
    assert re.search(r'^4: note: .*"(builtins\.)?list\[numpy.ndarray', text, re.M), text
    assert re.search(r'^5: note: .*"(builtins\.)?str"', text, re.M), text
    assert re.search(r"^6: error: .*embed", text, re.M), text
    assert re.search(r'^7: error: .*"devise"', text, re.M), text


def test_the_mark_of_a_typed_package_is_there() -> None:
    assert (Path(dnalm.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("resolution", ["sequence", "token", "base"])
def test_vectors_are_those_of_the_command(
    name: str, resolution: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    fasta = tmp_path / "in.fa"
    fasta.write_text("".join(f">{number}\n{text}\n" for number, text in enumerate(TEXTS)))
    recipe = EmbeddingRecipe(resolution=resolution, layer=-2)  # type: ignore[arg-type]
    plan = EmbeddingPlan(model=Pretrained(source=str(folders[name])), recipe=recipe, device="cpu")
    embed_file(SequenceInput(path=fasta), tmp_path / "out.parquet", plan)
    rows = read_embeddings(tmp_path / "out.parquet")

    model = dnalm.load(folders[name], device="cpu")
    found = model.embed(TEXTS, resolution=resolution, layer=-2)  # type: ignore[call-overload]
    assert len(found) == len(TEXTS)
    if resolution == "sequence":
        assert found.shape == (len(TEXTS), model.width)
    if resolution == "base":
        assert [each.shape for each in found] == [(len(text), model.width) for text in TEXTS]
    flat = found if resolution == "sequence" else np.concatenate(found)
    assert flat.dtype == np.float32
    np.testing.assert_allclose(flat, rows.vectors, rtol=0, atol=1e-6)


def test_one_text_is_a_list_of_one_and_case_and_ambiguous_letters_do_not_matter(
    folders: dict[str, Path],
) -> None:
    model = dnalm.load(folders["kmer"], device="cpu")
    text = TEXTS[1]
    np.testing.assert_array_equal(model.embed(text), model.embed([text]))
    np.testing.assert_array_equal(model.embed(text.lower()), model.embed(text))
    np.testing.assert_array_equal(
        model.embed(text[:9] + "R" + text[10:]), model.embed(text[:9] + "N" + text[10:])
    )
    assert model.embed(iter(TEXTS)).shape == (len(TEXTS), model.width)


def by_hand(model: api.Model, text: str, place: int) -> np.ndarray:
    """A, C, G, T at a base: the tokens over it masked, the vocabulary summed by its letters there."""
    codes, tokenizer = from_text(text), model.tokenizer
    ids = tokenizer.encode(codes)
    spans = tokenizer.spans(codes, ids)
    over = [token for token, (start, end) in enumerate(spans.tolist()) if start <= place < end]
    ids[over] = tokenizer.special.mask
    with torch.no_grad():
        logits = model.network(torch.from_numpy(ids), Packed.from_lengths([len(ids)]), torch.arange(len(ids)))
    probability = logits.double().softmax(-1).numpy()
    means = np.zeros(4)
    for token in over:
        letters = tokenizer.token_bases[:, place - spans[token, 0]]
        sums = np.array([probability[token][letters == base].sum() for base in range(4)])
        means += sums / sums.sum() / len(over)
    return means


@pytest.mark.parametrize("name", PAIRS)
def test_probabilities_are_the_models_where_a_base_is_hidden(name: str, folders: dict[str, Path]) -> None:
    model, text = dnalm.load(folders[name], device="cpu"), TEXTS[1][:24]
    found = model.masked_probabilities(text)
    assert found.shape == (len(text), 4)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    expected = np.array([by_hand(model, text, place) for place in range(len(text))])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_unknown_base_has_no_probabilities(folders: dict[str, Path]) -> None:
    model = dnalm.load(folders["kmer"], device="cpu")
    found = model.masked_probabilities("ACGTACNTACGT")
    assert np.isnan(found[6]).all()
    assert np.isfinite(np.delete(found, 6, axis=0)).all()
    assert np.isnan(model.masked_probabilities("NNNNNN")).all()


@pytest.fixture
def variant_file(tmp_path: Path) -> Path:
    path = tmp_path / "variants.vcf"
    lines = ["##fileformat=VCFv4.3", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    for place in range(150, 200, 10):
        ref = CONTIG[place - 1]
        alts = [base for base in "ACGT" if base != ref][:2]
        lines.append(f"chr1\t{place}\tv{place}\t{ref}\t{','.join(alts)}\t.\t.\t.")
    lines.append(f"chr1\t300\tlong\t{CONTIG[299]}\t<DEL>\t.\t.\t.")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_table_of_scores_is_the_file_of_the_command(
    folders: dict[str, Path], genome_file: Path, variant_file: Path, tmp_path: Path
) -> None:
    out, cache = tmp_path / "scored.parquet", tmp_path / "cache"
    score_command(
        model=Pretrained(source=str(folders["kmer"])),
        variants=variant_file,
        reference=genome_file,
        out=out,
        config={},
        score=["llr", "distance"],
        cache=cache,
        device="cpu",
    )
    model = dnalm.load(folders["kmer"], device="cpu")
    found = model.score(
        variant_file, reference=dnalm.genome(genome_file, cache=cache), score=["llr", "distance"]
    )
    assert found.equals(pq.read_table(out))
    assert found.column_names[:6] == ["CHROM", "POS", "ID", "REF", "ALT", "llr"]
    assert found.num_rows == 11
    last = found.to_pylist()[-1]
    assert last["llr"] is None
    assert last["skipped"]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models with the head of a task: one of three classes, one that judges every base."""
    made = {}
    for kind in ("multiclass", "segmentation"):
        network, tokenizer = tiny("kmer", max_positions=40)
        shape = HeadShape(num_outputs=3, pooling="mean", dense=True)
        torch.manual_seed(5)
        head = SequenceModel(network, shape).head
        described = DescribedHead(
            task="t", kind=kind, classes=["a", "b", "c"], limit=30, length_bp=60, center=0.0, scale=1.0,
            shape=shape, average_strands=True,
        )  # fmt: skip
        made[kind] = tmp_path_factory.mktemp(kind)
        write_model_directory(
            made[kind], model=network, weights=network.state_dict(), tokenizer=tokenizer, config={},
            data_fingerprint="0" * 16, precision="32-true", steps=1, window_tokens=30,
            heads={"task": head.state_dict()}, described={"head": dataclasses.asdict(described)},
        )  # fmt: skip
    return made


def test_predictions_are_those_of_the_commands_reader(tuned: dict[str, Path]) -> None:
    model = dnalm.load(tuned["multiclass"], device="cpu")
    found = model.predict(TEXTS)
    assert isinstance(found, np.ndarray)
    assert (found.shape, found.dtype, model.outputs) == ((4, 3), np.float64, ("a", "b", "c"))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-9)
    predictor = Predictor.open([Pretrained(source=str(tuned["multiclass"]))], device="cpu")
    np.testing.assert_allclose(found, predictor.predict([from_text(text) for text in TEXTS]), atol=1e-6)
    forward = model.predict(TEXTS, strands="forward")
    assert np.abs(forward - found).max() > 1e-6  # it was tested on both strands, and so it is read
    complement = [text.translate(str.maketrans("ACGT", "TGCA"))[::-1] for text in TEXTS]
    np.testing.assert_allclose(model.predict(complement), found, atol=1e-6)
    per_base = dnalm.load(tuned["segmentation"], device="cpu").predict(TEXTS)
    assert [each.shape for each in per_base] == [(len(text), 3) for text in TEXTS]


def test_what_cannot_be_predicted_is_a_sentence(tuned: dict[str, Path], folders: dict[str, Path]) -> None:
    with pytest.raises(CheckpointError, match=r"CKPT-04 .*without the head of a task"):
        dnalm.load(folders["kmer"], device="cpu").predict(TEXTS)
    model = dnalm.load(tuned["multiclass"], device="cpu")
    with pytest.raises(ConfigError, match="API-02 strands: 'reverse'; one of as_trained, forward, both"):
        model.predict(TEXTS, strands="reverse")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="SEQ-02 sequence 0: 58 tokens; at most 30"):
        model.predict(TEXTS, long="refuse")


def test_half_width_products_are_close_and_not_the_same(folders: dict[str, Path]) -> None:
    full = dnalm.load(folders["kmer"], device="cpu").embed(TEXTS)
    half = dnalm.load(folders["kmer"], device="cpu", dtype="bfloat16").embed(TEXTS)
    assert half.dtype == np.float32
    assert 0 < np.abs(half - full).max() < 0.05 * np.abs(full).max()


def test_intervals_of_a_genome(genome_file: Path, tmp_path: Path) -> None:
    genome = dnalm.genome(genome_file, cache=tmp_path / "cache")
    complement = str.maketrans("ACGT", "TGCA")
    assert genome.contigs == {"chr1": 400, "chrM": 54}
    assert genome.fetch("chr1", 100, 200) == CONTIG[100:200]
    assert genome.fetch("1", 100, 200) == CONTIG[100:200]  # by another name
    assert genome.fetch("chr1", 100, 200, strand="-") == CONTIG[100:200].translate(complement)[::-1]
    assert genome.fetch("chrM", 48, 54) == CONTIG[48:50].lower() + "NNNN"
    assert genome.codes("chrM", 50, 54).tolist() == [4] * 4
    assert genome.fetch("chr1", 7, 7) == ""
    assert len(genome) == 454
    with pytest.raises(
        DataError, match=r"STORE-13 chr1:390-401: .* contig of 400 bases; 0 <= start <= end <= 400"
    ):
        genome.fetch("chr1", 390, 401)
    with pytest.raises(DataError, match=r"STORE-07 .*no contig `chr7`"):
        genome.fetch("chr7", 0, 1)
    with pytest.raises(DataError, match=r"STORE-13 strand: .*write strand='-'"):
        genome.fetch("chr1", 0, 1, strand="reverse")  # type: ignore[arg-type]


def test_what_cannot_be_is_a_sentence(
    folders: dict[str, Path], genome_file: Path, variant_file: Path, tmp_path: Path
) -> None:
    model = dnalm.load(folders["kmer"], device="cpu")
    with pytest.raises(DataError, match="API-01 sequences: an empty list; at least one sequence"):
        model.embed([])
    with pytest.raises(DataError, match="API-01 sequences: int 7 as sequence 1"):
        model.embed(["ACGTACGT", 7])  # type: ignore[list-item]
    with pytest.raises(DataError, match="CSV-10 sequence 1: 'X' at position 3"):
        model.embed(["ACGTACGT", "ACXT"])
    with pytest.raises(DataError, match=r"CSV-04 sequence 0: .*a sequence"):
        model.embed([""])
    with pytest.raises(DataError, match="SEQ-01 sequence 0"):
        model.embed(["A"])
    with pytest.raises(ConfigError, match="API-02 pooling: 'median'; one of mean, cls, max, none"):
        model.embed(["ACGT"], pooling="median")  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="CFG-53 layer: layer 9 of a model of 2 blocks"):
        model.embed(["ACGT"], layer=9)
    with pytest.raises(ConfigError, match="CFG-53 pooling: pooling=max at resolution=base"):
        model.embed(["ACGT"], pooling="max", resolution="base")  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="API-02 device: 'tpu'; one of auto, cpu, cuda"):
        dnalm.load(folders["kmer"], device="tpu")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="API-02 dtype: 'int8'; one of float32, bfloat16, float16"):
        dnalm.load(folders["kmer"], dtype="int8")  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=r"CKPT-04 .*no such folder"):
        dnalm.load(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"API-01 sequences: .*one sequence as text"):
        model.masked_probabilities(["ACGT"])  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=r"CKPT-04 .*without the head of a task"):
        model.score(variant_file, reference=genome_file, score="prediction")
    said = "API-02 score: 'llrr'; one of llr, pll, distance, embedding, prediction"
    with pytest.raises(ConfigError, match=said):
        model.score(variant_file, reference=genome_file, score="llrr")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="API-03 variants: no file"):
        model.score(tmp_path / "none.vcf", reference=dnalm.genome(genome_file, cache=tmp_path / "cache"))


def test_an_encoder_without_its_head_embeds_and_says_what_it_cannot(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "headless"
    shutil.copytree(folders["kmer"], folder)
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith("cls.")}
    save_file(kept, folder / "model.safetensors")
    model = dnalm.load(folder, device="cpu")
    assert model.embed(TEXTS).shape == (4, model.width)
    with pytest.raises(CheckpointError, match="MODEL-16"):
        model.masked_probabilities("ACGTACGT")
