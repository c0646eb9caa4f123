"""Vectors of sequences, tokens and bases from a trained model."""

from dnalm.evaluation.embedding.files import (
    EmbeddedFile,
    EmbeddingPlan,
    Embeddings,
    embed_file,
    embedding,
    read_embeddings,
    summary_path,
)
from dnalm.evaluation.embedding.reader import (
    EmbeddingRecipe,
    PoolingKind,
    Resolution,
    SequenceReader,
    TokenStates,
)

__all__ = [
    "EmbeddedFile",
    "EmbeddingPlan",
    "EmbeddingRecipe",
    "Embeddings",
    "PoolingKind",
    "Resolution",
    "SequenceReader",
    "TokenStates",
    "embed_file",
    "embedding",
    "read_embeddings",
    "summary_path",
]
