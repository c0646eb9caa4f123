"""Raw DNA text given to stock `transformers`: the ids are dnalm's, or it is an error."""

import json
import re
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnalm.genome.alphabet import AMBIGUOUS, Codes, from_text
from dnalm.tokenizers import (
    BpeTokenizer,
    KmerTokenizer,
    LogoTokenizer,
    SixMerTokenizer,
    Tokenizer,
    load_tokenizer,
)
from tests.tokenizers.examples import BPES, SIX_MERS, TILING, small_document, stock_tokenizer

KMERS = {f"kmer_{k}": KmerTokenizer(k=k) for k in range(1, 9)}
LOGOS = {f"logo_{k}": LogoTokenizer(k=k) for k in range(1, 7)}
ALL: dict[str, Tokenizer] = {**TILING, **LOGOS, **KMERS}
CONFIG = "tokenizer_config.json"
LOST = "Missing \\[UNK\\] token"  # a word that the vocabulary lacks, in the words of the library

every = pytest.mark.parametrize("name", ALL)
of_kmers = pytest.mark.parametrize("name", KMERS)
plain = st.text("ACGTacgt", min_size=8, max_size=60)
mixed = st.text("ACGTACGTACGTacgtacgtNn" + AMBIGUOUS + AMBIGUOUS.lower(), min_size=8, max_size=90)
fewer = settings(max_examples=50)


@cache
def stock(name: str):  # noqa: ANN201 -- a class of transformers that only its registry knows
    folder = Path(mkdtemp())
    ALL[name].save(folder)
    return stock_tokenizer(folder)


def codes_of(text: str) -> Codes:
    """As a FASTA is read: IUPAC's letters for several bases are N."""
    return from_text(re.sub(f"[{AMBIGUOUS}]", "N", text, flags=re.IGNORECASE))


@every
@fewer
@given(text=mixed)
def test_raw_text_of_any_case_with_ambiguous_letters_has_dnalms_ids(name: str, text: str) -> None:
    assert stock(name)(text)["input_ids"] == ALL[name].encode(codes_of(text)).tolist()


@every
@fewer
@given(data=st.data())
def test_so_does_the_shortest_text_that_dnalm_reads(name: str, data: st.DataObject) -> None:
    least = ALL[name].overlap
    text = data.draw(st.text("ACGTNacgtn", min_size=least, max_size=least + 2))
    assert stock(name)(text)["input_ids"] == ALL[name].encode(codes_of(text)).tolist()


@pytest.mark.parametrize("name", ["kmer_6", "six_mer_v2", "logo_5", "bpe"])
def test_and_a_long_one(name: str) -> None:
    letters = np.random.default_rng(0).choice(list("ACGTacgtN"), 20_000)
    text = "".join(letters)
    assert stock(name)(text)["input_ids"] == ALL[name].encode(codes_of(text)).tolist()


@every
def test_a_batch_is_padded_and_names_the_inputs_that_every_model_takes(name: str) -> None:
    texts = ["ACGTACGTACGT", "ACGTACGTA"]
    batch = stock(name)(texts, padding=True)
    assert set(batch) == {"input_ids", "attention_mask"}  # ESM's model takes no token types
    for text, ids, real in zip(texts, batch["input_ids"], batch["attention_mask"], strict=True):
        own = ALL[name].encode(from_text(text)).tolist()
        assert ids == own + [ALL[name].special.padding] * (len(ids) - len(own))
        assert real == [1] * len(own) + [0] * (len(ids) - len(own))


@every
def test_a_mask_token_in_the_text_is_one_token_between_two_texts(name: str) -> None:
    special = ALL[name].special
    found = stock(name)(f"ACGTACGTA{stock(name).mask_token}GGCCAATTG")["input_ids"]
    left, right = (
        ALL[name].encode(from_text(text))[special.start is not None :].tolist()
        for text in ("ACGTACGTA", "GGCCAATTG")
    )
    start = [] if special.start is None else [special.start]
    assert found == [*start, *(left if special.end is None else left[:-1]), special.mask, *right]


@pytest.mark.parametrize("name", [*KMERS, *SIX_MERS])
@pytest.mark.parametrize(
    "text",
    [
        "ACGTACGTACGXACGT",
        "ACGUACGUACGU",
        "ACGTACGTACGT ACGTACGTACGT",
        "ACGTACGTACGT\nACGTACGTACGT",
        "ACGTACGTACGT_ACGTACGTACGT",
        "ACGTACGTACG-TACGT",
        ">chr1\nACGTACGTACGTACGT",
    ],
)
def test_letters_of_no_dna_and_broken_lines_are_errors(name: str, text: str) -> None:
    with pytest.raises(Exception, match=LOST):
        stock(name)(text)


@of_kmers
@fewer
@given(text=plain, data=st.data())
def test_no_kmer_is_lost_beside_white_space(name: str, text: str, data: st.DataObject) -> None:
    # Two words, one of them longer than k: the k-mers between them would be missing.
    k = KMERS[name].k
    place = data.draw(st.integers(1, len(text) - 1).filter(lambda at: max(at, len(text) - at) > k))
    with pytest.raises(Exception, match=LOST):
        stock(name)(text[:place] + data.draw(st.sampled_from([" ", "\n", "\r\n", "\t"])) + text[place:])


