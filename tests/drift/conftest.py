"""Simulated tables of a structure that drifts by a known curve."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lls_decode.axes import Layout
from lls_decode.config import Cell, Geometry, PixelSize
from lls_decode.simulate.structure import build_cell
from lls_decode.table import TableMetadata, schema, table_writer

PIXEL = PixelSize(x_nm=104.0, y_nm=104.0)
GEOMETRY = Geometry(motion="stage", stage_step_nm=400.0, angle_deg=31.8)
PLANES = 20
SIGMA_NM = (15.0, 15.0, 40.0)

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Made:
    """Simulated table and its true drift."""

    path: Path
    drift_V3: Floats
    """True drift of each volume with mean zero, nm; in sample coordinates if there is a geometry."""

    def volumes(self) -> Any:
        """Return the volume of each row, (N,)."""
        return pq.read_table(self.path, columns=["volume"])["volume"].to_numpy().astype(np.int64)

    def errors(self, shift_V3: Floats) -> Floats:
        """Return the root mean square error of a curve over all volumes, ``(3,)`` nm."""
        return np.asarray(np.sqrt(np.mean((shift_V3 - self.drift_V3) ** 2, axis=0)))


def wandering(num_volumes: int, *, jump_nm: float = 0.0, amplitude_nm: float = 300.0) -> Floats:
    """Return a smooth drift along three axes, with a jump after 37 % of the time."""
    t = np.arange(num_volumes)[:, None] / num_volumes
    smooth = np.concatenate(
        [t + 0.25 * np.sin(2 * np.pi * 1.3 * t), 0.2 * np.cos(2 * np.pi * 2.1 * t) - 0.7 * t**2, 0.5 * np.sin(4 * t)],
        axis=1,
    )
    return amplitude_nm * smooth + jump_nm * np.array([1.0, -0.7, 0.8]) * (t > 0.37)


def binding_sites(count: int, random: np.random.Generator, *, planes: int) -> Floats:
    """Return sites ``(count, 3)`` on a cell's membrane and filaments, in sample coordinates x, y, z."""
    cell = Cell(
        radii_nm=(5000.0, 5000.0, 1200.0),
        membrane_share=0.2,
        num_filaments=25,
        filament_length_nm=6000.0,
        persistence_nm=3000.0,
    )
    layout = Layout(num_volumes=1, planes_per_volume=planes, height=128, width=128)
    return np.asarray(build_cell(cell, GEOMETRY, PIXEL, layout, np.random.default_rng(7)).sample(count, random))


def write_rows(path: Path, columns: dict[str, Any], *, geometry: Geometry | None, planes: int) -> Path:
    """Write rows as a table in canonical order."""
    order = np.lexsort([columns[name] for name in ("x_nm", "y_nm", "plane", "volume")])
    columns = {name: np.asarray(values)[order] for name, values in columns.items()}
    columns = {"photons": np.full(len(order), 1000.0), "bg": np.full(len(order), 20.0), **columns}
    columns |= {"phot_sig": np.full(len(order), 50.0), "prob": np.ones(len(order)), "group": np.full(len(order), -1)}
    columns["frame"] = columns["volume"] * planes + columns["plane"]
    if geometry is not None:
        x, y, z = (columns[name].astype(np.float32).astype(np.float64) for name in ("x_nm", "y_nm", "z_nm"))
        sample = geometry.to_sample(x, y, z, columns["plane"])
        columns |= dict(zip(("xs_nm", "ys_nm", "zs_nm"), sample, strict=True))
    canonical = schema(with_sample=geometry is not None, with_channel="channel" in columns)
    arrays = [pa.array(columns[f.name].astype(f.type.to_pandas_dtype()), type=f.type) for f in canonical]
    about = TableMetadata(pixel_size=PIXEL, planes_per_volume=planes, geometry=geometry)
    with table_writer(path, canonical, about) as writer:
        writer.write(pa.table(arrays, schema=canonical))
    return path


def sigma_columns(count: int, sigma_nm: tuple[float, ...] = SIGMA_NM) -> dict[str, Floats]:
    return {f"{axis}_sig": np.full(count, sigma) for axis, sigma in zip("xyz", sigma_nm, strict=True)}


def write_movie(path: Path, num_rows: int, drift_V3: Floats, *, seed: int = 0, flat: bool = False) -> Made:
    """Write a movie in camera coordinates with random rows; ``flat`` sets z to 0, as in two dimensions."""
    random = np.random.default_rng(seed)
    volume = random.integers(0, len(drift_V3), num_rows)
    volume[:2] = 0, len(drift_V3) - 1
    position = binding_sites(num_rows, random, planes=1) + drift_V3[volume]
    position += random.standard_normal(position.shape) * np.array(SIGMA_NM)
    if flat:
        position[:, 2] = 0.0
    columns = dict(zip(("x_nm", "y_nm", "z_nm"), position.T, strict=True))
    columns |= {"volume": volume, "plane": np.zeros(num_rows, dtype=int), **sigma_columns(num_rows)}
    drift = (drift_V3 - drift_V3.mean(axis=0)) * np.array([1.0, 1.0, 0.0 if flat else 1.0])
    return Made(write_rows(path, columns, geometry=None, planes=1), drift)


def write_some(path: Path, volume: Any, drift_V3: Floats, *, seed: int = 0, flat: bool = False) -> Made:
    """Write a movie with one row at a random site for each given volume, precise to `SIGMA_NM`."""
    random = np.random.default_rng(seed)
    volume = np.asarray(volume, dtype=np.int64)
    return write_at(path, volume, binding_sites(len(volume), random, planes=1), drift_V3, seed=seed, flat=flat)


