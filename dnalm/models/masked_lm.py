"""The encoder with the head of masked language modelling.

N packed tokens, C annotation channels, M masked positions, V vocabulary.
"""

from __future__ import annotations

from torch import Tensor, nn

from dnalm.models.encoder import Encoder
from dnalm.models.heads import MaskedLMHead, MissingHead
from dnalm.models.initialization import initialize
from dnalm.models.packing import Packed


class MaskedLM(nn.Module):
    """Predict tokens at chosen positions.

    Args:
        encoder: makes the hidden states; other heads can take it over as `model.encoder`.
        headless: whether the head that predicts tokens is missing, as of an encoder that was saved alone.
    """

    def __init__(self, encoder: Encoder, *, headless: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        self.head: MaskedLMHead = (
            MissingHead()
            if headless
            else MaskedLMHead(
                hidden_size=encoder.hidden_size,
                width=encoder.embedding_width,
                vocab_size=encoder.vocab_size,
                norm_eps=encoder.norm_eps,
                tied=encoder.tied_decoder,
            )
        )
        initialize(self.head, std=encoder.initializer_range)

    @property
    def headless(self) -> bool:
        """Whether it cannot predict tokens."""
        return isinstance(self.head, MissingHead)

    @property
    def head_decoder(self) -> nn.Linear | None:
        """The head's own decoder, where it has one."""
        return None if self.headless else self.head.decoder

    def reset_parameters(self) -> None:
        """Draw the initial weights anew, as after `to_empty` from the meta device."""
        self.encoder.reset_parameters()
        initialize(self.head, std=self.encoder.initializer_range)
        if not self.headless:
            nn.init.zeros_(self.head.bias)

    def forward(
        self, ids_N: Tensor, packed: Packed, masked_M: Tensor, annotations_NC: Tensor | None = None
    ) -> Tensor:
        """Logits at the masked positions only, (M, V).

        Args:
            ids_N: token ids of all sequences end to end, (N,), int64 or int32.
            packed: where each sequence lies.
            masked_M: places among the packed tokens, (M,), int64; M may be 0.
            annotations_NC: what each annotation channel says of each token; all unknown if None.

        Raises:
            DataError: a sequence is longer than the encoder's `longest_sequence`.
        """
        hidden_MD = self.encoder(ids_N, packed, annotations_NC, masked_M)
        logits_MV: Tensor = self.head(hidden_MD, self.encoder.embeddings.token.weight)
        return logits_MV

    def encode(self, ids_N: Tensor, packed: Packed, annotations_NC: Tensor | None = None) -> Tensor:
        """Hidden states of all packed tokens, (N, D); arguments as of `forward`."""
        hidden_ND: Tensor = self.encoder(ids_N, packed, annotations_NC)
        return hidden_ND

    def predict(self, hidden_ND: Tensor, masked_M: Tensor) -> Tensor:
        """Logits at the masked positions, (M, V), from the encoder's hidden states.

        Args:
            hidden_ND: of all packed tokens.
            masked_M: places among the packed tokens, (M,), int64; M may be 0.
        """
        logits_MV: Tensor = self.head(
            hidden_ND.index_select(0, masked_M), self.encoder.embeddings.token.weight
        )
        return logits_MV
