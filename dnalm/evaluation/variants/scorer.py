"""Scores alleles with a model: windows, both strands, batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dnalm.errors import ConfigError
from dnalm.evaluation.board import Board
from dnalm.evaluation.variants.plan import ScoringPlan
from dnalm.evaluation.variants.scores import Score, Tell
from dnalm.evaluation.variants.windows import Pair, make_pair
from dnalm.genome.store import GenomeStore
from dnalm.genome.variants import Allele
from dnalm.models import MaskedLM, fit_vocabulary, load_pretrained
from dnalm.models.sequence_model import SequenceHead
from dnalm.tokenizers import Tokenizer, load_tokenizer
from dnalm.training.finetuned import load_finetuned

_WAITING = 4096  # questions gathered before they are answered


class Scorer:
    """A model with the scores that are wanted of it.

    Args:
        model: on its device.
        tokenizer: what its ids mean.
        store: the genome.
        scores: in the order of the output.
        plan: windows and batches.
        head: of a fine-tuned model.
    """

    def __init__(
        self,
        model: MaskedLM,
        tokenizer: Tokenizer,
        store: GenomeStore,
        scores: Sequence[Score],
        plan: ScoringPlan,
        head: SequenceHead | None = None,
    ) -> None:
        layers = plan.chosen_layers(model.encoder.num_layers)
        self._board = Board(model.eval(), tokenizer, batch_tokens=plan.batch_tokens, layers=layers, head=head)
        self._tokenizer, self._store, self._scores = tokenizer, store, list(scores)
        self._limit, self.window_bp = model.encoder.longest_sequence, plan.chosen_window_bp(tokenizer)

    @classmethod
    def open(cls, plan: ScoringPlan, store: GenomeStore) -> Scorer:
        """Load the plan's model.

        Raises:
            CheckpointError: it cannot be read, does not fit its tokenizer, or lacks the head of `prediction`.
            DataError: its tokenizer cannot be read.
            ConfigError: the plan asks for a layer that it lacks, or a GPU that is not there.
        """
        predicts_tokens = not {"llr", "pll"}.isdisjoint(plan.scores)
        finetuned = None
        if "prediction" in plan.scores:
            finetuned = load_finetuned(plan.model, kernel=plan.kernel, needs_lm_head=predicts_tokens)
            model = finetuned.model.backbone
        else:
            model = load_pretrained(plan.model, kernel=plan.kernel, needs_head=predicts_tokens)
        tokenizer = plan.tokenizer or load_tokenizer(plan.model)
        fit_vocabulary(model, tokenizer.vocab_size, where=str(plan.model))
        has_cuda = torch.cuda.is_available()
        if plan.device == "cuda" and not has_cuda:
            raise ConfigError(
                "CFG-51", where="device", found="no CUDA device", expected="one", fix="set device=cpu"
            )
        device = "cuda" if has_cuda and plan.device != "cpu" else "cpu"
        head = finetuned.model.head.to(device) if finetuned else None
        return cls(model.to(device), tokenizer, store, plan.make_scores(model, finetuned), plan, head)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the numbers of an allele."""
        return tuple(name for score in self._scores for name in score.names)

    def score(self, alleles: Sequence[Allele]) -> list[list[float]]:
        """The numbers of each allele, means of both strands; NaN where nothing can be said."""
        waiting: list[list[list[Tell]]] = []
        done: list[list[float]] = []
        for allele in alleles:
            pair = self._fitting_pair(allele)
            strands = (pair, pair.reverse_complement())
            waiting.append([[score.ask(self._board, strand) for score in self._scores] for strand in strands])
            if len(self._board) >= _WAITING:
                done += self._told(waiting)
                waiting = []
        return done + self._told(waiting)

    def _told(self, waiting: list[list[list[Tell]]]) -> list[list[float]]:
        self._board.answer()
        rows = []
        for strands in waiting:
            forward, backward = ([value for tell in tells for value in tell()] for tells in strands)
            rows.append([(one + two) / 2 for one, two in zip(forward, backward, strict=True)])
        return rows

    def _fitting_pair(self, allele: Allele) -> Pair:
        """In a window that makes no more tokens than the model takes, on either strand."""
        window_bp = self.window_bp
        while True:
            pair = make_pair(self._store, allele, window_bp=window_bp)
            if self._limit is None or self._num_tokens(pair) <= self._limit:
                return pair
            window_bp = window_bp * 3 // 4

    def _num_tokens(self, pair: Pair) -> int:
        size = max(len(pair.ref.codes), len(pair.alt.codes))
        if self._limit is not None and size + self._tokenizer.special.num_wrapping <= self._limit:
            return size  # no tokenizer makes more tokens than bases
        other = pair.reverse_complement()
        return max(
            len(self._tokenizer.encode(window.codes)) for window in (pair.ref, pair.alt, other.ref, other.alt)
        )
