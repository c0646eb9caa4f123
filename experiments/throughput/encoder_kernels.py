"""Which way of computing packed attention is fastest on this CPU, forward and backward.

    python experiments/throughput/encoder_kernels.py --threads 1

Prints, for each shape, the best time of the chosen way and how many times longer each other way
takes; ways alternate within the run, so that a busy machine slows all of them alike. Nothing is written.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- its usual name

from dnalm.models import Layout, Packed
from dnalm.models.kernels import Dropout, eager, prepare, sdpa

LONGEST = 510
Way = Callable[[Tensor, Tensor, Tensor, Layout, float], Tensor]


def one_by_one(query: Tensor, key: Tensor, value: Tensor, layout: Layout, dropout: float) -> Tensor:
    """Fused attention on each sequence."""
    lengths = layout.lengths_B.tolist()
    parts = zip(*(x.split(lengths) for x in (query, key, value)), strict=True)
    return torch.cat([_dense(*(x[None] for x in part), dropout)[0] for part in parts])


def grouped(query: Tensor, key: Tensor, value: Tensor, layout: Layout, dropout: float) -> Tensor:
    """Equal lengths are gathered from wherever they lie, and each group is one dense block."""
    starts = layout.lengths_B.cumsum(0) - layout.lengths_B
    mixed, places = [], []
    for length in layout.lengths_B.unique().tolist():
        chosen = starts[layout.lengths_B == length]
        place = (chosen[:, None] + torch.arange(length)).flatten()
        group = (x[place].unflatten(0, (len(chosen), length)) for x in (query, key, value))
        mixed.append(_dense(*group, dropout).flatten(0, 1))
        places.append(place)
    return torch.empty_like(query).index_copy(0, torch.cat(places), torch.cat(mixed))


def by_runs(query: Tensor, key: Tensor, value: Tensor, layout: Layout, dropout: float) -> Tensor:
    """The `sdpa` kernel as it is on a CPU."""
    prepared = prepare(layout, "sdpa", dtype=query.dtype, dropout=dropout, width=query.shape[-1])
    return sdpa(query, key, value, prepared, dropout)


def padded(query: Tensor, key: Tensor, value: Tensor, layout: Layout, dropout: float) -> Tensor:
    """The same as it is on a GPU for sequences of unequal lengths."""
    return by_runs(query, key, value, replace(layout, runs=None, is_full=False), dropout)


def nested(query: Tensor, key: Tensor, value: Tensor, layout: Layout, dropout: float) -> Tensor:
    """PyTorch's jagged nested tensors."""
    offsets = F.pad(layout.lengths_B.cumsum(0), (1, 0))
    jagged = (torch.nested.nested_tensor_from_jagged(x, offsets).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(*jagged, dropout_p=dropout).transpose(1, 2).values()


def _dense(query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
    heads_first = (x.transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(*heads_first, dropout_p=dropout).transpose(1, 2)


def lengths_of(kind: str, num_sequences: int) -> list[int]:
    """All of the longest length, or every other one uniform from 5, as DNABERT cuts its windows."""
    uniform = torch.randint(5, LONGEST + 1, (num_sequences,)).tolist()
    return [LONGEST if kind == "full" or i % 2 else uniform[i] for i in range(num_sequences)]


def best_times(steps: dict[str, Callable[[], object]], *, repeats: int) -> dict[str, float]:
    """Shortest seconds of each step, alternating."""
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(repeats):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def attention_steps(
    ways: dict[str, Way], lengths: list[int], *, width: int, head: int, dropout: float, dtype: torch.dtype
) -> dict[str, Callable[[], object]]:
    """Forward and backward of each way on the same random input."""
    layout = Packed.from_lengths(lengths).layout(sum(lengths))
    inputs = [torch.randn(sum(lengths), width // head, head, dtype=dtype) for _ in range(3)]
    leaves = [x.requires_grad_() for x in inputs]
    grad = torch.randn_like(inputs[0])
    return {
        name: partial(lambda way: way(*leaves, layout, dropout).backward(grad), way)
        for name, way in ways.items()
    }


def report(title: str, times: dict[str, float]) -> None:
    """One line: the first way's milliseconds, and the others as multiples of it."""
    (first, base), *others = times.items()
    ratios = "  ".join(f"{name} {seconds / base:5.2f}x" for name, seconds in others)
    print(f"{title:44} {first} {base * 1e3:7.1f} ms  {ratios}", flush=True)


def shapes(sizes: list[int]) -> Iterator[tuple[str, int, int, int]]:
    """(kind, sequences, width, head width)."""
    yield from product(("full", "mix"), sizes, (128, 256), (32, 64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--sequences", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--nested", action="store_true", help="time nested tensors too, which is slow")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", message=".*nested tensors.*")
    ways: dict[str, Way] = {
        "runs": by_runs,
        "padded": padded,
        "one-by-one": one_by_one,
        "grouped": grouped,
    }
    if arguments.nested:
        ways["nested"] = nested
    dropped: dict[str, Way] = {
        "ours": by_runs,
        "padded": padded,
        "one-by-one": one_by_one,
        "eager": eager,
    }
    for dropout, contenders in ((0.0, ways), (0.1, dropped)):
        for kind, count, width, head in shapes(arguments.sequences):
            steps = attention_steps(
                contenders,
                lengths_of(kind, count),
                width=width,
                head=head,
                dropout=dropout,
                dtype=getattr(torch, arguments.dtype),
            )
            title = f"dropout {dropout} {kind:4} {count:2} sequences D {width} K {head}"
            report(title, best_times(steps, repeats=arguments.repeats))
    hidden = torch.randn(16 * LONGEST, 256)
    layers = {"ours": Dropout(0.1), "stock": torch.nn.Dropout(0.1)}
    steps = {name: partial(layer, hidden) for name, layer in layers.items()}
    report("hidden dropout 0.1, forward, D 256", best_times(steps, repeats=10 * arguments.repeats))


if __name__ == "__main__":
    main()
