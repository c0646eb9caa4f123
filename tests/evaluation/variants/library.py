"""A genome, models of every kind of tokenizer, and a second, slow way to score one variant at a time."""

import math

import numpy as np
import torch

from dnalm.evaluation.inference import LoadedModel
from dnalm.evaluation.variants.scoring import Distance, MaskedRatio, PseudoLikelihood, Scorer, ScoringPlan
from dnalm.genome.alphabet import from_text
from dnalm.genome.store import GenomeStore
from dnalm.genome.variants import Allele
from dnalm.models import Encoder, MaskedLM, Packed, Pretrained
from dnalm.tokenizers import KmerTokenizer, LogoTokenizer, SixMerTokenizer, Tokenizer
from tests.tokenizers.examples import small_bpe

TOKENIZERS: dict[str, Tokenizer] = {
    "character": KmerTokenizer(k=1),
    "3-mer": KmerTokenizer(k=3),
    "nt": SixMerTokenizer(),
    "bpe": small_bpe(),
    "logo": LogoTokenizer(k=4),
}
WINDOW_BP = 48


def make_model(tokenizer: Tokenizer) -> MaskedLM:
    """Small, with weights large enough that every part matters."""
    torch.manual_seed(3)
    encoder = Encoder(
        vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        intermediate_size=32,
        max_positions=64,
        padding_id=tokenizer.special.padding,
        mask_id=tokenizer.special.mask,
    )
    model = MaskedLM(encoder).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def make_scorer(
    tokenizer: Tokenizer, store: GenomeStore, *, batch_tokens: int = 4000, model: MaskedLM | None = None
) -> Scorer:
    """All three scores."""
    plan = ScoringPlan(
        model=Pretrained(source="unused"),
        scores=("llr", "pll", "distance"),
        layers=(1, 2),
        window_bp=WINDOW_BP,
        batch_tokens=batch_tokens,
    )
    scores = [MaskedRatio(), PseudoLikelihood(pll_bp=12), Distance(layers=(1, 2))]
    loaded = LoadedModel(network=model or make_model(tokenizer), tokenizer=tokenizer)
    return Scorer(loaded, store, scores, plan)


_COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


