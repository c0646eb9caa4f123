"""A name that nothing has is refused before torch is imported, and the one that was meant is named."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from dnalm.cli import COMMANDS, main
from dnalm.compose import neighbours, read_config
from dnalm.compose.check import check
from dnalm.compose.groups import composed_roots
from dnalm.compose.neighbours import COMMANDS_OF_NEIGHBOURS, NEIGHBOURS
from dnalm.compose.signatures import argument_names
from dnalm.compose.targets import ROOTS, resolve
from dnalm.errors import ConfigError
from dnalm.paths import config_folder

# Words that make a command's config whole, so that a further one can be tried beside them.
WHOLE = {
    "pretrain": [],
    "finetune": ["model=tiny", "task=demo_promoter"],
    "embed": ["model=./m", "input=x.fa", "out=x.npy"],
    "score": ["model=./m", "variants=x.vcf", "reference=x.fa", "out=x.tsv"],
    "interpret": ["model=./m", "input=x.fa", "what=attention"],
    "benchmark": ["models=[tiny]"],
    "fetch": ["download=sacCer3"],
    "tokenizer_train": ["data=demo"],
}


def error_of(command: str, *words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_config(command, words)
    return str(caught.value)


def targets() -> list[str]:
    found: dict[str, None] = {}

    def visit(node: object) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("_target_"), str):
                found[node["_target_"]] = None
            for item in node.values():
                visit(item)

    for path in sorted(config_folder().rglob("*.yaml")):
        visit(yaml.safe_load(path.read_text()))
    return list(found)


@pytest.mark.parametrize("target", targets())
def test_arguments_read_from_source_are_those_of_the_imported_component(target: str) -> None:
    read = argument_names(target)
    command = next((name for name, root in ROOTS.items() if root == target), None)
    imported = inspect.signature(resolve(target, key="", command=command)).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in imported.values()):
        assert read is None
    else:
        assert read == list(imported)


@pytest.mark.parametrize("target", ["os.system", "dnalm.nothing.There", "dnalm.data", "torch", None, 3])
def test_what_names_no_component_is_left_to_the_check_that_imports(target: object) -> None:
    assert argument_names(target) is None


def commands_for(alternative: str) -> list[str]:
    """The commands whose config has the first key of what a neighbour's word is here."""
    first = re.split(r"[=./]", alternative.split()[-1])[0]
    return [name for name in WHOLE if first in composed_roots(name)]


