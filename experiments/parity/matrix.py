"""What `transformers` makes of every directory that dnalm writes: experiments, heads, calls, ways, versions.

    PYTHONPATH=. python experiments/parity/matrix.py [--experiments <name> ...] [--others <folder> ...]

Every experiment's model, as wide as `size=tiny` makes it, gets random weights large enough that every part
matters, and a head of each kind. Its directory is written as a run leaves it, and again by `dnalm export
layout=standalone`. Then processes of their own open both as a user of `transformers` does (matrix_reader.py):
`stock`, without dnalm; `registered`, after `import dnalm.hf`; `standalone`, the exported one without dnalm.
Texts are raw DNA of unequal lengths with lower case, N and other letters of IUPAC, padded to one batch.

A number is the largest difference from what dnalm computes of the same texts, packed and unpadded. `--others`
are folders of further versions of `transformers`, each to be put first on PYTHONPATH. The exit code is 1 if a
number is over 1e-5, if ids differ, if a directory with a head gets random weights, or if it does not open
after `import dnalm.hf` or standalone.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from dnalm.commands.export import export
from dnalm.compose import build, read_config
from dnalm.compose.groups import options
from dnalm.console import stdout
from dnalm.data.labelled import SequenceRecipe, TaskKind
from dnalm.data.labelled.samples import LabelledSample, collate_labelled, cut
from dnalm.genome.alphabet import AMBIGUOUS, Codes, from_text
from dnalm.genome.store import open_or_build
from dnalm.models import HeadShape, MaskedLM, Packed, Pretrained, SequenceModel
from dnalm.models.encoder import PoolingName
from dnalm.tokenizers import BpeRecipe, Tokenizer, TrainingText
from dnalm.training import RunDirectory, write_model_directory
from dnalm.training import model_directory as directories
from dnalm.training.model_directory import DescribedHead
from experiments.parity.measure import randomize

HERE = Path(__file__).resolve().parent
TEXTS = (
    "ACGTTGCATGCCAATTGCAGGTACCATGCATTTAGACCATAGGCATTACA",
    "acgttgcatgNNccaattgcaRggtaccatgcatttagaccYatagKcat",
    "TTGACCATGN",
    "GGCATTACAGGCATTACAttttnnnACGATCGATCATCGGC",
)
LIMIT = 1e-5
NO_BASES = "does not say how many bases it spells"  # an unknown token of a LOGO, for each base
WAYS = ("stock", "registered", "standalone")
CALLS = (
    "AutoTokenizer",
    "AutoModel",
    "AutoModelForMaskedLM",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
)
CHANGES = {  # arguments of `dnalm config`; LOGO keeps the map from its narrow embeddings
    "char": ("experiment=dnabert", "tokenizer=char"),
    **dict.fromkeys(("logo", "logo_multitask", "logo_knowledge"), ("model.embedding_size=64",)),
}
CHANNELS = {"logo_knowledge": ("gene", "exon")}
FURTHER_HEADS = {"logo_multitask": {"region": {"output.weight": torch.ones(3, 128)}}}
BPE_IDS = 300


@dataclass(frozen=True, kw_only=True)
class Head:
    """A kind of head.

    Attributes:
        kind: of the task's labels.
        pooling: how tokens become one vector.
        outputs: of a text or a base.
        center: added to the outputs of regression, times `scale`.
        scale: their unit.
    """

    kind: TaskKind
    pooling: PoolingName
    outputs: int
    center: float = 0.0
    scale: float = 1.0

    @property
    def per_base(self) -> bool:
        """Whether bases are judged, and not texts."""
        return self.kind == "segmentation"


HEADS: dict[str, Head | None] = {
    "none": None,
    "single label, cls": Head(kind="multiclass", pooling="cls", outputs=3),
    "single label, mean": Head(kind="multiclass", pooling="mean", outputs=3),
    "multi-label, cls": Head(kind="multilabel", pooling="cls", outputs=4),
    "multi-label, max": Head(kind="multilabel", pooling="max", outputs=4),
    "regression, cls": Head(kind="regression", pooling="cls", outputs=1, center=5.0, scale=0.25),
    "regression, attention": Head(kind="regression", pooling="attention", outputs=1, center=5.0, scale=0.25),
    "segmentation": Head(kind="segmentation", pooling="mean", outputs=3),
}


def experiments() -> list[str]:
    """All of conf/experiment, and the character tokenizer."""
    return [*options("experiment"), "char"]


def make_model(experiment: str, scratch: Path) -> tuple[MaskedLM, Tokenizer]:
    """A small model of random weights with every switch of the experiment's, and its tokenizer."""
    chosen = CHANGES.get(experiment, ())
    named = () if any(each.startswith("experiment=") for each in chosen) else (f"experiment={experiment}",)
    config = read_config("pretrain", [*named, "size=tiny", *chosen])
    tokenizer = build(config["tokenizer"])
    if isinstance(tokenizer, BpeRecipe):
        tokenizer = learned(tokenizer, scratch)
    special = tokenizer.special
    encoder = build(config["model"])(
        vocab_size=tokenizer.vocab_size,
        padding_id=special.padding,
        mask_id=special.mask,
        annotations=CHANNELS.get(experiment, ()),
    )
    model = MaskedLM(encoder)
    randomize(model)
    return model.eval(), tokenizer


