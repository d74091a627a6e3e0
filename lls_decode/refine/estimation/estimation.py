"""The prefit: estimation, from a user's movie, of a training configuration that simulates similar movies."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lls_decode.config import (
    Camera,
    Geometry,
    PixelSize,
    TrainingConfig,
)
from lls_decode.errors import InputError
from lls_decode.frames import FrameSource
from lls_decode.models import train_command
from lls_decode.optics import build_camera, build_psf
from lls_decode.outputs import PROGRAM
from lls_decode.refine.estimation.candidates import Detector, Finder
from lls_decode.refine.estimation.density import Density, estimate_density
from lls_decode.refine.estimation.photophysics import (
    ENOUGH,
    Background,
    Depth,
    OnTime,
    Photons,
    estimate_background,
    estimate_depth,
    estimate_on_time,
    estimate_photons,
)
from lls_decode.refine.estimation.sampling import plan_runs
from lls_decode.refine.estimation.single_emitters import Fits, Microscope, RunFits, fit_run, frame_steps_nm
from lls_decode.refine.estimation.training_base import derive_training, fill_in, remarks_on_density
from lls_decode.refine.estimation.usability import (
    Quality,
    assess_fits,
    check_enough,
    check_offset,
    check_saturation,
    remark_on_number,
)

logger = logging.getLogger(__name__)

WARNING = "warning: "
"""Prefix of the notes that are logged as warnings."""


@dataclass(frozen=True)
class Estimate:
    """Statistics of a movie, and the training configuration derived from them."""

    dataset: str
    identity: str
    photons: Photons
    background: Background
    on_time: OnTime
    density: Density
    depth: Depth
    quality: Quality
    notes: tuple[str, ...]
    """Remarks on values that could not be estimated from the movie, and on unusual results."""
    training: TrainingConfig
    shape: tuple[int, int]
    """Pixels of a frame (y, x)."""
    fits: Fits
    runs: tuple[RunFits, ...]
    init_from: str | None = None
    """Shipped model whose weights the training should start with; None: no model suits it."""

    def train_command(self, config: str | Path) -> str:
        """Return the command for the training; ``config`` is the path of its configuration."""
        return train_command(config, name=self.training.name, init_from=self.init_from)

    def to_dict(self) -> dict[str, Any]:
        """Return the statistics as plain values for JSON, with their units."""
        parts = {
            name: asdict(getattr(self, name))
            for name in ("photons", "background", "on_time", "density", "depth", "quality")
        }
        return {
            "written_by": PROGRAM,
            "dataset": self.dataset,
            "identity": self.identity,
            "units": {
                "photons": "photons per frame",
                "background": "photons per pixel and frame",
                "on_time": "frames",
                "density": "emitters per um2 and frame",
                "depth": "nm",
            },
            **parts,
            "training": self.training.name,
            "notes": list(self.notes),
        }

    def describe(self) -> list[str]:
        """Return a summary of the statistics for the user, one line each."""
        p, b, t, d, q = self.photons, self.background, self.on_time, self.density, self.quality
        full = "fully on" if p.fully_on else "all fits: too low where emitters are on for part of a frame"
        told = "unknown from the movie" if t.frames is None else f"{t.frames:.3g} +- {t.standard_error:.2g} frames"
        lines = [
            f"spots      {q.num_kept} kept of {q.num_candidates} candidates in {q.num_frames} frames",
            f"photons    {p.mean:.4g} +- {p.sd:.3g} per frame ({full}, {p.num_fits} fits)",
            f"background {b.low:.3g} to {b.high:.3g} photons per pixel (median {b.median:.3g})",
            f"on-time    {told}",
            f"density    {d.per_um2:.3g} per um2 and frame{' or more' if d.saturated else ''} "
            f"(where emitters are: {d.local_per_um2:.3g})",
        ]
        if self.depth.told_nm is not None:
            low, high = self.depth.told_nm
            lines.append(f"z          determined by the PSF from {low:g} to {high:g} nm")
        return lines + [f"note       {note}" for note in self.notes if not note.startswith(WARNING)]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Notes about problems that would lead to a wrong model."""
        return tuple(note for note in self.notes if note.startswith(WARNING))


