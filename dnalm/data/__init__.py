"""Windows, masking and batches: what a training step sees, as a pure function of (seed, index).

The datamodule is `dnalm.data.module.GenomeData`. It is not named here, so that loader workers, which import
this package, start without Lightning: in a third of the time, with half of the memory.
"""

from dnalm.data.batch import Batch, BatchPlan, HiddenTensors
from dnalm.data.corpus import Corpus, CorpusGenome, DatasetCorpus, GenomeCorpus, MultispeciesCorpus, Part
from dnalm.data.masking import Masking
from dnalm.data.splits import (
    SplitByContig,
    SplitByFraction,
    SplitByHomology,
    SplitByRandomContigs,
    SplitByRegion,
)
from dnalm.data.windows import WindowRecipe

__all__ = [
    "Batch",
    "BatchPlan",
    "Corpus",
    "CorpusGenome",
    "DatasetCorpus",
    "GenomeCorpus",
    "HiddenTensors",
    "Masking",
    "MultispeciesCorpus",
    "Part",
    "SplitByContig",
    "SplitByFraction",
    "SplitByHomology",
    "SplitByRandomContigs",
    "SplitByRegion",
    "WindowRecipe",
]
