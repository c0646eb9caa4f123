"""Words of a command line in Hydra's grammar, and unknown names, with the one that was probably meant.

A misspelt key is held against the arguments as the source states them, so that the answer takes no import
of torch. Where it is a word of a neighbouring program (transformers, Lightning, Hydra templates), the error
names the key that does the same here.
"""

from __future__ import annotations

import difflib
import importlib
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dnalm.compose.targets import argument_names
from dnalm.errors import ConfigError
from dnalm.paths import quoted

# What users of neighbouring programs type, and what says it here. Of several the first whose key the command
# has is named. One with '=' is written as it stands, one without gets the value that was typed; what begins
# with "none" is said where nothing corresponds.
NEIGHBOURS: dict[str, tuple[str, ...]] = {
    # the optimizer and its schedule
    "lr": ("optim.lr",),
    "learning_rate": ("optim.lr",),
    "max_lr": ("optim.lr",),
    "base_lr": ("optim.lr",),
    "optimizer": ("optim=adamw",),
    "optim.name": ("optim=adamw",),
    "weight_decay": ("optim.weight_decay",),
    "wd": ("optim.weight_decay",),
    "betas": ("optim.betas",),
    "adam_beta1": ("optim.betas=[0.9,0.98]",),
    "adam_beta2": ("optim.betas=[0.9,0.98]",),
    "adam_epsilon": ("optim.eps",),
    "eps": ("optim.eps",),
    "scheduler": ("schedule=linear",),
    "lr_scheduler": ("schedule=linear",),
    "lr_scheduler_type": ("schedule=linear",),
    "warmup_steps": ("schedule.warmup_steps",),
    "num_warmup_steps": ("schedule.warmup_steps",),
    "warmup": ("schedule.warmup_steps",),
    "warmup_ratio": ("schedule.warmup_steps",),
    "warmup_proportion": ("schedule.warmup_steps",),
    "min_lr_ratio": ("schedule.floor",),
    # how long, how often
    "max_epochs": ("epochs", "steps=3000"),
    "num_train_epochs": ("epochs", "steps=3000"),
    "num_epochs": ("epochs", "steps=3000"),
    "epochs": ("steps=3000",),
    "max_steps": ("steps",),
    "num_steps": ("steps",),
    "num_train_steps": ("steps",),
    "total_steps": ("steps",),
    "train_steps": ("steps",),
    "iterations": ("steps",),
    "max_iters": ("steps",),
    "limit_train_batches": ("steps=20",),
    "overfit_batches": ("steps=20",),
    "limit_val_batches": ("windows.num_validation=200", "debug=fast"),
    "limit_test_batches": ("debug=fast",),
    "max_train_samples": ("steps=20",),
    "max_eval_samples": ("windows.num_validation=200", "debug=fast"),
    "num_sanity_val_steps": ("debug=fast",),
    "fast_dev_run": ("debug=fast",),
    "smoke_test": ("debug=fast",),
    "dry_run": ("--cfg",),
    "val_check_interval": ("trainer.validate_every",),
    "check_val_every_n_epoch": ("trainer.validate_every=500",),
    "eval_steps": ("trainer.validate_every",),
    "eval_every": ("trainer.validate_every",),
    "eval_interval": ("trainer.validate_every",),
    "evaluation_strategy": ("trainer.validate_every=500",),
    "save_steps": ("trainer.checkpoint_every",),
    "save_every": ("trainer.checkpoint_every",),
    "every_n_train_steps": ("trainer.checkpoint_every",),
    "save_total_limit": ("trainer.keep_checkpoints",),
    "save_top_k": ("trainer.keep_best",),
    "load_best_model_at_end": ("tuning.select=metric", "trainer.keep_best=1"),
    "log_every_n_steps": ("trainer.log_every",),
    "logging_steps": ("trainer.log_every",),
    "log_interval": ("trainer.log_every",),
    "early_stopping": ("tuning.patience=5",),
    "early_stopping_patience": ("tuning.patience",),
    "patience": ("tuning.patience",),
    # the batch
    "batch_size": ("batch.global_size", "batch_tokens=16384"),
    "train_batch_size": ("batch.global_size",),
    "global_batch_size": ("batch.global_size",),
    "bs": ("batch.global_size",),
    "per_device_train_batch_size": ("batch.micro_size",),
    "per_gpu_train_batch_size": ("batch.micro_size",),
    "device_batch_size": ("batch.micro_size",),
    "micro_batch_size": ("batch.micro_size",),
    "per_device_eval_batch_size": ("batch.micro_size", "batch_tokens=16384"),
    "eval_batch_size": ("batch.micro_size", "batch_tokens=16384"),
    "gradient_accumulation": ("batch.global_size=64 batch.micro_size=16",),
    "gradient_accumulation_steps": ("batch.global_size=64 batch.micro_size=16",),
    "accumulate_grad_batches": ("batch.global_size=64 batch.micro_size=16",),
    "num_workers": ("batch.num_workers", "workers"),
    "dataloader_num_workers": ("batch.num_workers", "workers"),
    "pin_memory": ("none: memory is pinned where there is a GPU",),
    "persistent_workers": ("none: workers live as long as the run",),
    # hardware
    "accelerator": ("trainer=gpu", "device=cuda"),
    "device": ("trainer=gpu",),
    "gpus": ("trainer.devices",),
    "n_gpus": ("trainer.devices",),
    "num_gpus": ("trainer.devices",),
    "devices": ("trainer.devices",),
    "nproc_per_node": ("trainer.devices",),
    "num_processes": ("trainer.devices",),
    "nodes": ("trainer.num_nodes",),
    "nnodes": ("trainer.num_nodes",),
    "num_nodes": ("trainer.num_nodes",),
    "strategy": ("trainer.strategy",),
    "fsdp": ("trainer.strategy=fsdp",),
    "deepspeed": ("trainer.strategy=fsdp",),
    "precision": ("trainer.precision=bf16-mixed",),
    "fp16": ("trainer.precision=bf16-mixed",),
    "bf16": ("trainer.precision=bf16-mixed",),
    "mixed_precision": ("trainer.precision=bf16-mixed",),
    "gradient_checkpointing": ("trainer.activation_checkpointing",),
    "torch_compile": ("trainer.compile",),
    "compile": ("trainer.compile",),
    "gradient_clip_val": ("trainer.gradient_clip",),
    "max_grad_norm": ("trainer.gradient_clip",),
    "grad_clip": ("trainer.gradient_clip",),
    "attn_implementation": ("model.kernel=sdpa",),
    "flash_attention": ("model.kernel=varlen",),
    "deterministic": ("none: the same command gives the same numbers on the same machine",),
    "benchmark": ("none: it is a command of its own, dnalm benchmark",),
    "profiler": ("none: tokens_per_s is in metrics.csv; py-spy and torch.profiler look into a run",),
    "seed_everything": ("seed",),
    "random_seed": ("seed",),
    "random_state": ("seed",),
    # names that groups had
    "recipe": ("download=sacCer3",),
    "kind": ("bpe=grover",),
    # folders, runs and checkpoints
    "out": ("run.dir=runs/first", "sweep.dir=sweeps/first"),  # of commands that leave a folder
    "run.dir": ("out=vectors.parquet", "sweep.dir"),  # of commands that leave a file, or a sweep
    "run.name": ("out=vectors.parquet", "sweep.dir=sweeps/first"),
    "sweep.dir": ("run.dir", "out=vectors.parquet"),
    "output_dir": ("run.dir", "out=vectors.parquet"),
    "out_dir": ("run.dir", "out=vectors.parquet"),
    "output": ("run.dir", "out"),
    "save_dir": ("run.dir", "out"),
    "log_dir": ("run.dir",),
    "logging_dir": ("run.dir",),
    "default_root_dir": ("run.dir",),
    "root_dir": ("run.dir",),
    "work_dir": ("run.dir",),
    "hydra.run.dir": ("run.dir", "out"),
    "hydra.sweep.dir": ("-m sweep.dir=sweeps/mine",),
    "hydra.sweep.subdir": ("-m sweep.dir=sweeps/mine",),
    "hydra.job.name": ("run.name",),
    "hydra.job.chdir": ("none: the folder you are in stays",),
    "hydra.verbose": ("--debug",),
    "hydra.mode": ("-m",),
    "hydra/launcher": ("-m launcher=slurm",),
    "hydra.launcher": ("-m launcher=slurm",),
    "hydra/sweeper": ("-m hparams_search=optuna",),
    "hydra.sweeper": ("-m hparams_search=optuna",),
    "hydra.searchpath": ("--config-dir my_configs",),
    "hydra/job_logging": ("none: dnalm prints to the terminal",),
    "run_name": ("run.name",),
    "exp_name": ("run.name",),
    "experiment_name": ("run.name",),
    "task_name": ("run.name",),
    "overwrite_output_dir": ("run.replace",),
    "overwrite": ("run.replace",),
    "ckpt_path": ("resume", "model"),
    "resume_from_checkpoint": ("resume",),
    "resume_from": ("resume",),
    "load_from_checkpoint": ("resume", "model"),
    "checkpoint": ("resume", "model"),
    "ckpt": ("resume", "model"),
    "report_to": ("logger=wandb",),
    "loggers": ("logger=wandb",),
    "use_wandb": ("logger=wandb",),
    "wandb_project": ("logger=wandb logger.project=dnalm",),
    # models, tokenizers and data
    "model_name_or_path": ("model=runs/mine",),
    "pretrained_model_name_or_path": ("model=runs/mine",),
    "pretrained": ("model=runs/mine",),
    "model_name": ("model=runs/mine",),
    "model_path": ("model=runs/mine",),
    "model_type": ("model=bert",),
    "tokenizer_name": ("tokenizer=kmer",),
    "tokenizer_path": ("tokenizer=runs/bpe",),
    "kmer": ("tokenizer.k=6",),
    "kmer_size": ("tokenizer.k=6",),
    "k": ("tokenizer.k=6",),
    "vocab_size": ("tokenizer=bpe tokenizer.vocab_size=4096",),
    "use_lora": ("tuning=lora",),
    "lora_r": ("tuning=lora tuning.adapter.r",),
    "lora_rank": ("tuning=lora tuning.adapter.r",),
    "tuning.r": ("tuning=lora tuning.adapter.r",),
    "tuning.rank": ("tuning=lora tuning.adapter.r",),
    "tuning.alpha": ("tuning=lora tuning.adapter.lora_alpha",),
    "lora_alpha": ("tuning=lora tuning.adapter.lora_alpha",),
    "tuning.dropout": ("tuning=lora tuning.adapter.lora_dropout",),
    "lora_dropout": ("tuning=lora tuning.adapter.lora_dropout",),
    "target_modules": ("tuning=lora tuning.adapter.target_modules=[query,value]",),
    "freeze": ("tuning=head",),
    "freeze_encoder": ("tuning=head",),
    "class_weight": ("tuning.class_weights=balanced",),
    "num_labels": ("task.num_classes",),
    "hidden_dim": ("model.hidden_size",),
    "d_model": ("model.hidden_size",),
    "n_embd": ("model.hidden_size",),
    "embed_dim": ("model.hidden_size",),
    "n_layers": ("model.num_layers",),
    "n_layer": ("model.num_layers",),
    "depth": ("model.num_layers",),
    "num_hidden_layers": ("model.num_layers",),
    "n_heads": ("model.num_heads",),
    "n_head": ("model.num_heads",),
    "num_attention_heads": ("model.num_heads",),
    "ffn_dim": ("model.intermediate_size",),
    "d_ff": ("model.intermediate_size",),
    "hidden_dropout_prob": ("model.dropout",),
    "attention_probs_dropout_prob": ("model.attention_dropout",),
    "max_position_embeddings": ("model.max_positions",),
    "mlm_probability": ("masking.rate",),
    "mask_prob": ("masking.rate",),
    "mask_rate": ("masking.rate",),
    "mask_ratio": ("masking.rate",),
    "max_length": ("windows.max_tokens", "sequences.max_tokens", "max_tokens", "window_bp"),
    "max_seq_length": ("windows.max_tokens", "sequences.max_tokens", "max_tokens", "window_bp"),
    "model_max_length": ("windows.max_tokens", "sequences.max_tokens", "max_tokens", "window_bp"),
    "block_size": ("windows.max_tokens", "sequences.max_tokens"),
    "seq_len": ("windows.max_tokens", "sequences.max_tokens"),
    "context_length": ("windows.max_tokens", "sequences.max_tokens"),
    "fasta": ("data=fasta data.fasta", "reference"),
    "fasta_file": ("data=fasta data.fasta", "reference"),
    "genome": ("data=fasta data.fasta", "reference"),
    "ref": ("reference", "data=fasta data.fasta"),
    "reference": ("data=fasta data.fasta",),
    "vcf": ("variants",),
    "vcf_file": ("variants",),
    "bed": ("input", "data.regions"),
    "input_file": ("input", "variants"),
    "dataset": ("task=files", "data=dataset"),
    "dataset_name": ("task=files", "data=dataset"),
    "data_dir": ("task.train=train.csv", "data=fasta data.fasta=genome.fa"),
    "data_path": ("task.train=train.csv", "data=fasta data.fasta=genome.fa"),
    "train_file": ("task.train", "data=fasta data.fasta"),
    "train_data_file": ("task.train", "data=fasta data.fasta"),
    "validation_file": ("task.val",),
    "valid_file": ("task.val",),
    "eval_data_file": ("task.val",),
    "test_file": ("task.test",),
    "val_split": ("data/split=fraction data.split.fraction=0.05",),
    "validation_split_percentage": ("data/split=fraction data.split.fraction=0.05",),
    "test_chroms": ("data.split.validation=[chr8]",),
    "val_chroms": ("data.split.validation=[chr8]",),
    "chromosomes": ("data.split.validation=[chr8]",),
    "max_concurrent": ("-m sweep.parallel=2",),
    "n_jobs": ("workers", "-m sweep.parallel=2"),
    "n_trials": ("-m hparams_search=optuna hparams_search.num_trials=20",),
}

