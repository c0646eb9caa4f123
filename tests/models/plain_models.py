"""DNABERT-2, the Nucleotide Transformer v2 and LOGO as plain equations, from padded batches to logits.

Written from their descriptions and sharing nothing with dnalm, so that the two can be held against
each other. Weights come by the published names; LOGO's by ours, since its own are Keras's.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear, silu

Weights = dict[str, Tensor]


def dnabert2(w: Weights, ids: Tensor, real: Tensor, *, heads: int, layers: int) -> Tensor:
    slopes = {
        3: [0.0625, 0.00390625, 0.25],
        4: [0.25, 0.0625, 0.015625, 0.00390625],
        12: [2.0**-i for i in (1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5)],
    }[heads]
    place = torch.arange(ids.shape[1])
    penalty = -torch.tensor(slopes)[:, None, None] * (place[:, None] - place).abs()
    bias = penalty + -10000.0 * (1 - real.double().to(w["cls.predictions.decoder.bias"].dtype))[:, None, None]
    x = w["bert.embeddings.word_embeddings.weight"][ids]
    x = _norm(w, "bert.embeddings.LayerNorm", x + w["bert.embeddings.token_type_embeddings.weight"][0], 1e-12)
    for n in range(layers):
        at = f"bert.encoder.layer.{n}"
        q, k, v = _dense(w, f"{at}.attention.self.Wqkv", x).chunk(3, dim=-1)
        mixed = _dense(w, f"{at}.attention.output.dense", _attend(q, k, v, heads, bias))
        x = _norm(w, f"{at}.attention.output.LayerNorm", x + mixed, 1e-12)
        gate, value = linear(x, w[f"{at}.mlp.gated_layers.weight"]).chunk(2, dim=-1)
        x = _norm(w, f"{at}.mlp.layernorm", x + _dense(w, f"{at}.mlp.wo", gelu(gate) * value), 1e-12)
    x = gelu(_dense(w, "cls.predictions.transform.dense", x))
    x = _norm(w, "cls.predictions.transform.LayerNorm", x, 1e-12)
    word, bias = w["bert.embeddings.word_embeddings.weight"], w["cls.predictions.decoder.bias"]
    return x @ word.T + bias


def nt_v2(w: Weights, ids: Tensor, real: Tensor, *, heads: int, layers: int, eps: float) -> Tensor:
    bias = torch.where(real, 0.0, float("-inf"))[:, None, None]
    x = w["esm.embeddings.word_embeddings.weight"][ids]
    for n in range(layers):
        at = f"esm.encoder.layer.{n}"
        normed = _norm(w, f"{at}.attention.LayerNorm", x, eps)
        q, k, v = (_dense(w, f"{at}.attention.self.{name}", normed) for name in ("query", "key", "value"))
        mixed = _attend(_rotate(q, heads), _rotate(k, heads), v, heads, bias)
        x = x + _dense(w, f"{at}.attention.output.dense", mixed)
        normed = _norm(w, f"{at}.LayerNorm", x, eps)
        gate, value = linear(normed, w[f"{at}.intermediate.dense.weight"]).chunk(2, dim=-1)
        x = x + linear(silu(gate) * value, w[f"{at}.output.dense.weight"])
    x = _norm(w, "esm.encoder.emb_layer_norm_after", x, eps)
    x = _norm(w, "lm_head.layer_norm", gelu(_dense(w, "lm_head.dense", x)), eps)
    return linear(x, w["lm_head.decoder.weight"], w["lm_head.bias"])


def logo(
    w: Weights, ids: Tensor, real: Tensor, *, heads: int, layers: int, shared: bool, causal: bool
) -> Tensor:
    length = ids.shape[1]
    visible = real[:, None, None]
    if causal:
        visible = visible & (torch.arange(length)[:, None] >= torch.arange(length))
    bias = torch.where(visible, 0.0, float("-inf"))
    e = "encoder.embeddings"
    x = w[f"{e}.token.weight"][ids]
    if f"{e}.conv_stem.convolutions.0.weight" in w:
        x = _convolved(w, f"{e}.conv_stem.convolutions", x * real[..., None])
    x = x + w[f"{e}.position.weight"][:length] + w[f"{e}.token_type.weight"][0]
    x = _dense(w, f"{e}.mapping", _norm(w, f"{e}.norm", x, 1e-12))
    for n in range(layers):
        at = f"encoder.blocks.{0 if shared else n}"
        q, k, v = (_dense(w, f"{at}.attention.{name}", x) for name in ("query", "key", "value"))
        mixed = _dense(w, f"{at}.attention.output", _attend(q, k, v, heads, bias))
        x = _norm(w, f"{at}.attention_norm", x + mixed, 1e-12)
        inner = _dense(w, f"{at}.feed_forward.down", gelu(_dense(w, f"{at}.feed_forward.up", x)))
        x = _norm(w, f"{at}.feed_forward_norm", x + inner, 1e-12)
    x = _norm(w, "head.norm", gelu(_dense(w, "head.dense", x)), 1e-12)
    return x @ w[f"{e}.token.weight"].T + w["head.bias"]


def dnalm(
    w: Weights, ids: Tensor, real: Tensor, *, heads: int, layers: int, dilations: tuple[int, ...]
) -> Tensor:
    bias = torch.where(real, 0.0, float("-inf"))[:, None, None]
    e = "encoder.embeddings"
    x = _norm(w, f"{e}.norm", w[f"{e}.token.weight"][ids], 1e-5)
    for n, dilation in enumerate([*dilations, *[None] * layers]):
        at = f"encoder.blocks.{n}"
        if dilation is None:
            normed = _norm(w, f"{at}.attention_norm", x, 1e-5)
            q, k, v = (_dense(w, f"{at}.attention.{name}", normed) for name in ("query", "key", "value"))
            mixed = _attend(_rotate(q, heads), _rotate(k, heads), v, heads, bias)
            x = x + _dense(w, f"{at}.attention.output", mixed)
        else:
            normed = _norm(w, f"{at}.convolution_norm", x, 1e-5) * real[..., None]
            x = x + gelu(_dilated(w, f"{at}.convolution", normed, dilation))
        normed = _norm(w, f"{at}.feed_forward_norm", x, 1e-5)
        x = x + _dense(w, f"{at}.feed_forward.down", gelu(_dense(w, f"{at}.feed_forward.up", normed)))
    x = _norm(w, "encoder.final_norm", x, 1e-5)
    x = _norm(w, "head.norm", gelu(_dense(w, "head.dense", x)), 1e-5)
    return x @ w[f"{e}.token.weight"].T + w["head.bias"]


def _dilated(w: Weights, at: str, x: Tensor, dilation: int) -> Tensor:
    """Tap t of W reads the token (t - W // 2) dilations away, zeros past either end."""
    kernel = w[f"{at}.weight"].squeeze(2)
    taps = [_shifted(x, (tap - kernel.shape[2] // 2) * dilation) for tap in range(kernel.shape[2])]
    products = (shifted @ kernel[:, :, tap].T for tap, shifted in enumerate(taps))
    return torch.stack(list(products)).sum(0) + w[f"{at}.bias"]


def _shifted(x: Tensor, offset: int) -> Tensor:
    shifted = torch.zeros_like(x)
    length = x.shape[1] - abs(offset)
    if length > 0:
        shifted[:, max(-offset, 0) :][:, :length] = x[:, max(offset, 0) :][:, :length]
    return shifted


def _convolved(w: Weights, at: str, x: Tensor) -> Tensor:
    """Windows of 2, 3 and 5 tokens: the token and the next; one, then two to either side."""
    total = torch.zeros_like(x)
    for number, offsets in enumerate([(0, 1), (-1, 0, 1), (-2, -1, 0, 1, 2)]):
        kernel = w[f"{at}.{number}.weight"]
        total = total + w[f"{at}.{number}.bias"]
        for tap, offset in enumerate(offsets):
            total = total + _shifted(x, offset) @ kernel[:, :, tap].T
    return total


def _rotate(x: Tensor, heads: int) -> Tensor:
    """Element i of a head and element i + half turn by position / 10000^(2 i / width)."""
    batch, length, size = x.shape
    x = x.view(batch, length, heads, size // heads)
    half = size // heads // 2
    angle = torch.arange(length)[:, None] / 10000 ** (torch.arange(half) / half)
    turn = torch.polar(torch.ones_like(angle), angle)[:, None]
    turned = torch.complex(x[..., :half], x[..., half:]) * turn
    return torch.cat([turned.real, turned.imag], dim=-1).reshape(batch, length, size)


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor) -> Tensor:
    batch, length, size = q.shape
    q, k, v = (x.view(batch, length, heads, size // heads).transpose(1, 2) for x in (q, k, v))
    weights = (q @ k.transpose(2, 3) / sqrt(size // heads) + bias).softmax(dim=-1)
    return (weights @ v).transpose(1, 2).reshape(batch, length, size)


def _dense(w: Weights, name: str, x: Tensor) -> Tensor:
    return linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def _norm(w: Weights, name: str, x: Tensor, eps: float) -> Tensor:
    return layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps)
