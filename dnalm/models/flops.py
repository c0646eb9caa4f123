"""How many floating-point operations a forward pass and a training step take, from a model's config alone.

Counted are those of matrix products and convolutions, 2 m n k each, as `torch.utils.flop_counter` counts
them; all else (norms, activations, softmax, embeddings looked up) is small beside and bound by memory.
Attention is counted by the real length of each sequence, not of a padded batch, and in full where it is
causal, for no kernel of ours skips half; convolutions without the gaps between sequences. In the last block
only the tokens to predict are taken past its mixing of tokens, and only they meet the head. The sums of a
loss of single bases are left out like the softmax that they are sums of; with words of K bases they are one
product of 4 K / E times the decoder's. A backward pass takes twice its forward pass. Activations that are
computed again (`trainer.activation_checkpointing`) are not counted: they are how a machine gets there, not
what the model asks for, the convention of Chowdhery et al. 2022 (PaLM, appendix B).

N tokens, D model width, F inner width, E embedding width, V vocabulary, L tokens of a sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

from dnalm.models.config import CONV_STEM_WIDTHS, EncoderConfig

BACKWARD = 2  # times the forward pass: the gradient of the inputs, and that of the weights


@dataclass(frozen=True, kw_only=True)
class Flops:
    """Operations of one forward pass by part.

    Attributes:
        embeddings: the convolutions of LOGO's stem, and the map from E to D.
        convolutions: of the convolutional blocks.
        projections: queries, keys, values and the outputs of attention.
        attention: scores and mixed values.
        feed_forward: the feed-forward networks.
        head: of masked language modelling.
    """

    embeddings: int
    convolutions: int
    projections: int
    attention: int
    feed_forward: int
    head: int

    @property
    def forward(self) -> int:
        """Of a forward pass."""
        mixing = self.convolutions + self.projections + self.attention
        return self.embeddings + mixing + self.feed_forward + self.head

    @property
    def training(self) -> int:
        """Of a forward and a backward pass."""
        return (1 + BACKWARD) * self.forward


def count_flops(config: EncoderConfig, *, tokens: int, pairs: int, predicted: int) -> Flops:
    """Operations of a forward pass of a `MaskedLM` over packed sequences.

    Args:
        config: the encoder, or its config.
        tokens: N, of all sequences together.
        pairs: sum of L^2 over the sequences, which attention compares.
        predicted: tokens to predict.
    """
    width, inner, narrow = config.hidden_size, config.intermediate_size, config.embedding_width
    embeddings = _product(tokens, width, narrow) if narrow != width else 0
    if config.conv_stem:
        embeddings += sum(_product(tokens, narrow, size * narrow) for size in CONV_STEM_WIDTHS)
    whole, last = tokens * (config.depth - 1), predicted
    mixed = whole + last - tokens * len(config.conv_dilations) if config.num_layers else 0
    maps = 2 if config.feed_forward == "gelu" else 3  # of D x F; gated networks have two on the way up
    return Flops(
        embeddings=embeddings,
        convolutions=len(config.conv_dilations) * _product(tokens, width, config.conv_width * width),
        projections=_product(config.num_layers * tokens, 3 * width, width) + _product(mixed, width, width),
        attention=config.num_layers * 2 * _product(pairs, width, 1),
        feed_forward=_product(whole + last, maps * inner, width),
        head=_product(predicted, narrow, width) + _product(predicted, config.vocab_size, narrow),
    )


def _product(rows: int, columns: int, inner: int) -> int:
    return 2 * rows * columns * inner
