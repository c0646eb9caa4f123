"""What training leaves and every later command takes: a Hugging Face model directory.

`config.json` and `model.safetensors` in the layout of stock `transformers` or ours, the tokenizer's files,
and `dnalm.yaml` with what made it: the resolved config, versions, data checksum, precision, steps, and the
sha256 of every file, by which whoever reads the directory sees a damaged one (`small_files`).

`heads.safetensors` beside it holds the heads of further objectives, which no later command needs, or the head
of a fine-tuned model, which `dnalm.yaml` describes. A checkpoint of a run can stand in for the model's
weights, whatever number of processes wrote it.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import FiniteFloat, PositiveInt, TypeAdapter, ValidationError
from safetensors.torch import save_file
from torch import Tensor

from dnalm import __version__
from dnalm.data.labelled import LongSequence, TaskKind
from dnalm.durable import file_sha256
from dnalm.errors import CheckpointError, shown
from dnalm.genome.alphabet import UNKNOWN
from dnalm.models import (
    HeadShape,
    Initialisation,
    MaskedLM,
    Pretrained,
    SequenceModel,
    TaskHead,
    TextTokens,
    build_described,
    describe,
    has_weights,
    save_pretrained,
)
from dnalm.models.encoder import SequenceHead
from dnalm.models.initialisation import drawn_by
from dnalm.models.packing import KernelName
from dnalm.models.pretrained import MODELING_FILE
from dnalm.models.weights import not_finite, write_whole
from dnalm.models.weights import read_weights as read_stored_weights
from dnalm.small_files import (
    PROVENANCE_FILE,
    TOKENIZER_FILES,
    provenance_text,
    read_provenance,
    refused_provenance,
)
from dnalm.tokenizers import Tokenizer, load_tokenizer
from dnalm.training.checkpoint import Checkpoint, CheckpointFolder, choose, open_checkpoint, read_weights
from dnalm.training.run_directory import RunDirectory

HEADS_FILE = "heads.safetensors"
_SUMMED = ("config.json", "model.safetensors", HEADS_FILE, MODELING_FILE, *TOKENIZER_FILES)
_VERSIONED = ("torch", "lightning", "hydra-core", "numpy", "tokenizers")


def write_model_directory(
    folder: Path,
    *,
    model: MaskedLM,
    weights: Mapping[str, Tensor] | None,
    tokenizer: Tokenizer,
    config: dict[str, object],
    data_fingerprint: str,
    precision: str,
    steps: int,
    window_tokens: int | None,
    heads: Mapping[str, Mapping[str, Tensor]] | None = None,
    began: Initialisation | None = None,
    described: Mapping[str, object] | None = None,
    task_head: TaskHead | None = None,
) -> None:
    """Write the directory.

    Args:
        folder: where; made if absent.
        model: the trained network, which may hold but shards of its weights.
        weights: all of them; None while they lie in checkpoints.
        tokenizer: what its ids mean.
        config: the run's resolved config.
        data_fingerprint: of the genome it was trained on.
        precision: it was trained in.
        steps: optimizer steps it was trained for.
        window_tokens: longest sequence it was trained on, special tokens not counted; None for any.
        heads: weights of the heads of further objectives; they are named `<name>.<weight>`.
        began: how the network began; None where that is unknown.
        described: further entries of `dnalm.yaml`.
        task_head: of a fine-tuned model, for `transformers`.
    """
    provenance: dict[str, object] = {
        "dnalm": __version__,
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in _VERSIONED},
        "data_fingerprint": data_fingerprint,
        "tokenizer_fingerprint": tokenizer.fingerprint,
        "precision": precision,
        "steps": steps,
        "window_tokens": window_tokens,
        **({"initialisation": asdict(began)} if began else {}),
        **(described or {}),
        "config": config,
    }
    if heads:
        provenance["heads"] = {"file": HEADS_FILE, "names": list(heads)}
    folder.mkdir(parents=True, exist_ok=True)
    _write_provenance(folder, provenance)  # without checksums, so that none is of a file yet to be replaced
    if weights is None:
        describe(model, folder)
        tokenizer.save(folder)
        return
    save_pretrained(model, folder, weights=weights, task_head=task_head)
    tokenizer.save(folder)
    if heads:
        tensors = {
            f"{name}.{key}": tensor.contiguous().cpu()
            for name, head in heads.items()
            for key, tensor in head.items()
        }
        write_whole(folder / HEADS_FILE, lambda path: save_file(tensors, path))
    seal(folder, provenance)


def seal(folder: Path, provenance: Mapping[str, object]) -> None:
    """Write `dnalm.yaml` with the checksums of the model's files as they are now."""
    files = {name: file_sha256(folder / name) for name in _SUMMED if (folder / name).is_file()}
    _write_provenance(folder, {**provenance, "files": files})


