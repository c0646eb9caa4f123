"""Do vectors fall into the classes of a label that nobody told them?

Vectors are scaled to unit variance per dimension; k-means makes as many clusters as there are labels. The
adjusted Rand index tells how well clusters match labels (1 the same, 0 as by chance; Hubert & Arabie 1985),
the silhouette how far each label lies from the others (-1 to 1; Rousseeuw 1987).

R rows, D width.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, silhouette_samples
from sklearn.preprocessing import StandardScaler

from dnalm.durable import atomic_write
from dnalm.errors import DataError

Floats = npt.NDArray[np.floating[Any]]
_STARTS, _MOST_ROWS = 10, 20_000  # of k-means; silhouettes need a distance of each pair


@dataclass(frozen=True, eq=False)
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
    """Refuse labels that no clusters can be held against.

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
    """Cluster without labels, then look at them.

    Args:
        vectors: (R, D).
        labels: (R,), at least two of them.
        seed: of k-means.
    """
    scaled = StandardScaler().fit_transform(vectors.astype(np.float64))
    names = sorted(set(labels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct points than clusters
        clusters = KMeans(len(names), n_init=_STARTS, random_state=seed).fit_predict(scaled)
    silhouettes = silhouette_samples(scaled, labels)
    of_label = np.array(labels)
    return Clustering(
        float(adjusted_rand_score(labels, clusters)),
        float(silhouettes.mean()),
        {name: float(silhouettes[of_label == name].mean()) for name in names},
        clusters.astype(np.int64),
    )


def plane(vectors: Floats, *, seed: int, method: str) -> Floats:
    """The scaled vectors on a plane, (R, 2).

    Args:
        vectors: (R, D).
        seed: of UMAP.
        method: `pca` or `umap` (McInnes et al. 2018).
    """
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


def plot_clusters(
    spaces: Mapping[str, tuple[Floats, Clustering]],
    labels: Sequence[str],
    targets: Sequence[Path],
    *,
    seed: int,
) -> None:
    """Draw PCA and UMAP of each space, a colour for each label.

    Args:
        spaces: vectors and their clustering by name.
        labels: (R,).
        targets: the pictures to write, such as PNG and SVG.
        seed: of UMAP.
    """
    names, of_label = sorted(set(labels)), np.array(labels)
    figure = Figure(figsize=(10, 4.4 * len(spaces)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(spaces), 2, squeeze=False)
    for row, (space, (vectors, found)) in zip(panels, spaces.items(), strict=True):
        for axes, method in zip(row, ("pca", "umap"), strict=True):
            flat = plane(vectors, seed=seed, method=method)
            for number, name in enumerate(names):
                mine = flat[of_label == name]
                axes.scatter(*mine.T, s=4, color=f"C{number % 10}", label=name, linewidths=0)
            axes.set(xticks=[], yticks=[], title=f"{space}, {method.upper()}")
        row[0].set_xlabel(f"adjusted Rand index {found.rand:.3f}, silhouette {found.silhouette:.3f}")
    panels[0, 1].legend(markerscale=3, fontsize=8)
    for target in targets:
        with atomic_write(target) as beside:
            figure.savefig(beside, dpi=110, metadata={"Date": None} if target.suffix == ".svg" else None)
