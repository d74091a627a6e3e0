"""Pieces that the networks share."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_CHANNELS = 16
"""Output channels are computed in multiples of this many: the floats in the widest vector of a CPU."""


class ExactConv2d(nn.Conv2d):
    """A convolution whose output of a pixel depends on the pixels around it, and on nothing else.

    It computes in the precision of its weights even where the rest is computed in 16 bits: rounded log-odds pass or
    miss the thresholds of detection in other pixels. A third of their error would come from the first convolution,
    where noise is all there is to round, and a third from the last layers.

    On CPUs, libraries sum in an order that depends on the number of threads (where output channels do not fill their
    vectors), or on the pixel's place in the image (convolutions of one channel). With channels of zeros added they do
    not, so that any tile, batch and number of threads gives the same bits. A network in training mode does without: the
    zeros take 15 % of the time of a training step.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, Y, X) to (N, out_channels, Y, X)."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.weight.dtype)
            if x.device.type != "cpu" or self.training:
                return super().forward(x)
            if self.kernel_size == (1, 1):
                return linear_by_row(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
            weight, bias = _fill(self.weight, self.bias)
            if self.in_channels == 1:
                x, weight = _with_zeros(x), _with_zeros(weight)
            found: Tensor = self._conv_forward(x, weight, bias)
            return found[:, : self.out_channels]


def linear_by_row(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply rows (..., K) by a matrix (C, K), to (..., C); each row's bits depend on no other row.

    As `torch.nn.functional.linear`. It holds for products of some tens of rows or more.
    """
    return F.linear(x, *_fill(weight, bias))[..., : len(weight)]


def _fill(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Append output channels of zeros until there are multiples of `_CHANNELS`."""
    missing = -len(weight) % _CHANNELS
    ends = (0, 0) * (weight.dim() - 1)
    return F.pad(weight, (*ends, 0, missing)), None if bias is None else F.pad(bias, (0, missing))


def _with_zeros(x: Tensor) -> Tensor:
    """Append a second channel of zeros to the only one."""
    padded = F.pad(x, (0, 0, 0, 0, 0, 1))
    return padded.contiguous(memory_format=torch.channels_last)


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
