"""Composition: what wins, what may be added, and what is said when it fails."""

import itertools
from pathlib import Path

import pytest

from dnalm.compose import build, read_config
from dnalm.compose.check import check
from dnalm.compose.groups import options
from dnalm.errors import ConfigError
from dnalm.paths import config_folder

GIVEN = frozenset({"config"})


@pytest.mark.parametrize(
    ("experiment", "size", "data"),
    list(itertools.product(options("experiment"), options("size"), ["demo", "fasta"])),
)
def test_every_experiment_size_and_data_compose_and_check(
    experiment: str, size: str, data: str, tmp_path: Path
) -> None:
    fasta = tmp_path / "genome.fa"
    fasta.write_text(">chr1\nACGT\n")
    words = [f"experiment={experiment}", f"size={size}", f"data={data}"]
    config = read_config("pretrain", words + ([f"data.fasta={fasta}"] if data == "fasta" else []))
    check(config, given=GIVEN, command="pretrain")
    assert config["run"]["name"] == f"{experiment}-{size}-{data}"


@pytest.mark.parametrize("group", ["logger", "trainer", "debug", "data/split"])
def test_every_option_of_other_groups_checks(group: str, tmp_path: Path) -> None:
    bed = tmp_path / "held_out.bed"
    bed.touch()
    for option in options(group):
        extra = [f"data.split.bed={bed}"] if option == "regions" else []
        check(read_config("pretrain", [f"{group}={option}", *extra]), given=GIVEN, command="pretrain")


@pytest.mark.parametrize("k", [3, 4, 5, 6])
def test_dnabert_recipe_is_the_published_one(k: int) -> None:
    name = "dnabert" if k == 6 else f"dnabert_k{k}"
    config = read_config("pretrain", [f"experiment={name}"])
    assert build(config["tokenizer"]).k == k
    assert config["batch"]["global_size"] == 2000
    assert config["optim"]["lr"] == 4e-4
    assert config["optim"]["betas"] == [0.9, 0.98]
    assert config["schedule"] == {
        "_target_": "dnalm.training.LinearWarmupDecay",
        "_partial_": True,
        "warmup_steps": 10_000,
        "floor": pytest.approx((200 - 120) / (200 - 10), abs=1e-5),
    }
    masking = build(config["masking"])
    assert (masking.rate_at(99_999), masking.rate_at(100_000)) == (0.15, 0.20)
    assert config["steps"] == masking.final_from + 20_000


def test_size_wins_over_experiment_and_the_command_line_over_both() -> None:
    config = read_config("pretrain", ["experiment=dnabert", "size=tiny"])
    assert config["batch"]["global_size"] < 2000
    assert config["optim"]["betas"] == [0.9, 0.98]
    assert read_config("pretrain", ["size=tiny", "steps=7"])["steps"] == 7


def test_a_key_may_be_given_that_no_yaml_states() -> None:
    config = read_config("pretrain", ["masking.faithful=true", "batch.num_workers=3"])
    assert config["masking"]["faithful"] is True
    assert config["batch"]["num_workers"] == 3
    check(config, given=GIVEN, command="pretrain")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["experiment=dnabrt"],
            "CFG-03 experiment: no option 'dnabrt'; one of dnabert, .*did you mean experiment=dnabert",
        ),
        (["size=gigantic"], "CFG-03 size: no option 'gigantic'; one of full, small, tiny"),
        (["hydra.run.dir=/tmp"], "CFG-16 hydra.run.dir=/tmp: a setting of Hydra itself"),
        (["hydra/launcher=x"], "CFG-16 hydra/launcher=x: a setting of Hydra itself"),
        (["tiny"], "CFG-16 tiny: an argument without '='"),
        (["run.name=a=b{"], "CFG-01 run.name: a=b{; .* Fix: write 'run.name=\"a=b{\"'"),
        (["run.dir=${nothing.here}"], "CFG-01 config: .*nothing"),
    ],
)
def test_what_cannot_be_composed_is_one_sentence(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config("pretrain", words)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("dta=3", "CFG-03 dta: unknown key.*did you mean data"),
        ("optim.lrr=3", "CFG-03 optim.lrr: unknown key.*did you mean optim.lr"),
        ("optim.lr=fast", "CFG-04 optim.lr: 'fast'; "),
        ("config=3", "CFG-03 config: unknown key"),
        ("trainer.precision=8", "CFG-04 trainer.precision: 8; one of 32-true, bf16-mixed, bf16-true"),
        ("seed=NO", "CFG-04 seed: "),
    ],
)
def test_wrong_keys_and_values_are_named(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(read_config("pretrain", [word]), given=GIVEN, command="pretrain")


def test_a_users_folder_adds_options(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - dnabert\n\noptim:\n  lr: 0.5\n"
    )
    config = read_config("pretrain", ["experiment=mine"], extra_folder=tmp_path)
    assert config["optim"]["lr"] == 0.5
    assert config["batch"]["global_size"] == 2000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:\n\tb: 1\n", "CFG-01"),
        ("a: 1\na: 2\n", "CFG-01"),
        ("a: [1\n", "CFG-01"),
        ("a: !!python/name:os.system\n", "CFG-01"),
    ],
)
def test_a_broken_yaml_is_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\n" + text)
    with pytest.raises(ConfigError, match=message):
        read_config("pretrain", ["experiment=mine"], extra_folder=tmp_path)


