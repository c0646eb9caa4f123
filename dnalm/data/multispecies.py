"""Many genomes as one corpus: a YAML of paths or a manifest, mixed by length, by numbers or by taxon."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import PositiveInt

from dnalm.data.corpus import CorpusGenome, missing_track
from dnalm.data.splits import Division, Split, SplitByContig
from dnalm.errors import DataError
from dnalm.genome.building import open_or_build
from dnalm.genome.clade import Clade, find_or_simulate
from dnalm.genome.preparing import prepare_stores
from dnalm.genome.sources import check_source
from dnalm.genome.species_manifest import SpeciesEntry, SpeciesSplit, read_species_manifest
from dnalm.genome.store import GenomeStore
from dnalm.paths import InputPath


@dataclass(frozen=True)
class _Species:
    name: str
    path: Path
    weight: float | None = None
    split: SpeciesSplit | None = None
    taxon: str | None = None


class MultispeciesCorpus:
    """Several genomes by name, given one by one or in a manifest.

    Args:
        genomes: FASTA, 2bit or store of each species.
        manifest: instead of `genomes`, a table with a line each; see `species_manifest`.
        clade: instead of both, every species of a simulated clade.
        weights: share of each species relative to the others'; a manifest has its own column.
        taxon_weights: share of each taxon of the manifest; within it genomes share by length.
        length_power: without weights, a genome's share is its length to this power: 1 is proportional to
            length, 0 gives every genome the same.
        held_out: species that judge the model and train nothing.
        split: which part of every other genome judges the model.
        cache: folder for built stores; the user's cache if absent.
        prepare_workers: processes that build stores side by side.

    Raises:
        DataError: a file cannot be a genome, or the manifest is malformed.
    """

    def __init__(
        self,
        *,
        genomes: dict[str, InputPath] | None = None,
        manifest: InputPath | None = None,
        clade: Clade | None = None,
        weights: dict[str, float] | None = None,
        taxon_weights: dict[str, float] | None = None,
        length_power: float = 1.0,
        held_out: tuple[str, ...] = (),
        split: Split | None = None,
        cache: Path | None = None,
        prepare_workers: PositiveInt = 1,
    ) -> None:
        if [genomes, manifest, clade].count(None) != 2:
            raise ValueError(
                "of genomes, manifest and clade one is to be given, as in data.genomes={yeast: sacCer3.fa.gz}"
            )
        self.clade = clade
        if clade is not None:
            listed = [_Species(name, Path(f"{name}.fa")) for name in clade.species]
        else:
            listed = _listed(genomes) if manifest is None else _from_manifest(manifest)
        self.species = [_held_out(species, held_out) for species in listed]
        _check_names("held_out", held_out, listed)
        if weights is not None:
            self.species = _weighted(self.species, weights)
        for species in self.species if clade is None else ():
            check_source(species.path)
        if taxon_weights is not None and any(species.weight is not None for species in self.species):
            raise ValueError("weights and taxon_weights are both given; genomes are mixed by one of them")
        if not 0 <= length_power <= 1:
            raise ValueError(
                f"length_power is {length_power}; it lies between 0 (uniform) and 1 (proportional)"
            )
        self.taxon_weights = _checked_taxa(taxon_weights, self.species)
        self.length_power, self.cache = length_power, cache
        self.split, self.prepare_workers = split or SplitByContig(), prepare_workers

    def prepare(self, tracks: Collection[str] | None = None) -> None:
        """Build and verify every store, side by side; finished ones are kept if it is interrupted.

        Raises:
            DataError: DATA-02, with the name and the fault of every genome that failed; DATA-05, a track is
                wanted, and so far only a `GenomeCorpus` has tracks.
        """
        for name in tracks or ():
            raise missing_track(name, ())
        prepare_stores(self._paths(), self.cache, workers=self.prepare_workers)

    def genomes(self, tracks: Collection[str] | None = None) -> list[CorpusGenome]:
        """The genomes in the order they are named; what `prepare` has verified is not read again."""
        for name in tracks or ():
            raise missing_track(name, ())
        paths = self._paths()
        opened = [(s, open_or_build(paths[s.name], self.cache, verify=False)) for s in self.species]
        shares = self._shares(
            [(species, store) for species, store in opened if species.split != "validation"]
        )
        return [
            CorpusGenome(
                species.name,
                paths[species.name],
                store,
                self._divide(species, store),
                shares.get(species.name),
            )
            for species, store in opened
        ]

    def _paths(self) -> dict[str, Path]:
        """The genomes' files; a clade is simulated on first use."""
        folder = Path() if self.clade is None else find_or_simulate(self.clade, self.cache)
        return {species.name: folder / species.path for species in self.species}

    def _divide(self, species: _Species, store: GenomeStore) -> Division:
        whole, none = store.intervals, np.zeros((0, 2), dtype=np.int64)
        if species.split == "validation":
            return Division(none, whole, f"{species.name} is held out")
        if species.split == "train":
            return Division(whole, none, f"{species.name} trains whole")
        return self.split.divide(store)

    def _shares(self, training: list[tuple[_Species, GenomeStore]]) -> dict[str, float | None]:
        """What each genome that trains is to have; None where that is its length."""
        if self.taxon_weights is None:
            given = {species.name: species.weight for species, _ in training}
            if self.length_power == 1.0 or any(weight is not None for weight in given.values()):
                return dict(given)
        powers = {species.name: float(store.num_bases) ** self.length_power for species, store in training}
        if self.taxon_weights is None:
            return dict(powers)
        of_taxon: dict[str | None, float] = {}
        for species, _ in training:
            of_taxon[species.taxon] = of_taxon.get(species.taxon, 0.0) + powers[species.name]
        return {
            species.name: self.taxon_weights[str(species.taxon)]
            * powers[species.name]
            / of_taxon[species.taxon]
            for species, _ in training
        }


