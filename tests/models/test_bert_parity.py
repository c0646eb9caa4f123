"""Our masked LM is BERT: the independent implementation gives the same logits and gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- its usual name
from transformers import BertForMaskedLM

from dnalm.models import MaskedLM, Packed, load_pretrained
from dnalm.models.families import BERT
from dnalm.models.packing import KernelName

MAX_POSITIONS = 16  # of the stock model
CASES = {
    "padded batch": [MAX_POSITIONS, 3, 7, 7],
    "single token": [1],
    "single tokens": [1, 1, 1],
    "maximum length": [MAX_POSITIONS, MAX_POSITIONS],
}
EVERY_CASE = pytest.mark.parametrize("lengths", CASES.values(), ids=CASES.keys())
EVERY_KERNEL = pytest.mark.parametrize("kernel", ["eager", "sdpa"])


def _stock_logits(stock: BertForMaskedLM, ids: Tensor, lengths: list[int]) -> Tensor:
    """Logits of the real tokens, end to end, from a right-padded batch."""
    padded = torch.nn.utils.rnn.pad_sequence(ids.split(lengths), batch_first=True)
    real = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    logits: Tensor = stock(input_ids=padded, attention_mask=real.long()).logits
    return logits[real]


@EVERY_KERNEL
@EVERY_CASE
def test_logits_equal_the_stock_ones(
    kernel: KernelName,
    lengths: list[int],
    stock: BertForMaskedLM,
    stock_folder: Path,
    random_ids: Callable[[int], Tensor],
) -> None:
    model, ids = load_pretrained(stock_folder, kernel=kernel).eval(), random_ids(sum(lengths))
    with torch.no_grad():
        ours = model(ids, Packed.from_lengths(lengths), torch.arange(len(ids)))
        theirs = _stock_logits(stock, ids, lengths)
    assert theirs.std() > 0.5
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@EVERY_KERNEL
def test_every_gradient_equals_the_stock_one(
    kernel: KernelName, stock: BertForMaskedLM, stock_folder: Path, random_ids: Callable[[int], Tensor]
) -> None:
    lengths = CASES["padded batch"]
    model, ids = load_pretrained(stock_folder, kernel=kernel).double(), random_ids(sum(lengths))
    labels, masked = random_ids(9), torch.arange(0, 27, 3)
    F.cross_entropy(model(ids, Packed.from_lengths(lengths), masked), labels).backward()
    reference = BertForMaskedLM(stock.config).double()
    reference.load_state_dict(stock.state_dict())
    F.cross_entropy(_stock_logits(reference, ids, lengths)[masked], labels).backward()
    expected = {name: parameter.grad for name, parameter in reference.named_parameters()}
    for name, parameter in model.named_parameters():
        ours, theirs = parameter.grad, expected.pop(BERT.name_of(name))
        assert ours is not None
        assert theirs is not None
        # A key's bias moves all scores of a row alike, so its gradient is 0 but for rounding.
        assert (ours - theirs).norm() <= 1e-5 * theirs.norm() + 1e-14, name
    assert not expected


def test_the_head_on_masked_positions_is_the_head_everywhere_then_selected(stock_folder: Path) -> None:
    model, ids = load_pretrained(stock_folder).eval(), torch.arange(1, 13)
    packed, masked = Packed.from_lengths([7, 5]), torch.tensor([0, 4, 11])
    everywhere = model(ids, packed, torch.arange(12))
    torch.testing.assert_close(model(ids, packed, masked), everywhere[masked], atol=1e-5, rtol=0)


def test_no_masked_position_gives_no_logits(stock_folder: Path) -> None:
    model: MaskedLM = load_pretrained(stock_folder)
    logits = model(torch.arange(1, 4), Packed.from_lengths([3]), torch.empty(0, dtype=torch.int64))
    assert logits.shape == (0, 37)
    logits.sum().backward()
