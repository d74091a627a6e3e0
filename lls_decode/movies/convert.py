"""From movies of other formats to the zarr store we recommend: in parallel, in bounded memory, resumable, verified."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from lls_decode.axes import Layout
from lls_decode.config import InputConfig, PixelSize, RunConfig, check_camera_pixel
from lls_decode.errors import ConfigError, InputError, OutputError
from lls_decode.frames.opening import open_source
from lls_decode.frames.source import FrameSource
from lls_decode.frames.writing.checksums import Progress
from lls_decode.frames.writing.create import check_free
from lls_decode.movies.accounting import as_record
from lls_decode.movies.choices import Choices
from lls_decode.movies.filling import Filling
from lls_decode.movies.movie import Movie
from lls_decode.movies.opening import open_movie
from lls_decode.outputs import guarded, note_read
from lls_decode.system import replace
from lls_decode.table import written_aside

logger = logging.getLogger(__name__)

MAX_WORKERS = 8
"""Threads by default; a disk is seldom faster than this many compress."""


@guarded
def convert(
    source_path: str | Path,
    out_path: str | Path,
    *,
    planes_per_volume: int | None = None,
    pixel_size: PixelSize | None = None,
    z_step_nm: float | None = None,
    axes: str | None = None,
    channel: str | None = None,
    position: str | None = None,
    pattern: str | None = None,
    allow_gaps: bool = False,
    salvage: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> FrameSource:
    """Convert a movie of another format to zarr, without losing a frame.

    Reads what `opening.FORMATS` lists: TIFF (stacks, OME, Micro-Manager, ImageJ; a file, a folder or a glob of them),
    NDTiff datasets, folders of lattice light-sheet stacks, files of cameras and microscopes, HDF5, and other zarr, also
    at an address. What the files announce, what is found and what their bytes hold must agree, and which file comes
    where must be beyond doubt; else the movie is refused.

    Each shard is read back after it is written and compared by SHA-256; the digests stay in the store
    (`frames.writing.checksums`). The store is written aside and renamed when it is complete. An interrupted conversion
    goes on, when it is called again, where it was: finished shards are compared with their digests and kept.

    Where the files tell the geometry (``Settings.txt``), or frames are left over after the last whole volume, a run
    configuration is written beside the store: ``cell.run.yaml`` for ``cell.zarr``. One that is there is not touched.

    Parameters
    ----------
    source_path, out_path
        The movie, and the new zarr store.
    planes_per_volume
        How many frames make a volume; None: what the file says, else 1. When frames are left over after the last whole
        volume, the store is a flat stream (t, y, x) of all frames, and the source reads it with this number.
    pixel_size, z_step_nm
        Stored in the metadata; None: what the file says.
    axes
        Axes of each TIFF file when its metadata are wrong, e.g. ``zyx``.
    channel, position
        Which ones, by name or number, of a movie that holds several.
    pattern
        Which files of a folder belong to the movie: wildcards, with ``{t}``, ``{z}``, ``{c}``, ``{p}`` for the time,
        plane, channel and position in a name: ``pos1_t{t}.tif``.
    allow_gaps
        Accept a series with files that are absent or too short; volumes that are not whole are left out.
    salvage
        Take the whole frames of damaged files. What is left out is recorded in the attributes of the store
        (``lls_decode.salvage``), and ``inspect`` says so.
    overwrite
        Replace a zarr store at ``out_path``, and what an interrupted conversion has left.
    workers
        Threads; None: one a core, at most `MAX_WORKERS`. Each holds about three shards in memory; fewer are used when
        shards are large.
    progress
        Called with frames done and frames in all.

    Returns
    -------
    FrameSource
        The new store, opened.

    Raises
    ------
    InputError
        The movie cannot be read, or not to its end.
    OutputError
        The store cannot be written, does not give back what was written, or would replace something.
    """
    if planes_per_volume is not None and planes_per_volume < 1:
        raise ConfigError(f"planes_per_volume is {planes_per_volume}, expected 1 or more.")
    note_read(source_path)
    movie = open_movie(source_path, Choices(axes, channel, position, pattern, allow_gaps, salvage))
    logger.info("%s", movie.told)
    for note in movie.notes:
        logger.warning("%s", note)
    planes = planes_per_volume or movie.planes
    if movie.is_closed_up and planes not in (1, movie.planes):
        raise InputError(
            f"{source_path} lacks frames between others, so that {planes} frames in a row are no volume; leave "
            "planes_per_volume out, or convert the whole parts one by one."
        )
    layout = _layout(movie, planes, source_path)
    out_path = Path(out_path)
    if any(out_path.resolve() in (path.resolve(), *path.resolve().parents) for path in movie.files):
        raise OutputError(f"{out_path} is, or holds, the movie itself; write the store to another place.")
    check_free(out_path, overwrite=overwrite)
    pixel_size = pixel_size or _believable(movie.pixel_size, source_path)
    filling = Filling(
        movie,
        layout,
        out_path.with_name(f".{out_path.name}.partial"),
        name=out_path.stem,
        pixel_size=pixel_size,
        z_step_nm=z_step_nm or movie.z_step_nm,
        attributes=_attributes(movie, source_path, channel),
    )
    try:
        filling.run(workers=workers or min(os.cpu_count() or 1, MAX_WORKERS), anew=overwrite, progress=progress)
        if out_path.exists():
            shutil.rmtree(out_path)
        replace(filling.aside, out_path)
        config = InputConfig(planes_per_volume=planes) if layout.planes_per_volume != planes else InputConfig()
        _write_run_config(out_path, RunConfig(input=config, pixel_size=pixel_size, geometry=movie.geometry))
    except OSError as error:
        raise OutputError(
            f"{out_path} cannot be written ({error.strerror or error}); choose a folder with free space."
        ) from error
    return open_source(out_path, config)


def _believable(stated: PixelSize | None, source_path: str | Path) -> PixelSize | None:
    """The pixel size that a movie states; None, with a warning, where no camera has such pixels in the sample."""
    if stated is None:
        return None
    try:
        return check_camera_pixel(stated)
    except ValueError:
        logger.warning(
            "%s states a pixel size of %g x %g nm (x, y), which no camera pixel has in the sample: it is taken as "
            "unknown; give --pixel-nm",
            source_path,
            stated.x_nm,
            stated.y_nm,
        )
        return None


def _attributes(movie: Movie, source_path: str | Path, channel: str | None) -> dict[str, Any]:
    """What the store keeps of where it comes from."""
    attributes: dict[str, Any] = {"converted_from": Path(str(source_path).partition("::")[0]).name, "files": movie.told}
    if movie.geometry is not None:
        attributes["geometry"] = movie.geometry.model_dump(mode="json", exclude_none=True)
    if channel is not None:
        attributes["channel"] = f"channel {channel}" if channel.isdigit() and len(channel) < 3 else channel
    if movie.losses:
        attributes["salvage"] = as_record(movie.num_frames, movie.losses)
    return attributes


def _layout(movie: Movie, planes: int, source_path: str | Path) -> Layout:
    """Volumes of planes, or a flat stream when frames are left over."""
    volumes, left = divmod(movie.num_frames, planes)
    if volumes == 0:
        raise InputError(
            f"{source_path} has {movie.num_frames} frames, fewer than one volume of {planes}; check planes_per_volume."
        )
    if left:
        logger.warning(
            "%d frames are no multiple of %d planes: stored as a flat stream, to be read with planes_per_volume %d",
            movie.num_frames,
            planes,
            planes,
        )
    return Layout(*((movie.num_frames, 1) if left else (volumes, planes)), movie.height, movie.width)


def _write_run_config(store: Path, config: RunConfig) -> None:
    """What the store itself cannot say about a run."""
    if config.geometry is None and config.input == InputConfig():
        return
    path = store.with_name(f"{store.stem}.run.yaml")
    if path.exists():
        logger.warning("%s is there and was not changed; the files say %s", path, config.geometry)
        return
    header = [f"lls-decode run {store.name} --model MODEL --out results/ --config {path.name}"]
    if config.geometry is not None and config.pixel_size is not None:
        header += [
            config.geometry.describe(config.pixel_size),
            "Check it on a bead: from one plane to the next it moves by minus that; else turn scan_direction.",
        ]
    header.append("What is not said here comes from the model or the store, e.g. the camera: 'lls-decode config show'.")
    plain = config.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    text = "".join(f"# {line}\n" for line in header) + yaml.safe_dump(plain, sort_keys=False)
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")
    logger.info("%s written: what a run needs to know beside the store", path)
