"""Fisher information and Cramer-Rao lower bound of single emitters.

Light is counted in photo-electrons, whose noise is Poisson. For a camera with quantum efficiency q, multiply photons
and background by q. The read noise of an sCMOS pixel is treated as by Huang et al. (Nat. Methods 2013): the sum of a
Poisson variable of mean m and read noise of variance v is approximated by a Poisson variable of mean m + v.

Shape letters: ``E`` emitters, each in its own region of interest, ``Y X`` pixels of that region, ``P`` parameters in
the order of the fields of `Spots`.
"""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from lls_decode.optics import PsfModel

_LEAST_MEAN = 1e-3
"""Lower limit of the expected electrons of a pixel, because a spline can become negative beside the spot."""


@dataclass(frozen=True)
class Spots:
    """Parameters of single emitters, or the uncertainties of these parameters; all fields (E,)."""

    x_px: Tensor
    """Position relative to the centre of the first pixel of the region of interest."""
    y_px: Tensor
    z_nm: Tensor
    photons: Tensor
    """Photo-electrons of the whole PSF (for a spline: of its stamp in focus)."""
    bg: Tensor
    """Background in photo-electrons per pixel."""

    def stack(self) -> Tensor:
        """Return the parameters as a matrix with one row per emitter, (E, P) float64."""
        return torch.stack([getattr(self, field.name).to(torch.float64) for field in fields(self)], dim=1)

    @classmethod
    def unstack(cls, spots_EP: Tensor) -> "Spots":
        """Create spots from a parameter matrix, the inverse of `stack`."""
        return cls(*spots_EP.unbind(dim=1))


Variance = Tensor | float
"""Read noise variance in electrons squared, (variance in counts) / gain^2: a number, or shape (E, Y, X) or (Y, X)."""


def crlb(model: PsfModel, spots: Spots, *, height: int, width: int, variance: Variance = 0.0) -> Spots:
    """Return the Cramer-Rao bound: the smallest standard deviation of an unbiased estimate of each parameter.

    ``z_nm`` is NaN for a PSF that does not depend on z. All bounds are infinite where the parameters cannot be
    distinguished.
    """
    mean, slopes = expected_and_slopes(model, spots.stack(), height=height, width=width)
    return Spots.unstack(bound(fisher_information(mean, slopes, variance), free_parameters(model)))


def expected_and_slopes(model: PsfModel, spots_EP: Tensor, *, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the expected electrons (E, Y, X) and their derivatives with respect to the parameters (E, P, Y, X)."""
    spots = Spots.unstack(spots_EP)
    shares, by_place = model.shares_and_gradient(spots.x_px, spots.y_px, spots.z_nm, height=height, width=width)
    photons = spots.photons[:, None, None]
    slopes = torch.cat([photons[:, None] * by_place, shares[:, None], torch.ones_like(shares)[:, None]], dim=1)
    return (photons * shares + spots.bg[:, None, None]).clamp_min(_LEAST_MEAN), slopes


def fisher_information(mean: Tensor, slopes: Tensor, variance: Variance) -> Tensor:
    """Return the Fisher information matrices (E, P, P) of Poisson pixels with read noise."""
    flat = slopes.flatten(2)
    return (flat / (mean + variance).flatten(1)[:, None]) @ flat.transpose(1, 2)


def bound(information: Tensor, free: Tensor) -> Tensor:
    """Return standard deviations (E, P) from the inverted information on the free parameters; NaN for the others."""
    among = information[:, free][:, :, free]
    scale = among.diagonal(dim1=1, dim2=2).sqrt()
    scaled, wrong = torch.linalg.inv_ex(among / (scale[:, :, None] * scale[:, None, :]))
    variances = scaled.diagonal(dim1=1, dim2=2)
    known = (wrong == 0)[:, None] & (variances > 0) & torch.isfinite(variances)
    sigmas = torch.where(known, variances.clamp_min(0).sqrt() / scale, math.inf)
    spread = torch.full(information.shape[:2], math.nan, dtype=information.dtype, device=information.device)
    spread[:, free] = sigmas
    return spread


def free_parameters(model: PsfModel) -> Tensor:
    """Return the indices of the parameters that can be fitted: all, except z for a PSF that does not depend on z."""
    names = [field.name for field in fields(Spots)]
    return torch.tensor([i for i, name in enumerate(names) if name != "z_nm" or model.z_range_nm is not None])
