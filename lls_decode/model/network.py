"""Localization network (Speiser et al., Nat. Methods 2021): two stacked U-Nets and four heads.

The first U-Net encodes each frame once; the second combines the features of a frame and of its two neighbours.
The layers are those of the published code: two 3x3 convolutions per stage, 2x2 stride-2 convolutions down, nearest
up-sampling and a 1x1 convolution up, ELU, no normalisation; 2 199 418 weights at 48 filters with context.

Training uses all output maps. Inference needs most of them at detected pixels only: evaluating all heads but the
probability's only there saves a tenth of the arithmetic (`LocNet.decode_sparsely`).

Shape letters: ``N`` windows, ``T`` frames, ``D`` features, ``Y X`` pixels (multiples of 4), ``P`` single pixels.

In a stage scan molecules move by about three pixels from plane to plane. Features of neighbouring planes are shifted
by whole pixels before they are combined; the network learns the remaining fraction, because the simulator moves its
molecules by the same law. At the first and the last plane of a sweep the plane itself replaces its missing neighbour,
without a shift.

In bfloat16 the first convolution and the last stage stay in float32, because rounding there moves detections over the
threshold.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lls_decode.axes import ScanAxis
from lls_decode.config import STRIDE, NetworkConfig
from lls_decode.model.layers import ExactConv2d, ExactELU, ExactHalving, in_whole_vectors, linear_by_row, stage
from lls_decode.model.light import LightContextNet, LightFrameNet

LOGIT_LIMIT = 8.0
"""Largest absolute log-odds of a detection probability."""
_ROWS_AT_ONCE = 64
"""Number of single pixels of which a multiple is evaluated at a time."""
_VALUES_OF_A_FEW = 20_480
"""Number of values in a single map up to which torch does not use oneDNN. The smallest inputs in the networks are those
of the first convolution and of the base: 2 and ``filters / 8`` values per pixel of the frame; in light networks, 1 and
``filters / 16``."""
_SIGMA_FLOOR = 0.001
_SIGMA_CEILING = 3.0
_SIGMA_WITHOUT_Z = 0.1


class OutputMaps(NamedTuple):
    """Outputs of the network for each pixel, in network units; each (N, Y, X) float32, or (P,) for single pixels."""

    logit: Tensor
    """Log-odds of the detection probability; see `probability` for the limits."""
    photons: Tensor
    """Photons of the emitter, 0 to 1."""
    x: Tensor
    """Offset from the pixel's centre along x, -1 to 1 pixel."""
    y: Tensor
    z: Tensor
    """z of the emitter, -1 to 1."""
    photons_sig: Tensor
    x_sig: Tensor
    y_sig: Tensor
    z_sig: Tensor
    bg: Tensor
    """Background, 0 to 1."""

    @property
    def probability(self) -> Tensor:
        """Detection probability, limited to 3.35e-4 and its complement as in the authors' program."""
        return _probability(self.logit)

    def crop(self, height: int, width: int) -> "OutputMaps":
        """Return the maps without the pixels by which frames were padded."""
        return OutputMaps(*(value[:, :height, :width] for value in self))

    def at(self, pixels_P3: Tensor) -> "OutputMaps":
        """Return the values (P,) at single pixels, given by window, row and column."""
        return OutputMaps(*(value[pixels_P3.unbind(dim=1)] for value in self))


