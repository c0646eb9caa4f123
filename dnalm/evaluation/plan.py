"""What a pretraining will cost, from its recipe and the figures of a GPU alone; no model is built.

- Tokens and bases follow from the mean length of windows: full with the probability that the recipe gives,
  else of uniform length between the shortest and the longest. Windows that the end of a contig cuts off are
  not counted as shorter.
- Operations are those of `dnalm.models.flops`, bytes those of `dnalm.models.memory`, which tests hold to what
  torch counts and keeps on a CPU. What of a GPU's memory a run may use is what the run itself assumes
  (`dnalm.models.memory.room`).
- Time is operations / (GPUs x listed peak x utilisation). Where no utilisation is given it is an assumption,
  `ESTIMATED`, and a micro-batch takes at least the time in which its kernels are launched, `LAUNCHES_S` a
  layer, which is what small models and small micro-batches wait for. Blocks that are computed again take a
  forward pass more, 4/3 of the time.
- Not counted: heads of objectives on tracks, annotation channels, validation, waiting for data.

Sizes are in bytes, times in seconds and hours.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from dnalm.data import BatchPlan, Masking, WindowRecipe
from dnalm.data.batch import PackPlan
from dnalm.models import EncoderConfig, count_parameters
from dnalm.models.flops import BACKWARD, Flops, count_flops
from dnalm.models.gpus import Gpu
from dnalm.models.memory import (
    GPU_TOKENS,
    Arithmetic,
    Machine,
    Memory,
    PackSize,
    StrategyName,
    count_run,
    room,
)
from dnalm.tokenizers import BpeRecipe, KmerTokenizer, LogoTokenizer, SixMerTokenizer, Tokenizer

# Of the listed dense bfloat16 peak. No GPU was measured: the step as it is was estimated, by reading it, at
# 0.22 without and 0.33 to 0.5 with trainer.compile=true, in micro-batches of 32,000 tokens or more.
ESTIMATED = 0.3
# Forward and backward pass of a block: 130 to 144 kernels, counted without trainer.compile, of about 6 us
# each, estimated too.
LAUNCHES_S = 0.8e-3
_ON_A_MACHINE = 8  # GPUs that share a copy of what is sharded, where there are more
_ROW_BYTES = 100  # of metrics.csv


@dataclass(frozen=True)
class Reads:
    """What a published model was trained on.

    Attributes:
        corpus: in words.
        bases: of it; None where it is not published.
        when: what speaks for this experiment.
    """

    corpus: str
    bases: float | None
    when: str


_HUMAN = 2.9e9  # without N, of either assembly
PUBLISHED: Mapping[str, Reads] = {
    "dnabert": Reads("human, GRCh38 without N", _HUMAN, "short sequences, every base in six tokens"),
    "dnabert_k5": Reads("human, GRCh38 without N", _HUMAN, "as dnabert, for comparisons of k"),
    "dnabert_k4": Reads("human, GRCh38 without N", _HUMAN, "as dnabert, for comparisons of k"),
    "dnabert_k3": Reads("human, GRCh38 without N", _HUMAN, "as dnabert, for comparisons of k"),
    "dnalm": Reads("ours: human, GRCh38 without N", _HUMAN, "single bases, 2 to 8 kb; small runs on a CPU"),
    "dnabert2": Reads(
        "135 species and human", 32.49e9 + 2.75e9, "many species; any length when fine-tuned (ALiBi)"
    ),
    "grover": Reads("human, hg19 without N", _HUMAN, "a small vocabulary of frequent words, one genome"),
    "logo": Reads("human, hg19 without N", _HUMAN, "1.3 M parameters: a laptop, or millions of variants"),
    "logo_knowledge": Reads(
        "human, hg19 without N, 11 annotations", _HUMAN, "annotations are there when predicting, too"
    ),
    "logo_multitask": Reads("human, hg19 without N, tracks", _HUMAN, "annotations shall be learned"),
    "nt_v1_500m": Reads("human, GRCh38", 3.2e9, "comparisons with the published model"),
    "nt_v1_2b5": Reads("850 species", 174e9, "comparisons with the published model; several machines"),
    "nt_v2_50m": Reads("850 species", 174e9, "12 kb of context on one GPU"),
    "nt_v2_100m": Reads("850 species", 174e9, "12 kb of context, deeper"),
    "nt_v2_250m": Reads("850 species", 174e9, "12 kb of context, wider"),
    "nt_v2_500m": Reads("850 species", 174e9, "12 kb of context, the largest of v2"),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A pretraining, as far as its cost depends on it.

    Attributes:
        name: of the experiment.
        encoder: sizes and switches.
        tokenizer: bases to ids, or how that will be learned.
        windows: how long windows are.
        masking: how many tokens are predicted.
        batch: samples of a step and of a forward pass.
        steps: optimizer steps.
        strategy: how several GPUs share the work.
        arithmetic: precision.
        recomputes: whether blocks are computed again; `auto` is where nothing else fits.
        bf16_residual: whether the residual stream is in bfloat16.
        checkpoints: how many are kept at the end.
        rows: of `metrics.csv`.
        corpus_bases: of the corpus; None if unknown.
    """

    name: str
    encoder: EncoderConfig
    tokenizer: Tokenizer | BpeRecipe
    windows: WindowRecipe
    masking: Masking
    batch: BatchPlan
    steps: int
    strategy: StrategyName
    arithmetic: Arithmetic
    recomputes: bool | Literal["auto"]
    bf16_residual: bool
    checkpoints: int
    rows: int
    corpus_bases: float | None

    @property
    def wrapping(self) -> int:
        """Special tokens of a window."""
        return 2 if isinstance(self.tokenizer, BpeRecipe) else self.tokenizer.special.num_wrapping

    @property
    def longest(self) -> int:
        """Tokens of a full window, special ones included."""
        return self.windows.max_tokens + self.wrapping

    @property
    def _full_share(self) -> float:
        return (1 - self.windows.random_share) * self.windows.full_share

    @property
    def content(self) -> float:
        """Mean tokens of a window that spell bases."""
        shortest, longest = self.windows.shortest, self.windows.max_tokens
        return self._full_share * longest + (1 - self._full_share) * (shortest + longest) / 2

    @property
    def tokens(self) -> float:
        """Mean tokens of a window, special ones included."""
        return self.content + self.wrapping

    @property
    def squared(self) -> float:
        """Mean of the squared number of tokens, special ones included."""
        shortest, longest = self.windows.shortest + self.wrapping, self.longest
        of_uniform = ((shortest + longest) / 2) ** 2 + ((longest - shortest + 1) ** 2 - 1) / 12
        return self._full_share * longest**2 + (1 - self._full_share) * of_uniform

    @property
    def bases(self) -> float:
        """Mean bases of a window."""
        shortest, longest = (self._bases(n) for n in (self.windows.shortest, self.windows.max_tokens))
        return self._full_share * longest + (1 - self._full_share) * (shortest + longest) / 2

    @property
    def longest_bases(self) -> int:
        """Bases of a full window."""
        return self._bases(self.windows.max_tokens)

    def _bases(self, num_tokens: int) -> int:
        if not isinstance(self.tokenizer, BpeRecipe):
            return self.windows.bases(num_tokens, self.tokenizer)
        # before it is learned: of random DNA, whose words would all be equally long
        return round(num_tokens * (self.windows.bases_per_token or math.log(self.tokenizer.vocab_size, 4)))

    def pack(self, num_windows: int) -> PackSize:
        """Of full windows, as many tokens predicted as the highest rate says."""
        predicted = math.ceil(self.masking.highest_share * num_windows * self.windows.max_tokens)
        return PackSize.of([self.longest] * num_windows, predicted=predicted)

    @property
    def step_flops(self) -> Flops:
        """Operations of the forward passes of an optimizer step, on all GPUs."""
        windows = self.batch.global_size
        return count_flops(
            self.encoder,
            tokens=round(windows * self.tokens),
            pairs=round(windows * self.squared),
            predicted=round(windows * self.content * self.masking.mean_share(self.steps)),
        )

    @property
    def tokens_named(self) -> str:
        """The tokenizer, in words."""
        match self.tokenizer:
            case KmerTokenizer(k=k):
                return "bases" if k == 1 else f"overlapping {k}-mers"
            case LogoTokenizer(k=k):
                return f"{k}-mers end to end"
            case SixMerTokenizer():
                return "6-mers end to end"
            case _:
                return f"BPE of {self.tokenizer.vocab_size:,} ids"


