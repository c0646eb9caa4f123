"""What a model says of a base that is hidden from it, and what its attention looks at; for any tokenizer.

A base is hidden by hiding every token that covers it. Its distribution over A, C, G, T is then that of the
hidden tokens, each summed over the ids that spell the base at its place, and averaged over the tokens that
cover the base: the definition of bits per base (`training.bits`) where k-mers overlap. Where tokens tile, the
rest of the hidden token's bases are hidden too; ids too short to reach the base have no share.

A model reads a window at a time, in whose middle the hidden base stands, shifted where the text ends. The
window is what the model was trained on: learned positions beyond it have learned nothing, and what a model
says there is noise.

Q questions, T tokens, M hidden tokens, V vocabulary, K longest token, L bases, H heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dnalm.errors import CheckpointError, DataError
from dnalm.genome.alphabet import Codes
from dnalm.models import MaskedLM, Packed, Pretrained, check_vocabulary
from dnalm.tokenizers import Tokenizer, load_tokenizer
from dnalm.tokenizers.protocol import Ids
from dnalm.tokenizers.spans import covering_tokens
from dnalm.training.bits import base_indicator
from dnalm.training.model_directory import window_tokens

Floats = npt.NDArray[np.floating]
_TINY = 1e-30  # no probability is below, so that logarithms are finite
_DEFAULT_BP = 512  # where nothing limits the model


@dataclass(frozen=True, eq=False)
class Question:
    """A base of a text that is hidden: (L,) codes, of any length, and its place."""

    codes: Codes
    place: int


@dataclass(frozen=True, eq=False)
class _Masked:
    """A question in tokens: ids with masks, the masks' places, and the base's place in each."""

    ids: Ids
    masked_M: Ids  # noqa: N815
    offset_M: Ids  # noqa: N815


class Reader:
    """A model with its tokenizer, in evaluation mode.

    Args:
        model: predicts tokens.
        tokenizer: bases to ids.
        window_bp: bases that it reads at a time.
        batch_tokens: tokens that are computed at a time; it changes no result.
        where: the model's name, for errors.

    Raises:
        CheckpointError: MODEL-12, the tokenizer does not fit the model; MODEL-15, its tokens see only one
            side.
    """

    def __init__(
        self,
        model: MaskedLM,
        tokenizer: Tokenizer,
        *,
        window_bp: int,
        batch_tokens: int = 16_384,
        where: str = "model",
    ) -> None:
        check_vocabulary(model, tokenizer.vocab_size, where=where)
        if model.encoder.causal:
            raise CheckpointError(
                "MODEL-15",
                where=where,
                found="a model whose tokens see only earlier ones",
                expected="one that sees both sides of a hidden base",
                fix="name a model trained without model.causal",
            )
        self.model, self.tokenizer, self.window_bp = model.eval(), tokenizer, window_bp
        self._batch_tokens, self._device = batch_tokens, next(model.parameters()).device

    @classmethod
    def of(
        cls, source: Pretrained, tokenizer: Tokenizer | None, *, window_bp: int | None, batch_tokens: int
    ) -> Reader:
        """Read a model directory, onto a GPU where there is one.

        Args:
            source: where it is.
            tokenizer: in place of its own.
            window_bp: in place of that of its training.
            batch_tokens: tokens that are computed at a time.

        Raises:
            CheckpointError: it cannot be read, does not fit its tokenizer, or sees only one side.
            DataError: it has no tokenizer.
        """
        folder, model = source.folder(), source.load()
        tokenizer = tokenizer or load_tokenizer(folder)
        window_bp = window_bp or training_window(folder, model, tokenizer)
        model = model.to("cuda" if torch.cuda.is_available() else "cpu")
        return cls(model, tokenizer, window_bp=window_bp, batch_tokens=batch_tokens, where=str(folder))

    def check_length(self, codes: Codes, *, where: str) -> None:
        """Refuse a sequence that is to be read whole and is longer than a window.

        Raises:
            DataError: INT-01, with both lengths.
        """
        if len(codes) > self.window_bp:
            raise DataError(
                "INT-01",
                where=where,
                found=f"{len(codes):,} bases",
                expected=f"at most {self.window_bp:,}, which the model was trained to read at a time",
                fix="give shorter regions, or window_bp=… where the model is known to read more",
            )

    def attention(self, codes: Codes) -> Iterator[Floats]:
        """The attention weights of every layer in turn, (H, T, T): what each token (row) takes from each."""
        ids = torch.from_numpy(self.tokenizer.encode(codes)).to(self._device)
        with torch.no_grad():
            for maps_BHTT in self.model.encoder.attention_maps(ids, self._packed([len(ids)])):
                weights: Floats = maps_BHTT[0].float().numpy(force=True)
                yield weights

    def window(self, codes: Codes, place: int) -> tuple[int, int]:
        """The half-open interval of a text that is read where a base is hidden."""
        first = min(max(0, place - self.window_bp // 2), max(0, len(codes) - self.window_bp))
        return first, min(len(codes), first + self.window_bp)

    def log_probabilities(self, questions: Sequence[Question]) -> Floats:
        """What the model says of hidden bases, (Q, 4) natural logarithms, float64.

        A base that no token covers has NaN. Results do not depend on what else is asked, but for the last
        bits.
        """
        masked = [self._mask(question) for question in questions]
        answers: Floats = np.full((len(masked), 4), np.nan)
        order = sorted(range(len(masked)), key=lambda index: len(masked[index].ids))
        for batch in self._batches([index for index in order if len(masked[index].masked_M)], masked):
            answers[batch] = self._ask([masked[index] for index in batch])
        return answers

    def _batches(self, order: list[int], masked: list[_Masked]) -> Iterator[list[int]]:
        """Questions of about equal length, as many as fit."""
        batch: list[int] = []
        total = 0
        for index in order:
            size = len(masked[index].ids)
            if batch and total + size > self._batch_tokens:
                yield batch
                batch, total = [], 0
            batch.append(index)
            total += size
        if batch:
            yield batch

    def _mask(self, question: Question) -> _Masked:
        first, last = self.window(question.codes, question.place)
        codes, place = question.codes[first:last], question.place - first
        ids = self.tokenizer.encode(codes)
        spans = self.tokenizer.spans(codes, ids)
        masked_M = np.arange(*covering_tokens(spans, len(codes))[place])
        ids[masked_M] = self.tokenizer.special.mask
        return _Masked(ids, masked_M, place - spans[masked_M, 0])

    @cached_property
    def _indicator_VX(self) -> torch.Tensor:  # noqa: N802
        return base_indicator(torch.from_numpy(self.tokenizer.token_bases)).to(self._device)

    def _packed(self, lengths: list[int]) -> Packed:
        packed = Packed.from_lengths(lengths)
        return Packed(packed.cu_lengths.to(self._device), packed.max_length)

    @torch.no_grad()
    def _ask(self, batch: list[_Masked]) -> Floats:
        """(Q, 4) answers of questions that each mask a token at least."""
        lengths = [len(item.ids) for item in batch]
        starts = np.cumsum([0, *lengths[:-1]])
        masked_M = np.concatenate([item.masked_M + start for item, start in zip(batch, starts, strict=True)])
        ids_N = torch.from_numpy(np.concatenate([item.ids for item in batch])).to(self._device)
        logits_MV = self.model(ids_N, self._packed(lengths), torch.from_numpy(masked_M).to(self._device))
        sums_MX = logits_MV.float().softmax(-1) @ self._indicator_VX
        marginal_MK4 = sums_MX.view(len(masked_M), -1, 4).double().numpy(force=True)
        offset_M = np.concatenate([item.offset_M for item in batch])
        told_M4 = marginal_MK4[np.arange(len(masked_M)), offset_M]
        told_M4 /= np.maximum(told_M4.sum(axis=1, keepdims=True), _TINY)
        counts = np.array([len(item.masked_M) for item in batch])
        means = np.add.reduceat(told_M4, np.cumsum([0, *counts[:-1]])) / counts[:, None]
        answers: Floats = np.log(np.maximum(means, _TINY))
        return answers


def training_window(folder: Path, model: MaskedLM, tokenizer: Tokenizer) -> int:
    """Bases of the windows that a model was trained on, as far as its directory tells, or what it can take.

    Args:
        folder: its directory; `dnalm.yaml` there has the config of its training.
        model: it, which may have a longest sequence.
        tokenizer: bases to ids.
    """
    limits = []
    if model.encoder.longest_sequence is not None:
        limits.append(model.encoder.longest_sequence - tokenizer.special.num_wrapping)
    if (tokens := window_tokens(folder)) is not None:
        limits.append(tokens)
    return tokenizer.length_in_bases(min(limits)) if limits else _DEFAULT_BP
