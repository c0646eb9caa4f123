"""Variants and tasks carry the labels that the planted truth gives them."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pysam
import pytest

from dnalm.genome.alphabet import bases, from_text, reverse_complement, to_text
from dnalm.simulation.annotation import Variant, draw_examples, draw_variants, window_sums
from dnalm.simulation.evolution import Ancestor, Species
from dnalm.simulation.sequence import MOTIFS
from dnalm.simulation.settings import Clade

Grown = tuple[Ancestor, list[Species]]
TASKS = ("promoter", "enhancer", "splice")


@pytest.fixture(scope="module")
def variants(default_grown: Grown) -> list[Variant]:
    return draw_variants(default_grown[1][0], Clade())


def test_as_many_variants_as_asked_and_nearly_all_have_a_partner(variants: list[Variant]) -> None:
    counts = Counter(item.label for item in variants)
    assert counts["motif"] == 1_200
    assert counts["splice"] == 400
    assert counts["neutral"] > 0.95 * 1_600


def test_functional_variants_lower_their_motifs_score_by_delta(
    default_grown: Grown, variants: list[Variant]
) -> None:
    species = default_grown[1][0]
    sites = {position: item for item in species.of_kind("motif") for position in range(item.start, item.end)}
    for variant in variants:
        if variant.label == "neutral":
            assert (variant.delta, variant.motif) == (0, "")
            continue
        site = sites[variant.position]
        motif = MOTIFS[site.name]
        changed = species.codes.copy()[site.start : site.end]
        changed[variant.position - site.start] = variant.alt
        before = bases(species.read(site.start, site.end, site.strand))
        after = reverse_complement(changed) if site.strand == "-" else changed
        assert variant.motif == site.name
        assert motif.score(bases(after)) - motif.score(before) == pytest.approx(variant.delta)
        assert variant.delta < -5


def test_splice_variants_break_gt_or_ag(default_grown: Grown, variants: list[Variant]) -> None:
    species = default_grown[1][0]
    borders = set()
    for item in species.of_kind("motif"):
        if item.name in ("DONOR", "ACCEPTOR"):
            at_start = (item.name == "DONOR") == (item.strand == "+")
            borders |= {item.start, item.start + 1} if at_start else {item.end - 1, item.end - 2}
    assert {item.position for item in variants if item.label == "splice"} <= borders


def test_neutral_variants_lie_outside_everything_planted(
    default_grown: Grown, variants: list[Variant]
) -> None:
    species = default_grown[1][0]
    planted = species.cover("gene", "promoter", "enhancer", "insulator", "repeat", "motif", "gap")
    neutral = [item.position for item in variants if item.label == "neutral"]
    assert not planted[neutral].any()
    assert len(set(neutral)) == len(neutral)


def test_partners_have_the_same_change_and_similar_gc(default_grown: Grown, variants: list[Variant]) -> None:
    letters = bases(default_grown[1][0].codes)
    gc = window_sums((letters == 1) | (letters == 2), 101) / 101
    functional = {item.pair: item for item in variants if item.label != "neutral"}
    for item in variants:
        if item.label == "neutral":
            partner = functional[item.pair]
            assert (item.ref, item.alt) == (partner.ref, partner.alt)
            assert abs(gc[item.position] - gc[partner.position]) < 0.08


def test_vcf_holds_the_drawn_variants(small: Clade, small_grown: Grown, folder: Path) -> None:
    species = small_grown[1][0]
    expected = [
        (*species.locate(item.position), item.label, round(item.delta, 3), item.pair)
        for item in draw_variants(species, small)
    ]
    with pysam.VariantFile(str(folder / "variants.vcf")) as file:
        found = [
            (row.chrom, row.start, row.info["CLASS"], round(row.info["DELTA"], 3), row.info["PAIR"])
            for row in file
        ]
    assert found == expected


def rows_of(folder: Path, task: str, split: str) -> list[dict[str, str]]:
    with (folder / "tasks" / task / f"{split}.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("task", TASKS)
def test_splits_share_no_contig_and_the_test_is_the_last(folder: Path, task: str) -> None:
    contigs = {
        split: {row["contig"] for row in rows_of(folder, task, split)} for split in ("train", "dev", "test")
    }
    assert contigs == {"train": {"chr1", "chr2"}, "dev": {"chr3"}, "test": {"chr4"}}


@pytest.mark.parametrize("task", TASKS)
def test_task_sequences_are_the_genomes_at_their_coordinates(
    folder: Path, task: str, small_grown: Grown
) -> None:
    species = small_grown[1][0]
    for split in ("train", "dev", "test"):
        for row in rows_of(folder, task, split):
            offset = int(species.edges[int(row["contig"][3:]) - 1])
            codes = species.read(offset + int(row["start"]), offset + int(row["end"]), row["strand"])
            assert row["sequence"] == to_text(bases(codes))
            assert set(row["sequence"]) <= set("ACGT")


@pytest.mark.parametrize("task", TASKS)
def test_labels_are_balanced_and_windows_differ(default_grown: Grown, task: str) -> None:
    for examples in draw_examples(default_grown[1][0], Clade(), task).values():
        positives = sum(item.label > 0 for item in examples)
        assert len(examples) > 60
        assert abs(positives - len(examples) / 2) < 0.02 * len(examples)
        assert len(set(examples)) == len(examples)


def test_negatives_touch_no_element_and_match_in_gc(default_grown: Grown) -> None:
    species = default_grown[1][0]
    barred = species.cover("promoter", "enhancer")
    for task in ("promoter", "enhancer"):
        gc: dict[int, list[float]] = {0: [], 1: []}
        for item in draw_examples(species, Clade(), task)["train"]:
            gc[item.label].append(np.isin(bases(species.codes[item.start : item.end]), (1, 2)).mean())
            assert item.label == 1 or not barred[item.start : item.end].any()
        assert abs(np.mean(gc[0]) - np.mean(gc[1])) < 0.05


def test_splice_windows_have_their_dinucleotide_in_the_middle(folder: Path) -> None:
    rows = rows_of(folder, "splice", "train")
    decoys = Counter[str]()
    for row in rows:
        text = row["sequence"]
        kinds = {"donor": text[60:62] == "GT", "acceptor": text[58:60] == "AG"}
        if row["label"] == "0":
            assert any(kinds.values())
            decoys["donor" if kinds["donor"] else "acceptor"] += 1
        else:
            assert kinds["donor" if row["label"] == "1" else "acceptor"]
    assert min(decoys.values()) > 0.3 * decoys.total()


def test_promoter_windows_have_their_initiator_200_bases_in(folder: Path) -> None:
    motif = MOTIFS["INR"]
    for row in rows_of(folder, "promoter", "train"):
        if row["label"] == "1":
            site = from_text(row["sequence"][198 : 198 + motif.width])
            assert motif.score(site) >= motif.threshold
