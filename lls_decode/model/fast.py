"""Networks rearranged for GPUs: the same weights, cast once to one number format, and fewer passes over memory.

On GPUs, convolutions take less than half of the time of `LocNet`; the rest moves memory. The networks of this module
avoid concatenating, up-sampling or gathering maps before a convolution:

* A convolution of concatenated maps is the sum of the convolutions of each map.
* A 3x3 convolution of a map that was doubled by nearest up-sampling equals four 2x2 convolutions of the small map, one
  for each position of a pixel in its pair of rows and columns. Where two taps read the same small pixel, their weights
  are added.
* The first context convolution is computed once for each frame instead of once for each window, because a frame is the
  previous frame of one window and the following frame of another. The results are shifted instead of the features.
  At the edge where features leave the frame, a convolution of shifted features would read zeros, but the convolution of
  unshifted features reads the column that has left; the contribution of this column is subtracted.

The sums are those of `LocNet` in another order, so results agree up to rounding. `torch.compile` fuses elementwise
steps into single kernels. `LocNet` remains the reference.

Shape letters: ``N`` windows, ``T`` frames, ``D`` features, ``Y X`` pixels (multiples of 4), ``f`` filters.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lls_decode.model.light import FEATURE_PX, LightContextNet, LightFrameNet
from lls_decode.model.network import Head, LocNet, UNet


def use_fast_graph(network: LocNet, dtype: torch.dtype) -> None:
    """Make a network compute by its rearranged form in ``dtype``, in place; for inference only."""
    weight = next(network.parameters())
    fast = FastNet(network, dtype).to(weight.device).eval()
    network.replace_parts(fast.encode, fast.join, fast.logit)


class Layers:
    """Factory of the layers of a `FastNet`; a subclass can compute them in another way."""

    def __init__(self, dtype: torch.dtype) -> None:
        """Create layers with weights in ``dtype``."""
        self.dtype = dtype

    def conv(self, conv: nn.Module) -> nn.Module:
        """Return a convolution of one map."""
        return _Conv(conv, self.dtype)

    def elu(self, conv: nn.Module) -> nn.Module:
        """Return a convolution of one map, followed by an ELU."""
        return _Elu(conv, self.dtype)

    def up(self, conv: nn.Module) -> nn.Module:
        """Return the first convolution of a decoder stage, followed by an ELU; a function of two maps.

        The second map has half the resolution and is doubled. Each map has half of the channels.
        """
        return _Up(conv, self.dtype)

    def windows(self, network: LocNet, conv: nn.Module) -> nn.Module:
        """Return the first convolution of the context network, followed by an ELU; a function of features and windows.

        The function does not call ``network``, but takes the arrangement of planes from its configuration.
        """
        return _Windows(network, conv, self.dtype)


class FastNet(nn.Module):
    """Rearranged form of a `LocNet`, with a copy of its weights in one number format."""

    def __init__(self, network: LocNet, dtype: torch.dtype, layers: type[Layers] = Layers) -> None:
        super().__init__()
        self.dtype = dtype
        make = layers(dtype)
        frame, context = network.frame_net, network.context_net
        self.first = make.windows(network, _first_of(context))
        if isinstance(frame, UNet):
            assert isinstance(context, UNet)
            self.frame_net: nn.Module = _FastUNet(frame, make)
            self.context_net: nn.Module = _FastUNet(context, make, is_begun=True)
        else:
            assert isinstance(frame, LightFrameNet)
            assert isinstance(context, LightContextNet)
            self.frame_net = _FastLightFrameNet(frame, make)
            self.context_net = _FastLightContextNet(context, make)
        head = cast("Head", network.heads["probability"])
        self.hidden_conv, self.logit_conv = make.elu(head.core[0]), make.conv(head.out_conv)

    def encode(self, frames_TYX: Tensor, noise_TYX: Tensor | None = None) -> Tensor:
        """Return features of frames, as `LocNet.encode`."""
        x = frames_TYX[:, None].to(self.dtype)
        if noise_TYX is not None:
            x = torch.stack([x[:, 0], noise_TYX.to(self.dtype).expand_as(frames_TYX)], dim=1)
        return self.frame_net(x.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]

    def join(self, features_TDYX: Tensor, windows_N3: Tensor) -> Tensor:
        """Return hidden maps (N, D, Y, X), the input of all heads."""
        return self.context_net(self.first(features_TDYX, windows_N3))  # type: ignore[no-any-return]

    def logit(self, hidden_NDYX: Tensor) -> Tensor:
        """Return the log-odds of the detection probability (N, Y, X), float32."""
        return self.logit_conv(self.hidden_conv(hidden_NDYX)).float()[:, 0]  # type: ignore[no-any-return]


class _Conv(nn.Module):
    """Convolution with its weights in one number format."""

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        self.stride, self.padding, self.dilation = conv.stride, cast("tuple[int, int]", conv.padding), conv.dilation
        _keep(self, dtype, weight=conv.weight, bias=conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation)


class _Elu(_Conv):
    """Convolution with bias, followed by an ELU."""

    def forward(self, x: Tensor) -> Tensor:
        return _elu(F.conv2d(x, self.weight, None, self.stride, self.padding, self.dilation), self.bias)


class _Stage(nn.Sequential):
    """Two convolutions, each followed by an ELU; only the second one if the first is computed elsewhere."""

    def __init__(self, stage: nn.Module, make: Layers, *, is_begun: bool = False) -> None:
        assert isinstance(stage, nn.Sequential)
        super().__init__(*(make.elu(stage[index]) for index in ((2,) if is_begun else (0, 2))))


class _UpStage(nn.Module):
    """Decoder stage that joins maps of the encoder with maps from the stage below, at half the resolution."""

    def __init__(self, stage: nn.Module, make: Layers) -> None:
        super().__init__()
        assert isinstance(stage, nn.Sequential)
        self.first, self.second = make.up(stage[0]), make.elu(stage[2])

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        return self.second(self.first(high, low))  # type: ignore[no-any-return]


class _Up(nn.Module):
    """Convolution of concatenated maps, the second of which is doubled first, followed by an ELU."""

    high: Tensor
    phases: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        below = conv.in_channels // 2
        _keep(
            self,
            dtype,
            high=conv.weight[:, :below],
            phases=_phase_weights(conv.weight[:, below:]),
            bias=conv.bias,
        )

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        joined = F.conv2d(high, self.high, None, padding=1) + _interleave(F.conv2d(low, self.phases, None, padding=1))
        return _elu(joined, self.bias)


class _Windows(nn.Module):
    """First convolution of the context network, which joins the frames of a window."""

    weight: Tensor
    bias: Tensor

    def __init__(self, network: LocNet, conv: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        config = network.config
        self.has_context = config.context != "none"
        self.shift = config.shift_px // config.feature_px
        self.dim = 3 if config.shift_axis == "x" else 2
        self.out_channels = conv.out_channels
        # (3 f, D): contributions of a frame as the previous, this, and the following one
        frames = conv.weight.chunk(3 if self.has_context else 1, dim=1)
        _keep(self, dtype, weight=torch.cat(frames), bias=conv.bias)

    def forward(self, features_TDYX: Tensor, windows_N3: Tensor) -> Tensor:
        previous, this, following = windows_N3.unbind(dim=1)
        moves = self.has_context and abs(self.shift) > 0
        padding = [1, 1]
        padding[self.dim - 2] += int(moves)  # results beyond the edges, needed for shifting
        every = F.conv2d(features_TDYX, self.weight, None, padding=padding)
        if not self.has_context:
            return _elu(every[this], self.bias)
        before, here, after = every.split(self.out_channels, dim=1)  # type: ignore[no-untyped-call]
        if not moves:
            return _elu(before[previous] + here[this] + after[following], self.bias)
        length = features_TDYX.shape[self.dim]
        earlier, _, later = self.weight.split(self.out_channels)  # type: ignore[no-untyped-call]
        first = self._moved(before, features_TDYX, earlier, -self.shift)[previous]
        last = self._moved(after, features_TDYX, later, self.shift)[following]
        before, here, after = (part.narrow(self.dim, 1, length) for part in (before, here, after))
        # a frame at the edge that replaces a missing neighbour is not shifted
        first = torch.where((previous == this)[:, None, None, None], before[previous], first)
        last = torch.where((following == this)[:, None, None, None], after[following], last)
        return _elu(first + here[this] + last, self.bias)

    def _moved(self, results: Tensor, features: Tensor, weight: Tensor, shift: int) -> Tensor:
        """Return the convolution of shifted features from that of unshifted features, one pixel beyond the edges."""
        length = features.shape[self.dim]
        if abs(shift) >= length:
            return torch.zeros_like(results.narrow(self.dim, 1, length))
        # result c of the shifted features is result c - shift, which lies at c - shift + 1
        source, target = (0, shift - 1) if shift > 0 else (1 - shift, 0)
        moved = _place(results.narrow(self.dim, source, length + 1 - abs(shift)), target, length, self.dim)
        # subtract the column that has just left the frame: a convolution of shifted features does not read it
        left, tap, edge = (length - shift, 2, length - 1) if shift > 0 else (-shift - 1, 0, 0)
        gone = F.conv2d(
            features.narrow(self.dim, left, 1),
            weight.narrow(self.dim, tap, 1),
            None,
            padding=(1, 0) if self.dim == 3 else (0, 1),
        )
        return moved - _place(gone, edge, length, self.dim)


class _FastUNet(nn.Module):
    """Rearranged `UNet`; with ``is_begun``, without its first convolution."""

    def __init__(self, net: UNet, make: Layers, *, is_begun: bool = False) -> None:
        super().__init__()
        self.whole, self.halved = _Stage(net.encoder[0], make, is_begun=is_begun), _Stage(net.encoder[1], make)
        self.pool_full, self.pool_half = (make.conv(conv) for conv in net.poolers)
        self.base = _Stage(net.base, make)
        self.up_half, self.up_full = (make.conv(conv) for conv in net.upsamplers)
        self.to_half, self.to_full = (_UpStage(part, make) for part in net.decoder)
        self.out_conv = make.conv(net.out_conv)

    def forward(self, x: Tensor) -> Tensor:
        full = self.whole(x)  # f, Y
        half = self.halved(self.pool_full(full))  # 2f, Y/2
        x = self.base(self.pool_half(half))  # 4f, Y/4
        x = self.to_half(half, self.up_half(x))  # 2f, Y/2
        x = self.to_full(full, self.up_full(x))  # f, Y
        return self.out_conv(x)  # type: ignore[no-any-return]


class _FastLightFrameNet(nn.Module):
    """Rearranged `LightFrameNet`."""

    def __init__(self, net: LightFrameNet, make: Layers) -> None:
        super().__init__()
        self.stem, self.last = _Stage(net.stem, make), make.elu(net.last)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(F.pixel_unshuffle(x, FEATURE_PX))
        return x + self.last(x)  # type: ignore[no-any-return]


class _FastLightContextNet(nn.Module):
    """Rearranged `LightContextNet` without its first convolution."""

    def __init__(self, net: LightContextNet, make: Layers) -> None:
        super().__init__()
        self.encoder = _Stage(net.encoder, make, is_begun=True)
        self.pooler, self.base = make.conv(net.pooler), _Stage(net.base, make)
        self.wide, self.upsampler = make.elu(net.wide), make.conv(net.upsampler)
        self.decoder, self.out_conv = _UpStage(net.decoder, make), make.conv(net.out_conv)

    def forward(self, x: Tensor) -> Tensor:
        half = self.encoder(x)  # f, Y/2
        x = self.base(self.pooler(half))  # 2f, Y/4
        x = x + self.wide(x)
        x = self.decoder(half, self.upsampler(x))  # f, Y/2
        return F.pixel_shuffle(self.out_conv(x), FEATURE_PX)  # f/2, Y


def _first_of(context: nn.Module) -> nn.Module:
    stage = context.encoder[0] if isinstance(context, UNet) else context.encoder
    assert isinstance(stage, nn.Sequential)
    return stage[0]


def _keep(module: nn.Module, dtype: torch.dtype, **tensors: Tensor) -> None:
    """Copy weights into a module, in one number format and in the memory layout for GPUs."""
    for name, tensor in tensors.items():
        value = tensor.detach().to(dtype, copy=True)
        module.register_buffer(name, value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value)


def _elu(x: Tensor, bias: Tensor) -> Tensor:
    return F.elu(x + bias[:, None, None])


def _place(x: Tensor, start: int, length: int, dim: int) -> Tensor:
    """Pad a map with zeros to ``length`` along a dimension, so that it begins at ``start``."""
    ends = (start, length - start - x.shape[dim])
    return F.pad(x, ends if dim == 3 else (0, 0, *ends))


def _phase_weights(weight: Tensor) -> Tensor:
    """Return four 2x2 kernels (4 C, K, 2, 2) for the small map that replace a 3x3 kernel (C, K, 3, 3) after doubling.

    The kernels are ordered by row and column in the pair. An even row of the doubled map reads the small row above (one
    tap) and the small row itself (two taps); an odd row reads the small row itself and the one below.
    """
    return torch.cat([phase for row in _halves(weight, 2) for phase in _halves(row, 3)])


def _halves(weight: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return two taps that replace three along an axis, for even and for odd pixels."""
    before, here, after = weight.split(1, dim=dim)  # type: ignore[no-untyped-call]
    return torch.cat([before, here + after], dim), torch.cat([before + here, after], dim)


def _interleave(phases: Tensor) -> Tensor:
    """Interleave results (N, 4 C, Y + 1, X + 1) of the kernels of `_phase_weights` into maps (N, C, 2 Y, 2 X)."""
    by_pixel: Any = phases.permute(0, 2, 3, 1)
    small = by_pixel.unflatten(3, (2, 2, -1))  # N, Y + 1, X + 1, 2, 2, C
    height, width = small.shape[1] - 1, small.shape[2] - 1
    rows = [
        torch.stack([small[:, p : p + height, q : q + width, p, q] for q in (0, 1)], dim=3)  # N, Y, X, 2, C
        for p in (0, 1)
    ]
    whole: Tensor = torch.stack(rows, dim=2).flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)
    return whole
