"""Model directories in Hugging Face's layout, read and written: config.json, weights, and where they are.

A `Pretrained` names one: a folder, a run that has left one, or `owner/name` on the Hugging Face hub; with
`:untrained` after it, the same network as it was before its first step (see `initialisation.py`). Of the hub
only configs, tokenizers and weights are fetched, never code, and found again later without a network. What is
read is refused unless every tensor fits. What is written is in the layout of stock `transformers` where that
has the model and its head, else in our own, whose classes are in `modeling_dnalm.py`; in the publishers'
where that is asked for.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dnalm.console import stderr
from dnalm.errors import CheckpointError, ConfigError, NumericsError, shown
from dnalm.limits import NOT_EMPTY, Seed
from dnalm.models.config import EncoderConfig
from dnalm.models.encoder import Encoder, HeadShape, MaskedLM
from dnalm.models.families import FAMILIES, OURS, Family, recognise, rename
from dnalm.models.finding import find_folder
from dnalm.models.initialisation import Initialisation, draw_untrained, read_initialisation
from dnalm.models.layers import MissingHead
from dnalm.models.packing import KernelName
from dnalm.models.weights import (
    find_weights,
    not_finite,
    read_json,
    read_weights,
    write_whole,
)
from dnalm.paths import UNTRAINED, InputName, split_twin
from dnalm.small_files import (
    PROVENANCE_FILE,
    sha256_once,
    window_tokens,
)

LayoutName = Literal["safe", "published", "standalone"]
MODELING_FILE = "modeling_dnalm.py"  # beside this one, and in directories that open without dnalm
_TOKENS = "encoder.embeddings.token.weight"
_AS_FAMILY = "the plain initialisation of its architecture, since nothing says how its training began"
_LISTED = 5  # names in a message; of more the number


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Where a model is, and how to compute it.

    Args:
        source: a run directory, a model directory, or `owner/name` on the Hugging Face hub; with `:untrained`
            after it, its untrained twin.
        revision: the hub's branch, tag or commit; its main branch if absent.
        kernel: how attention is computed.
        seed: of an untrained twin: what it is drawn with. If absent, the seed of the fine-tuning that it is
            drawn for, else the one that the model itself began with, or 1 where that is unknown.
    """

    source: InputName
    revision: str | None = None
    kernel: KernelName = "auto"
    seed: Seed | None = None

    def __post_init__(self) -> None:
        if self.seed is not None and not self.is_twin:
            raise ValueError(
                f"seed is {self.seed}, which draws untrained twins alone: {self.source}{UNTRAINED}"
            )

    @property
    def members(self) -> tuple[Pretrained, ...]:
        """One alone, where an `Ensemble` has several."""
        return (self,)

    @property
    def is_twin(self) -> bool:
        """Whether it is the untrained twin of the model that it names."""
        return split_twin(self.source)[1]

    @property
    def title(self) -> str:
        """What outputs call it: the source, and of a twin the seed."""
        began = self.initialisation() if self.is_twin else None
        return f"{self.source} (seed {began.seed})" if began else self.source

    def folder(self) -> Path:
        """The model directory: fetched from the hub, or of a run the one that it left; of a twin its model's.

        Raises:
            CheckpointError: there is none, the run has not finished, or the hub does not give it.
        """
        return find_folder(split_twin(self.source)[0], revision=self.revision)

    def local(self) -> Pretrained:
        """The same by the path of its folder, so that a process that it is sent to does not ask the hub."""
        return replace(self, source=f"{self.folder()}{UNTRAINED * self.is_twin}", revision=None)

    def initialisation(self) -> Initialisation | None:
        """How the network began, or how this twin is drawn; None of a trained model where that is unknown.

        Raises:
            CheckpointError: MODEL-17, it is unknown how the model of a twin began.
        """
        began = read_initialisation(self.folder())
        if not self.is_twin:
            return began
        if began is None:
            raise CheckpointError(
                "MODEL-17",
                where=self.source,
                found=f"no `initialisation` in {PROVENANCE_FILE} of this model: an earlier version wrote it",
                expected="how its weights began",
                fix="train it again",
            )
        encoder, head = (
            next(seed for seed in (self.seed, known, 1) if seed is not None)
            for known in (began.seed, began.head_seed)
        )
        return replace(began, seed=encoder, head_seed=head)

    def checksum(self) -> str:
        """Sha256 of the file of the weights, or of what a twin's weights follow from beside a run's seed."""
        folder = self.folder()
        if not self.is_twin:
            return sha256_once(find_weights(folder))
        config = (folder / "config.json").read_bytes()
        return hashlib.sha256(config + repr(self.initialisation()).encode()).hexdigest()

    def load(self, *, token_bases: npt.NDArray[np.uint8], needs_head: bool = True) -> MaskedLM:
        """Read the model, strictly, or draw the twin.

        Args:
            token_bases: (V, K) bases that each id of the tokenizer spells; a twin may begin with them.
            needs_head: refuse an encoder that was saved without the head that predicts tokens.

        Raises:
            CheckpointError: see `load_pretrained` and `initialisation`.
            ConfigError: the kernel cannot do what the model needs.
        """
        began = self.initialisation() if self.is_twin else None
        trained = load_pretrained(self.folder(), kernel=self.kernel, needs_head=needs_head)
        if began is None:
            return trained
        fit_vocabulary(trained, len(token_bases), where=self.source)
        known = read_initialisation(self.folder())
        like = "as its training began" if known and known.seed is not None else _AS_FAMILY
        _say_once(f"{self.title}: no step trained, {began.embeddings} embeddings, {like}")
        return draw_untrained(trained, began, token_bases)

    def require_trained(self, use: str) -> None:
        """Refuse a twin where it makes no sense.

        Raises:
            CheckpointError: MODEL-18.
        """
        if self.is_twin:
            raise CheckpointError(
                "MODEL-18",
                where=self.source,
                found=f"an untrained twin for {use}",
                expected="a model that was trained",
                fix=f"leave {UNTRAINED} out",
            )

    def __call__(
        self,
        *,
        vocab_size: int,
        padding_id: int,  # noqa: ARG002
        mask_id: int,
        annotations: tuple[str, ...] = (),
    ) -> MaskedLM:
        """The model to continue from, checked against the tokenizer and inputs of the run.

        Args:
            vocab_size: ids of the tokenizer.
            padding_id: the tokenizer's; it may differ, as DNABERT-2's does.
            mask_id: the tokenizer's.
            annotations: names of the annotation channels that it is given.

        Raises:
            CheckpointError: it cannot be read, the tokenizer has other ids than it, or it has other channels.
        """
        self.require_trained("dnalm pretrain, which begins untrained unless a model is named")
        model = load_pretrained(self.folder(), kernel=self.kernel)
        fit_vocabulary(model, vocab_size, where=self.source)
        known = model.encoder.mask_id
        if known not in (None, mask_id):
            raise CheckpointError(
                "MODEL-12",
                where=self.source,
                found=f"a model whose mask token is {known} and a tokenizer whose mask token is {mask_id}",
                expected="the same of both",
                fix="use the tokenizer that the model was trained with",
            )
        if model.encoder.annotations != annotations:
            raise CheckpointError(
                "MODEL-13",
                where=self.source,
                found=f"a model whose inputs are {_inputs(model.encoder.annotations)}, and a run that gives "
                f"{_inputs(annotations)}",
                expected="the same annotation channels in the same order",
                fix="set inputs to the tracks that the model was trained with, named and labelled as there",
            )
        return model


