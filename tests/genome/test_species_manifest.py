"""Manifests of multi-species corpora: what is read, and each fault's message in full."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.errors import DataError
from dnalm.genome.download import RemoteFile, find_checksum, parse_checksum
from dnalm.genome.species import COLUMNS, SpeciesEntry, read_species_manifest, write_species_manifest
from dnalm.paths import config_folder

HEADER = "\t".join(COLUMNS)
SUM = "md5:" + "0" * 32
HEADER_RULE = f"a header line with the columns {', '.join(COLUMNS)}, separated by tabs"


def row(**cells: str) -> str:
    """A valid line, but for the cells given."""
    usual = {"name": "yeast", "path": "yeast.fa", "split": "train", "taxon": "fungi"}
    return "\t".join((usual | cells).get(column, "-") for column in COLUMNS)


def table(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "species.tsv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def refusal(path: Path) -> str:
    """The message, with the folder left out."""
    with pytest.raises(DataError) as caught:
        read_species_manifest(path)
    return str(caught.value).replace(f"{path.parent}/", "")


def test_entries_are_typed_and_in_order(tmp_path: Path) -> None:
    remote = row(
        name="E.coli_K-12", path="-", url="https://host/e.fa.gz", checksum=SUM, weight="2", split="-"
    )
    path = table(tmp_path, "# a comment", "", row(weight="0.5"), remote)
    yeast, coli = read_species_manifest(path)
    assert yeast == SpeciesEntry(
        name="yeast", path=tmp_path / "yeast.fa", remote=None, checksum=None,
        weight=0.5, split="train", taxon="fungi", line=4,
    )  # fmt: skip
    file = RemoteFile(url="https://host/e.fa.gz", checksum=parse_checksum(SUM))
    assert coli == SpeciesEntry(
        name="E.coli_K-12", path=None, remote=file, checksum=None,
        weight=2.0, split=None, taxon="fungi", line=5,
    )  # fmt: skip


def test_a_checksum_may_be_the_address_of_a_list(tmp_path: Path) -> None:
    listed = row(path="-", url="https://host/y.fa", checksum="https://host/md5checksums.txt")
    (entry,) = read_species_manifest(table(tmp_path, listed))
    assert entry.remote == RemoteFile(url="https://host/y.fa", checksum_url="https://host/md5checksums.txt")


def test_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    header = "\t".join(reversed(COLUMNS))
    line = "\t".join(reversed(row().split("\t")))
    assert read_species_manifest(table(tmp_path, line, header=header))[0].name == "yeast"


def test_windows_line_ends_and_a_byte_order_mark_are_accepted(tmp_path: Path) -> None:
    plain = table(tmp_path, row(), row(name="pombe"))
    windows = tmp_path / "windows.tsv"
    windows.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes().replace(b"\n", b"\r\n"))
    assert read_species_manifest(windows) == read_species_manifest(plain)


CELLS = st.sampled_from(["train", "validation", "test", None])


@given(splits=st.lists(CELLS, min_size=1, max_size=4), weighted=st.booleans())
def test_what_is_written_is_read_back(
    splits: list[str], weighted: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("round")
    lines = [
        row(name=f"s{n}", split=split or "-", weight=str(n + 0.1) if weighted else "-", checksum=SUM)
        for n, split in enumerate(splits)
    ]
    entries = read_species_manifest(table(folder, *lines))
    write_species_manifest(folder / "again.tsv", entries)
    assert read_species_manifest(folder / "again.tsv") == entries


FAULTS = {
    "ragged": (
        [row() + "\tmore"],
        "MANI-06 species.tsv:2: 8 cells; 7, as in the header. Fix: separate cells by single tabs, and "
        "write - where there is no value.",
    ),
    "no name": (
        [row(name="-")],
        "MANI-07 species.tsv:2: name is '-'; it is made of letters, digits, '.', '_' and '-', of which the "
        "first is a letter or digit, 100 at most. Fix: rename the genome.",
    ),
    "twice": (
        [row(), row(name="Yeast")],
        "MANI-08 species.tsv:3: Yeast is on line 2 too; names that differ in more than case. Fix: rename "
        "one of them.",
    ),
    "neither": (
        [row(path="")],
        "MANI-09 species.tsv:2: neither of path and url is given; one of both. Fix: write - in the column "
        "that is not meant.",
    ),
    "both": (
        [row(url="https://host/y.fa")],
        "MANI-09 species.tsv:2: both of path and url is given; one of both. Fix: write - in the column "
        "that is not meant.",
    ),
    "scheme": (
        [row(path="-", url="file:///etc/y.fa", checksum=SUM)],
        "MANI-10 species.tsv:2: url is file:///etc/y.fa; it starts with https:// or http:// and a host. Fix: "
        "correct the address, or download the file yourself and name it as path.",
    ),
    "unverified": (
        [row(path="-", url="https://host/y.fa")],
        "MANI-11 species.tsv:2: a url without checksum; md5:…, sha256:… or the address of a list that "
        "names the file. Fix: take it from where the file is published, such as NCBI's md5checksums.txt.",
    ),
    "checksum": (
        [row(checksum="0123")],
        "MANI-11 species.tsv:2: checksum is 0123; it is md5: and 32 hexadecimal digits, or sha256: and 64. "
        "Fix: correct the checksum.",
    ),
    "some weights": (
        [row(), row(name="pombe", weight="1")],
        "MANI-13 species.tsv:2: yeast has no weight, and others have; weights for all or for none. Fix: "
        "weigh every genome, or write - for all to weigh them by length.",
    ),
    "split": (
        [row(split="valid")],
        "MANI-14 species.tsv:2: split is valid; train, validation, test or -. Fix: did you mean validation?",
    ),
    "empty": (
        ["# nothing yet"],
        "MANI-15 species.tsv:1: no genomes; a line for each, after the header. Fix: fill the manifest; the "
        "comments of a template say how.",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_sentence_with_its_line(fault: str, tmp_path: Path) -> None:
    lines, message = FAULTS[fault]
    assert refusal(table(tmp_path, *lines)) == message


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf", "two"])
def test_a_weight_is_a_number_above_0(weight: str, tmp_path: Path) -> None:
    assert refusal(table(tmp_path, row(weight=weight))) == (
        f"MANI-12 species.tsv:2: weight is {weight}; a number above 0. Fix: correct it, or write - in "
        "every line to weigh genomes by length."
    )


HEADERS = {
    HEADER.replace("\t", ";"): "MANI-04 species.tsv:1: columns separated by ';'; tabs. Fix: save the table "
    "tab-separated (TSV).",
    HEADER.replace("\t", ","): "MANI-04 species.tsv:1: columns separated by ','; tabs. Fix: save the table "
    "tab-separated (TSV).",
    HEADER.replace(
        "\ttaxon", ""
    ): f"MANI-05 species.tsv:1: no column 'taxon'; {HEADER_RULE}. Fix: add it, with - "
    "where there is no value.",
    HEADER.replace(
        "taxon", "taxxon"
    ): f"MANI-05 species.tsv:1: unknown column 'taxxon'; {HEADER_RULE}. Fix: did you mean taxon?",
    HEADER
    + "\tremark": f"MANI-05 species.tsv:1: unknown column 'remark'; {HEADER_RULE}. Fix: remove it; remarks "
    "go into # lines.",
    HEADER + "\tname": f"MANI-05 species.tsv:1: column 'name' twice; {HEADER_RULE}. Fix: remove one of them.",
    row(): f"MANI-03 species.tsv:1: no header; {HEADER_RULE}. Fix: copy the header from a template.",
}


@pytest.mark.parametrize("header", HEADERS)
def test_a_wrong_header_is_said(header: str, tmp_path: Path) -> None:
    assert refusal(table(tmp_path, row(), header=header)) == HEADERS[header]


def test_an_empty_file_has_no_header(tmp_path: Path) -> None:
    (tmp_path / "species.tsv").touch()
    assert refusal(tmp_path / "species.tsv").startswith("MANI-03 species.tsv:1: no header; ")


def test_other_encodings_are_refused_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "species.tsv"
    path.write_bytes(f"{HEADER}\n{row(taxon='Pl')}".encode() + b"\xe4ttchen\n")
    assert refusal(path) == (
        "MANI-02 species.tsv:2: byte 0xe4 at offset 71; the text of a tab-separated table of genomes, in "
        "UTF-8. Fix: save it as UTF-8 text, or copy the file again."
    )


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.tsv") == (
        "MANI-01 none.tsv: the file cannot be read (No such file or directory); a readable tab-separated "
        "table of genomes. Fix: check the path."
    )


# Names never leave the folder they are put in


@pytest.mark.parametrize("name", ["..", "../up", "a/b", "/etc", ".hidden", "a\\b", "a b", "ä", "x" * 101])
def test_a_name_cannot_leave_its_folder(name: str, tmp_path: Path) -> None:
    assert refusal(table(tmp_path, row(name=name))).startswith(f"MANI-07 species.tsv:2: name is {name!r}; ")


@pytest.mark.parametrize(
    "url",
    [
        "https://host",
        "https://host/",
        "https://host/..",
        "https://host/a/..%2f..%2fup.fa",
        "https://host/.yeast.fa.part",
        "https://host/?file=y.fa",
        "https:///y.fa",
        "ftp://host/y.fa",
        "https://[host/y.fa",
        "https://me:secret@host/y.fa",
    ],
)
def test_an_address_ends_in_a_plain_file_name(url: str, tmp_path: Path) -> None:
    message = refusal(table(tmp_path, row(path="-", url=url, checksum=SUM)))
    assert message.startswith("MANI-10 species.tsv:2: url ")
    assert "secret" not in message


# Templates


@pytest.mark.parametrize("name", ["nt_multispecies", "dnabert2_multispecies"])
def test_a_template_lacks_only_genomes_and_its_example_is_one(name: str, tmp_path: Path) -> None:
    template = config_folder() / f"download/{name}.tsv"
    assert refusal(template).startswith(f"MANI-15 {name}.tsv:")
    text = template.read_text()
    example = next(line for line in text.splitlines() if "\t" in line and line.startswith("# "))
    (tmp_path / "filled.tsv").write_text(text + example.removeprefix("# ") + "\n")
    (entry,) = read_species_manifest(tmp_path / "filled.tsv")
    assert entry.remote is not None
    assert entry.remote.name == "GCF_000146045.2_R64_genomic.fna.gz"


def test_a_list_names_a_file_by_its_whole_name() -> None:
    text = f"{'a' * 64}  yeast.fa.gz\n{'B' * 64} *yeast.fa\n{'c' * 10}  yeast.fa\n"
    assert str(find_checksum(text, "yeast.fa")) == "sha256:" + "b" * 64
    assert find_checksum(text, "east.fa") is None
