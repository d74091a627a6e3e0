"""From movies of other formats to the zarr store we recommend, in constant memory."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.axes import Layout
from lls_decode.config import InputConfig, PixelSize
from lls_decode.errors import ConfigError, InputError, OutputError
from lls_decode.frames.create import check_free, create_store
from lls_decode.frames.keys import ZarrArray
from lls_decode.frames.movies import Movie, open_movie
from lls_decode.frames.opening import open_source
from lls_decode.frames.source import FrameSource

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


def convert(
    source_path: str | Path,
    out_path: str | Path,
    *,
    planes_per_volume: int | None = None,
    pixel_size: PixelSize | None = None,
    z_step_nm: float | None = None,
    axes: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> FrameSource:
    """Convert a TIFF, a directory or glob of TIFFs, a ``.dax`` or a Picasso ``.raw`` to zarr, without losing a frame.

    The store is written aside and renamed when it is complete.

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
    overwrite
        Replace a zarr store at ``out_path``.
    progress
        Called with frames done and frames in all.

    Returns
    -------
    FrameSource
        The new store, opened.
    """
    if planes_per_volume is not None and planes_per_volume < 1:
        raise ConfigError(f"planes_per_volume is {planes_per_volume}, expected 1 or more.")
    movie = open_movie(source_path, axes=axes)
    for note in movie.notes:
        logger.warning("%s", note)
    planes = planes_per_volume or movie.planes
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
    layout = Layout(*((movie.num_frames, 1) if left else (volumes, planes)), movie.height, movie.width)
    out_path = Path(out_path)
    check_free(out_path, overwrite=overwrite)
    aside = out_path.with_name(f".{out_path.name}.{os.getpid()}.partial")
    try:
        array = create_store(
            aside,
            layout,
            dtype=str(movie.dtype),
            pixel_size=pixel_size or movie.pixel_size,
            z_step_nm=z_step_nm or movie.z_step_nm,
            name=out_path.stem,
            overwrite=True,
            attributes={"lls_decode": {"converted_from": Path(source_path).name}},
        )
        _fill(array, movie, layout, progress)
        if out_path.exists():
            shutil.rmtree(out_path)
        aside.rename(out_path)
    except OSError as error:
        raise OutputError(
            f"{out_path} cannot be written ({error.strerror or error}); choose a folder with free space."
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return open_source(out_path, InputConfig(planes_per_volume=planes) if left else None)


def _fill(array: ZarrArray, movie: Movie, layout: Layout, progress: Progress | None) -> None:
    """Write whole shards (or whole volumes of them) one after the other."""
    shards = array.shards or array.chunks
    planes = layout.planes_per_volume
    is_cut = planes > 1 and shards[0] == 1
    per_write = shards[1] if is_cut else shards[0] * planes
    done = 0
    for frames in _regroup(movie.read(), per_write, planes if is_cut else 0):
        if planes == 1:
            array[done : done + len(frames)] = frames
        elif is_cut:
            volume, plane = divmod(done, planes)
            array[volume, plane : plane + len(frames)] = frames
        else:
            volume = done // planes
            array[volume : volume + len(frames) // planes] = frames.reshape(-1, planes, *frames.shape[1:])
        done += len(frames)
        if progress:
            progress(done, layout.num_frames)
    if done != layout.num_frames:
        raise AssertionError(f"{done} frames came, {layout.num_frames} were announced")


def _regroup(pieces: Iterator[npt.NDArray[Any]], size: int, period: int) -> Iterator[npt.NDArray[Any]]:
    """Pieces of ``size`` frames; a piece also ends at each multiple of ``period``."""
    done, waiting, held = 0, [], 0
    for piece in pieces:
        while len(piece):
            want = min(size, period - done % period if period else size) - held
            waiting.append(piece[:want])
            held += len(waiting[-1])
            piece = piece[want:]
            if held == min(size, period - done % period if period else size):
                yield np.concatenate(waiting)
                done, waiting, held = done + held, [], 0
    if waiting:
        yield np.concatenate(waiting)
