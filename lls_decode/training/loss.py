"""Loss function of the paper (Speiser et al. 2021, eqs. 1-6), in float32 and stable for p near 0 and 1.

count        -log Normal(E | sum p, sum p(1-p)) per frame
localization -mean over emitters of log sum_k p_k / sum_j p_j * Normal(u_e | mu_k, sigma_k), u = x, y, z, photons
background   squared error, sum over pixels

As in the authors' code, a frame is weighted by its number of emitters, so that every emitter of a batch has the same
weight. A frame without emitters has the weight of one emitter, so that detections in empty frames are penalized. All
terms are divided by the number of emitters in the batch.

The mixture is evaluated over the pixels within ``_REACH_PX`` of an emitter. A pixel can predict an emitter at most one
pixel from its own centre, so pixels farther away contribute nothing once sigma is below a pixel.

Shape letters: ``N`` windows, ``E`` emitters, ``K`` pixels around an emitter, ``Y X`` pixels.

The logit is limited to +-8, as in the authors' code, but a gradient that leads back into the limits passes. With hard
limits saturated pixels would stay dead; with a straight-through gradient logits would grow without bound.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lls_decode.model.network import LOGIT_LIMIT, OutputMaps
from lls_decode.simulate import Targets

_REACH_PX = 5


@dataclass(frozen=True)
class Losses:
    """Three terms of the loss, as scalars."""

    count: Tensor
    localization: Tensor
    background: Tensor

    @property
    def total(self) -> Tensor:
        """Sum of the terms, which training minimizes."""
        return self.count + self.localization + self.background

    def __add__(self, other: "Losses") -> "Losses":
        return Losses(
            self.count + other.count, self.localization + other.localization, self.background + other.background
        )


def decode_loss(maps: OutputMaps, targets: Targets) -> Losses:
    """Return the losses of one batch."""
    num_windows = len(maps.logit)
    emitters_N = torch.bincount(targets.window, minlength=num_windows).to(maps.logit.dtype)
    weight_N = emitters_N.clamp_min(1.0)
    logit = limited(maps.logit)
    probability = torch.sigmoid(logit)
    mean_N = probability.sum(dim=(1, 2))
    variance_N = (probability * torch.sigmoid(-logit)).sum(dim=(1, 2))
    count_N = 0.5 * (emitters_N - mean_N) ** 2 / variance_N + 0.5 * torch.log(2 * math.pi * variance_N)
    count = (weight_N * count_N).sum() / weight_N.sum()
    localization = _negative_log_mixture(maps, targets, mean_N).sum() / weight_N.sum()
    background = ((maps.bg - targets.bg_NYX) ** 2).sum() / weight_N.sum()
    return Losses(count, localization, background)


def _negative_log_mixture(maps: OutputMaps, targets: Targets, mean_N: Tensor) -> Tensor:
    """Return the negative logarithm of the mixture density at each emitter, (E,)."""
    near = pixels_near_emitters(maps, targets, F.logsigmoid(limited(maps.logit)), _REACH_PX)
    log_weight = near.value_EK - torch.log(mean_N)[targets.window][:, None]
    return -torch.logsumexp((log_weight + near.log_density_EK).masked_fill(~near.inside_EK, -torch.inf), dim=1)


class NearPixels(NamedTuple):
    """Pixels near each emitter."""

    pixel_EK: Tensor
    """Index of the pixel in the flattened maps (N Y X)."""
    inside_EK: Tensor
    """Whether the pixel lies inside the frame; the other values of pixels outside are meaningless."""
    value_EK: Tensor
    """Value of the given map in the pixel."""
    log_density_EK: Tensor
    """Logarithm of the pixel's normal density of x, y, z and photons at the emitter."""


def pixels_near_emitters(maps: OutputMaps, targets: Targets, value: Tensor, reach_px: int) -> NearPixels:
    """Return the pixels up to ``reach_px`` away from each emitter, with their values in a map (N, Y, X)."""
    _, height, width = maps.logit.shape
    reach = torch.arange(-reach_px, reach_px + 1, device=maps.logit.device)
    y_EK = (targets.y_px.round().to(torch.int64)[:, None, None] + reach[:, None]).expand(-1, -1, len(reach)).flatten(1)
    x_EK = (targets.x_px.round().to(torch.int64)[:, None, None] + reach[None, :]).expand(-1, len(reach), -1).flatten(1)
    inside_EK = (y_EK >= 0) & (y_EK < height) & (x_EK >= 0) & (x_EK < width)
    pixel_EK = (targets.window[:, None] * height + y_EK.clamp(0, height - 1)) * width + x_EK.clamp(0, width - 1)

    # gather all maps at once: (N*Y*X, 9), one row per pixel
    fields = (value, maps.x, maps.y, maps.z, maps.photons, maps.x_sig, maps.y_sig, maps.z_sig, maps.photons_sig)
    rows = torch.stack(fields, dim=-1).reshape(-1, len(fields))
    value_EK, x, y, z, photons, x_sig, y_sig, z_sig, photons_sig = rows[pixel_EK].unbind(dim=-1)
    log_density_EK = (
        _log_normal(targets.x_px[:, None], x_EK + x, x_sig)
        + _log_normal(targets.y_px[:, None], y_EK + y, y_sig)
        + _log_normal(targets.z[:, None], z, z_sig)
        + _log_normal(targets.photons[:, None], photons, photons_sig)
    )
    return NearPixels(pixel_EK, inside_EK, value_EK, log_density_EK)


class _Limited(torch.autograd.Function):
    """Clamp of logits to the network's limits that, beyond the limits, passes only gradients pointing back inside.

    Without any gradient, a saturated pixel would never return. With the full gradient, the logits of empty pixels,
    whose clamped probabilities cannot decrease, would be pushed down forever, and the features would grow until
    training diverges.
    """

    @staticmethod
    def forward(ctx: Any, logit: Tensor) -> Tensor:
        ctx.save_for_backward(logit)
        return logit.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (logit,) = ctx.saved_tensors
        (gradient,) = gradients
        leads_away = ((logit < -LOGIT_LIMIT) & (gradient > 0)) | ((logit > LOGIT_LIMIT) & (gradient < 0))
        return gradient.masked_fill(leads_away, 0.0)


def limited(logit: Tensor) -> Tensor:
    """Clamp logits to the network's limits, with gradients as in `_Limited`."""
    within = _Limited.apply(logit)  # type: ignore[no-untyped-call]
    assert isinstance(within, Tensor)
    return within


def _log_normal(value: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
    return -0.5 * ((value - mean) / sigma) ** 2 - torch.log(sigma) - 0.5 * math.log(2 * math.pi)
