"""What a model says of a base that is hidden from it, and what its attention looks at; for any tokenizer.

A base is hidden by masking every token that covers it. Its distribution over A, C, G, T is then that of the
masked tokens, each summed over the ids that spell the base at its place, and averaged over the tokens that
cover the base: the definition of bits per base (`training.bits`) where k-mers overlap. Where tokens tile, the
rest of the masked token's bases are hidden too; ids too short to reach the base have no share.

A model reads a window at a time, in whose middle the hidden base stands, shifted where the text ends. The
window is what the model was trained on: learned positions beyond it have learned nothing, and what a model
says there is noise.

Q queries, T tokens, M masked tokens, K longest token, L bases with flanks, R of the region, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from dnalm.errors import CheckpointError, ConfigError, DataError
from dnalm.evaluation.inference import Floats, InferenceQueue, LoadedModel
from dnalm.evaluation.sequence_inputs import NamedSequence
from dnalm.genome.alphabet import UNKNOWN, Codes
from dnalm.tokenizers.protocol import Ids, covering_tokens

_TINY = 1e-30  # no probability is below, so that logarithms are finite
_DEFAULT_BP = 512  # where nothing limits the model


@dataclass(frozen=True, eq=False)
class HiddenBase:
    """A base of a text that is hidden: (L,) codes, of any length, and its place."""

    codes: Codes
    place: int


class Reader:
    """A model that predicts hidden bases.

    Args:
        model: sees both sides of a hidden base.
        window_bp: bases that it reads at a time; those of its training if absent.
        batch_tokens: tokens that are computed at a time; changes no result.

    Raises:
        CheckpointError: MODEL-15, its tokens see only one side.
    """

    def __init__(
        self, model: LoadedModel, *, window_bp: int | None = None, batch_tokens: int = 16_384
    ) -> None:
        require_both_sides(model)
        self.model, self.tokenizer = model, model.tokenizer
        self.window_bp = window_bp or training_window(model)
        self._queue = InferenceQueue(model, batch_tokens=batch_tokens)

    def check_length(self, codes: Codes, *, where: str) -> None:
        """Refuse a sequence that is to be read whole and is longer than a window.

        Raises:
            DataError: INT-01, with both lengths.
        """
        if len(codes) > self.window_bp:
            raise DataError(
                "INT-01",
                where=where,
                found=f"{len(codes):,} bases",
                expected=f"at most {self.window_bp:,}, which the model was trained to read at a time",
                fix="give shorter regions, or window_bp=… where the model is known to read more",
            )

    def attention(self, codes: Codes) -> list[Floats]:
        """The attention weights of every layer, (H, T, T): what each token (row) takes from each.

        Raises:
            ConfigError: INT-05, the model has none.
        """
        if self.model.network.encoder.num_layers == 0:
            raise ConfigError(
                "INT-05",
                where="what=attention",
                found="a model of convolutions alone",
                expected="a model with blocks of attention",
                fix="set what=mutagenesis or what=dependency, which ask any model",
            )
        ids, packed = self.model.pack([self.tokenizer.encode(codes)])
        with torch.no_grad(), self.model.autocast:
            maps = self.model.network.encoder.attention_maps(ids, packed)
            return [maps_1HTT[0].float().numpy(force=True) for maps_1HTT in maps]

    def window(self, codes: Codes, place: int) -> tuple[int, int]:
        """The half-open interval of a text that is read where a base is hidden."""
        first = min(max(0, place - self.window_bp // 2), max(0, len(codes) - self.window_bp))
        return first, min(len(codes), first + self.window_bp)

    def log_probabilities(self, hidden: Sequence[HiddenBase]) -> Floats:
        """Natural logarithms of the probabilities of A, C, G, T at hidden bases, (Q, 4), float64.

        A base that no token covers has NaN. Results do not depend on what else is computed, but for the last
        bits.
        """
        log_p_Q4: Floats = np.full((len(hidden), 4), np.nan)
        for each, row_4 in zip(hidden, log_p_Q4, strict=True):
            first, last = self.window(each.codes, each.place)
            codes, place = each.codes[first:last], each.place - first
            ids = self.tokenizer.encode(codes)
            spans = self.tokenizer.spans(codes, ids)
            masked_M = np.arange(*covering_tokens(spans, len(codes))[place])
            if len(masked_M):
                ids[masked_M] = self.tokenizer.special.mask
                receive = partial(_average, row_4, place - spans[masked_M, 0])
                self._queue.submit("base_log_p", ids, receive, tokens=masked_M)
        self._queue.run()
        return log_p_Q4


def _average(into_4: Floats, offset_M: Ids, log_p_MK4: Floats) -> None:
    """Write the mean over the masked tokens, each at the place that it has for the base."""
    probability_M4 = np.exp(log_p_MK4[np.arange(len(offset_M)), offset_M])
    into_4[:] = np.log(np.maximum(probability_M4.mean(axis=0), _TINY))


def require_both_sides(model: LoadedModel) -> None:
    """Refuse a model that cannot be asked for a hidden base.

    Raises:
        CheckpointError: MODEL-15, its tokens see only one side.
    """
    if model.network.encoder.causal:
        raise CheckpointError(
            "MODEL-15",
            where=model.name,
            found="a model whose tokens see only earlier ones",
            expected="one that sees both sides of a hidden base",
            fix="name a model trained without model.causal",
        )


def training_window(model: LoadedModel) -> int:
    """Bases of the windows that a model was trained on, as far as its directory says, or what it can take."""
    encoder, limits = model.network.encoder, []
    if encoder.longest_sequence is not None:
        limits.append(encoder.longest_sequence - model.tokenizer.special.num_wrapping)
    if encoder.window_tokens is not None:
        limits.append(encoder.window_tokens)
    return model.tokenizer.length_in_bases(min(limits)) if limits else _DEFAULT_BP


@dataclass(frozen=True, kw_only=True)
class HeadSummary:
    """What a head does with one sequence; rows that are no base's are left out, means over the others.

    Attributes:
        special_share: attention that goes to tokens that spell no base.
        distance_bp: mean distance in bases from a token's middle to the middle of those that it looks at,
            by attention, special tokens left out.
        entropy_bits: mean entropy of a token's attention, special tokens included.
        base_distance_bp: the same distance at the resolution of bases.
        base_entropy_bits: the entropy at the resolution of bases, special tokens left out.
    """

    special_share: float
    distance_bp: float
    entropy_bits: float
    base_distance_bp: float
    base_entropy_bits: float


def to_bases(weights_TT: Floats, spans: Ids, num_bases: int) -> Floats:
    """Attention from base to base, (L, L).

    A base looks as the mean of the tokens that cover it, and a token's attention is shared equally by the
    bases that it covers. So a row sums to what is not spent on special tokens.

    Args:
        weights_TT: attention from token (row) to token.
        spans: (T, 2) bases of each token; special tokens have none.
        num_bases: L.
    """
    places = np.arange(num_bases)
    covers_TL = ((spans[:, :1] <= places) & (places < spans[:, 1:])).astype(np.float64)
    widths, counts = covers_TL.sum(axis=1, keepdims=True), covers_TL.sum(axis=0)[:, None]
    shared_TL = weights_TT @ (covers_TL / np.maximum(widths, 1))
    mean: Floats = (covers_TL.T @ shared_TL) / np.maximum(counts, 1)
    return mean


def summarize(weights_TT: Floats, spans: Ids, num_bases: int) -> HeadSummary:
    """The numbers of a head, whose arguments are those of `to_bases`."""
    content = np.flatnonzero(spans[:, 1] > spans[:, 0])
    rows_CT = weights_TT[content].astype(np.float64)
    middles = spans[content].mean(axis=1)
    among = rows_CT[:, content]
    base_LL = to_bases(weights_TT, spans, num_bases)
    base_LL = base_LL[base_LL.sum(axis=1) > 0]
    places = np.arange(num_bases)
    covered = np.flatnonzero(to_bases(np.eye(len(spans)), spans, num_bases).sum(axis=1) > 0)
    return HeadSummary(
        special_share=float(1 - (among.sum(axis=1) / rows_CT.sum(axis=1)).mean()),
        distance_bp=_distance(among, middles, middles),
        entropy_bits=_entropy(rows_CT),
        base_distance_bp=_distance(base_LL, covered, places),
        base_entropy_bits=_entropy(base_LL),
    )


def _distance(weights: Floats, from_rows: Floats | Ids, to_columns: Floats | Ids) -> float:
    apart = np.abs(from_rows[:, None] - to_columns[None, :])
    return float(((weights * apart).sum(axis=1) / weights.sum(axis=1)).mean())


def _entropy(weights: Floats) -> float:
    shares = weights / weights.sum(axis=1, keepdims=True)
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return float(-(shares * logs).sum(axis=1).mean())


@dataclass(frozen=True, eq=False)
class Mutagenesis:
    """What substitutions do to a region, in nats; NaN at bases N.

    Attributes:
        log_p_R4: log-probability of every base where all tokens over it are hidden.
        effect_R4: that of the base less that of the one that stands there; 0 for the latter.
        neighbours_R4: what the substitution adds to the log-probabilities of the bases nearby, each hidden in
            its turn, summed; 0 for the base that stands there.
    """

    log_p_R4: Floats  # noqa: N815
    effect_R4: Floats  # noqa: N815
    neighbours_R4: Floats  # noqa: N815


def substitute(codes: Codes, place: int, base: int) -> Codes:
    """A copy with one base changed."""
    changed = codes.copy()
    changed[place] = base
    return changed


def saturate(reader: Reader, region: NamedSequence, *, neighbours_bp: int) -> Mutagenesis:
    """The effect of every substitution of a region, on its own base and on `neighbours_bp` to either side."""
    codes, (first, last) = region.codes, region.inner
    log_p_R4 = expectations(reader, region)
    own_R = np.where(codes[first:last] == UNKNOWN, 0, codes[first:last]).astype(np.int64)
    effect_R4 = log_p_R4 - np.take_along_axis(log_p_R4, own_R[:, None], axis=1)
    neighbours_R4 = np.where(np.isnan(log_p_R4), np.nan, 0.0)
    if neighbours_bp:
        neighbours_R4 += _of_neighbours(reader, region, neighbours_bp)
    return Mutagenesis(log_p_R4, effect_R4, neighbours_R4)


def _of_neighbours(reader: Reader, region: NamedSequence, reach: int) -> Floats:
    codes, (first, last) = region.codes, region.inner
    near = list(range(max(0, first - reach), min(len(codes), last + reach)))
    near = [place for place in near if codes[place] != UNKNOWN]
    log_p = reader.log_probabilities([HiddenBase(codes, place) for place in near])
    before = {place: row[codes[place]] for place, row in zip(near, log_p, strict=True)}
    changes = np.zeros((last - first, 4))
    for place in region.known():
        around = [other for other in near if 0 < abs(other - place) <= reach]
        others = [base for base in range(4) if base != codes[place]]
        changed = [substitute(codes, place, base) for base in others]
        log_p = reader.log_probabilities([HiddenBase(text, other) for text in changed for other in around])
        after = log_p.reshape(3, len(around), 4)[:, np.arange(len(around)), codes[around]]
        known = np.array([before[other] for other in around])
        changes[place - first, others] = np.nansum(after - known, axis=1)
    return changes


def expectations(reader: Reader, region: NamedSequence) -> Floats:
    """(R, 4) log-probabilities of each base of a region, each hidden by itself; NaN at N."""
    first, last = region.inner
    log_p_R4 = np.full((last - first, 4), np.nan)
    hidden = [HiddenBase(region.codes, place) for place in region.known()]
    log_p_R4[np.array(region.known()) - first] = reader.log_probabilities(hidden)
    return log_p_R4


def of_text(reader: Reader, region: NamedSequence) -> Floats:
    """(R,) log-probability of the base that stands at each place of a region; NaN at N."""
    codes = region.codes[slice(*region.inner)]
    known = np.flatnonzero(codes != UNKNOWN)
    log_p_R = np.full(len(codes), np.nan)
    log_p_R[known] = expectations(reader, region)[known, codes[known]]
    return log_p_R


def dependency_map(reader: Reader, region: NamedSequence) -> Floats:
    """(R, R), row i and column j: the largest change of any base's log2-odds at j by any substitution at i.

    The base at j is hidden, so this is what the others reveal of it. The diagonal is 0, and so is what lies
    outside the window around j; rows and columns of N are NaN. Flanks are seen and stay as they are.

    Source: nucleotide dependencies (Tomaz da Silva et al. 2024, bioRxiv 2024.07.27.605418).
    """
    codes, (first, last) = region.codes, region.inner
    known = region.known()
    log_p = reader.log_probabilities([HiddenBase(codes, place) for place in known])
    before = dict(zip(known, _log2_odds(log_p), strict=True))
    windows = {place: reader.window(codes, place) for place in known}
    changes = np.full((last - first, last - first), np.nan)
    for place in known:
        seen = [other for other in known if other != place and windows[other][0] <= place < windows[other][1]]
        changed = [substitute(codes, place, alt) for alt in range(4) if alt != codes[place]]
        log_p = reader.log_probabilities([HiddenBase(text, other) for text in changed for other in seen])
        after = _log2_odds(log_p).reshape(3, len(seen), 4)
        changes[place - first, np.array(known) - first] = 0
        for number, other in enumerate(seen):
            changes[place - first, other - first] = np.abs(after[:, number] - before[other]).max()
    return changes


def _log2_odds(log_p_Q4: Floats) -> Floats:
    odds: Floats = (log_p_Q4 - np.log(np.maximum(-np.expm1(log_p_Q4), 1e-12))) / np.log(2)
    return odds
