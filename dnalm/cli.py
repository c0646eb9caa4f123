"""The `dnalm` program: find the command, compose and check its config, build it, run it.

Help is answered without importing torch or lightning, whose import takes seconds. A failure that
the user can act on is one sentence and an exit code (2 config, 3 data, 4 checkpoint, 5 numerics,
6 distributed); `--debug` adds the traceback. A bug of ours ends with its traceback and exit code 1.
"""

from __future__ import annotations

import atexit
import difflib
import gc
import io
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dnalm import __version__, grants
from dnalm.errors import BUG, ConfigError
from dnalm.lifetime import StoppedBySignal, die_with_launcher, say_at_once, stopping_on_signals
from dnalm.paths import quoted

COMMANDS = {
    "pretrain": "train a model on a genome: experiment, size and data choose everything",
    "finetune": "teach a pretrained model a task: labelled sequences in CSV, FASTA, Parquet or a dataset",
    "baseline": "teach a task to a classical model: k-mer counts, a small convolutional network",
    "benchmark": "models x tasks x seeds of a published benchmark, and their table",
    "prepare": "build the store of a genome ahead of training",
    "score": "score variants: VCF in, VCF out, or tables",
    "predict": "what a fine-tuned model says of sequences, their bases, or a genome: tables, BED, bigWig",
    "embed": "vectors of sequences, tokens or bases: FASTA, BED or tables in, Parquet, NumPy or Zarr out",
    "cluster": "do vectors fall into classes that the model has never seen? numbers and a picture",
    "interpret": "look into a model: attention, mutagenesis, dependency maps, motifs",
    "compare": "bits per base of several models, all judged at the same bases with the same stretches hidden",
    "report": "one page of a run, or of several side by side: dnalm report runs/first runs/second",
    "plan": "what a pretraining will take, before it starts: memory, hours, epochs, storage",
    "doctor": "whether a pretraining can start: config, data, machine, three real steps; what to do if not",
    "doctor finetune": "whether a fine-tuning can start: labels, leakage, model, three real steps",
    "models": "every experiment: size, context, tokens, corpus, cost, and when to choose it",
    "export": "write a model in the published Hugging Face layout",
    "push": "send a model directory to a repository on the Hugging Face hub",
    "fetch": "download genomes by name, verified: sacCer3, hg38, ... or those of a manifest",
    "tokenizer train": "learn a BPE vocabulary on genomes",
    "tokenizer select": "choose the number of BPE merges by next-k-mer prediction, as GROVER did",
    "tokenizer inspect": "show how a tokenizer reads genomes: lengths, balance, the most frequent tokens",
}
ABOUT = {  # words that begin no run, but a line about commands
    "config": "print a command's composed config with the origin of each value: dnalm config finetune ...",
    "completion": "print a shell's script that completes groups, keys and values",
}
_FLAGS = ("--help", "--cfg", "--debug", "--version", "--multirun", "--quiet")
_SHORT = {"-h": "--help", "-m": "--multirun", "-q": "--quiet"}
_WITH_PATH = ("--config", "--config-dir")
_EXPLAINS = ("doctor", "doctor finetune")  # commands that are told why their config is refused
_JSON = "json=true"
_BARE = {"fetch": "download"}  # commands that take the value of one key as a plain word
_BARE_LIST = {"report": "runs"}  # those that take all entries of a list as plain words

_USAGE = """\
dnalm {version}: train DNA language models from config files

usage: dnalm <command> [key=value ...] [options]

commands:
{commands}

options:
  -m, --multirun     run a job for each combination of the values given: key=a,b,c
  -q, --quiet        print nothing but warnings and errors; figures are in the output's summary.json
  --help             this text; after a command, its groups and keys
  --cfg              print the composed config, defaults written out, and stop: what a run will record
  --config FILE      a resolved config, such as a run's config.yaml, in place of groups and keys
  --config-dir DIR   a folder of your own configs, laid out as conf/
  plugins=[PACKAGE]  admit the classes and functions of a package of your own as components
  env=[NAME]         let configs read an environment variable by ${{oc.env:NAME}}
  --debug            show tracebacks
  --version          print the version, of a checkout with its commit

completion of keys and values: source <(dnalm completion bash); also zsh, fish
where each value of a config comes from: dnalm config [command] in place of dnalm <command>

examples:
  dnalm pretrain experiment=dnabert size=tiny data=demo
  dnalm pretrain experiment=dnabert size=tiny data=fasta data.fasta=genome.fa.gz run.dir=runs/mine
  dnalm finetune model=runs/mine task.train=train.csv task.val=dev.csv task.test=test.csv
  dnalm pretrain -m experiment=dnabert,dnabert2 optim.lr=1e-4,4e-4 size=tiny sweep.dir=sweeps/first"""


