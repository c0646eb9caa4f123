"""Model cards: the README.md of a model directory, as the Hugging Face hub shows it.

A card is a pure function of `dnalm.yaml` and `config.json` beside it, so that a copied or exported
directory has the same one. What a run found out about its model is the entry `results` of `dnalm.yaml`, put
there at the run's end. Of files and folders a card has names alone, never where they lay.

People edit cards, so README.md has no checksum in `dnalm.yaml`; its last line has that of the lines above,
by which an edited card is known and kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import FiniteFloat, NonNegativeInt, TypeAdapter, ValidationError

from dnalm.errors import escape_controls, shown
from dnalm.models.weights import read_json, write_whole
from dnalm.paths import UNTRAINED, split_twin
from dnalm.small_files import read_provenance, refused_provenance
from dnalm.training.model_directory import DescribedHead, add_results, read_head

CARD_FILE = "README.md"
_SUM = re.compile(r"<!-- written by dnalm, sha256 of the lines above: ([0-9a-f]{64}) -->\n\Z")
_MOST_LISTED = 20
SCRATCH = "scratch"  # in place of a base, of a network that no model was named for
Figures = dict[str, FiniteFloat | None]


@dataclass(frozen=True, kw_only=True)
class GenomeSource:
    """A genome that was trained on.

    Attributes:
        name: of it, or of its file.
        num_bases: of all contigs.
        sha256: of the file.
    """

    name: str
    num_bases: NonNegativeInt
    sha256: str


@dataclass(frozen=True, kw_only=True)
class HeldOutBits:
    """Bits per base at hidden bases that were not trained on, and those of count models at the same bases.

    Attributes:
        hidden_bases: how many.
        model: of the model.
        order0: of the frequencies of the bases.
        two_sided: of the bases on both sides, counted on the training text.
        over_two_sided: mean of model less two-sided; below 0 the model is better.
        over_two_sided_se: its standard error over windows; None of one window.
    """

    hidden_bases: NonNegativeInt
    model: FiniteFloat
    order0: FiniteFloat
    two_sided: FiniteFloat
    over_two_sided: FiniteFloat
    over_two_sided_se: FiniteFloat | None


@dataclass(frozen=True, kw_only=True)
class PretrainingResults:
    """`results` of a pretrained model.

    Attributes:
        experiment: the published model that its config follows.
        parameters: numbers of the network.
        genomes: the first of those that it was trained on.
        num_genomes: all of them.
        bits: on what was held out.
        species: the same of each genome, where there are several.
        objectives: of what was learned beside masked tokens: figures of the model and of a baseline.
    """

    command: Literal["pretrain"] = "pretrain"
    experiment: str
    parameters: NonNegativeInt
    genomes: list[GenomeSource]
    num_genomes: NonNegativeInt
    bits: HeldOutBits
    species: dict[str, HeldOutBits] = field(default_factory=dict)
    objectives: dict[str, dict[str, Figures]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FinetuningResults:
    """`results` of a fine-tuned model.

    Attributes:
        base: the name of the pretrained model or of the twin; `scratch` of one that had none.
        base_sha256: of its weights, where its directory says it.
        rows: of the task, by part.
        files: their names, by part.
        fingerprints: their checksums, by part.
        metric: the declared one.
        test: figures on the test set.
        intervals: their 95 % intervals, low and high; absent where there are too many rows for it.
        majority: the accuracy there of whoever always says the most frequent class.
        best_step: of the weights that were kept.
        seed: of the run.
        parameters: numbers of the network.
        trained_parameters: those that were trained.
    """

    command: Literal["finetune"] = "finetune"
    base: str
    base_sha256: str | None = None
    rows: dict[str, NonNegativeInt]
    files: dict[str, str]
    fingerprints: dict[str, str]
    metric: str
    test: Figures
    intervals: dict[str, tuple[FiniteFloat, FiniteFloat]]
    majority: FiniteFloat | None
    best_step: NonNegativeInt
    seed: int
    parameters: NonNegativeInt
    trained_parameters: NonNegativeInt


Results = PretrainingResults | FinetuningResults


def leave_results(folder: Path, results: Results) -> None:
    """Put a run's results into `dnalm.yaml` of its model directory, and write the card."""
    add_results(folder, asdict(results))
    write_card(folder)


