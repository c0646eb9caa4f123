"""Suites of variants that models are judged on without training: lists of sets, and one form for all.

A list is a TSV in `conf/benchmark/` with a row for each set:

- `set`: its name; `genome`: the assembly, given by `benchmark.genomes`, a species of the clade, or a FASTA
  below the root whose headers say where each record lies (`>NAME chr1:101-700`), for assays of elements;
- `path` below `benchmark.root`, and in a repository of the hub; `source`: `clade`, or where it is downloaded
  from, `hub:<owner>/<name>@<commit>` or an address; `sha256` of the file where it is known, else it is pinned
  when it is first downloaded;
- `columns`: names of contig, position, REF and ALT where they are unusual;
- `keep`: conditions on columns or INFO fields, all of which hold: `Barcodes>=10`, `CLASS!=splice`;
- `label`: a column of 0 and 1 or of values; or `ID=Clinvar*|1000G*`: patterns of ones and zeros, rows of
  neither are set aside;
- `metric`: one or two; `group`: the chromosome or the column a metric is computed in; `cluster`: what is
  independent, the chromosome, a column, or `overlap`: records of the FASTA that do not overlap.

Whatever the published form, each set is written once into the cache as a table that `dnalm score` takes, of
variants that can be scored; the others are counted by reason. N variants.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import numpy as np
import platformdirs
import pyarrow.parquet as pq

from dnalm.console import stderr
from dnalm.durable import file_sha256, write_text
from dnalm.errors import ConfigError, DataError
from dnalm.evaluation.benchmark.benchmark import check_names, list_error, read_list
from dnalm.evaluation.benchmark.variant_baselines import conservation, gene_nearness
from dnalm.evaluation.statistics import Scores
from dnalm.evaluation.variants.set_metrics import Grouping, VariantMetric
from dnalm.genome.contig_aliases import ContigAliases
from dnalm.genome.download import Patience, RemoteFile, download, download_folder
from dnalm.genome.store import GenomeStore, open_or_build
from dnalm.genome.text import VCF, read_lines
from dnalm.genome.variants import Allele, Reason, Record, find_form, judge, read_records
from dnalm.limits import NOT_EMPTY, WindowBases
from dnalm.paths import CachePath, InputPath, quoted
from dnalm.simulation.settings import Clade
from dnalm.simulation.simulate import find_or_simulate
from dnalm.tables import replace_text

SuiteScore = Literal["llr", "pll", "distance", "ridge", "prediction"]
CHROMOSOME, OVERLAP = "chromosome", "overlap"
_HUB = "hub:"
_MAX_ALLELE_BP = 50
_MOST_MISMATCHES = 0.01  # of the variants that are compared with a genome
_CONDITION = re.compile(r"([^<>=!]+)(!=|>=|<=|=|>|<)(.+)")
_PLACE = re.compile(r">(\S+)\s+(\S+):(\d+)-(\d+)")
_MISSING = ("", ".", "NA")


@dataclass(frozen=True, kw_only=True)
class ListedSet:
    """One row of a list; see the head of this file."""

    name: str
    genome: str
    path: str
    source: str
    sha256: str
    columns: str
    keep: str
    label: str
    metrics: tuple[VariantMetric, ...]
    group: str
    cluster: str

    @property
    def is_class(self) -> bool:
        """Whether labels are 0 and 1."""
        return "spearman_by_element" not in self.metrics

    @property
    def brings_genome(self) -> bool:
        """Whether its own FASTA lies beside it."""
        return self.genome.endswith((".fa", ".fa.gz"))


def read_sets(path: Path) -> list[ListedSet]:
    """Read a list.

    Args:
        path: the TSV; a relative one starts at `conf/benchmark/`.

    Raises:
        ConfigError: BENCH-01, it is not there, or a row is not as the columns want it.
    """
    renamed = {"name": "set", "metrics": "metric"}
    columns = [renamed.get(each.name, each.name) for each in fields(ListedSet)]
    sets = []
    for where, row in read_list(path, columns):
        metrics = tuple(row.pop("metric").split(","))
        if unknown := sorted({*metrics} - {*get_args(VariantMetric)}):
            raise list_error(where, f"metric {unknown[0]!r}", f"some of {', '.join(get_args(VariantMetric))}")
        if len({metric == "spearman_by_element" for metric in metrics}) > 1:
            raise list_error(where, f"metric {','.join(metrics)}", "metrics of classes, or of values")
        for condition in row["keep"].split():
            if not _CONDITION.fullmatch(condition):
                raise list_error(where, f"keep {condition!r}", "a condition such as Barcodes>=10")
        name = row.pop("set")
        sets.append(ListedSet(name=name, metrics=cast("tuple[VariantMetric, ...]", metrics), **row))
    names = [each.name for each in sets]
    if twice := sorted(name for name in set(names) if names.count(name) > 1):
        raise list_error(str(path), f"{', '.join(twice)} twice", "each set once")
    return sets


@dataclass(frozen=True, eq=False, kw_only=True)
class PreparedSet:
    """A set that can be scored.

    Attributes:
        listed: its row of the list.
        table: chrom, pos, id, ref, alt, label, group, cluster, as `dnalm score` reads it.
        reference: the genome of the table.
        alleles: what is scored, (N,).
        labels: (N,).
        grouping: of the variants.
        cluster_names: (C,).
        baselines: how damaging each variant is by what is known of its place, (N,), by name.
        aside: variants that are not judged, by why.
        sha256: of the table.
    """

    listed: ListedSet
    table: Path
    reference: Path
    alleles: Sequence[Allele]
    labels: Scores
    grouping: Grouping
    cluster_names: Sequence[str]
    baselines: Mapping[str, Scores]
    aside: Mapping[str, int]
    sha256: str


class VariantSuite:
    """Sets of variants, the scores that are asked of models, and what baselines read.

    Args:
        name: of the suite.
        sets: its list, a TSV in `conf/benchmark/`.
        root: a folder with files of sets, laid out as the list says.
        clade: a simulated clade, whose variants are a set.
        genomes: FASTA, 2bit or store by assembly: `benchmark.genomes.hg19=hg19.fa.gz`.
        conservation: bigWig or BED by assembly; that of the clade is known.
        genes: GFF3 or GTF by assembly; that of the clade is known.
        scores: what is asked of every model: of `dnalm score`, and `ridge` on its embeddings; `prediction`
            only of models that are fine-tuned.
        window_bp: bases around a variant, the same for all models; those of each model's training if absent.
        cache: where prepared sets go; the user's cache if absent.
    """

    def __init__(
        self,
        *,
        name: str,
        sets: Path,
        root: InputPath | None = None,
        clade: Clade | None = None,
        genomes: dict[str, InputPath] | None = None,
        conservation: dict[str, InputPath] | None = None,
        genes: dict[str, InputPath] | None = None,
        scores: Annotated[tuple[SuiteScore, ...], NOT_EMPTY] = (
            "llr",
            "pll",
            "distance",
            "ridge",
            "prediction",
        ),
        window_bp: WindowBases | None = None,
        cache: CachePath | None = None,
    ) -> None:
        self.name, self.sets, self.scores, self._window_bp = name, read_sets(sets), scores, window_bp
        self._root, self._clade, self._genomes = root, clade, genomes or {}
        self._conservation, self._genes = conservation or {}, genes or {}
        self._given_cache = cache
        self._cache = (cache or platformdirs.user_cache_path("dnalm")).absolute()

    @property
    def words(self) -> tuple[str, ...]:
        """Of `dnalm score`, the same for all sets and models."""
        window = () if self._window_bp is None else (f"window_bp={self._window_bp}",)
        return (*window, *(() if self._given_cache is None else (f"cache={quoted(str(self._given_cache))}",)))

    def choose(self, names: Sequence[str] | None) -> list[ListedSet]:
        """The sets of these names; if none are given, those whose files and genome are at hand.

        Raises:
            ConfigError: BENCH-02, there is no such set; BENCH-12, none is at hand.
        """
        known = {each.name: each for each in self.sets}
        check_names(names or (), list(known), kind="set", benchmark=self.name)
        if names is not None:
            return [known[name] for name in names]
        absent = {each.name: self._why_absent(each) for each in self.sets}
        if left_out := {name: why for name, why in absent.items() if why}:
            stderr.print(f"left out: {'; '.join(f'{name} ({why})' for name, why in left_out.items())}")
        if len(left_out) == len(self.sets):
            raise ConfigError(
                "BENCH-12",
                where="benchmark.root",
                found=f"no set of {self.name} is at hand",
                expected="a simulated clade, or a folder with the files of a set",
                fix="give it, such as benchmark.root=data/variants",
            )
        return [each for each in self.sets if not absent[each.name]]

    def _why_absent(self, listed: ListedSet) -> str:
        """Why a set is not run unless it is named; empty if it is."""
        if self._is_of_clade(listed):
            return ""
        if self._local(listed.path) is None:
            return "downloaded where it is named in tasks" if listed.source else "benchmark.root lacks it"
        if not listed.brings_genome and listed.genome not in self._genomes:
            return f"benchmark.genomes.{listed.genome} is not given"
        return ""

    def prepare(self, sets: Sequence[ListedSet]) -> list[PreparedSet]:
        """Read the sets and write their tables into the cache.

        Raises:
            DataError: BENCH-04 and 05, a file is missing or another one than is known; BENCH-13, its REFs are
                not the genome's; BENCH-14, it lacks positives or negatives; BENCH-15, it lacks a column.
            ConfigError: BENCH-12, the genome of a set is not given.
        """
        return [self._prepared(each) for each in sets]

    def _is_of_clade(self, listed: ListedSet) -> bool:
        return self._clade is not None and listed.source == "clade"

    def _local(self, path: str) -> Path | None:
        if self._root is None:
            return None
        plain = self._root / path
        return next((each for each in (plain, plain.with_name(f"{plain.name}.gz")) if each.is_file()), None)

    def _find(self, listed: ListedSet) -> tuple[Path, Path]:
        """The file of a set and its genome."""
        if self._is_of_clade(listed) and self._clade is not None:
            folder = find_or_simulate(self._clade, self._cache)
            return folder / listed.path, folder / f"{listed.genome}.fa"
        file = self._local(listed.path)
        if file is None and listed.source and listed.source != "clade":
            file = self._download(listed)
        if file is None:
            raise self._missing(listed, listed.path)
        if listed.sha256 and (found := file_sha256(file)) != listed.sha256:
            raise DataError(
                "BENCH-05",
                where=str(file),
                found=f"a file with sha256 {found}",
                expected=f"{listed.sha256}, as {listed.name} is known",
                fix="put the published file there, or use a list of your own whose sha256 is empty",
            )
        if listed.brings_genome:
            reference = self._local(listed.genome)
            if reference is None:
                raise self._missing(listed, listed.genome)
            return file, reference
        if listed.genome not in self._genomes:
            raise ConfigError(
                "BENCH-12",
                where=f"benchmark.genomes.{listed.genome}",
                found=f"no genome for {listed.name}",
                expected=f"{listed.genome}, the assembly of its positions: FASTA, 2bit or a store",
                fix=f"give it, such as benchmark.genomes.{listed.genome}={listed.genome}.fa.gz",
            )
        return file, self._genomes[listed.genome]

    def _baselines(
        self, listed: ListedSet, reference: Path, store: GenomeStore, alleles: Sequence[Allele]
    ) -> dict[str, Scores]:
        """What is known of the places of variants on this genome."""
        scored, genes = self._conservation.get(listed.genome), self._genes.get(listed.genome)
        if self._is_of_clade(listed):
            scored = scored or reference.with_name("conservation.bw")
            genes = genes or reference.with_name(f"{listed.genome}.gff3")
        found = {}
        if scored:
            found["conservation"] = conservation(scored, store, alleles)
        if genes:
            found["gene_nearness"] = gene_nearness(genes, store, alleles)
        return found

    def _missing(self, listed: ListedSet, path: str) -> DataError:
        return DataError(
            "BENCH-04",
            where=f"{self.name}: {self._root or 'benchmark.root'}",
            found=f"the file of {listed.name} is missing: {path}",
            expected="every file of the chosen sets, plain or with .gz",
            fix=f"put it below {self._root}" if self._root else "give benchmark.root=data/variants",
        )

    def _download(self, listed: ListedSet) -> Path:
        """A file of the hub at a commit, or of an address; held to what it was when first downloaded."""
        if listed.source.startswith(_HUB):
            from huggingface_hub import hf_hub_download

            repository, _, revision = listed.source.removeprefix(_HUB).partition("@")
            try:
                file = Path(hf_hub_download(repository, listed.path, repo_type="dataset", revision=revision))
            except (OSError, ValueError) as error:
                raise self._missing(listed, f"{listed.path}; {repository} cannot be reached") from error
        else:
            remote = RemoteFile(url=listed.source)
            file = download(
                remote, download_folder(listed.source, self._given_cache), patience=Patience()
            ).path
        if not listed.sha256:
            self._pin(listed, file)
        return file

    def _pin(self, listed: ListedSet, file: Path) -> None:
        """Remember a first download without a known checksum; hold later ones to it."""
        pin, found = self._folder / f"{listed.name}.sha256", file_sha256(file)
        if not pin.is_file():
            write_text(pin, f"{found}\n")
            stderr.print(
                f"{listed.name}: no checksum is known; its file is pinned as downloaded now, {found}"
            )
        elif (known := pin.read_text().strip()) != found:
            raise DataError(
                "BENCH-05",
                where=f"{self.name}: {listed.name}",
                found=f"a file with sha256 {found}",
                expected=f"{known}, as first downloaded",
                fix=f"see which of the two is right; to accept the new one remove {pin}",
            )

    @property
    def _folder(self) -> Path:
        folder = self._cache / "benchmarks" / self.name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _prepared(self, listed: ListedSet) -> PreparedSet:
        file, reference = self._find(listed)
        store = open_or_build(reference, self._given_cache)
        places = _read_places(reference) if listed.brings_genome else {}
        rows, aside = _kept_rows(listed, file, places)
        chosen = _scorable(listed, rows, store, aside, where=file, is_own=listed.brings_genome)
        alleles, labels = [allele for _, allele in chosen], np.array([row.label for row, _ in chosen])
        _check_labels(listed, labels, file)
        clusters = _overlapping(places) if listed.cluster == OVERLAP else {}
        of_clusters = [clusters.get(allele.contig, row.cluster or allele.contig) for row, allele in chosen]
        of_groups = [row.group or allele.contig for row, allele in chosen]
        names, numbers = np.unique(of_clusters, return_inverse=True)
        lines = [["chrom", "pos", "id", "ref", "alt", "label", "group", "cluster"]]
        for (row, allele), cluster, group in zip(chosen, of_clusters, of_groups, strict=True):
            place = [allele.contig, str(row.record.start + 1), row.id, row.record.ref or "-"]
            lines.append([*place, row.record.alts[0] or "-", repr(row.label), group, cluster])
        text = "".join("\t".join(line) + "\n" for line in lines)
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        table = self._folder / f"{listed.name}-{sha256[:12]}.tsv"
        if not table.is_file():
            replace_text(table, text)
        return PreparedSet(
            listed=listed,
            table=table,
            reference=reference,
            alleles=alleles,
            labels=labels,
            grouping=Grouping(groups=np.unique(of_groups, return_inverse=True)[1], clusters=numbers),
            cluster_names=names.tolist(),
            baselines=self._baselines(listed, reference, store, alleles),
            aside=aside,
            sha256=sha256,
        )


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A variant as it is listed, with what is known of it; group and cluster are empty for its chromosome."""

    record: Record
    label: float
    id: str
    group: str
    cluster: str


