"""The loss of single bases is its definition, its gradient too, and what judges a model says the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import Trainer
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from dnalm.data import BatchPlan, GenomeCorpus, Masking, WindowRecipe
from dnalm.data.batch import IGNORED, Batch, collate, find_hidden
from dnalm.data.module import GenomeData
from dnalm.data.samples import Sample
from dnalm.errors import ConfigError
from dnalm.evaluation.inference import InferenceQueue, LoadedModel
from dnalm.genome.alphabet import UNKNOWN, from_text
from dnalm.models import Encoder, MaskedLM, Packed, layers
from dnalm.models.layers import summed_loss
from dnalm.tokenizers import BpeRecipe, BpeTokenizer, KmerTokenizer, LogoTokenizer, SixMerTokenizer, Tokenizer
from dnalm.tokenizers.bpe_training import bpe_document
from dnalm.training import MaskedLMTraining, MultiObjectiveTraining, TrainingPlan
from dnalm.training.objectives import MaskedTokens, ObjectiveSet, check_loss, make_tasks
from dnalm.training.pretraining import base_indicator, bits_of_marginals
from dnalm.training.track_objectives import RegionClass
from tests.conftest import random_sequence
from tests.training import test_multi_objective
from tests.training.fitting import plan_of, trainer_of

SMALL = [KmerTokenizer(k=1), KmerTokenizer(k=3), LogoTokenizer(k=2), LogoTokenizer(k=3)]
ALL = [*SMALL, KmerTokenizer(), LogoTokenizer(), SixMerTokenizer(version=2)]
GLOBAL, LR = 16, 1e-2


def indicator_of(tokenizer: Tokenizer) -> Tensor:
    return base_indicator(torch.from_numpy(tokenizer.token_bases))


def defined(logits_MV: Tensor, labels_M: Tensor, tokenizer: Tokenizer) -> Tensor:
    """The sum of the losses, written out: for each base, the ids that spell it there against all ids."""
    spelled_VK = torch.from_numpy(tokenizer.token_bases)
    terms = [0 * logits_MV.sum()]
    for logits_V, label in zip(logits_MV, labels_M.tolist(), strict=True):
        for place, base in enumerate(spelled_VK[label].tolist()):
            if base < UNKNOWN:
                terms.append(logits_V.logsumexp(0) - logits_V[spelled_VK[:, place] == base].logsumexp(0))
    return torch.stack(terms).sum()


def drawn(tokenizer: Tokenizer, rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Logits in float64, and labels of all kinds: words, shorter ones, such with N, special tokens."""
    random = torch.Generator().manual_seed(seed)
    logits_MV = 4 * torch.randn(rows, tokenizer.vocab_size, generator=random, dtype=torch.float64)
    return logits_MV, torch.randint(tokenizer.vocab_size, (rows,), generator=random)


@given(tokenizer=st.sampled_from(SMALL), rows=st.integers(0, 6), seed=st.integers(0, 1 << 30))
def test_loss_and_gradient_are_those_of_the_definition(tokenizer: Tokenizer, rows: int, seed: int) -> None:
    logits_MV, labels_M = drawn(tokenizer, rows, seed)
    found = logits_MV.clone().requires_grad_()
    expected = logits_MV.clone().requires_grad_()
    loss = summed_loss(found, labels_M, indicator_of(tokenizer))
    by_definition = defined(expected, labels_M, tokenizer)
    torch.testing.assert_close(loss, by_definition, rtol=1e-12, atol=1e-12)
    (ours,) = torch.autograd.grad(loss, found)
    (theirs,) = torch.autograd.grad(by_definition, expected)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("tokenizer", ALL[-3:], ids=lambda each: type(each).__name__)
def test_published_vocabularies_in_float32_are_as_the_definition_in_float64(tokenizer: Tokenizer) -> None:
    logits_MV, labels_M = drawn(tokenizer, 8, 1)
    found = logits_MV.float().requires_grad_()
    expected = logits_MV.clone().requires_grad_()
    loss = summed_loss(found, labels_M, indicator_of(tokenizer))
    by_definition = defined(expected, labels_M, tokenizer)
    assert loss.item() == pytest.approx(by_definition.item(), rel=1e-6)
    (ours,), (theirs,) = torch.autograd.grad(loss, found), torch.autograd.grad(by_definition, expected)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-6)


