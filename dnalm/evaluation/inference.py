"""One way to open a trained model, and one engine that computes with it.

`LoadedModel.open` turns a model directory into a network in evaluation mode, on its device, with a tokenizer
that fits it. `InferenceQueue` gathers requests and runs them in batches of sequences alike in length. Equal
requests are computed once: both alleles of a variant hide the same tokens of the same text, and alleles of
one place share their reference. Nothing is padded, so no result depends on its neighbours in a batch, but for
the last bits of float32.

M places, V vocabulary, K bases of the longest token, T tokens, D model width, O outputs, N packed tokens,
P pieces of a sequence, L bases, Q pairs of a token and a base that it spells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dnalm.data.labelled.samples import Pieces
from dnalm.errors import ConfigError
from dnalm.models import MaskedLM, Packed, Pretrained, fit_vocabulary
from dnalm.models.layers import base_probabilities
from dnalm.tokenizers import Tokenizer, load_tokenizer
from dnalm.tokenizers.protocol import Ids
from dnalm.training.model_directory import Finetuned, load_finetuned
from dnalm.training.pretraining import base_indicator

Floats = npt.NDArray[np.floating]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16", "float16"]
Quantity = Literal["token_log_p", "base_log_p", "hidden_states", "head_outputs"]
_TINY = torch.finfo(torch.float32).tiny
_NO_TOKENS: Ids = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """A network in evaluation mode and the tokenizer that its ids mean.

    Attributes:
        network: predicts tokens; rows that only pad its vocabulary are cut off.
        tokenizer: bases to ids.
        finetuned: the same network with the head of a task, where that was asked for.
        name: of the model, for errors.
        precision: of matrix products; narrower than float32 by autocast, while weights and results stay
            float32.

    Raises:
        CheckpointError: MODEL-12, the tokenizer has other ids than the network.
    """

    network: MaskedLM
    tokenizer: Tokenizer
    finetuned: Finetuned | None = None
    name: str = "model"
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        fit_vocabulary(self.network, self.tokenizer.vocab_size, where=self.name)
        self.network.eval()

    @classmethod
    def open(
        cls,
        source: Pretrained,
        *,
        tokenizer: Tokenizer | None = None,
        device: Device = "auto",
        precision: Precision = "float32",
        needs_lm_head: bool = True,
        needs_task_head: bool = False,
    ) -> LoadedModel:
        """Read a model directory.

        Args:
            source: where it is, and the kernel of its attention.
            tokenizer: in place of its own.
            device: `auto` is a GPU where there is one.
            precision: of matrix products.
            needs_lm_head: refuse an encoder without the head that predicts tokens.
            needs_task_head: refuse a model that was not fine-tuned.

        Raises:
            CheckpointError: it cannot be read, lacks a head that is needed, or does not fit its tokenizer.
            DataError: its tokenizer cannot be read.
            ConfigError: CFG-51, there is no GPU.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise ConfigError(
                "CFG-51", where="device", found="no CUDA device", expected="one", fix="set device=cpu"
            )
        finetuned = None
        if needs_task_head:
            finetuned = load_finetuned(source, tokenizer=tokenizer, needs_lm_head=needs_lm_head)
            network, tokenizer = finetuned.model.backbone, finetuned.tokenizer
        else:
            tokenizer = tokenizer or load_tokenizer(source.folder())
            network = source.load(token_bases=tokenizer.token_bases, needs_head=needs_lm_head)
        loaded = cls(
            network=network,
            tokenizer=tokenizer,
            finetuned=finetuned,
            name=source.title,
            precision=precision,
        )
        place = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        (finetuned.model if finetuned else network).to(place)
        return loaded

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.network.parameters()).device

    @property
    def autocast(self) -> torch.autocast:
        """The context in which it computes in its precision."""
        dtype: torch.dtype = getattr(torch, self.precision)
        return torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)

    def pack(self, texts: Sequence[Ids]) -> tuple[Tensor, Packed]:
        """Texts of ids end to end, (N,), and where each begins, on the model's device."""
        packed = Packed.from_lengths([len(ids) for ids in texts])
        ids_N = torch.from_numpy(np.concatenate(texts)).to(self.device)
        return ids_N, Packed(packed.cu_lengths.to(self.device), packed.max_length)


