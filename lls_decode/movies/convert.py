"""Conversion of movies in other formats to a zarr store in the recommended layout.

The conversion runs in parallel and in bounded memory, can be resumed, and verifies what it wrote.
"""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from lls_decode.axes import Layout
from lls_decode.config import InputConfig, PixelSize, RunConfig, check_camera_pixel
from lls_decode.errors import ConfigError, InputError, OutputError, shell_command
from lls_decode.frames.opening import check_frame_size, open_source
from lls_decode.frames.source import FrameSource
from lls_decode.frames.writing.checksums import Progress
from lls_decode.frames.writing.create import check_free
from lls_decode.movies.accounting import as_record
from lls_decode.movies.choices import Choices
from lls_decode.movies.filling import Filling
from lls_decode.movies.movie import Movie
from lls_decode.movies.opening import open_movie
from lls_decode.outputs import guarded, note_read
from lls_decode.system import real_path, replace
from lls_decode.table import written_aside

logger = logging.getLogger(__name__)

MAX_WORKERS = 8
"""Largest default number of threads; more are seldom useful, because the disk then limits the speed."""


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
    """Convert a movie in another format to zarr, without losing a frame.

    `opening.FORMATS` lists the supported formats: TIFF (stacks, OME, Micro-Manager, ImageJ; a file, a folder or a
    glob), NDTiff datasets, folders of lattice light-sheet stacks, files of cameras and microscopes, HDF5, and other
    zarr, also at an address. The number of frames that the files announce must agree with the frames found and with the
    bytes in the files, and the order of the files must be unambiguous. Otherwise an error is raised.

    Each shard is read back after it is written and compared by SHA-256; the digests are kept in the store
    (`frames.writing.checksums`). The store is written aside and renamed once it is complete. Call `convert` again to
    resume an interrupted conversion: shards that match their digests are kept.

    A run configuration is written beside the store (``cell.run.yaml`` for ``cell.zarr``) if the files state the
    geometry (``Settings.txt``), or if frames are left over after the last complete volume. An existing run
    configuration is not changed.

    Parameters
    ----------
    source_path, out_path
        The movie, and the new zarr store.
    planes_per_volume
        Number of frames per volume; None: from the file, or else 1. If frames are left over after the last complete
        volume, the store is a flat stream (t, y, x) of all frames, and the source reads it with this number.
    pixel_size, z_step_nm
        Sizes to store in the metadata; None: the values in the file.
    axes
        Axes of each TIFF file, e.g. ``zyx``, if its metadata are wrong.
    channel, position
        Name or number of the channel and position, if the movie has several.
    pattern
        Pattern of the files in a folder that belong to the movie: wildcards, with ``{t}``, ``{z}``, ``{c}``, ``{p}``
        for the time, plane, channel and position in a name, e.g. ``pos1_t{t}.tif``.
    allow_gaps
        Accept a series with missing or short files; incomplete volumes are left out.
    salvage
        Keep the complete frames of damaged files. The loss is recorded in the attributes of the store
        (``lls_decode.salvage``) and shown by ``inspect``.
    overwrite
        Replace a zarr store at ``out_path``, and the remains of an interrupted conversion.
    workers
        Number of threads; None: one per core, at most `MAX_WORKERS`. Each thread holds about three shards in memory;
        fewer threads are used if shards are large.
    progress
        Callback that receives the number of converted frames and the total number.

    Returns
    -------
    FrameSource
        The new store, opened.

    Raises
    ------
    InputError
        The movie cannot be read completely.
    OutputError
        The store cannot be written, differs from the movie when read back, or would replace existing files.
    """
    if planes_per_volume is not None and planes_per_volume < 1:
        raise ConfigError(f"planes_per_volume is {planes_per_volume}, expected 1 or more.")
    note_read(source_path)
    choices = Choices(
        axes=axes, channel=channel, position=position, pattern=pattern, allow_gaps=allow_gaps, salvage=salvage
    )
    movie = open_movie(source_path, choices)
    logger.info("%s", movie.told)
    for note in movie.notes:
        logger.warning("%s", note)
    planes = planes_per_volume or movie.planes
    if movie.is_closed_up and planes not in (1, movie.planes):
        raise InputError(
            f"{source_path} lacks frames between other frames, so {planes} consecutive frames may not be one volume; "
            "omit planes_per_volume, or convert the complete parts one by one."
        )
    layout = _layout(movie, planes, source_path)
    out_path = Path(out_path)
    if any(real_path(out_path) in (real_path(path), *real_path(path).parents) for path in movie.files):
        raise OutputError(f"{out_path} is or contains the movie itself; choose another path for the store.")
    check_free(out_path, overwrite=overwrite)
    _tell_overruled(movie, pixel_size, z_step_nm)
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


