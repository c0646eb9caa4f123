"""Every malformed GFF or GTF line raises with its code, place and cause; others become 0-based intervals."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pysam
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnalm.errors import DataError
from dnalm.genome.genes import read_transcripts
from dnalm.genome.gff import GffReader
from dnalm.genome.store import GenomeStore, build_store
from tests.genome.malformed_fasta import bgzip

LENGTHS = {"chr1": 400, "20": 200, "a+b": 50}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> GenomeStore:
    folder = tmp_path_factory.mktemp("genome")
    (folder / "genome.fa").write_text("".join(f">{name}\n{'A' * n}\n" for name, n in LENGTHS.items()))
    return build_store(folder / "genome.fa", folder / "store")


def row(kind: str, start: int, end: int, attributes: str, strand: str = "+", phase: str = ".") -> str:
    return f"chr1\ttest\t{kind}\t{start}\t{end}\t.\t{strand}\t{phase}\t{attributes}"


GENE = row("gene", 11, 100, "ID=g")
MRNA = row("mRNA", 11, 100, "ID=t;Parent=g")
EXON = row("exon", 11, 50, "ID=e;Parent=t")
CDS = row("CDS", 21, 40, "ID=c;Parent=t", phase="0")
GTF_EXON = row("exon", 11, 50, 'gene_id "g"; transcript_id "t";')
SOUND = ["##gff-version 3", GENE, MRNA, EXON, CDS]
GTF = [row("gene", 11, 100, 'gene_id "g";'), GTF_EXON]

LINE_CASES = [
    # code, file, sound lines before, bad line, words
    ("GFF-01", "a.gff3", SOUND, EXON.rpartition("\t")[0], ("line has 8 columns", "9 columns separated")),
    ("GFF-01", "a.gff3", SOUND, EXON + "\tx", ("line has 10 columns",)),
    ("GFF-02", "a.gff3", SOUND, row("exon", 50, 11, "Parent=t"), ("start 50 is above end 11",)),
    ("GFF-03", "a.gff3", SOUND, row("exon", 0, 11, "Parent=t"), ("start 0", "count from 1", "add 1")),
    ("GFF-04", "a.gff3", SOUND, GTF_EXON, ("attributes are those of GTF", "the suffix .gtf")),
    ("GFF-04", "a.gtf", GTF, EXON, ("attributes are those of GFF3", "the suffix .gff3")),
    ("GFF-04", "a.gff3", SOUND, row("exon", 1, 9, "Parent=t;x"), ("'x' has no value, so that Parent may",)),
    ("GFF-04", "a.gff3", SOUND, row("exon", 1, 9, "ID=e;v;Parent=t"), ("'v' has no value, so that ID may",)),
    ("GFF-04", "a.gff3", SOUND, row("exon", 1, 9, "ID=e;ID=f;Parent=t"), ("ID is `e` and `f`", "%3B")),
    ("GFF-04", "a.gtf", GTF, row("exon", 1, 9, 'transcript_id; gene_id "g"'), ("'transcript_id' cannot",)),
    ("GFF-04", "a.gff3", SOUND, row("exon", 1, 9, "parent=t"), ("the attribute 'parent'", "write Parent=t")),
    ("GFF-05", "a.gtf", GTF, row("exon", 1, 9, 'gene_id "g; transcript_id "t";'), ("quote is not closed",)),
    ("GFF-07", "a.gff3", SOUND, CDS.replace("\t0\t", "\t3\t"), ("phase '3' in column 8", "0, 1 or 2")),
    ("GFF-08", "a.gff3", SOUND, row("exon", 11, 50, "Parent=u"), ("Parent `u` not found",)),
    ("GFF-09", "a.gff3", SOUND, EXON.replace("chr1", "chr3"), ("unknown contig `chr3`", "`chr1`")),
    ("GFF-10", "a.gff3", SOUND, row("exon", 60, 90, "ID=t"), ("ID `t` of a exon", "of a mRNA", "line 3")),
    ("GFF-13", "a.gff3", SOUND, row("exon", 60, 401, "Parent=t"), ("end 401 is past the end", "at most 400")),
    ("GFF-13", "a.gff3", SOUND, "##sequence-region chr1 1 500", ("region 500 is past the end of `chr1`",)),
    ("GFF-14", "a.gff3", SOUND, EXON.replace("\t50\t", "\t5e1\t"), ("'5e1' is not a position",)),
    ("GFF-14", "a.gff3", SOUND, EXON.replace("\t11\t", "\t-1\t"), ("'-1' is not a position",)),
    ("GFF-15", "a.gff3", SOUND, EXON.replace("\t+\t", "\tplus\t"), ("strand 'plus' in column 7",)),
    ("GFF-17", "a.gff3", SOUND, EXON.replace("\t", " "), ("separated by spaces",)),
    ("GFF-18", "a.gff3", SOUND, EXON.replace("chr1", "20").replace("ID=e", "ID=f"),
     ("Parent `t` lies on chr1, its exon on 20",)),
    ("GFF-19", "a.gtf", GTF, row("exon", 1, 9, 'gene_id "g";'), ("a exon without transcript_id",)),
    ("GFF-23", "a.gff3", SOUND, EXON + "\0", ("byte 0x00",)),
]  # fmt: skip


@pytest.mark.parametrize(("code", "name", "before", "bad", "words"), LINE_CASES, ids=lambda v: str(v)[:20])
def test_malformed_line_gives_its_code_place_and_cause(
    code: str,
    name: str,
    before: list[str],
    bad: str,
    words: tuple[str, ...],
    store: GenomeStore,
    tmp_path: Path,
) -> None:
    path = tmp_path / name
    path.write_text("\n".join([*before, bad, ""]))
    with pytest.raises(DataError) as caught:
        list(read_transcripts(GffReader(path, store)))
    message = str(caught.value)
    assert message.startswith(f"{code} {path}:{len(before) + 1}: ")
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("lines", "circle"),
    [
        ([row("mRNA", 1, 9, "ID=a;Parent=a")], "a -> a"),
        ([row("gene", 1, 9, "ID=a;Parent=b"), row("mRNA", 1, 9, "ID=b;Parent=a")], "a -> b -> a"),
        ([GENE, row("gene", 1, 9, "ID=x;Parent=g,y"), row("gene", 1, 9, "ID=y;Parent=x")], "x -> y -> x"),
    ],
)
def test_gff_12_circle_of_parents(lines: list[str], circle: str, store: GenomeStore, tmp_path: Path) -> None:
    (tmp_path / "a.gff3").write_text("\n".join(lines))
    with pytest.raises(DataError, match=rf"GFF-12 .*Parents run in a circle: {circle};"):
        list(read_transcripts(GffReader(tmp_path / "a.gff3", store)))


def test_gff_25_a_file_without_genes_is_no_annotation_of_them(store: GenomeStore, tmp_path: Path) -> None:
    (tmp_path / "a.gff3").write_text("\n".join(row(kind, 1, 9, "Name=x") for kind in ("repeat", "match")))
    with pytest.raises(
        DataError, match=r"GFF-25 .*no gene, transcript, exon or CDS; its types are match, repeat"
    ):
        list(read_transcripts(GffReader(tmp_path / "a.gff3", store)))


def test_a_parent_of_several_paths_is_no_circle(store: GenomeStore, tmp_path: Path) -> None:
    lines = [GENE, row("mRNA", 1, 9, "ID=a;Parent=g"), row("mRNA", 1, 9, "ID=b;Parent=g"),
             row("miRNA", 1, 9, "ID=c;Parent=a,b,g")]  # fmt: skip
    (tmp_path / "a.gff3").write_text("\n".join(lines))
    assert len(list(read_transcripts(GffReader(tmp_path / "a.gff3", store)))) == 1


@pytest.mark.parametrize("content", ["", "##gff-version 3\n\n", "##FASTA\n>x\nACGT\n"])
def test_gff_16_file_without_features(content: str, store: GenomeStore, tmp_path: Path) -> None:
    (tmp_path / "a.gff3").write_text(content)
    with pytest.raises(DataError, match=r"GFF-16 .*a.gff3:1: the file has no records"):
        list(GffReader(tmp_path / "a.gff3", store))
    with pytest.raises(DataError, match=r"GFF-16 .*cannot be read"):
        GffReader(tmp_path / "absent.gff3", store)
    (tmp_path / "cut.gff3").write_bytes(gzip.compress(GENE.encode())[:-4])
    with pytest.raises(DataError, match=r"GFF-20 .*before its end"):
        GffReader(tmp_path / "cut.gff3", store)


def kinds_and_notes(path: Path, store: GenomeStore, text: str) -> tuple[list[str], list[str]]:
    path.write_text(text)
    reader = GffReader(path, store)
    return [feature.kind for feature in reader], reader.notes()


def test_a_comment_that_begins_like_fasta_ends_nothing(store: GenomeStore, tmp_path: Path) -> None:
    """Gene finders write proteins as comments: `##` and letters."""
    path, protein = tmp_path / "a.gff3", "##Protein 1\n##MKLV\n##FASTAGHKL\n##FASTA\n##end-Protein"
    kinds, notes = kinds_and_notes(path, store, "\n".join([GENE, MRNA, protein, EXON, CDS]))
    assert (kinds, notes) == (["gene", "mRNA", "exon", "CDS"], [])


def test_gff_06_files_put_end_to_end_are_read_to_the_end(store: GenomeStore, tmp_path: Path) -> None:
    path, sequence = tmp_path / "a.gff3", "##FASTA\n>chr1 some\ttext\nACGT\n>20\nACGT"
    kinds, notes = kinds_and_notes(
        path, store, "\n".join([GENE, sequence, "##gff-version 3", MRNA, sequence])
    )
    assert kinds == ["gene", "mRNA"]
    assert notes == [f"GFF-06 {path}:3: sequence, not read"]


def test_gff_04_attributes_without_a_value_are_counted(store: GenomeStore, tmp_path: Path) -> None:
    """Only ID and Parent tie features together; a Note may hold what it likes."""
    path = tmp_path / "a.gff3"
    path.write_text(
        "\n".join([*SOUND, row("CDS", 45, 50, "Parent=t;Note=ABC transporter; permease;partial", phase="0")])
    )
    reader = GffReader(path, store)
    *_, last = reader
    assert last.attributes == {"Parent": "t", "Note": "ABC transporter"}
    assert reader.notes() == [f"GFF-04 {path}: 2 attributes without a value passed over"]


def test_several_parents_may_stand_in_several_attributes(store: GenomeStore, tmp_path: Path) -> None:
    (tmp_path / "a.gff3").write_text(row("exon", 1, 9, "Parent=t;Parent=u,v; ;"))
    (exon,) = GffReader(tmp_path / "a.gff3", store)
    assert exon.names("Parent") == ["t", "u", "v"]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('gene_id "g"; transcript_id "t"; note "a;b # c"; rank 2;', {"note": "a;b # c", "rank": "2"}),
        ('gene_id "g";; transcript_id "t" ; ; # a remark', {}),
        ("gene_id g; transcript_id t", {}),
        ('gene_id "g"; transcript_id "t"; partial; note "a" "b"; tag "x"', {"tag": "x"}),
    ],
)
def test_gtf_attributes_as_tools_write_them(
    text: str, values: dict[str, str], store: GenomeStore, tmp_path: Path
) -> None:
    (tmp_path / "a.gtf").write_text(row("exon", 1, 9, text))
    reader = GffReader(tmp_path / "a.gtf", store)
    (exon,) = reader
    assert exon.attributes == {"gene_id": "g", "transcript_id": "t", **values}
    assert bool(reader.notes()) == ("partial" in text)


@pytest.mark.parametrize("name", ["a.gtf", "a.gff"])
def test_a_bare_word_is_the_id_of_its_gene_or_transcript(
    name: str, store: GenomeStore, tmp_path: Path
) -> None:
    lines = [row("gene", 1, 9, "g1"), row("transcript", 1, 9, "g1.t1;"),
             row("exon", 1, 9, 'transcript_id "g1.t1"; gene_id "g1";')]  # fmt: skip
    (tmp_path / name).write_text("\n".join(lines))
    reader = GffReader(tmp_path / name, store)
    gene, transcript, _ = reader
    assert (gene.attributes, transcript.attributes) == ({"gene_id": "g1"}, {"transcript_id": "g1.t1"})
    assert reader.notes() == []


def test_types_may_be_accessions_of_the_sequence_ontology(store: GenomeStore, tmp_path: Path) -> None:
    path = tmp_path / "a.gff3"
    kinds, _ = kinds_and_notes(
        path, store, "\n".join(row(f"SO:0000{n}", 1, 9, ".") for n in (704, 234, 147, 316))
    )
    assert kinds == ["gene", "mRNA", "exon", "CDS"]


CIRCLE = "20\tt\tregion\t1\t200\t.\t.\t.\tID=r;Is_circular=true"


def test_a_feature_crosses_the_origin_of_a_circular_contig(store: GenomeStore, tmp_path: Path) -> None:
    path, across = tmp_path / "a.gff3", "20\tt\tCDS\t191\t230\t.\t+\t0\tID=c"
    path.write_text("\n".join([across, CIRCLE]))
    cds, region = GffReader(path, store)
    assert cds.pieces == [(190, 200), (0, 30)]
    assert region.pieces == [(0, 200)]
    path.write_text("\n".join([across.replace("191\t230", "211\t230"), CIRCLE]))
    assert next(iter(GffReader(path, store))).pieces == [(10, 30)]
    for lines in (
        [across],  # a linear contig
        [across, CIRCLE.replace("\t200\t", "\t199\t")],  # a circle that is not all of the contig
        [across.replace("20\tt", "chr1\tt").replace("191\t230", "391\t430"), CIRCLE],  # another contig
        [across.replace("230", "391"), CIRCLE],  # more than a turn
        [across.replace("191\t230", "401\t430"), CIRCLE],
    ):
        path.write_text("\n".join(lines))
        with pytest.raises(DataError, match=r"GFF-13 .* is past the end"):
            list(GffReader(path, store))


@pytest.mark.parametrize("end", ["##FASTA\n>chr1\nACGT\n", ">chr1\nACGT\n"])
def test_gff_06_sequence_ends_the_annotation(end: str, store: GenomeStore, tmp_path: Path) -> None:
    (tmp_path / "a.gff3").write_text("\n".join([*SOUND, end]))
    assert [feature.kind for feature in GffReader(tmp_path / "a.gff3", store)] == [
        "gene",
        "mRNA",
        "exon",
        "CDS",
    ]


def test_gff_07_cds_without_phase_is_noted(store: GenomeStore, tmp_path: Path) -> None:
    path = tmp_path / "a.gff3"
    path.write_text("\n".join([*SOUND, row("CDS", 45, 50, "Parent=t")]))
    reader = GffReader(path, store)
    list(reader)
    assert reader.notes() == [f"GFF-07 {path}: 1 CDS lines have no phase"]


def test_gff_11_percent_encoding_is_decoded(store: GenomeStore, tmp_path: Path) -> None:
    lines = [
        "a%2Bb\ts\tgene\t1\t9\t.\t?\t.\tID=x%2Cy;Note=100%",
        "chr1\ts\tmRNA\t1\t9\t.\t-\t.\tParent=x%2Cy,z;Note=a%3Bb",
    ]
    (tmp_path / "a.gff3").write_text("\r\n".join(lines))
    gene, mrna = GffReader(tmp_path / "a.gff3", store)
    assert (gene.contig.name, gene.start, gene.end, gene.strand) == ("a+b", 0, 9, ".")
    assert gene.names("ID") == ["x,y"]
    assert gene.attributes["Note"] == "100%"
    assert mrna.names("Parent") == ["x,y", "z"]
    assert mrna.names("ID") == []


def test_other_contigs_can_be_skipped(store: GenomeStore, tmp_path: Path) -> None:
    path = tmp_path / "a.gff3"
    other = [line.replace("chr1", "chrUn") for line in (GENE.replace("=g", "=h"), MRNA.replace("=t", "=u"))]
    path.write_text("\n".join([*SOUND, other[0]]))
    reader = GffReader(path, store, other_contigs="skip")
    assert len(list(reader)) == 4
    assert reader.notes() == [f"GFF-09 {path}: 1 features on 1 other contigs skipped"]
    path.write_text("\n".join(other))
    with pytest.raises(DataError, match=r"GFF-09 .*unknown contig `chrUn`"):
        list(GffReader(path, store, other_contigs="skip"))


@pytest.mark.parametrize(
    ("name", "lines", "kind"),
    [
        ("a.gff3.gz", [EXON], "gff3"),
        ("a.gtf", [GTF_EXON], "gtf"),
        ("a.gff", [EXON], "gff3"),
        ("a.gff", [GTF_EXON], "gtf"),
        ("a.gff", ["##gff-version 3", row("exon", 1, 9, ".")], "gff3"),
        ("a.gff", ["##gff-version 2", GTF_EXON], "gtf"),
        ("a.gff", [row("gene", 1, 9, "."), row("gene", 1, 9, "g1"), GTF_EXON], "gtf"),
        ("a.gff2", [GTF_EXON], "gtf"),
    ],
)
def test_format_follows_from_suffix_directive_or_attributes(
    name: str, lines: list[str], kind: str, store: GenomeStore, tmp_path: Path
) -> None:
    text = "\n".join(lines).encode()
    (tmp_path / name).write_bytes(bgzip(text) if name.endswith(".gz") else text)
    assert GffReader(tmp_path / name, store).format == kind


names = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='";=,%>'), min_size=1)


@st.composite
def features(draw: st.DrawFn) -> tuple[str, str, int, int, str, str]:
    contig = draw(st.sampled_from(["chr1", "20"]))
    start = draw(st.integers(0, LENGTHS[contig] - 1))
    end = draw(st.integers(start + 1, LENGTHS[contig]))
    kind = draw(st.sampled_from(["exon", "CDS", "gene", "start_codon"]))
    return contig, kind, start, end, draw(st.sampled_from("+-.")), draw(names)


@given(written=st.lists(features(), min_size=1, max_size=15), is_gtf=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_as_pysam_reads_it(
    written: list[tuple[str, str, int, int, str, str]], is_gtf: bool, store: GenomeStore, tmp_path: Path
) -> None:
    path = tmp_path / ("a.gtf" if is_gtf else "a.gff3")
    form = 'gene_id "{0}"; transcript_id "{0}";' if is_gtf else "Name={0}"
    path.write_text(
        "".join(
            f"{contig}\ts\t{kind}\t{start + 1}\t{end}\t.\t{strand}\t0\t{form.format(name)}\n"
            for contig, kind, start, end, strand, name in written
        )
    )
    key = "gene_id" if is_gtf else "Name"
    found = [
        (f.contig.name, f.kind, f.start, f.end, f.strand, f.attributes[key]) for f in GffReader(path, store)
    ]
    assert found == written
    with path.open() as lines:
        parser = pysam.asGTF() if is_gtf else pysam.asGFF3()
        parsed = [
            (r.contig, r.feature, r.start, r.end, r.strand or ".")
            for r in pysam.tabix_iterator(lines, parser)
        ]
    assert [row[:5] for row in found] == parsed


def test_every_line_of_a_real_file_is_read(
    shared_data: Path, make_store: Callable[[dict[str, str]], GenomeStore]
) -> None:
    path = shared_data / "annotations/hg19_chr22.refseq.gff3.gz"
    store = make_store({"chr22": "A" * 51_304_566})
    found = [(f.kind, f.start, f.end, f.strand) for f in GffReader(path, store)]
    with gzip.open(path, "rt") as lines:
        text = [line for line in lines if not line.startswith("#")]
    columns = [line.split("\t") for line in text]
    assert found == [(c[2], int(c[3]) - 1, int(c[4]), c[6]) for c in columns]