@dataclass(eq=False, kw_only=True)
class _Request:
    quantity: Quantity
    ids: Ids
    tokens: Ids = field(default_factory=lambda: _NO_TOKENS)
    pieces: Pieces | None = None
    receivers: list[Callable[[Floats], None]] = field(default_factory=list)

    @property
    def key(self) -> bytes:
        """Equal of requests with equal results."""
        parts = [self.ids, self.tokens]
        if self.pieces is not None:
            parts += [self.pieces.lengths, *(() if self.pieces.covers is None else (self.pieces.covers,))]
        return b"|".join((self.quantity.encode(), *(part.tobytes() for part in parts)))


class InferenceQueue:
    """Gathers requests, then computes them.

    Each result goes to a function as soon as it is there, which keeps of it what it needs: the hidden states
    of all requests together would not fit into memory.

    Args:
        model: computes.
        batch_tokens: tokens of a batch, about; one sequence may have more.
        layers: whose hidden states are read, in ascending order, 0 the embeddings.
    """

    def __init__(self, model: LoadedModel, *, batch_tokens: int, layers: Sequence[int] = ()) -> None:
        self.model, self._batch_tokens, self._layers = model, batch_tokens, tuple(layers)
        indicator = base_indicator(torch.from_numpy(model.tokenizer.token_bases))
        self._indicator = indicator.to(model.device)
        self._requests: dict[bytes, _Request] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def submit(
        self, quantity: Quantity, ids: Ids, receive: Callable[[Floats], None], *, tokens: Ids = _NO_TOKENS
    ) -> None:
        """Queue a sequence.

        Args:
            quantity: what is computed, and handed to `receive`:
                `token_log_p`: natural log-probabilities of all ids at `tokens`, (M, V), float64;
                `base_log_p`: those of A, C, G, T at each place of these tokens, (M, K, 4), float64, as
                `training.bits` defines them;
                `hidden_states`: of the chosen layers, (layers, T, D), float32.
            ids: (T,), hidden tokens masked already.
            receive: called by `run`.
            tokens: (M,), at least one where they are used.
        """
        self._add(_Request(quantity=quantity, ids=ids, tokens=tokens), receive)

    def submit_pieces(self, pieces: Pieces, receive: Callable[[Floats], None]) -> None:
        """Queue a sequence for the task's head, in one piece or several, whose tokens it pools together.

        Args:
            pieces: the sequence's tokens; with `covers` where every base is to be judged.
            receive: called by `run` with the head's outputs, (O,), or of every base (L, O), float64, before
                softmax or sigmoid.
        """
        self._add(_Request(quantity="head_outputs", ids=pieces.ids, pieces=pieces), receive)

    def _add(self, request: _Request, receive: Callable[[Floats], None]) -> None:
        self._requests.setdefault(request.key, request).receivers.append(receive)

    def run(self) -> None:
        """Compute all requests, call their receivers, and forget them."""
        compute = {
            "token_log_p": self._log_probabilities,
            "base_log_p": self._log_probabilities,
            "hidden_states": self._hidden_states,
            "head_outputs": self._head_outputs,
        }
        for batch in self._batches():
            with torch.inference_mode(), self.model.autocast:
                results = compute[batch[0].quantity](batch)
            for request, result in zip(batch, results, strict=True):
                for receive in request.receivers:
                    receive(result)
        self._requests.clear()

    def _batches(self) -> Iterator[list[_Request]]:
        """Of one quantity each, by length, filled greedily."""
        batch: list[_Request] = []
        for request in sorted(self._requests.values(), key=lambda each: (each.quantity, len(each.ids))):
            full = (len(batch) + 1) * len(request.ids) > self._batch_tokens
            if batch and (full or request.quantity != batch[0].quantity):
                yield batch
                batch = []
            batch.append(request)
        if batch:
            yield batch

    def _log_probabilities(self, batch: list[_Request]) -> list[Floats]:
        ids_N, packed = self.model.pack([request.ids for request in batch])
        logits_MV = self.model.network(ids_N, packed, self._tokens(batch)).float()
        if batch[0].quantity == "base_log_p":
            sums_MK4 = base_probabilities(logits_MV, self._indicator).double()
            values = (sums_MK4 / sums_MK4.sum(-1, keepdim=True).clamp_min(_TINY)).clamp_min(_TINY).log()
        else:
            values = logits_MV.double().log_softmax(-1)
        ends = np.cumsum([len(request.tokens) for request in batch])
        return np.split(values.cpu().numpy(), ends[:-1])

    def _hidden_states(self, batch: list[_Request]) -> list[Floats]:
        ids_N, packed = self.model.pack([request.ids for request in batch])
        states = islice(self.model.network.encoder.hidden_states(ids_N, packed), self._layers[-1] + 1)
        chosen = [state.float() for layer, state in enumerate(states) if layer in self._layers]
        return np.split(torch.stack(chosen).cpu().numpy(), _starts(batch)[1:], axis=1)

    def _head_outputs(self, batch: list[_Request]) -> list[Floats]:
        assert self.model.finetuned is not None, "asked for only where there is a head"
        network = self.model.finetuned.model
        pieces = [request.pieces for request in batch if request.pieces is not None]
        lengths = np.concatenate([each.lengths for each in pieces])
        ids_N, packed = self.model.pack(
            np.split(np.concatenate([each.ids for each in pieces]), np.cumsum(lengths)[:-1])
        )
        used = np.concatenate([each.spells for each in pieces])
        if network.head.shape.pooling == "cls":
            used = np.zeros_like(used)
            used[np.cumsum(lengths) - lengths] = True
        owner = np.repeat(np.arange(len(pieces)), [len(each.lengths) for each in pieces])
        covers, counts = _joined_covers(pieces)
        outputs_SO = network(
            ids_N,
            packed,
            torch.from_numpy(np.flatnonzero(used)).to(self.model.device),
            torch.from_numpy(owner).to(self.model.device),
            sum(counts),
            None if covers is None else torch.from_numpy(covers).to(self.model.device),
        )
        outputs: Floats = outputs_SO.double().numpy(force=True)
        return list(outputs) if covers is None else np.split(outputs, np.cumsum(counts)[:-1])

    def _tokens(self, batch: list[_Request]) -> Tensor:
        """Places of the requests' tokens in the packed batch, (M,)."""
        places = [request.tokens + start for request, start in zip(batch, _starts(batch), strict=True)]
        return torch.from_numpy(np.concatenate(places)).to(self.model.device)


def _starts(batch: list[_Request]) -> list[int]:
    return [0, *np.cumsum([len(request.ids) for request in batch])[:-1].tolist()]


def _joined_covers(pieces: Sequence[Pieces]) -> tuple[Ids | None, list[int]]:
    """Pairs of a packed token and a base of the batch, (Q, 2), and the bases of each sequence.

    Where sequences and not bases are judged there are no pairs, and each sequence counts as one.
    """
    pairs = [each.covers for each in pieces if each.covers is not None]
    if not pairs:
        return None, [1] * len(pieces)
    counts = [int(each[:, 1].max()) + 1 for each in pairs]
    tokens = [len(each.ids) for each in pieces]
    before = np.stack([np.cumsum(tokens) - tokens, np.cumsum(counts) - counts], axis=1)
    return np.concatenate([each + start for each, start in zip(pairs, before, strict=True)]), counts