# First words of neighbouring programs, and the command that does it here.
COMMANDS_OF_NEIGHBOURS: dict[str, str] = {
    **dict.fromkeys(("train", "fit", "run", "mlm", "demo", "resume"), "pretrain"),
    **dict.fromkeys(("tune", "classify", "train_classifier"), "finetune"),
    **dict.fromkeys(
        ("eval", "evaluate", "test", "validate"), "finetune, which measures the test set, or dnalm benchmark"
    ),
    **dict.fromkeys(
        ("predict", "infer", "inference"),
        "score for variants, dnalm embed for vectors, or "
        "dnalm finetune, which leaves predictions.parquet of the test set",
    ),
    **dict.fromkeys(("embedding", "embeddings", "encode", "extract"), "embed"),
    **dict.fromkeys(("variants", "variant", "vep", "vcf"), "score"),
    **dict.fromkeys(("explain", "attribution", "attention", "motifs", "mutagenesis", "ism"), "interpret"),
    **dict.fromkeys(("convert", "save", "push", "hf"), "export"),
    **dict.fromkeys(("download", "get"), "fetch"),
    **dict.fromkeys(("preprocess", "process", "index", "data"), "prepare"),
    **dict.fromkeys(("tokenize", "vocab"), "tokenizer inspect"),
    **dict.fromkeys(("bpe", "train_tokenizer"), "tokenizer train"),
    **dict.fromkeys(("sweep", "multirun", "optuna", "hparams"), "pretrain -m"),
    "help": "--help",
    "version": "--version",
}
# Options of Hydra that dnalm answers otherwise.
OPTIONS_OF_NEIGHBOURS: dict[str, str] = {
    **dict.fromkeys(("-c", "-r", "--run", "--resolve", "-i", "--info", "--print_config"), "write --cfg"),
    **dict.fromkeys(("-sc", "--shell-completion"), "leave it out; dnalm <command> --help lists the keys"),
    **dict.fromkeys(("-cd", "-cp", "--config-path", "--config_dir"), "write --config-dir my_configs"),
    **dict.fromkeys(("-cn", "--config-name"), "write --config FILE, or experiment=NAME of a folder"),
    **dict.fromkeys(("--hydra-help", "-?", "--usage"), "write --help"),
    **dict.fromkeys(("-v", "-V"), "write --version"),
    **dict.fromkeys(("--verbose", "--traceback"), "write --debug"),
    **dict.fromkeys(("--sweep", "--multi-run"), "write -m"),
}


