"""`dnalm plan`: what a pretraining will take, before anything is downloaded, built or started.

It takes the words of `dnalm pretrain`, and prints parameters by part, operations, tokens, bases and epochs,
memory on each GPU by part and the largest micro-batch that fits, hours, storage, and what to change where a
step does not fit. Nothing is written. Lightning is not imported, for its import takes longer than the answer.
"""

from __future__ import annotations

import ast
import json as as_json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from dnalm.compose.check import build, check, parse
from dnalm.compose.signatures import arguments
from dnalm.console import stdout
from dnalm.durable import size_text
from dnalm.errors import ConfigError
from dnalm.evaluation.plan import PUBLISHED, Plan, Recipe
from dnalm.limits import AS_WRITTEN, Jobs, Processes, Steps
from dnalm.models import EncoderConfig
from dnalm.models.config import check_length
from dnalm.models.gpus import GPUS, Gpu, find_gpu
from dnalm.models.memory import Arithmetic, StrategyName
from dnalm.tokenizers import BpeRecipe

AsWritten = Annotated[Any, AS_WRITTEN]
Share = Annotated[float, Field(gt=0, le=1)]
_SETTINGS: Mapping[str, Any] = {  # of a trainer, those that costs depend on
    "devices": Processes | Literal["all"] | None,
    "num_nodes": Jobs,
    "strategy": StrategyName,
    "precision": Arithmetic | None,
    "activation_checkpointing": bool | Literal["auto"],
    "bf16_residual": bool,
    "validate_every": PositiveInt,
    "keep_checkpoints": PositiveInt,
    "keep_best": NonNegativeInt,
    "keep_every": PositiveInt | None,
    "log_every": PositiveInt,
}
_ENCODER = "dnalm.models.Encoder"
_DEMO = "clade"  # the argument of data that simulates genomes


@dataclass(kw_only=True, eq=False)
class PlanCommand:
    """Print what a pretraining will take.

    Args:
        experiment: name of the published model the config follows.
        tokenizer: as of `dnalm pretrain`, as all that follows it up to `logger`.
        windows: likewise.
        masking: likewise.
        model: likewise; one that is trained from the beginning.
        batch: likewise.
        steps: likewise.
        trainer: likewise.
        data: likewise; it is not read.
        optim: likewise; memory is that of Adam.
        schedule: likewise.
        logger: likewise.
        run: likewise; nothing is written.
        seed: likewise.
        resume: likewise.
        resume_allow: likewise.
        embedding_init: likewise.
        objectives: likewise; heads on tracks are not counted.
        weighting: likewise.
        inputs: likewise; channels are not counted.
        gpus: GPUs in all; if absent those of `trainer.devices` and `trainer.num_nodes`, or one.
        gpu: their kind, such as H100 or A100.
        memory_gb: of each, in GiB, where it is not what its maker lists.
        utilisation: share of the listed peak that the model's operations take, as `mfu_of_listed` in the
            `summary.json` of a run says; if absent 0.3, or what launching kernels leaves of it: estimates, as
            no GPU was measured.
        bases: of the corpus that trains; if absent, with `data=demo`, of the corpus that was published.
        json: print JSON.
    """

    experiment: str
    tokenizer: AsWritten
    windows: AsWritten
    masking: AsWritten
    model: AsWritten
    batch: AsWritten
    steps: Steps
    trainer: AsWritten
    config: dict[str, Any]
    data: AsWritten = None
    optim: AsWritten = None
    schedule: AsWritten = None
    logger: AsWritten = None
    run: AsWritten = None
    seed: AsWritten = None
    resume: AsWritten = None
    resume_allow: AsWritten = None
    embedding_init: AsWritten = None
    objectives: AsWritten = None
    weighting: AsWritten = None
    inputs: AsWritten = None
    gpus: Jobs | None = None
    gpu: str | int = "H100"
    memory_gb: PositiveFloat | None = None
    utilisation: Share | None = None
    bases: PositiveFloat | None = None
    json: bool = False

    def train(self) -> None:
        """Print it; the program calls a root that is a class by this name.

        Raises:
            ConfigError: PLAN-01, the GPU is unknown; PLAN-02, the model is no new one; CFG-19, the GPUs do
                not divide the batch; what the components refuse.
        """
        plan = Plan(
            recipe=read_recipe(self.config, bases=self.bases),
            gpu=known_gpu(str(self.gpu), gibibytes=self.memory_gb),
            gpus=self.gpus or _gpus_of(self.config["trainer"]),
            utilisation=self.utilisation,
        )
        if self.json:
            print(as_json.dumps(plan.figures(), indent=2))
        else:
            stdout.print(plan_text(plan.figures()))


