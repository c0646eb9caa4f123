"""Windows, masking and batches: what a training step sees, as a pure function of (seed, index)."""

from dnalm.data.batch import Batch, HiddenTensors
from dnalm.data.batching import BatchPlan
from dnalm.data.corpus import Corpus, CorpusGenome, GenomeCorpus
from dnalm.data.masking import Masking
from dnalm.data.module import GenomeData
from dnalm.data.multispecies import MultispeciesCorpus
from dnalm.data.splits import SplitByContig, SplitByFraction, SplitByRegion
from dnalm.data.windows import WindowRecipe

__all__ = [
    "Batch",
    "BatchPlan",
    "Corpus",
    "CorpusGenome",
    "GenomeCorpus",
    "GenomeData",
    "HiddenTensors",
    "Masking",
    "MultispeciesCorpus",
    "SplitByContig",
    "SplitByFraction",
    "SplitByRegion",
    "WindowRecipe",
]
