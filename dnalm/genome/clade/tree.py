"""A species tree in Newick form, such as `((a:0.1,b:0.1):0.05,c:0.2);`.

Branch lengths are expected substitutions per neutral site. Inner names are kept nowhere, since only
leaves have files; leaf names become file names and are held to letters, digits, `_`, `.` and `-`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dnalm.errors import ConfigError

MAX_BRANCH = 1.0  # substitutions per neutral site, beyond which little homology is left

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_TOKEN = re.compile(r"[(),;]|[^(),;\s]+")


@dataclass(frozen=True)
class Branch:
    """A node with the branch that leads to it; a species where it has no children."""

    name: str
    length: float
    children: tuple[Branch, ...] = ()

    def leaves(self) -> Iterator[Branch]:
        """Species below this node, left to right."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()

    def count(self) -> int:
        """Branches from here to the leaves, this one included."""
        return 1 + sum(child.count() for child in self.children)


def read_newick(text: str) -> Branch:
    """Read a tree.

    Args:
        text: one Newick tree; every branch but the root's has a length.

    Raises:
        ConfigError: CFG-18, a malformed tree, a length out of range, or a name that is no file name.
    """
    if not isinstance(text, str):
        raise _error(repr(text), "a Newick tree as text")
    tokens = _TOKEN.findall(text)
    if not tokens or tokens[-1] != ";":
        raise _error(repr(text), "a Newick tree that ends in a semicolon")
    if max(_depths(tokens)) > 50:
        raise _error(repr(text[:60]), "at most 50 levels of parentheses")
    root, end = _read_node(tokens, 0, is_root=True)
    if end != len(tokens) - 1:
        raise _error(f"{tokens[end]!r} after the tree's end", "one tree with matching parentheses")
    names = [leaf.name for leaf in root.leaves()]
    if len(names) < 2 or len(set(names)) < len(names):
        raise _error(repr(names), "two or more species with different names")
    return root


def _depths(tokens: list[str]) -> list[int]:
    depth, depths = 0, [0]
    for token in tokens:
        depth += (token == "(") - (token == ")")
        depths.append(depth)
    return depths


def _read_node(tokens: list[str], at: int, *, is_root: bool = False) -> tuple[Branch, int]:
    """Read the node that begins at a token; also gives the token after it."""
    children: list[Branch] = []
    if tokens[at] == "(":
        while tokens[at] in "(,":
            child, at = _read_node(tokens, at + 1)
            children.append(child)
        if tokens[at] != ")":
            raise _error(f"{tokens[at]!r} inside parentheses", "a comma or a closing parenthesis")
        at += 1
    label = ""
    if tokens[at] not in "(),;":
        label, at = tokens[at], at + 1
    name, _, length = label.partition(":")
    if not children and not _NAME.fullmatch(name):
        raise _error(f"species name {name!r}", "letters, digits, '_', '.' and '-', since it names files")
    return Branch(name, 0.0 if is_root else _read_length(length, label), tuple(children)), at


def _read_length(text: str, label: str) -> float:
    try:
        length = float(text)
    except ValueError:
        length = -1.0
    if not 0 <= length <= MAX_BRANCH:
        raise _error(f"branch {label!r}", f"name:length with a length from 0 to {MAX_BRANCH}")
    return length


def _error(found: str, expected: str) -> ConfigError:
    fix = "write it as ((demo_a:0.1,demo_b:0.1):0.05,demo_c:0.2);"
    return ConfigError("CFG-18", where="clade.tree", found=found, expected=expected, fix=fix)
