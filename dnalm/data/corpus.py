"""What DNA there is: the genomes of a run, and which parts of them train and which judge."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from dnalm.data.splits import Division, Split, SplitByContig, SplitByRandomContigs
from dnalm.errors import DataError
from dnalm.genome.building import open_or_build
from dnalm.genome.clade import Clade, find_or_simulate
from dnalm.genome.dataset_text import dataset_fasta
from dnalm.genome.preparing import track_cache
from dnalm.genome.sources import check_source
from dnalm.genome.store import GenomeStore
from dnalm.genome.tracks import TrackRecipe, TrackStore
from dnalm.genome.tracks.of_clade import clade_tracks
from dnalm.paths import CachePath, InputName, InputPath
from dnalm.tokenizers import TrainingText

T = TypeVar("T")


@dataclass(frozen=True)
class CorpusGenome:
    """One genome of a corpus.

    Attributes:
        name: of the species, or of the file.
        path: its file.
        store: the genome.
        division: which parts train and which judge.
        weight: its share relative to the others'; by its length if None.
        tracks: what is known of its bases, by name.
    """

    name: str
    path: Path
    store: GenomeStore
    division: Division
    weight: float | None = None
    tracks: Mapping[str, TrackStore] = field(default_factory=dict)

    def training_text(self) -> TrainingText:
        """What a vocabulary may be learned on without having seen what judges the model."""
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
            tracks: those that are wanted; as `genomes`.
            part: of the genomes.
        """

    def stores(self, part: Part = WHOLE) -> dict[str, GenomeStore]:
        """The genomes of a part that is prepared, by name."""

    def genomes(self, tracks: Collection[str] | None = None) -> list[CorpusGenome]:
        """Open the genomes, those that only judge included.

        Args:
            tracks: names of the tracks that are wanted; all that the corpus was given if None.

        Raises:
            DataError: DATA-05, a wanted track is not there.
        """


class GenomeCorpus:
    """One genome, which is either given or simulated.

    Args:
        fasta: the genome: FASTA (plain, gzip, bgzip), UCSC 2bit, or a built store.
        clade: without `fasta`, the clade to simulate on first use.
        species: of a simulated clade, the genome to read; the first if absent.
        split: which part judges the model.
        regions: BED file of what windows lie in, in training and in judging; the whole genome if absent.
        cache: folder for built stores; the user's cache if absent.
        tracks: what is known of the genome's bases, by names of the user's choice. A clade has its own where
            none are given, `region`, `chromatin`, `knowledge` and `conservation`, opened only where they are
            wanted.

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
        folder = track_cache(self.cache)
        opened = {
            name: recipe.prepare(store, folder) for name, recipe in self._wanted(tracks, source).items()
        }
        division = self.split.divide(store)
        if self.regions is not None:
            division = division.within(self.regions, store)
        return CorpusGenome(source.name, source, store, division, tracks=opened)

    def genomes(self, tracks: Collection[str] | None = None) -> list[CorpusGenome]:
        """The one genome."""
        return [self.genome(tracks)]

    def _wanted(self, names: Collection[str] | None, source: Path) -> Mapping[str, TrackRecipe]:
        if names is None:
            return self.tracks or {}
        recipes: Mapping[str, TrackRecipe] = self.tracks or {}
        if self.clade is not None and self.tracks is None:
            recipes = clade_tracks(self.clade, source.parent, source.stem)
        for name in names:
            if name not in recipes:
                raise missing_track(name, recipes)
        return {name: recipes[name] for name in names}

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
        split: which part judges the model; rows at random if absent.
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
                track is wanted.
        """
        for name in tracks or ():
            raise missing_track(name, ())
        path = dataset_fasta(
            self.source, column=self.column, part=self.part, revision=self.revision, cache=self.cache
        )
        store = open_or_build(path, self.cache)
        return [CorpusGenome(path.stem, path, store, self.split.divide(store))]


def missing_track(name: str, there: Collection[str]) -> DataError:
    """An objective or an input wants a track that the corpus has not."""
    return DataError(
        "DATA-05",
        where="data.tracks",
        found=f"no track {name!r}; " + (f"there are {', '.join(there)}" if there else "there is none"),
        expected="every track that an objective learns or that is an input",
        fix=f"give data.tracks.{name}, as data=annotated and data=knowledge do, or leave it out",
    )
