"""A store gives the bases that were written, in any process, and notices when its files are not those."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pysam
import pytest

from dnalm.errors import DataError
from dnalm.genome.alphabet import is_unknown, to_text
from dnalm.genome.store import GenomeStore, build_store
from tests.genome.malformed_fasta import GOOD, GOOD_CONTIGS, bgzip
from tests.genome.write_twobit import write_twobit

NUM_READS = 400


@pytest.fixture
def store(tmp_path: Path) -> GenomeStore:
    (tmp_path / "genome.fa").write_bytes(GOOD)
    return build_store(tmp_path / "genome.fa", tmp_path / "store")


def test_fetch_gives_bases_by_contig(store: GenomeStore) -> None:
    assert [(contig.name, contig.offset, contig.length) for contig in store.contigs] == [
        ("chr1", 0, 18),
        ("chr2", 18, 4),
    ]
    assert to_text(store.fetch("chr1", 10, 18)) == "GTacgtNN"
    assert to_text(store.fetch("chr2", 0, 4)) == "GGCC"
    assert store.fetch("chr2", 4, 4).size == 0
    assert store.num_bases == 22
    assert store.source.name == "genome.fa"


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (0, 5), (3, 2), (5, 5)])
def test_fetch_outside_the_contig_is_an_error(store: GenomeStore, start: int, end: int) -> None:
    with pytest.raises(ValueError, match=rf"chr2:{start}-{end} does not lie within \[0, 4\)"):
        store.fetch("chr2", start, end)


def test_an_unknown_contig_is_reported_with_the_nearest_names(store: GenomeStore) -> None:
    with pytest.raises(DataError, match=r"STORE-07 .*no contig `2`.*did you mean `chr2`\?"):
        store.contig("2")


def test_bases_are_read_only(store: GenomeStore) -> None:
    for array in (store.codes, store.fetch("chr1", 0, 2), store.unknown_runs):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize("chunk_bytes", [1, 3, 7, 1000])
def test_unknown_runs_are_the_maximal_runs_of_n(tmp_path: Path, chunk_bytes: int) -> None:
    texts = ["NNACGNnT", "NN", "nNA", "NACGTNNN"]
    source = tmp_path / "n.fa"
    source.write_text("".join(f">c{number}\n{text}\n" for number, text in enumerate(texts)))
    store = build_store(source, tmp_path / "store", chunk_bytes=chunk_bytes)
    assert store.unknown_runs.tolist() == [[0, 2], [5, 7], [8, 12], [13, 14], [18, 21]]
    model = np.zeros(store.num_bases, dtype=bool)
    for start, end in store.unknown_runs.tolist():
        model[start:end] = True
    assert model.tolist() == is_unknown(np.asarray(store.codes)).tolist()
    assert store.manifest.num_unknown == store.manifest.base_counts["N"] == model.sum()


def test_every_format_of_one_genome_gives_identical_files(tmp_path: Path) -> None:
    crlf = GOOD.replace(b"\n", b"\r\n")
    sources = {
        "lf.fa": GOOD,
        "crlf.fa": crlf,
        "cut.fa": GOOD[:-1],
        "a.gz": gzip.compress(GOOD),
        "b.gz": bgzip(crlf),
    }
    for name, content in sources.items():
        (tmp_path / name).write_bytes(content)
    write_twobit(tmp_path / "a.2bit", GOOD_CONTIGS)
    pysam.tabix_compress(str(tmp_path / "lf.fa"), str(tmp_path / "pysam.fa.gz"))
    files, fingerprints = set(), set()
    for name in [*sources, "a.2bit", "pysam.fa.gz"]:
        store = build_store(tmp_path / name, tmp_path / f"{name}.store")
        files.add(tuple((store.path / file).read_bytes() for file in ("bases.bin", "unknown.npy")))
        fingerprints.add(store.fingerprint)
    assert len(files) == len(fingerprints) == 1


def test_fingerprint_tells_bases_case_and_names_apart(tmp_path: Path) -> None:
    texts = [b">a\nACGT\n", b">a\nACGA\n", b">a\nACGt\n", b">b\nACGT\n", b">a\nAC\n>b\nGT\n"]
    fingerprints = set()
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.fa").write_bytes(text)
        fingerprints.add(build_store(tmp_path / f"{number}.fa", tmp_path / str(number)).fingerprint)
    assert len(fingerprints) == len(texts)


@pytest.mark.parametrize(
    "name",
    ["lambda.fa.gz", "mito_human.fa", "mito_mouse.fa", "mito_chicken.fa", "mito_fugu.fa", "dm3_chr2R.fa.gz"],
)
def test_real_genomes_read_as_pysam_reads_them(name: str, shared_data: Path, tmp_path: Path) -> None:
    source, plain = shared_data / "genomes" / name, tmp_path / "plain.fa"
    content = source.read_bytes()
    plain.write_bytes(gzip.decompress(content) if name.endswith(".gz") else content)
    store = build_store(source, tmp_path / "store")
    with pysam.FastaFile(str(plain)) as other:
        assert [contig.name for contig in store.contigs] == list(other.references)
        for contig in store.contigs:
            expected = other.fetch(contig.name)
            assert to_text(store.fetch(contig.name, 0, contig.length)) == expected
            assert store.manifest.num_soft_masked == sum(map(str.islower, expected))


def damage(folder: Path, how: str) -> None:
    bases, manifest = folder / "bases.bin", folder / "manifest.json"
    fields = json.loads(manifest.read_text())
    content = bytearray(bases.read_bytes())
    content[5] ^= 1
    actions = {
        "no manifest": manifest.unlink,
        "no JSON": lambda: manifest.write_text("{"),
        "no object": lambda: manifest.write_text("[]"),
        "lacks a field": lambda: manifest.write_text('{"format": "dnalm genome", "version": 1}'),
        "contigs overlap": lambda: manifest.write_text(json.dumps(fields | {"contigs": [["a", 3, 19]]})),
        "version": lambda: manifest.write_text(json.dumps(fields | {"version": 99})),
        "no bases": bases.unlink,
        "truncated": lambda: bases.write_bytes(content[:-1]),
        "flipped bit": lambda: bases.write_bytes(content),
        "flipped bit in unknown": lambda: (folder / "unknown.npy").write_bytes(
            (folder / "unknown.npy").read_bytes()[:-1] + b"\1"
        ),
    }
    actions[how]()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no manifest", r"STORE-01 .*manifest.json is missing"),
        ("no JSON", r"STORE-02 .*manifest.json is damaged \(JSONDecodeError"),
        ("no object", r"STORE-02 .*manifest.json is damaged"),
        ("lacks a field", r"STORE-02 .*manifest.json is damaged"),
        ("contigs overlap", r"STORE-02 .*do not cover the bases"),
        ("version", r"STORE-03 .*format version 99; version 1"),
        ("no bases", r"STORE-04 .*bases.bin is missing.*rebuilt from genome.fa"),
        ("truncated", r"STORE-05 .*bases.bin has 21 bytes; 22 by its manifest"),
        (
            "flipped bit",
            r"STORE-06 .*checksum of bases.bin differs.*delete the folder, it is rebuilt from genome.fa",
        ),
        ("flipped bit in unknown", r"STORE-06 .*checksum of unknown.npy differs"),
    ],
)
def test_damaged_store_is_refused_with_its_cause(store: GenomeStore, how: str, words: str) -> None:
    GenomeStore.open(store.path)
    damage(store.path, how)
    with pytest.raises(DataError, match=words):
        GenomeStore.open(store.path)


def test_checksums_are_compared_once_in_a_process(
    store: GenomeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    GenomeStore.open(store.path)
    monkeypatch.setattr(
        "dnalm.genome.atomic_folder.file_sha256", lambda path: pytest.fail(f"{path} is read again")
    )
    GenomeStore.open(store.path)


def test_pickled_store_is_small_and_reads_the_same(store: GenomeStore) -> None:
    before = to_text(store.fetch("chr1", 0, 18))
    assert len(store.unknown_runs) == 1
    data = pickle.dumps(store)
    copy = pickle.loads(data)
    assert len(data) < 2000
    assert to_text(copy.fetch("chr1", 0, 18)) == before
    assert copy.fingerprint == store.fingerprint


def count_wrong(store: GenomeStore, seed: int) -> int:
    """Read at random places of a genome whose bases are a known function of their place."""
    wrong = 0
    for start in np.random.default_rng(seed).integers(0, store.num_bases - 100, NUM_READS).tolist():
        expected = (np.arange(start, start + 100) * 7 // 5) % 4
        wrong += int((store.fetch("chr1", start, start + 100) != expected).any())
    return wrong


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_of_an_opened_store_read_no_wrong_base(method: str, tmp_path: Path) -> None:
    text = "".join("ACGT"[i * 7 // 5 % 4] for i in range(100_000))
    (tmp_path / "known.fa").write_text(f">chr1\n{text}\n")
    store = build_store(tmp_path / "known.fa", tmp_path / "store")
    assert count_wrong(store, 0) == 0
    with multiprocessing.get_context(method).Pool(4 if method == "fork" else 2) as pool:
        assert pool.starmap(count_wrong, [(store, seed) for seed in range(1, 5)]) == [0, 0, 0, 0]