def plan_text(found: Mapping[str, Any]) -> str:
    """The figures of a plan as people read them."""
    parameters, flops, recipe, time, storage = (
        found[name] for name in ("parameters", "flops", "recipe", "time", "storage")
    )
    parts = ", ".join(f"{name} {count:,}" for name, count in parameters.items() if name != "total")
    epochs = "give bases=… of the corpus for epochs"
    if recipe["epochs"] is not None:
        epochs = f"{recipe['epochs']:.3g} epochs of {recipe['corpus_bases']:.3g} bases"
    source = "estimated, no GPU was measured" if time["source"] == "estimated" else time["source"]
    speed = "no rate in 32 bits is listed: choose trainer.precision=bf16-mixed"
    if time["hours"] is not None:
        speed = (
            f"{time['steps_per_second']:.3g} steps/s, {time['hours']:,.1f} hours, {time['gpu_hours']:,.1f} "
            f"GPU-hours at a utilisation of {time['utilisation']:.2g} ({source})"
        )
    lines = [
        f"{found['experiment']} on {found['gpus']} x {found['gpu']}",
        "",
        f"parameters   {parameters['total']:,}: {parts}",
        f"context      {found['context']['tokens']:,} tokens ({found['tokenizer']}), "
        f"{found['context']['bases']:,} bases",
        f"operations   {flops['of_a_token']:.3g} FLOPs a token, {flops['of_a_step']:.3g} a step, "
        f"{flops['of_the_run']:.3g} in all",
        f"recipe       {recipe['steps']:,} steps, {recipe['tokens']:.3g} tokens, "
        f"{recipe['bases']:.3g} bases, {epochs}",
        f"time         {speed}",
        f"storage      {size_text(storage['checkpoints'])} of checkpoints, {size_text(storage['model'])} of "
        f"the model, {_size(storage['store'])} of the genome store, {size_text(storage['logs'])} of logs",
        "",
        *_memory_lines(found),
    ]
    if not found["micro_batch"]["fits"]:
        other = ["GPUs with more memory, or more of them with trainer=fsdp"]
        lines += ["", "It does not fit. What does:", *(f"  {each}" for each in found["advice"] or other)]
    return "\n".join(lines)


