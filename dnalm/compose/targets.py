"""What a `_target_` may name: the components listed here, and those of packages that the command line admits.

A config may come from a stranger, so what it builds is a list and no rule: a name that does not stand here is
refused before anything is imported, whatever alias leads to it. Of a library only what writes nowhere but
into the run directory, runs no command, opens no network by itself and unpickles nothing is listed; where
some of its arguments would do so, those that may be set are listed with it.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Collection, Mapping
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
    "predict": "dnalm.commands.predict.predict",
    "embed": "dnalm.commands.embed.embed",
    "cluster": "dnalm.commands.cluster.clusters",
    "compare": "dnalm.commands.compare.compare",
    "interpret": "dnalm.commands.interpret.interpret",
    "report": "dnalm.commands.report.report",
    "export": "dnalm.commands.export.export",
    "plan": "dnalm.commands.plan.PlanCommand",
    "doctor": "dnalm.commands.doctor.DoctorCommand",
    "doctor finetune": "dnalm.commands.doctor.FinetuneDoctorCommand",
    "models": "dnalm.commands.models.list_models",
    "push": "dnalm.commands.push.push",
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
    "dnalm.data.SplitByHomology",
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
    "dnalm.data.labelled.Negatives",
    "dnalm.data.labelled.NextKmer",
    "dnalm.data.labelled.PeakTask",
    "dnalm.data.labelled.SequenceRecipe",
    "dnalm.data.labelled.Task",
    "dnalm.tokenizers.BpeRecipe",
    "dnalm.tokenizers.KmerTokenizer",
    "dnalm.tokenizers.LogoTokenizer",
    "dnalm.tokenizers.SixMerTokenizer",
    "dnalm.tokenizers.load_tokenizer",
    # models and how they are trained
    "dnalm.models.Encoder",
    "dnalm.models.Ensemble",
    "dnalm.models.Pretrained",
    "dnalm.training.InverseSquareRoot",
    "dnalm.training.Ledger",
    "dnalm.training.LinearWarmupDecay",
    "dnalm.training.RunDirectory",
    "dnalm.training.TrainerRecipe",
    "dnalm.training.Tuning",
    "dnalm.training.WarmupCosine",
    "dnalm.training.WarmupStableDecay",
    "dnalm.training.track_objectives.ChromatinState",
    "dnalm.training.track_objectives.Conservation",
    "dnalm.training.objectives.MaskedTokens",
    "dnalm.training.track_objectives.RegionClass",
    # what judges them, and many runs
    "dnalm.commands.benchmark.BenchmarkFolder",
    "dnalm.evaluation.benchmark.Benchmark",
    "dnalm.evaluation.benchmark.Columns",
    "dnalm.evaluation.benchmark.VariantSuite",
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


_WHOLE: Mapping[str, str] = {  # components of libraries all of whose arguments may be set
    # not the schedules of torch.optim, which have state: a schedule here is a function of the step
    "torch.optim": "ASGD Adadelta Adafactor Adagrad Adam AdamW Adamax LBFGS Muon NAdam RAdam RMSprop Rprop "
    "SGD SparseAdam",
    # layers and losses, for arguments of components of one's own
    "torch.nn": "Conv1d Dropout Embedding GELU Identity LayerNorm Linear RMSNorm ReLU SiLU Sigmoid Tanh "
    "BCEWithLogitsLoss CrossEntropyLoss HuberLoss L1Loss MSELoss PoissonNLLLoss SmoothL1Loss",
    "torchmetrics": "MeanAbsoluteError MeanMetric MeanSquaredError PearsonCorrCoef R2Score SpearmanCorrCoef "
    "SumMetric",
    "torchmetrics.classification": "BinaryAUROC BinaryAccuracy BinaryAveragePrecision BinaryF1Score "
    "BinaryMatthewsCorrCoef MulticlassAUROC MulticlassAccuracy MulticlassAveragePrecision MulticlassF1Score "
    "MulticlassMatthewsCorrCoef MultilabelAUROC MultilabelAccuracy MultilabelAveragePrecision "
    "MultilabelF1Score",
    # not those that write checkpoints or call what they are given, nor those that the trainer has already
    "lightning.pytorch.callbacks": "DeviceStatsMonitor EarlyStopping LearningRateMonitor ModelSummary "
    "RichModelSummary Timer",
}
_IN_PART: Mapping[str, Mapping[str, Any]] = {  # others, and the arguments that may be set
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
COMPONENTS = dict.fromkeys(  # in this order
    (*_OURS, *(f"{module}.{name}" for module, names in _WHOLE.items() for name in names.split()), *_IN_PART)
)


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
    for dotted, arguments in _IN_PART.items():
        module, _, name = dotted.rpartition(".")
        if getattr(sys.modules.get(module), name, None) is target:
            return arguments
    return None


def settable_names(target: object) -> Collection[str] | None:
    """The arguments of a listed component that a config may set, without importing it; None if all."""
    return _IN_PART.get(str(target))


def _find(target: str, key: str) -> Callable[..., Any]:
    """Import what a name of an admitted package leads to: a class or function that is defined there."""
    module, _, name = target.rpartition(".")
    package = target.partition(".")[0]
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise _refused(
            key, f"{target!r} cannot be imported: {error}", "an installed package", "see what is missing"
        ) from error
    if found is None:
        raise _refused(key, f"{target!r} does not exist", f"a class or function of {module}", "correct it")
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
    elif package in grants.LIBRARIES and nearest:
        found, fix = f"{target!r} is no component", f"write {nearest[0]}"
    elif package in grants.LIBRARIES or package in sys.stdlib_module_names:
        found = f"{target!r} is no component"
        fix = "if you need it, wrap it in a package of your own and add plugins=[your_package]"
    else:
        found = f"{target!r} lies outside the packages {', '.join(grants.LIBRARIES)}"
        fix = f"if {package} is your own or you trust it, add plugins=[{package}] to the command line"
    return _refused(key, found, "a component that dnalm/compose/targets.py lists", fix)


def _refused(key: str, found: str, expected: str, fix: str) -> ConfigError:
    where = f"{key}._target_" if key else "_target_"
    return ConfigError("CFG-21", where=where, found=found, expected=expected, fix=fix)
