"""Every experiment is its published model: sizes, and recipes by the arithmetic that their papers give."""

import inspect
from typing import Any

import pytest
import torch

from dnalm.compose import build, read_config
from dnalm.compose.groups import options
from dnalm.models import Encoder, MaskedLM, count_parameters
from dnalm.tokenizers import BpeRecipe, Tokenizer
from tests.models.test_parameter_count import PUBLISHED

# The published model of each experiment, whose total tests/models/test_parameter_count.py takes apart.
MODELS = {
    "dnabert": "DNABERT-6", "dnabert_k5": "DNABERT-5", "dnabert_k4": "DNABERT-4", "dnabert_k3": "DNABERT-3",
    "dnabert2": "DNABERT-2", "grover": "GROVER",
    "nt_v1_500m": "NT 500M", "nt_v1_2b5": "NT 2.5B", "nt_v2_50m": "NT v2 50M", "nt_v2_100m": "NT v2 100M",
    "nt_v2_250m": "NT v2 250M", "nt_v2_500m": "NT v2 500M",
}  # fmt: skip
NT = [name for name in MODELS if name.startswith("nt_")]


def composed(experiment: str) -> dict[str, Any]:
    return read_config("pretrain", [f"experiment={experiment}"])


def vocabulary(config: dict[str, Any]) -> int:
    tokenizer: Tokenizer | BpeRecipe = build(config["tokenizer"])
    return tokenizer.vocab_size


def schedule(config: dict[str, Any]) -> Any:  # noqa: ANN401
    return build(config["schedule"])(total_steps=config["steps"])


def test_every_experiment_is_tested() -> None:
    assert set(options("experiment")) == {*MODELS, "dnalm", "logo", "logo_multitask", "logo_knowledge"}


@pytest.mark.parametrize("experiment", options("experiment"))
def test_the_count_from_the_config_is_that_of_the_model_and_of_the_published_one(experiment: str) -> None:
    config = composed(experiment)
    node = {name: value for name, value in config["model"].items() if not name.startswith("_")}
    counted = count_parameters({**node, "vocab_size": vocabulary(config), "mask_id": 2})
    with torch.device("meta"):
        encoder = build(config["model"])(vocab_size=vocabulary(config), padding_id=1, mask_id=2)
        built = sum(parameter.numel() for parameter in MaskedLM(encoder).parameters())
    assert built == counted
    if experiment.startswith("logo"):
        assert round(counted / 1e6, 2) == 1.33  # "about 1 M", with shared layers and k = 5
    elif (
        experiment == "dnalm"
    ):  # our own: weights of six convolutional blocks, eight of attention, and a head
        matrices = 6 * 9 * 768**2 + 8 * 4 * 768**2 + 14 * 2 * 768 * 3072 + 768**2
        assert counted == pytest.approx(matrices, rel=0.002)
    else:
        published = PUBLISHED[MODELS[experiment]]
        assert counted == published.total - published.not_ours


@pytest.mark.parametrize("experiment", options("experiment"))
def test_windows_fit_the_positions_and_batches_divide(experiment: str) -> None:
    config = composed(experiment)
    tokenizer = build(config["tokenizer"])
    wrapping = 2 if isinstance(tokenizer, BpeRecipe) else tokenizer.special.num_wrapping
    encoder = build(config["model"])
    with torch.device("meta"):
        limit = encoder(vocab_size=9, padding_id=1, mask_id=2).longest_sequence
    assert limit is None or config["windows"]["max_tokens"] + wrapping <= limit
    batch = build(config["batch"])
    assert batch.accumulation(world_size=1) * batch.micro_size == batch.global_size


