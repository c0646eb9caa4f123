"""The layouts of checkpoints we read and write, as tables.

Sources: `transformers` BertForMaskedLM, BertConfig, EsmForMaskedLM, EsmConfig; the config.json and
key lists of DNABERT, DNABERT-2 (its bert_layers.py), the Nucleotide Transformer and GROVER. Our own
layout, last, holds what none of these can say, such as LOGO.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dnalm.models.encoder import Encoder
from dnalm.models.family import DEFAULTS, Classes, Family
from dnalm.models.positions import rotary_frequencies

_SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "max_positions": "max_position_embeddings",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "norm_eps": "layer_norm_eps",
    "initializer_range": "initializer_range",
    "padding_id": "pad_token_id",
    "mask_id": "mask_token_id",
}
# What BertConfig and EsmConfig are where config.json lacks a field; a test holds them against `transformers`.
_ABSENT = {
    "hidden_size": 768,
    "num_layers": 12,
    "num_heads": 12,
    "intermediate_size": 3072,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "norm_eps": 1e-12,
    "initializer_range": 0.02,
}
_BERT_ABSENT = {**_ABSENT, "vocab_size": 30522, "max_positions": 512, "type_vocab_size": 2, "padding_id": 0}
_ESM_ABSENT = {**_ABSENT, "max_positions": 1026, "token_dropout": False, "tied_decoder": True}
_SELF_ATTENTION = "encoder.layer.{n}.attention.self"

_BERT_MODULES = {
    "encoder.embeddings.token": "bert.embeddings.word_embeddings",
    "encoder.embeddings.token_type": "bert.embeddings.token_type_embeddings",
    "encoder.embeddings.norm": "bert.embeddings.LayerNorm",
    "encoder.blocks.{n}.attention.output": "bert.encoder.layer.{n}.attention.output.dense",
    "encoder.blocks.{n}.attention_norm": "bert.encoder.layer.{n}.attention.output.LayerNorm",
    "head.dense": "cls.predictions.transform.dense",
    "head.norm": "cls.predictions.transform.LayerNorm",
}
_BERT_LEFT_OUT = (
    r"bert\.pooler\..*",
    r"cls\.seq_relationship\..*",
    r"bert\.embeddings\.position_ids",
    r"classifier\..*",
)

BERT = Family(
    name="BERT, such as DNABERT or GROVER",
    marks={"model_type": "bert"},
    fixed={
        "hidden_act": "gelu",
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "tie_word_embeddings": True,
    },
    classes=Classes(
        encoder="BertModel",
        masked_lm="BertForMaskedLM",
        classifier="BertForSequenceClassification",
        classifier_modules={"dense": "bert.pooler.dense", "output": "classifier"},
        head_guard="cls.predictions.bias",
        classifier_guard="classifier.weight",
    ),
    written={},
    arguments={**_SIZES, "type_vocab_size": "type_vocab_size"},
    absent=_BERT_ABSENT,
    switches={},
    modules={
        **_BERT_MODULES,
        "encoder.embeddings.position": "bert.embeddings.position_embeddings",
        "encoder.blocks.{n}.attention.query": f"bert.{_SELF_ATTENTION}.query",
        "encoder.blocks.{n}.attention.key": f"bert.{_SELF_ATTENTION}.key",
        "encoder.blocks.{n}.attention.value": f"bert.{_SELF_ATTENTION}.value",
        "encoder.blocks.{n}.feed_forward.up": "bert.encoder.layer.{n}.intermediate.dense",
        "encoder.blocks.{n}.feed_forward.down": "bert.encoder.layer.{n}.output.dense",
        "encoder.blocks.{n}.feed_forward_norm": "bert.encoder.layer.{n}.output.LayerNorm",
        "head": "cls.predictions",
    },
    copies={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    left_out=_BERT_LEFT_OUT,
)

_DNABERT2_REPOSITORY = "zhihan1996/DNABERT-2-117M"

# Its pad_token_id is 0, which its tokenizer calls [UNK]; [PAD] is 3. As published, the row of
# pad_token_id gets no gradient from the embeddings.
#
# Its model_type is our own word, so that `transformers` without the publishers' code refuses it: as a `bert`,
# which the published layout is, it opens as a plain BERT whose attention and feed-forward weights are random.
DNABERT2 = Family(
    name="DNABERT-2",
    marks={"model_type": "dnabert2"},
    published_marks={
        "model_type": "bert",
        "auto_map": {
            "AutoConfig": f"{_DNABERT2_REPOSITORY}--configuration_bert.BertConfig",
            "AutoModel": f"{_DNABERT2_REPOSITORY}--bert_layers.BertModel",
            "AutoModelForMaskedLM": f"{_DNABERT2_REPOSITORY}--bert_layers.BertForMaskedLM",
            "AutoModelForSequenceClassification": (
                f"{_DNABERT2_REPOSITORY}--bert_layers.BertForSequenceClassification"
            ),
        },
    },
    classes=Classes(encoder="BertModel", masked_lm="BertForMaskedLM"),
    fixed={"hidden_act": "gelu", "is_decoder": False, "tie_word_embeddings": True},
    written={
        "alibi_starting_size": 512,  # of a table that grows by itself
        "position_embedding_type": "absolute",  # its code does not read it
        "classifier_dropout": None,
    },
    arguments={**_SIZES, "type_vocab_size": "type_vocab_size"},
    absent={**_BERT_ABSENT, "attention_dropout": 0.0},  # of its configuration_bert.py
    switches={
        "positions": "alibi",
        "feed_forward": "geglu",
        "up_bias": False,
        "feed_forward_dropout": "inside",
    },
    modules={
        **_BERT_MODULES,
        "encoder.blocks.{n}.attention.query": f"bert.{_SELF_ATTENTION}.Wqkv",
        "encoder.blocks.{n}.attention.key": f"bert.{_SELF_ATTENTION}.Wqkv",
        "encoder.blocks.{n}.attention.value": f"bert.{_SELF_ATTENTION}.Wqkv",
        "encoder.blocks.{n}.feed_forward.up": "bert.encoder.layer.{n}.mlp.gated_layers",
        "encoder.blocks.{n}.feed_forward.down": "bert.encoder.layer.{n}.mlp.wo",
        "encoder.blocks.{n}.feed_forward_norm": "bert.encoder.layer.{n}.mlp.layernorm",
        "head": "cls.predictions.decoder",
    },
    copies={"cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight"},
    writes_copies=True,
    left_out=_BERT_LEFT_OUT,
)


def _contact_head(encoder: Encoder) -> dict[str, Tensor]:
    """An untrained contact head, since stock ESM draws a random one where it finds none."""
    name = "esm.contact_head.regression"
    features = encoder.num_layers * encoder.num_heads
    return {f"{name}.weight": torch.zeros(1, features), f"{name}.bias": torch.zeros(1)}


def _contact_head_and_frequencies(encoder: Encoder) -> dict[str, Tensor]:
    frequencies = rotary_frequencies(encoder.hidden_size // encoder.num_heads)
    prefix, suffix = "esm.encoder.layer", "attention.self.rotary_embeddings.inv_freq"
    layers = range(encoder.num_layers)
    return _contact_head(encoder) | {f"{prefix}.{n}.{suffix}": frequencies.clone() for n in layers}


_ESM_FIXED = {
    "emb_layer_norm_before": False,
    "is_decoder": False,
    "is_folding_model": False,
}
_ESM_ARGUMENTS = {**_SIZES, "token_dropout": "token_dropout", "tied_decoder": "tie_word_embeddings"}
_ESM_WRITTEN = {
    "use_cache": False,
    "esmfold_config": None,
    "vocab_list": None,
}
_ESM_SWITCHES = {
    "norm_placement": "pre",
    "embedding_norm": False,
    "type_vocab_size": 0,
}
_ESM_MODULES = {
    "encoder.embeddings.token": "esm.embeddings.word_embeddings",
    "encoder.blocks.{n}.attention.query": f"esm.{_SELF_ATTENTION}.query",
    "encoder.blocks.{n}.attention.key": f"esm.{_SELF_ATTENTION}.key",
    "encoder.blocks.{n}.attention.value": f"esm.{_SELF_ATTENTION}.value",
    "encoder.blocks.{n}.attention.output": "esm.encoder.layer.{n}.attention.output.dense",
    "encoder.blocks.{n}.attention_norm": "esm.encoder.layer.{n}.attention.LayerNorm",
    "encoder.blocks.{n}.feed_forward.up": "esm.encoder.layer.{n}.intermediate.dense",
    "encoder.blocks.{n}.feed_forward.down": "esm.encoder.layer.{n}.output.dense",
    "encoder.blocks.{n}.feed_forward_norm": "esm.encoder.layer.{n}.LayerNorm",
    "encoder.final_norm": "esm.encoder.emb_layer_norm_after",
    "head.dense": "lm_head.dense",
    "head.norm": "lm_head.layer_norm",
    "head.decoder": "lm_head.decoder",
    "head": "lm_head",
}
_ESM_COPIES = {"lm_head.decoder.weight": "esm.embeddings.word_embeddings.weight"}  # where the decoder is tied
_ESM_LEFT_OUT = (
    r"esm\.contact_head\..*",
    r"esm\.pooler\..*",
    r"esm\.embeddings\.position_ids",
    r"classifier\..*",
)

NT_V1 = Family(
    name="ESM with learned positions, such as the Nucleotide Transformer v1",
    marks={"model_type": "esm"},
    fixed={**_ESM_FIXED, "position_embedding_type": "absolute"},
    classes=Classes(
        encoder="EsmModel",
        masked_lm="EsmForMaskedLM",
        classifier="EsmForSequenceClassification",
        classifier_modules={"dense": "classifier.dense", "output": "classifier.out_proj"},
        head_guard="lm_head.bias",
        classifier_guard="classifier.out_proj.weight",
    ),
    written=_ESM_WRITTEN,
    arguments=_ESM_ARGUMENTS,
    absent=_ESM_ABSENT,
    switches=_ESM_SWITCHES,
    rows_before=True,
    modules={**_ESM_MODULES, "encoder.embeddings.position": "esm.embeddings.position_embeddings"},
    copies=_ESM_COPIES,
    left_out=_ESM_LEFT_OUT,
    further=_contact_head,
)

_NT_V2_REPOSITORY = "InstaDeepAI/nucleotide-transformer-v2-500m-multi-species"

# ESM in `transformers` has no gated feed-forward; the published code, which the auto_map names, has.
# It makes a table of positions that it never reads. Stock ESM refuses these weights by their shapes.
NT_V2 = Family(
    name="the Nucleotide Transformer v2",
    marks={"model_type": "esm", "position_embedding_type": "rotary", "add_bias_fnn": False},
    fixed={**_ESM_FIXED, "rope_theta": 10000.0},
    classes=Classes(encoder="EsmModel", masked_lm="EsmForMaskedLM"),
    written={
        **_ESM_WRITTEN,
        "auto_map": {
            "AutoConfig": f"{_NT_V2_REPOSITORY}--esm_config.EsmConfig",
            "AutoModelForMaskedLM": f"{_NT_V2_REPOSITORY}--modeling_esm.EsmForMaskedLM",
            "AutoModelForSequenceClassification": (
                f"{_NT_V2_REPOSITORY}--modeling_esm.EsmForSequenceClassification"
            ),
            "AutoModelForTokenClassification": (
                f"{_NT_V2_REPOSITORY}--modeling_esm.EsmForTokenClassification"
            ),
        },
    },
    arguments=_ESM_ARGUMENTS,
    absent=_ESM_ABSENT,
    switches={
        **_ESM_SWITCHES,
        "positions": "rotary",
        "feed_forward": "swiglu",
        "up_bias": False,
        "down_bias": False,
    },
    rows_before=True,
    modules=_ESM_MODULES,
    copies=_ESM_COPIES,
    left_out=(
        *_ESM_LEFT_OUT,
        r"esm\.embeddings\.position_embeddings\.weight",
        r"esm\..*rotary_embeddings\.inv_freq",
    ),
    further=_contact_head_and_frequencies,
)

OURS = Family(
    name="dnalm",
    marks={"model_type": "dnalm"},
    fixed={},
    classes=Classes(encoder="Encoder", masked_lm="MaskedLM"),
    written={},
    arguments={name: name for name in ("vocab_size", *DEFAULTS)},
    absent=DEFAULTS,
    switches={},
    modules=None,
)

# The first that fits is taken, so those with more marks come first.
FAMILIES = (DNABERT2, NT_V2, BERT, NT_V1, OURS)
_TYPES_OF_CLASSES = {"Bert": "bert", "Esm": "esm"}


def recognise(config: Mapping[str, object]) -> Family | None:
    """The family of a config.json; None of none of ours.

    The published files of DNABERT and DNABERT-2 have no `model_type`: then `architectures` says it. DNABERT-2
    is known by `alibi_starting_size`, or by an `auto_map` to its bert_layers.py.
    """
    kind = config.get("model_type")
    if kind is None:
        classes = config.get("architectures")
        first = str(classes[0]) if isinstance(classes, list) and classes else ""
        kind = next((of for start, of in _TYPES_OF_CLASSES.items() if first.startswith(start)), None)
    if kind in (None, "bert") and (
        "alibi_starting_size" in config or _is_of_bert_layers(config.get("auto_map"))
    ):
        kind = "dnabert2"
    stated = {**config, "model_type": kind}
    return next((family for family in FAMILIES if family.recognises(stated)), None)


def _is_of_bert_layers(auto_map: object) -> bool:
    names = auto_map.values() if isinstance(auto_map, dict) else ()
    return any(isinstance(name, str) and name.rpartition(".")[0].endswith("bert_layers") for name in names)