@pytest.mark.parametrize("name", [name for name in KMERS if KMERS[name].k > 1])
def test_a_text_shorter_than_k_is_an_error_and_not_an_unknown_token(name: str) -> None:
    with pytest.raises(Exception, match=LOST):
        stock(name)("ACGTACGT"[: KMERS[name].k - 1])


@pytest.mark.parametrize("name", [*KMERS, *SIX_MERS, *LOGOS])
def test_white_space_around_the_text_is_nothing(name: str) -> None:
    assert stock(name)("  ACGTACGTAC\n") == stock(name)("ACGTACGTAC")


@of_kmers
@fewer
@given(text=mixed)
def test_kmers_with_spaces_between_them_are_read_as_dnaberts_authors_write_them(name: str, text: str) -> None:
    k = KMERS[name].k
    kmers = " ".join(text[place : place + k] for place in range(len(text) - k + 1))
    assert stock(name)(kmers) == stock(name)(text)


@pytest.mark.parametrize("name", [*BPES, *LOGOS])
def test_where_the_unknown_token_is_the_models_own_a_letter_of_no_dna_is_one(name: str) -> None:
    start, end = ALL[name].special.start is not None, ALL[name].special.end is not None
    left = ALL[name].encode(from_text("ACGTAC")).tolist()
    content = left[start : len(left) - end]
    unknown = [ALL[name].special.unknown]
    found = stock(name)("ACGTACXXACGTAC", add_special_tokens=False)["input_ids"]
    assert found == content + 2 * unknown + content


@pytest.mark.parametrize("version", [1, 2])
def test_the_stock_six_mers_have_no_token_without_a_row(version: int) -> None:
    # The published vocab.txt of version 1 lists <eos> and <bos>, for which its embedding has no rows.
    found = stock(f"six_mer_v{version}")
    assert len(found) == SIX_MERS[f"six_mer_v{version}"].vocab_size
    assert set(found.get_vocab()) == set(SIX_MERS[f"six_mer_v{version}"].vocabulary())


# The publishers' own files


@pytest.mark.parametrize("tokenizer", ALL.values(), ids=ALL)
def test_the_publishers_files_are_read_as_the_same_tokenizer(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path, published=True)
    assert load_tokenizer(tmp_path).fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize("k", [3, 6])
def test_dnaberts_files_are_those_of_its_authors(k: int, shared_data: Path, tmp_path: Path) -> None:
    published = shared_data / f"tokenizers/dnabert/bert-config-{k}"
    KmerTokenizer(k=k).save(tmp_path, published=True)
    assert {path.name for path in tmp_path.iterdir()} == {
        path.name for path in published.iterdir() if path.name != "config.json"
    }
    own, theirs = (
        {name: json.loads((folder / name).read_text()) for name in ("special_tokens_map.json", CONFIG)}
        for folder in (tmp_path, published)
    )
    # Their own code is told the case on the command line; stock code would read every k-mer as unknown.
    assert own[CONFIG].pop("tokenizer_class") == "BertTokenizer"
    assert own == {**theirs, CONFIG: {**theirs[CONFIG], "do_lower_case": False}}


@pytest.mark.parametrize("k", [1, 3, 6])
def test_stock_code_reads_the_published_files_of_kmers(k: int, tmp_path: Path) -> None:
    KmerTokenizer(k=k).save(tmp_path, published=True)
    found, text = stock_tokenizer(tmp_path), "ACGTNACGTTGCA"
    kmers = " ".join(text[place : place + k] for place in range(len(text) - k + 1))
    assert found(kmers)["input_ids"] == KmerTokenizer(k=k).encode(from_text(text)).tolist()
    assert found.model_max_length == 512


@pytest.mark.parametrize("version", [1, 2])
def test_stock_code_reads_the_published_files_of_six_mers(version: int, tmp_path: Path) -> None:
    tokenizer = SixMerTokenizer(version=version)  # type: ignore[arg-type]
    tokenizer.save(tmp_path, published=True)
    text = "ACGTNACGTTGCAACGTACGT"
    assert stock_tokenizer(tmp_path)(text)["input_ids"] == tokenizer.encode(from_text(text)).tolist()


@pytest.mark.parametrize("normalizer", [None, {"type": "NFC"}, {"type": "Sequence", "normalizers": []}])
def test_the_published_file_of_a_bpe_is_the_one_that_was_read(
    normalizer: dict[str, object] | None, tmp_path: Path
) -> None:
    document = {**small_document(), "normalizer": normalizer}
    BpeTokenizer(document, where=Path("given.json")).save(tmp_path)
    assert json.loads((tmp_path / "tokenizer.json").read_text()) != document
    loaded = load_tokenizer(tmp_path)
    loaded.save(tmp_path, published=True)
    assert json.loads((tmp_path / "tokenizer.json").read_text()) == document
