"""Training-step tokens a second beside stock `transformers`: the same BERT, recipe and precision.

    python experiments/throughput/training_step.py --threads 2

4 layers of 256, vocabulary of DNABERT-6, 8 sequences of up to 512 tokens, 15 % of them masked; forward,
backward, gradient clipping and AdamW. `full` has sequences of 512 tokens only; `mix` DNABERT's windows, half
of full length and half of uniform length, which stock pads. Steps alternate; only real tokens are counted.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import product

import torch
from torch.nn import functional as F  # noqa: N812 -- its usual name
from transformers import BertConfig, BertForMaskedLM

from dnalm.models import Encoder, MaskedLM, Packed

VOCABULARY, LAYERS, WIDTH, HEAD_WIDTH = 4101, 4, 256, 64
SEQUENCES, LONGEST, MASKED = 8, 512, 0.15


def lengths_of(kind: str) -> list[int]:
    generator = torch.Generator().manual_seed(0)
    uniform = torch.randint(7, LONGEST + 1, (SEQUENCES,), generator=generator).tolist()
    return [LONGEST if kind == "full" or i % 2 else uniform[i] for i in range(SEQUENCES)]


def steps(
    lengths: list[int], dropout: float, *, autocast: bool, layers: int = LAYERS, width: int = WIDTH
) -> dict[str, Callable[[], None]]:
    """One optimizer step of each, on the same tokens."""
    shape = {"vocab_size": VOCABULARY, "hidden_size": width, "intermediate_size": 4 * width}
    heads, places = width // HEAD_WIDTH, max(LONGEST, *lengths)
    ours = MaskedLM(
        Encoder(
            **shape,
            num_layers=layers,
            num_heads=heads,
            max_positions=places,
            dropout=dropout,
            attention_dropout=dropout,
        )
    )
    config = BertConfig(
        **shape,
        max_position_embeddings=places,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    stock = BertForMaskedLM(config).train()
    num_tokens = sum(lengths)
    ids = torch.randint(5, VOCABULARY, (num_tokens,))
    masked = torch.randperm(num_tokens)[: int(MASKED * num_tokens)].sort().values
    labels = torch.full((num_tokens,), -100)
    labels[masked] = ids[masked]
    packed = Packed.from_lengths(lengths)
    pad = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    padded, wanted = pad(ids.split(lengths)), pad(labels.split(lengths), padding_value=-100)
    real = (torch.arange(padded.shape[1]) < torch.tensor(lengths)[:, None]).long()
    precision = partial(torch.autocast, "cpu", torch.bfloat16, enabled=autocast)

    def step(model: torch.nn.Module, loss_of: Callable[[], torch.Tensor]) -> Callable[[], None]:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

        def run() -> None:
            with precision():
                loss = loss_of()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

        return run

    return {
        "dnalm": step(ours, lambda: F.cross_entropy(ours(ids, packed, masked), ids[masked])),
        "stock": step(stock, lambda: stock(input_ids=padded, attention_mask=real, labels=wanted).loss),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    for kind, autocast, dropout in product(("full", "mix"), (False, True), (0.1, 0.0)):
        lengths = lengths_of(kind)
        seconds: dict[str, list[float]] = {"dnalm": [], "stock": []}
        contenders = steps(lengths, dropout, autocast=autocast)
        for _ in range(arguments.rounds + 1):
            for name, run in contenders.items():
                began = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - began)
        speeds = {name: sum(lengths) / statistics.median(taken[1:]) for name, taken in seconds.items()}
        ratio = statistics.median(
            theirs / ours for ours, theirs in zip(seconds["dnalm"][1:], seconds["stock"][1:], strict=True)
        )
        title = f"{kind:<4} {'bf16' if autocast else 'fp32'} dropout {dropout}"
        figures = ", ".join(f"{name} {speed:7,.0f} tokens/s" for name, speed in speeds.items())
        print(f"{title}: {figures}, {ratio:.2f} times as fast", flush=True)


if __name__ == "__main__":
    main()
