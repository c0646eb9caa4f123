"""Odd input that once was read wrongly: contig ends, files of other programs, unequal pieces, leftovers."""

import os
import socket
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dnalm.compose.check import build
from dnalm.data import BatchPlan, GenomeCorpus, Masking, SplitByContig, WindowRecipe
from dnalm.data.module import GenomeData
from dnalm.errors import ConfigError, DataError, DnalmError
from dnalm.genome.alphabet import from_text
from dnalm.tokenizers import (
    BpeRecipe,
    BpeTokenizer,
    KmerTokenizer,
    LogoTokenizer,
    TrainingText,
    load_tokenizer,
)
from dnalm.tokenizers import bpe_training as pair_counts
from dnalm.tokenizers.bpe_training import PairCounts, memory_bytes
from dnalm.tokenizers.statistics import count_tokens
from dnalm.tokenizers.stock import Document
from tests.conftest import random_sequence, training_window
from tests.tokenizers.examples import DNABERT2_SPECIALS, small_bpe, small_document, store_of

HERE = Path("tokenizer.json")


def text_of(folder: Path, name: str = "genome", **contigs: str) -> TrainingText:
    store = store_of(folder, name, contigs)
    return TrainingText(name, store, np.array([(c.offset, c.offset + c.length) for c in store.contigs]))


@pytest.mark.parametrize("piece_bp", [None, 100])
def test_no_merge_reaches_across_the_end_of_a_contig(piece_bp: int | None, tmp_path: Path) -> None:
    text = text_of(tmp_path, **{f"chr{i}": "AC" if i % 2 else "GT" for i in range(100)})
    tokenizer, _ = BpeRecipe(vocab_size=11, piece_bp=piece_bp).train([text])
    assert sorted(tokenizer.merges()) == [("A", "C"), ("G", "T")]
    with pytest.raises(DataError, match="TOK-10"):
        BpeRecipe(vocab_size=12, piece_bp=piece_bp).train([text])


