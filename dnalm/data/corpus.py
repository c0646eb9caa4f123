"""The genomes of a run: one (`GenomeCorpus`), the rows of a dataset, or several by name or manifest.

A corpus names its genomes, divides each into training and validation regions, opens the tracks on its bases,
and gives each genome its share of the samples.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Protocol, TypeVar, runtime_checkable

import numpy as np

from dnalm.data.splits import (
    Division,
    Split,
    SplitByContig,
    SplitByHomology,
    SplitByRandomContigs,
    divide_genomes,
)
from dnalm.errors import DataError
from dnalm.genome.dataset_text import dataset_fasta
from dnalm.genome.download import RemoteFile, download_folder
from dnalm.genome.preparing import GenomePlan, prepare_genomes, track_cache
from dnalm.genome.species import SpeciesSplit, read_species_manifest
from dnalm.genome.store import GenomeStore, check_source, open_or_build
from dnalm.genome.track_recipes import RegionClasses, TrackRecipe
from dnalm.genome.tracks import TrackStore
from dnalm.limits import Processes
from dnalm.paths import CachePath, Input, InputName, InputPath
from dnalm.simulation.settings import Clade
from dnalm.simulation.simulate import clade_tracks, find_or_simulate
from dnalm.tokenizers import TrainingText

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class CorpusGenome:
    """One genome of a corpus.

    Attributes:
        name: of the species, or of the file.
        path: its file.
        store: its bases.
        division: its training and validation regions.
        weight: its share relative to the others'; by its length if None.
        tracks: annotations of its bases, by name.
    """

    name: str
    path: Path
    store: GenomeStore
    division: Division
    weight: float | None = None
    tracks: Mapping[str, TrackStore] = field(default_factory=dict)

    def training_text(self) -> TrainingText:
        """The training regions, for a vocabulary that is learned without validation data."""
        return TrainingText(self.name, self.store, self.division.train, self.weight)

    def whole_text(self) -> TrainingText:
        """Every contig."""
        return TrainingText(self.name, self.store, self.store.intervals, self.weight)


@dataclass(frozen=True)
class Part:
    """Every n-th genome of a corpus, so that n jobs may share them.

    Attributes:
        number: which part, from 0.
        of: n.
    """

    number: int = 0
    of: int = 1

    def of_genomes(self, genomes: Mapping[str, T]) -> dict[str, T]:
        """Those of this part."""
        return dict(list(genomes.items())[self.number :: self.of])


WHOLE = Part()


@runtime_checkable
class Corpus(Protocol):
    """The genomes of a run."""

    cache: Path | None

    def prepare(self, tracks: Collection[str] | None = None, part: Part = WHOLE) -> None:
        """Build and verify the stores that are not there; called in one process of each node.

        Args:
            tracks: as of `genomes`.
            part: of the genomes.
        """

    def stores(self, part: Part = WHOLE) -> dict[str, GenomeStore]:
        """The genomes of a part that is prepared, by name."""

    def genomes(self, tracks: Collection[str] | None = None) -> list[CorpusGenome]:
        """Open the genomes, those that are held out included.

        Args:
            tracks: names of the tracks to open; all that the corpus was given if None.

        Raises:
            DataError: DATA-05, one of these tracks is not there.
        """


class GenomeCorpus:
    """One genome, which is either given or simulated.

    Args:
        fasta: the genome: FASTA (plain, gzip, bgzip), UCSC 2bit, or a built store.
        clade: without `fasta`, the clade to simulate on first use.
        species: of a simulated clade, the genome to read; the first if absent.
        split: how the genome is divided into training and validation.
        regions: BED file of the regions that all windows lie in; the whole genome if absent.
        cache: folder for built stores; the user's cache if absent.
        tracks: annotations of the genome's bases, by names of the user's choice. A clade has its own where
            none are given, `region`, `chromatin`, `knowledge` and `conservation`, opened only where they are
            used.

    Raises:
        DataError: the file cannot be a genome.
    """

    def __init__(
        self,
        *,
        fasta: InputPath | None = None,
        clade: Clade | None = None,
        species: str | None = None,
        split: Split | None = None,
        regions: InputPath | None = None,
        cache: CachePath | None = None,
        tracks: dict[str, TrackRecipe] | None = None,
    ) -> None:
        if (fasta is None) == (clade is None):
            given = "neither" if fasta is None else "both"
            raise ValueError(
                f"of fasta and clade {given} is given; a run reads data=fasta data.fasta=… or data=demo"
            )
        if fasta is not None:
            check_source(fasta)
        if clade is not None and species is not None and species not in clade.species:
            raise ValueError(f"species is {species}; the clade has {', '.join(clade.species)}")
        self.fasta, self.clade, self.species = fasta, clade, species
        self.cache, self.split = cache, split or SplitByContig()
        self.tracks, self.regions = tracks, regions

    def prepare(self, tracks: Collection[str] | None = None, part: Part = WHOLE) -> None:
        """Build the store and the tracks that are not there."""
        if part.of_genomes({"": self}):
            self.genome(tracks)

    def stores(self, part: Part = WHOLE) -> dict[str, GenomeStore]:
        """The one genome."""
        source = self.source()
        return {name: open_or_build(source, self.cache) for name in part.of_genomes({source.name: source})}

    def genome(self, tracks: Collection[str] | None = None) -> CorpusGenome:
        """The genome and its tracks, simulated and built on first use; `tracks` as of `Corpus.genomes`."""
        source = self.source()
        store = open_or_build(source, self.cache)
        recipes: Mapping[str, TrackRecipe] = self.tracks or {}
        if tracks is not None and self.clade is not None and self.tracks is None:
            recipes = clade_tracks(self.clade, source.parent, source.stem)
        wanted = recipes if tracks is None else tracks
        require_tracks(wanted, recipes)
        folder = track_cache(self.cache)
        opened = {name: recipes[name].prepare(store, folder) for name in wanted}
        (division,) = divide_genomes(self.split, [store], self.cache)
        if self.regions is not None:
            division = division.within(self.regions, store)
        return CorpusGenome(name=source.name, path=source, store=store, division=division, tracks=opened)

    def genomes(self, tracks: Collection[str] | None = None) -> list[CorpusGenome]:
        """The one genome."""
        return [self.genome(tracks)]

    def source(self) -> Path:
        """The genome's file, simulated on first use."""
        if self.clade is not None:
            species = self.species or self.clade.species[0]
            return find_or_simulate(self.clade, self.cache) / f"{species}.fa"
        assert self.fasta is not None, "the constructor wants one of both"
        return self.fasta