def _kept_rows(
    listed: ListedSet, file: Path, places: Mapping[str, tuple[str, int, int]]
) -> tuple[list[_Row], Counter[str]]:
    """Rows that meet all conditions and have a label, and how many do not."""
    rows, aside = list[_Row](), Counter[str]()
    conditions = [match.groups() for each in listed.keep.split() if (match := _CONDITION.fullmatch(each))]
    for record, values in _read_values(listed, file):
        where = f"{file}:{record.line}"
        if not all(_holds(values, *condition, where=where) for condition in conditions):
            aside["not asked for by keep"] += 1
            continue
        label = _label(values, listed, where)
        if label is None:
            aside["no label"] += 1
            continue
        if record.start < 0:
            aside["no position"] += 1
            continue
        if places and record.contig not in places:
            aside["no_contig"] += 1
            continue
        first = places[record.contig][1] if places else 1
        named = {
            name: "" if name in (CHROMOSOME, OVERLAP) else _value(values, name, where)
            for name in (listed.group, listed.cluster)
        }
        rows.append(
            _Row(
                record=replace(record, start=record.start + 1 - first),
                label=label,
                id=values.get("ID", values.get("id", ".")) or ".",
                group=named[listed.group],
                cluster=named[listed.cluster],
            )
        )
    return rows, aside


