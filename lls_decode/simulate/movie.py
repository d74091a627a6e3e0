"""Simulation of whole acquisitions with ground truth, volume by volume, in constant memory.

A movie folder holds ``movie.zarr`` (OME-Zarr), ``truth.parquet`` (one row for each frame in which a molecule emits),
``camera/*.npy`` (per-pixel maps), ``movie.yaml`` (movie configuration) and ``run.yaml`` (run configuration for
localizing it).
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from lls_decode.config import Camera, Cell, MovieConfig, RunConfig, SimulationConfig
from lls_decode.errors import ConfigError, OutputError
from lls_decode.frames import create_store
from lls_decode.frames.writing.create import check_free
from lls_decode.models import Given, as_config
from lls_decode.optics import CameraModel, draw_camera
from lls_decode.optics.psf import stamp_radius_px
from lls_decode.outputs import PROGRAM, guarded
from lls_decode.simulate.background import draw_texture
from lls_decode.simulate.frames import draw_photons
from lls_decode.simulate.molecules import (
    Activations,
    Molecules,
    draw_flux,
    draw_lifetimes,
    expose,
    lifetimes_in,
    sample_molecules,
)
from lls_decode.simulate.structure import CellStructure, build_cell, to_deskewed
from lls_decode.table import written_aside
from lls_decode.table.files import check_replaceable
from lls_decode.table.marks import TRUTH_KEY, marked_yaml

_FRAMES_AT_ONCE = 64
_CALIBRATION_SITES = 20_000
_LARGEST_ADU = 65_535

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Movie:
    """Files of a simulated acquisition."""

    store: Path
    truth: Path
    run_config: Path
    num_truth: int
    """Number of rows of the ground truth."""


@guarded
def simulate_movie(
    config: MovieConfig | Given,
    out: str | Path,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Movie:
    """Simulate an acquisition into a folder.

    Parameters
    ----------
    config
        A `MovieConfig`, a dictionary (nested or with dotted keys), the path of a YAML file, or the name of a shipped
        one (``"demo-movie"``).
    out
        Folder to write the movie to.
    overwrite
        Whether to replace an existing movie.
    progress
        Called with the number of finished frames and the total number of frames.

    Raises
    ------
    ConfigError
        A key is unknown, or a value is invalid.
    OutputError
        The folder already holds a movie, or cannot be written.
    """
    config, out = as_config(MovieConfig, config), Path(out)
    store, truth_path, run_path = out / "movie.zarr", out / "truth.parquet", out / "run.yaml"
    if store.exists() and not overwrite:
        raise OutputError(f"{store} exists; give another --out, or --overwrite to replace it.")
    check_free(store, overwrite=overwrite)
    for path in (truth_path, run_path, out / "movie.yaml"):
        check_replaceable(path)
    replaces = store.exists()
    try:
        (out / "camera").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out} cannot be written ({error.strerror}); give another --out.") from error
    layout, s = config.layout, config.simulation
    generator = torch.Generator().manual_seed(config.seed)
    camera, camera_config = _build_camera(config, out / "camera", generator, own_folder=replaces)
    array = create_store(
        store,
        layout,
        pixel_size=s.pixel_size,
        z_step_nm=s.geometry.stage_step_nm if s.geometry else None,
        angle_deg=s.geometry.angle_deg if s.geometry and s.geometry.motion == "stage" else None,
        name=config.name,
        overwrite=overwrite,
    )
    low, high = s.background.low, s.background.high
    texture_TYX = _draw_texture(config, generator)
    rows = saturated_px = 0
    marked = TRUTH_SCHEMA.with_metadata({TRUTH_KEY: PROGRAM.encode()})
    with (
        written_aside(truth_path) as aside,
        pq.ParquetWriter(aside, marked, compression="zstd", compression_level=1) as truth,
    ):
        for first, num_frames, seen in _iter_activations(config, generator):
            bg_TYX = (low + (high - low) * float(torch.rand((), generator=generator))) * texture_TYX
            expected = draw_photons(s, seen, 1, num_frames, layout.height, layout.width)[0] + bg_TYX
            drawn = camera.to_adu(expected, generator)
            saturated_px += int((drawn > _LARGEST_ADU).sum())
            counts = drawn.clamp_max(_LARGEST_ADU).numpy().astype(np.uint16)
            if layout.planes_per_volume > 1:
                array[first // layout.planes_per_volume] = counts
            else:
                array[first : first + num_frames] = counts
            table = _truth_table(config, seen, first, bg_TYX)
            truth.write_table(table.replace_schema_metadata(marked.metadata))
            rows += len(table)
            if progress is not None:
                progress(first + num_frames, layout.num_frames)
    if saturated_px:
        logger.warning(
            "%d pixels would have more than %d counts and are saturated, as in a camera with 16 bits; for less light, "
            "lower the photons or the gain of the camera",
            saturated_px,
            _LARGEST_ADU,
        )
    run = RunConfig(camera=camera_config, pixel_size=s.pixel_size, geometry=s.geometry)
    for path, written in ((run_path, run), (out / "movie.yaml", config)):
        with written_aside(path) as aside:
            aside.write_text(marked_yaml(written), encoding="utf-8")
    return Movie(store, truth_path, run_path, rows)


TRUTH_SCHEMA = pa.schema(
    [
        ("frame", pa.uint32()),
        ("volume", pa.uint32()),
        ("plane", pa.uint16()),
        ("id", pa.int64()),
        *((name, pa.float32()) for name in ("x_nm", "y_nm", "z_nm", "photons", "bg", "xs_nm", "ys_nm", "zs_nm")),
    ]
)
"""Columns of a truth table; without a geometry, sample coordinates equal camera coordinates."""


def _iter_activations(config: MovieConfig, generator: torch.Generator) -> Iterator[tuple[int, int, Activations]]:
    """Yield first frame, number of frames and their activations, for one volume or some frames of a movie at a time."""
    layout, s = config.layout, config.simulation
    molecules_so_far = 0
    if layout.planes_per_volume > 1:
        structure = _Binding(config) if isinstance(config.structure, Cell) else None
        for volume in range(layout.num_volumes):
            molecules = (
                structure.bind(generator) if structure else _homogeneous(config, layout.planes_per_volume, generator)
            )
            seen = _expose(s, molecules, layout.planes_per_volume)
            yield volume * layout.planes_per_volume, layout.planes_per_volume, _numbered(seen, molecules_so_far)
            molecules_so_far += len(molecules.x_nm)
        return
    molecules = _homogeneous(config, layout.num_frames, generator)
    for first in range(0, layout.num_frames, _FRAMES_AT_ONCE):
        count = min(_FRAMES_AT_ONCE, layout.num_frames - first)
        alive = ((molecules.off_frame > first) & (molecules.on_frame < first + count)).nonzero().squeeze(1)
        part = Molecules(*(getattr(molecules, name)[alive] for name in Molecules.__dataclass_fields__))
        part = replace(part, on_frame=part.on_frame - first, off_frame=part.off_frame - first)
        seen = _expose(s, part, count)
        yield first, count, replace(seen, molecule=alive[seen.molecule])


def _homogeneous(config: MovieConfig, num_frames: int, generator: torch.Generator) -> Molecules:
    s = config.simulation
    return sample_molecules(
        s,
        num_sequences=1,
        num_frames=num_frames,
        height=config.height,
        width=config.width,
        margin_px=stamp_radius_px(s.psf, s.emitters.z_rendered_nm, s.pixel_size),
        generator=generator,
    )


def _expose(s: SimulationConfig, molecules: Molecules, num_frames: int) -> Activations:
    return expose(
        molecules,
        num_frames=num_frames,
        geometry=s.geometry,
        illumination=s.illumination,
        z_range_nm=s.emitters.z_rendered_nm,
    )


def _numbered(seen: Activations, first: int) -> Activations:
    """Return the activations with molecule numbers increased by ``first``."""
    return replace(seen, molecule=seen.molecule + first)


class _Binding:
    """Source of molecules that bind to a cell at random, with the configured mean density of targets."""

    def __init__(self, config: MovieConfig) -> None:
        s = config.simulation
        assert s.geometry is not None  # MovieConfig has checked it
        assert isinstance(config.structure, Cell)
        self._config = config
        self._geometry = s.geometry
        self._rng = np.random.default_rng(config.seed)
        self._cell: CellStructure = build_cell(config.structure, s.geometry, s.pixel_size, config.layout, self._rng)
        width_um, height_um = config.width * s.pixel_size.x_nm * 1e-3, config.height * s.pixel_size.y_nm * 1e-3
        wanted = s.emitters.density_per_um2 * width_um * height_um
        self._mean_on = wanted / self._share_seen()

    def bind(self, generator: torch.Generator) -> Molecules:
        """Draw the molecules of one volume."""
        emitters = self._config.simulation.emitters
        num_frames = self._config.planes_per_volume
        mean = self._mean_on * lifetimes_in(emitters, num_frames)
        count = int(torch.poisson(torch.tensor(float(mean)), generator=generator))
        x_nm, y_nm, z_nm = to_deskewed(self._cell.sample(count, self._rng), self._geometry)
        on_frame, off_frame = draw_lifetimes(emitters, num_frames, count, generator)
        sequence = torch.zeros(count, dtype=torch.int64)
        return Molecules(sequence, x_nm, y_nm, z_nm, on_frame, off_frame, draw_flux(emitters, count, generator))

    def _share_seen(self) -> float:
        """Return the fraction of binding sites inside the field and target z range of a frame, averaged over frames."""
        config, s = self._config, self._config.simulation
        x_nm, y_nm, z_nm = to_deskewed(self._cell.sample(_CALIBRATION_SITES, self._rng), self._geometry)
        always = torch.zeros(_CALIBRATION_SITES), torch.full((_CALIBRATION_SITES,), float(config.planes_per_volume))
        sites = Molecules(torch.zeros(_CALIBRATION_SITES, dtype=torch.int64), x_nm, y_nm, z_nm, *always, always[1])
        seen = expose(
            sites,
            num_frames=config.planes_per_volume,
            geometry=self._geometry,
            illumination=s.illumination,
            z_range_nm=s.emitters.z_range_nm,
        )
        inside = _inside(config, seen).sum().item()
        if inside == 0:
            raise ConfigError(
                f"No binding site of the cell is seen in the {config.width} x {config.height} pixels of a frame; make "
                "the frame larger, or the cell's 'radii_nm' smaller."
            )
        return float(inside) / (_CALIBRATION_SITES * config.planes_per_volume)


def _inside(config: MovieConfig, seen: Activations) -> Tensor:
    x_px = seen.x_nm / config.simulation.pixel_size.x_nm
    y_px = seen.y_nm / config.simulation.pixel_size.y_nm
    return (x_px >= -0.5) & (x_px < config.width - 0.5) & (y_px >= -0.5) & (y_px < config.height - 0.5)


def _draw_texture(config: MovieConfig, generator: torch.Generator) -> Tensor:
    """Return the background relative to its level, fixed for the whole movie: (P, Y, X), or ones without a texture."""
    if config.simulation.background.texture is None:
        return torch.ones(1, 1, 1)
    size = (config.planes_per_volume, config.height, config.width)
    return draw_texture(config.simulation, 1, *size, generator)[0]


def _truth_table(config: MovieConfig, seen: Activations, first: int, bg_TYX: Tensor) -> pa.Table:
    """Return truth rows for activations inside the field, in frame order; ``bg`` is that of the emitter's pixel."""
    seen = seen.select(_inside(config, seen) & (seen.photons > 0))
    seen = seen.select(torch.argsort(seen.frame, stable=True))
    x_px, y_px = seen.x_nm / config.simulation.pixel_size.x_nm, seen.y_nm / config.simulation.pixel_size.y_nm
    bg = bg_TYX.expand(-1, config.height, config.width)[
        seen.frame % len(bg_TYX), y_px.round().to(torch.int64), x_px.round().to(torch.int64)
    ]
    frame = (seen.frame + first).numpy()
    plane = frame % config.planes_per_volume
    x_nm, y_nm, z_nm = (value.double().numpy() for value in (seen.x_nm, seen.y_nm, seen.z_nm))
    geometry = config.simulation.geometry
    sample = geometry.to_sample(x_nm, y_nm, z_nm, plane) if geometry is not None else (x_nm, y_nm, z_nm)
    columns = {
        "frame": frame,
        "volume": frame // config.planes_per_volume,
        "plane": plane,
        "id": seen.molecule.numpy(),
        "x_nm": x_nm,
        "y_nm": y_nm,
        "z_nm": z_nm,
        "photons": seen.photons.numpy(),
        "bg": bg.numpy(),
        **{f"{axis}s_nm": values for axis, values in zip("xyz", sample, strict=True)},
    }
    return pa.table(
        {field.name: pa.array(columns[field.name]).cast(field.type) for field in TRUTH_SCHEMA}, TRUTH_SCHEMA
    )


def _build_camera(
    config: MovieConfig, folder: Path, generator: torch.Generator, *, own_folder: bool
) -> tuple[CameraModel, Camera]:
    """Return the camera of the movie and its configuration; randomly drawn maps are written to the folder."""
    model = draw_camera(config.simulation.camera, (config.height, config.width), generator)
    drawn = {name: value for name, value in model.values.items() if value.ndim and name not in model.config.map_paths()}
    paths: dict[str, Any] = {}
    for name, value in drawn.items():
        path = folder / f"{name}.npy"
        with written_aside(path, own_folder=own_folder) as aside:
            np.save(aside, value.numpy())
        paths[name] = str(path.relative_to(folder.parent))
    return model, model.config.replace(**paths)
