"""Pooling over packed tokens is what numpy makes of each sequence by itself."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dnalm.models.layers import Pooling, PoolingName

DIM = 5


@st.composite
def packed(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Hidden states, which are pooled, whose they are, how many sequences; each has one that is pooled."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    owner = np.repeat(np.arange(len(lengths)), lengths)
    used = np.array(draw(st.lists(st.booleans(), min_size=len(owner), max_size=len(owner))))
    used[np.cumsum([0, *lengths[:-1]])] = True
    seed = draw(st.integers(0, 2**31))
    hidden = np.random.default_rng(seed).normal(size=(len(owner), DIM)).astype(np.float32)
    return torch.from_numpy(hidden), torch.from_numpy(used), torch.from_numpy(owner), len(lengths)


def by_sequence(kind: PoolingName, pooling: Pooling, tokens: np.ndarray) -> np.ndarray:
    if kind == "max":
        return np.asarray(tokens.max(axis=0))
    if pooling.score is None:
        return np.asarray(tokens.mean(axis=0))
    score = tokens @ pooling.score.weight.detach().numpy()[0] + pooling.score.bias.item()
    weight = np.exp(score - score.max())
    return np.asarray(weight @ tokens / weight.sum())


@pytest.mark.parametrize("kind", ["mean", "max", "attention", "cls"])
@given(batch=packed())
def test_each_sequence_is_pooled_by_itself(
    kind: PoolingName, batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]
) -> None:
    hidden, used, owner, number = batch
    torch.manual_seed(0)
    pooling = Pooling(kind, hidden_size=DIM)
    ours = pooling(hidden, used.nonzero().squeeze(1), owner, number).detach().numpy()
    for sequence in range(number):
        tokens = hidden[used & (owner == sequence)].numpy()
        np.testing.assert_allclose(ours[sequence], by_sequence(kind, pooling, tokens), atol=1e-5)


def test_attention_begins_as_the_mean_and_bears_large_scores() -> None:
    pooling = Pooling("attention", hidden_size=2)
    pooling.reset_parameters()
    hidden, every = torch.tensor([[1.0, 0.0], [3.0, 1.0], [7.0, 7.0]]), torch.arange(3)
    owner = torch.tensor([0, 0, 1])
    assert pooling(hidden, every, owner, 2).tolist() == [[2.0, 0.5], [7.0, 7.0]]
    assert pooling.score is not None
    torch.nn.init.constant_(pooling.score.weight, 1e4)
    assert pooling(hidden, every, owner, 2).tolist() == [[3.0, 1.0], [7.0, 7.0]]
