"""What dnalm does on this machine's GPU: that it is right, then how fast it is. Tiny anywhere else.

    python experiments/throughput/gpu.py --out runs/bench-gpu                 # 8 minutes on one H100 or H200
    python experiments/throughput/gpu.py --out runs/bench-gpu --size tiny     # minutes on a CPU

Every part is tried by itself: one that fails is written down and the next goes on. A part begins only if the
time that is left of `--budget` suffices. Written to the folder: `gpu.json` as the parts end, `gpu.md` (the
tables), logs, and torch's trace with a table of kernels. On a CPU the figures mean nothing: a tiny run shows
that every part works.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import shutil
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- its usual name
from torch.profiler import ProfilerActivity, profile

from dnalm.compose import read_config
from dnalm.evaluation.inference import InferenceQueue, LoadedModel
from dnalm.models import Encoder, MaskedLM, Packed
from dnalm.models.flops import count_flops
from dnalm.models.gpus import find_gpu, matrix_rate
from dnalm.models.kernels import KERNELS
from dnalm.models.memory import Machine, PackSize, count_memory
from dnalm.tokenizers import KmerTokenizer
from dnalm.training import TrainerRecipe

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
NAME = torch.cuda.get_device_name() if CUDA else platform.processor() or "cpu"
Found = dict[str, Any]
TINY: Found = {"hidden_size": 64, "num_layers": 2, "num_heads": 2, "intermediate_size": 128}
UNDROPPED: Found = {"dropout": 0.0, "attention_dropout": 0.0}
MASKED, PADDING, MASK, FIRST = 0.15, 0, 4, 5  # share of tokens, ids, and the first id that spells bases


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A published model and the lengths of what it reads.

    Attributes:
        experiment: whose model it is.
        vocab_size: of its tokenizer.
        longest: tokens of a full window.
        mixed: whether lengths vary as DNABERT's do, half of them full.
        packs: tokens of a micro-batch: about the published one, and those that fill a GPU.
        changes: switches that differ from the published ones.
    """

    experiment: str
    vocab_size: int
    longest: int
    packs: tuple[int, ...]
    mixed: bool = False
    changes: tuple[tuple[str, Any], ...] = ()

    def encoder(self, *, tiny: bool, **more: object) -> Encoder:
        """On the CPU."""
        config = read_config("pretrain", [f"experiment={self.experiment}"])["model"]
        switches = {key: value for key, value in config.items() if not key.startswith("_")}
        switches |= dict(self.changes) | (TINY if tiny else {}) | more
        ids = {"vocab_size": self.vocab_size, "padding_id": PADDING, "mask_id": MASK}
        return Encoder(**{**switches, **ids})

    def lengths(self, tokens: int) -> list[int]:
        """Sequences of about so many tokens together, at least one."""
        rng, found = np.random.default_rng(0), [self.longest]
        while sum(found) + self.longest <= tokens:
            full = not self.mixed or rng.random() < 0.5
            found.append(self.longest if full else int(rng.integers(7, self.longest + 1)))
        return found


SHAPES = {
    "dnabert": Shape(
        experiment="dnabert", vocab_size=4101, longest=512, mixed=True, packs=(3_200, 32_768, 65_536)
    ),
    "dnabert, no dropout": Shape(
        experiment="dnabert",
        vocab_size=4101,
        longest=512,
        mixed=True,
        packs=(65_536,),
        changes=tuple(UNDROPPED.items()),
    ),
    "dnabert2": Shape(experiment="dnabert2", vocab_size=4096, longest=128, packs=(8_192, 65_536)),
    "nt_v2_100m": Shape(experiment="nt_v2_100m", vocab_size=4107, longest=2048, packs=(32_768,)),
    "nt_v2_500m": Shape(experiment="nt_v2_500m", vocab_size=4107, longest=2048, packs=(16_384, 32_768)),
}


