"""Learning a vocabulary from genomes: what is read, what comes out, what is refused, what is kept."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from tokenizers import Tokenizer, models, trainers

from dnalm.compose import build, read_config
from dnalm.errors import ConfigError, DataError
from dnalm.genome.alphabet import from_text, to_text
from dnalm.genome.store import GenomeStore
from dnalm.tokenizers import BpeRecipe, BpeTokenizer, TrainingText
from tests.conftest import random_sequence
from tests.tokenizers.examples import store_of

SMALL = BpeRecipe(vocab_size=40, piece_bp=100)


def text_of(store: GenomeStore, name: str = "genome", weight: float | None = None) -> TrainingText:
    contigs = [(contig.offset, contig.offset + contig.length) for contig in store.contigs]
    return TrainingText(name, store, np.array(contigs), weight)


@pytest.fixture
def random_text(tmp_path: Path) -> TrainingText:
    return text_of(store_of(tmp_path, "random", {"chr1": random_sequence(20_000)}))


@pytest.fixture(scope="module")
def megabase(yeast: GenomeStore) -> TrainingText:
    """The first 10^6 bases of the longest yeast chromosome."""
    start = yeast.contig("chrIV").offset
    return TrainingText("yeast", yeast, np.array([[start, start + 1_000_000]]))


def learned_words(tokenizer: BpeTokenizer) -> list[str]:
    return ["".join(pair) for pair in tokenizer.merges()]


# What comes out


def test_a_real_megabase_gives_the_merges_of_the_library(megabase: TrainingText) -> None:
    start, end = megabase.regions[0]
    pieces = [to_text(megabase.store.codes[place : place + 1000]) for place in range(start, end, 1000)]
    engine = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=4 + 300, min_frequency=2, initial_alphabet=list("ACGT"), show_progress=False
    )
    engine.train_from_iterator(pieces, trainer)
    expected = [tuple(pair) for pair in json.loads(engine.to_str())["model"]["merges"]]
    tokenizer, _ = BpeRecipe(vocab_size=9 + 300, piece_bp=1000).train([megabase])
    assert len(expected) == 300
    assert tokenizer.merges() == expected


def test_a_second_training_gives_the_same_file(megabase: TrainingText, tmp_path: Path) -> None:
    texts = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        tokenizer, _ = BpeRecipe(vocab_size=60, sample_bp=200_000).train([megabase])
        tokenizer.save(folder)
        texts.append((folder / "tokenizer.json").read_bytes())
    assert texts[0] == texts[1]


@pytest.mark.parametrize("merges", [0, 7, 100])
def test_the_first_merges_are_the_vocabulary_trained_for_so_many(merges: int, megabase: TrainingText) -> None:
    large, _ = BpeRecipe(vocab_size=9 + 150, piece_bp=1000).train([megabase])
    cut = BpeTokenizer(large._bpe.document, where=Path("large"), merges=merges)
    small, _ = BpeRecipe(vocab_size=9 + merges, piece_bp=1000).train([megabase])
    assert cut.fingerprint == small.fingerprint


def test_grovers_vocabulary_of_609(megabase: TrainingText) -> None:
    recipe = build(read_config("tokenizer_train", ["bpe=grover"])["bpe"])
    tokenizer, (sample,) = recipe.train([megabase])
    assert (tokenizer.vocab_size, tokenizer.num_merges) == (609, 600)
    assert tokenizer.vocabulary()[:9] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"ACGT"]
    assert sample.pieces.tolist() == megabase.regions.tolist()  # whole, not in pieces


def test_dnabert2s_special_ids(random_text: TrainingText) -> None:
    recipe = build(read_config("tokenizer_train", ["bpe=dnabert2"])["bpe"])
    assert (recipe.vocab_size, recipe.piece_bp) == (4096, 700)
    tokenizer, _ = replace(recipe, vocab_size=30).train([random_text])
    assert tokenizer.vocabulary()[:9] == ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", *"ACGT"]
    assert tokenizer.special == (3, 0, 4, 1, 2)  # padding, unknown, mask, start, end


def test_trained_tokens_are_wrapped_by_start_and_end(random_text: TrainingText) -> None:
    tokenizer, _ = SMALL.train([random_text])
    ids = tokenizer.encode(from_text("ACGTN"))
    assert (ids[0], ids[-2], ids[-1]) == (1, 0, 2)  # [CLS] … [UNK] [SEP]


def test_the_smallest_vocabulary_has_no_merge(random_text: TrainingText) -> None:
    tokenizer, _ = BpeRecipe(vocab_size=9).train([random_text])
    assert tokenizer.encode(from_text("ACGT")).tolist() == [1, 5, 6, 7, 8, 2]


def test_lower_case_bases_are_learned_from(tmp_path: Path) -> None:
    sequence = random_sequence(5000)
    upper = text_of(store_of(tmp_path, "upper", {"chr1": sequence}))
    lower = text_of(store_of(tmp_path, "lower", {"chr1": sequence.lower()}))
    assert SMALL.train([upper])[0].fingerprint == SMALL.train([lower])[0].fingerprint


# Where merges end


@pytest.mark.parametrize("piece_bp", [None, 1000])
def test_no_merge_reaches_across_n(piece_bp: int | None, tmp_path: Path) -> None:
    store = store_of(tmp_path, "gaps", {"chr1": "ACNNGTNN" * 50})
    tokenizer, _ = BpeRecipe(vocab_size=11, piece_bp=piece_bp).train([text_of(store)])
    assert learned_words(tokenizer) == ["AC", "GT"]
    with pytest.raises(DataError, match="once the vocabulary has 11 ids"):
        BpeRecipe(vocab_size=12, piece_bp=piece_bp).train([text_of(store)])


def test_no_merge_reaches_across_the_end_of_a_piece(tmp_path: Path) -> None:
    store = store_of(tmp_path, "pieces", {"chr1": "ACGT" * 50})
    tokenizer, _ = BpeRecipe(vocab_size=11, piece_bp=2).train([text_of(store)])
    assert learned_words(tokenizer) == ["AC", "GT"]


def test_only_regions_are_read(tmp_path: Path) -> None:
    store = store_of(tmp_path, "regions", {"chr1": "AC" * 50 + "GT" * 50})
    tokenizer, samples = BpeRecipe(vocab_size=10).train(
        [TrainingText("genome", store, np.array([[100, 200]]))]
    )
    assert learned_words(tokenizer) == ["GT"]
    assert samples[0].num_bases == 100


# How much is read


def test_everything_is_read_once_where_nothing_is_limited(tmp_path: Path) -> None:
    contigs = {"chr1": random_sequence(12_345), "chr2": "NNACGTNN" * 20}
    _, samples = SMALL.train([text_of(store_of(tmp_path, "all", contigs))])
    assert [sample.num_bases for sample in samples] == [12_345 + 4 * 20]


def test_weights_set_how_much_of_each_genome_is_read(tmp_path: Path) -> None:
    sources = [
        text_of(store_of(tmp_path, "large", {"chr1": random_sequence(40_000)}), "large", weight=3),
        text_of(store_of(tmp_path, "small", {"chr1": random_sequence(30_000, 1)}), "small", weight=1),
    ]
    _, (large, small) = SMALL.train(sources)
    assert large.num_bases == 40_000  # the genome that limits the sample is read whole
    assert abs(small.num_bases - 40_000 / 3) <= 100


def test_without_weights_genomes_are_read_by_their_lengths(tmp_path: Path) -> None:
    sources = [
        text_of(store_of(tmp_path, "large", {"chr1": random_sequence(30_000)})),
        text_of(store_of(tmp_path, "small", {"chr1": random_sequence(10_000, 1)})),
    ]
    _, (large, small) = replace(SMALL, sample_bp=8000).train(sources)
    assert (large.num_bases, small.num_bases) == (6000, 2000)


@pytest.mark.parametrize("sample_bp", [100, 1000, 19_999])
def test_no_more_than_sample_bp_is_drawn(sample_bp: int, random_text: TrainingText) -> None:
    _, (sample,) = replace(SMALL, vocab_size=20, sample_bp=sample_bp).train([random_text])
    assert sample_bp - 100 < sample.num_bases <= sample_bp


def test_pieces_are_drawn_without_replacement_in_the_order_of_the_genome(random_text: TrainingText) -> None:
    _, (sample,) = replace(SMALL, sample_bp=10_000).train([random_text])
    assert (np.diff(sample.pieces[:, 0]) >= 100).all()
    assert (sample.pieces[:, 0] % 100 == 0).all()


def test_another_seed_draws_other_pieces(random_text: TrainingText) -> None:
    first, second = (
        replace(SMALL, sample_bp=5000, seed=seed).train([random_text])[1][0].pieces.tolist()
        for seed in (1, 2)
    )
    assert first != second


def test_what_does_not_fit_into_memory_is_not_drawn(random_text: TrainingText) -> None:
    fixed = 4 * 36**2 + 36 * (1 << 19)  # counts of 40 - 5 words and the break, and passes
    recipe = replace(SMALL, memory_gb=(fixed + 2 * 6000) / 1e9)  # two bytes a base
    _, (sample,) = recipe.train([random_text])
    assert 5900 <= sample.num_bases <= 6000


# What is refused


def test_whole_stretches_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    text = text_of(store_of(tmp_path, "large", {"chr1": random_sequence(400_000)}))
    fixed = 4 * 36**2 + 36 * (1 << 19)
    with pytest.raises(ConfigError) as refused:
        BpeRecipe(vocab_size=40, piece_bp=None, memory_gb=(fixed + 600_000) / 1e9).train([text])
    assert str(refused.value).startswith(
        "CFG-24 piece_bp: whole stretches of 400,000 bases, where memory is for 300,000"
    )
    assert str(refused.value).endswith(
        "Fix: raise memory_gb, or set piece_bp (such as 10000) to learn from a sample."
    )


def test_whole_stretches_cannot_be_weighted(tmp_path: Path) -> None:
    text = text_of(store_of(tmp_path, "one", {"chr1": random_sequence(1000)}), weight=2)
    with pytest.raises(ConfigError) as refused:
        BpeRecipe(vocab_size=20, piece_bp=None).train([text])
    assert str(refused.value).startswith(
        "CFG-24 piece_bp: whole stretches of weights; a vocabulary learned on all bases, each once, or on a "
    )


def test_a_vocabulary_larger_than_the_data_supports_is_refused(tmp_path: Path) -> None:
    text = text_of(store_of(tmp_path, "short", {"chr1": "ACACAC"}), "short")
    with pytest.raises(DataError) as refused:
        BpeRecipe(vocab_size=100).train([text])
    # AC three times; then AC AC twice in AC AC AC; ACAC AC occurs once
    assert str(refused.value) == (
        "TOK-10 short: no two tokens occur together twice once the vocabulary has 11 ids; data that "
        "supports vocab_size=100. Fix: lower vocab_size to at most 11, or give more data."
    )


def test_the_size_that_the_error_names_can_be_trained(tmp_path: Path) -> None:
    text = text_of(store_of(tmp_path, "short", {"chr1": "ACACAC"}), "short")
    tokenizer, _ = BpeRecipe(vocab_size=11).train([text])
    assert learned_words(tokenizer) == ["AC", "ACAC"]


def test_a_genome_of_n_is_refused(tmp_path: Path) -> None:
    text = text_of(store_of(tmp_path, "empty", {"chr1": "N" * 50}), "empty")
    with pytest.raises(DataError) as refused:
        SMALL.train([text])
    assert str(refused.value) == (
        "TOK-09 empty: no base other than N to learn a vocabulary from; bases on the training side. "
        "Fix: give another genome, or train on more: data.split.gap=0, data/split=random_contigs."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"special_tokens": ("[PAD]", "[UNK]")},
            r"special_tokens are \[PAD\], \[UNK\]; they must be \[UNK\], ",
        ),
        ({"vocab_size": 8}, "vocab_size is 8; it must lie between 9 and 65536"),
        ({"vocab_size": 65537}, "vocab_size is 65537; it must lie between 9 and 65536"),
        ({"piece_bp": 1}, "piece_bp must be at least 2 bases and sample_bp at least 1"),
        ({"sample_bp": -1}, "piece_bp must be at least 2 bases and sample_bp at least 1"),
        ({"piece_bp": None, "sample_bp": 10}, "sample_bp draws pieces, so it needs piece_bp"),
        ({"memory_gb": 0.01}, r"memory_gb is 0\.01; counting 4096 tokens takes more"),
    ],
)
def test_impossible_recipes_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        BpeRecipe(**arguments)  # type: ignore[arg-type]


# What is kept


def refuse_to_train(*_: object) -> NoReturn:
    raise AssertionError("a kept vocabulary is trained again")


def kept(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "tokenizers").iterdir() if not path.name.startswith("."))


def test_a_vocabulary_is_trained_once(
    random_text: TrainingText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = SMALL.open_or_train([random_text], tmp_path)
    monkeypatch.setattr(BpeRecipe, "train", refuse_to_train)
    assert SMALL.open_or_train([random_text], tmp_path).fingerprint == first.fingerprint


def test_the_kept_vocabulary_is_the_trained_one(random_text: TrainingText, tmp_path: Path) -> None:
    trained, _ = SMALL.train([random_text])
    assert SMALL.open_or_train([random_text], tmp_path).fingerprint == trained.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        lambda recipe, text: (replace(recipe, vocab_size=41), text),
        lambda recipe, text: (replace(recipe, seed=2), text),
        lambda recipe, text: (replace(recipe, piece_bp=101), text),
        lambda recipe, text: (replace(recipe, special_tokens=recipe.special_tokens[::-1]), text),
        lambda recipe, text: (recipe, replace(text, regions=text.regions - [0, 100])),
        lambda recipe, text: (recipe, replace(text, weight=2.0)),
    ],
    ids=["vocab_size", "seed", "piece_bp", "special_tokens", "regions", "weight"],
)
def test_another_recipe_or_other_bases_are_another_vocabulary(
    change: Callable[[BpeRecipe, TrainingText], tuple[BpeRecipe, TrainingText]],
    random_text: TrainingText,
    tmp_path: Path,
) -> None:
    SMALL.open_or_train([random_text], tmp_path)
    recipe, text = change(SMALL, random_text)
    recipe.open_or_train([text], tmp_path)
    assert len(kept(tmp_path)) == 2


def test_another_genome_is_another_vocabulary(random_text: TrainingText, tmp_path: Path) -> None:
    other = text_of(store_of(tmp_path, "other", {"chr1": random_sequence(20_000, seed=5)}))
    SMALL.open_or_train([random_text], tmp_path)
    SMALL.open_or_train([other], tmp_path)
    assert len(kept(tmp_path)) == 2


def test_a_training_that_is_killed_leaves_nothing_under_the_final_name(
    random_text: TrainingText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_: BpeTokenizer, folder: Path) -> None:
        (folder / "tokenizer.json").write_text("{")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BpeTokenizer, "save", die)
        with pytest.raises(KeyboardInterrupt):
            SMALL.open_or_train([random_text], tmp_path)
    assert kept(tmp_path) == []
    assert SMALL.open_or_train([random_text], tmp_path).vocab_size == 40
