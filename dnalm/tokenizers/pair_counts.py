"""Learning byte-pair merges exactly, on texts as long as chromosomes, in memory that is known beforehand.

The usual trainers are made for words: their time grows with the square of a text's length, and they keep
about a hundred bytes a letter. Here the texts are arrays of token numbers, two bytes each; a merge is a few
passes over them, and pair counts are kept up to date from what each merge changes. The merges are those
of the `tokenizers` library on the same texts, ties included (experiments/throughput/bpe_training.py compares
both, a test holds them equal).

Once two tokens exist, the count of their pair can only fall. So the best pair of a token with older ones,
once looked up, stays an upper bound, which makes the choice of the next merge cheap.

V tokens, n tokens of a text.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from dnalm.tokenizers.protocol import Ids

Text = npt.NDArray[np.uint16]
BREAK = 0  # ends a text and stands for N: no pair holds it
BYTES_PER_BASE = 2
_WIDE = 1 << 31  # texts from this length on may hold a pair more often than 32 bits can count
_AT_ONCE = 1 << 18  # tokens that short texts are joined to, so that a pass is worth its start


class PairCounts:
    """Texts of token numbers 1 .. V-1 and the counts of their neighbours.

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


def memory_bytes(num_bases: int, num_tokens: int, longest: int) -> int:
    """Peak memory of learning: the counts, the texts, and the passes over the longest of them.

    The worst text for a pass is one base repeated, where every other place is merged at once; on other DNA
    half of what is reckoned for a pass is used.

    Args:
        num_bases: of all texts.
        num_tokens: V.
        longest: bases of the longest text.
    """
    count_bytes = 8 if num_bases >= _WIDE else 4
    return count_bytes * num_tokens**2 + BYTES_PER_BASE * num_bases + 36 * max(longest, 2 * _AT_ONCE)


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
