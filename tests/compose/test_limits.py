"""Every whole number of a component has an upper bound, or a reason to have none in its type."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

import pytest

from dnalm.compose import read_config
from dnalm.compose.check import check, parameters_of
from dnalm.compose.targets import _OURS, ROOTS, resolve
from dnalm.errors import ConfigError

_MODEL = "held against the layers of the model"
_NEVER = "beyond the end of the run it means never, or all"
_FILLED = "given by the run, not by the config"
_ITSELF = "the component names its own range"
REASONS = {
    "benchmark.labels": "held against the rows of each task",
    "clusters.layer": _MODEL,
    "embed.layer": _MODEL,
    "score.layers": _MODEL,
    "train_tokenizer.vocab_size": "BpeRecipe judges it",
    "BpeRecipe.vocab_size": _ITSELF,
    "BpeRecipe.piece_bp": "longer than a contig it is the contig",
    "BpeRecipe.sample_bp": "more than the genome is the genome",
    "Encoder.mask_id": _FILLED,
    "Encoder.padding_id": _FILLED,
    "Encoder.vocab_size": _FILLED,
    "GenomeRecipe.num_bytes": "the size of a file, which is compared",
    "InverseSquareRoot.total_steps": _FILLED,
    "InverseSquareRoot.warmup_steps": "held against the steps of the run",
    "KmerLogistic.k": _ITSELF,
    "KmerTokenizer.k": _ITSELF,
    "LinearWarmupDecay.total_steps": _FILLED,
    "LinearWarmupDecay.warmup_steps": "held against the steps of the run",
    "LogoTokenizer.k": _ITSELF,
    "Masking.final_from": _NEVER,
    "NextKmer.k": _ITSELF,
    "OptunaSearch.num_random": _NEVER,
    "RegionClasses.promoter_downstream": "ends with its contig",
    "RegionClasses.promoter_upstream": "ends with its contig",
    "SmallCnn.patience": _NEVER,
    "SplitByFraction.gap": "ends with its contig",
    "SplitByRegion.gap": "ends with its contig",
    "Task.labels": "held against the rows of the table",
    "Task.fold": "below folds, which has a bound",
    "TrainerRecipe.checkpoint_every": _NEVER,
    "TrainerRecipe.keep_best": _NEVER,
    "TrainerRecipe.keep_checkpoints": _NEVER,
    "TrainerRecipe.keep_every": _NEVER,
    "TrainerRecipe.log_every": _NEVER,
    "TrainerRecipe.max_skipped": _NEVER,
    "TrainerRecipe.validate_every": _NEVER,
    "Tuning.layer": _MODEL,
    "Tuning.patience": _NEVER,
    "WarmupCosine.total_steps": _FILLED,
    "WarmupCosine.warmup_steps": "held against the steps of the run",
    "WarmupStableDecay.decay_steps": "held against the steps of the run",
    "WarmupStableDecay.total_steps": _FILLED,
    "WarmupStableDecay.warmup_steps": "held against the steps of the run",
    "WindowRecipe.max_unknown": "more than the window has means all of them",
    "WindowRecipe.min_tokens": "at most max_tokens, which has a bound",
    "PlanCommand.gpu": "a name, of digits too, that is looked up",
    "list_models.gpu": "a name, of digits too, that is looked up",
    "SlurmLauncher.options": "words for sbatch, which judges them",
    "load_tokenizer.merges": "held against those of the file",
}


def numbers_of(annotation: Any, marks: tuple[object, ...] = ()) -> Iterator[bool]:  # noqa: ANN401
    """Of every int in an annotation, whether an upper bound stands beside it."""
    if typing.get_origin(annotation) is typing.Annotated:
        inner, *own = typing.get_args(annotation)
        yield from numbers_of(inner, (*marks, *own))
    elif annotation is int:
        yield any("Le(" in repr(mark) or "Lt(" in repr(mark) for mark in marks)
    elif typing.get_origin(annotation) is not typing.Literal:
        for part in typing.get_args(annotation):
            yield from numbers_of(part)


def unbounded() -> set[str]:
    found = set()
    for command, target in [*ROOTS.items(), *((None, target) for target in _OURS)]:
        resolved = resolve(target, key="" if command else "a", command=command)
        for name, parameter in parameters_of(resolved).items():
            if not all(numbers_of(parameter.annotation)):
                found.add(f"{target.rpartition('.')[2]}.{name}")
    return found


def test_every_whole_number_has_an_upper_bound_or_a_reason() -> None:
    found = {name for name in unbounded() if not name.startswith("Clade.")}  # its settings.py has a table
    assert found == REASONS.keys()


WHOLE = {
    "pretrain": [],
    "finetune": ["model=tiny", "task=demo_promoter"],
    "baseline": ["task=demo_promoter", "baseline=cnn"],
    "benchmark": ["models=[tiny]"],
    "prepare": ["data=demo"],
    "tokenizer select": ["data=demo"],
}


@pytest.mark.parametrize(
    ("command", "word", "said"),
    [
        ("pretrain", "windows.max_tokens=1", "CFG-04 windows.max_tokens: 1; int (input should be greater"),
        ("pretrain", "windows.max_tokens=100000000", "CFG-04 windows.max_tokens: 100000000; int (input"),
        ("pretrain", "steps=10000000000", "CFG-04 steps: 10000000000; int (input should be less than"),
        ("pretrain", "seed=4294967296", "CFG-04 seed: 4294967296; int (input should be less than or equal"),
        (
            "pretrain",
            "seed=-1",
            "CFG-04 seed: -1; int (input should be greater than or equal to 0). Fix: ",
        ),
        ("pretrain", "model.num_layers=100000000", "CFG-04 model.num_layers: 100000000; int (input"),
        ("pretrain", "model.max_positions=100000000", "CFG-04 model.max_positions: 100000000; int (input"),
        ("pretrain", "trainer.devices=100000", "CFG-04 trainer.devices: 100000; int"),
        ("pretrain", "trainer.num_nodes=100000", "CFG-04 trainer.num_nodes: 100000; int"),
        ("baseline", "baseline.filters=100000000", "CFG-04 baseline.filters: 100000000; int"),
        ("baseline", "baseline.batch=100000000", "CFG-04 baseline.batch: 100000000; int"),
        ("benchmark", "seeds=100000000", "CFG-04 seeds: 100000000; int"),
        ("benchmark", "models=[]", "CFG-04 models: []; "),
        ("benchmark", "tasks=[]", "CFG-04 tasks: []; "),
        ("tokenizer select", "merges=[100,200,100]", "CFG-05 merges: 100: given twice; each once."),
        ("tokenizer select", "kmers=[4,4]", "CFG-05 kmers: 4: given twice; each once."),
        ("tokenizer select", "ks=[2,3,2]", "CFG-05 ks: 2: given twice; each once."),
        ("tokenizer select", "kmers=[9]", "CFG-04 kmers"),
        ("prepare", "parts=100000000", "CFG-04 parts: 100000000; int"),
    ],
)
def test_what_no_machine_or_genome_has_is_refused(command: str, word: str, said: str) -> None:
    whole = [other for other in WHOLE[command] if other.partition("=")[0] != word.partition("=")[0]]
    config = read_config(command.replace(" ", "_"), [*whole, word])
    with pytest.raises(ConfigError) as caught:
        check(config, given=frozenset({"config"}), command=command)
    assert str(caught.value).startswith(said)


def test_models_and_tasks_given_twice_are_refused() -> None:
    for words in (["models=[tiny,cnn,tiny]"], ["models=[tiny]", "tasks=[a,a]"]):
        with pytest.raises(ConfigError, match=r"CFG-05 (models|tasks): (tiny|a): given twice"):
            read_config("benchmark", words)


@pytest.mark.parametrize(
    "word", ["optim.lr=inf", "optim.lr=nan", "optim.weight_decay=-inf", "schedule.floor=nan"]
)
def test_a_number_is_finite(word: str) -> None:
    key = word.partition("=")[0]
    with pytest.raises(
        ConfigError, match=rf"CFG-04 {key}: (inf|nan|-inf); .*finite number.*such as {key}=0\.001"
    ):
        check(read_config("pretrain", [word]), given=frozenset({"config"}), command="pretrain")
