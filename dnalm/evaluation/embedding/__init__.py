"""Vectors of sequences, tokens and bases from a trained model."""

from dnalm.evaluation.embedding.files import (
    EmbeddedFile,
    Embeddings,
    embed_file,
    embedding,
    read_embeddings,
    summary_path,
)
from dnalm.evaluation.embedding.inputs import NamedSequence, SequenceInput
from dnalm.evaluation.embedding.parts import EmbeddingPlan
from dnalm.evaluation.embedding.reader import SequenceReader, TokenStates
from dnalm.evaluation.embedding.recipe import EmbeddingRecipe, PoolingKind, Resolution

__all__ = [
    "EmbeddedFile",
    "EmbeddingPlan",
    "EmbeddingRecipe",
    "Embeddings",
    "NamedSequence",
    "PoolingKind",
    "Resolution",
    "SequenceInput",
    "SequenceReader",
    "TokenStates",
    "embed_file",
    "embedding",
    "read_embeddings",
    "summary_path",
]