class Bench:
    """The parts, what they found, and the time that is left."""

    def __init__(self, out: Path, *, budget_s: float, tiny: bool) -> None:
        self.out, self.tiny = out, tiny
        self.began, self.until = time.monotonic(), time.monotonic() + budget_s
        self.found: dict[str, Found] = {}
        out.mkdir(parents=True, exist_ok=True)

    @property
    def left_s(self) -> float:
        """Seconds of the budget."""
        return self.until - time.monotonic()

    def part(self, name: str, run: Callable[[Bench], Found], *, needs_s: float) -> None:
        """Try a part, and write down what it found."""
        began = time.monotonic()
        if self.left_s < needs_s:
            self.found[name] = {"left out": f"{self.left_s:.0f} s are left, it wants {needs_s:g}"}
        else:
            try:
                self.found[name] = run(self)
            except Exception as error:  # the next part is worth its time too
                self.found[name] = {"failed": _said(error), "traceback": traceback.format_exc()}
            self.found[name]["seconds"] = round(time.monotonic() - began, 1)
        shown = {key: value for key, value in self.found[name].items() if key != "traceback"}
        print(f"[{time.monotonic() - self.began:4.0f} s] {name}: {json.dumps(shown)[:600]}", flush=True)
        (self.out / "gpu.json").write_text(json.dumps(self.found, indent=1) + "\n")
        if CUDA:
            torch.cuda.empty_cache()

    @cached_property
    def rate(self) -> float:
        """FLOP/s of a large bfloat16 product."""
        return matrix_rate(DEVICE, torch.bfloat16)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def seconds_of(run: Callable[[], object], *, repeats: int) -> float:
    """Median seconds of a call, the device's work included."""
    taken = []
    for _ in range(repeats):
        _wait()
        began = time.perf_counter()
        run()
        _wait()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _wait() -> None:
    if CUDA:
        torch.cuda.synchronize()


# What is measured against


def ceilings(bench: Bench) -> Found:
    """What this device gives at best: a large product, a copy, and the products of our widths."""
    copied = torch.empty(1 << (20 if bench.tiny else 28), device=DEVICE)
    target = torch.empty_like(copied)
    rows = 64 if bench.tiny else 32_768
    products = {}
    for inner, outer in ((768, 768), (768, 3072), (3072, 768), (1024, 8192), (4096, 1024)):
        left = torch.randn(rows, inner, device=DEVICE, dtype=torch.bfloat16)
        right = torch.randn(outer, inner, device=DEVICE, dtype=torch.bfloat16)
        taken = seconds_of(partial(F.linear, left, right), repeats=10)
        products[f"{rows} x {inner} x {outer}"] = round(2 * rows * inner * outer / taken / 1e12, 2)
    return {
        "device": NAME,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "listed peak, TFLOP/s": gpu.peak / 1e12 if (gpu := find_gpu(NAME)) else None,
        "measured, TFLOP/s": round(bench.rate / 1e12, 2),
        "copy, GB/s": round(
            2 * 4 * copied.numel() / seconds_of(partial(target.copy_, copied), repeats=5) / 1e9
        ),
        "products, TFLOP/s": products,
        "driver": _driver(),
    }


