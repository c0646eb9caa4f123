"""Every way a file of variants is broken, and the sentence that says so, with file and line."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pysam
import pytest

from dnalm.errors import DataError
from dnalm.genome.store import GenomeStore
from dnalm.genome.variants import Survey, read_records, survey

TEXT = "ACGTACGTACGTACGTACGT"
HEAD = (
    "##fileformat=VCFv4.2\n"
    '##INFO=<ID=AF,Number=A,Type=Float,Description="frequency">\n'
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
)
GOOD = "chr1\t1\t.\tA\tG\t.\tPASS\t.\n"


@pytest.fixture
def look(make_store: Callable[[dict[str, str]], GenomeStore], tmp_path: Path) -> Callable[..., Survey]:
    store = make_store({"chr1": TEXT, "chr2": "NNNNA" * 4})

    def look(content: str | bytes, *, mismatch: str = "stop", other_contigs: str = "stop") -> Survey:
        path = tmp_path / "variants.vcf"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return survey(
            path,
            store,
            max_allele_bp=4,
            mismatch=mismatch,  # type: ignore[arg-type]
            other_contigs=other_contigs,  # type: ignore[arg-type]
        )

    return look


def line(**changed: str) -> str:
    columns = {"chrom": "chr1", "pos": "1", "id": ".", "ref": "A", "alt": "G", "qual": ".", "filter": "PASS"}
    return "\t".join((columns | {"info": "."} | changed).values()) + "\n"


BROKEN = {
    "VCF-01 empty": ("", ":1", "the file is empty"),
    "VCF-01 no header": ("##fileformat=VCFv4.2\n" + GOOD, ":2", "the `#CHROM` line is missing"),
    "VCF-01 lower case": (HEAD.lower() + GOOD, ":3", "the header names the columns chrom, pos, id, ref"),
    "VCF-03 exponent": ("chrom,pos,ref,alt\nchr1,1e1,A,G\n", ":2", "POS `1e1` is not a positive integer"),
    "VCF-03 point": (HEAD + line(pos="1.0"), ":4", "POS `1.0` is not a positive integer"),
    "VCF-01 no table": ("gene\tname\nA\tB\n", ":1", "the first line has 2 columns"),
    "VCF-02 cut": (HEAD + GOOD + "chr1\t2\t.\tC\n", ":5", "line 5 has 4 columns; at least 8"),
    "VCF-03 text": (HEAD + line(pos="ten"), ":4", "POS `ten` is not a positive integer"),
    "VCF-03 negative": (HEAD + line(pos="-4"), ":4", "POS `-4` is not a positive integer"),
    "VCF-05 huge": (HEAD + line(pos="99999999999"), ":4", "exceeds its contig; at most 20"),
    "VCF-05 past": (HEAD + line(pos="21"), ":4", "POS 21 with a REF of 1 bases exceeds its contig"),
    "VCF-07 contig": (HEAD + line(chrom="chrX"), ":4", "unknown contig `chrX`"),
    "VCF-08 empty REF": (HEAD + line(ref=""), ":4", "REF is empty"),
    "VCF-08 dot": (HEAD + line(ref="."), ":4", "REF is empty"),
    "VCF-09 letters": (HEAD + line(ref="Z1"), ":4", "REF `Z1` has illegal letters"),
    "VCF-09 alt": (HEAD + line(alt="A1"), ":4", "ALT `A1` has illegal letters"),
    "VCF-10 mismatch": (HEAD + line(ref="C"), ":4", "REF of chr1:1 is not the reference's"),
    "VCF-14 spaces": (HEAD + GOOD.replace("\t", " "), ":4", "fields are separated by spaces"),
    "VCF-14 no header": ("chr1 1 . A G\n", ":1", "fields are separated by spaces"),
    "VCF-16 qual": (HEAD + line(qual="bad"), ":4", "QUAL `bad` is not a number"),
    "VCF-22 ALTs": (HEAD + line(alt=",".join(["G"] * 200_000)), ":4", "more than 10,000 ALTs"),
    "VCF-01 columns": (
        HEAD.replace("\tQUAL", "").replace("\t", " ") + GOOD,
        ":3",
        "the header names the columns CHROM, POS, ID, REF, ALT, FILTER, INFO",
    ),
    "VCF-21 long": (HEAD + line(id="x" * (65 << 20)), ":4", "a line of more than 64 MiB"),
    "VCF-02 quotes": ('chrom,pos,ref,alt\nchr1,1,A,"G\n', ":2", "the quotes cannot be read"),
    "VCF-19 samples": (HEAD + GOOD.strip() + "\tGT\t0/1\n", ":4", "line 4 has 10 columns; 8, as the header"),
    "VCF-19 twice": (
        HEAD.replace("INFO\n", "INFO\tFORMAT\tS\tS\n") + GOOD,
        ":3",
        "sample `S` occurs twice",
    ),
    "VCF-20 NUL": (HEAD + line(id="a\0b"), ":4", "byte 0x00"),
    "VCF-20 latin": (HEAD.encode() + b"chr1\t1\t\xe9\tA\tG\t.\t.\t.\n", ":4", "byte 0xe9"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_malformed_line_raises_with_its_place(case: str, look: Callable[..., Survey]) -> None:
    content, where, words = BROKEN[case]
    with pytest.raises(DataError) as raised:
        look(content)
    assert raised.value.code == case.split()[0]
    assert raised.value.where.endswith(f"variants.vcf{where}")
    assert words in str(raised.value)


REASONS = {
    "telomere": line(pos="0") + line(pos="21", ref="N", alt="<DEL>"),
    "spanning_deletion": line(alt="*"),
    "missing_alt": line(alt="."),
    "symbolic": line(alt="<DEL>"),
    "breakend": line(alt="G]chr1:9]"),
    "alt_is_ref": line(alt="a"),
    "ambiguous_base": line(alt="R"),
    "too_long": line(alt="GGGGG"),
    "reference_n": line(chrom="chr2", ref="N"),
}


@pytest.mark.parametrize("reason", REASONS)
def test_what_cannot_be_scored_has_a_reason(reason: str, look: Callable[..., Survey]) -> None:
    rows = REASONS[reason]
    assert look(HEAD + GOOD + rows).reasons == {reason: rows.count("\n")}


def test_a_long_reference_allele_is_passed_over(look: Callable[..., Survey]) -> None:
    assert look(HEAD + line(ref="ACGTAC", alt="A")).reasons == {"too_long": 1}


def test_a_contig_that_the_genome_lacks_can_be_passed_over(look: Callable[..., Survey]) -> None:
    assert look(HEAD + GOOD + line(chrom="chrX"), other_contigs="skip").reasons == {"no_contig": 1}


def test_a_mismatch_in_a_thousand_records_is_flagged_and_two_stop(look: Callable[..., Survey]) -> None:
    good = HEAD + GOOD * 999
    assert look(good + line(ref="C")).reasons == {"ref_mismatch": 1}
    with pytest.raises(DataError, match=r"VCF-10 .*2 of 1001 records .*another genome build.*mismatch=flag"):
        look(good + line(ref="C") * 2)
    assert look(good + line(ref="C") * 2, mismatch="flag").reasons == {"ref_mismatch": 2}


def test_a_wrong_build_stops_after_a_thousand_records(look: Callable[..., Survey]) -> None:
    with pytest.raises(DataError, match=r"500 of 1000 records so far"):
        look(HEAD + (GOOD + line(ref="C")) * 3000)


def test_case_line_ends_and_other_names_of_contigs_do_not_matter(look: Callable[..., Survey]) -> None:
    rows = line(chrom="1", pos="9") + line(chrom="1", ref="a", alt="g")
    found = look((HEAD + rows).replace("\n", "\r\n"))
    assert (found.num_records, found.reasons) == (2, {})


def test_an_unsorted_file_is_known_as_such(look: Callable[..., Survey]) -> None:
    assert look(HEAD + GOOD + line(pos="9", ref="A")).is_sorted
    assert not look(HEAD + line(pos="9", ref="A") + GOOD).is_sorted
    assert not look(HEAD + GOOD + line(chrom="chr2", pos="5") + GOOD).is_sorted


def test_fields_that_the_header_lacks_are_counted(look: Callable[..., Survey]) -> None:
    assert look(HEAD + line(info="AF=1;XX=2;FLAG") + line(info="XX=1")).undeclared == {"FLAG": 1, "XX": 2}


def test_five_columns_and_tables_are_read(look: Callable[..., Survey], tmp_path: Path) -> None:
    five = look("chr1\t5\tname\tA\tT\nchr1\t6\tname\tCG\tC\n")
    assert (five.form.kind, five.num_records, five.reasons) == ("five", 2, {})
    table = look("Alt\tRef\tChromosome\tPosition\tvalue\n-\tC\tchr1\t2\t0.5\n")
    record = next(read_records(tmp_path / "variants.vcf", table.form))
    assert (record.start, record.ref, record.alts, record.line) == (1, "C", ("",), 2)


@pytest.mark.parametrize("delimiter", ["\t", ",", ";", "|"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_table_is_read_whatever_separates_and_quotes_its_columns(
    look: Callable[..., Survey], tmp_path: Path, delimiter: str, quote: str
) -> None:
    rows = [
        ["chrom", "pos", "ref", "alt", "note"],
        ["chr1", "1", "A", '"G,T"', "x"],
        ["chr1", "2", "C", "-", "y"],
    ]
    text = "\n".join(
        delimiter.join(cell if '"' in cell else f"{quote}{cell}{quote}" for cell in row) for row in rows
    )
    found = look("\ufeff" + text)
    assert (found.form.kind, found.num_records, found.num_alleles, found.reasons) == ("table", 2, 3, {})
    first, second = read_records(tmp_path / "variants.vcf", found.form)
    assert (first.alts, first.fields) == (("G", "T"), ("chr1", "1", "A", "G,T", "x"))
    assert (second.start, second.alts) == (1, ("",))
    bare = look(
        "\n".join(
            delimiter.join(f"{quote}{cell}{quote}" for cell in ("chr1", "1", "id", "A", "G")) for _ in "ab"
        )
    )
    assert (bare.form.kind, bare.num_records, bare.reasons) == ("five", 2, {})


def test_a_mark_and_a_header_with_spaces_do_no_harm(look: Callable[..., Survey]) -> None:
    assert look("\ufeff" + HEAD + GOOD).num_records == 1
    spaced = HEAD.replace("\t", "  ").replace("INFO\n", "INFO FORMAT s1\n")
    found = look(spaced + GOOD.strip() + "\tGT\t0/1\n")
    assert found.form.columns[-2:] == ("FORMAT", "s1")
    assert found.form.header[-1].split("\t") == ["#CHROM", *found.form.columns[1:]]


def test_info_fields_of_another_number_are_counted(look: Callable[..., Survey]) -> None:
    """They are only copied; gVCF blocks, duplicate keys and absent values are nothing to stop for."""
    infos = ["AF=0.1,0.2", "AF=0.1;AF=0.1,0.3", "AF=.", "AF", "AF=0.5", "END=1;"]
    found = look(HEAD + "".join(line(info=info) for info in infos) + line(alt="<NON_REF>", info="END=9"))
    assert found.miscounted == {"AF": 2}
    assert found.reasons == {"symbolic": 1}


def test_gzip_is_read_as_bgzip_is(look: Callable[..., Survey], tmp_path: Path) -> None:
    assert look(gzip.compress((HEAD + GOOD).encode())).num_records == 1
    plain = tmp_path / "plain.vcf"
    plain.write_text(HEAD + GOOD)
    pysam.tabix_compress(str(plain), str(tmp_path / "b.vcf.gz"))
    whole = (tmp_path / "b.vcf.gz").read_bytes()
    assert look(whole).num_records == 1
    with pytest.raises(DataError, match=r"VCF-23 .*end-of-file marker is missing"):
        look(whole[:-28])
    with pytest.raises(DataError, match="VCF-23"):
        look(whole[:-40])
    with pytest.raises(DataError, match=r"VCF-23 .*before its end"):
        look(gzip.compress((HEAD + GOOD * 500).encode())[:-12])


def test_an_index_beside_the_file_is_not_used(look: Callable[..., Survey], tmp_path: Path) -> None:
    (tmp_path / "variants.vcf.tbi").write_bytes(b"garbage")  # VCF-24
    assert look(HEAD + GOOD).num_records == 1


COLUMNS = HEAD.splitlines(keepends=True)[-1]
FORMS = {
    "no fileformat": (COLUMNS + GOOD, "vcf"),
    "fileformat in line 2": ("##source=x\n" + HEAD + GOOD, "vcf"),
    "3.3": ("##format=VCFv3.3\n" + COLUMNS + GOOD, "vcf"),
    "remarks above": ("# of mine\n" + HEAD + GOOD, "vcf"),
    "blank lines in the header": (HEAD.replace("\n", "\n\n") + GOOD, "vcf"),
    ".pvar of PLINK 2": (
        "##contig=<ID=chr1,length=21>\n#CHROM\tPOS\tID\tREF\tALT\nchr1\t1\tr\tA\tG\n",
        "table",
    ),
    "CADD": ("## CADD v1.6\n#Chrom\tPos\tRef\tAlt\tPHRED\nchr1\t1\tA\tG\t2\n", "table"),
    "remarks above a table": ("# of mine\n\nchrom\tpos\tref\talt\nchr1\t1\tA\tG\n", "table"),
    "positions of pandas": ("chrom,pos,ref,alt\nchr1,1.0,A,G\n", "table"),
    "blank lines above": ("\n\nchr1\t1\t.\tA\tG\n", "five"),
}


@pytest.mark.parametrize("name", FORMS)
def test_headers_as_tools_and_people_write_them(name: str, look: Callable[..., Survey]) -> None:
    content, kind = FORMS[name]
    found = look(content)
    assert (found.num_records, found.num_alleles, found.reasons, found.form.kind) == (1, 1, {}, kind)
    if kind == "vcf":
        assert found.form.header[0].startswith("##fileformat=VCFv4")
        assert all(line.startswith("##") for line in found.form.header[:-1])
