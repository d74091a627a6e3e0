"""Layers shared by all networks; their results do not depend on tiling, batching or the number of threads."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_CHANNELS = 16
"""Number of floats in the widest vector of a CPU; output channels are computed in multiples of it."""
_VECTORS = 64
"""Multiple of the floats that an elementwise function processes at a time, which are two vectors."""
_GRAIN = 1 << 15
"""Number of elements up to which torch uses one thread for an elementwise function; it splits larger tensors evenly."""


class ExactConv2d(nn.Conv2d):
    """Convolution whose output at a pixel depends only on the pixels around it, to the bit.

    It always computes in the precision of its weights, even if the rest of the network computes in 16 bits. Otherwise
    rounded log-odds would cross the detection thresholds in different pixels. A third of that error would come from the
    first convolution, whose input is mostly noise, and a third from the last layers.

    On CPUs, libraries sum in an order that depends on the number of threads (if output channels do not fill their
    vectors) or on the position of the pixel in the image (for convolutions of one channel). Additional channels of
    zeros prevent this, so that every tiling, batch and number of threads gives the same bits. In training mode no zeros
    are added, because they would take 15 % of the time of a training step.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, Y, X) to (N, out_channels, Y, X)."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.weight.dtype)
            if x.device.type != "cpu" or self.training:
                return super().forward(x)
            if self.kernel_size == (1, 1):
                rows = linear_by_row(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
                return rows.contiguous().permute(0, 3, 1, 2)
            weight, bias = _fill(self.weight, self.bias)
            if self.in_channels == 1:
                x, weight = _with_zeros(x), _with_zeros(weight)
            found: Tensor = self._conv_forward(x, weight, bias)
            return found[:, : self.out_channels]


class ExactHalving(nn.Conv2d):
    """Convolution of 2 x 2 pixels that halves the resolution; its output depends only on these pixels, to the bit.

    In 16 bits on CPUs with AMX, the library chooses the order of a sum over 2 x 2 pixels by the size of the image. It
    does not for a convolution of one pixel, into whose channels the four pixels are moved first.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, Y, X), with even Y and X, to (N, channels, Y/2, X/2)."""
        if x.device.type != "cpu" or self.training or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        num, channels, height, width = x.shape
        pixels = x.permute(0, 2, 3, 1).reshape(num, height // 2, 2, width // 2, 2, channels)
        squares = pixels.transpose(2, 3).flatten(3)
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)  # of the same order: row, column, channel
        return F.conv2d(squares.permute(0, 3, 1, 2), weight[:, :, None, None], self.bias)


class ExactELU(nn.ELU):
    """In-place ELU whose values depend only on their arguments, also in inference on CPUs (see `in_whole_vectors`)."""

    def __init__(self) -> None:
        super().__init__(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Apply ELU to a tensor of any shape."""
        return in_whole_vectors(super().forward, x)


def in_whole_vectors(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply an elementwise function such that equal arguments give equal bits at any position and number of threads.

    torch computes whole vectors and the remaining elements of each thread's share by different code. For one value in
    thirty, ELU and sigmoid then differ in the last bit. This function therefore gives torch only whole vectors.
    ``function`` must work in place; the result is in place, too, if ``x`` is contiguous.
    """
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or x.device.type != "cpu":
        return function(x)
    by_pixel = x.dim() == 4 and x.stride(1) == 1
    layout = torch.channels_last if by_pixel else torch.contiguous_format
    if not x.is_contiguous(memory_format=layout) and x.shape[1 if by_pixel else -1] < _VECTORS // 2:
        # a slice of each pixel's channels, shorter than two vectors: torch computes all elements by the same code
        return function(x)
    x = x.contiguous(memory_format=layout)
    flat = (x.permute(0, 2, 3, 1) if by_pixel else x).view(-1)
    count, at_once = len(flat), _GRAIN * torch.get_num_threads()
    shared, whole = count - count % at_once, count - count % _VECTORS
    function(flat[:shared])
    for start in range(shared, whole, _GRAIN):
        function(flat[start : min(start + _GRAIN, whole)])
    rest = flat[whole:]
    rest.copy_(function(F.pad(rest, (0, _VECTORS - len(rest))))[: len(rest)])
    return x


def linear_by_row(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply rows (..., K) by a matrix (C, K), giving (..., C); the bits of a row do not depend on other rows.

    Same as `torch.nn.functional.linear`. Independence of other rows holds for products of some tens of rows or more.
    """
    return F.linear(x, *_fill(weight, bias))[..., : len(weight)]


def _fill(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Append output channels of zeros until their number is a multiple of `_CHANNELS`."""
    missing = -len(weight) % _CHANNELS
    ends = (0, 0) * (weight.dim() - 1)
    return F.pad(weight, (*ends, 0, missing)), None if bias is None else F.pad(bias, (0, missing))


def _with_zeros(x: Tensor) -> Tensor:
    """Append a second channel of zeros to a map with one channel."""
    padded = F.pad(x, (0, 0, 0, 0, 0, 1))
    return padded.contiguous(memory_format=torch.channels_last)


def stage(
    in_channels: int, out_channels: int, first: type[nn.Conv2d] = nn.Conv2d, second: type[nn.Conv2d] = nn.Conv2d
) -> nn.Sequential:
    """Return two 3x3 convolutions of the given classes, each followed by an ELU."""
    return nn.Sequential(
        first(in_channels, out_channels, 3, padding=1),
        ExactELU(),
        second(out_channels, out_channels, 3, padding=1),
        ExactELU(),
    )