@functools.cache
def _say_once(text: str) -> None:
    stderr.print(text)


def _inputs(annotations: tuple[str, ...]) -> str:
    return ", ".join(("tokens", *annotations)) if annotations else "tokens alone"


def load_pretrained(
    source: str | Path,
    *,
    revision: str | None = None,
    kernel: KernelName = "auto",
    needs_head: bool = True,
) -> MaskedLM:
    """Build the model that a directory describes and give it the weights found there, as float32.

    What the family's table names, such as a pooler or copies of the tied decoder, may be there and
    is left out. Names may have a common prefix more or less than published (`module.`, a missing `bert.`).

    Args:
        source: a run, a folder with config.json and weights, or `owner/name` on the Hugging Face hub.
        revision: the hub's branch, tag or commit; its main branch if not given.
        kernel: how its attention is computed.
        needs_head: refuse an encoder that was saved without the head that predicts tokens.

    Returns:
        The model on CPU, in training mode as any new module. Its `encoder.window_tokens` is the longest
        sequence that it was trained on, if its directory says so.

    Raises:
        CheckpointError: a file is missing, damaged, changed or not of weights alone, the architecture is none
            of ours, the head is missing, or tensors are missing, unexpected or misshapen.
        ConfigError: the kernel cannot do what the model needs.
    """
    folder = find_folder(source, revision=revision)
    config, family = _read_config(folder)
    arguments = family.encoder_arguments(config, where=folder / "config.json")
    weights = find_weights(folder)
    trained = window_tokens(folder)
    model = _build(
        arguments, kernel, where=folder / "config.json"
    )  # on the meta device: nothing is allocated yet
    stored = rename(read_weights(weights), model.state_dict(), family, weights)
    head = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("head.")}
    if not any(name in stored for name in family.parts(head)):
        if needs_head:
            raise _without_head(weights, family)
        model.head = MissingHead()
    model.load_state_dict(_fit(model, family, stored, weights), assign=True)
    model.encoder.window_tokens = trained
    return model


