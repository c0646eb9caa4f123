"""A tiny BERT with weights large enough that every part of it matters to the output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

MAX_POSITIONS = 16


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def stock() -> BertForMaskedLM:
    """The independent BERT: no dropout, all weights random, biases and norms too."""
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=37,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=MAX_POSITIONS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
    )
    model = BertForMaskedLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.3)
            if name.endswith("LayerNorm.weight"):
                parameter.add_(1.0)
    return model


@pytest.fixture(scope="session")
def stock_folder(stock: BertForMaskedLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The independent BERT as `transformers` writes it."""
    folder = tmp_path_factory.mktemp("stock")
    stock.save_pretrained(folder)
    return folder


@pytest.fixture
def random_ids() -> Callable[[int], torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return lambda count: torch.randint(1, 37, (count,), generator=generator)
