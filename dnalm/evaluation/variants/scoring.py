"""Scores of variants: what a model says of ALT against REF in the same window, both strands averaged.

A score submits what it needs to the inference queue, and reads its numbers off once that has run.

Both windows have the same flanks, so they differ in the allele alone, and in length by the indel's. An
insertion or a deletion is compared with one base of each flank, so that neither allele is empty and the other
strand sees the same.

A likelihood is that of hidden bases, whatever the tokens. Where tokens tile, the log-probability of a hidden
token is that of the bases it spells. Where they overlap, a hidden base's distribution is the mean over the
hidden tokens that cover it, as in `training.bits`. A base N has none and is left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Literal, Protocol

import numpy as np

from dnalm.data.labelled import LongSequence
from dnalm.errors import ConfigError
from dnalm.evaluation.inference import Device, Floats, InferenceQueue, LoadedModel, Precision
from dnalm.evaluation.prediction.reader import PredictionRecipe, in_label_units, submit_outputs
from dnalm.genome.alphabet import UNKNOWN, Codes, bases, from_text, reverse_complement
from dnalm.genome.store import GenomeStore
from dnalm.genome.variants import Allele
from dnalm.models import Pretrained
from dnalm.small_files import sha256_once, window_tokens
from dnalm.tokenizers import Tokenizer
from dnalm.tokenizers.protocol import Ids
from dnalm.training.model_directory import Finetuned, read_head

ScoreName = Literal["llr", "pll", "distance", "embedding", "prediction"]
_WINDOW_BP = 512  # where the model's folder does not say what it was trained on
_MODEL_FILES = (".safetensors", ".bin", ".json", ".yaml", ".txt")
_QUEUED = 4096  # requests gathered before they are run
_REACH_BP = 64  # how far from the allele tokens of both texts are followed to a common border
_HIDDEN_PART = 6  # the pseudo-likelihood hides a token in so many at a time, 17 %, as pre-training does
_MEASURES = ("cosine", "l1", "l2", "dot")


@dataclass(frozen=True, kw_only=True)
class ScoringPlan:
    """How variants are scored; small, and the same in every process.

    Attributes:
        model: the model directory.
        title: what outputs call the model.
        tokenizer: bases to ids; that of the model's folder if absent.
        scores: by name, in the order of the output.
        layers: of `distance` and `embedding`, 0 the embeddings, the last if none is given.
        window_bp: bases around a variant; fewer where they make more tokens than the model takes. If absent
            those of the windows or sequences that the model was trained on, where its folder says, else 512.
        pll_bp: of `pll`.
        max_allele_bp: longer alleles are not scored.
        batch_tokens: tokens of a batch.
        device: where to compute.
        precision: of matrix products.
    """

    model: Pretrained
    title: str = ""
    tokenizer: Tokenizer | None = None
    scores: tuple[ScoreName, ...] = ("llr",)
    layers: tuple[int, ...] = ()
    window_bp: int | None = None
    pll_bp: int = 64
    max_allele_bp: int = 50
    batch_tokens: int = 2048
    device: Device = "auto"
    precision: Precision = "float32"

    def chosen_window_bp(self, tokenizer: Tokenizer) -> int:
        """Bases around a variant."""
        if self.window_bp is not None:
            return self.window_bp
        folder = self.model.folder()
        if (head := read_head(folder)) is not None:
            return head.length_bp
        tokens = window_tokens(folder)
        return tokenizer.length_in_bases(tokens) if tokens else _WINDOW_BP

    def chosen_layers(self, num_layers: int) -> tuple[int, ...]:
        """Those whose hidden states are read, in ascending order.

        Raises:
            ConfigError: CFG-50, they are given without a score that reads them, or the model lacks one.
        """
        if {"distance", "embedding"}.isdisjoint(self.scores):
            if self.layers:
                found = f"layers={list(self.layers)} without score=distance"
                raise _wrong("layers", found, "none", "add it: score=[distance]")
            return ()
        for layer in self.layers:
            if not 0 <= layer <= num_layers:
                found = f"layer {layer} of a model of {num_layers}"
                expected = f"0 (the embeddings) to {num_layers}"
                raise _wrong("layers", found, expected, f"choose one of them, such as layers=[{num_layers}]")
        return tuple(sorted(set(self.layers))) or (num_layers,)

    def make_scores(self, model: LoadedModel) -> list[Score]:
        """The scores in the order of their names.

        Raises:
            ConfigError: CFG-50, there is none, or one is named twice; as `chosen_layers`.
        """
        encoder = model.network.encoder
        layers = self.chosen_layers(encoder.depth)
        made: dict[str, Score] = {
            "llr": MaskedRatio(),
            "pll": PseudoLikelihood(pll_bp=self.pll_bp),
            "distance": Distance(layers=layers),
            "embedding": Embedding(width=encoder.hidden_size),
        }
        if model.finetuned is not None:
            if model.finetuned.head.kind == "segmentation":
                found, fix = "score=prediction of a model that judges every base", "leave it out: score=[llr]"
                raise _wrong("score", found, "a model with one answer for a sequence", fix)
            made["prediction"] = Prediction(model.finetuned)
        if len(set(self.scores)) < len(self.scores) or not self.scores:
            expected = "one score or several, each once"
            raise _wrong("score", f"score={list(self.scores)}", expected, "write score=[llr,pll]")
        return [made[name] for name in self.scores]

    def contract(self, *, genome: str, variants_sha256: str) -> dict[str, object]:
        """What results depend on: equal contracts, equal results."""
        began = self.model.initialisation()
        files = [path for path in sorted(self.model.folder().iterdir()) if path.suffix in _MODEL_FILES]
        text = "\n".join(f"{path.name} {sha256_once(path)}" for path in files if path.is_file())
        return {
            "model": hashlib.sha256(text.encode()).hexdigest(),
            "tokenizer": self.tokenizer.fingerprint if self.tokenizer else None,
            "reference": genome,
            "variants": variants_sha256,
            "untrained": asdict(began) if self.model.is_twin and began else None,
            "kernel": self.model.kernel,
            "scores": list(self.scores),
            "layers": list(self.layers),
            "window_bp": self.window_bp,
            "pll_bp": self.pll_bp,
            "batch_tokens": self.batch_tokens,
            "device": self.device,
            "precision": self.precision,
            "max_allele_bp": self.max_allele_bp,
        }


def _wrong(where: str, found: str, expected: str, fix: str) -> ConfigError:
    return ConfigError("CFG-50", where=where, found=found, expected=expected, fix=fix)


class Scorer:
    """A model with the scores that are wanted of it.

    Args:
        model: on its device.
        store: the genome.
        scores: in the order of the output.
        plan: windows and batches.
    """

    def __init__(
        self, model: LoadedModel, store: GenomeStore, scores: Sequence[Score], plan: ScoringPlan
    ) -> None:
        encoder, self._tokenizer = model.network.encoder, model.tokenizer
        layers = plan.chosen_layers(encoder.depth)
        self._queue = InferenceQueue(model, batch_tokens=plan.batch_tokens, layers=layers)
        self.store, self._scores = store, list(scores)
        self._num_parameters = sum(each.numel() for each in model.network.parameters())
        self._limit, self.window_bp = encoder.longest_sequence, plan.chosen_window_bp(model.tokenizer)

    @classmethod
    def open(cls, plan: ScoringPlan, store: GenomeStore) -> Scorer:
        """Load the plan's model.

        Raises:
            CheckpointError: it cannot be read, does not fit its tokenizer, or lacks the head of `prediction`.
            DataError: its tokenizer cannot be read.
            ConfigError: the plan asks for a layer that it lacks, or a GPU that is not there.
        """
        model = LoadedModel.open(
            plan.model,
            tokenizer=plan.tokenizer,
            device=plan.device,
            precision=plan.precision,
            needs_lm_head=not {"llr", "pll"}.isdisjoint(plan.scores),
            needs_task_head="prediction" in plan.scores,
        )
        return cls(model, store, plan.make_scores(model), plan)

    @property
    def num_parameters(self) -> int:
        """Of the model, without the head of a task."""
        return self._num_parameters

    @property
    def names(self) -> tuple[str, ...]:
        """Of the numbers of an allele."""
        return tuple(name for score in self._scores for name in score.names)

    def score(self, alleles: Sequence[Allele]) -> list[list[float]]:
        """The numbers of each allele, means of both strands; NaN where nothing can be said."""
        queued: list[list[list[ReadNumbers]]] = []
        done: list[list[float]] = []
        for allele in alleles:
            strands = self._fitting_pairs(allele)
            queued.append([[score.submit(self._queue, each) for score in self._scores] for each in strands])
            if len(self._queue) >= _QUEUED:
                done += self._run(queued)
                queued = []
        return done + self._run(queued)

    def _run(self, queued: list[list[list[ReadNumbers]]]) -> list[list[float]]:
        self._queue.run()
        rows = []
        for strands in queued:
            forward, backward = ([value for read in each for value in read()] for each in strands)
            rows.append([(one + two) / 2 for one, two in zip(forward, backward, strict=True)])
        return rows

    def _fitting_pairs(self, allele: Allele) -> tuple[Pair, Pair]:
        """Of both strands, in the widest window that makes no more tokens than the model takes."""
        window_bp, wrapping = self.window_bp, self._tokenizer.special.num_wrapping
        while True:
            pair = make_pair(self.store, allele, window_bp=window_bp)
            strands = (pair, pair.reverse_complement())
            texts = [window.codes for each in strands for window in (each.ref, each.alt)]
            # No tokenizer makes more tokens than bases.
            if self._limit is None or max(map(len, texts)) + wrapping <= self._limit:
                return strands
            if max(len(self._tokenizer.encode(codes)) for codes in texts) <= self._limit:
                return strands
            window_bp = window_bp * 3 // 4


ReadNumbers = Callable[[], list[float]]  # the numbers of a score, once the queue has run


class Score(Protocol):
    """A way to compare two windows."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of its numbers, lower case, unique among the scores."""

    def submit(self, queue: InferenceQueue, pair: Pair) -> ReadNumbers:
        """Queue what is needed; returns what reads the numbers, ALT against REF, once that has run."""