def build_described(folder: Path, *, kernel: KernelName = "auto") -> MaskedLM:
    """The model that config.json describes, its weights not set.

    Raises:
        CheckpointError: the file is missing, damaged or of none of our architectures.
        ConfigError: the kernel cannot do what the model needs.
    """
    path = folder / "config.json"
    config, family = _read_config(folder)
    arguments = family.encoder_arguments(config, where=path)
    headless = config.get("architectures") in ([family.classes.encoder], ["Encoder"])  # of earlier versions
    return _build(arguments, kernel, where=path, headless=headless).to_empty(device="cpu")


def described_family(folder: Path) -> Family:
    """The published layout that the model of a directory fits, whatever layout it is stored in.

    Raises:
        CheckpointError: config.json is missing, damaged or of none of our architectures.
    """
    config, family = _read_config(folder)
    if family is not OURS:
        return family
    return family_of(EncoderConfig(**family.encoder_arguments(config, where=folder / "config.json")))


def save_pretrained(
    model: MaskedLM,
    folder: Path,
    *,
    extra_config: Mapping[str, object] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    task_head: TaskHead | None = None,
    layout: LayoutName = "safe",
) -> None:
    """Write a model directory, each file whole or not at all, in the layout that `layout_of` chooses.

    Stock `transformers` gives the same numbers or refuses: where it would draw random weights for a head that
    the model lacks, or has in another form, an empty tensor of that head's name stops it.

    Args:
        model: whose arguments go into config.json.
        folder: made if need be; files of these names in it are replaced.
        extra_config: further fields of config.json, such as special token ids.
        weights: the whole model's weights by our names, where the model itself holds shards of them.
        task_head: of a fine-tuned model.
        layout: `safe`, as above; `standalone`, with the code of the classes that stock `transformers` lacks;
            `published`, as the publishers have it, though stock `transformers` opens DNABERT-2 as a BERT with
            random layers then.

    Raises:
        NumericsError: a weight is not finite; nothing is written.
    """
    family = layout_of(model.encoder, task_head, layout)
    config = _config_of(model, family)
    clashing = sorted(config.keys() & (extra_config or {}).keys())
    assert not clashing, f"extra_config must not change what the model says of itself: {clashing}"
    tensors = family.export(model.state_dict() if weights is None else weights, model.encoder)
    config["dtype"] = str(tensors[family.name_of(_TOKENS)].dtype).removeprefix("torch.")
    classes, is_alone = family.classes, layout == "standalone" and family is OURS
    if task_head is not None and task_head.fits(family, model.encoder):
        tensors |= task_head.tensors(family)
        config |= task_head.config(family)
        if classes.token_guard is not None:
            tensors[classes.token_guard] = torch.zeros(0)
    elif task_head is not None and classes.classifier_guard is not None:
        tensors[classes.classifier_guard] = torch.zeros(0)
    if model.headless and classes.head_guard is not None:
        tensors[classes.head_guard] = torch.zeros(0)
    if is_alone:
        config["auto_map"] = _AUTO_MAP
    if bad := not_finite(tensors):
        raise NumericsError(
            "NUM-04",
            where=str(folder),
            found=f"weights that are not finite: {_some(bad)}",
            expected="finite weights only",
            fix="go back to a checkpoint from before the training diverged",
        )
    folder.mkdir(parents=True, exist_ok=True)
    if is_alone:
        code = Path(__file__).with_name(MODELING_FILE)
        write_whole(folder / MODELING_FILE, lambda path: shutil.copyfile(code, path))
    write_whole(
        folder / "model.safetensors", lambda path: save_file(tensors, path, metadata={"format": "pt"})
    )
    _write_config(folder, {**config, **(extra_config or {})})


