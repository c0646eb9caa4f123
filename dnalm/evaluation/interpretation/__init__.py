"""Looking into a model: attention, substitutions, dependencies between bases, motifs."""

from dnalm.evaluation.interpretation.reader import (
    HeadSummary,
    HiddenBase,
    Mutagenesis,
    Reader,
    dependency_map,
    saturate,
    summarize,
    to_bases,
)
from dnalm.evaluation.interpretation.seqlets import FoundMotif, find_seqlets, pile_up, scores_in_bits

__all__ = [
    "FoundMotif",
    "HeadSummary",
    "HiddenBase",
    "Mutagenesis",
    "Reader",
    "dependency_map",
    "find_seqlets",
    "pile_up",
    "saturate",
    "scores_in_bits",
    "summarize",
    "to_bases",
]