class MaskedRatio:
    """`llr`: log-likelihood ratio of ALT to REF, in nats, all tokens that touch the variant hidden in both.

    Overlapping k-mers: sum over the allele's bases of log p(base), p the mean over the k hidden tokens that
    cover it. A SNV: log p(ALT) - log p(REF), from one hidden text, for both alleles hide the same.
    6-mers and LOGO's k-mers: log p(token of ALT) - log p(token of REF) at the hidden tokens; their other
    bases are alike, so it is the ratio of the bases given these.
    BPE, which cuts the alleles differently: the hidden run is grown on both sides to the nearest border that
    both cuts have within 64 bases, so that both runs spell the same flanks.
    An indel shifts the borders of 6-mers, and none is in common: then the touching tokens alone are hidden.
    Where the runs differ in bases, see `difference`.
    """

    names = ("llr",)

    def submit(self, queue: InferenceQueue, pair: Pair) -> ReadNumbers:
        """See `Score.submit`."""
        windows = (pair.ref, pair.alt)
        texts = [Text.read(queue.model.tokenizer, window.codes) for window in windows]
        tokens = [text.touching(each.start, each.end) for text, each in zip(texts, windows, strict=True)]
        if queue.model.tokenizer.overlap == 1:
            tokens = _grown(texts, tokens)
        sums = [Likelihood(), Likelihood()]
        for text, window, hidden, total in zip(texts, windows, tokens, sums, strict=True):
            total.submit(queue, text, hidden, np.arange(window.start, window.end))
        return lambda: [difference(*sums)]