class DatasetCorpus:
    """The sequences of a Hugging Face dataset, each row a contig.

    Args:
        source: a local Parquet, CSV, JSON or Arrow file, or `owner/name` on the Hugging Face hub.
        column: the one that holds sequences.
        part: which split of the dataset.
        revision: the hub's branch, tag or commit.
        split: how it is divided into training and validation; rows at random if absent.
        cache: folder for built stores; the user's cache if absent.
    """

    def __init__(
        self,
        *,
        source: InputName,
        column: str = "sequence",
        part: str = "train",
        revision: str | None = None,
        split: Split | None = None,
        cache: CachePath | None = None,
    ) -> None:
        self.source, self.column, self.part, self.revision = source, column, part, revision
        self.split, self.cache = split or SplitByRandomContigs(), cache

    def prepare(self, tracks: Collection[str] | None = None, part: Part = WHOLE) -> None:
        """Bring the rows into a store if they are not there."""
        if part.of_genomes({"": self}):
            self.genomes(tracks)

    def stores(self, part: Part = WHOLE) -> dict[str, GenomeStore]:
        """The rows."""
        return part.of_genomes({genome.name: genome.store for genome in self.genomes()})

    def genomes(self, tracks: Collection[str] | None = None) -> list[CorpusGenome]:
        """All rows as one genome; it has no tracks.

        Raises:
            DataError: DSET-01 to 03, or what is wrong with a sequence, which is named by its row; DATA-05, a
                track is asked for.
        """
        require_tracks(tracks or (), ())
        path = dataset_fasta(
            self.source, column=self.column, part=self.part, revision=self.revision, cache=self.cache
        )
        store = open_or_build(path, self.cache)
        (division,) = divide_genomes(self.split, [store], self.cache)
        return [CorpusGenome(name=path.stem, path=path, store=store, division=division)]