def _driver() -> str:
    if not shutil.which("nvidia-smi"):
        return ""
    query = "--query-gpu=name,driver_version,clocks.sm,clocks.mem,power.limit"
    said = subprocess.run(
        ["nvidia-smi", query, "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return said.stdout.strip()


# That it is right


@dataclass(frozen=True, eq=False)
class Pack:
    """A micro-batch on the device."""

    lengths: list[int]
    ids_N: Tensor  # noqa: N815
    packed: Packed
    masked_M: Tensor  # noqa: N815

    @classmethod
    def make(cls, shape: Shape, tokens: int) -> Pack:
        """Of random ids."""
        lengths, generator = shape.lengths(tokens), torch.Generator().manual_seed(1)
        total = sum(lengths)
        ids = torch.randint(FIRST, shape.vocab_size, (total,), generator=generator)
        masked = torch.randperm(total, generator=generator)[: int(MASKED * total)].sort().values
        packed = Packed.from_lengths(lengths)
        on_device = Packed(packed.cu_lengths.to(DEVICE), packed.max_length)
        return cls(lengths, ids.to(DEVICE), on_device, masked.to(DEVICE))


def stepper(model: MaskedLM, pack: Pack) -> Callable[[], Tensor]:
    """One optimizer step in bfloat16; the loss, which nothing waits for."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    labels_M = pack.ids_N[pack.masked_M]

    def step() -> Tensor:
        with torch.autocast(DEVICE.type, torch.bfloat16):
            loss = model.loss(pack.ids_N, pack.packed, pack.masked_M, labels_M) / len(labels_M)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def _ways(shape: Shape) -> Iterator[tuple[str, Found]]:
    """Kernels that can compute a shape here, each with the switches it needs."""
    dropping = shape.encoder(tiny=True).attention_dropout > 0
    alibi = shape.encoder(tiny=True).positions == "alibi"
    for name, kernel in KERNELS.items():
        if (name in ("flex", "varlen") and not CUDA) or (alibi and not kernel.alibi):
            continue
        yield name, {"attention_dropout": 0.0} if dropping and not kernel.dropout else {}
    yield "auto", {}


def placement(bench: Bench) -> Found:
    """Each model takes steps with each kernel; in the third, whatever waits for the GPU is an error."""
    found: Found = {}
    for name, shape in SHAPES.items():
        for kernel, changes in _ways(shape):
            model = MaskedLM(shape.encoder(tiny=True, kernel=kernel, **changes)).to(DEVICE).train()
            step = stepper(model, Pack.make(shape, 300 if bench.tiny else 4_000))
            step(), step()
            try:
                if CUDA:
                    _wait()
                    torch.cuda.set_sync_debug_mode("error")
                loss = step()
            finally:
                if CUDA:
                    torch.cuda.set_sync_debug_mode("default")
            found[f"{name}, {kernel}"] = round(float(loss), 4)
    return found


def parity(bench: Bench) -> Found:
    """The losses of 30 steps here, in float32 and bfloat16, beside those of a CPU in float32."""
    steps, curves = 6 if bench.tiny else 30, {}
    for place, narrow in ((torch.device("cpu"), False), (DEVICE, False), (DEVICE, True)):
        torch.manual_seed(0)
        sizes: Found = {"hidden_size": 128, "num_layers": 4, "num_heads": 4, "intermediate_size": 512}
        model = MaskedLM(
            Encoder(vocab_size=30, positions="rotary", norm_placement="pre", **sizes, **UNDROPPED)
        )
        curves[f"{place.type}, {'bfloat16' if narrow else 'float32'}"] = _curve(
            model.to(place).train(), place, steps, narrow=narrow
        )
    expected = curves.pop("cpu, float32") if CUDA else curves["cpu, float32"]
    worst = {
        name: max(abs(a - b) / b for a, b in zip(curve, expected, strict=True))
        for name, curve in curves.items()
    }
    for name, off in worst.items():
        limit = 3e-2 if "bfloat16" in name else 5e-3
        assert off < limit, f"{name} is off by {off:.2g}, and {limit:g} is the limit"
    return {"largest relative difference": worst, "first and last": [expected[0], expected[-1]]}


def _curve(model: MaskedLM, place: torch.device, steps: int, *, narrow: bool) -> list[float]:
    optimizer, packed = torch.optim.AdamW(model.parameters(), lr=1e-3), Packed.from_lengths([200, 56, 256])
    on_device = Packed(packed.cu_lengths.to(place), packed.max_length)
    masked, losses = torch.arange(0, 512, 7), []
    for number in range(steps):
        generator = torch.Generator().manual_seed(number)
        ids = torch.randint(FIRST, 25, (512,), generator=generator)
        shown = ids.index_fill(0, masked, MASK)
        with torch.autocast(place.type, torch.bfloat16, enabled=narrow):
            summed = model.loss(shown.to(place), on_device, masked.to(place), ids[masked].to(place))
        loss = summed / len(masked)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


def command(words: Sequence[str], log: Path, *, limit_s: float) -> Found:
    """Run a program; its exit code is an error unless it is 0.

    Raises:
        RuntimeError: it failed, with the end of what it said.
    """
    with log.open("a") as file:
        file.write(f"$ {' '.join(words)}\n")
        file.flush()
        ended = subprocess.run(
            [sys.executable, *words], stdout=file, stderr=subprocess.STDOUT, timeout=limit_s, check=False
        )
    if ended.returncode:
        raise RuntimeError(f"exit code {ended.returncode}; {log} ends: {log.read_text()[-800:]}")
    return {"log": log.name}


def run_of_ours(bench: Bench, name: str, *words: str) -> Found:
    """A whole `dnalm pretrain`, stopped half-way and gone on with; what its summary says."""
    run, log = bench.out / "runs" / name, bench.out / f"{name}.log"
    shutil.rmtree(run, ignore_errors=True)
    small = ["size=tiny", "masking.final_from=2"] if bench.tiny else []
    recipe = ["windows.num_validation=128", "schedule.warmup_steps=2", *small, *words]
    often = ["trainer.validate_every=10", "trainer.checkpoint_every=10"]
    for steps in (10, 20):
        command(
            ["-m", "dnalm", "pretrain", "data=demo", f"run.dir={run}", f"steps={steps}", *often, *recipe],
            log,
            limit_s=max(60.0, bench.left_s),
        )
    summary = json.loads((run / "summary.json").read_text())
    return {key: value for key, value in summary.items() if isinstance(value, int | float)}


def run_gpu(bench: Bench) -> Found:
    """One process, micro-batches as large as fit its memory by `count_memory`, filled up to few sizes."""
    sizes = ["batch.micro_size=null", "batch.micro_tokens=auto"]
    sizes.append(f"batch.global_size={32 if bench.tiny else 256}")
    return run_of_ours(bench, "gpu", "experiment=dnabert", *_trainer("gpu"), *sizes)


def run_fsdp(bench: Bench) -> Found:
    """FSDP2, activations computed again, compiled."""
    sizes = ["batch.micro_size=8", "batch.global_size=16", "trainer.devices=1"]
    sizes.append("trainer.activation_checkpointing=true")
    compiled = ["trainer.compile=true"] if CUDA else []
    return run_of_ours(bench, "fsdp", "experiment=nt_v2_50m", *_trainer("fsdp"), *sizes, *compiled)


def _trainer(name: str) -> list[str]:
    """The trainer of a GPU, or the same on a CPU."""
    return [f"trainer={name}", *([] if CUDA else ["trainer.accelerator=cpu"])]


# How fast it is


RECIPES = (TrainerRecipe(), TrainerRecipe(compile=True), TrainerRecipe(compile=True, bf16_residual=True))


def throughput(bench: Bench) -> Found:
    """Steps of each model by kernel, pack size, compiled or not, and residual stream."""
    rows: list[Found] = []
    for name, shape in SHAPES.items():
        for tokens in shape.packs[:1] if bench.tiny else shape.packs:
            for kernel, changes in _ways(shape):
                if kernel == "eager" or changes:
                    continue
                for recipe in RECIPES if CUDA else RECIPES[:1]:
                    if bench.left_s < (60 if recipe.compile else 40):
                        return {"rows": rows, "stopped": "the time was short"}
                    row = {"model": name, "pack": tokens, "kernel": kernel, "compiled": recipe.compile}
                    row["residual"] = "bf16" if recipe.bf16_residual else "fp32"
                    try:
                        row |= _speed(bench, shape, 300 if bench.tiny else tokens, kernel, recipe)
                    except Exception as error:  # such as too little memory; the next row may fit
                        row["failed"] = _said(error)
                    rows.append(row)
                    print("   ", json.dumps(row), flush=True)
    return {"rows": rows}


def _speed(bench: Bench, shape: Shape, tokens: int, kernel: str, recipe: TrainerRecipe) -> Found:
    torch.manual_seed(0)
    model = MaskedLM(shape.encoder(tiny=bench.tiny, kernel=kernel)).to(DEVICE).train()
    recipe.parallel(model, (), None)
    pack = Pack.make(shape, tokens)
    step = stepper(model, pack)
    if CUDA:
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    for _ in range(2 if bench.tiny else 4):
        step()
    _wait()
    warm_up, taken = time.perf_counter() - began, seconds_of(step, repeats=3 if bench.tiny else 12)
    predicted = len(pack.masked_M)
    size = PackSize.of(pack.lengths, predicted=predicted)
    work = count_flops(model.encoder, tokens=size.tokens, pairs=size.pairs, predicted=predicted).training
    gpu = find_gpu(NAME)
    machine = Machine(device="cuda" if CUDA else "cpu", bf16_residual=recipe.bf16_residual)
    expected = count_memory(model.encoder, size, machine).total
    return {
        "tokens/s": round(size.tokens / taken),
        "ms": round(taken * 1e3, 2),
        "TFLOP/s": round(work / taken / 1e12, 2),
        "of listed peak": round(work / taken / gpu.peak, 4) if gpu else None,
        "of measured rate": round(work / taken / bench.rate, 4),
        "peak GiB": round(torch.cuda.max_memory_allocated() / 2**30, 2) if CUDA else None,
        "counted GiB": round(expected / 2**30, 2),
        "warm-up s": round(warm_up, 1),
    }


def stock_trainer(bench: Bench) -> Found:
    """`transformers.Trainer` on DNABERT's lengths, its best stock settings, loader and logging included."""
    rows = []
    for compiled in (False, True) if CUDA else (False,):
        if bench.left_s < 60:
            break
        rate = _trainer_rate(bench, compiled=compiled)
        rows.append({"compiled": compiled, "real tokens/s": round(rate)})
    return {"rows": rows}


class _Windows(torch.utils.data.Dataset[dict[str, list[int]]]):
    """Random ids in DNABERT's lengths."""

    def __init__(self, number: int) -> None:
        rng, shape = np.random.default_rng(0), SHAPES["dnabert"]
        lengths = shape.lengths(number * shape.longest)[:number]
        self.rows = [rng.integers(FIRST, shape.vocab_size, length).tolist() for length in lengths]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return {"input_ids": self.rows[index]}


def padded(samples: Sequence[Mapping[str, list[int]]]) -> dict[str, Tensor]:
    """A padded batch with 15 % of its tokens masked, as stock collators make it."""
    ids = [torch.tensor(sample["input_ids"]) for sample in samples]
    input_ids = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=PADDING)
    real = input_ids != PADDING
    chosen = real & (torch.rand(input_ids.shape) < MASKED)
    labels = input_ids.masked_fill(~chosen, -100)
    return {
        "input_ids": input_ids.masked_fill(chosen, MASK),
        "attention_mask": real.long(),
        "labels": labels,
    }


class Clock(transformers.TrainerCallback):
    """Times the steps after the first ones, in which kernels are chosen and compiled.

    Args:
        skipped: how many these are.

    Attributes:
        seconds: that the others took.
        tokens: of them, where `Trainer` counts tokens.
    """

    def __init__(self, skipped: int) -> None:
        self.skipped, self.began, self.seconds, self.tokens = skipped, 0.0, 0.0, 0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: object) -> None:  # noqa: ANN401, ARG002
        """Start, or read, the clock."""
        if state.global_step == self.skipped:
            _wait()
            self.began, self.tokens = time.perf_counter(), state.num_input_tokens_seen
        if state.global_step == state.max_steps:
            _wait()
            self.seconds = time.perf_counter() - self.began
            self.tokens = state.num_input_tokens_seen - self.tokens


