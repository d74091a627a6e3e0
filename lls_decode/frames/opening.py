"""Opening of a zarr dataset as a `FrameSource`, with all checks that its data can be interpreted correctly."""

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lls_decode.addresses import is_address, resolve_dataset
from lls_decode.config import InputConfig, StorageConfig, stated_pixel_size
from lls_decode.errors import ChunkError, FrameValueError, InputError
from lls_decode.frames.diagnostics.symptoms import has_wedge
from lls_decode.frames.identity import identify, sample_chunks
from lls_decode.frames.mapping.frame_map import FrameMap
from lls_decode.frames.mapping.settling import LARGE_CHUNK_BYTES, chunk_notes, map_frames, settle_axes
from lls_decode.frames.metadata.channels import channel_name
from lls_decode.frames.metadata.images import Node, image_around, read_node, select_image
from lls_decode.frames.metadata.multiscales import Image
from lls_decode.frames.metadata.salvage import salvage_notes
from lls_decode.frames.reading.chunks import axes_with_more_chunks
from lls_decode.frames.reading.regions import denied, open_stored
from lls_decode.frames.source import FrameSource
from lls_decode.frames.storage.bounded import has_shards
from lls_decode.frames.storage.joined import Joined, join_stores
from lls_decode.frames.storage.keys import Keys, ZarrArray
from lls_decode.frames.storage.opening import open_keys
from lls_decode.frames.storage.stores import forget_listings, has_magic, is_collection, list_arrays, split_entries
from lls_decode.naming.choices import NameChoices, name_some
from lls_decode.outputs import note_read

MOST_FRAME_PX = 100_000_000
"""Largest number of pixels per frame, five times that of the largest scientific camera."""
MOST_CHUNK_BYTES = 16 << 30
"""Largest size of a chunk, as large as a long movie; workers do not have more memory."""
MOST_CHUNKS_PER_SHARD = 1 << 18
"""Largest number of chunks in a shard, whose index (16 bytes per chunk) is read with each; usual are thousands."""
MOST_PIXELS = 1 << 62
"""Largest number of pixels of an array, so that 64-bit integers can count them."""
MAX_CHECKED = 1000
"""Largest number of arrays in a directory whose metadata are compared before a run; each is checked again when read."""
MAX_CHECKED_REMOTE = 100
"""Largest number of arrays compared in a remote dataset, where each array needs several requests."""


@dataclass(frozen=True)
class _Opened:
    array: ZarrArray
    keys: Keys
    image: Image
    node: Node | None


def open_source(path: str | Path, config: InputConfig | None = None, *, joined: Joined | None = None) -> FrameSource:
    """Open a zarr dataset for reading frames.

    Parameters
    ----------
    path
        A zarr v2 or v3 store (a directory, or a zip of a directory), a directory of per-volume stores, or a glob of
        stores; or an address of any of these: ``s3://``, ``gs://``, ``https://`` (single stores only), ``file://``.
    config
        Axes, channel and volumes given by the user; None: everything from the metadata.
    joined
        Stores to read, if their names were already interpreted; None: the stores of one series of names.

    Raises
    ------
    InputError
        The dataset does not exist, cannot be interpreted as volumes of planes, or has stores of several series.
    AccessError
        The dataset may not be read, or its codec is not installed.
    """
    path = resolve_dataset(path)
    try:
        return _open_source(path, config or InputConfig(), joined)
    except PermissionError as error:
        raise denied(error.filename or path) from error


