"""PSF calibration from bead stacks: alignment, robust average, smoothing, spline, and validation on the beads.

The first alignment of the beads in x, y and z uses the peak of their cross-correlation with the average. Later rounds
refine it by least squares on the slopes of the average. Beads that do not resemble the average are rejected. A
least-squares cubic spline along z then smooths the average. z increases with the slice number; a negative step reverses
its direction.

The z accuracy of the PSF is measured on slices that it was not made from: a PSF of the odd slices fits the even slices,
and a PSF of the even slices fits the odd ones.

Shape letters: ``Z`` slices, ``Y X`` pixels, ``B`` beads.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import shift as shifted
from torch import Tensor

from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError, InputError
from lls_decode.optics import CubicSpline, SplineModel, spline_from_volume
from lls_decode.optics.spline_files import write_smap, write_volume
from lls_decode.refine.calibration.beads import Bead, find_beads, read_stack
from lls_decode.refine.calibration.inputs import input_notes, resolve_step
from lls_decode.refine.calibration.slice_order import check_order
from lls_decode.refine.calibration.smoothing import smooth
from lls_decode.refine.crlb import Spots, crlb
from lls_decode.refine.mle import fit_spots
from lls_decode.robust import MAD_TO_SD
from lls_decode.table import written_aside

Floats = npt.NDArray[np.float64]

_ROUNDS = 6
_LEAST_CORRELATION = 0.8
_RIM_PX = 2
"""Width of the margin that fits exclude on each side, so that the PSF covers the fitted pixels even if shifted."""


@dataclass(frozen=True)
class BeadFit:
    """Fits of the slices of one bead, each with a PSF made without that slice; arrays (Z,)."""

    file: str
    x_px: int
    y_px: int
    shift_nm: tuple[float, float, float]
    """Position of the bead relative to the average: x, y, z."""
    correlation: float
    """Correlation of the aligned bead with the average."""
    used: bool
    stage_z_nm: Floats
    """z of each slice relative to the focus of the average, corrected for the bead's own shift."""
    fitted_z_nm: Floats
    wobble_x_nm: Floats
    """Fitted x relative to its median over the slices near the focus."""
    wobble_y_nm: Floats
    converged: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Calibration:
    """PSF and the data from which it was made."""

    volume_ZYX: Floats
    """Nodes of the spline."""
    spline: CubicSpline
    knots_nm: float
    """Distance between the nodes along z."""
    average_ZYX: Floats
    """Average of the aligned beads, one slice per stage position, scaled like the spline."""
    drawn_ZYX: Floats
    """The spline evaluated at the same slices."""
    average_z_nm: Floats
    centroid_x_nm: Floats
    """x of the average's centre of light in each slice, relative to the slice in focus: lateral wobble of the PSF."""
    centroid_y_nm: Floats
    beads: tuple[BeadFit, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    """Remarks that the user should check."""
    pixel: PixelSize
    focus_slice: float
    """Index of the slice at z = 0; may be fractional, the first slice is 0."""
    focus_given: bool
    """Whether the user chose the focus slice; otherwise it is the middle of the sharp slices."""

    @property
    def focus_from_middle_nm(self) -> float:
        """Distance from the middle of the scan to z = 0 along the stage, nm; positive towards the last slice."""
        step_nm = abs(float(self.average_z_nm[1] - self.average_z_nm[0]))
        return (self.focus_slice - (len(self.average_z_nm) - 1) / 2) * step_nm

    def bound_nm(self, photons: float, background: float, z_nm: Floats) -> Floats:
        """Return the Cramer-Rao bounds of x, y and z for one emitter in one frame, ``(3, Z)``.

        ``photons`` is the number of the emitter's photons that the camera detects in the frame, summed over the PSF and
        without background. ``background`` is in photons per pixel.
        """
        z = torch.as_tensor(z_nm, dtype=torch.float64)
        size = self.drawn_ZYX.shape[1]
        x, y = (torch.full_like(z, centre - 1) for centre in (self.spline.centre_x, self.spline.centre_y))
        spots = Spots(x, y, z, torch.full_like(z, photons), torch.full_like(z, background))
        found = crlb(SplineModel(self.spline), spots, height=size, width=size)
        return torch.stack([found.x_px * self.pixel.x_nm, found.y_px * self.pixel.y_nm, found.z_nm]).numpy()

    def residuals_nm(self, within_nm: float = 500.0) -> Floats:
        """Return fitted minus stage z of the used beads, for slices within a distance of the focus."""
        parts = [
            (bead.fitted_z_nm - bead.stage_z_nm)[np.abs(bead.stage_z_nm) <= within_nm]
            for bead in self.beads
            if bead.used
        ]
        return np.concatenate(parts)

    def summary(self, within_nm: float = 500.0) -> dict[str, Any]:
        """Return the key figures of the calibration, in nm, as plain values for reports and JSON."""
        residuals = self.residuals_nm(within_nm)
        near = np.abs(self.average_z_nm) <= within_nm
        low, high = self.spline.z_range_nm
        return {
            "beads_used": sum(bead.used for bead in self.beads),
            "left_out": list(self.left_out),
            "notes": list(self.notes),
            "z_range_nm": [round(low, 1), round(high, 1)],
            "num_slices": len(self.average_z_nm),
            "focus_slice": round(self.focus_slice, 2),
            "focus_from_middle_nm": round(self.focus_from_middle_nm, 1),
            "knots_nm": round(self.knots_nm, 1),
            "within_nm": within_nm,
            "z_bias_nm": round(float(residuals.mean()), 2),
            "z_rms_nm": round(float(np.sqrt(np.mean(residuals**2))), 2),
            "z_largest_nm": round(float(np.abs(residuals).max()), 2),
            "wobble_x_nm": round(float(np.ptp(self.centroid_x_nm[near])), 1),
            "wobble_y_nm": round(float(np.ptp(self.centroid_y_nm[near])), 1),
        }

    def write(self, out: str | Path) -> None:
        """Write the PSF as ``.npz`` or as SMAP ``_3dcal.mat``, depending on the suffix of ``out``."""
        out = Path(out)
        if out.suffix.lower() not in (".npz", ".mat"):
            raise ConfigError(f"{out} is of unknown type {out.suffix!r}; give a path that ends in .npz or _3dcal.mat.")
        with written_aside(out) as path:
            if out.suffix.lower() == ".mat":
                write_smap(path, self.spline)
                return
            write_volume(
                path,
                self.volume_ZYX,
                z_step_nm=self.spline.z_step_nm,
                pixel=self.pixel,
                focus=self.spline.focus,
                centre_x=self.spline.centre_x - 1,
                centre_y=self.spline.centre_y - 1,
                record=self.summary(),
            )


def calibrate(
    paths: list[str | Path] | tuple[str | Path, ...],
    *,
    pixel: PixelSize,
    z_step_nm: float | None = None,
    roi_px: int = 21,
    knots_nm: float = 100.0,
    offset_adu: float = 0.0,
    gain_adu_per_e: float = 1.0,
    focus_slice: float | None = None,
) -> Calibration:
    """Make a PSF from the beads in one or more z-scans.

    Parameters
    ----------
    paths
        z-scans with one or more beads each, all with the same step and number of slices.
    pixel
        Size of the camera's pixels in the sample.
    z_step_nm
        Change of the beads' z, relative to the focal plane, from slice to slice; by default read from the files.
    roi_px
        Side of the PSF, odd. Beads must be at least this far apart.
    knots_nm
        Distance between the knots along z; larger is smoother. If the slices are further apart, every slice is a knot.
    offset_adu, gain_adu_per_e
        Camera offset and gain for the weights of the fits; the PSF itself does not depend on them. For an EMCCD, give
        twice its gain, because its amplification doubles the variance.
    focus_slice
        Slice at z = 0; by default the middle of the range in which the average is sharp.

    Raises
    ------
    InputError
        There are no usable beads, values are NaN, a file is not one z-scan, slices are out of order, or the stacks
        have different numbers of slices.
    ConfigError
        The z step is missing or impossible.
    """
    stacks = [read_stack(path) for path in paths]
    if not stacks:
        raise ConfigError("No bead stacks were given; give at least one TIFF.")
    step = resolve_step(z_step_nm, stacks)
    lengths = {len(stack.adu_ZYX) for stack in stacks}
    if len(lengths) > 1:
        raise InputError(
            f"The bead stacks have {sorted(lengths)} slices, expected the same number; give scans of equal length."
        )
    smallest = min(min(stack.adu_ZYX.shape[1:]) for stack in stacks)
    wanted_px, roi_px = roi_px, min(roi_px, smallest) - (1 - min(roi_px, smallest) % 2)
    notes = input_notes(stacks, z_step_nm=step, pixel=pixel, roi_px=(wanted_px, roi_px), offset_adu=offset_adu)
    beads: list[Bead] = []
    left_out: list[str] = []
    for stack in stacks:
        found, lost = find_beads(stack, roi_px=roi_px)
        beads += found
        left_out += lost
    for stack in stacks:
        own = [_above_background(bead.adu_ZYX) for bead in beads if bead.path == stack.path]
        check_order(str(stack.path), np.stack(own))
    aligned = _align(np.stack([_above_background(bead.adu_ZYX) for bead in beads]))
    left_out += [
        f"bead at x {bead.x_px}, y {bead.y_px} of {bead.path.name}: unlike the others (correlation {correlation:.2f})"
        for bead, correlation, used in zip(beads, aligned.correlations, aligned.used, strict=True)
        if not used
    ]
    average = aligned.average_ZYX
    focus = _focus(average) if focus_slice is None else focus_slice
    if not 0 <= focus <= len(average) - 1:
        raise ConfigError(f"The focus is slice {focus:g}, expected a slice from 0 to {len(average) - 1} of the stack.")
    make = _Maker(average, focus, step, knots_nm / abs(step), pixel)
    volume, spline = make.spline(slice(None))
    z_nm: Floats = np.asarray((np.arange(len(average)) - focus) * step, dtype=np.float64)
    drawn = _draw(spline, z_nm, roi_px)
    scale = float((average * drawn).sum() / (average**2).sum())
    centres = np.array([_centre(image) for image in average])
    at_focus = centres[round(focus)]
    halves = tuple(SplineModel(make.spline(slice(start, None, 2))[1]) for start in (1, 0))
    fits = tuple(
        _fit_bead(bead, halves, shift, z_nm, pixel, (offset_adu, gain_adu_per_e), correlation, used, step)
        for bead, shift, correlation, used in zip(
            beads, aligned.shifts, aligned.correlations, aligned.used, strict=True
        )
    )
    return Calibration(
        volume_ZYX=volume,
        spline=spline,
        knots_nm=abs(spline.z_step_nm),
        average_ZYX=average * scale,
        drawn_ZYX=drawn,
        average_z_nm=z_nm,
        centroid_x_nm=(centres[:, 1] - at_focus[1]) * pixel.x_nm,
        centroid_y_nm=(centres[:, 0] - at_focus[0]) * pixel.y_nm,
        beads=fits,
        left_out=tuple(left_out),
        notes=(*notes, *_notes(average)),
        pixel=pixel,
        focus_slice=float(focus),
        focus_given=focus_slice is not None,
    )


@dataclass(frozen=True)
class _Maker:
    """Factory of splines from an averaged bead or from a subset of its slices."""

    average_ZYX: Floats
    focus: float
    z_step_nm: float
    slices_a_knot: float
    pixel: PixelSize

    def spline(self, which: slice) -> tuple[Floats, CubicSpline]:
        """Return the nodes and the spline of a subset of the slices."""
        slices = np.arange(len(self.average_ZYX), dtype=np.float64)[which]
        smoothed = smooth(slices, self.average_ZYX[which], self.slices_a_knot)
        nodes = smoothed.volume_KYX
        focus = (self.focus - smoothed.first) / smoothed.slices_a_knot
        middle = (nodes.shape[1] - 1) / 2
        centre_y, centre_x = _centre(nodes[min(max(round(focus), 0), len(nodes) - 1)])
        spline = spline_from_volume(
            nodes,
            z_step_nm=smoothed.slices_a_knot * self.z_step_nm,
            pixel=self.pixel,
            focus=focus,
            centre_x=centre_x if abs(centre_x - middle) < 2 else middle,
            centre_y=centre_y if abs(centre_y - middle) < 2 else middle,
        )
        return nodes, spline


def _draw(spline: CubicSpline, z_nm: Floats, roi_px: int) -> Floats:
    """Return the PSF evaluated at the slices and the position of the average, (Z, Y, X)."""
    z = torch.as_tensor(z_nm)
    x, y = (torch.full_like(z, centre - 1) for centre in (spline.centre_x, spline.centre_y))
    model = SplineModel(spline, dtype=torch.float64)
    return np.asarray(model.shares(x, y, z, height=roi_px, width=roi_px).numpy())


def _above_background(adu_ZYX: Floats) -> Floats:
    """Subtract the background: the mean over the darkest third of the slices of the rim's median."""
    rim = np.ones(adu_ZYX.shape[1:], dtype=bool)
    rim[1:-1, 1:-1] = False
    levels = np.median(adu_ZYX[:, rim], axis=1)
    darkest = levels <= np.quantile(levels, 1 / 3)
    return adu_ZYX - float(np.mean(levels[darkest]))


@dataclass(frozen=True)
class _Aligned:
    average_ZYX: Floats
    shifts: Floats
    """Shift of each bead along z, y, x in slices and pixels, (B, 3)."""
    correlations: Floats
    used: npt.NDArray[np.bool_]


def _align(beads_BZYX: Floats) -> _Aligned:
    """Align the beads and average them."""
    count = len(beads_BZYX)
    shifts, used = np.zeros((count, 3)), np.ones(count, dtype=bool)
    beads = beads_BZYX / np.sqrt((beads_BZYX**2).sum(axis=(1, 2, 3), keepdims=True))
    if count == 1:
        return _Aligned(beads[0], shifts, np.ones(1), used)
    average = beads[0]  # the brightest of the first file
    moved = beads
    correlations = np.ones(count)
    for turn in range(_ROUNDS):
        for b in range(count):
            shifts[b] += _offset(moved[b], average) if turn == 0 else _small_offset(moved[b], average)
        shifts -= np.median(shifts[used], axis=0)
        moved = np.stack(
            [shifted(bead, shift, order=3, mode="nearest") for bead, shift in zip(beads, shifts, strict=True)]
        )
        flat, reference = moved.reshape(count, -1), average.ravel()
        correlations = flat @ reference / np.linalg.norm(flat, axis=1) / np.linalg.norm(reference)
        used = correlations >= min(_LEAST_CORRELATION, float(np.median(correlations)))
        average = _robust_mean(moved[used])
    return _Aligned(average, shifts, correlations, used)


def _robust_mean(beads_BZYX: Floats) -> Floats:
    """Scale the beads to each other and return their mean without outlying values."""
    mean = beads_BZYX.mean(axis=0)
    scales = (beads_BZYX * mean).sum(axis=(1, 2, 3), keepdims=True) / (mean**2).sum()
    beads = beads_BZYX / scales
    if len(beads) < 4:
        return np.asarray(beads.mean(axis=0))
    middle = np.median(beads, axis=0)
    off = np.abs(beads - middle)
    near = off <= 4 * MAD_TO_SD * np.median(off, axis=0) + 1e-3 * mean.max()
    return np.asarray((beads * near).sum(axis=0) / near.sum(axis=0))


def _offset(bead: Floats, average: Floats) -> Floats:
    """Return the subpixel shift (z, y, x) that aligns the bead with the average, from their cross-correlation."""
    size = [2 * n for n in bead.shape]
    spectrum = np.fft.rfftn(average, size, axes=(0, 1, 2)) * np.conj(np.fft.rfftn(bead, size, axes=(0, 1, 2)))
    correlation = np.fft.irfftn(spectrum, size, axes=(0, 1, 2))
    peak = np.unravel_index(int(correlation.argmax()), correlation.shape)
    move = []
    for axis, index in enumerate(peak):
        around = [correlation[(*peak[:axis], (index + d) % size[axis], *peak[axis + 1 :])] for d in (-1, 0, 1)]
        bend = around[0] - 2 * around[1] + around[2]
        fraction = 0.5 * (around[0] - around[2]) / bend if bend < 0 else 0.0
        whole = index if index < size[axis] // 2 else index - size[axis]
        move.append(whole + fraction)
    return np.asarray(move)


def _small_offset(bead: Floats, average: Floats) -> Floats:
    """Return the shift that aligns the bead with the average, for shifts below a pixel.

    Light that is cut off at the ends of the scan biases the cross-correlation of `_offset` towards 0, but not this
    estimate: to first order, the bead is the average plus its slopes times the shift.
    """
    inner = slice(len(average) // 8, len(average) - len(average) // 8)
    terms = [average, *np.gradient(average)]
    matrix = np.stack([term[inner].ravel() for term in terms], axis=1)
    weights = np.linalg.lstsq(matrix, bead[inner].ravel(), rcond=None)[0]
    return np.asarray(np.clip(weights[1:] / weights[0], -1, 1))


def _focus(average_ZYX: Floats) -> float:
    """Return the fractional index of the middle of the slices in which the light is concentrated."""
    sharpness = _sharpness(average_ZYX)
    weight = (sharpness - 0.5 * (sharpness.max() + np.min(sharpness))).clip(0)
    return float((weight * np.arange(len(weight))).sum() / weight.sum())


def _sharpness(average_ZYX: Floats) -> Floats:
    light = average_ZYX.clip(0)
    return np.asarray((light**2).sum(axis=(1, 2)) / light.sum(axis=(1, 2)) ** 2)


def _notes(average_ZYX: Floats) -> tuple[str, ...]:
    """Return remarks about properties of the scan that are unusual but may be intended."""
    sharpest = int(_sharpness(average_ZYX).argmax())
    rim = max(2, len(average_ZYX) // 10)
    if rim <= sharpest < len(average_ZYX) - rim:
        return ()
    return (
        f"the sharpest of the {len(average_ZYX)} slices is slice {sharpest}, at an end of the scan: scan through the "
        "focus, or set the slice at z = 0 with --focus-slice (an engineered PSF may have no single focus)",
    )


def _centre(image: Floats) -> tuple[float, float]:
    """Return row and column of the centre of the bright part of an image."""
    bright = (image - 0.1 * image.max()).clip(0)
    rows, columns = (np.arange(size) for size in image.shape)
    return float(bright.sum(axis=1) @ rows / bright.sum()), float(bright.sum(axis=0) @ columns / bright.sum())


def _fit_bead(
    bead: Bead,
    halves: tuple[SplineModel, ...],
    shift: Floats,
    z_nm: Floats,
    pixel: PixelSize,
    camera: tuple[float, float],
    correlation: float,
    used: bool,
    step_nm: float,
) -> BeadFit:
    """Fit each slice of a bead: even slices with the first PSF, odd slices with the second."""
    offset, gain = camera
    window = slice(_RIM_PX, -_RIM_PX)
    electrons = torch.as_tensor((bead.adu_ZYX[:, window, window] - offset) / gain).clamp_min(0)
    fits = [fit_spots(half, electrons[start::2]) for start, half in enumerate(halves)]
    spots = Spots.unstack(_interleaved(*(fit.spots.stack() for fit in fits)))
    stage = z_nm + shift[0] * step_nm
    inside = np.abs(stage) <= 500.0
    x, y = (getattr(spots, f"{axis}_px").numpy() * size for axis, size in (("x", pixel.x_nm), ("y", pixel.y_nm)))
    inside = inside if inside.any() else np.ones_like(inside)
    return BeadFit(
        file=bead.path.name,
        x_px=bead.x_px,
        y_px=bead.y_px,
        shift_nm=(float(-shift[2] * pixel.x_nm), float(-shift[1] * pixel.y_nm), float(-shift[0] * step_nm)),
        correlation=float(correlation),
        used=bool(used),
        stage_z_nm=stage,
        fitted_z_nm=spots.z_nm.numpy(),
        wobble_x_nm=x - np.median(x[inside]),
        wobble_y_nm=y - np.median(y[inside]),
        converged=_interleaved(*(fit.converged for fit in fits)).numpy(),
    )


def _interleaved(even: Tensor, odd: Tensor) -> Tensor:
    result = even.new_empty((len(even) + len(odd), *even.shape[1:]))
    result[::2], result[1::2] = even, odd
    return result
