"""Our Nucleotide Transformer v1 is stock ESM, in both directions: weights, logits and gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- its usual name
from transformers import AutoModelForMaskedLM, EsmConfig, EsmForMaskedLM
from transformers.models.esm.modeling_esm import EsmRotaryEmbedding, apply_rotary_pos_emb

from dnalm.models import MaskedLM, Packed, load_pretrained, save_pretrained
from dnalm.models.families import MODEL_TYPE, NT_V1, NT_V2
from dnalm.models.packing import KernelName, Rotation, rotary_frequencies
from tests.models import zoo

CASES = {**zoo.CASES, "masks in every sequence": [5, 9]}
EVERY_CASE = pytest.mark.parametrize("lengths", CASES.values(), ids=CASES.keys())
EVERY_KERNEL = pytest.mark.parametrize("kernel", ["eager", "sdpa"])


@pytest.fixture(scope="module")
def stock() -> EsmForMaskedLM:
    """The independent ESM, configured as the published Nucleotide Transformer v1 is."""
    config = EsmConfig(
        vocab_size=zoo.VOCAB,
        mask_token_id=zoo.MASK,
        pad_token_id=1,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=zoo.MAX_POSITIONS + 2,
        position_embedding_type="absolute",
        token_dropout=True,
        emb_layer_norm_before=False,
        tie_word_embeddings=False,
        layer_norm_eps=1e-12,
        attn_implementation="eager",
    )
    model = EsmForMaskedLM(config).eval()
    zoo.randomize(model)
    return model


@pytest.fixture(scope="module")
def stock_folder(stock: EsmForMaskedLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("esm")
    stock.save_pretrained(folder)
    return folder


def _ids(lengths: list[int]) -> Tensor:
    """Ids with masks, but no sequence of masks alone, of which stock ESM makes NaN."""
    ids = zoo.random_ids(sum(lengths))
    starts = torch.tensor([0, *lengths[:-1]]).cumsum(0)
    ids[starts] = 5
    if len(ids) > 4:
        ids[-1] = ids[4] = zoo.MASK
        ids[starts] = 5
    return ids


def _stock_logits(stock: EsmForMaskedLM, ids: Tensor, lengths: list[int]) -> Tensor:
    padded, real = zoo.pad(ids, lengths)
    logits: Tensor = stock(input_ids=padded, attention_mask=real.long()).logits
    return logits[real]


def _our_logits(model: MaskedLM, ids: Tensor, lengths: list[int]) -> Tensor:
    logits: Tensor = model(ids, Packed.from_lengths(lengths), torch.arange(len(ids)))
    return logits


@EVERY_KERNEL
@EVERY_CASE
def test_their_weights_give_their_logits_here(
    kernel: KernelName, lengths: list[int], stock: EsmForMaskedLM, stock_folder: Path
) -> None:
    model, ids = load_pretrained(stock_folder, kernel=kernel).eval(), _ids(lengths)
    with torch.no_grad():
        ours, theirs = _our_logits(model, ids, lengths), _stock_logits(stock, ids, lengths)
    assert theirs.std() > 0.5
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@EVERY_CASE
def test_our_weights_give_our_logits_there(lengths: list[int], tmp_path: Path) -> None:
    model, ids = zoo.model("nt_v1").eval(), _ids(lengths)
    save_pretrained(model, tmp_path)
    theirs, report = AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert isinstance(theirs, EsmForMaskedLM)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.no_grad():
        expected = _our_logits(model, ids, lengths)
        torch.testing.assert_close(_stock_logits(theirs.eval(), ids, lengths), expected, atol=1e-5, rtol=0)


def test_every_gradient_is_the_stock_one(stock: EsmForMaskedLM, stock_folder: Path) -> None:
    lengths = CASES["padded batch"]
    model, ids = load_pretrained(stock_folder).double(), _ids(lengths)
    labels = torch.randint(zoo.VOCAB, (33,))
    F.cross_entropy(_our_logits(model, ids, lengths), labels).backward()
    reference = EsmForMaskedLM(stock.config).double()
    reference.load_state_dict(stock.state_dict())
    F.cross_entropy(_stock_logits(reference, ids, lengths), labels).backward()
    expected = {name: parameter.grad for name, parameter in reference.named_parameters()}
    for name, parameter in model.named_parameters():
        ours, theirs = parameter.grad, expected.pop(NT_V1.name_of(name))
        assert ours is not None
        assert theirs is not None
        # A key's bias moves all scores of a row alike, so its gradient is 0 but for rounding.
        assert (ours - theirs).norm() <= 1e-5 * theirs.norm() + 1e-14, name
    assert all("contact_head" in name for name in expected)


def test_a_sequence_of_masks_alone_is_finite_here() -> None:
    model = zoo.model("nt_v1").eval()
    logits = _our_logits(model, torch.full((3,), zoo.MASK), [3])
    assert logits.isfinite().all()


def test_tokens_are_rescaled_for_the_masks_of_their_own_sequence() -> None:
    embeddings = zoo.encoder("nt_v1").embeddings
    assert embeddings.position is not None
    torch.nn.init.zeros_(embeddings.position.weight)
    ids = torch.tensor([5, zoo.MASK, 6, 7, 5, 6])  # a quarter masked; none
    output = embeddings(ids, Packed.from_lengths([4, 2]).layout(6))
    scale = torch.tensor([0.88 / 0.75, 0, 0.88 / 0.75, 0.88 / 0.75, 0.88, 0.88])
    torch.testing.assert_close(output, embeddings.token(ids) * scale[:, None])


def test_the_first_token_reads_the_row_after_the_padding_id() -> None:
    embeddings = zoo.encoder("nt_v1", token_dropout=False).embeddings
    assert embeddings.position is not None
    assert embeddings.position.num_embeddings == zoo.MAX_POSITIONS + 2
    output = embeddings(torch.tensor([5, 5]), Packed.from_lengths([2]).layout(2))
    torch.testing.assert_close(output - embeddings.token.weight[5], embeddings.position.weight[2:4])


def test_the_rotation_is_that_of_stock_esm() -> None:
    config = EsmConfig(hidden_size=32, num_attention_heads=4, position_embedding_type="rotary")
    rotary, place = EsmRotaryEmbedding(config), torch.arange(11)
    query, key = torch.randn(2, 1, 4, 11, 8)
    expected = apply_rotary_pos_emb(query, key, *rotary(query, place[None]))
    rotation = Rotation.at(place, head_width=8)
    for x, turned in zip((query, key), expected, strict=True):
        torch.testing.assert_close(rotation.turn(x[0].transpose(0, 1)), turned[0].transpose(0, 1))
    assert torch.equal(rotary_frequencies(8), rotary.inv_freq)


def test_a_layout_that_esm_cannot_say_is_written_as_ours(tmp_path: Path) -> None:
    # With the padding id 0, stock ESM would give the first token row 1.
    model = zoo.model("nt_v1", padding_id=0)
    save_pretrained(model, tmp_path)
    assert f'"model_type": "{MODEL_TYPE}"' in (tmp_path / "config.json").read_text()
    assert load_pretrained(tmp_path).encoder.position_offset == 2


def test_the_tables_of_both_versions_differ_only_in_positions() -> None:
    assert NT_V1.modules is not None
    assert NT_V2.modules is not None
    assert NT_V1.modules.keys() - NT_V2.modules.keys() == {"encoder.embeddings.position"}
    assert NT_V2.modules.items() <= NT_V1.modules.items()
