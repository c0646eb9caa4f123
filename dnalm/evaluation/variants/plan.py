"""What is to be scored with what: all that a process needs to score, and the contract of its results."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from dnalm.durable import file_sha256
from dnalm.errors import ConfigError
from dnalm.evaluation.variants.prediction import Prediction
from dnalm.evaluation.variants.scores import Distance, MaskedRatio, PseudoLikelihood, Score
from dnalm.models import MaskedLM
from dnalm.models.kernels import KernelName
from dnalm.tokenizers import Tokenizer
from dnalm.training.finetuned import Finetuned
from dnalm.training.model_directory import PROVENANCE_FILE

ScoreName = Literal["llr", "pll", "distance", "prediction"]
_WINDOW_BP = 512
_MODEL_FILES = (".safetensors", ".bin", ".json", ".yaml")


@dataclass(frozen=True)
class ScoringPlan:
    """How variants are scored; small, and the same in every process.

    Attributes:
        model: the model directory, tokenizer included.
        tokenizer: another folder of the tokenizer.
        kernel: how attention is computed.
        scores: by name, in the order of the output.
        layers: of `distance`, 0 the embeddings, the last if none is given.
        window_bp: bases around a variant; fewer where they make more tokens than the model takes. If absent
            those of the windows or sequences that the model was trained on, where its folder tells, else 512.
        pll_bp: of `pll`.
        batch_tokens: tokens of a batch.
        device: `cuda`, `cpu`, or the first of them that is there.
    """

    model: Path
    tokenizer: Path | None = None
    kernel: KernelName = "sdpa"
    scores: tuple[ScoreName, ...] = ("llr",)
    layers: tuple[int, ...] = ()
    window_bp: int | None = None
    pll_bp: int = 64
    batch_tokens: int = 2048
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def chosen_window_bp(self, tokenizer: Tokenizer) -> int:
        """Bases around a variant."""
        if self.window_bp is not None:
            return self.window_bp
        told = self.model / PROVENANCE_FILE
        provenance = yaml.safe_load(told.read_text()) if told.is_file() else {}
        if "head" in provenance:
            return int(provenance["head"]["length_bp"])
        tokens = (provenance.get("config", {}).get("windows") or {}).get("max_tokens")
        return tokenizer.length_in_bases(tokens) if isinstance(tokens, int) else _WINDOW_BP

    def chosen_layers(self, num_layers: int) -> tuple[int, ...]:
        """Those of `distance`, in ascending order.

        Raises:
            ConfigError: CFG-50, they are given without `distance`, or the model has no such layer.
        """
        if "distance" not in self.scores:
            if self.layers:
                raise _wrong("layers", f"layers={list(self.layers)} without score=distance", "none", "add it")
            return ()
        for layer in self.layers:
            if not 0 <= layer <= num_layers:
                found = f"layer {layer} of a model of {num_layers}"
                raise _wrong("layers", found, f"0 (the embeddings) to {num_layers}", "choose one of them")
        return tuple(sorted(set(self.layers))) or (num_layers,)

    def make_scores(self, model: MaskedLM, finetuned: Finetuned | None) -> list[Score]:
        """The scores by their names; `finetuned` is the model with its head, where `prediction` is wanted."""
        made: dict[str, Score] = {
            "llr": MaskedRatio(),
            "pll": PseudoLikelihood(pll_bp=self.pll_bp),
            "distance": Distance(layers=self.chosen_layers(model.encoder.num_layers)),
        }
        if finetuned is not None:
            made["prediction"] = Prediction(finetuned)
        if len(set(self.scores)) < len(self.scores) or not self.scores:
            raise _wrong("score", f"score={list(self.scores)}", "one score or several, each once", "mend it")
        return [made[name] for name in self.scores]

    def contract(self, *, genome: str, variants_sha256: str, max_allele_bp: int) -> dict[str, object]:
        """What results depend on: equal contracts, equal results."""
        return {
            "model": _sum_of(self.model),
            "tokenizer": _sum_of(self.tokenizer) if self.tokenizer else None,
            "reference": genome,
            "variants": variants_sha256,
            "kernel": self.kernel,
            "scores": list(self.scores),
            "layers": list(self.layers),
            "window_bp": self.window_bp,
            "pll_bp": self.pll_bp,
            "batch_tokens": self.batch_tokens,
            "device": self.device,
            "max_allele_bp": max_allele_bp,
        }


def _sum_of(folder: Path) -> str:
    """Checksum of a model directory's or tokenizer's files."""
    files = [folder] if folder.is_file() else sorted(folder.iterdir())
    named = [path for path in files if path.is_file() and path.suffix in (*_MODEL_FILES, ".txt")]
    text = "\n".join(f"{path.name} {file_sha256(path)}" for path in named)
    return hashlib.sha256(text.encode()).hexdigest()


def _wrong(where: str, found: str, expected: str, fix: str) -> ConfigError:
    return ConfigError("CFG-50", where=where, found=found, expected=expected, fix=fix)
