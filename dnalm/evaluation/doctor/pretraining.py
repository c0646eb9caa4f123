"""The checks of a pretraining: recipe, genomes, annotations, windows, tokens, memory; read from the top."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from dnalm.console import progress_bar
from dnalm.data import MultispeciesCorpus
from dnalm.data.batch import Sample
from dnalm.data.corpus import Corpus, CorpusGenome
from dnalm.data.module import GenomeData
from dnalm.durable import file_sha256
from dnalm.errors import listed
from dnalm.evaluation.doctor import machine, trial
from dnalm.evaluation.doctor.examination import Check, Finding, failed, passed, there, warned
from dnalm.evaluation.doctor.recipe import Reference, batch, rate
from dnalm.evaluation.doctor.subject import Size, Subject
from dnalm.evaluation.plan import Plan, Recipe, count_parts
from dnalm.genome.alphabet import UNKNOWN
from dnalm.genome.intervals import total_length
from dnalm.genome.store import GenomeStore
from dnalm.genome.tracks import TrackStatistics
from dnalm.models.gpus import Gpu, find_gpu
from dnalm.models.memory import Machine, count_memory
from dnalm.tokenizers import BpeRecipe, Tokenizer
from dnalm.training.capacity import CPU_TOKENS
from dnalm.training.objectives import MaskedTokens, ObjectiveSet, check_sources
from dnalm.training.pretraining import MaskedLMTraining, Pretraining, learned_tokenizer

_HASHED = 10_000_000_000  # bytes of source files that are read again, at most
_DRAWN = 64  # windows that are tokenized
_UNKNOWN = (0.01, 0.2)  # share of unknown tokens that is said, and that is too much
_MISFIT = 0.15  # of bases a token against what windows are laid out for
_LOST = 0.2  # share of the training side's known bases that no window reads
_PASSES = 300  # over the training side; published recipes take up to 94
_FEW = 50  # validation windows, below which figures are noise
_RARE, _GIB = 1e-3, 2**30
_LESS_MEMORY = "lower batch.micro_size, choose size=small, or see dnalm plan for GPUs"


@dataclass(kw_only=True, eq=False)
class Trial(Pretraining):
    """A pretraining that says nothing and leaves nothing."""

    experiment: str = ""

    def introduce(self, data: GenomeData, module: MaskedLMTraining) -> None:
        """Nothing."""

    def finish(self, data: GenomeData, module: MaskedLMTraining) -> None:
        """Nothing."""


@dataclass(kw_only=True)
class PretrainingSubject(Subject[Trial]):
    """A pretraining that has not begun.

    Attributes:
        recipe: what its cost depends on; None where the model is no new one.
        reference: the recipe that the config follows.
        stores: the genomes by name.
        opened: the same, divided.
        learned: what is learned of which tracks.
        tokenizer: opened or learned.
        data: the windows.
    """

    recipe: Recipe | None = None
    reference: Reference | None = None
    stores: Mapping[str, GenomeStore] | None = None
    opened: list[CorpusGenome] | None = None
    learned: ObjectiveSet | None = None
    tokenizer: Tokenizer | None = None
    data: GenomeData | None = None

    @property
    def corpus(self) -> Corpus:
        """The genomes of the config."""
        corpus: Corpus = self.part("data")
        return corpus

    @property
    def tracks(self) -> list[str]:
        """Names of the annotations that it learns or reads."""
        objectives = (self.parts.get("objectives") or {}).values()
        learned = (each.track for each in objectives if not isinstance(each, MaskedTokens))
        return list(dict.fromkeys([*learned, *self.parts.get("inputs", ())]))


def checks(subject: PretrainingSubject) -> list[Check]:
    """All that follow once the config is read, in their order."""
    looks = {
        "folder": machine.place,
        "device": machine.device,
        "precision": machine.precision,
        "batch": _batch,
        "rate": _rate,
        "genomes": genomes,
        "contigs": contigs,
        "checksums": checksums,
        "tracks": tracks,
        "leakage": leakage,
        "tokenizer": tokenizer,
        "windows": windows,
        "tokens": tokens,
        "workers": machine.workers,
        "memory": memory,
        "disk": machine.disk,
        "steps": steps,
        "time": trial.hours,
    }
    return [
        Check("versions", machine.versions),
        *(Check(name, partial(look, subject)) for name, look in looks.items()),
    ]


def _batch(subject: PretrainingSubject) -> Iterator[Finding]:
    """Tokens of an optimizer step against those of the recipe."""
    tokens = subject.batch.global_size * subject.part("windows").max_tokens
    return batch(tokens, "tokens", subject.reference)


def _rate(subject: PretrainingSubject) -> Iterator[Finding]:
    """The learning rate against that of the recipe, and its schedule."""
    return rate(subject.config, subject.part("schedule"), int(subject.part("steps")), subject.reference)


def genomes(subject: PretrainingSubject) -> Iterator[Finding]:
    """Every genome in a store whose checksums hold; those that are not there are built, as the run would."""
    corpus = subject.corpus
    if isinstance(corpus, MultispeciesCorpus):
        remote = [each.name for each in corpus.species if each.remote and not each.path.exists()]
        if remote:
            yield failed(
                f"{len(remote):,} of {len(corpus.species):,} genomes are not downloaded: {listed(remote)}",
                fix="download them first: dnalm prepare with the same data=… words",
                of_data=True,
            )
            return
        corpus.prepare(tracks=())
    subject.stores = corpus.stores()
    bases = sum(store.num_bases for store in subject.stores.values())
    unknown = sum(store.manifest.num_unknown for store in subject.stores.values())
    number = sum(len(store.contigs) for store in subject.stores.values())
    yield passed(
        f"{listed(list(subject.stores))}: {number:,} contigs, {bases:,} bases, {unknown / bases:.1%} of them "
        "N; checksums of the stores hold"
    )


def contigs(subject: PretrainingSubject) -> Iterator[Finding]:
    """Contig names of split and regions against those of the genome, and how it is divided."""
    there(subject.stores, "no genome was opened")
    subject.opened = subject.corpus.genomes(tracks=())
    for genome in subject.opened[:3]:
        said = f"{genome.name}: {genome.division.description}"
        if "warning: " in said:
            yield warned(said.replace("warning: ", ""), fix="hold out less: data.split.validation=[…]")
        else:
            yield passed(said)
    if len(subject.opened) > 3:
        yield passed(f"and {len(subject.opened) - 3} more genomes are divided")


def checksums(subject: PretrainingSubject) -> Iterator[Finding]:
    """The files of the genomes against the checksums that their stores were built from."""
    opened = there(subject.opened, "no genome was divided")
    files = [genome for genome in opened if genome.path.is_file()]
    left, changed, read = _HASHED, False, 0
    sizes = {genome.name: genome.path.stat().st_size for genome in files}
    with progress_bar("Comparing checksums", total=sum(sizes.values()), in_bytes=True) as advance:
        for genome in files:
            source = genome.store.manifest.source
            is_other = sizes[genome.name] != source.num_bytes
            if not is_other and sizes[genome.name] <= left:
                left, read = left - sizes[genome.name], read + 1
                is_other = file_sha256(genome.path) != source.sha256
            if is_other:
                changed = True
                yield failed(
                    f"{genome.path} has changed since its store {genome.store.path} was built",
                    fix="restore the file, or delete the store, which is then built anew",
                    of_data=True,
                )
            advance(sizes[genome.name])
    if not changed and read:
        rest = f"; of {len(files) - read} more, their sizes" if read < len(files) else ""
        yield passed(f"{read} genome file{'s are' if read > 1 else ' is'} what the store was built of{rest}")
    elif not changed:
        yield passed("genomes are read from stores, whose files are not here to be compared")


def tracks(subject: PretrainingSubject) -> Iterator[Finding]:
    """Contig names, coverage and balance of the annotations that are learned or read."""
    there(subject.opened, "no genome was divided")
    if not subject.tracks:
        yield passed("no annotation is learned or read")
        return
    subject.opened = subject.corpus.genomes(tracks=subject.tracks)
    for genome in subject.opened:
        for name, track in genome.tracks.items():
            yield from _of_track(f"{name} of {genome.name}", track.statistics)
            for note in track.manifest.notes[:3]:
                yield warned(f"{name}: {note}", fix="see whether that was meant")
            others = [f"{given} is {own}" for given, own in track.manifest.aliases.items() if given != own]
            if others:
                yield passed(f"{name}: other names of contigs: {listed(others)}")


def _of_track(name: str, statistics: TrackStatistics) -> Iterator[Finding]:
    """Coverage and balance of a track on one genome."""
    if not statistics.num_covered:
        yield failed(f"{name} covers no base", fix="see whether the file is of this assembly", of_data=True)
        return
    known = statistics.covered_bases  # of labels; a note says which are known nowhere
    shares = {label: share for label, share in statistics.fractions().items() if known.get(label, 1)}
    rare = [label for label, share in shares.items() if share < _RARE]
    if rare:
        yield warned(
            f"{name}: labels of less than {_RARE:.1%} of the bases: {listed(rare)}",
            fix="leave them out (classes), or expect nothing to be learned of them",
        )
    covered = statistics.num_covered / statistics.num_bases
    most = max(shares.items(), key=lambda item: item[1], default=None)
    said = f", {len(shares)} labels, most often {most[0]} ({most[1]:.1%})" if most else ""
    yield passed(f"{name}: {covered:.1%} of the bases known{said}")


def leakage(subject: PretrainingSubject) -> Iterator[Finding]:
    """Whether an annotation is both read and learned, under one name or two."""
    inputs = tuple(subject.parts.get("inputs", ()))
    learned = ObjectiveSet(subject.parts.get("objectives"), subject.parts.get("weighting", "fixed"), inputs)
    opened = there(subject.opened, "no genome was divided")
    check_sources(inputs, learned.on_tracks, [genome.tracks for genome in opened])
    subject.learned = learned
    if not inputs:
        yield passed("no annotation is read, so none gives a target away")
        return
    yield passed(
        f"what is read ({listed(inputs)}) is not learned ({listed(learned.on_tracks) or 'no track'})"
    )


def tokenizer(subject: PretrainingSubject) -> Iterator[Finding]:
    """Open the tokenizer, or learn it on the training parts, as the run would."""
    there(subject.opened, "no genome was divided")
    asked = subject.part("tokenizer")
    subject.tokenizer = learned_tokenizer(asked, subject.corpus)
    how = "learned on the training parts" if isinstance(asked, BpeRecipe) else type(asked).__name__
    yield passed(f"{subject.tokenizer.vocab_size:,} ids, {how}")


def windows(subject: PretrainingSubject) -> Iterator[Finding]:
    """How many windows can be drawn, and what of the genomes no window reads, and why."""
    there(subject.learned, "annotations are not in order")
    own = there(subject.tokenizer, "there is no tokenizer")
    made = subject.make_trial(tokenizer=own)
    data = subject.data = made.prepare()
    given = sum(total_length(genome.division.train) for genome in data.opened)
    read = sum(total_length(genome.train) for genome in data.genomes)
    short = sum(genome.num_too_short for genome in data.genomes)
    cuts = sum(genome.training.num_cuts for genome in data.genomes if genome.training is not None)
    shortest = made.windows.bases(made.windows.shortest, data.tokenizer)
    drawn = made.num_steps * subject.batch.global_size
    passes = trial.shown_number(drawn / cuts)
    lost = f"not read: {given - read - short:,} in N, {short:,} in stretches below {shortest:,}"
    text = f"{cuts:,} in one pass over {read:,} training bases, {passes} passes in the run; "
    text += lost if given > read else "none is left out"
    if short > _LOST * (read + short):
        yield warned(text, fix="raise windows.max_unknown, or lower windows.max_tokens or windows.min_tokens")
    elif drawn > _PASSES * cuts:
        yield warned(text, fix="lower steps, or give more genomes: what is read so often is learned by heart")
    else:
        yield passed(text)
    judged = len(data.validation_windows)
    if judged < _FEW:
        yield warned(f"{judged} windows validate, which is few", fix="hold out more: data.split")
    else:
        yield passed(f"{judged:,} windows validate")


def tokens(subject: PretrainingSubject) -> Iterator[Finding]:
    """How the tokenizer reads windows of the run: unknown tokens, bases a token."""
    data, made = there(subject.data, "no window was laid out"), there(subject.trial, "the run was not made")
    drawn = data.training_samples()
    samples = [drawn[number] for number in range(_DRAWN)]
    subject.sample_bytes = max(map(_bytes_of, samples))
    ids = np.concatenate([sample.ids[sample.content] for sample in samples])
    unknown = float((data.tokenizer.token_bases[ids, 0] == UNKNOWN).mean())
    per_token = sum(sample.num_bases for sample in samples) / len(ids)
    laid_out = made.windows.bases(made.windows.max_tokens, data.tokenizer) / made.windows.max_tokens
    text = f"{unknown:.2%} unknown, {per_token:.2f} bases a token in {_DRAWN} windows"
    too_many = "choose a tokenizer of DNA, or lower windows.max_unknown, for N is no base"
    if unknown > _UNKNOWN[1]:
        yield failed(text, fix=too_many, of_data=True)
    elif unknown > _UNKNOWN[0]:
        yield warned(text, fix=too_many)
    elif data.tokenizer.overlap == 1 and abs(per_token / laid_out - 1) > _MISFIT:
        side = "come out shorter than windows.max_tokens" if per_token > laid_out else "are cut off"
        yield warned(
            f"{text}; windows are laid out for {laid_out:.2f}, so they {side}",
            fix=f"windows.bases_per_token={per_token:.2f}",
        )
    else:
        yield passed(text)


def _bytes_of(sample: Sample) -> int:
    arrays = [*vars(sample).values(), *sample.tracks.values()]
    return sum(each.nbytes for each in arrays if isinstance(each, np.ndarray))


def memory(subject: PretrainingSubject) -> Iterator[Finding]:
    """A step's memory by the plan, against that of the device; a model that is loaded is built first."""
    trainer, recipe = subject.trainer, subject.recipe
    if recipe is None:
        for name in ("model", "tokenizer", "windows", "masking", "batch", "steps"):
            subject.part(name)
        yield from trial.build_and_weigh(subject, there(subject.data, "no window was laid out"))
        return
    parameters = sum(count_parts(recipe.encoder).values())
    subject.size = Size(parameters=parameters, trained=parameters)
    if trainer.device == "cuda":
        yield subject.hindered_by(_on_gpus(recipe, trainer.world_size), trial.TOO_LARGE)
        return
    samples = recipe.batch.micro_size or max(1, CPU_TOKENS // recipe.longest)
    again = trainer.activation_checkpointing is True
    on_cpu = Machine(device="cpu", arithmetic=trainer.arithmetic, recomputes=again)
    found = machine.weigh(
        count_memory(recipe.encoder, recipe.pack(samples), on_cpu).total * trainer.world_size,
        machine.free_memory(),
        f"{parameters:,} parameters and {samples:,} windows a pass need {{}} of {{}} of memory",
        fix=_LESS_MEMORY,
    )
    yield subject.hindered_by(found, trial.TOO_LARGE)


def _on_gpus(recipe: Recipe, gpus: int) -> Finding:
    """Of as many GPUs as the run has, all like the first."""
    name, total = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory
    known = find_gpu(name)
    kind = Gpu(name, known.peak if known else 1.0, total / _GIB)
    plan = Plan(recipe=recipe, gpu=kind, gpus=gpus)
    needed = plan.memory(plan.way, plan.samples).total
    text = (
        f"{plan.samples:,} windows a pass, activations {plan.title(plan.way)}, need {{}} of {{}} that "
        f"tensors may take of a {name}"
    )
    found = machine.weigh(needed, plan.room, text, fix=" or ".join(plan.advice()) or _LESS_MEMORY)
    return passed(found.found) if plan.fits else found  # the room holds a reserve already


def steps(subject: PretrainingSubject) -> Iterator[Finding]:
    """See `trial.steps`."""
    return trial.steps(subject, there(subject.data, "no window was laid out"))