def describe(model: MaskedLM, folder: Path) -> None:
    """Write config.json alone, as a run does while its weights lie in checkpoints."""
    _write_config(folder, _config_of(model, layout_of(model.encoder)))


_AUTO_MAP = {
    f"Auto{kind}": f"{Path(MODELING_FILE).stem}.Dnalm{name}"
    for kind, name in {
        "Config": "Config",
        "Model": "Model",
        "ModelForMaskedLM": "ForMaskedLM",
        "ModelForSequenceClassification": "ForSequenceClassification",
        "ModelForTokenClassification": "ForTokenClassification",
    }.items()
}


@dataclass(frozen=True, kw_only=True)
class TextTokens:
    """The tokens that a head reads of a text.

    Attributes:
        limit: how many it was trained for, special ones not counted; None for any number.
        start_id: of the special token before them; None where there is none.
        end_id: of the one after them.
        overlap: neighbouring ones that share a base; 1 where none do.
        bases: how many each id spells, (V,); 0 for none, or where that depends on the text.
    """

    limit: int | None = None
    start_id: int | None = None
    end_id: int | None = None
    overlap: int = 1
    bases: tuple[int, ...] = ()

    def are_all_of(self, encoder: EncoderConfig) -> bool:
        """Whether the head reads as many tokens as the encoder does."""
        special = (self.start_id is not None) + (self.end_id is not None)
        longest = encoder.longest_sequence
        return self.limit is None or (longest is not None and self.limit >= longest - special)


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Several models whose predictions are averaged.

    Args:
        sources: run directories or model directories.
        kernel: how attention is computed.
    """

    sources: Annotated[tuple[InputName, ...], NOT_EMPTY]
    kernel: KernelName = "auto"

    @property
    def members(self) -> tuple[Pretrained, ...]:
        """Each by itself."""
        return tuple(Pretrained(source=source, kernel=self.kernel) for source in self.sources)


@dataclass(frozen=True, kw_only=True)
class TaskHead:
    """The head of a fine-tuned model, as the class of `transformers` of the same form stores it.

    Attributes:
        weights: of a `SequenceHead`, by its names.
        shape: its layers.
        problem: the `problem_type` of `transformers`; None of a head that answers for each base.
        tokens: what it reads.
        classes: their texts, if they have any.
        center: what is added to the outputs of regression, times `scale`.
        scale: their unit.
    """

    weights: Mapping[str, Tensor]
    shape: HeadShape
    problem: str | None
    tokens: TextTokens = field(default_factory=TextTokens)
    classes: tuple[str, ...] = ()
    center: float = 0.0
    scale: float = 1.0

    def fits(self, family: Family, encoder: EncoderConfig) -> bool:
        """Whether a layout has its class.

        Published ones have the first token's last vector, a dense layer and tanh, and outputs, for all texts
        that the encoder takes; ours has every head.
        """
        is_pooler = self.shape.pooling == "cls" and self.shape.dense and self.shape.layer is None
        is_pooler = is_pooler and self.problem is not None
        return family is OURS or (is_pooler and self.tokens.are_all_of(encoder))

    def tensors(self, family: Family) -> dict[str, Tensor]:
        """Its weights under the names of the class, which answers in the unit of the labels."""
        named = {name: tensor.detach().cpu().float() for name, tensor in self.weights.items()}
        named["output.weight"] = named["output.weight"] * self.scale
        named["output.bias"] = named["output.bias"] * self.scale + self.center
        if family is OURS:
            if self.problem is None:
                named["token_bases"] = torch.tensor(self.tokens.bases, dtype=torch.int32)
            return {f"task.{name}": tensor.contiguous() for name, tensor in named.items()}
        theirs = family.classes.classifier_modules
        return {
            f"{theirs[name.partition('.')[0]]}.{name.partition('.')[2]}": tensor.contiguous()
            for name, tensor in named.items()
        }

    def class_name(self, family: Family) -> str | None:
        """The class of a layout that has it."""
        is_of_bases = family is OURS and self.problem is None
        return "DnalmForTokenClassification" if is_of_bases else family.classes.classifier

    def config(self, family: Family) -> dict[str, object]:
        """What config.json says of it."""
        count = self.shape.num_outputs
        labels = self.classes if len(set(self.classes)) == count else [f"LABEL_{i}" for i in range(count)]
        said: dict[str, object] = {
            "architectures": [self.class_name(family)],
            "problem_type": self.problem,
            "id2label": {str(number): label for number, label in enumerate(labels)},
            "label2id": {label: number for number, label in enumerate(labels)},
        }
        if family is not OURS:
            return said
        return {
            **said,
            "per_base": self.problem is None,
            "pooling": self.shape.pooling,
            "dense": self.shape.dense,
            "head_dropout": self.shape.dropout,
            "head_layer": self.shape.layer,
            "max_content_tokens": self.tokens.limit,
            "start_id": self.tokens.start_id,
            "end_id": self.tokens.end_id,
            "token_overlap": self.tokens.overlap,
        }


def layout_of(
    encoder: EncoderConfig, task_head: TaskHead | None = None, layout: LayoutName = "safe"
) -> Family:
    """The layout that a directory is written in.

    Stock `transformers`' where it has classes for the encoder with this head, else ours; with `published`
    the publishers', for whatever head.
    """
    family = family_of(encoder)
    is_stock = family.is_stock and (task_head is None or task_head.fits(family, encoder))
    return family if is_stock or layout == "published" else OURS


def family_of(encoder: EncoderConfig) -> Family:
    """The published layout that an encoder's arguments fit, or our own."""
    return next(family for family in FAMILIES if family.fits(encoder))