def count_parts(config: EncoderConfig) -> dict[str, int]:
    """Parameters of a `MaskedLM` by part: embeddings, blocks and head.

    The final norm of pre-norm models counts among the blocks, a tied decoder among the embeddings.
    """
    arguments = {name: getattr(config, name) for name in EncoderConfig.__dataclass_fields__}
    encoder, whole = (count_parameters(arguments, masked_lm=each) for each in (False, True))
    plain = arguments | {"shared_layers": False, "conv_dilations": ()}
    one, two = (count_parameters(plain | {"num_layers": layers}, masked_lm=False) for layers in (1, 2))
    norm = 2 * config.hidden_size if config.norm_placement == "pre" else 0
    embeddings = one - (two - one) - norm
    return {"embeddings": embeddings, "blocks": encoder - embeddings, "head": whole - encoder}


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a step is computed on several GPUs.

    Attributes:
        strategy: how they share the work.
        recomputes: whether blocks are computed again.
    """

    strategy: StrategyName
    recomputes: bool

    def words(self, strategy: StrategyName) -> str:
        """The words of the command line that choose it where another strategy was chosen."""
        shared = "" if self.strategy == strategy else f"trainer.strategy={self.strategy} "
        return f"{shared}trainer.activation_checkpointing={str(self.recomputes).lower()}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A recipe on GPUs of one kind.

    Attributes:
        recipe: what is trained.
        gpu: their kind.
        gpus: how many.
        utilisation: share of their listed peak that the model's operations take.

    Raises:
        ConfigError: CFG-19, they do not divide the batch.
    """

    recipe: Recipe
    gpu: Gpu
    gpus: int
    utilisation: float | None = None

    def __post_init__(self) -> None:
        self.recipe.batch.of_rank(self.gpus)
        if self.recipe.batch.micro_size is not None:
            self.recipe.batch.accumulation(self.gpus)

    @property
    def room(self) -> int:
        """Bytes of a GPU for tensors."""
        return room(self.gpu.memory)

    @property
    def ways(self) -> list[Way]:
        """Those that are compared; one GPU has nothing to share."""
        own = self.recipe.strategy
        strategies: list[StrategyName] = ["ddp"] if self.gpus == 1 else ["ddp", "fsdp"]
        strategies += [own] if own == "exact" else []
        return [Way(strategy=each, recomputes=again) for each in strategies for again in (False, True)]

    def title(self, way: Way) -> str:
        """A column's."""
        shared = (
            "" if self.gpus == 1 else {"ddp": "DDP, ", "fsdp": "FSDP2, ", "exact": "exact, "}[way.strategy]
        )
        return f"{shared}{'recomputed' if way.recomputes else 'kept'}"

    def memory(self, way: Way, samples: int) -> Memory:
        """Bytes of a step by part, of micro-batches of so many full windows."""
        recipe = self.recipe
        machine = Machine(
            arithmetic=recipe.arithmetic,
            shards=min(self.gpus, _ON_A_MACHINE) if way.strategy == "fsdp" else 1,
            recomputes=way.recomputes,
            bf16_residual=recipe.bf16_residual,
        )
        return count_run(
            recipe.encoder,
            recipe.pack(samples),
            machine,
            strategy=way.strategy,
            world_size=self.gpus,
            passes=-(-self._of_rank // samples),
            total=self.gpu.memory,
        )

    @property
    def _of_rank(self) -> int:
        return self.recipe.batch.of_rank(self.gpus)

    def fitting(self, way: Way, *, most: int | None = None) -> int:
        """Full windows of the largest micro-batch that fits, at most those of a step; 0 if none does."""
        numbers = range(1, max(1, min(self._of_rank, most or self._of_rank)) + 1)
        is_too_much = bisect_right(
            numbers, False, key=lambda samples: self.memory(way, samples).total > self.room
        )
        return int(is_too_much)

    @cached_property
    def way(self) -> Way:
        """The one that the recipe takes: blocks are computed again where they are asked to be, or must be."""
        kept, again = (
            Way(strategy="ddp" if self.gpus == 1 else self.recipe.strategy, recomputes=each)
            for each in (False, True)
        )
        if self.recipe.recomputes != "auto":
            return again if self.recipe.recomputes else kept
        fixed = self._asked_samples
        if fixed is None:
            return kept if self.fitting(kept) else again
        return kept if self.memory(kept, fixed).total <= self.room else again

    @property
    def _asked_samples(self) -> int | None:
        """Full windows of a micro-batch that the recipe asks for; None where it leaves that to memory."""
        batch = self.recipe.batch
        if batch.micro_size is not None:
            return batch.micro_size
        if batch.micro_tokens == "auto":
            return None
        fitted = PackPlan.of(batch, longest=self.recipe.longest)
        return min(self._of_rank, fitted.most)

    @cached_property
    def samples(self) -> int:
        """Full windows of a micro-batch; at least one, whether it fits or not."""
        asked = self._asked_samples
        if asked is not None:
            return asked
        most = max(1, GPU_TOKENS // self.recipe.longest)
        return max(1, self.fitting(self.way, most=most))

    @property
    def passes(self) -> int:
        """Micro-batches of a step on each GPU."""
        return -(-self._of_rank // self.samples)

    @property
    def fits(self) -> bool:
        """Whether a step fits the memory."""
        return self.memory(self.way, self.samples).total <= self.room

    @property
    def step_seconds(self) -> float | None:
        """Of an optimizer step; None in 32 bits, of which no peak is listed."""
        if self.recipe.arithmetic == "32-true":
            return None
        again = (2 + BACKWARD) / (1 + BACKWARD) if self.way.recomputes else 1.0
        rate = self.gpus * self.gpu.peak * (self.utilisation or ESTIMATED)
        computed = self.recipe.step_flops.training / rate
        launched = self.passes * self.recipe.encoder.depth * LAUNCHES_S
        return again * (computed if self.utilisation else max(computed, launched))

    @property
    def reached(self) -> float | None:
        """The utilisation that the time of a step amounts to."""
        if self.step_seconds is None:
            return None
        return self.recipe.step_flops.training / (self.step_seconds * self.gpus * self.gpu.peak)

    @property
    def hours(self) -> float | None:
        """Of all steps."""
        return None if self.step_seconds is None else self.recipe.steps * self.step_seconds / 3600

    def advice(self) -> list[str]:
        """Words of the command line each of which makes a step fit that does not, the least changes first."""
        if self.fits:
            return []
        as_large, smaller = [], []
        for way in self.ways:
            words, most = way.words(self.way.strategy), self.fitting(way)
            if most >= self.samples:
                as_large.append(words)
            elif most:
                size = max(n for n in range(1, most + 1) if self._of_rank % n == 0)
                smaller.append(f"{words} batch.micro_size={size}")
        if self.recipe.arithmetic == "bf16-mixed" and not self.recipe.bf16_residual:
            halved = replace(self, recipe=replace(self.recipe, bf16_residual=True))
            if halved.memory(self.way, self.samples).total <= self.room:
                as_large.append("trainer.bf16_residual=true")
        return as_large + smaller

    def figures(self) -> dict[str, Any]:
        """Everything, for `json=true` and for tables."""
        recipe, parameters = self.recipe, count_parts(self.recipe.encoder)
        whole, flops = sum(parameters.values()), self.recipe.step_flops
        windows, steps = recipe.batch.global_size, recipe.steps
        weight = Machine(arithmetic=recipe.arithmetic).weight
        checkpoint, bases = 3 * weight * whole, steps * windows * recipe.bases
        seconds, hours = self.step_seconds, self.hours
        return {
            "experiment": recipe.name,
            "gpu": self.gpu.name,
            "gpus": self.gpus,
            "parameters": {**parameters, "total": whole},
            "tokenizer": recipe.tokens_named,
            "context": {"tokens": recipe.longest, "bases": recipe.longest_bases},
            "flops": {
                "of_a_token": flops.training / (windows * recipe.tokens),
                "of_a_step": flops.training,
                "of_the_run": flops.training * steps,
            },
            "recipe": {
                "steps": steps,
                "samples": steps * windows,
                "tokens": steps * windows * recipe.tokens,
                "bases": bases,
                "corpus_bases": recipe.corpus_bases,
                "epochs": bases / recipe.corpus_bases if recipe.corpus_bases else None,
            },
            "micro_batch": {
                "samples": self.samples,
                "tokens": self.samples * recipe.longest,
                "passes": self.passes,
                "chosen": self.title(self.way),
                "fits": self.fits,
            },
            "memory": {
                "of_the_gpu": self.gpu.memory,
                "for_tensors": self.room,
                "ways": {self.title(way): self._of_way(way) for way in self.ways},
            },
            "time": {
                "utilisation": self.reached,
                "source": "estimated" if self.utilisation is None else "given",
                "steps_per_second": None if seconds is None else 1 / seconds,
                "hours": hours,
                "gpu_hours": None if hours is None else hours * self.gpus,
            },
            "storage": {
                "checkpoint": checkpoint,
                "checkpoints": recipe.checkpoints * checkpoint,
                "model": weight * whole,
                "store": recipe.corpus_bases,
                "logs": recipe.rows * _ROW_BYTES,
            },
            "advice": self.advice(),
        }

    def _of_way(self, way: Way) -> dict[str, int]:
        """Bytes by part, with the largest micro-batch."""
        memory = self.memory(way, self.samples)
        return {**vars(memory), "total": memory.total, "largest_micro_batch": self.fitting(way)}