def said_here(key: str, value: object, root: Collection[str]) -> str | None:
    """How a word of a neighbouring program is said here; None if it is nobody's, or the command lacks it.

    Args:
        key: the word, such as `trainer.max_epochs`.
        value: what was typed after it.
        root: keys of the command's config.
    """
    for alternative in NEIGHBOURS.get(key) or NEIGHBOURS.get(key.rpartition(".")[2], ()):
        if alternative.startswith("none: "):
            return f"leave it out; {alternative.removeprefix('none: ')}"
        words = alternative.split()
        first = words[-1].partition("=")[0].partition(".")[0].partition("/")[0]
        if alternative.startswith("-") or first in root:
            shown = "…" if value is None or isinstance(value, dict) else value
            takes_value = "=" not in words[-1] and not alternative.startswith("-")
            return f"write {alternative}={shown}" if takes_value else f"write {alternative}"
    return None


def said_here_of_option(word: str, following: str | None, root: Collection[str]) -> str:
    """What to write in place of an option that dnalm lacks, such as `--lr 0.1` or `--batch-size=32`.

    Args:
        word: as typed.
        following: the word after it, if it may be its value.
        root: keys of the command's config.
    """
    option, equals, value = word.partition("=")
    if option in OPTIONS_OF_NEIGHBOURS:
        return OPTIONS_OF_NEIGHBOURS[option]
    key = option.lstrip("-").replace("-", "_")
    given = value if equals else following
    if key.partition(".")[0].partition("/")[0] in root:
        return f"write {key}={'…' if given is None else given}"
    return said_here(key, given, root) or "write keys without dashes, as key=value; see dnalm --help"


