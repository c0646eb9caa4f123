"""Sets of variants in every published form become one table; what cannot be judged is counted or refused."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dnalm.errors import DnalmError
from dnalm.evaluation.benchmark.variant_scores import damage, read_outcomes, rows_of, sheet_of_sets
from dnalm.evaluation.benchmark.variant_sets import PreparedSet, VariantSuite, read_sets
from dnalm.paths import config_folder

HEADER = "set\tgenome\tpath\tsource\tsha256\tcolumns\tkeep\tlabel\tmetric\tgroup\tcluster\n"
SEQUENCE = "ACGTACGTAC" * 6


def suite(folder: Path, row: str, *, genome: str | None = None, name: str = "toy") -> VariantSuite:
    (folder / "sets.tsv").write_text("# a list\n" + HEADER + row + "\n")
    genomes = None
    if genome is not None:
        (folder / "genome.fa").write_text(genome)
        genomes = {"hg19": folder / "genome.fa"}
    return VariantSuite(
        name=name, sets=folder / "sets.tsv", root=folder, genomes=genomes, cache=folder / "cache"
    )


def prepared(folder: Path, row: str, *, genome: str | None = None) -> PreparedSet:
    toy = suite(folder, row, genome=genome)
    (found,) = toy.prepare(toy.choose(["a"]))
    return found


def row(path: str, label: str, *, columns: str = "", keep: str = "", metric: str = "auroc") -> str:
    return f"a\thg19\t{path}\t\t\t{columns}\t{keep}\t{label}\t{metric}\tchromosome\tchromosome"


GENOME = f">chr1\n{SEQUENCE}\n>chr2\n{SEQUENCE}\n"


def test_ids_tell_classes_and_contigs_that_the_genome_lacks_are_counted(tmp_path: Path) -> None:
    lines = [
        "chr1\t1\tClinvar1\tA\tC",
        "2\t2\t1000G7\tC\tG",
        "chr9\t5\tClinvar2\tA\tC",
        "chr1\t3\tother\tG\tA",
    ]
    (tmp_path / "v.vcf").write_text("\n".join(lines) + "\n")
    found = prepared(tmp_path, row("v.vcf", "ID=Clinvar*|1000G*"), genome=GENOME)
    assert found.labels.tolist() == [1.0, 0.0]
    assert dict(found.aside) == {"no label": 1, "no_contig": 1}
    assert found.table.read_text().splitlines()[1:] == [
        "chr1\t1\tClinvar1\tA\tC\t1.0\tchr1\tchr1",
        "chr2\t2\t1000G7\tC\tG\t0.0\tchr2\tchr2",
    ]
    (line,) = sheet_of_sets([found]).rows
    assert line[:5] == ["a", "2", "1", "2 chromosomes", "1 no label, 1 no_contig"]


def test_an_info_field_is_a_label_and_a_condition(tmp_path: Path) -> None:
    head = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    lines = [f"chr1\t{n}\t.\t{SEQUENCE[n - 1]}\tN\t.\t.\tLABEL={n % 2};CLASS=x" for n in (1,)]
    lines += ["chr1\t2\t.\tC\tA\t.\t.\tLABEL=0;CLASS=x", "chr1\t3\t.\tG\tA\t.\t.\tLABEL=1;CLASS=y"]
    lines += ["chr1\t5\t.\tA\tC\t.\t.\tLABEL=1;CLASS=x"]
    (tmp_path / "v.vcf").write_text(head + "\n".join(lines) + "\n")
    found = prepared(tmp_path, row("v.vcf", "LABEL", keep="CLASS=x"), genome=GENOME)
    assert found.labels.tolist() == [0.0, 1.0]
    assert dict(found.aside) == {"not asked for by keep": 1, "ambiguous_base": 1}


def test_a_parquet_of_traitgyms_columns_is_read(tmp_path: Path) -> None:
    columns = {
        "chrom": ["1", "2"],
        "pos": [1, 2],
        "ref": ["A", "C"],
        "alt": ["C", "T"],
        "label": [True, False],
    }
    pq.write_table(pa.table({**columns, "match_group": ["m0", "m0"]}), tmp_path / "t.parquet")
    found = prepared(tmp_path, row("t.parquet", "label", metric="auprc_by_chromosome,auroc"), genome=GENOME)
    assert found.labels.tolist() == [1.0, 0.0]
    assert [each.name for each in rows_of([found], ["llr"])] == [
        "a llr, auprc_by_chromosome",
        "a llr, auroc",
    ]


def test_a_table_with_lines_above_its_header_is_read(tmp_path: Path) -> None:
    """As supplementary table 1 of Findlay et al. 2018."""
    text = "Variant ID,,,,\n,,,,\nchromosome,position (hg19),reference,alt,func.class\n"
    (tmp_path / "b.csv").write_text(text + "1,1,A,C,LOF\n1,2,C,T,FUNC\n1,3,G,T,INT\n")
    columns = "chromosome,position (hg19),reference,alt"
    found = prepared(tmp_path, row("b.csv", "func.class=LOF|FUNC", columns=columns), genome=GENOME)
    assert found.labels.tolist() == [1.0, 0.0]
    assert dict(found.aside) == {"no label": 1}


def assay(folder: Path) -> str:
    """Three experiments on two elements: E1 and E1b overlap."""
    heads = (">E1 chr1:101-160 GRCh37", ">E1b chr1:102-161 GRCh37", ">E2 chr1:401-460 GRCh37")
    (folder / "e.fa").write_text("".join(f"{head}\n{SEQUENCE}\n" for head in heads))
    rows = [f"{name}\t{pos}\t{ref}\t{alt}\t{barcodes}\t{value}" for name, pos, ref, alt, barcodes, value in (
        ("E1", 101, "A", "C", 50, 0.5),
        ("E1", 102, "C", "-", 50, -0.5),
        ("E1b", 102, "A", "C", 50, 0.1),
        ("E1b", 103, "C", "G", 9, 0.2),
        ("E2", 401, "A", "T", 50, -1.5),
        ("E2", "NA", "A", "T", 50, -1.5),
        ("E2", 402, "G", "T", 50, -1.0),
    )]  # fmt: skip
    (folder / "e.tsv").write_text("Element\tPos\tRef\tAlt\tBarcodes\tCoefficient\n" + "\n".join(rows) + "\n")
    return (
        "a\te.fa\te.tsv\t\t\tElement,Pos,Ref,Alt\tBarcodes>=10 Pos!=NA\tCoefficient\tspearman_by_element\t"
        "Element\toverlap"
    )


def test_an_assay_needs_no_genome_and_experiments_that_overlap_are_one_element(tmp_path: Path) -> None:
    found = prepared(tmp_path, assay(tmp_path))
    assert [(each.contig, each.start, each.alt) for each in found.alleles] == [
        ("E1", 0, "C"),
        ("E1", 1, ""),
        ("E1b", 0, "C"),
        ("E2", 0, "T"),
    ]
    assert found.grouping.groups.tolist() == [0, 0, 1, 2]
    assert found.grouping.clusters.tolist() == [0, 0, 0, 1]
    assert list(found.cluster_names) == ["E1", "E2"]
    assert dict(found.aside) == {"not asked for by keep": 2, "ref_mismatch": 1}


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (
            {"lines": "chr1\t1\tClinvar1\tA\tC\nchr1\t5\tClinvar2\tA\tC"},
            "BENCH-14",
            "2 positives and 0 negatives",
        ),
        ({"lines": "chr1\t1\tClinvar1\tG\tC\nchr1\t2\t1000G\tG\tC"}, "BENCH-13", "benchmark.genomes.hg19="),
        ({"label": "LABEL"}, "BENCH-15", "no column LABEL: it has CHROM, POS, ID, REF, ALT"),
        ({"keep": "Barcodes>=10"}, "BENCH-15", "no column Barcodes"),
        ({"columns": "Chromosome,Pos,Ref,Alt"}, "BENCH-15", "no line has all of them"),
        ({"genome": None}, "BENCH-12", "benchmark.genomes.hg19=hg19.fa.gz"),
        ({"path": "absent.vcf"}, "BENCH-04", "absent.vcf"),
        ({"metric": "f1"}, "BENCH-01", "auprc_by_chromosome, auroc, spearman_by_element"),
        ({"metric": "auroc,spearman_by_element"}, "BENCH-01", "metrics of classes, or of values"),
        ({"keep": "nonsense"}, "BENCH-01", "a condition such as Barcodes>=10"),
    ],
)
def test_what_cannot_be_judged_is_a_sentence(
    tmp_path: Path, change: dict[str, str | None], code: str, words: str
) -> None:
    lines = change.get("lines") or "chr1\t1\tClinvar1\tA\tC\nchr1\t2\t1000G7\tC\tG"
    (tmp_path / "v.vcf").write_text(f"{lines}\n")
    text = row(
        change.get("path") or "v.vcf",
        change.get("label") or "ID=Clinvar*|1000G*",
        columns=change.get("columns") or "",
        keep=change.get("keep") or "",
        metric=change.get("metric") or "auroc",
    )
    with pytest.raises(DnalmError) as caught:
        prepared(tmp_path, text, genome=None if "genome" in change else GENOME)
    assert str(caught.value).startswith(code)
    assert words in str(caught.value)


def test_sets_that_are_not_at_hand_are_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "v.vcf").write_text("chr1\t1\tClinvar1\tA\tC\n")
    rows = [row("v.vcf", "ID=Clinvar*|1000G*"), row("w.vcf", "LABEL").replace("a\t", "b\t", 1)]
    toy = suite(tmp_path, "\n".join([assay(tmp_path).replace("a\t", "c\t", 1), *rows]))
    assert [each.name for each in toy.choose(None)] == ["c"]
    said = " ".join(capsys.readouterr().err.split())
    assert said == "left out: a (benchmark.genomes.hg19 is not given); b (benchmark.root lacks it)"
    with pytest.raises(DnalmError, match="BENCH-02 tasks: no set 'd'"):
        toy.choose(["d"])


def test_another_file_than_is_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v.vcf").write_text("chr1\t1\tClinvar1\tA\tC\n")
    text = row("v.vcf", "ID=Clinvar*|1000G*").replace("v.vcf\t\t", f"v.vcf\t\t{'0' * 64}", 1)
    with pytest.raises(DnalmError, match="BENCH-05"):
        prepared(tmp_path, text, genome=GENOME)


def test_the_shipped_list_is_read() -> None:
    sets = read_sets(config_folder() / "benchmark/variants.tsv")
    assert {"planted", "mpra", "clinvar_common", "gwas_common", "clinvar_indels"} <= {
        each.name for each in sets
    }


@pytest.mark.parametrize(
    ("score", "is_class", "wanted"),
    [
        ("llr", True, [2.0, -1.0]),
        ("pll", False, [2.0, -1.0]),
        ("distance", True, [-2.0, 1.0]),
        ("prediction", True, [2.0, 1.0]),
        ("prediction", False, [2.0, -1.0]),
    ],
)
def test_which_way_a_score_points_does_not_depend_on_results(
    score: str, is_class: bool, wanted: list[float]
) -> None:
    assert damage(score, np.array([-2.0, 1.0]), is_class=is_class).tolist() == wanted  # type: ignore[arg-type]


def test_scores_are_held_to_values_by_their_sign_or_their_size(tmp_path: Path) -> None:
    """Two scores of one job; a variant without a number gets the median."""
    found = prepared(tmp_path, assay(tmp_path))
    run = tmp_path / "run"
    run.mkdir()
    table = {"chrom": ["E"] * 4, "llr": [1.0, 2.0, None, 5.0], "cosine_variant_1": [0.1, 0.2, 0.3, 0.4]}
    pq.write_table(pa.table(table), run / "scores.parquet")
    rows = rows_of([found], ["llr", "distance"])
    assert read_outcomes(run, rows, model="m", seed=1, made_by={}) == []
    summary = '{"seconds": 1.0, "peak_memory": 2, "parameters": 3}'
    (run / "scores.parquet.summary.json").write_text(summary)
    llr, distance = read_outcomes(run, rows, model="m", seed=1, made_by={})
    assert llr.scores.tolist() == [1.0, 2.0, 2.0, 5.0]
    assert llr.labels.tolist() == [0.5, -0.5, 0.1, -1.5]
    assert (llr.provenance["without_number"], distance.provenance["without_number"]) == ("1", "0")
    assert distance.labels.tolist() == [0.5, 0.5, 0.1, 1.5]
    assert distance.scores.tolist() == [0.1, 0.2, 0.3, 0.4]