@pytest.mark.parametrize(
    ("experiment", "tokens"),
    [
        ("nt_v1_500m", 50e9), ("nt_v1_2b5", 300e9), ("nt_v2_50m", 300e9), ("nt_v2_100m", 300e9),
        ("nt_v2_250m", 800e9), ("nt_v2_500m", 900e9),
    ],
)  # fmt: skip
def test_nucleotide_transformers_see_as_many_tokens_as_published(experiment: str, tokens: float) -> None:
    config = composed(experiment)
    length = config["windows"]["max_tokens"] + 1  # with <cls>
    per_step = config["batch"]["global_size"] * length
    assert per_step == pytest.approx(1e6, rel=0.05)
    assert config["steps"] * per_step == pytest.approx(tokens, abs=per_step)


@pytest.mark.parametrize("experiment", NT)
def test_nucleotide_transformers_warm_up_from_half_the_peak(experiment: str) -> None:
    config = composed(experiment)
    rate = config["optim"]["lr"]
    factor = schedule(config)
    assert [rate * factor(step) for step in (0, 16_000)] == [5e-5, 1e-4]
    assert rate * factor(64_000) == pytest.approx(5e-5)  # 1 / sqrt(4)


@pytest.mark.parametrize(("experiment", "bases"), [("nt_v1_500m", 5994), ("nt_v2_500m", 12_282)])
def test_nucleotide_transformer_windows_are_as_long_as_published(experiment: str, bases: int) -> None:
    config = composed(experiment)
    windows = build(config["windows"])
    assert windows.bases(windows.max_tokens, build(config["tokenizer"])) == bases
    assert windows.shortest == windows.max_tokens


def test_dnabert2_reads_700_bases_and_decays_as_mosaic_does() -> None:
    config = composed("dnabert2")
    windows = build(config["windows"])
    assert windows.bases(windows.max_tokens, None) == 700
    assert windows.max_tokens + 2 == 128
    assert config["optim"]["weight_decay"] * config["optim"]["lr"] == pytest.approx(1e-5)
    assert config["schedule"]["warmup_steps"] / config["steps"] == 0.06
    assert schedule(config)(config["steps"]) == 0.02


def test_logo_peaks_as_noams_schedule_and_hides_what_thirty_draws_hide() -> None:
    config = composed("logo")
    assert config["optim"]["lr"] == pytest.approx(256**-0.5 * 2500**-0.5)
    assert config["masking"]["rate"] == pytest.approx(1 - (1 - 1 / 200) ** 30, abs=5e-4)
    assert build(config["windows"]).bases(200, build(config["tokenizer"])) == 1000
    assert vocabulary(config) == 5**5 + 13


def test_grover_has_its_vocabulary_and_window() -> None:
    config = composed("grover")
    assert vocabulary(config) == 5 + 4 + 600 == 609
    windows = build(config["windows"])
    assert (windows.shortest, windows.max_tokens, windows.full_share) == (20, 510, 0.5)


def test_dnalm_has_sizes_of_its_own_and_the_command_line_wins_over_them() -> None:
    full, tiny, small = (
        read_config("pretrain", ["experiment=dnalm", f"size={size}"]) for size in ("full", "tiny", "small")
    )
    assert full["model"]["conv_dilations"] == [1, 2, 4, 8, 16, 32]
    assert tiny["model"]["conv_dilations"] == [1, 2, 4, 8]
    assert [each["windows"]["max_tokens"] for each in (full, tiny, small)] == [8190, 254, 510]
    for command in ("pretrain", "doctor", "plan"):
        narrow = read_config(command, ["experiment=dnalm", "size=tiny", "model.hidden_size=64"])["model"]
        assert (narrow["hidden_size"], narrow["intermediate_size"]) == (64, 192)
    others = read_config("pretrain", ["experiment=dnabert", "size=tiny"])
    assert others["windows"]["max_tokens"] == 62


def test_dnalm_sees_505_bases_before_attention() -> None:
    model = composed("dnalm")["model"]
    width = inspect.signature(Encoder).parameters["conv_width"].default
    assert 1 + (width - 1) * sum(model["conv_dilations"]) == 505
