"""Recipes of fine-tuning are those of their sources, typed in here as they stand there."""

import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dnalm.compose import read_config
from dnalm.compose.check import check
from dnalm.errors import ConfigError
from dnalm.evaluation.benchmark.benchmark import (
    OURS,
    ListedTask,
    check_recipe,
    choose_recipe,
    read_recipes,
    read_tasks,
)

MARKS = "H3 H3K14ac H3K36me3 H3K4me1 H3K4me2 H3K4me3 H3K79me3 H3K9ac H4 H4ac"
CORE, CORE_TATA = "prom_core_all prom_core_notata", "prom_core_tata"
WIDE, WIDE_TATA = "prom_300_all prom_300_notata", "prom_300_tata"
MOUSE, TF = "mouse0 mouse1 mouse2 mouse3 mouse4", "tf0 tf1 tf2 tf3 tf4"


class Block(NamedTuple):
    """Flags of a loop in a script: what differs between loops."""

    tasks: str
    model_max_length: int
    num_train_epochs: int
    eval_steps: int
    save_steps: int
    warmup_steps: int
    max_steps: int = -1
    lora_alpha: int = 32  # of train.py


# github.com/MAGICS-LAB/DNABERT_2, commit d87d29f5570f6d8238de734c932697ef657be59a, finetune/scripts
SCRIPTS = {
    "dnabert2": [  # run_dnabert2.sh
        Block(MARKS, 128, 3, 200, 200, 50),
        Block(CORE, 20, 4, 400, 400, 50),
        Block(CORE_TATA, 20, 10, 200, 200, 50),
        Block(WIDE, 70, 4, 400, 400, 50),
        Block(WIDE_TATA, 70, 10, 200, 200, 50),
        Block("splice", 80, 5, 200, 200, 50),
        Block("covid", 256, 8, 200, 200, 50),
        Block(MOUSE, 30, 5, 200, 200, 30, max_steps=1000),
        Block(TF, 30, 3, 200, 200, 30),
    ],
    "dnabert": [  # run_dnabert1.sh
        Block(MARKS, 512, 3, 200, 200, 50),
        Block(CORE, 80, 4, 400, 400, 50),
        Block(CORE_TATA, 80, 10, 200, 200, 50),
        Block(WIDE, 310, 4, 400, 400, 50),
        Block(WIDE_TATA, 310, 10, 200, 200, 50),
        Block("splice", 410, 5, 200, 200, 50),
        Block("covid", 1024, 9, 200, 200, 50),
        Block(MOUSE, 110, 5, 200, 200, 30, max_steps=1000),
        Block(TF, 110, 3, 200, 200, 30),
    ],
    "nt": [  # run_nt.sh
        Block(MARKS, 100, 3, 200, 200, 50, lora_alpha=16),
        Block(CORE, 20, 4, 400, 400, 50, lora_alpha=16),
        Block(CORE_TATA, 20, 10, 200, 200, 50, lora_alpha=16),
        Block(WIDE, 70, 4, 400, 400, 50, lora_alpha=16),
        Block(WIDE_TATA, 70, 10, 200, 200, 50, lora_alpha=16),
        Block("splice", 80, 5, 200, 200, 50, lora_alpha=16),
        Block("covid", 256, 3, 200, 10000, 200),
        Block(MOUSE, 30, 5, 200, 200, 100, max_steps=1000, lora_alpha=16),
        Block(TF, 30, 3, 200, 200, 30, lora_alpha=16),
    ],
}
LEARNING_RATE = {"dnabert2": 3e-5, "dnabert": 3e-5, "nt": 1e-4}
SPECIAL = {"dnabert2": 2, "dnabert": 2, "nt": 1}  # [CLS] and [SEP]; <cls>
COVID_ROWS = 73_335  # of GUE's training table
LOOPS = [
    pytest.param(family, block, id=f"{family}-{block.tasks.partition(' ')[0]}")
    for family, blocks in SCRIPTS.items()
    for block in blocks
]
GUE = {task.name: task for task in read_tasks(Path("gue.tsv"))}
NT = {task.name: task for task in read_tasks(Path("nt.tsv"))}


