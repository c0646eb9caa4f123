"""What configs may build is a list; what stands elsewhere is refused before anything is imported."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dnalm import grants
from dnalm.cli import COMMANDS
from dnalm.compose import build, read_config, read_resolved
from dnalm.compose.check import check, parameters_of
from dnalm.compose.targets import COMPONENTS, ROOTS, resolve
from dnalm.errors import ConfigError
from dnalm.paths import config_folder
from dnalm.sweeps.command_line import composed_job, read_sweep, wrong_with

PACKAGES = ("dnalm", "torch", "lightning", "torchmetrics", "peft")
CALLBACKS = "lightning.pytorch.callbacks"
LOGGERS = "lightning.pytorch.loggers"


@pytest.fixture(autouse=True)
def nothing_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grants, "current", grants.Grants())


def names_in(source: Path) -> Iterator[str]:
    """Every name of a source file: what it defines, imports or assigns, and the members of its classes."""
    try:
        tree = ast.parse(source.read_bytes())
    except SyntaxError:  # of a later Python
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name
            yield from (f"{node.name}.{member.name}" for member in node.body if hasattr(member, "name"))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name) for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def every_name(package: str) -> set[str]:
    """Every dotted name of a package, private ones, aliases and what its packages give further among them."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    found = set(COMPONENTS) | set(ROOTS.values())
    for source in folder.rglob("*.py"):
        parts = [package, *source.relative_to(folder).with_suffix("").parts]
        module = ".".join(part for part in parts if part != "__init__")
        names = set(names_in(source)) if "*" not in module else set()
        found |= {module} | {f"{module}.{name}" for name in names}
        if module != package:  # as if each were given by the package above it too
            found |= {f"{module.rpartition('.')[0]}.{name}" for name in names}
    return found


