"""Drawing of the expected photons of many emitters in many frames, as stamps and without a loop over emitters.

Shape letters: ``E`` emitters (one row for each frame in which an emitter is on), ``F`` frames, ``Y X`` pixels, ``S``
stamp. A Gaussian is normalised over the infinite plane, so ``photons`` includes light outside the frame. A spline is
normalised over its stamp in focus.
"""

from functools import lru_cache

import torch
from torch import Tensor

from lls_decode.config import PixelSize, Psf, SplinePsf
from lls_decode.optics.gaussian import GaussianModel, psf_sigmas_nm
from lls_decode.optics.spline import SplineModel, check_pixel
from lls_decode.optics.spline_files import FileState, file_state, read_spline
from lls_decode.optics.stamps import PsfModel, PsfVariation

__all__ = ["build_psf", "expected_photons", "psf_sigmas_nm", "stamp_radius_px"]


def build_psf(psf: Psf, *, pixel: PixelSize, device: torch.device | None = None) -> PsfModel:
    """Make the model that draws and differentiates a configured PSF; spline files are cached per process.

    Raises
    ------
    ConfigError
        The file of a spline is missing, has different contents from those configured, or has a different pixel size.
    """
    if not isinstance(psf, SplinePsf):
        return GaussianModel(psf, pixel)
    model = _load_spline(file_state(psf.path), psf.content, device or torch.device("cpu"))
    check_pixel(model.spline, pixel, psf.path)
    return model


@lru_cache(maxsize=4)
def _load_spline(file: FileState, content: str | None, device: torch.device) -> SplineModel:
    return SplineModel(read_spline(file.path, content=content), device=device)


def stamp_radius_px(psf: Psf, z_range_nm: tuple[float, float], pixel: PixelSize) -> int:
    """Return the half-width, in pixels, of a stamp that contains the spot at every z in a range."""
    return build_psf(psf, pixel=pixel).radius_px(z_range_nm)


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
    variation: PsfVariation | None = None,
) -> Tensor:
    """Return the expected photons of all emitters in each pixel, ``(F, Y, X)`` float32, integrated over the pixels.

    Positions (E,) are in nm relative to the centre of pixel [0, 0]. The light of emitters outside the frame is included
    where it reaches the frame. ``radius_px`` comes from `stamp_radius_px`. ``variation`` is the deviation of each
    emitter's PSF from the configured PSF.
    """
    model = build_psf(psf, pixel=pixel, device=x_nm.device)
    x_px, y_px = x_nm / pixel.x_nm, y_nm / pixel.y_nm
    near = (x_px > -radius_px) & (x_px < width - 1 + radius_px) & (y_px > -radius_px) & (y_px < height - 1 + radius_px)
    frame = frame[near]
    stamps = model.stamps(
        photons[near],
        x_px[near],
        y_px[near],
        z_nm[near],
        radius_px=radius_px,
        variation=None if variation is None else variation.at(near),
    )

    # Frames get a margin of twice the radius, so that every stamp fits without being cropped.
    margin = 2 * radius_px
    Y, X = height + 2 * margin, width + 2 * margin
    rows, columns = (torch.arange(size, device=x_nm.device) for size in stamps.photons_ESS.shape[1:])
    row_start_ES = (frame[:, None] * Y + stamps.row[:, None] + rows + margin) * X
    place_ESS = row_start_ES[:, :, None] + (stamps.column[:, None] + columns + margin)[:, None, :]
    canvas = torch.zeros(num_frames * Y * X, dtype=torch.float32, device=x_nm.device)
    canvas.index_add_(0, place_ESS.flatten(), stamps.photons_ESS.flatten().to(torch.float32))
    return canvas.view(num_frames, Y, X)[:, margin : margin + height, margin : margin + width]
