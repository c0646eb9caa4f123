"""The texts a vocabulary is learned on: stretches without N, whole or as a seeded sample of pieces."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dnalm.errors import ConfigError, DataError
from dnalm.genome.alphabet import bases
from dnalm.genome.intervals import cut_at, subtract
from dnalm.genome.store import GenomeStore
from dnalm.tokenizers.pair_counts import BREAK, Text

Intervals = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TrainingText:
    """A genome to learn from.

    Attributes:
        name: of the species, for reports.
        store: the genome.
        regions: (R, 2) half-open flat intervals that may be read.
        weight: its share of the sample relative to the others'; its length if None.
    """

    name: str
    store: GenomeStore
    regions: Intervals
    weight: float | None = None

    def identity(self) -> list[object]:
        """What a vocabulary learned from it depends on."""
        regions = hashlib.sha256(np.ascontiguousarray(self.regions).tobytes()).hexdigest()
        return [self.store.fingerprint, regions, self.weight]

    def pieces(self, piece_bp: int | None) -> Intervals:
        """Its stretches without N, cut to pieces if asked to, (P, 2)."""
        stretches = cut_at(subtract(self.regions, self.store.unknown_runs), self.store.offsets)
        if piece_bp is None:
            return stretches
        counts = -(-(stretches[:, 1] - stretches[:, 0]) // piece_bp)
        stretch = np.repeat(np.arange(len(stretches)), counts)
        place = np.arange(len(stretch)) - np.repeat(np.cumsum(counts) - counts, counts)
        starts = stretches[stretch, 0] + place * piece_bp
        return np.stack([starts, np.minimum(starts + piece_bp, stretches[stretch, 1])], axis=1)


@dataclass(frozen=True)
class TextSample:
    """Pieces of one genome, (P, 2), in the order of the genome."""

    source: TrainingText
    pieces: Intervals

    @property
    def num_bases(self) -> int:
        """Bases of all pieces."""
        return int((self.pieces[:, 1] - self.pieces[:, 0]).sum())

    def texts(self) -> Iterator[Text]:
        """Each piece as token numbers 1-4 = A C G T between breaks."""
        codes = self.source.store.codes
        for start, end in self.pieces.tolist():
            text = np.full(end - start + 2, BREAK, dtype=np.uint16)
            text[1:-1] = bases(codes[start:end]) + 1
            yield text


def draw_sample(
    sources: Sequence[TrainingText], *, piece_bp: int | None, most_bp: Callable[[int], int], seed: int
) -> list[TextSample]:
    """Choose what is read, so that shares are as asked and no more bases than fit are held.

    Args:
        sources: the genomes.
        piece_bp: length of the pieces, drawn without replacement; None takes all stretches whole.
        most_bp: bases of the sample at most, by the length of its longest piece.
        seed: of the draw.

    Raises:
        ConfigError: CFG-24, whole stretches do not fit or have weights, or not one piece fits.
        DataError: TOK-09, a genome has no base to read.
    """
    pieces = [source.pieces(piece_bp) for source in sources]
    lengths = [piece[:, 1] - piece[:, 0] for piece in pieces]
    available = np.array([int(length.sum()) for length in lengths])
    for source, num_bases in zip(sources, available, strict=True):
        if not num_bases:
            raise DataError(
                "TOK-09",
                where=source.name,
                found="no base other than N to learn a vocabulary from",
                expected="bases on the training side",
                fix="give another genome, or train on more: data.split.gap=0, data/split=random_contigs",
            )
    most = most_bp(max(int(length.max()) for length in lengths))
    if piece_bp is None:
        _require_whole(sources, int(available.sum()), most)
        return [TextSample(source, piece) for source, piece in zip(sources, pieces, strict=True)]
    weights = np.array([n if s.weight is None else s.weight for s, n in zip(sources, available, strict=True)])
    share = weights / weights.sum()
    total = min(float(most), float((available / share).min()))
    return [
        TextSample(source, _draw(piece, int(part * total + 1e-6), [seed, number], source.name))
        for number, (source, piece, part) in enumerate(zip(sources, pieces, share, strict=True))
    ]


def _draw(pieces: Intervals, most_bp: int, key: list[int], name: str) -> Intervals:
    """Random pieces of no more than so many bases in all, in the order of the genome."""
    order = np.random.Generator(np.random.Philox(key=key)).permutation(len(pieces))
    ends = np.cumsum(pieces[order, 1] - pieces[order, 0])
    num_pieces = int(np.searchsorted(ends, most_bp, side="right"))
    if not num_pieces:
        raise ConfigError(
            "CFG-24",
            where="sample_bp, memory_gb, weights",
            found=f"{most_bp:,} bases of {name}, less than a piece of it has",
            expected="at least one piece of every genome",
            fix="raise sample_bp or memory_gb, even out the weights, or set a smaller piece_bp",
        )
    return pieces[np.sort(order[:num_pieces])]


def sample_identity(sources: Sequence[TrainingText]) -> str:
    """What a vocabulary depends on, as text."""
    return json.dumps([source.identity() for source in sources])


def _require_whole(sources: Sequence[TrainingText], num_bases: int, most_bp: int) -> None:
    if num_bases > most_bp or any(source.weight is not None for source in sources):
        reason = (
            "weights" if num_bases <= most_bp else f"{num_bases:,} bases, where memory is for {most_bp:,}"
        )
        raise ConfigError(
            "CFG-24",
            where="piece_bp",
            found=f"whole stretches of {reason}",
            expected="a vocabulary learned on all bases, each once, or on a sample of pieces",
            fix="raise memory_gb, or set piece_bp (such as 10000) to learn from a sample",
        )
