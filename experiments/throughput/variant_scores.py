"""Variants a second of `llr`, against one variant at a time: the ratio in the same run.

    python experiments/throughput/variant_scores.py [number of SNVs, 10000]

The model is dnabert at size=tiny with random weights; the genome is random. The loop scores as a first
script would: for each variant, each strand and each allele one forward of one window; it is timed on a part,
once around stock `transformers` and once around our network, which computes logits where they are asked for.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM

from dnalm.evaluation.inference import LoadedModel
from dnalm.evaluation.variants.scoring import MaskedRatio, Scorer, ScoringPlan, make_pair
from dnalm.genome.store import GenomeStore, open_or_build
from dnalm.genome.variants import Allele
from dnalm.models import Encoder, MaskedLM, Packed, Pretrained, save_pretrained
from dnalm.tokenizers import KmerTokenizer
from dnalm.training.pretraining import base_indicator

Logits = Callable[[Tensor, Tensor], Tensor]  # of a text of ids at some places, (M, V)
GENOME_BP, WINDOW_BP, LOOPED = 1_000_000, 67, 500  # 62 6-mers, the windows of size=tiny


def main() -> None:
    """Measure and print one line each."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rng, tokenizer = np.random.default_rng(0), KmerTokenizer(k=6)
    torch.manual_seed(0)
    encoder = Encoder(
        vocab_size=tokenizer.vocab_size,
        hidden_size=128,
        num_layers=2,
        num_heads=4,
        intermediate_size=512,
        max_positions=512,
        padding_id=tokenizer.special.padding,
        mask_id=tokenizer.special.mask,
    )
    model = MaskedLM(encoder).eval()
    with tempfile.TemporaryDirectory() as folder:
        text = "".join(rng.choice(list("ACGT"), GENOME_BP))
        fasta = Path(folder) / "g.fa"
        fasta.write_text(f">c\n{text}\n")
        store = open_or_build(fasta, Path(folder) / "cache")
        places = rng.choice(GENOME_BP, number, replace=False)
        alleles = [
            Allele(contig="c", start=int(p), ref=text[p], alt="CGTA"["ACGT".index(text[p])]) for p in places
        ]
        plan = ScoringPlan(model=Pretrained(source=folder), window_bp=WINDOW_BP)
        scorer = Scorer(LoadedModel(network=model, tokenizer=tokenizer), store, [MaskedRatio()], plan)
        scorer.score(alleles[:50])
        began = time.perf_counter()
        scores = scorer.score(alleles)
        rate = number / (time.perf_counter() - began)
        save_pretrained(model, Path(folder) / "model")
        stock = AutoModelForMaskedLM.from_pretrained(Path(folder) / "model").eval()
        print(f"{number} SNVs: {rate:.1f} variants/s, {torch.get_num_threads()} threads")
        loops: dict[str, Logits] = {
            "stock transformers": lambda ids, over: stock(input_ids=ids[None]).logits[0, over],
            "our network": lambda ids, over: model(ids, Packed.from_lengths([len(ids)]), over),
        }
        for name, logits in loops.items():
            began = time.perf_counter()
            looped = [_one(logits, tokenizer, store, allele) for allele in alleles[:LOOPED]]
            loop_rate = LOOPED / (time.perf_counter() - began)
            worst = np.abs(np.array(scores[:LOOPED])[:, 0] - looped).max()
            print(
                f"loop of {LOOPED} around {name}: {loop_rate:.1f} variants/s, "
                f"ratio {rate / loop_rate:.1f}, largest difference {worst:.1e}"
            )


@torch.inference_mode()
def _one(logits: Logits, tokenizer: KmerTokenizer, store: GenomeStore, allele: Allele) -> float:
    indicator, total = base_indicator(torch.from_numpy(tokenizer.token_bases)), 0.0
    pair = make_pair(store, allele, window_bp=WINDOW_BP)
    for strand in (pair, pair.reverse_complement()):
        for window, sign in ((strand.alt, 1), (strand.ref, -1)):
            ids = tokenizer.encode(window.codes)
            spans = tokenizer.spans(window.codes, ids)
            over = np.flatnonzero((spans[:, 0] <= window.start) & (spans[:, 1] > window.start))
            masked = ids.copy()
            masked[over] = tokenizer.special.mask
            told = logits(torch.from_numpy(masked), torch.from_numpy(over))
            marginal = (told.softmax(-1) @ indicator).view(len(over), -1, 4)
            votes = marginal[np.arange(len(over)), window.start - spans[over, 0]]
            votes = votes / votes.sum(-1, keepdim=True)
            total += sign * float(votes[:, window.codes[window.start]].mean().log())
    return total / 2


if __name__ == "__main__":
    main()
