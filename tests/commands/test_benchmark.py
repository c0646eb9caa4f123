"""A benchmark's command lines can be run; killed anywhere and run again, it ends in the same table."""

import csv
import json
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from dnalm.cli import main
from dnalm.commands.benchmark import (
    BenchmarkFolder,
    Work,
    all_clusters,
    all_work,
    job_maker,
    models_without_twin,
    read_candidates,
    tune_on_validation,
    warn_of_recipes,
)
from dnalm.compose import build, read_config
from dnalm.compose.groups import options
from dnalm.data.labelled import divide
from dnalm.durable import file_sha256
from dnalm.errors import ConfigError
from dnalm.evaluation.benchmark.benchmark import CLASSICAL, Benchmark, recipe_family, weights_checksum
from dnalm.evaluation.benchmark.leakage import IN_TRAINING, leakage_of
from dnalm.evaluation.benchmark.published import Published
from dnalm.evaluation.benchmark.report import Comparison, write_report
from dnalm.genome.alphabet import to_text
from dnalm.models import save_pretrained
from dnalm.sweeps import Job, LocalLauncher
from dnalm.tokenizers import KmerTokenizer, Tokenizer
from tests.commands.tiny_benchmark import MODELS, TASKS, lay_out
from tests.evaluation.benchmark.test_benchmark import benchmark, write_split
from tests.models import zoo

pytestmark = pytest.mark.usefixtures("forked_programs")

TABLES = [*(f"benchmark.{kind}" for kind in ("md", "csv", "tex", "html")), "differences.csv"]


def works(tmp_path: Path, *models: str, seeds: int = 1, words: tuple[str, ...] = ()) -> list[Work]:
    for split in ("train", "dev", "test"):
        write_split(tmp_path / f"a = {{b}}/toy/{split}.csv", [("ACGT", "0"), ("ACGA", "1")])
    toy: Benchmark = benchmark(tmp_path, root=tmp_path / "a = {b}")
    return all_work(toy.prepare(toy.choose(None)), models, seeds, words)


@pytest.mark.parametrize("model", ["tiny", "kmer_logistic", "cnn", "runs/x", "owner/name"])
def test_every_command_line_is_a_config(tmp_path: Path, model: str) -> None:
    (work,) = works(tmp_path, model)
    assert work.what_is_wrong() == ""
    job = work.job(tmp_path / "out")
    assert job.command[1:5] == ("-P", "-m", "dnalm", work.command)
    assert job.overrides == {"task": "toy", "model": model, "seed": "1"}


def test_words_for_finetune_win_over_the_recipe_and_do_not_reach_baselines(tmp_path: Path) -> None:
    plain, _ = works(tmp_path, "tiny", "cnn")
    assert "budget=tiny" in plain.line()
    tuned, classical = works(tmp_path, "tiny", "cnn", words=("budget=gue", "epochs=x"))
    line = tuned.line()
    assert "budget=gue" in line
    assert "budget=tiny" not in line
    assert "epochs" in tuned.what_is_wrong()
    assert "budget=gue" not in classical.line()