@dataclass(frozen=True, kw_only=True)
class Word:
    """One `key=value` as Hydra's grammar reads it.

    Attributes:
        text: as it was typed.
        prefix: `+`, `++`, `~` or nothing.
        key: config key or group, without its prefix; with `@package` if one is given.
        value: the text of its value, quotes resolved; empty where there is none.
    """

    text: str
    prefix: str
    key: str
    value: str


def read_words(words: Sequence[str]) -> list[Word]:
    """Read what was typed.

    Raises:
        ConfigError: CFG-16, a word is no `key=value` or sets something of Hydra itself; CFG-01, it is not in
            Hydra's grammar; CFG-05, a key or group is given twice.
    """
    read = [_read_word(word) for word in words]
    seen: dict[str, Word] = {}
    for word in read:
        if word.key in seen and word.prefix != "~":
            raise given_twice(word.key, f"{seen[word.key].text} and {word.text}")
        seen[word.key] = word
    return read


def given_twice(key: str, found: str) -> ConfigError:
    """The error of a key, a group or an entry of a list that is given more than once."""
    return ConfigError(
        "CFG-05", where=key, found=f"{found}: given twice", expected="each once", fix="leave one of them out"
    )


def overridden(words: Sequence[str], later: Sequence[str]) -> list[str]:
    """Words of a recipe and the user's own, which win: none of the recipe's for a key that they set."""
    set_later = {_bare_key(word) for word in later}
    return [*(word for word in words if _bare_key(word) not in set_later), *later]