@pytest.mark.parametrize("alternatives", NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_every_word_of_a_neighbour_is_answered_with_words_that_compose(alternatives: tuple[str, ...]) -> None:
    for alternative in alternatives:
        if alternative.startswith(("none: ", "-")):
            continue
        commands = commands_for(alternative)
        assert commands, f"{alternative} is no key of a command"
        words = [part if "=" in part else f"{part}={_example(part)}" for part in alternative.split()]
        config = read_config(commands[0], _beside(commands[0], words))
        assert config, alternative


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("pretrain --lr 0.1", "CLI-01 --lr: an option that dnalm lacks; * Fix: write optim.lr=0.1."),
        ("pretrain --batch-size=32", "* Fix: write batch.global_size=32."),
        ("finetune --max_epochs 3", "* Fix: write epochs=3."),
        ("pretrain --num-gpus 4", "* Fix: write trainer.devices=4."),
        ("pretrain --fp16 size=tiny", "* Fix: write trainer.precision=bf16-mixed."),
        ("pretrain --seed 3", "* Fix: write seed=3."),
        ("pretrain --optim.lr=1e-4", "* Fix: write optim.lr=1e-4."),
        ("--lr 0.1", "* Fix: write optim.lr=0.1."),
        ("pretrain --learning-rate", "* Fix: write optim.lr=…."),
        ("pretrain -sc install=bash", "* Fix: leave it out; dnalm <command> --help lists the keys."),
        ("pretrain --config-name mine", "* Fix: write --config FILE, or experiment=NAME of a folder."),
        ("pretrain --verbose", "* Fix: write --debug."),
        ("pretrain --no-such-thing", "* Fix: write keys without dashes, as key=value; see dnalm --help."),
        ("train data=demo", "CLI-01 train: no such command; * Fix: write dnalm pretrain."),
        ("eval", "* Fix: write dnalm finetune, which measures the test set, or dnalm benchmark."),
        ("evaluate", "* or dnalm benchmark."),
        ("test", "* or dnalm benchmark."),
        ("infer", "* Fix: write dnalm predict, dnalm score for variants, or dnalm embed for vectors."),
        ("convert", "* Fix: write dnalm export."),
        ("download", "* Fix: write dnalm fetch."),
        ("fine-tune", "* Fix: write dnalm finetune."),
        ("Pretrain", "* Fix: write dnalm pretrain."),
        ("tokenise", "* Fix: *"),
        ("xyz", "* Fix: see dnalm --help."),
    ],
)
def test_options_and_commands_of_neighbours_are_answered_with_ours(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    assert fnmatch(capsys.readouterr().err.strip(), f"dnalm: {said}")


def test_no_word_of_a_neighbour_has_two_answers() -> None:
    for answers in (neighbours._KEYS, neighbours._OPTIONS):
        words = " ".join(answers).split()
        assert sorted(set(words)) == sorted(words)


def test_what_is_named_for_a_neighbours_command_is_one_of_ours() -> None:
    for meant in COMMANDS_OF_NEIGHBOURS.values():
        for named in f"dnalm {meant}".split("dnalm ")[1:]:
            assert any(named.startswith(known) for known in (*COMMANDS, "--help", "--version")), named
    assert not COMMANDS_OF_NEIGHBOURS.keys() & COMMANDS.keys()


def _example(key: str) -> str:
    texts = {"optim.betas": "[0.9,0.98]", "run.replace": "true", "trainer.strategy": "fsdp", "model": "./m"}
    return texts.get(key, "1")


def _beside(command: str, words: list[str]) -> list[str]:
    given = {word.partition("=")[0] for word in words}
    roots = {key.partition(".")[0] for key in given}
    whole = [word for word in WHOLE[command] if word.partition("=")[0] not in roots]
    return [*whole, *words]


@pytest.mark.parametrize(
    ("command", "word", "fix"),
    [
        ("pretrain", "lr=0.1", "write optim.lr=0.1."),
        ("pretrain", "optim.learning_rate=1e-3", "write optim.lr=0.001."),
        ("pretrain", "optimizer.lr=0.1", "write optim.lr=0.1."),
        ("pretrain", "trainer.max_epochs=3", "write steps=3000."),
        ("finetune", "trainer.max_epochs=3", "write epochs=3."),
        ("finetune", "tuning.r=8", "write tuning=lora tuning.adapter.r=8."),
        ("pretrain", "trainer.max_steps=30", "write steps=30."),
        ("pretrain", "ckpt_path=last.ckpt", "write resume=last.ckpt."),
        ("pretrain", "trainer.fast_dev_run=true", "write debug=fast."),
        ("embed", "batch_size=8", "write batch_tokens=16384."),
        ("embed", "output=x.npy", "write out=x.npy."),
        ("pretrain", "hydra.run.dir=runs/x", "write run.dir=runs/x."),
        ("pretrain", "hydra/launcher=submitit_slurm", "write -m launcher=slurm."),
        ("pretrain", "trainer.device=2", "did you mean trainer.devices?"),
        ("pretrain", "trainer.profiler=simple", "leave it out; tokens_per_s is in metrics.csv"),
        ("pretrain", "optim.lrr=1", "did you mean optim.lr?"),
        ("pretrain", "data.genomes={a: x.fa}", "add data=multispecies."),
        ("pretrain", "data.manifest=x.tsv", "add data=multispecies."),
        ("pretrain", "data.source=x.parquet", "add data=dataset."),
        ("pretrain", "data.split.fraction=0.1", "add data/split=fraction or data/split=homology"),
        ("pretrain", "schedule.start=0.5", "add schedule=inverse_sqrt."),
        ("pretrain", "logger.project=mine", "add logger=wandb."),
        ("finetune", "task.train=x.csv", "add task=files."),
        ("pretrain", "data.fasta=x.fa", "add data=fasta."),
        ("pretrain", "sweep.parallel=2", "add -m, and the values to try: -m seed=1,2,3 sweep.parallel=2."),
        ("pretrain", "launcher=slurm", "add -m, and the values to try: -m seed=1,2,3 launcher=slurm."),
        ("pretrain", "data.split.bed=x.bed", "add data/split=regions."),
    ],
)  # fmt: skip
def test_what_was_probably_meant_is_named(command: str, word: str, fix: str) -> None:
    message = error_of(command, *WHOLE[command], word)
    assert f"Fix: {fix}" in message
    assert message.startswith(("CFG-03 ", "CFG-06 ", "CFG-16 "))


def test_a_word_of_a_neighbour_is_not_translated_where_the_command_trains_nothing() -> None:
    assert "optim" not in error_of("score", *WHOLE["score"], "lr=0.1")


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["size=tiny", "size=small"], "size"),
        (["optim.lr=1", "++optim.lr=2"], "optim.lr"),
        (["steps=3", "steps=3"], "steps"),
        (["data.split.validation=[chr8,chr8]"], "data.split.validation"),
        (["data=clade", "data.held_out=[demo_c,demo_a,demo_c]"], "data.held_out"),
        (["experiment=logo_knowledge", "inputs=[knowledge,knowledge]"], "inputs"),
    ],
)
def test_a_key_a_group_or_a_name_of_a_list_given_twice_is_an_error(words: list[str], where: str) -> None:
    message = error_of("pretrain", *words)
    assert message.startswith(f"CFG-05 {where}: ")
    assert "given twice; each once. Fix: leave one of them out." in message