def _grown(texts: list[Text], tokens: list[Ids]) -> list[Ids]:
    """Two runs of tokens grown to the nearest borders in common, the right ones counted from the end."""
    if not all(len(run) for run in tokens):
        return tokens
    starts = [int(text.spans[run[0], 0]) for text, run in zip(texts, tokens, strict=True)]
    ends = [len(text.codes) - int(text.spans[run[-1], 1]) for text, run in zip(texts, tokens, strict=True)]
    lefts, rights = [], []
    for text in texts:
        spelling = text.spans[text.spans[:, 1] > text.spans[:, 0]]
        lefts.append({p for p in text.spans[:, 0].tolist() if min(starts) - _REACH_BP <= p <= min(starts)})
        borders = (len(text.codes) - spelling[:, 1]).tolist()
        rights.append({p for p in borders if min(ends) - _REACH_BP <= p <= min(ends)})
    left, right = max(lefts[0] & lefts[1], default=None), max(rights[0] & rights[1], default=None)
    return [
        text.touching(start if left is None else left, len(text.codes) - (end if right is None else right))
        for text, start, end in zip(texts, starts, ends, strict=True)
    ]


class PseudoLikelihood:
    """`pll`: difference of the pseudo-log-likelihoods, in nats, of the bases around the variant.

    Every token that touches the allele or `pll_bp / 2` bases on either side of it is hidden, one in six at a
    time, and the log-probabilities are summed. Where k-mers overlap, bases are hidden instead, each by all k
    tokens over it, 6 k bases apart. For different lengths see `difference`.

    Args:
        pll_bp: bases around the allele that are summed over.
    """

    names = ("pll",)

    def __init__(self, *, pll_bp: int) -> None:
        self._half = pll_bp // 2

    def submit(self, queue: InferenceQueue, pair: Pair) -> ReadNumbers:
        """See `Score.submit`."""
        tokenizer = queue.model.tokenizer
        sums = [Likelihood(), Likelihood()]
        for window, total in zip((pair.ref, pair.alt), sums, strict=True):
            text = Text.read(tokenizer, window.codes)
            start = max(0, window.start - self._half)
            end = min(len(window.codes), window.end + self._half)
            if tokenizer.overlap > 1:
                apart = _HIDDEN_PART * tokenizer.overlap
                for first in range(start, min(end, start + apart)):
                    bases = np.arange(first, end, apart)
                    hidden = [text.touching(int(base), int(base) + 1) for base in bases]
                    total.submit(queue, text, np.unique(np.concatenate(hidden)), bases)
            else:
                tokens = text.touching(start, end)
                for first in range(_HIDDEN_PART):
                    total.submit(queue, text, tokens[first::_HIDDEN_PART], tokens[:0])
        return lambda: [difference(*sums)]


