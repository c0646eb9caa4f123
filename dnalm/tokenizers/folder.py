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
        path: the folder or the file; of a folder's files, tokenizer.json comes first.
        merges: of a BPE, use only the first so many merges.

    Raises:
        DataError: TOK-01 to TOK-08, neither file is there or it cannot be used.
        ConfigError: `merges` for a tokenizer that has none, or more than it has.
    """
    path = Path(path)
    files = [path / "tokenizer.json", path / "vocab.txt"] if path.is_dir() else [path]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise DataError(
            "TOK-01",
            where=str(path),
            found="neither tokenizer.json nor vocab.txt",
            expected="a folder with the files of a tokenizer",
            fix="name the folder of a published model, or of `dnalm tokenizer train`",
        )
    if found.suffix == ".json" and (logo := _logo(found)) is None:
        return BpeTokenizer(read_document(found), where=found, merges=merges)
    tokenizer: Tokenizer = logo if found.suffix == ".json" and logo else read_vocabulary(found)
    if merges is not None:
        raise ConfigError(
            "CFG-18",
            where="tokenizer.merges",
            found=f"merges={merges} for {found}",
            expected="a BPE, which alone has merges",
            fix="leave it out",
        )
    return tokenizer


def _logo(path: Path) -> LogoTokenizer | None:
    """LOGO's vocabulary, if the file is one that `LogoTokenizer.save` wrote."""
    config = path.with_name("tokenizer_config.json")
    document = read_document(path)
    if document["model"].get("type") != "WordLevel" or not config.is_file():
        return None
    k = json.loads(config.read_text()).get("logo_k")
    tokenizer = LogoTokenizer(k=k) if isinstance(k, int) else None
    words = sorted(document["model"]["vocab"].items(), key=lambda item: item[1])
    if tokenizer is None or [word for word, _ in words] != tokenizer.vocabulary():
        return None
    return tokenizer
