"""How far the logits of every experiment's model are from an independent implementation of the published one.

    PYTHONPATH=. python experiments/parity/measure.py [experiment …]

The model of the experiment file, at its full size, gets random weights large enough that every part
matters, and is exported in the published layout. DNABERT, GROVER, NT v1 and LOGO are loaded by stock
`transformers`; DNABERT-2, NT v2 and the released LOGO, which it lacks, are computed from the exported file by
the plain equations of tests/models/plain_models.py. Sequences of unequal length go packed through ours and
padded through theirs. Shown is the largest difference of any logit, and their standard deviation.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForMaskedLM

from dnalm.compose import build, read_config
from dnalm.compose.groups import options
from dnalm.models import MaskedLM, Packed, family_of, save_pretrained
from dnalm.tokenizers import BpeRecipe
from tests.models import plain_models

LENGTHS = [64, 17, 1, 40]
# Two models of it do not fit 24 GB; every layer is alike
FEWER_LAYERS = {"nt_v1_2b5": 4}


def make_model(experiment: str) -> MaskedLM:
    config = read_config("pretrain", [f"experiment={experiment}"])
    tokenizer = build(config["tokenizer"])
    if isinstance(tokenizer, BpeRecipe):
        padding, mask = (tokenizer.special_tokens.index(name) for name in ("[PAD]", "[MASK]"))
    else:
        padding, mask = tokenizer.special.padding, tokenizer.special.mask
    node = config["model"]
    if experiment in FEWER_LAYERS:
        node["num_layers"] = FEWER_LAYERS[experiment]
    encoder = build(node)(vocab_size=tokenizer.vocab_size, padding_id=padding, mask_id=mask)
    model = MaskedLM(encoder).eval()
    randomize(model)
    return model


@torch.no_grad()
def randomize(model: MaskedLM) -> None:
    generator = torch.Generator().manual_seed(7)
    for name, weight in model.named_parameters():
        if weight.dim() == 1:
            weight.normal_(std=0.1, generator=generator)
            if "norm" in name and name.endswith("weight"):
                weight.add_(1.0)
        else:
            weight.normal_(std=weight.shape[-1] ** -0.5, generator=generator)


def theirs(model: MaskedLM, folder: Path, ids: Tensor, real: Tensor) -> Tensor:
    """(B, L, V) logits of the independent implementation."""
    encoder, family = model.encoder, family_of(model.encoder).name
    size = {"heads": encoder.num_heads, "layers": encoder.num_layers}
    if "DNABERT-2" in family:
        return plain_models.dnabert2(load_file(folder / "model.safetensors"), ids, real, **size)
    if "v2" in family:
        weights = load_file(folder / "model.safetensors")
        return plain_models.nt_v2(weights, ids, real, eps=encoder.norm_eps, **size)
    if family == "dnalm" and encoder.conv_dilations:
        weights = load_file(folder / "model.safetensors")
        return plain_models.dnalm(weights, ids, real, dilations=encoder.conv_dilations, **size)
    if family == "dnalm":
        weights = load_file(folder / "model.safetensors")
        shape = {"shared": encoder.shared_layers, "causal": encoder.causal}
        return plain_models.logo(weights, ids, real, **shape, **size)
    stock = AutoModelForMaskedLM.from_pretrained(folder).eval()
    logits: Tensor = stock(input_ids=ids, attention_mask=real.long()).logits
    return logits


@torch.no_grad()
def measure(experiment: str) -> str:
    model = make_model(experiment)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    ids = torch.randint(
        5, model.encoder.vocab_size, (sum(LENGTHS),), generator=torch.Generator().manual_seed(3)
    )
    padded = torch.nn.utils.rnn.pad_sequence(
        ids.split(LENGTHS), batch_first=True, padding_value=model.encoder.padding_id
    )
    real = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    ours = model(ids, Packed.from_lengths(LENGTHS), torch.arange(len(ids)))
    with tempfile.TemporaryDirectory() as name:
        save_pretrained(model, Path(name), layout="published")
        expected = theirs(model, Path(name), padded, real)[real]
    difference = float((ours - expected).abs().max())
    return f"{experiment:<12} {parameters:>13,} parameters  {difference:.1e} of {float(expected.std()):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="*", default=options("experiment"))
    for experiment in parser.parse_args().experiments:
        print(measure(experiment), flush=True)
        gc.collect()


if __name__ == "__main__":
    main()
