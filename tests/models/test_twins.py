"""An untrained twin has the bits that its model had before the first step, in every process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dnalm.errors import CheckpointError
from dnalm.models import (
    Encoder,
    Initialisation,
    MaskedLM,
    Pretrained,
    has_weights,
    inform_embeddings,
    load_pretrained,
    save_pretrained,
)
from dnalm.models.initialisation import EmbeddingInit, read_initialisation
from dnalm.tokenizers import KmerTokenizer
from dnalm.training import write_model_directory
from tests.models import zoo

TOKENIZER = KmerTokenizer(k=3)
SEED = 11


def begun(architecture: str, embeddings: EmbeddingInit, seed: int = SEED) -> MaskedLM:
    """A network as `dnalm pretrain` makes it."""
    torch.manual_seed(seed)
    special = TOKENIZER.special
    changes = {
        "vocab_size": TOKENIZER.vocab_size,
        "padding_id": special.padding,
        "mask_id": special.mask,
        "initializer_range": 0.06,
        "dropout": 0.1,
    }
    network = MaskedLM(Encoder(**zoo.arguments(architecture, **changes)))  # type: ignore[arg-type]
    if embeddings == "informed":
        inform_embeddings(network, TOKENIZER.token_bases)
    return network


def trained(folder: Path, architecture: str = "bert", embeddings: EmbeddingInit = "informed") -> MaskedLM:
    """Leave a model that began so, and was trained; returns it as it began."""
    network, model = begun(architecture, embeddings), begun(architecture, embeddings)
    zoo.randomize(model)
    write_model_directory(
        folder,
        model=model,
        weights=model.state_dict(),
        tokenizer=TOKENIZER,
        config={},
        data_fingerprint="abc",
        precision="32-true",
        steps=9,
        window_tokens=14,
        began=Initialisation(embeddings=embeddings, seed=SEED),
    )
    return network


def bits(model: MaskedLM) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}


def twin(folder: Path, seed: int | None = None) -> MaskedLM:
    source = Pretrained(source=f"{folder}:untrained", seed=seed)
    return source.load(token_bases=TOKENIZER.token_bases)


@pytest.mark.parametrize("embeddings", ["normal", "informed"])
@pytest.mark.parametrize("architecture", zoo.ARCHITECTURES)
def test_a_twin_of_the_runs_own_seed_is_what_it_began_with(
    architecture: str, embeddings: EmbeddingInit, tmp_path: Path
) -> None:
    expected = trained(tmp_path, architecture, embeddings)
    found = twin(tmp_path)
    assert bits(found) == bits(expected)
    assert bits(found) != bits(load_pretrained(tmp_path))
    assert found.encoder.window_tokens == 14


def test_another_seed_draws_what_a_run_of_that_seed_begins_with(tmp_path: Path) -> None:
    trained(tmp_path)
    assert bits(twin(tmp_path, 5)) == bits(begun("bert", "informed", 5))
    assert bits(twin(tmp_path, 5)) != bits(twin(tmp_path))


def test_two_processes_draw_the_same_bits(tmp_path: Path) -> None:
    trained(tmp_path)
    code = (
        "import sys, torch; from dnalm.models import Pretrained; from dnalm.tokenizers import KmerTokenizer\n"
        "from dnalm.training.finetuning import weights_checksum\n"
        "torch.manual_seed(int(sys.argv[2])); torch.randn(3)\n"
        "source = Pretrained(source=sys.argv[1], seed=3)\n"
        "print(weights_checksum(source.load(token_bases=KmerTokenizer(k=3).token_bases)))"
    )
    line = [sys.executable, "-c", code, f"{tmp_path}:untrained"]
    found = {subprocess.run([*line, n], capture_output=True, text=True, check=True).stdout for n in "12"}
    assert len(found) == 1


def test_drawing_leaves_the_generator_as_it_was(tmp_path: Path) -> None:
    trained(tmp_path)
    before = torch.get_rng_state()
    twin(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_published_model_has_the_plain_initialisation_and_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_pretrained(begun("nt_v2", "informed", 2), tmp_path)
    TOKENIZER.save(tmp_path)
    assert bits(twin(tmp_path, 7)) == bits(begun("nt_v2", "normal", 7))
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "(seed 7): no step trained, normal embeddings, the plain initialisation of its architecture" in said
    )
    assert bits(twin(tmp_path)) == bits(begun("nt_v2", "normal", 1))


def test_a_run_of_ours_is_drawn_as_its_training_began(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(tmp_path)
    twin(tmp_path)
    said = " ".join(capsys.readouterr().err.split())
    assert f"(seed {SEED}): no step trained, informed embeddings, as its training began" in said


def test_a_twin_is_no_older_models(tmp_path: Path) -> None:
    """What says nothing of its beginning but was written by dnalm may have begun informed."""
    trained(tmp_path)
    path = tmp_path / "dnalm.yaml"
    path.write_text("steps: 3\n")
    assert read_initialisation(tmp_path) is None
    with pytest.raises(CheckpointError, match=r"MODEL-17 .*no `initialisation` in dnalm\.yaml"):
        twin(tmp_path)


@pytest.mark.parametrize("entry", ["embeddings: clever", "seed: -1", "seed: [1]", "seed: 1.5"])
def test_an_impossible_beginning_is_named(entry: str, tmp_path: Path) -> None:
    trained(tmp_path)
    (tmp_path / "dnalm.yaml").write_text(f"initialisation: {{{entry}}}\n")
    with pytest.raises(CheckpointError, match=f"CKPT-05 .*initialisation.{entry.partition(':')[0]} is"):
        twin(tmp_path)


def test_a_twin_of_what_cannot_be_read_is_refused_as_that_is(tmp_path: Path) -> None:
    trained(tmp_path)
    (tmp_path / "dnalm.yaml").unlink()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"MODEL-10 .*no model_type"):
        twin(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json"):
        twin(tmp_path)
    (tmp_path / "tokenizer").mkdir()
    TOKENIZER.save(tmp_path / "tokenizer")
    assert not has_weights(tmp_path / "tokenizer")
    with pytest.raises(CheckpointError, match=r"CKPT-04 .*config\.json"):
        twin(tmp_path / "tokenizer")


def test_a_misspelt_ending_is_answered(tmp_path: Path) -> None:
    trained(tmp_path / "demo")
    for name in (f"{tmp_path}/demo", "owner/name"):
        with pytest.raises(CheckpointError, match=f"CKPT-04 .*did you mean {name} or {name}:untrained"):
            Pretrained(source=f"{name}:untraned").folder()


def test_a_folder_whose_name_ends_so_takes_a_slash(tmp_path: Path) -> None:
    trained(tmp_path / "demo:untrained")
    source = f"{tmp_path}/demo:untrained/"
    assert not Pretrained(source=source).is_twin
    assert Pretrained(source=source).folder().is_dir()
    with pytest.raises(CheckpointError, match="no such folder"):
        Pretrained(source=source[:-1]).folder()


def test_a_trained_model_has_no_seed() -> None:
    with pytest.raises(ValueError, match="untrained twins alone: runs/x:untrained"):
        Pretrained(source="runs/x", seed=3)
