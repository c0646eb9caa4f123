"""What our names and arguments are called in Hugging Face's BERT layout, as tables.

Source: `transformers` BertForMaskedLM and BertConfig; the DNABERT and GROVER checkpoints have the
same names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from dnalm.errors import CheckpointError
from dnalm.models.encoder import Encoder

# Module by module; `{n}` is the layer. Each has a weight and most have a bias.
MODULES: Mapping[str, str] = MappingProxyType(
    {
        "encoder.embeddings.token": "bert.embeddings.word_embeddings",
        "encoder.embeddings.position": "bert.embeddings.position_embeddings",
        "encoder.embeddings.token_type": "bert.embeddings.token_type_embeddings",
        "encoder.embeddings.norm": "bert.embeddings.LayerNorm",
        "encoder.blocks.{n}.attention.query": "bert.encoder.layer.{n}.attention.self.query",
        "encoder.blocks.{n}.attention.key": "bert.encoder.layer.{n}.attention.self.key",
        "encoder.blocks.{n}.attention.value": "bert.encoder.layer.{n}.attention.self.value",
        "encoder.blocks.{n}.attention.output": "bert.encoder.layer.{n}.attention.output.dense",
        "encoder.blocks.{n}.attention_norm": "bert.encoder.layer.{n}.attention.output.LayerNorm",
        "encoder.blocks.{n}.feed_forward.up": "bert.encoder.layer.{n}.intermediate.dense",
        "encoder.blocks.{n}.feed_forward.down": "bert.encoder.layer.{n}.output.dense",
        "encoder.blocks.{n}.feed_forward_norm": "bert.encoder.layer.{n}.output.LayerNorm",
        "head.dense": "cls.predictions.transform.dense",
        "head.norm": "cls.predictions.transform.LayerNorm",
        "head": "cls.predictions",
    }
)

# Arguments of `Encoder` and their names in config.json.
ARGUMENTS: Mapping[str, str] = MappingProxyType(
    {
        "vocab_size": "vocab_size",
        "hidden_size": "hidden_size",
        "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "intermediate_size": "intermediate_size",
        "max_positions": "max_position_embeddings",
        "dropout": "hidden_dropout_prob",
        "attention_dropout": "attention_probs_dropout_prob",
        "norm_eps": "layer_norm_eps",
        "type_vocab_size": "type_vocab_size",
        "initializer_range": "initializer_range",
        "padding_id": "pad_token_id",
    }
)

# What else config.json says of this architecture. A file that lacks one of them means the same,
# but for model_type.
FIXED: Mapping[str, object] = MappingProxyType(
    {
        "model_type": "bert",
        "hidden_act": "gelu",
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "tie_word_embeddings": True,
    }
)

_FRACTIONS = frozenset({"dropout", "attention_dropout", "norm_eps", "initializer_range"})


def bert_name(ours: str) -> str:
    """The name in BERT's layout of one of our parameters."""
    module, parameter = ours.rsplit(".", 1)
    layer = re.search(r"\.blocks\.(\d+)\.", module)
    if layer is None:
        return f"{MODULES[module]}.{parameter}"
    general = module.replace(layer.group(), ".blocks.{n}.")
    return f"{MODULES[general].format(n=layer.group(1))}.{parameter}"


def bert_config(encoder: Encoder) -> dict[str, object]:
    """The contents of config.json, with which `transformers` builds the same model."""
    arguments = {theirs: getattr(encoder, ours) for ours, theirs in ARGUMENTS.items()}
    return {"architectures": ["BertForMaskedLM"], "dtype": "float32", **FIXED, **arguments}


def encoder_arguments(config: Mapping[str, object], *, where: Path) -> dict[str, int | float]:
    """The arguments of `Encoder` that a config.json describes.

    Args:
        config: the contents of config.json.
        where: the file, for the error.

    Raises:
        CheckpointError: another architecture, or a field that is missing or not a number.
    """
    others = {
        key: config.get(key)
        for key, value in FIXED.items()
        if config.get(key, None if key == "model_type" else value) != value
    }
    if others:
        raise CheckpointError(
            "CKPT-10",
            where=str(where),
            found=", ".join(f"{key} is {value!r}" for key, value in others.items()),
            expected=", ".join(f"{key} {FIXED[key]!r}" for key in others),
            fix="name a checkpoint of BERT's architecture, such as DNABERT or GROVER",
        )
    arguments = {ours: config.get(theirs) for ours, theirs in ARGUMENTS.items()}
    if arguments["padding_id"] is None:
        arguments["padding_id"] = 0
    wrong = [ARGUMENTS[ours] for ours, value in arguments.items() if not _is_number(ours, value)]
    if wrong:
        raise CheckpointError(
            "CKPT-10",
            where=str(where),
            found=", ".join(f"{theirs} is {config.get(theirs)!r}" for theirs in wrong),
            expected="a number for each",
            fix="restore the config.json that came with the weights",
        )
    return {ours: value for ours, value in arguments.items() if isinstance(value, int | float)}


def _is_number(ours: str, value: object) -> bool:
    allowed = (int, float) if ours in _FRACTIONS else (int,)
    return isinstance(value, allowed) and not isinstance(value, bool)
