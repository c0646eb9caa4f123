"""Downloads against a real server: whole, gone on, tried again, verified, placed by hand."""

import errno
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from dnalm.errors import DataError
from dnalm.genome.download import Checksum, Patience, RemoteFile, download, parse_checksum
from tests.genome.library import Library, md5, serve

CONTENT = b">chr1\n" + b"ACGT" * 25_000 + b"\n"
SUM = parse_checksum(f"md5:{md5(CONTENT)}")
AT_ONCE = Patience(attempts=3, wait_s=0, timeout_s=30)
MANY = Patience(attempts=2, wait_s=0, timeout_s=30)


@pytest.fixture
def library() -> Iterator[Library]:
    with serve(Library({"yeast.fa": CONTENT})) as served:
        yield served


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache/yeast"


def remote(library: Library, checksum: Checksum | None = SUM, listed: str | None = None) -> RemoteFile:
    return RemoteFile(
        url=library.url("yeast.fa"), checksum=checksum, checksum_url=listed and library.url(listed)
    )


def fetch(library: Library, folder: Path, patience: Patience = AT_ONCE) -> Path:
    return download(remote(library), folder, patience=patience).path


def refusal(file: RemoteFile, folder: Path, patience: Patience = AT_ONCE) -> str:
    """The message, with the folder and the port left out."""
    with pytest.raises(DataError) as caught:
        download(file, folder, patience=patience)
    return re.sub(r"127\.0\.0\.1:\d+", "host", str(caught.value).replace(str(folder), "FOLDER"))


