"""Zarr datasets as movies: a copy in the chunks that we recommend, of whatever `open_source` can read."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from lls_decode.addresses import is_address
from lls_decode.config import Geometry, InputConfig
from lls_decode.errors import ChunkError, FrameValueError, InputError
from lls_decode.frames.metadata.axis_names import FRAME_AXES
from lls_decode.frames.metadata.images import read_node, select_image
from lls_decode.frames.metadata.salvage import read_missing
from lls_decode.frames.opening import open_source
from lls_decode.frames.reading.stack import Frames
from lls_decode.frames.source import FrameSource
from lls_decode.frames.storage.opening import open_keys
from lls_decode.frames.storage.stores import has_magic, is_collection, is_store, list_arrays, split_entries
from lls_decode.movies.accounting import Ints, Loss
from lls_decode.movies.choices import Choices
from lls_decode.movies.formats.frame_array import FrameArray, as_movie
from lls_decode.movies.movie import Movie

_MARKERS = ("zarr.json", ".zarray", ".zgroup", ".zattrs")


def is_zarr(path: str) -> bool:
    """Return whether a path means a zarr store, or nothing but such stores."""
    if not has_magic(path) and not Path(path).exists():
        return False
    if not is_collection(path):
        return is_store(path)
    found, others = split_entries(path)
    return bool(found) and not any(Path(item).is_file() for item in others)


def open_zarr(path: str, choices: Choices, inside: str = "") -> Movie:
    """Open a store, a folder of stores, or a glob of them; of several images the one at ``inside``."""
    source = _open(path, choices, inside)
    planes, volumes = source.layout.planes_per_volume, source.layout.num_volumes

    def read(numbers: Ints) -> Frames:
        try:
            return source.read_frames(np.stack(np.divmod(numbers, planes), axis=1))
        except (ChunkError, FrameValueError) as error:
            half = len(numbers) // 2
            if half:  # between two frames that are whole there may be one that is not wanted
                return np.concatenate([read(numbers[:half]), read(numbers[half:])])
            raise InputError(f"{str(error).rstrip('.')}, or take the whole frames with --salvage.") from error

    movie = as_movie(
        FrameArray(
            Path(path),
            (volumes, planes),
            ("t", "z"),
            source.layout.height,
            source.layout.width,
            np.dtype(source.dtype),
            read,
            is_encoded=True,
            pixel_size=source.pixel_size,
            z_step_nm=source.z_step_nm,
            notes=tuple(note for note in source.notes if "faster" not in note),
        ),
        Choices(salvage=choices.salvage, allow_gaps=choices.allow_gaps),
    )
    return _with_origin(movie, source, path)


def _with_origin(movie: Movie, source: FrameSource, path: str) -> Movie:
    """A movie with what a converted store says of itself beyond pixels."""
    stores = list_arrays(path)
    missing = [Loss(*item) for item in read_missing(path)]
    what = f"volumes of {movie.planes} planes" if movie.planes > 1 else f"{movie.num_frames} frames"
    return replace(
        movie,
        files=_markers(path),
        geometry=_geometry(stores[0]),
        angle_deg=source.angle_deg,
        content=f"{source.identity} {movie.content}",
        losses=(*missing, *movie.losses),
        told=f"{len(stores)} zarr store{'s' if len(stores) > 1 else ''}, {Path(path).name}, as {what}",
    )


def _open(path: str, choices: Choices, inside: str) -> FrameSource:
    if choices.pattern is not None:
        raise InputError(f"{path} is zarr; leave --pattern out, or give a glob of stores.")
    channel = choices.channel
    if channel is not None and not channel.isdigit():
        raise InputError(f"{path} numbers its channels; give --channel 0 or higher, not {channel!r}.")
    try:
        config = InputConfig(
            array=inside.strip("/") or None,
            axes=choices.axes,
            channel=None if channel is None else int(channel),
            select=_select(path, choices, inside),
        )
        return open_source(path, config)
    except ValidationError as error:
        raise InputError(f"{path} cannot be read with --axes {choices.axes!r}; give one letter a dimension.") from error
    except InputError as error:
        raise InputError(_in_our_words(str(error), path)) from error


def _select(path: str, choices: Choices, inside: str) -> dict[str, int]:
    """Which entry of the one axis that frames do not have."""
    if choices.position is None:
        return {}
    if not choices.position.isdigit():
        raise InputError(f"{path} numbers its positions; give --position 0 or higher, not {choices.position!r}.")
    image = select_image(open_keys(list_arrays(path)[0]), inside.strip("/") or None)
    others = [axis for axis in choices.axes or image.axes or "" if axis not in FRAME_AXES]
    if len(others) != 1:
        raise InputError(f"{path} has {len(others)} axes of positions, expected one; leave --position out.")
    return {others[0]: int(choices.position)}


def _in_our_words(text: str, path: str) -> str:
    """The advice of `open_source` with the options of a conversion."""
    text = re.sub(r"--array (\S+?)(?=[,;]|\.?$)", lambda found: f"the path {path}::{found[1]}", text)
    return re.sub(r"--select \w+=(\d+)", r"--position \1", text)


def _geometry(store: str) -> Geometry | None:
    """How planes follow each other, where a conversion has noted it."""
    node = read_node(open_keys(store), "")
    own = node.attributes.get("lls_decode") if node is not None else None
    try:
        return Geometry.model_validate(own["geometry"]) if isinstance(own, dict) and "geometry" in own else None
    except ValidationError:
        return None


def _markers(path: str) -> tuple[Path, ...]:
    """Files that change when a store is written anew; none of a remote one."""
    files: list[Path] = []
    if is_address(path):
        return ()
    for store in map(Path, list_arrays(path)):
        files += [store / name for name in _MARKERS if (store / name).is_file()] if store.is_dir() else [store]
    return tuple(files)
