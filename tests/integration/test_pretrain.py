"""The main job end to end through the program, in miniature."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from dnalm.cli import main
from dnalm.compose.groups import options
from dnalm.models import load_pretrained
from dnalm.tokenizers import load_tokenizer
from tests.conftest import random_sequence

MINIATURE = [
    "size=tiny",
    "debug=fast",
    "model.hidden_size=16",
    "model.intermediate_size=32",
    "model.num_heads=2",
]


def program(*words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--debug"])
    assert ended.value.code == 0


def pretrain(*words: str) -> None:
    program("pretrain", *MINIATURE, *words)


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fasta = tmp_path_factory.mktemp("genome") / "genome.fa"
    fasta.write_text(f">chr1\n{random_sequence(30_000)}\n>chr2\n{random_sequence(5_000, 1)}\n")
    return fasta


@pytest.fixture(scope="module")
def run(genome: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "first"
    pretrain(*on(genome), f"run.dir={folder}")
    return folder


def on(genome: Path) -> list[str]:
    return [
        "experiment=dnabert_k3",
        "data=fasta",
        f"data.fasta={genome}",
        f"data.cache={genome.parent / 'cache'}",
    ]


def test_a_run_leaves_everything_it_promises(run: Path) -> None:
    assert {path.name for path in run.iterdir()} == {
        "config.yaml", "metrics.csv", "checkpoints", "model", "loss.png", "summary.json", "ranks",
        "report.html", "strata.csv",
    }  # fmt: skip
    assert {path.name for path in (run / "model").iterdir()} == {
        "config.json", "model.safetensors", "dnalm.yaml", "README.md",
        "vocab.txt", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert len(list((run / "checkpoints").iterdir())) == 2
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_the_model_card_has_the_figures_of_the_summary(run: Path) -> None:
    card, summary = (run / "model/README.md").read_text(), json.loads((run / "summary.json").read_text())
    names = ("val_bits_per_base", "baseline_order0_bits", "baseline_two_sided_bits")
    figures = " | ".join(f"{summary[name]:.4f}" for name in names)
    assert f"| all | {summary['hidden_bases']:,} | {figures} |" in card
    assert f"| parameters | {summary['parameters']:,} |" in card
    provenance = yaml.safe_load((run / "model/dnalm.yaml").read_text())
    assert provenance["results"]["genomes"][0]["num_bases"] == 35_000
    assert str(run.parent) not in card


def test_the_summary_has_the_promised_figures(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    promised = {
        "experiment", "steps", "tokens", "bases", "val_loss", "val_bits_per_base", "baseline_order0_bits",
        "baseline_two_sided_bits", "tokens_per_s", "bases_per_s", "data_wait", "seconds", "peak_memory",
        "realised_mask_rate",
    }  # fmt: skip
    assert promised <= set(summary)
    assert (summary["experiment"], summary["steps"]) == ("dnabert_k3", 4)
    for name in ("over_order0", "over_two_sided"):
        difference = summary[name]
        assert (difference["windows"], difference["enough_windows"]) == (8, False)
        assert difference["standard_error"] > 0
    # Random DNA: order 0 is 2 bits up to sampling.
    assert summary["baseline_order0_bits"] == pytest.approx(2.0, abs=0.01)
    assert summary["val_bits_per_base"] == pytest.approx(2.0, abs=0.1)
    assert 10_000_000 < summary["peak_memory"] < 10**11


def test_the_parts_of_the_hidden_bases_are_those_of_the_summary(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    with (run / "strata.csv").open(newline="") as file:
        whole, *parts = csv.DictReader(file)
    assert float(whole["bits_per_base"]) == pytest.approx(summary["val_bits_per_base"], rel=1e-12)
    assert int(whole["hidden_bases"]) == summary["hidden_bases"]
    assert {part["group"] for part in parts} == {"token frequency"}  # of one genome in upper case
    assert sum(int(part["hidden_bases"]) for part in parts) == summary["hidden_bases"]
    assert sum(int(part["masked_tokens"]) for part in parts) == int(whole["masked_tokens"])


def test_metrics_hold_the_loss_of_every_step(run: Path) -> None:
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows if row["train_loss"]] == [0, 1, 2, 3]
    assert sum(bool(row["val_bits_per_base"]) for row in rows) == 2


def test_the_same_command_gives_the_same_metrics_to_the_last_bit(run: Path, genome: Path) -> None:
    again = run.with_name("again")
    pretrain(*on(genome), f"run.dir={again}")
    assert (again / "metrics.csv").read_bytes() == (run / "metrics.csv").read_bytes()
    weights = "model/model.safetensors"
    assert (again / weights).read_bytes() == (run / weights).read_bytes()


def test_stock_transformers_loads_the_model_directory(run: Path) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    stock = AutoModelForMaskedLM.from_pretrained(run / "model").eval()
    ids = AutoTokenizer.from_pretrained(run / "model")("ACG CGT GTA TAC", return_tensors="pt")["input_ids"]
    ours = load_pretrained(run / "model").eval()
    from dnalm.models import Packed

    length = ids.shape[1]
    with torch.no_grad():
        logits = ours(ids[0], Packed.from_lengths([length]), torch.arange(length))
        assert torch.allclose(stock(ids).logits[0], logits, atol=1e-5)


def test_the_model_directory_says_what_made_it(run: Path) -> None:
    provenance = yaml.safe_load((run / "model/dnalm.yaml").read_text())
    assert provenance["steps"] == 4
    assert provenance["config"] == yaml.safe_load((run / "config.yaml").read_text())
    assert provenance["versions"]["torch"].startswith("2.")
    assert len(provenance["data_fingerprint"]) == 16


def test_the_config_a_run_leaves_is_resolved(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["tokenizer"]["k"] == 3
    assert "${" not in (run / "config.yaml").read_text()


def test_the_last_lines_say_where_how_good_and_what_next(
    run: Path, genome: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain(*on(genome), f"run.dir={run.with_name('spoken')}")
    captured = capsys.readouterr()
    lines = captured.out.strip().splitlines()
    assert lines[-1] == f"summary: {run.with_name('spoken')}/summary.json"
    assert lines[-2].startswith("next: ")
    assert "no verdict, for the hidden bases lie in 8 windows and a standard error needs 30" in captured.out
    for noise in ("Tip", "litlogger", "GPU available", "max_steps", "Warning"):
        assert noise not in captured.out + captured.err


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        ([], 0, "is complete: 4 steps. Extend it by a larger steps=…"),
        (["resume=never"], 2, "CFG-23 run.dir"),
        (["seed=7"], 2, "seed was 1, now 7"),
        (["steps=3"], 2, "CFG-26 steps: 3, and"),
    ],
)
def test_a_run_that_is_done_says_so_and_is_never_written_over(
    more: list[str], code: int, said: str, run: Path, genome: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "summary.json").read_bytes()
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *MINIATURE, *on(genome), f"run.dir={run}", *more])
    assert ended.value.code == code
    told = capsys.readouterr()
    assert said in (told.err if code else told.out).replace("\n", " ")
    assert (run / "summary.json").read_bytes() == before


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("experiment", sorted({*options("experiment")} - {"logo_knowledge"}))  # has inputs
def test_every_experiment_trains_on_the_demo_and_its_model_goes_round(
    experiment: str, cache: Path, tmp_path: Path
) -> None:
    pretrain(
        f"experiment={experiment}",
        "data.clade.genome_bp=200000",
        "steps=2",
        f"data.cache={cache}",
        f"run.dir={tmp_path}/run",
    )
    assert json.loads((tmp_path / "run/summary.json").read_text())["experiment"] == experiment
    program("export", f"model={tmp_path}/run", f"run.dir={tmp_path}/exported")
    before, after = tmp_path / "run/model", tmp_path / "exported"
    for name in ("model.safetensors", "config.json", "tokenizer_config.json", "dnalm.yaml", "README.md"):
        assert (before / name).read_bytes() == (after / name).read_bytes()
    assert load_tokenizer(before).fingerprint == load_tokenizer(after).fingerprint


@pytest.mark.parametrize(
    "tokenizer", ["char", "kmer", "nt_v1", "nt_v2", "logo", "bpe", "dnabert2_trained", "grover"]
)
def test_every_tokenizer_trains_with_any_model(tokenizer: str, cache: Path, tmp_path: Path) -> None:
    pretrain(
        f"tokenizer={tokenizer}",
        "data.clade.genome_bp=200000",
        "steps=2",
        f"data.cache={cache}",
        f"run.dir={tmp_path}/run",
    )
    assert json.loads((tmp_path / "run/summary.json").read_text())["steps"] == 2


def test_a_run_continues_from_a_model_directory(run: Path, genome: Path, tmp_path: Path) -> None:
    words = [*on(genome), f"model={run}", f"tokenizer={run}/model", "debug=fast", "batch.micro_size=2"]
    words += ["optim.lr=0.0", "windows.max_tokens=60", f"run.dir={tmp_path}/run"]
    program("pretrain", *words)
    weights = "model.safetensors"  # a learning rate of 0 leaves the weights as they came
    assert (tmp_path / "run/model" / weights).read_bytes() == (run / "model" / weights).read_bytes()


def test_a_model_and_a_tokenizer_that_do_not_fit_are_refused(
    run: Path, genome: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*on(genome), f"model={run}", "tokenizer=nt_v2", "debug=fast", "tokenizer.version=1"]
    words.remove("experiment=dnabert_k3")
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *words, f"run.dir={tmp_path}/run"])
    assert ended.value.code == 4
    error = capsys.readouterr().err
    assert f"MODEL-12 {run}: a tokenizer of 4,105 ids and a model of 69 token embeddings" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["model=bert"],
            2,
            "CFG-04 model: dnalm.models.Encoder, which makes Encoder; one that makes Pretrained",
        ),
        (["model=nothing/here/at/all"], 4, "CKPT-04 nothing/here/at/all"),
        ([], 2, "CFG-07 model.source: no value"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(
    words: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", *words, f"run.dir={tmp_path}/x"])
    error = capsys.readouterr().err
    assert (ended.value.code, error.count("\n")) == (code, 1)
    assert error.startswith(f"dnalm: {message}")
    assert not (tmp_path / "x").exists()


def test_a_run_without_a_model_directory_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(run, broken)
    shutil.rmtree(broken / "model")
    with pytest.raises(SystemExit) as ended:
        main(["export", f"model={broken}", f"run.dir={tmp_path}/x"])
    assert ended.value.code == 4
    found = f"CKPT-04 {broken}/checkpoints/step-00000004: no {broken}/model/config.json;"
    assert found in capsys.readouterr().err


def test_reverse_complement_faithful_masking_and_fraction_split_compose(genome: Path, tmp_path: Path) -> None:
    pretrain(
        *on(genome),
        "windows.reverse_complement=true",
        "masking.faithful=true",
        "data/split=fraction",
        "batch.num_workers=1",
        "trainer.precision=bf16-mixed",
        "trainer.callbacks=[{_target_: lightning.pytorch.callbacks.LearningRateMonitor}]",
        f"run.dir={tmp_path}/run",
    )
    assert (tmp_path / "run/summary.json").exists()
