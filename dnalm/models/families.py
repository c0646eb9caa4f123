"""Checkpoint layouts of published models as tables, and what translates by them in both directions.

A `Family` maps our names of arguments and parameters to those of a published layout. The tables follow, our
own layout last, for what no class of stock `transformers` computes; its classes are in `modeling_dnalm.py`.
`recognise` finds the family of a
config.json; `rename` removes or adds a prefix that all stored tensors share: a network that was saved from
inside another one (`model.`, `encoder.`), from a wrapper of PyTorch (`module.`, `_orig_mod.`) or without its
own first part (a BertModel saved alone lacks `bert.`) has all its tensors, each under a name changed alike.

Sources: `transformers` BertForMaskedLM, EsmForMaskedLM, AlbertForMaskedLM, their configs; the config.json and
key lists of DNABERT, DNABERT-2 (its bert_layers.py), the Nucleotide Transformer and GROVER.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from dnalm.errors import CheckpointError, shown
from dnalm.models.config import EncoderConfig
from dnalm.models.encoder import Encoder
from dnalm.models.packing import rotary_frequencies

# How attention is computed is the reader's choice and no property of a checkpoint.
_NOT_STORED = frozenset({"kernel"})
_TYPES: Mapping[str, Any] = get_type_hints(EncoderConfig)
DEFAULTS: Mapping[str, Any] = {
    each.name: each.default
    for each in fields(EncoderConfig)
    if each.name not in _NOT_STORED and each.default is not MISSING
}


@dataclass(frozen=True, kw_only=True)
class Classes:
    """The classes of a layout, and what keeps `transformers` from inventing weights that a directory lacks.

    Where `transformers` finds no weights of a head it draws random ones and warns. A guard is an empty tensor
    under a name of such a head: its shape does not fit, which is an error.

    Attributes:
        encoder: of a directory without a head.
        masked_lm: of one with a head.
        classifier: of one with the head of a task; None where stock `transformers` has none.
        classifier_modules: the names there of our `dense` and `output`.
        head_guard: the guard of the head of masked language modelling.
        classifier_guard: that of the classifier.
        token_guard: that of a classifier of tokens, beside a classifier that shares no name with it.
    """

    encoder: str
    masked_lm: str
    classifier: str | None = None
    classifier_modules: Mapping[str, str] = field(default_factory=dict)
    head_guard: str | None = None
    classifier_guard: str | None = None
    token_guard: str | None = None


@dataclass(frozen=True, kw_only=True)
class Family:
    """One layout of checkpoints.

    Attributes:
        name: for messages.
        match_fields: fields of config.json by which it is recognised.
        is_stock: whether `transformers` has these classes, without further code.
        expected_values: other fields of config.json and their only value; absent or null means the same.
        write_only_fields: fields that are written for other programs and not read.
        classes: names of its classes.
        arguments: arguments of `Encoder` and their names in config.json.
        defaults: values of arguments that config.json lacks.
        encoder_overrides: arguments that all members share, where they differ from `Encoder`'s defaults.
        positions_after_padding: whether learned positions begin pad_token_id + 1 rows into their table, and
            max_position_embeddings counts those rows (ESM).
        modules: our modules and theirs; `{n}` is the layer. Several of ours with one name there are
            its rows, in this order. None where all names are ours.
        copies: tensors that must equal others where they are stored.
        writes_copies: whether they are stored.
        ignored_tensors: patterns of tensors that may be stored and are not read.
        extra_tensors: further tensors that other programs expect, made from the encoder.
        published_fields: fields that the publishers write besides or in place of `match_fields`.
        needs_mapping: whether embeddings have a width of their own, with a map to hidden_size.
    """

    name: str
    match_fields: Mapping[str, object]
    is_stock: bool = False
    expected_values: Mapping[str, object] = field(default_factory=dict)
    write_only_fields: Mapping[str, object] = field(default_factory=dict)
    classes: Classes
    arguments: Mapping[str, str]
    defaults: Mapping[str, object]
    encoder_overrides: Mapping[str, object] = field(default_factory=dict)
    positions_after_padding: bool = False
    modules: Mapping[str, str] | None = None
    copies: Mapping[str, str] = field(default_factory=dict)
    writes_copies: bool = False
    ignored_tensors: tuple[str, ...] = ()
    extra_tensors: Callable[[Encoder], dict[str, Tensor]] = lambda _: {}
    published_fields: Mapping[str, object] = field(default_factory=dict)
    needs_mapping: bool = False

    def matches(self, config: Mapping[str, object]) -> bool:
        """Whether a config.json is of this family."""
        return all(config.get(key) == value for key, value in self.match_fields.items())

    def fits(self, encoder: EncoderConfig) -> bool:
        """Whether this layout can express all of the encoder's arguments."""
        if self.needs_mapping and encoder.embedding_width == encoder.hidden_size:
            return False
        stated = set(self.arguments)
        if self.positions_after_padding and encoder.positions == "learned":
            stated.add("position_offset")
            if encoder.position_offset != encoder.padding_id + 1:
                return False
        implied = {**DEFAULTS, **self.encoder_overrides}
        return all(getattr(encoder, name) == value for name, value in implied.items() if name not in stated)

    def config(self, encoder: Encoder) -> dict[str, object]:
        """The contents of config.json, but for the dtype."""
        arguments: dict[str, Any] = {
            theirs: getattr(encoder, ours)
            for ours, theirs in self.arguments.items()
            if getattr(encoder, ours) is not None
        }
        if self.positions_after_padding:
            arguments[self.arguments["max_positions"]] += encoder.padding_id + 1
        fixed = {**self.expected_values, **self.match_fields, **self.published_fields}
        return {**self.write_only_fields, **fixed, **arguments}

    def copies_of(self, ours: Mapping[str, Any]) -> Mapping[str, str]:
        """Tensors that must equal others where they are stored: none that is a parameter of its own."""
        parts = self.parts(ours)
        return {copy: original for copy, original in self.copies.items() if copy not in parts}

    def encoder_arguments(self, config: Mapping[str, object], *, where: Path) -> dict[str, Any]:
        """The arguments of `Encoder` that a config.json of this family describes.

        Args:
            config: the contents of config.json.
            where: the file, for the error.

        Raises:
            CheckpointError: it differs from the family in a field, or fields are missing or of the
                wrong type, all of which are listed.
        """
        others = {
            key: config[key]
            for key, value in self.expected_values.items()
            if config.get(key) not in (None, value)
        }
        if others:
            raise CheckpointError(
                "MODEL-10",
                where=str(where),
                found=", ".join(f"{key} is {shown(value)}" for key, value in others.items()),
                expected=", ".join(f"{key} {self.expected_values[key]!r}" for key in others),
                fix=f"name a checkpoint of the architecture of {self.name}",
            )
        stated: dict[str, Any] = {
            ours: self.defaults.get(ours) if config.get(theirs) is None else config[theirs]
            for ours, theirs in self.arguments.items()
        }
        wrong = [ours for ours, value in stated.items() if not _is_of(value, _TYPES[ours])]
        if wrong:
            raise CheckpointError(
                "MODEL-10",
                where=str(where),
                found=", ".join(f"{self.arguments[ours]} is {_found(stated[ours])}" for ours in wrong),
                expected="; ".join(f"{self.arguments[ours]}: {_describe(_TYPES[ours])}" for ours in wrong),
                fix="restore the config.json that came with the weights",
            )
        if self.positions_after_padding:
            offset = stated["padding_id"] + 1
            stated["max_positions"] -= offset
            if self.encoder_overrides.get("positions", "learned") == "learned":
                stated["position_offset"] = offset
        return {**self.encoder_overrides, **stated}

    def name_of(self, ours: str) -> str:
        """Their name of one of our parameters."""
        if self.modules is None:
            return ours
        module, parameter = ours.rsplit(".", 1)
        layer = re.search(r"\.blocks\.(\d+)\.", module)
        if layer is None:
            return f"{self.modules[module]}.{parameter}"
        general = module.replace(layer.group(), ".blocks.{n}.")
        return f"{self.modules[general].format(n=layer.group(1))}.{parameter}"

    def parts(self, ours: Mapping[str, Any]) -> dict[str, list[str]]:
        """Each of their tensors, and which of our parameters are its rows, in order."""
        parts: dict[str, list[str]] = {}
        for name in ours:
            parts.setdefault(self.name_of(name), []).append(name)
        return parts

    def export(self, state: Mapping[str, Tensor], encoder: Encoder) -> dict[str, Tensor]:
        """Our weights under their names, and the extra tensors that their code expects.

        Args:
            state: of the whole model, or of one without a head.
            encoder: its arguments.
        """
        tensors: dict[str, Tensor] = {}
        for theirs, names in self.parts(state).items():
            rows = [state[name].detach().cpu() for name in names]
            tensors[theirs] = (torch.cat(rows) if len(rows) > 1 else rows[0]).contiguous()
        copies = self.copies.items() if self.writes_copies and "head.bias" in state else ()
        tensors |= {copy: tensors[original].clone() for copy, original in copies}
        return tensors | self.extra_tensors(encoder)

    def ignores(self, theirs: str) -> bool:
        """Whether a stored tensor is not read."""
        return any(re.fullmatch(pattern, theirs) for pattern in self.ignored_tensors)


