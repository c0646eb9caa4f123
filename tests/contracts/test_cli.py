"""The program itself: quick help, exit codes, one-sentence errors."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import dnalm
from dnalm.cli import COMMANDS, main
from dnalm.compose.config import read_config
from dnalm.compose.help import EXAMPLES
from dnalm.compose.signatures import argument_names
from dnalm.compose.targets import ROOTS


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run the program in this process: exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom dnalm.cli import main\n"
        "for words in ([], ['--help'], ['pretrain', '--help'], ['--version'], ['prepare', '-h']):\n"
        "    try:\n        main(words)\n"
        "    except SystemExit as end:\n        assert end.code == 0, end.code\n"
        "heavy = {'torch', 'lightning', 'numpy', 'hydra', 'omegaconf', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_module_runs_as_a_program() -> None:
    words = [sys.executable, "-m", "dnalm", "pretrian"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("dnalm: CLI-01 pretrian: no such command; one of pretrain, finetune, ")


def test_help_lists_commands_and_groups(capsys: pytest.CaptureFixture[str]) -> None:
    _, text, _ = run(capsys, "--help")
    assert "pretrain" in text
    assert "prepare" in text
    _, groups, _ = run(capsys, "pretrain", "--help")
    assert (
        "experiment   dnabert*, dnabert2, dnabert_k3, dnabert_k4, dnabert_k5, dnalm, grover, logo, "
        "logo_knowledge, logo_multitask, nt_v1_2b5" in groups
    )
    assert "full, small, tiny*" in groups
    assert "data/split   contigs, fraction, homology, random_contigs, regions" in groups


def test_help_says_each_key_with_its_default_and_meaning_once(capsys: pytest.CaptureFixture[str]) -> None:
    _, text, _ = run(capsys, "score", "--help")
    rows = [line.split(maxsplit=2) for line in text.splitlines() if line.startswith("  ")]
    assert ["pll_bp", "64", "bases around a variant whose pseudo-likelihood is summed."] in rows
    assert ["out", "required", "ends in .vcf.gz, .tsv or .parquet."] in rows
    assert ["model.revision", "null", "the hub's branch, tag or commit; its main branch if absent."] in rows
    _, text, _ = run(capsys, "pretrain", "--help")
    keys = [line.split()[0] for line in text.splitlines() if re.match(r"  [a-z_.]+ ", line)]
    named = [key for key in keys if "." in key]
    assert len(named) == len(set(named)) > 90
    assert {"optim.lr", "schedule.floor", "masking.rate"} < set(named)
    assert not {"optim.params", "schedule.total_steps", "config"} & set(keys)  # the program's own


def test_every_command_has_examples_which_its_help_shows(capsys: pytest.CaptureFixture[str]) -> None:
    """tests/contracts/test_readme.py composes and checks them."""
    assert set(EXAMPLES) == {*COMMANDS, "config"}
    assert {len(examples) for examples in EXAMPLES.values()} <= {1, 2, 3}
    assert sum(len(examples) == 3 for examples in EXAMPLES.values()) > 12
    for command, examples in EXAMPLES.items():
        _, text, _ = run(capsys, *command.split(), "--help")
        assert text.rstrip().endswith("\n".join(f"  dnalm {command} {words}" for words in examples))


def test_every_command_writes_a_summary_or_prints_json() -> None:
    neither = []
    for command in COMMANDS:
        names = set(argument_names(ROOTS[command]) or ())
        if not names & {"json", "run", "out", "sweep", "cache"}:
            neither.append(command)
    assert neither == ["push"], "which writes to the hub"


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_checkout_says_its_commit_and_changes_and_a_wheel_its_version_alone(tmp_path: Path) -> None:
    shutil.copytree(
        Path(dnalm.__file__).parent, tmp_path / "a/dnalm", ignore=shutil.ignore_patterns("__pycache__")
    )

    def version() -> str:
        words = [sys.executable, "-m", "dnalm", "--version"]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "a"), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(words, capture_output=True, text=True, check=True, env=environment).stdout

    git(tmp_path, "init", "-q")  # an environment may lie in a checkout of something else
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "another project")
    assert version() == f"{dnalm.__version__}\n"
    git(tmp_path / "a", "init", "-q")
    git(tmp_path / "a", "add", ".")
    git(tmp_path / "a", "commit", "-q", "-m", "this one")
    commit = git(tmp_path / "a", "rev-parse", "--short", "HEAD")
    assert version() == f"{dnalm.__version__} (commit {commit})\n"
    with (tmp_path / "a/dnalm/grants.py").open("a") as file:
        file.write("# changed\n")
    assert version() == f"{dnalm.__version__} (commit {commit}, with changes)\n"


def test_cfg_prints_the_composed_config(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = run(capsys, "pretrain", "size=tiny", "--cfg")
    assert code == 0
    config = yaml.safe_load(text)
    assert config["tokenizer"]["k"] == 6
    # Defaults of signatures are written out, so every key that may be given can be seen.
    assert config["masking"]["faithful"] is False
    assert config["data"]["clade"]["isochore_gc"][0] == 0.33
    assert config["trainer"]["accelerator"] == "auto"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pretrain", "--verbose"], "CLI-01 --verbose: an option that dnalm lacks"),
        (["pretrain", "--config-dir", "nowhere"], "CLI-01 --config-dir nowhere: not a folder"),
        (["pretrain", "--config-dir"], "CLI-01 --config-dir: not a folder"),
        (
            ["pretrain", "schedule.total_steps=5"],
            "CFG-03 schedule.total_steps: a value for an argument that dnalm",
        ),
        (["pretrain", "optim.lrr=1"], "CFG-03 optim.lrr: unknown key"),
        (["pretrain", "batch.global_size=3"], "CFG-19 batch.global_size: 3 samples"),
        (["pretrain", "model.num_heads=7"], "CFG-18 hidden_size, num_heads: hidden_size=128 and num_heads=7"),
        (["pretrain", "masking.rate=1.5"], "CFG-18 masking: rate is 1.5"),
        (["pretrain", "steps=0"], "CFG-04 steps: 0; int (input should be greater than 0)"),
        (
            ["pretrain", "windows.max_tokens=511"],
            "CFG-18 windows.max_tokens, model.max_positions: windows of 513",
        ),
        (
            ["pretrain", "size=tiny", "steps=150", "schedule.warmup_steps=200"],
            "CFG-18 schedule.warmup_steps: 200 in a run of 150 steps; 0 <= schedule.warmup_steps < steps. "
            "Fix: give schedule.warmup_steps=15",
        ),
        (
            ["pretrain", "data.fasta=pyproject.toml"],
            "CFG-06 data.fasta: a key of data=annotated or data=fasta",
        ),
        (["pretrain", "data.species=human"], "CFG-18 data: species is human; the clade has demo_a"),
        (["pretrain", "data=fasta", "data.fasta=no.fa"], "CFG-20 data.fasta: no.fa is not there"),
        (["prepare"], "CFG-07 data.fasta: no value"),
    ],
)
def test_a_config_error_is_one_line_and_leaves_nothing(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, errors = run(capsys, *words)
    assert code == 2
    assert errors.startswith(f"dnalm: {message}")
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_data_error_is_one_line_and_exit_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.fa").write_text(">chr1\nACGT1\n")
    code, _, errors = run(capsys, "prepare", "data.fasta=bad.fa", "data.cache=cache")
    assert code == 3
    assert errors.startswith("dnalm: FASTA-13 ")
    assert "chr1:5" in errors


@pytest.mark.parametrize("quiet", [[], ["-q"]])
def test_quiet_prints_nothing_but_errors_and_does_the_same(quiet: list[str], tmp_path: Path) -> None:
    (tmp_path / "genome.fa").write_text(">chr1\n" + "ACGT" * 100 + "\n")
    words = [sys.executable, "-m", "dnalm", "prepare", "data.fasta=genome.fa", *quiet]
    done = subprocess.run(
        [*words, "data.cache=cache"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ("summary: " in done.stdout) is not bool(quiet)
    assert done.stderr == "" if quiet else True
    assert len([*(tmp_path / "cache").rglob("manifest.json")]) == 1
    failed = subprocess.run(
        [*words, "data.cach=x"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert failed.returncode == 2
    assert failed.stderr.startswith("dnalm: CFG-03 data.cach: unknown key")


def test_no_colour_is_written_where_it_is_not_wanted() -> None:
    code = (
        "from rich.text import Text; from dnalm.console import stdout; stdout.print(Text('a', style='red'))"
    )
    forced = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm"}
    forced.pop("NO_COLOR", None)

    def written(**more: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, env=forced | more
        )
        return done.stdout.decode()

    assert written() == "\x1b[31ma\x1b[0m\n"
    assert written(NO_COLOR="1") == "a\n"


def test_colour_is_written_by_the_shared_consoles_alone() -> None:
    """So that what holds for these holds everywhere."""
    for path in Path(dnalm.__file__).parent.rglob("*.py"):
        if path.name != "console.py":
            source = path.read_text()
            assert not re.search(r"\bConsole\(|\\x1b|\\033|\\u001b|colorama|termcolor", source), path


@pytest.mark.parametrize(("no_colour", "escapes"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_what_config_prints_is_coloured_on_request_only(no_colour: dict[str, str], escapes: bool) -> None:
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    environment = {**plain, "FORCE_COLOR": "1", "TERM": "xterm", **no_colour}
    words = [sys.executable, "-m", "dnalm", "config", "size=tiny"]
    done = subprocess.run(words, capture_output=True, check=True, env=environment)
    assert (b"\x1b" in done.stdout) is escapes


OURS = {  # words of Lightning, Hydra and transformers: as keys, below their groups and as options
    "ckpt_path=x": "write resume=x",
    "trainer.max_steps=5": "write steps=5",
    "+trainer.max_steps=5": "write steps=5",
    "--trainer.max_steps 5": "write steps=5",
    "trainer.max_epochs=3": "write steps=3000",
    "--trainer.max_epochs=3": "write steps=3000",
    "fast_dev_run=true": "write debug=fast",
    "--trainer.fast_dev_run": "write debug=fast",
    "limit_train_batches=0.1": "write steps=20",
    "trainer.limit_train_batches=10": "write steps=20",
    "trainer.profiler=simple": "leave it out; tokens_per_s is in metrics.csv; "
    "py-spy and torch.profiler look into a run",
    "trainer.logger=wandb": "write logger=wandb",
    "--trainer.logger wandb": "write logger=wandb",
    "--trainer.precision 16-mixed": "write trainer.precision=16-mixed",  # ours by the same name
    "seed_everything=3": "write seed=3",
    "--seed_everything 3": "write seed=3",
    "--config-name mine": "write --config FILE, or experiment=NAME of a folder",
    "-cn mine": "write --config FILE, or experiment=NAME of a folder",
    "--config-path=conf": "write --config-dir my_configs",
    "hydra.run.dir=runs/x": "write run.dir=runs/x",
    "hydra.sweep.dir=x": "write -m sweep.dir=sweeps/mine",
    "hydra.job.chdir=true": "leave it out; the folder you are in stays",
    "hydra.verbose=true": "write --debug",
    "hydra/launcher=submitit_slurm": "write -m launcher=slurm",
    "hydra.output_subdir=null": "leave it out; dnalm uses Hydra to compose configs and for nothing else",
    "per_device_train_batch_size=8": "write batch.micro_size=8",
    "--per_device_train_batch_size 8": "write batch.micro_size=8",
    "--learning_rate 1e-3": "write optim.lr=1e-3",
    "--num_train_epochs 3": "write steps=3000",
    "--warmup_ratio 0.06": "write schedule.warmup_steps=1000",
    "gradient_accumulation_steps=4": "write batch.global_size=64 batch.micro_size=16",
    "--output_dir x": "write run.dir=x",
    "--resume_from_checkpoint x": "write resume=x",
}


@pytest.mark.parametrize("words", OURS)
def test_words_of_lightning_hydra_and_transformers_are_answered_with_ours(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, errors = run(capsys, "pretrain", *words.split())
    assert code == 2
    assert errors.rstrip().endswith(f"Fix: {OURS[words]}.")


@pytest.mark.parametrize("words", [words for words in OURS if OURS[words].startswith("write ")])
def test_what_is_answered_composes(words: str) -> None:
    """But for sweeps and for names that stand for the user's own."""
    answer = OURS[words].removeprefix("write ").split()
    if not any(word.startswith("-") for word in answer):
        read_config("pretrain", answer)


