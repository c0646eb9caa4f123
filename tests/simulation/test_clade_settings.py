"""A clade's parameters are checked when it is made, and every refusal names its key."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dnalm.errors import ConfigError
from dnalm.simulation.settings import Clade, read_newick, stream

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"seed": -1}, "clade.seed: -1; a whole number from 0 to"),
    ({"seed": 1.5}, "clade.seed: 1.5; a whole number"),
    ({"seed": True}, "clade.seed: True; a whole number"),
    ({"kappa": 0}, "clade.kappa: 0; a number from 0.1 to 100.0"),
    ({"kappa": float("nan")}, "clade.kappa: nan; a number from 0.1 to 100.0"),
    ({"tata_share": "0.4"}, "clade.tata_share: '0.4'; a number from 0.0 to 1.0"),
    ({"genome_bp": 10_000}, "clade.genome_bp: 10000; a whole number from 72,000 to 200,000,000"),
    ({"num_contigs": 101}, "clade.num_contigs: 101; a whole number from 3 to 100"),
    ({"genome_bp": 120_000}, "clade.num_contigs: 8; at most 5 contigs in 120,000 bases"),
    ({"test_contigs": 7}, "clade.test_contigs: 7; fewer than 7, so that a contig is left for training"),
    ({"isochore_gc": (0.4, 0.9)}, "clade.isochore_gc[1]: 0.9; a number from 0.2 to 0.8"),
    ({"isochore_gc": ()}, "clade.isochore_gc: (); at least one GC share"),
    ({"isochore_gc": 0.4}, "clade.isochore_gc: 0.4; a list of numbers"),
    ({"repeat_share": 0.4}, "clade.repeat_share: 0.4; a mapping of names to numbers"),
    ({"repeat_share": {"SINE": 0.1}}, "clade.repeat_share: ['SINE']; exactly the keys SINE, LINE, simple"),
    ({"repeat_share": {"SINE": 0.4, "LINE": 0.4, "simple": 0}}, "at most 0.5 in all"),
    ({"repeat_divergence": (0.2, 0.1)}, "clade.repeat_divergence: (0.2, 0.1); two numbers, the lower first"),
    ({"base_frequencies": (0.3, 0.3, 0.3, 0.3)}, "four numbers whose sum is 1"),
    ({"tree": 3}, "clade.tree: 3; a Newick tree as text"),
    ({"tree": "(a:0.1,b:0.1)"}, "a Newick tree that ends in a semicolon"),
    ({"tree": "(a:0.1,b:0.1;"}, "';' inside parentheses; a comma or a closing parenthesis"),
    ({"tree": "(a:0.1,b:0.1));"}, "')' after the tree's end; one tree with matching parentheses"),
    ({"tree": "(a:0.1,b);"}, "branch 'b'; name:length with a length from 0 to 1.0"),
    ({"tree": "(a:0.1,b:7);"}, "branch 'b:7'; name:length with a length from 0 to 1.0"),
    ({"tree": "(a:0.1,a:0.1);"}, "['a', 'a']; two or more species with different names"),
    ({"tree": "(../a:0.1,b:0.1);"}, "species name '../a'; letters, digits"),
    ({"tree": "(" * 60 + ";"}, "at most 50 levels of parentheses"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_a_parameter_out_of_range_is_refused_with_its_key_and_range(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        Clade(**change)
    assert caught.value.code == "CFG-18"
    assert "Fix:" in str(caught.value)


def test_frozen_sites_cannot_be_given_a_rate() -> None:
    with pytest.raises(ConfigError, match=r"clade\.relative_rates\.frozen: 0\.5; 0, since start codons"):
        Clade(relative_rates={**Clade().relative_rates, "frozen": 0.5})


def test_lists_and_whole_numbers_of_a_yaml_file_make_the_same_clade() -> None:
    plain: dict[str, Any] = {"base_frequencies": [0.25] * 4, "codon_bias": 1}
    assert Clade(**plain) == Clade(base_frequencies=(0.25,) * 4, codon_bias=1.0)
    assert Clade(**plain).identity == Clade(base_frequencies=(0.25,) * 4, codon_bias=1.0).identity


def test_identity_tells_clades_apart() -> None:
    assert Clade().identity == Clade().identity
    assert replace(Clade(), num_motif_variants=10).identity != Clade().identity


def test_the_tree_gives_species_in_order_and_branches() -> None:
    tree = read_newick("((a:0.1,b:0.2):0.05,c:0.3);")
    assert [leaf.name for leaf in tree.leaves()] == ["a", "b", "c"]
    assert tree.count() == 5
    assert tree.children[0].length == 0.05


def test_splits_are_whole_contigs_and_the_last_ones_are_the_test() -> None:
    clade = Clade(num_contigs=8, dev_contigs=1, test_contigs=2)
    assert [clade.split_of_contig(contig) for contig in range(8)] == ["train"] * 5 + ["dev"] + ["test"] * 2


def test_parts_draw_from_the_children_that_a_seed_spawns() -> None:
    child = np.random.SeedSequence(1).spawn(1)[0].spawn(1)[0]  # part 0, number 0
    expected = np.random.Generator(np.random.PCG64(child)).random(3)
    assert stream(Clade(seed=1), "background").random(3).tolist() == expected.tolist()
