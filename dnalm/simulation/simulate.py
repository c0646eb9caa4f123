"""Simulate a clade into a folder, once.

A folder is complete or absent: files are written beside it and renamed. `clade.json` inside holds the
parameters and the SHA-256 of every file, so a finished clade is recognised and a damaged one refused.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import platformdirs
from filelock import FileLock

from dnalm.console import progress_bar
from dnalm.errors import ConfigError, DataError
from dnalm.genome.track_recipes import IntervalLabels, RegionClasses, Signal, TrackRecipe
from dnalm.simulation.annotation import (
    TASKS,
    describe,
    draw_examples,
    draw_variants,
    write_conservation,
    write_fasta,
    write_gff3,
    write_lines,
    write_motifs,
    write_orthologs,
    write_repeats,
    write_states,
    write_task,
    write_vcf,
)
from dnalm.simulation.evolution import Ancestor, Species, build_ancestor, evolve
from dnalm.simulation.genes import MASTERS
from dnalm.simulation.settings import FORMAT_VERSION, Clade

KNOWLEDGE = ("enhancer", "insulator", "gene", "exon", "CDS")  # those of LOGO's eleven types in the GFF3

_MANIFEST = "clade.json"


def clade_folder(clade: Clade, cache: Path | None = None) -> Path:
    """Where a clade lies in a cache: `<cache>/demo/<hash of its parameters>`.

    Args:
        clade: the parameters.
        cache: a folder; the user's cache of dnalm if none is given.
    """
    root = platformdirs.user_cache_path("dnalm") if cache is None else cache
    return root / "demo" / clade.identity


def find_or_simulate(clade: Clade, cache: Path | None = None) -> Path:
    """The folder of a clade in a cache, simulated now if it is not there; one process does it, others wait.

    Raises:
        DataError: CLADE-01, a file of the finished clade is changed or gone.
    """
    folder = clade_folder(clade, cache)
    if is_finished(clade, folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f"{clade.identity}.lock"):
        for left_over in folder.parent.glob(f".{folder.name}.*.partial"):
            shutil.rmtree(left_over)  # of a process that was killed, since we hold the lock
        return simulate(clade, folder)


def simulate(clade: Clade, folder: Path) -> Path:
    """Simulate a clade.

    Args:
        clade: the parameters.
        folder: to be made; a finished clade of equal parameters in it is left as it is.

    Returns:
        The folder.

    Raises:
        ConfigError: CFG-18, the folder holds something else.
        DataError: CLADE-01, a file of the finished clade is changed or gone.
    """
    folder = Path(folder)
    if is_finished(clade, folder):
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        found, expected = "something else is there", "an empty folder, a new one, or this very clade"
        fix = "choose another folder, or remove this one"
        raise ConfigError("CFG-18", where=str(folder), found=found, expected=expected, fix=fix)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.partial"
    partial.mkdir()
    try:
        _write_all(clade, partial)
        partial.replace(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return folder


def is_finished(clade: Clade, folder: Path) -> bool:
    """Whether a folder holds this clade.

    Raises:
        DataError: CLADE-01, it does, but a file is changed or gone.
    """
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        is_ours = bool(manifest["identity"] == clade.identity)
        files = dict(manifest["files"]) if is_ours else {}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    for name, checksum in files.items():
        path = folder / name
        if not path.is_file() or _checksum(path) != checksum:
            found = "changed since the clade was simulated" if path.exists() else "missing"
            expected, fix = f"the file that {_MANIFEST} lists", f"remove {folder}, and it is simulated again"
            raise DataError("CLADE-01", where=str(path), found=found, expected=expected, fix=fix)
    return is_ours


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def grow(clade: Clade, done: Callable[[int], None] | None = None) -> tuple[Ancestor, list[Species]]:
    """The ancestor and its species, in memory.

    Args:
        clade: the parameters.
        done: called with 1 after the ancestor and after every branch.
    """
    ancestor = build_ancestor(clade)
    if done is not None:
        done(1)
    lineages = evolve(ancestor, clade, done)
    return ancestor, [Species.of(name, lineage, ancestor) for name, lineage in lineages.items()]


def _write_all(clade: Clade, folder: Path) -> None:
    """Write every file of a clade, the manifest last."""
    num_steps = 1 + clade.root.count() + len(clade.species) + 3
    with progress_bar(f"Simulating {len(clade.species)} species", total=num_steps) as done:
        ancestor, species = grow(clade, done)
        for item in species:
            _write_species(item, folder)
            done(1)
        first = species[0]
        write_conservation(first, clade, folder / "conservation.bw")
        done(1)
        variants = draw_variants(first, clade)
        write_vcf(first, variants, folder / "variants.vcf")
        done(1)
        tasks = {task: draw_examples(first, clade, task) for task in TASKS}
        for task, examples in tasks.items():
            write_task(first, examples, folder / "tasks" / task)
        done(1)
    write_orthologs(species, folder / "orthologs.tsv")
    write_lines(folder / "tree.nwk", [clade.tree])
    write_lines(folder / "README.md", describe(clade, ancestor, species, variants, tasks).splitlines())
    _write_manifest(clade, folder)


def _write_species(species: Species, folder: Path) -> None:
    write_fasta(species, folder / f"{species.name}.fa")
    write_gff3(species, folder / f"{species.name}.gff3")
    write_motifs(species, folder / f"{species.name}.motifs.bed")
    write_repeats(species, folder / f"{species.name}.repeats.bed")
    for tissue in MASTERS:
        write_states(species, tissue, folder / f"{species.name}.{tissue}.states.bed")


def _write_manifest(clade: Clade, folder: Path) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {
        "format": FORMAT_VERSION,
        "identity": clade.identity,
        "clade": asdict(clade),
        "files": {path.relative_to(folder).as_posix(): _checksum(path) for path in paths},
    }
    text = json.dumps(manifest, indent=2, sort_keys=True)
    write_lines(folder / _MANIFEST, text.splitlines())


def clade_tracks(clade: Clade, folder: Path, species: str) -> dict[str, TrackRecipe]:
    """Gene regions, chromatin states of every tissue, features, and of the first species conservation.

    Args:
        clade: the parameters.
        folder: where its files lie.
        species: whose tracks.

    Returns:
        `region` of kind classes, `chromatin` of kind labels (`tissue/state`), `knowledge` of kind labels
        (`gff/type`), `conservation` of kind values.
    """
    states = {tissue: folder / f"{species}.{tissue}.states.bed" for tissue in MASTERS}
    gff = folder / f"{species}.gff3"
    tracks: dict[str, TrackRecipe] = {
        "region": RegionClasses(gff=gff),
        "chromatin": IntervalLabels(files=states, label_by="class"),
        "knowledge": IntervalLabels(files={"gff": gff}, label_by="class", classes=list(KNOWLEDGE)),
    }
    if species == clade.species[0]:
        tracks["conservation"] = Signal(file=folder / "conservation.bw")
    return tracks
