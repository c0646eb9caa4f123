"""Probes: what can be read off a frozen encoder's vectors of a layer, by a linear head or a small network.

The encoder runs once over every sequence, and the vectors of all layers that are asked for are kept in the
cache. A file's name is a hash of all that its content follows from: weights, tokenizer, sequences, pooling,
how long sequences are read, and the layer. Whoever comes second waits for the first.

A probe minimises, on vectors standardised by the training rows, the summed loss plus ||W||² / 2C over its
matrices, by L-BFGS in double precision. The problem of a linear probe is convex, and its one solution that of
scikit-learn: of classes `LogisticRegression(C=C)` (of two, which have an output each, `C=2C`), of each of K
labels `C=C/K`, of values `Ridge(alpha=1/2C)`. A probe with a dense layer begins with seeded weights. The
validation rows choose layer and C, by their loss or by the task's metric.

R rows, S strands, D model width, O outputs.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import platformdirs
import torch
from filelock import FileLock
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from dnalm.console import progress_bar
from dnalm.data.labelled import LabelledBatch, MetricName, Part
from dnalm.data.labelled.module import SequenceData
from dnalm.durable import atomic_write
from dnalm.models import Packed, SequenceModel
from dnalm.models.encoder import SequenceHead

Vectors = npt.NDArray[np.float32]  # of each row on its own strand and on the other, (R, 2, D)
Layer = Literal["last", "best"] | int
_MOST_ITERATIONS = 1000
_NOISE = 1e-6  # of the mean of a dimension, below which its spread is that of rounding


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A probe that was tried.

    Attributes:
        layer: whose vectors it reads; 0 the embeddings.
        inverse_penalty: C.
        loss: on the validation rows, their mean.
        value: of the task's metric there; NaN where it is not defined.
        converged: whether the optimum was reached.
    """

    layer: int
    inverse_penalty: float
    loss: float
    value: float
    converged: bool

    def rank(self, select: Literal["metric", "loss"]) -> tuple[float, ...]:
        """Less is better; of equal ones the stronger penalty and the lower layer are."""
        value = -self.value if math.isfinite(self.value) else math.inf
        by = (value, self.loss) if select == "metric" else (self.loss,)
        return (*by, self.inverse_penalty, self.layer)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The probe that the validation rows have chosen.

    Attributes:
        chosen: among the candidates.
        candidates: all that were tried, by layer and C.
        head: in double precision, of vectors as they are.
        metric: whose values the candidates have.
        select: what chose.
    """

    chosen: Candidate
    candidates: Sequence[Candidate]
    head: SequenceHead
    metric: MetricName
    select: Literal["metric", "loss"]

    def summary(self) -> dict[str, object]:
        """The entry `probe` of `summary.json`."""
        return {
            "layer": self.chosen.layer,
            "inverse_penalty": self.chosen.inverse_penalty,
            "chosen_by": f"val_{self.metric}" if self.select == "metric" else "val_loss",
            "candidates": [
                dict(zip(self.columns, row, strict=True)) for row in map(self._row, self.candidates)
            ],
        }

    @property
    def columns(self) -> list[str]:
        """Of the table of candidates."""
        return ["layer", "inverse_penalty", "val_loss", f"val_{self.metric}", "converged", "chosen"]

    def table(self) -> list[list[str]]:
        """A row for each candidate, below the names of the columns."""
        rows = [["" if cell is None else str(cell) for cell in self._row(each)] for each in self.candidates]
        return [self.columns, *rows]

    def sentences(self) -> Iterator[str]:
        """What was chosen, and what speaks against it."""
        layers = len({each.layer for each in self.candidates})
        grid = sorted({each.inverse_penalty for each in self.candidates})
        yield (
            f"probe: layer {self.chosen.layer} of {layers} tried, inverse penalty "
            f"{self.chosen.inverse_penalty:g} of {len(grid)}: validation loss {self.chosen.loss:.4f}, "
            f"{self.metric} {self.chosen.value:.4f}"
        )
        if len(grid) > 1 and self.chosen.inverse_penalty in (grid[0], grid[-1]):
            yield "that penalty is at the end of the grid: widen tuning.inverse_penalties"
        if left := sum(not each.converged for each in self.candidates):
            yield f"{left:,} of {len(self.candidates):,} probes have not converged"

    def _row(self, each: Candidate) -> tuple[float | None, ...]:
        value = each.value if math.isfinite(each.value) else None
        return each.layer, each.inverse_penalty, each.loss, value, each.converged, each is self.chosen


@dataclass(frozen=True, kw_only=True)
class Judge:
    """How a task judges outputs.

    Attributes:
        loss: of each row in training, from outputs and the keyword `labels`.
        judged: the loss and the declared metric of the validation rows, from outputs (R, O).
        metric: the declared one.
    """

    loss: Callable[..., Tensor]
    judged: Callable[[Tensor], tuple[float, float]]
    metric: MetricName


def find_or_embed(
    network: SequenceModel,
    data: SequenceData,
    part: Part,
    *,
    layers: Sequence[int],
    cache: Path | None,
    device: str,
) -> dict[int, Vectors]:
    """The vectors of every row on its own strand and on the other by layer, (R, 2, D), mapped from the cache.

    Args:
        network: the encoder and the pooling.
        data: the sequences.
        part: which of them.
        layers: 0 the embeddings, then the blocks; those that are missing take one pass together.
        cache: the folder; the user's cache if absent.
        device: what to compute on.
    """
    folder = (cache or platformdirs.user_cache_path("dnalm")) / "embeddings"
    folder.mkdir(parents=True, exist_ok=True)
    key = _key(network, data, part)
    files = {layer: folder / f"{key}-{layer}.npy" for layer in layers}
    with FileLock(folder / f"{key}.lock"):
        if missing := {layer: file for layer, file in files.items() if not file.exists()}:
            _embed(network, data, part, missing, device)
    return {layer: np.load(file, mmap_mode="r") for layer, file in files.items()}


def weights_checksum(module: nn.Module) -> str:
    """Of all weights with their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _key(network: SequenceModel, data: SequenceData, part: Part) -> str:
    of = [
        weights_checksum(network.encoder),
        data.tokenizer.fingerprint,
        data.division.parts[part].fingerprint,
        network.head.shape.pooling,
        data.recipe.long,
        data.limit,
    ]
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()[:24]