def _found(value: object) -> str:
    return "absent" if value is None else shown(value)


def _is_of(value: object, annotation: Any) -> bool:  # noqa: ANN401 -- any annotation of Encoder
    """Whether a JSON value is of an annotated type; a bool is no number, an integer is a float."""
    if get_origin(annotation) in (Union, UnionType):
        return any(_is_of(value, part) for part in get_args(annotation))
    if get_origin(annotation) is Literal:
        return value in get_args(annotation)
    if get_origin(annotation) is tuple:
        return isinstance(value, list | tuple) and all(
            _is_of(item, get_args(annotation)[0]) for item in value
        )
    if isinstance(value, bool) or annotation is bool:
        return isinstance(value, bool) and annotation is bool
    return isinstance(value, (int, float) if annotation is float else annotation)


def _describe(annotation: Any) -> str:  # noqa: ANN401 -- any annotation of Encoder
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_describe(part) for part in get_args(annotation))
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(get_args(annotation))
    if get_origin(annotation) is tuple:
        return "a list of names" if get_args(annotation)[0] is str else "a list of integers"
    words = {int: "an integer", float: "a number", bool: "true or false", NoneType: "null"}
    return words[annotation]


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
# Defaults of BertConfig, AlbertConfig and EsmConfig; a test compares them with `transformers`.
_CONFIG_DEFAULTS = {
    "hidden_size": 768,
    "num_layers": 12,
    "num_heads": 12,
    "intermediate_size": 3072,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "norm_eps": 1e-12,
    "initializer_range": 0.02,
}
_BERT_DEFAULTS = {
    **_CONFIG_DEFAULTS,
    "vocab_size": 30522,
    "max_positions": 512,
    "type_vocab_size": 2,
    "padding_id": 0,
}
_ALBERT_DEFAULTS = {
    **_BERT_DEFAULTS,
    "vocab_size": 30000,
    "embedding_size": 128,
    "hidden_size": 4096,
    "num_heads": 64,
    "intermediate_size": 16384,
    "dropout": 0.0,
    "attention_dropout": 0.0,
}
_ESM_DEFAULTS = {**_CONFIG_DEFAULTS, "max_positions": 1026, "token_dropout": False, "tied_decoder": True}
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
_BERT_IGNORED = (
    r"bert\.pooler\..*",
    r"cls\.seq_relationship\..*",
    r"bert\.embeddings\.position_ids",
    r"classifier\..*",
)

