"""From a path and what the user says about it to a `FrameSource`; every misunderstanding is refused here."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lls_decode.addresses import is_address, resolve_dataset
from lls_decode.config import InputConfig, PixelSize, StorageConfig
from lls_decode.errors import ChunkError, FrameValueError, InputError, StorageError
from lls_decode.frames.diagnostics.symptoms import has_wedge
from lls_decode.frames.frame_map import FrameMap
from lls_decode.frames.images import Image, image_around, read_node, select_image
from lls_decode.frames.source import FrameSource, identify, sample_chunks
from lls_decode.frames.storage.codecs import open_array
from lls_decode.frames.storage.keys import Keys, ZarrArray, open_keys
from lls_decode.frames.storage.stores import forget_listings, has_magic, is_collection, list_arrays, split_entries

MAX_CHECKED = 1000
"""Arrays of a directory whose metadata are compared before a run; each is compared again when it is read."""
MAX_CHECKED_REMOTE = 100
"""The same for a remote dataset, where each takes several requests."""
LARGE_CHUNK_BYTES = 256 << 20
_PLAIN_AXES = {2: "yx", 3: "tyx", 4: "tzyx", 5: "tczyx"}


@dataclass(frozen=True)
class _Opened:
    array: ZarrArray
    keys: Keys
    image: Image


def open_source(path: str | Path, config: InputConfig | None = None) -> FrameSource:
    """Open a zarr dataset for reading frames.

    Parameters
    ----------
    path
        A zarr v2 or v3 store (a directory, or a zip of one), a directory of per-volume stores, or a glob of them; or
        the address of one: ``s3://``, ``gs://``, ``https://`` (single stores only), ``file://``.
    config
        What the user says about axes, channel and volumes; None: everything from the metadata.

    Raises
    ------
    InputError
        The dataset is not there, or cannot be understood as volumes of planes.
    """
    config = config or InputConfig()
    path, storage = resolve_dataset(path), config.storage
    forget_listings()
    paths = list_arrays(path, storage)
    first = _open(paths[0], config.array, storage)
    _check_array(first)
    axes, notes = _axes(first, config, is_volume=is_collection(path, storage))
    if len(paths) > 1 and {"t", "z"} <= set(axes):
        raise InputError(
            f"{path} holds {len(paths)} stores, and {paths[0]} has axes {axes!r}, a whole dataset; expected one volume "
            "(z, y, x) or frame (y, x) in each, or give the path of one store."
        )
    frame_map, more = _frame_map(first.array.shape, axes, len(paths), config, where=path)
    _check_alike(paths, first, storage)
    dtype = first.array.dtype.newbyteorder("=")
    sampled = [first if i == 0 else _open_like(paths[i], first, storage) for i in (0, len(paths) // 2, len(paths) - 1)]
    node = read_node(first.keys, first.image.array)
    documents = [*(node.documents if node else ()), dict(first.image.scale_nm)]
    samples = list(
        sample_chunks([(item.array, item.keys, item.image.array) for item in sampled], frame_map.channel, axes)
    )
    scale = first.image.scale_nm
    source = FrameSource(
        path=path,
        array=first.image.array,
        layout=frame_map.layout,
        dtype=str(dtype),
        pixel_size=PixelSize(x_nm=scale["x"], y_nm=scale["y"]) if {"x", "y"} <= set(scale) else None,
        z_step_nm=scale.get("z"),
        chunks=first.array.chunks,
        shards=first.array.shards,
        notes=(*notes, *first.image.notes, *more, *_ignored(path, storage), *_chunk_notes(first.array, frame_map)),
        identity=identify(frame_map, str(dtype), documents, iter(samples)),
        frame_map=frame_map,
        description=_describe(frame_map, str(dtype), documents, grows_by_arrays=is_collection(path, storage)),
        samples=tuple(hashlib.sha256(sample).hexdigest()[:16] for sample in samples),
        storage=storage,
    )
    return _with_notes(source, _look(source))


def _describe(frame_map: FrameMap, dtype: str, documents: list[dict[str, Any]], *, grows_by_arrays: bool) -> str:
    """Digest of what stays while an acquisition grows: how values are stored and mapped, but not how many there are."""
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
    return _Opened(_open_array(keys, image.array), keys, image)


def _open_like(path: str, first: _Opened, storage: StorageConfig) -> _Opened:
    """Open another array of a dataset, at the same place of its store."""
    keys = open_keys(path, storage)
    node = read_node(keys, first.image.array)
    if node is None or not node.is_array:
        raise InputError(
            f"{path} has no array {first.image.array or 'at its root'}, {first.keys.name} has; all stores of a dataset "
            "must be alike."
        )
    return _Opened(_open_array(keys, first.image.array), keys, first.image)


def _open_array(keys: Keys, path: str) -> ZarrArray:
    try:
        return open_array(keys.open_store(), path)
    except StorageError:
        raise
    except Exception as error:  # zarr raises many kinds for metadata it does not know
        raise InputError(
            f"{keys.name}: array {path or '(root)'} cannot be opened ({type(error).__name__}: {error})."
        ) from error


def _check_array(opened: _Opened) -> None:
    array, where = opened.array, f"{opened.keys.name}, array {opened.image.array or '(root)'},"
    if array.dtype.kind not in "uif":
        raise InputError(f"{where} has values of type {array.dtype}, expected integer or real camera counts.")
    if 0 in array.shape:
        raise InputError(f"{where} is empty: its shape is {array.shape}.")


def _axes(opened: _Opened, config: InputConfig, *, is_volume: bool) -> tuple[str, list[str]]:
    """Letters of the stored axes, and what should be said about them."""
    array, image, notes = opened.array, opened.image, []
    axes = config.axes or image.axes
    where = f"{opened.keys.name} has shape {array.shape}"
    if axes is None:
        if image.problem:
            raise InputError(image.problem)
        if array.ndim not in _PLAIN_AXES:
            raise InputError(f"{where}, expected 2 to 5 dimensions; choose another array with --array.")
        axes = _PLAIN_AXES[array.ndim]
        if is_volume and array.ndim == 3:
            axes = "zyx"
        _check_guess(array, where, axes)
        notes.append(f"axes taken as {axes} from {array.ndim} dimensions (no axis names in the metadata)")
    origin = "--axes" if config.axes else "the metadata"
    if len(axes) != array.ndim:
        raise InputError(f"{where}, but {origin} say axes {axes!r}; give one letter a dimension with --axes.")
    if len(set(axes)) < len(axes) or not {"x", "y"} <= set(axes):
        raise InputError(f"{where} and axes {axes!r}; expected y and x, and t, c, z at most once each.")
    if not axes.endswith("yx"):
        notes.append(f"axes are stored as {axes}: frames are gathered from many chunks, converting will be faster")
    return axes, notes


def _check_guess(array: ZarrArray, where: str, axes: str) -> None:
    """Refuse arrays without axis names whose last two axes do not look like rows and columns of a frame."""
    if array.ndim < 3:
        return
    (*_, n, y, x), (*_, chunk_n, chunk_y, chunk_x) = array.shape, array.shards or array.chunks
    fortran = getattr(array.metadata, "order", "C") == "F"
    by_chunk = chunk_x < x and chunk_y >= y > 1 and chunk_n >= n > 1
    by_shape = n == y > 16 and x >= 3 * y
    if fortran or by_chunk or by_shape:
        why = "is stored in Fortran order" if fortran else f"in chunks of {array.chunks}"
        raise InputError(
            f"{where}, {why}, which does not look like {axes} with frames last; say what the axes are with --axes, "
            f"e.g. --axes {'yx' + axes[:-2]} if frames come first, --axes {axes} if they are last."
        )


def _frame_map(
    shape: tuple[int, ...], axes: str, num_arrays: int, config: InputConfig, *, where: str
) -> tuple[FrameMap, list[str]]:
    sizes = dict(zip(axes, shape, strict=True))
    num_z, num_c = sizes.get("z", 1), sizes.get("c", 1)
    if config.channel is None and num_c > 1:
        raise InputError(f"{where} has {num_c} channels; choose one with --channel 0 to {num_c - 1}.")
    if (config.channel or 0) >= num_c:
        raise InputError(f"{where} has {num_c} channel{'s' * (num_c > 1)}, there is no channel {config.channel}.")
    raw = config.planes_per_volume or num_z
    if {"t", "z"} <= set(axes) and raw != num_z:
        raise InputError(
            f"{where} has {num_z} planes along z in each volume, but planes_per_volume is {raw}; leave it out, or say "
            "how the array is really laid out with --axes."
        )
    if config.skip_first + config.skip_last >= raw:
        raise InputError(
            f"skip_first {config.skip_first} and skip_last {config.skip_last} leave no plane of the {raw} in each "
            f"volume of {where}; give planes_per_volume or skip fewer."
        )
    frame_map = FrameMap(
        axes=axes,
        shape=tuple(shape),
        num_arrays=num_arrays,
        channel=config.channel or 0,
        raw_planes=raw,
        skip_first=config.skip_first,
        skip_last=config.skip_last,
        bidirectional=config.bidirectional,
    )
    total = frame_map.num_raw_frames
    if total < raw:
        raise InputError(f"{where} has {total} frames, fewer than one volume of {raw}; check planes_per_volume.")
    notes = []
    if left := frame_map.num_leftover:
        notes.append(f"{left} of {total} frames at the end are no whole volume of {raw} and are not processed")
    return frame_map, notes


def _check_alike(paths: tuple[str, ...], first: _Opened, storage: StorageConfig) -> None:
    most = MAX_CHECKED_REMOTE if is_address(paths[0]) else MAX_CHECKED
    picked = np.unique(np.linspace(1, len(paths) - 1, min(len(paths) - 1, most)).astype(int))
    for i in picked:
        other = _open_like(paths[i], first, storage).array
        if (other.shape, other.dtype) != (first.array.shape, first.array.dtype):
            raise InputError(
                f"{paths[i]} has shape {other.shape} and type {other.dtype}, {paths[0]} has {first.array.shape} and "
                f"{first.array.dtype}; all volumes of a dataset must be alike."
            )


def _ignored(path: str, storage: StorageConfig) -> list[str]:
    """Entries of a directory of stores that are none."""
    if has_magic(path, storage) or not is_collection(path, storage):
        return []
    others = [Path(item).name for item in split_entries(path, storage)[1]]
    return [f"{len(others)} entries of the directory are no zarr stores: {', '.join(others[:5])}"] if others else []


def _chunk_notes(array: ZarrArray, frame_map: FrameMap) -> list[str]:
    chunk = dict(zip(frame_map.axes, array.chunks, strict=True))
    notes = []
    chunk_bytes = int(np.prod(array.chunks)) * array.dtype.itemsize
    frames = chunk.get("t", 1) * chunk.get("z", 1)
    if chunk_bytes > LARGE_CHUNK_BYTES and frames > 1:
        notes.append(
            f"one chunk holds {frames} frames ({chunk_bytes >> 20} MiB) and is decoded whole for each block; chunks of "
            "1 to 8 frames read faster"
        )
    if chunk.get("c", 1) > 1:
        notes.append(f"a chunk holds {chunk['c']} channels, all of them are decoded to use one")
    tiles = -(-frame_map.size("y") // chunk["y"]) * -(-frame_map.size("x") // chunk["x"])
    if tiles > 1:
        notes.append(f"each frame is cut into {tiles} chunks; chunks of whole frames read faster")
    return notes


def _look(source: FrameSource) -> list[str]:
    """Signs of processed data, from the path and from two frames of the middle volume."""
    path = Path(source.path)
    notes = []
    deskewed = "the input looks deskewed, %s: interpolation ruins the noise model, use the raw planes"
    if {path.name.lower(), path.parent.name.lower()} & {"ds", "dsr"} or "deskew" in path.name.lower():
        notes.append(deskewed % "its path says so")
    if int(np.prod(source.chunks)) * np.dtype(source.dtype).itemsize > LARGE_CHUNK_BYTES:
        return notes
    planes = source.layout.planes_per_volume
    middle = source.layout.num_volumes // 2
    try:
        adu_TYX = source.read_frames(np.array([[middle, 0], [middle, planes - 1]], dtype=np.int64)[: min(planes, 2)])
    except (ChunkError, FrameValueError):
        return notes  # its block will say so, when it is read
    if planes > 1 and not notes and has_wedge(adu_TYX):
        notes.append(deskewed % "its first and last plane are empty along opposite edges")
    if adu_TYX.dtype.kind == "f" and (adu_TYX != np.round(adu_TYX)).any():
        notes.append("values are not whole numbers: filtered or calibrated data, while camera counts are expected")
    return notes


def _with_notes(source: FrameSource, notes: list[str]) -> FrameSource:
    return replace(source, notes=(*source.notes, *notes)) if notes else source