def test_no_training_window_crosses_the_end_of_a_contig(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text("".join(f">chr{i}\n{random_sequence(300, i)}\n" for i in range(20)))
    data = GenomeData(
        GenomeCorpus(fasta=tmp_path / "g.fa", split=SplitByContig(validation=["chr7"]), cache=tmp_path / "c"),
        tokenizer=KmerTokenizer(k=4),
        windows=WindowRecipe(min_tokens=5, max_tokens=100),
        masking=Masking(),
        batch=BatchPlan(global_size=4, micro_size=4),
        seed=1,
    )
    data.prepare_data()
    data.setup("fit")
    for index in range(500):
        window = training_window(data, index)
        assert window.start // 300 == (window.end - 1) // 300


def test_a_bpe_whose_words_hold_n_is_refused() -> None:
    document = small_document()
    for word in ("N", "NN", "AN"):
        document["model"]["vocab"][word] = len(document["model"]["vocab"])
    document["model"]["merges"] += [["N", "N"], ["A", "N"]]
    with pytest.raises(DataError) as refused:
        BpeTokenizer(document, where=HERE)
    assert str(refused.value) == (
        "TOK-05 tokenizer.json: a merge with N, `N N`; merges of A, C, G and T. "
        "Fix: give a tokenizer without such words."
    )


def test_a_padding_section_hides_no_end_token() -> None:
    document = small_document()
    document["padding"] = {
        "strategy": {"Fixed": 16},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 3,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    assert BpeTokenizer(document, where=HERE).special == small_bpe().special


def test_a_truncation_section_does_not_matter() -> None:
    document = small_document()
    document["truncation"] = {
        "direction": "Right",
        "max_length": 512,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    assert BpeTokenizer(document, where=HERE).fingerprint == small_bpe().fingerprint


@pytest.mark.parametrize("nested", [False, True])
def test_cutting_moves_special_ids_of_every_kind_of_postprocessor(nested: bool) -> None:
    document = small_document()
    texts = [t for t in document["model"]["vocab"] if t not in DNABERT2_SPECIALS] + list(DNABERT2_SPECIALS)
    document["model"]["vocab"] = {text: number for number, text in enumerate(texts)}
    for token in document["added_tokens"]:
        token["id"] = texts.index(token["content"])
    template = document["post_processor"]
    for text, entry in template["special_tokens"].items():
        entry["ids"] = [texts.index(text)]
    document["post_processor"] = (
        {"type": "Sequence", "processors": [template]}
        if nested
        else {
            "type": "BertProcessing",
            "sep": ["[SEP]", texts.index("[SEP]")],
            "cls": ["[CLS]", texts.index("[CLS]")],
        }
    )
    cut = BpeTokenizer(document, where=HERE, merges=1)
    words = cut.vocabulary()
    assert (words[cut.special.start], words[cut.special.end]) == ("[CLS]", "[SEP]")


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["model"].pop("merges"),
        lambda d: d["model"].update(merges=["AA"]),
        lambda d: d["model"].update(vocab=[["A", 1]]),
        lambda d: d["model"]["vocab"].update(A="x"),
        lambda d: d.update(added_tokens=[{"id": 0}]),
        lambda d: d["model"].update(continuing_subword_prefix="##"),
    ],
    ids=["no merges", "half a merge", "vocab list", "text id", "added", "prefix"],
)
def test_a_broken_model_is_a_data_error(change: Callable[[Document], object]) -> None:
    document = small_document()
    change(document)
    with pytest.raises(DataError, match=r"^TOK-0[145] tokenizer.json"):
        BpeTokenizer(document, where=HERE)


@pytest.mark.parametrize("content", ["not json", "[]", '{"logo_k": 99}'])
def test_a_broken_tokenizer_config_beside_logo_is_a_data_error(content: str, tmp_path: Path) -> None:
    LogoTokenizer(k=3).save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(DnalmError):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("sample_bp", [1000, 20_000])
def test_no_more_than_sample_bp_is_read_of_unequal_contigs(sample_bp: int, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    contigs = {f"c{i}": random_sequence(int(random.integers(10, 3000)), i) + "N" for i in range(300)}
    recipe = BpeRecipe(vocab_size=12, piece_bp=1000, sample_bp=sample_bp)
    _, (sample,) = recipe.train([text_of(tmp_path, **contigs)])
    assert sample_bp - 1000 < sample.num_bases <= sample_bp


def test_a_sample_smaller_than_a_piece_is_refused(tmp_path: Path) -> None:
    recipe = BpeRecipe(vocab_size=12, piece_bp=1000, sample_bp=99)
    with pytest.raises(ConfigError, match=r"CFG-24 .*: 99 bases of genome, less than a piece of it has"):
        recipe.train([text_of(tmp_path, chr1=random_sequence(5000))])


def test_a_sample_of_no_base_is_refused() -> None:
    with pytest.raises(ValueError, match="sample_bp at least 1"):
        BpeRecipe(sample_bp=0)


@pytest.mark.parametrize("motif", ["A", "AC"])
def test_memory_holds_for_repeats(motif: str) -> None:
    text = np.pad(from_text(motif * (2_000_000 // len(motif))).astype(np.uint16) + 1, 1)
    tracemalloc.start()
    counts = PairCounts([text], letters="ACGT", num_tokens=50)
    counts.merge(*counts.most_frequent()[:2])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < memory_bytes(2_000_000, 50, 2_000_000)


def test_a_folder_left_by_a_killed_process_is_no_obstacle(tmp_path: Path) -> None:
    text = text_of(tmp_path, chr1=random_sequence(2000))
    recipe = BpeRecipe(vocab_size=12)
    learned = recipe.open_or_train([text], tmp_path)
    (folder,) = (path for path in (tmp_path / "tokenizers").iterdir() if path.is_dir())
    left = folder.with_name(f".{folder.name}.building-{socket.gethostname()}-{os.getpid()}")
    folder.rename(left)
    assert recipe.open_or_train([text], tmp_path).fingerprint == learned.fingerprint
    assert folder.is_dir()
    assert not left.exists()


def test_a_genome_shorter_than_a_token_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DnalmError):
        count_tokens(KmerTokenizer(k=6), [text_of(tmp_path, chr1="ACG")]).tokens_per_kb  # noqa: B018


def test_tokens_that_never_occur_are_not_among_the_most_frequent(tmp_path: Path) -> None:
    found = count_tokens(KmerTokenizer(k=1), [text_of(tmp_path, chr1="AAC")])
    assert found.most_frequent(5).tolist() == [5, 7]


def test_an_error_of_a_command_names_a_key() -> None:
    config = {"_target_": "dnalm.tokenizers.KmerTokenizer", "k": 9}
    with pytest.raises(DnalmError) as refused:
        build(config)
    assert "CFG-18 :" not in str(refused.value)


def test_short_pieces_are_joined_in_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = 0

    def counted_len(text: np.ndarray) -> int:
        nonlocal lengths
        lengths += 1
        return len(text)

    monkeypatch.setattr(pair_counts, "len", counted_len, raising=False)
    list(pair_counts._joined(np.array([0, 1, 2, 0], np.uint16) for _ in range(2000)))
    assert lengths <= 3 * 2000
