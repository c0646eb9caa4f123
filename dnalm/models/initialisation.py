"""How weights begin: informed embeddings, and the record by which an untrained twin begins alike.

Every training of ours writes into `dnalm.yaml` how its network began, under `initialisation`; fine-tuning and
continued pretraining carry the record of their base along. `draw_untrained` makes a network by it: the same
bits as before the first optimizer step of the run, if the seed is the run's.

V vocabulary, K bases of the longest token, D width of the embeddings, P positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from dnalm.errors import shown
from dnalm.limits import Seed
from dnalm.models.config import EncoderConfig
from dnalm.models.encoder import Encoder, MaskedLM
from dnalm.small_files import read_provenance, refused_provenance

EmbeddingInit = Literal["normal", "informed"]
_LONGEST_PERIOD = 10_000  # over 2 pi, in tokens (Vaswani et al. 2017)


@dataclass(frozen=True, kw_only=True)
class Initialisation:
    """The entry `initialisation` of `dnalm.yaml`.

    Attributes:
        embeddings: random rows, or with what is known of bases and places (`inform_embeddings`).
        seed: that the network was drawn with; None where that is unknown, as of published weights.
        head_seed: that the head of a fine-tuned model was drawn with.
    """

    embeddings: EmbeddingInit = "normal"
    seed: Seed | None = None
    head_seed: Seed | None = None


def read_initialisation(folder: Path) -> Initialisation | None:
    """How the network of a model directory began; of one that dnalm has not written, as its family begins.

    Returns:
        None where that is unknown: of a model of an earlier version, or what was made of one.

    Raises:
        CheckpointError: CKPT-05, `dnalm.yaml` says something impossible.
    """
    provenance = read_provenance(folder)
    found = provenance.get("initialisation")
    if found is None:
        return None if provenance else Initialisation()
    try:
        return TypeAdapter(Initialisation).validate_python(found)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(["initialisation", *map(str, first["loc"])])
        raise refused_provenance(folder, f"{key} is {shown(first['input'])}", first["msg"]) from error


@contextmanager
def drawn_by(seed: int | None) -> Iterator[None]:
    """In the block torch draws on the CPU by this seed, if one is given; afterwards it goes on as before."""
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        yield


def draw_untrained(trained: MaskedLM, began: Initialisation, token_bases: npt.NDArray[np.uint8]) -> MaskedLM:
    """A network of the same config with the weights that its training began with, the same in every process.

    Args:
        trained: the model, whose weights are not used.
        began: how its weights began; the seed is known.
        token_bases: (V, K) bases that each id of its tokenizer spells.
    """
    config = {entry.name: getattr(trained.encoder, entry.name) for entry in fields(EncoderConfig)}
    with drawn_by(began.seed):
        network = MaskedLM(Encoder(**config), headless=trained.headless)
        if began.embeddings == "informed":
            inform_embeddings(network, token_bases)
    network.encoder.window_tokens = trained.encoder.window_tokens
    return network


@torch.no_grad()
def inform_embeddings(model: MaskedLM, token_bases: npt.NDArray[np.uint8]) -> None:
    """Overwrite the rows of ids that spell bases, and all learned positions; special tokens stay.

    Args:
        model: whose token and position embeddings are set.
        token_bases: (V, K) bases that each id spells, 0-3; other values where it spells none.
    """
    embeddings = model.encoder.embeddings
    std = model.encoder.initializer_range
    spelled_V, rows_VD = _spell(token_bases, embeddings.token.embedding_dim)
    embeddings.token.weight[spelled_V] = rows_VD[spelled_V] * std
    if embeddings.position is not None:
        embeddings.position.weight.copy_(_sinusoids(*embeddings.position.weight.shape) * std)


def _spell(token_bases: npt.NDArray[np.uint8], width: int) -> tuple[Tensor, Tensor]:
    """Which ids spell bases, (V,), and their rows with unit variance, (V, D)."""
    bases_VK = torch.from_numpy(token_bases.astype(np.int64))
    spells_VK = bases_VK < 4
    rows = torch.zeros(len(bases_VK), width)
    for place in range(bases_VK.shape[1]):
        spells_V = spells_VK[:, place]
        rows[spells_V] += torch.randn(4, width)[bases_VK[spells_V, place]]
    length = spells_VK.sum(1)
    return length > 0, rows / length.clamp(min=1).sqrt()[:, None]


def _sinusoids(positions: int, width: int) -> Tensor:
    """(P, D) sines in the first half of the columns and cosines in the second, unit variance."""
    frequency = _LONGEST_PERIOD ** (-torch.arange(0, width, 2) / width)
    angle = torch.arange(positions)[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)[:, :width] * 2**0.5
