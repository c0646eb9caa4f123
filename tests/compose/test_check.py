"""Configs are held against signatures before anything is built."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dnalm.compose import build, read_config, run_command, with_defaults
from dnalm.compose.check import check, is_default
from dnalm.compose.targets import resolve
from dnalm.data import BatchPlan, Masking
from dnalm.errors import ConfigError

MASKING = {"_target_": "dnalm.data.Masking"}


def error_of(node: dict[str, Any], *, key: str = "", command: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        check(node, key=key, command=command)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_good_node_is_built_with_the_signature_defaults() -> None:
    node = {**MASKING, "rate": 0.3}
    check(node)
    assert build(node) == Masking(rate=0.3)


def test_an_unknown_key_names_the_nearest() -> None:
    assert error_of({**MASKING, "ratee": 0.3}, key="masking") == (
        "CFG-03 masking.ratee: unknown key; one of the 7 arguments of masking. "
        "Fix: did you mean masking.rate?"
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("rate", "fast", "masking.rate: 'fast'; float"),
        ("rate", "0.3", "masking.rate: '0.3'; float"),
        ("faithful", "true,", "masking.faithful: 'true,'; bool"),
        ("final_from", 1.5, "masking.final_from: 1.5; int"),
        ("final_from", True, "masking.final_from: True; int"),
        ("rate", None, "masking.rate: None; float"),
    ],
)
def test_a_wrong_type_names_key_value_and_type(name: str, value: object, words: str) -> None:
    message = error_of({**MASKING, name: value}, key="masking")
    assert message.startswith(f"CFG-04 {words}")


def test_a_missing_argument_says_how_to_give_it() -> None:
    message = error_of({"_target_": "dnalm.data.BatchPlan", "micro_size": 2}, key="batch")
    assert message == (
        "CFG-07 batch.global_size: no value; a value (int). "
        "Fix: give batch.global_size=… on the command line."
    )


def test_question_marks_are_a_missing_value() -> None:
    node = {"_target_": "dnalm.data.GenomeCorpus", "fasta": "???"}
    assert error_of(node, key="data").startswith("CFG-07 data.fasta: no value")


def test_a_path_that_is_not_there_is_found_before_anything_is_built(tmp_path: Path) -> None:
    node = {"_target_": "dnalm.data.GenomeCorpus", "fasta": str(tmp_path / "no.fa")}
    message = error_of(node, key="data")
    assert message.startswith(f"CFG-20 data.fasta: {tmp_path}/no.fa is not there; the path of an input.")


def test_text_becomes_a_path_and_a_list_a_tuple(tmp_path: Path) -> None:
    bed = tmp_path / "held_out.bed"
    bed.touch()
    assert build({"_target_": "dnalm.data.SplitByRegion", "bed": str(bed)}).bed == bed


def test_errors_of_nested_nodes_carry_the_whole_key() -> None:
    node = {
        "_target_": "dnalm.data.GenomeCorpus",
        "split": {"_target_": "dnalm.data.SplitByFraction", "fractoin": 0.1},
    }
    assert "data.split.fractoin" in error_of(node, key="data")


def test_a_component_that_refuses_its_values_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"CFG-18 masking: rate is 1\.5; a masking rate lies in \(0, 1\)"):
        build({**MASKING, "rate": 1.5}, key="masking")


def test_a_partial_node_refuses_when_it_is_completed() -> None:
    node = {"_target_": "dnalm.data.BatchPlan", "_partial_": True, "micro_size": 0}
    make = build(node, key="batch")
    with pytest.raises(ConfigError, match="CFG-18 batch: micro_size is 0"):
        make(global_size=4)
    node["micro_size"] = 2
    assert build(node)(global_size=4) == BatchPlan(global_size=4, micro_size=2)


@pytest.mark.parametrize(
    ("target", "arguments", "found"),
    [
        ("torch.optim.Adam", {"betas": [0.9, 2.0]}, "Invalid beta parameter at index 1: 2.0"),
        ("torch.optim.Adam", {"lr": -1.0}, "Invalid learning rate: -1.0"),
        ("torch.nn.Linear", {"out_features": -1}, "RuntimeError: .* negative dimension"),
        ("torch.nn.Embedding", {"embedding_dim": 3, "padding_idx": 5}, "AssertionError: Padding_idx must be"),
    ],
)
def test_another_librarys_component_that_fails_is_a_config_error(
    target: str, arguments: dict[str, object], found: str
) -> None:
    given = [torch.nn.Parameter(torch.zeros(1))] if "optim" in target else 2
    with pytest.raises(ConfigError, match=f"CFG-18 part: {found}") as refused:
        build({"_target_": target, "_partial_": True, **arguments}, key="part")(given)
    assert "Fix: change what part is given." in str(refused.value)


@pytest.mark.parametrize("error", [KeyError("x"), TypeError("x"), IndexError("x"), AssertionError("x")])
def test_our_own_component_that_fails_otherwise_is_a_bug(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(Masking, "__post_init__", broken)
    with pytest.raises(type(error)):
        build(MASKING, key="masking")


@pytest.mark.parametrize("error", [ValueError("min() arg is an empty sequence"), KeyError("chr1")])
def test_what_a_command_raises_is_never_the_config(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise error

    monkeypatch.setattr("dnalm.commands.prepare.prepare", broken)
    broken.__module__ = "dnalm.commands.prepare"
    with pytest.raises(type(error)):
        run_command({"_target_": "dnalm.commands.prepare.prepare"}, command="prepare", given={"config": {}})


def test_what_a_command_is_built_of_may_be_refused() -> None:
    node = {"_target_": "dnalm.commands.prepare.prepare", "data": {**MASKING, "rate": 1.5}}
    with pytest.raises(ConfigError, match=r"CFG-18 data: rate is 1\.5"):
        run_command(node, command="prepare", given={"config": {}})


WHOLE = {
    "pretrain": [],
    "finetune": ["model=tiny", "task=demo_promoter"],
    "baseline": ["task=demo_promoter"],
    "prepare": ["data=demo"],
    "benchmark": ["models=[tiny]"],
    "tokenizer train": ["data=demo"],
    "tokenizer select": ["data=demo"],
    "tokenizer inspect": ["data=demo"],
    "fetch": ["download=sacCer3"],
}


@pytest.mark.parametrize("command", WHOLE)
def test_a_config_with_its_defaults_written_out_is_accepted_and_builds_the_same(command: str) -> None:
    config = read_config(command.replace(" ", "_"), WHOLE[command])
    given = frozenset({"config"})
    check(config, given=given, command=command)
    text = yaml.safe_dump(with_defaults(config, command=command))
    written_out = yaml.safe_load(text)
    check(written_out, given=given, command=command)
    assert with_defaults(written_out, command=command) == written_out
    for name, node in written_out.items():
        if isinstance(node, dict) and "_target_" in node and node.get("_partial_") is not True:
            assert type(build(node, key=name)) is type(build(config[name], key=name))


def test_a_value_that_is_the_default_counts_as_not_given() -> None:
    node = {"_target_": "dnalm.models.Encoder", "_partial_": True, "hidden_size": 8, "num_heads": 2}
    written_out = with_defaults(node)
    assert written_out["padding_id"] == 0
    assert build(written_out, key="model")(vocab_size=9, padding_id=3).padding_id == 3
    with pytest.raises(ConfigError, match=r"CFG-03 model\.padding_id: a value for an argument that dnalm"):
        build({**node, "padding_id": 1}, key="model")(vocab_size=9, padding_id=3)


@pytest.mark.parametrize(("value", "default"), [(1, True), (0, False), (1, 1.0), ("1", 1), (None, "null")])
def test_a_value_of_another_type_is_no_default(value: object, default: object) -> None:
    kind = inspect.Parameter.KEYWORD_ONLY
    assert not is_default(value, inspect.Parameter("a", kind, default=default))
    assert is_default(default, inspect.Parameter("a", kind, default=default))


HOSTILE = [
    "os.system",
    "subprocess.run",
    "builtins.eval",
    "builtins.open",
    "pathlib.Path.unlink",
    "torch.load",
    "torch.hub.load",
    "torch.ops.load_library",
    "torch.serialization.load",
    "torch.nn.modules.module.torch.load",
    "numpy.load",
    "lightning.pytorch.trainer.trainer.os.system",
    "lightning.pytorch.Trainer.fit",
    "lightning.fabric.utilities.cloud_io._load",
    "dnalm.data.samples.np.load",
    "dnalm.data.samples.Dataset",
    "dnalm.cli.sys.exit",
    "dnalm.genome",
    "dnalm.data.windows._ROUNDS",
    "torch",
    "",
    "torch..nn",
    "torch.nn.Linear.__init__.__globals__",
]


@pytest.mark.parametrize("target", HOSTILE)
def test_targets_outside_the_positive_list_are_refused(target: str) -> None:
    with pytest.raises(ConfigError, match=r"^CFG-21 model\._target_: "):
        resolve(target, key="model")


@pytest.mark.parametrize("target", [None, 3, ["os.system"]])
def test_a_target_must_be_text(target: object) -> None:
    with pytest.raises(ConfigError, match="is not a dotted name"):
        resolve(target, key="model")


def test_refused_packages_are_not_even_imported() -> None:
    import sys

    assert "antigravity" not in sys.modules
    with pytest.raises(ConfigError, match=r"antigravity\.fly' is no component"):
        resolve("antigravity.fly", key="model")
    assert "antigravity" not in sys.modules


def test_a_misspelt_target_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"write dnalm\.data\.Masking"):
        resolve("dnalm.data.Maskin", key="masking")


@pytest.mark.parametrize(
    "target",
    [
        "torch.optim.AdamW",
        "lightning.pytorch.loggers.TensorBoardLogger",
        "torch.nn.Linear",
        "dnalm.models.Encoder",
    ],
)
def test_components_of_the_stack_are_admitted(target: str) -> None:
    assert callable(resolve(target, key=""))


@pytest.mark.parametrize(
    ("argument", "node", "message"),
    [
        ("masking", {"_target_": "dnalm.data.WindowRecipe", "min_tokens": 5, "max_tokens": 9},
         "CFG-04 masking: dnalm.data.WindowRecipe, which makes WindowRecipe; one that makes Masking"),
        ("model", {"_target_": "torch.nn.Linear", "_partial_": True},
         "CFG-04 model: torch.nn.Linear, which makes Linear; one that makes Encoder"),
        ("optim", {"_target_": "torch.optim.SGD"},
         "CFG-04 optim: torch.optim.SGD, which makes SGD; one that makes Optimizer. "
         "Fix: add optim._partial_=true"),
        ("trainer", {"_target_": "dnalm.training.TrainerRecipe", "_partial_": True},
         "CFG-04 trainer: dnalm.training.TrainerRecipe, which makes TrainerRecipe; one that makes "
         "TrainerRecipe. Fix: leave trainer._partial_ out"),
        ("optim", {"_target_": "torch.optim.SGD", "_partial_": True}, None),
        ("logger", {"_target_": "torch.optim.SGD", "_partial_": True},
         "CFG-04 logger: torch.optim.SGD, which makes SGD; one that makes Logger"),
    ],
)  # fmt: skip
def test_a_component_of_another_kind_is_refused(
    argument: str, node: dict[str, Any], message: str | None
) -> None:
    command = {"_target_": "dnalm.commands.pretrain.PretrainCommand", "_partial_": True, argument: node}
    if message is None:
        check(command, command="pretrain")
    else:
        assert error_of(command, command="pretrain").startswith(message)
