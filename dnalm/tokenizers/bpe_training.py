"""Learn a BPE vocabulary from genomes: a recipe is a config, its result a tokenizer folder.

The result depends on the recipe and the bases alone, so it is learned once and kept in the user's cache. The
texts are stretches without N, whole or as a seeded sample of pieces.

The usual trainers are made for words: their time grows with the square of a text's length, and they keep
about a hundred bytes a letter. Here the texts are arrays of token numbers, two bytes each; a merge is a few
passes over them, and pair counts are kept up to date from what each merge changes, in memory that is known
beforehand. The merges are those of the `tokenizers` library on the same texts, ties included
(experiments/throughput/bpe_training.py compares both, a test holds them equal).

V tokens, n tokens of a text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import platformdirs

from dnalm.console import progress_bar
from dnalm.durable import sync
from dnalm.errors import ConfigError, DataError
from dnalm.genome.alphabet import bases
from dnalm.genome.atomic_folder import build_folder, locked
from dnalm.genome.intervals import cut_at, subtract
from dnalm.genome.store import GenomeStore
from dnalm.limits import Seed
from dnalm.tokenizers.bpe import BpeTokenizer, read_document, wrapped
from dnalm.tokenizers.protocol import Ids
from dnalm.tokenizers.stock import Document

Text = npt.NDArray[np.uint16]
Intervals = npt.NDArray[np.int64]
_BASES = "ACGT"
_METHOD = 2  # changes whenever the same recipe gives another vocabulary
_LEAST = 2  # occurrences that make a merge worth a token
BREAK = 0  # ends a text and stands for N: no pair holds it
BYTES_PER_BASE = 2
_WIDE = 1 << 31  # texts from this length on may hold a pair more often than 32 bits can count
_AT_ONCE = 1 << 18  # tokens that short texts are joined to, so that a pass is worth its start


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
        least = len(self.special_tokens) + len(_BASES)
        if not least <= self.vocab_size <= 1 << 16:
            raise ValueError(f"vocab_size is {self.vocab_size}; it must lie between {least} and 65536")
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
        document = bpe_document(self._merges(samples), self.special_tokens)
        return BpeTokenizer(document, where=Path("the trained vocabulary")), samples

    def open_or_train(self, sources: Sequence[TrainingText], cache: Path | None = None) -> BpeTokenizer:
        """The vocabulary, learned on first use and kept.

        Args:
            sources: the genomes.
            cache: folder that holds trained vocabularies; the user's cache if absent.

        Raises:
            ConfigError, DataError: as `train`.
        """
        of_sources = json.dumps([source.identity() for source in sources])
        identity = json.dumps([_METHOD, asdict(self), of_sources])
        name = f"bpe-{self.vocab_size}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
        folder = (cache or platformdirs.user_cache_path("dnalm")) / "tokenizers" / name
        with locked(folder):
            if not folder.exists():
                tokenizer, _ = self.train(sources)
                save = partial(_save, tokenizer)
                build_folder(folder, save, needed_bytes=0, space="space for a vocabulary")
        path = folder / "tokenizer.json"
        try:
            return BpeTokenizer(read_document(path), where=path)
        except DataError as error:
            fix = f"remove {folder}; the vocabulary is then learned again"
            raise DataError(
                error.code, where=error.where, found=error.found, expected=error.expected, fix=fix
            ) from error

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
                    supported = len(counts.words) - 1 + len(self.special_tokens)
                    raise DataError(
                        "TOK-10",
                        where=", ".join(sample.source.name for sample in samples),
                        found=f"no two tokens occur together twice once the vocabulary has {supported} ids",
                        expected=f"data that supports vocab_size={self.vocab_size}",
                        fix=f"lower vocab_size to at most {supported}, or give more data",
                    )
                merges.append((counts.words[left], counts.words[right]))
                before = len(counts.words)
                counts.merge(left, right)
                advance(len(counts.words) - before)
        return merges


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


@dataclass(frozen=True)
class TrainingText:
    """A genome to learn from.

    Attributes:
        name: of the species, for reports.
        store: the genome.
        regions: (R, 2) half-open flat intervals that may be read.
        weight: its share of the sample relative to the others'; its length if None.
    """

    name: str
    store: GenomeStore
    regions: Intervals
    weight: float | None = None

    def identity(self) -> list[object]:
        """What a vocabulary learned from it depends on."""
        regions = hashlib.sha256(np.ascontiguousarray(self.regions).tobytes()).hexdigest()
        return [self.store.fingerprint, regions, self.weight]

    def pieces(self, piece_bp: int | None) -> Intervals:
        """Its stretches without N, cut to pieces if asked to, (P, 2).

        Raises:
            DataError: TOK-09, there are none.
        """
        stretches = cut_at(subtract(self.regions, self.store.unknown_runs), self.store.offsets)
        if not len(stretches):
            raise DataError(
                "TOK-09",
                where=self.name,
                found="no base other than N to learn a vocabulary from",
                expected="bases on the training side",
                fix="give another genome, or train on more: data.split.gap=0, data/split=random_contigs",
            )
        if piece_bp is None:
            return stretches
        counts = -(-(stretches[:, 1] - stretches[:, 0]) // piece_bp)
        stretch = np.repeat(np.arange(len(stretches)), counts)
        place = np.arange(len(stretch)) - np.repeat(np.cumsum(counts) - counts, counts)
        starts = stretches[stretch, 0] + place * piece_bp
        return np.stack([starts, np.minimum(starts + piece_bp, stretches[stretch, 1])], axis=1)


@dataclass(frozen=True)
class TextSample:
    """Pieces of one genome, (P, 2), in the order of the genome."""

    source: TrainingText
    pieces: Intervals

    @property
    def num_bases(self) -> int:
        """Bases of all pieces."""
        return int((self.pieces[:, 1] - self.pieces[:, 0]).sum())

    def texts(self) -> Iterator[Text]:
        """Each piece as token numbers 1-4 = A C G T between breaks."""
        codes = self.source.store.codes
        for start, end in self.pieces.tolist():
            text = np.full(end - start + 2, BREAK, dtype=np.uint16)
            text[1:-1] = bases(codes[start:end]) + 1
            yield text


def draw_sample(
    sources: Sequence[TrainingText], *, piece_bp: int | None, most_bp: Callable[[int], int], seed: int
) -> list[TextSample]:
    """Choose what is read, so that shares are as asked and no more bases than fit are held.

    Args:
        sources: the genomes.
        piece_bp: length of the pieces, drawn without replacement; None takes all stretches whole.
        most_bp: bases that the sample may have, by the length of its longest piece.
        seed: of the draw.

    Raises:
        ConfigError: CFG-24, whole stretches do not fit or have weights, or not one piece fits.
        DataError: TOK-09, a genome has no base to read.
    """
    pieces = [source.pieces(piece_bp) for source in sources]
    lengths = [piece[:, 1] - piece[:, 0] for piece in pieces]
    available = np.array([int(length.sum()) for length in lengths])
    most = most_bp(max(int(length.max()) for length in lengths))
    if piece_bp is None:
        num_bases, found = int(available.sum()), ""
        if num_bases > most:
            found = f"whole stretches of {num_bases:,} bases, where memory is for {most:,}"
        elif any(source.weight is not None for source in sources):
            found = "whole stretches of weights"
        if found:
            raise ConfigError(
                "CFG-24",
                where="piece_bp",
                found=found,
                expected="a vocabulary learned on all bases, each once, or on a sample of pieces",
                fix="raise memory_gb, or set piece_bp (such as 10000) to learn from a sample",
            )
        return [TextSample(source, piece) for source, piece in zip(sources, pieces, strict=True)]
    weights = np.array([n if s.weight is None else s.weight for s, n in zip(sources, available, strict=True)])
    share = weights / weights.sum()
    total = min(float(most), float((available / share).min()))
    return [
        TextSample(source, _draw(piece, int(part * total + 1e-6), [seed, number], source.name))
        for number, (source, piece, part) in enumerate(zip(sources, pieces, share, strict=True))
    ]


def _draw(pieces: Intervals, most_bp: int, key: list[int], name: str) -> Intervals:
    """Random pieces of no more than so many bases in all, in the order of the genome."""
    order = np.random.Generator(np.random.Philox(key=key)).permutation(len(pieces))
    ends = np.cumsum(pieces[order, 1] - pieces[order, 0])
    num_pieces = int(np.searchsorted(ends, most_bp, side="right"))
    if not num_pieces:
        raise ConfigError(
            "CFG-24",
            where="sample_bp, memory_gb, weights",
            found=f"{most_bp:,} bases of {name}, less than a piece of it has",
            expected="at least one piece of every genome",
            fix="raise sample_bp or memory_gb, even out the weights, or set a smaller piece_bp",
        )
    return pieces[np.sort(order[:num_pieces])]


class PairCounts:
    """Texts of token numbers 1 .. V-1 and the counts of their neighbours.

    Once two tokens exist, the count of their pair can only fall. So the best pair of a token with older ones,
    once looked up, stays an upper bound, which makes the choice of the next merge cheap.

    Args:
        texts: arrays that begin and end with BREAK; they are joined and changed in place.
        letters: what tokens 1, 2, … are at the beginning.
        num_tokens: V, the largest number of tokens, BREAK included, at most 65,536.

    Attributes:
        words: what each token spells, by number; BREAK spells nothing.
    """

    def __init__(self, texts: Iterable[Text], *, letters: str, num_tokens: int) -> None:
        assert len(letters) < num_tokens <= 1 << 16, "token numbers are 16 bits wide"
        self.words = ["", *letters]
        self._texts = list(_joined(texts))
        wide = sum(map(len, self._texts)) >= _WIDE
        self._counts = np.zeros((num_tokens, num_tokens), dtype=np.int64 if wide else np.int32)
        self._best_count = np.zeros(num_tokens, dtype=np.int64)  # by the younger token of the pair
        self._best_pair = np.zeros((num_tokens, 2), dtype=np.int64)
        for text in self._texts:
            for start in range(0, len(text) - 1, _AT_ONCE):
                part = text[start : start + _AT_ONCE + 1]
                self._add(part[:-1], part[1:], +1)
        self._look_up(range(1, len(self.words)))

    def most_frequent(self) -> tuple[int, int, int]:
        """The most frequent pair and its count; of equally frequent ones the first by left, then right."""
        while True:
            best = self._best_count[: len(self.words)]
            tied = np.flatnonzero(best == best.max())
            left, right = self._best_pair[tied].T
            stale = self._counts[left, right] != best[tied]
            if not stale.any():
                first = min(zip(left.tolist(), right.tolist(), strict=True))
                return *first, int(best.max())
            self._look_up(tied[stale].tolist())

    def merge(self, left: int, right: int) -> None:
        """Replace the pair wherever it stands, from left to right, by a new token that spells both."""
        token = len(self.words)
        self.words.append(self.words[left] + self.words[right])
        for place, text in enumerate(self._texts):
            at = _occurrences(text, left, right)
            if len(at):
                self._texts[place] = self._replaced(text, at, left, right, token)
        self._look_up([token])

    def _replaced(self, text: Text, at: Ids, left: int, right: int, token: int) -> Text:
        """The text with its pairs at places `at` merged; counts are moved from old pairs to new ones."""
        touches = np.diff(at) == 2  # neighbours of which both are replaced
        follows, last = np.append(False, touches), ~np.append(touches, False)
        text[at] = token
        merged = np.delete(text, at + 1)
        now = at - np.arange(len(at))
        before, after = merged[now - 1], merged[now + 1][last]  # a pair of two new ones counts at the second
        self._add(np.where(follows, right, before), np.full(len(at), left), -1)
        self._add(np.full(len(at), left), np.full(len(at), right), -1)
        self._add(np.full(len(after), right), after, -1)
        self._add(before, np.full(len(at), token), +1)
        self._add(np.full(len(after), token), after, +1)
        return merged

    def _add(self, left: npt.NDArray[np.integer], right: npt.NDArray[np.integer], sign: int) -> None:
        known = (left != BREAK) & (right != BREAK)
        flat = left[known].astype(np.int64) * self._counts.shape[1] + right[known]
        np.add.at(self._counts.reshape(-1), flat, self._counts.dtype.type(sign))

    def _look_up(self, tokens: Iterable[int]) -> None:
        """The best pair of each token with itself or an older one."""
        for token in tokens:
            as_right, as_left = self._counts[:token, token], self._counts[token, : token + 1]
            older, other = int(as_right.argmax()), int(as_left.argmax())
            if as_right[older] >= as_left[other]:
                self._best_pair[token], self._best_count[token] = (older, token), as_right[older]
            else:
                self._best_pair[token], self._best_count[token] = (token, other), as_left[other]


def _joined(texts: Iterable[Text]) -> Iterable[Text]:
    waiting: list[Text] = []
    length = 0
    for text in texts:
        assert text[0] == text[-1] == BREAK, "a text lies between breaks"
        waiting.append(text)
        length += len(text)
        if length >= _AT_ONCE:
            yield np.concatenate(waiting)
            waiting, length = [], 0
    if waiting:
        yield np.concatenate(waiting)


def _occurrences(text: Text, left: int, right: int) -> Ids:
    """Places of the pair that do not overlap, taken from the left."""
    at = np.flatnonzero((text[:-1] == left) & (text[1:] == right))
    if left == right and len(at):
        begins = np.diff(at, prepend=-2) != 1
        order = np.arange(len(at))
        at = at[(order - np.maximum.accumulate(np.where(begins, order, 0))) % 2 == 0]
    return at


def memory_bytes(num_bases: int, num_tokens: int, longest: int) -> int:
    """Peak memory of learning: the counts, the texts, and the passes over the longest of them.

    The worst text for a pass is one base repeated, where every other place is merged at once; on other DNA
    half of what is counted for a pass is used. `longest` is the length of the longest text, in bases.
    """
    count_bytes = 8 if num_bases >= _WIDE else 4
    return count_bytes * num_tokens**2 + BYTES_PER_BASE * num_bases + 36 * max(longest, 2 * _AT_ONCE)
