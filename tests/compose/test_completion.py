"""What a shell offers: commands, groups, options, keys and listed values, by light imports alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dnalm.cli import COMMANDS, main
from dnalm.compose.completion import SCRIPTS, candidates
from dnalm.compose.groups import composed_groups, composed_roots, options
from dnalm.compose.signatures import arguments


def offered(line: str) -> list[str]:
    return candidates(line, commands=COMMANDS, flags=["--cfg", "--config", "--help", "-m"])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("dnalm pre", ["predict", "prepare", "pretrain"]),
        ("dnalm tok", ["tokenizer"]),
        ("dnalm tokenizer ", ["inspect", "select", "train"]),
        ("dnalm pretrain --c", ["--cfg", "--config"]),
        ("dnalm pretrain opt", ["optim.", "optim="]),
        ("dnalm pretrain optim=ad", ["optim=adam", "optim=adamw"]),
        ("dnalm pretrain data/split=r", ["data/split=random_contigs", "data/split=regions"]),
        ("dnalm pretrain trainer.keep_", [f"trainer.keep_{n}=" for n in ("best", "checkpoints", "every")]),
        ("dnalm pretrain data.split.val", ["data.split.validation="]),
        ("dnalm pretrain optim.para", []),  # the program's own
        ("dnalm pretrain trainer.tf32=", ["trainer.tf32=false", "trainer.tf32=true"]),
        ("dnalm score mismatch=", ["mismatch=stop", "mismatch=flag"]),
        ("dnalm pretrain sweep", []),
        ("dnalm pretrain -m optim=adam,", ["optim=adam,adam", "optim=adam,adamw"]),
        ("dnalm pretrain -m sweep.par", ["sweep.parallel="]),
        ("dnalm pretrain run.name='two words' siz", ["size="]),
        ("dnalm pretrain run.name='open", []),
        ("dnalm nothing ", []),
        ("dnalm co", ["compare", "completion", "config"]),
        ("dnalm completion ", ["bash", "fish", "zsh"]),
        ("dnalm config tok", ["tokenizer", "tokenizer.", "tokenizer="]),
        ("dnalm config tokenizer i", ["inspect"]),
        ("dnalm config j", ["json=true"]),
        ("dnalm config experiment=dnabert optim=ad", ["optim=adam", "optim=adamw"]),
        ("dnalm config score mis", ["mismatch="]),
        ("dnalm config config ", []),
    ],
)
def test_a_line_goes_on_with(line: str, words: list[str]) -> None:
    assert offered(line) == words


def test_keys_are_those_of_the_chosen_option_or_of_all() -> None:
    fasta, dataset = offered("dnalm pretrain data=fasta data."), offered("dnalm pretrain data=dataset data.")
    assert ("data.fasta=" in fasta, "data.source=" in fasta) == (True, False)
    assert ("data.fasta=" in dataset, "data.source=" in dataset) == (False, True)
    names = {word.rstrip("=.") for word in offered("dnalm pretrain data.")}
    assert {word.rstrip("=.") for word in (*fasta, *dataset)} <= names


@pytest.mark.parametrize("command", COMMANDS)
def test_every_group_and_key_of_a_command_is_offered_and_nothing_else(command: str) -> None:
    root = command.replace(" ", "_")
    words = {word.rstrip("=.") for word in offered(f"dnalm {command} ")}
    hidden = {"config", "defaults", "_target_", "_partial_"}
    assert words == {*composed_roots(root), "plugins", "env"} - hidden
    for group in composed_groups(root):
        assert offered(f"dnalm {command} {group}=") == [f"{group}={option}" for option in options(group)]


def test_the_source_says_types_defaults_and_texts_of_arguments() -> None:
    found = {argument.name: argument for argument in arguments("dnalm.commands.score.score") or ()}
    assert (found["pll_bp"].type, found["pll_bp"].default) == ("WindowBases", "64")
    assert found["pll_bp"].text == "bases around a variant whose pseudo-likelihood is summed."
    assert found["model"].default is None
    inherited = {one.name: one for one in arguments("dnalm.commands.pretrain.PretrainCommand") or ()}
    assert inherited["seed"].text == "of everything random."


def test_completion_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom dnalm.cli import main\n"
        "for line in ('dnalm ', 'dnalm pretrain ', 'dnalm pretrain -m sweep.', 'dnalm finetune tuning='):\n"
        "    try:\n        main(['completion', 'for', line])\n"
        "    except SystemExit as end:\n        assert end.code == 0, end.code\n"
        "heavy = {'torch', 'lightning', 'numpy', 'hydra', 'omegaconf', 'pydantic', 'rich'} & {*sys.modules}\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def path_with_dnalm(tmp_path: Path) -> str:
    program = tmp_path / "dnalm"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m dnalm "$@"\n')
    program.chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("dnalm pretrain opt", ["optim.", "optim="]),
        ("dnalm pretrain optim=ad", ["adam", "adamw"]),  # what stands before the sign stays on the line
        ("dnalm tokenizer s", ["select"]),
        ("dnalm pretrain data.fasta=gen", []),  # bash offers files
    ],
)
def test_bash_offers_what_the_program_says(line: str, replies: list[str], path_with_dnalm: str) -> None:
    script = (
        'source <(dnalm completion bash); COMP_LINE="$1"; COMP_POINT=${#1}; _dnalm; '
        '(( ${#COMPREPLY[@]} )) && printf "%s\\n" "${COMPREPLY[@]}"; complete -p dnalm'
    )
    words = ["bash", "--norc", "-c", script, "bash", line]
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, env={**os.environ, "PATH": path_with_dnalm}
    )
    assert done.stdout.splitlines() == [*replies, "complete -o default -F _dnalm dnalm"]


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_script_is_printed_for_a_shell_and_is_of_its_grammar_where_the_shell_is_there(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["completion", shell])
    assert ended.value.code == 0
    script = capsys.readouterr().out
    assert "dnalm completion for" in script
    try:
        done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip(f"{shell} is not installed")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["completion"],
            "dnalm: CLI-01 completion: no shell; bash or zsh or fish. Fix: write dnalm completion bash.",
        ),
        (["completion", "tcsh"], "dnalm: CLI-01 completion: tcsh; bash or zsh or fish."),
    ],
)
def test_another_shell_is_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(message)
