"""Clusters of the windows of `windows.py`, by model and layer, as a table.

    PYTHONPATH=. python experiments/clusters/measure.py windows.bed genome.fa trained=runs/demo untrained=…

The same figures as `dnalm cluster` gives for one model and layer, without its pictures. Writes clusters.csv
beside this file.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from dnalm.evaluation.classical import kmer_frequencies
from dnalm.evaluation.embedding.clusters import cluster
from dnalm.evaluation.embedding.files import EmbeddingPlan
from dnalm.evaluation.embedding.reader import EmbeddingRecipe
from dnalm.evaluation.sequence_inputs import SequenceInput
from dnalm.models import Pretrained

SEED, BATCH = 1, 400


def main() -> None:
    """Embed, cluster and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("windows", type=Path)
    parser.add_argument("genome", type=Path)
    parser.add_argument("models", nargs="+", help="name=<run or model directory>")
    given = parser.parse_args()
    source = SequenceInput(path=given.windows, reference=given.genome, keep=("name",))
    items = list(source)
    codes, labels = [item.codes for item in items], [str(item.kept[0]) for item in items]
    spaces = {f"{k}-mer frequencies": kmer_frequencies(codes, k=k) for k in (3, 4, 6)}
    for name, _, model in (word.partition("=") for word in given.models):
        num_layers = Pretrained(source=model).load().encoder.num_layers
        for layer in range(num_layers + 1):
            reader = EmbeddingPlan(model=Pretrained(source=model), recipe=EmbeddingRecipe(layer=layer)).open()
            states = [
                state
                for begin in range(0, len(codes), BATCH)
                for state in reader.read(codes[begin : begin + BATCH])
            ]
            spaces[f"{name}, layer {layer}"] = np.stack([state.pooled("mean") for state in states])
    names = sorted(set(labels))
    with Path(__file__).with_name("clusters.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["vectors", "adjusted_rand", "silhouette", *names])
        for name, vectors in spaces.items():
            found = cluster(vectors, labels, seed=SEED)
            figures = [found.rand, found.silhouette, *(found.by_label[label] for label in names)]
            table.writerow([name, *(f"{figure:.3f}" for figure in figures)])
            print(f"| {name} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |", flush=True)


if __name__ == "__main__":
    main()
