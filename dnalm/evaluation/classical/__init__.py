"""Models that know nothing of other genomes: what a pretrained model must beat on a task."""

from dnalm.evaluation.classical.classifier import Classifier, Fitted
from dnalm.evaluation.classical.kmer_logistic import KmerLogistic
from dnalm.evaluation.classical.small_cnn import SmallCnn

__all__ = ["Classifier", "Fitted", "KmerLogistic", "SmallCnn"]
