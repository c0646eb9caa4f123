"""Load a tokenizer from the files of a Hugging Face model directory: a tokenizer.json or a vocab.txt.

A vocab.txt has one token a line, whose id is the line's number from 0; it must be a published vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dnalm.errors import ConfigError, shown
from dnalm.paths import InputPath
from dnalm.small_files import SmallFileError, read_bytes, read_small
from dnalm.tokenizers.bpe import BpeTokenizer, file_error, read_document, tokens_of
from dnalm.tokenizers.kmer import SPECIAL_TOKENS, KmerTokenizer
from dnalm.tokenizers.logo import LogoTokenizer
from dnalm.tokenizers.protocol import Tokenizer
from dnalm.tokenizers.six_mer import SixMerTokenizer
from dnalm.tokenizers.stock import Document


def load_tokenizer(path: InputPath, *, merges: int | None = None) -> Tokenizer:
    """The tokenizer of a folder, of a tokenizer.json or of a vocab.txt.

    Args:
        path: the folder, a run or the file; of a folder's files, a tokenizer.json that can be used comes
            first.
        merges: of a BPE, use only the first so many merges.

    Raises:
        DataError: TOK-01 to TOK-08, neither file is there or it cannot be used.
        CheckpointError: CKPT-03, the file was changed since its model directory was written.
        ConfigError: `merges` for a tokenizer that has none, or more than it has.
    """
    path = Path(path)
    files = _files_of(path)
    document = read_document(files[0]) if files[0].suffix == ".json" else None
    kind = document["model"].get("type") if document else None
    if document and (kind == "BPE" or (kind not in _WORDS and len(files) == 1)):
        return BpeTokenizer(document, where=files[0], merges=merges)
    if merges is not None:
        raise ConfigError(
            "CFG-18",
            where="tokenizer.merges",
            found=f"merges={merges} for {files[0]}",
            expected="a BPE, which alone has merges",
            fix="leave it out",
        )
    if document is None or len(files) > 1:
        return read_vocabulary(files[-1])
    return _of_words(document, files[0])


_AGAIN = "copy the published file again"
_LARGEST_K = 8
_WORDS = ("WordLevel", "WordPiece")  # as LOGO's and DNABERT's are written by dnalm and by `transformers`


def _files_of(path: Path) -> list[Path]:
    """Those of tokenizer.json and vocab.txt that are there, at least one."""
    names = ("tokenizer.json", "vocab.txt")
    own = [path / name for name in names] if path.is_dir() else [path]
    of_run = [path / "model" / name for name in names]  # a run keeps its model there
    for candidates in (own, of_run):
        if files := [file for file in candidates if file.is_file()]:
            return files
    found = "neither tokenizer.json nor vocab.txt" if path.is_dir() else "no such file or folder"
    fix = "name the folder of a published model, or of `dnalm tokenizer train`"
    raise file_error("TOK-01", path, found, "a folder with the files of a tokenizer", fix)


def _of_words(document: Document, path: Path) -> Tokenizer:
    """LOGO's vocabulary, with k in the config beside it, or k-mers that lie in tokenizer.json alone."""
    tokens = tokens_of(document, path)
    k = _logo_k(path.with_name("tokenizer_config.json"))
    if k is None:
        return tokenizer_of(tokens, path)
    tokenizer = LogoTokenizer(k=k)
    if list(tokens) != tokenizer.vocabulary():
        found = f"another vocabulary than that of `logo_k` {k} in tokenizer_config.json"
        expected = "LOGO's tokenizer.json as dnalm writes it"
        raise file_error("TOK-02", path, found, expected, "copy both files again")
    return tokenizer


def _logo_k(path: Path) -> int | None:
    """The k that the config beside LOGO's vocabulary has; None where it is not LOGO's.

    Raises:
        DataError: TOK-02, the config cannot be read, or k is no number from 1 to 6.
    """
    try:
        k = read_small(path, "json").get("logo_k")
    except FileNotFoundError:
        return None
    except SmallFileError as error:
        found = error.found
    except OSError as error:
        found = f"cannot be read ({error.strerror})"
    else:
        if k is None or (k in range(1, 7) and not isinstance(k, bool)):
            return k
        found = f"logo_k is {shown(k)}"
    expected = "a JSON object, with logo_k from 1 to 6 if it is LOGO's"
    raise file_error("TOK-02", path, found, expected, "copy the file again")


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
        raise file_error("TOK-01", path, error.found, error.expected, _AGAIN) from error
    except (OSError, UnicodeDecodeError) as error:
        raise file_error("TOK-01", path, f"cannot be read ({error})", expected, _AGAIN) from error
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
    line_of: dict[str, int] = {}
    for line, token in enumerate(tokens, start=1):
        if token in line_of:
            found = f"`{token[:60]}` stands in lines {line_of[token]} and {line}"
            raise file_error("TOK-06", path, found, "every token once", _AGAIN)
        line_of[token] = line
    sizes = _known_sizes(tokens)
    if len(tokens) not in sizes:
        expected = f"{' or '.join(map(str, sizes))} tokens, as a published vocabulary has"
        raise file_error("TOK-07", path, f"{len(tokens)} tokens", expected, _AGAIN)
    tokenizer = sizes[len(tokens)]
    vocabulary = tokenizer.vocabulary()
    for number, (token, wanted) in enumerate(zip(tokens, vocabulary, strict=False)):
        if token != wanted:
            found = f"`{token[:60]}` is the token of id {number} (line {number + 1})"
            expected = f"`{wanted}` there, as in the published vocabulary of {len(vocabulary)} tokens"
            raise file_error("TOK-08", path, found, expected, _AGAIN)
    return tokenizer


def _known_sizes(tokens: Sequence[str]) -> dict[int, KmerTokenizer | SixMerTokenizer]:
    """The tokenizers that these tokens may be of, by how many tokens their files have."""
    if not tokens or tokens[0] != "<unk>":
        return {len(SPECIAL_TOKENS) + 4**k: KmerTokenizer(k=k) for k in range(1, _LARGEST_K + 1)}
    is_second = len(tokens) > 4 and tokens[4] == "<eos>"
    six_mer = SixMerTokenizer(version=2 if is_second else 1)
    size = six_mer.vocab_size
    return {size: six_mer} if is_second else {size: six_mer, size + 2: six_mer}  # <eos> and <bos> may follow
