"""What a published checkpoint family calls our parameters and arguments, and how to translate.

A family is data: tables from our names to theirs, which `families` holds. This module reads the
tables in both directions.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from dnalm.errors import CheckpointError
from dnalm.models.encoder import Encoder
from dnalm.small_files import shown

# How attention is computed is the reader's choice and no property of a checkpoint.
_NOT_STORED = frozenset({"kernel"})
_TYPES: Mapping[str, Any] = get_type_hints(Encoder.__init__)
DEFAULTS: Mapping[str, Any] = {
    name: parameter.default
    for name, parameter in inspect.signature(Encoder).parameters.items()
    if name not in _NOT_STORED and parameter.default is not inspect.Parameter.empty
}


@dataclass(frozen=True, kw_only=True)
class Classes:
    """The classes of a layout, and what keeps `transformers` from inventing weights that a directory lacks.

    Where `transformers` finds no weights of a head it draws random ones and warns. A guard is an empty tensor
    under a name of such a head: its shape does not fit, which is an error.

    Attributes:
        encoder: of a directory without a head.
        masked_lm: of one with a head.
        classifier: of one with the head of a task; None where stock `transformers` has none.
        classifier_modules: the names there of our `dense` and `output`.
        head_guard: the guard of the head of masked language modelling.
        classifier_guard: that of the classifier.
    """

    encoder: str
    masked_lm: str
    classifier: str | None = None
    classifier_modules: Mapping[str, str] = field(default_factory=dict)
    head_guard: str | None = None
    classifier_guard: str | None = None


@dataclass(frozen=True)
class Family:
    """One layout of checkpoints.

    Attributes:
        name: for messages.
        marks: fields of config.json by which it is recognised.
        fixed: what else config.json says; a file that lacks one of them, or has null there, means the same.
        classes: what their code calls it.
        written: fields that are written for others and not read.
        arguments: arguments of `Encoder` and their names in config.json.
        absent: what arguments are where config.json lacks them.
        switches: arguments that all members share, where they differ from `Encoder`'s defaults.
        rows_before: whether learned positions begin pad_token_id + 1 rows into their table, and
            max_position_embeddings counts those rows (ESM).
        modules: our modules and theirs; `{n}` is the layer. Several of ours with one name there are
            its rows, in this order. None where all names are ours.
        copies: tensors that must equal others where they are stored.
        writes_copies: whether they are stored.
        left_out: patterns of tensors that may be stored and are of no use here.
        further: what else their code wants to find, made from the encoder.
        published_marks: what the publishers write besides or in place of marks, where that misleads others.
    """

    name: str
    marks: Mapping[str, object]
    fixed: Mapping[str, object]
    written: Mapping[str, object]
    arguments: Mapping[str, str]
    absent: Mapping[str, object]
    switches: Mapping[str, object]
    modules: Mapping[str, str] | None
    classes: Classes
    rows_before: bool = False
    copies: Mapping[str, str] = field(default_factory=dict)
    writes_copies: bool = False
    left_out: tuple[str, ...] = ()
    further: Callable[[Encoder], dict[str, Tensor]] = lambda _: {}
    published_marks: Mapping[str, object] = field(default_factory=dict)

    def recognises(self, config: Mapping[str, object]) -> bool:
        """Whether a config.json is of this family."""
        return all(config.get(key) == value for key, value in self.marks.items())

    def fits(self, encoder: Encoder) -> bool:
        """Whether this layout can say all that the encoder's arguments say."""
        stated = set(self.arguments)
        if self.rows_before and encoder.positions == "learned":
            stated.add("position_offset")
            if encoder.position_offset != encoder.padding_id + 1:
                return False
        implied = {**DEFAULTS, **self.switches}
        return all(getattr(encoder, name) == value for name, value in implied.items() if name not in stated)

    def config(self, encoder: Encoder) -> dict[str, object]:
        """The contents of config.json, but for the dtype."""
        arguments: dict[str, Any] = {
            theirs: getattr(encoder, ours)
            for ours, theirs in self.arguments.items()
            if getattr(encoder, ours) is not None
        }
        if self.rows_before:
            arguments[self.arguments["max_positions"]] += encoder.padding_id + 1
        return {**self.written, **self.fixed, **self.marks, **arguments}

    def copies_of(self, ours: Mapping[str, Any]) -> Mapping[str, str]:
        """Tensors that must equal others where they are stored: none that is a parameter of its own."""
        parts = self.parts(ours)
        return {copy: original for copy, original in self.copies.items() if copy not in parts}

    def encoder_arguments(self, config: Mapping[str, object], *, where: Path) -> dict[str, Any]:
        """The arguments of `Encoder` that a config.json of this family describes.

        Args:
            config: the contents of config.json.
            where: the file, for the error.

        Raises:
            CheckpointError: it differs from the family in a field, or fields are missing or of the
                wrong type, all of which are listed.
        """
        others = {
            key: config[key] for key, value in self.fixed.items() if config.get(key) not in (None, value)
        }
        if others:
            raise CheckpointError(
                "MODEL-10",
                where=str(where),
                found=", ".join(f"{key} is {shown(value)}" for key, value in others.items()),
                expected=", ".join(f"{key} {self.fixed[key]!r}" for key in others),
                fix=f"name a checkpoint of the architecture of {self.name}",
            )
        stated: dict[str, Any] = {
            ours: self.absent.get(ours) if config.get(theirs) is None else config[theirs]
            for ours, theirs in self.arguments.items()
        }
        wrong = [ours for ours, value in stated.items() if not _is_of(value, _TYPES[ours])]
        if wrong:
            raise CheckpointError(
                "MODEL-10",
                where=str(where),
                found=", ".join(f"{self.arguments[ours]} is {_found(stated[ours])}" for ours in wrong),
                expected="; ".join(f"{self.arguments[ours]}: {_say(_TYPES[ours])}" for ours in wrong),
                fix="restore the config.json that came with the weights",
            )
        if self.rows_before:
            offset = stated["padding_id"] + 1
            stated["max_positions"] -= offset
            if self.switches.get("positions", "learned") == "learned":
                stated["position_offset"] = offset
        return {**self.switches, **stated}

    def name_of(self, ours: str) -> str:
        """Their name of one of our parameters."""
        if self.modules is None:
            return ours
        module, parameter = ours.rsplit(".", 1)
        layer = re.search(r"\.blocks\.(\d+)\.", module)
        if layer is None:
            return f"{self.modules[module]}.{parameter}"
        general = module.replace(layer.group(), ".blocks.{n}.")
        return f"{self.modules[general].format(n=layer.group(1))}.{parameter}"

    def parts(self, ours: Mapping[str, Any]) -> dict[str, list[str]]:
        """Each of their tensors, and which of our parameters are its rows, in order."""
        parts: dict[str, list[str]] = {}
        for name in ours:
            parts.setdefault(self.name_of(name), []).append(name)
        return parts

    def export(self, state: Mapping[str, Tensor], encoder: Encoder) -> dict[str, Tensor]:
        """Our weights under their names, and whatever else their code wants to find.

        Args:
            state: of the whole model, or of one without a head.
            encoder: its arguments.
        """
        tensors: dict[str, Tensor] = {}
        for theirs, names in self.parts(state).items():
            rows = [state[name].detach().cpu() for name in names]
            tensors[theirs] = (torch.cat(rows) if len(rows) > 1 else rows[0]).contiguous()
        copies = self.copies.items() if self.writes_copies and "head.bias" in state else ()
        tensors |= {copy: tensors[original].clone() for copy, original in copies}
        return tensors | self.further(encoder)

    def leaves_out(self, theirs: str) -> bool:
        """Whether a stored tensor is of no use here."""
        return any(re.fullmatch(pattern, theirs) for pattern in self.left_out)


def _found(value: object) -> str:
    return "absent" if value is None else shown(value)


def _is_of(value: object, annotation: Any) -> bool:  # noqa: ANN401 -- any annotation of Encoder
    """Whether a JSON value is of an annotated type; a bool is no number, an integer is a float."""
    if get_origin(annotation) in (Union, UnionType):
        return any(_is_of(value, part) for part in get_args(annotation))
    if get_origin(annotation) is Literal:
        return value in get_args(annotation)
    if get_origin(annotation) is tuple:
        return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    if isinstance(value, bool) or annotation is bool:
        return isinstance(value, bool) and annotation is bool
    return isinstance(value, (int, float) if annotation is float else annotation)


def _say(annotation: Any) -> str:  # noqa: ANN401 -- any annotation of Encoder
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_say(part) for part in get_args(annotation))
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(get_args(annotation))
    if get_origin(annotation) is tuple:
        return "a list of names"
    words = {int: "an integer", float: "a number", bool: "true or false", NoneType: "null"}
    return words[annotation]
