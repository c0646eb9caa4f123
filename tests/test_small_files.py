"""Files of a model directory: read within limits, and held against the checksums that `dnalm.yaml` lists."""

from __future__ import annotations

import contextlib
import json
import os
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from dnalm.errors import CheckpointError, DnalmError, shown
from dnalm.models import HeadShape, MaskedLM, Pretrained, SequenceModel, TaskHead, load_pretrained
from dnalm.small_files import (
    DEEPEST,
    MOST_BYTES,
    SmallFileError,
    parse_small,
    provenance_text,
    read_provenance,
    read_small,
    window_tokens,
)
from dnalm.tokenizers import KmerTokenizer, load_tokenizer
from dnalm.training import write_model_directory
from dnalm.training.model_directory import load_finetuned
from tests.models import zoo

HEAD = {
    "task": "promoters",
    "kind": "binary",
    "classes": ["no", "yes"],
    "limit": 14,
    "length_bp": 20,
    "center": 0.0,
    "scale": 1.0,
    "shape": {"num_outputs": 2, "pooling": "cls", "dense": True, "dropout": 0.1},
}


def _model() -> tuple[MaskedLM, KmerTokenizer]:
    tokenizer = KmerTokenizer(k=2)
    special = tokenizer.special
    sizes = {"vocab_size": tokenizer.vocab_size, "padding_id": special.padding, "mask_id": special.mask}
    return zoo.model("bert", **sizes), tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What `dnalm finetune` leaves, from a tiny model."""
    model, tokenizer = _model()
    head = SequenceModel(model, HeadShape(num_outputs=2, pooling="cls")).head
    write_model_directory(
        tmp_path / "model",
        model=model,
        weights=model.state_dict(),
        tokenizer=tokenizer,
        config={"seed": 1, "model": {"hidden_size": 32}},
        data_fingerprint="abc",
        precision="fp32",
        steps=3,
        window_tokens=14,
        heads={"task": head.state_dict()},
        described={"head": HEAD},
        task_head=TaskHead(weights=head.state_dict(), shape=head.shape, problem="regression"),
    )
    return tmp_path / "model"


def _read_all(folder: Path) -> None:
    window_tokens(folder)
    load_finetuned(Pretrained(source=str(folder)))
    load_tokenizer(folder)


def _refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        _read_all(folder)
    assert caught.value.exit_code == 4
    return str(caught.value).replace(str(folder), "FOLDER")


# Checksums


def test_every_file_is_listed_and_a_whole_directory_is_read(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names == {"dnalm.yaml", *read_provenance(folder)["files"]}
    assert names == {
        "config.json",
        "dnalm.yaml",
        "heads.safetensors",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    }
    _read_all(folder)


READ = ["config.json", "dnalm.yaml", "heads.safetensors", "model.safetensors", "tokenizer.json", "vocab.txt"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", READ)
def test_a_flipped_bit_is_refused(name: str, seed: int, folder: Path) -> None:
    path = folder / name
    content = bytearray(path.read_bytes())
    place = random.Random(f"{name} {seed}").randrange(8 * len(content))
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)
    assert _refusal(folder).startswith(("CKPT-03 FOLDER/", "CKPT-05 FOLDER/dnalm.yaml: "))


def test_the_message_says_what_is_there_and_how_to_keep_a_change(folder: Path) -> None:
    path = folder / "config.json"
    expected = read_provenance(folder)["files"]["config.json"]
    path.write_text(path.read_text().replace('"dtype"', '"dtipe"'))
    message = _refusal(folder)
    assert message.startswith("CKPT-03 FOLDER/config.json: sha256 ")
    assert message.endswith(
        f"; sha256 {expected} by dnalm.yaml. Fix: copy the file again; if you changed the directory on "
        "purpose, "
        "delete the first line and the `files:` block of dnalm.yaml."
    )
    lines = (folder / "dnalm.yaml").read_text().splitlines(keepends=True)
    first = lines.index("files:\n")
    last = next((i for i in range(first + 1, len(lines)) if not lines[i].startswith(" ")), len(lines))
    (folder / "dnalm.yaml").write_text("".join(lines[1:first] + lines[last:]))
    _read_all(folder)


def test_a_cut_provenance_is_refused(folder: Path) -> None:
    path = folder / "dnalm.yaml"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert _refusal(folder).startswith("CKPT-03 FOLDER/dnalm.yaml: sha256 ")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    assert _refusal(folder).startswith(
        "CKPT-05 FOLDER/dnalm.yaml: no checksum in the first line, though it lists files; both or none."
    )


def test_a_file_that_is_not_listed_is_not_read_in_place_of_one_that_is(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert _refusal(folder).startswith(
        "CKPT-03 FOLDER/pytorch_model.bin: a file that dnalm.yaml beside it does not list; the files of the "
        "model"
    )


def test_a_directory_of_before_checksums_is_read(folder: Path) -> None:
    provenance = {key: value for key, value in read_provenance(folder).items() if key != "files"}
    (folder / "dnalm.yaml").write_text(json.dumps(provenance))
    config = folder / "config.json"
    config.write_text(config.read_text().replace("\n", "\n\n"))
    _read_all(folder)


def test_large_files_are_summed_once_and_it_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dnalm.small_files._WORTH_SAYING", 0.0)
    os.utime(folder / "model.safetensors", (1, 1))  # another state than of any cache
    load_pretrained(folder)
    load_pretrained(folder)
    assert capsys.readouterr().err.count("checksum of model.safetensors") == 1


# Limits


def _provenance(folder: Path, **changes: object) -> None:
    provenance = {key: value for key, value in read_provenance(folder).items() if key != "files"}
    (folder / "dnalm.yaml").write_text(provenance_text({**provenance, **changes}))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("- a\n- b\n", "a YAML list"),
        ("", "nothing"),
        ("a: [\n", "not YAML: while parsing"),
        ("a: 1\na: 2\n", "not YAML: the key 'a' is given twice"),
        ("a: " + "[" * 5000, "more than 64 levels"),
        ("a: &x [1]\nb: *x\n", "&x"),
        ("window_tokens: -5\n", "window_tokens is -5"),
        ("window_tokens: .nan\n", "window_tokens is nan"),
        ("window_tokens: true\n", "window_tokens is True"),
        ("window_tokens: 2026-13-45\n", "not YAML: month must be in 1..12"),
        ("window_tokens: " + "9" * 5000 + "\n", "not YAML: Exceeds the limit"),
        ("1: 2\n", "keys that are no text"),
        ("files: [a]\n", "files is ['a']"),
        ("files: {config.json: 12}\n", "files is {'config.json': 12}"),
        ("a: !!python/object/apply:os.system [ls]\n", "not YAML: could not determine a constructor"),
    ],
)
def test_a_provenance_that_says_nothing_sensible_is_refused(content: str, found: str, folder: Path) -> None:
    (folder / "dnalm.yaml").write_text(content)
    assert _refusal(folder).startswith(f"CKPT-05 FOLDER/dnalm.yaml: {found}")


def test_a_huge_provenance_is_refused_unread(folder: Path) -> None:
    with (folder / "dnalm.yaml").open("wb") as file:
        file.truncate(200 << 20)
    assert _refusal(folder).startswith(
        "CKPT-05 FOLDER/dnalm.yaml: more than 1,048,576 bytes; a smaller file."
    )


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"kind": "ranking"}, "head.kind is 'ranking'"),
        ({"scale": float("inf")}, "head.scale is inf"),
        ({"center": None}, "head.center is None"),
        ({"length_bp": -1}, "head.length_bp is -1"),
        ({"classes": 7}, "head.classes is 7"),
        ({"shape": {"num_outputs": 10**12}}, "head.shape is {'num_outputs': 1000000000000}"),
        ({"shape": {"num_outputs": 2, "pooling": "middle"}}, "head.shape.pooling is 'middle'"),
    ],
)
def test_a_head_that_cannot_be_is_refused(change: dict[str, object], found: str, folder: Path) -> None:
    _provenance(folder, head={**HEAD, **change})
    assert _refusal(folder).startswith(f"CKPT-05 FOLDER/dnalm.yaml: {found}; ")


def test_a_head_of_another_shape_is_refused_before_it_is_built(folder: Path) -> None:
    _provenance(folder, head={**HEAD, "shape": {**HEAD["shape"], "num_outputs": 1 << 20}})  # type: ignore[dict-item]
    assert _refusal(folder) == (
        "CKPT-07 FOLDER/heads.safetensors: a head of dense.bias (32,), dense.weight (32, 32), output.bias "
        "(2,), "
        "output.weight (2, 32); dense.bias (32,), dense.weight (32, 32), output.bias (1048576,), "
        "output.weight "
        "(1048576, 32), as dnalm.yaml describes it. Fix: copy dnalm.yaml and heads.safetensors again, both "
        "of one "
        "run."
    )


def test_a_head_that_is_not_finite_is_refused(folder: Path) -> None:
    _provenance(folder)
    weights = {"dense.weight": (32, 32), "dense.bias": (32,), "output.weight": (2, 32), "output.bias": (2,)}
    tensors = {f"task.{name}": torch.full(shape, float("nan")) for name, shape in weights.items()}
    save_file(tensors, folder / "heads.safetensors")
    assert _refusal(folder).startswith("CKPT-08 FOLDER/heads.safetensors: weights that are not finite: ")


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_regular_file_is_never_opened(name: str, kind: str, folder: Path) -> None:
    if name != "dnalm.yaml":
        _provenance(folder)
    (folder / name).unlink()
    match kind:
        case "pipe":
            os.mkfifo(folder / name)
        case "folder":
            (folder / name).mkdir()
        case _:
            (folder / name).symlink_to("/dev/zero")
    is_tokenizer = name in ("tokenizer.json", "vocab.txt")
    with pytest.raises(DnalmError) as caught:
        load_tokenizer(folder / name) if is_tokenizer else load_finetuned(Pretrained(source=str(folder)))
    assert caught.value.exit_code in (3, 4)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('{"a": 1, "a": 1}', "not JSON: the key 'a' is given twice"),
        ('{"a": NaN}', "not JSON: NaN is no number of JSON"),
        ('{"a": -Infinity}', "not JSON: -Infinity is no number of JSON"),
        ('{"a": [1e999]}', "a number that is not finite"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deep"),
        ('{"a": ' + "[" * 64 + "]" * 64 + "}", "nested too deep"),
        ('{"a": ' + "9" * 5000 + "}", "not JSON: Exceeds the limit"),
        ("{'a': 1}", "not JSON: Expecting property name"),
        ("null", "null"),
        ('\ufeff{"a": 1}', "not JSON: Unexpected UTF-8 BOM"),
    ],
)
def test_json_beyond_the_limits_is_refused(content: str, found: str) -> None:
    with pytest.raises(SmallFileError) as caught:
        parse_small(content.encode(), "json")
    assert caught.value.found.startswith(found)


def test_json_within_the_limits_is_read(tmp_path: Path) -> None:
    depth = DEEPEST - 1
    path = tmp_path / "deep.json"
    path.write_text('{"a": ' + "[" * depth + "]" * depth + "}")
    assert list(read_small(path, "json")) == ["a"]
    path.write_text(" " * MOST_BYTES + "{}")
    with pytest.raises(SmallFileError, match="1,048,578 bytes; at most 1,048,576"):
        read_small(path, "json")


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), _values, max_size=4))
def test_what_is_written_is_read_again(content: dict[str, object]) -> None:
    assert parse_small(json.dumps(content).encode(), "json") == content
    assert parse_small(provenance_text(content).encode(), "yaml") == content


@given(st.binary(max_size=60), st.sampled_from(["json", "yaml"]))
def test_any_bytes_are_a_mapping_or_one_error(content: bytes, kind: str) -> None:
    with contextlib.suppress(SmallFileError):
        assert isinstance(parse_small(content, kind), dict)  # type: ignore[arg-type]


def test_shown_values_are_cut() -> None:
    assert shown("x" * 100) == f"'{'x' * 60}'… (100 characters)"
    assert shown({"x": "x" * 100}) == "{'x': '" + "x" * 53 + "…"
    assert shown(list(range(7))) == "[0, 1, 2, 3, 4, … (7 in all)]"
    assert shown(["a"]) == "['a']"
    assert shown(10**5000) == "a number of thousands of digits"


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("num_hidden_layers", 100_000_000, "num_layers=100000000; num_layers must be 1 to 1,000"),
        ("hidden_size", 1 << 40, "hidden_size=1099511627776"),
        ("vocab_size", -1, "vocab_size=-1"),
        ("intermediate_size", 10**300, "intermediate_size=1000"),
        ("layer_norm_eps", 10**300, "norm_eps=1000"),
        ("hidden_size", 1.5, "hidden_size is 1.5"),
        ("num_hidden_layers", 900, f"{897 * 16} missing: "),
        ("vocab_size", 1 << 24, "2 of another shape: "),
    ],
)
def test_sizes_are_held_against_the_weights_before_anything_is_built(
    field: str, value: object, found: str, folder: Path
) -> None:
    _provenance(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, field: value}))
    message = _refusal(folder)
    assert found in message
    assert len(message) < 900
