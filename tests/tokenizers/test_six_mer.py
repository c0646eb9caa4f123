"""Non-overlapping 6-mers: the official example, both orders of ids, counts of tokens."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.genome.alphabet import from_text
from dnalm.tokenizers import SixMerTokenizer
from tests.tokenizers.examples import SIX_MERS

both = pytest.mark.parametrize("tokenizer", SIX_MERS.values(), ids=SIX_MERS)


def words(tokenizer: SixMerTokenizer, text: str) -> list[str]:
    vocabulary = tokenizer.vocabulary()
    return [vocabulary[i] for i in tokenizer.encode(from_text(text))]


@both
def test_the_official_example(tokenizer: SixMerTokenizer) -> None:
    # docs/nucleotide_transformer.md of the released code
    found = words(tokenizer, "ACGTGTACNTGCACGGANCGACTAGTCTGA")
    assert " ".join(found) == "<cls> ACGTGT A C N TGCACG G A N CGACTA GTCTGA"


@both
def test_251_bases_make_47_tokens(tokenizer: SixMerTokenizer) -> None:
    # <cls>, 41 6-mers and the 5 bases that remain
    assert len(tokenizer.encode(np.zeros(251, dtype=np.uint8))) == 1 + 41 + 5 == 47


@pytest.mark.parametrize(
    ("version", "size", "ids"),
    [
        (1, 4105, {"AAAAAA": 4, "GGGGGG": 4099, "A": 4100, "T": 4101, "C": 4102, "G": 4103, "N": 4104}),
        (2, 4107, {"AAAAAA": 6, "GGGGGG": 4101, "A": 4102, "T": 4103, "C": 4104, "G": 4105, "N": 4106}),
    ],
)
def test_ids_of_the_published_versions(version: int, size: int, ids: dict[str, int]) -> None:
    tokenizer = SixMerTokenizer(version=version)  # type: ignore[arg-type]
    assert tokenizer.vocab_size == size
    assert {word: int(tokenizer.encode(from_text(word))[1]) for word in ids} == ids


@pytest.mark.parametrize(
    ("version", "special"),
    [
        (1, ["<unk>", "<pad>", "<mask>", "<cls>"]),
        (2, ["<unk>", "<pad>", "<mask>", "<cls>", "<eos>", "<bos>"]),
    ],
)
def test_the_vocabulary_is_special_tokens_then_kmers_then_bases(version: int, special: list[str]) -> None:
    kmers = ["".join(letters) for letters in itertools.product("ATCG", repeat=6)]
    tokenizer = SixMerTokenizer(version=version)  # type: ignore[arg-type]
    assert tokenizer.vocabulary() == [*special, *kmers, "A", "T", "C", "G", "N"]


@both
def test_special_ids_and_the_wrapping(tokenizer: SixMerTokenizer) -> None:
    assert tokenizer.special == (1, 0, 2, 3, None)  # padding, unknown, mask, start, end


@both
def test_replacements_are_all_kmers_and_single_bases_but_not_n(tokenizer: SixMerTokenizer) -> None:
    words = tokenizer.vocabulary()
    assert {words[i] for i in tokenizer.replacement_ids} == {
        word for word in words if set(word) <= set("ACGT")
    }


@both
@given(pieces=st.lists(st.text("ACGT", max_size=20), min_size=2, max_size=6))
def test_each_piece_between_n_is_cut_from_its_own_left_end(
    tokenizer: SixMerTokenizer, pieces: list[str]
) -> None:
    def cut(piece: str) -> list[str]:
        whole = len(piece) // 6 * 6
        return [piece[i : i + 6] for i in range(0, whole, 6)] + list(piece[whole:])

    expected = [word for piece in pieces for word in [*cut(piece), "N"]][:-1]
    assert words(tokenizer, "N".join(pieces)) == ["<cls>", *expected]


@both
@given(numbers=st.lists(st.integers(0, 4095), min_size=1, max_size=20))
def test_the_id_of_a_kmer_is_its_place_in_the_product_of_atcg(
    tokenizer: SixMerTokenizer, numbers: list[int]
) -> None:
    text = "".join("ATCG"[number // 4**place % 4] for number in numbers for place in range(5, -1, -1))
    first = tokenizer.vocabulary().index("AAAAAA")
    assert tokenizer.encode(from_text(text))[1:].tolist() == [first + number for number in numbers]


@both
def test_decoding_unknown_and_mask_gives_one_n_each(tokenizer: SixMerTokenizer) -> None:
    ids = np.array([tokenizer.special.start, tokenizer.special.mask, tokenizer.special.unknown])
    assert tokenizer.decode(ids).tolist() == [4, 4]


@pytest.mark.parametrize("version", [0, 3])
def test_there_are_two_versions(version: int) -> None:
    with pytest.raises(ValueError, match=f"^version is {version}; the Nucleotide Transformer has versions"):
        SixMerTokenizer(version=version)  # type: ignore[arg-type]
