"""Datamodules: genomes on disk to packed, masked micro-batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import ClassVar

from lightning.pytorch import LightningDataModule

from dnalm.data.batch import (
    Batch,
    BatchPlan,
    CountedSteps,
    Filling,
    PackPlan,
    Packs,
    Sample,
    StepBatches,
    collate,
    collate_packs,
    validation_batches,
)
from dnalm.data.corpus import Corpus, CorpusGenome
from dnalm.data.loading import Fetched, Loader
from dnalm.data.masking import Masking
from dnalm.data.samples import Mixture, TrainingSamples, ValidationSamples, lay_out
from dnalm.data.targets import AbsentTrack, Channels, find_channels, track_of
from dnalm.data.token_store import find_tokens
from dnalm.data.windows import WindowRecipe
from dnalm.errors import DataError, listed
from dnalm.genome.intervals import total_length
from dnalm.genome.tracks import JoinedTrack, join_track
from dnalm.tokenizers import Tokenizer


class GenomeData(LightningDataModule):
    """Windows of the genomes of a corpus.

    Args:
        corpus: the genomes.
        tokenizer: bases to ids.
        windows: how long windows are and where they come from.
        masking: which tokens are masked.
        batch: the batch arithmetic.
        seed: the run's seed.
        targets: what batches carry of the corpus's tracks, for tokens or for windows; see `target_name`.
        inputs: names of those that they carry as annotations of their tokens; no target is among them.
    """

    filled_devices: ClassVar[tuple[str, ...]] = ("cuda",)  # where packs by tokens are filled up to few sizes

    def __init__(
        self,
        corpus: Corpus,
        *,
        tokenizer: Tokenizer,
        windows: WindowRecipe,
        masking: Masking,
        batch: BatchPlan,
        seed: int,
        targets: Sequence[str] = (),
        inputs: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.targets, self.inputs = tuple(targets), tuple(inputs)
        self.tracks = tuple(dict.fromkeys(track_of(target) for target in targets))
        assert not {*self.tracks} & {*self.inputs}, "a target must not be an input"
        self.channels = Channels()
        self.corpus, self.tokenizer, self.windows = corpus, tokenizer, windows
        self.masking, self.batch, self.seed = masking, batch, seed

    def prepare_data(self) -> None:
        """Build the stores that are not there, in one process of each node."""
        self.corpus.prepare((*self.tracks, *self.inputs))

    def setup(self, stage: str) -> None:  # noqa: ARG002 -- Lightning passes it by name
        """Divide the genomes and lay out the windows.

        Raises:
            DataError: DATA-01, a genome has no stretch that is long enough for a window; DATA-04, none has
                validation data; DATA-08, none has training data.
            ConfigError, DataError: inputs cannot be channels; see `find_channels`.
            DataError: IDS-01 to 07, stored tokens cannot be used.
        """
        self.opened = self.corpus.genomes((*self.tracks, *self.inputs))
        self.channels = find_channels(self.inputs, self.opened)
        with_validation = sum(bool(len(genome.division.validation)) for genome in self.opened)
        if not with_validation:
            raise DataError(
                "DATA-04",
                where="data",
                found="no validation data: every genome is used for training",
                expected="a validation side",
                fix="name species in data.held_out, or let data.split divide a genome",
            )
        if not self._training():
            num_tokens = self.windows.shortest
            num_bases = self.windows.bases(num_tokens, self.tokenizer)
            raise DataError(
                "DATA-08",
                where=listed([genome.name for genome in self.opened]),
                found=f"no base is left for training windows: {self.opened[0].division.description}",
                expected=f"stretches of at least {num_bases} bases, a window of {num_tokens} tokens",
                fix="lower the gap (data.split.gap=0), divide by contigs (data/split=random_contigs), "
                "hold out less, or shorten windows.max_tokens",
            )
        each = max(1, self.windows.num_validation // with_validation)
        self.joined = self._join(self.opened, (*self.tracks, *self.inputs))
        absent = {name: AbsentTrack(track.kind, len(track.names)) for name, track in self.joined.items()}
        self.genomes = [
            lay_out(
                genome,
                self.tokenizer,
                self.windows,
                num_validation=each,
                seed=self.seed + (number << 32),  # the seed of the first genome is the run's
                absent=absent,
                channels=self.channels,
                targets=self.targets,
                tokens=find_tokens(genome.store, self.tokenizer, self.corpus.cache),
            )
            for number, genome in enumerate(self.opened)
        ]
        self.validation_windows = [
            (number, window) for number, genome in enumerate(self.genomes) for window in genome.validation
        ]

    @property
    def fingerprint(self) -> str:
        """Of all genomes: that of one, or a hash of those of several."""
        prints = [genome.store.fingerprint for genome in self.genomes]
        return prints[0] if len(prints) == 1 else hashlib.sha256("".join(prints).encode()).hexdigest()[:16]

    def training_tracks(self) -> dict[str, JoinedTrack]:
        """The run's tracks over the genomes that train.

        Raises:
            DataError: DATA-07, none of these has a track.
        """
        return self._join([self.opened[number] for number in self._training()], self.tracks)

    def training_samples(self, *, track: str | None = None) -> TrainingSamples:
        """Sample i of the run, for any i; or of its genomes that have a track."""
        training = [n for n in self._training() if track is None or track in self.opened[n].tracks]
        shares = [
            self.opened[number].weight or float(total_length(self.genomes[number].train))
            for number in training
        ]
        return TrainingSamples(
            genomes=[self.genomes[number] for number in training],
            mixture=Mixture(shares, seed=self.seed),
            tokenizer=self.tokenizer,
            max_tokens=self.windows.max_tokens,
            masking=self.masking,
            seed=self.seed,
            global_batch=self.batch.global_size,
        )

    def _training(self) -> list[int]:
        """The genomes of which a part trains, by number."""
        return [number for number, genome in enumerate(self.opened) if len(genome.division.train)]

    def _join(self, genomes: Sequence[CorpusGenome], names: Sequence[str]) -> dict[str, JoinedTrack]:
        lengths = {genome.name: genome.store.num_bases for genome in genomes}
        joined = {}
        for name in names:
            those = {genome.name: genome.tracks[name] for genome in genomes if name in genome.tracks}
            if not those:
                raise DataError(
                    "DATA-07",
                    where=f"data.tracks.{name}",
                    found=f"none of {listed(lengths)}, which train, has it",
                    expected="a genome that trains with every track that an objective learns",
                    fix="hold out another genome, give the track of one that trains, or leave that "
                    "objective out",
                )
            joined[name] = join_track(name, those, lengths=lengths)
        return joined

    def validation_samples(self) -> ValidationSamples:
        """The validation windows, genome by genome."""
        return ValidationSamples(
            genomes=self.genomes,
            windows=self.validation_windows,
            tokenizer=self.tokenizer,
            max_tokens=self.windows.max_tokens,
            masking=self.masking,
            seed=self.seed,
        )

    def train_dataloader(self) -> Iterable[Batch]:
        """Micro-batches without end, from the trainer's current step on."""
        trainer = self.trainer
        assert trainer is not None, "the trainer asks for its loaders"
        plan, passes = self.batch, self.batch.accumulation(trainer.world_size)
        is_dealt = isinstance(plan, PackPlan)
        if is_dealt:  # a loader worker reads a rank's whole step
            plan = BatchPlan(global_size=plan.global_size, micro_size=plan.of_rank(trainer.world_size))
        order = StepBatches(
            plan,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            start_step=trainer.global_step,
        )
        samples = self.training_samples()
        loader: Loader[Batch] | Packs
        if is_dealt:
            made = partial(collate_packs, passes=passes, filling=self._filling())
            loader = Packs(self._loader(samples, order, made))
        else:
            loader = self._loader(samples, order, collate)
        return CountedSteps(loader, passes) if self.tracks else loader

    def _filling(self) -> Filling | None:
        """How packs are filled up; not at all where tracks would have to be filled too, or on a CPU."""
        assert self.trainer is not None, "the trainer asks for its loaders"
        device = self.trainer.strategy.root_device.type
        if device not in self.filled_devices or self.tracks or self.inputs:
            return None
        assert isinstance(self.batch, PackPlan), "packs are filled"
        share, padding = self.masking.highest_share, self.tokenizer.special.padding
        return Filling.of(self.batch, share=share, padding=padding)

    def val_dataloader(self) -> Loader[Batch]:
        """The validation windows of this rank."""
        trainer = self.trainer
        assert trainer is not None, "the trainer asks for its loaders"
        samples = self.validation_samples()
        order = validation_batches(
            len(samples),
            micro_size=self.batch.most,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )
        return self._loader(samples, order, collate)

    def _loader(
        self,
        samples: TrainingSamples | ValidationSamples,
        order: StepBatches | list[list[int]],
        collate: Callable[[list[Sample]], Fetched],
    ) -> Loader[Fetched]:
        assert self.trainer is not None, "the trainer asks for its loaders"
        return Loader(
            samples,
            order,
            collate=collate,
            num_workers=self.batch.num_workers,
            device=self.trainer.strategy.root_device,
            keep_workers=True,
        )