def is_admitted(name: str) -> bool:
    """Whether it may be built; what may not is no more than a mistake in the config."""
    try:
        resolve(name, key="x")
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("package", PACKAGES)
def test_of_every_name_of_ours_and_of_the_libraries_those_of_the_list_alone_are_admitted(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = ConfigError("CFG-21", where="", found="", expected="", fix="")
    monkeypatch.setattr("dnalm.compose.targets._not_listed", lambda *_: refusal)  # its words take long
    names = {name for name in every_name(package) if name.startswith(f"{package}.")}
    assert len(names) > 1_000
    admitted = {name for name in names if is_admitted(name)}
    assert admitted == {name for name in COMPONENTS if name.startswith(f"{package}.")}


def test_every_command_has_its_root_and_every_config_stays_within_the_list() -> None:
    assert set(ROOTS) == {*COMMANDS, "sweep"}
    named: set[str] = set()

    def visit(node: object) -> None:
        if isinstance(node, dict):
            named.update([node["_target_"]] if "_target_" in node else [])
            for item in node.values():
                visit(item)

    for path in config_folder().rglob("*.yaml"):
        visit(yaml.safe_load(path.read_text()))
    assert named <= {*COMPONENTS, *ROOTS.values()}
    assert set(ROOTS.values()) <= named


def test_no_component_takes_what_its_signature_does_not_name() -> None:
    """Nothing is passed on to what lies behind a component, and what it takes is typed."""
    loose = {"device", "dtype", "size_average", "reduce"}  # of torch's layers, without annotations
    for name in COMPONENTS:
        target = resolve(name, key="x")
        for argument, parameter in parameters_of(target).items():
            assert parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            assert parameter.annotation is not Any or argument in loose, f"{name}.{argument}"


PRETRAIN = {"_target_": ROOTS["pretrain"], "_partial_": True}
TIMER = {"_target_": f"{CALLBACKS}.Timer"}
TRAINER = {"_target_": "dnalm.training.TrainerRecipe"}
MASKING = {"_target_": "dnalm.data.Masking"}
LORA = {"_target_": "peft.LoraConfig"}
TENSORBOARD = {"_target_": f"{LOGGERS}.TensorBoardLogger", "_partial_": True}
WANDB = {"_target_": f"{LOGGERS}.WandbLogger", "_partial_": True}
HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"trainer": {**TRAINER, "callbacks": [{"_target_": "torch.nn.GELU"}]}}, "CFG-04"),
    ({"trainer": {**TRAINER, "callbacks": [TIMER, {"_target_": "torch.nn.GELU"}]}}, "CFG-04"),
    ({"trainer": {**TRAINER, "callbacks": [[TIMER]]}}, "CFG-04"),
    ({"trainer": {**TRAINER, "callbacks": {"a": TIMER}}}, "CFG-04"),
    ({"trainer": {**TRAINER, "callbacks": [TIMER, "x"]}}, "CFG-04"),
    ({"trainer": {**TRAINER, "callbacks": [{**TIMER, "_partial_": True}]}}, "CFG-04"),
    ({"trainer": {**TRAINER, "callbacks": [{**TIMER, "_partial_": "no"}]}}, "CFG-04"),
    ({"trainer": {**TRAINER, "callbacks": [{**TIMER, "_args_": [1]}]}}, "CFG-03"),
    ({"trainer": {**TRAINER, "callbacks": [{**TIMER, "_recursive_": False}]}}, "CFG-03"),
    ({"trainer": {**TRAINER, "callbacks": [{**TIMER, "_convert_": "all"}]}}, "CFG-03"),
    ({"trainer": {**TRAINER, "callbacks": [{"_target_": ROOTS["export"]}]}}, "CFG-21"),
    ({"trainer": {**TRAINER, "callbacks": [{"_target_": f"{CALLBACKS}.ModelCheckpoint"}]}}, "CFG-21"),
    ({"trainer": {**TRAINER, "callbacks": [{"_target_": f"{CALLBACKS}.LambdaCallback"}]}}, "CFG-21"),
    (
        {"trainer": {**TRAINER, "callbacks": [{"_target_": "lightning.pytorch.cli.SaveConfigCallback"}]}},
        "CFG-21",
    ),
    ({"trainer": {**TRAINER, "callbacks": [{"_target_": f"{CALLBACKS}.OnExceptionCheckpoint"}]}}, "CFG-21"),
    ({"trainer": {**TRAINER, "callbacks": [{"_target_": {"_target_": f"{CALLBACKS}.Timer"}}]}}, "CFG-21"),
    ({"logger": {**TENSORBOARD, "name": "../../x"}}, "CFG-04"),
    ({"logger": {**TENSORBOARD, "name": "/tmp/x"}}, "CFG-04"),
    ({"logger": {**TENSORBOARD, "version": "a/../../b"}}, "CFG-04"),
    ({"logger": {**TENSORBOARD, "sub_dir": "/tmp/x"}}, "CFG-03"),
    ({"logger": {**TENSORBOARD, "kwargs": {"log_dir": "/tmp/x"}}}, "CFG-03"),
    ({"logger": {**WANDB, "dir": "/tmp/x"}}, "CFG-03"),
    ({"logger": {**WANDB, "log_model": True}}, "CFG-03"),
    ({"logger": {"_target_": f"{LOGGERS}.MLFlowLogger", "_partial_": True}}, "CFG-21"),
    ({"schedule": {"_target_": "torch.nn.GELU"}}, "CFG-04"),
    ({"schedule": {"_target_": "torch.nn.Linear", "_partial_": True}}, "CFG-04"),
    ({"schedule": {"_target_": "torch.optim.lr_scheduler.LambdaLR", "_partial_": True}}, "CFG-21"),
    ({"tokenizer": {"_target_": "dnalm.models.Encoder"}}, "CFG-04"),
    ({"tokenizer": {"_target_": ROOTS["embed"], "_partial_": True}}, "CFG-21"),
    ({"data": {"_target_": "dnalm.data.GenomeCorpus", "split": MASKING}}, "CFG-04"),
    ({"data": {"_target_": "dnalm.data.GenomeCorpus", "tracks": {"a": MASKING}}}, "CFG-04"),
    ({"objectives": {"a": MASKING}}, "CFG-04"),
    ({"objectives": {"a": {"_target_": "dnalm.training.launcher.launch"}}}, "CFG-21"),
    ({"seed": {"_target_": "dnalm.data.Masking"}}, "CFG-04"),
    ({"steps": {"_target_": "dnalm.durable.write_text", "path": "/tmp/x"}}, "CFG-21"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "code"), HOSTILE)
