"""Windows, masking and batches: what a training step sees, as a pure function of (seed, index)."""

from dnalm.data.batch import Batch, HiddenTensors
from dnalm.data.batching import BatchPlan
from dnalm.data.corpus import Corpus, CorpusGenome, DatasetCorpus, GenomeCorpus, Part
from dnalm.data.masking import Masking
from dnalm.data.module import GenomeData
from dnalm.data.multispecies import MultispeciesCorpus
from dnalm.data.splits import SplitByContig, SplitByFraction, SplitByRandomContigs, SplitByRegion
from dnalm.data.windows import WindowRecipe

__all__ = [
    "Batch",
    "BatchPlan",
    "Corpus",
    "CorpusGenome",
    "DatasetCorpus",
    "GenomeCorpus",
    "GenomeData",
    "HiddenTensors",
    "Masking",
    "MultispeciesCorpus",
    "Part",
    "SplitByContig",
    "SplitByFraction",
    "SplitByRandomContigs",
    "SplitByRegion",
    "WindowRecipe",
]