def add_results(folder: Path, results: Mapping[str, object]) -> None:
    """Put what a run found out about its model into `dnalm.yaml`, above the config; checksums stay.

    Args:
        folder: the model directory.
        results: plain values.
    """
    provenance = {**read_provenance(folder), "results": results}
    for name in [name for name in ("config", "files") if name in provenance]:
        provenance[name] = provenance.pop(name)
    _write_provenance(folder, provenance)


def _write_provenance(folder: Path, provenance: Mapping[str, object]) -> None:
    text = provenance_text(provenance)
    write_whole(folder / PROVENANCE_FILE, lambda path: path.write_text(text, encoding="utf-8"))


def find_checkpoint(source: str) -> Checkpoint | None:
    """The checkpoint that a path names: itself, or the newest good one of a run that has not come to its end.

    Raises:
        CheckpointError: it is damaged, or none of the run's can be trusted.
    """
    path = Path(source)
    if (path / "MANIFEST.json").is_file():
        return open_checkpoint(path)
    run = RunDirectory(name=path.name, dir=path)
    if not run.begun or has_weights(run.model):
        return None
    newest, _ = choose(CheckpointFolder(run.checkpoints))
    return newest


def model_folder(checkpoint: Checkpoint) -> Path:
    """The folder with the checkpoint's architecture and tokenizer: `model/` of the run it lies in.

    Raises:
        CheckpointError: CKPT-04, the checkpoint lies in no run.
    """
    folder = checkpoint.path.resolve().parent.parent / "model"
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            "CKPT-04",
            where=str(checkpoint.path),
            found=f"no {folder / 'config.json'}",
            expected="a checkpoint in the run directory that it was written in",
            fix="put it back into checkpoints/ of its run, whose model/ describes model and tokenizer",
        )
    return folder


def load_checkpoint_model(checkpoint: Checkpoint, *, kernel: KernelName = "auto") -> MaskedLM:
    """The model with the checkpoint's weights, on CPU.

    Raises:
        CheckpointError: CKPT-07, the tensors are not those of the model.
    """
    model = build_described(model_folder(checkpoint), kernel=kernel)
    read_weights(checkpoint.path, model)
    return model


_PROBLEMS: dict[TaskKind, str] = {  # in the words of `transformers`, which has none for a label a base
    "binary": "single_label_classification",
    "multiclass": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}
_HEAD = "task."  # what the names of the head's weights begin with


@dataclass(frozen=True, kw_only=True)
class DescribedHead:
    """The entry `head` of `dnalm.yaml`.

    Attributes:
        task: what the task is called.
        kind: what its labels are.
        classes: their texts, if they have any; of a multi-label task the names of the labels.
        limit: tokens of a piece at most, special ones not counted; None for any.
        long: what it was trained and tested to do with a sequence of more tokens; see `SequenceRecipe`.
        average_strands: whether it was tested by the mean of its outputs on both strands.
        length_bp: median bases of the sequences that it was trained on.
        center: what is added to the outputs of regression, times `scale`.
        scale: their unit.
        shape: what it is made of.
    """

    task: str
    kind: TaskKind
    classes: list[str]
    limit: PositiveInt | None
    length_bp: PositiveInt
    center: FiniteFloat
    scale: FiniteFloat
    shape: HeadShape
    long: LongSequence = "pieces"
    average_strands: bool = False


@dataclass(frozen=True)
class Finetuned:
    """A model that answers a task: the network in evaluation mode, its tokenizer, and what its head is."""

    model: SequenceModel
    tokenizer: Tokenizer
    head: DescribedHead