def region_tracks(corpus: Corpus) -> dict[str, TrackStore]:
    """Gene regions of the genomes that have them, by the genome's name, whether or not the run reads them.

    They are the first track that a recipe of `RegionClasses` makes, and of a simulated clade its own.

    Raises:
        DataError: the annotation cannot be read.
    """
    if not isinstance(corpus, GenomeCorpus | MultispeciesCorpus):
        return {}
    if corpus.clade is not None and corpus.tracks is None:
        names = ["region"]
    else:
        names = [name for name, made in (corpus.tracks or {}).items() if _is_of_regions(made)][:1]
    genomes = corpus.genomes(names) if names else []
    return {genome.name: track for genome in genomes for track in genome.tracks.values()}


def _is_of_regions(made: TrackRecipe | Mapping[str, TrackRecipe]) -> bool:
    """Whether a track, of one genome or of several by name, is of gene regions."""
    recipes = made.values() if isinstance(made, Mapping) else [made]
    return all(isinstance(recipe, RegionClasses) for recipe in recipes)


def require_tracks(names: Iterable[str], there: Collection[str]) -> None:
    """Refuse a track that an objective learns or that is an input, and that the corpus lacks.

    Raises:
        DataError: DATA-05.
    """
    for name in names:
        if name not in there:
            offered = f"there are {', '.join(there)}" if there else "there is none"
            raise DataError(
                "DATA-05",
                where="data.tracks",
                found=f"no track {name!r}; {offered}",
                expected="every track that an objective learns or that is an input",
                fix=f"give data.tracks.{name}, as data=annotated and data=knowledge do, or leave it out",
            )


