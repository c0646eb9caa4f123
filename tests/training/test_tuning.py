"""What of a network trains, an adapter that leaves no trace but in the weights, and weights of classes."""

from typing import Literal

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig
from sklearn.utils.class_weight import compute_class_weight

from dnalm.compose import build
from dnalm.errors import ConfigError
from dnalm.models import HeadShape, Packed, SequenceModel
from dnalm.models.encoder import SequenceHead
from dnalm.paths import config_folder
from dnalm.training import TrainerRecipe, Tuning
from dnalm.training.finetuning import Answers, merge
from dnalm.training.metrics import class_weights
from tests.models import zoo


def outputs(network: SequenceModel) -> torch.Tensor:
    ids = torch.arange(5, 12)
    used, owner = torch.arange(7), torch.tensor([0, 0, 0, 0, 1, 1, 1])
    with torch.inference_mode():
        told: torch.Tensor = network.eval()(ids, Packed.from_lengths([4, 3]), used, owner, 2, None)
    return told


def trained(network: SequenceModel) -> set[str]:
    return {name for name, weight in network.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("encoder", ["full", "frozen", "cached"])
def test_the_pretraining_head_never_trains_and_the_encoder_only_if_full(
    encoder: Literal["full", "frozen", "cached"],
) -> None:
    found = trained(Tuning(encoder=encoder).network(zoo.model("bert"), num_outputs=3))
    heads = {"head.dense.weight", "head.dense.bias", "head.output.weight", "head.output.bias"}
    assert found >= heads
    others = found - heads
    assert all(name.startswith("backbone.encoder.") for name in others)
    assert bool(others) == (encoder == "full")


def test_a_merged_adapter_leaves_a_plain_network_of_the_same_outputs() -> None:
    torch.manual_seed(0)
    lora = LoraConfig(r=4, lora_alpha=16, target_modules=["query", "value"])
    network = Tuning(adapter=lora).network(zoo.model("bert"), num_outputs=3)
    plain_names = {name for name, _ in zoo.model("bert").encoder.named_parameters()}
    assert all("lora_" in name or name.startswith("head.") for name in trained(network))
    for name, weight in network.named_parameters():
        if "lora_B" in name:  # begins at zero, so the adapter would change nothing
            torch.nn.init.normal_(weight, std=0.5)
    adapted = outputs(network)
    merge(network)
    assert {name for name, _ in network.encoder.named_parameters()} == plain_names
    torch.testing.assert_close(outputs(network), adapted, atol=1e-4, rtol=1e-4)
    fresh = Tuning().network(zoo.model("bert"), num_outputs=3)
    fresh.load_state_dict(network.state_dict())
    assert not torch.allclose(outputs(Tuning().network(zoo.model("bert"), num_outputs=3)), adapted, atol=1e-2)
    torch.testing.assert_close(outputs(fresh), adapted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["nt_v1", "nt_v2"])
def test_ia3_rescales_keys_values_and_the_inner_activations(architecture: str) -> None:
    """Liu et al. 2022: l_k and l_v on the outputs of their maps, l_ff on the input of the second map."""
    network = build(yaml.safe_load((config_folder() / "tuning/nt_ia3.yaml").read_text())).network(
        zoo.model(architecture), num_outputs=2
    )
    before = {name: weight.clone() for name, weight in zoo.model(architecture).encoder.named_parameters()}
    scales: dict[str, torch.Tensor] = {}
    for name, weight in network.encoder.named_parameters():
        if weight.requires_grad:
            torch.nn.init.uniform_(weight, 0.5, 1.5)
            scales[name.partition(".ia3_l")[0]] = weight.detach().flatten()
    sides = {"key": 0, "value": 0, "down": 1}  # of a weight, (out, in): its outputs or its inputs
    assert {name: len(scale) for name, scale in scales.items()} == {
        name.removesuffix(".weight"): weight.shape[sides[name.split(".")[-2]]]
        for name, weight in before.items()
        if name.endswith((".key.weight", ".value.weight", ".down.weight"))
    }
    adapted = outputs(network)
    merge(network)
    torch.testing.assert_close(outputs(network), adapted, atol=1e-5, rtol=1e-5)
    for name, weight in network.encoder.named_parameters():
        layer, _, kind = name.rpartition(".")
        scale = scales.get(layer, torch.ones(()))
        if layer.endswith("down"):
            expected = before[name] * (scale if kind == "weight" else 1)
        else:
            expected = before[name] * (scale[:, None] if kind == "weight" and scale.ndim else scale)
        torch.testing.assert_close(weight.detach(), expected)


def test_an_adapter_that_fits_no_layer_names_those_there_are() -> None:
    lora = LoraConfig(target_modules=["q_proj"])
    with pytest.raises(ConfigError, match=r"CFG-34 tuning\.adapter: .*q_proj.*key, .*query.*target_modules"):
        Tuning(adapter=lora).network(zoo.model("bert"), num_outputs=2)


def test_an_adapter_of_a_convolution_is_refused() -> None:
    lora = LoraConfig(target_modules=["convolution", "up"])
    with pytest.raises(
        ConfigError, match=r"CFG-34 .*convolution is not linear; .*down, key, output, query, up"
    ):
        Tuning(adapter=lora).network(zoo.model("dnalm"), num_outputs=2)
    linear = LoraConfig(target_modules=["query", "up"])
    adapted = trained(Tuning(adapter=linear).network(zoo.model("dnalm"), num_outputs=2))
    blocks = {name.split(".")[3] for name in adapted if "lora_" in name}
    assert blocks == {"0", "1", "2", "3", "4"}


def test_an_adapter_is_not_sharded() -> None:
    with pytest.raises(ConfigError, match=r"CFG-35 .*trainer\.strategy=ddp"):
        Tuning(adapter=LoraConfig(target_modules=["query"])).check(TrainerRecipe(strategy="fsdp"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoder": "cached", "pooling": "attention"}, "attention, which trains"),
        ({"encoder": "frozen", "adapter": object()}, "beside an encoder that does not train"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tuning(**arguments)  # type: ignore[arg-type]


@given(labels=st.lists(st.integers(0, 3), min_size=1))
def test_class_weights_are_those_of_scikit_learn_and_0_where_there_is_no_row(labels: list[int]) -> None:
    ours = class_weights(torch.tensor(labels), 5).numpy()
    there = np.unique(labels)
    theirs = compute_class_weight("balanced", classes=there, y=np.array(labels))
    np.testing.assert_allclose(ours[there], theirs, rtol=1e-6)
    assert not np.delete(ours, there).any()


def test_answers_come_in_the_order_of_the_rows_both_strands_averaged() -> None:
    answers = Answers()
    answers.append((2, 0, -1), torch.tensor([[4.0, 1.0], [1.0, 0.0], [99.0, 99.0]]))
    answers.append((1, 2), torch.tensor([[7.0, 7.0], [2.0, 3.0]]))
    assert answers.over_ranks(3).tolist() == [[1.0, 0.0], [7.0, 7.0], [3.0, 2.0]]


def test_the_head_zeroes_inputs_of_its_last_layer_alone_as_the_published_classifiers_do() -> None:
    """BertForSequenceClassification and DNABERT-2's: pooler (dense, tanh), dropout, classifier."""
    head = SequenceHead(HeadShape(num_outputs=2, dropout=0.5), hidden_size=64, initializer_range=0.02).train()
    assert head.dense is not None
    seen: dict[str, torch.Tensor] = {}
    head.dense.register_forward_pre_hook(lambda _, inputs: seen.update(dense=inputs[0]))
    head.output.register_forward_pre_hook(lambda _, inputs: seen.update(output=inputs[0]))
    pooled = torch.ones(8, 64)
    head(pooled)
    assert torch.equal(seen["dense"], pooled)
    assert 0.3 < (seen["output"] == 0).float().mean() < 0.7


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 1.5])
def test_a_dropout_that_is_no_share_is_refused_before_the_run(dropout: float) -> None:
    with pytest.raises(ValueError, match=rf"dropout is {dropout}; a share lies in \[0, 1\), such as 0.1"):
        Tuning(dropout=dropout)