_BERT_CLASSIFIER = {"dense": "bert.pooler.dense", "output": "classifier"}

BERT = Family(
    name="BERT, such as DNABERT or GROVER",
    match_fields={"model_type": "bert"},
    is_stock=True,
    expected_values={
        "hidden_act": "gelu",
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "tie_word_embeddings": True,
    },
    classes=Classes(
        encoder="BertModel",
        masked_lm="BertForMaskedLM",
        classifier="BertForSequenceClassification",
        classifier_modules=_BERT_CLASSIFIER,
        head_guard="cls.predictions.bias",
        classifier_guard="classifier.weight",
    ),
    arguments={**_SIZES, "type_vocab_size": "type_vocab_size"},
    defaults=_BERT_DEFAULTS,
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
    ignored_tensors=_BERT_IGNORED,
)

_DNABERT2_REPOSITORY = "zhihan1996/DNABERT-2-117M"

# Its pad_token_id is 0, which its tokenizer calls [UNK]; [PAD] is 3. As published, the row of
# pad_token_id gets no gradient from the embeddings.
#
# Earlier versions of dnalm wrote the model_type dnabert2. The published one is bert, for which stock code
# draws random attention and feed-forward weights, so this layout is written only where it is asked for.
DNABERT2 = Family(
    name="DNABERT-2",
    match_fields={"model_type": "dnabert2"},
    published_fields={
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
    classes=Classes(
        encoder="BertModel",
        masked_lm="BertForMaskedLM",
        classifier="BertForSequenceClassification",
        classifier_modules=_BERT_CLASSIFIER,
        classifier_guard="classifier.weight",
    ),
    expected_values={"hidden_act": "gelu", "is_decoder": False, "tie_word_embeddings": True},
    write_only_fields={
        "alibi_starting_size": 512,  # of a table that grows by itself
        "position_embedding_type": "absolute",  # its code does not read it
        "classifier_dropout": None,
    },
    arguments={**_SIZES, "type_vocab_size": "type_vocab_size"},
    defaults={**_BERT_DEFAULTS, "attention_dropout": 0.0},  # of its configuration_bert.py
    encoder_overrides={
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
    ignored_tensors=_BERT_IGNORED,
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


_ESM_EXPECTED = {
    "emb_layer_norm_before": False,
    "is_decoder": False,
    "is_folding_model": False,
}
_ESM_ARGUMENTS = {**_SIZES, "token_dropout": "token_dropout", "tied_decoder": "tie_word_embeddings"}
_ESM_WRITE_ONLY = {
    "use_cache": False,
    "esmfold_config": None,
    "vocab_list": None,
}
_ESM_OVERRIDES = {
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
_ESM_IGNORED = (
    r"esm\.contact_head\..*",
    r"esm\.pooler\..*",
    r"esm\.embeddings\.position_ids",
    r"classifier\..*",
)

_ESM_CLASSIFIER = {"dense": "classifier.dense", "output": "classifier.out_proj"}

NT_V1 = Family(
    name="ESM with learned positions, such as the Nucleotide Transformer v1",
    match_fields={"model_type": "esm"},
    is_stock=True,
    expected_values={**_ESM_EXPECTED, "position_embedding_type": "absolute"},
    classes=Classes(
        encoder="EsmModel",
        masked_lm="EsmForMaskedLM",
        classifier="EsmForSequenceClassification",
        classifier_modules=_ESM_CLASSIFIER,
        head_guard="lm_head.bias",
        classifier_guard="classifier.out_proj.weight",
        token_guard="classifier.weight",
    ),
    write_only_fields=_ESM_WRITE_ONLY,
    arguments=_ESM_ARGUMENTS,
    defaults=_ESM_DEFAULTS,
    encoder_overrides=_ESM_OVERRIDES,
    positions_after_padding=True,
    modules={**_ESM_MODULES, "encoder.embeddings.position": "esm.embeddings.position_embeddings"},
    copies=_ESM_COPIES,
    ignored_tensors=_ESM_IGNORED,
    extra_tensors=_contact_head,
)

_NT_V2_REPOSITORY = "InstaDeepAI/nucleotide-transformer-v2-500m-multi-species"

# ESM in `transformers` has no gated feed-forward; the published code, which the auto_map names, has.
# It makes a table of positions that it never reads. Stock ESM refuses these weights by their shapes.
NT_V2 = Family(
    name="the Nucleotide Transformer v2",
    match_fields={"model_type": "esm", "position_embedding_type": "rotary", "add_bias_fnn": False},
    expected_values={**_ESM_EXPECTED, "rope_theta": 10000.0},
    classes=Classes(
        encoder="EsmModel",
        masked_lm="EsmForMaskedLM",
        classifier="EsmForSequenceClassification",
        classifier_modules=_ESM_CLASSIFIER,
        classifier_guard="classifier.out_proj.weight",
    ),
    write_only_fields={
        **_ESM_WRITE_ONLY,
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
    defaults=_ESM_DEFAULTS,
    encoder_overrides={
        **_ESM_OVERRIDES,
        "positions": "rotary",
        "feed_forward": "swiglu",
        "up_bias": False,
        "down_bias": False,
    },
    positions_after_padding=True,
    modules=_ESM_MODULES,
    copies=_ESM_COPIES,
    ignored_tensors=(
        *_ESM_IGNORED,
        r"esm\.embeddings\.position_embeddings\.weight",
        r"esm\..*rotary_embeddings\.inv_freq",
    ),
    extra_tensors=_contact_head_and_frequencies,
)

_ALBERT_LAYER = "albert.encoder.albert_layer_groups.0.albert_layers.0"

# The LOGO of the paper: one layer several times, over embeddings of their own width.
ALBERT = Family(
    name="ALBERT, such as the LOGO of the paper",
    match_fields={"model_type": "albert", "hidden_act": "gelu"},
    is_stock=True,
    expected_values={
        "num_hidden_groups": 1,
        "inner_group_num": 1,
        "position_embedding_type": "absolute",
        "tie_word_embeddings": True,
    },
    classes=Classes(
        encoder="AlbertModel",
        masked_lm="AlbertForMaskedLM",
        classifier="AlbertForSequenceClassification",
        classifier_modules={"dense": "albert.pooler", "output": "classifier"},
        head_guard="predictions.bias",
        classifier_guard="classifier.weight",
    ),
    arguments={**_SIZES, "type_vocab_size": "type_vocab_size", "embedding_size": "embedding_size"},
    defaults=_ALBERT_DEFAULTS,
    encoder_overrides={"shared_layers": True},
    needs_mapping=True,
    modules={
        "encoder.embeddings.token": "albert.embeddings.word_embeddings",
        "encoder.embeddings.position": "albert.embeddings.position_embeddings",
        "encoder.embeddings.token_type": "albert.embeddings.token_type_embeddings",
        "encoder.embeddings.norm": "albert.embeddings.LayerNorm",
        "encoder.embeddings.mapping": "albert.encoder.embedding_hidden_mapping_in",
        "encoder.blocks.{n}.attention.query": f"{_ALBERT_LAYER}.attention.query",
        "encoder.blocks.{n}.attention.key": f"{_ALBERT_LAYER}.attention.key",
        "encoder.blocks.{n}.attention.value": f"{_ALBERT_LAYER}.attention.value",
        "encoder.blocks.{n}.attention.output": f"{_ALBERT_LAYER}.attention.dense",
        "encoder.blocks.{n}.attention_norm": f"{_ALBERT_LAYER}.attention.LayerNorm",
        "encoder.blocks.{n}.feed_forward.up": f"{_ALBERT_LAYER}.ffn",
        "encoder.blocks.{n}.feed_forward.down": f"{_ALBERT_LAYER}.ffn_output",
        "encoder.blocks.{n}.feed_forward_norm": f"{_ALBERT_LAYER}.full_layer_layer_norm",
        "head.dense": "predictions.dense",
        "head.norm": "predictions.LayerNorm",
        "head": "predictions",
    },
    copies={
        "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
        "predictions.decoder.bias": "predictions.bias",
    },
    ignored_tensors=(
        r"albert\.pooler\..*",
        r"albert\.embeddings\.position_ids",
        r"sop_classifier\..*",
        r"classifier\..*",
    ),
)

MODEL_TYPE = "dnalm: import dnalm.hf"  # as in modeling_dnalm.py; stock code repeats it where it refuses

OURS = Family(
    name="dnalm",
    match_fields={"model_type": MODEL_TYPE},
    classes=Classes(
        encoder="DnalmModel", masked_lm="DnalmForMaskedLM", classifier="DnalmForSequenceClassification"
    ),
    arguments={name: name for name in ("vocab_size", *DEFAULTS)},
    defaults=DEFAULTS,
    ignored_tensors=(r"task\..*",),
)

# The first that matches is used, so those with more `match_fields` come first.
FAMILIES = (DNABERT2, NT_V2, BERT, NT_V1, ALBERT, OURS)
_TYPES_OF_CLASSES = {"Bert": "bert", "Esm": "esm", "Albert": "albert"}


def recognise(config: Mapping[str, object]) -> Family | None:
    """The family of a config.json; None if it is none of ours.

    The published files of DNABERT and DNABERT-2 have no `model_type`: then `architectures` decides. DNABERT-2
    is recognised by `alibi_starting_size`, or by an `auto_map` to its bert_layers.py.
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
    if kind == "dnalm":  # as earlier versions called it
        kind = MODEL_TYPE
    stated = {**config, "model_type": kind}
    return next((family for family in FAMILIES if family.matches(stated)), None)


def _is_of_bert_layers(auto_map: object) -> bool:
    names = auto_map.values() if isinstance(auto_map, dict) else ()
    return any(isinstance(name, str) and name.rpartition(".")[0].endswith("bert_layers") for name in names)


# Parts that DistributedDataParallel, torch.compile, activation checkpointing and FSDP put into names.
_WRAPPERS = {"module", "_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"}
_ANCHOR = "encoder.embeddings.token.weight"  # a parameter that every model has


def rename(
    stored: Mapping[str, Tensor], ours: Mapping[str, Tensor], family: Family, path: Path
) -> dict[str, Tensor]:
    """The tensors by the family's names, as far as one change of prefix makes them, without guards.

    Args:
        stored: by the names in the file.
        ours: the model's, by our names.
        family: its layout.
        path: of the file, for the error.

    Raises:
        CheckpointError: CKPT-07, two tensors would have one name.
    """
    expected = set(family.parts(ours))
    known = expected | set(family.copies)
    plain = {name: _plain(name) for name, tensor in stored.items() if tensor.numel()}
    change = _common_change(plain.values(), family.name_of(_ANCHOR), expected)
    renamed: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for name, short in plain.items():
        new = short
        if short not in known and not family.ignores(short):
            new = _changed(short, change)
            new = new if new in known or family.ignores(new) else short
        if new in renamed:
            raise CheckpointError(
                "CKPT-07",
                where=str(path),
                found=f"{origin[new]} and {name}, which are both {new}",
                expected="each tensor once",
                fix="save the weights of one model alone",
            )
        renamed[new], origin[new] = stored[name], name
    return renamed


def _plain(name: str) -> str:
    """Without wrappers, and since PyTorch BERT dropped TensorFlow's names of the layer norm's parameters."""
    name = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _common_change(names: Iterable[str], anchor: str, expected: set[str]) -> tuple[str, str]:
    """The prefix to remove and the one to add, so that most names are expected ones."""
    names = list(names)
    parts = anchor.split(".")
    tails = [".".join(parts[first:]) for first in range(len(parts) - 1)]
    changes = {("", "")} | {
        (name[: -len(tail)], anchor[: -len(tail)])
        for name in names
        for tail in tails
        if name == tail or name.endswith(f".{tail}")
    }
    return max(sorted(changes), key=lambda change: sum(_changed(name, change) in expected for name in names))


def _changed(name: str, change: tuple[str, str]) -> str:
    old, new = change
    return new + name.removeprefix(old) if name.startswith(old) else name
