"""Conversion of a network to wider units: its last layers are changed so that its predictions stay nearly the same.

The network's output for photons and background is s = sigmoid(a) in units of their scales, and a tanh for z. In a scale
that is k times wider, the output must be s / k. No change of the last layer does this exactly for every s, but
a' = slope * a + offset does nearly, with slope and offset fitted over the relevant outputs. Sigmas are far below their
ceiling, where sigmoid(b - ln k) is sigmoid(b) / k. Training removes the remaining difference within its first steps.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lls_decode.config import Scaling

_SAID = torch.linspace(0.02, 0.9, 89, dtype=torch.float64)
"""Outputs to which slope and offset are fitted, in the old units."""
_PHOTONS, _Z = 0, 3
"""Rows of photons and z in the last layers of ``heads.mean`` and ``heads.sigma``."""


def rescale(weights: Mapping[str, Tensor], old: Scaling, new: Scaling) -> dict[str, Tensor]:
    """Return weights whose predictions in units of ``new`` nearly equal those of ``weights`` in units of ``old``."""
    changed = {name: value.clone() for name, value in weights.items()}
    photons, z, bg = new.photons / old.photons, new.z_nm / old.z_nm, new.bg / old.bg
    _change(changed, "mean", _PHOTONS, *_fitted(torch.logit, photons))
    _change(changed, "mean", _Z, *_fitted(torch.atanh, z))
    _change(changed, "background", 0, *_fitted(torch.logit, bg))
    _change(changed, "sigma", _PHOTONS, 1.0, -math.log(photons))
    _change(changed, "sigma", _Z, 1.0, -math.log(z))
    return changed


def _fitted(inverse: Callable[[Tensor], Tensor], k: float) -> tuple[float, float]:
    """Return slope and offset of the fit from inverse(s) to inverse(s / k); the offset is 0 for a tanh."""
    if k == 1.0:
        return 1.0, 0.0
    before, after = inverse(_SAID), inverse(_SAID / k)
    if inverse is torch.atanh:
        return float((before * after).sum() / before.square().sum()), 0.0
    centred = before - before.mean()
    slope = float((centred * after).sum() / centred.square().sum())
    return slope, float(after.mean() - slope * before.mean())


def _change(weights: dict[str, Tensor], head: str, row: int, slope: float, offset: float) -> None:
    weight, bias = (weights[f"heads.{head}.out_conv.{name}"] for name in ("weight", "bias"))
    weight[row] *= slope
    bias[row] = slope * bias[row] + offset
