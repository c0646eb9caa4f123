"""What is put on the encoder's hidden states.

M positions, D model width, E embedding width, V vocabulary, O outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- its usual name

from dnalm.models.initialization import initialize


class MaskedLMHead(nn.Module):
    """Hidden states to scores of every token id (Devlin et al. 2019).

    A dense layer, erf-GELU and layer norm, then the transposed token embeddings, which the caller
    hands in: the decoder is tied by being the same tensor, so it is neither stored nor counted twice.

    Args:
        hidden_size: D.
        width: E, of the token embeddings and so of the dense layer's output.
        vocab_size: V.
        norm_eps: added to the variance in the layer norm.
        tied: whether the decoder is the token embeddings; NT has a decoder of its own.
    """

    def __init__(self, *, hidden_size: int, width: int, vocab_size: int, norm_eps: float, tied: bool) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, width)
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.decoder = None if tied else nn.Linear(width, vocab_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, hidden_MD: Tensor, token_VE: Tensor) -> Tensor:
        """Logits, (M, V).

        Args:
            hidden_MD: hidden states of the positions to predict.
            token_VE: the token embeddings, of use only to a tied decoder.
        """
        decoder_VE = token_VE if self.decoder is None else self.decoder.weight
        return F.linear(self.norm(F.gelu(self.dense(hidden_MD))), decoder_VE, self.bias)


class MissingHead(MaskedLMHead):
    """Stands for a head that a checkpoint lacks; whoever needs one says so to `load_pretrained`."""

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def forward(self, hidden_MD: Tensor, token_VE: Tensor) -> Tensor:  # noqa: ARG002 -- as of a head
        """Fail: what needs a head must have asked `load_pretrained` for one."""
        raise AssertionError("this model has no head that predicts tokens")


class TokenHead(nn.Module):
    """Hidden states to some numbers a token: logits of classes or labels, or values.

    A dense layer, erf-GELU, layer norm and a linear layer, as the head of masked language modelling has them,
    so that objectives compete with heads of one strength. Our choice.

    Args:
        hidden_size: D.
        num_outputs: O.
        norm_eps: added to the variance in the layer norm.
        initializer_range: standard deviation of the first weights.
    """

    def __init__(
        self, *, hidden_size: int, num_outputs: int, norm_eps: float, initializer_range: float
    ) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size, eps=norm_eps)
        self.output = nn.Linear(hidden_size, num_outputs)
        initialize(self, std=initializer_range)

    @torch.no_grad()
    def start_at(self, outputs_O: Tensor) -> None:
        """Let the head begin near these outputs whatever it is shown, such as log-frequencies of classes."""
        self.output.bias.copy_(outputs_O)

    def forward(self, hidden_MD: Tensor) -> Tensor:
        """Outputs, (M, O)."""
        outputs_MO: Tensor = self.output(self.norm(F.gelu(self.dense(hidden_MD))))
        return outputs_MO
