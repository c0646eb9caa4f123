"""`dnalm fetch` from the command line, against a real local server."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnalm.compose import build, read_config
from dnalm.compose.check import check
from dnalm.compose.groups import options
from dnalm.genome.species import COLUMNS, read_species_manifest
from dnalm.genome.store import check_source
from tests.contracts.test_cli import run
from tests.genome.library import Library, md5, serve

ROOT = Path(__file__).resolve().parents[2]
YEAST, COLI = b">chrI\n" + b"ACGT" * 500 + b"\n", b">chr\n" + b"GGCA" * 400 + b"\n"
QUICK = ["wait_s=0", "attempts=2", "cache=cache"]


@pytest.fixture
def library() -> Iterator[Library]:
    sums = f"{md5(YEAST)}  yeast.fa\n{md5(COLI)}  coli.fa\n".encode()
    with serve(Library({"yeast.fa": YEAST, "coli.fa": COLI, "md5sum.txt": sums})) as served:
        yield served


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def of_library(library: Library) -> list[str]:
    """Overrides of a recipe's addresses."""
    return [f"download.url={library.url('yeast.fa')}", f"download.checksum_url={library.url('md5sum.txt')}"]


def manifest(library: Library, *names: str) -> Path:
    rows = [
        [name, "-", library.url(f"{name}.fa"), library.url("md5sum.txt"), "-", "-", "-"] for name in names
    ]
    path = Path("my.tsv")
    path.write_text("\n".join("\t".join(row) for row in [list(COLUMNS), *rows]) + "\n")
    return path


# One genome


@pytest.mark.parametrize("words", [["sacCer3"], ["download=sacCer3"]])
def test_a_genome_is_fetched_and_what_is_next_works(
    words: list[str], library: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "fetch", *words, *of_library(library), *QUICK)
    assert code == 0
    path = tmp_path / "cache/sacCer3/yeast.fa"
    assert out.splitlines() == [
        f"{path}: 2,007 bytes, md5:{md5(YEAST)}",
        f"next: dnalm pretrain experiment=dnabert data=fasta data.fasta={path} size=tiny",
        f"summary: {tmp_path}/cache/sacCer3/summary.json",
    ]
    _, command, *words = out.splitlines()[1].removeprefix("next: ").split()
    check(read_config(command, words), given=frozenset({"config"}), command=command)
    check_source(path)


