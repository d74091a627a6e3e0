"""Round or elliptical Gaussian spots, integrated over pixels.

Shape letters: ``E`` emitters, ``Y X`` pixels, ``S`` stamp.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lls_decode.config import AstigmaticPsf, GaussianPsf, PixelSize
from lls_decode.optics.stamps import PsfVariation, Stamps

_REACH_SIGMAS = 4.5
"""Half-width of a stamp in units of the largest sigma; less than 1e-5 of the light is outside."""
_REACH_DEPTHS = 1.5
"""Distance beyond each of its two foci, in units of the depth, up to which an astigmatic spot is used in fits."""


def psf_sigmas_nm(psf: GaussianPsf | AstigmaticPsf, z_nm: Tensor) -> tuple[Tensor, Tensor]:
    """Return the widths (sigmas) of the spot along x and y in nm, for each z."""
    if isinstance(psf, GaussianPsf):
        sigma = torch.full_like(z_nm, psf.sigma_nm)
        return sigma, sigma
    sigma_x = psf.sigma_x_nm * torch.sqrt(1 + ((z_nm - psf.focus_x_nm) / psf.depth_x_nm) ** 2)
    sigma_y = psf.sigma_y_nm * torch.sqrt(1 + ((z_nm - psf.focus_y_nm) / psf.depth_y_nm) ** 2)
    return sigma_x, sigma_y


@dataclass(frozen=True)
class GaussianModel:
    """Round or elliptical Gaussian on pixels of a given size; implements `lls_decode.optics.PsfModel`."""

    psf: GaussianPsf | AstigmaticPsf
    pixel: PixelSize

    @property
    def z_range_nm(self) -> tuple[float, float] | None:
        """Range of z that a fit may search; None if the spot does not depend on z."""
        psf = self.psf
        if isinstance(psf, GaussianPsf):
            return None
        ends_x = (psf.focus_x_nm - _REACH_DEPTHS * psf.depth_x_nm, psf.focus_x_nm + _REACH_DEPTHS * psf.depth_x_nm)
        ends_y = (psf.focus_y_nm - _REACH_DEPTHS * psf.depth_y_nm, psf.focus_y_nm + _REACH_DEPTHS * psf.depth_y_nm)
        return min(ends_x[0], ends_y[0]), max(ends_x[1], ends_y[1])

    def radius_px(self, z_range_nm: tuple[float, float]) -> int:
        """Return the half-width, in pixels, of a stamp that contains the spot at every z in a range."""
        if isinstance(self.psf, AstigmaticPsf):
            ends = torch.tensor(z_range_nm, dtype=torch.float64)
            sigma_x, sigma_y = (sigma.max().item() for sigma in psf_sigmas_nm(self.psf, ends))
        else:
            sigma_x = sigma_y = self.psf.sigma_nm
        return max(math.ceil(_REACH_SIGMAS * max(sigma_x / self.pixel.x_nm, sigma_y / self.pixel.y_nm)), 2)

    def stamps(
        self,
        photons: Tensor,
        x_px: Tensor,
        y_px: Tensor,
        z_nm: Tensor,
        *,
        radius_px: int,
        variation: PsfVariation | None = None,
    ) -> Stamps:
        """Return the light of each emitter in the pixels within ``radius_px`` of its nearest pixel."""
        sigma_x, sigma_y = psf_sigmas_nm(self.psf, z_nm)
        if variation is not None:
            sigma_x = psf_sigmas_nm(self.psf, z_nm - variation.focus_x_nm)[0] * variation.width
            sigma_y = psf_sigmas_nm(self.psf, z_nm - variation.focus_y_nm)[1] * variation.width
        column, row = x_px.round(), y_px.round()
        offsets = torch.arange(-radius_px, radius_px + 1, device=x_px.device)
        share_x_ES = _shares(offsets, x_px - column, sigma_x / self.pixel.x_nm)
        share_y_ES = _shares(offsets, y_px - row, sigma_y / self.pixel.y_nm)
        photons_ESS = photons[:, None, None] * share_y_ES[:, :, None] * share_x_ES[:, None, :]
        return Stamps(row.to(torch.int64) - radius_px, column.to(torch.int64) - radius_px, photons_ESS)

    def shares(self, x_px: Tensor, y_px: Tensor, z_nm: Tensor, *, height: int, width: int) -> Tensor:
        """Return the share of each emitter's light in each pixel of its own region of interest, ``(E, Y, X)``."""
        sigma_x, sigma_y = psf_sigmas_nm(self.psf, z_nm)
        share_x = _shares(torch.arange(width, device=x_px.device), x_px, sigma_x / self.pixel.x_nm)
        share_y = _shares(torch.arange(height, device=x_px.device), y_px, sigma_y / self.pixel.y_nm)
        return share_y[:, :, None] * share_x[:, None, :]

    def shares_and_gradient(
        self, x_px: Tensor, y_px: Tensor, z_nm: Tensor, *, height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """Return `shares` and their derivatives with respect to x_px, y_px and z_nm, ``(E, 3, Y, X)``."""
        sigma_x, sigma_y = psf_sigmas_nm(self.psf, z_nm)
        slope_x, slope_y = self._sigma_slopes(z_nm, sigma_x, sigma_y)
        columns, rows = torch.arange(width, device=x_px.device), torch.arange(height, device=x_px.device)
        share_x, by_x, by_sigma_x = _shares_and_slopes(columns, x_px, sigma_x / self.pixel.x_nm)
        share_y, by_y, by_sigma_y = _shares_and_slopes(rows, y_px, sigma_y / self.pixel.y_nm)
        z_by_x = by_sigma_x * (slope_x / self.pixel.x_nm)[:, None]
        z_by_y = by_sigma_y * (slope_y / self.pixel.y_nm)[:, None]
        gradient = torch.stack(
            [
                share_y[:, :, None] * by_x[:, None, :],
                by_y[:, :, None] * share_x[:, None, :],
                z_by_y[:, :, None] * share_x[:, None, :] + share_y[:, :, None] * z_by_x[:, None, :],
            ],
            dim=1,
        )
        return share_y[:, :, None] * share_x[:, None, :], gradient

    def _sigma_slopes(self, z_nm: Tensor, sigma_x: Tensor, sigma_y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivatives of the two widths with respect to z."""
        psf = self.psf
        if isinstance(psf, GaussianPsf):
            return torch.zeros_like(z_nm), torch.zeros_like(z_nm)
        slope_x = psf.sigma_x_nm**2 * (z_nm - psf.focus_x_nm) / (psf.depth_x_nm**2 * sigma_x)
        slope_y = psf.sigma_y_nm**2 * (z_nm - psf.focus_y_nm) / (psf.depth_y_nm**2 * sigma_y)
        return slope_x, slope_y


def _edges(pixels: Tensor, centre_px: Tensor) -> Tensor:
    """Return the signed distances (E, S + 1) of the pixel edges from the centre."""
    edges = pixels[None, :] - 0.5 + (-centre_px)[:, None]
    return torch.cat([edges, edges[:, -1:] + 1], dim=1)


def _shares(pixels: Tensor, centre_px: Tensor, sigma_px: Tensor) -> Tensor:
    """Return the share (E, S) of a one-dimensional Gaussian in each pixel."""
    edges = _edges(pixels, centre_px) / (math.sqrt(2) * sigma_px[:, None])
    return 0.5 * torch.erf(edges).diff(dim=1)


def _shares_and_slopes(pixels: Tensor, centre_px: Tensor, sigma_px: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return `_shares` and their derivatives with respect to centre and sigma."""
    edges, sigma = _edges(pixels, centre_px), sigma_px[:, None]
    density = torch.exp(-0.5 * (edges / sigma) ** 2) / (math.sqrt(2 * math.pi) * sigma)
    share = 0.5 * torch.erf(edges / (math.sqrt(2) * sigma)).diff(dim=1)
    return share, -density.diff(dim=1), -(edges * density / sigma).diff(dim=1)
