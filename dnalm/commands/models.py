"""`dnalm models`: every experiment as published, with what it takes and when to choose it.

Micro-batches are as large as fit. `requirements_page` is the table of all experiments on four kinds of GPU,
`docs/requirements.md`.
"""

from __future__ import annotations

import json as as_json
from collections.abc import Sequence
from typing import Any

from dnalm.commands.plan import Share, known_gpu, read_recipe
from dnalm.compose.config import read_config
from dnalm.compose.groups import options
from dnalm.console import stdout
from dnalm.evaluation.plan import ESTIMATED, LAUNCHES_S, PUBLISHED, Plan, Recipe
from dnalm.limits import Jobs
from dnalm.tables import markdown_text

_AS_FITS = ("batch.micro_size=null", "batch.micro_tokens=auto")
_GPUS = ("L40S", "A100", "H100", "H200")
_RECIPE_COLUMNS = (
    "experiment",
    "parameters",
    "context, tokens",
    "bases",
    "FLOPs a token",
    "steps",
    "tokens",
    "bases read",
    "epochs",
    "FLOPs",
    "checkpoint, GB",
)
_MACHINE_COLUMNS = (
    "experiment",
    "GPU",
    "micro-batch, windows",
    "activations",
    "GB a GPU",
    "of them state",
    "largest, kept",
    "largest, recomputed",
    "steps/s",
    "hours",
    "GPU-hours",
)
_TREE = """\
Which one?
  no GPU, or millions of sequences to read          logo, or any experiment with size=tiny or size=small
  up to 500 bases, one genome (promoters, splicing) dnabert; grover reads 2,000 bases at about its cost
  several species, one GPU                          dnabert2 (windows of 700 bases), nt_v2_50m (12,000 bases)
  several species, a machine of GPUs for days       nt_v2_100m, nt_v2_250m, nt_v2_500m
  single bases; minutes on two cores (size=tiny)    dnalm, our own: convolutions, then attention
  annotations at hand                               logo_knowledge reads them, logo_multitask learns them
  to compare with published figures                 nt_v1_500m, nt_v1_2b5, dnabert_k3 to dnabert_k5
To fine-tune a published model (dnalm finetune model=…) costs far less; pretrain where your genomes are far
from its corpus."""


def list_models(
    *,
    config: dict[str, object],  # noqa: ARG001 -- every root is given it
    gpus: Jobs = 8,
    gpu: str | int = "H100",
    utilisation: Share | None = None,
    json: bool = False,
) -> None:
    """Print a table of all experiments, and how to choose among them.

    Args:
        config: the composed config.
        gpus: GPUs in all.
        gpu: their kind, as of `dnalm plan`.
        utilisation: the same.
        json: print JSON.

    Raises:
        ConfigError: PLAN-01, the GPU is unknown; CFG-19, the GPUs do not divide a batch.
    """
    kind = known_gpu(str(gpu))
    plans = [
        Plan(recipe=recipe, gpu=kind, gpus=gpus, utilisation=utilisation) for recipe in published_recipes()
    ]
    found = [plan.figures() for plan in plans]
    if json:
        print(as_json.dumps(found, indent=2))
        return
    names = ["experiment", "parameters", "tokens", "bases", "tokenizer", "corpus", "GPU-hours", "for"]
    rows = [
        [
            each["experiment"],
            f"{each['parameters']['total']:,}",
            f"{each['context']['tokens']:,}",
            f"{each['context']['bases']:,}",
            each["tokenizer"],
            PUBLISHED[each["experiment"]].corpus,
            f"{each['time']['gpu_hours']:,.0f}",
            PUBLISHED[each["experiment"]].when,
        ]
        for each in found
    ]
    stdout.print(_aligned([names, *rows]))
    source = "an estimate" if utilisation is None else "as given"
    where = f"{gpus} x {plans[0].gpu.name}, in micro-batches as large as fit ({' '.join(_AS_FITS)})"
    stdout.print(f"\nGPU-hours of the whole recipe on {where},")
    stdout.print(
        f"at a utilisation of up to {utilisation or ESTIMATED:g}, {source}: see dnalm plan.\n\n{_TREE}"
    )


def published_recipes() -> list[Recipe]:
    """Of every experiment, in micro-batches as large as fit."""
    return [
        read_recipe(read_config("plan", [f"experiment={name}", *_AS_FITS])) for name in options("experiment")
    ]


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def requirements_page() -> str:
    """The page of all experiments on machines of eight GPUs of four kinds."""
    figures = [
        Plan(recipe=recipe, gpu=known_gpu(gpu), gpus=8).figures()
        for recipe in published_recipes()
        for gpu in _GPUS
    ]
    return "\n".join(
        [
            "# What every experiment takes",
            "",
            "Written by `python docs/pages.py` from the recipes; a test holds it current. Nothing here was",
            "measured on a GPU: operations and bytes are counted, and hours follow from two estimates, a",
            f"utilisation of {ESTIMATED:g} of the listed bfloat16 peak, and {LAUNCHES_S * 1e3:g} ms a layer",
            "and micro-batch at least, in which kernels are launched. `dnalm plan` prints the same of your",
            "own config; [plan.md](plan.md) says how to read it.",
            "",
            "## Recipes",
            "",
            markdown_text(
                _RECIPE_COLUMNS,
                [_recipe_row(each) for each in figures[:: len(_GPUS)]],
            ),
            "## Eight GPUs",
            "",
            "Micro-batches are as large as fit, up to 65,536 tokens; state is what does not depend on them.",
            "Largest are the windows that fit where activations are kept or recomputed, at most a step's.",
            "",
            markdown_text(
                _MACHINE_COLUMNS,
                [_machine_row(each) for each in figures],
            ),
        ]
    )


def _recipe_row(found: dict[str, Any]) -> list[str]:
    recipe, flops = found["recipe"], found["flops"]
    return [
        found["experiment"],
        f"{found['parameters']['total']:,}",
        f"{found['context']['tokens']:,}",
        f"{found['context']['bases']:,}",
        f"{flops['of_a_token']:.2e}",
        f"{recipe['steps']:,}",
        f"{recipe['tokens']:.2e}",
        f"{recipe['bases']:.2e}",
        f"{recipe['epochs']:.3g}",
        f"{flops['of_the_run']:.2e}",
        f"{found['storage']['checkpoint'] / 1e9:.2f}",
    ]


def _machine_row(found: dict[str, Any]) -> list[str]:
    micro, time, ways = found["micro_batch"], found["time"], found["memory"]["ways"]
    chosen = ways[micro["chosen"]]
    state = chosen["weights"] + chosen["gradients"] + chosen["optimizer"] + chosen["copies"]
    return [
        found["experiment"],
        found["gpu"],
        f"{micro['samples']:,}",
        micro["chosen"].removeprefix("DDP, "),
        f"{chosen['total'] / 1e9:.1f}",
        f"{state / 1e9:.1f}",
        *(f"{ways[way]['largest_micro_batch']:,}" for way in ("DDP, kept", "DDP, recomputed")),
        f"{time['steps_per_second']:.3g}",
        f"{time['hours']:,.1f}",
        f"{time['gpu_hours']:,.0f}",
    ]
