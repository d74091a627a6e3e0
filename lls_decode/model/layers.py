"""Pieces that the networks share."""

import torch
from torch import Tensor, nn


class ExactConv2d(nn.Conv2d):
    """A convolution in the precision of its weights also where the rest is computed in 16 bits.

    Rounded log-odds pass or miss the thresholds of detection in other pixels. A third of their error would come from
    the first convolution, where noise is all there is to round, and a third from the last layers.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, Y, X) to (N, out_channels, Y, X)."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype))


def stage(
    in_channels: int, out_channels: int, first: type[nn.Conv2d] = nn.Conv2d, second: type[nn.Conv2d] = nn.Conv2d
) -> nn.Sequential:
    """Two 3x3 convolutions of the given kinds, each with its ELU."""
    return nn.Sequential(
        first(in_channels, out_channels, 3, padding=1),
        nn.ELU(inplace=True),
        second(out_channels, out_channels, 3, padding=1),
        nn.ELU(inplace=True),
    )
