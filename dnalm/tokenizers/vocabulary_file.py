"""Reading a `vocab.txt`: one token a line, its id the line's number from 0."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dnalm.errors import DataError
from dnalm.small_files import SmallFileError, read_bytes
from dnalm.tokenizers.kmer import SPECIAL_TOKENS, KmerTokenizer
from dnalm.tokenizers.six_mer import SixMerTokenizer

_LARGEST_K = 8


def read_vocabulary(path: Path) -> KmerTokenizer | SixMerTokenizer:
    """The tokenizer whose published vocabulary a file holds: DNABERT's for any k, or NT's of version 1 or 2.

    Raises:
        DataError: TOK-01, the file cannot be read or is larger than 1 MiB; or as of `tokenizer_of`.
        CheckpointError: CKPT-03, its checksum is another than its model directory's.
    """
    expected = "a text file with one token a line"
    try:
        tokens = read_bytes(path).decode("utf-8").splitlines()
    except SmallFileError as error:
        raise _error("TOK-01", path, error.found, error.expected) from error
    except (OSError, UnicodeDecodeError) as error:
        raise _error("TOK-01", path, f"cannot be read ({error})", expected) from error
    return tokenizer_of(tokens, path)


def tokenizer_of(tokens: Sequence[str], path: Path) -> KmerTokenizer | SixMerTokenizer:
    """The tokenizer that has these tokens in this order.

    Args:
        tokens: text by id.
        path: where they are from, for errors.

    Raises:
        DataError: TOK-06 (a token twice), TOK-07 (a number of tokens that no such vocabulary has),
            TOK-08 (other tokens, or in another order).
    """
    _refuse_duplicates(path, tokens)
    tokenizer = _of_size(path, tokens)
    expected = tokenizer.vocabulary()
    for number, (found, wanted) in enumerate(zip(tokens, expected, strict=False)):
        if found != wanted:
            raise _error(
                "TOK-08",
                path,
                f"`{found[:60]}` is the token of id {number} (line {number + 1})",
                f"`{wanted}` there, as in the published vocabulary of {len(expected)} tokens",
            )
    return tokenizer


def _refuse_duplicates(path: Path, tokens: Sequence[str]) -> None:
    line_of: dict[str, int] = {}
    for line, token in enumerate(tokens, start=1):
        if token in line_of:
            found = f"`{token[:60]}` stands in lines {line_of[token]} and {line}"
            raise _error("TOK-06", path, found, "every token once")
        line_of[token] = line


def _of_size(path: Path, tokens: Sequence[str]) -> KmerTokenizer | SixMerTokenizer:
    if tokens and tokens[0] == "<unk>":
        sizes: dict[int, KmerTokenizer | SixMerTokenizer] = {}
        is_second = len(tokens) > 4 and tokens[4] == "<eos>"
        six_mer = SixMerTokenizer(version=2 if is_second else 1)
        sizes[six_mer.vocab_size] = six_mer
        sizes[six_mer.vocab_size + (0 if is_second else 2)] = six_mer  # version 1 may list <eos> and <bos>
    else:
        sizes = {len(SPECIAL_TOKENS) + 4**k: KmerTokenizer(k=k) for k in range(1, _LARGEST_K + 1)}
    if len(tokens) not in sizes:
        wanted = " or ".join(str(size) for size in sizes)
        raise _error(
            "TOK-07", path, f"{len(tokens)} tokens", f"{wanted} tokens, as a published vocabulary has"
        )
    return sizes[len(tokens)]


def _error(code: str, path: Path, found: str, expected: str) -> DataError:
    return DataError(
        code, where=str(path), found=found, expected=expected, fix="copy the published file again"
    )