def test_a_second_time_nothing_is_downloaded(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    for new in (True, False):
        run(capsys, "fetch", "sacCer3", *of_library(library), *QUICK)
        summary = json.loads(Path("cache/sacCer3/summary.json").read_text())
        assert summary["downloaded_now"] is new
    assert library.names() == ["md5sum.txt", "yeast.fa"]


def test_a_failure_is_one_sentence_and_exit_code_3(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    library.statuses["yeast.fa"] = [404]
    code, out, errors = run(capsys, "fetch", "sacCer3", *of_library(library), *QUICK)
    assert (code, out, errors.count("\n")) == (3, "", 1)
    assert errors.startswith(f"dnalm: FETCH-02 {library.url('yeast.fa')}: its host answers 404 Not Found; ")
    assert not Path("cache/sacCer3/yeast.fa").exists()


def test_a_file_that_is_no_genome_is_refused(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    library.files["yeast.fa"] = b"a,b\n1,2\n"
    words = [
        *of_library(library),
        f"download.checksum=md5:{md5(b'a,b' + bytes([10]) + b'1,2' + bytes([10]))}",
    ]
    code, _, errors = run(capsys, "fetch", "sacCer3", *words, *QUICK)
    assert code == 3
    assert errors.startswith("dnalm: FASTA-")


def test_two_processes_download_once(library: Library, tmp_path: Path) -> None:
    library.gate = threading.Event()
    words = [*of_library(library), f"download.checksum=md5:{md5(YEAST)}", f"cache={tmp_path}/cache"]
    command = [sys.executable, "-m", "dnalm", "fetch", "sacCer3", *words]

    def start() -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=ROOT, text=True, **pipes)

    with start() as first:
        assert library.arrived.wait(120)
        with start() as second:
            assert second.stderr is not None
            line = second.stderr.readline()
            assert line == "Waiting for another process, which is downloading yeast.fa ...\n"
            library.gate.set()
            for process in (first, second):
                out, errors = process.communicate(timeout=120)
                assert (process.returncode, errors) == (0, "")
                assert f"md5:{md5(YEAST)}" in out
    assert library.names() == ["yeast.fa"]


# Many species


def test_a_filled_manifest_is_fetched_into_one_of_local_paths(
    library: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = manifest(library, "yeast", "coli")
    code, out, _ = run(capsys, "fetch", "nt_multispecies", f"manifest={path}", *QUICK)
    assert code == 0
    folder = tmp_path / "cache/nt_multispecies"
    assert out.splitlines() == [
        f"2 genomes, listed in {folder}/my.local.tsv",
        f"next: dnalm pretrain experiment=dnabert data=multispecies data.manifest={folder}/my.local.tsv "
        "size=tiny",
        f"summary: {folder}/summary.json",
    ]
    entries = read_species_manifest(folder / "my.local.tsv")
    assert [entry.path for entry in entries] == [folder / "yeast/yeast.fa", folder / "coli/coli.fa"]
    assert [entry.checksum for entry in entries] == [f"md5:{md5(YEAST)}", f"md5:{md5(COLI)}"]


def test_one_failing_genome_does_not_stop_the_others_and_a_rerun_brings_only_it(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    library.statuses["yeast.fa"] = [404]
    words = ["fetch", "nt_multispecies", f"manifest={manifest(library, 'yeast', 'coli')}", *QUICK]
    code, out, errors = run(capsys, *words)
    assert (code, out) == (3, "")
    message, last = errors.splitlines()
    assert message.startswith(
        f"yeast (1 of 2) failed: FETCH-02 {library.url('yeast.fa')}: its host answers 404 "
    )
    assert last == (
        "dnalm: FETCH-10 my.tsv: 1 of 2 genomes failed: yeast; every genome. Fix: see why above or in "
        f"{Path.cwd()}/cache/nt_multispecies/summary.json, then run this again; what is there is not "
        "downloaded again."
    )
    summary = json.loads(Path("cache/nt_multispecies/summary.json").read_text())
    assert summary["failed"] == ["yeast"]
    assert summary["genomes"]["yeast"]["error"].startswith("FETCH-02 ")
    assert summary["genomes"]["coli"]["downloaded_now"] is True
    assert not Path("cache/nt_multispecies/my.local.tsv").exists()

    library.asked.clear()
    assert run(capsys, *words)[0] == 0
    assert library.names() == ["md5sum.txt", "yeast.fa"]


def test_a_host_that_is_not_reached_is_waited_for_once(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"s{n}\t-\thttp://no.invalid/s{n}.fa\tmd5:{'0' * 32}\t-\t-\t-" for n in range(3)]
    Path("my.tsv").write_text("\n".join(["\t".join(COLUMNS), *rows]))
    code, _, errors = run(capsys, "fetch", "nt_multispecies", "manifest=my.tsv", *QUICK)
    assert code == 3
    assert errors.count("attempt 2 of 2") == 1
    assert errors.count(" failed: FETCH-01 ") == 3


@pytest.mark.parametrize(("content", "code"), [(YEAST, 0), (COLI, 3)])
def test_local_paths_are_verified_where_a_checksum_is_given(
    content: bytes, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("local.fa").write_bytes(content)
    line = f"yeast\tlocal.fa\t-\tmd5:{md5(YEAST)}\t-\t-\t-"
    Path("my.tsv").write_text("\t".join(COLUMNS) + "\n" + line + "\n")
    ended, _, errors = run(capsys, "fetch", "nt_multispecies", "manifest=my.tsv", *QUICK)
    assert ended == code
    assert ("FETCH-05" in errors) is bool(code)


def test_a_cache_that_cannot_be_written_in_is_one_sentence(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("cache").write_text("a file")
    code, _, errors = run(
        capsys, "fetch", "nt_multispecies", f"manifest={manifest(library, 'yeast')}", *QUICK
    )
    assert code == 3
    assert errors.startswith("dnalm: FETCH-07 ")
    assert errors.count("\n") == 1


# What is asked for


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["sacCer4"],
            "CFG-03 download: no option 'sacCer4'; one of dnabert2_multispecies, hg19, hg38, mm10, ",
        ),
        (["download=hg88"], "CFG-03 download: no option 'hg88'; one of "),
        ([], "CFG-07 download: no value; "),
        (["sacCer3", "hg38"], "CFG-16 hg38: an argument without '='; "),
        (["sacCer3", "manifest=my.tsv"], "CFG-20 manifest: my.tsv is not there"),
        (
            ["sacCer3", "download.url=file:///x.fa"],
            "CFG-18 download: url is file:///x.fa; it starts with https:// or",
        ),
        (
            ["sacCer3", "download.url=ftp://h/x.fa"],
            "CFG-18 download: url is ftp://h/x.fa; it starts with https:// or",
        ),
        (["sacCer3", "download.name=../up"], "CFG-18 download: name is '../up'; it is made of letters, "),
        (
            ["sacCer3", "download.checksum=md5:0"],
            "CFG-18 download: checksum is md5:0; it is md5: and 32 hexadecimal",
        ),
        (
            ["sacCer3", "download.checksum_url=null"],
            "CFG-18 download: neither checksum nor checksum_url of https:",
        ),
        (["sacCer3", "attempts=0"], "CFG-04 attempts: 0; "),
        (["sacCer3", "download.md5=x"], "CFG-03 download.md5: unknown key"),
        (
            ["nt_multispecies"],
            "FETCH-11 manifest: no value: no public list of the files of nt_multispecies; a filled "
            f"manifest. Fix: copy {ROOT}/conf/download/nt_multispecies.tsv, fill it as its comments say, "
            "and give manifest=",
        ),
    ],
)
def test_a_wrong_request_is_one_line_and_leaves_nothing(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, errors = run(capsys, "fetch", *words, "cache=cache")
    assert code == 2
    assert errors.startswith(f"dnalm: {message}")
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_genome_has_no_manifest(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, errors = run(capsys, "fetch", "sacCer3", f"manifest={manifest(library, 'yeast')}", "cache=cache")
    assert code == 2
    assert (
        errors == "dnalm: FETCH-11 manifest: my.tsv: sacCer3 is one genome; no manifest. Fix: leave it out.\n"
    )


@pytest.mark.parametrize("name", options("download"))
def test_every_recipe_is_named_as_its_file_and_can_be_built(name: str) -> None:
    config = read_config("fetch", [f"download={name}"])
    check(config, given=frozenset({"config"}), command="fetch")
    recipe = build(config["download"], key="download")
    assert recipe.name == name
    if hasattr(recipe, "url"):
        assert recipe.url == f"https://hgdownload.soe.ucsc.edu/goldenPath/{name}/bigZips/{name}.2bit"
        assert recipe.checksum_url == recipe.url.replace(f"{name}.2bit", "md5sum.txt")
    else:
        assert recipe.template_path.is_file()
