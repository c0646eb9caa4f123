"""What a simulated clade is made of: every number with its unit and where it is from; and its species tree.

`Clade` holds plain values only, so that a YAML file can fill it; it checks them when it is made. Two clades
with equal parameters write the same bytes. The tree is written in Newick form, such as
`((a:0.1,b:0.1):0.05,c:0.2);`: branch lengths are expected substitutions per neutral site, only leaves need
names, and these become file names.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, cast

import numpy as np

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
        raise _newick_error(repr(text), "a Newick tree as text")
    tokens = _TOKEN.findall(text)
    if not tokens or tokens[-1] != ";":
        raise _newick_error(repr(text), "a Newick tree that ends in a semicolon")
    if max(_depths(tokens)) > 50:
        raise _newick_error(repr(text[:60]), "at most 50 levels of parentheses")
    root, end = _read_node(tokens, 0, is_root=True)
    if end != len(tokens) - 1:
        raise _newick_error(f"{tokens[end]!r} after the tree's end", "one tree with matching parentheses")
    names = [leaf.name for leaf in root.leaves()]
    if len(names) < 2 or len(set(names)) < len(names):
        raise _newick_error(repr(names), "two or more species with different names")
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
            raise _newick_error(f"{tokens[at]!r} inside parentheses", "a comma or a closing parenthesis")
        at += 1
    label = ""
    if tokens[at] not in "(),;":
        label, at = tokens[at], at + 1
    name, _, length = label.partition(":")
    if not children and not _NAME.fullmatch(name):
        raise _newick_error(
            f"species name {name!r}", "letters, digits, '_', '.' and '-', since it names files"
        )
    return Branch(name, 0.0 if is_root else _read_length(length, label), tuple(children)), at


def _read_length(text: str, label: str) -> float:
    try:
        length = float(text)
    except ValueError:
        length = -1.0
    if not 0 <= length <= MAX_BRANCH:
        raise _newick_error(f"branch {label!r}", f"name:length with a length from 0 to {MAX_BRANCH}")
    return length


def _newick_error(found: str, expected: str) -> ConfigError:
    fix = "write it as ((demo_a:0.1,demo_b:0.1):0.05,demo_c:0.2);"
    return ConfigError("CFG-18", where="clade.tree", found=found, expected=expected, fix=fix)


FORMAT_VERSION = 1  # of the files written; part of a clade's identity

# Relative rates of substitution by kind of site, neutral DNA = 1. A rate of 0 never changes. Third codon
# positions are mostly silent and second ones never, hence the order codon_3 > codon_1 > codon_2.
SITE_KINDS = ("neutral", "frozen", "core", "motif", "codon_1", "codon_2", "codon_3", "utr", "spacer")
MIN_CONTIG_BP = 12_000  # shorter ones may hold no gene
TREE = "((demo_a:0.04,demo_b:0.04):0.04,((demo_c:0.05,demo_d:0.05):0.03,demo_e:0.10):0.02);"

_PARTS = (
    "background",
    "layout",
    "genes",
    "elements",
    "repeats",
    "evolution",
    "conservation",
    "variants",
    "tasks",
)
_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**63 - 1),
    "genome_bp": (6 * MIN_CONTIG_BP, 200_000_000),
    "num_contigs": (3, 100),
    "dev_contigs": (1, 50),
    "test_contigs": (1, 50),
    "isochore_gc": (0.2, 0.8),
    "isochore_bp": (1_000, 10_000_000),
    "cpg_ratio": (0.05, 1.0),
    "repeat_share": (0.0, 0.5),
    "repeat_divergence": (0.0, 0.5),
    "gap_mean_bp": (10, 100_000),
    "assembly_gap_bp": (0, 5_000),
    "enhancers_per_gene": (0.0, 10.0),
    "insulators_per_gene": (0.0, 10.0),
    "tata_share": (0.0, 1.0),
    "introns_mean": (0.0, 8.0),
    "codon_bias": (0.0, 5.0),
    "kappa": (0.1, 100.0),
    "base_frequencies": (0.05, 0.85),
    "relative_rates": (0.0, 2.0),
    "indels_per_substitution": (0.0, 0.5),
    "indel_mean_bp": (1.0, 20.0),
    "conservation_noise": (0.0, 10.0),
    "num_motif_variants": (0, 1_000_000),
    "num_splice_variants": (0, 1_000_000),
}


def _default_repeats() -> dict[str, float]:
    return {"SINE": 0.11, "LINE": 0.08, "simple": 0.03}  # half of human SINE and LINE shares (Lander 2001)


def _default_rates() -> dict[str, float]:
    return {
        "neutral": 1.0,
        "frozen": 0.0,
        "core": 0.10,  # single-base positions of a motif
        "motif": 0.40,  # its degenerate positions
        "codon_1": 0.20,
        "codon_2": 0.12,
        "codon_3": 0.70,
        "utr": 0.60,
        "spacer": 0.75,  # promoter and enhancer DNA between motifs
    }


@dataclass(frozen=True)
class Clade:
    """The parameters of a simulated clade.

    Raises:
        ConfigError: CFG-18, a parameter out of its range, with its name.
    """

    seed: int = 1
    tree: str = TREE  # Newick; branch lengths in substitutions per neutral site
    genome_bp: int = 2_400_000  # bases of the ancestor; species differ by their indels
    num_contigs: int = 8  # chr1 is about twice as long as the last one
    dev_contigs: int = 1  # tasks: the contigs before the test ones
    test_contigs: int = 2  # tasks: the last contigs
    isochore_gc: tuple[float, ...] = (0.33, 0.36, 0.40, 0.45, 0.53)  # families L1 to H3 (Bernardi 2000)
    isochore_bp: int = 30_000  # mean length; 10 times that in mammals
    cpg_ratio: float = 0.25  # CpG observed / expected in the ancestor outside islands; human 0.20-0.25
    repeat_share: dict[str, float] = field(default_factory=_default_repeats)  # of the genome, by family
    repeat_divergence: tuple[float, ...] = (0.02, 0.15)  # lowest, highest, of ancestral copies
    gap_mean_bp: int = 120  # unconstrained DNA between neighbouring elements, exponential
    assembly_gap_bp: int = 300  # run of N near the middle of every contig; 0 for none
    enhancers_per_gene: float = 3.0  # a compact genome: about one in 1.8 kb
    insulators_per_gene: float = 0.3
    tata_share: float = 0.35  # of promoters; the others are CpG-rich; human 0.1-0.2, fly 0.3-0.4
    introns_mean: float = 2.4  # per gene, Poisson, at most 8
    codon_bias: float = 1.5  # power on human codon frequencies; 0 uses synonymous codons alike
    kappa: float = 4.0  # transition / transversion rate ratio of HKY85; mammals 3-5
    base_frequencies: tuple[float, ...] = (0.29, 0.21, 0.21, 0.29)  # A C G T, equilibrium of HKY85
    relative_rates: dict[str, float] = field(default_factory=_default_rates)
    indels_per_substitution: float = 0.08  # in neutral DNA; human-chimpanzee about 1 : 8 to 1 : 12
    indel_mean_bp: float = 3.0  # geometric, at most 30
    conservation_noise: float = 0.5  # standard deviation, in the units of conservation.bw
    num_motif_variants: int = 1_200  # as many neutral partners are added
    num_splice_variants: int = 400

    def __post_init__(self) -> None:
        for item in fields(self):
            value = _as_plain(item.name, getattr(self, item.name), str(item.type))
            if item.name in _RANGES:
                _check_range(item.name, value, integer=item.type == "int")
            object.__setattr__(self, item.name, value if item.type in ("int", "str") else _with_floats(value))
        _check_shapes(self)
        read_newick(self.tree)

    @property
    def root(self) -> Branch:
        """The tree, read; its leaves are the species."""
        return read_newick(self.tree)

    @property
    def species(self) -> list[str]:
        """Names in the order of the tree; the first carries variants, tasks and conservation."""
        return [leaf.name for leaf in self.root.leaves()]

    @property
    def identity(self) -> str:
        """A hash of parameters and format: equal for clades whose files are equal."""
        text = json.dumps({"format": FORMAT_VERSION, "clade": asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def contig_lengths(self) -> list[int]:
        """Bases of every ancestral contig, longest first."""
        shares = np.linspace(2.0, 1.0, self.num_contigs)
        return [int(length) for length in self.genome_bp * shares / shares.sum()]

    def split_of_contig(self, contig: int) -> str:
        """`train`, `dev` or `test`, by the contig's number from 0."""
        if contig >= self.num_contigs - self.test_contigs:
            return "test"
        return "dev" if contig >= self.num_contigs - self.test_contigs - self.dev_contigs else "train"


