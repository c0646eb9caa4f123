"""Words of a command line in Hydra's grammar, and unknown names, with the one that was probably meant.

A misspelt key is held against the arguments as the source states them, so that the answer takes no import
of torch. Where it is a word of a neighbouring program (transformers, Lightning, Hydra templates), the error
names the key that does the same here.
"""

from __future__ import annotations

import difflib
import importlib
import re
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dnalm.compose.signatures import argument_names
from dnalm.errors import ConfigError
from dnalm.grants import key_of
from dnalm.limits import first_repeated
from dnalm.paths import quoted


def _each_word(answers: dict[str, str]) -> dict[str, str]:
    return {word: answer for words, answer in answers.items() for word in words.split()}


# What users of neighbouring programs type, and the same here. Of several alternatives the first whose key
# the command has is named. One with '=' is written as it stands, one without gets the value that was typed;
# what begins with "none" is said where nothing corresponds.
_KEYS = {
    # the optimizer and its schedule
    "lr learning_rate max_lr base_lr": "optim.lr",
    "optimizer optim.name": "optim=adamw",
    "weight_decay wd": "optim.weight_decay",
    "betas": "optim.betas",
    "adam_beta1 adam_beta2": "optim.betas=[0.9,0.98]",
    "adam_epsilon eps": "optim.eps",
    "scheduler lr_scheduler lr_scheduler_type": "schedule=linear",
    "warmup_steps num_warmup_steps warmup": "schedule.warmup_steps",
    "warmup_ratio warmup_proportion": "schedule.warmup_steps=1000",
    "min_lr_ratio": "schedule.floor",
    # how long, how often
    "max_epochs num_train_epochs num_epochs": "epochs | steps=3000",
    "epochs": "steps=3000",
    "max_steps num_steps num_train_steps total_steps train_steps iterations max_iters": "steps",
    "limit_train_batches overfit_batches max_train_samples": "steps=20",
    "limit_val_batches max_eval_samples": "windows.num_validation=200 | debug=fast",
    "limit_test_batches num_sanity_val_steps fast_dev_run smoke_test": "debug=fast",
    "dry_run": "--cfg",
    "val_check_interval eval_steps eval_every eval_interval": "trainer.validate_every",
    "check_val_every_n_epoch evaluation_strategy": "trainer.validate_every=500",
    "save_steps save_every every_n_train_steps": "trainer.checkpoint_every",
    "save_total_limit": "trainer.keep_checkpoints",
    "save_top_k": "trainer.keep_best",
    "load_best_model_at_end": "tuning.select=metric | trainer.keep_best=1",
    "log_every_n_steps logging_steps log_interval": "trainer.log_every",
    "early_stopping": "tuning.patience=5",
    "early_stopping_patience patience": "tuning.patience",
    # the batch
    "batch_size": "batch.global_size | batch_tokens=16384",
    "train_batch_size global_batch_size bs": "batch.global_size",
    "per_device_train_batch_size per_gpu_train_batch_size device_batch_size": "batch.micro_size",
    "micro_batch_size": "batch.micro_size",
    "per_device_eval_batch_size eval_batch_size": "batch.micro_size | batch_tokens=16384",
    "gradient_accumulation gradient_accumulation_steps": "batch.global_size=64 batch.micro_size=16",
    "accumulate_grad_batches": "batch.global_size=64 batch.micro_size=16",
    "num_workers dataloader_num_workers": "batch.num_workers | workers",
    "pin_memory": "none: memory is pinned where there is a GPU",
    "persistent_workers": "none: workers live as long as the run",
    # hardware
    "accelerator": "trainer=gpu | device=cuda",
    "device": "trainer=gpu",
    "gpus n_gpus num_gpus devices nproc_per_node num_processes": "trainer.devices",
    "nodes nnodes num_nodes": "trainer.num_nodes",
    "strategy": "trainer.strategy",
    "fsdp deepspeed": "trainer.strategy=fsdp",
    "precision fp16 bf16 mixed_precision": "trainer.precision=bf16-mixed",
    "gradient_checkpointing": "trainer.activation_checkpointing",
    "torch_compile compile": "trainer.compile",
    "gradient_clip_val max_grad_norm grad_clip": "trainer.gradient_clip",
    "attn_implementation": "model.kernel=auto",
    "flash_attention": "model.kernel=auto",
    "deterministic": "none: the same command gives the same numbers on the same machine",
    "benchmark": "none: it is a command of its own, dnalm benchmark",
    "profiler": "none: tokens_per_s is in metrics.csv; py-spy and torch.profiler look into a run",
    "seed_everything random_seed random_state": "seed",
    # names that groups had
    "recipe": "download=sacCer3",
    "kind": "bpe=grover",
    # folders, runs and checkpoints
    "out": "run.dir=runs/first | sweep.dir=sweeps/first",
    "run.dir": "out=vectors.parquet | sweep.dir",
    "run.name": "out=vectors.parquet | sweep.dir=sweeps/first",
    "sweep.dir output_dir out_dir": "run.dir | out=vectors.parquet",
    "output save_dir hydra.run.dir": "run.dir | out",
    "log_dir logging_dir default_root_dir root_dir work_dir": "run.dir",
    "hydra.sweep.dir hydra.sweep.subdir": "-m sweep.dir=sweeps/mine",
    "hydra.job.name run_name exp_name experiment_name task_name": "run.name",
    "hydra.job.chdir": "none: the folder you are in stays",
    "hydra.verbose": "--debug",
    "hydra.mode": "-m",
    "hydra/launcher hydra.launcher": "-m launcher=slurm",
    "hydra/sweeper hydra.sweeper": "-m hparams_search=optuna",
    "hydra.searchpath": "--config-dir my_configs",
    "hydra/job_logging": "none: dnalm prints to the terminal",
    "overwrite_output_dir overwrite": "run.replace",
    "ckpt_path load_from_checkpoint checkpoint ckpt": "resume | model",
    "resume_from_checkpoint resume_from": "resume",
    "report_to loggers use_wandb trainer.logger": "logger=wandb",
    "wandb_project": "logger=wandb logger.project=dnalm",
    # models, tokenizers and data
    "model_name_or_path pretrained_model_name_or_path pretrained model_name model_path": "model=runs/mine",
    "model_type": "model=bert",
    "tokenizer_name": "tokenizer=kmer",
    "tokenizer_path": "tokenizer=runs/bpe",
    "kmer kmer_size k": "tokenizer.k=6",
    "vocab_size": "tokenizer=bpe tokenizer.vocab_size=4096",
    "use_lora": "tuning=lora",
    "lora_r lora_rank tuning.r tuning.rank": "tuning=lora tuning.adapter.r",
    "tuning.alpha lora_alpha": "tuning=lora tuning.adapter.lora_alpha",
    "tuning.dropout lora_dropout": "tuning=lora tuning.adapter.lora_dropout",
    "target_modules": "tuning=lora tuning.adapter.target_modules=[query,value]",
    "freeze freeze_encoder": "tuning=head",
    "class_weight": "tuning.class_weights=balanced",
    "num_labels": "task.num_classes",
    "hidden_dim d_model n_embd embed_dim": "model.hidden_size",
    "n_layers n_layer depth num_hidden_layers": "model.num_layers",
    "n_heads n_head num_attention_heads": "model.num_heads",
    "ffn_dim d_ff": "model.intermediate_size",
    "hidden_dropout_prob": "model.dropout",
    "attention_probs_dropout_prob": "model.attention_dropout",
    "max_position_embeddings": "model.max_positions",
    "mlm_probability mask_prob mask_rate mask_ratio": "masking.rate",
    "max_length max_seq_length": "windows.max_tokens | sequences.max_tokens | max_tokens | window_bp",
    "model_max_length": "windows.max_tokens | sequences.max_tokens | max_tokens | window_bp",
    "block_size seq_len context_length": "windows.max_tokens | sequences.max_tokens",
    "fasta fasta_file genome": "data=fasta data.fasta | reference",
    "ref": "reference | data=fasta data.fasta",
    "reference": "data=fasta data.fasta",
    "vcf vcf_file": "variants",
    "bed": "input | data.regions",
    "input_file": "input | variants",
    "dataset dataset_name": "task=files | data=dataset",
    "data_dir data_path": "task.train=train.csv | data=fasta data.fasta=genome.fa",
    "train_file train_data_file": "task.train | data=fasta data.fasta",
    "validation_file valid_file eval_data_file": "task.val",
    "test_file": "task.test",
    "val_split validation_split_percentage": "data/split=fraction data.split.fraction=0.05",
    "test_chroms val_chroms chromosomes": "data.split.validation=[chr8]",
    "max_concurrent": "-m sweep.parallel=2",
    "n_jobs": "workers | -m sweep.parallel=2",
    "n_trials": "-m hparams_search=optuna hparams_search.num_trials=20",
}
NEIGHBOURS: dict[str, tuple[str, ...]] = {
    word: tuple(answer.split(" | ")) for word, answer in _each_word(_KEYS).items()
}
# First words of neighbouring programs, and the command that does it here.
COMMANDS_OF_NEIGHBOURS = _each_word(
    {
        "train fit run mlm demo resume": "pretrain",
        "tune classify train_classifier": "finetune",
        "eval evaluate test validate": "finetune, which measures the test set, or dnalm benchmark",
        "infer inference apply": "predict, dnalm score for variants, or dnalm embed for vectors",
        "embedding embeddings encode extract": "embed",
        "variants variant vep vcf": "score",
        "explain attribution attention motifs mutagenesis ism": "interpret",
        "convert save hf": "export",
        "upload publish share": "push",
        "download get": "fetch",
        "preprocess process index data": "prepare",
        "tokenize vocab": "tokenizer inspect",
        "bpe train_tokenizer": "tokenizer train",
        "sweep multirun optuna hparams": "pretrain -m",
        "help": "--help",
        "version": "--version",
    }
)
_OPTIONS = _each_word(  # of Hydra, which dnalm has by other names
    {
        "-c -r --run --resolve -i --info --print_config": "write --cfg",
        "-sc --shell-completion": "leave it out; dnalm <command> --help lists the keys",
        "-cd -cp --config-path --config_dir": "write --config-dir my_configs",
        "-cn --config-name": "write --config FILE, or experiment=NAME of a folder",
        "--hydra-help -? --usage": "write --help",
        "-v -V": "write --version",
        "--verbose --traceback": "write --debug",
        "--sweep --multi-run": "write -m",
    }
)


