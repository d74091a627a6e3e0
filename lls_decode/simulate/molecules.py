"""Molecules that bind, blink and bleach, and their light in each frame of a sequence.

A **sequence** is a series of consecutive frames: one plane over time, or the planes of a sweep. In a sweep, the image
plane moves through the sample from frame to frame, so a molecule at rest appears to move as described in `Geometry`: by
``-lateral_step_nm`` along the propagation axis and by ``-axial_step_nm`` along z per frame. Positions of molecules are
*deskewed*: in camera coordinates of plane 0 of their sequence.

Shape letters: ``M`` molecules, ``A`` activations (molecule times frame).
"""

import math
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from lls_decode.config import EmitterConfig, GaussianSheet, Geometry, Illumination, SimulationConfig, Variety

_FILAMENT_RADIUS_NM = 15.0
"""Standard deviation of the distance between a molecule and its filament along each lateral axis: half the width of a
labelled microtubule."""
_LIFETIMES_BEFORE = 5
"""Time before the first frame, in mean on-times, in which molecules are drawn; earlier ones are 0.7 % of those on."""


@dataclass(frozen=True)
class Molecules:
    """Molecules, one row each; all arrays (M,)."""

    sequence: Tensor
    x_nm: Tensor
    """Deskewed position within the sequence, nm."""
    y_nm: Tensor
    z_nm: Tensor
    on_frame: Tensor
    """Time at which the molecule turns on, in (fractional) frames from the beginning of the sequence."""
    off_frame: Tensor
    flux: Tensor
    """Photons per frame at full excitation."""


@dataclass(frozen=True)
class Activations:
    """Activations: one row for each frame with light of a molecule; all arrays (A,). Positions in that frame, nm."""

    sequence: Tensor
    frame: Tensor
    """Frame within the sequence."""
    molecule: Tensor
    x_nm: Tensor
    y_nm: Tensor
    z_nm: Tensor
    photons: Tensor

    def select(self, keep: Tensor) -> Self:
        """Return the rows selected by a mask."""
        return type(self)(**{field.name: getattr(self, field.name)[keep] for field in fields(self)})


def steps_nm(geometry: Geometry | None) -> tuple[float, float, float]:
    """Return the movement of the image plane from frame to frame of a sequence along x, y, z, nm."""
    if geometry is None:
        return 0.0, 0.0, 0.0
    lateral = geometry.lateral_step_nm
    along_x = geometry.propagation_axis == "x"
    return (lateral if along_x else 0.0, 0.0 if along_x else lateral, geometry.axial_step_nm)


