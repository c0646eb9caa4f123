"""Attention with dropout on its weights, for dense blocks on CPU.

PyTorch's fused CPU attention knows no dropout; its fall-back writes every intermediate of the whole
block to memory and draws one random number per weight. Here a few heads at a time go through all
steps while they lie in the cache, the weights are computed again for the gradient rather than kept,
and the draw is `draw_kept`. What is kept per weight is one byte: whether it was dropped.

Gradient, with weights P = softmax(S), where S may hold a constant bias, mask M, kept share r,
D = P * M / r and output O = D V:
dV = D^T dO; dP = (dO V^T) * M / r; dS = P * (dP - rowsum(dO * O)), since rowsum(dP * P) equals
rowsum(dO * O), as in FlashAttention (Dao et al. 2022, appendix B.4).

X batches times heads, L tokens, K head width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dnalm.models.dropout import draw_kept

# Weights that go through all steps together. One thread wants them in its second-level cache; several
# threads wait for each other after every step, which costs milliseconds each on a busy machine, so they
# want few and long ones.
_AT_ONCE_ALONE, _AT_ONCE_TOGETHER = 2**19, 2**23


@torch.compiler.disable  # type: ignore[untyped-decorator]
def attend_with_dropout(
    query_BHLK: Tensor, key_BHLK: Tensor, value_BHLK: Tensor, rate: float, bias: Tensor | None = None
) -> Tensor:
    """Softmax attention of every token over its block, a share `rate` of the weights zeroed.

    Args:
        query_BHLK: queries; all three on CPU, of one dtype and one shape (B, H, L, K).
        key_BHLK: keys.
        value_BHLK: values.
        rate: share of weights dropped, in (0, 1).
        bias: added to the scores, (H, L, L) or (1, L, L), float32; it gets no gradient.

    Returns:
        (B, H, L, K). It can be differentiated once, and compiled models call it as it is.
    """
    blocks = (x.flatten(0, 1).contiguous() for x in (query_BHLK, key_BHLK, value_BHLK))
    mixed: Tensor = _AttentionWithDropout.apply(*blocks, rate, bias)  # type: ignore[no-untyped-call]
    return mixed.view(query_BHLK.shape)


class _AttentionWithDropout(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        query: Tensor,
        key: Tensor,
        value: Tensor,
        rate: float,
        bias: Tensor | None,
    ) -> Tensor:
        """(X, L, K) from queries, keys and values of the same shape."""
        num_blocks, length, _ = query.shape
        keep = torch.empty(num_blocks, length, length, dtype=torch.bool)
        output = torch.empty_like(query)
        ctx.kept = 1.0
        ctx.bias = bias
        for part in _parts(num_blocks, length):
            weights = _softmax_weights(query[part], key[part], _bias_of(part, bias, num_blocks))
            keep[part], ctx.kept = draw_kept(weights.shape, rate)
            torch.bmm(weights.mul_(keep[part]), value[part] / ctx.kept, out=output[part])
        ctx.save_for_backward(query, key, value, output, keep)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:  # noqa: ANN401
        query, key, value, output, keep = ctx.saved_tensors
        grad_query, grad_key, grad_value = (torch.empty_like(x) for x in (query, key, value))
        scale = query.shape[-1] ** -0.5
        row_sums = (grad_output * output).sum(dim=-1, keepdim=True)
        scaled_grad = grad_output / ctx.kept
        for part in _parts(*query.shape[:2]):
            weights = _softmax_weights(query[part], key[part], _bias_of(part, ctx.bias, query.shape[0]))
            dropped = weights * keep[part]
            torch.bmm(dropped.transpose(1, 2), scaled_grad[part], out=grad_value[part])
            grad_scores = torch.bmm(scaled_grad[part], value[part].transpose(1, 2))
            grad_scores.mul_(dropped).addcmul_(weights, row_sums[part], value=-1)
            torch.bmm(grad_scores, key[part] * scale, out=grad_query[part])
            torch.bmm(grad_scores.transpose(1, 2), query[part] * scale, out=grad_key[part])
        return grad_query, grad_key, grad_value, None, None


def _parts(num_blocks: int, length: int) -> Iterator[slice]:
    at_once = _AT_ONCE_ALONE if torch.get_num_threads() == 1 else _AT_ONCE_TOGETHER
    size = max(1, at_once // length**2)
    return (slice(start, start + size) for start in range(0, num_blocks, size))


def _bias_of(part: slice, bias: Tensor | None, num_blocks: int) -> Tensor | None:
    """The bias of these blocks, which are heads within batches."""
    if bias is None or bias.shape[0] == 1:
        return bias
    return bias[torch.arange(*part.indices(num_blocks)) % bias.shape[0]]


def _softmax_weights(query: Tensor, key: Tensor, bias: Tensor | None) -> Tensor:
    scores = torch.bmm(query * query.shape[-1] ** -0.5, key.transpose(1, 2))
    if bias is not None:
        scores += bias
    weights: Tensor = torch.softmax(scores, dim=-1, out=scores)
    return weights