def equivalent(key: str, value: object, root: Collection[str]) -> str | None:
    """What to write for a key of a neighbouring program; None if it is nobody's, or the command lacks it.

    Args:
        key: the word, such as `trainer.max_epochs`.
        value: what was typed after it.
        root: keys of the command's config.
    """
    for alternative in NEIGHBOURS.get(key) or NEIGHBOURS.get(key.rpartition(".")[2], ()):
        if alternative.startswith("none: "):
            return f"leave it out; {alternative.removeprefix('none: ')}"
        last = alternative.split()[-1]
        if alternative.startswith("-"):
            return f"write {alternative}"
        if root_of(last) in root:
            shown = "…" if value is None or isinstance(value, dict) else value
            return f"write {alternative}" if "=" in last else f"write {alternative}={shown}"
    return None


def equivalent_of_option(
    word: str, following: str | None, root: Collection[str], *, is_key: Callable[[str], bool]
) -> str:
    """What to write in place of an option that dnalm lacks, such as `--lr 0.1` or `--batch-size=32`.

    Args:
        word: as typed.
        following: the word after it, if it may be its value.
        root: keys of the command's config.
        is_key: whether a key, with those above it, is one of the command's.
    """
    option, equals, value = word.partition("=")
    if option in _OPTIONS:
        return _OPTIONS[option]
    key = option.lstrip("-").replace("-", "_")
    given = value if equals else following
    if is_key(key):
        return f"write {key}={'…' if given is None else given}"
    return equivalent(key, given, root) or "write keys without dashes, as key=value; see dnalm --help"


