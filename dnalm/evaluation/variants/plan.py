"""What is to be scored with what: all that a process needs to score, and the contract of its results."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dnalm.errors import ConfigError
from dnalm.evaluation.variants.prediction import Prediction
from dnalm.evaluation.variants.scores import Distance, MaskedRatio, PseudoLikelihood, Score
from dnalm.models import MaskedLM
from dnalm.models.kernels import KernelName
from dnalm.small_files import sha256_once, window_tokens
from dnalm.tokenizers import Tokenizer
from dnalm.training.finetuned import Finetuned, head_length_bp

ScoreName = Literal["llr", "pll", "distance", "prediction"]
_WINDOW_BP = 512
_MODEL_FILES = (".safetensors", ".bin", ".json", ".yaml", ".txt")


@dataclass(frozen=True)
class ScoringPlan:
    """How variants are scored; small, and the same in every process.

    Attributes:
        model: the model directory, tokenizer included.
        tokenizer: bases to ids; that of the model's folder if absent.
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
    tokenizer: Tokenizer | None = None
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
        if (length_bp := head_length_bp(self.model)) is not None:
            return length_bp
        tokens = window_tokens(self.model)
        return tokenizer.length_in_bases(tokens) if tokens else _WINDOW_BP

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
            "tokenizer": self.tokenizer.fingerprint if self.tokenizer else None,
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
    """Checksum of a model directory's files, its tokenizer's among them."""
    named = [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix in _MODEL_FILES]
    text = "\n".join(f"{path.name} {sha256_once(path)}" for path in named)
    return hashlib.sha256(text.encode()).hexdigest()


def _wrong(where: str, found: str, expected: str, fix: str) -> ConfigError:
    return ConfigError("CFG-50", where=where, found=found, expected=expected, fix=fix)
