"""A model is opened one way, and a queue gives each request what it gets alone."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from dnalm.errors import ConfigError
from dnalm.evaluation.inference import Floats, InferenceQueue, LoadedModel, Precision, Quantity
from dnalm.models import Pretrained
from tests.evaluation.embedding.models import loaded, save, sequences, tiny


def test_a_model_directory_is_opened_in_evaluation_mode(tmp_path: Path) -> None:
    model = LoadedModel.open(Pretrained(source=str(save("kmer", tmp_path))), device="cpu")
    assert not model.network.training
    assert (model.device.type, model.finetuned) == ("cpu", None)
    assert model.tokenizer.fingerprint == tiny("kmer")[1].fingerprint


def test_a_gpu_that_is_not_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"CFG-51 device: no CUDA device; one. Fix: set device=cpu"):
        LoadedModel.open(Pretrained(source=str(save("kmer", tmp_path))), device="cuda")


@pytest.mark.parametrize("quantity", ["token_log_p", "base_log_p", "hidden_states"])
def test_each_request_gets_what_it_gets_alone_and_equal_ones_are_computed_once(quantity: Quantity) -> None:
    model = loaded(*tiny("kmer"))
    texts = [model.tokenizer.encode(codes) for codes in sequences(20, 9, 20, 14)]

    def run(chosen: list[int], batch_tokens: int) -> list[Floats]:
        queue = InferenceQueue(model, batch_tokens=batch_tokens, layers=[0, 2])
        found: dict[int, Floats] = {}
        for place, index in enumerate(chosen):
            tokens = np.array([1, 3]) if quantity != "hidden_states" else np.zeros(0, dtype=np.int64)
            queue.submit(
                quantity,
                texts[index],
                lambda values, place=place: found.update({place: values}),
                tokens=tokens,
            )
        assert len(queue) == len(set(chosen))
        queue.run()
        assert not len(queue)
        return [found[place] for place in range(len(chosen))]

    together = run([0, 1, 2, 1, 3], 1000)
    np.testing.assert_array_equal(together[1], together[3])
    for values, index in zip(together, [0, 1, 2, 1, 3], strict=True):
        np.testing.assert_allclose(values, run([index], 1)[0], atol=1e-5)


@pytest.mark.parametrize("name", ["kmer", "six_mer", "bpe"])
def test_half_the_width_is_off_by_its_rounding(name: str) -> None:
    """Products have 8 significant bits, and states that are normalised elements about 1.

    Each of the two blocks rounds the inputs and outputs of six products, and errors of this kind add up like
    a random walk: sqrt(24) of at most 2^-9 each is 0.01, taken five-fold.
    """
    network, tokenizer = tiny(name)
    ids = tokenizer.encode(sequences(18)[0])
    found: dict[str, Floats] = {}
    for precision in get_args(Precision):
        model = LoadedModel(network=network, tokenizer=tokenizer, precision=precision)
        queue = InferenceQueue(model, batch_tokens=64, layers=[2])
        queue.submit("hidden_states", ids, lambda values, key=precision: found.update({key: values}))
        queue.run()
    assert {values.dtype for values in found.values()} == {np.dtype("float32")}
    off = {name: np.abs(found[name] - found["float32"]).max() for name in found}
    assert 0 < off["float16"] < off["bfloat16"] < 0.05