_PADDED_TO = (8, 16, 32, 64, 128)  # multiples that vocabularies are padded to for speed
# Tokenizers with ids that have no row and that no DNA is encoded to: ids, and rows.
_UNREACHABLE_IDS = {
    4107: 4105,  # Nucleotide Transformer v1: <eos> and <bos>
    610: 609,  # GROVER: the empty string
}


def fit_vocabulary(model: MaskedLM, tokenizer_ids: int, *, where: str) -> None:
    """Refuse a tokenizer that does not fit a model, and cut off rows that pad the vocabulary.

    Rows up to the next multiple of 8 to 128 are padding, as `resize_token_embeddings` adds for speed. No text
    has their ids; without their rows they take no probability from real tokens, and masking cannot draw them.

    Args:
        model: with one row of embeddings per id; loses its padding.
        tokenizer_ids: how many ids the tokenizer has, special ones included.
        where: the tokenizer's folder, for the error.

    Raises:
        CheckpointError: the numbers differ, but for padding, and for published tokenizers with ids they never
            give.
    """
    rows, encoder = model.encoder.vocab_size, model.encoder
    if rows in (tokenizer_ids, _UNREACHABLE_IDS.get(tokenizer_ids)):
        return
    padded = rows in {-(-tokenizer_ids // multiple) * multiple for multiple in _PADDED_TO}
    if not padded or max(encoder.padding_id, encoder.mask_id or 0) >= tokenizer_ids:
        raise CheckpointError(
            "MODEL-12",
            where=where,
            found=f"a tokenizer of {tokenizer_ids:,} ids and a model of {rows:,} token embeddings",
            expected="as many of one as of the other",
            fix="use the tokenizer that the model was trained with",
        )
    tables: list[tuple[nn.Module, str]] = [(encoder.embeddings.token, "weight")]
    if not model.headless:
        tables.append((model.head, "bias"))
    if model.head_decoder is not None:
        tables.append((model.head_decoder, "weight"))
    for module, name in tables:
        setattr(module, name, nn.Parameter(getattr(module, name).detach()[:tokenizer_ids].clone()))
    encoder.embeddings.token.num_embeddings = encoder.vocab_size = tokenizer_ids
    text = f"{where}: {rows - tokenizer_ids} of {rows:,} token embeddings pad the vocabulary and are left out"
    stderr.print(text)


# Building and checking


def _read_config(folder: Path) -> tuple[dict[str, object], Family]:
    """The contents of config.json and the layout that it is of."""
    path = folder / "config.json"
    config = read_json(path)
    family = recognise(config)
    if family is not None:
        return config, family
    kinds = sorted({str(family.match_fields["model_type"]) for family in FAMILIES if family is not OURS})
    found = f"model_type is {shown(config['model_type'])}" if "model_type" in config else "no model_type"
    raise CheckpointError(
        "MODEL-10",
        where=str(path),
        found=found,
        expected=f"model_type {', '.join(kinds)} or {OURS.match_fields['model_type']!r}",
        fix=f"name a checkpoint of {'; '.join(family.name for family in FAMILIES)}",
    )


def _write_config(folder: Path, config: Mapping[str, object]) -> None:
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "config.json", lambda path: path.write_text(text, encoding="utf-8"))


def _config_of(model: MaskedLM, family: Family) -> dict[str, object]:
    architecture = family.classes.encoder if model.headless else family.classes.masked_lm
    return {**family.config(model.encoder), "architectures": [architecture]}


def _build(
    arguments: dict[str, object], kernel: KernelName, *, where: Path, headless: bool = False
) -> MaskedLM:
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
        return MaskedLM(Encoder(**arguments, kernel=kernel), headless=headless)  # type: ignore[arg-type]


def _without_head(path: Path, family: Family) -> CheckpointError:
    return CheckpointError(
        "MODEL-16",
        where=str(path),
        found="an encoder without the head that predicts tokens",
        expected=f"the weights of a {family.classes.masked_lm}",
        fix="name a checkpoint that was saved with its head; dnalm embed, dnalm finetune and score=distance "
        "need none",
    )


def _fit(model: MaskedLM, family: Family, stored: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The stored tensors by our names, or an error that says what does not fit."""
    ours = model.state_dict()
    parts = family.parts(ours)
    stored = _without_copies(stored, family.copies_of(ours), family, path)
    shapes = {theirs: _joined([ours[name].shape for name in names]) for theirs, names in parts.items()}
    kinds = {
        "missing": [name for name in parts if name not in stored],
        "unexpected": [name for name in stored if name not in parts and not family.ignores(name)],
        "of another shape": [
            f"{name} is {tuple(stored[name].shape)} where config.json says {shape}"
            for name, shape in shapes.items()
            if name in stored and tuple(stored[name].shape) != shape
        ],
        "of no floating point": [
            f"{name} is {str(stored[name].dtype).removeprefix('torch.')}"
            for name in parts
            if name in stored and not stored[name].is_floating_point()
        ],
    }
    if any(kinds.values()):
        raise CheckpointError(
            "CKPT-07",
            where=str(path),
            found="; ".join(f"{len(names)} {kind}: {_some(names)}" for kind, names in kinds.items() if names),
            expected=f"the tensors of {family.name}, as config.json describes it",
            fix=f"check that config.json and {path.name} are of one model",
        )
    if bad := not_finite({name: stored[name] for name in parts}):
        raise CheckpointError(
            "CKPT-08",
            where=str(path),
            found=f"weights that are not finite: {_some(bad)}",
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


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _joined(shapes: list[torch.Size]) -> tuple[int, ...]:
    return (sum(shape[0] for shape in shapes), *shapes[0][1:])


def _without_copies(
    stored: dict[str, Tensor], copies: Mapping[str, str], family: Family, path: Path
) -> dict[str, Tensor]:
    """Leave out copies of tied tensors; a copy that stands alone is the original."""
    kept = {name: tensor for name, tensor in stored.items() if name not in copies}
    for copy, original in copies.items():
        if copy in stored and not torch.equal(stored[copy], kept.setdefault(original, stored[copy])):
            raise CheckpointError(
                "MODEL-10",
                where=str(path),
                found=f"{copy} differs from {original}",
                expected="a decoder tied to the token embeddings",
                fix=f"name a checkpoint of {family.name}, whose decoder is tied",
            )
    return kept
