"""DNABERT-2, NT v2, LOGO and dnalm are what plain equations say, through their published names and back.

tests/models/plain_models.py states the equations. For each model, random weights under the published
names and a config.json with the published fields come into ours, and ours go out to theirs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- its usual name

from dnalm.models import MaskedLM, Packed, load_pretrained, save_pretrained
from dnalm.models.families import ALBERT, OURS
from dnalm.models.packing import KernelName
from dnalm.models.pretrained import family_of
from tests.models import plain_models, zoo

D, F_, V, HEADS, LAYERS = 32, 48, zoo.VOCAB, 4, 3
Logits = Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]
PLAIN: dict[str, Logits] = {
    "dnabert2": partial(plain_models.dnabert2, heads=HEADS, layers=LAYERS),
    "nt_v2": partial(plain_models.nt_v2, heads=HEADS, layers=LAYERS, eps=1e-5),
    "logo": partial(plain_models.logo, heads=HEADS, layers=LAYERS, shared=True, causal=False),
    "logo_released": partial(plain_models.logo, heads=HEADS, layers=LAYERS, shared=False, causal=True),
    "logo_convolved": partial(plain_models.logo, heads=HEADS, layers=LAYERS, shared=True, causal=False),
    "dnalm": partial(plain_models.dnalm, heads=HEADS, layers=LAYERS, dilations=(1, 3)),
}
EVERY_MODEL = pytest.mark.parametrize("name", PLAIN)
EVERY_KERNEL = pytest.mark.parametrize("kernel", ["eager", "sdpa"])
EVERY_CASE = pytest.mark.parametrize("lengths", zoo.CASES.values(), ids=zoo.CASES.keys())


def _theirs_in_ours(plain: Logits, weights: dict[str, Tensor], ids: Tensor, lengths: list[int]) -> Tensor:
    """Logits of the real tokens, end to end, from a right-padded batch."""
    padded, real = zoo.pad(ids, lengths)
    return plain(weights, padded, real)[real]


def _everywhere(model: MaskedLM, ids: Tensor, lengths: list[int]) -> Tensor:
    logits: Tensor = model(ids, Packed.from_lengths(lengths), torch.arange(len(ids)))
    return logits


@EVERY_MODEL
@EVERY_KERNEL
@EVERY_CASE
def test_what_we_write_computes_the_same_there(
    name: str, kernel: KernelName, lengths: list[int], tmp_path: Path
) -> None:
    model, ids = zoo.model(name, kernel=kernel).eval(), zoo.random_ids(sum(lengths))
    save_pretrained(model, tmp_path, layout="published")
    written = load_file(tmp_path / "model.safetensors")
    if name == "logo":  # written as ALBERT, which stock transformers computes; the equations have our names
        names = ALBERT.parts(model.state_dict())
        written = {ours: written[theirs] for theirs, (ours,) in names.items()}
    with torch.no_grad():
        ours = _everywhere(model, ids, lengths)
        theirs = _theirs_in_ours(PLAIN[name], written, ids, lengths)
    assert theirs.std() > 0.5
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@EVERY_MODEL
def test_every_gradient_is_theirs(name: str) -> None:
    lengths = zoo.CASES["padded batch"]
    model, ids = zoo.model(name).double(), zoo.random_ids(sum(lengths))
    family, labels = (
        OURS if "logo" in name or name == "dnalm" else family_of(model.encoder),
        torch.randint(V, (33,)),
    )
    state = {
        theirs: torch.cat([model.state_dict()[part] for part in parts]).clone().requires_grad_()
        for theirs, parts in family.parts(model.state_dict()).items()
    }
    F.cross_entropy(_everywhere(model, ids, lengths), labels).backward()
    F.cross_entropy(_theirs_in_ours(PLAIN[name], state, ids, lengths), labels).backward()
    grads = {own: weight.grad for own, weight in model.named_parameters()}
    for theirs, parts in family.parts(grads).items():
        ours, expected = torch.cat([grads[part] for part in parts]), state[theirs].grad
        assert expected is not None
        if theirs.endswith(("word_embeddings.weight", "embeddings.token.weight")):
            ours, expected = (grad[torch.arange(V) != 1] for grad in (ours, expected))  # the padding row
        # A key's bias moves all scores of a row alike, so its gradient is 0 but for rounding.
        assert (ours - expected).norm() <= 1e-5 * expected.norm() + 1e-7, theirs


# The published names and shapes, layer by layer, and the fields of config.json as published.
def _dnabert2_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "bert.embeddings.word_embeddings.weight": (V, D),
        "bert.embeddings.token_type_embeddings.weight": (2, D),
        "bert.embeddings.LayerNorm.weight": (D,),
        "bert.embeddings.LayerNorm.bias": (D,),
        "cls.predictions.transform.dense.weight": (D, D),
        "cls.predictions.transform.dense.bias": (D,),
        "cls.predictions.transform.LayerNorm.weight": (D,),
        "cls.predictions.transform.LayerNorm.bias": (D,),
        "cls.predictions.decoder.weight": (V, D),
        "cls.predictions.decoder.bias": (V,),
    }
    for n in range(LAYERS):
        for name, shape in {
            "attention.self.Wqkv.weight": (3 * D, D),
            "attention.self.Wqkv.bias": (3 * D,),
            "attention.output.dense.weight": (D, D),
            "attention.output.dense.bias": (D,),
            "attention.output.LayerNorm.weight": (D,),
            "attention.output.LayerNorm.bias": (D,),
            "mlp.gated_layers.weight": (2 * F_, D),
            "mlp.wo.weight": (D, F_),
            "mlp.wo.bias": (D,),
            "mlp.layernorm.weight": (D,),
            "mlp.layernorm.bias": (D,),
        }.items():
            shapes[f"bert.encoder.layer.{n}.{name}"] = shape
    return shapes


def _nt_v2_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "esm.embeddings.word_embeddings.weight": (V, D),
        "esm.encoder.emb_layer_norm_after.weight": (D,),
        "esm.encoder.emb_layer_norm_after.bias": (D,),
        "esm.contact_head.regression.weight": (1, LAYERS * HEADS),
        "esm.contact_head.regression.bias": (1,),
        "lm_head.dense.weight": (D, D),
        "lm_head.dense.bias": (D,),
        "lm_head.layer_norm.weight": (D,),
        "lm_head.layer_norm.bias": (D,),
        "lm_head.decoder.weight": (V, D),
        "lm_head.bias": (V,),
    }
    for n in range(LAYERS):
        at = f"esm.encoder.layer.{n}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= {f"{at}.attention.{name}.weight": (D, D), f"{at}.attention.{name}.bias": (D,)}
        for name in ("attention.LayerNorm", "LayerNorm"):
            shapes |= {f"{at}.{name}.weight": (D,), f"{at}.{name}.bias": (D,)}
        shapes[f"{at}.intermediate.dense.weight"] = (2 * F_, D)
        shapes[f"{at}.output.dense.weight"] = (D, F_)
        shapes[f"{at}.attention.self.rotary_embeddings.inv_freq"] = (D // HEADS // 2,)
    return shapes


_COMMON = {
    "vocab_size": V,
    "hidden_size": D,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": F_,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "torch_dtype": "float32",
}
PUBLISHED: dict[str, tuple[dict[str, tuple[int, ...]], dict[str, object]]] = {
    "dnabert2": (
        _dnabert2_shapes(),
        {
            **_COMMON,
            "model_type": "bert",
            "hidden_act": "gelu",
            "alibi_starting_size": 512,
            "max_position_embeddings": 512,
            "position_embedding_type": "absolute",
            "type_vocab_size": 2,
            "pad_token_id": 0,
            "classifier_dropout": None,
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.0,
            "auto_map": {"AutoConfig": "configuration_bert.BertConfig"},
        },
    ),
    "nt_v2": (
        _nt_v2_shapes(),
        {
            **_COMMON,
            "model_type": "esm",
            "position_embedding_type": "rotary",
            "add_bias_fnn": False,
            "emb_layer_norm_before": False,
            "token_dropout": False,
            "tie_word_embeddings": False,
            "max_position_embeddings": 2050,
            "pad_token_id": 1,
            "mask_token_id": 2,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "is_folding_model": False,
            "esmfold_config": None,
            "vocab_list": None,
            "use_cache": False,
        },
    ),
}


@pytest.fixture(params=PUBLISHED)
def published(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, dict[str, Tensor]]:
    """A checkpoint with the published names, random weights, and its folder."""
    shapes, config = PUBLISHED[request.param]
    weights = {
        name: torch.randn(shape) * 0.2 + (1.0 if name.lower().endswith("norm.weight") else 0.0)
        for name, shape in shapes.items()
    }
    if "cls.predictions.decoder.weight" in weights:
        weights["cls.predictions.decoder.weight"] = weights["bert.embeddings.word_embeddings.weight"].clone()
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    return request.param, tmp_path, weights


@EVERY_CASE
def test_what_they_wrote_computes_the_same_here(
    published: tuple[str, Path, dict[str, Tensor]], lengths: list[int]
) -> None:
    name, folder, weights = published
    model, ids = load_pretrained(folder).eval(), zoo.random_ids(sum(lengths))
    plain = partial(plain_models.nt_v2, heads=HEADS, layers=LAYERS, eps=1e-12)
    with torch.no_grad():
        ours = _everywhere(model, ids, lengths)
        theirs = _theirs_in_ours(plain if name == "nt_v2" else PLAIN[name], weights, ids, lengths)
    assert theirs.std() > 0.5
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_what_they_wrote_is_written_back_bit_for_bit(
    published: tuple[str, Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    _, folder, weights = published
    save_pretrained(load_pretrained(folder), tmp_path / "again", layout="published")
    again = load_file(tmp_path / "again" / "model.safetensors")
    assert again.keys() == weights.keys()
    for name, weight in weights.items():
        if "contact_head" not in name and "inv_freq" not in name:
            assert torch.equal(again[name], weight), name
    before = json.loads((folder / "config.json").read_text())
    after = json.loads((tmp_path / "again" / "config.json").read_text())
    changed = {key for key in before if before[key] != after.get(key)}
    assert changed <= {"auto_map", "torch_dtype"}


def test_dnabert2_has_142_tensors_as_published(tmp_path: Path) -> None:
    save_pretrained(zoo.model("dnabert2", num_layers=12), tmp_path, layout="published")
    assert len(load_file(tmp_path / "model.safetensors")) == 4 + 12 * 11 + 6 == 142


def test_dnabert2_keeps_its_row_0_from_gradients_of_the_embeddings(tmp_path: Path) -> None:
    shapes, config = PUBLISHED["dnabert2"]
    weights = {name: torch.zeros(shape) for name, shape in shapes.items()}
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    token = load_pretrained(tmp_path).encoder.embeddings.token
    token(torch.tensor([0, 3])).sum().backward()
    assert token.weight.grad is not None
    assert token.weight.grad[[0, 3]].sum(dim=1).tolist() == [0.0, 32.0]