def _open_source(path: str, config: InputConfig, joined: Joined | None) -> FrameSource:
    storage = config.storage
    forget_listings()
    listed = list_arrays(path, storage)
    paths = joined.paths if joined is not None else listed
    if not is_address(path):
        for each in (path, *paths):
            note_read(each)
    first = _open(paths[0], config.array, storage)
    _check_array(first)
    axes, names, notes = settle_axes(
        first.array, first.image, config, where=first.keys.name, is_volume=is_collection(path, storage)
    )
    if joined is None and len(listed) > 1:
        _check_part(path, first, axes)
        joined = join_stores(path, listed, NameChoices(allow_gaps=config.allow_gaps), storage=storage)
        paths = joined.paths
    if joined is not None and joined.found.planes > 1 and config.planes_per_volume is None:
        config = config.replace(planes_per_volume=joined.found.planes)
    frame_map, more = map_frames(first.array.shape, axes, names, len(paths), config, where=path)
    if joined is not None and joined.found.planes > 1 and frame_map.frames_per_array > 1:
        raise InputError(
            f"{path} has {joined.found.planes} planes by the names of its stores, but {paths[0]} has "
            f"{frame_map.frames_per_array} frames itself, expected one; rename the stores, so that their numbers do "
            "not stand for planes."
        )
    check_frame_size(frame_map.layout.height, frame_map.layout.width, path)
    _check_alike(paths, first, config)
    dtype = first.array.dtype.newbyteorder("=")
    sampled = [first if i == 0 else _open_like(paths[i], first, storage) for i in (0, len(paths) // 2, len(paths) - 1)]
    documents = [*(first.node.documents if first.node else ()), dict(first.image.scale_nm)]
    samples = list(sample_chunks([(item.array, item.keys, item.image.array) for item in sampled], frame_map))
    scale = first.image.scale_nm
    source = FrameSource(
        path=path,
        array=first.image.array,
        layout=frame_map.layout,
        dtype=str(dtype),
        pixel_size=stated_pixel_size(scale.get("x"), scale.get("y")),
        z_step_nm=scale.get("z"),
        angle_deg=stated_angle_deg(first.keys, first.image),
        channel_name=channel_name(first.keys, first.image, frame_map),
        absent=config.absent,
        chunks=first.array.chunks,
        shards=first.array.shards,
        notes=(
            *salvage_notes(first.keys),
            *notes,
            *first.image.notes,
            *more,
            *(_told_by_names(joined) if joined is not None else ()),
            *_ignored(path, storage),
            *_beyond_the_end(first, axes, path),
            *chunk_notes(first.array, frame_map),
        ),
        identity=identify(frame_map, str(dtype), documents, iter(samples)),
        frame_map=frame_map,
        description=_describe(frame_map, str(dtype), documents, grows_by_arrays=is_collection(path, storage)),
        samples=tuple(hashlib.sha256(sample).hexdigest()[:16] for sample in samples),
        storage=storage,
        stores=None if paths == listed else paths,
    )
    return _with_notes(source, processing_notes(source))


def _describe(frame_map: FrameMap, dtype: str, documents: list[dict[str, Any]], *, grows_by_arrays: bool) -> str:
    """Return a digest of storage and mapping without the length, which is constant while an acquisition grows."""
    if grows_by_arrays:
        frame_map = replace(frame_map, num_arrays=0)
    elif "t" in frame_map.axes:
        frame_map = frame_map.with_length(0)
    storage = {name: value for name, value in documents[0].items() if name not in ("shape", "attributes")}
    return identify(frame_map, dtype, [storage, documents[-1]], iter(()))


def _open(path: str, array: str | None, storage: StorageConfig) -> _Opened:
    keys = open_keys(path, storage)
    image = select_image(keys, array)
    if not image.array:
        image = image_around(keys) or image
    return _open_array(keys, image, read_node(keys, image.array))


def _open_array(keys: Keys, image: Image, node: Node | None) -> _Opened:
    """Open an array whose metadata have been read."""
    if node is not None and node.has_empty_chunks:
        raise InputError(
            f"{keys.name}, array {image.array or '(root)'}, states chunks or shards with a size below 1, expected at "
            "least 1; restore its metadata."
        )
    array = open_stored(keys, image.array)
    check_shards(array, f"{keys.name}, array {image.array or '(root)'},")
    return _Opened(array, keys, image, node)


def check_shards(array: ZarrArray, where: str) -> None:
    """Raise an error for shards inside other codecs, whose missing chunks could not be told from stored ones."""
    codecs: tuple[Any, ...] = getattr(array.metadata, "codecs", ())
    if has_shards(codecs) and (len(codecs) > 1 or has_shards(codecs[0].codecs)):
        raise InputError(
            f"{where} has shards inside other codecs or shards, so that missing chunks would not be noticed; expected "
            "sharding_indexed as its only codec: write the data again in this form."
        )


def stated_angle_deg(keys: Keys, image: Image) -> float | None:
    """Return the scan angle recorded in a converted store, or None."""
    for path in (image.group, image.array):
        node = read_node(keys, path) if path is not None else None
        own = node.attributes.get("lls_decode") if node is not None else None
        angle = own.get("angle_deg") if isinstance(own, dict) else None
        if isinstance(angle, int | float):
            return float(angle)
    return None


def _open_like(path: str, first: _Opened, storage: StorageConfig) -> _Opened:
    """Open another array of a dataset, at the same path within its store."""
    keys = open_keys(path, storage)
    node = read_node(keys, first.image.array)
    if node is None or not node.is_array:
        raise InputError(
            f"{path} has no array {first.image.array or 'at its root'}, but {first.keys.name} has; all stores of a "
            "dataset must be alike: select matching stores by a pattern in quotes."
        )
    return _open_array(keys, first.image, node)


def _check_array(opened: _Opened) -> None:
    array, where = opened.array, f"{opened.keys.name}, array {opened.image.array or '(root)'},"
    if array.dtype.kind not in "uif":
        raise InputError(
            f"{where} has values of type {array.dtype}, expected integer or floating-point camera counts; choose "
            "another array with --array."
        )
    chunk_bytes = math.prod(array.chunks) * array.dtype.itemsize
    if min(array.shape, default=0) < 0 or math.prod(array.shape) > MOST_PIXELS:
        raise InputError(f"{where} has the impossible shape {array.shape}; restore its metadata.")
    if not 0 < chunk_bytes <= MOST_CHUNK_BYTES:
        raise InputError(
            f"{where} has chunks of shape {array.chunks}, {chunk_bytes:,} bytes each, expected 1 to "
            f"{MOST_CHUNK_BYTES:,} bytes, because chunks are decompressed completely; write the data with smaller "
            "chunks."
        )
    if 0 in array.shape:
        raise InputError(f"{where} is empty: its shape is {array.shape}; choose another array with --array.")
    num_chunks = math.prod(-(-shard // chunk) for shard, chunk in zip(array.shards or (), array.chunks, strict=False))
    if num_chunks > MOST_CHUNKS_PER_SHARD:
        raise InputError(
            f"{where} has shards of {num_chunks:,} chunks, expected at most {MOST_CHUNKS_PER_SHARD:,}, because the "
            "index of a shard is read completely; write the data with smaller shards."
        )


def check_frame_size(height: int, width: int, path: str | Path) -> None:
    """Raise an error if frames are too large to be read."""
    if height * width > MOST_FRAME_PX:
        raise InputError(
            f"{path} has frames of {height} x {width} px, expected at most {MOST_FRAME_PX:,} pixels, as "
            "no camera has more; check its shape and axes (--array, input.axes)."
        )


def _check_part(path: str, first: _Opened, axes: str) -> None:
    """Raise an error if a store of several is a dataset of its own."""
    sizes = dict(zip(axes, first.array.shape, strict=True))
    if sizes.get("t", 1) > 1 and sizes.get("z", 1) > 1:
        raise InputError(
            f"{path} contains several stores, but {first.keys.name} has axes {axes!r} and is a complete dataset by "
            "itself, expected one volume (z, y, x) or frame (y, x) per store; give the path of one store."
        )


def _check_alike(paths: tuple[str, ...], first: _Opened, config: InputConfig) -> None:
    most = MAX_CHECKED_REMOTE if is_address(paths[0]) else MAX_CHECKED
    picked = np.unique(np.linspace(1, len(paths) - 1, min(len(paths) - 1, most)).astype(int))
    for i in picked:
        opened = _open_like(paths[i], first, config.storage)
        other = opened.array
        _check_axes_alike(opened, first, axes_told=config.axes is not None)
        if (other.shape, other.dtype) != (first.array.shape, first.array.dtype):
            raise InputError(
                f"{paths[i]} has shape {other.shape} and type {other.dtype}, but {paths[0]} has {first.array.shape} "
                f"and {first.array.dtype}; all volumes of a dataset must be alike: select matching stores by a pattern "
                "in quotes."
            )


def _told_by_names(joined: Joined) -> list[str]:
    """Return notes on what the names of the stores say, and on gaps."""
    gaps = joined.found.missing
    missing = f"stores are missing {name_some(gaps)}; the volumes around a gap follow each other"
    return [*joined.found.notes, *([missing] if gaps else [])]


def _check_axes_alike(opened: _Opened, first: _Opened, *, axes_told: bool) -> None:
    """Raise an error if the metadata of two arrays name different sizes, or axes that the user has not told."""
    wanted, other = first.image, opened.image
    if wanted.group is not None:
        other = select_image(opened.keys, wanted.array)
    elif opened.node is not None and first.node is not None:
        if opened.node.dimension_names == first.node.dimension_names:
            return
        other = select_image(opened.keys, wanted.array or None)
    if (other.axes != wanted.axes and not axes_told) or dict(other.scale_nm) != dict(wanted.scale_nm):
        raise InputError(
            f"{opened.keys.name} has {_listed(other)}, but {first.keys.name} has {_listed(wanted)}; all volumes of a "
            "dataset must be alike: select matching stores by a pattern in quotes, or correct their metadata."
        )


def _listed(image: Image) -> str:
    steps = ", ".join(f"{axis} {nm:g} nm" for axis, nm in image.scale_nm.items())
    return f"axes {image.axes or 'without names'} and steps {steps or 'of unknown size'}"


def _ignored(path: str, storage: StorageConfig) -> list[str]:
    """Return a note on entries of a directory that are not stores."""
    if has_magic(path, storage) or not is_collection(path, storage):
        return []
    others = [Path(item).name for item in split_entries(path, storage)[1]]
    return [f"{len(others)} entries of the directory are not zarr stores: {', '.join(others[:5])}"] if others else []


def _beyond_the_end(opened: _Opened, axes: str, path: str) -> list[str]:
    """Return a note on chunks that the shape of an array excludes; not for remote stores, which answer slowly."""
    if is_address(path):
        return []
    more = axes_with_more_chunks(opened.array, opened.keys, opened.image.array)
    return [
        f"the store has more chunks along {axes[axis]} than its stated length of {opened.array.shape[axis]}, which are "
        "not read; unless it is still being written, correct the shape in its metadata"
        for axis in more
    ]


def processing_notes(source: FrameSource) -> list[str]:
    """Return signs of processed data, from the path and from two frames of the middle volume."""
    path = Path(source.path)
    notes = []
    deskewed = "the input looks deskewed: %s; interpolation invalidates the noise model, so use the raw planes"
    if {path.name.lower(), path.parent.name.lower()} & {"ds", "dsr"} or "deskew" in path.name.lower():
        notes.append(deskewed % "its path has a name like 'deskewed'")
    if int(np.prod(source.chunks)) * np.dtype(source.dtype).itemsize > LARGE_CHUNK_BYTES:
        return notes
    planes = source.layout.planes_per_volume
    middle = source.layout.num_volumes // 2
    try:
        adu_TYX = source.read_frames(np.array([[middle, 0], [middle, planes - 1]], dtype=np.int64)[: min(planes, 2)])
    except (ChunkError, FrameValueError):
        return notes  # reported when the block is read
    if planes > 1 and not notes and has_wedge(adu_TYX):
        notes.append(deskewed % "its first and last plane are empty along opposite edges")
    if adu_TYX.dtype.kind == "f" and (adu_TYX != np.round(adu_TYX)).any():
        notes.append("values are not whole numbers, expected camera counts: the data may be filtered or calibrated")
    return notes


def _with_notes(source: FrameSource, notes: list[str]) -> FrameSource:
    return replace(source, notes=(*source.notes, *notes)) if notes else source
