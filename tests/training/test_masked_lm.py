"""The loss of a step does not depend on how its batch is cut, and is what it says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch.nn import functional as F  # noqa: N812

from dnalm.data import BatchPlan, GenomeCorpus, Masking, WindowRecipe
from dnalm.data.batch import Batch
from dnalm.data.module import GenomeData
from dnalm.errors import NumericsError
from dnalm.models import Encoder, MaskedLM, Packed
from dnalm.tokenizers import KmerTokenizer
from dnalm.training import MaskedLMTraining, Throughput
from tests.conftest import random_sequence, training_window
from tests.training.fitting import plan_of, trainer_of

TOKENIZER = KmerTokenizer(k=3)
GLOBAL = 16


def datamodule(
    folder: Path, *, micro: int, seed: int = 1, workers: int = 0, masking: Masking | None = None
) -> GenomeData:
    fasta = folder / "genome.fa"
    if not fasta.exists():
        fasta.write_text(f">chr1\n{random_sequence(20_000)}\n>chr2\n{random_sequence(2_000, 1)}\n")
    return GenomeData(
        GenomeCorpus(fasta=fasta, cache=folder / "cache"),
        tokenizer=TOKENIZER,
        windows=WindowRecipe(min_tokens=5, max_tokens=60),
        masking=masking or Masking(),
        batch=BatchPlan(global_size=GLOBAL, micro_size=micro, num_workers=workers),
        seed=seed,
    )


def network(*, dropout: float = 0.0, seed: int = 0) -> MaskedLM:
    torch.manual_seed(seed)
    encoder = Encoder(
        vocab_size=TOKENIZER.vocab_size,
        hidden_size=16,
        num_layers=1,
        num_heads=2,
        intermediate_size=32,
        dropout=dropout,
        attention_dropout=dropout,
    )
    return MaskedLM(encoder)


def module_of(model: MaskedLM, *, lr: float = 1e-2) -> MaskedLMTraining:
    plan = plan_of(TOKENIZER, global_batch=GLOBAL, lr=lr)
    return MaskedLMTraining(model, plan)


def fit(
    folder: Path, name: str, *, micro: int, steps: int = 1, dropout: float = 0.0
) -> tuple[MaskedLM, Trainer]:
    model = network(dropout=dropout)
    data = datamodule(folder, micro=micro)
    trainer = trainer_of(folder / name, data.batch, steps=steps)
    trainer.fit(module_of(model), datamodule=data)
    return model, trainer


def global_batch(folder: Path) -> Batch:
    """The first step's samples as one micro-batch."""
    data = datamodule(folder, micro=GLOBAL)
    data.trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", devices=1)
    data.prepare_data()
    data.setup("fit")
    return next(iter(data.train_dataloader()))


@pytest.mark.parametrize("micro", [16, 8, 4, 1])
def test_an_update_equals_the_gradient_of_the_global_mean(micro: int, tmp_path: Path) -> None:
    trained, _ = fit(tmp_path, f"micro{micro}", micro=micro)
    reference = network()
    batch = global_batch(tmp_path)
    logits = reference(batch.ids_N, Packed(batch.cu_lengths, batch.max_length), batch.targets_M)
    F.cross_entropy(logits, batch.labels_M).backward()
    for (name, ours), theirs in zip(trained.named_parameters(), reference.parameters(), strict=True):
        expected = theirs.detach() - 1e-2 * theirs.grad
        assert torch.allclose(ours, expected, rtol=1e-5, atol=1e-7), name


def test_a_mean_of_means_would_differ(tmp_path: Path) -> None:
    """The cut matters for the wrong normalisation, so the test above can tell both apart."""
    batch = global_batch(tmp_path)
    data = datamodule(tmp_path, micro=4)
    data.trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", devices=1)
    data.setup("fit")
    loader = iter(data.train_dataloader())
    counts = [len(next(loader).labels_M) for _ in range(4)]
    assert sum(counts) == len(batch.labels_M)
    assert max(counts) > 1.1 * min(counts)


def test_logged_loss_and_mask_rate_are_those_of_the_step(tmp_path: Path) -> None:
    _, trainer = fit(tmp_path, "run", micro=4)
    batch = global_batch(tmp_path)
    logits = network()(batch.ids_N, Packed(batch.cu_lengths, batch.max_length), batch.targets_M)
    expected = F.cross_entropy(logits, batch.labels_M)
    assert float(trainer.callback_metrics["train_loss"]) == pytest.approx(expected.item(), rel=1e-5)
    rate = len(batch.labels_M) / batch.num_content
    assert float(trainer.callback_metrics["mask_rate"]) == pytest.approx(rate, rel=1e-6)


def test_two_runs_are_equal_to_the_last_bit(tmp_path: Path) -> None:
    first, _ = fit(tmp_path, "first", micro=4, steps=5, dropout=0.1)
    second, _ = fit(tmp_path, "second", micro=4, steps=5, dropout=0.1)
    for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    texts = [(tmp_path / name / "metrics.csv").read_text() for name in ("first", "second")]
    assert texts[0] == texts[1]
    assert "train_loss" in texts[0]


