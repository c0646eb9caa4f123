"""What must not change between the save of a run and its resume: whatever decides which samples it sees.

The contract is a flat mapping of names to plain values, kept in every checkpoint. How many processes, loader
workers and micro-batches share the work is not in it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Mapping
from typing import Any

from dnalm.data.module import GenomeData
from dnalm.data.targets import AbsentTrack
from dnalm.errors import ConfigError

Contract = dict[str, str | int | float | bool | None]


def contract_of(data: GenomeData) -> Contract:
    """The contract of a run whose genomes are divided and laid out."""
    contract: Contract = {"seed": data.seed, "batch.global_size": data.batch.global_size}
    contract["tokenizer"] = data.tokenizer.fingerprint
    for name, part in (("windows", data.windows), ("masking", data.masking)):
        for field in dataclasses.fields(part):
            contract[f"{name}.{field.name}"] = getattr(part, field.name)
    for opened, genome in zip(data.opened, data.genomes, strict=True):
        trained = hashlib.sha256(genome.train.tobytes()).hexdigest()[:16]
        contract[f"data.{genome.name}"] = genome.store.fingerprint
        contract[f"data.{genome.name}.split"] = trained
        contract[f"data.{genome.name}.weight"] = opened.weight
        for track, store in genome.tracks.items():
            known = None if isinstance(store, AbsentTrack) else store.fingerprint
            contract[f"data.{genome.name}.tracks.{track}"] = known
    return contract


def check_contract(saved: Mapping[str, Any], now: Contract, allowed: Collection[str], *, where: str) -> None:
    """Refuse to go on with other samples.

    Args:
        saved: the contract in the checkpoint.
        now: that of the run.
        allowed: fields that may differ, or what they begin with, such as `masking`.
        where: the checkpoint.

    Raises:
        ConfigError: CKPT-10, a field differs; all that do are named.
    """
    changed = [
        f"{name} was {saved.get(name, 'absent')}, now {now.get(name, 'absent')}"
        for name in sorted(saved.keys() | now.keys())
        if saved.get(name, "absent") != now.get(name, "absent") and not _allowed(name, allowed)
    ]
    if changed:
        raise ConfigError(
            "CKPT-10",
            where=where,
            found="; ".join(changed),
            expected="the settings that the run was begun with, since they decide what it sees",
            fix="set them back, start a new run under another run.name, or allow the change by "
            f"resume_allow=[{changed[0].split()[0]}]",
        )


def _allowed(name: str, allowed: Collection[str]) -> bool:
    return any(name == field or name.startswith(f"{field}.") for field in allowed)
