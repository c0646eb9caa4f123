"""Bases a second of `dnalm predict`, against plain loops around stock `transformers`: ratios of one run.

    python experiments/throughput/predict.py [number of sequences, 1000]

The model is a BERT of overlapping 6-mers, 4 layers of 256, with a `cls` head and random weights, written as
a directory that stock `transformers` opens; sequences are random, of 60 to 500 bases, in random order. The
loops do what a first script does: one sequence at a time, and padded batches of 32 in the order of the file.
All get their ids from the same tokenizer; no files are read or written.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from dnalm.evaluation.inference import Floats, LoadedModel
from dnalm.evaluation.prediction.reader import PredictionRecipe, Predictor
from dnalm.genome.alphabet import Codes
from dnalm.models import Encoder, HeadShape, MaskedLM, SequenceModel, save_pretrained
from dnalm.tokenizers import KmerTokenizer
from dnalm.training.model_directory import DescribedHead, Finetuned, make_task_head


def main() -> None:
    """Measure and print one line each."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    rng, tokenizer = np.random.default_rng(0), KmerTokenizer(k=6)
    sequences = [rng.integers(0, 4, rng.integers(60, 501)).astype(np.uint8) for _ in range(number)]
    loaded, stock = _models(tokenizer)
    print(f"{number} sequences, {torch.get_num_threads()} threads; differences are those of probabilities")
    rates, expected = {}, np.zeros(0)
    for size in (1, 32):
        looped = sequences[: max(32, number // 4)]
        began = time.perf_counter()
        expected = _loop(stock, tokenizer, looped, size)
        rates[size] = sum(map(len, looped)) / (time.perf_counter() - began)
        name = "one sequence at a time" if size == 1 else f"padded batches of {size}"
        print(f"stock loop, {name}: {rates[size]:,.0f} bases/s of {len(looped)}")
    for precision in ("float32", "bfloat16"):
        predictor = Predictor([replace(loaded, precision=precision)], PredictionRecipe())
        predictor.predict(sequences[:32])
        began = time.perf_counter()
        found = np.stack(predictor.predict(sequences))
        rate = sum(map(len, sequences)) / (time.perf_counter() - began)
        worst = np.abs(found[: len(expected)] - expected).max()
        ratios = " and ".join(f"{rate / its_rate:.1f}" for its_rate in rates.values())
        print(f"dnalm, {precision}: {rate:,.0f} bases/s, {ratios} times those; off by {worst:.1e} at most")


def _models(tokenizer: KmerTokenizer) -> tuple[LoadedModel, PreTrainedModel]:
    torch.manual_seed(0)
    ids = {"vocab_size": tokenizer.vocab_size, "padding_id": tokenizer.special.padding}
    sizes = {"hidden_size": 256, "num_layers": 4, "num_heads": 4, "intermediate_size": 1024}
    network = MaskedLM(Encoder(**ids, **sizes, mask_id=tokenizer.special.mask, max_positions=512))
    shape = HeadShape(num_outputs=2, pooling="cls")
    model = SequenceModel(network, shape).eval()
    described = DescribedHead(
        task="t", kind="binary", classes=[], limit=510, length_bp=300, center=0.0, scale=1.0, shape=shape
    )
    with tempfile.TemporaryDirectory() as folder:
        head = make_task_head(described, model.head.state_dict(), tokenizer)
        save_pretrained(network, Path(folder), task_head=head)
        stock = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    loaded = LoadedModel(
        network=network, tokenizer=tokenizer, finetuned=Finetuned(model, tokenizer, described)
    )
    return loaded, stock


@torch.inference_mode()
def _loop(stock: PreTrainedModel, tokenizer: KmerTokenizer, sequences: list[Codes], size: int) -> Floats:
    found = []
    for first in range(0, len(sequences), size):
        texts = [torch.from_numpy(tokenizer.encode(codes)) for codes in sequences[first : first + size]]
        ids = torch.nn.utils.rnn.pad_sequence(
            texts, batch_first=True, padding_value=tokenizer.special.padding
        )
        lengths = torch.tensor([len(text) for text in texts])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        logits = stock(input_ids=ids, attention_mask=mask).logits
        found.append(logits.double().softmax(-1).numpy())
    return np.concatenate(found)


if __name__ == "__main__":
    main()