def write_card(folder: Path) -> Path | None:
    """Write the card of a model directory; a card that someone has edited is kept beside it.

    Returns:
        Where the edited card is now; None where there was none.

    Raises:
        CheckpointError: CKPT-05, `dnalm.yaml` says something impossible.
    """
    card, kept, text = folder / CARD_FILE, None, card_text(folder)
    if card.is_file() and is_edited(card.read_text(encoding="utf-8", errors="replace")):
        kept = next(
            path for n in range(1, 1 << 20) if not (path := folder / f"README.edited-{n}.md").exists()
        )
        card.rename(kept)
    write_whole(card, lambda path: path.write_text(text, encoding="utf-8"))
    return kept


def is_edited(text: str) -> bool:
    """Whether a card is not as `write_card` has left it."""
    end = _SUM.search(text)
    return end is None or hashlib.sha256(text[: end.start()].encode()).hexdigest() != end[1]


def license_of(text: str) -> str | None:
    """The licence that the first lines of a card name; None where they name none."""
    head = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    found = re.search(r"^license: *([^#\n]*)", head[1], re.MULTILINE) if head else None
    return (found[1].strip() or None) if found else None


def card_text(folder: Path) -> str:
    """The card that `dnalm.yaml` and `config.json` of a directory make.

    Raises:
        CheckpointError: CKPT-05, `dnalm.yaml` says something impossible; what is wrong with `config.json`.
    """
    card = _Card(
        read_provenance(folder), read_json(folder / "config.json"), _results(folder), read_head(folder)
    )
    text = "\n".join(
        [
            *card.front_matter(),
            *card.introduction(),
            *card.figures(),
            *card.training(),
            *card.limits(),
            *card.loading(),
            "",
        ]
    )
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{text}<!-- written by dnalm, sha256 of the lines above: {digest} -->\n"


def _results(folder: Path) -> Results | None:
    found = read_provenance(folder).get("results")
    if found is None:
        return None
    try:
        parsed: Results = TypeAdapter(Results).validate_python(found)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(["results", *map(str, first["loc"])])
        raise refused_provenance(folder, f"{key} is {shown(first['input'])}", first["msg"]) from error
    return parsed


