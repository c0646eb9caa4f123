"""conf/model: every architecture composes at every size, and states only what differs from BERT."""

from __future__ import annotations

import inspect
import itertools

import pytest

from dnalm.compose import read_config
from dnalm.compose.check import check
from dnalm.models import Encoder
from tests.models import zoo

FILES = sorted(path.stem for path in zoo.CONF.glob("*.yaml"))
SIZED = [name for name in FILES if name.startswith(("nt_v1_", "nt_v2_"))]  # an architecture and its sizes
UNTRAINED = "tiny"  # no architecture of its own: BERT at a size
MODELS = [name for name in FILES if name not in [*SIZED, "files", "several", UNTRAINED]]
SIZES = sorted(path.stem for path in (zoo.CONF.parent / "size").glob("*.yaml"))


def test_every_architecture_is_tested() -> None:
    assert set(MODELS) == set(zoo.ARCHITECTURES) - set(zoo.VARIANTS)


@pytest.mark.parametrize(("name", "size"), list(itertools.product(MODELS, SIZES)))
def test_every_model_composes_at_every_size(name: str, size: str) -> None:
    config = read_config("pretrain", [f"model={name}", f"size={size}"])
    check(config, given=frozenset({"config"}), command="pretrain")
    for argument, value in zoo.switches(name).items():
        if argument not in ("hidden_size", "num_layers", "num_heads", "intermediate_size"):
            assert config["model"][argument] == value


def test_a_model_that_has_learned_nothing_is_bert_at_the_tiny_size() -> None:
    words = ["task=demo_promoter", "model=tiny"]
    config = read_config("finetune", words)
    check(config, given=frozenset({"config"}), command="finetune")
    assert config["model"] == read_config("pretrain", ["model=bert", "size=tiny", "data=demo"])["model"]


@pytest.mark.parametrize("name", [*MODELS, *SIZED, UNTRAINED])
def test_no_default_is_restated(name: str) -> None:
    parameters = inspect.signature(Encoder).parameters
    for argument, value in zoo.switches(name).items():
        if argument == "defaults":
            continue
        assert value != parameters[argument].default, argument


@pytest.mark.parametrize("name", [*MODELS, *SIZED, UNTRAINED])
def test_every_number_has_its_source(name: str) -> None:
    for line in (zoo.CONF / f"{name}.yaml").read_text().splitlines():
        if ":" in line and not line.startswith(("#", "_", "defaults")):
            assert "# " in line, line