def root_of(word: str) -> str:
    """The first part of the key that a word sets: `optim` of `+optim.lr=1`."""
    return re.split("[=./@]", word.lstrip("+~"))[0]


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
        ConfigError: CFG-16, a word is no `key=value`; CFG-01, it is not in Hydra's grammar; CFG-05, a key or
            group is given twice.
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


def refuse_repeated(entries: Iterable[object], *, key: str) -> None:
    """Refuse a list that has an entry twice.

    Raises:
        ConfigError: CFG-05.
    """
    if (twice := first_repeated(entries)) is not None:
        raise given_twice(key, f"{twice}")


def overridden(words: Sequence[str], later: Sequence[str]) -> list[str]:
    """Words of a recipe and the user's own, which win: none of the recipe's for a key that they set."""
    set_later = {key_of(word) for word in later}
    return [*(word for word in words if key_of(word) not in set_later), *later]


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
            "CFG-01",
            where=bare,
            found="brackets nested too deep",
            expected="a flatter value",
            fix=f"write fewer brackets, such as {bare}=[a,b]",
        ) from error
    except HydraException as error:
        raise ConfigError(
            "CFG-01",
            where=key.lstrip("+") or "config",
            found=value or word,
            expected="a value in Hydra's grammar, in which spaces, commas, braces and '=' are quoted",
            fix=f"write {pasteable(key, value)}" if equals else "write key=value",
        ) from error
    if "{" in value:
        _check_braces(word, bare)
    given = parsed.value() if equals else ""
    text = given if isinstance(given, str) else value
    return Word(text=word, prefix=key[: len(key) - len(bare)], key=bare, value=text)


