"""Model directories from the Hugging Face hub, by `owner/name`.

Only configs, tokenizers and weights are fetched, never code. What was fetched once is found again
without a network.
"""

from __future__ import annotations

import re
from pathlib import Path

from dnalm.errors import CheckpointError
from dnalm.models.weight_files import WEIGHTS

_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)


def find_folder(source: str | Path, *, revision: str | None) -> Path:
    """The folder that `source` names: itself, or where the hub's files now lie.

    Args:
        source: a folder, or `owner/name` on the hub if there is no such folder.
        revision: the hub's branch, tag or commit.

    Raises:
        CheckpointError: the hub cannot be reached, or has no such model.
    """
    if isinstance(source, Path) or Path(source).exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        return Path(source)
    from huggingface_hub import snapshot_download

    files = ["config.json", *_TOKENIZER]
    safe = [*files, "model*.safetensors", WEIGHTS[1]]
    pickled = [*files, "pytorch_model*.bin", WEIGHTS[3]]
    try:
        folder = Path(snapshot_download(source, revision=revision, allow_patterns=safe))
        if not any((folder / name).exists() for name in WEIGHTS):
            folder = Path(snapshot_download(source, revision=revision, allow_patterns=pickled))
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise CheckpointError(
            "MODEL-11",
            where=source,
            found=f"no folder of this name, and the hub did not give it ({reason})",
            expected="a model directory, or owner/name on the Hugging Face hub",
            fix="download config.json, model.safetensors (or pytorch_model.bin) and the tokenizer's files "
            f"from https://huggingface.co/{source} into a folder and name that",
        ) from error
    return folder
