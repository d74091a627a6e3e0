"""Expected photons of many emitters in many frames, drawn as stamps without a loop over either.

Shape letters: ``E`` emitters (one row for each frame in which one is seen), ``F`` frames, ``Y X`` pixels, ``S`` stamp.
A PSF is normalised over the infinite plane: ``photons`` is the number in all pixels, seen or not.
"""

import math

import torch
from torch import Tensor

from lls_decode.config import AstigmaticPsf, GaussianPsf, PixelSize, Psf

_REACH_SIGMAS = 4.5
"""Half-width of a stamp in units of the widest sigma; what lies outside is less than 1e-5 of the light."""


def psf_sigmas_nm(psf: Psf, z_nm: Tensor) -> tuple[Tensor, Tensor]:
    """Width of the spot along x and y, nm, for each z."""
    if isinstance(psf, GaussianPsf):
        sigma = torch.full_like(z_nm, psf.sigma_nm)
        return sigma, sigma
    sigma_x = psf.sigma_x_nm * torch.sqrt(1 + ((z_nm - psf.focus_x_nm) / psf.depth_x_nm) ** 2)
    sigma_y = psf.sigma_y_nm * torch.sqrt(1 + ((z_nm - psf.focus_y_nm) / psf.depth_y_nm) ** 2)
    return sigma_x, sigma_y


def stamp_radius_px(psf: Psf, z_range_nm: tuple[float, float], pixel: PixelSize) -> int:
    """Half-width of the stamp that holds the spot at every z of a range, pixels."""
    if isinstance(psf, AstigmaticPsf):
        ends = torch.tensor(z_range_nm, dtype=torch.float64)
        sigma_x, sigma_y = (sigma.max().item() for sigma in psf_sigmas_nm(psf, ends))
    else:
        sigma_x = sigma_y = psf.sigma_nm
    return max(math.ceil(_REACH_SIGMAS * max(sigma_x / pixel.x_nm, sigma_y / pixel.y_nm)), 2)


def expected_photons(
    psf: Psf,
    *,
    frame: Tensor,
    x_nm: Tensor,
    y_nm: Tensor,
    z_nm: Tensor,
    photons: Tensor,
    pixel: PixelSize,
    radius_px: int,
    num_frames: int,
    height: int,
    width: int,
) -> Tensor:
    """Photons that the emitters send to each pixel, ``(F, Y, X)`` float32; integrated over the pixel's area.

    Positions (E,) are nm from the centre of pixel [0, 0]; emitters may lie outside the frame, their light that
    reaches it is drawn.
    """
    sigma_x, sigma_y = psf_sigmas_nm(psf, z_nm)
    x_px, y_px = x_nm / pixel.x_nm, y_nm / pixel.y_nm
    near = (x_px > -radius_px) & (x_px < width - 1 + radius_px) & (y_px > -radius_px) & (y_px < height - 1 + radius_px)
    frame, x_px, y_px, photons = frame[near], x_px[near], y_px[near], photons[near]
    column_ES, share_x_ES = _integrated_gaussian(x_px, sigma_x[near] / pixel.x_nm, radius_px)
    row_ES, share_y_ES = _integrated_gaussian(y_px, sigma_y[near] / pixel.y_nm, radius_px)

    # A frame with a margin of twice the radius takes whole stamps, so that none needs to be cut.
    margin = 2 * radius_px
    Y, X = height + 2 * margin, width + 2 * margin
    stamps_ESS = photons[:, None, None] * share_y_ES[:, :, None] * share_x_ES[:, None, :]
    row_start_ES = (frame[:, None] * Y + row_ES + margin) * X
    place_ESS = row_start_ES[:, :, None] + (column_ES + margin)[:, None, :]
    canvas = torch.zeros(num_frames * Y * X, dtype=torch.float32, device=x_nm.device)
    canvas.index_add_(0, place_ESS.flatten(), stamps_ESS.flatten().to(torch.float32))
    return canvas.view(num_frames, Y, X)[:, margin : margin + height, margin : margin + width]


def _integrated_gaussian(centre_px: Tensor, sigma_px: Tensor, radius_px: int) -> tuple[Tensor, Tensor]:
    """Pixel indices (E, S) around each centre and the share of a Gaussian that falls on each."""
    nearest = centre_px.round()
    offsets = torch.arange(-radius_px, radius_px + 1, device=centre_px.device)
    edges = offsets[None, :] - 0.5 + (nearest - centre_px)[:, None]
    edges = torch.cat([edges, edges[:, -1:] + 1], dim=1) / (math.sqrt(2) * sigma_px[:, None])
    return nearest.to(torch.int64)[:, None] + offsets[None, :], 0.5 * torch.erf(edges).diff(dim=1)
