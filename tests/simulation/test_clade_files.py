"""The files open in independent readers, stay in bounds and agree with each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pybigtools
import pysam
import pytest

SPECIES = ("one", "two", "three")


@pytest.fixture(scope="module")
def fasta(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Sequences by species and contig, as pysam reads them."""
    found = {}
    for name in SPECIES:
        copy = tmp_path_factory.mktemp("fasta") / f"{name}.fa"
        copy.write_bytes((folder / f"{name}.fa").read_bytes())
        with pysam.FastaFile(str(copy)) as file:
            found[name] = {contig: file.fetch(contig) for contig in file.references}
    return found


def rows_of(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("#")]


def test_fasta_has_contigs_in_order_and_60_bases_a_line(
    folder: Path, fasta: dict[str, dict[str, str]]
) -> None:
    for name in SPECIES:
        assert list(fasta[name]) == ["chr1", "chr2", "chr3", "chr4"]
        assert all(set(text) <= set("ACGTNacgt") for text in fasta[name].values())
        lines = (folder / f"{name}.fa").read_text().splitlines()
        assert max(map(len, lines)) == 60


def test_the_lower_case_bases_are_the_repeats(folder: Path, fasta: dict[str, dict[str, str]]) -> None:
    for name in SPECIES:
        covered = {contig: np.zeros(len(text), dtype=bool) for contig, text in fasta[name].items()}
        for contig, start, end, *_ in rows_of(folder / f"{name}.repeats.bed"):
            covered[contig][int(start) : int(end)] = True
        masked = np.concatenate([[letter.islower() for letter in text] for text in fasta[name].values()])
        agreement = (masked == np.concatenate(list(covered.values()))).mean()
        assert agreement > 0.9995  # an insertion at a repeat's edge may fall on either side
        assert 0.15 < masked.mean() < 0.35


def test_gff3_parses_in_order_and_in_bounds(
    folder: Path, fasta: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    for name in SPECIES:
        copy = tmp_path / f"{name}.gff3"
        copy.write_bytes((folder / f"{name}.gff3").read_bytes())
        packed = pysam.tabix_index(str(copy), preset="gff", force=True)  # refuses unsorted files
        with pysam.TabixFile(packed, parser=pysam.asGFF3()) as file:
            rows = list(file.fetch())
        assert all(0 <= row.start < row.end <= len(fasta[name][row.contig]) for row in rows)
        assert {row.feature for row in rows} == {
            "gene", "mRNA", "exon", "CDS", "five_prime_UTR", "three_prime_UTR", "promoter", "enhancer",
            "insulator", "polyA_signal_sequence", "gap",
        }  # fmt: skip
        identifiers = {row.attributes.split(";")[0] for row in rows if row.attributes.startswith("ID=")}
        parents = {
            f"ID={part[7:]}" for row in rows for part in row.attributes.split(";") if part[:7] == "Parent="
        }
        assert parents <= identifiers


def test_gff3_names_each_gene_once_and_alike_in_every_species(folder: Path) -> None:
    names = {}
    for name in SPECIES:
        rows = [row for row in rows_of(folder / f"{name}.gff3") if row[2] == "gene"]
        names[name] = [row[8].split("Name=")[1].split(";")[0] for row in rows]
        assert len(set(names[name])) == len(names[name]) >= 15
    assert names["one"] == names["two"] == names["three"]


def test_orthologs_lie_at_the_first_base_of_each_gene(folder: Path) -> None:
    expected = set()
    for name in SPECIES:
        for contig, _, kind, start, end, _, strand, _, text in rows_of(folder / f"{name}.gff3"):
            if kind == "gene":
                gene = text.split("Name=")[1].split(";")[0]
                expected.add(
                    (gene, name, contig, str(int(start) - 1 if strand == "+" else int(end) - 1), strand)
                )
    found = [tuple(row) for row in rows_of(folder / "orthologs.tsv")[1:]]
    assert set(found) == expected
    assert len(found) == len(expected)


@pytest.mark.parametrize("tissue", ["blood", "liver", "neuron"])
def test_states_tile_every_contig(folder: Path, fasta: dict[str, dict[str, str]], tissue: str) -> None:
    for name in SPECIES:
        ends = dict.fromkeys(fasta[name], 0)
        for contig, start, end, _, _, _, thick_start, thick_end, colour in rows_of(
            folder / f"{name}.{tissue}.states.bed"
        ):
            assert int(start) == ends[contig] < int(end)
            assert (start, end) == (thick_start, thick_end)
            assert len(colour.split(",")) == 3
            ends[contig] = int(end)
        assert ends == {contig: len(text) for contig, text in fasta[name].items()}


def test_an_enhancer_is_active_exactly_where_it_holds_the_master_motif(folder: Path) -> None:
    masters = {"blood": "GATA", "liver": "HNF1", "neuron": "NEUROD"}
    for name in SPECIES:
        held: dict[str, set[str]] = {}
        for row in rows_of(folder / f"{name}.motifs.bed"):
            held.setdefault(row[6], set()).add(row[3])
        enhancers = [row for row in rows_of(folder / f"{name}.gff3") if row[2] == "enhancer"]
        assert len(enhancers) >= 15
        for tissue, master in masters.items():
            states = rows_of(folder / f"{name}.{tissue}.states.bed")
            active = {(row[0], row[1]) for row in states if row[3] == "2_Enh"}
            for row in enhancers:
                motifs = held[row[8].split("Name=")[1].split(";")[0]]
                assert ((row[0], str(int(row[3]) - 1)) in active) == (master in motifs)


def test_conservation_opens_with_one_value_a_base_and_gaps_where_unaligned(
    folder: Path, fasta: dict[str, dict[str, str]]
) -> None:
    with pybigtools.open(str(folder / "conservation.bw")) as file:
        assert file.chroms() == {contig: len(text) for contig, text in fasta["one"].items()}
        for contig, text in fasta["one"].items():
            values = file.values(contig, 0, len(text), fillna=None)
            unknown = np.frombuffer(text.encode(), dtype=np.uint8) == ord("N")
            assert np.isnan(values[unknown]).all()
            assert 0 < np.isnan(values[~unknown]).mean() < 0.02  # bases inserted since the ancestor


def test_vcf_opens_and_every_ref_is_the_genomes(folder: Path, fasta: dict[str, dict[str, str]]) -> None:
    with pysam.VariantFile(str(folder / "variants.vcf")) as file:
        lengths = {name: contig.length for name, contig in file.header.contigs.items()}
        records = [(row.chrom, row.pos, row.ref, row.alts, dict(row.info)) for row in file]
    assert lengths == {contig: len(text) for contig, text in fasta["one"].items()}
    assert len(records) > 120
    for contig, position, ref, alts, info in records:
        assert fasta["one"][contig][position - 1].upper() == ref
        assert alts != (ref,)
        assert info["LABEL"] == (info["CLASS"] != "neutral")
    places = [(contig, position) for contig, position, *_ in records]
    assert len(set(places)) == len(places)
    assert places == sorted(places)


def test_motif_beds_are_sorted_in_bounds_and_scored(folder: Path, fasta: dict[str, dict[str, str]]) -> None:
    for name in SPECIES:
        rows = rows_of(folder / f"{name}.motifs.bed")
        places = [(row[0], int(row[1])) for row in rows]
        assert places == sorted(places)
        for contig, _, end, _, score, strand, parent in rows:
            assert int(end) <= len(fasta[name][contig])
            assert 0 <= int(score) <= 1000
            assert strand in "+-"
            assert parent.startswith(("DEMO", "ENH", "INS"))
