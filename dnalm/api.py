"""The Python door: a trained model opened once and asked in plain Python, by what the commands compute with.

    model = dnalm.load("runs/demo")                     # a run, a model directory, or owner/name on the hub
    model.embed(["ACGT", "TTGA"])                       # (2, D) float32
    model.embed(["ACGT", "TTGA"], resolution="base")    # two arrays (L, D)
    model.predict(["ACGT", "TTGA"])                     # (2, O): of a fine-tuned model
    model.masked_probabilities("ACGT")                  # (4, 4): A, C, G, T at each base, hidden by itself
    model.score("variants.vcf", reference="genome.fa")  # a table: CHROM, POS, ID, REF, ALT, llr, skipped
    dnalm.genome("genome.fa").fetch("chr1", 100, 200)   # 100 letters

Sequences are text in either case; N and ambiguous letters (IUPAC) are read as N. Whatever a user can mend is
a `dnalm.errors.DnalmError` whose text says how. n sequences, L bases, D model width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, overload

import numpy as np
import numpy.typing as npt
import torch

from dnalm.data.labelled import LongSequence
from dnalm.data.labelled.table import read_codes
from dnalm.errors import ConfigError, DataError, shown
from dnalm.evaluation.embedding.reader import (
    EmbeddingRecipe,
    PoolingKind,
    Resolution,
    SequenceReader,
    Vectors,
    checked_vectors,
)
from dnalm.evaluation.inference import Device, LoadedModel, Precision
from dnalm.evaluation.interpretation.reader import Reader, expectations
from dnalm.evaluation.prediction.reader import PredictionRecipe, Predictor, Strands, output_names
from dnalm.evaluation.sequence_inputs import NamedSequence
from dnalm.evaluation.variants.output import score_table
from dnalm.evaluation.variants.scoring import ScoreName, Scorer, ScoringPlan
from dnalm.genome.alphabet import bases
from dnalm.genome.genome import Genome, open_genome
from dnalm.genome.variants import survey
from dnalm.models import Pretrained
from dnalm.models.packing import KernelName
from dnalm.tokenizers import Tokenizer
from dnalm.training.model_directory import DescribedHead, load_finetuned, read_head

genome = open_genome  # what `dnalm.genome(...)` calls
Sequences = str | Iterable[str]
Choice = TypeVar("Choice")
_AT_ONCE = 256  # sequences whose hidden states are in memory together


def load(
    source: str | Path,
    *,
    device: Device = "auto",
    dtype: Precision = "float32",
    revision: str | None = None,
    kernel: KernelName = "auto",
    seed: int | None = None,
) -> Model:
    """Open a trained model, or its untrained twin.

    Args:
        source: a run directory, a model directory, or `owner/name` on the Hugging Face hub; with `:untrained`
            after it the same network as before its first step.
        device: `cpu`, `cuda`, or `auto`: a GPU where there is one.
        dtype: `bfloat16` and `float16` compute matrix products at half the width, by torch's autocast;
            weights and results are float32 all the same.
        revision: of the hub: a branch, tag or commit.
        kernel: how attention is computed: `auto`, `sdpa`, `eager` (slow, the specification), `flex` or
            `varlen`.
        seed: of an untrained twin: what it is drawn with; the seed of the model's training if absent.

    Raises:
        CheckpointError: there is no such model (CKPT-04, MODEL-11), or it cannot be used.
        ValueError: a seed for a trained model.
        DataError: its tokenizer cannot be read.
        ConfigError: API-02, an argument is none of its choices; CFG-51, there is no GPU.
    """
    pretrained = Pretrained(
        source=str(source),
        revision=revision,
        kernel=_choice("kernel", kernel, get_args(KernelName)),
        seed=seed,
    )
    _choice("device", device, get_args(Device))
    _choice("dtype", dtype, get_args(Precision))
    return Model(pretrained, device=device, dtype=dtype)


class Model:
    """A trained model in evaluation mode; made by `load`.

    Nothing it gives depends on what else is asked in the same call, but for the last bits of float32.

    Args:
        source: where it is.
        device: where it computes.
        dtype: of its matrix products.
    """

    def __init__(self, source: Pretrained, *, device: Device = "auto", dtype: Precision = "float32") -> None:
        folder = source.folder()
        self._folder, self._source = folder, source.local()
        self._loaded = LoadedModel.open(
            self._source,
            device=device,
            precision=dtype,
            needs_lm_head=False,
            needs_task_head=read_head(folder) is not None,
        )

    @property
    def folder(self) -> Path:
        """The model directory."""
        return self._folder

    @property
    def tokenizer(self) -> Tokenizer:
        """Bases to tokens."""
        return self._loaded.tokenizer

    @property
    def network(self) -> torch.nn.Module:
        """The network, for whoever wants to look inside; without the head of a task."""
        return self._loaded.network

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._loaded.device

    @property
    def width(self) -> int:
        """D, the numbers of a vector."""
        return self._loaded.network.encoder.hidden_size

    @property
    def num_layers(self) -> int:
        """Blocks of any kind; `embed` takes layers from 0, the embeddings, to this."""
        return self._loaded.network.encoder.depth

    @property
    def task(self) -> DescribedHead | None:
        """What it was fine-tuned for: `task`, `kind`, `classes`; None of a model that was not."""
        return None if self._loaded.finetuned is None else self._loaded.finetuned.head

    @property
    def outputs(self) -> tuple[str, ...]:
        """What the columns of `predict` are: classes, labels or `value`; none of a model without a task."""
        return () if self.task is None else output_names(self.task)

    @overload
    def embed(
        self,
        sequences: Sequences,
        *,
        pooling: PoolingKind | None = None,
        resolution: Literal["sequence"] = "sequence",
        layer: int = -1,
        batch_tokens: int = 16_384,
    ) -> Vectors: ...

    @overload
    def embed(
        self,
        sequences: Sequences,
        *,
        pooling: None = None,
        resolution: Literal["token", "base"],
        layer: int = -1,
        batch_tokens: int = 16_384,
    ) -> list[Vectors]: ...

    def embed(
        self,
        sequences: Sequences,
        *,
        pooling: PoolingKind | None = None,
        resolution: Resolution = "sequence",
        layer: int = -1,
        batch_tokens: int = 16_384,
    ) -> Vectors | list[Vectors]:
        """Vectors of sequences, the same as those of `dnalm embed`.

        A sequence of more tokens than the model was trained on is read in windows that overlap by half.

        Args:
            sequences: texts; one text counts as a list of one.
            pooling: of a sequence's vector: `mean` (the default) or `max` over its tokens, or `cls`.
            resolution: a vector for each `sequence`, `token` or `base`; that of a base is the mean over the
                tokens that cover it, NaN where none does.
            layer: 0 are the embeddings, -1 the last block's output, -2 the one before.
            batch_tokens: computed together, about; changes speed and memory alone.

        Returns:
            (n, D) float32, a row for each sequence; of tokens and bases a list of n arrays, (tokens, D) or
            (L, D). Tokens that spell no base, such as [CLS], are left out.

        Raises:
            DataError: API-01, no sequence; CSV-04, CSV-10 or SEQ-01, one is empty, has letters that are no
                DNA, or is shorter than a token.
            ConfigError: API-02, an argument is none of its choices; CFG-53, these do not fit together, or
                the model has no such layer.
            NumericsError: NUM-10, a vector is not finite.
        """
        if pooling is not None:
            _choice("pooling", pooling, get_args(PoolingKind))
        recipe = EmbeddingRecipe(
            layer=layer,
            pooling=pooling,
            resolution=_choice("resolution", resolution, get_args(Resolution)),
            batch_tokens=batch_tokens,
        )
        reader, named = SequenceReader(self._loaded, recipe), _read(sequences)
        found: list[Vectors] = []
        for first in range(0, len(named), _AT_ONCE):
            part = named[first : first + _AT_ONCE]
            states = reader.read([each.codes for each in part], where=[each.where for each in part])
            found += [
                checked_vectors(state, recipe, where=each.where).astype(np.float32, copy=False)
                for each, state in zip(part, states, strict=True)
            ]
        return np.concatenate(found) if resolution == "sequence" else found

    def predict(
        self,
        sequences: Sequences,
        *,
        strands: Strands = "as_trained",
        long: LongSequence | None = None,
        batch_tokens: int = 16_384,
    ) -> npt.NDArray[np.float64] | list[npt.NDArray[np.float64]]:
        """What a fine-tuned model says of sequences, the same as `dnalm predict`.

        Args:
            sequences: texts; one text counts as a list of one.
            strands: `both` averages over a sequence and its reverse complement, `forward` reads it as it is;
                `as_trained` does what the model was tested with.
            long: what is done with a sequence of more tokens than the model was trained on: `pieces`,
                `truncate` or `refuse`; as the model was tested if absent.
            batch_tokens: computed together, about; changes speed and memory alone.

        Returns:
            (n, O) float64, whose columns `outputs` names: probabilities of classes or labels, or the value in
            the labels' unit; of a model that judges every base a list of n arrays (L, O).

        Raises:
            CheckpointError: CKPT-04, it was not fine-tuned.
            DataError: as `embed`; SEQ-02, a sequence is too long and `long` is `refuse`.
            ConfigError: API-02, an argument is none of its choices; PRED-01, these do not fit the task.
            NumericsError: NUM-10, a prediction is not finite.
        """
        self._require_task_head()
        recipe = PredictionRecipe(
            strands=_choice("strands", strands, get_args(Strands)),
            long=None if long is None else _choice("long", long, get_args(LongSequence)),
            batch_tokens=batch_tokens,
        )
        predictor, named = Predictor([self._loaded], recipe), _read(sequences)
        found: list[npt.NDArray[np.float64]] = []
        for first in range(0, len(named), _AT_ONCE):
            part = named[first : first + _AT_ONCE]
            read = predictor.predict([each.codes for each in part], where=[each.where for each in part])
            found += [each.astype(np.float64, copy=False) for each in read]
        return found if predictor.per_base else np.stack(found)

    def masked_probabilities(
        self, sequence: str, *, window_bp: int | None = None, batch_tokens: int = 16_384
    ) -> npt.NDArray[np.float64]:
        """What the model expects at each base of a sequence when it does not see that base.

        A base is hidden by masking every token over it, one base at a time; its probabilities are the mean
        over these tokens of what each says at its place (`evaluation.interpretation.reader`), as in
        `dnalm interpret` and in bits per base.

        Args:
            sequence: text.
            window_bp: bases around the hidden one that are read; those of the training windows if absent.
            batch_tokens: computed together, about; changes speed and memory alone.

        Returns:
            (L, 4) float64, the probabilities of A, C, G, T, which sum to 1; NaN at N and where no token lies.

        Raises:
            DataError: as `embed`.
            CheckpointError: MODEL-16, the model has lost the head that predicts tokens; MODEL-15, its tokens
                see only earlier ones.
        """
        if not isinstance(sequence, str):
            raise _wrong_sequences(f"{shown(sequence)} as sequence", "one sequence as text")
        self._require_lm_head()
        (named,) = _read(sequence)
        reader = Reader(self._loaded, window_bp=window_bp, batch_tokens=batch_tokens)
        if not named.known():
            return np.full((len(named.codes), 4), np.nan)
        probabilities: npt.NDArray[np.float64] = np.exp(expectations(reader, named))
        return probabilities

    def score(
        self,
        variants: str | Path,
        *,
        reference: str | Path | Genome,
        score: ScoreName | Sequence[ScoreName] = ("llr",),
        layers: Sequence[int] = (),
        window_bp: int | None = None,
        pll_bp: int = 64,
        max_allele_bp: int = 50,
        mismatch: Literal["stop", "flag"] = "stop",
        other_contigs: Literal["stop", "skip"] = "stop",
        batch_tokens: int = 2048,
    ) -> Any:  # noqa: ANN401 -- pyarrow has no types
        """Scores of variants, the same as those of `dnalm score`, both strands averaged.

        Args:
            variants: VCF, five tab columns without a header, or a table with chrom, pos, ref, alt.
            reference: FASTA, 2bit or store, or an opened genome.
            score: `llr` (log-likelihood ratio of ALT to REF, nats), `pll`, `distance`, `prediction` (of a
                fine-tuned model); one or several.
            layers: of `distance`, 0 the embeddings; the last if absent.
            window_bp: bases around a variant; those of the training windows if absent.
            pll_bp: bases around a variant whose pseudo-likelihood is summed.
            max_allele_bp: longer alleles are not scored.
            mismatch: whether more than 0.1 % of REFs that are not the reference's `stop` the work.
            other_contigs: what to do with contigs that the reference lacks.
            batch_tokens: computed together, about; changes speed and memory alone.

        Returns:
            A `pyarrow.Table` (`.to_pylist()`, `.to_pandas()`), a row for each ALT in the order of the file:
            the columns of the file (of a VCF CHROM, POS from 1, ID, REF, ALT), a float64 for each number
            of the scores, null where there is none, and `skipped`, the reason why an allele has none.

        Raises:
            DataError: VCF-.., the file is malformed or of another genome; what `dnalm.genome` raises.
            CheckpointError: CKPT-04 or MODEL-16, the model lacks the head that a score needs.
            ConfigError: API-02, an argument is none of its choices; CFG-50, these do not fit together.
        """
        names = (score,) if isinstance(score, str) else tuple(score)
        for name in names:
            _choice("score", name, get_args(ScoreName))
        _choice("mismatch", mismatch, ("stop", "flag"))
        _choice("other_contigs", other_contigs, ("stop", "skip"))
        if not {"llr", "pll"}.isdisjoint(names):
            self._require_lm_head()
        if "prediction" in names:
            self._require_task_head()
        plan = ScoringPlan(
            model=self._source,
            scores=names,
            layers=tuple(layers),
            window_bp=window_bp,
            pll_bp=pll_bp,
            max_allele_bp=max_allele_bp,
            batch_tokens=batch_tokens,
        )
        store = (reference if isinstance(reference, Genome) else genome(reference)).store
        scorer = Scorer(self._loaded, store, plan.make_scores(self._loaded), plan)
        found = survey(
            _existing(variants),
            store,
            max_allele_bp=max_allele_bp,
            mismatch=mismatch,
            other_contigs=other_contigs,
        )
        return score_table(Path(variants), scorer, found=found, max_allele_bp=max_allele_bp)

    def _require_lm_head(self) -> None:
        """Raise what opening the model with its head raises, where it has none."""
        if self._loaded.network.headless:
            self._source.load(token_bases=self.tokenizer.token_bases)

    def _require_task_head(self) -> None:
        """Raise what opening the model with the head of a task raises, where it has none."""
        if self._loaded.finetuned is None:
            load_finetuned(self._source)

    def __repr__(self) -> str:
        numbers = sum(weight.numel() for weight in self._loaded.network.parameters())
        task = f", fine-tuned on {self.task.task}" if self.task else ""
        return f"dnalm.load({self._source.source!r}): {numbers:,} parameters, width {self.width}{task}"


def _read(sequences: Sequences) -> list[NamedSequence]:
    """Texts as the commands read them from a file."""
    texts = [sequences] if isinstance(sequences, str) else list(sequences)
    if not texts:
        raise _wrong_sequences("an empty list", "at least one sequence")
    found = []
    for number, text in enumerate(texts):
        where = f"sequence {number}"
        if not isinstance(text, str):
            raise _wrong_sequences(f"{type(text).__name__} {shown(text)} as {where}", "text of DNA's letters")
        codes = bases(read_codes(text, column="the text", where=where, notes=Counter()))
        found.append(
            NamedSequence(id=str(number), codes=codes, where=where, contig=None, start=0, end=len(codes))
        )
    return found


def _wrong_sequences(found: str, expected: str) -> DataError:
    fix = "give texts, such as ['ACGTTGCA', 'TTGACCAA']"
    return DataError("API-01", where="sequences", found=found, expected=expected, fix=fix)


def _choice(name: str, value: Choice, choices: Sequence[object]) -> Choice:
    """The value, if it is one of the choices."""
    if value not in choices:
        expected = f"one of {', '.join(str(choice) for choice in choices)}"
        fix = f"write {name}={choices[0]!r}"
        raise ConfigError("API-02", where=name, found=shown(value), expected=expected, fix=fix)
    return value


def _existing(path: str | Path) -> Path:
    if not Path(path).is_file():
        raise DataError(
            "API-03",
            where="variants",
            found=f"no file {shown(str(path))}",
            expected="a VCF or a table with chrom, pos, ref, alt",
            fix="correct the path",
        )
    return Path(path)
