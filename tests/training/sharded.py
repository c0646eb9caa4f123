"""A program: train a sharded model as one rank, and write its weights and the collectives it took part in.

python -m tests.training.sharded FOLDER WAY; RANK and its like say which rank.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode

from dnalm.data import BatchPlan, GenomeCorpus, Masking, WindowRecipe
from dnalm.data.module import GenomeData
from dnalm.models import Encoder, MaskedLM
from dnalm.tokenizers import KmerTokenizer
from dnalm.training import MaskedLMTraining, TrainerRecipe, TrainingPlan
from dnalm.training.checkpoint import state_tensors
from dnalm.training.distributed import join, ranks_of_environment
from dnalm.training.optim import LinearWarmupDecay
from dnalm.training.trainer import Sharded, quiet_frameworks

STEPS, PASSES, LAYERS = 2, 3, 2
TOKENIZER = KmerTokenizer(k=3)


class Collectives(TorchDispatchMode):
    """Counts them by name, such as `_allgather_base_`."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        if func.namespace == "c10d":
            self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


class Watch(Callback):
    """Takes note of what training has cost before it validates, and of a save between two micro-batches."""

    def __init__(self, collectives: Collectives, *, saves: bool) -> None:
        self.collectives, self.saves = collectives, saves
        self.of_training: dict[str, int] = {}
        self.saved = True  # shards of what the last step had left
        self.validated: list[int] = []  # after so many steps

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, _: object, __: object, batch_idx: int
    ) -> None:
        """Look at what a checkpoint would hold."""
        if self.saves and batch_idx % PASSES < PASSES - 1:
            held = state_tensors(module, trainer.optimizers[0])
            self.saved &= all(isinstance(held[f"model.{n}"], DTensor) for n, _ in module.named_parameters())

    def on_validation_start(self, trainer: Trainer, *_: object) -> None:
        """The last step has ended."""
        self.of_training = dict(self.collectives.counts)
        self.validated.append(trainer.global_step)


def _named_otherwise(start: Callable[..., None], _backend: str, **options: Any) -> None:  # noqa: ANN401
    """As with GPUs: Lightning validates in inference mode unless the backend is called gloo."""
    start("cpu:gloo", **options)


def network() -> MaskedLM:
    """The same on every rank."""
    torch.manual_seed(0)
    encoder = Encoder(
        vocab_size=TOKENIZER.vocab_size,
        hidden_size=16,
        num_layers=LAYERS,
        num_heads=2,
        intermediate_size=32,
        dropout=0.0,  # which is drawn for each micro-batch of each rank
        attention_dropout=0.0,
    )
    return MaskedLM(encoder)


def train(folder: Path, way: str) -> dict[str, Any]:
    """What this rank has counted, and the whole weights at the end."""
    ranks = ranks_of_environment("local")
    assert ranks is not None
    if way == "validated":
        dist.init_process_group = partial(_named_otherwise, dist.init_process_group)
    join(ranks, "local", device="cpu", timeout_s=60)
    if way == "each":  # as Lightning has it
        Sharded.block_backward_sync = ModelParallelStrategy.block_backward_sync  # type: ignore[method-assign]
    batch = BatchPlan(global_size=4 * PASSES, micro_size=4 // ranks.world_size)
    data = GenomeData(
        GenomeCorpus(fasta=folder / "genome.fa", cache=folder / "cache"),
        tokenizer=TOKENIZER,
        windows=WindowRecipe(min_tokens=5, max_tokens=60, num_validation=4),
        masking=Masking(),
        batch=batch,
        seed=1,
    )
    precision: Any = "bf16-mixed" if way == "bf16" else "32-true"
    recipe = TrainerRecipe(strategy="fsdp", precision=precision)
    plan = TrainingPlan(
        token_bases=TOKENIZER.token_bases,
        overlap=TOKENIZER.overlap,
        optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1),
        schedule=LinearWarmupDecay(warmup_steps=0, total_steps=1000),
        seed=1,
        global_batch=batch.global_size,
        parallel=recipe.parallel,
    )
    module = MaskedLMTraining(network(), plan)
    collectives = Collectives()
    watch = Watch(collectives, saves=way == "saved")
    trainer = recipe.make(
        batch=batch, steps=STEPS, loggers=[], callbacks=[watch], root=folder, stop_flags=recipe.stop_flags()
    )
    if way == "validated":
        trainer.validate(module, datamodule=data, verbose=False)
    with collectives:
        trainer.fit(module, datamodule=data)
    held = module.state_dict()  # which lays the weights that validation left whole back into shards
    parameters = {name: cast(DTensor, held[name]) for name, _ in module.named_parameters()}
    mine = sum(parameter.to_local().numel() for parameter in parameters.values())
    return {
        "rank": ranks.rank,
        "collectives": watch.of_training,
        "saved": watch.saved,
        "validated": watch.validated,
        "backend": dist.get_backend(),
        "share": mine / sum(parameter.numel() for parameter in parameters.values()),
        "weights": {
            name: parameter.full_tensor().flatten().tolist() for name, parameter in parameters.items()
        },
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    quiet_frameworks()
    found = train(Path(sys.argv[1]), sys.argv[2])
    Path(sys.argv[1], f"{sys.argv[2]}.{os.environ['RANK']}.of{os.environ['WORLD_SIZE']}.json").write_text(
        json.dumps(found)
    )
    os._exit(0)