@dataclass
class _Line:
    """A parsed command line."""

    command: str | None = None
    overrides: list[str] = field(default_factory=list)
    config_dir: Path | None = None
    config: Path | None = None
    flags: set[str] = field(default_factory=set)
    listed: list[str] = field(default_factory=list)
    is_explained: bool = False  # it is to print its config with the origin of each value


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script."""
    launched = die_with_launcher()
    words = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, io.TextIOWrapper):  # whatever the locale, no name ends the program
        sys.stdout.reconfigure(errors="backslashreplace")
    os.environ["PYTHONSAFEPATH"] = "1"  # processes that this one starts import nothing from where it runs
    atexit.register(gc.freeze)  # collecting a million objects of libraries at the end takes a second
    try:
        with stopping_on_signals():
            code = _complete(words) if words[:2] == ["completion", "for"] else _run(_parse(words))
            sys.stdout.flush()
    except StoppedBySignal as stopped:
        if not launched:  # else whoever launched this process says it
            say_at_once(f"{stopped}: stopped. The same command continues from what is finished.")
        code = stopped.exit_code
    except Exception as error:  # the last place where it can be explained
        code = _fail(error, debug="--debug" in words)
    sys.exit(code)


def _fail(error: Exception, *, debug: bool) -> int:
    """Say why the program ends: a sentence for whom it may concern, a traceback of a bug; the exit code."""
    from dnalm.system_errors import bug_report, is_of_closed_stdout, translate

    if is_of_closed_stdout(error):
        return 128 + signal.SIGPIPE
    known = translate(error)
    if known is None or debug:
        traceback.print_exception(error)
    if known is not None:
        print(f"dnalm: {known}", file=sys.stderr)
    code = BUG if known is None else known.exit_code
    if code == BUG:  # here, or in a rank that was started here
        print(bug_report(), file=sys.stderr)
    return code


def _parse(words: list[str]) -> _Line:
    line, rest = _Line(), iter(words)
    for word in rest:
        if word.startswith("-"):
            _take_option(line, word, rest)
        elif word == "config" and line.command is None and not line.is_explained:
            line.is_explained = True
        elif line.command is None and (not line.is_explained or "=" not in word):
            line.command = word
        elif f"{line.command} {word}" in COMMANDS:
            line.command = f"{line.command} {word}"
        elif line.command in _BARE_LIST and "=" not in word:
            line.listed.append(word)
        else:
            key = _BARE.get(line.command or "")
            given = any(override.startswith(f"{key}=") for override in line.overrides)
            line.overrides.append(word if key is None or given or "=" in word else f"{key}={word}")
    if line.command in _BARE_LIST and line.listed:
        entries = ",".join(map(quoted, line.listed))
        line.overrides.append(f"{_BARE_LIST[line.command]}=[{entries}]")
    return line


def _take_option(line: _Line, word: str, rest: Iterator[str]) -> None:
    """Read a word that begins with a dash, and its value from the rest of the line."""
    if (flag := _SHORT.get(word, word)) in _FLAGS:
        line.flags.add(flag)
    elif word == "--config-dir":
        line.config_dir = _path(word, next(rest, ""), is_folder=True)
    elif word == "--config":
        line.config = _path(word, next(rest, ""), is_folder=False)
    else:
        raise _no_option(line, word, next(rest, None))


def _no_option(line: _Line, word: str, following: str | None) -> ConfigError:
    """The error of an option that dnalm lacks, with the key that says it here."""
    from dnalm.compose.completion import is_key
    from dnalm.compose.groups import composed_roots
    from dnalm.compose.neighbours import equivalent_of_option

    is_value = following is not None and "=" not in following and not following.startswith("--")
    command = line.command if line.command in COMMANDS else "pretrain"
    fix = equivalent_of_option(
        word,
        following if is_value else None,
        composed_roots(_config_name(command)),
        is_key=lambda key: is_key(command, key),
    )
    options = "-m, -q, --help, --cfg, --config, --config-dir or --debug"
    return _usage_error(word, "an option that dnalm lacks", options, fix)


def _run(line: _Line) -> int:
    if "--quiet" in line.flags:
        from dnalm.console import be_quiet

        be_quiet()
    if "--version" in line.flags:
        print(_version())
    elif line.is_explained:
        _explain_config(line)
    elif line.command == "completion" and "--help" not in line.flags:
        print(_completion_script(line.overrides), end="")
    elif line.command in (None, "completion") or "--help" in line.flags:
        print(_help(line))
    elif line.command not in COMMANDS:
        raise _no_command(line)
    elif "--multirun" in line.flags:
        from dnalm.sweeps.command_line import read_sweep

        plan = read_sweep(line.command, grants.take_grants(line.overrides), config_dir=line.config_dir)
        if "--cfg" not in line.flags:
            return plan.run()
        print(plan.text(), end="")
    else:
        _compose_and_run(line.command, line)
    return 0


def _help(line: _Line) -> str:
    """Of the program; of a command; of all commands of two words that begin with this one."""
    if line.command in (None, "completion"):
        commands = "\n".join(f"  {name:<18} {text}" for name, text in (COMMANDS | ABOUT).items())
        return _USAGE.format(version=__version__, commands=commands)
    names = [line.command] if line.command in COMMANDS else _halves(str(line.command))
    if not names:
        raise _no_command(line)
    from dnalm.compose.help import command_help

    return "\n\n".join(command_help(name, COMMANDS[name]) for name in names)


def _completion_script(words: list[str]) -> str:
    from dnalm.compose.completion import SCRIPTS

    if len(words) != 1 or words[0] not in SCRIPTS:
        shells = " or ".join(SCRIPTS)
        raise _usage_error("completion", " ".join(words) or "no shell", shells, "write dnalm completion bash")
    return SCRIPTS[words[0]]


def _complete(words: list[str]) -> int:
    """Print what the last word of a line may become, as a shell's script asks: `completion for LINE`."""
    from dnalm.compose.completion import candidates

    flags = [*_FLAGS, *_SHORT, *_WITH_PATH]
    found = candidates(" ".join(words[2:]), commands=COMMANDS, flags=flags)
    print("".join(f"{word}\n" for word in found), end="")
    return 0


