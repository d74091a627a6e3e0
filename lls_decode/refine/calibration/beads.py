"""Reading of bead stacks, and detection of usable beads with the reasons why others are rejected.

Shape letters: ``Z`` slices, ``Y X`` pixels, ``B`` beads.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, maximum_filter

from lls_decode.config import PixelSize
from lls_decode.errors import FrameValueError, InputError
from lls_decode.movies.opening import open_movie
from lls_decode.robust import MAD_TO_SD

Floats = npt.NDArray[np.float64]

_FAINTEST = 0.15
"""Spots dimmer than this share of the brightest bead are treated as dirt."""
_LEAST_SLICES = 8
_FLAT_TOP = 4
"""Number of pixels in one slice that share exactly the maximum value from which the bead counts as saturated."""
_UNIT_ADU = 1e5
"""Counts to which the brightest slice of a normalised PSF is scaled, so that it can be fitted like camera counts."""


@dataclass(frozen=True)
class BeadStack:
    """z-scan of beads from one file."""

    path: Path
    adu_ZYX: Floats
    top_adu: float
    """Largest value that the file's data type can hold; infinite for floating-point numbers."""
    z_step_nm: float | None
    """z step from the file's metadata; None where the file has none."""
    pixel: PixelSize | None = None
    """Pixel size from the file's metadata; None where the file has none."""


@dataclass(frozen=True)
class Bead:
    """Cut-out of one bead from one stack."""

    path: Path
    x_px: int
    """Column of the stack at the centre of the cut-out."""
    y_px: int
    adu_ZYX: Floats


def read_stack(path: str | Path) -> BeadStack:
    """Read a z-scan (TIFF, .dax, .raw), or an averaged PSF from other software as a scan of one bead.

    Raises
    ------
    InputError
        The file is missing, is not one stack of slices, or holds NaN.
    """
    movie = open_movie(path)
    if movie.num_frames < _LEAST_SLICES or movie.planes not in (1, movie.num_frames):
        raise InputError(
            f"{path} has {movie.num_frames} slices in scans of {movie.planes}, expected one z-scan (slices, rows, "
            f"columns) of at least {_LEAST_SLICES} slices; save one scan per file."
        )
    adu = np.asarray(movie.read(0, movie.num_frames), dtype=np.float64)
    wrong = ~np.isfinite(adu).all(axis=(1, 2))
    if wrong.any():
        raise FrameValueError(
            f"{path}: slice {int(wrong.argmax())} holds NaN or infinite values, {int(wrong.sum())} slices in total; "
            "export the stack as camera counts."
        )
    if adu.max() <= 1.0:  # a PSF from other software, normalised to its sum or peak instead of camera counts
        adu *= _UNIT_ADU / max(float(adu.sum(axis=(1, 2)).max()), 1e-9)
    top = float(np.iinfo(movie.dtype).max) if movie.dtype.kind in "ui" else math.inf
    return BeadStack(Path(path), adu, top, movie.z_step_nm, movie.pixel_size)


def find_beads(stack: BeadStack, *, roi_px: int) -> tuple[list[Bead], list[str]]:
    """Find isolated beads; return them brightest first, with one line of text per rejected bead.

    Beads are local maxima of the mean over z, well above its noise. They must be at least one region of interest apart
    and half a region of interest from the border.

    Raises
    ------
    InputError
        The stack has no usable bead.
    """
    _, height, width = stack.adu_ZYX.shape
    half = roi_px // 2
    mean = stack.adu_ZYX.mean(axis=0)
    if min(height, width) < roi_px + half:  # the stack is the cut-out of one bead
        y, x = (_middle_index(size, half) for size in (height, width))
        places = [(y, x)] if mean.max() > np.median(mean) + 5 * _noise(stack) else []
    else:
        places = _peaks(mean, noise=_noise(stack), apart=half)
    beads, left_out = [], []
    for y, x in places:
        name = f"bead at x {x}, y {y} of {stack.path.name}"
        if not (half <= y < height - half and half <= x < width - half):
            left_out.append(f"{name}: too close to the border")
            continue
        if any(max(abs(y - v), abs(x - u)) < roi_px for v, u in places if (v, u) != (y, x)):
            left_out.append(f"{name}: another bead within {roi_px} pixels")
            continue
        cut = stack.adu_ZYX[:, y - half : y + half + 1, x - half : x + half + 1]
        if _is_saturated(cut, stack.top_adu):
            left_out.append(f"{name}: saturated at {cut.max():g} counts")
            continue
        beads.append(Bead(stack.path, x, y, cut))
    if not beads:
        found = f"none of {len(places)} beads can be used ({'; '.join(left_out)})" if places else "no beads found"
        raise InputError(
            f"{stack.path}: {found}, expected bright spots at least {roi_px} pixels apart; record sparser, "
            "unsaturated beads, or give a smaller --roi-px."
        )
    return beads, left_out


def _middle_index(size: int, half: int) -> int:
    return min(max((size - 1) // 2, half), size - 1 - half)


def _noise(stack: BeadStack) -> float:
    """Estimate the noise of a dark pixel's mean over z from the differences of neighbouring slices."""
    differences = np.diff(stack.adu_ZYX, axis=0)
    return float(MAD_TO_SD * np.median(np.abs(differences)) / math.sqrt(2 * len(stack.adu_ZYX))) + 1e-9


def _peaks(mean: Floats, *, noise: float, apart: int) -> list[tuple[int, int]]:
    """Return rows and columns of the local maxima, brightest first."""
    smooth = gaussian_filter(mean, 2.0)
    smooth = smooth - np.median(smooth)
    spread = MAD_TO_SD * np.median(np.abs(smooth))
    threshold = max(6 * spread, 3 * noise, _FAINTEST * smooth.max())
    peak = (smooth == maximum_filter(smooth, size=2 * (apart // 2) + 1)) & (smooth > threshold)
    rows, columns = np.nonzero(peak)
    order = np.argsort(-smooth[rows, columns])
    return [(int(rows[i]), int(columns[i])) for i in order]


def _is_saturated(adu_ZYX: Floats, top_adu: float) -> bool:
    brightest = adu_ZYX.max()
    return bool(brightest >= top_adu or (adu_ZYX == brightest).sum(axis=(1, 2)).max() >= _FLAT_TOP)