def load_finetuned(
    source: Pretrained, *, tokenizer: Tokenizer | None = None, needs_lm_head: bool = False
) -> Finetuned:
    """Read a model directory that `dnalm finetune` has left; of a twin draw the head too.

    Args:
        source: the directory.
        tokenizer: in place of its own.
        needs_lm_head: refuse an encoder that has lost the head that predicts tokens.

    Raises:
        CheckpointError: CKPT-04, it has no head; CKPT-05, `dnalm.yaml` describes none that can be; CKPT-07,
            the stored head is of another shape; or what `load_pretrained` raises.
    """
    folder = source.folder()
    head = read_head(folder)
    if head is None or not (folder / HEADS_FILE).is_file():
        raise CheckpointError(
            "CKPT-04",
            where=str(folder),
            found="a model without the head of a task",
            expected=f"what dnalm finetune leaves: {PROVENANCE_FILE} with `head`, and {HEADS_FILE}",
            fix="fine-tune it first: dnalm finetune model=… task=…",
        )
    tokenizer = tokenizer or load_tokenizer(folder)
    backbone = source.load(token_bases=tokenizer.token_bases, needs_head=needs_lm_head)
    layers = backbone.encoder.depth
    if head.shape.layer is not None and head.shape.layer > layers:
        raise refused_provenance(
            folder, f"head.shape.layer is {head.shape.layer}", f"0 to {layers}, the encoder's layers"
        )
    weights = head_weights(folder)
    with torch.device("meta"):
        head_alone = SequenceHead(
            head.shape, hidden_size=backbone.encoder.hidden_size, initializer_range=0.02
        )
    wanted = {name: tuple(tensor.shape) for name, tensor in head_alone.state_dict().items()}
    if wanted != (found := {name: tuple(tensor.shape) for name, tensor in weights.items()}):
        raise CheckpointError(
            "CKPT-07",
            where=str(folder / HEADS_FILE),
            found=f"a head of {_listed(found)}",
            expected=f"{_listed(wanted)}, as {PROVENANCE_FILE} describes it",
            fix=f"copy {PROVENANCE_FILE} and {HEADS_FILE} again, both of one run",
        )
    if bad := not_finite(weights):
        raise CheckpointError(
            "CKPT-08",
            where=str(folder / HEADS_FILE),
            found=f"weights that are not finite: {', '.join(bad[:5])}",
            expected="finite weights only",
            fix="fine-tune again, or take an earlier checkpoint",
        )
    began = source.initialisation() if source.is_twin else None
    with drawn_by(began.head_seed if began else None):
        model = SequenceModel(backbone, head.shape)
    if began is None:
        model.head.load_state_dict(weights)
    return Finetuned(model.eval(), tokenizer, head)


def read_head(folder: Path) -> DescribedHead | None:
    """What `dnalm.yaml` of a model directory says of its head; None of a model without one.

    Raises:
        CheckpointError: CKPT-05, it describes none that can be.
    """
    described = read_provenance(folder).get("head")
    if described is None:
        return None
    try:
        return TypeAdapter(DescribedHead).validate_python(described)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(["head", *map(str, first["loc"])])
        raise refused_provenance(folder, f"{key} is {shown(first['input'])}", first["msg"]) from error


def head_weights(folder: Path) -> dict[str, Tensor]:
    """The stored weights of a fine-tuned model's head, by their names in it."""
    stored = read_stored_weights(folder / HEADS_FILE)
    return {name.removeprefix(_HEAD): tensor.float() for name, tensor in stored.items()}


def make_task_head(described: DescribedHead, weights: Mapping[str, Tensor], tokenizer: Tokenizer) -> TaskHead:
    """A head as `save_pretrained` writes it for `transformers`."""
    special = tokenizer.special
    return TaskHead(
        weights=weights,
        shape=described.shape,
        problem=_PROBLEMS.get(described.kind),
        tokens=TextTokens(
            limit=described.limit,
            start_id=special.start,
            end_id=special.end,
            overlap=tokenizer.overlap,
            bases=_bases_of_ids(tokenizer),
        ),
        classes=tuple(described.classes),
        center=described.center,
        scale=described.scale,
    )


_PROBE = 12  # bases; every length of token divides it


def _bases_of_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """How many bases each id spells, (V,): 0 for none, and for an unknown token that may spell several."""
    unknown = tokenizer.overlap
    if tokenizer.overlap == 1:
        ids = tokenizer.encode(np.full(_PROBE, UNKNOWN, dtype=np.uint8))
        unknown = int(len(ids) - tokenizer.special.num_wrapping == _PROBE)
    words = tokenizer.vocabulary()
    bases = [len(word) if set(word) <= set("ACGTN") else 0 for word in words]
    bases[tokenizer.special.unknown] = unknown
    return tuple(bases)


def _listed(shapes: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in sorted(shapes.items())[:5]) or "nothing"
