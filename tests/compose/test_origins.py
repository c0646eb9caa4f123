"""`dnalm config`: the values of `--cfg`, each with the file that decides it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigTypeError

from dnalm import paths
from dnalm.cli import COMMANDS, main
from dnalm.compose import read_config, with_defaults
from dnalm.compose.check import as_json, parameters_of
from dnalm.compose.config import hydra_words, listed_defaults
from dnalm.compose.groups import options
from dnalm.compose.origins import Leaf, Stated, _overlay, explain
from dnalm.compose.signatures import literal_defaults
from dnalm.compose.targets import COMPONENTS, ROOTS, resolve, settable_names
from dnalm.paths import config_folder

DEFAULT = "default of "


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def values(tree: Any) -> Any:  # noqa: ANN401
    """A tree without origins."""
    if isinstance(tree, Leaf):
        return tree.value
    if isinstance(tree, list):
        return [values(item) for item in tree]
    return {name: values(item) for name, item in tree.items()}


def written_out(command: str, words: list[str]) -> dict[str, Any]:
    """What `--cfg` prints."""
    return with_defaults(read_config(command.replace(" ", "_"), words), command=command)


def files(words: list[str]) -> Iterator[tuple[str, DictConfig]]:
    """The files that Hydra merges, in its order, each below the key where it stands."""
    for default in listed_defaults("pretrain", hydra_words("pretrain", words)).defaults:
        path = config_folder() / f"{default.config_path}.yaml"
        if path.is_file():
            config = OmegaConf.create()
            package = default.package or ""
            content = OmegaConf.load(path)
            OmegaConf.update(config, package, content) if package else config.merge_with(content)
            yield f"conf/{default.config_path}.yaml", config


def states(config: DictConfig, key: str) -> bool:
    node: Any = OmegaConf.to_container(config)
    for name in key.split("."):
        if not isinstance(node, dict) or name not in node:
            return False
        node = node[name]
    return node != {}


@pytest.mark.parametrize("size", options("size"))
@pytest.mark.parametrize("experiment", options("experiment"))
def test_values_are_those_of_cfg_and_each_is_of_the_last_file_that_states_it(
    experiment: str, size: str
) -> None:
    words = [f"experiment={experiment}", f"size={size}"]
    found = explain("pretrain", words)
    shown = values(found.tree)
    assert json.dumps(shown) == json.dumps(written_out("pretrain", words)), "in the same order, too"
    merged = list(files(words))
    by_file = dict(merged)
    for key, leaf in found.leaves():
        stating = [name for name, config in merged if states(config, key)]
        if leaf.origin.startswith(DEFAULT):
            assert not stating, key
            continue
        name, _, expression = leaf.origin.partition(": ")
        assert name == stating[-1], key
        there = OmegaConf.to_container(
            OmegaConf.select(by_file[name], key.rpartition(".")[0]) or by_file[name]
        )
        assert isinstance(there, dict)
        assert there[key.rpartition(".")[2]] == (expression or leaf.value), key


@cache
def explained(experiment: str, size: str) -> list[tuple[str, Leaf]]:
    """Leaves that a file states and that do not decide which other keys there are."""
    found = explain("pretrain", [f"experiment={experiment}", f"size={size}"])
    return [
        (key, leaf)
        for key, leaf in found.leaves()
        if leaf.origin.startswith("conf/") and not key.rpartition(".")[2].startswith("_")
    ]


@settings(max_examples=12)
@given(data=st.data())
def test_a_value_follows_the_file_that_is_named(data: st.DataObject, tmp_path_factory: Any) -> None:  # noqa: ANN401
    experiment, size = (data.draw(st.sampled_from(options(group))) for group in ("experiment", "size"))
    key, leaf = data.draw(st.sampled_from(explained(experiment, size)))
    words = [f"experiment={experiment}", f"size={size}"]
    name = leaf.origin.partition(": ")[0]
    copy = tmp_path_factory.mktemp("conf") / "conf"
    shutil.copytree(config_folder(), copy)
    for default in listed_defaults("pretrain", hydra_words("pretrain", words)).defaults:
        if f"conf/{default.config_path}.yaml" == name:
            package = default.package
    path = copy.parent / name
    content = yaml.safe_load(path.read_text())
    *above, last = key.removeprefix(f"{package}.").split(".")
    node = content
    for part in above:
        node = node[part]
    node[last] = "changed"
    head = "# @package _global_\n" if "# @package _global_" in path.read_text() else ""
    path.write_text(head + yaml.safe_dump(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "_shipped", lambda *_: copy)
        config = read_config("pretrain", words)
    for part in key.split("."):
        config = config[part]
    assert config == "changed"


LEAVES = st.one_of(st.integers(0, 9), st.none(), st.just("???"), st.just([1]), st.just({}))
TREES = st.recursive(
    LEAVES, lambda below: st.dictionaries(st.sampled_from("abc"), below, max_size=3), max_leaves=8
)


@given(st.lists(TREES.filter(lambda tree: isinstance(tree, dict)), min_size=1, max_size=4))
def test_the_later_wins_as_when_omegaconf_merges(trees: list[dict[str, Any]]) -> None:
    try:
        merged = OmegaConf.to_container(OmegaConf.merge(*map(OmegaConf.create, trees)))
    except ConfigTypeError:  # a list and a mapping, in which it sees a mistake
        reject()
    stated: dict[Any, Any] = {}
    for number, tree in enumerate(trees):
        _overlay(stated, tree, str(number))

    def plain(node: Any) -> Any:  # noqa: ANN401
        return node.value if isinstance(node, Stated) else {name: plain(item) for name, item in node.items()}

    assert plain(stated) == merged


@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_values_are_those_of_cfg(command: str) -> None:
    assert json.dumps(values(explain(command, []).tree)) == json.dumps(written_out(command, []))


@pytest.mark.parametrize("target", [*ROOTS.values(), *COMPONENTS])
def test_defaults_that_the_source_states_are_those_of_the_signature(target: str) -> None:
    command = next((name for name, root in ROOTS.items() if root == target), None)
    read = literal_defaults(target, settable_names(target))
    if read is None:
        return
    defaults = {
        name: text
        for name, parameter in parameters_of(resolve(target, key="", command=command)).items()
        if (text := as_json(parameter.default)) is not None
    }
    assert {name: as_json(value) for name, value in read.items() if as_json(value) is not None} == defaults


def origin(words: list[str], key: str, command: str = "pretrain", **more: Any) -> str:  # noqa: ANN401
    return dict(explain(command, words, **more).leaves())[key].origin


def test_a_typed_value_is_the_command_lines() -> None:
    assert origin(["optim.lr=0.1"], "optim.lr") == "command line"
    assert origin(["masking.rate=0.1"], "masking.rate") == "command line", (
        "which a signature has a default of"
    )
    words = ["objectives={masked_tokens: {_target_: dnalm.training.objectives.MaskedTokens}}"]
    assert origin(words, "objectives.masked_tokens._target_") == "command line"
    assert origin(["model=runs/mine"], "model.source", "embed") == "command line"


def test_what_is_derived_is_said_with_what_it_is_derived_from() -> None:
    assert origin([], "experiment") == "conf/pretrain.yaml: ${choice:experiment}"
    words = ["experiment=dnabert", "steps=1200"]
    assert (
        origin(words, "schedule.warmup_steps") == "conf/experiment/dnabert.yaml: 10000, shortened with steps"
    )
    assert origin([], "out", "score") == "not given yet; conf/score.yaml asks for it"
    assert origin([*words, "schedule.warmup_steps=5"], "schedule.warmup_steps") == "command line"


def test_keys_over_a_mapping_that_is_referred_to_are_told_from_those_in_it(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/first.yaml").write_text(
        "# @package _global_\ndefaults:\n  - dnabert\n"
        "data:\n  tracks:\n    a: {x: 1}\n    b: ${data.tracks.a}\n"
    )
    (tmp_path / "experiment/mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - first\n  - _self_\ndata:\n  tracks:\n    b: {y: 2}\n"
    )
    found = dict(explain("pretrain", ["experiment=mine"], extra_folder=tmp_path).leaves())
    assert found["data.tracks.b.x"] == Leaf(value=1, origin="another key, which is referred to")
    assert found["data.tracks.b.y"] == Leaf(value=2, origin=f"{tmp_path}/experiment/mine.yaml")


def test_a_choice_is_said_with_who_made_it(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - dnabert\n  - override /masking: bert\noptim:\n  lr: 1e-5\n"
    )
    words = ["experiment=mine", "data/split=regions", "data.split.bed=a.bed"]
    found = explain("pretrain", words, extra_folder=tmp_path)
    by = {group: (leaf.value, leaf.origin) for group, leaf in found.groups.items()}
    assert by["experiment"] == ("mine", "command line")
    assert by["data/split"] == ("regions", "command line")
    assert by["masking"] == ("bert", f"{tmp_path}/experiment/mine.yaml")
    assert by["model"] == ("bert", "conf/experiment/dnabert.yaml")
    assert by["optim"] == ("adamw", "conf/experiment/dnabert.yaml")
    assert by["trainer"] == ("auto", "conf/pretrain.yaml")
    assert by["size"] == ("full", "as published, where an experiment is named and no size")
    rate = dict(found.leaves())["optim.lr"]
    assert (rate.value, rate.origin) == (1e-5, f"{tmp_path}/experiment/mine.yaml")


def test_the_text_is_the_yaml_of_cfg_with_comments_below_each_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["pretrain", "experiment=logo_multitask", "run.name='a: b # c'"]
    _, cfg, _ = run(capsys, *words, "--cfg")
    code, text, _ = run(capsys, "config", *words)
    assert code == 0
    assert yaml.safe_load(text) == yaml.safe_load(cfg)
    columns = [len(line.rpartition("  # ")[0]) for line in text.splitlines() if "  # " in line]
    assert len({column for column in columns if column <= 56}) == 1
    assert sum(column > 56 for column in columns) < 10


def test_json_holds_every_leaf_with_its_origin(capsys: pytest.CaptureFixture[str]) -> None:
    _, text, _ = run(capsys, "config", "size=small", "json=true")
    found = json.loads(text)
    assert found["keys"]["steps"] == {"value": 2500, "origin": "conf/size/small.yaml"}
    assert found["groups"]["size"] == {"value": "small", "origin": "command line"}
    assert set(found["keys"]) == {key for key, _ in explain("pretrain", ["size=small"]).leaves()}


def test_without_a_command_it_is_pretrains(capsys: pytest.CaptureFixture[str]) -> None:
    expected = run(capsys, "config", "pretrain", "size=small")
    assert run(capsys, "config", "size=small") == expected
    assert run(capsys, "config", "tokenizer", "inspect")[1].count("conf/tokenizer_inspect.yaml") > 1


def test_a_config_that_a_run_has_left_is_its_own_origin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        yaml.safe_dump({"_target_": ROOTS["prepare"], "data": {"_target_": "dnalm.data.GenomeCorpus"}})
    )
    _, text, _ = run(capsys, "config", "prepare", "--config", str(path), "json=true")
    keys = json.loads(text)["keys"]
    assert keys["data._target_"]["origin"] == str(path)
    assert keys["data.species"] == {"value": None, "origin": "default of dnalm.data.GenomeCorpus"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fine"], "CLI-01 fine: no such command; one of pretrain, *. Fix: write dnalm finetune."),
        (
            ["-m"],
            "CLI-01 config --multirun: an option of commands; *. Fix: write dnalm pretrain --multirun, *",
        ),
        (
            ["embed", "--cfg"],
            "CLI-01 config --cfg: an option of commands; *. Fix: write dnalm embed --cfg, *",
        ),
        (["optim.lrr=1"], "CFG-03 optim.lrr: unknown key; *. Fix: did you mean optim.lr[?]"),
    ],
)
def test_what_it_cannot_answer_is_a_sentence(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, errors = run(capsys, "config", *words)
    assert code == 2
    assert fnmatch(errors.strip(), f"dnalm: {message}")


def test_it_imports_no_torch() -> None:
    code = (
        "import sys\nfrom dnalm.cli import main\n"
        "for words in ([], ['experiment=nt_v2_50m'], ['finetune', 'model=tiny'], ['embed', 'model=a/b']):\n"
        "    try:\n        main(['config', *words])\n"
        "    except SystemExit as end:\n        assert end.code == 0, end.code\n"
        "heavy = {'torch', 'lightning', 'transformers', 'peft'} & {*sys.modules}\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
