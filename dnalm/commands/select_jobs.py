"""The two rounds of jobs of `dnalm tokenizer select`: a model a tokenizer, then a task a model and k."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dnalm.sweeps import Job
from dnalm.sweeps.composed import as_words, composed_job

Settings = Mapping[str, object]


@dataclass(frozen=True)
class Reading:
    """A way to read DNA that is compared.

    Attributes:
        merges: of the BPE; None for a fixed length.
        kmer: bases of every token; None for a BPE.
    """

    merges: int | None = None
    kmer: int | None = None

    @property
    def name(self) -> str:
        """As in the table."""
        return f"{self.merges} merges" if self.merges is not None else f"{self.kmer}-mers"

    def tokenizer(self, folder: Path) -> dict[str, object]:
        """The config of its tokenizer.

        Args:
            folder: of the BPE with all merges.
        """
        if self.merges is None:
            return {"_target_": "dnalm.tokenizers.LogoTokenizer", "k": self.kmer}
        return {"_target_": "dnalm.tokenizers.load_tokenizer", "path": str(folder), "merges": self.merges}


@dataclass(frozen=True)
class Rounds:
    """Makes the jobs.

    Args:
        folder: of the jobs.
        bpe: folder of the BPE with all merges.
        data: config of the genomes.
        pretrain: what pretraining differs in from its defaults.
        finetune: what fine-tuning does.
        config_dir: a folder of the user's own configs.
    """

    folder: Path
    bpe: Path
    data: object
    pretrain: Settings
    finetune: Settings
    config_dir: Path | None = None

    def first(self, reading: Reading) -> Job:
        """The job that pretrains a model.

        Raises:
            ConfigError: a setting cannot be read.
        """
        parts = {"data": self.data, "tokenizer": reading.tokenizer(self.bpe)}
        told = {"tokenizer": reading.name}
        return self._job("pretrain", as_words(self.pretrain), told, parts)

    def second(self, pretraining: Job, k: int) -> Job:
        """The job that fine-tunes the model of another.

        Raises:
            ConfigError: a setting cannot be read.
        """
        source = str(self.folder / pretraining.id)
        parts = {"data": self.data, "model": {"_target_": "dnalm.models.Pretrained", "source": source}}
        words = ["task=next_kmer", f"task.k={k}", *as_words(self.finetune)]
        told = {**pretraining.overrides, "k": str(k)}
        return self._job("finetune", words, told, parts)

    def _job(
        self, command: str, words: Sequence[str], told: Mapping[str, str], parts: Mapping[str, object]
    ) -> Job:
        return composed_job(command, words, self.folder, told, parts=parts, config_dir=self.config_dir)


def readings(merges: Sequence[int], kmers: Sequence[int]) -> list[Reading]:
    """All that are compared, the merges ascending."""
    return [Reading(merges=n) for n in sorted(set(merges))] + [Reading(kmer=k) for k in sorted(set(kmers))]
