"""What a BPE makes of a genome, on disk, so that windows are read instead of encoded.

    ids.bin        (T,) uint16, or uint32 of a large vocabulary: the tokens of each block's forward strand,
                   then of its other strand, block by block
    anchors.bin    (K, 2, A, 2) int64, by block and strand, for every `STRIDE` bases and the end: the number
                   of the token over that base, and where in the block's strand this token begins
    manifest.json  fingerprints of genome and tokenizer, the two files' checksums

K blocks of `BLOCK` bases, each encoded by itself; no special tokens are stored.

A window cuts tokens at both ends, so its ids are no slice of the stored ones. They are the ids of a few bases
at either end, encoded afresh, and the stored ones between, joined where both agree on the borders of tokens.
This is exact. BPE repeats one step: of all neighbours that a merge joins, join the pair of the lowest rank,
the leftmost of equal ones. So

1. If the tokens of a text uv have a border between u and v, they are those of u, then those of v: no step
   joined across that border, so the steps within u are those that u alone takes, and likewise of v.
2. If the tokens of xt have a border before t, and those of ty one after t, and t is not empty, then the
   tokens of xty are those of x, of t and of y. Otherwise take the first step that joins across one of these
   borders, say the one before t: xt has changed until then as it does alone, so xt alone takes this step too,
   and has no border there.

So two encodings of overlapping stretches that share two borders may be joined at either of them. N is in no
merge, so both ends of a window are encoded in one call with an N between them. A window that reaches over the
end of a block, that holds an N, or at whose ends no two borders are shared, is encoded as without a store.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import platformdirs

from dnalm.console import progress_bar
from dnalm.data.windows import Window
from dnalm.durable import FileSum, file_sha256, sync, write_text
from dnalm.genome.alphabet import UNKNOWN, Codes, reverse_complement
from dnalm.genome.atomic_folder import MANIFEST_FILE, FolderFormat, build_folder, locked, store_error
from dnalm.genome.store import GenomeStore
from dnalm.tokenizers import BpeTokenizer, Ids, Tokenizer

IDS_FILE, ANCHORS_FILE = "ids.bin", "anchors.bin"
BLOCK, STRIDE = 1 << 17, 1 << 9  # bases
_ANCHORS = BLOCK // STRIDE + 1
_NARROW_VOCABULARY = 1 << 16  # ids that two bytes count
_EDGE_TOKENS = 6  # about as many are encoded at an end; in 99.9 % of ends borders meet there
_COMMON = 2  # borders that two encodings share where they may be joined
_GAP = np.array([UNKNOWN], dtype=np.uint8)
_BLOCKED = 1 << 40  # the length of an N in a sum, so that no border after it is one of the window


@dataclass(frozen=True, kw_only=True)
class TokenManifest:
    """The content of `manifest.json`.

    Attributes:
        genome: fingerprint of the genome.
        genome_name: the genome's source file, for messages.
        tokenizer: fingerprint of the tokenizer.
        files: ids.bin and anchors.bin.
    """

    genome: str
    genome_name: str
    tokenizer: str
    files: tuple[FileSum, ...]

    def to_json(self) -> str:
        """Spell the manifest as JSON."""
        return json.dumps({"format": FORMAT.name, "version": FORMAT.version, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> TokenManifest:
        """Read what `to_json` wrote, format and version left out.

        Raises:
            ValueError, KeyError, TypeError: it is not that.
        """
        files = tuple(FileSum(**entry) for entry in fields.pop("files"))
        if [file.name for file in files] != [IDS_FILE, ANCHORS_FILE]:
            raise ValueError(f"the files are not {IDS_FILE} and {ANCHORS_FILE}")
        return cls(files=files, **fields)


FORMAT = FolderFormat(
    name="dnalm tokens",
    codes="IDS",
    noun="token store",
    version=1,
    source="its genome by dnalm prepare tokens=true",
)


class TokenStore:
    """The tokens of a genome, read-only; the arrays are mapped on first use, as those of a genome store.

    Attributes:
        path: the folder.
        num_bases: of the genome.
        tokenizer: whose tokens they are.
    """

    def __init__(self, path: Path, num_bases: int, tokenizer: BpeTokenizer) -> None:
        self.path, self.num_bases, self.tokenizer = path, num_bases, tokenizer

    @classmethod
    def open(cls, path: Path, store: GenomeStore, tokenizer: BpeTokenizer) -> TokenStore:
        """Open a folder and compare its checksums, once for each process and folder.

        Raises:
            DataError: IDS-01 to 06, as STORE-01 to 06 of a genome store; IDS-07, another genome or tokenizer.
        """
        text, manifest = FORMAT.read(path, TokenManifest.from_fields)
        for what, found, own in (
            ("genome", manifest.genome, store.fingerprint),
            ("tokenizer", manifest.tokenizer, tokenizer.fingerprint),
        ):
            if found != own:
                found = f"the tokens of {manifest.genome_name}, of a {what} with fingerprint {found}"
                fix = f"delete the folder, it is rebuilt from {FORMAT.source}"
                raise store_error("IDS-07", path, found, f"a {what} with fingerprint {own}", fix)
        FORMAT.check_files(path, text, manifest.files, verify=True)
        return cls(path, store.num_bases, tokenizer)

    def encode(self, window: Window, codes: Codes) -> Ids:
        """The ids of a window: `tokenizer.encode(codes)`, in less time.

        Args:
            window: which stretch and strand.
            codes: its bases on that strand, (L,).

        Returns:
            (T,), special tokens included.
        """
        content = self._read(window, codes)
        return self.tokenizer.encode(codes) if content is None else self.tokenizer.special.wrap(content)

    def _read(self, window: Window, codes: Codes) -> Ids | None:
        """The ids without special tokens; None where the stored ones do not give them."""
        block, start = divmod(window.start, BLOCK)
        end = window.end - block * BLOCK
        size = min(BLOCK, self.num_bases - block * BLOCK)
        if end > size or end - start < 2 * self._edge:
            return None
        if window.reverse:
            start, end = size - end, size - start
        # The stored tokens, from the one over the window's first base on
        anchors = self._anchors[block, int(window.reverse)]
        first, place = anchors[start // STRIDE].tolist()
        stored = self._ids[first : anchors[-(-end // STRIDE), 0]]
        borders = self._borders(place, stored)
        # Those of both ends, which an N keeps apart
        ends = self.tokenizer.encode(np.concatenate([codes[: self._edge], _GAP, codes[-self._edge :]]))
        ends = ends[self.tokenizer.special.content(len(ends))]
        gap, *others = (ends == self._unknown).nonzero()[0].tolist()
        if others:
            return None
        head, tail = ends[:gap], ends[gap + 1 :]
        head_borders, tail_borders = self._borders(start, head), self._borders(end - self._edge, tail)
        # Where they have borders in common
        left, right = borders.searchsorted(head_borders), borders.searchsorted(tail_borders)
        of_head = (borders.take(left, mode="clip") == head_borders).nonzero()[0]
        of_tail = (borders.take(right, mode="clip") == tail_borders).nonzero()[0]
        if min(len(of_head), len(of_tail)) < _COMMON:
            return None
        p, q = of_head[0], of_tail[-1]
        return np.concatenate([head[:p], stored[left[p] : right[q]], tail[q:]])

    def _borders(self, start: int, ids: npt.NDArray[np.integer]) -> Ids:
        """The borders of (T,) tokens from a place on, (T + 1,)."""
        borders = np.empty(len(ids) + 1, dtype=np.int64)
        borders[0] = start
        borders[1:] = self._lengths[ids]
        np.cumsum(borders, out=borders)
        return borders

    @cached_property
    def _edge(self) -> int:
        return self.tokenizer.length_in_bases(_EDGE_TOKENS)

    @cached_property
    def _lengths(self) -> Ids:
        """Bases of every id, (V,)."""
        lengths: Ids = np.count_nonzero(self.tokenizer.token_bases != UNKNOWN, axis=1)
        lengths[self._unknown] = _BLOCKED
        return lengths

    @cached_property
    def _unknown(self) -> int:
        """The id of an N."""
        (unknown,) = self.tokenizer.special.unwrap(self.tokenizer.encode(_GAP))
        return int(unknown)

    @cached_property
    def _ids(self) -> npt.NDArray[np.unsignedinteger]:
        return np.memmap(self.path / IDS_FILE, _dtype(self.tokenizer), mode="r").view(np.ndarray)

    @cached_property
    def _anchors(self) -> Ids:
        anchors = np.memmap(self.path / ANCHORS_FILE, np.int64, mode="r")
        return anchors.view(np.ndarray).reshape(-1, 2, _ANCHORS, 2)

    def __reduce__(self) -> tuple[type[TokenStore], tuple[Path, int, BpeTokenizer]]:
        return TokenStore, (self.path, self.num_bases, self.tokenizer)


def _dtype(tokenizer: Tokenizer) -> type[np.unsignedinteger]:
    return np.uint16 if tokenizer.vocab_size <= _NARROW_VOCABULARY else np.uint32


def find_tokens(store: GenomeStore, tokenizer: Tokenizer, cache: Path | None) -> TokenStore | None:
    """The tokens of a genome if they have been prepared.

    Args:
        store: the genome.
        tokenizer: any; only those of a BPE are stored.
        cache: of the genome stores; the user's cache if absent.

    Raises:
        DataError: IDS-01 to 07, what is there cannot be used.
    """
    if not isinstance(tokenizer, BpeTokenizer):
        return None
    path = _folder(store, tokenizer, cache)
    return TokenStore.open(path, store, tokenizer) if path.exists() else None


def prepare_tokens(store: GenomeStore, tokenizer: BpeTokenizer, cache: Path | None) -> TokenStore:
    """The tokens of a genome, encoded if they are not there, else verified; arguments as of `find_tokens`.

    Raises:
        DataError: IDS-01 to 07, what is there cannot be used; STORE-09 to 11, the cache cannot be written.
    """
    target = _folder(store, tokenizer, cache)
    if not target.exists():
        with locked(target):
            if not target.exists():
                num_tokens = 2 * store.num_bases // tokenizer.length_in_bases(1)
                build_folder(
                    target,
                    lambda folder: _write(folder, store, tokenizer),
                    needed_bytes=num_tokens * np.dtype(_dtype(tokenizer)).itemsize,
                    space="space for the tokens of both strands",
                )
    return TokenStore.open(target, store, tokenizer)


def _folder(store: GenomeStore, tokenizer: BpeTokenizer, cache: Path | None) -> Path:
    folder = platformdirs.user_cache_path("dnalm") / "tokens" if cache is None else cache / "tokens"
    stem = store.source.name.split(".")[0][:60]
    return folder / f"{stem}-{store.fingerprint}-{tokenizer.fingerprint}"


def _write(folder: Path, store: GenomeStore, tokenizer: BpeTokenizer) -> None:
    """Encode every block on both strands into an empty folder."""
    num_tokens = 0
    with (
        progress_bar(f"Tokenizing {store.source.name}", total=store.num_bases) as advance,
        (folder / IDS_FILE).open("wb") as ids_file,
        (folder / ANCHORS_FILE).open("wb") as anchors_file,
    ):
        for start in range(0, store.num_bases, BLOCK):
            codes = store.codes[start : start + BLOCK].view(np.ndarray)
            for strand in (codes, reverse_complement(codes)):
                ids = tokenizer.encode(strand)
                content = tokenizer.special.content(len(ids))
                borders = np.append(tokenizer.spans(strand, ids)[content, 0], len(strand))
                places = np.minimum(np.arange(_ANCHORS) * STRIDE, len(strand))
                over = borders.searchsorted(places, side="right") - 1
                anchors_file.write(np.stack([num_tokens + over, borders[over]], axis=1).tobytes())
                ids_file.write(ids[content].astype(_dtype(tokenizer)).tobytes())
                num_tokens += len(borders) - 1
            advance(len(codes))
    paths = [folder / IDS_FILE, folder / ANCHORS_FILE]
    for path in paths:
        sync(path)
    manifest = TokenManifest(
        genome=store.fingerprint,
        genome_name=store.source.name,
        tokenizer=tokenizer.fingerprint,
        files=tuple(FileSum(path.name, path.stat().st_size, file_sha256(path)) for path in paths),
    )
    write_text(folder / MANIFEST_FILE, manifest.to_json())
