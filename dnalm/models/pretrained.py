"""Model directories in Hugging Face's layout: config.json and weights, out and in.

What is written loads in stock `transformers` where the architecture exists there, or in the published
code; what is read is refused unless every tensor fits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from dnalm.errors import CheckpointError, ConfigError, NumericsError
from dnalm.models.encoder import Encoder
from dnalm.models.families import FAMILIES
from dnalm.models.family import Family
from dnalm.models.finite import not_finite
from dnalm.models.hub import find_folder
from dnalm.models.kernels import KernelName
from dnalm.models.masked_lm import MaskedLM
from dnalm.models.weight_files import find_weights, read_json, read_weights, write_whole

# Tokenizers with ids that have no row and that no DNA is encoded to: ids, and rows.
_UNREACHABLE_IDS = {
    4107: 4105,  # Nucleotide Transformer v1: <eos> and <bos>
    610: 609,  # GROVER: the empty string
}


def save_pretrained(
    model: MaskedLM,
    folder: Path,
    *,
    extra_config: Mapping[str, object] | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a model directory, each file whole or not at all, in the published layout that fits.

    Args:
        model: whose arguments go into config.json.
        folder: made if need be; files of these names in it are replaced.
        extra_config: further fields of config.json, such as special token ids.
        weights: the whole model's weights by our names, where the model itself holds shards of them.

    Raises:
        NumericsError: a weight is not finite; nothing is written.
    """
    family = family_of(model.encoder)
    config = family.config(model.encoder)
    clashing = sorted(config.keys() & (extra_config or {}).keys())
    assert not clashing, f"extra_config must not change what the model says of itself: {clashing}"
    tensors = family.export(model.state_dict() if weights is None else weights, model.encoder)
    if bad := not_finite(tensors):
        raise NumericsError(
            "CKPT-08",
            where=str(folder),
            found=f"weights that are not finite: {', '.join(bad)}",
            expected="finite weights only",
            fix="go back to a checkpoint from before the training diverged",
        )
    config["dtype"] = str(tensors[family.name_of("head.bias")].dtype).removeprefix("torch.")
    text = json.dumps({**config, **(extra_config or {})}, indent=2, sort_keys=True) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(
        folder / "model.safetensors", lambda path: save_file(tensors, path, metadata={"format": "pt"})
    )
    write_whole(folder / "config.json", lambda path: path.write_text(text, encoding="utf-8"))


def load_pretrained(
    source: str | Path, *, revision: str | None = None, kernel: KernelName = "sdpa"
) -> MaskedLM:
    """Build the model that a directory describes and give it the weights found there, as float32.

    What the family's table names, such as a pooler or copies of the tied decoder, may be there and
    is left out.

    Args:
        source: a folder with config.json and weights, or `owner/name` on the Hugging Face hub.
        revision: the hub's branch, tag or commit; its main branch if not given.
        kernel: how its attention is computed.

    Returns:
        The model on CPU, in training mode as any new module.

    Raises:
        CheckpointError: a file is missing, damaged or not of weights alone, the architecture is none
            of ours, or tensors are missing, unexpected or misshapen, all of which are listed.
        ConfigError: the kernel cannot do what the model needs.
    """
    folder = find_folder(source, revision=revision)
    config = read_json(folder / "config.json")
    family = _recognise(config, where=folder / "config.json")
    arguments = family.encoder_arguments(config, where=folder / "config.json")
    path = find_weights(folder)
    stored = read_weights(path)
    model = _build(arguments, kernel, where=folder / "config.json")
    model.load_state_dict(_fit(model, family, stored, path), assign=True)
    return model


def describe(model: MaskedLM, folder: Path) -> None:
    """Write config.json alone, as a run does whose weights lie in checkpoints so far."""
    text = json.dumps(family_of(model.encoder).config(model.encoder), indent=2, sort_keys=True) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "config.json", lambda path: path.write_text(text, encoding="utf-8"))


def build_described(folder: Path, *, kernel: KernelName = "sdpa") -> MaskedLM:
    """The model that config.json describes, its weights not set.

    Raises:
        CheckpointError: the file is missing, damaged or of none of our architectures.
        ConfigError: the kernel cannot do what the model needs.
    """
    path = folder / "config.json"
    config = read_json(path)
    arguments = _recognise(config, where=path).encoder_arguments(config, where=path)
    return _build(arguments, kernel, where=path).to_empty(device="cpu")


def family_of(encoder: Encoder) -> Family:
    """The published layout that an encoder's arguments fit, or our own."""
    return next(family for family in FAMILIES if family.fits(encoder))