def _bare_key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def repeated(entries: Iterable[object]) -> object | None:
    """The first entry that has been there before; None if there is none."""
    seen: set[object] = set()
    for entry in entries:
        if entry in seen:
            return entry
        seen.add(entry)
    return None


def _read_word(word: str) -> Word:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, equals, value = word.partition("=")
    bare = key.lstrip("+~")
    if not equals and not word.startswith("~"):
        raise ConfigError(
            "CFG-16",
            where=word,
            found="an argument without '='",
            expected="key=value or group=option",
            fix="write it as key=value; options of the program begin with --",
        )
    try:
        parsed = OverridesParser.create().parse_override(word)
    except RecursionError as error:  # brackets within brackets: quotes are not what it lacks
        raise ConfigError(
            "CFG-01", where=bare, found="brackets nested too deep", expected="a flatter value", fix="mend it"
        ) from error
    except HydraException as error:
        raise _unreadable(word) from error
    if "{" in value:
        _check_braces(word, bare)
    given = parsed.value() if equals else ""
    text = given if isinstance(given, str) else value
    return Word(text=word, prefix=key[: len(key) - len(bare)], key=bare, value=text)


def _check_braces(word: str, key: str) -> None:
    """Refuse a key that stands twice within one pair of braces, of which Hydra keeps the last."""
    grammar: Any = importlib.import_module("hydra.core.override_parser.overrides_parser")  # it is untyped
    stream = grammar.CommonTokenStream(grammar.OverrideLexer(grammar.InputStream(word)))
    waiting: list[Any] = [grammar.OverrideParser(stream).override()]
    while waiting:
        node = waiting.pop()
        below = [node.getChild(number) for number in range(node.getChildCount())]
        if isinstance(node, grammar.OverrideParser.DictContainerContext):
            pairs = [
                pair for pair in below if isinstance(pair, grammar.OverrideParser.DictKeyValuePairContext)
            ]
            twice = repeated(pair.dictKey().getText() for pair in pairs)
            if twice is not None:
                raise given_twice(key, f"{twice}")
        waiting += below