def _memory_lines(found: Mapping[str, Any]) -> list[str]:
    """The table of memory: a column for each way to compute."""
    memory, micro = found["memory"], found["micro_batch"]
    ways = memory["ways"]
    rows = [["GB a GPU", *ways]]
    for part in next(iter(ways.values())):
        is_count = part == "largest_micro_batch"
        cells = [f"{way[part]:,}" if is_count else f"{way[part] / 1e9:.2f}" for way in ways.values()]
        rows.append([part.replace("_", " "), *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    ]
    return [
        f"memory at {micro['samples']:,} windows ({micro['tokens']:,} tokens) a micro-batch, "
        f"{micro['passes']:,} a step on each GPU; of {memory['of_the_gpu'] / 1e9:.1f} GB tensors may take "
        f"{memory['for_tensors'] / 1e9:.1f}; the run takes: {micro['chosen']}",
        *table,
    ]


def _size(num_bytes: float | None) -> str:
    return "unknown size" if num_bytes is None else size_text(round(num_bytes))


def known_gpu(name: str, *, gibibytes: float | None = None) -> Gpu:
    """The figures of a GPU.

    Args:
        name: in either case.
        gibibytes: of its memory, where they differ from the listed ones.

    Raises:
        ConfigError: PLAN-01, it is not in the table.
    """
    gpu = find_gpu(name)
    if gpu is None:
        raise ConfigError(
            "PLAN-01",
            where="gpu",
            found=name,
            expected=f"one of {', '.join(gpu.name for gpu in GPUS)}",
            fix="name the one of these that is most like it, and give memory_gb and utilisation",
        )
    return gpu if gibibytes is None else Gpu(gpu.name, gpu.peak, gibibytes)


def read_recipe(config: Mapping[str, Any], *, bases: float | None = None) -> Recipe:
    """What the cost of a composed config depends on; its model is not built.

    Args:
        config: of `dnalm plan`.
        bases: of the corpus; if absent of the published one, where the config names no other.

    Raises:
        ConfigError: PLAN-02, the model is not a new encoder; what the components refuse.
    """
    tokenizer, windows, masking, batch = (
        _built(config, name) for name in ("tokenizer", "windows", "masking", "batch")
    )
    trainer, steps = _settings(config["trainer"]), config["steps"]
    kept_for_good = steps // trainer["keep_every"] if trainer["keep_every"] else 0
    rows = steps // trainer["log_every"] + steps // trainer["validate_every"]
    is_published = _DEMO in (config.get("data") or {}) and config["experiment"] in PUBLISHED
    recipe = Recipe(
        name=config["experiment"],
        encoder=_encoder(config["model"], tokenizer),
        tokenizer=tokenizer,
        windows=windows,
        masking=masking,
        batch=batch,
        steps=steps,
        strategy=trainer["strategy"],
        arithmetic=trainer["precision"] or "bf16-mixed",
        recomputes=trainer["activation_checkpointing"],
        bf16_residual=trainer["bf16_residual"],
        checkpoints=trainer["keep_checkpoints"] + trainer["keep_best"] + kept_for_good,
        rows=rows,
        corpus_bases=PUBLISHED[config["experiment"]].bases if bases is None and is_published else bases,
    )
    check_length(recipe.encoder, recipe.longest)
    return recipe


def _built(config: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401
    check(config[name], key=name)
    return build(config[name], key=name)


def _settings(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a trainer that costs depend on; what is not given is as its signature says."""
    stated = arguments(trainer["_target_"]) or ()
    defaults = {each.name: each.default for each in stated if each.name in _SETTINGS}
    given = {name: ast.literal_eval(text) for name, text in defaults.items() if text is not None}
    given |= trainer
    return {name: parse(given[name], kind, key=f"trainer.{name}") for name, kind in _SETTINGS.items()}


def _gpus_of(trainer: Mapping[str, Any]) -> int:
    """Processes that a trainer names; one where it leaves that to the machine."""
    settings = _settings(trainer)
    each = settings["devices"] if isinstance(settings["devices"], int) else 1
    return int(each * settings["num_nodes"])


def _encoder(node: Mapping[str, Any], tokenizer: Any) -> EncoderConfig:  # noqa: ANN401
    if node["_target_"] != _ENCODER:
        raise ConfigError(
            "PLAN-02",
            where="model",
            found=str(node["_target_"]),
            expected=f"a new {_ENCODER}, whose sizes the config states",
            fix="plan the experiment that the model is of, such as experiment=nt_v2_50m",
        )
    check(dict(node), key="model")
    stated = {name: value for name, value in node.items() if not name.startswith("_")}
    mask = 0 if isinstance(tokenizer, BpeRecipe) else tokenizer.special.mask  # of one to be learned, any
    return EncoderConfig(**stated, vocab_size=tokenizer.vocab_size, mask_id=mask)