def of_rows(tmp_path: Path, rows: int, labels: tuple[int | Literal["all"], ...]) -> list[Work]:
    for split in ("train", "dev", "test"):
        table = [("ACG" + "ACGT"[n % 4] * (n // 4 + 1), str(n % 2)) for n in range(rows)]
        write_split(tmp_path / f"root/toy/{split}.csv", table)
    toy: Benchmark = benchmark(tmp_path, root=tmp_path / "root")
    return all_work(toy.prepare(toy.choose(None)), ["tiny", "kmer_logistic"], 2, (), None, labels)


def test_every_number_of_labels_is_learned_by_every_model_and_seed(tmp_path: Path) -> None:
    """Counts of k-mers draw nothing, but their few rows are drawn; 100 of 20 rows are all of them."""
    work = of_rows(tmp_path, 20, (100, 10, "all"))
    found = [(each.labels, each.model, each.seed, each.is_main) for each in work]
    assert found == [
        *((10, model, seed, False) for model in ("tiny", "kmer_logistic") for seed in (1, 2)),
        *((None, "tiny", seed, True) for seed in (1, 2)),
        (None, "kmer_logistic", 1, True),
    ]
    assert "task.labels=10" in work[0].line()
    assert work[0].what_is_wrong() == work[2].what_is_wrong() == ""
    assert not any("task.labels" in word for word in work[-1].line())
    assert len({each.job(tmp_path).id for each in work}) == len(work)


def test_the_main_tables_have_the_most_labels_that_are_asked_for(tmp_path: Path) -> None:
    work = of_rows(tmp_path, 20, (4, 10))
    assert {(each.labels, each.is_main) for each in work} == {(4, False), (10, True)}


def test_fewer_labels_than_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"BENCH-10 labels: 1, and toy has 2 classes; .*labels=\[20,all\]"):
        of_rows(tmp_path, 20, (1, "all"))


def test_what_is_tuned_wins_over_recipe_and_words(tmp_path: Path) -> None:
    (work,) = works(tmp_path, "tiny", words=("optim.lr=1e-4", "epochs=2"))
    tried = replace(work, tuned={"optim.lr": "3e-4"})
    assert [word for word in tried.line() if word.startswith("optim.lr")] == ["optim.lr=3e-4"]
    assert "epochs=2" in tried.line()
    assert tried.overrides == {**work.overrides, "optim.lr": "3e-4"}
    assert tried.what_is_wrong() == ""


def test_all_combinations_are_tried() -> None:
    grid = read_candidates(("optim.lr=1e-4,1e-3", "epochs=1,2"))
    assert grid == [{"optim.lr": lr, "epochs": n} for lr in ("0.0001", "0.001") for n in ("1", "2")]
    assert read_candidates(()) == []
    with pytest.raises(ConfigError, match=r"tune: optim.lr=1e-4: one value, of which nothing can be chosen"):
        read_candidates(("optim.lr=1e-4",))


@pytest.fixture
def validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Jobs leave the metric of their rate on the validation set; the one with the best has diverged."""
    of_rate = {"0.0001": 0.2, "0.0003": 0.6, "0.0006": 0.6, "0.001": 0.9}

    def job(work: Work, folder: Path) -> Job:
        run = folder / "-".join(work.overrides.values()).replace("/", "_")
        value = of_rate[work.tuned["optim.lr"]]
        summary = {"val": {"mcc": value}, "test": {"mcc": 1 - value}}
        code = f"import pathlib as p; r = p.Path({str(run)!r}); r.mkdir(exist_ok=True)"
        code += f"; (r / 'summary.json').write_text({json.dumps(summary)!r})"
        code += "; raise SystemExit(5)" if value == 0.9 else ""
        return Job(run.name, work.overrides, (sys.executable, "-S", "-E", "-c", code))

    monkeypatch.setattr(Work, "job", job)
    monkeypatch.setattr(Work, "what_is_wrong", lambda _: "")
    return tmp_path


def test_the_best_on_the_validation_set_is_chosen_the_first_of_equals(
    validated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = works(validated, "tiny", "kmer_logistic", seeds=2)
    grid = read_candidates(("optim.lr=1e-4,3e-4,6e-4,1e-3",))
    sweep = BenchmarkFolder(dir=validated / "out")
    (found,) = tune_on_validation(work, grid, sweep=sweep, launcher=LocalLauncher(), name="toy")
    assert (found.task, found.model, found.chosen) == ("toy", "tiny", {"optim.lr": "0.0003"})
    assert "tuning: 4 jobs of seed 1" in capsys.readouterr().out
    (_, second, _) = work
    board = Comparison([second.task.task], ["tiny"]).leaderboard([])
    write_report(validated, "toy", board, [], {}, {}, [found])
    table = (validated / "benchmark.md").read_text()
    assert "| toy | tiny | 0.2000 | 0.6000\\* | 0.6000 | failed |" in table


def test_where_all_that_was_tried_failed_nothing_is_chosen(validated: Path) -> None:
    sweep, work = BenchmarkFolder(dir=validated / "out"), works(validated, "tiny")
    grid = [{"optim.lr": "0.001"}]
    assert tune_on_validation(work, grid, sweep=sweep, launcher=LocalLauncher(), name="toy") == []


def test_jobs_see_the_users_own_configs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine"
    (mine / "budget").mkdir(parents=True)
    (mine / "budget/ours.yaml").write_text("# @package _global_\ndefaults:\n  - tiny\nsteps: 7\n")
    (work,) = works(tmp_path, "tiny", words=("budget=ours",))
    assert "CFG-" in work.what_is_wrong()
    own = replace(work, config_dir=mine)
    assert own.what_is_wrong() == ""
    assert own.job(tmp_path).command[-2:] == ("--config-dir", str(mine))
    assert own.made_by()["command"].endswith(f" --config-dir {mine}")
    with pytest.raises(SystemExit):
        main(["benchmark", "--config-dir", str(mine), "models=[tiny]", "--cfg"])
    assert f"config_dir: {mine}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("architecture", "tokenizer", "family"),
    [
        ("bert", KmerTokenizer(k=6), "dnabert"),
        ("bert", KmerTokenizer(k=1), "*"),
        ("dnabert2", None, "dnabert2"),
        ("nt_v1", None, "nt"),
        ("nt_v2", None, "nt"),
        ("logo", None, "*"),
    ],
)
def test_a_model_is_fine_tuned_by_the_recipe_of_its_own_family(
    tmp_path: Path, architecture: str, tokenizer: Tokenizer | None, family: str
) -> None:
    save_pretrained(zoo.model(architecture), tmp_path)
    if tokenizer:
        tokenizer.save(tmp_path)
    assert recipe_family(str(tmp_path)) == family


@pytest.mark.parametrize("model", ["tiny", "cnn", "no/such", "kmer_logistic"])
def test_what_has_no_directory_is_of_no_family(model: str) -> None:
    assert recipe_family(model) == "*"


def test_a_model_beside_published_numbers_of_another_recipe_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own,) = works(tmp_path, "kmer_logistic")
    assert own.made_by()["recipe"] == "ours"
    on_gue = replace(own.task, task=replace(own.task.task, recipe="gue_tf"))
    nt = replace(own, model="runs/nt", family="nt", checksum="ab", task=on_gue)
    assert nt.made_by()["recipe"] == "dnabert2_scripts"
    assert "tuning=nt_gue" in nt.line()
    asked = replace(nt, model="runs/asked", asked="ours")
    grover = replace(nt, model="runs/grover", family="*")
    for each in (asked, grover):
        assert each.made_by()["recipe"] == "ours"
        assert "tuning=gue" in each.line()
    of_paper = Published(task="tf0", model="NT", value=0.5, source="x.csv", recipe="dnabert2_scripts")
    warn_of_recipes([nt, grover, replace(grover, model="tiny", checksum=""), own, asked], [of_paper])
    assert " ".join(capsys.readouterr().err.split()) == (
        "warning: published numbers are by the recipe dnabert2_scripts; not so runs/grover (ours), "
        "runs/asked (ours): no difference is shown"
    )
    warn_of_recipes([grover], [replace(of_paper, recipe="")])
    warn_of_recipes([nt], [of_paper])
    assert capsys.readouterr().err == ""


def test_what_is_changed_in_a_recipe_is_part_of_its_name_but_for_the_machine(tmp_path: Path) -> None:
    (plain,) = works(tmp_path, "tiny")
    listed = replace(plain.task.task, recipe="gue_tf")
    nt = replace(plain, family="nt", task=replace(plain.task, task=listed))
    same = ("trainer=cpu", "trainer.devices=2", "epochs=3", "batch.micro_size=4")
    assert replace(nt, words=same).recipe == "dnabert2_scripts"
    other = replace(nt, words=(*same, "epochs=1"), tuned={"optim.lr": "1e-3"})
    assert other.recipe == "dnabert2_scripts, but epochs=1 optim.lr=1e-3"
    assert replace(other, model="cnn").recipe == "ours"


def test_folds_are_jobs_that_choose_on_parts_without_a_row_in_common_and_test_on_the_test_set(
    tmp_path: Path,
) -> None:
    rows = {
        split: [
            (f"{letter}{number:010b}".translate(str.maketrans("01", "AC")), str(number % 2))
            for number in range(size)
        ]
        for split, (letter, size) in {"train": ("G", 11), "dev": ("T", 7), "test": ("A", 6)}.items()
    }
    for split, found in rows.items():
        write_split(tmp_path / f"root/toy/{split}.csv", found)
    toy = benchmark(tmp_path, root=tmp_path / "root")
    work = all_work(toy.prepare(toy.choose(None)), ["tiny", "cnn"], 2, ("task.folds=3",))
    folds, seeds = [each for each in work if each.folds], [each for each in work if not each.folds]
    assert [each.overrides["fold"] for each in folds] == ["1", "2", "3"]  # in place of the two seeds
    assert [(each.model, each.overrides["seed"]) for each in seeds] == [("cnn", "1"), ("cnn", "2")]
    assert {each.made_by()["folds"] for each in folds} == {"3"}
    assert len({each.job(tmp_path).id for each in work}) == len(work)
    chosen: Counter[str] = Counter()
    for each in folds:
        config = read_config("finetune", each.line())
        division = divide(build(config["task"]), seed=config["seed"])
        parts = {
            name: [to_text(part.table.sequence(row)) for row in part.rows]
            for name, part in division.parts.items()
        }
        assert sorted(parts["test"]) == sorted(sequence for sequence, _ in rows["test"])
        assert not {*parts["train"]} & {*parts["val"]}
        assert len(parts["train"]) + len(parts["val"]) == 18
        chosen.update(parts["val"])
    assert chosen == Counter(sequence for split in ("train", "dev") for sequence, _ in rows[split])


def test_with_folds_validation_rows_train_too_and_are_left_out_of_the_test_set(tmp_path: Path) -> None:
    write_split(tmp_path / "root/toy/train.csv", [("ACGT", "0"), ("ACGA", "1")])
    write_split(tmp_path / "root/toy/dev.csv", [("AAAA", "0"), ("ACCC", "1")])
    write_split(tmp_path / "root/toy/test.csv", [("TTTT", "0"), ("GGCA", "1"), ("ACGA", "1")])
    toy = benchmark(tmp_path, root=tmp_path / "root")
    prepared = toy.prepare(toy.choose(None))
    leakage = {each.task.name: leakage_of(each) for each in prepared}
    for words, left_out in (((), [2]), (("task.folds=2",), [0, 2])):  # TTTT is AAAA's other strand
        clusters = all_clusters(all_work(prepared, ["tiny"], 1, words), leakage, drop=False)["toy"]
        assert np.flatnonzero(clusters == IN_TRAINING).tolist() == left_out


def test_a_folder_may_hold_jobs_of_more_seeds_than_are_asked_for(tmp_path: Path) -> None:
    first, second = works(tmp_path, "tiny", seeds=2)
    make = job_maker([first])
    assert make(tmp_path, first.overrides) == first.job(tmp_path)
    assert make(tmp_path, second.overrides).id == ""


def test_a_model_whose_twin_is_not_in_the_table_is_named(tmp_path: Path) -> None:
    names = ("runs/x", "runs/y", "runs/y:untrained", "cnn", "tiny", "no/such")
    work = [replace(each, checksum="a" * 64 * ("runs" in each.model)) for each in works(tmp_path, *names)]
    assert models_without_twin(work) == ["runs/x"]


def test_a_model_without_chance_has_one_seed(tmp_path: Path) -> None:
    found = [(each.model, each.seed) for each in works(tmp_path, "kmer_logistic", "cnn", seeds=2)]
    assert found == [("kmer_logistic", 1), ("cnn", 1), ("cnn", 2)]


def test_other_weights_of_the_same_name_are_another_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "runs/x/model.safetensors"
    weights.parent.mkdir(parents=True)
    (tmp_path / "runs/x/config.json").write_text("{}")
    names = set()
    for content in ("old", "new"):
        weights.write_text(content)
        (work,) = works(tmp_path, "runs/x")
        assert work.made_by()["model_sha256"] == file_sha256(weights)
        names.add(work.job(tmp_path).id)
    assert len(names) == 2
    assert weights_checksum("runs/absent") == ""


def test_classical_models_are_the_options_of_baseline() -> None:
    assert sorted(CLASSICAL) == options("baseline")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny benchmark, run once without a kill in `whole/`."""
    folder = tmp_path_factory.mktemp("toy")
    lay_out(folder)
    process = start(folder, "whole")
    out, errors = process.communicate()
    assert process.returncode == 1, errors
    assert "10 jobs: 6 done, 4 failed" in out
    assert f"benchmark: {folder / 'whole/benchmark.md'}" in out
    return folder


def start(folder: Path, target: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "tests.commands.tiny_benchmark", str(folder), str(folder / target)]
    return subprocess.Popen(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "benchmark.csv").open(newline="") as file:
        found = list(csv.DictReader(file, strict=True))
    assert all(None not in row and None not in row.values() for row in found)
    return found


def test_the_table_has_a_row_for_each_cell_and_says_what_failed(toy: Path) -> None:
    found = {(row["task"], row["model"]): row for row in rows(toy / "whole")}
    assert set(found) == {(task, model) for task in TASKS for model in MODELS}
    assert found["a", "tiny"]["seeds"] == "1 2"
    assert found["a", "kmer_logistic"]["seeds"] == "1"
    assert found["a", "tiny"]["left_out"] == "2"
    assert found["a", "absent/model"]["error"].startswith("failed: ")
    assert found["a", "tiny"]["command"].startswith("dnalm finetune model=tiny budget=tiny steps=60")
    with (toy / "whole/differences.csv").open(newline="") as file:
        (pair, _) = csv.DictReader(file)
    assert (pair["first"], pair["second"], pair["task"]) == ("tiny", "kmer_logistic", "a")
    means = [float(found["a", model]["mean"]) for model in MODELS[:2]]
    assert float(pair["difference"]) == pytest.approx(means[0] - means[1])
    leakage = json.loads((toy / "whole/leakage.json").read_text())
    assert [each["exact"] for each in leakage["a"]] == [2, 2, 2]
    assert (toy / "whole/heatmap.png").is_file()


@pytest.mark.parametrize("seed", range(2))
def test_killed_anywhere_and_run_again_it_ends_in_the_same_table(toy: Path, seed: int) -> None:
    chance, target = random.Random(seed), toy / f"killed{seed}"
    for _ in range(2):
        process = start(toy, target.name)
        while not (target / "benchmark.csv").exists() and process.poll() is None:
            time.sleep(0.01)
        for _ in range(chance.randrange(60)):
            rows(target)
            time.sleep(0.01)
        process.kill()
        process.communicate()
    process = start(toy, target.name)
    process.communicate()
    for name in TABLES:
        assert (target / name).read_bytes() == (toy / "whole" / name).read_bytes()
