"""Embedding a file in parts; see `durable_parts` for what a kill leaves. Batches end where parts do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import pyarrow.parquet as pq
import torch

from dnalm.evaluation.durable_parts import PartFolder
from dnalm.evaluation.embedding.inputs import NamedSequence
from dnalm.evaluation.embedding.reader import SequenceReader
from dnalm.evaluation.embedding.recipe import EmbeddingRecipe
from dnalm.evaluation.embedding.rows import rows_of, schema_of
from dnalm.models import Pretrained, fit_vocabulary
from dnalm.tokenizers import Tokenizer, load_tokenizer

PART_SEQUENCES, PART_BP = 1024, 1 << 17
Part = list[NamedSequence]


@dataclass(frozen=True)
class EmbeddingPlan:
    """All that a process needs to embed.

    Attributes:
        model: where it is.
        recipe: what is read off the model.
        tokenizer: what its ids mean; that of the model's folder if absent.
        keep: columns of the input that go along.
        device: `cuda`, `cpu`, or the first of them that is there.
    """

    model: Pretrained
    recipe: EmbeddingRecipe
    tokenizer: Tokenizer | None = None
    keep: tuple[str, ...] = ()
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def open(self) -> SequenceReader:
        """Load the model.

        Raises:
            CheckpointError: it cannot be read, or the tokenizer is not its own.
            ConfigError: the recipe does not fit it.
        """
        folder = self.model.folder()
        network, tokenizer = self.model.load(needs_head=False), self.tokenizer or load_tokenizer(folder)
        fit_vocabulary(network, tokenizer.vocab_size, where=self.model.source)
        has_cuda = torch.cuda.is_available()
        device = ("cuda" if has_cuda else "cpu") if self.device == "auto" else self.device
        return SequenceReader(network.encoder.to(device), tokenizer, self.recipe)

    def do(self, state: SequenceReader, folder: PartFolder, number: int, part: Part) -> None:
        """Embed a part, and keep its rows in the folder."""
        states = state.read([item.codes for item in part], where=[item.where for item in part])
        schema = schema_of(self.recipe, state.encoder.hidden_size, self.keep)
        rows = rows_of(part, states, self.recipe, schema)
        folder.keep(number, lambda beside: pq.write_table(rows, beside))


def parts_of(sequences: Iterable[NamedSequence]) -> Iterator[Part]:
    """Cut the input into parts of a bounded number of sequences and, but for a single one, of bases."""
    part, num_bases = Part(), 0
    for sequence in sequences:
        if part and (len(part) == PART_SEQUENCES or num_bases + len(sequence.codes) > PART_BP):
            yield part
            part, num_bases = [], 0
        part.append(sequence)
        num_bases += len(sequence.codes)
    if part:
        yield part
