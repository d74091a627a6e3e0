"""How well a single emitter can be localized: Fisher information and the Cramer-Rao lower bound.

Light is counted in photo-electrons, where its noise is Poisson: for a camera with quantum efficiency q, photons and
background times q. The read noise of an sCMOS pixel enters as by Huang et al. (Nat. Methods 2013): a variable of
variance v added to a Poisson one of mean m is taken as Poisson of mean m + v.

Shape letters: ``E`` emitters, each in a region of interest of its own, ``Y X`` its pixels, ``P`` parameters in the
order of the fields of `Spots`.
"""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from lls_decode.optics import PsfModel

_LEAST_MEAN = 1e-3
"""Expected electrons of a pixel are never below this: a spline may dip under zero beside its spot."""


@dataclass(frozen=True)
class Spots:
    """Single emitters, or uncertainties of them: one value an emitter, all (E,)."""

    x_px: Tensor
    """From the centre of the first pixel of the region of interest."""
    y_px: Tensor
    z_nm: Tensor
    photons: Tensor
    """Photo-electrons of the PSF's unit of light (for a spline: its stamp in focus)."""
    bg: Tensor
    """Photo-electrons per pixel."""

    def stack(self) -> Tensor:
        """One row of parameters an emitter, (E, P) float64."""
        return torch.stack([getattr(self, field.name).to(torch.float64) for field in fields(self)], dim=1)

    @classmethod
    def unstack(cls, spots_EP: Tensor) -> "Spots":
        """The opposite of `stack`."""
        return cls(*spots_EP.unbind(dim=1))


Variance = Tensor | float
"""Of the read noise in electrons squared, (variance in counts) / gain^2: one number, or shape (E, Y, X) or (Y, X)."""


def crlb(model: PsfModel, spots: Spots, *, height: int, width: int, variance: Variance = 0.0) -> Spots:
    """Smallest standard deviations that an unbiased estimate of each parameter can have.

    ``z_nm`` is NaN for a PSF that is the same at every z; all are infinite where the parameters cannot be told apart.
    """
    mean, slopes = expected_and_slopes(model, spots.stack(), height=height, width=width)
    return Spots.unstack(bound(fisher_information(mean, slopes, variance), free_parameters(model)))


def expected_and_slopes(model: PsfModel, spots_EP: Tensor, *, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Expected electrons (E, Y, X) and their derivatives by the parameters (E, P, Y, X)."""
    spots = Spots.unstack(spots_EP)
    shares, by_place = model.shares_and_gradient(spots.x_px, spots.y_px, spots.z_nm, height=height, width=width)
    photons = spots.photons[:, None, None]
    slopes = torch.cat([photons[:, None] * by_place, shares[:, None], torch.ones_like(shares)[:, None]], dim=1)
    return (photons * shares + spots.bg[:, None, None]).clamp_min(_LEAST_MEAN), slopes


def fisher_information(mean: Tensor, slopes: Tensor, variance: Variance) -> Tensor:
    """Information matrices (E, P, P) of Poisson pixels with read noise."""
    flat = slopes.flatten(2)
    return (flat / (mean + variance).flatten(1)[:, None]) @ flat.transpose(1, 2)


def bound(information: Tensor, free: Tensor) -> Tensor:
    """Standard deviations (E, P) from the inverse of the information on the free parameters; NaN for the others."""
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
    """Indices of the parameters that the PSF tells."""
    names = [field.name for field in fields(Spots)]
    return torch.tensor([i for i, name in enumerate(names) if name != "z_nm" or model.z_range_nm is not None])