@dataclass(frozen=True, kw_only=True)
class Species:
    """One genome of several, before it is opened.

    Attributes:
        name: of the genome.
        path: its file; of a remote one the place it is downloaded to, of a clade's its name in the folder.
        remote: the file of another host.
        weight: share relative to the others'.
        split: what all of the genome is for; None where `data.split` divides it.
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
        """Whether all or a part of it is for training."""
        return self.split != "validation"


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
        held_out: species that are for validation only.
        split: how every other genome is divided into training and validation.
        regions: BED file of the regions that a genome's windows lie in; others are read whole.
        cache: folder for built stores, tracks and downloads; the user's cache if absent.
        prepare_workers: processes that download and build side by side.
        tracks: annotations of the genomes' bases, by names of the user's choice: for each track the genomes
            that have it; for the others it is missing. A clade has its own where none are given, as
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
            listed = [Species(name=name, path=Path(f"{name}.fa")) for name in clade.species]
        elif manifest is not None:
            listed = _read_manifest(manifest, cache)
        else:
            listed = _named_genomes(genomes or {}, cache)
        _check_names("held_out", held_out, listed)
        listed = [replace(each, split="validation") if each.name in held_out else each for each in listed]
        self.species = listed if weights is None else _weighted(listed, weights)
        if taxon_weights is not None:
            _check_taxa(taxon_weights, self.species)
        if not 0 <= length_power <= 1:
            raise ValueError(
                f"length_power is {length_power}; it lies between 0 (uniform) and 1 (proportional)"
            )
        _check_tracks(tracks or {}, self.species)
        _check_names("regions", regions or (), self.species)
        for species in self.species if clade is None else ():
            if species.remote is None:
                check_source(species.path)
        self.clade, self.tracks, self.taxon_weights = clade, tracks, taxon_weights
        self.length_power, self.cache = length_power, cache
        self.regions = regions or {}
        self.split, self.prepare_workers = split or SplitByContig(), prepare_workers
        whole = [species.name for species in self.species if species.split is not None]
        if isinstance(split, SplitByHomology) and whole:
            raise ValueError(
                f"{', '.join(whole)} trains or validates whole, which data/split=homology cannot keep from "
                "relatives in other genomes; leave data.held_out out, or use data/split=contigs"
            )

    def prepare(self, tracks: Collection[str] | None = None, part: Part = WHOLE) -> None:
        """Download, build and verify genomes and tracks, side by side; an interruption keeps finished ones.

        Raises:
            DataError: DATA-02, with the name and the fault of every genome that failed; DATA-05, no genome
                has a track of `tracks`.
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
        shares = self._shares({name: store.num_bases for name, store in stores.items()})
        folder = track_cache(self.cache)
        divisions = self._divisions(stores)
        opened = []
        for species in self.species:
            plan, store = plans[species.name], stores[species.name]
            recipes = plan.tracks.items()
            genome = CorpusGenome(
                name=species.name,
                path=plan.path,
                store=store,
                division=divisions[species.name],
                weight=shares.get(species.name),
                tracks={name: recipe.prepare(store, folder, verify=False) for name, recipe in recipes},
            )
            opened.append(genome)
        return opened

    def _shares(self, num_bases: Mapping[str, int]) -> dict[str, float | None]:
        """Each training genome's share relative to the others'; None for its length."""
        training = [species for species in self.species if species.trains]
        given = {species.name: species.weight for species in training}
        has_weights = any(weight is not None for weight in given.values())
        if self.taxon_weights is None and (self.length_power == 1.0 or has_weights):
            return given
        powers = {each.name: float(num_bases[each.name]) ** self.length_power for each in training}
        if self.taxon_weights is None:
            return dict(powers)
        of_taxon: dict[str | None, float] = {}
        for each in training:
            of_taxon[each.taxon] = of_taxon.get(each.taxon, 0.0) + powers[each.name]
        return {
            each.name: self.taxon_weights[str(each.taxon)] * powers[each.name] / of_taxon[each.taxon]
            for each in training
        }

    def _plans(self, names: Collection[str] | None) -> dict[str, GenomePlan]:
        """The files and tracks of each genome; a clade is simulated on first use."""
        self._tracks_by_genome(names, Path())  # a missing track is refused before a simulation
        folder = Path() if self.clade is None else find_or_simulate(self.clade, self.cache)
        recipes = self._tracks_by_genome(names, folder)
        return {s.name: GenomePlan(folder / s.path, s.remote, recipes[s.name]) for s in self.species}

    def _tracks_by_genome(
        self, names: Collection[str] | None, folder: Path
    ) -> dict[str, dict[str, TrackRecipe]]:
        """Of the tracks `names`, all if None, those that each genome has; a clade's own lie in `folder`."""
        tracks: dict[str, dict[str, TrackRecipe]] = dict(self.tracks or {})
        if self.clade is not None and self.tracks is None and names is not None:
            for species in self.clade.species:  # conservation is the first one's alone
                for name, recipe in clade_tracks(self.clade, folder, species).items():
                    tracks.setdefault(name, {})[species] = recipe
        chosen = tracks if names is None else names
        require_tracks(chosen, tracks)
        return {
            s.name: {name: tracks[name][s.name] for name in chosen if s.name in tracks[name]}
            for s in self.species
        }

    def _divisions(self, stores: Mapping[str, GenomeStore]) -> dict[str, Division]:
        """Both sides of each genome."""
        none = np.zeros((0, 2), dtype=np.int64)
        divisions = {}
        for species in self.species:
            whole = stores[species.name].intervals
            if species.split == "validation":
                divisions[species.name] = Division(none, whole, f"{species.name} is held out")
            elif species.split == "train":
                divisions[species.name] = Division(whole, none, f"{species.name} trains whole")
        left = [species.name for species in self.species if species.name not in divisions]
        found = divide_genomes(self.split, [stores[name] for name in left], self.cache)
        divisions.update(zip(left, found, strict=True))
        return {
            name: division if (bed := self.regions.get(name)) is None else division.within(bed, stores[name])
            for name, division in divisions.items()
        }


