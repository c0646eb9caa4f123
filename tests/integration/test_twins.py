"""`<model>:untrained` in every command: the weights that training began with, and outputs that say so."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dnalm
from dnalm.cli import main
from dnalm.models import MaskedLM, Pretrained, load_pretrained
from dnalm.small_files import read_provenance
from dnalm.tokenizers import load_tokenizer
from dnalm.training.finetuning import weights_checksum
from dnalm.training.model_directory import load_finetuned
from tests.conftest import random_sequence

NARROW = ["model.hidden_size=16", "model.intermediate_size=32", "model.num_heads=2"]
WITHOUT_LEARNING = ["optim.lr=0.0", "schedule.warmup_steps=1"]
FAMILIES = {  # how each makes its tokens differs
    "dnabert_k3": [],
    "nt_v2_50m": [],
    "logo": ["model.embedding_size=12", "tokenizer.k=3"],
}


def program(*words: str) -> None:
    last = {word[: word.find("=") + 1] or word: word for word in words}
    with pytest.raises(SystemExit) as ended:
        main([*last.values(), "--debug"])
    assert ended.value.code == 0


def pretrain(folder: Path, name: str, experiment: str, *words: str) -> Path:
    where = ["data=fasta", f"data.fasta={folder}/genome.fa", f"data.cache={folder}/cache"]
    run = folder / name
    size = [f"experiment={experiment}", "size=tiny", "debug=fast", *NARROW, *FAMILIES[experiment]]
    program("pretrain", *size, *where, f"run.dir={run}", *words)
    return run


def finetune(folder: Path, name: str, model: str, *words: str) -> Path:
    tables = [f"task.{part}={folder}/table.csv" for part in ("train", "val", "test")]
    steps = [
        "budget=tiny",
        "steps=4",
        "batch.global_size=4",
        "batch.micro_size=4",
        "trainer.validate_every=2",
        "task.name=t",
    ]
    program("finetune", f"model={model}", *tables, *steps, f"run.dir={folder / name}", *words)
    return folder / name


def twin(source: Path, seed: int | None = None) -> MaskedLM:
    """Of a run."""
    bases = load_tokenizer(source).token_bases
    return Pretrained(source=f"{source}:untrained", seed=seed).load(token_bases=bases)


def summary(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("twins")
    (made / "genome.fa").write_text(f">chr1\n{random_sequence(20_000)}\n>chr2\n{random_sequence(4_000, 1)}\n")
    rows = [f"{random_sequence(40, row)},{row % 2}" for row in range(12)]
    (made / "table.csv").write_text("\n".join(["sequence,label", *rows]) + "\n")
    pretrain(made, "run", "dnabert_k3", "seed=5")
    finetune(made, "tuned", f"{made}/run", "seed=3")
    return made


@pytest.mark.parametrize("experiment", FAMILIES)
def test_it_has_the_weights_of_a_run_that_learned_nothing(experiment: str, folder: Path) -> None:
    run = pretrain(folder, f"still-{experiment}", experiment, "seed=4", *WITHOUT_LEARNING)
    assert weights_checksum(twin(run)) == weights_checksum(load_pretrained(run))
    assert (
        weights_checksum(twin(run)) == weights_checksum(twin(run, seed=4)) != weights_checksum(twin(run, 5))
    )


def test_a_run_that_continues_another_began_as_that_one(folder: Path) -> None:
    source = [f"model={folder}/run", f"tokenizer={folder}/run", "seed=8"]
    run = folder / "continued"
    where = ["data=fasta", f"data.fasta={folder}/genome.fa", f"data.cache={folder}/cache"]
    program("pretrain", "experiment=dnabert_k3", "size=tiny", "debug=fast", *where, *source, f"run.dir={run}")
    assert weights_checksum(twin(run)) == weights_checksum(twin(folder / "run"))


def test_fine_tuning_draws_a_twin_of_its_own_for_each_seed(folder: Path) -> None:
    model, still = f"{folder}/run:untrained", WITHOUT_LEARNING
    for seed in (5, 6):
        run = finetune(folder, f"still{seed}", model, f"seed={seed}", *still)
        assert weights_checksum(load_pretrained(run)) == weights_checksum(twin(folder / "run", seed))
        found = summary(run / "summary.json")
        assert (found["model"], found["seed"]) == (f"{model} (seed {seed})", seed)
        assert "It is a control: an untrained twin" in (run / "model/README.md").read_text()
        results = read_provenance(run / "model")["results"]
        assert (results["base"], results["base_sha256"]) == ("run:untrained", None)


def test_the_twin_of_a_fine_tuned_model_has_the_head_of_its_first_step(folder: Path) -> None:
    """What was fine-tuned without learning has encoder and head of its start."""
    still = finetune(folder, "still", f"{folder}/run:untrained", "seed=7", *WITHOUT_LEARNING)
    expected = weights_checksum(load_finetuned(Pretrained(source=str(still))).model)
    assert weights_checksum(load_finetuned(Pretrained(source=f"{still}:untrained")).model) == expected
    tuned = load_finetuned(Pretrained(source=f"{folder}/tuned:untrained")).model
    assert weights_checksum(tuned.backbone) == weights_checksum(twin(folder / "run")), (
        "of seed 5, as it began"
    )
    again = finetune(folder, "again", f"{folder}/run", "seed=3", *WITHOUT_LEARNING)
    head = load_finetuned(Pretrained(source=str(again))).model.head
    assert weights_checksum(tuned.head) == weights_checksum(head)


def test_outputs_name_the_twin_and_differ_from_the_models(folder: Path) -> None:
    genome = (folder / "genome.fa").read_text().split("\n")[1]
    lines = [
        f"chr1\t{at}\t.\t{genome[at - 1]}\t{'ACGT'['ACGT'.index(genome[at - 1]) - 1]}" for at in (500, 900)
    ]
    (folder / "v.tsv").write_text("\n".join(lines) + "\n")
    named = {}
    for ending in ("", ":untrained"):
        model, out = f"model={folder}/run{ending}", folder / f"out{len(ending)}"
        table, vcf = f"input={folder}/table.csv", out.with_suffix(".vcf.gz")
        program("embed", model, table, f"out={out}.npy")
        program("score", model, f"variants={folder}/v.tsv", f"reference={folder}/genome.fa", f"out={vcf}")
        tuned = f"model={folder}/tuned{ending}"
        program("predict", tuned, table, f"out={out}.tsv")
        program("interpret", model, table, "what=attention", f"run.dir={out}-attention")
        named[ending] = [
            summary(Path(f"{out}.npy.summary.json"))["model"],
            summary(Path(f"{vcf}.summary.json"))["model"],
            *summary(Path(f"{out}.tsv.summary.json"))["models"],
            summary(out.with_name(f"{out.name}-attention") / "summary.json")["model"],
        ]
        with gzip.open(vcf, "rt") as file:
            (info,) = [line for line in file if line.startswith("##INFO=<ID=DNALM_LLR,")]
        assert f'Description="dnalm llr of {named[ending][1]}, both strands averaged"' in info
    run, tuned = f"{folder}/run", f"{folder}/tuned"
    assert named[""] == [run, run, tuned, run]
    twins = f"{run}:untrained (seed 5)"
    assert named[":untrained"] == [twins, twins, f"{tuned}:untrained (seed 5)", twins]
    vectors = [np.load(folder / f"out{n}.npy") for n in (0, 10)]
    assert not np.array_equal(*vectors)


def test_python_opens_it(folder: Path) -> None:
    model = dnalm.load(f"{folder}/run:untrained", device="cpu")
    assert weights_checksum(model.network) == weights_checksum(twin(folder / "run"))
    assert f"dnalm.load('{folder}/run/model:untrained')" in repr(model)
    texts = [random_sequence(30, 1)]
    stored = dnalm.load(f"{folder}/run", device="cpu").embed(texts)
    other = dnalm.load(f"{folder}/run:untrained", device="cpu", seed=6).embed(texts)
    assert not np.array_equal(model.embed(texts), stored)
    assert not np.array_equal(model.embed(texts), other)
    with pytest.raises(ValueError, match="untrained twins alone"):
        dnalm.load(f"{folder}/run", seed=6)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["finetune", "model={}/run:untraned", "task=demo_promoter"], "CKPT-04 .*did you mean .*:untrained?"),
        (["finetune", "model=tiny:untrained", "task=demo_promoter"], "tiny:untrained"),
        (["export", "model={}/run:untrained", "run.dir={}/x"], "MODEL-18 .*for dnalm export"),
        (["push", "model={}/run:untrained", "repo=me/mine"], "MODEL-18 .*for dnalm push"),
        (["pretrain", "model={}/run:untrained", "run.dir={}/x"], "MODEL-18 .*for dnalm pretrain"),
        (["benchmark", "models=[cnn:untrained]"], "BENCH-03 models: cnn:untrained"),
        (["benchmark", "models=[tiny:untrained]"], "BENCH-03 models: tiny:untrained"),
        (
            [
                "finetune",
                "model={}/run:untrained",
                "task=demo_promoter",
                "run.dir={}/run",
                "run.replace=true",
            ],
            "CFG-55 run.dir",
        ),
        (
            ["embed", "model={}/run", "model.seed=3", "input={}/table.csv", "out=x.npy"],
            "untrained twins alone",
        ),
    ],
)
def test_what_has_no_twin_is_refused_in_a_sentence(
    words: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([word.format(folder) for word in words])
    assert ended.value.code not in (0, None)
    error = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in error

    assert re.search(said, error), error