def _trainer_rate(bench: Bench, *, compiled: bool) -> float:
    """Real tokens a second of whole training."""
    steps, skipped, each = (4, 1, 4) if bench.tiny else (40, 10, 128)
    shape = SHAPES["dnabert"]
    narrow: Found = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 128,
    }
    config = transformers.BertConfig(vocab_size=shape.vocab_size, **(narrow if bench.tiny else {}))
    windows, clock = _Windows(steps * each), Clock(skipped)
    arguments = transformers.TrainingArguments(
        output_dir=str(bench.out / "trainer"),
        max_steps=steps,
        per_device_train_batch_size=each,
        bf16=CUDA,
        use_cpu=not CUDA,
        optim="adamw_torch_fused",
        torch_compile=compiled,
        dataloader_num_workers=4 if CUDA else 0,
        dataloader_pin_memory=CUDA,
        train_sampling_strategy="group_by_length",
        save_strategy="no",
        report_to=[],
        logging_steps=10,
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(
        model=transformers.BertForMaskedLM(config),
        args=arguments,
        train_dataset=windows,
        data_collator=padded,
        callbacks=[clock],
    )
    trainer.train()
    tokens = sum(len(row) for row in windows.rows) / steps * (steps - skipped)
    return tokens / clock.seconds


def whole_training(bench: Bench) -> Found:
    """`dnalm pretrain` itself: tokens a second with its loader, its logging and its checkpoints."""
    run, log = bench.out / "runs" / "whole", bench.out / "whole.log"
    shutil.rmtree(run, ignore_errors=True)
    sizes = ["size=tiny", "batch.micro_size=4", "batch.global_size=4", "windows.num_validation=16"]
    full = ["batch.micro_size=128", "batch.global_size=128", "windows.num_validation=128"]
    command(
        [
            *("-m", "dnalm", "pretrain", "experiment=dnabert", "data=demo", f"run.dir={run}"),
            *_trainer("gpu"),
            f"steps={4 if bench.tiny else 60}",
            "schedule.warmup_steps=1",
            *(sizes if bench.tiny else full),
            *(["trainer.compile=true"] if CUDA else []),
        ],
        log,
        limit_s=max(60.0, bench.left_s),
    )
    summary = json.loads((run / "summary.json").read_text())
    return {key: value for key, value in summary.items() if isinstance(value, int | float)}


def inference(bench: Bench) -> Found:
    """Variants a second by `llr`'s work, and bases a second embedded, of DNABERT-117M or a tiny model."""
    tokenizer, shape, found = KmerTokenizer(k=6), SHAPES["dnabert"], {}
    ids = {"padding_id": tokenizer.special.padding, "mask_id": tokenizer.special.mask}
    torch.manual_seed(0)
    network = MaskedLM(shape.encoder(tiny=bench.tiny, **ids)).to(DEVICE).eval()
    rng, number = np.random.default_rng(0), 8 if bench.tiny else 2000
    texts = [tokenizer.encode(rng.integers(0, 4, 505).astype(np.uint8)) for _ in range(number)]
    hidden = np.arange(250, 256)
    for precision in ("float32", "bfloat16"):
        model = LoadedModel(network=network, tokenizer=tokenizer, precision=precision)
        for kind, quantity in {"variants/s": "base_log_p", "bases/s embedded": "hidden_states"}.items():
            queue = InferenceQueue(model, batch_tokens=16_384, layers=[network.encoder.num_layers])
            for text in texts:
                queue.submit(quantity, text, lambda _: None, tokens=hidden)  # type: ignore[arg-type]
            taken = seconds_of(queue.run, repeats=1)
            each = 0.5 if kind == "variants/s" else 505  # a variant is read on both strands
            found[f"{kind}, {precision}"] = round(number * each / taken)
    return found


def gpu_tests(bench: Bench) -> Found:
    """tests/gpu, all of which skip where there is no GPU."""
    words = ["-m", "pytest", "tests/gpu", "-q", "-x", "-W", "default", "-p", "no:cacheprovider"]
    return command(words, bench.out / "tests.log", limit_s=max(60.0, bench.left_s))


def kernels(bench: Bench) -> Found:
    """torch's trace of three steps, and the kernels that took longest."""
    shape = SHAPES["dnabert, no dropout"]
    model = MaskedLM(shape.encoder(tiny=bench.tiny, kernel="varlen" if CUDA else "sdpa")).to(DEVICE).train()
    step = stepper(model, Pack.make(shape, 300 if bench.tiny else 32_768))
    step(), step()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if CUDA else [])]
    with profile(activities=activities) as seen:
        for _ in range(3):
            step()
        _wait()
    trace = bench.out / "trace.json"
    seen.export_chrome_trace(str(trace))
    with trace.open("rb") as plain, gzip.open(f"{trace}.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    trace.unlink()
    by = "self_cuda_time_total" if CUDA else "self_cpu_time_total"
    (bench.out / "kernels.txt").write_text(seen.key_averages().table(sort_by=by, row_limit=40))
    return {"trace": "trace.json.gz", "table": "kernels.txt"}


PARTS: dict[str, tuple[Callable[[Bench], Found], float]] = {
    "ceilings": (ceilings, 10),
    "placement": (placement, 20),
    "parity": (parity, 20),
    "pretrain trainer=gpu": (run_gpu, 60),
    "pretrain trainer=fsdp": (run_fsdp, 60),
    "throughput": (throughput, 60),
    "whole training": (whole_training, 45),
    "transformers Trainer": (stock_trainer, 60),
    "inference": (inference, 30),
    "tests": (gpu_tests, 60),
    "kernels": (kernels, 20),
}


def table(found: Mapping[str, Found]) -> str:
    """What was found, as Markdown."""
    lines = []
    for part, values in found.items():
        lines += [f"## {part}", ""]
        rows = values.get("rows", [])
        if rows:
            columns = list(dict.fromkeys(key for row in rows for key in row))
            lines += [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
            lines += [f"| {' | '.join(str(row.get(key, '')) for key in columns)} |" for row in rows]
            lines.append("")
        others = {key: value for key, value in values.items() if key not in ("rows", "traceback")}
        lines += [f"- {key}: {value}" for key, value in others.items()] + [""]
    return "\n".join(lines)


def main() -> None:
    """Run the parts; the exit code is 1 if one has failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", choices=("tiny", "full"), default="full" if CUDA else "tiny")
    parser.add_argument("--budget", type=float, default=480, help="seconds")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))
    given = parser.parse_args()
    bench = Bench(given.out, budget_s=given.budget, tiny=given.size == "tiny")
    for name in given.only:
        run, needs_s = PARTS[name]
        bench.part(name, run, needs_s=needs_s)
    (given.out / "gpu.md").write_text(table(bench.found) + "\n")
    failed = [name for name, found in bench.found.items() if "failed" in found]
    failed += [
        f"{name}: {row}"
        for name, found in bench.found.items()
        for row in found.get("rows", [])
        if "failed" in row
    ]
    if failed:
        sys.exit(f"failed: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