@torch.no_grad()
def _embed(
    network: SequenceModel, data: SequenceData, part: Part, files: Mapping[int, Path], device: str
) -> None:
    """Write the vectors of these layers, each into its file."""
    was_training, home = network.training, next(network.parameters()).device
    network.eval().to(device)
    place, num_rows = torch.device(device), len(data.division.parts[part])
    shape = (num_rows, 2, network.encoder.hidden_size)
    with ExitStack() as stack:
        beside = {layer: stack.enter_context(atomic_write(file)) for layer, file in files.items()}
        vectors = {
            layer: np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
            for layer, path in beside.items()
        }
        done = stack.enter_context(progress_bar(f"Encoding {part}", total=2 * num_rows))
        for batch in data.both_strands(part, place):
            assert isinstance(batch, LabelledBatch), "the loader makes them"
            there = batch.to(place)
            packed = Packed(cu_lengths=there.cu_lengths, max_length=there.max_length)
            pooled = network.pool_layers(there.ids_N, packed, there.used_M, there.owner_P, len(batch.rows))
            rows, strands = np.array(batch.rows), np.array(batch.samples) % 2
            assert (rows >= 0).all(), "one process alone fills no batch up"
            for layer, pooled_SD in enumerate(islice(pooled, max(files) + 1)):
                if layer in vectors:
                    vectors[layer][rows, strands] = pooled_SD.float().numpy(force=True)
            done(len(batch.rows))
        for written in vectors.values():
            written.flush()
    network.train(was_training).to(home)


def choose_probe(
    head: SequenceHead,
    vectors: Mapping[Part, Mapping[int, Vectors]],
    labels: Tensor,
    judge: Judge,
    *,
    inverse_penalties: Sequence[float],
    select: Literal["metric", "loss"],
    strands: Mapping[Part, int],
    seed: int,
    device: str,
) -> Probe:
    """Solve a probe for each layer and penalty, and keep the one that the validation rows choose.

    Args:
        head: of the shape that is wanted; its weights do not matter.
        vectors: of the training and the validation rows, by layer.
        labels: of the training rows, as they are learned.
        judge: how the task judges.
        inverse_penalties: C of each candidate.
        select: what of the validation rows chooses.
        strands: how many are read of each part; outputs of validation rows are averaged over theirs.
        seed: of a dense layer's first weights.
        device: what to compute on.
    """
    candidates: list[Candidate] = []
    best: tuple[Candidate, SequenceHead] | None = None
    total = len(vectors["train"]) * len(inverse_penalties)
    with progress_bar("Solving probes", total=total) as done:
        for layer in vectors["train"]:
            train_RD = _rows(vectors["train"][layer], strands["train"], device).flatten(0, 1)
            val_RSD = _rows(vectors["val"][layer], strands["val"], device)
            truth = labels.repeat_interleave(strands["train"], dim=0).to(device)
            loss_of = partial(judge.loss, labels=truth)
            for c, solved, converged in solve_path(head, train_RD, loss_of, inverse_penalties, seed=seed):
                loss, value = judge.judged(outputs_of(solved, val_RSD).cpu())
                found = Candidate(layer=layer, inverse_penalty=c, loss=loss, value=value, converged=converged)
                candidates.append(found)
                if best is None or found.rank(select) < best[0].rank(select):
                    best = found, solved.cpu()
                done(1)
    assert best is not None, "one layer and one penalty at least are tried"
    return Probe(chosen=best[0], candidates=candidates, head=best[1], metric=judge.metric, select=select)