def stream(clade: Clade, part: str, number: int = 0) -> np.random.Generator:
    """The random numbers of one part, the same whatever the other parts draw.

    They are children of the clade's seed as `SeedSequence.spawn` numbers them.
    """
    key = (_PARTS.index(part), number)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(clade.seed, spawn_key=key)))


def _error(name: str, found: object, expected: str, fix: str) -> ConfigError:
    return ConfigError("CFG-18", where=f"clade.{name}", found=f"{found!r}", expected=expected, fix=fix)


def _as_plain(name: str, value: object, kind: str) -> object:
    """Turn the lists and mappings of a config library into tuples and dicts."""
    if kind.startswith("tuple"):
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise _error(name, value, "a list of numbers", "write it as [0.3, 0.4]")
        return tuple(value)
    if kind.startswith("dict"):
        if not isinstance(value, Mapping):
            raise _error(name, value, "a mapping of names to numbers", "write it as {name: 0.1}")
        return dict(value)
    return value


def _with_floats(value: object) -> object:
    """Make whole numbers floats, since 1 and 1.0 are the same clade."""
    if isinstance(value, tuple):
        return tuple(float(number) for number in value)
    if isinstance(value, dict):
        return {key: float(number) for key, number in value.items()}
    return float(value) if isinstance(value, int) else value


