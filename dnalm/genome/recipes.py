"""Recipes of `dnalm fetch`: what can be downloaded by name. They are data, and stand in `conf/recipe/`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dnalm.genome.remote_file import RemoteFile, check_name, parse_checksum
from dnalm.paths import config_folder


@dataclass(frozen=True)
class GenomeRecipe:
    """One genome.

    Args:
        name: of the assembly, and of its folder in the cache.
        url: http or https; FASTA (plain, gzip, bgzip) or 2bit.
        checksum: `md5:…` or `sha256:…`; if absent, `checksum_url` says it.
        checksum_url: a list as md5sum writes it, published beside the file.
        num_bytes: the file's size, for messages.

    Raises:
        ValueError: a name or address that may not be used, a checksum that is none, or none at all.
    """

    name: str
    url: str
    checksum: str | None = None
    checksum_url: str | None = None
    num_bytes: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.checksum is None and self.checksum_url is None:
            raise ValueError(
                f"neither checksum nor checksum_url of {self.url}; one of them verifies the file"
            )
        self.remote  # noqa: B018 -- checks the rest

    @property
    def remote(self) -> RemoteFile:
        """The file."""
        checksum = None if self.checksum is None else parse_checksum(self.checksum)
        return RemoteFile(self.url, checksum, self.checksum_url, self.num_bytes)


@dataclass(frozen=True)
class ManifestRecipe:
    """A corpus of many species, of which a manifest lists the files.

    Args:
        name: of the corpus, and of its folder in the cache.
        template: a manifest to be filled; a relative path starts at `conf/recipe/`.

    Raises:
        ValueError: the name is no safe folder name.
    """

    name: str
    template: Path

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def template_path(self) -> Path:
        """Where the template is."""
        return config_folder() / "recipe" / self.template
