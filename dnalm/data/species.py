"""The genomes of a corpus by name: where each is, what it is for, and its share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dnalm.genome.clade import Clade
from dnalm.genome.download import download_folder
from dnalm.genome.remote_file import RemoteFile
from dnalm.genome.species_manifest import SpeciesSplit, read_species_manifest


@dataclass(frozen=True)
class Species:
    """One genome of a corpus.

    Attributes:
        name: of the genome.
        path: its file; of a remote one the place it is downloaded to, of a clade's its name in the folder.
        remote: the file of another host.
        weight: share relative to the others'.
        split: what the whole genome is for; None where the run divides it.
        taxon: its group.
    """

    name: str
    path: Path
    remote: RemoteFile | None = None
    weight: float | None = None
    split: SpeciesSplit | None = None
    taxon: str | None = None

    @property
    def trains(self) -> bool:
        """Whether it, or a part of it, trains."""
        return self.split != "validation"


def species_of_clade(clade: Clade) -> list[Species]:
    """All species of a simulated clade."""
    return [Species(name, Path(f"{name}.fa")) for name in clade.species]


def species_by_name(genomes: Mapping[str, str | Path], cache: Path | None) -> list[Species]:
    """Genomes given as paths or addresses.

    Raises:
        ValueError: there is none, or an address may not be used.
    """
    if not genomes:
        raise ValueError("genomes is empty; name at least one: data.genomes={yeast: sacCer3.fa.gz}")
    return [
        _remote(name, RemoteFile(str(source)), cache) if "://" in str(source) else Species(name, Path(source))
        for name, source in genomes.items()
    ]


def species_of_manifest(manifest: Path, cache: Path | None) -> list[Species]:
    """The genomes of a manifest, but for those kept for tests.

    Raises:
        DataError: MANI-01 to 15.
    """
    found = []
    for entry in read_species_manifest(manifest):
        if entry.split == "test":
            continue
        if entry.remote is not None:
            species = _remote(entry.name, entry.remote, cache)
        else:
            assert entry.path is not None, "a line has a path or an address"
            species = Species(entry.name, entry.path)
        found.append(replace(species, weight=entry.weight, split=entry.split, taxon=entry.taxon))
    return found


def _remote(name: str, remote: RemoteFile, cache: Path | None) -> Species:
    return Species(name, download_folder(remote.url, cache) / remote.name, remote)


def hold_out(species: Sequence[Species], held_out: Iterable[str]) -> list[Species]:
    """Let some genomes judge whole.

    Raises:
        ValueError: a name is unknown.
    """
    check_names("held_out", held_out, species)
    return [replace(s, split="validation") if s.name in held_out else s for s in species]


def weigh(species: Sequence[Species], weights: Mapping[str, float]) -> list[Species]:
    """Give genomes their shares.

    Raises:
        ValueError: a genome that trains has none, a name is unknown, or a weight is no number above 0.
    """
    training = {s.name for s in species if s.trains}
    if not training <= weights.keys() <= {s.name for s in species}:
        raise ValueError(
            f"weights name {', '.join(weights)}; they are to name {', '.join(sorted(training))}, which train"
        )
    wrong = [f"{name} {weight}" for name, weight in weights.items() if not 0 < weight < float("inf")]
    if wrong:
        raise ValueError(f"weights are {', '.join(wrong)}; a weight is a number above 0")
    return [replace(s, weight=weights.get(s.name)) for s in species]


def check_taxa(weights: Mapping[str, float], species: Sequence[Species]) -> None:
    """Hold the shares of taxa against the genomes.

    Raises:
        ValueError: genomes have shares of their own, a taxon has no number above 0, or is of no genome.
    """
    if any(s.weight is not None for s in species):
        raise ValueError("weights and taxon_weights are both given; genomes are mixed by one of them")
    taxa = {str(s.taxon) for s in species if s.trains}
    if taxa != weights.keys() or min(weights.values()) <= 0:
        raise ValueError(
            f"taxon_weights name {', '.join(weights)}; the genomes that train are of "
            f"{', '.join(sorted(taxa))}, each of which is to have a number above 0"
        )


def check_names(argument: str, names: Iterable[str], species: Sequence[Species]) -> None:
    """Refuse names that no genome has.

    Raises:
        ValueError: names the nearest.
    """
    known = [s.name for s in species]
    unknown = [name for name in names if name not in known]
    if unknown:
        nearest = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        raise ValueError(f"{argument} names {', '.join(unknown)}; the genomes are {', '.join(known)}{hint}")


def shares_of(
    num_bases: Mapping[str, int],
    species: Sequence[Species],
    *,
    length_power: float,
    taxon_weights: Mapping[str, float] | None,
) -> dict[str, float | None]:
    """What each genome that trains is to have, relative to the others; None where that is its length.

    Args:
        num_bases: of every genome.
        species: all genomes.
        length_power: without weights, a share is the length to this power.
        taxon_weights: share of each taxon; within it genomes share by length to that power.
    """
    training = [s for s in species if s.trains]
    given = {s.name: s.weight for s in training}
    if taxon_weights is None and (
        length_power == 1.0 or any(weight is not None for weight in given.values())
    ):
        return given
    powers = {s.name: float(num_bases[s.name]) ** length_power for s in training}
    if taxon_weights is None:
        return dict(powers)
    of_taxon: dict[str | None, float] = {}
    for s in training:
        of_taxon[s.taxon] = of_taxon.get(s.taxon, 0.0) + powers[s.name]
    return {s.name: taxon_weights[str(s.taxon)] * powers[s.name] / of_taxon[s.taxon] for s in training}
