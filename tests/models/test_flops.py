"""Operations are those that torch counts, of every architecture."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dnalm.models import Encoder, MaskedLM, Packed
from dnalm.models.flops import count_flops
from dnalm.models.layers import summed_loss
from tests.models import zoo

LENGTHS = [64, 64, 50, 20]
PREDICTED = [1, 5, 40, 80, 120]


def counted_by_torch(
    name: str, lengths: list[int], *, backward: bool, **changes: object
) -> tuple[Encoder, int]:
    """Of an eager run, where no fused kernel hides a product; `pad` makes rectangles of the sequences."""
    model: MaskedLM = zoo.model(name, kernel="eager", max_positions=64, **changes)
    packed, ids = Packed.from_lengths(lengths), zoo.random_ids(sum(lengths))
    masked = torch.tensor(PREDICTED)
    with FlopCounterMode(display=False) as counter:
        logits = model(ids, packed, masked)
        if backward:
            logits.sum().backward()
    return model.encoder, counter.get_total_flops()


@pytest.mark.parametrize("name", zoo.ARCHITECTURES)
@pytest.mark.parametrize("backward", [False, True])
def test_operations_are_within_two_percent_of_those_that_torch_counts(name: str, backward: bool) -> None:
    encoder, expected = counted_by_torch(name, [64, 64], backward=backward)
    found = count_flops(encoder, tokens=128, pairs=2 * 64**2, predicted=len(PREDICTED))
    flops = found.training if backward else found.forward
    assert flops == pytest.approx(expected, rel=0.02)


def test_of_unequal_lengths_each_is_counted_by_its_own() -> None:
    """Two products of L x L x D in each of the three layers."""
    encoder, expected = counted_by_torch("bert", LENGTHS, backward=False)
    padded = count_flops(encoder, tokens=sum(LENGTHS), pairs=4 * 64**2, predicted=len(PREDICTED))
    assert padded.forward == expected
    packed = count_flops(
        encoder, tokens=sum(LENGTHS), pairs=sum(length**2 for length in LENGTHS), predicted=len(PREDICTED)
    )
    pairs = 4 * 64**2 - (64**2 + 64**2 + 50**2 + 20**2)
    assert padded.forward - packed.forward == 3 * 2 * 2 * pairs * 32


def test_dnabert_takes_about_six_operations_a_weight_and_token() -> None:
    """The usual estimate, 6 N (Kaplan et al. 2020), without the last block's savings: 85 M in the blocks."""
    encoder = Encoder(vocab_size=4101)
    full = count_flops(encoder, tokens=512, pairs=512**2, predicted=512)
    blocks = 12 * (4 * 768**2 + 2 * 768 * 3072)
    assert full.projections + full.feed_forward == 2 * blocks * 512
    assert full.training - 3 * (full.attention + full.head) == 6 * blocks * 512


def test_the_sums_of_a_loss_of_bases_are_the_product_that_is_said_to_be_left_out() -> None:
    """Forward, and for the gradient of the probabilities: the indicator has none."""
    logits, indicator = torch.zeros(7, 301, requires_grad=True), torch.zeros(301, 4 * 6)
    with FlopCounterMode(display=False) as counter:
        summed_loss(logits, torch.zeros(7, dtype=torch.long), indicator).backward()
    decoder = 2 * 7 * 301 * 768
    assert counter.get_total_flops() == 2 * decoder * (4 * 6) // 768
