"""What the overlays of a composed config, sizes, debugging and optional tracks, find nothing to change in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dnalm.compose.signatures import parameters_of
from dnalm.compose.words import Word

if TYPE_CHECKING:
    from omegaconf import DictConfig


def leaves(value: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of the values of nested mappings, a component being one value."""
    for name, item in value.items():
        if isinstance(item, dict) and "_target_" not in item:
            yield from leaves(item, (*path, name))
        elif name != "defaults":
            yield (*path, name)


def has_argument(config: DictConfig, path: Sequence[str]) -> bool:
    """Whether the components on the way to a key have it, as far as their source tells."""
    node: Any = config
    for name in path:
        if not hasattr(node, "get"):
            return True
        known = parameters_of(node.get("_target_"))
        if known is not None and name not in known:
            return False
        node = node.get(name)
    return True


def remove(config: DictConfig, path: Sequence[str]) -> None:
    """Remove a key, and the mappings above it that are left empty."""
    *above, name = path
    node: Any = config
    for part in above:
        node = node[part]
    if name in node:
        del node[name]
    if above and not node:
        remove(config, above)


def leave_out_tracks(config: DictConfig, words: Sequence[Word]) -> None:
    """A track of `data` whose files are not given is absent, unless none is given."""
    from omegaconf import OmegaConf

    data = config.get("data")
    tracks: Any = data.get("tracks") if OmegaConf.is_dict(data) else None
    if not OmegaConf.is_dict(tracks):
        return
    asking = [
        name
        for name, node in tracks.items()
        if OmegaConf.is_dict(node) and any(OmegaConf.is_missing(node, part) for part in node)
    ]
    typed = [word.key for word in words]
    for name in asking if len(asking) < len(tracks) else ():
        if not any(key.startswith(f"data.tracks.{name}.") for key in typed):
            del tracks[name]