def write_at(path: Path, volume: Any, place_N3: Floats, drift_V3: Floats, *, seed: int = 0, flat: bool = False) -> Made:
    """Write a movie with rows at the given places, moved by the drift of their volumes."""
    random = np.random.default_rng(seed + 1000)
    position = place_N3 + drift_V3[volume] + random.standard_normal(place_N3.shape) * np.array(SIGMA_NM)
    if flat:
        position[:, 2] = 0.0
    columns = dict(zip(("x_nm", "y_nm", "z_nm"), position.T, strict=True))
    columns |= {"volume": volume, "plane": np.zeros(len(volume), dtype=int), **sigma_columns(len(volume))}
    drift = (drift_V3 - drift_V3.mean(axis=0)) * np.array([1.0, 1.0, 0.0 if flat else 1.0])
    return Made(write_rows(path, columns, geometry=None, planes=1), drift)


def place_in_sweep(sample_N3: Floats, random: np.random.Generator) -> dict[str, Any]:
    """Return camera coordinates of sample positions, each in a plane whose focus is near."""
    away = GEOMETRY.raw_displacement(*sample_N3.T)  # deskewing is linear, so that plane 0 suffices
    plane = np.rint((away.z_nm + random.uniform(-400, 400, len(sample_N3))) / GEOMETRY.axial_step_nm)
    plane = np.clip(plane, 0, PLANES - 1).astype(np.int64)
    return {
        "plane": plane,
        "x_nm": away.x_nm - plane * GEOMETRY.lateral_step_nm,
        "y_nm": away.y_nm,
        "z_nm": away.z_nm - plane * GEOMETRY.axial_step_nm,
    }


def write_sweeps(path: Path, num_rows: int, drift_V3: Floats, *, seed: int = 0) -> Made:
    """Write volumes of a stage scan: drift moves the sample, and errors are independent in camera coordinates."""
    random = np.random.default_rng(seed)
    volume = random.integers(0, len(drift_V3), num_rows)
    volume[:2] = 0, len(drift_V3) - 1
    columns = place_in_sweep(binding_sites(num_rows, random, planes=PLANES) + drift_V3[volume], random)
    for axis, sigma in zip("xyz", SIGMA_NM, strict=True):
        columns[f"{axis}_nm"] = columns[f"{axis}_nm"] + sigma * random.standard_normal(num_rows)
    columns |= {"volume": volume, **sigma_columns(num_rows)}
    return Made(write_rows(path, columns, geometry=GEOMETRY, planes=PLANES), drift_V3 - drift_V3.mean(axis=0))


def write_beads(
    path: Path, drift_V3: Floats, *, geometry: Geometry | None, share: float = 0.95, num_molecules: int = 2000
) -> tuple[Made, Floats]:
    """Write three beads, visible in most volumes and several planes, among molecules; return also their places."""
    random = np.random.default_rng(5)
    num_volumes = len(drift_V3)
    middle = binding_sites(1000, random, planes=PLANES).mean(axis=0)
    beads_B3 = middle + np.array([[-6000.0, -3000.0, 0.0], [5500.0, 3500.0, 100.0], [-1000.0, 6500.0, -150.0]])
    repeats = 1 if geometry is None else 4
    bead = np.tile(np.repeat(np.arange(3), repeats), num_volumes)
    volume = np.repeat(np.arange(num_volumes), 3 * repeats)
    seen = random.random(len(bead)) < share
    sites = np.concatenate([beads_B3[bead[seen]], binding_sites(num_molecules, random, planes=PLANES)])
    volume = np.concatenate([volume[seen], random.integers(0, num_volumes, num_molecules)])
    sigma = np.where(np.arange(len(volume))[:, None] < seen.sum(), (4.0, 4.0, 10.0), SIGMA_NM)
    sample = sites + drift_V3[volume]
    raw = (
        place_in_sweep(sample, random)
        if geometry is not None
        else dict(zip(("x_nm", "y_nm", "z_nm"), sample.T, strict=True))
    )
    raw |= {"volume": volume, "plane": raw.get("plane", np.zeros(len(volume), dtype=int))}
    for axis, name in enumerate("xyz"):
        raw[f"{name}_nm"] = raw[f"{name}_nm"] + sigma[:, axis] * random.standard_normal(len(volume))
        raw[f"{name}_sig"] = sigma[:, axis]
    planes = 1 if geometry is None else PLANES
    made = Made(write_rows(path, raw, geometry=geometry, planes=planes), drift_V3 - drift_V3.mean(axis=0))
    return made, beads_B3


def walking_bead(path: Path) -> Path:
    """Write 200 frames of a single bead that moves randomly among molecules at rest."""
    random, num_volumes = np.random.default_rng(0), 200
    walk = np.cumsum(random.normal(0, 10, (num_volumes, 3)), axis=0)
    place = binding_sites(6000, random, planes=1)
    volume = np.concatenate([np.arange(num_volumes), random.integers(0, num_volumes, len(place))])
    position = np.concatenate([np.array([-20_000.0, -20_000.0, 0.0]) + walk, place])
    position += random.normal(0, 1, position.shape) * np.where(np.arange(len(volume))[:, None] < num_volumes, 3.0, 15.0)
    columns = dict(zip(("x_nm", "y_nm", "z_nm"), position.T, strict=True))
    columns |= {"volume": volume, "plane": np.zeros(len(volume), dtype=int), **sigma_columns(len(volume))}
    return write_rows(path, columns, geometry=None, planes=1)


@pytest.fixture(scope="session")
def small_sweeps(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Write a small table of sweeps for tests that need no accurate drift."""
    return write_sweeps(tmp_path_factory.mktemp("sweeps") / "sweeps.parquet", 3000, wandering(50))
