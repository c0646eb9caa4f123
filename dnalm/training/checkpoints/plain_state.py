"""The state beside the tensors: plain JSON types with finite numbers, which read back as they were."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from dnalm.errors import NumericsError


def spell_state(state: Mapping[str, Any]) -> str:
    """The text of `state.json`.

    Raises:
        TypeError: something in it is no dict with names, list, text, number, truth value or None.
        NumericsError: CKPT-08, a number is not finite.
    """
    _check_plain(dict(state), "state")
    return json.dumps(state, indent=1, sort_keys=True) + "\n"


def _check_plain(value: object, where: str) -> None:
    if type(value) is dict:
        for name, part in value.items():
            if type(name) is not str:
                raise TypeError(f"{where} has the name {name!r}, and JSON has only texts as names")
            _check_plain(part, f"{where}.{name}")
    elif type(value) is list:
        for number, part in enumerate(value):
            _check_plain(part, f"{where}[{number}]")
    elif type(value) is float:
        if not math.isfinite(value):
            raise _not_finite(where, str(value))
    elif value is not None and type(value) not in (str, int, bool):
        raise TypeError(f"{where} is a {type(value).__name__}, which JSON does not have")


def _not_finite(where: str, found: str) -> NumericsError:
    return NumericsError(
        "CKPT-08",
        where=where,
        found=found,
        expected="finite values only",
        fix="resume from the newest checkpoint with a lower learning rate, or look at the data of this step",
    )
