"""Equal parameters write equal bytes; a folder is complete or absent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from dnalm.errors import ConfigError, DataError
from dnalm.simulation.annotation import describe
from dnalm.simulation.evolution import Ancestor, Species
from dnalm.simulation.settings import Clade
from dnalm.simulation.simulate import clade_folder, find_or_simulate, grow, is_finished, simulate

IN_ANOTHER_PROCESS = """
import json, sys
from pathlib import Path
from dnalm.simulation import Clade, simulate
simulate(Clade(**json.loads(sys.argv[1])), Path(sys.argv[2]))
"""


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the clade; indices that readers leave beside it are not counted."""
    names = [*json.loads((folder / "clade.json").read_text())["files"], "clade.json"]
    return {name: (folder / name).read_bytes() for name in names}


@pytest.mark.parametrize("hash_seed", ["0", "4242"])
def test_the_same_parameters_write_the_same_bytes_in_any_process(
    small: Clade, folder: Path, tmp_path: Path, hash_seed: str
) -> None:
    parameters = json.dumps(json.loads((folder / "clade.json").read_text())["clade"])
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, parameters, str(tmp_path / "again")]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True)
    assert contents(tmp_path / "again") == contents(folder)
    assert is_finished(small, tmp_path / "again")


def test_another_seed_writes_another_genome(small: Clade, folder: Path, tmp_path: Path) -> None:
    other = contents(simulate(replace(small, seed=8), tmp_path / "other"))
    assert other["one.fa"] != contents(folder)["one.fa"]


def test_variants_and_noise_leave_genomes_and_tasks_as_they_are(
    small: Clade, folder: Path, tmp_path: Path
) -> None:
    changed = replace(small, num_motif_variants=5, conservation_noise=0.1)
    before, after = contents(folder), contents(simulate(changed, tmp_path / "changed"))
    differing = {name for name in before if before[name] != after[name]}
    assert differing == {"variants.vcf", "conservation.bw", "README.md", "clade.json"}


def test_evolution_leaves_the_ancestor_as_it_is(
    small: Clade, small_grown: tuple[Ancestor, list[Species]]
) -> None:
    ancestor, _ = grow(replace(small, kappa=2.0))
    assert (ancestor.block.codes == small_grown[0].block.codes).all()


def test_the_manifest_lists_every_file(folder: Path) -> None:
    expected = {"README.md", "conservation.bw", "orthologs.tsv", "tree.nwk", "variants.vcf"}
    expected |= {f"tasks/{task}/{split}.csv" for task in ("promoter", "enhancer", "splice")
                 for split in ("train", "dev", "test")}  # fmt: skip
    for species in ("one", "two", "three"):
        expected |= {f"{species}.{kind}" for kind in ("fa", "gff3", "motifs.bed", "repeats.bed")}
        expected |= {f"{species}.{tissue}.states.bed" for tissue in ("blood", "liver", "neuron")}
    assert set(json.loads((folder / "clade.json").read_text())["files"]) == expected


def test_the_readme_gives_the_numbers_of_this_clade(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    genes = (folder / "one.gff3").read_text().count("\tgene\t")
    assert f"| gene | {genes:,} |" in text
    rows = (folder / "tasks/promoter/train.csv").read_text().splitlines()
    assert f"| promoter | {len(rows) - 1:,} |" in text


def test_a_finished_clade_is_returned_as_is(small: Clade, folder: Path) -> None:
    stamp = (folder / "one.fa").stat().st_mtime_ns
    assert simulate(small, folder) == folder
    assert (folder / "one.fa").stat().st_mtime_ns == stamp


def test_a_folder_with_something_else_is_left_alone(small: Clade, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("notes")
    with pytest.raises(
        ConfigError, match="something else is there; an empty folder, a new one, or this very clade"
    ):
        simulate(small, tmp_path)
    with pytest.raises(ConfigError, match="CFG-18"):
        simulate(replace(small, seed=9), folder)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_damaged_clade_is_refused_with_the_file_named(small: Clade, tmp_path: Path) -> None:
    made = simulate(small, tmp_path / "made")
    with (made / "two.fa").open("a") as file:
        file.write("A")
    with pytest.raises(DataError, match=r"CLADE-01 .*two\.fa: changed since the clade was simulated"):
        simulate(small, made)
    (made / "two.fa").unlink()
    with pytest.raises(DataError, match=r"two\.fa: missing"):
        simulate(small, made)


def test_a_failure_leaves_nothing_behind(
    small: Clade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["dnalm.simulation.simulate"], describe.__name__, fail)
    with pytest.raises(KeyboardInterrupt):
        simulate(small, tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_the_cache_is_filled_once_and_left_overs_are_removed(small: Clade, tmp_path: Path) -> None:
    expected = tmp_path / "demo" / small.identity
    left_over = expected.parent / f".{small.identity}.dead.partial"
    left_over.mkdir(parents=True)
    assert clade_folder(small, tmp_path) == expected
    assert find_or_simulate(small, tmp_path) == expected
    assert not left_over.exists()
    stamp = (expected / "one.fa").stat().st_mtime_ns
    assert find_or_simulate(small, tmp_path) == expected
    assert (expected / "one.fa").stat().st_mtime_ns == stamp


def test_the_default_cache_is_the_users(small: Clade) -> None:
    assert clade_folder(small) == platformdirs.user_cache_path("dnalm") / "demo" / small.identity


EXTREMES: dict[str, dict[str, Any]] = {
    "no genes fit": {"gap_mean_bp": 100_000},
    "no introns, no gaps, no indels": {"introns_mean": 0, "assembly_gap_bp": 0, "indels_per_substitution": 0},
    "genes only": {
        "enhancers_per_gene": 0,
        "insulators_per_gene": 0,
        "repeat_share": {"SINE": 0, "LINE": 0, "simple": 0},
        "num_motif_variants": 0,
        "num_splice_variants": 0,
    },
    "all at the most": {
        "enhancers_per_gene": 10,
        "insulators_per_gene": 10,
        "introns_mean": 8,
        "repeat_share": {"SINE": 0.2, "LINE": 0.2, "simple": 0.1},
        "gap_mean_bp": 10,
        "assembly_gap_bp": 5_000,
        "indels_per_substitution": 0.5,
        "indel_mean_bp": 20,
        "num_motif_variants": 1_000_000,
    },
    "long branches, one isochore, no CpG depletion": {
        "tree": "(far:1.0,near:0.0);",
        "isochore_gc": [0.8],
        "cpg_ratio": 1.0,
    },
}


@pytest.mark.parametrize("name", EXTREMES)
def test_the_smallest_clade_can_be_made_at_either_end_of_the_ranges(name: str, tmp_path: Path) -> None:
    smallest = {"genome_bp": 72_000, "num_contigs": 3, "test_contigs": 1, "tree": "(a:0.1,b:0.1);"}
    clade = Clade(**{**smallest, **EXTREMES[name]})
    assert is_finished(clade, simulate(clade, tmp_path / "made"))
