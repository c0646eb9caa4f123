"""What is planted is there, in every species, and selection has kept it."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from dnalm.genome.alphabet import UNKNOWN, bases, to_text
from dnalm.simulation.annotation import conservation
from dnalm.simulation.evolution import Ancestor, Lineage, Species, evolve
from dnalm.simulation.sequence import AMINO_ACID, KIND, MOTIFS, Feature, draw_background
from dnalm.simulation.settings import Clade

Grown = tuple[Ancestor, list[Species]]


def parts(species: Species, kind: str) -> dict[str, list[Feature]]:
    """Annotations of a kind by gene, in transcript order."""
    found: dict[str, list[Feature]] = {}
    for item in species.of_kind(kind):
        found.setdefault(item.name, []).append(item)
    return {name: items[:: -1 if items[0].strand == "-" else 1] for name, items in found.items()}


def text_of(species: Species, item: Feature) -> str:
    return to_text(bases(species.read(item.start, item.end, item.strand)))


def test_coding_sequences_start_stop_and_have_no_stop_inside(default_grown: Grown) -> None:
    for species in default_grown[1]:
        genes = parts(species, "CDS")
        assert len(genes) > 400
        for items in genes.values():
            text = "".join(text_of(species, item) for item in items)
            protein = "".join(AMINO_ACID[text[at : at + 3]] for at in range(0, len(text), 3))
            assert protein[0] == "M"
            assert protein.index("*") == len(protein) - 1


def test_phases_say_where_the_next_codon_begins(small_grown: Grown) -> None:
    for species in small_grown[1]:
        for items in parts(species, "CDS").values():
            done = 0
            for item in items:
                assert (done + int(item.detail)) % 3 == 0
                done += item.end - item.start
            assert done % 3 == 0


def test_introns_begin_with_gt_and_end_with_ag(default_grown: Grown) -> None:
    for species in default_grown[1]:
        number = 0
        for exons in parts(species, "exon").values():
            for first, second in pairwise(exons):
                start, end = sorted((first.start, first.end, second.start, second.end))[1:3]
                intron = to_text(bases(species.read(start, end, first.strand)))
                assert intron.startswith("GT")
                assert intron.endswith("AG")
                number += 1
        assert number > 800


def test_exons_are_untranslated_ends_and_coding_parts(small_grown: Grown) -> None:
    kinds = ("five_prime_UTR", "CDS", "three_prime_UTR")
    for species in small_grown[1]:
        bases_of = Counter[str]()
        for item in species.features:
            bases_of[item.kind] += item.end - item.start
        assert sum(bases_of[kind] for kind in kinds) == bases_of["exon"]


def test_a_polyadenylation_signal_ends_10_to_30_bases_before_each_gene(default_grown: Grown) -> None:
    for species in default_grown[1]:
        genes = {item.name: item for item in species.of_kind("gene")}
        signals = species.of_kind("polyA_signal_sequence")
        assert len(signals) == len(genes)
        for item in signals:
            gene = genes[item.name]
            distance = item.start - gene.start if gene.strand == "-" else gene.end - item.end
            assert 10 <= distance <= 30
            assert text_of(species, item) == "AATAAA"


def test_every_motif_site_scores_at_least_its_threshold_in_every_species(default_grown: Grown) -> None:
    for species in default_grown[1]:
        scores = species.motif_scores
        assert {item.name for item in scores} == set(MOTIFS)
        assert all(score >= MOTIFS[item.name].threshold for item, score in scores.items())
        assert all(score <= MOTIFS[item.name].best for item, score in scores.items())


def test_chance_sites_are_rare_beside_planted_ones(default_grown: Grown) -> None:
    species = default_grown[1][0]
    letters = bases(species.codes)
    motif = MOTIFS["GATA"]
    windows = np.lib.stride_tricks.sliding_window_view(letters, motif.width)
    perfect = np.flatnonzero(motif.score(windows) > motif.best - 1)
    planted = {item.start for item in species.of_kind("motif") if item.name == "GATA" and item.strand == "+"}
    assert np.mean([start in planted for start in perfect.tolist()]) > 0.5


def test_annotations_follow_the_indels(default_grown: Grown) -> None:
    first, *others = default_grown[1]
    lengths = {item.name: item.end - item.start for item in first.of_kind("gene")}
    for species in others:
        assert species.codes.size != first.codes.size
        found = {item.name: item.end - item.start for item in species.of_kind("gene")}
        assert found.keys() == lengths.keys()
        assert found != lengths  # introns take indels
        for kind in ("CDS", "exon", "motif", "enhancer", "promoter", "insulator"):
            assert [item.end - item.start for item in species.of_kind(kind)] == [
                item.end - item.start for item in first.of_kind(kind)
            ]


@pytest.fixture(scope="module")
def lineages(default_grown: Grown) -> dict[str, Lineage]:
    return evolve(default_grown[0], Clade())


def changed_share(ancestor: Ancestor, lineage: Lineage, sites: npt.NDArray[np.bool_]) -> float:
    """Share of ancestral sites that are left and differ."""
    sites = sites & lineage.alive & (bases(ancestor.block.codes) != UNKNOWN)
    return float(
        (bases(ancestor.block.codes)[sites] != bases(lineage.codes)[lineage.place[:-1][sites]]).mean()
    )


def test_kinds_of_sites_change_in_the_order_of_their_rates(
    default_grown: Grown, lineages: dict[str, Lineage]
) -> None:
    ancestor, _ = default_grown
    kinds = ancestor.block.kinds
    share = {
        name: np.mean([changed_share(ancestor, item, kinds == number) for item in lineages.values()])
        for name, number in KIND.items()
    }
    assert share["frozen"] == 0
    assert share["core"] < share["codon_2"] < share["codon_1"] < share["motif"] < share["utr"]
    assert share["utr"] < share["codon_3"] < share["spacer"] < share["neutral"]
    # Rate 0.10 without refusals; refusals only lower it. Saturation lowers neutral change by a tenth at most.
    assert share["neutral"] / share["core"] > 0.9 / 0.10


def test_neutral_dna_changes_as_much_as_the_tree_says(
    default_grown: Grown, lineages: dict[str, Lineage]
) -> None:
    ancestor, _ = default_grown
    neutral = ancestor.block.kinds == KIND["neutral"]
    for name, depth in {"demo_a": 0.08, "demo_c": 0.10, "demo_e": 0.12}.items():
        found = changed_share(ancestor, lineages[name], neutral)
        assert (
            depth * 0.88 < found < depth * 1.05
        )  # multiple hits hide some; composition is not at equilibrium


def test_conserved_sites_have_higher_conservation(small: Clade, small_grown: Grown) -> None:
    species = small_grown[1][0]
    values = conservation(species, small)
    mean = {name: np.nanmean(values[species.kinds == number]) for name, number in KIND.items()}
    rates = small.relative_rates
    expected = {name: -np.log2(max(rate, 1 / 32)) for name, rate in rates.items()}
    for name, value in mean.items():
        size = np.isfinite(values[species.kinds == KIND[name]]).sum()
        assert abs(value - expected[name]) < 5 * small.conservation_noise / np.sqrt(size) + 0.005


def test_isochores_differ_in_gc_as_asked() -> None:
    clade = Clade()
    codes = draw_background(clade)
    windows = codes[: codes.size // 10_000 * 10_000].reshape(-1, 10_000)
    gc = np.isin(windows, (1, 2)).mean(axis=1)
    low, high = np.quantile(gc, [0.05, 0.95])
    assert abs(low - clade.isochore_gc[0]) < 0.02
    assert abs(high - clade.isochore_gc[-1]) < 0.02


def cpg_ratio(letters: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_]) -> float:
    """CpG observed over expected."""
    text = letters[inside]
    pairs = (letters[:-1] == 1) & (letters[1:] == 2) & inside[:-1] & inside[1:]
    return float(pairs.sum() * text.size / ((text == 1).sum() * (text == 2).sum()))


def test_the_ancestors_cpg_is_as_rare_as_asked() -> None:
    codes = draw_background(Clade(cpg_ratio=0.3, isochore_gc=(0.42,)))
    assert cpg_ratio(codes, np.ones(codes.size, dtype=bool)) == pytest.approx(0.3, rel=0.02)


def test_cpg_is_rare_outside_islands_and_common_in_them(default_grown: Grown) -> None:
    species = default_grown[1][0]
    letters = bases(species.codes)
    islands = np.zeros(letters.size, dtype=bool)
    for item in species.of_kind("promoter"):
        if item.detail == "CpG":
            islands[item.start : item.end] = True
    elsewhere = ~species.cover("promoter", "gene", "repeat", "enhancer", "insulator", "gap")
    assert cpg_ratio(letters, elsewhere) < 0.45
    assert cpg_ratio(letters, islands) > 0.75


def two_sided_entropy(codes: npt.NDArray[np.uint8], train_end: int, test_start: int, width: int) -> float:
    """Bits per base of the text from `test_start`, given `width` bases on each side.

    Contexts are counted before `train_end`, and smoothed with 8 observations that are spread as the next
    narrower context says.
    """
    letters = bases(codes).astype(np.int64)
    known = letters < UNKNOWN
    letters = np.where(known, letters, 0)
    counts = np.bincount(letters[:train_end][known[:train_end]], minlength=4).astype(float)
    table, contexts = (counts / counts.sum())[None], np.zeros(letters.size, dtype=np.int64)
    for reach in range(1, width + 1):
        before, after = np.roll(letters, reach), np.roll(letters, -reach)
        contexts = before * 4 ** (2 * reach - 1) + contexts * 4 + after
        size = 4 ** (2 * reach)
        counts = np.bincount((contexts * 4 + letters)[:train_end], minlength=4 * size).reshape(size, 4)
        narrower = table[np.arange(size) // 4 % (size // 16)]
        table = (counts + 8 * narrower) / (counts.sum(axis=1, keepdims=True) + 8)
    tested = np.arange(test_start, letters.size)[known[test_start:]]
    return float(-np.log2(table[contexts[tested], letters[tested]]).mean())


def test_neighbouring_bases_tell_a_base_beyond_its_frequency(default_grown: Grown) -> None:
    species = default_grown[1][0]
    train_end, test_start = int(species.edges[-3]), int(species.edges[-2])
    order_0 = two_sided_entropy(species.codes, train_end, test_start, 0)
    order_4 = two_sided_entropy(species.codes, train_end, test_start, 4)
    assert 1.95 < order_0 < 1.995
    assert order_4 < 1.92
    assert order_0 - order_4 > 0.06
