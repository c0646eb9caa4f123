"""Known motifs are recognised and their sites found, on both strands."""

from __future__ import annotations

import numpy as np

from dnalm.evaluation.interpretation.seqlets import FoundMotif, compare, scan
from dnalm.genome.alphabet import UNKNOWN, from_text, reverse_complement
from tests.evaluation.interpretation.small import random_codes


def table_of(word: str) -> np.ndarray:
    return np.where(np.eye(4, dtype=bool)[from_text(word)], 0.97, 0.01)


WORDS = ["GATTACAGGC", *("".join(np.random.default_rng(n).choice(list("ACGT"), 10)) for n in range(30))]
KNOWN = {f"m{number}": table_of(word) for number, word in enumerate(WORDS)}


def test_a_found_motif_is_recognised_on_either_strand() -> None:
    counts = (100 * table_of(WORDS[0])).astype(np.int64)
    turned = counts[::-1, ::-1]
    found = [
        FoundMotif(name=name, counts_W4=table, num_seqlets=100, mean_score=1.0)
        for name, table in (("a", counts), ("b", turned))
    ]
    matches = compare(found, KNOWN)
    assert [(match.known, match.strand) for match in matches] == [("m0", "+"), ("m0", "-")]
    assert all(match.e_value < 1e-3 for match in matches)
    assert all(match.e_value == match.p_value * len(KNOWN) for match in matches)


def test_sites_are_counted_and_judged_by_what_is_known_of_their_bases() -> None:
    texts = [random_codes(50, 100), random_codes(80, 101), random_codes(9, 102)]
    texts[0][10:20] = from_text(WORDS[0])
    texts[1][30:40] = reverse_complement(from_text(WORDS[0]))
    scores = [np.zeros(50), np.zeros(80), np.zeros(9)]
    scores[0][10:20] = scores[1][30:40] = 2
    first, *_ = scan(texts, scores, {"m0": KNOWN["m0"]}, threshold=1e-6)
    assert (first.num_sites, first.inside_bits, first.outside_bits, first.auroc) == (2, 2, 0, 1)


def test_a_site_with_an_unknown_base_is_none() -> None:
    text = random_codes(40, 3)
    text[10:20] = from_text(WORDS[0])
    text[14] = UNKNOWN
    (found,) = scan([text], [np.ones(40)], {"m0": KNOWN["m0"]}, threshold=1e-3)
    assert found.num_sites == 0
    assert np.isnan(found.auroc)
