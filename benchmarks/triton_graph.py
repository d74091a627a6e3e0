"""The network by Triton kernels, as a candidate of `tournament.py`; not yet measured on a GPU.

One kernel computes a convolution, its bias and its ELU. It reads input maps where they lie, without copies:

* a convolution of concatenated maps adds the sums of its *parts*, one part for each map;
* pixel (y, x) of a map that is doubled by nearest up-sampling is pixel (y // 2, x // 2) of the small map;
* the first context convolution reads the frames of a window by their indices, and neighbours at shifted positions.

A convolution is computed as a matrix product (implicit GEMM). Rows are output pixels of all maps, columns are output
channels, and the summands (*terms*) are input channels of all taps. Inputs and weights have one number format, sums are
float32, and results are rounded once. Maps are stored channel by channel for each pixel (channels_last).

Without a GPU, Triton's interpreter computes the same kernel on a CPU, to check results: set ``TRITON_INTERPRET=1``
before this module is imported (`tests/model/test_triton_graph.py`).
"""

import os
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from lls_decode.model.fast import FastNet, Layers
from lls_decode.model.network import LocNet

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
TILES = (  # pixels, output channels, terms, warps, stages
    (128, 16, 32, 4, 4),
    (128, 32, 32, 4, 4),
    (128, 64, 32, 4, 4),
    (128, 64, 64, 8, 3),
    (64, 64, 64, 4, 4),
    (128, 128, 32, 8, 3),
    (64, 128, 64, 4, 3),
)
"""Tiles of the matrix product that are tried on a GPU for each layer. Numbers of filters between powers of two, e.g. 48
and 96, are covered by one larger tile or by several smaller ones."""
INTERPRETED_TILE = (512, 16, 64, 4, 1)


def use_triton_graph(network: LocNet, dtype: torch.dtype) -> None:
    """Make a network compute by Triton kernels in ``dtype``, in place; for inference only."""
    device = next(network.parameters()).device
    if device.type != "cuda" and not INTERPRETED:
        raise RuntimeError(f"Triton kernels need a GPU, but the network is on the device {device}")
    graph = FastNet(network, dtype, TritonLayers).to(device).eval()
    network.replace_parts(graph.encode, graph.join, graph.logit)


class TritonLayers(Layers):
    """Layers of a `FastNet` that are single Triton kernels."""

    def conv(self, conv: nn.Module) -> nn.Module:
        """Return a convolution of one map."""
        return _Conv(conv, self.dtype, has_elu=False)

    def elu(self, conv: nn.Module) -> nn.Module:
        """Return a convolution of one map, followed by an ELU."""
        return _Conv(conv, self.dtype)

    def up(self, conv: nn.Module) -> nn.Module:
        """Return the first convolution of a decoder stage, followed by an ELU."""
        return _Up(conv, self.dtype, parts=2)

    def windows(self, network: LocNet, conv: nn.Module) -> nn.Module:
        """Return the first convolution of the context network, followed by an ELU."""
        return _Windows(network, conv, self.dtype)