def test_configs_say_only_what_differs() -> None:
    """No argument in conf/ repeats the default of its signature, which is the one place for it."""
    import inspect

    from dnalm.compose.targets import ROOTS, resolve

    repeated = []

    def visit(node: object, key: str) -> None:
        if not isinstance(node, dict):
            return
        if "_target_" in node:
            command = next((name for name, root in ROOTS.items() if root == node["_target_"]), None)
            parameters = inspect.signature(resolve(node["_target_"], key=key, command=command)).parameters
            repeated.extend(
                f"{key}.{name}"
                for name, value in node.items()
                if name in parameters and parameters[name].default == value
            )
        for name, item in node.items():
            visit(item, f"{key}.{name}")

    import yaml

    for path in config_folder().rglob("*.yaml"):
        visit(yaml.safe_load(path.read_text()), path.name)
    assert repeated == []


def test_the_bare_command_is_the_demo_and_an_experiment_alone_the_published_recipe() -> None:
    bare = read_config("pretrain", [])
    demo = read_config("pretrain", ["experiment=dnabert", "size=tiny", "data=demo"])  # as in the Makefile
    assert bare == demo
    assert read_config("pretrain", ["experiment=dnabert"])["steps"] == 120_000
    assert read_config("pretrain", ["size=full"])["steps"] == 120_000
    assert read_config("pretrain", ["experiment=logo", "size=tiny"])["steps"] == bare["steps"]


@pytest.mark.parametrize(
    ("words", "warmup"),
    [
        (["size=tiny", "steps=150"], 200 * 150 / 3000),
        (["size=tiny", "steps=6000"], 400),
        (["experiment=dnabert", "steps=1200"], 10_000 * 1200 / 120_000),
        (["size=tiny", "steps=150", "schedule.warmup_steps=3"], 3),
        (["size=tiny", "schedule.warmup_steps=3"], 3),
        (["size=tiny", "steps=2"], 1),
        (["size=tiny", "debug=fast", "steps=8"], 2),  # of debug=fast: 1 of 4
    ],
)
def test_the_rise_keeps_its_share_of_a_run_whose_steps_alone_are_given(
    words: list[str], warmup: float
) -> None:
    config = read_config("pretrain", words)
    assert config["schedule"]["warmup_steps"] == warmup
    assert config["masking"]["final_from"] == (2500 if "size=tiny" in words else 100_000)
    check(config, given=GIVEN, command="pretrain")


@pytest.mark.parametrize("size", options("size"))
@pytest.mark.parametrize("debug", options("debug"))
def test_sizes_leave_a_loaded_model_alone(size: str, debug: str) -> None:
    config = read_config("pretrain", [f"size={size}", f"debug={debug}", "model=./runs/demo"])
    assert config["model"] == {"_target_": "dnalm.models.Pretrained", "source": "./runs/demo"}
    check(config, given=GIVEN, command="pretrain")
    with pytest.raises(ConfigError, match=r"CFG-03 model\.hidden_size: unknown key"):
        read_config("pretrain", [f"size={size}", "model=./runs/demo", "model.hidden_size=3"])


def test_debugging_is_for_finetuning_too() -> None:
    config = read_config("finetune", ["debug=fast", "model=tiny", "task=demo_promoter"])
    check(config, given=GIVEN, command="finetune")
    assert (config["steps"], config["batch"]["global_size"], config["trainer"]["log_every"]) == (4, 4, 1)


def test_interpret_without_what_names_the_studies(tmp_path: Path) -> None:
    (tmp_path / "x.fa").touch()
    config = read_config("interpret", ["model=./m", f"input={tmp_path}/x.fa"])
    with pytest.raises(ConfigError) as caught:
        check(config, given=GIVEN, command="interpret")
    assert str(caught.value) == (
        "CFG-07 what: no value; a value (one of attention, mutagenesis, dependency, motifs). "
        "Fix: give what=attention on the command line."
    )


def test_tracks_whose_files_are_not_given_are_absent(tmp_path: Path) -> None:
    for name in ("x.fa", "x.gff"):
        (tmp_path / name).touch()
    words = ["data=annotated", f"data.fasta={tmp_path}/x.fa"]
    config = read_config("pretrain", [*words, f"data.tracks.region.gff={tmp_path}/x.gff"])
    check(config, given=GIVEN, command="pretrain")
    assert list(config["data"]["tracks"]) == ["region"]
    with pytest.raises(ConfigError, match=r"CFG-07 data\.tracks\.region\.gff: no value"):
        check(read_config("pretrain", words), given=GIVEN, command="pretrain")
    words += [f"data.tracks.region.gff={tmp_path}/x.gff", "data.tracks.conservation.value=lod"]
    with pytest.raises(ConfigError, match=r"CFG-07 data\.tracks\.conservation\.file: no value"):
        check(read_config("pretrain", words), given=GIVEN, command="pretrain")


@pytest.mark.parametrize(
    "word",
    [
        "masking.final_from=-1", "batch.num_workers=100000", "batch.global_size=1000000",
        "batch.micro_size=1000000", "windows.num_validation=100000000", "model.hidden_size=100000000",
    ],
)  # fmt: skip
def test_numbers_beyond_any_machine_or_genome_are_refused_at_once(word: str) -> None:
    key = word.partition("=")[0]
    with pytest.raises(ConfigError, match=f"CFG-04 {key}: "):
        check(read_config("pretrain", [word]), given=GIVEN, command="pretrain")