def test_the_gradient_is_that_of_finite_differences() -> None:
    tokenizer = LogoTokenizer(k=2)
    logits_MV, labels_M = drawn(tokenizer, 4, 2)
    indicator = indicator_of(tokenizer).double()
    assert torch.autograd.gradcheck(lambda x: summed_loss(x, labels_M, indicator), logits_MV.requires_grad_())


@given(seed=st.integers(0, 1 << 30))
def test_of_single_bases_it_is_the_cross_entropy(seed: int) -> None:
    tokenizer = KmerTokenizer(k=1)
    logits_MV, _ = drawn(tokenizer, 5, seed)
    labels_M = torch.from_numpy(np.random.default_rng(seed).choice(tokenizer.replacement_ids, 5))
    loss = summed_loss(logits_MV, labels_M, indicator_of(tokenizer))
    assert loss.item() == pytest.approx(F.cross_entropy(logits_MV, labels_M, reduction="sum").item())


@pytest.mark.parametrize("tokenizer", ALL, ids=lambda each: f"{type(each).__name__}{each.vocab_size}")
def test_what_spells_no_base_costs_nothing(tokenizer: Tokenizer) -> None:
    logits_MV, _ = drawn(tokenizer, 2, 3)
    for label in (tokenizer.special.mask, tokenizer.special.unknown, IGNORED):
        labels_M = torch.full((2,), label)
        found = logits_MV.clone().requires_grad_()
        loss = summed_loss(found, labels_M, indicator_of(tokenizer))
        loss.backward()
        assert loss.item() == 0.0
        assert found.grad is not None
        assert not found.grad.any()


def test_a_base_beside_an_unknown_one_is_learned_and_the_unknown_one_not() -> None:
    tokenizer = LogoTokenizer(k=5)
    (label,) = tokenizer.encode(from_text("ACNGT")).tolist()
    logits_MV, _ = drawn(tokenizer, 1, 4)
    parts = []
    for place, base in ((0, "A"), (1, "C"), (3, "G"), (4, "T")):
        spells = torch.from_numpy(tokenizer.token_bases[:, place] == from_text(base)[0])
        parts.append(-torch.log(logits_MV.softmax(-1)[0, spells].sum()))
    loss = summed_loss(logits_MV, torch.tensor([label]), indicator_of(tokenizer))
    assert loss.item() == pytest.approx(torch.stack(parts).sum().item(), rel=1e-12)


def test_before_anything_is_learned_a_base_costs_two_bits_and_the_special_tokens_share() -> None:
    tokenizer = KmerTokenizer(k=6)
    labels_M = torch.from_numpy(tokenizer.replacement_ids[[0, 99, 4095]])
    loss = summed_loss(torch.zeros(3, 4101, dtype=torch.float64), labels_M, indicator_of(tokenizer))
    assert loss.item() / 18 / math.log(2) == pytest.approx(2 + math.log2(4101 / 4096), rel=1e-6)


def test_hopeless_logits_give_a_finite_loss_and_gradient() -> None:
    tokenizer = KmerTokenizer(k=3)
    logits_MV = torch.full((1, 69), -1e4)
    logits_MV[0, 5] = 1e4
    logits_MV.requires_grad_()
    loss = summed_loss(logits_MV, torch.tensor([68]), indicator_of(tokenizer))
    loss.backward()
    assert loss.item() == pytest.approx(-3 * math.log(torch.finfo(torch.float32).tiny), rel=1e-6)
    assert logits_MV.grad is not None
    assert bool(logits_MV.grad.isfinite().all())


