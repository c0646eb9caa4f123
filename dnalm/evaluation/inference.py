"""Questions to a model, gathered, each asked once, and answered in batches of sequences alike in length.

What is asked of identical inputs is computed once: both alleles of a variant hide the same tokens in the
same text, and alleles of one place share their reference. Nothing is padded, so an answer does not depend on
its neighbours in a batch.

M places, V vocabulary, K bases of the longest token, T tokens, D model width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dnalm.models import MaskedLM, Packed
from dnalm.models.encoder import SequenceHead
from dnalm.tokenizers import Tokenizer
from dnalm.tokenizers.protocol import Ids
from dnalm.training.pretraining import base_indicator

Floats = npt.NDArray[np.float64]
Reader = Callable[[Floats], None]
_TINY = torch.finfo(torch.float32).tiny


_Kind = Literal["tokens", "bases", "hidden", "outputs"]


@dataclass
class _Question:
    kind: _Kind
    ids: Ids
    places: Ids  # tokens that are masked, or pooled
    readers: list[Reader] = field(default_factory=list)


class Board:
    """Gathers questions, then answers them.

    Args:
        model: in evaluation mode.
        tokenizer: what its ids mean.
        batch_tokens: tokens of a batch, about.
        layers: whose hidden states are read, 0 the embeddings.
        head: of a fine-tuned model, in evaluation mode, on the model's device.
    """

    def __init__(
        self,
        model: MaskedLM,
        tokenizer: Tokenizer,
        *,
        batch_tokens: int,
        layers: Sequence[int] = (),
        head: SequenceHead | None = None,
    ) -> None:
        self.model, self.tokenizer, self.layers, self.head = model, tokenizer, tuple(layers), head
        self.overlaps = tokenizer.overlap > 1
        self.device = next(model.parameters()).device
        self._batch_tokens = batch_tokens
        self._indicator = base_indicator(torch.from_numpy(tokenizer.token_bases)).to(self.device)
        self._questions: dict[bytes, _Question] = {}

    def __len__(self) -> int:
        return len(self._questions)

    def ask_tokens(self, ids: Ids, places: Ids, reader: Reader) -> None:
        """Ask for the log-probabilities of all ids at places of a text, whose hidden tokens are masked.

        Args:
            ids: (T,).
            places: (M,) tokens, at least one.
            reader: is given (M, V).
        """
        self._ask("tokens", ids, places, reader)

    def ask_bases(self, ids: Ids, places: Ids, reader: Reader) -> None:
        """Likewise for those of the base at each place of a token, (M, K, 4); see `training.bits`."""
        self._ask("bases", ids, places, reader)

    def ask_hidden(self, ids: Ids, reader: Reader) -> None:
        """Ask for hidden states at the chosen layers; the reader is given (layers, T, D)."""
        self._ask("hidden", ids, ids[:0], reader)

    def ask_outputs(self, ids: Ids, pooled: Ids, reader: Reader) -> None:
        """Ask what the head says of a text whose tokens `pooled` are pooled; the reader is given (O,)."""
        self._ask("outputs", ids, pooled, reader)

    def answer(self) -> None:
        """Compute all that is asked, call the readers, and forget the questions."""
        compute = {
            "tokens": self._masked,
            "bases": self._masked,
            "hidden": self._hidden,
            "outputs": self._outputs,
        }
        for batch in self._batches():
            answers = compute[batch[0].kind](batch)
            for question, values in zip(batch, answers, strict=True):
                for reader in question.readers:
                    reader(values)
        self._questions.clear()

    def _ask(self, kind: _Kind, ids: Ids, places: Ids, reader: Reader) -> None:
        key = b"|".join((kind.encode(), ids.tobytes(), places.tobytes()))
        self._questions.setdefault(key, _Question(kind, ids, places)).readers.append(reader)

    def _batches(self) -> Iterator[list[_Question]]:
        """Of the same kind, by length."""
        order = sorted(self._questions.values(), key=lambda asked: (asked.kind, len(asked.ids)))
        batch: list[_Question] = []
        for asked in order:
            full = (len(batch) + 1) * len(asked.ids) > self._batch_tokens
            if batch and (full or asked.kind != batch[0].kind):
                yield batch
                batch = []
            batch.append(asked)
        if batch:
            yield batch

    @torch.inference_mode()
    def _masked(self, batch: list[_Question]) -> Iterator[Floats]:
        ids_N, packed, starts = self._pack(batch)
        masked = [asked.places + start for asked, start in zip(batch, starts, strict=True)]
        masked_M = torch.from_numpy(np.concatenate(masked)).to(self.device)
        logits_MV = self.model(ids_N, packed, masked_M).float()
        if batch[0].kind == "bases":
            sums_MK4 = (logits_MV.softmax(-1) @ self._indicator).view(len(logits_MV), -1, 4).double()
            values = (sums_MK4 / sums_MK4.sum(-1, keepdim=True).clamp_min(_TINY)).clamp_min(_TINY).log()
        else:
            values = logits_MV.double().log_softmax(-1)
        told = values.cpu().numpy()
        ends = np.cumsum([len(asked.places) for asked in batch])
        yield from np.split(told, ends[:-1])

    @torch.inference_mode()
    def _hidden(self, batch: list[_Question]) -> Iterator[Floats]:
        ids_N, packed, starts = self._pack(batch)
        states = [
            state
            for layer, state in enumerate(self.model.encoder.hidden_states(ids_N, packed))
            if layer in self.layers
        ]
        told = torch.stack(states).double().cpu().numpy()
        yield from np.split(told, starts[1:], axis=1)

    @torch.inference_mode()
    def _outputs(self, batch: list[_Question]) -> Iterator[Floats]:
        assert self.head is not None, "it is asked only where there is one"
        ids_N, packed, starts = self._pack(batch)
        used_N = torch.zeros(len(ids_N), dtype=torch.bool, device=self.device)
        for asked, start in zip(batch, starts, strict=True):
            used_N[torch.from_numpy(asked.places + start).to(self.device)] = True
        hidden_ND = self.model.encoder(ids_N, packed)
        owner_N = packed.layout(len(ids_N)).sequence_N
        pooled_SD = self.head.pooling(hidden_ND, used_N, owner_N, len(batch))
        yield from self.head(pooled_SD).double().cpu().numpy()

    def _pack(self, batch: list[_Question]) -> tuple[Tensor, Packed, list[int]]:
        lengths = [len(asked.ids) for asked in batch]
        ids_N = torch.from_numpy(np.concatenate([asked.ids for asked in batch])).to(self.device)
        packed = Packed.from_lengths(lengths)
        packed = Packed(packed.cu_lengths.to(self.device), packed.max_length)
        return ids_N, packed, [0, *np.cumsum(lengths)[:-1].tolist()]
