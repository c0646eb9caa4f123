"""Motifs that alleles lose and gain, on windows whose sites are known by construction."""

from pathlib import Path

import numpy as np
import pytest

from dnalm.evaluation.variants.motif_changes import MotifChange, find_motif_changes
from dnalm.evaluation.variants.scoring import Pair, make_pair
from dnalm.genome.alphabet import from_text
from dnalm.genome.meme import Table
from dnalm.genome.store import GenomeStore, build_store
from dnalm.genome.variants import Allele
from dnalm.simulation import MOTIFS

SITE, OTHER = "GATTACAGT", "CCGCCTTAA"
FLANK = "TCTCTCTCTCTCTCTCTCTC"
REVERSED = "ACTGTAATC"  # of SITE


def _table(site: str) -> Table:
    """A motif that has but one site: its p-value is 4^-9, of the mismatched ones above 1e-4 x 10."""
    return np.eye(4)[from_text(site)] * 0.97 + 0.0075


KNOWN = {"site": _table(SITE), "other": _table(OTHER)}


@pytest.fixture
def store(tmp_path: Path) -> GenomeStore:
    fasta = tmp_path / "genome.fa"
    fasta.write_text(f">c\n{FLANK}{SITE}{FLANK}{REVERSED}{FLANK}{'N' * 9}{FLANK}\n")
    return build_store(fasta, tmp_path / "store")


def _pair(store: GenomeStore, start: int, ref: str, alt: str) -> Pair:
    return make_pair(store, Allele(contig="c", start=start, ref=ref, alt=alt), window_bp=2 * 9 + 3)


def test_a_broken_site_is_lost_on_either_strand(store: GenomeStore) -> None:
    forward = _pair(store, len(FLANK) + 2, "T", "C")
    backward = _pair(store, 2 * len(FLANK) + len(SITE) + 2, "T", "C")
    for changes in find_motif_changes([forward, backward], KNOWN):
        assert changes.lost is not None
        assert changes.lost.name == "site"
        assert changes.lost.p_ref == pytest.approx(4.0**-9, rel=1e-3)  # one word of 4^9
        assert changes.lost.p_alt >= 10 * changes.lost.p_ref
        assert changes.gained is None


def test_what_one_allele_loses_the_reverse_gains(store: GenomeStore) -> None:
    pair = _pair(store, len(FLANK) + 2, "T", "C")
    (lost,), (gained,) = (find_motif_changes([each], KNOWN) for each in (pair, Pair(pair.alt, pair.ref)))
    assert lost.lost is not None
    assert gained.gained == MotifChange("site", lost.lost.p_alt, lost.lost.p_ref)
    assert gained.lost is None


def test_a_site_that_does_not_touch_the_variant_is_neither_lost_nor_gained(store: GenomeStore) -> None:
    beside = _pair(store, len(FLANK) - 1, "C", "A")
    (changes,) = find_motif_changes([beside], KNOWN)
    assert (changes.lost, changes.gained) == (None, None)
    assert changes.cells() == ["."] * 6


def test_an_insertion_that_makes_another_site_gains_it(store: GenomeStore) -> None:
    (changes,) = find_motif_changes([_pair(store, 10, "", OTHER)], KNOWN)
    assert changes.gained is not None
    assert changes.gained.name == "other"
    assert changes.lost is None


def test_the_best_word_of_a_motif_has_a_p_value_that_a_logarithm_can_be_taken_of(store: GenomeStore) -> None:
    """Of SP1, FIMO gives 0 for it."""
    table = np.maximum(MOTIFS["SP1"].probabilities, 1e-3)
    known = {"SP1": table / table.sum(axis=1, keepdims=True)}
    word = "".join("ACGT"[base] for base in table.argmax(axis=1))
    (changes,) = find_motif_changes([_pair(store, 10, "", word)], known)
    assert changes.gained is not None
    assert changes.gained.p_alt == 4.0 ** -len(word)
    assert changes.gained.orders == pytest.approx(np.log10(4.0 ** -len(word) / 1e-3))


def test_no_site_is_found_over_n(store: GenomeStore) -> None:
    start = 3 * len(FLANK) + len(SITE) + len(REVERSED)
    (changes,) = find_motif_changes([_pair(store, start + 4, "N", "A")], KNOWN)
    assert (changes.lost, changes.gained) == (None, None)
