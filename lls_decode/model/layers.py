"""Pieces that the networks share."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_CHANNELS = 16
"""Output channels are computed in multiples of this many: the floats in the widest vector of a CPU."""
_VECTORS = 64
"""Elementwise functions take two vectors at a time; this many floats are a whole number of such pairs."""
_GRAIN = 1 << 15
"""Elements up to which torch computes an elementwise function in one thread; more are shared evenly by the threads."""


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
                rows = linear_by_row(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
                return rows.contiguous().permute(0, 3, 1, 2)
            weight, bias = _fill(self.weight, self.bias)
            if self.in_channels == 1:
                x, weight = _with_zeros(x), _with_zeros(weight)
            found: Tensor = self._conv_forward(x, weight, bias)
            return found[:, : self.out_channels]


class ExactELU(nn.ELU):
    """An ELU in place whose value depends on its argument alone, in inference on a CPU too (see `in_whole_vectors`)."""

    def __init__(self) -> None:
        super().__init__(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return in_whole_vectors(super().forward, x)


def in_whole_vectors(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply an elementwise function so that each value is the same wherever it stands, with any number of threads.

    torch computes what is left over at the end of each thread's share one by one, by other code than whole vectors, and
    ELU and sigmoid of one value in thirty then differ in the last bit. So shares are cut into whole vectors here.
    ``function`` works in place, and so does this where ``x`` is contiguous.
    """
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or x.device.type != "cpu":
        return function(x)
    by_pixel = x.dim() == 4 and x.stride(1) == 1
    layout = torch.channels_last if by_pixel else torch.contiguous_format
    if not x.is_contiguous(memory_format=layout) and x.shape[1 if by_pixel else -1] < _VECTORS // 2:
        return function(x)  # some of the channels of each pixel: less than a pair of vectors, so all one by one
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
        ExactELU(),
        second(out_channels, out_channels, 3, padding=1),
        ExactELU(),
    )
