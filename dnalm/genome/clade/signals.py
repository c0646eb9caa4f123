"""What experiments would measure along a genome: chromatin states per tissue, and conservation.

States tile every contig, one BED9 file per species and tissue. Where several apply, the first of this list
wins: TSS (promoter), Enh (an enhancer that is active in the tissue), Ins (insulator), Tx (gene), Het
(repeat or assembly gap), Quies (all else). An enhancer that lacks the tissue's master motif is quiescent
there, so the states are a function of the DNA.

Conservation is `-log2(max(rate, 1/32))` plus normal noise, where rate is the simulated relative rate of
substitution of the site: about 0 where DNA is neutral, up to 5 where nothing may change. Bases without an
alignment (inserted since the ancestor, or N) have no value.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pybigtools

from dnalm.genome.alphabet import is_unknown
from dnalm.genome.clade.annotation import write_lines
from dnalm.genome.clade.settings import SITE_KINDS, Clade, stream
from dnalm.genome.clade.species import Species

STATES = ("TSS", "Enh", "Ins", "Tx", "Het", "Quies")
_COLOURS = ("255,0,0", "255,195,77", "10,190,254", "0,128,0", "138,145,208", "255,255,255")
_SOURCES = {"TSS": ("promoter",), "Ins": ("insulator",), "Tx": ("gene",), "Het": ("repeat", "gap")}
_FLOOR = 1 / 32


def paint_states(species: Species, tissue: str) -> npt.NDArray[np.uint8]:
    """(L,) number of the chromatin state of every base in a tissue."""
    states = np.full(species.codes.size, STATES.index("Quies"), dtype=np.uint8)
    for number in range(len(STATES) - 2, -1, -1):
        if STATES[number] == "Enh":
            for item in species.of_kind("enhancer"):
                if tissue in item.detail.split(","):
                    states[item.start : item.end] = number
        else:
            states[species.cover(*_SOURCES[STATES[number]])] = number
    return states


def write_states(species: Species, tissue: str, path: Path) -> None:
    """Write the chromatin states of a tissue as BED9, contigs tiled without overlap."""
    states = paint_states(species, tissue)
    is_start = np.zeros(states.size, dtype=bool)
    is_start[1:] = states[1:] != states[:-1]
    is_start[species.edges[:-1]] = True
    starts = np.flatnonzero(is_start)
    ends = np.append(starts[1:], states.size)
    contigs = np.searchsorted(species.edges, starts, side="right") - 1
    offsets = species.edges[contigs]
    columns = zip(
        contigs.tolist(), (starts - offsets).tolist(), (ends - offsets).tolist(), states[starts], strict=True
    )
    write_lines(path, (_state_row(*values) for values in columns))


def _state_row(contig: int, start: int, end: int, state: int) -> str:
    name, colour = f"{state + 1}_{STATES[state]}", _COLOURS[state]
    return f"chr{contig + 1}\t{start}\t{end}\t{name}\t0\t.\t{start}\t{end}\t{colour}"


def conservation(species: Species, clade: Clade) -> npt.NDArray[np.float64]:
    """(L,) conservation of every base, two decimals; NaN where the base has no alignment."""
    rates = np.array([clade.relative_rates[kind] for kind in SITE_KINDS])
    clean = -np.log2(np.maximum(rates, _FLOOR))[species.kinds]
    noise = stream(clade, "conservation").normal(0, clade.conservation_noise, clean.size)
    values: npt.NDArray[np.float64] = np.round(clean + noise, 2) + 0.0  # adding 0 turns -0.0 into 0.0
    values[~species.aligned | is_unknown(species.codes)] = np.nan
    return values


def write_conservation(species: Species, clade: Clade, path: Path) -> None:
    """Write conservation as a bigWig with one value a base."""
    values = conservation(species, clade)
    sizes = dict(zip(species.contigs, np.diff(species.edges).tolist(), strict=True))
    writer = pybigtools.open(str(path), "w")
    writer.write(sizes, _bigwig_rows(species, values))


def _bigwig_rows(species: Species, values: npt.NDArray[np.float64]) -> Iterator[tuple[str, int, int, float]]:
    """Rows (contig, start, end, value) in the order bigWig wants: contigs by name."""
    numbers = {name: number for number, name in enumerate(species.contigs)}
    for name in sorted(numbers):
        first, last = species.edges[numbers[name]], species.edges[numbers[name] + 1]
        mine = values[first:last]
        places = np.flatnonzero(~np.isnan(mine))
        for place, value in zip(places.tolist(), mine[places].tolist(), strict=True):
            yield name, place, place + 1, value