def config_of(task: ListedTask, family: str, asked: str | None = None) -> dict[str, Any]:
    return composed(choose_recipe(task, family, asked).words)


@cache
def composed(words: tuple[str, ...]) -> dict[str, Any]:
    return read_config("finetune", ["model=tiny", "task.train=t.csv", *words])


@pytest.mark.parametrize("family", SCRIPTS)
def test_the_scripts_have_each_task_of_gue_once(family: str) -> None:
    assert Counter(name for block in SCRIPTS[family] for name in block.tasks.split()) == Counter(GUE.keys())


@pytest.mark.parametrize(("family", "block"), LOOPS)
def test_gue_is_fine_tuned_as_the_scripts_have_it(family: str, block: Block) -> None:
    for name in block.tasks.split():
        task = GUE[name]
        assert choose_recipe(task, family, None).name == "dnabert2_scripts"
        config = config_of(task, family)
        length = ("epochs", block.num_train_epochs) if block.max_steps < 0 else ("steps", block.max_steps)
        assert (config.get("steps") is None) == (length[0] == "epochs")
        assert config[length[0]] == length[1]
        assert config["trainer"]["validate_every"] == block.eval_steps
        assert config["schedule"]["warmup_steps"] == block.warmup_steps
        assert config["optim"]["lr"] == LEARNING_RATE[family]
        longest = block.model_max_length - SPECIAL[family]
        sequences = config["sequences"]
        if family == "dnabert":  # no token is cut off by the scripts: 6-mers overlap in all bases but one
            assert longest >= task.length - 5
            assert "long" not in sequences
        else:
            assert (sequences["long"], sequences["max_tokens"]) == ("truncate", longest)


