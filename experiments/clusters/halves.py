"""How steady a gap is: a model's last layer against 6-mer counts, by seeds of k-means and on random halves.

PYTHONPATH=. python experiments/clusters/halves.py windows.bed genome.fa runs/demo
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from dnalm.evaluation.classical import kmer_frequencies
from dnalm.evaluation.embedding.clusters import cluster
from dnalm.evaluation.embedding.files import EmbeddingPlan
from dnalm.evaluation.embedding.reader import EmbeddingRecipe
from dnalm.evaluation.sequence_inputs import SequenceInput
from dnalm.models import Pretrained

BATCH, HALVES = 400, 20


def main() -> None:
    """Print both."""
    windows, genome, model = sys.argv[1:]
    items = list(SequenceInput(path=Path(windows), reference=Path(genome), keep=("name",)))
    codes, labels = [item.codes for item in items], np.array([str(item.kept[0]) for item in items])
    reader = EmbeddingPlan(model=Pretrained(source=model), recipe=EmbeddingRecipe()).open()
    batches = [codes[begin : begin + BATCH] for begin in range(0, len(codes), BATCH)]
    states = np.stack([state.pooled("mean") for batch in batches for state in reader.read(batch)])
    counts = kmer_frequencies(codes, k=6)
    for name, vectors in (("last layer", states), ("6-mers", counts)):
        found = [cluster(vectors, labels.tolist(), seed=seed).rand for seed in (1, 2, 3)]
        print(name, "by seed", np.round(found, 3))
    rng, gaps = np.random.default_rng(0), []
    for _ in range(HALVES):
        half = rng.choice(len(labels), len(labels) // 2, replace=False)
        ours, theirs = (cluster(each[half], labels[half].tolist(), seed=1).rand for each in (states, counts))
        gaps.append(ours - theirs)
    print(f"gap on {HALVES} random halves: {min(gaps):.3f} to {max(gaps):.3f}")


if __name__ == "__main__":
    main()