@torch.no_grad()
def outputs_of(head: SequenceHead, vectors_RSD: Tensor) -> Tensor:
    """Outputs, (R, O), the mean over strands."""
    outputs_RSO: Tensor = head(vectors_RSD)
    return outputs_RSO.mean(1)


def solve_path(
    head: SequenceHead,
    vectors_RD: Tensor,
    loss: Callable[[Tensor], Tensor],
    inverse_penalties: Sequence[float],
    *,
    seed: int,
) -> Iterator[tuple[float, SequenceHead, bool]]:
    """Each C with its solution and whether it was reached, from the strongest penalty on.

    The head that is yielded reads vectors as they are. A linear one begins where the former ended, which
    changes nothing of a convex problem but the time; one with a dense layer begins with the same seeded
    weights each time.

    Args:
        head: of the shape that is wanted.
        vectors_RD: float64.
        loss: of each row, from outputs (R, O).
        inverse_penalties: the values of C.
        seed: of a dense layer's first weights.
    """
    center_D, scale_D = vectors_RD.mean(0), vectors_RD.std(0, correction=0)
    is_constant = scale_D <= _NOISE * center_D.abs()
    scale_D = torch.where(is_constant, 1.0, scale_D)
    standard_RD = torch.where(is_constant, 0.0, (vectors_RD - center_D) / scale_D)
    solved = _first_head(head, seed).to(vectors_RD.device)
    for c in sorted(inverse_penalties):
        if solved.dense is not None:
            solved = _first_head(head, seed).to(vectors_RD.device)
        converged = _solve(solved, standard_RD, loss, c)
        plain = copy.deepcopy(solved)
        first = plain.output if plain.dense is None else plain.dense
        with torch.no_grad():
            first.weight.copy_(torch.where(is_constant, 0.0, first.weight / scale_D))
            first.bias.sub_(first.weight @ center_D)
        yield c, plain, converged


def _first_head(head: SequenceHead, seed: int) -> SequenceHead:
    """A head of the same shape in double precision, as the search for its weights begins."""
    fresh = copy.deepcopy(head).double().eval()
    random = torch.Generator().manual_seed(seed)
    for weight in fresh.parameters():
        first = torch.zeros(weight.shape, dtype=torch.float64)
        if fresh.dense is not None and weight.ndim > 1:
            first = torch.randn(weight.shape, generator=random, dtype=torch.float64)
            first /= math.sqrt(weight.shape[1])
        weight.data.copy_(first)
    return fresh


def _solve(
    head: SequenceHead, standard_RD: Tensor, loss: Callable[[Tensor], Tensor], inverse_penalty: float
) -> bool:
    """Minimise the mean loss plus ||W||² / 2CR from the head's weights on, in place; whether it converged."""
    weights = [weight.requires_grad_() for weight in head.parameters()]
    factor = 1 / (2 * inverse_penalty * len(standard_RD))

    def at(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        vector_to_parameters(torch.from_numpy(flat.copy()).to(standard_RD.device), weights)
        penalty = sum((weight.square().sum() for weight in weights if weight.ndim > 1), torch.tensor(0.0))
        value = loss(head(standard_RD)).mean() + factor * penalty
        slopes = torch.autograd.grad(value, weights)
        return value.item(), parameters_to_vector(slopes).numpy(force=True)

    found = minimize(
        at,
        parameters_to_vector(weights).numpy(force=True),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _MOST_ITERATIONS, "gtol": 1e-6, "ftol": 1e-10},
    )
    vector_to_parameters(torch.from_numpy(found.x).to(standard_RD.device), weights)
    for weight in weights:
        weight.requires_grad_(False)
    return bool(found.success)


def _rows(vectors: Vectors, strands: int, device: str) -> Tensor:
    """Of so many strands, (R, S, D) float64."""
    return torch.from_numpy(np.array(vectors[:, :strands], dtype=np.float64)).to(device)


def as_head(probe: Probe, like: SequenceHead, num_layers: int) -> SequenceHead:
    """The probe's head in single precision, which reads its layer."""
    head = copy.deepcopy(like)
    head.load_state_dict({name: tensor.float() for name, tensor in probe.head.state_dict().items()})
    layer = None if probe.chosen.layer == num_layers else probe.chosen.layer
    head.shape = replace(like.shape, layer=layer)
    return head