def test_bfloat16_is_summed_in_float32() -> None:
    tokenizer = KmerTokenizer(k=3)
    logits_MV = torch.zeros(257, 69, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        loss = summed_loss(logits_MV, torch.full((257,), 9), indicator_of(tokenizer))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(257 * 3 * math.log(69 / 16), rel=1e-5)


# What judges


def masked_batch(tokenizer: Tokenizer, codes: np.ndarray, masked: np.ndarray) -> Batch:
    ids = tokenizer.encode(codes)
    spans = tokenizer.spans(codes, ids)
    sample = Sample(
        index=0,
        seen=np.where(masked, tokenizer.special.mask, ids),
        ids=ids,
        masked=masked,
        targets=masked,
        content=spans[:, 1] > spans[:, 0],
        num_bases=len(codes),
        hidden=find_hidden(codes, spans, masked, start=0),
    )
    return collate([sample])


@settings(deadline=None, max_examples=20)
@given(tokenizer=st.sampled_from([LogoTokenizer(k=3), SixMerTokenizer(version=2)]), seed=st.integers(0, 999))
def test_of_tokens_that_tile_it_is_what_judges_and_the_charge_for_ids_that_spell_no_base(
    tokenizer: Tokenizer, seed: int
) -> None:
    random = np.random.default_rng(seed)
    codes = random.integers(0, 4, 47, dtype=np.uint8)
    ids = tokenizer.encode(codes)
    spans = tokenizer.spans(codes, ids)
    masked = (random.random(len(ids)) < 0.5) & (spans[:, 1] > spans[:, 0])
    batch, indicator = masked_batch(tokenizer, codes, masked), indicator_of(tokenizer)
    logits_MV = torch.from_numpy(random.normal(size=(int(masked.sum()), tokenizer.vocab_size)))
    loss = summed_loss(logits_MV, batch.labels_M, indicator).item() / math.log(2)
    judged = bits_of_marginals(logits_MV, indicator, batch.hidden).double().sum().item()
    spelling_MK = logits_MV.softmax(-1) @ indicator.double().unflatten(1, (-1, 4)).sum(-1)
    pairs = batch.hidden.pair_token_P, batch.hidden.pair_offset_P
    charge = -spelling_MK[pairs].log2().sum().item()
    assert loss == pytest.approx(judged + charge, rel=1e-6, abs=1e-9)
    assert charge > 0 or not masked.any()


@given(seed=st.integers(0, 999))
def test_of_overlapping_tokens_it_is_no_less_than_what_judges_and_equal_where_they_agree(seed: int) -> None:
    """Each base's mean over the tokens above it, which the judge takes before the logarithm."""
    tokenizer, random = KmerTokenizer(k=3), np.random.default_rng(seed)
    codes = random.integers(0, 4, 20, dtype=np.uint8)
    masked = np.zeros(20, dtype=np.bool_)  # of [CLS], 18 tokens and [SEP]
    masked[1:19] = True  # so that every base is hidden
    batch, indicator = masked_batch(tokenizer, codes, masked), indicator_of(tokenizer)
    logits_MV = torch.from_numpy(3 * random.normal(size=(18, tokenizer.vocab_size)))
    logits_MV[:, :5] = -1e4  # no special token
    base_P = batch.hidden.pair_base_P
    counts_X = torch.bincount(base_P)

    def mean_of_logs(logits_MV: Tensor) -> Tensor:
        bits_MX = -layers.base_probabilities(logits_MV, indicator).log2().flatten(1)
        of_pair = batch.hidden.pair_token_P, 4 * batch.hidden.pair_offset_P + batch.hidden.base_X[base_P]
        return torch.zeros(20, dtype=torch.float64).index_add_(0, base_P, bits_MX[of_pair]) / counts_X

    bits_X = bits_of_marginals(logits_MV, indicator, batch.hidden).double()
    mean_X = mean_of_logs(logits_MV)
    loss = summed_loss(logits_MV, batch.labels_M, indicator).item() / math.log(2)
    assert loss == pytest.approx(float(mean_X @ counts_X.double()), rel=1e-9)
    assert bool((mean_X >= bits_X - 1e-6).all())
    of_base = torch.from_numpy(random.normal(size=4))  # each says the same of a base at all places
    agreed_V = of_base[torch.from_numpy(tokenizer.token_bases[5:]).long()].sum(1)
    agreed_MV = torch.cat([torch.full((5,), -1e4), agreed_V]).expand(18, -1)
    bits_X = bits_of_marginals(agreed_MV, indicator, batch.hidden).double()
    torch.testing.assert_close(mean_of_logs(agreed_MV), bits_X, rtol=1e-6, atol=1e-6)


def test_the_engine_that_compares_models_says_the_same_of_each_base() -> None:
    """Of a 6-mer model to which the few ids that are no 6-mers are impossible."""
    tokenizer = SixMerTokenizer(version=2)
    model = network(tokenizer)
    is_word_V = torch.from_numpy((tokenizer.token_bases < UNKNOWN).all(1))
    with torch.no_grad():
        model.head.bias[~is_word_V] = -1e4
    codes = from_text(random_sequence(60))
    masked = np.zeros(11, dtype=np.bool_)
    masked[[2, 3, 7]] = True
    batch = masked_batch(tokenizer, codes, masked)
    found: list[np.ndarray] = []
    queue = InferenceQueue(LoadedModel(network=model, tokenizer=tokenizer), batch_tokens=100)
    queue.submit("base_log_p", batch.ids_N.numpy(), found.append, tokens=np.flatnonzero(masked))
    queue.run()
    true_MK = tokenizer.token_bases[batch.labels_M.numpy()]
    log_p_MK = np.take_along_axis(found[0], true_MK[..., None].astype(np.int64), axis=2)[..., 0]
    loss = loss_of(model, batch, indicator_of(tokenizer))
    assert loss.item() == pytest.approx(-log_p_MK.sum(), rel=1e-6)


# What trains


def network(tokenizer: Tokenizer) -> MaskedLM:
    torch.manual_seed(0)
    encoder = Encoder(
        vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        num_layers=1,
        num_heads=2,
        intermediate_size=32,
        dropout=0.0,
        attention_dropout=0.0,
        initializer_range=0.2,
    )
    return MaskedLM(encoder)


def loss_of(model: MaskedLM, batch: Batch, indicator: Tensor | None) -> Tensor:
    packed = Packed(batch.cu_lengths, batch.max_length)
    return model.loss(batch.ids_N, packed, batch.targets_M, batch.labels_M, None, indicator)


def data_of(
    folder: Path,
    *,
    micro: int,
    tokenizer: Tokenizer,
    masking: Masking | None = None,
    tracks: Sequence[str] = (),
) -> GenomeData:
    """Of a genome whose windows hold N, so that tokens spell unequally many bases."""
    if tracks:
        made = test_multi_objective.datamodule(folder, micro=micro, targets=tracks)
        corpus = made.corpus
    else:
        fasta = folder / "genome.fa"
        if not fasta.exists():
            with_unknown = "".join(random_sequence(29, seed) + "N" for seed in range(700))
            fasta.write_text(f">chr1\n{with_unknown}\n>chr2\n{random_sequence(2_000, 1)}\n")
        corpus = GenomeCorpus(fasta=fasta, cache=folder / "cache")
    return GenomeData(
        corpus,
        tokenizer=tokenizer,
        windows=WindowRecipe(min_tokens=5, max_tokens=40, random_share=1.0, max_unknown=50),
        masking=masking or Masking(),
        batch=BatchPlan(global_size=GLOBAL, micro_size=micro),
        seed=1,
        targets=list(tracks),
    )


def fit(folder: Path, name: str, data: GenomeData, module: MaskedLMTraining) -> Trainer:
    trainer = trainer_of(folder / name, data.batch, steps=1)
    trainer.fit(module, datamodule=data)
    return trainer


def whole_step(data: GenomeData) -> Batch:
    return collate([data.training_samples()[index] for index in range(GLOBAL)])


def spelled_bases(batch: Batch, tokenizer: Tokenizer) -> int:
    return int((tokenizer.token_bases[batch.labels_M.numpy()] < UNKNOWN).sum())


def plan_per_base(tokenizer: Tokenizer) -> TrainingPlan:
    return replace(plan_of(tokenizer, global_batch=GLOBAL, lr=LR), loss="per_base")


TRAINED = [KmerTokenizer(k=3), LogoTokenizer(k=3), SixMerTokenizer(version=2)]


@pytest.mark.parametrize("tokenizer", TRAINED, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("micro", [16, 4, 1])
def test_an_update_is_the_gradient_of_the_mean_over_the_bases_of_the_step(
    micro: int, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    data = data_of(tmp_path, micro=micro, tokenizer=tokenizer)
    module = MaskedLMTraining(network(tokenizer), plan_per_base(tokenizer))
    trainer = fit(tmp_path, "run", data, module)
    batch, reference = whole_step(data), network(tokenizer)
    count = spelled_bases(batch, tokenizer)
    assert batch.num_target_bases == count
    longest = tokenizer.token_bases.shape[1]
    assert count < longest * len(batch.labels_M), "some tokens are short, or hold an N"
    loss = loss_of(reference, batch, indicator_of(tokenizer)) / count
    loss.backward()
    for (name, ours), theirs in zip(module.model.named_parameters(), reference.parameters(), strict=True):
        expected = theirs.detach() - LR * theirs.grad
        assert torch.allclose(ours, expected, rtol=1e-5, atol=1e-6), name
    assert float(trainer.callback_metrics["train_loss"]) == pytest.approx(loss.item(), rel=1e-5)


def test_the_loss_of_a_validation_is_that_which_is_trained(tmp_path: Path) -> None:
    tokenizer = KmerTokenizer(k=3)
    data = data_of(tmp_path, micro=4, tokenizer=tokenizer)
    module = MaskedLMTraining(network(tokenizer), plan_per_base(tokenizer))
    trainer = fit(tmp_path, "run", data, module)
    samples = data.validation_samples()
    batch = collate([samples[index] for index in range(len(samples))])
    with torch.no_grad():
        loss = loss_of(module.model.eval(), batch, indicator_of(tokenizer))
    expected = loss.item() / spelled_bases(batch, tokenizer)
    assert float(trainer.callback_metrics["val_loss"]) == pytest.approx(expected, rel=1e-5)


def test_where_all_tokens_are_predicted_all_their_bases_are_counted(tmp_path: Path) -> None:
    tokenizer = LogoTokenizer(k=3)
    data = data_of(tmp_path, micro=4, tokenizer=tokenizer, masking=Masking(loss_on="all"))
    data.prepare_data()
    data.setup("fit")
    batch = whole_step(data)
    assert len(batch.labels_M) == batch.num_content
    assert batch.num_target_bases == spelled_bases(batch, tokenizer)


@pytest.mark.parametrize("micro", [16, 4])
def test_beside_objectives_on_tracks_it_is_divided_by_its_own_bases(micro: int, tmp_path: Path) -> None:
    tokenizer = KmerTokenizer(k=3)
    goals = ObjectiveSet({"mlm": MaskedTokens(loss="per_base"), "region": RegionClass(weight=0.5)})
    data = data_of(tmp_path, micro=micro, tokenizer=tokenizer, tracks=["region"])
    data.prepare_data()
    data.setup("fit")

    def made() -> MultiObjectiveTraining:
        model = network(tokenizer)
        return MultiObjectiveTraining(
            model,
            plan=plan_per_base(tokenizer),
            tasks=make_tasks(goals.on_tracks, data, model.encoder),
            masked_tokens=goals.masked_tokens,
            weights=goals.weights,
        )

    trained, reference, batch = made(), made(), whole_step(data)
    trainer = fit(tmp_path, "run", data, trained)
    hidden_ND = reference.encode(batch)
    indicator = indicator_of(tokenizer)
    bases = reference.model.predicted_loss(hidden_ND, batch.targets_M, batch.labels_M, indicator)
    bases = bases / spelled_bases(batch, tokenizer)
    classes = F.cross_entropy(
        reference.tasks["region"].head(hidden_ND), batch.tracks["region"], ignore_index=-1
    )
    (bases + 0.5 * classes).backward()
    for (name, ours), theirs in zip(
        trained.model.named_parameters(), reference.model.parameters(), strict=True
    ):
        expected = theirs.detach() - LR * theirs.grad
        assert torch.allclose(ours, expected, rtol=1e-4, atol=1e-6), name
    assert float(trainer.callback_metrics["train_loss"]) == pytest.approx(bases.item(), rel=1e-4)


def test_rows_that_pad_the_decoder_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = KmerTokenizer(k=3)  # 69 ids, 128 rows
    codes = from_text(random_sequence(30))
    masked = np.arange(30) % 7 == 3
    batch, model = masked_batch(tokenizer, codes, masked), network(tokenizer)
    found = []
    for plain in (layers.PLAIN_DEVICES, ()):
        monkeypatch.setattr(layers, "PLAIN_DEVICES", plain)
        model.zero_grad()
        loss = loss_of(model, batch, indicator_of(tokenizer))
        loss.backward()
        found.append((loss.detach(), model.head.bias.grad))
    torch.testing.assert_close(found[1], found[0])


# What is refused


def bpe() -> BpeTokenizer:
    document = bpe_document([("A", "A"), ("AA", "AA")], ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    return BpeTokenizer(document, where=Path())


@pytest.mark.parametrize("tokenizer", [bpe(), BpeRecipe(vocab_size=64)], ids=["tokenizer", "recipe"])
def test_words_of_unequal_length_are_refused_in_one_sentence(tokenizer: Tokenizer | BpeRecipe) -> None:
    check_loss("cross_entropy", tokenizer)
    with pytest.raises(ConfigError) as caught:
        check_loss("per_base", tokenizer)
    said = str(caught.value)
    assert said.startswith("OBJ-06 objectives.masked_tokens.loss: per_base for Bpe")
    assert "tokenizer=kmer, logo or nt_v2" in said


@pytest.mark.parametrize("tokenizer", ALL, ids=lambda each: f"{type(each).__name__}{each.vocab_size}")
def test_k_mers_of_any_kind_are_taken(tokenizer: Tokenizer) -> None:
    check_loss("per_base", tokenizer)
