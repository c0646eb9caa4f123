"""Tracks of many genomes: for each track the genomes that have it, and what makes it of their files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from dnalm.data.corpus import missing_track
from dnalm.data.species import Species, check_names
from dnalm.genome.clade import Clade
from dnalm.genome.tracks import TrackRecipe
from dnalm.genome.tracks.of_clade import clade_tracks

SpeciesTracks = Mapping[str, Mapping[str, TrackRecipe]]


def check_tracks(tracks: Mapping[str, object], species: Sequence[Species]) -> None:
    """Refuse tracks that cannot be one each.

    Args:
        tracks: by the track's name and the genome's, as the config gives them.
        species: the genomes.

    Raises:
        ValueError: a track is no mapping of genomes to recipes, names a genome that is not there, or has
            recipes of two kinds.
    """
    for name, recipes in tracks.items():
        example = f"data.tracks.{name}={{{species[0].name}: {{_target_: dnalm.genome.tracks.…}}}}"
        if not isinstance(recipes, Mapping):
            raise ValueError(  # noqa: TRY004 -- the config's fault, as all that it gives
                f"tracks.{name} is one {type(recipes).__name__}; each genome has its own: {example}"
            )
        made = {genome: recipe for genome, recipe in recipes.items() if isinstance(recipe, TrackRecipe)}
        if len(made) < max(1, len(recipes)):
            raise ValueError(f"tracks.{name} is {recipes}; what makes it for a genome is as in {example}")
        check_names(f"tracks.{name}", made, species)
        _check_kinds(name, made)


def _check_kinds(name: str, recipes: Mapping[str, TrackRecipe]) -> None:
    (first, of_first), *others = recipes.items()
    for other, of_other in others:
        if of_other.kind != of_first.kind:
            raise ValueError(
                f"tracks.{name} is of {of_first.kind} in {first} ({type(of_first).__name__}) and of "
                f"{of_other.kind} in {other} ({type(of_other).__name__}); one head learns both, so they are "
                "of one kind"
            )


def tracks_by_genome(
    names: Collection[str] | None, tracks: SpeciesTracks, species: Sequence[Species]
) -> dict[str, dict[str, TrackRecipe]]:
    """For each genome what it has of the tracks that are wanted.

    Args:
        names: of the wanted tracks; all if None.
        tracks: by the track's name and the genome's.
        species: the genomes.

    Raises:
        DataError: DATA-05, no genome has a wanted track.
    """
    for name in names or ():
        if name not in tracks:
            raise missing_track(name, tracks)
    wanted = tracks if names is None else names
    return {
        s.name: {name: tracks[name][s.name] for name in wanted if s.name in tracks[name]} for s in species
    }


def tracks_of_clade(clade: Clade, folder: Path) -> dict[str, dict[str, TrackRecipe]]:
    """The tracks of all species of a clade; conservation is the first one's alone.

    Args:
        clade: the parameters.
        folder: where its files lie.
    """
    found: dict[str, dict[str, TrackRecipe]] = {}
    for species in clade.species:
        for name, recipe in clade_tracks(clade, folder, species).items():
            found.setdefault(name, {})[species] = recipe
    return found
