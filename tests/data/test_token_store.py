"""Stored tokens: a window's ids are those of its bases, and what cannot be trusted is refused."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.data import BatchPlan, GenomeCorpus, Masking, WindowRecipe, token_store
from dnalm.data.module import GenomeData
from dnalm.data.token_store import TokenStore, find_tokens, prepare_tokens
from dnalm.data.windows import Window
from dnalm.errors import DataError
from dnalm.genome.alphabet import Codes, reverse_complement
from dnalm.genome.store import GenomeStore, open_or_build
from dnalm.tokenizers import BpeTokenizer, KmerTokenizer, load_tokenizer
from dnalm.tokenizers.bpe_training import bpe_document
from tests.conftest import random_sequence
from tests.tokenizers.examples import DNABERT2_SPECIALS, fusing_bpe, small_bpe, store_of

Draw = Callable[..., int]


def read(store: GenomeStore, window: Window) -> Codes:
    codes = store.codes[window.start : window.end].view(np.ndarray)
    return reverse_complement(codes) if window.reverse else codes


def share_read(tokens: TokenStore, store: GenomeStore, windows: list[Window]) -> float:
    """The share of windows that are read, after the ids of each were compared with those of its bases."""
    for window in windows:
        codes = read(store, window)
        np.testing.assert_array_equal(tokens.encode(window, codes), tokens.tokenizer.encode(codes))
    return float(np.mean([tokens._read(window, read(store, window)) is not None for window in windows]))


def windows_of(store: GenomeStore, *, length: int, count: int) -> list[Window]:
    random = np.random.default_rng(0)
    starts = random.integers(0, store.num_bases - length, count).tolist()
    return [Window(start, start + length, bool(random.integers(2))) for start in starts]


@st.composite
def bpes(draw: Draw) -> BpeTokenizer:
    """Any merges in any order: of words that only later merges make, and of words made in several ways."""
    words, merges = list("ACGT"), list[tuple[str, str]]()
    for _ in range(draw(st.integers(0, 14))):
        left, right = (words[draw(st.integers(0, len(words) - 1))] for _ in "ab")
        if len(left + right) <= 12 and (left, right) not in merges:
            merges.append((left, right))
            words.append(left + right)
    document = bpe_document(merges, DNABERT2_SPECIALS)
    model = document["model"]
    model["merges"] = [model["merges"][i] for i in draw(st.permutations(range(len(merges))))]
    model["fuse_unk"] = draw(st.booleans())
    if draw(st.booleans()):
        model["vocab"]["N"] = len(model["vocab"])
    return BpeTokenizer(document, where=Path("drawn.json"))


# Random bases, and short motifs many times over, where two encodings may never meet
texts = st.lists(
    st.tuples(st.text("ACGT", min_size=1, max_size=7) | st.just("N"), st.integers(1, 25)),
    min_size=1,
    max_size=12,
).map(lambda parts: "".join(motif * times for motif, times in parts))


@given(bpe=bpes(), text=texts, seed=st.integers(0, 99), data=st.data())
def test_every_window_has_the_ids_of_its_bases(
    bpe: BpeTokenizer, text: str, seed: int, data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_store, "BLOCK", 256)
        patch.setattr(token_store, "STRIDE", 16)
        patch.setattr(token_store, "_ANCHORS", 17)
        patch.setattr(token_store, "_EDGE_TOKENS", data.draw(st.integers(1, 6)))
        store = store_of(
            Path(folder), "genome", {"chr1": random_sequence(150, seed) + text, "chr2": text + "ACGT"}
        )
        tokens = prepare_tokens(store, bpe, Path(folder))
        for _ in range(20):
            start = data.draw(st.integers(0, store.num_bases - 1))
            end = min(store.num_bases, start + data.draw(st.integers(1, 150)))
            share_read(tokens, store, [Window(start, end, data.draw(st.booleans()))])


@pytest.mark.parametrize("merges", [600, None])
def test_published_merges_on_published_genomes(merges: int | None, shared_data: Path, tmp_path: Path) -> None:
    bpe = load_tokenizer(shared_data / "tokenizers/dnabert2/tokenizer.json", merges=merges)
    assert isinstance(bpe, BpeTokenizer)
    for name in ("lambda.fa.gz", "mito_human.fa"):
        store = open_or_build(shared_data / "genomes" / name, tmp_path)
        tokens = prepare_tokens(store, bpe, tmp_path)
        for length in (80, 640, 3000):
            assert share_read(tokens, store, windows_of(store, length=length, count=300)) > 0.98


def test_what_is_read_and_what_is_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_store, "BLOCK", 2048)
    monkeypatch.setattr(token_store, "_ANCHORS", 5)
    bases = random_sequence(5000)
    store = store_of(tmp_path, "genome", {"chr1": bases[:3000] + "NN" + bases[3002:]})
    for bpe in (small_bpe(), fusing_bpe()):
        tokens = prepare_tokens(store, bpe, tmp_path)
        for reverse in (False, True):
            inside = [Window(start, start + 200, reverse) for start in range(100, 1800, 100)]
            assert share_read(tokens, store, inside) == 1
            assert share_read(tokens, store, [Window(4096, 5000, reverse)]) == 1  # the last, shorter block
            assert share_read(tokens, store, [Window(2000, 2200, reverse)]) == 0  # in two blocks
            assert share_read(tokens, store, [Window(2950, 3150, reverse), Window(2900, 3001, reverse)]) == 0
            assert share_read(tokens, store, [Window(500, 510, reverse)]) == 0  # no room between the ends


def test_a_large_vocabulary_has_wider_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of(tmp_path, "genome", {"chr1": random_sequence(900)})
    sizes = []
    for number, most in enumerate((1 << 16, 8)):
        monkeypatch.setattr(token_store, "_NARROW_VOCABULARY", most)
        tokens = prepare_tokens(store, small_bpe(), tmp_path / str(number))
        sizes.append((tokens.path / "ids.bin").stat().st_size)
        assert share_read(tokens, store, windows_of(store, length=300, count=9)) == 1
    assert sizes[1] == 2 * sizes[0]


# The folder


@pytest.fixture
def store(tmp_path: Path) -> GenomeStore:
    return store_of(tmp_path, "genome", {"chr1": random_sequence(3000)})


@pytest.fixture
def tokens(store: GenomeStore, tmp_path: Path) -> TokenStore:
    return prepare_tokens(store, small_bpe(), tmp_path)


def test_found_where_prepared_for_this_genome_and_tokenizer(
    tokens: TokenStore, store: GenomeStore, tmp_path: Path
) -> None:
    found = find_tokens(store, small_bpe(), tmp_path)
    assert found is not None
    assert found.path == tokens.path
    other = store_of(tmp_path, "other", {"chr1": random_sequence(3000, seed=1)})
    assert find_tokens(store, small_bpe(merges=3), tmp_path) is None
    assert find_tokens(other, small_bpe(), tmp_path) is None
    assert find_tokens(store, KmerTokenizer(), tmp_path) is None


def test_prepared_once_and_what_a_killed_process_left_is_removed(
    tokens: TokenStore, store: GenomeStore, tmp_path: Path
) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in tokens.path.iterdir()}
    prepare_tokens(store, small_bpe(), tmp_path)
    assert {path.name: path.stat().st_mtime_ns for path in tokens.path.iterdir()} == before
    left = tokens.path.with_name(f".{tokens.path.name}.building-host-1")
    tokens.path.rename(left)
    (left / "manifest.json").unlink()
    assert find_tokens(store, small_bpe(), tmp_path) is None
    assert prepare_tokens(store, small_bpe(), tmp_path).path == tokens.path
    assert not left.exists()


def test_a_worker_is_sent_no_arrays(tokens: TokenStore, store: GenomeStore) -> None:
    window = Window(100, 900, reverse=True)
    ids = tokens.encode(window, read(store, window))
    sent = pickle.dumps(tokens)
    assert len(sent) < len(pickle.dumps(tokens.tokenizer)) + 500
    np.testing.assert_array_equal(pickle.loads(sent).encode(window, read(store, window)), ids)


def test_damaged_tokens_are_refused(tokens: TokenStore, store: GenomeStore, tmp_path: Path) -> None:
    manifest, ids = tokens.path / "manifest.json", tokens.path / "ids.bin"
    text, content = manifest.read_text(), ids.read_bytes()
    fields = json.loads(text)

    def check(words: str) -> None:
        with pytest.raises(DataError, match=f"{words}.*rebuilt from its genome by dnalm prepare tokens=true"):
            find_tokens(store, small_bpe(), tmp_path)

    ids.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    check("IDS-06 .*checksum of ids.bin differs")
    ids.write_bytes(content[:-2])
    check(f"IDS-05 .*ids.bin has {len(content) - 2} bytes; {len(content)} by its manifest")
    ids.unlink()
    check("IDS-04 .*ids.bin is missing")
    manifest.write_text(json.dumps(fields | {"tokenizer": "0" * 16}))
    check(f"IDS-07 .*of a tokenizer with fingerprint 0{{16}}; a tokenizer .* {small_bpe().fingerprint}")
    manifest.write_text(json.dumps(fields | {"genome": "0" * 16}))
    check(f"IDS-07 .*of a genome with fingerprint 0{{16}}; a genome .* {store.fingerprint}")
    manifest.write_text(json.dumps(fields | {"version": 99}))
    check("IDS-03 .*format version 99; version 1")
    for damaged in ("{", json.dumps(fields | {"files": []}), json.dumps(fields | {"format": "dnalm track"})):
        manifest.write_text(damaged)
        check("IDS-02 .*manifest.json is damaged")
    manifest.unlink()
    check("IDS-01 .*manifest.json is missing")


# In a run


def test_a_run_sees_the_same_with_and_without(tmp_path: Path) -> None:
    fasta = tmp_path / "genome.fa"
    chr1, chr2 = f"{random_sequence(20_000)}{'N' * 9}{random_sequence(20_000, 1)}", random_sequence(9000, 2)
    fasta.write_text(f">chr1\n{chr1}\n>chr2\n{chr2}\n")

    def run() -> GenomeData:
        data = GenomeData(
            GenomeCorpus(fasta=fasta, cache=tmp_path / "cache"),
            tokenizer=small_bpe(),
            windows=WindowRecipe(min_tokens=5, max_tokens=100, reverse_complement=True, max_unknown=20),
            masking=Masking(),
            batch=BatchPlan(global_size=4, micro_size=4),
            seed=3,
        )
        data.prepare_data()
        data.setup("fit")
        return data

    without = run()
    assert without.genomes[0].tokens is None
    prepare_tokens(without.genomes[0].store, small_bpe(), tmp_path / "cache")
    stored = run()
    assert stored.genomes[0].tokens is not None
    assert stored.genomes[0].describe_sides().endswith(" validate, their tokens are stored")
    for index in range(300):
        expected, found = without.training_samples()[index], stored.training_samples()[index]
        assert pickle.dumps(found) == pickle.dumps(expected)
    for index in range(len(without.validation_samples())):
        expected, found = without.validation_samples()[index], stored.validation_samples()[index]
        assert pickle.dumps(found) == pickle.dumps(expected)
