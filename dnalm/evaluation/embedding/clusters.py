"""What vectors know without having been trained on it: the classes of a label, and orthologs between species.

Clusters: vectors are scaled to unit variance per dimension; k-means makes as many clusters as there are
labels. The adjusted Rand index measures how well clusters match labels (1 the same, 0 as by chance; Hubert &
Arabie 1985), the silhouette how far each label lies from the others (-1 to 1; Rousseeuw 1987).

Ortholog retrieval: whether a region's nearest one in another species is that of the same gene, among the
genes that both have. Nearness is the cosine of vectors that are centred on their species' mean over those
genes, which takes out what a whole genome's composition adds to every vector.

R rows, G genes, D width.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, silhouette_samples
from sklearn.preprocessing import StandardScaler

from dnalm.errors import DataError
from dnalm.evaluation.plots import WIDTH, appearance, new_figure, printed, save_figure
from dnalm.tables import table_writer

Floats = npt.NDArray[np.floating[Any]]
_STARTS, _MOST_ROWS = 10, 20_000  # of k-means; silhouettes need a distance of each pair
_BLOCK = 1024  # rows of the table of similarities at a time


@dataclass(frozen=True, eq=False, kw_only=True)
class Clustering:
    """How vectors and labels agree.

    Attributes:
        rand: adjusted Rand index of k-means clusters and labels.
        silhouette: mean over all rows.
        by_label: mean silhouette over the rows of each label.
        clusters: of each row, (R,).
    """

    rand: float
    silhouette: float
    by_label: dict[str, float]
    clusters: npt.NDArray[np.int64]


def check_labels(labels: Sequence[str | None], *, where: str) -> list[str]:
    """Refuse labels that clusters cannot be compared with.

    Raises:
        DataError: CLUS-01, one is missing, there are fewer than two or as many as rows, or too many rows.
    """
    known = [label for label in labels if label]
    distinct = len(set(known))
    found = None
    if len(known) < len(labels):
        found = f"{len(labels) - len(known)} rows without a label"
    elif not 2 <= distinct < len(labels):
        found = f"{distinct} labels of {len(labels)} rows"
    elif len(labels) > _MOST_ROWS:
        found = f"{len(labels):,} rows"
    if found:
        raise DataError(
            "CLUS-01",
            where=where,
            found=found,
            expected=f"a label for each of at most {_MOST_ROWS:,} rows, two or more that recur",
            fix="name another column, or leave rows out",
        )
    return known


def cluster(vectors: Floats, labels: Sequence[str], *, seed: int) -> Clustering:
    """Cluster vectors (R, D) by seeded k-means, and compare with labels (R,), which are not all the same."""
    scaled = StandardScaler().fit_transform(vectors.astype(np.float64))
    names = sorted(set(labels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct points than clusters
        clusters = KMeans(len(names), n_init=_STARTS, random_state=seed).fit_predict(scaled)
    silhouettes = silhouette_samples(scaled, labels)
    of_label = np.array(labels)
    return Clustering(
        rand=float(adjusted_rand_score(labels, clusters)),
        silhouette=float(silhouettes.mean()),
        by_label={name: float(silhouettes[of_label == name].mean()) for name in names},
        clusters=clusters.astype(np.int64),
    )


def plane(vectors: Floats, *, seed: int, method: str) -> Floats:
    """Vectors (R, D) scaled and on a plane, (R, 2), by `pca` or seeded `umap` (McInnes et al. 2018)."""
    scaled = StandardScaler().fit_transform(vectors.astype(np.float64))
    if method == "pca":
        flat: Floats = PCA(2, svd_solver="full").fit_transform(scaled)
        return flat
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # of TensorFlow, which nobody asked for
        import umap  # compiles for seconds

    neighbours = min(15, len(vectors) - 1)
    drawn: Floats = umap.UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(scaled)
    return drawn


@dataclass(frozen=True, eq=False, kw_only=True)
class Map:
    """Vectors on a plane.

    Attributes:
        space: what was embedded.
        method: `pca` or `umap`.
        places: (R, 2).
    """

    space: str
    method: str
    places: Floats


def draw_maps(spaces: Mapping[str, Floats], *, seed: int) -> list[Map]:
    """PCA and UMAP of each space's vectors (R, D)."""
    return [
        Map(space=space, method=method, places=plane(vectors, seed=seed, method=method))
        for space, vectors in spaces.items()
        for method in ("pca", "umap")
    ]


def write_maps(maps: Sequence[Map], labels: Sequence[str], path: Path) -> None:
    """Write a table of a row for each map and vector: `vectors`, `method`, `x`, `y`, `label`."""
    with table_writer(path, ["vectors", "method", "x", "y", "label"]) as write:
        for each in maps:
            for (x, y), label in zip(each.places.tolist(), labels, strict=True):
                write([each.space, each.method, f"{x:.6g}", f"{y:.6g}", label])


