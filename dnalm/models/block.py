"""One layer of the encoder: attention, then a feed-forward network, each added to its input.

N packed tokens, D model width, B sequences, H heads, L longest sequence.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from dnalm.models.attention import Attention
from dnalm.models.dropout import Dropout
from dnalm.models.feed_forward import FeedForward
from dnalm.models.packing import Layout

NormPlacement = Literal["post", "pre"]


class Block(nn.Module):
    """A Transformer layer (Vaswani et al. 2017).

    Args:
        attention: the first sublayer.
        feed_forward: the second.
        hidden_size: D.
        norm_placement: `post` norms each sum (BERT, DNABERT, DNABERT-2, LOGO, GROVER); `pre` norms
            what each sublayer reads and leaves the sum alone (NT).
        norm_eps: added to the variance in the layer norms.
        attention_dropout: share of what attention adds that is zeroed in training.
        feed_forward_dropout: share of what the feed-forward network adds that is zeroed in training.
    """

    def __init__(
        self,
        attention: Attention,
        feed_forward: FeedForward,
        *,
        hidden_size: int,
        norm_placement: NormPlacement,
        norm_eps: float,
        attention_dropout: float,
        feed_forward_dropout: float,
    ) -> None:
        super().__init__()
        self.norm_first = norm_placement == "pre"
        self.attention = attention
        self.attention_norm = nn.LayerNorm(hidden_size, eps=norm_eps)
        self.attention_dropout = Dropout(attention_dropout)
        self.feed_forward = feed_forward
        self.feed_forward_norm = nn.LayerNorm(hidden_size, eps=norm_eps)
        self.feed_forward_dropout = Dropout(feed_forward_dropout)

    def forward(self, hidden_ND: Tensor, layout: Layout, kept_M: Tensor | None = None) -> Tensor:
        """The next hidden states, (N, D); or only those at places `kept_M`, (M, D), for less work."""
        attended_ND = self.attention(self._attention_input(hidden_ND), layout, kept_M)
        if kept_M is not None:
            hidden_ND = hidden_ND.index_select(0, kept_M)
        hidden_ND = hidden_ND + self.attention_dropout(attended_ND)
        if self.norm_first:
            transformed_ND = self.feed_forward(self.feed_forward_norm(hidden_ND))
            output_ND: Tensor = hidden_ND + self.feed_forward_dropout(transformed_ND)
        else:
            hidden_ND = self.attention_norm(hidden_ND)
            transformed_ND = self.feed_forward(hidden_ND)
            output_ND = self.feed_forward_norm(hidden_ND + self.feed_forward_dropout(transformed_ND))
        return output_ND

    def attention_maps(self, hidden_ND: Tensor, layout: Layout) -> Tensor:
        """This block's attention weights, (B, H, L, L); see `kernels.attention_maps`."""
        return self.attention.maps(self._attention_input(hidden_ND), layout)

    def _attention_input(self, hidden_ND: Tensor) -> Tensor:
        input_ND: Tensor = self.attention_norm(hidden_ND) if self.norm_first else hidden_ND
        return input_ND
