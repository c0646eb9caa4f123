"""The layouts of checkpoints we read and write, as tables.

Sources: `transformers` BertForMaskedLM, BertConfig, EsmForMaskedLM, EsmConfig; the config.json and
key lists of DNABERT, DNABERT-2 (its bert_layers.py), the Nucleotide Transformer and GROVER. Our own
layout, last, holds what none of these can say, such as LOGO.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dnalm.models.encoder import Encoder
from dnalm.models.family import DEFAULTS, Family
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
_BERT_LEFT_OUT = (r"bert\.pooler\..*", r"cls\.seq_relationship\..*", r"bert\.embeddings\.position_ids")

BERT = Family(
    name="BERT, such as DNABERT or GROVER",
    marks={"model_type": "bert"},
    fixed={
        "hidden_act": "gelu",
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "tie_word_embeddings": True,
    },
    written={"architectures": ["BertForMaskedLM"]},
    arguments={**_SIZES, "type_vocab_size": "type_vocab_size"},
    absent={"norm_eps": 1e-12, "padding_id": 0},  # BertConfig's; DNABERT's config.json lacks them
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
DNABERT2 = Family(
    name="DNABERT-2",
    marks={"model_type": "bert"},
    bears=("alibi_starting_size",),
    fixed={"hidden_act": "gelu", "is_decoder": False, "tie_word_embeddings": True},
    written={
        "architectures": ["BertForMaskedLM"],
        "auto_map": {
            "AutoConfig": f"{_DNABERT2_REPOSITORY}--configuration_bert.BertConfig",
            "AutoModel": f"{_DNABERT2_REPOSITORY}--bert_layers.BertModel",
            "AutoModelForMaskedLM": f"{_DNABERT2_REPOSITORY}--bert_layers.BertForMaskedLM",
            "AutoModelForSequenceClassification": (
                f"{_DNABERT2_REPOSITORY}--bert_layers.BertForSequenceClassification"
            ),
        },
        "alibi_starting_size": 512,  # of a table that grows by itself
        "position_embedding_type": "absolute",  # its code does not read it
        "classifier_dropout": None,
    },
    arguments={**_SIZES, "type_vocab_size": "type_vocab_size"},
    absent={"norm_eps": 1e-12, "padding_id": 0},
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
    "tie_word_embeddings": False,
}
_ESM_WRITTEN = {
    "architectures": ["EsmForMaskedLM"],
    "use_cache": False,
    "esmfold_config": None,
    "vocab_list": None,
}
_ESM_SWITCHES = {
    "norm_placement": "pre",
    "embedding_norm": False,
    "type_vocab_size": 0,
    "tied_decoder": False,
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
_ESM_LEFT_OUT = (r"esm\.contact_head\..*", r"esm\.embeddings\.position_ids")

NT_V1 = Family(
    name="ESM with learned positions, such as the Nucleotide Transformer v1",
    marks={"model_type": "esm"},
    fixed={**_ESM_FIXED, "position_embedding_type": "absolute"},
    written=_ESM_WRITTEN,
    arguments={**_SIZES, "token_dropout": "token_dropout"},
    absent={"norm_eps": 1e-12, "token_dropout": False},  # EsmConfig's
    switches=_ESM_SWITCHES,
    rows_before=True,
    modules={**_ESM_MODULES, "encoder.embeddings.position": "esm.embeddings.position_embeddings"},
    left_out=_ESM_LEFT_OUT,
    further=_contact_head,
)

_NT_V2_REPOSITORY = "InstaDeepAI/nucleotide-transformer-v2-500m-multi-species"

# ESM in `transformers` has no gated feed-forward; the published code, which the auto_map names, has.
# It makes a table of positions that it never reads.
NT_V2 = Family(
    name="the Nucleotide Transformer v2",
    marks={"model_type": "esm", "position_embedding_type": "rotary", "add_bias_fnn": False},
    fixed=_ESM_FIXED,
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
    arguments={**_SIZES, "token_dropout": "token_dropout"},
    absent={"norm_eps": 1e-12, "token_dropout": False},
    switches={
        **_ESM_SWITCHES,
        "positions": "rotary",
        "feed_forward": "swiglu",
        "up_bias": False,
        "down_bias": False,
    },
    rows_before=True,
    modules=_ESM_MODULES,
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
    written={"architectures": ["MaskedLM"]},
    arguments={name: name for name in ("vocab_size", *DEFAULTS)},
    absent=DEFAULTS,
    switches={},
    modules=None,
)

# The first that fits is taken, so those with more marks come first.
FAMILIES = (DNABERT2, NT_V2, BERT, NT_V1, OURS)