class Distance:
    """How far hidden states of ALT lie from those of REF: cosine distance, L1, L2, and the dot product.

    `<measure>_variant_<layer>` compares means over the tokens that touch the variant,
    `<measure>_window_<layer>` means over all tokens that spell bases. Layer 0 is the embeddings. All but
    `dot`, which is the similarity itself, are 0 between equal alleles.

    Args:
        layers: of the model, from 0, in order.
    """

    def __init__(self, *, layers: Sequence[int]) -> None:
        self.names = tuple(
            f"{measure}_{part}_{layer}"
            for layer in layers
            for part in ("variant", "window")
            for measure in _MEASURES
        )

    def submit(self, queue: InferenceQueue, pair: Pair) -> ReadNumbers:
        """See `Score.submit`."""
        ref, alt = (self._submit(queue, window) for window in (pair.ref, pair.alt))
        return lambda: [value for one, two in zip(ref, alt, strict=True) for value in _measure(one, two)]

    def _submit(self, queue: InferenceQueue, window: Window) -> list[Floats]:
        """A list that will hold, layer by layer, the mean vector over the variant and over the window."""
        text = Text.read(queue.model.tokenizer, window.codes)
        parts = [text.touching(window.start, window.end), text.touching(0, len(window.codes))]
        means: list[Floats] = []

        def receive(states: Floats) -> None:
            wide = states.astype(np.float64)
            means.extend(layer[part].mean(axis=0) for layer in wide for part in parts)

        queue.submit("hidden_states", text.ids, receive)
        return means


