"""Loading a tokenizer from the files that a Hugging Face model directory holds."""

from __future__ import annotations

import json
from pathlib import Path

from dnalm.errors import ConfigError, DataError
from dnalm.paths import InputPath
from dnalm.tokenizers.bpe import BpeTokenizer
from dnalm.tokenizers.bpe_file import read_document
from dnalm.tokenizers.logo import LogoTokenizer
from dnalm.tokenizers.protocol import Tokenizer
from dnalm.tokenizers.vocabulary_file import read_vocabulary


def load_tokenizer(path: InputPath, *, merges: int | None = None) -> Tokenizer:
    """The tokenizer of a folder, of a tokenizer.json or of a vocab.txt.

    Args:
        path: the folder or the file; of a folder's files, a tokenizer.json that can be used comes first.
        merges: of a BPE, use only the first so many merges.

    Raises:
        DataError: TOK-01 to TOK-08, neither file is there or it cannot be used.
        ConfigError: `merges` for a tokenizer that has none, or more than it has.
    """
    path = Path(path)
    found = [path / name for name in ("tokenizer.json", "vocab.txt")] if path.is_dir() else [path]
    files = [file for file in found if file.is_file()]
    if not files:
        raise DataError(
            "TOK-01",
            where=str(path),
            found="neither tokenizer.json nor vocab.txt",
            expected="a folder with the files of a tokenizer",
            fix="name the folder of a published model, or of `dnalm tokenizer train`",
        )
    kind = read_document(files[0])["model"].get("type") if files[0].suffix == ".json" else None
    if kind == "BPE" or (kind not in (None, "WordLevel") and len(files) == 1):
        return BpeTokenizer(read_document(files[0]), where=files[0], merges=merges)
    if merges is not None:
        raise ConfigError(
            "CFG-18",
            where="tokenizer.merges",
            found=f"merges={merges} for {files[0]}",
            expected="a BPE, which alone has merges",
            fix="leave it out",
        )
    return _logo(files[0]) if kind == "WordLevel" else read_vocabulary(files[-1])


def _logo(path: Path) -> LogoTokenizer:
    """LOGO's vocabulary, as `LogoTokenizer.save` wrote it, with k in the config beside it."""
    config = path.with_name("tokenizer_config.json")
    vocabulary: dict[str, int] = read_document(path)["model"].get("vocab", {})
    try:
        tokenizer = LogoTokenizer(k=json.loads(config.read_text(encoding="utf-8"))["logo_k"])
        same = sorted(vocabulary, key=vocabulary.__getitem__) == tokenizer.vocabulary()
    except (OSError, ValueError, TypeError, KeyError):
        same = False
    if not same:
        raise DataError(
            "TOK-02",
            where=str(path),
            found="a word-level vocabulary that is not LOGO's as dnalm writes it, or has lost its config",
            expected="type 'BPE', or LOGO's tokenizer.json with `logo_k` in tokenizer_config.json",
            fix="give a BPE tokenizer, or copy both files again",
        )
    return tokenizer