@pytest.mark.parametrize(("family", "block"), LOOPS)
def test_what_all_loops_share_is_that_of_train_py(family: str, block: Block) -> None:
    """Its defaults, and those of transformers 4.29.2: AdamW, decay .01, clipping at 1, a linear schedule."""
    config = config_of(GUE[block.tasks.partition(" ")[0]], family)
    assert config["optim"]["_target_"] == "torch.optim.AdamW"
    assert (config["optim"]["weight_decay"], {"betas", "eps"} & {*config["optim"]}) == (0.01, set())
    assert config["schedule"]["_target_"] == "dnalm.training.LinearWarmupDecay"
    assert config["schedule"].get("floor", 0.0) == 0.0
    assert config["trainer"].get("gradient_clip", 1.0) == 1.0
    assert config["batch"]["global_size"] == 32  # README 6.1: "adjust the global batch size to 32"
    tuning = config["tuning"]
    assert tuning["pooling"] == "cls"
    assert tuning.get("dense", True)  # BertPooler; EsmClassificationHead.dense
    adapter = tuning.get("adapter")
    assert (adapter is None) == (family != "nt")
    assert tuning.get("dropout", 0.1) == (0.0 if family == "nt" else 0.1)  # hidden_dropout_prob
    if adapter:
        found = (adapter.get("r", 8), adapter["lora_alpha"], adapter["lora_dropout"])
        assert found == (8, block.lora_alpha, 0.05)
        assert {*adapter["target_modules"]} == {"query", "key", "value", "output", "up", "down"}
    steps = -(-COVID_ROWS * block.num_train_epochs // 32) if block.tasks == "covid" else block.save_steps
    is_saved = block.save_steps <= steps  # load_best_model_at_end loads nothing where nothing was saved
    assert tuning["select"] == ("loss" if is_saved else "last")


# github.com/huggingface/notebooks, commit 5068b1142e8ed1e691c8b1e9f98e4473ebe55790,
# examples/nucleotide_transformer_dna_sequence_modelling_with_peft.ipynb
NOTEBOOK_LORA = {
    "r": 1,
    "lora_alpha": 32,
    "lora_dropout": 0.1,
    "target_modules": ["query", "value"],
}
NOTEBOOK_BEST = {"promoter_all": "f1", "enhancers_types": "metric"}  # f1_score; mcc_score


@pytest.mark.parametrize("task", NOTEBOOK_BEST)
def test_nt_is_fine_tuned_as_in_the_notebook(task: str) -> None:
    config = config_of(NT[task], "nt", "nt_notebook")
    assert {key: config["tuning"]["adapter"][key] for key in NOTEBOOK_LORA} == NOTEBOOK_LORA
    assert config["tuning"]["pooling"] == "cls"
    assert config["tuning"].get("select", "metric") == NOTEBOOK_BEST[task]
    assert NT[task].metric == "mcc"
    assert config["steps"] == 1000  # max_steps, which wins over num_train_epochs=2
    assert config["trainer"]["validate_every"] == 500  # save_steps by default: the best of what is saved
    assert config["trainer"]["precision"] == "32-true"  # neither fp16 nor bf16
    assert (config["optim"]["lr"], config["optim"]["weight_decay"]) == (5e-4, 0.0)
    assert (config["batch"]["global_size"], config["schedule"]["warmup_steps"]) == (8, 0)


def test_nt_is_fine_tuned_as_for_its_paper_unless_another_recipe_is_asked_for() -> None:
    """What of it has a source: ten folds (figure 2), 10,000 steps (the notebook), A.1.4 as others read it."""
    assert {choose_recipe(task, "nt", None).name for task in NT.values()} == {"nt_paper"}
    config = config_of(NT["promoter_all"], "nt")
    assert config["task"]["folds"] == 10
    assert config["steps"] == 10_000
    assert (config["optim"]["_target_"], config["optim"]["lr"]) == ("torch.optim.Adam", 3e-3)
    assert config["batch"]["global_size"] == 8
    adapter = config["tuning"]["adapter"]
    assert adapter["_target_"] == "peft.IA3Config"
    assert adapter["target_modules"] == ["key", "value", "down"]
    assert adapter["feedforward_modules"] == ["down"]


@pytest.mark.parametrize("family", ["*", "dnabert", "dnabert2", "nt"])
def test_ours_is_for_every_family_and_what_a_family_lacks_is_not_made_up(family: str) -> None:
    for task in (GUE["covid"], NT["H3"]):
        assert choose_recipe(task, family, OURS).name == OURS
        own = choose_recipe(task, family, None)
        assert choose_recipe(task, family, "nt_nowhere") == own
    assert choose_recipe(GUE["H3"], "*", None).name == OURS
    assert choose_recipe(NT["H3"], "dnabert2", "nt_paper").name == OURS


def test_a_recipe_that_no_family_has_is_refused() -> None:
    for name in (None, OURS, "nt_paper", "nt_notebook"):
        check_recipe(name, [*NT.values()])
    with pytest.raises(ConfigError) as caught:
        check_recipe("nt_paper", [*GUE.values()])
    said = "BENCH-11 recipe: nt_paper, which no family has on these tasks; one of dnabert2_scripts, ours"
    assert said in str(caught.value)


RECIPES = [
    pytest.param(recipe.words, id=f"{name}-{family}-{recipe.name}")
    for name, families in read_recipes().items()
    for family, recipes in families.items()
    for recipe in recipes
]


@pytest.mark.parametrize("words", RECIPES)
def test_every_recipe_is_a_config_of_finetune(words: tuple[str, ...]) -> None:
    check(composed(words), given=frozenset({"config"}), command="finetune")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a\tours\t*\tx=1\na\tours\t*\tx=2\n", "ours of a for * twice; one row for it"),
        ("a\tp\tnt\tx=1\n", "a for nt; a row for * too"),
        ("a\tp\tnt *\tx=1\n", "p for *; ours for *, others for families"),
        ("a\tours\tnt\tx=1\n", "ours for nt; ours for *, others for families"),
    ],
)
def test_a_recipe_has_one_row_for_a_family_and_ours_one_for_any(
    rows: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark/recipes.tsv").write_text(f"name\trecipe\tfamilies\twords\n{rows}")
    monkeypatch.setattr("dnalm.evaluation.benchmark.benchmark.config_folder", lambda: tmp_path)
    with pytest.raises(ConfigError, match=re.escape(said)):
        read_recipes()