@dataclass(frozen=True)
class SparseMaps:
    """Output maps whose probability is known everywhere, and whose other values are evaluated on request."""

    network: "LocNet"
    hidden_NDYX: Tensor
    logit: Tensor
    """Log-odds of the detection probability, (N, Y, X) float32; possibly cropped at the right and the bottom."""

    @property
    def probability(self) -> Tensor:
        """Detection probability, as `OutputMaps.probability`."""
        return _probability(self.logit)

    def at(self, pixels_P3: Tensor) -> OutputMaps:
        """Return the values (P,) at single pixels, given by window, row and column.

        They equal those of `OutputMaps` up to rounding. Their bits do not depend on the other pixels: matrix products
        of very few rows are summed in another order, so rows are always padded to a sufficient number.
        """
        count = len(pixels_P3)
        filled_P3 = F.pad(pixels_P3, (0, 0, 0, -count % _ROWS_AT_ONCE))
        around_PK = _neighbourhoods(self.hidden_NDYX, filled_P3)
        maps = self.network.outputs(
            self.logit[filled_P3.unbind(dim=1)], *(head.at(around_PK) for head in self.network.other_heads)
        )
        return OutputMaps(*(value[:count] for value in maps))

    def crop(self, height: int, width: int) -> "SparseMaps":
        """Return the maps without the pixels by which frames were padded."""
        return SparseMaps(self.network, self.hidden_NDYX, self.logit[:, :height, :width])


class UNet(nn.Module):
    """U-Net with two stages down and two up, from ``in_channels`` to ``filters`` channels at the same resolution."""

    def __init__(
        self, in_channels: int, filters: int, *, first: type[nn.Conv2d] = nn.Conv2d, last: type[nn.Conv2d] = nn.Conv2d
    ) -> None:
        """Create the layers; ``first`` is the class of the first convolution, ``last`` that of the last stage."""
        super().__init__()
        f = filters
        self.encoder = nn.ModuleList([stage(in_channels, f, first), stage(f, 2 * f)])
        self.poolers = nn.ModuleList([ExactHalving(f), ExactHalving(2 * f)])
        self.base = stage(2 * f, 4 * f)
        self.upsamplers = nn.ModuleList([nn.Conv2d(4 * f, 2 * f, 1), nn.Conv2d(2 * f, f, 1)])
        self.decoder = nn.ModuleList([stage(4 * f, 2 * f), stage(2 * f, f, last, last)])
        self.out_conv = last(f, f, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, Y, X) to (N, filters, Y, X)."""
        full = self.encoder[0](x)  # f, Y
        half = self.encoder[1](self.poolers[0](full))  # 2f, Y/2
        x = self.base(self.poolers[1](half))  # 4f, Y/4
        x = self.decoder[0](torch.cat([half, _double(self.upsamplers[0](x))], dim=1))  # 2f, Y/2
        x = self.decoder[1](torch.cat([full, _double(self.upsamplers[1](x))], dim=1))  # f, Y
        return self.out_conv(x)  # type: ignore[no-any-return]


class Head(nn.Module):
    """Two convolutions from features to one group of output maps."""

    def __init__(self, filters: int, out_channels: int, conv: type[nn.Conv2d] = nn.Conv2d) -> None:
        super().__init__()
        self.core = nn.Sequential(conv(filters, filters, 3, padding=1), ExactELU())
        self.out_conv = conv(filters, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, D, Y, X) to (N, out_channels, Y, X)."""
        return self.out_conv(self.core(x))  # type: ignore[no-any-return]

    def at(self, around_PK: Tensor) -> Tensor:
        """Return outputs (P, out_channels) of single pixels from the features of the nine pixels around each."""
        conv, activation = self.core
        assert isinstance(conv, nn.Conv2d)
        with torch.autocast(around_PK.device.type, enabled=False):
            kernels = conv.weight.permute(0, 2, 3, 1).flatten(1)
            x = linear_by_row(around_PK.to(conv.weight.dtype), kernels, conv.bias)
            return linear_by_row(activation(x), self.out_conv.weight.flatten(1), self.out_conv.bias)