def sample_molecules(
    config: SimulationConfig,
    *,
    num_sequences: int,
    num_frames: int,
    height: int,
    width: int,
    margin_px: int,
    generator: torch.Generator,
    variety: Variety | None = None,
) -> Molecules:
    """Draw molecules from a homogeneous Poisson process in space and time.

    In every frame, the mean number of molecules that are on, within the target z range and inside the field is
    ``density_per_um2`` times the area. Molecules also lie up to ``margin_px`` outside the field, and in the whole
    rendered z range of every frame, so that their light enters the field as in an experiment. With ``variety``, density
    and brightness are also drawn from its ranges, and in a share of the sequences molecules lie along filaments.
    """
    emitters, pixel = config.emitters, config.pixel_size
    device = generator.device

    def uniform(low: float, high: float, count: int) -> Tensor:
        return _uniform(low, high, count, generator)

    z_low, z_high = emitters.z_rendered_nm
    low, high = emitters.z_range_nm
    dx, dy, dz = steps_nm(config.geometry)
    # In a sweep, molecules are drawn by the (fractional) frame in whose focus they lie. A molecule is visible within
    # z / dz frames of this frame, and meanwhile moves sideways.
    focus = sorted((z_low / dz, z_high / dz)) if dz else [0.0, 0.0]
    in_focus_first, in_focus_last = focus[0], num_frames - 1 + focus[1]
    frames_off_focus = max(-focus[0], focus[1])
    reach_x_nm = abs(dx) * frames_off_focus + margin_px * pixel.x_nm
    reach_y_nm = abs(dy) * frames_off_focus + margin_px * pixel.y_nm
    box_x_nm = (-0.5 * pixel.x_nm - reach_x_nm, (width - 0.5) * pixel.x_nm + reach_x_nm)
    box_y_nm = (-0.5 * pixel.y_nm - reach_y_nm, (height - 0.5) * pixel.y_nm + reach_y_nm)
    area_um2 = (box_x_nm[1] - box_x_nm[0]) * (box_y_nm[1] - box_y_nm[0]) * 1e-6
    depth_nm = (in_focus_last - in_focus_first) * abs(dz) if dz else z_high - z_low
    depth_in_target_ranges = depth_nm / (high - low) if high > low else 1.0

    births = lifetimes_in(emitters, num_frames)
    density = draw_density(emitters, num_sequences, generator, variety=variety)
    counts = torch.poisson(density * (area_um2 * depth_in_target_ranges * births), generator=generator).to(torch.int64)
    sequence = torch.repeat_interleave(torch.arange(num_sequences, device=device), counts)
    M = len(sequence)

    x_nm, y_nm = uniform(*box_x_nm, M), uniform(*box_y_nm, M)
    depth = (in_focus_first, in_focus_last) if dz else (z_low, z_high)
    depth_M = uniform(*depth, M)
    if variety is not None and variety.structured_share:
        on_filaments = _chosen(variety.structured_share, num_sequences, generator)[sequence]
        box = (box_x_nm, box_y_nm, depth)
        placed = _filament_places(sequence, box, variety.filaments_um_per_um2, num_sequences, generator)
        places = (torch.where(on_filaments, on, off) for on, off in zip(placed, (x_nm, y_nm, depth_M), strict=True))
        x_nm, y_nm, depth_M = places
    if dz:  # the depth is the frame in whose focus a molecule lies
        x_nm, y_nm, z_nm = x_nm + depth_M * dx, y_nm + depth_M * dy, depth_M * dz
    else:
        z_nm = depth_M
    on_frame, off_frame = draw_lifetimes(emitters, num_frames, M, generator)
    flux = draw_flux(emitters, M, generator, variety=variety)
    return Molecules(sequence, x_nm, y_nm, z_nm, on_frame, off_frame, flux)