def test_debug_adds_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, errors = run(capsys, "pretrain", "optim.lrr=1", "--debug")
    assert code == 2
    assert errors.startswith("Traceback (most recent call last):")
    assert errors.splitlines()[-1].startswith("dnalm: CFG-03 optim.lrr: unknown key")


@pytest.mark.parametrize(
    "error", [ValueError("min() arg is an empty sequence"), KeyError("chr1"), TypeError()]
)
def test_what_a_running_command_raises_is_a_bug_and_not_the_config(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(self: object, tracks: object = None, part: object = None) -> None:  # noqa: ARG001 -- as Corpus
        raise error

    monkeypatch.setattr("dnalm.data.GenomeCorpus.prepare", broken)
    (tmp_path / "genome.fa").write_text(">chr1\nACGTN\n")
    code, _, errors = run(capsys, "prepare", "data.fasta=genome.fa", "data.cache=cache")
    assert code == 1
    assert errors.startswith("Traceback (most recent call last):")
    assert type(error).__name__ in errors
    assert "CFG-" not in errors
    assert errors.splitlines()[-1].startswith("dnalm: this is a bug in dnalm ")


def test_prepare_builds_a_store_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "genome.fa").write_text(">chr1\nACGTN\n>chr2\nGGCCR\n")
    code, text, _ = run(capsys, "prepare", "data.fasta=genome.fa", "data.cache=cache")
    assert code == 0
    found = json.loads(Path(text.strip().splitlines()[-1].removeprefix("summary: ")).read_text())
    content = found["genomes"]["genome.fa"]
    assert (content["contigs"], content["bases"]) == (2, 10)
    assert content["gc_content"] == pytest.approx(6 / 8)