class _Conv(nn.Module):
    """Convolution of one map."""

    weight: Tensor  # (parts * taps * input channels of a part, output channels)
    bias: Tensor

    def __init__(self, conv: nn.Module, dtype: torch.dtype, *, parts: int = 1, has_elu: bool = True) -> None:
        super().__init__()
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        self.parts, self.has_elu = parts, has_elu
        self.in_channels, self.out_channels = conv.in_channels // parts, conv.out_channels
        self.side, self.stride, self.dilation = conv.kernel_size[0], conv.stride[0], conv.dilation[0]
        self.padding = int(conv.padding[0])
        by_part = conv.weight.detach().unflatten(1, (parts, self.in_channels)).permute(1, 3, 4, 2, 0)
        self.register_buffer("weight", by_part.reshape(-1, self.out_channels).to(dtype).contiguous())
        self.register_buffer("bias", conv.bias.detach().to(dtype, copy=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.compute(x)

    def compute(
        self, first: Tensor, low: Tensor | None = None, windows: Tensor | None = None, shift: tuple[int, int] = (0, 0)
    ) -> Tensor:
        """Launch the kernel.

        Parameters
        ----------
        first
            Map of all parts, or of the first part if the map ``low`` is given.
        low
            Map at half the resolution, which is doubled and is the second part.
        windows
            Indices of maps (N, parts) in ``first`` for each result; by default, one result for each map.
        shift
            Shift of the last part towards larger y and x; the first part is shifted by the opposite.
        """
        first = first.contiguous(memory_format=torch.channels_last)
        low = None if low is None else low.contiguous(memory_format=torch.channels_last)
        count = len(first if windows is None else windows)
        reach = self.dilation * (self.side - 1) + 1
        height, width = ((length + 2 * self.padding - reach) // self.stride + 1 for length in first.shape[2:])
        size = (count, self.out_channels, height, width)
        dtype = torch.float32 if INTERPRETED else first.dtype  # the interpreter truncates to bfloat16
        out = torch.empty(size, dtype=dtype, device=first.device, memory_format=torch.channels_last)
        assert max(first.numel(), out.numel()) < 1 << 31, "offsets are 32-bit integers; choose a smaller batch"

        def num_tiles(tile: dict[str, Any]) -> tuple[int]:
            rows, columns = count * height * width, self.out_channels
            return (triton.cdiv(rows, tile["PIXELS"]) * triton.cdiv(columns, tile["CHANNELS"]),)

        _conv_kernel[num_tiles](
            out,
            first,
            first if low is None else low,
            first if windows is None else windows.contiguous(),
            self.weight,
            self.bias,
            count * height * width,
            height,
            width,
            *first.shape[2:],
            *shift,
            IN=self.in_channels,
            OUT=self.out_channels,
            PARTS=self.parts,
            SIDE=self.side,
            STRIDE=self.stride,
            PADDING=self.padding,
            DILATION=self.dilation,
            HAS_LOW=low is not None,
            HAS_WINDOWS=windows is not None,
            HAS_ELU=self.has_elu,
            WIDENS=INTERPRETED,
        )
        return out.to(first.dtype)


class _Up(_Conv):
    """Convolution of concatenated maps, the second of which is doubled first."""

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        return self.compute(high, low=low)


class _Windows(_Conv):
    """First convolution of the context network, which joins the frames of a window."""

    def __init__(self, network: LocNet, conv: nn.Module, dtype: torch.dtype) -> None:
        config = network.config
        super().__init__(conv, dtype, parts=1 if config.context == "none" else 3)
        shift = config.shift_px // config.feature_px
        self.shift = (0, shift) if config.shift_axis == "x" else (shift, 0)

    def forward(self, features_TDYX: Tensor, windows_N3: Tensor) -> Tensor:
        windows = windows_N3 if self.parts == 3 else windows_N3[:, 1:2]
        return self.compute(features_TDYX, windows=windows, shift=self.shift)


def _tiles() -> list[triton.Config]:
    return [
        triton.Config(
            {"PIXELS": pixels, "CHANNELS": channels, "TERMS": terms}, num_warps=num_warps, num_stages=num_stages
        )
        for pixels, channels, terms, num_warps, num_stages in ((INTERPRETED_TILE,) if INTERPRETED else TILES)
    ]


def _drop_large_tiles(tiles: list[triton.Config], arguments: dict[str, Any], **constants: Any) -> list[triton.Config]:
    """Drop tiles with more than twice as many channels as the layer has."""
    out = constants.get("OUT", arguments.get("OUT"))
    return [tile for tile in tiles if tile.kwargs["CHANNELS"] < max(2 * out, 32)]


@triton.autotune(
    _tiles(),
    key=["IN", "OUT", "PARTS", "SIDE", "STRIDE", "DILATION"],
    prune_configs_by={"early_config_prune": _drop_large_tiles},
)
@triton.jit
def _conv_kernel(
    out,
    first,
    low,
    windows,
    weight,
    bias,
    num_pixels,
    height,
    width,
    in_height,
    in_width,
    shift_y,
    shift_x,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    PARTS: tl.constexpr,
    SIDE: tl.constexpr,
    STRIDE: tl.constexpr,
    PADDING: tl.constexpr,
    DILATION: tl.constexpr,
    HAS_LOW: tl.constexpr,
    HAS_WINDOWS: tl.constexpr,
    HAS_ELU: tl.constexpr,
    WIDENS: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
    TERMS: tl.constexpr,
):
    """Compute one tile of the output; see `_Conv.compute`."""
    tile, in_row = tl.program_id(0), tl.cdiv(OUT, CHANNELS)  # tiles of the same pixels are computed one after another
    pixel = tile // in_row * PIXELS + tl.arange(0, PIXELS)
    channel = tile % in_row * CHANNELS + tl.arange(0, CHANNELS)
    is_pixel, is_channel = pixel < num_pixels, channel < OUT
    result, row, column = pixel // (height * width), pixel // width % height, pixel % width
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for part in tl.static_range(PARTS):
        source = low if HAS_LOW and part == 1 else first
        scale = 2 if HAS_LOW and part == 1 else 1
        index = result
        moved_y = 0
        moved_x = 0
        if HAS_WINDOWS:
            index = tl.load(windows + result * PARTS + part, mask=is_pixel, other=0)
            this = tl.load(windows + result * PARTS + PARTS // 2, mask=is_pixel, other=0)
            # a frame at the edge that replaces a missing neighbour is not shifted
            steps = tl.where(index == this, 0, part - PARTS // 2)[:, None]
            moved_y = steps * shift_y
            moved_x = steps * shift_x
        for start in range(0, SIDE * SIDE * IN, TERMS):
            term = start + tl.arange(0, TERMS)
            is_term = term < SIDE * SIDE * IN
            tap = term // IN
            y = (row * STRIDE - PADDING)[:, None] + (tap // SIDE * DILATION)[None, :]
            x = (column * STRIDE - PADDING)[:, None] + (tap % SIDE * DILATION)[None, :]
            is_inside = (y >= 0) & (y < in_height) & (x >= 0) & (x < in_width)
            if HAS_WINDOWS:  # zero beyond the shifted map, and beyond the map before shifting
                y -= moved_y
                x -= moved_x
                is_inside &= (y >= 0) & (y < in_height) & (x >= 0) & (x < in_width)
            place = (index[:, None] * (in_height // scale) + y // scale) * (in_width // scale) + x // scale
            values = tl.load(
                source + place * IN + (term % IN)[None, :],
                mask=is_inside & is_pixel[:, None] & is_term[None, :],
                other=0.0,
            )
            weights = tl.load(
                weight + (part * SIDE * SIDE * IN + term)[:, None] * OUT + channel[None, :],
                mask=is_term[:, None] & is_channel[None, :],
                other=0.0,
            )
            if WIDENS:  # the interpreter cannot multiply bfloat16
                values = values.to(tl.float32)
                weights = weights.to(tl.float32)
            total = tl.dot(values, weights, total, input_precision="ieee")
    total += tl.load(bias + channel, mask=is_channel, other=0.0).to(tl.float32)[None, :]
    if HAS_ELU:
        total = tl.where(total > 0, total, tl.exp(tl.minimum(total, 0.0)) - 1)
    tl.store(
        out + pixel[:, None] * OUT + channel[None, :],
        total.to(out.dtype.element_ty),
        mask=is_pixel[:, None] & is_channel[None, :],
    )