def _measure(ref: Floats, alt: Floats) -> list[float]:
    dot = float(ref @ alt)
    norms = float(np.linalg.norm(ref) * np.linalg.norm(alt))
    cosine = 0.0 if np.array_equal(ref, alt) else 1 - dot / norms if norms else float("nan")
    return [cosine, float(np.abs(alt - ref).sum()), float(np.linalg.norm(alt - ref)), dot]


class Embedding:
    """`embedding`: hidden states of REF, and by how much those of ALT differ, for a regression on both.

    `ref_<number>` and `change_<number>`, means over the tokens that touch the variant, at the last of the
    layers that are read, to six decimals.

    Args:
        width: of the model.
    """

    def __init__(self, *, width: int) -> None:
        self.names = tuple(f"{part}_{number}" for part in ("ref", "change") for number in range(width))

    def submit(self, queue: InferenceQueue, pair: Pair) -> ReadNumbers:
        """See `Score.submit`."""
        ref, alt = (self._submit(queue, window) for window in (pair.ref, pair.alt))
        return lambda: np.concatenate([ref[0], alt[0] - ref[0]]).round(6).tolist()

    def _submit(self, queue: InferenceQueue, window: Window) -> list[Floats]:
        """A list that will hold the mean vector over the variant."""
        text = Text.read(queue.model.tokenizer, window.codes)
        tokens, means = text.touching(window.start, window.end), list[Floats]()

        def receive(states: Floats) -> None:
            means.append(states[-1][tokens].astype(np.float64).mean(axis=0))

        queue.submit("hidden_states", text.ids, receive)
        return means


class Prediction:
    """`prediction`: the head's answer for ALT minus that for REF, as of `dnalm predict strands=both`.

    Of two classes it is the difference of the second's probability, P(active | ALT) - P(active | REF); of a
    regression that of the values, in their unit; of more classes or labels one number each,
    `prediction_<number>`.

    Args:
        finetuned: the model with its head.
    """

    def __init__(self, finetuned: Finetuned) -> None:
        self._head = finetuned.head
        whole: LongSequence | None = "pieces" if self._head.long == "refuse" else None
        self._recipe = PredictionRecipe(strands="both", long=whole).of_head(self._head)
        outputs = finetuned.model.head.shape.num_outputs
        single = self._head.kind in ("binary", "regression")
        self.names = ("prediction",) if single else tuple(f"prediction_{n}" for n in range(outputs))

    def submit(self, queue: InferenceQueue, pair: Pair) -> ReadNumbers:
        """See `Score.submit`; either strand of a pair has the same numbers, computed once."""
        ref, alt = (
            submit_outputs(queue, window.codes, self._recipe, where="a window")
            for window in (pair.ref, pair.alt)
        )

        def read() -> list[float]:
            difference_O = in_label_units(self._head, alt()) - in_label_units(self._head, ref())
            return [float(value) for value in difference_O[-len(self.names) :]]

        return read


@dataclass(frozen=True)
class Text:
    """A tokenized window: its (L,) codes, (T,) ids and (T, 2) spans."""

    codes: Codes
    ids: Ids
    spans: Ids

    @classmethod
    def read(cls, tokenizer: Tokenizer, codes: Codes) -> Text:
        """Tokenize."""
        ids = tokenizer.encode(codes)
        return cls(codes, ids, tokenizer.spans(codes, ids))

    def touching(self, start: int, end: int) -> Ids:
        """The tokens that spell a base of [start, end), and none that spells no base."""
        first, last = self.spans[:, 0], self.spans[:, 1]
        return np.flatnonzero((first < end) & (last > start) & (last > first))


