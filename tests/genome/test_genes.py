"""What every base is to its genes, derived by hand on small annotations."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dnalm.genome.alphabet import is_unknown
from dnalm.genome.genes import REGION_CLASSES
from dnalm.genome.store import GenomeStore, build_store, open_or_build
from dnalm.genome.track_recipes import RegionClasses
from dnalm.genome.tracks import MISSING
from dnalm.simulation.settings import Clade
from dnalm.simulation.simulate import simulate
from tests.simulation.conftest import SMALL_TREE

LETTERS = dict(zip("C53nip.", range(len(REGION_CLASSES)), strict=True))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> GenomeStore:
    """chr1 of 100 bases, chr2 of 60 of which 10 to 13 are N."""
    folder = tmp_path_factory.mktemp("genome")
    chr2 = "A" * 10 + "NNN" + "A" * 47
    (folder / "genome.fa").write_text(f">chr1\n{'A' * 100}\n>chr2\n{chr2}\n")
    return build_store(folder / "genome.fa", folder / "store")


def spelled(runs: str) -> str:
    """`3C 2i` as CCCii."""
    return "".join(letter * int(count) for count, letter in re.findall(r"(\d+)(\S)", runs))


def row(
    kind: str, start: int, end: int, attributes: str = ".", strand: str = "+", contig: str = "chr1"
) -> str:
    """A line of 0-based half-open coordinates."""
    return f"{contig}\tt\t{kind}\t{start + 1}\t{end}\t.\t{strand}\t.\t{attributes}"


def classes(store: GenomeStore, folder: Path, lines: list[str], name: str = "a.gff3", **options: int) -> str:
    """The letters of all bases; ? where missing. Promoters have 5 bases before and 3 from the start on."""
    (folder / name).write_text("\n".join(lines))
    recipe = RegionClasses(gff=folder / name, **{"promoter_upstream": 5, "promoter_downstream": 3, **options})
    track = recipe.prepare(store, folder / "tracks")
    letters = {number: letter for letter, number in LETTERS.items()} | {MISSING: "?"}
    return "".join(letters[number] for number in track.read(0, store.num_bases).tolist())


def chr1(text: str) -> str:
    assert set(text[100:]) == {"?"}, "chr2 is not in the file, so nothing is known of it"
    return text[:100]


def coding(strand: str, name: str = "t") -> list[str]:
    """A gene of two exons, [20, 40) and [60, 80), with the CDS [30, 40) and [60, 65)."""
    return [
        row("gene", 20, 80, f"ID=g{name}", strand),
        row("mRNA", 20, 80, f"ID={name};Parent=g{name}", strand),
        row("exon", 20, 40, f"Parent={name}", strand),
        row("exon", 60, 80, f"Parent={name}", strand),
        row("CDS", 30, 40, f"Parent={name}", strand),
        row("CDS", 60, 65, f"Parent={name}", strand),
    ]


def test_utrs_introns_and_promoter_are_derived_by_strand(store: GenomeStore, tmp_path: Path) -> None:
    plus = spelled("15. 5p") + "5" * 10 + "C" * 10 + "i" * 20 + "C" * 5 + "3" * 15 + "." * 20
    assert chr1(classes(store, tmp_path, coding("+"))) == plus
    minus = "." * 20 + "3" * 10 + "C" * 10 + "i" * 20 + "C" * 5 + "5" * 15 + "p" * 5 + "." * 15
    assert chr1(classes(store, tmp_path, coding("-"))) == minus


def test_the_order_of_lines_does_not_matter(store: GenomeStore, tmp_path: Path) -> None:
    forward = classes(store, tmp_path, coding("-"), "a.gff3")
    assert classes(store, tmp_path, coding("-")[::-1], "b.gff3") == forward


def test_promoter_shows_where_nothing_else_is_and_ends_with_the_contig(
    store: GenomeStore, tmp_path: Path
) -> None:
    intron_first = [row("tRNA", 2, 4, "ID=a"), row("tRNA", 97, 99, "ID=b", "-")]
    text = chr1(classes(store, tmp_path, intron_first))
    # + from 2: [-3, 5) clipped to [0, 5); - from 99: [96, 104) clipped to [96, 100)
    assert text == "pp" + "nn" + "p" + "." * 91 + "p" + "nn" + "p"
    longer = chr1(classes(store, tmp_path, intron_first, promoter_upstream=1, promoter_downstream=0))
    assert longer == ".p" + "nn" + "." * 93 + "nn" + "p"


def test_overlapping_transcripts_give_each_base_the_first_class_of_any(
    store: GenomeStore, tmp_path: Path
) -> None:
    lines = [
        *coding("+"),
        row("lnc_RNA", 35, 62, "ID=n;Parent=gt"),  # its exons [35, 50) and [58, 62) beat the intron
        row("exon", 35, 50, "Parent=n"),
        row("exon", 58, 62, "Parent=n"),
        row("mRNA", 70, 95, "ID=u", "-"),  # another gene: CDS [75, 90) beats the 3'UTR [65, 80)
        row("exon", 70, 95, "Parent=u", "-"),
        row("CDS", 75, 90, "Parent=u", "-"),
    ]
    text = chr1(classes(store, tmp_path, lines))
    expected = (
        "." * 15 + "p" * 5 + "5" * 10 + "C" * 10 + "n" * 10  # up to 50
        + "i" * 8 + "n" * 2 + "C" * 5 + "3" * 10 + "C" * 15  # up to 90
        + "5" * 5 + "p" * 5
    )  # fmt: skip
    assert text == expected


def test_utrs_and_introns_of_the_file_are_used(store: GenomeStore, tmp_path: Path) -> None:
    lines = [
        row("mRNA", 20, 60, "ID=t"),
        row("five_prime_UTR", 20, 30, "Parent=t"),
        row("intron", 30, 36, "Parent=t"),
        row("CDS", 36, 50, "Parent=t"),
        row("three_prime_UTR", 50, 60, "Parent=t"),
    ]
    expected = "." * 15 + "p" * 5 + "5" * 10 + "i" * 6 + "C" * 14 + "3" * 10 + "." * 40
    assert chr1(classes(store, tmp_path, lines)) == expected


def test_cds_without_exons_reaches_to_the_ends_of_its_transcript(store: GenomeStore, tmp_path: Path) -> None:
    lines = [
        row("CDS", 30, 40, "Parent=t", "-"),
        row("CDS", 45, 50, "Parent=t", "-"),
        row("mRNA", 20, 55, "ID=t", "-"),
    ]
    expected = "." * 20 + "3" * 10 + "C" * 10 + "i" * 5 + "C" * 5 + "5" * 5 + "p" * 5 + "." * 40
    assert chr1(classes(store, tmp_path, lines)) == expected


def test_lines_without_ids_are_tied_by_locus_tag_and_strand(store: GenomeStore, tmp_path: Path) -> None:
    lines = [
        row("gene", 20, 40, "locus_tag=Y1"),
        row("mRNA", 20, 25, "locus_tag=Y1"),
        row("mRNA", 30, 40, "locus_tag=Y1"),
        row("CDS", 20, 25, "locus_tag=Y1"),
        row("CDS", 30, 40, "locus_tag=Y1"),
        row("tRNA", 60, 62, "locus_tag=t", "-"),
        row("tRNA", 66, 70, "locus_tag=t", "-"),
        row("tRNA", 90, 92, "locus_tag=t", "+"),
        row("telomere", 0, 10, "locus_tag=T"),
    ]
    expected = (
        "." * 15 + "p" * 5 + "C" * 5 + "i" * 5 + "C" * 10 + "." * 20
        + "nn" + "iiii" + "nnnn" + "p" * 5 + "." * 10 + "p" * 5 + "nn" + "p" + "." * 7
    )  # fmt: skip
    assert chr1(classes(store, tmp_path, lines)) == expected


def test_cds_of_a_gene_is_its_own_transcript_and_a_bare_gene_is_missing(
    store: GenomeStore, tmp_path: Path
) -> None:
    lines = [
        row("gene", 20, 30, "ID=g"), row("CDS", 20, 30, "Parent=g"),
        row("pseudogene", 40, 60, "ID=p"), row("tRNA", 50, 55, "ID=r"),
        row("region", 0, 100, "ID=chromosome"), row("promoter", 70, 80, "ID=x"), row("exon", 80, 85, "ID=y"),
    ]  # fmt: skip
    expected = (
        "." * 15 + "p" * 5 + "C" * 10 + "." * 10  # up to 40
        + "?" * 10 + "n" * 5 + "?" * 5 + "." * 15 + "p" * 5 + "n" * 5 + "." * 15
    )  # fmt: skip
    assert chr1(classes(store, tmp_path, lines)) == expected


def test_without_strand_there_is_neither_promoter_nor_utr(store: GenomeStore, tmp_path: Path) -> None:
    expected = "." * 20 + "n" * 10 + "C" * 10 + "i" * 20 + "C" * 5 + "n" * 15 + "." * 20
    assert chr1(classes(store, tmp_path, coding("."))) == expected


def test_exon_between_parts_of_a_cds_is_coding(store: GenomeStore, tmp_path: Path) -> None:
    lines = [row("mRNA", 20, 40, "ID=t"), row("exon", 20, 40, "Parent=t"),
             row("CDS", 20, 30, "Parent=t"), row("CDS", 31, 40, "Parent=t")]  # fmt: skip
    assert chr1(classes(store, tmp_path, lines)) == "." * 15 + "p" * 5 + "C" * 20 + "." * 60


def test_gtf_gives_the_same_and_its_stop_codon_is_coding(store: GenomeStore, tmp_path: Path) -> None:
    def tied(kind: str, start: int, end: int) -> str:
        return row(kind, start, end, 'gene_id "g"; transcript_id "t";', "-")

    lines = [
        row("gene", 20, 80, 'gene_id "g";', "-"),
        tied("transcript", 20, 80), tied("exon", 20, 40), tied("exon", 60, 80),
        tied("CDS", 33, 40), tied("CDS", 60, 65), tied("stop_codon", 30, 33), tied("start_codon", 62, 65),
    ]  # fmt: skip
    gtf = classes(store, tmp_path, lines, "a.gtf")
    assert gtf == classes(store, tmp_path, coding("-"))
    assert classes(store, tmp_path, lines[2:], "b.gtf") == gtf, "genes and transcripts may lack their lines"
    bare = classes(store, tmp_path, lines[:1], "c.gtf")
    assert chr1(bare) == "." * 20 + "?" * 60 + "." * 20


def test_one_transcript_id_at_two_places_is_two_transcripts(store: GenomeStore, tmp_path: Path) -> None:
    lines = [
        row("exon", 20, 30, 'transcript_id "t";'),
        row("exon", 20, 30, 'transcript_id "t";', "+", "chr2"),
    ]
    text = classes(store, tmp_path, lines, "a.gtf")
    assert text[:100] == "." * 15 + "p" * 5 + "n" * 10 + "." * 70
    assert text[100:] == "." * 10 + "???" + ".." + "p" * 5 + "n" * 10 + "." * 30


def test_contigs_are_known_if_the_file_declares_them(store: GenomeStore, tmp_path: Path) -> None:
    text = classes(store, tmp_path, ["##gff-version 3", "##sequence-region 2 1 60", *coding("+")])
    assert text[100:] == "." * 10 + "???" + "." * 47


def test_class_balance_is_in_the_statistics(store: GenomeStore, tmp_path: Path) -> None:
    text = classes(store, tmp_path, coding("+"))
    track = RegionClasses(gff=tmp_path / "a.gff3", promoter_upstream=5, promoter_downstream=3).prepare(
        store, tmp_path / "tracks"
    )
    counts = Counter(text)
    assert track.statistics.positive_bases == {
        name: counts[letter] for letter, name in zip(LETTERS, REGION_CLASSES, strict=True)
    }
    assert track.statistics.num_covered == 100
    assert track.statistics.num_bases - track.statistics.num_covered == 60
    assert track.statistics.fractions()["CDS"] == 0.15


def test_negative_promoters_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        RegionClasses(gff=tmp_path, promoter_upstream=-1)


def test_parts_of_simulated_genes_are_what_the_simulation_planted(tmp_path: Path) -> None:
    sizes = {"genome_bp": 144_000, "num_contigs": 4, "isochore_bp": 6_000}
    clade = Clade(seed=7, tree=SMALL_TREE, dev_contigs=1, test_contigs=1, num_motif_variants=6,
                  num_splice_variants=2, **sizes)  # fmt: skip
    gff = sorted(simulate(clade, tmp_path / "clade").rglob("*.gff3"))[0]
    fasta = gff.with_suffix(".fa")
    store = open_or_build(fasta, tmp_path / "cache")
    track = RegionClasses(gff=gff).prepare(store, tmp_path / "cache")
    found = track.read(0, store.num_bases)
    known = found != MISSING
    for name in ("CDS", "five_prime_UTR", "three_prime_UTR"):
        written = np.zeros(store.num_bases, dtype=bool)
        for line in gff.read_text().splitlines():
            columns = line.split("\t")
            if len(columns) == 9 and columns[2] == name:
                offset = store.contig(columns[0]).offset
                written[offset + int(columns[3]) - 1 : offset + int(columns[4])] = True
        assert written.any()
        mine = found == REGION_CLASSES.index(name)
        if name == "CDS":
            assert (mine == written & known).all()
        else:
            assert not (mine & ~written).any()
            assert mine.sum() > 0.99 * (written & known).sum()


@pytest.mark.parametrize(
    ("fasta", "gff", "name"),
    [
        ("hg19_chr20", "annotations/hg19_chr20.refseq", "{}"),
        ("ustilago", "genomes/ustilago", "Umaydis:{}:1:+"),
        ("sacCer3", "genomes/sacCer3", "{}"),
    ],
)
def test_coding_bases_of_real_genomes_are_those_of_their_cds_lines(
    fasta: str, gff: str, name: str, shared_data: Path, tmp_path: Path
) -> None:
    store = open_or_build(shared_data / f"genomes/{fasta}.fa.gz", tmp_path)
    track = RegionClasses(gff=shared_data / f"{gff}.gff3.gz").prepare(store, tmp_path)
    written = np.zeros(store.num_bases, dtype=bool)
    with gzip.open(shared_data / f"{gff}.gff3.gz", "rt") as lines:
        for line in lines:
            columns = line.split("\t")
            if len(columns) == 9 and columns[2] == "CDS":
                start = name.format(columns[0]).replace("NC_000020.10", "20")
                (offset,) = (
                    contig.offset for contig in store.contigs if f"{contig.name}:".startswith(f"{start}:")
                )
                written[offset + int(columns[3]) - 1 : offset + int(columns[4])] = True
    written &= ~is_unknown(np.asarray(store.codes))
    assert written.sum() > 800_000
    assert track.read(0, store.num_bases)[written].max() == 0
    assert track.statistics.positive_bases["CDS"] - written.sum() in range(10), "ribosomal slippage"


def test_nothing_between_trans_spliced_parts_on_both_strands_is_an_intron(
    store: GenomeStore, tmp_path: Path
) -> None:
    """As NCBI writes rps12 of plastids; the two parts on one strand have an intron between them."""
    lines = [
        row("gene", 10, 20, "ID=g;part=1", "-"),
        row("gene", 50, 90, "ID=g;part=2", "+"),
        row("CDS", 10, 20, "ID=c;Parent=g", "-"),
        row("CDS", 50, 60, "ID=c;Parent=g", "+"),
        row("CDS", 70, 90, "ID=c;Parent=g", "+"),
    ]
    found = chr1(classes(store, tmp_path, lines, promoter_upstream=0, promoter_downstream=0))
    assert found == spelled("10. 10C 30. 10C 10i 20C 10.")


def test_lines_of_custom_tracks_are_no_annotation(store: GenomeStore, tmp_path: Path) -> None:
    exon = row("exon", 20, 40, 'gene_id "g"; transcript_id "t";')
    lines = ['track name="mine" description="of UCSC"', "browser position chr1:1-99", exon]
    found = chr1(classes(store, tmp_path, lines, "a.gtf", promoter_upstream=0, promoter_downstream=0))
    assert found == spelled("20. 20n 60.")


def test_a_gene_line_of_gtf_is_no_transcript_whatever_ids_it_has(store: GenomeStore, tmp_path: Path) -> None:
    """GENCODE up to version 20 gave genes a transcript_id; NCBI writes an empty one; BRAKER a bare word."""
    exons = [(20, 40), (60, 80)]
    both = 'gene_id "g"; transcript_id "t";'
    parts = [row("exon", start, end, both) for start, end in exons]
    expected = chr1(classes(store, tmp_path, parts, "exons.gtf"))
    assert expected == "." * 15 + spelled("5p 20n 20i 20n 20.")
    heads = {
        "gencode": ['gene_id "g"; transcript_id "g";', both],
        "ncbi": ['gene_id "g"; transcript_id "";', both],
        "same": [both, both],
        "braker": ["g", "t"],
        "ensembl": ['gene_id "g";', both],
    }
    for name, (gene, transcript) in heads.items():
        lines = [row("gene", 20, 80, gene), row("transcript", 20, 80, transcript), *parts]
        assert chr1(classes(store, tmp_path, lines, f"{name}.gtf")) == expected, name
        assert chr1(classes(store, tmp_path, lines[::-1], f"{name}_back.gtf")) == expected, name
    lines = [row("gene", 20, 80, 'gene_id "g"; transcript_id "g";')]
    assert chr1(classes(store, tmp_path, lines, "bare.gtf")) == "." * 20 + "?" * 60 + "." * 20


CIRCLE = row("region", 0, 100, "ID=r;Is_circular=true", ".")


@pytest.mark.parametrize("strand", "+-")
def test_a_gene_over_the_origin_of_a_circle_is_that_gene_turned(
    strand: str, store: GenomeStore, tmp_path: Path
) -> None:
    """Exons [90, 100) with [0, 5) and [20, 30), as one that ends past the contig or as two that meet."""

    def drawn(name: str, spans: list[tuple[int, int]], exons: list[tuple[int, int]], cds: int) -> str:
        lines = [CIRCLE, row("CDS", cds, cds + 6, "Parent=t", strand)]
        for span in spans:
            lines += [row("gene", *span, "ID=g", strand), row("mRNA", *span, "ID=t;Parent=g", strand)]
        lines += [row("exon", *exon, "Parent=t", strand) for exon in exons]
        return chr1(classes(store, tmp_path, lines, name))

    straight = drawn("straight.gff3", [(40, 80)], [(40, 55), (70, 80)], 42)
    assert straight.count("i") == 15
    turned = straight[50:] + straight[:50]
    met = [(90, 100), (0, 5), (20, 30)]
    assert drawn("a.gff3", [(90, 130)], [(90, 105), (120, 130)], 92) == turned
    assert drawn("b.gff3", [(90, 130)], [(90, 105), (20, 30)], 92) == turned
    assert drawn("c.gff3", [(90, 130)], met, 92) == turned
    assert drawn("d.gff3", [(90, 100), (0, 30)], met, 92) == turned


def test_a_bare_gene_over_the_origin_is_unknown_on_both_sides(store: GenomeStore, tmp_path: Path) -> None:
    lines = [CIRCLE, row("pseudogene", 95, 110, "ID=g")]
    assert chr1(classes(store, tmp_path, lines)) == "?" * 10 + "." * 85 + "?" * 5