def _version() -> str:
    """The version; of a checkout with its commit, and whether files differ from it."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():  # where a wheel lies, even in an environment inside a checkout
        return __version__
    words = ["git", "-C", str(root), "describe", "--always", "--dirty=, with changes", "--exclude=*"]
    try:
        found = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or none that trusts this folder
        return __version__
    return f"{__version__} (commit {found})"


def _compose_and_run(command: str, line: _Line) -> None:
    from dnalm.compose import check_paths, read_config, read_resolved, run_command, with_defaults
    from dnalm.compose.check import check
    from dnalm.compose.targets import ROOTS

    words, is_shown = grants.take_grants(line.overrides), "--cfg" in line.flags
    gc.disable()  # garbage among what is imported is not worth a sixth of the time
    try:
        if line.config is None:
            config = read_config(_config_name(command), words, extra_folder=line.config_dir)
            if line.config_dir and "config_dir" in config:  # its jobs compose configs of their own
                config["config_dir"] = str(line.config_dir.resolve())
        else:
            config = read_resolved(line.config, words)
        check(config, given=frozenset({"config"}), command=command, whole=not is_shown)
        check_paths(config)
    except ConfigError as error:
        if command not in _EXPLAINS or is_shown:
            raise
        root = {"_target_": ROOTS[command], "json": "json=true" in words}
        run_command(root, command=command, given={"config": error})
        return
    finally:
        gc.enable()
    written_out = with_defaults(config, command=command)
    if is_shown:
        import yaml

        print(yaml.safe_dump(written_out, sort_keys=False), end="")
        return
    run_command(config, command=command, given={"config": grants.recorded_in(written_out)})


def _explain_config(line: _Line) -> None:
    """Print a command's composed config with the origin of each value."""
    command = line.command or "pretrain"
    if "--help" in line.flags:
        from dnalm.compose.help import CONFIG_HELP

        print(CONFIG_HELP, end="")
        return
    if command not in COMMANDS:
        raise _no_command(line)
    if unfit := line.flags & {"--cfg", "--multirun"}:
        fix = f"write dnalm {command} {' '.join(unfit)}, or leave it out"
        raise _usage_error(f"config {' '.join(unfit)}", "an option of commands", "groups and keys", fix)
    from dnalm.compose.config import read_resolved
    from dnalm.compose.origins import explain, explain_resolved

    given = grants.take_grants(line.overrides)
    words = [word for word in given if word != _JSON]
    if line.config is None:
        found = explain(command, words, extra_folder=line.config_dir)
    else:
        found = explain_resolved(line.config, read_resolved(line.config, words), command=command)
    found.show(as_json=_JSON in given)


def _config_name(command: str) -> str:
    return command.replace(" ", "_")


def _no_command(line: _Line) -> ConfigError:
    """The error of a first word that is no command, or half of one."""
    word = line.command or ""
    if halves := _halves(word):
        found = f"no such command: {word} {next(iter(line.overrides), '')}".rstrip()
        return _usage_error(word, found, " or ".join(halves))
    from dnalm.compose.neighbours import COMMANDS_OF_NEIGHBOURS

    plain = word.lower().replace("-", "_")
    nearest = difflib.get_close_matches(plain.replace("_", ""), COMMANDS, n=1)
    meant = COMMANDS_OF_NEIGHBOURS.get(plain, nearest[0] if nearest else None)
    fix = "see dnalm --help" if meant is None else f"write dnalm {meant}"
    return _usage_error(word, "no such command", f"one of {', '.join(COMMANDS)}", fix)


def _halves(word: str) -> list[str]:
    """The commands of two words that begin with this one."""
    return [name for name in COMMANDS if name.startswith(f"{word} ")]


def _path(option: str, path: str, *, is_folder: bool) -> Path:
    if path and (Path(path).is_dir() if is_folder else Path(path).is_file()):
        return Path(path)
    kind, expected = "file", "a config.yaml that a run has left"
    if is_folder:
        kind, expected = "folder", "a folder laid out as conf/"
    raise _usage_error(f"{option} {path}".strip(), f"not a {kind}", expected)


def _usage_error(word: str, found: str, expected: str, fix: str = "see dnalm --help") -> ConfigError:
    return ConfigError("CLI-01", where=word, found=found, expected=expected, fix=fix)