def _read_values(listed: ListedSet, file: Path) -> Iterator[tuple[Record, Mapping[str, str]]]:
    """Records of one ALT each, with their columns and INFO fields by name."""
    if not listed.columns and file.suffix != ".parquet":
        form = find_form(file)
        for record in read_records(file, form):
            values = {**dict.fromkeys(form.counts, ""), **dict(zip(form.columns, record.fields, strict=True))}
            if form.kind == "vcf":
                info = (entry.partition("=") for entry in record.fields[7].split(";"))
                values |= {key: value or "1" for key, _, value in info}
            for alt in record.alts:
                yield replace(record, alts=(alt,)), values
        return
    names = listed.columns.split(",") if listed.columns else ["chrom", "pos", "ref", "alt"]
    for line, values in _rows_of_parquet(file) if file.suffix == ".parquet" else _rows_of_text(file, names):
        contig, pos, ref, alt = (_value(values, name, f"{file}:{line}") for name in names)
        ref, alt = ("" if each == "-" else each.upper() for each in (ref, alt))
        start = int(pos) - 1 if pos.isdigit() else -1
        yield Record(line=line, contig=contig, start=start, ref=ref, alts=(alt,), fields=()), values


def _rows_of_parquet(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    for number, row in enumerate(pq.read_table(file).to_pylist(), 1):
        yield number, {name: "" if value is None else str(value) for name, value in row.items()}


def _rows_of_text(file: Path, names: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows below the first line that has all columns, whatever stands above it."""
    header: list[str] = []
    delimiter = "\t"
    for line in read_lines(file, VCF):
        if not header:
            for each in ("\t", ",", ";"):
                cells = next(csv.reader([line.text], delimiter=each), [])
                if {*names} <= {*cells}:
                    header, delimiter = cells, each
        elif line.text.strip():
            cells = next(csv.reader([line.text], delimiter=delimiter))
            yield line.number, dict(zip(header, cells, strict=False))
    if not header:
        raise _no_column(str(file), ", ".join(names), "no line has all of them")


def _value(values: Mapping[str, str], name: str, where: str) -> str:
    if name not in values:
        raise _no_column(where, name, f"it has {', '.join(list(values)[:12])}")
    return values[name]


def _no_column(where: str, name: str, found: str) -> DataError:
    return DataError(
        "BENCH-15",
        where=where,
        found=f"no column {name}: {found}",
        expected="the columns that the list of sets names",
        fix="put the published file there, or name its columns in a list: benchmark.sets=my_sets.tsv",
    )


def _holds(values: Mapping[str, str], name: str, sign: str, wanted: str, *, where: str) -> bool:
    """Whether a condition holds; of numbers a missing value never does."""
    found = _value(values, name, where)
    if sign in ("=", "!="):
        return (found in wanted.split(",")) is (sign == "=")
    if found in _MISSING:
        return False
    try:
        number, limit = float(found), float(wanted)
    except ValueError:
        raise _no_number(where, found, name) from None
    return {">=": number >= limit, "<=": number <= limit, ">": number > limit, "<": number < limit}[sign]


def _label(values: Mapping[str, str], listed: ListedSet, where: str) -> float | None:
    """Of a row; None if it has none."""
    name, has_patterns, patterns = listed.label.partition("=")
    found = _value(values, name, where)
    if has_patterns:
        for label, part in zip((1.0, 0.0), patterns.split("|"), strict=True):
            if any(fnmatchcase(found, pattern) for pattern in part.split(",")):
                return label
        return None
    if found in _MISSING:
        return None
    if listed.is_class and found in ("True", "False"):
        return float(found == "True")
    try:
        return float(found)
    except ValueError:
        raise _no_number(where, found, name) from None


def _no_number(where: str, found: str, name: str) -> DataError:
    return DataError(
        "BENCH-15",
        where=where,
        found=f"`{found[:60]}` in {name}",
        expected="a number, or one that is missing: empty, `.` or NA",
        fix="put the published file there, or use a list of your own: benchmark.sets=my_sets.tsv",
    )


def _scorable(
    listed: ListedSet,
    rows: Sequence[_Row],
    store: GenomeStore,
    aside: Counter[str],
    *,
    where: Path,
    is_own: bool,
) -> list[tuple[_Row, Allele]]:
    """Rows whose allele can be scored on the genome; the others are counted by reason."""
    aliases = ContigAliases(store, {row.record.contig for row in rows})
    found, first = list[tuple[_Row, Allele]](), None
    mismatches = compared = 0
    for row in rows:
        contig = aliases.find(row.record.contig)
        is_past = contig is not None and not 0 <= row.record.start <= contig.length - len(row.record.ref)
        (entry,) = (
            [Reason.MISMATCH] if is_past else judge(row.record, aliases, store, max_allele_bp=_MAX_ALLELE_BP)
        )
        compared += contig is not None
        if isinstance(entry, Allele):
            found.append((row, entry))
            continue
        aside[str(entry)] += 1
        if entry is Reason.MISMATCH:
            mismatches, first = mismatches + 1, first or row
    if not is_own and first is not None and mismatches > _MOST_MISMATCHES * compared:
        raise DataError(
            "BENCH-13",
            where=f"{where}:{first.record.line}",
            found=f"REF {first.record.ref or '-'} of {first.record.contig}:{first.record.start + 1} is not "
            f"the genome's, and so of {mismatches} of {compared} variants",
            expected=f"{listed.genome}, the assembly of {listed.name}; at most {_MOST_MISMATCHES:.0%} differ",
            fix=f"give that one, such as benchmark.genomes.{listed.genome}={listed.genome}.fa.gz",
        )
    return found


def _check_labels(listed: ListedSet, labels: Scores, file: Path) -> None:
    """Refuse a set that no metric is defined on."""
    counts = {value: int((labels == value).sum()) for value in (1.0, 0.0)}
    if listed.is_class and min(counts.values()) and sum(counts.values()) == len(labels):
        return
    if not listed.is_class and len(np.unique(labels)) > 1:
        return
    found = f"{len(labels)} variants with {len(np.unique(labels))} different labels"
    if listed.is_class:
        found = f"{counts[1.0]} positives and {counts[0.0]} negatives among {len(labels)} variants"
    raise DataError(
        "BENCH-14",
        where=str(file),
        found=f"{found} of {listed.name} on this genome",
        expected="positives (1) and negatives (0)" if listed.is_class else "values that differ",
        fix=f"give a genome with more of its contigs, or leave the set out: tasks=[…] without {listed.name}",
    )


def _read_places(fasta: Path) -> dict[str, tuple[str, int, int]]:
    """Contig, first and last base (from 1) of each record, by its name."""
    found = {}
    for line in read_lines(fasta, VCF):
        if line.text.startswith(">"):
            match = _PLACE.match(line.text)
            if match is None:
                raise DataError(
                    "BENCH-15",
                    where=f"{fasta}:{line.number}",
                    found=f"a header {line.text[:60]!r}",
                    expected="where the record lies, from 1: >NAME chr1:101-700",
                    fix="put the published file there",
                )
            found[match[1]] = (match[2], int(match[3]), int(match[4]))
    return found


def _overlapping(places: Mapping[str, tuple[str, int, int]]) -> dict[str, str]:
    """By record, the first of those that it overlaps with, directly or by others."""
    first, end, contig_before, names = "", -1, "", {}
    for name, (contig, start, last) in sorted(places.items(), key=lambda item: (*item[1][:2], item[0])):
        if contig != contig_before or start > end:
            first, end = name, last
        names[name], end, contig_before = first, max(end, last), contig
    return names
