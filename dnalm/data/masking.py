"""Masking: which tokens are hidden, and what is shown in their place.

Tokens that tile the sequence are hidden one by one. Of overlapping k-mers a single hidden one could be
read off its neighbours, for a base lies in k of them; spans of k tokens hide one base completely. What
is configured is the *realised* rate, the share of tokens hidden: spans start at every place, beyond both
ends too, with probability p = 1 - (1 - rate)^(1/k), so that each token, at the ends as well, is hidden
with probability rate.

Source: BERT (Devlin et al. 2019): 15 % of the tokens; 80 % of them shown as [MASK], 10 % as a random
token, 10 % as they are. DNABERT (Ji et al. 2021), pre-training: spans of k tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import NonNegativeInt

from dnalm.tokenizers import Ids, Tokenizer

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Masking:
    """What is hidden, and what is shown in its place.

    Args:
        rate: expected share of the tokens hidden, in (0, 1).
        final_rate: the rate from `final_from` on; it does not change if absent.
        final_from: first optimizer step of the final rate.
        mask_share: of the hidden spans, the share shown as the mask token.
        random_share: the share shown as random tokens; the rest is shown as it is.
        faithful: choose as the published code does: centres only inside the sequence, spans
            clipped at its ends, the share drawn token by token, so that a shown token may reveal
            its hidden span, and random tokens from the whole vocabulary, special ones included.
        loss_on: which tokens training predicts; `all` is what LOGO's released code does. Validation
            always predicts the masked ones.
    """

    rate: float = 0.15
    final_rate: float | None = None
    final_from: NonNegativeInt = 0
    mask_share: float = 0.8
    random_share: float = 0.1
    faithful: bool = False
    loss_on: Literal["masked", "all"] = "masked"

    def __post_init__(self) -> None:
        for name, rate in (("rate", self.rate), ("final_rate", self.final_rate)):
            if rate is not None and not 0 < rate < 1:
                raise ValueError(f"{name} is {rate}; a masking rate lies in (0, 1)")
        if min(self.mask_share, self.random_share) < 0 or self.mask_share + self.random_share > 1:
            raise ValueError(
                f"mask_share is {self.mask_share} and random_share {self.random_share}; "
                "both must be >= 0 and their sum <= 1"
            )

    def rate_at(self, step: int) -> float:
        """The realised rate of an optimizer step."""
        return self.rate if self.final_rate is None or step < self.final_from else self.final_rate

    @property
    def highest_share(self) -> float:
        """Of the tokens that spell bases, the share to predict, at the step where it is highest."""
        return 1.0 if self.loss_on == "all" else max(self.rate, self.final_rate or 0.0)

    def mean_share(self, steps: int) -> float:
        """The same, in the mean of a run's steps."""
        if self.loss_on == "all":
            return 1.0
        before = steps if self.final_rate is None else min(steps, self.final_from)
        return (before * self.rate + (steps - before) * (self.final_rate or 0.0)) / steps

    def hide(
        self, ids: Ids, content: Flags, tokenizer: Tokenizer, *, rate: float, random: np.random.Generator
    ) -> tuple[Ids, Flags]:
        """Hide spans of one sequence.

        Args:
            ids: (T,) token ids.
            content: (T,) True where a token spells bases; special tokens are never hidden.
            tokenizer: whose mask id and replacements are used; its overlap is the span.
            rate: expected share of content tokens hidden.
            random: this sample's generator.

        Returns:
            (T,) ids as the model sees them, and (T,) True where hidden.
        """
        places = np.flatnonzero(content)
        draw = _published_spans if self.faithful else _uniform_spans
        hidden, kind = draw(len(places), span=tokenizer.overlap, rate=rate, random=random)
        places = places[hidden]
        randomised = places[(kind >= self.mask_share) & (kind < self.mask_share + self.random_share)]
        candidates = np.arange(tokenizer.vocab_size) if self.faithful else tokenizer.replacement_ids
        seen, flags = ids.copy(), np.zeros(len(ids), dtype=np.bool_)
        seen[places[kind < self.mask_share]] = tokenizer.special.mask
        seen[randomised] = candidates[random.integers(len(candidates), size=len(randomised))]
        flags[places] = True
        return seen, flags


def start_probability(rate: float, span: int) -> float:
    """Probability of a span at each place that hides a share `rate` of the tokens.

    A token stays visible if none of the `span` places that reach it starts one: (1-p)^span.
    """
    return float(1 - (1 - rate) ** (1 / span))


def _uniform_spans(
    num_tokens: int, *, span: int, rate: float, random: np.random.Generator
) -> tuple[Flags, npt.NDArray[np.float64]]:
    """Spans that may overhang both ends; one draw of what to show for a whole span.

    Returns:
        (T,) hidden, and a uniform number in [0, 1) for each of them, alike within a span.
    """
    starts = random.random(num_tokens + span - 1) < start_probability(rate, span)
    kinds = random.random(num_tokens + span - 1)
    latest = np.maximum.accumulate(np.where(starts, np.arange(len(starts)), -1))[span - 1 :]
    hidden: Flags = latest >= np.arange(num_tokens)  # a span that starts before ends before
    return hidden, kinds[latest[hidden]]  # the span that starts last decides where spans overlap


# Offsets hidden around a centre, by k: MASK_LIST of the released run_pretrain.py.
_PUBLISHED_OFFSETS = {
    3: (-1, 0, 1),
    4: (-1, 0, 1, 2),
    5: (-2, -1, 0, 1, 2),
    6: (-2, -1, 0, 1, 2, 3),
}


def _published_spans(
    num_tokens: int, *, span: int, rate: float, random: np.random.Generator
) -> tuple[Flags, npt.NDArray[np.float64]]:
    """Spans around centres, clipped to the sequence; what to show is drawn token by token."""
    centres = np.flatnonzero(random.random(num_tokens) < start_probability(rate, span))
    offsets = _PUBLISHED_OFFSETS.get(span, range(-((span - 1) // 2), span // 2 + 1))
    reached = np.add.outer(centres, offsets)
    hidden = np.zeros(num_tokens, dtype=np.bool_)
    hidden[reached[(reached >= 0) & (reached < num_tokens)]] = True
    return hidden, random.random(num_tokens)[hidden]