def test_dropout_is_keyed_by_the_step_and_not_by_what_ran_before(tmp_path: Path) -> None:
    first, _ = fit(tmp_path, "first", micro=8, steps=3, dropout=0.1)
    torch.manual_seed(999)
    second, _ = fit(tmp_path, "second", micro=8, steps=3, dropout=0.1)
    assert torch.equal(first.head.bias, second.head.bias)


@pytest.mark.parametrize("workers", [1, 2])
def test_loader_workers_change_nothing(workers: int, tmp_path: Path) -> None:
    """R6: the batches of worker processes are those of the training process."""

    def batches(num_workers: int) -> list[Batch]:
        data = datamodule(tmp_path, micro=4, workers=num_workers)
        data.trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", devices=1)
        data.setup("fit")
        loader = iter(data.train_dataloader())
        return [next(loader) for _ in range(6)]

    data = datamodule(tmp_path, micro=4)
    data.prepare_data()
    for ours, theirs in zip(batches(0), batches(workers), strict=True):
        assert torch.equal(ours.ids_N, theirs.ids_N)
        assert torch.equal(ours.targets_M, theirs.targets_M)
        assert ours.samples == theirs.samples


def test_validation_hides_every_masked_token_and_covers_each_window_once(tmp_path: Path) -> None:
    data = datamodule(tmp_path, micro=5)
    data.trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", devices=1)
    data.prepare_data()
    data.setup("fit")
    seen: list[int] = []
    for batch in data.val_dataloader():
        assert (batch.ids_N[batch.targets_M] == TOKENIZER.special.mask).all()
        assert (batch.ids_N == TOKENIZER.special.mask).sum() == len(batch.targets_M)
        seen += batch.samples
        assert np.isin(batch.hidden.sequence_X.numpy(), batch.samples).all()
        true = np.asarray(data.genomes[0].store.codes[batch.hidden.position_X.numpy()] & 7)
        assert (true == batch.hidden.base_X.numpy()).all()
    assert seen == list(range(len(data.validation_windows)))


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_samples(tmp_path: Path) -> None:
    model = network()
    with torch.no_grad():
        model.head.bias[7] = float("nan")
    data = datamodule(tmp_path, micro=4)
    trainer = trainer_of(tmp_path / "nan", data.batch, steps=2)
    with pytest.raises(NumericsError) as caught:
        trainer.fit(module_of(model), datamodule=data)
    assert "NUM-01 optimizer step 0, rank 0: the training loss is nan on samples 0 to 15" in str(caught.value)
    assert not list((tmp_path / "nan").rglob("*.ckpt"))


def test_throughput_counts_tokens_and_bases(tmp_path: Path) -> None:
    data = datamodule(tmp_path, micro=4)
    throughput = Throughput()
    trainer = trainer_of(tmp_path / "count", data.batch, steps=3, throughput=throughput)
    trainer.fit(module_of(network()), datamodule=data)
    expected = [training_window(data, i) for i in range(3 * GLOBAL)]
    bases = sum(window.end - window.start for window in expected)
    assert throughput.bases == bases
    # L bases give L - 2 3-mers, [CLS] and [SEP].
    assert throughput.tokens == bases
    assert throughput.content == bases - 2 * len(expected)


def test_nothing_but_the_run_directory_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fit(tmp_path, "run", micro=16, steps=2)
    assert {path.name for path in tmp_path.iterdir()} == {"run", "genome.fa", "cache"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"metrics.csv"}


def test_speed_is_logged_once_a_step_and_not_into_metrics_csv(tmp_path: Path) -> None:
    logged: list[int] = []

    class Listener(TensorBoardLogger):
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            if "tokens_per_s" in metrics:
                assert 0 < metrics["data_wait"] < 1
                logged.append(step or 0)

    data = datamodule(tmp_path, micro=4)
    listener = Listener(save_dir=tmp_path / "speed")
    trainer = trainer_of(tmp_path / "speed", data.batch, steps=3, loggers=(listener,))
    trainer.fit(module_of(network()), datamodule=data)
    assert logged == [0, 1, 2]  # beside the rows of metrics.csv, which count from 0
    written = (tmp_path / "speed/metrics.csv").read_text()
    assert "tokens_per_s" not in written
    assert "data_wait" not in written


def test_loss_on_all_predicts_every_token_in_training_and_masked_ones_in_validation(tmp_path: Path) -> None:
    data = datamodule(tmp_path, micro=4, masking=Masking(loss_on="all"))
    data.trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", devices=1)
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    content = ~torch.isin(batch.ids_N, torch.tensor([TOKENIZER.special.start, TOKENIZER.special.end]))
    assert torch.equal(batch.targets_M, content.nonzero()[:, 0])
    assert len(batch.labels_M) == batch.num_content
    # 15 % of the tokens are hidden, 10 % of those shown as they are: some labels are not what is seen.
    assert 0 < batch.num_masked < batch.num_content
    judged = next(iter(data.val_dataloader()))
    assert (judged.ids_N[judged.targets_M] == TOKENIZER.special.mask).all()