@dataclass
class Likelihood:
    """A sum of log-probabilities and the number of bases they are of."""

    nats: float = 0.0
    num_bases: int = 0

    def submit(self, queue: InferenceQueue, text: Text, tokens: Ids, wanted: Ids) -> None:
        """Hide tokens; what the model says of them is added when the queue runs.

        Args:
            queue: computes.
            text: the window.
            tokens: (M,) hidden tokens.
            wanted: (B,) bases whose probability is added where tokens overlap, all tokens over them hidden;
                where they tile, all bases of the hidden tokens are.
        """
        if not len(tokens):
            return
        tokenizer, ids = queue.model.tokenizer, text.ids.copy()
        ids[tokens] = tokenizer.special.mask
        if tokenizer.overlap > 1:
            receive = partial(self._add_bases, text, tokens, wanted)
            queue.submit("base_log_p", ids, receive, tokens=tokens)
        else:
            queue.submit("token_log_p", ids, partial(self._add_tokens, text, tokens), tokens=tokens)

    def _add_tokens(self, text: Text, tokens: Ids, log_p_MV: Floats) -> None:
        spans = text.spans[tokens]
        known = np.array([UNKNOWN not in text.codes[start:end] for start, end in spans])
        self.nats += float(log_p_MV[np.arange(len(tokens)), text.ids[tokens]][known].sum())
        self.num_bases += int((spans[:, 1] - spans[:, 0])[known].sum())

    def _add_bases(self, text: Text, tokens: Ids, wanted: Ids, log_p_MK4: Floats) -> None:
        spans = text.spans[tokens]
        for base in wanted:
            if text.codes[base] == UNKNOWN:
                continue
            over = np.flatnonzero((spans[:, 0] <= base) & (spans[:, 1] > base))
            place = base - spans[over, 0]
            self.nats += float(np.log(np.exp(log_p_MK4[over, place, text.codes[base]]).mean()))
            self.num_bases += 1


def difference(ref: Likelihood, alt: Likelihood) -> float:
    """ALT minus REF in nats, each per base, times the mean of their numbers of bases.

    With as many bases in both it is the difference of the sums; else neither allele is judged less likely
    for being longer. Swapping the alleles negates it.
    """
    if not ref.num_bases or not alt.num_bases:
        return float("nan")
    mean = (ref.num_bases + alt.num_bases) / 2
    return mean * (alt.nats / alt.num_bases - ref.nats / ref.num_bases)


@dataclass(frozen=True, eq=False)
class Window:
    """A text with an allele in it.

    Attributes:
        codes: (L,) values 0-4, not soft-masked.
        start: first base of the allele.
        end: base after its last.
    """

    codes: Codes
    start: int
    end: int

    def reverse_complement(self) -> Window:
        """The same on the other strand."""
        size = len(self.codes)
        return Window(reverse_complement(self.codes), size - self.end, size - self.start)


@dataclass(frozen=True, eq=False)
class Pair:
    """REF and ALT in the same flanks."""

    ref: Window
    alt: Window

    def reverse_complement(self) -> Pair:
        """Both on the other strand."""
        return Pair(self.ref.reverse_complement(), self.alt.reverse_complement())


def make_pair(store: GenomeStore, allele: Allele, *, window_bp: int) -> Pair:
    """Windows with a variant in the middle, cut at the ends of the contig; the longer has `window_bp`."""
    length = store.contig(allele.contig).length
    start, end = allele.start, allele.start + len(allele.ref)
    if not allele.ref or not allele.alt:
        start, end = max(0, start - 1), min(length, end + 1)
    around = max(0, window_bp - (end - start) - max(0, len(allele.alt) - len(allele.ref)))
    first = max(0, start - around // 2)
    last = min(length, end + around - around // 2)
    text = bases(store.fetch(allele.contig, first, last))
    place = allele.start - first
    after = place + len(allele.ref)
    changed = np.concatenate([text[:place], from_text(allele.alt), text[after:]])
    growth = len(allele.alt) - len(allele.ref)
    return Pair(
        Window(text, start - first, end - first), Window(changed, start - first, end - first + growth)
    )
