"""What is put on the encoder's hidden states.

M masked positions, D model width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- its usual name


class MaskedLMHead(nn.Module):
    """Hidden states to scores of every token id (Devlin et al. 2019).

    A dense layer, erf-GELU and layer norm, then the transposed token embeddings, which the caller
    hands in: the decoder is tied by being the same tensor, so it is neither stored nor counted twice.

    Args:
        hidden_size: D.
        vocab_size: V.
        norm_eps: added to the variance in the layer norm.
    """

    def __init__(self, *, hidden_size: int, vocab_size: int, norm_eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size, eps=norm_eps)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, hidden_MD: Tensor, token_VD: Tensor) -> Tensor:
        """Logits, (M, V).

        Args:
            hidden_MD: hidden states of the positions to predict.
            token_VD: the token embeddings.
        """
        return F.linear(self.norm(F.gelu(self.dense(hidden_MD))), token_VD, self.bias)