def _check_range(name: str, value: object, *, integer: bool) -> None:
    """Hold one number, or every number of a list or mapping, to its range."""
    low, high = _RANGES[name]
    if isinstance(value, tuple):
        numbers = {f"{name}[{place}]": number for place, number in enumerate(value)}
    elif isinstance(value, dict):
        numbers = {f"{name}.{key}": number for key, number in value.items()}
    else:
        numbers = {name: value}
    kind: Any = int if integer else (int, float)
    for key, number in numbers.items():
        fits = isinstance(number, kind) and not isinstance(number, bool)
        if not fits or not low <= cast(float, number) <= high:
            noun = "a whole number" if integer else "a number"
            raise _error(key, number, f"{noun} from {low:,} to {high:,}", f"set {key} inside that range")


def _check_shapes(clade: Clade) -> None:
    """Rules between numbers: sums, orders, known names."""
    if clade.genome_bp < 2 * MIN_CONTIG_BP * clade.num_contigs:
        limit = clade.genome_bp // (2 * MIN_CONTIG_BP)
        expected = f"at most {limit} contigs in {clade.genome_bp:,} bases"
        raise _error("num_contigs", clade.num_contigs, expected, "use fewer contigs or a larger genome_bp")
    if clade.dev_contigs + clade.test_contigs >= clade.num_contigs:
        expected = (
            f"fewer than {clade.num_contigs - clade.dev_contigs}, so that a contig is left for training"
        )
        raise _error("test_contigs", clade.test_contigs, expected, "hold out fewer contigs")
    if not clade.isochore_gc:
        raise _error("isochore_gc", clade.isochore_gc, "at least one GC share", "give one, such as [0.42]")
    if len(clade.repeat_divergence) != 2 or clade.repeat_divergence[0] > clade.repeat_divergence[1]:
        fix = "give the lowest and the highest, such as [0.02, 0.15]"
        raise _error("repeat_divergence", clade.repeat_divergence, "two numbers, the lower first", fix)
    total = sum(clade.base_frequencies)
    if len(clade.base_frequencies) != 4 or not math.isclose(total, 1, abs_tol=1e-6):
        fix = "give the shares of A, C, G and T"
        raise _error("base_frequencies", clade.base_frequencies, "four numbers whose sum is 1", fix)
    _check_names("repeat_share", clade.repeat_share, tuple(_default_repeats()))
    _check_names("relative_rates", clade.relative_rates, SITE_KINDS)
    if sum(clade.repeat_share.values()) > _RANGES["repeat_share"][1]:
        raise _error("repeat_share", clade.repeat_share, "at most 0.5 in all", "lower the shares")
    if clade.relative_rates["frozen"] != 0:
        found = clade.relative_rates["frozen"]
        raise _error("relative_rates.frozen", found, "0, since start codons and GT..AG stay", "set it to 0")


def _check_names(name: str, found: dict[str, float], known: tuple[str, ...]) -> None:
    """A mapping names every known key and no other."""
    wrong = sorted(set(found) ^ set(known))
    if wrong:
        fix = f"add or remove {', '.join(wrong)}"
        raise _error(name, sorted(found), f"exactly the keys {', '.join(known)}", fix)