class SlowLook:
    """One text at a time, in loops, by words of the definition alone."""

    def __init__(self, model: MaskedLM, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer

    def probabilities(self, ids: list[int]) -> np.ndarray:
        """(T, V)"""
        every = torch.arange(len(ids))
        with torch.no_grad():
            logits = self.model(torch.tensor(ids), Packed.from_lengths([len(ids)]), every)
        return logits.double().softmax(-1).numpy()

    def log_likelihood(self, text: str, hidden: list[int], told: range) -> tuple[float, int]:
        """Sum of log-probabilities, and the number of bases."""
        codes = from_text(text)
        ids = self.tokenizer.encode(codes)
        spans = self.tokenizer.spans(codes, ids)
        masked = [self.tokenizer.special.mask if i in hidden else int(ids[i]) for i in range(len(ids))]
        probability = self.probabilities(masked)
        if self.tokenizer.overlap == 1:
            bases = sum(int(spans[i, 1] - spans[i, 0]) for i in hidden)
            return sum(math.log(probability[i, ids[i]]) for i in hidden), bases
        total = 0.0
        for base in told:
            votes = []
            for i in hidden:
                if spans[i, 0] <= base < spans[i, 1]:
                    letters = self.tokenizer.token_bases[:, base - spans[i, 0]]
                    known = probability[i][letters < 4].sum()
                    votes.append(probability[i][letters == codes[base]].sum() / known)
            total += math.log(sum(votes) / len(votes))
        return total, len(told)

    def touched(self, text: str, start: int, end: int) -> list[int]:
        """Tokens with a base in [start, end)."""
        codes = from_text(text)
        spans = self.tokenizer.spans(codes, self.tokenizer.encode(codes))
        return [i for i, (a, b) in enumerate(spans.tolist()) if a < b and a < end and b > start]

    def borders(self, text: str) -> list[tuple[int, int]]:
        """Spans of tokens that spell bases."""
        codes = from_text(text)
        return [
            (a, b) for a, b in self.tokenizer.spans(codes, self.tokenizer.encode(codes)).tolist() if a < b
        ]

    def llr(self, left: str, ref: str, alt: str, right: str) -> float:
        """Of one strand."""
        texts = [left + allele + right for allele in (ref, alt)]
        ends = [len(left) + len(allele) for allele in (ref, alt)]
        runs = [self.touched(text, len(left), end) for text, end in zip(texts, ends, strict=True)]
        if self.tokenizer.overlap == 1:
            runs = self._common(texts, ends, len(left))
        found = [
            self.log_likelihood(text, run, range(len(left), end))
            for text, run, end in zip(texts, runs, ends, strict=True)
        ]
        (nats_ref, bases_ref), (nats_alt, bases_alt) = found
        return (bases_ref + bases_alt) / 2 * (nats_alt / bases_alt - nats_ref / bases_ref)

    def _common(self, texts: list[str], ends: list[int], start: int) -> list[list[int]]:
        """Walk outwards, base by base, from where both runs end to the first border of both."""
        cuts = [self.borders(text) for text in texts]
        touching = [
            [(a, b) for a, b in cut if a < end and b > start] for cut, end in zip(cuts, ends, strict=True)
        ]
        low = min(run[0][0] for run in touching)
        high = min(len(text) - run[-1][1] for text, run in zip(texts, touching, strict=True))
        left = next((p for p in range(low, -1, -1) if all(p in dict(cut) for cut in cuts)), None)
        right = next(
            (
                p
                for p in range(high, -1, -1)
                if all(len(text) - p in {b for _, b in cut} for text, cut in zip(texts, cuts, strict=True))
            ),
            None,
        )
        assert left is not None
        assert right is not None
        return [self.touched(text, left, len(text) - right) for text in texts]


def flanks(text: str, allele: Allele) -> tuple[str, str, str, str]:
    """Left flank, REF, ALT, right flank: windows as `make_pair` cuts them, from the contig's text."""
    start, end = allele.start, allele.start + len(allele.ref)
    ref, alt = allele.ref, allele.alt
    if not ref or not alt:
        before, after = text[max(0, start - 1) : start], text[end : end + 1]
        ref, alt = before + ref + after, before + alt + after
        start, end = start - len(before), end + len(after)
    around = WINDOW_BP - max(len(ref), len(alt))
    left = text[max(0, start - around // 2) : start]
    return left, ref, alt, text[end : end + around - around // 2]


def other_strand(parts: tuple[str, str, str, str]) -> tuple[str, str, str, str]:
    """The same four on the other strand."""
    left, ref, alt, right = (part.translate(_COMPLEMENT)[::-1] for part in parts)
    return right, ref, alt, left


def slow_llr(look: SlowLook, parts: tuple[str, str, str, str]) -> float:
    """Both strands averaged."""
    return (look.llr(*parts) + look.llr(*other_strand(parts))) / 2


def slow_pll(look: SlowLook, parts: tuple[str, str, str, str], *, half: int) -> float:
    """Both strands averaged; one text with one sixth hidden at a time."""
    both = []
    for left, ref, alt, right in (parts, other_strand(parts)):
        found = []
        for allele in (ref, alt):
            text, nats, bases = left + allele + right, 0.0, 0
            start, end = max(0, len(left) - half), min(len(text), len(left) + len(allele) + half)
            for hidden, told in _sixths(look, text, start, end):
                more, count = look.log_likelihood(text, hidden, told)  # type: ignore[arg-type]
                nats, bases = nats + more, bases + count
            found.append((nats, bases))
        (nats_ref, bases_ref), (nats_alt, bases_alt) = found
        both.append((bases_ref + bases_alt) / 2 * (nats_alt / bases_alt - nats_ref / bases_ref))
    return sum(both) / 2


def _sixths(look: SlowLook, text: str, start: int, end: int) -> list[tuple[list[int], list[int]]]:
    overlap = look.tokenizer.overlap
    if overlap == 1:
        tokens = look.touched(text, start, end)
        return [(tokens[i::6], []) for i in range(6) if tokens[i::6]]
    groups = [list(range(first, end, 6 * overlap)) for first in range(start, min(end, start + 6 * overlap))]
    return [
        (sorted({t for base in group for t in look.touched(text, base, base + 1)}), group) for group in groups
    ]