def test_a_place_takes_only_components_of_its_kind(arguments: dict[str, Any], code: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check({**PRETRAIN, **arguments}, command="pretrain")
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("adapter", "code"),
    [
        ({**LORA, "megatron_core": "os", "megatron_config": {}}, "CFG-03"),
        ({**LORA, "base_model_name_or_path": "x/y"}, "CFG-03"),
        ({"_target_": "peft.PromptTuningConfig"}, "CFG-21"),
        ({"_target_": "dnalm.tokenizers.KmerTokenizer", "k": 3}, "CFG-04"),
        (3, "CFG-04"),
    ],
)
def test_an_adapter_is_one_of_linear_layers_and_reads_nothing(adapter: object, code: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check({"_target_": "dnalm.training.Tuning", "adapter": adapter})
    assert refused.value.code == code


@pytest.mark.parametrize(
    "arguments",
    [
        {"trainer": {**TRAINER, "callbacks": [TIMER, {"_target_": "dnalm.training.Ledger"}]}},
        {"trainer": {**TRAINER, "callbacks": [{"_target_": f"{CALLBACKS}.EarlyStopping", "monitor": "x"}]}},
        {"model": {"_target_": "dnalm.models.Pretrained", "source": "x"}},
        {"optim": {"_target_": "torch.optim.RMSprop", "_partial_": True, "alpha": 0.9}},
        {"schedule": {"_target_": "dnalm.training.InverseSquareRoot", "_partial_": True, "warmup_steps": 1}},
        {"logger": {**WANDB, "name": "a/b", "offline": True}},
        {"data": {"_target_": "dnalm.data.GenomeCorpus", "split": {"_target_": "dnalm.data.SplitByContig"}}},
        {"objectives": {"a": {"_target_": "dnalm.training.track_objectives.ChromatinState", "track": "x"}}},
    ],
)
def test_and_takes_those(arguments: dict[str, Any]) -> None:
    check({**PRETRAIN, **arguments}, command="pretrain")


def test_the_root_of_a_command_is_its_own() -> None:
    with pytest.raises(
        ConfigError, match=r"CFG-21 _target_: .*embed'; .*pretrain.* Fix: run dnalm embed inst"
    ):
        check({"_target_": ROOTS["embed"]}, command="pretrain")
    with pytest.raises(ConfigError, match=r"CFG-21 _target_: .* the root of prepare"):
        check({"_target_": "dnalm.cli.main", "arguments": ["--version"]}, command="prepare")


PLUGIN = '''
import math
from os import system

from dnalm.data import Masking


class Cosine:
    def __init__(self, *, total_steps: int, floor: float = 0.0) -> None:
        self.total_steps, self.floor = total_steps, floor

    def __call__(self, step: int) -> float:
        return 1.0


class Silent:
    """No schedule: it is called otherwise."""

    def __call__(self, batch: int) -> float:
        return 1.0


def unknown(total_steps: int):
    return None
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package of the user's own, on Python's path."""
    name = "package_of_a_user"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def test_a_foreign_target_says_what_to_type_and_is_not_imported(plugin: str) -> None:
    with pytest.raises(ConfigError) as refused:
        resolve(f"{plugin}.Cosine", key="schedule")
    assert f"add plugins=[{plugin}] to the command line" in str(refused.value)
    assert plugin not in sys.modules


def test_the_command_line_admits_what_a_package_defines(plugin: str) -> None:
    assert grants.take_grants(["a=1", f"plugins=[{plugin}]"]) == ["a=1"]
    node = {"_target_": f"{plugin}.Cosine", "_partial_": True, "floor": 0.5}
    check({**PRETRAIN, "schedule": node}, command="pretrain")
    assert build(node)(total_steps=3).floor == 0.5
    for name, code in (
        ("system", "CFG-21"), ("Masking", "CFG-21"), ("math", "CFG-21"), ("Cosine.__call__", "CFG-21"),
        ("nothing", "CFG-21"), ("Silent", "CFG-04"), ("unknown", "CFG-04"),
    ):  # fmt: skip
        node = {"_target_": f"{plugin}.{name}", "_partial_": True}
        with pytest.raises(ConfigError) as refused:
            check({**PRETRAIN, "schedule": node}, command="pretrain")
        assert refused.value.code == code, name


def test_no_file_admits_a_package(plugin: str, tmp_path: Path) -> None:
    (tmp_path / "schedule").mkdir()
    text = f"# @package _global_\nplugins: [{plugin}]\nenv: [HOME]\n"
    (tmp_path / "schedule/own.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"CFG-37 plugins: a value in a config file; .*plugins=\[…\]"):
        read_config("pretrain", ["schedule=own"], extra_folder=tmp_path)
    resolved = tmp_path / "config.yaml"
    resolved.write_text(yaml.safe_dump({"plugins": [plugin], "data": {"_target_": f"{plugin}.Cosine"}}))
    assert set(read_resolved(resolved, [])) == {"data"}
    assert grants.current == grants.Grants()


def test_a_package_that_is_not_there_says_how_to_bring_it() -> None:
    with pytest.raises(ConfigError) as refused:
        grants.take_grants(["plugins=[no_such_package]"])
    assert "the working directory is not searched" in str(refused.value)
    assert "PYTHONPATH=<folder that holds no_such_package>" in str(refused.value)


@pytest.mark.parametrize("name", ["os", "subprocess", "torch.hub", "dnalm", "peft", "", "a-b", "../x", "a b"])
def test_a_package_is_the_users_own(name: str) -> None:
    with pytest.raises(ConfigError, match="CFG-37 plugins: "):
        grants.take_grants([f"plugins=[{name}]"])


def test_variables_are_admitted_by_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_DIR", "/mine")
    word = "resume=${oc.env:MY_DIR}"
    with pytest.raises(ConfigError, match=r"CFG-33 .*add env=\[MY_DIR\] to the command line"):
        read_config("pretrain", [word])
    assert grants.take_grants(["env=[MY_DIR,OTHER]", word]) == [word]
    assert read_config("pretrain", [word])["resume"] == "/mine"


@pytest.mark.parametrize(
    "text",
    [
        "${oc.decode:${oc.env:DATABASE_URL}}",
        "${oc.env:${oc.decode:DATABASE_URL}}",
        "${oc.env:DATABASE_URL,x}",
        "${oc.create:{a:'${oc.env:DATABASE_URL}'}}",
        "${oc.select:b,${oc.env:DATABASE_URL}}",
        "${oc.env:DATABASE_URL,${oc.env:DATABASE_URL}}",
        "${oc.env:[DATABASE_URL]}",
        "${oc.env:null}",
        "${hydra:job.env_copy}",
    ],
)
def test_no_resolver_leads_round_the_list(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "canary")
    (tmp_path / "schedule").mkdir()
    (tmp_path / "schedule/own.yaml").write_text(yaml.safe_dump({"a": text}))
    with pytest.raises(ConfigError) as refused:
        read_config("pretrain", ["schedule=own"], extra_folder=tmp_path)
    assert "canary" not in str(refused.value)


def test_jobs_are_granted_the_same_and_search_no_working_directory(plugin: str, tmp_path: Path) -> None:
    given = ["steps=3,4", f"plugins=[{plugin}]", "env=[MY_DIR]"]
    plan = read_sweep("pretrain", grants.take_grants(given))
    job = plan.make_job(tmp_path, {"steps": "3"})
    granted = (f"plugins=[{plugin}]", "env=[MY_DIR]")
    assert job.command[:7] == (sys.executable, "-P", "-m", "dnalm", "pretrain", *granted)
    made = composed_job("tokenizer train", ["data=demo"], tmp_path, {}, parts={})
    assert made.command[1:-1] == ("-P", "-m", "dnalm", "tokenizer", "train", *granted, "--config")
    assert wrong_with(made) == ""


def test_every_python_that_is_started_searches_no_working_directory() -> None:
    for path in (config_folder().parent / "dnalm").rglob("*.py"):
        for line in path.read_text().splitlines():
            assert "sys.executable" not in line or '"-P"' in line, f"{path}: {line}"


SPAWNS = """
import multiprocessing, os, sys
from dnalm.cli import main

if __name__ == "__main__":
    try:
        main(["--version"])
    except SystemExit:
        pass
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(os.getpid)
"""


def test_files_of_the_working_directory_are_no_modules(tmp_path: Path) -> None:
    where = tmp_path / "data"
    where.mkdir()
    for module in ("yaml", "rich", "random", "socket", "pickle", "torch", "hydra"):
        (where / f"{module}.py").write_text("raise SystemExit('a file of the working directory')")
    (tmp_path / "spawns.py").write_text(SPAWNS)
    root = str(config_folder().parent)
    for words in (["-m", "dnalm", "pretrain", "data=demo", "--cfg"], [str(tmp_path / "spawns.py")]):
        done = subprocess.run(
            [sys.executable, *words],
            cwd=where,
            env={**os.environ, "PYTHONPATH": root},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr


def test_components_are_what_their_packages_define() -> None:
    for name in COMPONENTS:
        target = resolve(name, key="x")
        assert inspect.isclass(target) or inspect.isfunction(target)
        assert target.__module__.partition(".")[0] == name.partition(".")[0]