def estimate(
    source: FrameSource,
    base: TrainingConfig,
    *,
    camera: Camera | None = None,
    pixel_size: PixelSize | None = None,
    geometry: Geometry | None = None,
    psf: str | Path | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Estimate:
    """Estimate the parameters of a training configuration from isolated emitters in a movie.

    Parameters
    ----------
    source
        The movie.
    base
        Training configuration that supplies all values that are neither given nor estimated: network, schedule, PSF,
        light sheet.
    camera, pixel_size, geometry
        Properties of the recording. Where None, the pixel size comes from the dataset if it has one; all else from
        ``base``.
    psf
        Spline file from ``calibrate`` or SMAP; None: the PSF of ``base``.
    seed
        Seed of the random choices; the same seed gives the same numbers.
    progress
        Callback that receives the number of processed runs of frames and their total number.

    Raises
    ------
    InputError
        Frames hold NaN, are saturated, hold no spots, or hold fewer than ten isolated spots.
    ConfigError
        The camera gives negative photons for most pixels, the PSF has a different pixel size, or the base needs several
        planes per volume and the dataset has one.
    """
    known, own_camera, notes = fill_in(source, base, camera=camera, pixel_size=pixel_size, geometry=geometry, psf=psf)
    _log_warnings(notes)  # now, because they may explain an error
    scope = _microscope(source, known, own_camera)
    rng = np.random.default_rng(seed)
    planned = plan_runs(source.layout, known.network.context, rng=rng)
    runs = []
    for number, frames in enumerate(planned):
        adu = source.read_frames(frames)
        scope = replace(scope, top_adu=check_saturation(adu, frames))
        check_offset(scope, adu, own_camera)
        runs.append(fit_run(scope, adu, run=number, rng=rng))
        if progress is not None:
            progress(number + 1, len(planned))
    fits = Fits.join([run.fits for run in runs])
    quality = assess_fits(runs, fits)
    check_enough(source, scope, quality)
    found = _conclude(source, known, scope, runs, fits, quality, notes, new_psf=psf is not None, seed=seed)
    _log_warnings(found.notes[len(notes) :])
    return found


def _log_warnings(notes: Sequence[str]) -> None:
    for note in notes:
        if note.startswith(WARNING):
            logger.warning("%s", note.removeprefix(WARNING))


def _microscope(source: FrameSource, known: TrainingConfig, camera: Camera) -> Microscope:
    """Collect the known properties of the recording, and check that frames are large enough for the PSF."""
    s, layout = known.simulation, source.layout
    detector = Detector.of(build_camera(camera, layout.height, layout.width), layout.height, layout.width)
    psf = build_psf(s.psf, pixel=s.pixel_size)
    low, high = s.emitters.z_range_nm
    if psf.z_range_nm is not None:
        low, high = max(low, psf.z_range_nm[0]), min(high, psf.z_range_nm[1])
    finder = Finder.of(psf, (low, high))
    size = 4 * finder.half + 1
    if min(layout.height, layout.width) < size:
        raise InputError(
            f"Frames have {layout.height} x {layout.width} pixels (y, x), expected at least {size} x {size} to find "
            "isolated spots of this PSF; check the axes of the dataset and the pixel size."
        )
    steps_nm = frame_steps_nm(s.geometry if known.network.context == "plane" else None)
    return Microscope(detector, psf, finder, s.pixel_size, s.illumination, steps_nm, math.inf)


def _remarks(photons: Photons, on_time: OnTime, density: Density, quality: Quality, base: TrainingConfig) -> list[str]:
    """Return remarks on the statistics that the user should read before training."""
    few = remark_on_number(quality)
    notes = [] if few is None else [few]
    if not photons.fully_on:
        notes.append(
            f"photons are from all fits, including frames in which emitters are only partly on: fewer than {ENOUGH} "
            "emitters are on in three frames in a row"
        )
    if on_time.frames is None:
        own = base.simulation.emitters.on_time_frames
        kept = "on throughout" if own is None else f"{own:g} frames"
        seen = "" if on_time.stays is None else f", {on_time.stays:.0%} are still on a frame later"
        notes.append(
            f"on-time from the base configuration ({kept}): it cannot be estimated from the movie "
            f"({on_time.num_at_risk} emitters could be followed{seen})"
        )
    if density.saturated:
        notes.append("spots overlap so much that the true density may be higher")
    if not 0.8 < quality.chi_square < 1.3:
        notes.append(
            f"chi-square per degree of freedom of the fits is {quality.chi_square:.2f}, expected 1: PSF, gain or read "
            "noise do not quite match the movie" + (", or spots overlap" if quality.chi_square > 1 else "")
        )
    return notes


def _conclude(
    source: FrameSource,
    known: TrainingConfig,
    scope: Microscope,
    runs: Sequence[RunFits],
    fits: Fits,
    quality: Quality,
    notes: list[str],
    *,
    new_psf: bool,
    seed: int,
) -> Estimate:
    """Compute the statistics from the fits, and derive the training configuration."""
    s = known.simulation
    whole = s.emitters.whole_frames
    photons, background = estimate_photons(fits, whole_frames=whole), estimate_background(fits)
    on_time = estimate_on_time(fits, whole_frames=whole)
    depth = estimate_depth(fits, scope.psf, photons=photons.mean, bg=background.median, size=2 * scope.finder.half + 1)
    emitters = s.emitters.replace(
        photons_mean=photons.mean,
        photons_sd=photons.sd,
        on_time_frames=s.emitters.on_time_frames if on_time.frames is None else on_time.frames,
    )
    density = estimate_density(
        scope,
        runs,
        shape=(source.layout.height, source.layout.width),
        tile_px=known.crop_px,
        psf=s.psf,
        emitters=emitters,
        background=(background.low, background.high),
        seed=seed,
    )
    notes = [*notes, *_remarks(photons, on_time, density, quality, known), *remarks_on_density(density, known)]
    training = derive_training(
        known,
        photons=photons,
        background=background,
        on_time=on_time,
        density=density,
        depth=depth,
        new_psf=new_psf,
    )
    return Estimate(
        source.path,
        source.identity,
        photons,
        background,
        on_time,
        density,
        depth,
        quality,
        tuple(notes),
        training,
        (source.layout.height, source.layout.width),
        fits,
        tuple(runs),
    )
