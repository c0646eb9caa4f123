"""Sequences through an encoder: windows, packed batches of like lengths, and the vectors of every token.

Nothing is padded and no sequence sees another, so vectors depend neither on the size of batches nor on what
else is read, but for the last bits of float32.

T tokens that spell bases, L bases, D model width, N packed tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from dnalm.errors import ConfigError, DataError
from dnalm.evaluation.embedding.recipe import EmbeddingRecipe, PoolingKind
from dnalm.genome.alphabet import Codes
from dnalm.models import Encoder, Packed
from dnalm.tokenizers import Ids, Tokenizer
from dnalm.tokenizers.spans import mean_over_tokens

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TokenStates:
    """What a layer says of a sequence.

    Attributes:
        vectors: of the tokens that spell bases, in order, (T, D).
        spans: the half-open base interval of each, (T, 2).
        ids: of each, (T,).
        start: the start token's vector, (D,); None where the tokenizer has no such token.
        num_bases: L.
    """

    vectors: Vectors
    spans: Ids
    ids: Ids
    start: Vectors | None
    num_bases: int

    def at_bases(self) -> Vectors:
        """(L, D), the mean over the tokens that cover a base; NaN where none does."""
        return mean_over_tokens(self.vectors, self.spans, self.num_bases).astype(np.float32, copy=False)

    def pooled(self, kind: PoolingKind) -> Vectors:
        """(D,)."""
        if kind == "cls":
            assert self.start is not None, "SequenceReader has looked whether there is one"
            return self.start
        pooled: Vectors = self.vectors.max(0) if kind == "max" else self.vectors.mean(0)
        return pooled


class _Window(NamedTuple):
    owner: int  # which sequence
    first: int  # of its tokens that spell bases
    ids: Ids  # special tokens included


class _Text(NamedTuple):
    """A tokenized sequence without its special tokens."""

    ids: Ids
    spans: Ids
    num_bases: int


class SequenceReader:
    """Reads sequences with an encoder.

    Args:
        encoder: put in evaluation mode; computes where it is.
        tokenizer: what its ids mean.
        recipe: the layer, and how long sequences are read.

    Raises:
        ConfigError: CFG-53, there is no such layer, the tokenizer has no start token for `cls`, or windows
            are longer than the model takes.
    """

    def __init__(self, encoder: Encoder, tokenizer: Tokenizer, recipe: EmbeddingRecipe) -> None:
        self.encoder, self.tokenizer, self.recipe = encoder.eval(), tokenizer, recipe
        self.layer = recipe.chosen_layer(encoder.num_layers)
        most = encoder.max_positions - tokenizer.special.num_wrapping
        trained = encoder.window_tokens or most
        self.limit = recipe.max_tokens or (
            trained if encoder.longest_sequence is None else min(trained, most)
        )
        if encoder.longest_sequence is not None and self.limit > most:
            raise _wrong("max_tokens", f"max_tokens={self.limit}", f"at most {most}, as the model takes")
        if recipe.kind == "cls" and tokenizer.special.start is None:
            raise _wrong("pooling", "pooling=cls, and a tokenizer without a start token", "mean or max")

    def read(self, sequences: Sequence[Codes], *, where: Sequence[str] | None = None) -> list[TokenStates]:
        """The states of all tokens of each sequence, in their order.

        Args:
            sequences: (L,) codes each.
            where: the place of each, for errors; their numbers if absent.

        Raises:
            DataError: SEQ-01, one is too short for a token; SEQ-02, too long and `long` is `refuse`.
        """
        places = where or [f"sequence {number}" for number in range(len(sequences))]
        texts = [self._tokenize(codes, place) for codes, place in zip(sequences, places, strict=True)]
        windows = [window for owner, text in enumerate(texts) for window in self._windows(owner, text)]
        sums = [np.zeros((len(text.ids), self.encoder.hidden_size), dtype=np.float32) for text in texts]
        counts = [np.zeros((len(text.ids), 1), dtype=np.float32) for text in texts]
        starts = np.zeros((len(texts), self.encoder.hidden_size), dtype=np.float32)
        first = int(self.tokenizer.special.start is not None)
        # In the order of their places, whatever batch they came in, for sums depend on their order.
        for window, states in self._in_order(windows):
            length = len(window.ids) - self.tokenizer.special.num_wrapping
            taken = slice(window.first, window.first + length)
            sums[window.owner][taken] += states[first : first + length]
            counts[window.owner][taken] += 1
            starts[window.owner] += states[0]
        numbers = np.bincount([window.owner for window in windows], minlength=len(texts))
        return [
            TokenStates(
                total / count, text.spans, text.ids, start / number if first else None, text.num_bases
            )
            for text, total, count, start, number in zip(texts, sums, counts, starts, numbers, strict=True)
        ]

    def _tokenize(self, codes: Codes, place: str) -> _Text:
        try:
            ids = self.tokenizer.encode(codes)
        except DataError as error:
            parts = error.as_parts()
            raise DataError(
                error.code, where=place, found=parts["found"], expected=parts["expected"], fix="leave it out"
            ) from error
        special = self.tokenizer.special
        inner = slice(int(special.start is not None), len(ids) - int(special.end is not None))
        text = _Text(ids[inner], self.tokenizer.spans(codes, ids)[inner], len(codes))
        if self.recipe.long == "refuse" and len(text.ids) > self.limit:
            raise DataError(
                "SEQ-02",
                where=place,
                found=f"{len(text.ids):,} tokens",
                expected=f"at most {self.limit:,}",
                fix="set long=windows, which reads all of it in windows that overlap",
            )
        return text

    def _windows(self, owner: int, text: _Text) -> Iterator[_Window]:
        for first in window_starts(len(text.ids), self.limit, self.recipe.overlap):
            yield _Window(owner, first, self.tokenizer.special.wrap(text.ids[first : first + self.limit]))

    def _in_order(self, windows: list[_Window]) -> Iterator[tuple[_Window, Vectors]]:
        by_length = sorted(range(len(windows)), key=lambda index: len(windows[index].ids))
        states = dict[int, Vectors]()
        for batch in self._batches(windows, by_length):
            states |= zip(batch, self._compute([windows[index].ids for index in batch]), strict=True)
        yield from ((window, states.pop(index)) for index, window in enumerate(windows))

    def _batches(self, windows: list[_Window], order: list[int]) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in order:
            if batch and (len(batch) + 1) * len(windows[index].ids) > self.recipe.batch_tokens:
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    @torch.inference_mode()
    def _compute(self, texts: list[Ids]) -> list[Vectors]:
        device = next(self.encoder.parameters()).device
        ids_N = torch.from_numpy(np.concatenate(texts)).to(device)
        packed = Packed.from_lengths([len(ids) for ids in texts])
        packed = Packed(packed.cu_lengths.to(device), packed.max_length)
        states = self.encoder.hidden_states(ids_N, packed)
        chosen = next(state for layer, state in enumerate(states) if layer == self.layer)
        vectors: Vectors = chosen.float().numpy(force=True)
        ends = np.cumsum([0, *(len(ids) for ids in texts)])
        return [vectors[begin:end] for begin, end in pairwise(ends)]


def window_starts(num_tokens: int, limit: int, overlap: float) -> list[int]:
    """Where windows of `limit` tokens begin that cover a text evenly: one if it is short enough.

    Args:
        num_tokens: of the text.
        limit: of a window.
        overlap: share of a window that the next one holds too, at least, in [0, 1).
    """
    rest = num_tokens - limit
    if rest <= 0:
        return [0]
    stride = max(1, int(limit * (1 - overlap)))
    number = -(-rest // stride) + 1
    return [index * rest // (number - 1) for index in range(number)]


def _wrong(where: str, found: str, expected: str) -> ConfigError:
    return ConfigError("CFG-53", where=where, found=found, expected=expected, fix="choose one of those")