def learned(recipe: BpeRecipe, scratch: Path) -> Tokenizer:
    """A small vocabulary of random DNA."""
    fasta = scratch / "random.fa"
    if not fasta.exists():
        letters = np.random.default_rng(0).choice(list("ACGT"), 20_000)
        fasta.write_text(f">random\n{''.join(letters)}\n")
    store = open_or_build(fasta, scratch / "genomes")
    text = TrainingText(name="random", store=store, regions=np.array([[0, store.num_bases]]))
    tokenizer, _ = dataclasses.replace(recipe, vocab_size=BPE_IDS).train([text])
    return tokenizer


def write(
    folder: Path, model: MaskedLM, tokenizer: Tokenizer, head: Head | None, experiment: str
) -> SequenceModel | None:
    """The directory that pretraining or fine-tuning leaves, and the network with the head."""
    parts: dict[str, Any] = {"heads": FURTHER_HEADS.get(experiment)}
    network = None
    if head is not None:
        network = SequenceModel(model, HeadShape(num_outputs=head.outputs, pooling=head.pooling)).eval()
        randomize(network.head)
        longest = model.encoder.longest_sequence
        described = DescribedHead(
            task="matrix",
            kind=head.kind,
            classes=[] if head.kind == "regression" else [f"class {i}" for i in range(head.outputs)],
            limit=None if longest is None else longest - tokenizer.special.num_wrapping,
            length_bp=50,
            center=head.center,
            scale=head.scale,
            shape=network.head.shape,
        )
        weights = network.head.state_dict()
        parts = {
            "heads": {"task": weights},
            "described": {"head": dataclasses.asdict(described)},
            "task_head": directories.make_task_head(described, weights, tokenizer),
        }
    write_model_directory(
        folder,
        model=model,
        weights=model.state_dict(),
        tokenizer=tokenizer,
        config={},
        data_fingerprint="none",
        precision="32-true",
        steps=0,
        window_tokens=None,
        **parts,
    )
    return network


@torch.no_grad()
def expected(
    model: MaskedLM, tokenizer: Tokenizer, network: SequenceModel | None, head: Head | None
) -> tuple[list[list[int]], dict[str, Tensor]]:
    """Ids of the texts, and what dnalm computes of each text alone."""
    listed, arrays = [], {}
    for number, text in enumerate(TEXTS):
        codes = from_text(re.sub(f"[{AMBIGUOUS}]", "N", text, flags=re.IGNORECASE))
        ids = torch.from_numpy(tokenizer.encode(codes))
        packed = Packed.from_lengths([len(ids)])
        listed.append(ids.tolist())
        arrays[f"hidden.{number}"] = model.encode(ids, packed)
        arrays[f"logits.{number}"] = model(ids, packed, torch.arange(len(ids)))
        if network is not None and head is not None:
            arrays[f"task.{number}"] = answer(network, tokenizer, codes, head)
    return listed, {name: array.contiguous() for name, array in arrays.items()}


def answer(network: SequenceModel, tokenizer: Tokenizer, codes: Codes, head: Head) -> Tensor:
    """The head's outputs for one text, (O,), or for its bases, (L, O), in the unit of the labels."""
    pieces = cut(codes, tokenizer, SequenceRecipe(), limit=None, where="text", per_base=head.per_base)
    count = len(codes) if head.per_base else 1
    sample = LabelledSample(
        index=0,
        row=0,
        pieces=pieces,
        label=np.zeros(count if head.per_base else (), dtype=np.int64),
        num_bases=len(codes),
        bases=np.arange(count) if head.per_base else None,
    )
    batch = collate_labelled([sample], first_tokens=head.pooling == "cls")
    outputs: Tensor = network(
        batch.ids_N,
        Packed(batch.cu_lengths, batch.max_length),
        batch.used_M,
        batch.owner_P,
        count,
        covers_Q2=batch.covers_Q2,
    )
    outputs = outputs * head.scale + head.center
    return outputs if head.per_base else outputs[0]


def make_cases(names: list[str], kinds: list[str], scratch: Path) -> list[dict[str, Any]]:
    """Write all directories, and what is to come out of each."""
    cases = []
    for experiment in names:
        model, tokenizer = make_model(experiment, scratch)
        for kind in kinds:
            head, place = HEADS[kind], scratch / f"{experiment}, {kind}".replace(", ", "-").replace(" ", "_")
            network = write(place / "left", model, tokenizer, head, experiment)
            run = RunDirectory(name="alone", dir=place / "alone")
            with silent():
                export(model=Pretrained(source=str(place / "left")), run=run, config={}, layout="standalone")
            ids, arrays = expected(model, tokenizer, network, head)
            save_file(arrays, place / "expected.safetensors")
            of_class = {None: "", True: "TokenClassification", False: "SequenceClassification"}
            cases.append(
                {
                    "experiment": experiment,
                    "head": kind,
                    "class": of_class[head and head.per_base],
                    "stock": str(place / "left"),
                    "registered": str(place / "left"),
                    "standalone": str(place / "alone"),
                    "expected": str(place / "expected.safetensors"),
                    "texts": list(TEXTS),
                    "ids": ids,
                }
            )
    return cases


