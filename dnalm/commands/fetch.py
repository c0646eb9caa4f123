"""`dnalm fetch`: download a genome by name, or the genomes of a manifest, verified."""

from __future__ import annotations

import json
from pathlib import Path

import platformdirs
from pydantic import NonNegativeFloat, PositiveFloat

from dnalm.console import stdout
from dnalm.errors import ConfigError, DataError
from dnalm.genome.download import GenomeRecipe, ManifestRecipe, Patience, not_written
from dnalm.genome.download import download as download_file
from dnalm.genome.species import Outcome, download_species, read_species_manifest, write_species_manifest
from dnalm.genome.store import check_source
from dnalm.limits import Attempts
from dnalm.paths import CachePath, InputPath, as_typed


def fetch(
    *,
    download: GenomeRecipe | ManifestRecipe,
    config: dict[str, object],  # noqa: ARG001
    manifest: InputPath | None = None,
    cache: CachePath | None = None,
    attempts: Attempts = 5,
    wait_s: NonNegativeFloat = 1.0,
    timeout_s: PositiveFloat = 30.0,
) -> None:
    """Download what is not there yet, verify it, and say where it is.

    Args:
        download: the genome, or the corpus of many.
        config: the composed config.
        manifest: for a corpus of many species, the filled manifest.
        cache: folder for downloads; `dnalm/downloads` in the user's cache if absent.
        attempts: in a row that bring nothing new, before a file is given up.
        wait_s: before the second attempt; doubled before each further one.
        timeout_s: without a byte before an attempt is given up.
    """
    downloads = cache or platformdirs.user_cache_path("dnalm") / "downloads"
    folder = downloads.absolute() / download.name
    patience = Patience(attempts, wait_s, timeout_s)
    try:
        if isinstance(download, GenomeRecipe):
            _fetch_genome(download, manifest, folder, patience)
        else:
            _fetch_species(download, manifest, folder, patience)
    except OSError as error:
        raise not_written(folder, error) from error


def _fetch_genome(recipe: GenomeRecipe, manifest: Path | None, folder: Path, patience: Patience) -> None:
    if manifest is not None:
        raise _error(str(manifest), f"{recipe.name} is one genome", "no manifest", "leave it out")
    got = download_file(recipe.remote, folder, patience=patience)
    check_source(got.path)
    summary = {
        "recipe": recipe.name,
        "url": recipe.url,
        "path": str(got.path),
        "checksum": str(got.checksum),
        "bytes": got.num_bytes,
        "downloaded_now": got.is_new,
    }
    stdout.print(f"{got.path}: {got.num_bytes:,} bytes, {got.checksum}")
    _end(folder, summary, f"data=fasta {as_typed('data.fasta', str(got.path))}")


def _fetch_species(recipe: ManifestRecipe, manifest: Path | None, folder: Path, patience: Patience) -> None:
    if manifest is None:
        found = f"no public list of the files of {recipe.name}"
        fix = f"copy {recipe.template_path}, fill it as its comments say, and give manifest=<the copy>"
        raise _error("no value", found, "a filled manifest", fix)
    entries = read_species_manifest(manifest)
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = download_species(entries, folder, patience=patience)
    failed = [outcome.entry.name for outcome in outcomes if outcome.error is not None]
    summary = {
        "manifest": str(manifest),
        "genomes": {outcome.entry.name: _describe(outcome) for outcome in outcomes},
        "failed": failed,
        "downloaded_now": sum(outcome.is_new for outcome in outcomes),
    }
    if failed:
        path = _write_summary(folder, summary)
        raise DataError(
            "FETCH-10",
            where=str(manifest),
            found=f"{len(failed)} of {len(outcomes)} genomes failed: {', '.join(failed)}",
            expected="every genome",
            fix=f"see why above or in {path}, then run this again; what is there is not downloaded again",
        )
    local = folder / f"{manifest.stem}.local.tsv"
    write_species_manifest(local, (outcome.entry for outcome in outcomes))
    stdout.print(f"{len(outcomes)} genomes, listed in {local}")
    _end(folder, summary, f"data=multispecies {as_typed('data.manifest', str(local))}")


def _describe(outcome: Outcome) -> dict[str, object]:
    if outcome.error is not None:
        return {"error": str(outcome.error)}
    entry = outcome.entry
    return {"path": str(entry.path), "checksum": entry.checksum, "downloaded_now": outcome.is_new}


def _end(folder: Path, summary: dict[str, object], data: str) -> None:
    path = _write_summary(folder, summary)
    stdout.print(f"next: dnalm pretrain experiment=dnabert {data} size=tiny")
    stdout.print(f"summary: {path}")


def _write_summary(folder: Path, summary: dict[str, object]) -> Path:
    path = folder / "summary.json"
    path.write_text(json.dumps(summary, indent=2) + "\n")
    return path


def _error(value: str, found: str, expected: str, fix: str) -> ConfigError:
    return ConfigError("FETCH-11", where=f"manifest: {value}", found=found, expected=expected, fix=fix)