def _filament_places(
    sequence: Tensor,
    box: tuple[tuple[float, float], tuple[float, float], tuple[float, float]],
    um_per_um2: tuple[float, float],
    num_sequences: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw a place (x, y, depth) for each molecule on one of the straight filaments of its sequence.

    Filaments are as long as the field, at random places and in random directions. What leaves the box on one side
    enters on the other, so that the mean density is the same everywhere.
    """
    (x_low, x_high), (y_low, y_high), (depth_low, depth_high) = box
    length_nm = max(x_high - x_low, y_high - y_low)
    area_um2 = (x_high - x_low) * (y_high - y_low) * 1e-6
    filaments = log_uniform(um_per_um2, num_sequences, generator) * (area_um2 / (1e-3 * length_nm))
    count_S = filaments.round().to(torch.int64).clamp_min(1)
    first_S = count_S.cumsum(0) - count_S
    F, M, device = int(count_S.sum()), len(sequence), generator.device

    start = torch.rand(3, F, generator=generator, device=device)
    direction = _uniform(-math.pi, math.pi, F, generator)
    rise = _uniform(-1.0, 1.0, F, generator)  # depth along the whole filament, as a fraction of the box
    which = first_S[sequence] + (torch.rand(M, generator=generator, device=device) * count_S[sequence]).to(torch.int64)
    along = torch.rand(M, generator=generator, device=device)
    aside = _FILAMENT_RADIUS_NM * torch.randn(2, M, generator=generator, device=device)
    x = start[0, which] * (x_high - x_low) + along * length_nm * torch.cos(direction)[which] + aside[0]
    y = start[1, which] * (y_high - y_low) + along * length_nm * torch.sin(direction)[which] + aside[1]
    depth = (start[2, which] + along * rise[which]) % 1.0 * (depth_high - depth_low)
    return x_low + x % (x_high - x_low), y_low + y % (y_high - y_low), depth_low + depth


def draw_density(
    emitters: EmitterConfig, count: int, generator: torch.Generator, *, variety: Variety | None = None
) -> Tensor:
    """Return the density of targets in each of ``count`` sequences, emitters per square micrometre."""
    middle, spread = emitters.density_per_um2, emitters.density_spread
    stated = middle * (1 + spread * _uniform(-1.0, 1.0, count, generator))
    if variety is None:
        return stated
    sparse = log_uniform(variety.densities(middle, spread), count, generator)
    return torch.where(_chosen(variety.sparse_share, count, generator), sparse, stated)


def lifetimes_in(emitters: EmitterConfig, num_frames: int) -> float:
    """Return the number of molecules to draw per molecule that is on in an average frame.

    A molecule that turns on at a random time appears in (on-time + 1) frames on average, partly in the first and last.
    """
    on_time = emitters.on_time_frames
    if on_time is None:
        return 1.0
    frames_seen = max(on_time, 1.0) if emitters.whole_frames else on_time + 1.0
    return (num_frames + _LIFETIMES_BEFORE * on_time) / frames_seen


def draw_lifetimes(
    emitters: EmitterConfig, num_frames: int, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw the times at which molecules turn on and off, in frames from the beginning of the sequence."""
    device = generator.device
    if emitters.on_time_frames is None:
        return torch.zeros(count, device=device), torch.full((count,), float(num_frames), device=device)
    start = -_LIFETIMES_BEFORE * emitters.on_time_frames
    on_frame = start + (num_frames - start) * torch.rand(count, generator=generator, device=device)
    duration = torch.empty(count, device=device).exponential_(1 / emitters.on_time_frames, generator=generator)
    if emitters.whole_frames:
        # geometric numbers of frames with the configured mean: the discrete form of the exponential law
        on_frame = on_frame.floor()
        success = 1 / max(emitters.on_time_frames, 1.0)
        failures = torch.log1p(-torch.rand(count, generator=generator, device=device)) / math.log1p(-success + 1e-12)
        duration = 1 + failures.floor()
    return on_frame, on_frame + duration


def draw_flux(
    emitters: EmitterConfig, count: int, generator: torch.Generator, *, variety: Variety | None = None
) -> Tensor:
    """Return the photons per frame of each of ``count`` molecules at full excitation."""
    mean, sd = emitters.photons_mean, emitters.photons_sd
    stated = (mean + sd * torch.randn(count, generator=generator, device=generator.device)).clamp_min(0)
    if variety is None:
        return stated
    any_light = log_uniform(variety.photons(least=emitters.photons_min, mean=mean, sd=sd), count, generator)
    return torch.where(_chosen(variety.any_light_share, count, generator), any_light, stated)


def log_uniform(limits: tuple[float, float], count: int, generator: torch.Generator) -> Tensor:
    """Return values whose logarithm is uniform between two positive limits, (count,)."""
    low, high = limits
    return torch.exp(_uniform(math.log(low), math.log(high), count, generator))


def _uniform(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator, device=generator.device)


def _chosen(share: float, count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator, device=generator.device) < share


def expose(
    molecules: Molecules,
    *,
    num_frames: int,
    geometry: Geometry | None,
    illumination: Illumination,
    z_range_nm: tuple[float, float],
) -> Activations:
    """Return the position of each molecule in each frame, and its photons in the part of the frame in which it is on.

    Activations outside ``z_range_nm`` of their frame, and activations without light, are omitted.
    """
    device = molecules.x_nm.device
    frame = torch.arange(num_frames, device=device)
    on_share_MF = (
        torch.minimum(molecules.off_frame[:, None], frame + 1.0) - torch.maximum(molecules.on_frame[:, None], frame)
    ).clamp_min(0)
    dx, dy, dz = steps_nm(geometry)
    z_MF = molecules.z_nm[:, None] - frame * dz
    seen_MF = (on_share_MF > 0) & (z_MF >= z_range_nm[0]) & (z_MF <= z_range_nm[1])
    molecule, frame = seen_MF.nonzero(as_tuple=True)
    z_nm = z_MF[molecule, frame]
    return Activations(
        sequence=molecules.sequence[molecule],
        frame=frame,
        molecule=molecule,
        x_nm=molecules.x_nm[molecule] - frame * dx,
        y_nm=molecules.y_nm[molecule] - frame * dy,
        z_nm=z_nm,
        photons=molecules.flux[molecule] * on_share_MF[molecule, frame] * excitation(illumination, z_nm),
    )


def excitation(illumination: Illumination, z_nm: Tensor) -> Tensor:
    """Return the excitation at z relative to that in the focus of the light sheet."""
    if isinstance(illumination, GaussianSheet):
        return torch.exp(-0.5 * (z_nm / illumination.sigma_nm) ** 2)
    return torch.ones_like(z_nm)