@contextmanager
def silent() -> Iterator[None]:
    """A block that says nothing."""
    stdout.quiet, was_quiet = True, stdout.quiet
    try:
        yield
    finally:
        stdout.quiet = was_quiet


def read(cases: list[dict[str, Any]], scratch: Path, other: Path | None) -> list[dict[str, str]]:
    """All ways to open the directories in one version of `transformers`."""
    (scratch / "cases.json").write_text(json.dumps(cases))
    rows = []
    for way in WAYS:
        paths = [*([str(other)] if other else []), str(HERE.parents[1])]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(scratch / "hub"),
        }
        command = [sys.executable, str(HERE / "matrix_reader.py"), str(scratch / "cases.json"), way]
        results = scratch / f"{way}.json"
        subprocess.run([*command, str(results)], check=True, env=environment, stdin=subprocess.DEVNULL)
        rows += json.loads(results.read_text().replace(f"{scratch}/", ""))
    return rows


def has_meaning(row: dict[str, str]) -> bool:
    """Whether a directory has something of its own for a call."""
    if not row["call"].endswith("Classification"):
        return True
    head = HEADS[row["head"]]
    wanted = "Token" if head and head.per_base else "Sequence"
    return head is not None and row["call"] == f"AutoModelFor{wanted}Classification"


def failures(rows: list[dict[str, str]]) -> list[str]:
    """The rows that must not be, in words."""
    found = []
    for row in rows:
        result = row["result"]
        if not has_meaning(row):
            wrong = result == "new weights" and row["head"] != "none"  # which any pretrained model may get
        elif result.startswith("refused"):
            wrong = row["way"] != "stock" and not (row["head"] == "segmentation" and NO_BASES in result)
        else:
            wrong = not (re.fullmatch(r"[0-9.e+-]+", result) and float(result) <= LIMIT)
        if wrong:
            found.append(", ".join(row.values()))
    return found


def table(rows: list[dict[str, str]]) -> Iterator[str]:
    """The lines of the page."""
    notes: dict[str, int] = {}
    for version in dict.fromkeys(row["transformers"] for row in rows):
        yield f"\n## transformers {version}\n"
        columns = [(way, call) for way in WAYS for call in (*CALLS[:3], "head")]
        titles = [f"{way}: {short(call)}" for way, call in columns]
        yield f"| {' | '.join(['experiment', 'head', *titles])} |"
        yield "|---|---|" + "---|" * len(titles)
        of_version = [row for row in rows if row["transformers"] == version]
        for experiment, head in dict.fromkeys((row["experiment"], row["head"]) for row in of_version):
            cells = {
                (row["way"], "head" if "Classification" in row["call"] else row["call"]): cell(
                    row["result"], notes
                )
                for row in of_version
                if (row["experiment"], row["head"]) == (experiment, head) and has_meaning(row)
            }
            yield f"| {' | '.join([experiment, head, *(cells.get(column, '-') for column in columns)])} |"
    yield "\n## What the refusals say\n"
    for note, number in notes.items():
        yield f"{number}. {note}"


def short(call: str) -> str:
    return {"AutoTokenizer": "ids", "AutoModel": "hidden", "AutoModelForMaskedLM": "masked"}.get(call, call)


def cell(result: str, notes: dict[str, int]) -> str:
    """A number, or `refused` with the number of what is said."""
    if not result.startswith("refused: "):
        return "equal" if result == "0" else result
    said = result.removeprefix("refused: ")
    return f"refused {notes.setdefault(said, len(notes) + 1)}"


def main(arguments: list[str] | None = None) -> int:
    """Make the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiments", nargs="*", default=experiments())
    parser.add_argument("--heads", nargs="*", default=list(HEADS), choices=list(HEADS))
    parser.add_argument("--others", nargs="*", type=Path, default=[])
    parser.add_argument("--out", type=Path, default=HERE)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        cases = make_cases(chosen.experiments, chosen.heads, scratch)
        rows = [row for other in (None, *chosen.others) for row in read(cases, scratch, other)]
    wrong = failures(rows)
    counts = f"{len(rows)} calls, {len(wrong)} wrong"
    versions = " and ".join(dict.fromkeys(row["transformers"] for row in rows))
    made = f"{datetime.date.today()}, torch {torch.__version__}, transformers {versions}: {counts}."
    head = ["# What transformers makes of every directory", "", f"{made} README.md says what it shows."]
    (chosen.out / "matrix.md").write_text("\n".join([*head, *table(rows)]) + "\n")
    with (chosen.out / "matrix.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(counts, *wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