def _named_genomes(genomes: Mapping[str, str | Path], cache: Path | None) -> list[Species]:
    """Genomes given as paths or addresses."""
    if not genomes:
        raise ValueError("genomes is empty; name at least one: data.genomes={yeast: sacCer3.fa.gz}")
    return [
        _remote(name, RemoteFile(url=str(source)), cache)
        if "://" in str(source)
        else Species(name=name, path=Path(source))
        for name, source in genomes.items()
    ]


def _read_manifest(manifest: Path, cache: Path | None) -> list[Species]:
    """The genomes of a manifest, except those kept for tests; raises DataError MANI-01 to 15."""
    found = []
    for entry in read_species_manifest(manifest):
        if entry.split == "test":
            continue
        if entry.remote is not None:
            species = _remote(entry.name, entry.remote, cache)
        else:
            assert entry.path is not None, "a line has a path or an address"
            species = Species(name=entry.name, path=entry.path)
        found.append(replace(species, weight=entry.weight, split=entry.split, taxon=entry.taxon))
    return found


def _remote(name: str, remote: RemoteFile, cache: Path | None) -> Species:
    return Species(name=name, path=download_folder(remote.url, cache) / remote.name, remote=remote)


def _weighted(species: Sequence[Species], weights: Mapping[str, float]) -> list[Species]:
    """The genomes with their shares; each that is for training needs a number above 0."""
    training = {s.name for s in species if s.trains}
    if not training <= weights.keys() <= {s.name for s in species}:
        raise ValueError(
            f"weights name {', '.join(weights)}; they are to name {', '.join(sorted(training))}, which train"
        )
    wrong = [f"{name} {weight}" for name, weight in weights.items() if not 0 < weight < float("inf")]
    if wrong:
        raise ValueError(f"weights are {', '.join(wrong)}; a weight is a number above 0")
    return [replace(s, weight=weights.get(s.name)) for s in species]


def _check_taxa(weights: Mapping[str, float], species: Sequence[Species]) -> None:
    """Refuse shares of taxa beside shares of genomes, and taxa that are not those of the training genomes."""
    if any(s.weight is not None for s in species):
        raise ValueError("weights and taxon_weights are both given; genomes are mixed by one of them")
    taxa = {str(s.taxon) for s in species if s.trains}
    if taxa != weights.keys() or min(weights.values()) <= 0:
        raise ValueError(
            f"taxon_weights name {', '.join(weights)}; the genomes that train are of "
            f"{', '.join(sorted(taxa))}, each of which is to have a number above 0"
        )


def _check_names(argument: str, names: Iterable[str], species: Sequence[Species]) -> None:
    """Refuse names that no genome has, with the nearest one."""
    known = [s.name for s in species]
    unknown = [name for name in names if name not in known]
    if unknown:
        nearest = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        raise ValueError(f"{argument} names {', '.join(unknown)}; the genomes are {', '.join(known)}{hint}")


def _check_tracks(tracks: Mapping[str, object], species: Sequence[Species]) -> None:
    """Refuse tracks that are no mapping of known genomes to recipes of one kind."""
    for name, recipes in tracks.items():
        example = f"data.tracks.{name}={{{species[0].name}: {{_target_: dnalm.genome.track_recipes.…}}}}"
        if not isinstance(recipes, Mapping):
            raise ValueError(  # noqa: TRY004 -- the config's fault, as all that it gives
                f"tracks.{name} is one {type(recipes).__name__}; each genome has its own: {example}"
            )
        made = {genome: recipe for genome, recipe in recipes.items() if isinstance(recipe, TrackRecipe)}
        if len(made) < max(1, len(recipes)):
            raise ValueError(f"tracks.{name} is {recipes}; what makes it for a genome is as in {example}")
        _check_names(f"tracks.{name}", made, species)
        (first, of_first), *others = made.items()
        for other, of_other in others:
            if of_other.kind != of_first.kind:
                raise ValueError(
                    f"tracks.{name} is of {of_first.kind} in {first} ({type(of_first).__name__}) and of "
                    f"{of_other.kind} in {other} ({type(of_other).__name__}); one head learns both, "
                    "so they are of one kind"
                )
