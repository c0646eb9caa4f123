"""From a sample's index to its masked tokens: window, strand, tokens, mask.

Both datasets are pure functions of (seed, index) over a memory-mapped store, so they are cheap to
copy into loader workers and give the same samples whoever asks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch.utils.data import Dataset

from dnalm.data.batch import Sample
from dnalm.data.hidden import find_hidden
from dnalm.data.masking import Masking
from dnalm.data.order import Stream, generator
from dnalm.data.windows import TrainingWindows, Window
from dnalm.genome.alphabet import Codes, reverse_complement
from dnalm.genome.store import GenomeStore
from dnalm.tokenizers import Tokenizer


def _read(store: GenomeStore, window: Window) -> Codes:
    codes = store.codes[window.start : window.end]
    return reverse_complement(codes) if window.reverse else codes


@dataclass(frozen=True)
class TrainingSamples(Dataset[Sample]):
    """Sample i of a run, for any i >= 0.

    Args:
        store: the genome.
        windows: which stretch sample i reads.
        tokenizer: bases to ids.
        masking: what is hidden.
        seed: the run's seed.
        global_batch: samples per optimizer step; sample i belongs to step i // global_batch.
    """

    store: GenomeStore
    windows: TrainingWindows
    tokenizer: Tokenizer
    masking: Masking
    seed: int
    global_batch: int

    def __getitem__(self, index: int) -> Sample:
        """Draw sample `index`."""
        codes = _read(self.store, self.windows[index])
        ids, spans = self.tokenizer.encode(codes), self.tokenizer.spans(codes)
        content = spans[:, 1] > spans[:, 0]
        seen, masked = self.masking.hide(
            ids,
            content,
            self.tokenizer,
            rate=self.masking.rate_at(index // self.global_batch),
            random=generator(self.seed, Stream.MASK, index),
        )
        return Sample(index, seen, ids, masked, int(content.sum()), len(codes))


@dataclass(frozen=True)
class ValidationSamples(Dataset[Sample]):
    """A fixed list of windows with fixed masks.

    Every hidden token is shown as the mask token, and the first step's rate is used throughout,
    so that the same bases are hidden at every validation and none is betrayed.

    Args:
        store: the genome.
        windows: what to read.
        tokenizer: bases to ids.
        masking: the run's masking.
        seed: the run's seed.
    """

    store: GenomeStore
    windows: list[Window]
    tokenizer: Tokenizer
    masking: Masking
    seed: int

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Sample:
        """Draw window `index`; IndexError past the end."""
        window = self.windows[index]
        codes = _read(self.store, window)
        ids, spans = self.tokenizer.encode(codes), self.tokenizer.spans(codes)
        content = spans[:, 1] > spans[:, 0]
        all_masked = replace(self.masking, mask_share=1.0, random_share=0.0, faithful=False)
        seen, masked = all_masked.hide(
            ids,
            content,
            self.tokenizer,
            rate=self.masking.rate,
            random=generator(self.seed, Stream.VALIDATION_MASK, index),
        )
        hidden = find_hidden(codes, spans, masked, start=window.start)
        return Sample(index, seen, ids, masked, int(content.sum()), len(codes), hidden)