def test_the_config_that_a_run_leaves_is_what_cfg_prints_and_is_accepted_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "genome.fa").write_text(">chr1\nACGTN\n")
    words = ["prepare", "data.fasta=genome.fa", "data.cache=cache", "run.dir=a"]
    _, printed, _ = run(capsys, *words, "--cfg")
    assert run(capsys, *words)[0] == 0
    left = tmp_path / "a/config.yaml"
    assert left.read_text() == printed
    assert yaml.safe_load(printed)["parts"] == 1, "a default of the command's signature"
    assert run(capsys, "prepare", "--config", str(left))[0] == 0
    assert left.read_text() == printed

    older = yaml.safe_load(printed)  # of a run that recorded what was stated alone
    del older["part"], older["parts"], older["data"]["tracks"]
    left.write_text(yaml.safe_dump(older))
    assert run(capsys, "prepare", "--config", str(left))[0] == 0
    assert yaml.safe_load(left.read_text()) == yaml.safe_load(printed)


def test_a_genome_without_a_usable_window_is_a_data_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sequence = "ACGTACGTN"
    (tmp_path / "genome.fa").write_text(f">chr1\n{sequence * 50}\n>chr2\n{sequence * 5}\n")
    words = ["size=tiny", "debug=fast", "data=fasta", "data.fasta=genome.fa", "data.cache=cache"]
    code, _, errors = run(capsys, "pretrain", *words)
    assert code == 3
    assert "DATA-01 genome.fa: no training window fits: the longest stretch without N has 8 bases" in errors
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_cfg_prints_every_commands_config_with_what_is_still_to_be_given_as_question_marks(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--cfg"])
    assert ended.value.code == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["_target_"].startswith("dnalm.commands.")
    if command == "score":
        assert (shown["variants"], shown["mismatch"]) == ("???", "stop")