def check_vocabulary(model: MaskedLM, tokenizer_ids: int, *, where: str) -> None:
    """Refuse a tokenizer that was not made for a model.

    Args:
        model: with one row of embeddings per id.
        tokenizer_ids: how many ids the tokenizer has, special ones included.
        where: the tokenizer's folder, for the error.

    Raises:
        CheckpointError: the numbers differ, but for published tokenizers with ids they never give.
    """
    rows = model.encoder.vocab_size
    if rows not in (tokenizer_ids, _UNREACHABLE_IDS.get(tokenizer_ids)):
        raise CheckpointError(
            "MODEL-12",
            where=where,
            found=f"a tokenizer of {tokenizer_ids:,} ids and a model of {rows:,} token embeddings",
            expected="as many of one as of the other",
            fix="use the tokenizer that the model was trained with",
        )


def _recognise(config: Mapping[str, object], *, where: Path) -> Family:
    for family in FAMILIES:
        if family.recognises(config):
            return family
    kinds = sorted({str(family.marks["model_type"]) for family in FAMILIES})
    raise CheckpointError(
        "MODEL-10",
        where=str(where),
        found=f"model_type is {config.get('model_type')!r}",
        expected=f"model_type {' or '.join(kinds)}",
        fix=f"name a checkpoint of {'; '.join(family.name for family in FAMILIES)}",
    )


def _build(arguments: dict[str, object], kernel: KernelName, *, where: Path) -> MaskedLM:
    """The model without weights; a kernel that does not fit it is the caller's mistake, not the file's."""
    try:
        with torch.device("meta"):
            Encoder(**arguments, kernel="eager")  # type: ignore[arg-type]
    except ConfigError as error:
        raise CheckpointError(
            "MODEL-10",
            where=str(where),
            found=error.found,
            expected=error.expected,
            fix="restore the config.json that came with the weights",
        ) from error
    with torch.device("meta"):
        return MaskedLM(Encoder(**arguments, kernel=kernel))  # type: ignore[arg-type]


def _fit(model: MaskedLM, family: Family, stored: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The stored tensors by our names, or an error that lists whatever does not fit."""
    ours = model.state_dict()
    parts = family.parts(ours)
    stored = _without_copies({_modern(name): tensor for name, tensor in stored.items()}, family, path)
    shapes = {theirs: _joined([ours[name].shape for name in names]) for theirs, names in parts.items()}
    problems = [f"missing: {name}" for name in parts if name not in stored]
    problems += [
        f"unexpected: {name}" for name in stored if name not in parts and not family.leaves_out(name)
    ]
    problems += [
        f"{name} is {tuple(stored[name].shape)} where config.json says {shape}"
        for name, shape in shapes.items()
        if name in stored and tuple(stored[name].shape) != shape
    ]
    if problems:
        raise CheckpointError(
            "CKPT-07",
            where=str(path),
            found="; ".join(problems),
            expected=f"the tensors of {family.name}, as config.json describes it",
            fix=f"check that config.json and {path.name} are of one model, and that it is a masked LM",
        )
    if bad := not_finite({name: stored[name] for name in parts}):
        raise CheckpointError(
            "CKPT-08",
            where=str(path),
            found=f"weights that are not finite: {', '.join(bad)}",
            expected="finite weights only",
            fix="take an earlier checkpoint of that model",
        )
    fitted: dict[str, Tensor] = {}
    for theirs, names in parts.items():
        rows = torch.split(stored[theirs], [ours[name].shape[0] for name in names])
        # Copied, since what was read may still be mapped to the file, and rows share their memory.
        own = (part.to(torch.float32, copy=True) for part in rows)
        fitted |= dict(zip(names, own, strict=True))
    return fitted


def _joined(shapes: list[torch.Size]) -> tuple[int, ...]:
    return (sum(shape[0] for shape in shapes), *shapes[0][1:])


def _without_copies(stored: dict[str, Tensor], family: Family, path: Path) -> dict[str, Tensor]:
    """Leave out copies of tied tensors; a copy that stands alone is the original."""
    kept = {name: tensor for name, tensor in stored.items() if name not in family.copies}
    for copy, original in family.copies.items():
        if copy in stored and not torch.equal(stored[copy], kept.setdefault(original, stored[copy])):
            raise CheckpointError(
                "MODEL-10",
                where=str(path),
                found=f"{copy} differs from {original}",
                expected="a decoder tied to the token embeddings",
                fix=f"name a checkpoint of {family.name}, whose decoder is tied",
            )
    return kept


def _modern(name: str) -> str:
    """The name since PyTorch BERT dropped TensorFlow's names of the layer norm's parameters."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