def _listed(genomes: Mapping[str, Path] | None) -> list[_Species]:
    if not genomes:
        raise ValueError("genomes is empty; name at least one: data.genomes={yeast: sacCer3.fa.gz}")
    return [_Species(name, path) for name, path in genomes.items()]


def _from_manifest(manifest: Path) -> list[_Species]:
    """The genomes of a manifest, but for those kept for tests."""
    return [_local(entry, manifest) for entry in read_species_manifest(manifest) if entry.split != "test"]


def _local(entry: SpeciesEntry, manifest: Path) -> _Species:
    if entry.path is None:
        assert entry.remote is not None, "a line has a path or an address"
        raise DataError(
            "DATA-03",
            where=f"{manifest}:{entry.line}",
            found=f"{entry.name} is not on this machine: {entry.remote.url}",
            expected="paths",
            fix=f"run dnalm fetch recipe=nt_multispecies manifest={manifest}, which writes such a manifest",
        )
    return _Species(entry.name, entry.path, entry.weight, entry.split, entry.taxon)


def _held_out(species: _Species, held_out: Iterable[str]) -> _Species:
    return replace(species, split="validation") if species.name in held_out else species


def _weighted(species: list[_Species], weights: Mapping[str, float]) -> list[_Species]:
    training = {s.name for s in species if s.split != "validation"}
    if not training <= weights.keys() <= {s.name for s in species}:
        raise ValueError(
            f"weights name {', '.join(weights)}; they are to name {', '.join(sorted(training))}, which train"
        )
    wrong = [f"{name} {weight}" for name, weight in weights.items() if not 0 < weight < float("inf")]
    if wrong:
        raise ValueError(f"weights are {', '.join(wrong)}; a weight is a number above 0")
    return [replace(s, weight=weights.get(s.name)) for s in species]


def _checked_taxa(weights: dict[str, float] | None, species: list[_Species]) -> dict[str, float] | None:
    if weights is not None:
        taxa = {str(s.taxon) for s in species if s.split != "validation"}
        if taxa != weights.keys() or min(weights.values()) <= 0:
            raise ValueError(
                f"taxon_weights name {', '.join(weights)}; the genomes that train are of "
                f"{', '.join(sorted(taxa))}, each of which is to have a number above 0"
            )
    return weights


def _check_names(argument: str, names: Iterable[str], species: list[_Species]) -> None:
    known = [s.name for s in species]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"{argument} names {', '.join(unknown)}; the genomes are {', '.join(known)}")
