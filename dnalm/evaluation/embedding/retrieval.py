"""Ortholog retrieval: is a region's nearest one in another species that of the same gene?

Of two species the genes that both have are compared. Nearness is the cosine of vectors that are centred on
their species' mean over those genes, which takes out what a whole genome's composition adds to every vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dnalm.durable import atomic_write

Floats = npt.NDArray[np.floating[Any]]
_BLOCK = 1024  # rows of the table of similarities at a time


@dataclass(frozen=True, eq=False)
class SpeciesRegions:
    """A region of each gene of a species.

    Attributes:
        genes: names, shared between species, each once.
        vectors: of the regions, (G, D).
    """

    genes: tuple[str, ...]
    vectors: Floats


@dataclass(frozen=True)
class Retrieval:
    """How often genes of one species find their orthologs in another.

    Attributes:
        query: the species that is asked.
        target: the one that is searched.
        num_genes: that both have; 1 / `num_genes` is found by chance.
        top1: share whose nearest region is the ortholog's; ties count as not found.
        top10: share whose ortholog is among the ten nearest.
        mean_reciprocal_rank: of the ortholog.
    """

    query: str
    target: str
    num_genes: int
    top1: float
    top10: float
    mean_reciprocal_rank: float


def retrieve_orthologs(species: Mapping[str, SpeciesRegions]) -> list[Retrieval]:
    """Search every species with every other one, in both directions."""
    return [_retrieve(query, target, species) for query, target in permutations(species, 2)]


def ortholog_ranks(query: Floats, target: Floats) -> npt.NDArray[np.int64]:
    """The place of row i of `target` among all its rows by nearness to row i of `query`, from 1, (G,).

    Rows of equal nearness all stand before the ortholog.
    """
    ours, theirs = _directions(query), _directions(target)
    ranks = np.empty(len(ours), dtype=np.int64)
    for begin in range(0, len(ours), _BLOCK):
        near = ours[begin : begin + _BLOCK] @ theirs.T
        own = near[np.arange(len(near)), begin + np.arange(len(near))]
        ranks[begin : begin + _BLOCK] = (near >= own[:, None]).sum(1)
    return ranks


def plot_retrieval(found: Mapping[str, Sequence[Retrieval]], targets: Sequence[Path]) -> None:
    """Draw, for each pair of species, how often the ortholog is nearest, a bar for each kind of vectors.

    Args:
        found: by kind of vectors, each with the same pairs in the same order.
        targets: the pictures to write.
    """
    pairs = [f"{one.query} in {one.target}" for one in next(iter(found.values()))]
    figure = Figure(figsize=(8, 1 + 0.16 * len(pairs) * (len(found) + 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    height = 0.8 / len(found)
    for number, (name, rows) in enumerate(found.items()):
        places = np.arange(len(rows)) + number * height
        axes.barh(places, [row.top1 for row in rows], height, label=name, color=f"C{number}")
    axes.set_yticks(np.arange(len(pairs)) + 0.4 - height / 2, pairs, fontsize=7)
    axes.set(xlim=(0, 1), xlabel="share of genes whose nearest region is the ortholog's")
    axes.invert_yaxis()
    axes.legend(fontsize=8)
    for target in targets:
        with atomic_write(target) as beside:
            figure.savefig(beside, dpi=110, metadata={"Date": None} if target.suffix == ".svg" else None)


def _retrieve(query: str, target: str, species: Mapping[str, SpeciesRegions]) -> Retrieval:
    ours, theirs = species[query], species[target]
    row_of = {gene: row for row, gene in enumerate(theirs.genes)}
    shared = [(row, row_of[gene]) for row, gene in enumerate(ours.genes) if gene in row_of]
    assert shared, f"{query} and {target} share no gene"
    mine, found = (np.array(rows) for rows in zip(*shared, strict=True))
    ranks = ortholog_ranks(ours.vectors[mine], theirs.vectors[found])
    return Retrieval(
        query,
        target,
        len(ranks),
        float((ranks == 1).mean()),
        float((ranks <= 10).mean()),
        float((1 / ranks).mean()),
    )


def _directions(vectors: Floats) -> npt.NDArray[np.float32]:
    centred = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    directions: npt.NDArray[np.float32] = (centred / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return directions
