"""Light network with the same interface as the published network, which computes mostly at half resolution.

Groups of four pixels become four channels at half resolution before the first convolution, and channels become pixels
again after the last one (space to depth, depth to space). Only the heads compute at full resolution. With 64 filters
and context, the network needs about 295 kFLOP per pixel; the published network needs 1 160 (features computed once).

Shape letters: ``N`` windows or frames, ``Y X`` pixels (multiples of 4), ``f`` filters.

Planes of a stage scan are shifted by whole features, which are two pixels wide. The network learns the rest, up to
one pixel.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lls_decode.model.layers import ExactELU, ExactHalving, stage

FEATURE_PX = 2
"""Side of a feature in pixels; frames are encoded at half resolution."""


class LightFrameNet(nn.Module):
    """Network from single frames to features at half resolution."""

    def __init__(self, in_channels: int, filters: int, *, first: type[nn.Conv2d] = nn.Conv2d) -> None:
        """Create the layers; ``first`` is the class of the first convolution."""
        super().__init__()
        f = filters
        self.stem = stage(FEATURE_PX**2 * in_channels, f, first)
        self.last = nn.Conv2d(f, f, 3, padding=1)
        self.activation = ExactELU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, Y, X) to (N, f, Y/2, X/2)."""
        x = self.stem(F.pixel_unshuffle(x, FEATURE_PX))  # f, Y/2
        return x + self.activation(self.last(x))  # type: ignore[no-any-return]


class LightContextNet(nn.Module):
    """Network from features of a window at half resolution to hidden maps at full resolution."""

    def __init__(self, in_channels: int, filters: int, *, last: type[nn.Conv2d] = nn.Conv2d) -> None:
        """Create the layers; ``last`` is the class of the convolutions in the last stage."""
        super().__init__()
        f = filters
        self.encoder = stage(in_channels, f)
        self.pooler = ExactHalving(f)
        self.base = stage(f, 2 * f)
        self.wide = nn.Conv2d(2 * f, 2 * f, 3, padding=2, dilation=2)
        self.activation = ExactELU()
        self.upsampler = nn.Conv2d(2 * f, f, 1)
        self.decoder = stage(2 * f, f, last, last)
        self.out_conv = last(f, FEATURE_PX**2 * (f // 2), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, Y/2, X/2) to (N, f/2, Y, X)."""
        half = self.encoder(x)  # f, Y/2
        x = self.base(self.pooler(half))  # 2f, Y/4
        x = x + self.activation(self.wide(x))  # extends the receptive field by 2 features
        x = F.interpolate(self.upsampler(x), scale_factor=2.0, mode="nearest")  # f, Y/2
        x = self.decoder(torch.cat([half, x], dim=1))  # f, Y/2
        return F.pixel_shuffle(self.out_conv(x), FEATURE_PX)  # f/2, Y