@dataclass(frozen=True, eq=False)
class _Card:
    """The sections of a card, in their order."""

    provenance: Mapping[str, object]
    config: Mapping[str, object]
    results: Results | None
    head: DescribedHead | None

    def front_matter(self) -> list[str]:
        """What the hub reads: YAML between dashes."""
        kind = "fill-mask"
        if self.head is not None:
            per_base = self.head.kind == "segmentation"
            kind = "token-classification" if per_base else "text-classification"
        elif not str(self._architecture).endswith("MaskedLM"):
            kind = "feature-extraction"
        tags = ["dna", "genomics", "biology", "dnalm", *([self.head.kind] if self.head else ["masked-lm"])]
        base = self.results.base if isinstance(self.results, FinetuningResults) else None
        on_hub = base is not None and re.fullmatch(r"[\w.-]+/[\w.-]+", base)
        return [
            "---",
            "license: unknown  # say under which licence others may use it, such as apache-2.0",
            f"library_name: {'transformers' if self._opening != 'dnalm' else 'dnalm'}",
            f"pipeline_tag: {kind}",
            *([f"base_model: {base}"] if on_hub else []),
            "tags:",
            *(f"- {tag}" for tag in tags),
            "---",
            "",
        ]

    def introduction(self) -> list[str]:
        """What it is, and how large."""
        if self.head is not None:
            title = f"{_plain(self.head.task)}: a DNA language model fine-tuned"
        else:
            name = self.results.experiment if isinstance(self.results, PretrainingResults) else "DNA"
            title = f"A DNA language model ({_plain(name)})" if name != "DNA" else "A DNA language model"
        sizes = {
            "layout": self._architecture,
            "blocks": self._blocks(),
            "width": self._size("hidden_size"),
            "heads": self._size("num_attention_heads", "num_heads"),
            "vocabulary": self._size("vocab_size"),
            "longest training sequence": _unit(self.provenance.get("window_tokens"), "tokens"),
            "parameters": None if self.results is None else f"{self.results.parameters:,}",
        }
        lines = [f"# {title}", "", self._what(), ""]
        return [
            *lines,
            *_table(("architecture", ""), [(key, value) for key, value in sizes.items() if value]),
        ]

    def _what(self) -> str:
        if self.head is None:
            return "A masked language model: it was trained to predict hidden bases from those around them."
        classes = (
            f" Classes: {', '.join(_code(name) for name in self.head.classes)}." if self.head.classes else ""
        )
        what = {"segmentation": "a class for each base", "regression": "a value for each sequence"}
        gives = what.get(self.head.kind, "classes" if self.head.kind == "multilabel" else "a class")
        return f"It answers {_code(self.head.task)} ({self.head.kind}): {gives}.{classes}"

    def figures(self) -> list[str]:
        """How good it is, beside baselines."""
        if isinstance(self.results, PretrainingResults):
            return self._bits(self.results)
        if isinstance(self.results, FinetuningResults):
            return self._metrics(self.results)
        return []

    def _bits(self, results: PretrainingResults) -> list[str]:
        bits = results.bits
        rows = [("all", bits), *list(results.species.items())[:_MOST_LISTED]]
        header = ("held-out bases of", "hidden bases", "this model", "order 0", "two-sided context")
        table = [
            (_plain(name), f"{of.hidden_bases:,}", *(f"{x:.4f}" for x in (of.model, of.order0, of.two_sided)))
            for name, of in rows
        ]
        error = "" if bits.over_two_sided_se is None else f" ± {bits.over_two_sided_se:.4f} (standard error)"
        lines = ["", "## Bits per base", "", *_table(header, table), ""]
        lines += [
            "Bits per base at hidden bases that were not trained on; less is better. Order 0 knows the "
            "frequencies of the bases alone, the two-sided context is counted on the training text from the "
            f"bases on both sides. Model less two-sided: {bits.over_two_sided:+.4f}{error}.",
        ]
        for name, figures in results.objectives.items():
            found = [(_plain(metric), *map(_number, row.values())) for metric, row in figures.items()]
            columns = next((tuple(map(_plain, row)) for row in figures.values()), ())
            lines += ["", f"Also learned: {_code(name)}.", "", *_table(("figure", *columns), found)]
        return lines

    def _metrics(self, results: FinetuningResults) -> list[str]:
        table = []
        for name, value in results.test.items():
            pair = results.intervals.get(name)
            interval = f"{pair[0]:.4f} to {pair[1]:.4f}" if pair else "-"
            table.append(
                (
                    f"{_plain(name)} (declared)" if name == results.metric else _plain(name),
                    _number(value),
                    interval,
                )
            )
        lines = ["", "## On the test set", "", *_table(("figure", "value", "95 % interval"), table), ""]
        unit = "sequences" if self.head and self.head.kind == "segmentation" else "rows"
        lines.append(
            f"{results.rows.get('test', 0):,} test {unit}; intervals by the bootstrap over them, of this one "
            "network: another seed may differ by more."
        )
        if results.majority is not None:
            lines.append(
                f"Always saying the most frequent class of training: accuracy {results.majority:.4f}."
            )
        if results.base == SCRATCH:
            lines.append("It was trained from scratch: nothing was pretrained.")
        elif split_twin(results.base)[1]:
            lines.append(
                "It is a control: an untrained twin, fine-tuned from the weights that pretraining began with."
            )
        else:
            lines.append(
                "These figures do not show what pretraining gave: that takes the untrained twin, "
                f"{_code(results.base + UNTRAINED)}, fine-tuned alike, beside them."
            )
        return lines

    def training(self) -> list[str]:
        """Data and checksums, steps, batch, precision, versions."""
        config = self.provenance.get("config")
        batch = config.get("batch") if isinstance(config, Mapping) else None
        versions = self.provenance.get("versions")
        if not self.provenance:
            return []
        facts: list[tuple[str, object]] = [
            ("steps", _unit(self.provenance.get("steps"), "")),
            ("batch", _unit(batch.get("global_size"), "sequences") if isinstance(batch, Mapping) else None),
            ("precision", self.provenance.get("precision")),
            ("data fingerprint", self.provenance.get("data_fingerprint")),
            ("tokenizer fingerprint", self.provenance.get("tokenizer_fingerprint")),
            ("dnalm", self.provenance.get("dnalm")),
        ]
        if isinstance(versions, Mapping):
            facts += [(str(name), version) for name, version in versions.items()]
        if isinstance(self.results, FinetuningResults):
            facts = self._of_task(self.results) + facts
        lines = ["", "## Training", ""]
        if isinstance(self.results, PretrainingResults):
            rows = [(_plain(g.name), f"{g.num_bases:,}", _code(g.sha256)) for g in self.results.genomes]
            lines += [*_table(("genome", "bases", "sha256 of the file"), rows), ""]
            more = self.results.num_genomes - len(rows)
            lines += [f"and {more:,} more genomes", ""] if more > 0 else []
        known = [(_plain(name), _code(value)) for name, value in facts if value is not None]
        return [*lines, *_table(("", ""), known), "", "`dnalm.yaml` has the whole config and every checksum."]

    def _of_task(self, results: FinetuningResults) -> list[tuple[str, object]]:
        sums = results.fingerprints
        facts: list[tuple[str, object]] = [
            ("fine-tuned from", results.base),
            ("sha256 of its weights", results.base_sha256),
            ("trained parameters", f"{results.trained_parameters:,} of {results.parameters:,}"),
            ("step of these weights", results.best_step),
            ("seed", results.seed),
        ]
        return facts + [
            (
                f"{part} rows",
                f"{number:,} of {results.files.get(part, '?')}, fingerprint {sums.get(part, '?')}",
            )
            for part, number in results.rows.items()
        ]

    def limits(self) -> list[str]:
        """What it is not good for."""
        window, results = self.provenance.get("window_tokens"), self.results
        lines = ["", "## Limits", ""]
        if isinstance(window, int):
            lines.append(
                f"- It was trained on sequences of at most {window:,} tokens; what it says of longer ones at "
                "once is untested. dnalm reads longer ones in windows."
            )
        if isinstance(results, PretrainingResults):
            names = ", ".join(_plain(genome.name) for genome in results.genomes[:5])
            more = f" and {results.num_genomes - 5:,} more" if results.num_genomes > 5 else ""
            lines.append(f"- It has seen {names}{more}; on other organisms it is untested.")
        if isinstance(results, FinetuningResults):
            lines.append(
                "- Its figures hold for sequences drawn as the test set was; elsewhere it is untested."
            )
        if self.head is not None and self.head.average_strands:
            lines.append(
                "- Its figures are of both strands averaged, as dnalm predict does; "
                "the classes of transformers read the given strand alone."
            )
        lines.append("- A, C, G, T and N alone: every other letter is read as N.")
        lines.append(
            "- For research; not for clinical use, and no basis for a decision about a person's health."
        )
        return lines

    def loading(self) -> list[str]:
        """Code that opens it."""
        lines = ["", "## How to load it", "", "```python", *self._transformers(), "```", ""]
        lines += ["or with dnalm, which checks every file by its checksum:", ""]
        ask = 'model.predict(["ACGTACGTACGTACGT"])' if self.head else 'model.embed(["ACGTACGTACGTACGT"])'
        lines += ["```python", "import dnalm", "", f'model = dnalm.load("{_FOLDER}")', ask, "```", ""]
        commands = [
            f"dnalm embed model={_FOLDER} input=sequences.fa out=vectors.parquet",
            f"dnalm score model={_FOLDER} variants=variants.vcf reference=genome.fa out=scored.vcf.gz",
        ]
        if self.head is not None:
            commands.insert(0, f"dnalm predict model={_FOLDER} input=sequences.fa out=predictions.tsv")
        return [
            *lines,
            "```bash",
            *commands,
            "```",
            "",
            f"`{_FOLDER}` is this directory, or `owner/name` on the hub.",
        ]

    def _transformers(self) -> list[str]:
        auto, trust = "AutoModelForMaskedLM", ""
        if self.head is not None and self._is_classifier:
            per_base = self.head.kind == "segmentation"
            auto = f"AutoModelFor{'Token' if per_base else 'Sequence'}Classification"
        elif not str(self._architecture).endswith("MaskedLM"):
            auto = "AutoModel"
        lines = [f"from transformers import {auto}, AutoTokenizer", ""]
        if self._opening == "dnalm":
            lines.insert(0, "import dnalm.hf  # makes transformers know the model")
        elif self._opening != "stock":
            why = (
                "runs the code in this directory" if self._opening == "local" else "runs the publishers' code"
            )
            trust = f", trust_remote_code=True)  # {why}"
        end = trust or ")"
        lines += [f'tokenizer = AutoTokenizer.from_pretrained("{_FOLDER}"{end}']
        lines += [f'model = {auto}.from_pretrained("{_FOLDER}"{end}']
        return [*lines, 'outputs = model(**tokenizer("ACGTACGTACGTACGT", return_tensors="pt"))']

    @property
    def _architecture(self) -> str | None:
        found = self.config.get("architectures")
        return str(found[0]) if isinstance(found, list) and found else None

    @property
    def _is_classifier(self) -> bool:
        return str(self._architecture).endswith("Classification")

    @property
    def _opening(self) -> Literal["stock", "dnalm", "local", "publishers"]:
        """By what `transformers` opens it: itself, after `import dnalm.hf`, or by code that it runs."""
        code = self.config.get("auto_map")
        if isinstance(code, Mapping):
            return "publishers" if any("--" in str(name) for name in code.values()) else "local"
        return "dnalm" if str(self.config.get("model_type")).startswith("dnalm") else "stock"

    def _blocks(self) -> str | None:
        """Of attention, and where there are convolutional ones before them these too."""
        attention, dilations = (
            self._size("num_hidden_layers", "num_layers"),
            self.config.get("conv_dilations"),
        )
        if not isinstance(dilations, list) or not dilations:
            return attention
        return f"{len(dilations):,} convolutional, then {attention} of attention"

    def _size(self, *names: str) -> str | None:
        found = next((self.config[name] for name in names if isinstance(self.config.get(name), int)), None)
        return None if found is None else f"{found:,}"


_FOLDER = "path/to/this"


def _table(header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> list[str]:
    lines = [header, tuple("---" for _ in header), *rows]
    return [f"| {' | '.join(str(cell) for cell in line)} |" for line in lines]


def _plain(text: object) -> str:
    """Text of a file, with nothing in it that Markdown or HTML would read."""
    return re.sub(r"([\\`*_{}\[\]<>#|!&])", r"\\\1", _line(text).replace("`", "'"))


def _code(text: object) -> str:
    """The same as code."""
    return f"`{re.sub(r'[`|]', ' ', _line(text))}`"


def _line(text: object) -> str:
    return " ".join(escape_controls(str(text)).split())[:200]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _unit(number: object, unit: str) -> str | None:
    return f"{number:,} {unit}".strip() if isinstance(number, int) else None
