"""Opening of zarr datasets as movies, to copy any dataset that `open_source` can read into the recommended chunks."""

import re
from collections.abc import Sequence
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
from lls_decode.frames.storage.joined import Joined, join_stores
from lls_decode.frames.storage.opening import open_keys
from lls_decode.frames.storage.stores import has_magic, is_collection, is_store, list_arrays, split_entries
from lls_decode.movies.accounting import Ints, Loss
from lls_decode.movies.choices import Choices
from lls_decode.movies.formats.frame_array import FrameArray, as_movie
from lls_decode.movies.movie import Movie
from lls_decode.movies.series import MAX_GAPS
from lls_decode.naming.choices import name_some
from lls_decode.naming.names import names_of, read_pattern
from lls_decode.naming.series import OptionWays

_MARKERS = ("zarr.json", ".zarray", ".zgroup", ".zattrs")


def is_zarr(path: str) -> bool:
    """Return whether a path is a zarr store, or a collection that contains only zarr stores."""
    if not has_magic(path) and not Path(path).exists():
        return False
    if not is_collection(path):
        return is_store(path)
    found, others = split_entries(path)
    return bool(found) and not any(Path(item).is_file() for item in others)


def open_zarr(path: str, choices: Choices, inside: str = "") -> Movie:
    """Open a store, a folder of stores, or a glob of stores; ``inside`` selects one of several images."""
    joined = _join(path, choices)
    if joined is not None:
        found = joined.found
        choices = replace(
            choices,
            channel=None if found.takes_channel else choices.channel,
            position=None if found.takes_position else choices.position,
        )
    source = _open(path, choices, inside, joined)
    planes, volumes = source.layout.planes_per_volume, source.layout.num_volumes

    def read(numbers: Ints) -> Frames:
        try:
            return source.read_frames(np.stack(np.divmod(numbers, planes), axis=1))
        except (ChunkError, FrameValueError) as error:
            half = len(numbers) // 2
            if half:  # the damaged frame may lie between the wanted ones
                return np.concatenate([read(numbers[:half]), read(numbers[half:])])
            raise InputError(f"{str(error).rstrip('.')}, or keep only the complete frames with --salvage.") from error

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
    return _with_origin(movie, source, path, joined)


def _join(path: str, choices: Choices) -> Joined | None:
    """Select and order the stores of a folder or glob by their names; None for a single store."""
    if not is_collection(path):
        if choices.pattern is not None:
            raise InputError(f"{path} is one store; omit --pattern, or give the folder of the store.")
        return None
    stores = list_arrays(path)
    if choices.pattern is not None:
        reader = read_pattern(choices.pattern)
        names = names_of(stores)
        stores = tuple(store for store, name in zip(stores, names, strict=True) if reader(name) is not None)
        if not stores:
            raise InputError(
                f"no store of {path} matches --pattern {choices.pattern!r}; the stores are {name_some(names)}: give a "
                "pattern that matches some of them, e.g. --pattern '*.zarr'."
            )
    return join_stores(path, stores, choices, OptionWays("stores"))


def _with_origin(movie: Movie, source: FrameSource, path: str, joined: Joined | None) -> Movie:
    """Add the metadata that a converted store holds about itself to a movie."""
    stores = list_arrays(path) if joined is None else joined.paths
    missing = [Loss(*item) for item in read_missing(path)]
    gaps = () if joined is None else joined.found.missing[:MAX_GAPS]
    missing += [Loss(Path(path).name, gap, "stores of the series are missing") for gap in gaps]
    name = names_of([path])[0]
    if joined is not None:
        first, *_, last = (*joined.found.names, joined.found.names[-1])
        name += f", {first} to {last}" if len(stores) > 1 else f", {first}"
    what = f"volumes of {movie.planes} planes" if movie.planes > 1 else f"{movie.num_frames} frames"
    return replace(
        movie,
        files=_markers(path, stores),
        geometry=_geometry(stores[0]),
        angle_deg=source.angle_deg,
        content=f"{source.identity} {movie.content}",
        losses=(*missing, *movie.losses),
        told=f"{len(stores)} zarr store{'s' if len(stores) > 1 else ''}, {name}, as {what}",
        is_closed_up=movie.is_closed_up or bool(gaps),
    )


def _open(path: str, choices: Choices, inside: str, joined: Joined | None) -> FrameSource:
    channel = choices.channel
    if channel is not None and not channel.isdigit():
        raise InputError(f"{path} numbers its channels, so --channel {channel!r} does not match; give 0 or higher.")
    try:
        config = InputConfig(
            array=inside.strip("/") or None,
            axes=choices.axes,
            channel=None if channel is None else int(channel),
            select=_select(path, choices, inside),
        )
        return open_source(path, config, joined=joined)
    except ValidationError as error:
        raise InputError(
            f"{path} cannot be read with --axes {choices.axes!r}; give one letter per dimension."
        ) from error
    except InputError as error:
        raise InputError(_in_our_words(str(error), path)) from error


def _select(path: str, choices: Choices, inside: str) -> dict[str, int]:
    """Return the chosen index along the position axis, the only axis that frames do not have."""
    if choices.position is None:
        return {}
    if not choices.position.isdigit():
        raise InputError(
            f"{path} numbers its positions, so --position {choices.position!r} does not match; give 0 or higher."
        )
    image = select_image(open_keys(list_arrays(path)[0]), inside.strip("/") or None)
    others = [axis for axis in choices.axes or image.axes or "" if axis not in FRAME_AXES]
    if len(others) != 1:
        raise InputError(f"{path} has {len(others)} axes of positions, expected one; omit --position.")
    return {others[0]: int(choices.position)}


def _in_our_words(text: str, path: str) -> str:
    """Translate the options in an error message of `open_source` to those of a conversion."""
    text = re.sub(r"--array (\S+?)(?=[,;]|\.?$)", lambda found: f"the path {path}::{found[1]}", text)
    return re.sub(r"--select \w+=(\d+)", r"--position \1", text)


def _geometry(store: str) -> Geometry | None:
    """Return the scan geometry that a conversion recorded, or None."""
    node = read_node(open_keys(store), "")
    own = node.attributes.get("lls_decode") if node is not None else None
    try:
        return Geometry.model_validate(own["geometry"]) if isinstance(own, dict) and "geometry" in own else None
    except ValidationError:
        return None


def _markers(path: str, stores: Sequence[str]) -> tuple[Path, ...]:
    """Return the files that change when a store is rewritten; none for a remote store."""
    files: list[Path] = []
    if is_address(path):
        return ()
    for store in map(Path, stores):
        files += [store / name for name in _MARKERS if (store / name).is_file()] if store.is_dir() else [store]
    return tuple(files)