def _tell_overruled(movie: Movie, pixel_size: PixelSize | None, z_step_nm: float | None) -> None:
    """Log a warning for each size that the movie states and that a given one replaces."""
    stated, given = movie.pixel_size, pixel_size
    if stated and given and stated != given:
        logger.warning(
            "the movie states pixels of %g x %g nm (x, y); the given %g x %g nm are stored instead",
            stated.x_nm, stated.y_nm, given.x_nm, given.y_nm,
        )  # fmt: skip
    if movie.z_step_nm and z_step_nm and movie.z_step_nm != z_step_nm:
        logger.warning(
            "the movie states a z step of %g nm; the given %g nm are stored instead", movie.z_step_nm, z_step_nm
        )


def _believable(stated: PixelSize | None, source_path: str | Path) -> PixelSize | None:
    """Return the pixel size that a movie states; log a warning and return None if it is implausible."""
    if stated is None:
        return None
    try:
        return check_camera_pixel(stated)
    except ValueError:
        logger.warning(
            "%s states a pixel size of %g x %g nm (x, y), which is implausible for camera pixels in the sample: it is "
            "ignored; give --pixel-nm",
            source_path,
            stated.x_nm,
            stated.y_nm,
        )
        return None


def _attributes(movie: Movie, source_path: str | Path, channel: str | None) -> dict[str, Any]:
    """Return the attributes that record the origin of a store."""
    attributes: dict[str, Any] = {"converted_from": Path(str(source_path).partition("::")[0]).name, "files": movie.told}
    if movie.geometry is not None:
        attributes["geometry"] = movie.geometry.model_dump(mode="json", exclude_none=True)
    if channel is not None:
        attributes["channel"] = f"channel {channel}" if channel.isdigit() and len(channel) < 3 else channel
    if movie.losses:
        attributes["salvage"] = as_record(movie.num_frames, movie.losses)
    return attributes


def _layout(movie: Movie, planes: int, source_path: str | Path) -> Layout:
    """Return a layout of volumes, or of a flat stream if frames are left over after the last volume."""
    check_frame_size(movie.height, movie.width, source_path)
    volumes, left = divmod(movie.num_frames, planes)
    if volumes == 0:
        raise InputError(
            f"{source_path} has {movie.num_frames} frames, fewer than one volume of {planes}; check planes_per_volume."
        )
    if left:
        logger.warning(
            "%d frames are not a multiple of %d planes: stored as a flat stream; read it with planes_per_volume %d",
            movie.num_frames,
            planes,
            planes,
        )
    return Layout(*((movie.num_frames, 1) if left else (volumes, planes)), movie.height, movie.width)


def _write_run_config(store: Path, config: RunConfig) -> None:
    """Write a run configuration beside the store, with the settings that the store itself cannot hold."""
    if config.geometry is None and config.input == InputConfig():
        return
    path = store.with_name(f"{store.stem}.run.yaml")
    if path.exists():
        logger.warning("%s exists and was not changed; the geometry in the files is %s", path, config.geometry)
        return
    header = [shell_command("run", store.name, "--model", "MODEL", "--out", "results/", "--config", path.name)]
    if config.geometry is not None and config.pixel_size is not None:
        header += [
            config.geometry.describe(config.pixel_size),
            "Check this on a bead: from one plane to the next it must move by minus this; if it does not, reverse "
            "scan_direction.",
        ]
    header.append("Other settings, e.g. the camera, come from the model or the store: see 'lls-decode config show'.")
    plain = config.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    text = "".join(f"# {line}\n" for line in header) + yaml.safe_dump(plain, sort_keys=False)
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")
    logger.info("%s written: settings for a run that the store itself does not hold", path)
