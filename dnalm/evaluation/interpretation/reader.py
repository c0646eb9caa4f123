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

import numpy as np
import numpy.typing as npt
import torch

from dnalm.errors import CheckpointError, DataError
from dnalm.evaluation.board import Board
from dnalm.genome.alphabet import Codes
from dnalm.models import MaskedLM, Packed, Pretrained, fit_vocabulary
from dnalm.tokenizers import Tokenizer, load_tokenizer
from dnalm.tokenizers.spans import covering_tokens

Floats = npt.NDArray[np.floating]
_TINY = 1e-30  # no probability is below, so that logarithms are finite
_DEFAULT_BP = 512  # where nothing limits the model


@dataclass(frozen=True, eq=False)
class Question:
    """A base of a text that is hidden: (L,) codes, of any length, and its place."""

    codes: Codes
    place: int


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
        fit_vocabulary(model, tokenizer.vocab_size, where=where)
        if model.encoder.causal:
            raise CheckpointError(
                "MODEL-15",
                where=where,
                found="a model whose tokens see only earlier ones",
                expected="one that sees both sides of a hidden base",
                fix="name a model trained without model.causal",
            )
        self.model, self.tokenizer, self.window_bp = model.eval(), tokenizer, window_bp
        self._board = Board(self.model, tokenizer, batch_tokens=batch_tokens)

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
        window_bp = window_bp or training_window(model, tokenizer)
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
        device = self._board.device
        ids = torch.from_numpy(self.tokenizer.encode(codes)).to(device)
        packed = Packed.from_lengths([len(ids)])
        packed = Packed(packed.cu_lengths.to(device), packed.max_length)
        with torch.no_grad():
            for maps_BHTT in self.model.encoder.attention_maps(ids, packed):
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
        answers: Floats = np.full((len(questions), 4), np.nan)
        for question, answer_4 in zip(questions, answers, strict=True):
            self._ask(question, answer_4)
        self._board.answer()
        return answers

    def _ask(self, question: Question, answer_4: Floats) -> None:
        """Let the answer be filled in when the board answers; one that no token covers stays as it is."""
        first, last = self.window(question.codes, question.place)
        codes, place = question.codes[first:last], question.place - first
        ids = self.tokenizer.encode(codes)
        spans = self.tokenizer.spans(codes, ids)
        hidden_M = np.arange(*covering_tokens(spans, len(codes))[place])
        if not len(hidden_M):
            return
        ids[hidden_M] = self.tokenizer.special.mask
        offset_M = place - spans[hidden_M, 0]

        def fill(logs_MK4: Floats) -> None:
            told_M4 = np.exp(logs_MK4[np.arange(len(hidden_M)), offset_M])
            answer_4[:] = np.log(np.maximum(told_M4.mean(axis=0), _TINY))

        self._board.ask_bases(ids, hidden_M, fill)


def training_window(model: MaskedLM, tokenizer: Tokenizer) -> int:
    """Bases of the windows that a model was trained on, as far as its directory tells, or what it can take.

    Args:
        model: it, which may have a longest sequence.
        tokenizer: bases to ids.
    """
    limits = []
    if model.encoder.longest_sequence is not None:
        limits.append(model.encoder.longest_sequence - tokenizer.special.num_wrapping)
    if model.encoder.window_tokens is not None:
        limits.append(model.encoder.window_tokens)
    return tokenizer.length_in_bases(min(limits)) if limits else _DEFAULT_BP
