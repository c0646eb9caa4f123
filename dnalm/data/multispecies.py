"""Many genomes as one corpus: a YAML of paths and addresses or a manifest, mixed as asked, with tracks."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import numpy as np

from dnalm.data.corpus import WHOLE, CorpusGenome, Part
from dnalm.data.species import (
    Species,
    check_names,
    check_taxa,
    hold_out,
    shares_of,
    species_by_name,
    species_of_clade,
    species_of_manifest,
    weigh,
)
from dnalm.data.species_tracks import SpeciesTracks, check_tracks, tracks_by_genome, tracks_of_clade
from dnalm.data.splits import Division, Split, SplitByContig
from dnalm.genome.building import open_or_build
from dnalm.genome.clade import Clade, find_or_simulate
from dnalm.genome.preparing import GenomePlan, prepare_genomes, track_cache
from dnalm.genome.sources import check_source
from dnalm.genome.store import GenomeStore
from dnalm.genome.tracks import TrackRecipe
from dnalm.limits import Processes
from dnalm.paths import CachePath, Input, InputPath


class MultispeciesCorpus:
    """Several genomes by name, given one by one or in a manifest.

    Args:
        genomes: FASTA, 2bit or store of each species, or the http or https address of one, which `prepare`
            downloads into the cache.
        manifest: instead of `genomes`, a table with a line each; see `species_manifest`.
        clade: instead of both, every species of a simulated clade.
        weights: share of each species relative to the others'; a manifest has its own column.
        taxon_weights: share of each taxon of the manifest; within it genomes share by length.
        length_power: without weights, a genome's share is its length to this power: 1 is proportional to
            length, 0 gives every genome the same.
        held_out: species that judge the model and train nothing.
        split: which part of every other genome judges the model.
        regions: BED file of what a genome's windows lie in, in training and judging; others are read whole.
        cache: folder for built stores, tracks and downloads; the user's cache if absent.
        prepare_workers: processes that download and build side by side.
        tracks: what is known of the genomes' bases, by names of the user's choice: for each track the genomes
            that have it; of the others it is missing. A clade has its own where none are given, as
            `GenomeCorpus`.

    Raises:
        DataError: a file cannot be a genome, or the manifest is malformed.
    """

    def __init__(
        self,
        *,
        genomes: dict[str, Annotated[str | Path, Input()]] | None = None,
        manifest: InputPath | None = None,
        clade: Clade | None = None,
        weights: dict[str, float] | None = None,
        taxon_weights: dict[str, float] | None = None,
        length_power: float = 1.0,
        held_out: tuple[str, ...] = (),
        split: Split | None = None,
        regions: dict[str, InputPath] | None = None,
        cache: CachePath | None = None,
        prepare_workers: Processes = 1,
        tracks: dict[str, dict[str, TrackRecipe]] | None = None,
    ) -> None:
        if [genomes, manifest, clade].count(None) != 2:
            raise ValueError(
                "of genomes, manifest and clade one is to be given, as in data.genomes={yeast: sacCer3.fa.gz}"
            )
        if clade is not None:
            listed = species_of_clade(clade)
        elif manifest is not None:
            listed = species_of_manifest(manifest, cache)
        else:
            listed = species_by_name(genomes or {}, cache)
        listed = hold_out(listed, held_out)
        self.species = listed if weights is None else weigh(listed, weights)
        if taxon_weights is not None:
            check_taxa(taxon_weights, self.species)
        if not 0 <= length_power <= 1:
            raise ValueError(
                f"length_power is {length_power}; it lies between 0 (uniform) and 1 (proportional)"
            )
        check_tracks(tracks or {}, self.species)
        check_names("regions", regions or (), self.species)
        for species in self.species if clade is None else ():
            if species.remote is None:
                check_source(species.path)
        self.clade, self.tracks, self.taxon_weights = clade, tracks, taxon_weights
        self.length_power, self.cache = length_power, cache
        self.regions = regions or {}
        self.split, self.prepare_workers = split or SplitByContig(), prepare_workers

    def prepare(self, tracks: Collection[str] | None = None, part: Part = WHOLE) -> None:
        """Download, build and verify all that is wanted, side by side; what is finished stays if interrupted.

        Raises:
            DataError: DATA-02, with the name and the fault of every genome that failed; DATA-05, no genome
                has a wanted track.
        """
        plans = part.of_genomes(self._plans(tracks))
        prepare_genomes(plans, self.cache, workers=self.prepare_workers)

    def stores(self, part: Part = WHOLE) -> dict[str, GenomeStore]:
        """The genomes of a part that is prepared."""
        plans = part.of_genomes(self._plans(()))
        return {name: open_or_build(plan.path, self.cache, verify=False) for name, plan in plans.items()}

    def genomes(self, tracks: Collection[str] | None = None) -> list[CorpusGenome]:
        """The genomes in the order they are named; what `prepare` has verified is not read again."""
        plans = self._plans(tracks)
        stores = {name: open_or_build(plan.path, self.cache, verify=False) for name, plan in plans.items()}
        shares = shares_of(
            {name: store.num_bases for name, store in stores.items()},
            self.species,
            length_power=self.length_power,
            taxon_weights=self.taxon_weights,
        )
        folder = track_cache(self.cache)
        return [
            CorpusGenome(
                species.name,
                plans[species.name].path,
                stores[species.name],
                self._divide(species, stores[species.name]),
                shares.get(species.name),
                {
                    name: recipe.prepare(stores[species.name], folder, verify=False)
                    for name, recipe in plans[species.name].tracks.items()
                },
            )
            for species in self.species
        ]

    def _plans(self, names: Collection[str] | None) -> dict[str, GenomePlan]:
        """What is to be there of each genome; a clade is simulated on first use."""
        tracks_by_genome(names, self._tracks(names, Path()), self.species)  # refused before a simulation
        folder = Path() if self.clade is None else find_or_simulate(self.clade, self.cache)
        recipes = tracks_by_genome(names, self._tracks(names, folder), self.species)
        return {s.name: GenomePlan(folder / s.path, s.remote, recipes[s.name]) for s in self.species}

    def _tracks(self, names: Collection[str] | None, folder: Path) -> SpeciesTracks:
        """What was given; or where tracks are wanted and none were, those of a clade in a folder."""
        if self.clade is not None and self.tracks is None and names is not None:
            return tracks_of_clade(self.clade, folder)
        return self.tracks or {}

    def _divide(self, species: Species, store: GenomeStore) -> Division:
        division = self._divide_whole(species, store)
        bed = self.regions.get(species.name)
        return division if bed is None else division.within(bed, store)

    def _divide_whole(self, species: Species, store: GenomeStore) -> Division:
        whole, none = store.intervals, np.zeros((0, 2), dtype=np.int64)
        if species.split == "validation":
            return Division(none, whole, f"{species.name} is held out")
        if species.split == "train":
            return Division(whole, none, f"{species.name} trains whole")
        return self.split.divide(store)
