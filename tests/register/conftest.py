"""Simulated sites, beads and tables of one sample, one of them moved by a known transformation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from lls_decode.config import Geometry, PixelSize
from lls_decode.register.models import rotation
from lls_decode.table import TableMetadata, schema, table_writer

Floats = npt.NDArray[np.float64]

FIELD_NM = 12_000.0
MIDDLE = np.array([FIELD_NM / 2, FIELD_NM / 2, 0.0])
SHIFT = np.array([180.0, -95.0, 640.0])
SIGMA = np.array([12.0, 12.0, 30.0])


def clusters(random: np.random.Generator, *, field: float = FIELD_NM, number: int = 120, sites: int = 20) -> Floats:
    """Return binding sites in small clusters of different sizes."""
    centre = np.column_stack([random.uniform(0, field, (number, 2)), random.uniform(-300, 300, number)])
    which = random.integers(0, number, number * sites)
    return centre[which] + random.normal(0, random.uniform(20, 70, number)[which][:, None], (len(which), 3))


def filaments(random: np.random.Generator, *, field: float = FIELD_NM, number: int = 25) -> Floats:
    """Return binding sites along bent lines."""
    found = []
    for _ in range(number):
        along = np.arange(random.integers(200, 500)) * 25.0
        angle = random.uniform(0, 2 * np.pi) + random.normal(0, 4e-5) * along
        x, y = random.uniform(0, field, 2)
        z = random.uniform(-250, 250) + 80 * np.sin(along / 2000)
        found.append(np.column_stack([x + np.cumsum(25 * np.cos(angle)), y + np.cumsum(25 * np.sin(angle)), z]))
    sites = np.concatenate(found)
    return sites[((sites[:, :2] > 0) & (sites[:, :2] < field)).all(axis=1)]


def lattice(random: np.random.Generator, *, field: float = FIELD_NM, spacing: float = 600.0) -> Floats:
    """Return binding sites on a full square lattice, which looks the same after a shift by one spacing."""
    side = np.arange(0, field, spacing)
    place = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    return np.column_stack([place, np.zeros(len(place))]).repeat(6, axis=0)


def seen(
    sites: Floats, random: np.random.Generator, *, labelled: float = 0.6, visits: float = 4.0, strays: float = 0.1
) -> Floats:
    """Return localizations of labelled sites, plus stray ones that belong to no site."""
    lit = sites[random.random(len(sites)) < labelled]
    place = np.repeat(lit, random.poisson(visits, len(lit)), axis=0)
    place = place + random.normal(0, 1, place.shape) * SIGMA
    number = int(strays * len(place))
    other = np.column_stack([random.uniform(0, FIELD_NM, (number, 2)), random.uniform(-300, 300, number)])
    return np.concatenate([place, other])


@dataclass(frozen=True)
class Moved:
    """Known transformation: ``matrix (point - MIDDLE) + MIDDLE + shift``."""

    angle_deg: float = 2.0
    shift: tuple[float, ...] = tuple(SHIFT)

    @property
    def matrix(self) -> Floats:
        matrix = np.eye(3)
        matrix[:2, :2] = rotation(np.radians(self.angle_deg))
        return matrix

    def __call__(self, place: Floats) -> Floats:
        return (place - MIDDLE) @ self.matrix.T + MIDDLE + np.array(self.shift)

    def back(self, place: Floats) -> Floats:
        """Apply the inverse, which maps the moving table onto the fixed one."""
        return (place - MIDDLE - np.array(self.shift)) @ self.matrix + MIDDLE


def write(
    path: Path,
    place: Floats,
    *,
    frame: Any = None,
    planes: int = 1,
    geometry: Geometry | None = None,
    channel: Any = None,
    sigma: Floats = SIGMA,
    **about: Any,
) -> Path:
    """Write a table of localizations at the given places, which are sample coordinates if there is a geometry."""
    random = np.random.default_rng(len(place))
    frame = random.integers(0, 200, len(place)) if frame is None else np.asarray(frame)
    plane = frame % planes
    raw = place
    if geometry is not None:
        zero = np.zeros(len(place))
        begin = np.stack(geometry.to_sample(zero, zero, zero, plane), axis=1)
        raw = np.stack(geometry.raw_displacement(*(place - begin).T), axis=1)
    canonical = schema(geometry is not None, channel is not None)
    values: dict[str, Any] = {name: np.ones(len(place)) for name in canonical.names}
    values |= {"frame": frame, "volume": frame // planes, "plane": plane, "group": np.full(len(place), -1)}
    values |= dict(zip(("x_nm", "y_nm", "z_nm"), raw.T, strict=True))
    values |= dict(zip(("xs_nm", "ys_nm", "zs_nm"), place.T, strict=True))
    values |= {f"{axis}_sig": np.full(len(place), s) for axis, s in zip("xyz", sigma, strict=True)}
    values["channel"] = channel
    rows = pa.table(
        [pa.array(np.asarray(values[f.name]).astype(f.type.to_pandas_dtype())) for f in canonical], canonical
    ).sort_by([(name, "ascending") for name in ("volume", "plane", "y_nm", "x_nm")])
    metadata = TableMetadata(pixel_size=PixelSize(x_nm=100, y_nm=100), planes_per_volume=planes, geometry=geometry)
    with table_writer(path, canonical, metadata.replace(**about)) as writer:
        writer.write(rows)
    return path


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)
