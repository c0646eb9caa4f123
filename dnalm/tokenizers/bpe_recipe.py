"""How a BPE vocabulary is learned from genomes: a recipe is a config, its result a tokenizer folder.

The result depends on the recipe and the bases alone, so it is learned once and kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import platformdirs

from dnalm.console import progress_bar
from dnalm.durable import sync
from dnalm.errors import DataError
from dnalm.genome.atomic_folder import build_folder, locked
from dnalm.limits import Seed
from dnalm.tokenizers.bpe import BpeTokenizer
from dnalm.tokenizers.bpe_file import Document, read_document, wrapped
from dnalm.tokenizers.pair_counts import BYTES_PER_BASE, PairCounts, memory_bytes
from dnalm.tokenizers.training_texts import TextSample, TrainingText, draw_sample, sample_identity

_BASES = "ACGT"
_METHOD = 2  # changes whenever the same recipe gives another vocabulary
_LEAST = 2  # occurrences that make a merge worth a token


@dataclass(frozen=True, kw_only=True)
class BpeRecipe:
    """Learn a BPE of bases; merges never reach across N or the end of a piece.

    Args:
        vocab_size: ids of the result: five special tokens, four bases, and one for each new word.
        special_tokens: [UNK], [CLS], [SEP], [PAD] and [MASK] in the order of their ids, from 0.
        piece_bp: the genomes are cut into pieces of so many bases, of which as many are drawn as fit, at
            least one of each genome; None
            learns on whole stretches between N, as chromosomes, and refuses genomes that do not fit.
        sample_bp: draw no more than so many bases in all.
        memory_gb: memory to stay within, in 10^9 bytes; what does not fit is not drawn.
        seed: of the draw.
    """

    vocab_size: int = 4096
    special_tokens: tuple[str, ...] = ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")
    piece_bp: int | None = 10_000
    sample_bp: int | None = None
    memory_gb: float = 4.0
    seed: Seed = 1

    def __post_init__(self) -> None:
        if sorted(self.special_tokens) != ["[CLS]", "[MASK]", "[PAD]", "[SEP]", "[UNK]"]:
            raise ValueError(
                f"special_tokens are {', '.join(self.special_tokens)}; "
                "they must be [UNK], [CLS], [SEP], [PAD] and [MASK] in any order"
            )
        if not self._num_plain <= self.vocab_size <= 1 << 16:
            raise ValueError(
                f"vocab_size is {self.vocab_size}; it must lie between {self._num_plain} and 65536"
            )
        if (self.piece_bp is not None and self.piece_bp < 2) or (
            self.sample_bp is not None and self.sample_bp < 1
        ):
            raise ValueError("piece_bp must be at least 2 bases and sample_bp at least 1")
        if self.piece_bp is None and self.sample_bp is not None:
            raise ValueError("sample_bp draws pieces, so it needs piece_bp")
        if self._most_bp(0) < 1:
            raise ValueError(f"memory_gb is {self.memory_gb}; counting {self.vocab_size} tokens takes more")

    def train(self, sources: Sequence[TrainingText]) -> tuple[BpeTokenizer, list[TextSample]]:
        """Learn the vocabulary.

        Returns:
            The tokenizer, and what was read of each genome.

        Raises:
            ConfigError: CFG-24, whole stretches do not fit into memory or are to be weighted.
            DataError: TOK-09 (a genome without bases), TOK-10 (too few repeated words for so many tokens).
        """
        samples = draw_sample(sources, piece_bp=self.piece_bp, most_bp=self._most_bp, seed=self.seed)
        merges = self._merges(samples)
        where = Path("the trained vocabulary")
        return BpeTokenizer(bpe_document(merges, self.special_tokens), where=where), samples

    def open_or_train(self, sources: Sequence[TrainingText], cache: Path | None = None) -> BpeTokenizer:
        """The vocabulary, learned on first use and kept.

        Args:
            sources: the genomes.
            cache: folder that holds trained vocabularies; the user's cache if absent.

        Raises:
            ConfigError, DataError: as `train`.
        """
        identity = json.dumps([_METHOD, asdict(self), sample_identity(sources)])
        name = f"bpe-{self.vocab_size}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
        folder = (cache or platformdirs.user_cache_path("dnalm")) / "tokenizers" / name
        with locked(folder):
            if not folder.exists():
                tokenizer, _ = self.train(sources)
                build_folder(
                    folder, partial(_save, tokenizer), needed_bytes=0, space="space for a vocabulary"
                )
        path = folder / "tokenizer.json"
        try:
            return BpeTokenizer(read_document(path), where=path)
        except DataError as error:
            fix = f"remove {folder}; the vocabulary is learned anew"
            raise DataError(
                error.code, where=error.where, found=error.found, expected=error.expected, fix=fix
            ) from error

    @property
    def _num_plain(self) -> int:
        return len(self.special_tokens) + len(_BASES)

    @property
    def _num_words(self) -> int:
        return self.vocab_size - len(self.special_tokens) + 1  # with the break

    def _most_bp(self, longest: int) -> int:
        """Bases that memory and the recipe allow, if the longest piece has so many."""
        left = self.memory_gb * 1e9 - memory_bytes(0, self._num_words, longest)
        most = int(left / BYTES_PER_BASE)
        return most if self.sample_bp is None else min(most, self.sample_bp)

    def _merges(self, samples: list[TextSample]) -> list[tuple[str, str]]:
        texts = (text for sample in samples for text in sample.texts())
        counts = PairCounts(texts, letters=_BASES, num_tokens=self._num_words)
        merges: list[tuple[str, str]] = []
        with progress_bar("Learning merges", total=self._num_words - len(counts.words)) as advance:
            while len(counts.words) < self._num_words:
                left, right, occurrences = counts.most_frequent()
                if occurrences < _LEAST:
                    raise self._too_large(len(counts.words), samples)
                merges.append((counts.words[left], counts.words[right]))
                before = len(counts.words)
                counts.merge(left, right)
                advance(len(counts.words) - before)
        return merges

    def _too_large(self, num_words: int, samples: list[TextSample]) -> DataError:
        supported = num_words - 1 + len(self.special_tokens)
        return DataError(
            "TOK-10",
            where=", ".join(sample.source.name for sample in samples),
            found=f"no two tokens occur together twice once the vocabulary has {supported} ids",
            expected=f"data that supports vocab_size={self.vocab_size}",
            fix=f"lower vocab_size to at most {supported}, or give more data",
        )


def bpe_document(merges: Sequence[tuple[str, str]], special_tokens: Sequence[str]) -> Document:
    """The tokenizer.json of merges, wrapped as `[CLS] x [SEP]` and split as DNABERT-2's."""
    from tokenizers import AddedToken, models, pre_tokenizers
    from tokenizers import Tokenizer as Engine

    words = dict.fromkeys([*special_tokens, *_BASES, *("".join(pair) for pair in merges)])
    numbers = {word: number for number, word in enumerate(words)}
    engine = Engine(models.BPE(numbers, list(merges), unk_token="[UNK]"))
    engine.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special_tokens])
    engine.pre_tokenizer = pre_tokenizers.Whitespace()
    return wrapped(json.loads(engine.to_str()), start="[CLS]", end="[SEP]")


def _save(tokenizer: BpeTokenizer, folder: Path) -> None:
    """Save the files and bring them to disk."""
    tokenizer.save(folder)
    for file in folder.iterdir():
        sync(file)
