"""What a `_target_` may name: the components listed here, and those of packages that the command line admits.

A config may come from a stranger, so what it builds is a list and no rule: a name that does not stand here is
refused before anything is imported, whatever alias leads to it. Of a library only what writes nowhere but
into the run directory, runs no command, opens no network by itself and unpickles nothing is listed; where
some of its arguments would do so, those that may be set are listed with it.

The names of arguments are read from source without importing it, since a misspelt key should not cost the
seconds that importing torch takes. What cannot be read this way (a class made at run time, one whose base
lies elsewhere) is left to `check`, which imports.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import NonNegativeInt, PositiveInt, StringConstraints

from dnalm import grants
from dnalm.errors import ConfigError
from dnalm.limits import LayerWidth

ROOTS = {  # by command; `sweep` is the root of `-m`
    "pretrain": "dnalm.commands.pretrain.PretrainCommand",
    "finetune": "dnalm.commands.finetune.FinetuneCommand",
    "baseline": "dnalm.commands.baseline.baseline",
    "benchmark": "dnalm.commands.benchmark.benchmark",
    "prepare": "dnalm.commands.prepare.prepare",
    "score": "dnalm.commands.score.score",
    "embed": "dnalm.commands.embed.embed",
    "cluster": "dnalm.commands.cluster.clusters",
    "interpret": "dnalm.commands.interpret.interpret",
    "export": "dnalm.commands.export.export",
    "fetch": "dnalm.commands.fetch.fetch",
    "tokenizer train": "dnalm.commands.tokenizer.train_tokenizer",
    "tokenizer select": "dnalm.commands.tokenizer.select_vocabulary",
    "tokenizer inspect": "dnalm.commands.tokenizer.inspect_tokenizer",
    "sweep": "dnalm.sweeps.run_sweep",
}

_OURS = (
    # genomes, their parts, and what is known of their bases
    "dnalm.data.GenomeCorpus",
    "dnalm.data.MultispeciesCorpus",
    "dnalm.data.DatasetCorpus",
    "dnalm.data.SplitByContig",
    "dnalm.data.SplitByFraction",
    "dnalm.data.SplitByRandomContigs",
    "dnalm.data.SplitByRegion",
    "dnalm.simulation.settings.Clade",
    "dnalm.genome.download.GenomeRecipe",
    "dnalm.genome.download.ManifestRecipe",
    "dnalm.genome.track_recipes.IntervalClasses",
    "dnalm.genome.track_recipes.IntervalLabels",
    "dnalm.genome.track_recipes.RegionClasses",
    "dnalm.genome.track_recipes.Signal",
    # what a step sees of them
    "dnalm.data.BatchPlan",
    "dnalm.data.Masking",
    "dnalm.data.WindowRecipe",
    "dnalm.data.labelled.NextKmer",
    "dnalm.data.labelled.SequenceRecipe",
    "dnalm.data.labelled.Task",
    "dnalm.tokenizers.BpeRecipe",
    "dnalm.tokenizers.KmerTokenizer",
    "dnalm.tokenizers.LogoTokenizer",
    "dnalm.tokenizers.SixMerTokenizer",
    "dnalm.tokenizers.load_tokenizer",
    # models and how they are trained
    "dnalm.models.Encoder",
    "dnalm.models.Pretrained",
    "dnalm.training.InverseSquareRoot",
    "dnalm.training.Ledger",
    "dnalm.training.LinearWarmupDecay",
    "dnalm.training.RunDirectory",
    "dnalm.training.TrainerRecipe",
    "dnalm.training.Tuning",
    "dnalm.training.track_objectives.ChromatinState",
    "dnalm.training.track_objectives.Conservation",
    "dnalm.training.objectives.MaskedTokens",
    "dnalm.training.track_objectives.RegionClass",
    # what judges them, and many runs
    "dnalm.commands.benchmark.BenchmarkFolder",
    "dnalm.evaluation.benchmark.Benchmark",
    "dnalm.evaluation.benchmark.Columns",
    "dnalm.evaluation.classical.KmerLogistic",
    "dnalm.evaluation.classical.SmallCnn",
    "dnalm.sweeps.Grid",
    "dnalm.sweeps.LocalLauncher",
    "dnalm.sweeps.OptunaSearch",
    "dnalm.sweeps.SlurmLauncher",
    "dnalm.sweeps.SweepFolder",
)

_Name = Annotated[str, StringConstraints(pattern=r"^(\w[\w.-]*)?$")]  # no path
_Layers = list[str] | str
_ADAPTER: Mapping[str, Any] = {
    "r": LayerWidth,
    "target_modules": _Layers,
    "exclude_modules": _Layers,
    "layers_to_transform": list[int] | int,
    "layers_pattern": _Layers,
    "rank_pattern": dict[str, int],
    "alpha_pattern": dict[str, int],
}
_LOW_RANK_PRODUCT: Mapping[str, Any] = {
    **_ADAPTER,
    "alpha": int,
    "rank_dropout": float,
    "module_dropout": float,
    "init_weights": bool,
}


def _of(module: str, *names: str) -> dict[str, None]:
    """Components of a module all of whose arguments may be set."""
    return {f"{module}.{name}": None for name in " ".join(names).split()}


_LIBRARIES: Mapping[str, Mapping[str, Any] | None] = {  # the arguments that may be set; None: all
    # not the schedules of torch.optim, which have state: a schedule here is a function of the step
    **_of("torch.optim", "ASGD Adadelta Adafactor Adagrad Adam AdamW Adamax LBFGS Muon NAdam RAdam RMSprop"),
    **_of("torch.optim", "Rprop SGD SparseAdam"),
    # layers and losses, for arguments of components of one's own
    **_of(
        "torch.nn", "Conv1d Dropout Embedding GELU Identity LayerNorm Linear RMSNorm ReLU SiLU Sigmoid Tanh"
    ),
    **_of("torch.nn", "BCEWithLogitsLoss CrossEntropyLoss HuberLoss L1Loss MSELoss PoissonNLLLoss"),
    **_of("torch.nn", "SmoothL1Loss"),
    **_of("torchmetrics", "MeanAbsoluteError MeanMetric MeanSquaredError PearsonCorrCoef R2Score"),
    **_of("torchmetrics", "SpearmanCorrCoef SumMetric"),
    **_of("torchmetrics.classification", "BinaryAUROC BinaryAccuracy BinaryAveragePrecision BinaryF1Score"),
    **_of("torchmetrics.classification", "BinaryMatthewsCorrCoef MulticlassAUROC MulticlassAccuracy"),
    **_of("torchmetrics.classification", "MulticlassAveragePrecision MulticlassF1Score"),
    **_of("torchmetrics.classification", "MulticlassMatthewsCorrCoef MultilabelAUROC MultilabelAccuracy"),
    **_of("torchmetrics.classification", "MultilabelAveragePrecision MultilabelF1Score"),
    # not those that write checkpoints or call what they are given, nor those that the trainer has already
    **_of("lightning.pytorch.callbacks", "DeviceStatsMonitor EarlyStopping LearningRateMonitor ModelSummary"),
    **_of("lightning.pytorch.callbacks", "RichModelSummary Timer"),
    # loggers are given the run directory; not those that write to a server alone
    "lightning.pytorch.loggers.CSVLogger": {
        "name": _Name,
        "version": _Name | int,
        "prefix": str,
        "flush_logs_every_n_steps": PositiveInt,
    },
    "lightning.pytorch.loggers.TensorBoardLogger": {
        "name": _Name,
        "version": _Name | int,
        "prefix": str,
        "default_hp_metric": bool,
    },
    "lightning.pytorch.loggers.WandbLogger": {
        "name": str | None,
        "project": _Name,
        "id": _Name,
        "version": _Name,
        "prefix": str,
        "offline": bool,
    },
    # adapters of linear layers that can be merged; not those that read models, data or modules of their own
    "peft.IA3Config": {
        "target_modules": _Layers,
        "exclude_modules": _Layers,
        "feedforward_modules": _Layers,
        "init_ia3_weights": bool,
    },
    "peft.LoHaConfig": _LOW_RANK_PRODUCT,
    "peft.LoKrConfig": {**_LOW_RANK_PRODUCT, "decompose_both": bool, "decompose_factor": int},
    "peft.LoraConfig": {
        **_ADAPTER,
        "lora_alpha": NonNegativeInt,
        "lora_dropout": float,
        "bias": Literal["none", "all", "lora_only"],
        "use_rslora": bool,
        "use_dora": bool,
        "init_lora_weights": bool | Literal["gaussian", "olora", "orthogonal", "pissa"],
    },
}
COMPONENTS = dict.fromkeys((*_OURS, *_LIBRARIES))  # in this order
_PACKAGES = tuple(dict.fromkeys(name.partition(".")[0] for name in COMPONENTS))


def resolve(target: object, *, key: str, command: str | None = None) -> Callable[..., Any]:
    """The class or function a `_target_` names.

    Args:
        target: the value of `_target_`.
        key: where it stands in the config, for the error.
        command: the command whose root config it stands in; None for a component.

    Raises:
        ConfigError: CFG-21, it names nothing that may be built there.
    """
    if not isinstance(target, str) or not all(part.isidentifier() for part in target.split(".")):
        raise _refused(key, f"{target!r} is not a dotted name", "the name of a component", "name one")
    if command is not None:
        if target != ROOTS[command]:
            raise _not_the_root(key, target, command)
    elif target not in COMPONENTS and not grants.current.admits(target):
        raise _not_listed(key, target)
    return _find(target, key)


def settable(target: Callable[..., Any]) -> Mapping[str, Any] | None:
    """The arguments of a component of a library that a config may set, with their types; None if all."""
    for name, arguments in _LIBRARIES.items():
        if arguments is not None and name.rpartition(".")[2] == target.__name__:
            module = sys.modules.get(name.rpartition(".")[0])
            if getattr(module, target.__name__, None) is target:
                return arguments
    return None


def _find(target: str, key: str) -> Callable[..., Any]:
    """Import what a name of an admitted package leads to: a class or function that is defined there."""
    module, _, name = target.rpartition(".")
    found = getattr(_import(module, key, target), name, None)
    if found is None:
        raise _refused(key, f"{target!r} does not exist", f"a class or function of {module}", "correct it")
    package = target.partition(".")[0]
    defined = getattr(found, "__module__", "").partition(".")[0] == package
    if not defined or not (inspect.isclass(found) or inspect.isfunction(found)):
        raise _refused(
            key,
            f"{target!r} is no class or function that {package} defines",
            f"one of {package}'s own",
            f"define it in {package}: a class or function around what you need",
        )
    built: Callable[..., Any] = found
    return built


def _import(module: str, key: str, target: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _refused(
            key, f"{target!r} cannot be imported: {error}", "an installed package", "see what is missing"
        ) from error


def _not_the_root(key: str, target: str, command: str) -> ConfigError:
    own = next((name for name, root in ROOTS.items() if root == target and name != "sweep"), None)
    fix = f"run dnalm {own} instead" if own else f"write _target_: {ROOTS[command]}"
    return _refused(key, repr(target), f"{ROOTS[command]}, the root of {command}", fix)


def _not_listed(key: str, target: str) -> ConfigError:
    package, _, name = target.partition(".")[0], *target.rpartition(".")[1:]
    alike = [known for known in COMPONENTS if known.rpartition(".")[2] == name and name]
    nearest = alike or difflib.get_close_matches(target, list(COMPONENTS), n=1, cutoff=0.8)
    if target in ROOTS.values():
        found, fix = f"{target!r} is the root of a command", "name a component"
    elif package in _PACKAGES and nearest:
        found, fix = f"{target!r} is no component", f"write {nearest[0]}"
    elif package in _PACKAGES or package in sys.stdlib_module_names:
        found = f"{target!r} is no component"
        fix = "if you need it, wrap it in a package of your own and add plugins=[your_package]"
    else:
        found = f"{target!r} lies outside the packages {', '.join(_PACKAGES)}"
        fix = f"if {package} is your own or you trust it, add plugins=[{package}] to the command line"
    return _refused(key, found, "a component that dnalm/compose/targets.py lists", fix)


def _refused(key: str, found: str, expected: str, fix: str) -> ConfigError:
    where = f"{key}._target_" if key else "_target_"
    return ConfigError("CFG-21", where=where, found=found, expected=expected, fix=fix)


_MOST_HOPS = 8  # re-exports between the name of a component and its definition


def argument_names(target: object) -> list[str] | None:
    """Names of a target's arguments, in order; None where they cannot be read from source.

    Args:
        target: the value of `_target_`, such as `dnalm.data.Masking`.
    """
    if not isinstance(target, str) or target.partition(".")[0] not in _PACKAGES:
        return None
    found = _find_definition(target, _MOST_HOPS)
    if found is None:
        return None
    path, node = found
    return _of_class(path, node) if isinstance(node, ast.ClassDef) else _of_function(node)


_Definition = ast.ClassDef | ast.FunctionDef


def _find_definition(dotted: str, hops: int) -> tuple[Path, _Definition] | None:
    """The file and the definition that a dotted path leads to, through re-exports."""
    package, *names = dotted.split(".")
    path = _package_file(package)
    while path is not None and names and path.name == "__init__.py":
        below = path.parent / names[0]
        module = next(
            (file for file in (below / "__init__.py", below.with_suffix(".py")) if file.is_file()), None
        )
        if module is None:
            break
        path, names = module, names[1:]
    return _in_module(path, names[0], hops) if path is not None and len(names) == 1 else None


@cache
def _package_file(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin) if spec is not None and spec.origin else None


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _in_module(path: Path, name: str, hops: int) -> tuple[Path, _Definition] | None:
    for node in _parsed(path).body:
        if isinstance(node, _Definition) and node.name == name:
            return path, node
        if isinstance(node, ast.ImportFrom) and hops:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find_definition(f"{_imported_module(path, node)}.{alias.name}", hops - 1)
    return None


def _imported_module(path: Path, node: ast.ImportFrom) -> str:
    """The absolute dotted name of what `from … import` names, relative ones resolved."""
    if not node.level:
        return node.module or ""
    folder = path.parent
    for _ in range(node.level - 1):
        folder = folder.parent
    parts = [folder.name]
    while (folder := folder.parent) and (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
    return ".".join([*parts, *([node.module] if node.module else [])])


def _of_function(node: ast.FunctionDef) -> list[str] | None:
    """Arguments of a function; None if it is decorated or takes any names."""
    if node.decorator_list or node.args.kwarg is not None:
        return None
    return [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]


def _of_class(path: Path, node: ast.ClassDef) -> list[str] | None:
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
            names = _of_function(inner)
            return names[1:] if names is not None else None
    if _is_dataclass(node):
        return _fields(path, node)
    if not node.bases:
        return []
    first = _base(path, node.bases[0])  # of several bases, a dataclass that comes first has the `__init__`
    decides = first is not None and (len(node.bases) == 1 or _is_dataclass(first[1]))
    return _of_class(*first) if first is not None and decides else None


def _fields(path: Path, node: ast.ClassDef) -> list[str] | None:
    """Fields of a dataclass, those of its bases first; None if a base is not found."""
    names: dict[str, None] = {}
    for base in node.bases:
        if ast.unparse(base).partition("[")[0].rpartition(".")[2] in ("Generic", "Protocol", "ABC"):
            continue
        found = _base(path, base)
        inherited = _fields(*found) if found is not None else None
        if inherited is None:
            return None
        names |= dict.fromkeys(inherited)
    return [*(names | dict.fromkeys(_own_fields(node)))] if _is_dataclass(node) else list(names)


def _own_fields(node: ast.ClassDef) -> Iterator[str]:
    for inner in node.body:
        if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
            outer = ast.unparse(inner.annotation).partition("[")[0]
            is_class_variable = outer.rpartition(".")[2] == "ClassVar"
            is_filled = inner.value is not None and "init=False" in ast.unparse(inner.value)
            if not is_class_variable and not is_filled:
                yield inner.target.id


def _is_dataclass(node: ast.ClassDef) -> bool:
    names = [ast.unparse(decorator).partition("(")[0] for decorator in node.decorator_list]
    return any(name.rpartition(".")[2] == "dataclass" for name in names)


def _base(path: Path, base: ast.expr) -> tuple[Path, ast.ClassDef] | None:
    named = base.value if isinstance(base, ast.Subscript) else base  # of a generic class
    found = _in_module(path, named.id, _MOST_HOPS) if isinstance(named, ast.Name) else None
    return (found[0], found[1]) if found is not None and isinstance(found[1], ast.ClassDef) else None