def left(folder: Path) -> list[str]:
    """Names in the folder, locks aside."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


# Whole


def test_a_file_arrives_whole_and_verified(library: Library, folder: Path) -> None:
    got = download(remote(library), folder, patience=AT_ONCE)
    assert got.path == folder / "yeast.fa"
    assert got.path.read_bytes() == CONTENT
    assert (got.checksum, got.num_bytes, got.is_new) == (SUM, len(CONTENT), True)
    assert left(folder) == [".yeast.fa.verified", "yeast.fa"]


def test_what_is_there_is_not_asked_for_again(library: Library, folder: Path) -> None:
    fetch(library, folder)
    again = download(remote(library), folder, patience=AT_ONCE)
    assert not again.is_new
    assert len(library.asked) == 1


def test_sha256_verifies_too(library: Library, folder: Path) -> None:
    import hashlib

    file = remote(library, parse_checksum(f"sha256:{hashlib.sha256(CONTENT).hexdigest().upper()}"))
    assert download(file, folder, patience=AT_ONCE).path.read_bytes() == CONTENT


def test_bytes_are_kept_as_they_lie_on_the_server(folder: Path) -> None:
    # Servers send .fa.gz as gzip-encoded text, which clients unpack unasked.
    import gzip

    packed = gzip.compress(CONTENT)
    with serve(Library({"yeast.fa.gz": packed}, encoding="gzip")) as library:
        file = RemoteFile(url=library.url("yeast.fa.gz"), checksum=parse_checksum(f"md5:{md5(packed)}"))
        assert download(file, folder, patience=AT_ONCE).path.read_bytes() == packed


def test_a_server_need_not_say_how_long_a_file_is(library: Library, folder: Path) -> None:
    library.tells_length = False
    assert fetch(library, folder).read_bytes() == CONTENT


# Going on


def test_a_partial_file_is_continued(library: Library, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / ".yeast.fa.part").write_bytes(CONTENT[:60_000])
    assert fetch(library, folder).read_bytes() == CONTENT
    assert library.asked == [("yeast.fa", "bytes=60000-")]
    assert library.sent == len(CONTENT) - 60_000


def test_a_server_without_ranges_sends_all_of_it(library: Library, folder: Path) -> None:
    library.ranges = False
    folder.mkdir(parents=True)
    (folder / ".yeast.fa.part").write_bytes(CONTENT[:60_000])
    assert fetch(library, folder).read_bytes() == CONTENT
    assert library.sent == len(CONTENT)


def test_a_complete_partial_file_costs_no_bytes(library: Library, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / ".yeast.fa.part").write_bytes(CONTENT)
    assert fetch(library, folder).read_bytes() == CONTENT
    assert library.sent == 0


@pytest.mark.parametrize("size", [60_000, len(CONTENT), len(CONTENT) + 5])
def test_a_partial_file_of_another_version_is_started_over(size: int, library: Library, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / ".yeast.fa.part").write_bytes(b"x" * size)
    assert fetch(library, folder).read_bytes() == CONTENT


@pytest.mark.parametrize(("later", "sent"), [('"one"', 50_007), ('"two"', 100_007)])
def test_without_a_checksum_no_file_is_put_together_of_two_versions(
    later: str, sent: int, library: Library, folder: Path
) -> None:
    file = remote(library, checksum=None)
    library.versions, library.at_most = {"yeast.fa": '"one"'}, 50_000
    with pytest.raises(DataError, match="FETCH-03"):
        download(file, folder, patience=Patience(attempts=1, wait_s=0))
    assert left(folder) == [".yeast.fa.part", ".yeast.fa.part.version"]
    new = CONTENT if later == '"one"' else CONTENT.replace(b"A", b"T")
    library.versions, library.at_most, library.sent = {"yeast.fa": later}, None, 0
    library.files["yeast.fa"] = new
    assert download(file, folder, patience=AT_ONCE).path.read_bytes() == new
    assert library.sent == sent
    assert left(folder) == [".yeast.fa.verified", "yeast.fa"]


def test_attempts_are_counted_anew_while_bytes_arrive(library: Library, folder: Path) -> None:
    library.at_most = 20_000
    assert fetch(library, folder, MANY).read_bytes() == CONTENT
    assert len(library.asked) == 6 > MANY.attempts
    assert library.sent == len(CONTENT)


# Trying again, and giving up


def test_a_truncated_transfer_is_retried_and_then_reported(library: Library, folder: Path) -> None:
    library.ranges, library.at_most = False, 50_000
    assert refusal(remote(library), folder) == (
        "FETCH-03 http://host/yeast.fa: the transfer ended after 50,000 of 100,007 bytes; a server that "
        f"sends the file. Fix: try again later, or bring http://host/yeast.fa ({SUM}) by other means and "
        "put it as FOLDER/yeast.fa, then run this again to have it verified."
    )
    assert len(library.asked) == AT_ONCE.attempts
    assert left(folder) == [".yeast.fa.part"]


def test_a_server_in_trouble_is_asked_again(
    library: Library, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library.statuses["yeast.fa"] = [500, 503]
    assert fetch(library, folder).read_bytes() == CONTENT
    assert "its host answers 503 Service Unavailable; attempt 3 of 3 in 0 s" in capsys.readouterr().err


def test_a_server_that_stays_in_trouble_is_reported(library: Library, folder: Path) -> None:
    library.statuses["yeast.fa"] = [500] * 9
    found = "FETCH-02 http://host/yeast.fa: its host answers 500 Internal Server Error; "
    assert refusal(remote(library), folder).startswith(found)
    assert len(library.asked) == AT_ONCE.attempts


@pytest.mark.parametrize(("status", "reason"), [(404, "Not Found"), (403, "Forbidden")])
def test_a_refusal_is_final(status: int, reason: str, library: Library, folder: Path) -> None:
    library.statuses["yeast.fa"] = [status]
    assert f"its host answers {status} {reason}; " in refusal(remote(library), folder)
    assert len(library.asked) == 1


def test_without_a_connection_the_message_says_what_to_put_where(folder: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and never listens
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/yeast.fa"
        file = RemoteFile(url=url, checksum=SUM, num_bytes=1_234_567)
        assert refusal(file, folder) == (
            "FETCH-01 http://host/yeast.fa: its host cannot be reached (Connection refused); a server that "
            f"sends the file. Fix: try again later, or bring http://host/yeast.fa (1,234,567 bytes, {SUM}) "
            "by other means and put it as FOLDER/yeast.fa, then run this again to have it verified."
        )
    assert left(folder) == []


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/yeast.fa"])
def test_redirects_lead_to_http_only(place: str, library: Library, folder: Path) -> None:
    library.redirects["yeast.fa"] = place
    message = refusal(remote(library), folder)
    assert message.startswith("FETCH-02 http://host/yeast.fa: it redirects to nowhere (")
    assert len(library.asked) == 1


def test_a_redirect_to_another_address_is_followed(library: Library, folder: Path) -> None:
    library.files["mirror.fa"] = library.files.pop("yeast.fa")
    library.redirects["yeast.fa"] = library.url("mirror.fa")
    assert fetch(library, folder).name == "yeast.fa"


# Checksums


def test_spoilt_bytes_are_downloaded_once_more(library: Library, folder: Path) -> None:
    library.spoilt["yeast.fa"] = 1
    assert fetch(library, folder).read_bytes() == CONTENT
    assert library.names() == ["yeast.fa"] * 2


def test_bytes_that_stay_spoilt_are_not_kept(library: Library, folder: Path) -> None:
    library.spoilt["yeast.fa"] = 9
    wrong = md5(bytes(byte ^ 1 for byte in CONTENT))
    assert refusal(remote(library), folder) == (
        f"FETCH-04 http://host/yeast.fa: downloaded twice, and it is md5:{wrong}; {SUM}. Fix: ask who "
        "publishes the file which is right, or whether something on the way, such as a proxy, changes it; "
        "nothing was kept."
    )
    assert library.names() == ["yeast.fa"] * 2
    assert left(folder) == []


@pytest.mark.parametrize("form", ["{sum}  {name}", "{sum} *{name}", "{sum}  ./{name}", "{sum}\t{name}\r"])
def test_the_publishers_list_gives_the_checksum(form: str, library: Library, folder: Path) -> None:
    others = f"{'0' * 32}  yeast.fa.gz\n{'1' * 32}  old/yeast.fa\n"
    library.files["md5sum.txt"] = (others + form.format(sum=md5(CONTENT), name="yeast.fa") + "\n").encode()
    got = download(remote(library, None, "md5sum.txt"), folder, patience=AT_ONCE)
    assert got.checksum == SUM
    assert library.names() == ["md5sum.txt", "yeast.fa"]
    assert left(folder) == [".yeast.fa.verified", "yeast.fa"]


def test_a_file_verified_by_a_list_needs_no_network_later(library: Library, folder: Path) -> None:
    library.files["md5sum.txt"] = f"{md5(CONTENT)}  yeast.fa\n".encode()
    file = remote(library, None, "md5sum.txt")
    for _ in range(2):
        download(file, folder, patience=AT_ONCE)
    assert len(library.asked) == 2


@pytest.mark.parametrize("text", [b"", b"<html>moved</html>", b"0123  yeast.fa\n", b"\xff\x00\n"])
def test_a_list_that_does_not_name_the_file_is_refused(text: bytes, library: Library, folder: Path) -> None:
    library.files["md5sum.txt"] = text
    assert refusal(remote(library, None, "md5sum.txt"), folder) == (
        "FETCH-06 http://host/md5sum.txt: no checksum of yeast.fa; a line with its md5 or sha256 and its "
        "name. Fix: give the checksum itself, as md5:… or sha256:…, from a source that you trust."
    )
    assert library.names() == ["md5sum.txt"]


# Placed by hand


def unreached(listed: str | None = None) -> RemoteFile:
    """A file of a host that does not exist; `.invalid` is reserved for that."""
    checksum, list_url = (None, f"http://no.invalid/{listed}") if listed else (SUM, None)
    return RemoteFile(url="http://no.invalid/yeast.fa", checksum=checksum, checksum_url=list_url)


def test_a_file_put_by_hand_is_accepted(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "yeast.fa").write_bytes(CONTENT)
    assert not download(unreached(), folder, patience=AT_ONCE).is_new


def test_a_file_and_its_list_put_by_hand_are_accepted(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "yeast.fa").write_bytes(CONTENT)
    (folder / "md5sum.txt").write_text(f"{md5(CONTENT)}  yeast.fa\n")
    assert download(unreached("md5sum.txt"), folder, patience=AT_ONCE).checksum == SUM


def test_without_its_list_the_message_asks_for_both(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "yeast.fa").write_bytes(CONTENT)
    message = refusal(unreached("md5sum.txt"), folder)
    assert message.startswith("FETCH-01 http://no.invalid/yeast.fa: its host cannot be reached (")
    assert message.endswith(
        "Fix: try again later, or bring http://no.invalid/yeast.fa by other means and put it as "
        "FOLDER/yeast.fa and http://no.invalid/md5sum.txt as FOLDER/md5sum.txt, then run this again to "
        "have it verified."
    )


def test_a_wrong_file_put_by_hand_is_refused_and_left_alone(library: Library, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "yeast.fa").write_bytes(b"wrong")
    assert refusal(remote(library), folder) == (
        f"FETCH-05 FOLDER/yeast.fa: the file that lies here is md5:{md5(b'wrong')}; {SUM}. Fix: replace it "
        "with the published file, or delete it to have it downloaded."
    )
    assert (folder / "yeast.fa").read_bytes() == b"wrong"
    assert library.asked == []


def test_a_verified_file_that_changed_is_verified_again(library: Library, folder: Path) -> None:
    path = fetch(library, folder)
    path.write_bytes(CONTENT[:-2] + b"A\n")
    os.utime(path, ns=(1, 1))
    assert refusal(remote(library), folder).startswith("FETCH-05 ")


def test_another_checksum_asked_for_is_held_against_the_file(library: Library, folder: Path) -> None:
    fetch(library, folder)
    assert refusal(remote(library, parse_checksum("md5:" + "0" * 32)), folder).startswith("FETCH-05 ")


# Disks


def test_a_folder_that_cannot_be_written_in_is_said(library: Library, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    message = refusal(remote(library), tmp_path / "cache/yeast")
    assert message.startswith("FETCH-07 ")
    assert message.endswith("Fix: choose another folder with cache=…, of a run data.cache=….")


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_disk_without_room_is_said_before_bytes_are_kept(
    library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 0))
    message = refusal(remote(library), folder)
    needed = r"[1-9][\d.]* (bytes|kB) are needed, 0 bytes are free"
    assert re.match(rf"FETCH-08 FOLDER/\.yeast\.fa\.part: the disk is full \({needed}\);", message)
    assert left(folder) == []


def test_a_disk_that_fills_up_is_said(
    library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert refusal(remote(library), folder) == (
        "FETCH-08 FOLDER: the disk is full (No space left on device); space for the file. Fix: free space "
        "there, or choose another folder with cache=…, of a run data.cache=…."
    )
    assert not (folder / "yeast.fa").exists()
