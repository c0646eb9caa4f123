"""The tracks that a simulated clade comes with, as recipes over its files."""

from __future__ import annotations

from pathlib import Path

from dnalm.genome.track_recipes import IntervalLabels, RegionClasses, Signal, TrackRecipe
from dnalm.simulation.genes import MASTERS
from dnalm.simulation.settings import Clade

KNOWLEDGE = (
    "enhancer",
    "insulator",
    "gene",
    "exon",
    "CDS",
)  # of LOGO's eleven types those of the clade's GFF3


def clade_tracks(clade: Clade, folder: Path, species: str) -> dict[str, TrackRecipe]:
    """Gene regions, chromatin states of every tissue, features, and of the first species conservation.

    Args:
        clade: the parameters.
        folder: where its files lie.
        species: whose tracks.

    Returns:
        `region` of kind classes, `chromatin` of kind labels (`tissue/state`), `knowledge` of kind labels
        (`gff/type`), `conservation` of kind values.
    """
    states = {tissue: folder / f"{species}.{tissue}.states.bed" for tissue in MASTERS}
    gff = folder / f"{species}.gff3"
    tracks: dict[str, TrackRecipe] = {
        "region": RegionClasses(gff=gff),
        "chromatin": IntervalLabels(files=states, label_by="class"),
        "knowledge": IntervalLabels(files={"gff": gff}, label_by="class", classes=list(KNOWLEDGE)),
    }
    if species == clade.species[0]:
        tracks["conservation"] = Signal(file=folder / "conservation.bw")
    return tracks