def _unreadable(word: str) -> ConfigError:
    """The error of a word that is not in Hydra's grammar, with the same word quoted."""
    key, equals, value = word.partition("=")
    return ConfigError(
        "CFG-01",
        where=key.lstrip("+") or "config",
        found=value or word,
        expected="a value in Hydra's grammar, in which spaces, commas, braces and '=' are quoted",
        fix=f"write {pasteable(key, value)}" if equals else "write key=value",
    )


def pasteable(key: str, value: str) -> str:
    """`key=value` as it is typed into a shell so that the value arrives as it is."""
    return shlex.quote(f"{key}={quoted(value)}")


RESERVED = ("_target_", "_partial_")
_SLIP = 0.85  # from here on a name is a misspelling rather than another program's word

Others = Callable[[str, str], Sequence[str]]  # options of the group at a key that have an argument


def check_names(
    config: dict[str, Any], *, given: Collection[str], root: Collection[str], others: Others
) -> None:
    """Refuse the first key that its component lacks, as its source states it, and repeated entries.

    Args:
        config: a composed root config.
        given: arguments of the root that the program fills.
        root: groups and keys of the command.
        others: the options of the config group at a key that take an argument which the chosen one lacks.

    Raises:
        ConfigError: CFG-03, a key is unknown; CFG-05, a list of names has one of them twice.
    """
    for key, node in _nodes(config, ""):
        known = argument_names(node.get("_target_"))
        for name, value in node.items() if "_target_" not in node or known is not None else ():
            elsewhere = others(key, name) if name not in (*RESERVED, *(known or ())) else []
            if elsewhere or (known is not None and _is_unknown(key, name, known, given)):
                arguments = [argument for argument in known or [] if key or argument not in given]
                raise unknown_key(join(key, name), arguments, value=value, root=root, others=elsewhere)
    for key, values in _lists(config, ""):
        twice = repeated(values)
        if twice is not None:
            raise given_twice(key, f"{twice}")


def _is_unknown(key: str, name: str, known: Collection[str], given: Collection[str]) -> bool:
    return name not in RESERVED and (name not in known or (not key and name in given))


def unknown_key(
    key: str,
    known: Sequence[str],
    *,
    value: object = None,
    root: Collection[str] = (),
    others: Sequence[str] = (),
) -> ConfigError:
    """The error of a key that its component lacks.

    Args:
        key: the whole key.
        known: the arguments of the component.
        value: what it was given.
        root: keys of the command's config, where a word of a neighbour may be meant.
        others: `group=option` of those that have it.
    """
    parent, _, name = key.rpartition(".")
    nearest = difflib.get_close_matches(name, known, n=1)
    is_slip = bool(parent) and bool(difflib.get_close_matches(name, known, n=1, cutoff=_SLIP))
    while not parent and isinstance(value, dict) and len(value) == 1:  # typed as one key: `optimizer.lr=…`
        ((inner, value),) = value.items()
        key = join(key, str(inner))
    neighbour = None if is_slip and key not in NEIGHBOURS else said_here(key, value, root)
    if others:
        hint = f"add {' or '.join(others)}"
    elif neighbour is not None:
        hint = neighbour
    else:
        hint = f"did you mean {join(parent, nearest[0])}?" if nearest else f"use {' or '.join(known)}"
    arguments = "the one argument" if len(known) == 1 else f"one of the {len(known)} arguments"
    return ConfigError(
        "CFG-03",
        where=key,
        found="unknown key",
        expected=f"{arguments} of {parent or 'the command'}" if known else f"a component at {parent}",
        fix=hint,
    )


def _nodes(value: object, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping, from the root down, with its key."""
    if isinstance(value, dict):
        yield key, value
        for name, item in value.items():
            yield from _nodes(item, join(key, str(name)))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _nodes(item, f"{key}[{number}]")


def _lists(value: object, key: str) -> Iterator[tuple[str, list[str]]]:
    """Every list of names, with its key."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _lists(item, join(key, str(name)))
    elif isinstance(value, list):
        if value and all(isinstance(item, str) for item in value):
            yield key, value
        for number, item in enumerate(value):
            yield from _lists(item, f"{key}[{number}]")


def join(key: str, name: str) -> str:
    """The key of an argument of the component at `key`."""
    return f"{key}.{name}" if key else name