@printed
def plot_clusters(
    maps: Sequence[Map],
    found: Mapping[str, Clustering],
    labels: Sequence[str],
    targets: Sequence[Path],
) -> None:
    """Draw maps, those of a space side by side, a colour and a shape for each label (R,)."""
    names, of_label = sorted(set(labels)), np.array(labels)
    size = float(np.clip(6000 / len(labels), 3, 24))
    figure = new_figure(WIDTH, 0.5 + 3.3 * len(found))
    panels = figure.subplots(len(found), 2, squeeze=False)
    for axes, each in zip(panels.ravel(), maps, strict=True):
        for number, name in enumerate(names):
            x, y = each.places[of_label == name].T
            axes.scatter(x, y, s=size, label=name, linewidths=0, alpha=0.8, **appearance(number))
        axis, of_space = each.method.upper(), found[each.space]
        figures = f"adjusted Rand {of_space.rand:.3f}, silhouette {of_space.silhouette:.3f}"
        axes.set(xticks=[], yticks=[], xlabel=f"{axis} 1", ylabel=f"{axis} 2")
        axes.set_title(f"{each.space}: {figures}" if each.method == "pca" else each.space, loc="left")
    handles = panels[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=min(len(names), 5), markerscale=1.6)
    save_figure(figure, *targets)


@dataclass(frozen=True, eq=False)
class SpeciesRegions:
    """A region of each gene of a species.

    Attributes:
        genes: names, shared between species, each once.
        vectors: of the regions, (G, D).
    """

    genes: tuple[str, ...]
    vectors: Floats


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """How often genes of one species find their orthologs in another.

    Attributes:
        query: the species that is asked.
        target: the one that is searched.
        num_genes: that both have; 1 / `num_genes` is found by chance.
        top1: share whose nearest region is the ortholog's; ties count as not found.
        top10: share whose ortholog is among the ten nearest.
        mean_reciprocal_rank: of the ortholog.
    """

    query: str
    target: str
    num_genes: int
    top1: float
    top10: float
    mean_reciprocal_rank: float


def retrieve_orthologs(species: Mapping[str, SpeciesRegions]) -> list[Retrieval]:
    """Search every species with every other one, in both directions."""
    return [_retrieve(query, target, species) for query, target in permutations(species, 2)]


def ortholog_ranks(query: Floats, target: Floats) -> npt.NDArray[np.int64]:
    """The place of row i of `target` among all its rows by nearness to row i of `query`, from 1, (G,).

    Rows of equal nearness all stand before the ortholog.
    """
    ours, theirs = _directions(query), _directions(target)
    ranks = np.empty(len(ours), dtype=np.int64)
    for begin in range(0, len(ours), _BLOCK):
        near = ours[begin : begin + _BLOCK] @ theirs.T
        own = near[np.arange(len(near)), begin + np.arange(len(near))]
        ranks[begin : begin + _BLOCK] = (near >= own[:, None]).sum(1)
    return ranks


@printed
def plot_retrieval(found: Mapping[str, Sequence[Retrieval]], targets: Sequence[Path]) -> None:
    """Draw, for each pair of species, how often the ortholog is nearest, a bar for each kind of vectors.

    Lines are 95 % intervals by Wilson over genes. Each kind has the same pairs in the same order.
    """
    pairs = [f"{one.query} in {one.target}" for one in next(iter(found.values()))]
    figure = new_figure(WIDTH, 1 + 0.16 * len(pairs) * (len(found) + 1))
    axes = figure.subplots()
    height = 0.8 / len(found)
    for number, (name, rows) in enumerate(found.items()):
        places = np.arange(len(rows)) + number * height
        shares = np.array([row.top1 for row in rows])
        ends = np.array([_share_interval(row.top1, row.num_genes) for row in rows])
        errors = np.abs(ends - shares[:, None]).T
        axes.barh(places, shares, height, xerr=errors, label=name, color=f"C{number}", error_kw=_BARS)
    axes.set_yticks(np.arange(len(pairs)) + 0.4 - height / 2, pairs)
    axes.set(xlim=(0, 1), xlabel="share of genes whose nearest region is the ortholog's, with 95 % intervals")
    axes.invert_yaxis()
    axes.legend()
    save_figure(figure, *targets)


_BARS = {"elinewidth": 0.8, "ecolor": "0.25"}


def _share_interval(share: float, number: int) -> tuple[float, float]:
    """Of a share of so many genes."""
    interval = binomtest(round(share * number), number).proportion_ci(method="wilson")
    return interval.low, interval.high


def _retrieve(query: str, target: str, species: Mapping[str, SpeciesRegions]) -> Retrieval:
    ours, theirs = species[query], species[target]
    row_of = {gene: row for row, gene in enumerate(theirs.genes)}
    shared = [(row, row_of[gene]) for row, gene in enumerate(ours.genes) if gene in row_of]
    assert shared, f"{query} and {target} share no gene"
    mine, found = (np.array(rows) for rows in zip(*shared, strict=True))
    ranks = ortholog_ranks(ours.vectors[mine], theirs.vectors[found])
    return Retrieval(
        query=query,
        target=target,
        num_genes=len(ranks),
        top1=float((ranks == 1).mean()),
        top10=float((ranks <= 10).mean()),
        mean_reciprocal_rank=float((1 / ranks).mean()),
    )


def _directions(vectors: Floats) -> npt.NDArray[np.float32]:
    centred = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    directions: npt.NDArray[np.float32] = (centred / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return directions