def _check_braces(word: str, key: str) -> None:
    """Refuse a key that stands twice within one pair of braces, of which Hydra keeps the last."""
    grammar: Any = importlib.import_module("hydra.core.override_parser.overrides_parser")  # it is untyped
    parser = grammar.OverrideParser
    stream = grammar.CommonTokenStream(grammar.OverrideLexer(grammar.InputStream(word)))
    waiting: list[Any] = [parser(stream).override()]
    while waiting:
        node = waiting.pop()
        below = [node.getChild(number) for number in range(node.getChildCount())]
        if isinstance(node, parser.DictContainerContext):
            pairs = [pair for pair in below if isinstance(pair, parser.DictKeyValuePairContext)]
            refuse_repeated((pair.dictKey().getText() for pair in pairs), key=key)
        waiting += below


def pasteable(key: str, value: str) -> str:
    """`key=value` as it is typed into a shell so that the value arrives as it is."""
    return shlex.quote(f"{key}={quoted(value)}")


RESERVED = ("_target_", "_partial_")
_MOST_NAMED = 5  # arguments that an error lists
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
    for key, node in walk(config):
        known = argument_names(node.get("_target_")) if isinstance(node, dict) else None
        if not isinstance(node, dict) or (known is None and "_target_" in node):
            continue
        arguments = [name for name in known or () if key or name not in given]
        for name in node:
            if name in RESERVED or name in arguments:
                continue
            elsewhere = others(key, name)
            if elsewhere or known is not None:
                raise unknown_key(join(key, name), arguments, value=node[name], root=root, others=elsewhere)
    for key, value in walk(config):
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            refuse_repeated(value, key=key)


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
    neighbour = None if is_slip and key not in NEIGHBOURS else equivalent(key, value, root)
    if others:
        hint = f"add {' or '.join(others)}"
    elif neighbour is not None:
        hint = neighbour
    elif nearest:
        hint = f"did you mean {join(parent, nearest[0])}?"
    else:
        hint = f"use {' or '.join(known)}" if len(known) <= _MOST_NAMED else "see the keys that --help lists"
    arguments = "the one argument" if len(known) == 1 else f"one of the {len(known)} arguments"
    return ConfigError(
        "CFG-03",
        where=key,
        found="unknown key",
        expected=f"{arguments} of {parent or 'the command'}" if known else f"a component at {parent}",
        fix=hint,
    )


def walk(value: object, key: str = "") -> Iterator[tuple[str, Any]]:
    """A value of a config and every value in it, from the top down, with their keys."""
    yield key, value
    if isinstance(value, dict):
        for name, item in value.items():
            yield from walk(item, join(key, str(name)))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from walk(item, f"{key}[{number}]")


def join(key: str, name: str) -> str:
    """The key of an argument of the component at `key`."""
    return f"{key}.{name}" if key else name
