"""Recognizable three-dimensional structures to which simulated molecules bind, in sample coordinates.

Sample coordinates are those of `Geometry.to_sample`: S along the stage travel, Y across, H above the coverslip.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from lls_decode.axes import Layout
from lls_decode.config import Cell, Geometry, PixelSize

Floats = npt.NDArray[np.float64]

_FILAMENT_STEP_NM = 20.0


@dataclass(frozen=True)
class CellStructure:
    """Membrane and filaments of a cell; ``filaments`` are chains of points (F, K, 3), nm."""

    config: Cell
    centre_nm: Floats
    filaments: Floats

    def sample(self, count: int, rng: np.random.Generator) -> Floats:
        """Draw binding sites (count, 3), nm, in sample coordinates S, Y, H."""
        on_membrane = rng.random(count) < (self.config.membrane_share if len(self.filaments) else 1.0)
        sites = np.empty((count, 3))
        sites[on_membrane] = self._membrane(int(on_membrane.sum()), rng)
        sites[~on_membrane] = self._filament(int((~on_membrane).sum()), rng)
        return sites

    def _membrane(self, count: int, rng: np.random.Generator) -> Floats:
        """Draw sites uniformly on the ellipsoid, by rejection sampling with the local area of the stretched sphere."""
        radii = np.asarray(self.config.radii_nm)
        points = np.empty((0, 3))
        while len(points) < count:
            direction = _directions(2 * count + 16, rng)
            area = np.linalg.norm(direction / radii, axis=1) * radii.min()
            points = np.concatenate([points, direction[rng.random(len(direction)) < area]])
        return np.asarray(self.centre_nm + points[:count] * radii)

    def _filament(self, count: int, rng: np.random.Generator) -> Floats:
        which = rng.integers(len(self.filaments), size=count)
        along = rng.random(count) * (self.filaments.shape[1] - 1)
        first = along.astype(np.int64)
        start, stop = self.filaments[which, first], self.filaments[which, first + 1]
        axis = stop - start
        around = np.cross(axis, _directions(count, rng))
        around *= self.config.filament_radius_nm / np.linalg.norm(around, axis=1, keepdims=True)
        return np.asarray(start + (along - first)[:, None] * axis + around)


def build_cell(
    config: Cell, geometry: Geometry, pixel: PixelSize, layout: Layout, rng: np.random.Generator
) -> CellStructure:
    """Build a cell in the middle of the volume that a sweep records."""
    middle = geometry.to_sample(
        np.asarray((layout.width - 1) / 2 * pixel.x_nm),
        np.asarray((layout.height - 1) / 2 * pixel.y_nm),
        np.asarray(0.0),
        (layout.planes_per_volume - 1) / 2,
    )
    centre = np.array([float(value) for value in middle])
    if geometry.propagation_axis == "y":
        centre = centre[[1, 0, 2]]  # the structure is built along S, Y, H
    num_points = math.ceil(config.filament_length_nm / _FILAMENT_STEP_NM) + 1
    direction = _directions(config.num_filaments, rng)
    radii = np.asarray(config.radii_nm)
    filaments = np.empty((config.num_filaments, num_points, 3))
    filaments[:, 0] = centre + direction * radii
    turn = math.sqrt(_FILAMENT_STEP_NM / config.persistence_nm)
    flatten = np.array([1.0, 1.0, 0.6])  # adherent cells are flat
    for point in range(1, num_points):
        direction = direction + turn * rng.standard_normal(direction.shape)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        filaments[:, point] = filaments[:, point - 1] + _FILAMENT_STEP_NM * direction * flatten
    return CellStructure(config, centre, filaments)


def to_deskewed(sites_nm: Floats, geometry: Geometry) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Convert sites from sample coordinates to deskewed x, y, z (camera coordinates of plane 0), float32."""
    s, y, h = sites_nm.T
    angle = math.radians(geometry.angle_deg)
    if geometry.motion == "objective":
        along, z = s, h
    else:
        along, z = s * math.cos(angle) - h * math.sin(angle), s * math.sin(angle) + h * math.cos(angle)
    x, y = (along, y) if geometry.propagation_axis == "x" else (y, along)
    x_nm, y_nm, z_nm = (torch.from_numpy(np.ascontiguousarray(value)).float() for value in (x, y, z))
    return x_nm, y_nm, z_nm


def _directions(count: int, rng: np.random.Generator) -> Floats:
    vectors = rng.standard_normal((count, 3))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