def test_typos_of_every_kind_are_refused_without_torch(tmp_path: Path) -> None:
    lines = [
        ["pretrain", "optim.lrr=1"], ["pretrain", "dta=3"], ["pretrain", "size=tinny"], ["pretrain", "tiny"],
        ["pretrain", "run.name=a=b{"], ["pretrain", "size=tiny", "size=tiny"], ["finetune", "lr=3"],
        ["pretrain", "data.fasta=x"], ["pretrian"], ["pretrain", "-m", "optim.lrr=1,2"], ["embed", "what=3"],
    ]  # fmt: skip
    code = (
        "import sys\nfrom dnalm.cli import main\n"
        f"for words in {lines!r}:\n"
        "    try:\n        main(words)\n"
        "    except SystemExit as end:\n        assert end.code == 2, (words, end.code)\n"
        "    assert 'torch' not in sys.modules, words\n"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_root_configs_of_every_command_have_known_names(command: str) -> None:
    read_config(command.replace(" ", "_"), [])


def test_a_scalar_is_taken_where_a_list_is_wanted() -> None:
    from dnalm.compose import build
    from dnalm.compose.check import parse

    assert parse("prediction", list[str], key="score") == ["prediction"]
    assert parse(3, tuple[int, ...] | None, key="layers") == (3,)
    config = read_config("pretrain", ["data.split.validation=chrXVI"])
    check(config, given=frozenset({"config"}), command="pretrain")
    assert build(config["data"]["split"]).validation == ["chrXVI"]


@pytest.mark.parametrize(
    ("value", "annotation"), [("x", tuple[int, ...]), (0.9, tuple[float, float]), ("x", int)]
)
def test_a_scalar_of_another_type_is_still_refused(value: object, annotation: Any) -> None:  # noqa: ANN401
    from dnalm.compose.check import parse

    with pytest.raises(ConfigError, match="CFG-04 key: "):
        parse(value, annotation, key="key")
