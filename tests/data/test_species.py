"""Genomes of other hosts in a corpus, against a real local server: once, gone on with, named in faults."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnalm.data import MultispeciesCorpus
from dnalm.errors import DataError
from dnalm.genome.download import download_folder
from tests.conftest import random_sequence
from tests.data.test_multispecies import manifest
from tests.genome.library import Library, md5, serve


def genome(seed: int) -> bytes:
    return f">chr1\n{random_sequence(900, seed)}\n>chr2\n{random_sequence(90, seed + 50)}\n".encode()


YEAST, MOULD = genome(1), genome(2)
workers = pytest.mark.parametrize("workers", [1, 2])


@pytest.fixture
def library() -> Iterator[Library]:
    sums = f"{md5(YEAST)}  yeast.fa\n{md5(MOULD)}  mould.fa\n".encode()
    with serve(Library({"yeast.fa": YEAST, "mould.fa": MOULD, "md5sum.txt": sums})) as served:
        yield served


@workers
def test_addresses_and_paths_are_genomes_alike(workers: int, library: Library, tmp_path: Path) -> None:
    local = tmp_path / "local.fa"
    local.write_bytes(MOULD)
    corpus = MultispeciesCorpus(
        genomes={"yeast": library.url("yeast.fa"), "mould": local},
        cache=tmp_path / "cache",
        prepare_workers=workers,
    )
    corpus.prepare()
    yeast, mould = corpus.genomes()
    assert yeast.path.read_bytes() == YEAST
    assert (yeast.store.num_bases, mould.path) == (990, local)


def test_what_is_there_is_not_downloaded_again(library: Library, tmp_path: Path) -> None:
    for _ in range(2):
        corpus = MultispeciesCorpus(genomes={"yeast": library.url("yeast.fa")}, cache=tmp_path)
        corpus.prepare()
    assert [opened.name for opened in corpus.genomes()] == ["yeast"]
    assert library.names() == ["yeast.fa"]


def test_a_file_without_checksum_is_said_with_the_one_it_has(
    library: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = library.url("yeast.fa")
    for _ in range(2):
        MultispeciesCorpus(genomes={"yeast": url}, cache=tmp_path).prepare()
    digest = hashlib.sha256(YEAST).hexdigest()
    assert capsys.readouterr().err == (
        f"{url}: no checksum is known, so nothing tells whether the file is as published; it is "
        f"sha256:{digest}, which a manifest can hold it to\n"
    )
    for checksum in (f"sha256:{digest}", library.url("md5sum.txt")):
        table = manifest(tmp_path / "my.tsv", {"name": "yeast", "url": url, "checksum": checksum})
        MultispeciesCorpus(manifest=table, cache=tmp_path).prepare()
    assert library.names() == ["yeast.fa", "md5sum.txt"]  # held against both, and not downloaded again
    assert capsys.readouterr().err == ""


def test_a_partial_file_is_gone_on_with(library: Library, tmp_path: Path) -> None:
    folder = download_folder(library.url("yeast.fa"), tmp_path)
    folder.mkdir(parents=True)
    (folder / ".yeast.fa.part").write_bytes(YEAST[:500])
    MultispeciesCorpus(genomes={"yeast": library.url("yeast.fa")}, cache=tmp_path).prepare()
    assert library.asked == [("yeast.fa", "bytes=500-")]
    assert (folder / "yeast.fa").read_bytes() == YEAST


def test_files_of_one_name_at_two_addresses_are_two(library: Library, tmp_path: Path) -> None:
    library.files["other/yeast.fa"] = MOULD
    addresses: dict[str, str | Path] = {
        name: library.url(path) for name, path in (("a", "yeast.fa"), ("b", "other/yeast.fa"))
    }
    corpus = MultispeciesCorpus(genomes=addresses, cache=tmp_path)
    corpus.prepare()
    assert [opened.path.read_bytes() for opened in corpus.genomes()] == [YEAST, MOULD]


@workers
def test_a_manifests_addresses_are_downloaded_and_held_to_their_checksums(
    workers: int, library: Library, tmp_path: Path
) -> None:
    library.files["wrong.fa"] = genome(3)
    table = manifest(
        tmp_path / "my.tsv",
        {"name": "yeast", "url": library.url("yeast.fa"), "checksum": f"md5:{md5(YEAST)}", "split": "train"},
        {"name": "mould", "url": library.url("mould.fa"), "checksum": library.url("md5sum.txt")},
        {"name": "wrong", "url": library.url("wrong.fa"), "checksum": f"md5:{md5(YEAST)}"},
        {"name": "kept", "url": library.url("kept.fa"), "checksum": f"md5:{md5(YEAST)}", "split": "test"},
    )
    corpus = MultispeciesCorpus(manifest=table, cache=tmp_path / "cache", prepare_workers=workers)
    with pytest.raises(DataError) as caught:
        corpus.prepare()
    message = str(caught.value)
    assert message.startswith("DATA-02 data.genomes: 1 of 3 genomes failed: wrong: FETCH-04 ")
    assert f"downloaded twice, and it is md5:{md5(genome(3))}; md5:{md5(YEAST)}." in message
    assert "kept.fa" not in library.names()
    library.files["wrong.fa"] = YEAST
    library.asked.clear()
    corpus.prepare()
    assert library.names() == ["wrong.fa"]
    assert next(iter(corpus.genomes())).division.description == "yeast trains whole"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ftp://h/yeast.fa", "url is ftp://h/yeast.fa; it starts with https:// or http:// and a host"),
        ("https://h/", "url is https://h/; it does not end in a file name"),
        ("https://me:secret@h/y.fa", "url of h holds a user name; only public files are downloaded"),
    ],
)
def test_other_addresses_are_refused_at_once(address: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        MultispeciesCorpus(genomes={"yeast": address})


def test_a_page_instead_of_a_genome_is_named(library: Library, tmp_path: Path) -> None:
    library.files["yeast.fa"] = b"<!DOCTYPE html><html><body>Sign in</body></html>"
    corpus = MultispeciesCorpus(genomes={"yeast": library.url("yeast.fa")}, cache=tmp_path)
    with pytest.raises(DataError, match="1 of 1 genomes failed: yeast: FASTA-") as caught:
        corpus.prepare()
    assert str(download_folder(library.url("yeast.fa"), tmp_path)) in str(caught.value)
