"""`dnalm interpret`: what a model has learned, looked at in regions of one's choice, as data and pictures.

`what=attention`: what every head looks at, between tokens and between bases. `what=mutagenesis`: every base
of a region to every other. `what=dependency`: how a substitution here changes what is expected there.
`what=motifs`: short stretches that the model knows, piled up, beside known motifs.
"""

from __future__ import annotations

from typing import Literal

from dnalm.console import progress_bar, stdout
from dnalm.evaluation.inference import LoadedModel, Precision
from dnalm.evaluation.interpretation.reader import Reader
from dnalm.evaluation.interpretation.studies import (
    MOST_PICTURES,
    Study,
    Summary,
    study_attention,
    study_dependency,
    study_motifs,
    study_mutagenesis,
)
from dnalm.evaluation.sequence_inputs import SequenceInput
from dnalm.genome.meme import read_meme
from dnalm.limits import FlankBases, Tokens, WindowBases
from dnalm.models import Pretrained
from dnalm.paths import CachePath, InputPath
from dnalm.tables import readable
from dnalm.tokenizers import Tokenizer
from dnalm.training import RunDirectory

What = Literal["attention", "mutagenesis", "dependency", "motifs"]


def interpret(
    *,
    model: Pretrained,
    input: InputPath,  # noqa: A002 -- the word for it on the command line
    what: What,
    run: RunDirectory,
    config: dict[str, object],
    reference: InputPath | None = None,
    sequence: str = "sequence",
    id: str | None = None,  # noqa: A002 -- the key's name
    window_bp: WindowBases | None = None,
    neighbours_bp: FlankBases = 5,
    known: InputPath | None = None,
    tokenizer: Tokenizer | None = None,
    cache: CachePath | None = None,
    batch_tokens: Tokens = 16_384,
    precision: Precision = "float32",
) -> None:
    """Look into a model and leave data, pictures and a summary.

    Args:
        model: a run, a model directory or a published model.
        input: the regions: BED with `reference`, FASTA, or a table: CSV, TSV, JSONL, Parquet.
        what: the study.
        run: the folder to leave.
        config: the composed config.
        reference: the genome of a BED: FASTA, 2bit or store.
        sequence: of a table: the column of sequences.
        id: of a table: the column of names; rows are numbered from 0 if absent.
        window_bp: bases that the model reads at a time, around the base that is hidden; those of its
            training windows if absent.
        neighbours_bp: of mutagenesis, how far its effects on other bases are followed.
        known: of motifs, known ones in MEME format.
        tokenizer: bases to ids; that of the model if absent.
        cache: folder of stores; the user's cache if absent.
        batch_tokens: tokens of a batch.
        precision: of matrix products; `bfloat16` is faster where the processor has it, and effects that are
            smaller than its rounding are lost in it.

    Raises:
        ConfigError: CFG-54, the input's kind is not known, or does not fit `reference`.
        DataError: the input cannot be read, or holds a region longer than a window where it is read whole
            (INT-01).
        CheckpointError: the model cannot be read, or its tokens see only one side.
    """
    with run.opened(config, resumable=False):
        motifs = read_meme(known) if known else None
        loaded = LoadedModel.open(model, tokenizer=tokenizer, precision=precision)
        reader = Reader(loaded, window_bp=window_bp, batch_tokens=batch_tokens)
        regions = SequenceInput(
            path=input,
            reference=reference,
            cache=cache,
            sequence=sequence,
            id=id,
            max_bp=None,
            has_max_bp=False,
            flank_bp=0 if what == "attention" else reader.window_bp // 2,
            follow_strand=False,
        )
        run.create(config)
        with progress_bar(f"Looking at {input.name}", total=None) as done:
            study = Study(reader=reader, regions=regions, folder=run.path, done=done)
            studies = {
                "attention": lambda: study_attention(study),
                "mutagenesis": lambda: study_mutagenesis(study, neighbours_bp=neighbours_bp),
                "dependency": lambda: study_dependency(study),
                "motifs": lambda: study_motifs(study, known=motifs),
            }
            found: Summary = studies[what]()
        about = {"what": what, "model": model.title, "input": str(input), "precision": precision}
        path = run.write_summary({**about, **found})
        for note in regions.notes:
            stdout.print(note)
        stdout.print(", ".join(f"{name} {readable(value)}" for name, value in found.items()))
        stdout.print(f"data and pictures (of at most {MOST_PICTURES} regions): {run.path}")
        stdout.print(f"summary: {path}")
