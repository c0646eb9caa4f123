"""A convolution over the embedded tokens, before the first block.

B sequences, N packed tokens, E embedding width, S tokens and gaps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnalm.models.packing import Layout

KERNEL_WIDTHS = (2, 3, 5)  # Yang et al. 2022; released code, custom_conv_layer
_GAP = max(KERNEL_WIDTHS) // 2


class ConvStem(nn.Module):
    """The sum of convolutions 2, 3 and 5 tokens wide (LOGO, Yang et al. 2022).

    Each output has a window around its token: of width 3 one token to either side, of width 2 the
    token and the next, as TensorFlow's `same` padding has it. Past either end of a sequence, windows
    see zeros, and never the neighbours in the pack.

    Args:
        width: E, of the input and the output.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv1d(width, width, size) for size in KERNEL_WIDTHS)

    def forward(self, vectors_NE: Tensor, layout: Layout) -> Tensor:
        """(N, E). The sequences are laid out with gaps of zeros, which all windows fit into."""
        num_tokens, width = vectors_NE.shape
        place_N = torch.arange(num_tokens, device=vectors_NE.device) + _GAP * (layout.sequence_N + 1)
        spaced_SE = vectors_NE.new_zeros(num_tokens + _GAP * (layout.num_sequences + 1), width)
        spaced_1ES = spaced_SE.index_copy(0, place_N, vectors_NE).T[None]
        output_NE = torch.zeros_like(vectors_NE)
        for convolution, size in zip(self.convolutions, KERNEL_WIDTHS, strict=True):
            output_SE = convolution(spaced_1ES)[0].T
            output_NE = output_NE + output_SE[place_N - (size - 1) // 2]
        return output_NE
