"""Vectors of all sequences of a part, by a frozen encoder: computed once and kept in the cache.

A file's name is a hash of all that its content follows from: weights, tokenizer, sequences, pooling and how
long sequences are read. Whoever comes second waits for the first.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import platformdirs
import torch
from filelock import FileLock
from torch import nn

from dnalm.console import progress_bar
from dnalm.data.labelled import LabelledBatch, Part
from dnalm.data.labelled.module import SequenceData
from dnalm.data.labelled.samples import Vectors
from dnalm.durable import atomic_write
from dnalm.models import Packed, SequenceModel


def find_or_embed(
    network: SequenceModel, data: SequenceData, part: Part, *, cache: Path | None, device: str
) -> Vectors:
    """The vectors of every row on its own strand and on the other, (R, 2, D), mapped from the cache.

    Args:
        network: the encoder and the pooling.
        data: the sequences.
        part: which of them.
        cache: the folder; the user's cache if absent.
        device: what to compute on.
    """
    folder = (cache or platformdirs.user_cache_path("dnalm")) / "embeddings"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{_key(network, data, part)}.npy"
    with FileLock(target.with_suffix(".lock")):
        if not target.exists():
            vectors = _embed(network, data, part, device)
            with atomic_write(target) as beside:
                np.save(beside, vectors)
    mapped: Vectors = np.load(target, mmap_mode="r")
    return mapped


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
def _embed(network: SequenceModel, data: SequenceData, part: Part, device: str) -> Vectors:
    was_training, home = network.training, next(network.parameters()).device
    network.eval().to(device)
    num_rows = len(data.division.parts[part])
    vectors = np.zeros((num_rows, 2, network.encoder.hidden_size), dtype=np.float32)
    with progress_bar(f"Encoding {part}", total=2 * num_rows) as done:
        for batch in data.both_strands(part):
            assert isinstance(batch, LabelledBatch), "the loader makes them"
            there = batch.to(torch.device(device))
            packed = Packed(cu_lengths=there.cu_lengths, max_length=there.max_length)
            pooled = network.pool(there.ids_N, packed, there.used_N, there.owner_P, len(batch.rows))
            rows, strands = np.array(batch.rows), np.array(batch.samples) % 2
            assert (rows >= 0).all(), "one process alone fills no batch up"
            vectors[rows, strands] = pooled.float().numpy(force=True)
            done(len(batch.rows))
    network.train(was_training).to(home)
    return vectors
