"""`dnalm push` against a stand-in for the hub: the model's files alone arrive, and the token nowhere else."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from dnalm.cli import main
from dnalm.evaluation.model_card import write_card
from dnalm.small_files import provenance_text, read_provenance
from dnalm.training.model_directory import seal
from tests.evaluation.embedding.models import save

TOKEN = "hf_" + "Secret0Of0A0Test0" * 2
ROOT = Path(__file__).resolve().parents[2]


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks of a hub to make a repository and a commit; large files go by LFS."""

    protocol_version = "HTTP/1.1"
    state: dict[str, Any]

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, content: object, **headers: str) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(body)),
            "Content-Type": "application/json",
            **headers,
        }.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def do_PUT(self) -> None:
        self.state["stored"][self.path.rpartition("/")[2]] = self.read()
        self.answer(200, {})

    def do_POST(self) -> None:
        state, body = self.state, self.read()
        host = f"http://{self.headers['Host']}"
        state["asked"].append((self.path, self.headers.get("Authorization")))
        if state["refuse"] and state["refuse"] in self.path:
            return self.answer(state["status"], {"error": state["says"]})
        if self.path == "/api/repos/create":
            state["created"] = json.loads(body)
            return self.answer(200, {"url": f"{host}/lab/yeast", "id": "lab/yeast"})
        if self.path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if "/branch/" in self.path:
            state["branch"] = self.path.rpartition("/")[2]
            return self.answer(200, {})
        if "/preupload/" in self.path:
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": files})
        if self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                {
                    "oid": each["oid"],
                    "size": each["size"],
                    "actions": {"upload": {"href": f"{host}/stored/{each['oid']}"}},
                }
                for each in json.loads(body)["objects"]
            ]
            return self.answer(200, {"transfer": "basic", "objects": objects})
        state["commit"] = [json.loads(line) for line in body.splitlines()]
        return self.answer(
            200, {"commitUrl": f"{host}/lab/yeast/commit/1", "commitOid": "1", "pullRequestUrl": None}
        )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    state: dict[str, Any] = {"asked": [], "stored": {}, "refuse": "", "status": 403, "says": "no"}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("ThisHub", (Hub,), {"state": state}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state["endpoint"] = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HF_ENDPOINT", state["endpoint"])  # of processes; here it was read at the import
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", state["endpoint"])
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no token"))
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model directory with a card, and things beside it that are none of its files."""
    folder = save("kmer", tmp_path / "model")
    config = {
        "run": {"dir": "/home/somebody/runs/x"},
        "data": {"fasta": ["~/genomes/yeast.fa", "left/as.is"]},
    }
    seal(folder, {"dnalm": "0.1.0", "steps": 3, "config": config})
    write_card(folder)
    (folder / "notes.txt").write_text("not of the model")
    (folder / ".secret").write_text("not of the model either")
    return folder


def push(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["push", *words])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out + captured.err


def sent(state: dict[str, Any]) -> dict[str, bytes]:
    """The files of the commit."""
    found = {}
    for line in state["commit"]:
        if line["key"] == "file":
            assert line["value"]["encoding"] == "base64"
            found[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        elif line["key"] == "lfsFile":
            found[line["value"]["path"]] = state["stored"][line["value"]["oid"]]
    return found


def visibility(state: dict[str, Any]) -> str:
    """Of the repository that was made; huggingface_hub 1.3 says it as `private`, 2.4 as `visibility`."""
    made = state["created"]
    return str(made.get("visibility", "private" if made.get("private") else "public"))


def test_exactly_the_models_files_arrive_as_they_are(
    hub: dict[str, Any], model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, text = push(capsys, f"model={model}", "repo=lab/yeast", "message=first")
    assert code == 0, text
    files = sent(hub)
    assert files.keys() == {*read_provenance(model)["files"], "dnalm.yaml", "README.md"}
    for name, content in files.items():
        if name != "dnalm.yaml":
            assert content == (model / name).read_bytes(), name
    arrived = tmp_path / "arrived"
    arrived.mkdir()
    for name, content in files.items():
        (arrived / name).write_bytes(content)
    provenance = read_provenance(arrived)  # whose own checksum is right
    assert provenance["files"] == read_provenance(model)["files"]
    assert provenance["config"] == {"run": {"dir": "x"}, "data": {"fasta": ["yeast.fa", "left/as.is"]}}
    assert b"somebody" not in b"".join(files.values())
    assert (hub["created"]["organization"], hub["created"]["name"]) == ("lab", "yeast")
    assert visibility(hub) == "private"
    assert hub["commit"][0]["value"]["summary"] == "first"
    assert f"{len(files)} files, " in text
    assert f"{hub['endpoint']}/lab/yeast" in text
    assert "README.md names no licence" in text
    assert {token for _, token in hub["asked"]} == {f"Bearer {TOKEN}"}


def test_a_licence_a_branch_and_everyone(
    hub: dict[str, Any], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = model / "README.md"
    card.write_text(card.read_text().replace("license: unknown", "license: apache-2.0"))
    code, text = push(capsys, f"model={model}", "repo=lab/yeast", "private=false", "revision=v2")
    assert code == 0, text
    assert visibility(hub) == "public"
    assert hub["branch"] == "v2"
    assert any(path.endswith("/commit/v2") for path, _ in hub["asked"])
    assert "names no licence" not in text
    assert b"license: apache-2.0" in sent(hub)["README.md"]


def test_the_token_is_nowhere_in_output_or_files(hub: dict[str, Any], model: Path, tmp_path: Path) -> None:
    hub["refuse"], hub["says"] = "/commit/", f"the token {TOKEN} may not write"
    place = tmp_path / "place"
    place.mkdir()
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "dnalm", "push", f"model={model}", "repo=lab/yeast", "--debug"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=place, env=environment)
    assert done.returncode == 2, done.stderr
    assert "Traceback" in done.stderr
    assert "PUSH-04 lab/yeast: " in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["repo=lab/yeast", f"token={TOKEN}"],
        [f"repo={TOKEN}"],
        [f"repo=lab/{TOKEN}"],
        ["repo=lab/yeast", f"message={TOKEN}"],
        ["repo=lab/yeast", "--token", TOKEN],
        ["repo=lab/yeast", f"revision={TOKEN}"],
    ],
)
def test_a_token_on_the_command_line_is_refused_and_not_repeated(
    words: list[str], hub: dict[str, Any], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = push(capsys, f"model={model}", *words)
    assert code == 2
    assert TOKEN not in text
    assert not hub["asked"]


def test_a_changed_file_is_refused_before_anything_is_sent(
    hub: dict[str, Any], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        whole = (model / name).read_bytes()
        (model / name).write_bytes(whole[:-1] + b" ")
        code, text = push(capsys, f"model={model}", "repo=lab/yeast")
        assert (code, "CKPT-03" in text, name in text) == (4, True, True), text
        (model / name).write_bytes(whole)
    (model / "vocab.txt").rename(model / "away")
    code, text = push(capsys, f"model={model}", "repo=lab/yeast")
    assert code == 4
    assert "vocab.txt is gone" in text
    assert not hub["asked"]


def test_what_a_directory_lacks_is_said(
    hub: dict[str, Any], model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def said(folder: Path | str) -> str:
        code, text = push(capsys, f"model={folder}", "repo=lab/yeast")
        assert code == 4, text
        return " ".join(text.split())

    no_card = shutil.copytree(model, tmp_path / "no card")
    (no_card / "README.md").unlink()
    assert "PUSH-02" in (text := said(no_card))
    assert "no model card, README.md" in text
    no_sums = shutil.copytree(model, tmp_path / "no sums")
    provenance = yaml.safe_load((no_sums / "dnalm.yaml").read_text())
    del provenance["files"]
    (no_sums / "dnalm.yaml").write_text(provenance_text(provenance))
    assert "no checksums in dnalm.yaml" in said(no_sums)
    no_tokenizer = shutil.copytree(model, tmp_path / "no tokenizer")
    provenance = yaml.safe_load((model / "dnalm.yaml").read_text())
    provenance["files"] = {name: provenance["files"][name] for name in ("config.json", "model.safetensors")}
    (no_tokenizer / "dnalm.yaml").write_text(provenance_text(provenance))
    assert "no tokenizer" in said(no_tokenizer)
    assert "CKPT-04" in said(tmp_path / "nothing")
    assert "a model on this machine" in said("some-lab/some-model")
    assert not hub["asked"]


@pytest.mark.parametrize(
    "repo", ["yeast", "a/b/c", "lab/", "/yeast", "lab/-x", "lab/x.git", "lab/a--b", "lab/x y"]
)
def test_a_name_that_cannot_be_is_refused(
    repo: str, hub: dict[str, Any], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = push(capsys, f"model={model}", f"repo='{repo}'")
    assert code == 2
    assert "PUSH-01 repo: " in text
    assert not hub["asked"]


def test_without_a_token_the_fix_is_to_log_in(
    hub: dict[str, Any], model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    code, text = push(capsys, f"model={model}", "repo=lab/yeast")
    assert code == 2
    assert "PUSH-03 lab/yeast: no access token" in text
    assert "hf auth login" in text
    assert not hub["asked"]


@pytest.mark.parametrize(
    ("status", "code", "name"), [(401, 2, "PUSH-04"), (403, 2, "PUSH-04"), (400, 3, "PUSH-05")]
)
def test_what_the_hub_refuses_is_one_sentence(
    status: int, code: int, name: str, hub: dict[str, Any], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub["refuse"], hub["status"], hub["says"] = "/repos/create", status, "not yours"
    found, text = push(capsys, f"model={model}", "repo=lab/yeast")
    assert found == code
    assert f"{name} lab/yeast: {hub['endpoint']}" in " ".join(text.split())
    assert text.count("dnalm: ") == 1
    assert "Traceback" not in text
    assert "commit" not in hub


def test_a_hub_that_cannot_be_reached_is_one_sentence(
    hub: dict[str, Any], model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    code, text = push(capsys, f"model={model}", "repo=lab/yeast")
    assert code == 3
    assert "PUSH-05 lab/yeast: http://127.0.0.1:9 cannot be reached" in text
    assert not hub["asked"]
