"""`dnalm cluster`: do a model's vectors fall into the classes of a label that it has not seen?

The run directory holds `embeddings.parquet`; `clusters.csv` (adjusted Rand index, silhouette over all rows
and by label, of the model and of k-mer frequencies); `clusters.png` and `clusters.svg`, and their points in
`map.csv`; `summary.json` with `model`, `rows`, `labels`, `label`, `k`, `seed` and the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from dnalm.console import stdout
from dnalm.evaluation.classical import kmer_frequencies
from dnalm.evaluation.embedding.clusters import (
    Clustering,
    Floats,
    check_labels,
    cluster,
    draw_maps,
    plot_clusters,
    write_maps,
)
from dnalm.evaluation.embedding.files import EmbeddingPlan, embed_file, read_embeddings
from dnalm.evaluation.embedding.reader import EmbeddingRecipe
from dnalm.evaluation.inference import Device
from dnalm.evaluation.report import leave_report
from dnalm.evaluation.sequence_inputs import SequenceInput
from dnalm.limits import Processes, Seed
from dnalm.models import Pretrained
from dnalm.paths import CachePath, InputPath
from dnalm.tables import table_writer
from dnalm.tokenizers import Tokenizer
from dnalm.training import RunDirectory


def clusters(
    *,
    model: Pretrained,
    input: InputPath,  # noqa: A002 -- the key's name
    label: str,
    run: RunDirectory,
    config: dict[str, object],
    reference: InputPath | None = None,
    sequence: str = "sequence",
    layer: int = -1,
    pooling: Literal["mean", "cls", "max"] = "mean",
    k: Annotated[int, Field(ge=1, le=8)] = 4,
    seed: Seed = 1,
    tokenizer: Tokenizer | None = None,
    cache: CachePath | None = None,
    workers: Processes = 1,
    device: Device = "auto",
) -> None:
    """Embed, cluster, hold clusters against labels, and draw both, beside k-mer frequencies.

    Args:
        model: a run, a model directory or a published model.
        input: a table, or BED with `reference`.
        label: the column of labels.
        run: the run directory.
        config: the composed config.
        reference: the genome of a BED.
        sequence: of a table: the column of sequences.
        layer: 0 the embeddings, -1 the last block's output.
        pooling: of a sequence's vector.
        k: of the baseline.
        seed: of k-means and UMAP.
        tokenizer: what the model's ids mean; that of its folder if absent.
        cache: folder of stores; the user's cache if absent.
        workers: processes.
        device: where to compute.

    Raises:
        ConfigError: CFG-53, 54, choices that do not fit each other or the model.
        DataError: the input cannot be used; CLUS-01, its labels cannot.
        CheckpointError: the model cannot be read.
    """
    with run.opened(config, resumable=True):
        source = SequenceInput(
            path=input,
            reference=reference,
            cache=cache,
            sequence=sequence,
            keep=(label,),
            kept_by="label",
            has_max_bp=False,
        )
        rows = [(item.codes, item.kept[0]) for item in source]
        labels = check_labels([row[1] for row in rows], where=f"{input} {label}")
        run.create(config)
        recipe = EmbeddingRecipe(layer=layer, pooling=pooling)
        plan = EmbeddingPlan(model=model, recipe=recipe, tokenizer=tokenizer, keep=(label,), device=device)
        embed_file(source, run.path / "embeddings.parquet", plan, workers=workers)
        vectors = {
            "model": read_embeddings(run.path / "embeddings.parquet").vectors,
            f"{k}-mer frequencies": kmer_frequencies([row[0] for row in rows], k=k),
        }
        found = _compare(vectors, labels, run.path, seed=seed)
        counts = {name: labels.count(name) for name in sorted(set(labels))}
        about = {"label": label, "labels": counts, "rows": len(labels), "k": k, "seed": seed}
        figures = {
            name: {"rand": each.rand, "silhouette": each.silhouette, "by_label": each.by_label}
            for name, each in found.items()
        }
        path = run.write_summary({"model": model.title, **about, "figures": figures})
        for name, each in found.items():
            stdout.print(f"{name}: adjusted Rand index {each.rand:.3f}, silhouette {each.silhouette:.3f}")
        for note in source.notes:
            stdout.print(note)
        stdout.print(f"picture: {run.path / PICTURE}")
        leave_report(run.path)
        stdout.print(f"summary: {path}")


PICTURE = "clusters.png"


def _compare(
    vectors: Mapping[str, Floats], labels: list[str], folder: Path, *, seed: int
) -> dict[str, Clustering]:
    """Cluster vectors (R, D) of each kind, and leave the table, the maps and their picture."""
    found = {name: cluster(of_space, labels, seed=seed) for name, of_space in vectors.items()}
    _write_table(folder / "clusters.csv", found)
    drawn = draw_maps(vectors, seed=seed)
    write_maps(drawn, labels, folder / "map.csv")
    picture = folder / PICTURE
    plot_clusters(drawn, found, labels, [picture, picture.with_suffix(".svg")])
    return found


def _write_table(path: Path, found: dict[str, Clustering]) -> None:
    with table_writer(path, ["vectors", "label", "adjusted_rand", "silhouette"]) as write:
        for name, clustering in found.items():
            write([name, "all", f"{clustering.rand:.4f}", f"{clustering.silhouette:.4f}"])
            for label, value in clustering.by_label.items():
                write([name, label, "", f"{value:.4f}"])
