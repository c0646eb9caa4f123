"""The checks of a fine-tuning: recipe, labels, leakage, model, tokens and memory; read from the top."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from dnalm.console import progress_bar
from dnalm.data.labelled import Division, TablePart, divide
from dnalm.data.labelled.module import SequenceData
from dnalm.evaluation.benchmark.leakage import sequence_digest
from dnalm.evaluation.doctor import machine, trial
from dnalm.evaluation.doctor.examination import Check, Finding, failed, passed, there, warned
from dnalm.evaluation.doctor.recipe import Reference, batch, rate
from dnalm.evaluation.doctor.subject import Subject
from dnalm.evaluation.finetuning_report import describe_labels
from dnalm.genome.alphabet import UNKNOWN, is_unknown
from dnalm.training.finetuning import FinetuneModule, Finetuning

_RARE = 0.05  # share of a class, below which it is said
_SHARED = 0.05  # of the test rows that are in training, beyond which nothing is tested
_GIVEN_AWAY = (0.9, 0.05)  # accuracy of a rule without bases, and by how much above the most frequent class
_READ = 256  # rows that are tokenized
_UNKNOWN = (0.01, 0.2)  # share of unknown tokens that is said, and that is too much
_PIECE_BYTES = 40  # of a token in a batch: ids, places, owners
_CLASSES = ("binary", "multiclass")  # whose rows have one class each


class Trial(Finetuning):
    """A fine-tuning that says nothing and leaves nothing."""

    def introduce(self, data: SequenceData, module: FinetuneModule) -> None:
        """Nothing."""

    def finish(self, data: SequenceData, module: FinetuneModule) -> None:
        """Nothing."""


@dataclass(kw_only=True)
class FinetuningSubject(Subject[Trial]):
    """A fine-tuning that has not begun.

    Attributes:
        reference: the recipe that the config follows.
        division: the rows by their use.
        data: the same as the model reads them.
    """

    reference: Reference | None = None
    division: Division | None = None
    data: SequenceData | None = None


def checks(subject: FinetuningSubject) -> list[Check]:
    """All that follow once the config is read, in their order."""
    looks = {
        "folder": machine.place,
        "device": machine.device,
        "precision": machine.precision,
        "batch": _batch,
        "labels": labels,
        "rate": _rate,
        "copies": copies,
        "leakage": leakage,
        "model": model,
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


def _batch(subject: FinetuningSubject) -> Iterator[Finding]:
    """Sequences of an optimizer step against those of the recipe."""
    return batch(subject.batch.global_size, "sequences", subject.reference)


def labels(subject: FinetuningSubject) -> Iterator[Finding]:
    """Read the tables, and how the labels of each part are balanced."""
    task, data = subject.part("task"), subject.parts.get("data")
    division = divide(task, seed=subject.parts.get("seed", 1), data=data)
    for name, rows in division.parts.items():
        lengths = rows.lengths
        yield passed(
            f"{name}: {len(rows):,} sequences of {lengths.min():,} to {lengths.max():,} bases; "
            f"{describe_labels(task, division.num_classes, rows.labels)}"
        )
    for note in division.notes:
        yield warned(note, fix="give tables of their own, or correct them, if that was not meant")
    if task.kind in (*_CLASSES, "segmentation"):
        counts = np.bincount(division.train.labels.astype(np.int64), minlength=division.num_classes)
        least = int(counts.argmin())
        expected = _RARE * min(1.0, 2 / division.num_classes)
        if counts[least] < expected * counts.sum() and subject.part("tuning").class_weights == "none":
            yield warned(
                f"class {least} is {counts[least] / counts.sum():.2%} of the training labels",
                fix="tuning.class_weights=balanced, and judge by mcc or auprc",
            )
    subject.division = division


def _rate(subject: FinetuningSubject) -> Iterator[Finding]:
    """The learning rate against that of the recipe, and its schedule."""
    rows = there(subject.division, "the tables were not read").all_rows
    epochs, asked = subject.parts.get("epochs", 3.0), subject.parts.get("steps")
    number = asked or -int(-epochs * rows // subject.batch.global_size)
    return rate(subject.config, subject.part("schedule"), number, subject.reference)


def copies(subject: FinetuningSubject) -> Iterator[Finding]:
    """Sequences of validation and test that are in training, as they are or on the other strand."""
    division = there(subject.division, "the tables were not read")
    parts = {name: rows for name, rows in division.parts.items() if name != "train"}
    if parts["test"] is parts["val"]:
        del parts["val"]
    with progress_bar("Comparing sequences", total=sum(map(len, division.parts.values()))) as advance:
        trained = {sequence_digest(division.train.table, row) for row in division.train.rows.tolist()}
        advance(len(division.train))
        for name, rows in parts.items():
            found = _copies(rows, trained)
            advance(len(rows))
            share = sum(found) / len(rows)
            text = f"{sum(found):,} of {len(rows):,} {name} sequences are in training"
            text += f", {found[1]:,} of them on the other strand" if found[1] else ""
            fix = "take them out of one of the tables, for a model may know them by heart"
            if share > _SHARED:
                yield failed(text, fix=fix, of_data=True)
            else:
                yield warned(text, fix=fix) if share else passed(text)


def _copies(rows: TablePart, trained: set[bytes]) -> tuple[int, int]:
    """Rows that are among others as they are, and those of which only the other strand is."""
    same = turned = 0
    for row in rows.rows.tolist():
        if sequence_digest(rows.table, row) in trained:
            same += 1
        elif sequence_digest(rows.table, row, reverse=True) in trained:
            turned += 1
    return same, turned


def leakage(subject: FinetuningSubject) -> Iterator[Finding]:
    """Whether labels can be told without reading a base: from the length of a sequence, or from its N."""
    division, task = there(subject.division, "the tables were not read"), subject.part("task")
    if task.kind not in _CLASSES:
        yield passed(f"labels of a {task.kind} task are not looked for in lengths and N")
        return
    train, test = division.train, division.test
    most = np.bincount(train.labels.astype(np.int64)).argmax()
    by_chance = float((test.labels == most).mean())
    is_given_away = False
    for name, measure in (("their length", _lengths), ("their number of N", _unknown)):
        accuracy = _rule(measure(train), train.labels, measure(test), test.labels)
        if accuracy > max(_GIVEN_AWAY[0], by_chance + _GIVEN_AWAY[1]):
            is_given_away = True
            yield warned(
                f"{name} alone tells the label of {accuracy:.1%} of the test sequences",
                fix="make sequences of all classes alike: one length (task.length_bp), no N",
            )
    if not is_given_away:
        yield passed("neither length nor N of a sequence gives its label away")


def _lengths(rows: TablePart) -> npt.NDArray[np.int64]:
    return rows.lengths


def _unknown(rows: TablePart) -> npt.NDArray[np.int64]:
    return np.array([int(is_unknown(rows.table.sequence(row)).sum()) for row in rows.rows.tolist()])


def _rule(
    seen: npt.NDArray[np.int64],
    labels: npt.NDArray[np.generic],
    asked: npt.NDArray[np.int64],
    truth: npt.NDArray[np.generic],
) -> float:
    """The accuracy of whoever says the most frequent class of training at each value."""
    classes = labels.astype(np.int64)
    values, place = np.unique(seen, return_inverse=True)
    counts = np.zeros((len(values), int(classes.max()) + 1), dtype=np.int64)
    np.add.at(counts, (place, classes), 1)
    at = np.searchsorted(values, asked).clip(max=len(values) - 1)
    is_new = values[at] != asked
    said = np.where(is_new, counts.sum(axis=0).argmax(), counts.argmax(axis=1)[at])
    return float((said == truth.astype(np.int64)).mean())


def model(subject: FinetuningSubject) -> Iterator[Finding]:
    """Whether the model can be read, and its tokenizer and its longest piece fit the sequences."""
    there(subject.division, "the tables were not read")
    made = subject.make_trial()
    data = subject.data = made.prepare()
    longest = data.longest_piece
    subject.sample_bytes = _PIECE_BYTES * longest
    limit = "any length" if data.limit is None else f"{data.limit:,}"
    yield passed(f"opened; it takes {limit} tokens, and the longest piece that trains has {longest:,}")


def tokens(subject: FinetuningSubject) -> Iterator[Finding]:
    """How the tokenizer reads the training sequences: unknown tokens, bases a token, what is cut off."""
    data = there(subject.data, "the model was not opened")
    reader, train = data.reader("train"), data.division.train
    rows = np.unique(np.linspace(0, len(train) - 1, min(_READ, len(train))).astype(np.int64))
    pieces = [reader.read(int(row), reverse=False, index=0).pieces for row in rows]
    ids = np.concatenate([each.ids[each.spells] for each in pieces])
    unknown = float((data.tokenizer.token_bases[ids, 0] == UNKNOWN).mean())
    text = (
        f"{unknown:.2%} unknown, {train.lengths[rows].sum() / len(ids):.2f} bases a token in {len(rows)} rows"
    )
    if unknown > _UNKNOWN[1]:
        yield failed(text, fix="see what the sequences hold, or choose a tokenizer of DNA", of_data=True)
    elif unknown > _UNKNOWN[0]:
        yield warned(text, fix="see where the N of the sequences come from")
    else:
        yield passed(text)
    cut = sum(len(each.lengths) > 1 for each in pieces)
    full = (
        0
        if data.limit is None
        else sum(int(each.lengths[0]) - data.tokenizer.special.num_wrapping >= data.limit for each in pieces)
    )
    if data.recipe.long == "truncate" and full:
        yield warned(
            f"{full} of {len(rows)} sequences fill the model and may be cut off", fix="sequences.long=pieces"
        )
    elif cut:
        yield passed(f"{cut} of {len(rows)} sequences are longer than the model, and cut into pieces")


def memory(subject: FinetuningSubject) -> Iterator[Finding]:
    """Build what trains, and hold a step's memory against that of the device."""
    return trial.build_and_weigh(subject, there(subject.data, "the model was not opened"))


def steps(subject: FinetuningSubject) -> Iterator[Finding]:
    """See `trial.steps`; a probe takes none."""
    data = there(subject.data, "the model was not opened")
    if subject.part("tuning").encoder == "cached":
        return iter([passed("a probe: the encoder runs once over all sequences, and no step is taken")])
    return trial.steps(subject, data)
