"""What a `_target_` may name: a positive list, applied to the object it resolves to.

A config may come from a stranger. A path is imported only below an admitted package, and what it
leads to must itself be defined there and be of an admitted kind, whatever alias reaches it; so
`torch.load`, `torch.hub.load` or `dnalm.data.module.np.load` name nothing here.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from dnalm.errors import ConfigError

_KINDS = {  # by package: base classes, as `module:name`, of the classes that may be built
    "torch": ("torch.nn:Module", "torch.optim:Optimizer", "torch.optim.lr_scheduler:LRScheduler"),
    "lightning": (
        "lightning.pytorch:LightningDataModule",
        "lightning.pytorch:Callback",
        "lightning.pytorch.loggers:Logger",
        "lightning.pytorch.strategies:Strategy",
    ),
    "torchmetrics": ("torchmetrics:Metric",),
    "peft": ("peft:PeftConfig",),
}


def resolve(target: object, *, key: str) -> Callable[..., Any]:
    """The class or function a `_target_` names.

    Args:
        target: the value of `_target_`.
        key: where it stands in the config, for the error.

    Raises:
        ConfigError: it names nothing, or nothing that may be built.
    """
    if not isinstance(target, str) or not all(part.isidentifier() for part in target.split(".")):
        raise _refused(key, target, "is not a dotted name")
    package = target.partition(".")[0]
    if package != "dnalm" and package not in _KINDS:
        raise _refused(key, target, f"lies outside the packages {', '.join(['dnalm', *_KINDS])}")
    found = _walk(target, key)
    if getattr(found, "__module__", "").partition(".")[0] != package:
        raise _refused(key, target, "is an alias of something defined elsewhere")
    if package == "dnalm":
        allowed = inspect.isclass(found) or inspect.isfunction(found)
    else:
        allowed = inspect.isclass(found) and issubclass(found, _bases(package))
    if not allowed:
        raise _refused(key, target, "is neither a component class nor a function of dnalm")
    built: Callable[..., Any] = found
    return built


def _walk(target: str, key: str) -> Any:  # noqa: ANN401 -- anything may lie at the end of a path
    """Import the modules of a dotted path one by one, then follow one attribute of the last."""
    first, *rest = target.split(".")
    found: Any = _import(first, key, target)
    path = first
    for name in rest:
        path = f"{path}.{name}"
        if hasattr(found, name):
            found = getattr(found, name)
        elif isinstance(found, ModuleType) and importlib.util.find_spec(path) is not None:
            found = _import(path, key, target)
        else:
            hint = difflib.get_close_matches(name, dir(found), n=1)
            nearest = f"; nearest is {hint[0]}" if hint else ""
            raise _refused(key, target, f"does not exist: {path.rpartition('.')[0]} has no {name}{nearest}")
    return found


def _import(module: str, key: str, target: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _refused(key, target, f"cannot be imported: {error}") from error


def _bases(package: str) -> tuple[type, ...]:
    pairs = (kind.split(":") for kind in _KINDS[package])
    return tuple(getattr(importlib.import_module(module), name) for module, name in pairs)


def _refused(key: str, target: object, reason: str) -> ConfigError:
    return ConfigError(
        "CFG-21",
        where=f"{key}._target_" if key else "_target_",
        found=f"{target!r} {reason}",
        expected="a component class or function of dnalm, or a module, optimizer, scheduler, callback, "
        "logger, strategy or metric of torch, lightning, torchmetrics or peft",
        fix="name one of those",
    )