class LocNet(nn.Module):
    """Localization network that encodes every frame once and decodes windows of three frames."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        f = config.filters
        seen = f if config.context == "none" else 3 * f
        channels = 2 if config.noise_map else 1
        light = config.variant == "light"
        nets = (LightFrameNet, LightContextNet) if light else (UNet, UNet)
        self.frame_net = nets[0](channels, f, first=ExactConv2d)
        self.context_net = nets[1](seen, f, last=ExactConv2d)
        hidden = f // 2 if light else f
        self.heads = nn.ModuleDict(
            {
                "probability": Head(hidden, 1, ExactConv2d),
                "mean": Head(hidden, 4),
                "sigma": Head(hidden, 4),
                "background": Head(hidden, 1),
            }
        )
        self._initialise()

    def wrap_parts(self, wrap: Callable[[Callable[..., Tensor]], Callable[..., Tensor]]) -> None:
        """Wrap the functions that take nearly all of the time, e.g. by ``torch.compile``, for this object only."""
        self.replace_parts(wrap(self.encode), wrap(self._join), wrap(self._logit))

    def replace_parts(
        self, encode: Callable[..., Tensor], join: Callable[..., Tensor], logit: Callable[..., Tensor]
    ) -> None:
        """Replace the functions that take nearly all of the time by equivalent ones, for this object only.

        Parameters
        ----------
        encode
            Function from frames to features, as `encode`.
        join
            Function from features and windows to hidden maps (N, D, Y, X).
        logit
            Function from hidden maps to log-odds (N, Y, X), float32.
        """
        self.encode, self._join, self._logit = encode, join, logit  # type: ignore[method-assign]

    def encode(self, frames_TYX: Tensor, noise_TYX: Tensor | None = None) -> Tensor:
        """Return features ``(T, D, Y, X)`` of scaled frames, not aligned between planes; light: at half resolution.

        A network with a noise map also needs the scaled read noise, ``(T, Y, X)``, or ``(Y, X)`` for all frames.
        """
        assert (noise_TYX is not None) == self.config.noise_map, (
            "give noise_TYX if network.noise_map is set, and only then"
        )
        x = frames_TYX[:, None]
        if noise_TYX is not None:
            x = torch.stack([frames_TYX, noise_TYX.expand_as(frames_TYX)], dim=1)
        return self._compute(self.frame_net, x.contiguous(memory_format=torch.channels_last))

    def decode(self, features_TDYX: Tensor, windows_N3: Tensor) -> OutputMaps:
        """Return output maps of windows; ``windows_N3`` holds indices (previous, this, next) into the features."""
        hidden = self._join(features_TDYX, windows_N3)
        return self.outputs(self._logit(hidden), *(head(hidden) for head in self.other_heads))

    def decode_sparsely(self, features_TDYX: Tensor, windows_N3: Tensor) -> SparseMaps:
        """Decode windows like `decode`, but return maps that are evaluated at single pixels on request."""
        hidden = self._join(features_TDYX, windows_N3)
        return SparseMaps(self, hidden, self._logit(hidden))

    @property
    def other_heads(self) -> tuple[Head, ...]:
        """Heads other than that of the probability, in the order of the arguments of `outputs`."""
        return tuple(cast("Head", self.heads[name]) for name in ("mean", "sigma", "background"))

    def outputs(self, logit: Tensor, mean: Tensor, sigma: Tensor, bg: Tensor) -> OutputMaps:
        """Convert outputs of the heads, (N, C, Y, X) or (P, C) for single pixels, to named maps."""
        mean, bg = mean.float(), bg.float()
        sigma = _SIGMA_CEILING * torch.sigmoid(sigma.float()) + _SIGMA_FLOOR
        z, z_sig = torch.tanh(mean[:, 3]), sigma[:, 3]
        if not self.config.predict_z:
            z, z_sig = torch.zeros_like(z), torch.full_like(z_sig, _SIGMA_WITHOUT_Z)
        return OutputMaps(
            logit=logit,
            photons=torch.sigmoid(mean[:, 0]),
            x=torch.tanh(mean[:, 1]),
            y=torch.tanh(mean[:, 2]),
            z=z,
            photons_sig=sigma[:, 0],
            x_sig=sigma[:, 1],
            y_sig=sigma[:, 2],
            z_sig=z_sig,
            bg=torch.sigmoid(bg[:, 0]),
        )

    def _join(self, features_TDYX: Tensor, windows_N3: Tensor) -> Tensor:
        """Combine the frames of each window into hidden maps (N, D, Y, X), the input of all heads."""
        previous, this, following = windows_N3.unbind(dim=1)
        x = features_TDYX[this]
        if self.config.context != "none":
            before = self._align(features_TDYX[previous], previous == this, -self.config.shift_px)
            after = self._align(features_TDYX[following], following == this, self.config.shift_px)
            x = torch.cat([before, x, after], dim=1)  # 3D
        return self._compute(self.context_net, x)

    def _logit(self, hidden: Tensor) -> Tensor:
        return self._compute(self.heads["probability"], hidden).float()[:, 0]

    def _compute(self, part: nn.Module, x: Tensor) -> Tensor:
        """Apply a part of the network to (N, C, Y, X); duplicate a single small map so that bits do not change.

        On CPUs, torch uses another convolution for single maps with few values, which sums in another order.
        """
        light = self.config.variant == "light"
        height, width = (side * (self.config.feature_px if part is self.context_net else 1) for side in x.shape[2:])
        fewest = min(1, self.config.filters / 16) if light else min(2, self.config.filters / 8)
        if x.device.type != "cpu" or len(x) != 1 or self.training or height * width * fewest > _VALUES_OF_A_FEW:
            return part(x)  # type: ignore[no-any-return]
        return part(torch.cat([x, x]))[:1]  # type: ignore[no-any-return]

    def _align(self, features: Tensor, repeated: Tensor, shift_px: int) -> Tensor:
        """Shift a neighbour's features by whole pixels, unless the frame itself replaces a missing neighbour."""
        if shift_px == 0:
            return features
        moved = shift_features(features, shift_px // self.config.feature_px, self.config.shift_axis)
        return torch.where(repeated[:, None, None, None], features, moved)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        last = self.heads["probability"].out_conv
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.constant_(last.bias, -6.0)  # few pixels hold an emitter


def shift_features(features: Tensor, shift_px: int, axis: ScanAxis) -> Tensor:
    """Shift (N, D, Y, X) by whole pixels towards larger x or y, and fill with zeros."""
    dim = 3 if axis == "x" else 2
    length = features.shape[dim]
    moved = torch.zeros_like(features)
    if abs(shift_px) < length:
        count, source, target = length - abs(shift_px), max(-shift_px, 0), max(shift_px, 0)
        moved.narrow(dim, target, count).copy_(features.narrow(dim, source, count))
    return moved


def pad_to_stride(frames_TYX: Tensor) -> Tensor:
    """Append zeros at the bottom and the right until both sides are multiples of `STRIDE`; positions do not change."""
    height, width = frames_TYX.shape[-2:]
    return F.pad(frames_TYX, (0, -width % STRIDE, 0, -height % STRIDE))


def _probability(logit: Tensor) -> Tensor:
    return in_whole_vectors(torch.sigmoid_, logit.clamp(-LOGIT_LIMIT, LOGIT_LIMIT))


def _neighbourhoods(x_NDYX: Tensor, pixels_P3: Tensor) -> Tensor:
    """Return the channels (P, 9 D) of the nine pixels around each pixel, row by row; zero beyond the frame."""
    height, width = x_NDYX.shape[2:]
    window, row, column = pixels_P3[:, :, None, None].unbind(dim=1)  # (P, 1, 1)
    step = torch.arange(-1, 2, device=x_NDYX.device)
    row, column = row + step[:, None], column + step  # (P, 3, 1), (P, 1, 3)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    around = x_NDYX.permute(0, 2, 3, 1)[window, row.clamp(0, height - 1), column.clamp(0, width - 1)]
    return torch.where(inside[..., None], around, 0).flatten(1)


def _double(x: Tensor) -> Tensor:
    """Up-sample by 2 (nearest); done after the 1x1 convolution, which gives equal numbers for a quarter of the work."""
    with torch.autocast(x.device.type, enabled=False):  # autocast would copy 16 bits as 32
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
