"""Derivation of the frame map from the shape of an array, the names of its axes and the user's configuration."""

import numpy as np

from lls_decode.config import InputConfig
from lls_decode.errors import InputError
from lls_decode.frames.mapping.frame_map import FrameMap
from lls_decode.frames.metadata.axis_names import FRAME_AXES
from lls_decode.frames.metadata.multiscales import Image
from lls_decode.frames.storage.keys import ZarrArray

LARGE_CHUNK_BYTES = 256 << 20
_PLAIN_AXES = {2: "yx", 3: "tyx", 4: "tzyx", 5: "tczyx"}


def settle_axes(
    array: ZarrArray, image: Image, config: InputConfig, *, where: str, is_volume: bool
) -> tuple[str, tuple[str, ...], list[str]]:
    """Return the letters of the stored axes, their names, and notes about them.

    Parameters
    ----------
    array, image
        The array, and its metadata.
    config
        Configuration by the user, which takes precedence over the metadata.
    where
        Name of the array in messages.
    is_volume
        Whether the array is one of many, each a volume or a frame.

    Raises
    ------
    InputError
        The axes are unknown, or do not match the array.
    """
    axes, names, notes = config.axes or image.axes, image.names, []
    where = f"{where} has shape {array.shape}"
    if axes is None:
        if image.problem:
            raise InputError(image.problem)
        if array.ndim not in _PLAIN_AXES:
            advice = "name its axes with --axes, or " if array.ndim > max(_PLAIN_AXES) else ""
            raise InputError(f"{where}, expected 2 to 5 dimensions; {advice}choose another array with --array.")
        axes = "zyx" if is_volume and array.ndim == 3 else _PLAIN_AXES[array.ndim]
        _check_guess(array, image, where, axes)
        unnamed = "no axis names" if not image.hints else "no complete axis names"
        notes.append(f"axes assumed to be {axes} from {array.ndim} dimensions ({unnamed} in the metadata)")
    if config.axes or not names:
        names = tuple(axes)
    origin = "--axes gives" if config.axes else "the metadata give"
    if len(axes) != array.ndim:
        raise InputError(f"{where}, but {origin} axes {axes!r}; give one letter per dimension with --axes.")
    if len(set(axes)) < len(axes) or not {"x", "y"} <= set(axes):
        raise InputError(f"{where} and axes {axes!r}; expected y and x, and t, c, z at most once each.")
    if not axes.endswith("yx"):
        notes.append(f"axes are stored as {axes}: frames are gathered from many chunks; a converted copy is faster")
    return axes, names, notes


def _check_guess(array: ZarrArray, image: Image, where: str, axes: str) -> None:
    """Raise an error if guessed axes contradict known names, or their last two do not look like rows and columns."""
    hints = image.hints or (None,) * len(axes)
    if len(hints) == len(axes) and any(told not in (None, axis) for told, axis in zip(hints, axes, strict=True)):
        told = "".join(letter or "?" for letter in hints)
        raise InputError(
            f"{where}, but its metadata name only some of its axes ({told}); name the axes with --axes, one letter per "
            "dimension."
        )
    if array.ndim < 3:
        return
    fortran = getattr(array.metadata, "order", "C") == "F"
    if fortran or has_frames_last(array.shape, array.shards or array.chunks):
        why = "is stored in Fortran order" if fortran else f"in chunks of {array.chunks}"
        raise InputError(
            f"{where}, {why}, which does not look like {axes} with y and x as the last axes; name the axes with "
            f"--axes, e.g. --axes {'yx' + axes[:-2]} if y and x are first, --axes {axes} if they are last."
        )


def has_frames_last(shape: tuple[int, ...], chunks: tuple[int, ...]) -> bool:
    """Return whether the last of three axes or more looks like that of the frames, by its chunks or its length."""
    (*_, n, y, x), (*_, chunk_n, chunk_y, chunk_x) = shape, chunks
    by_chunk = chunk_x < x and chunk_y >= y > 1 and chunk_n >= n > 1
    by_shape = n == y > 16 and x >= 3 * y
    return by_chunk or by_shape


def map_frames(
    shape: tuple[int, ...], axes: str, names: tuple[str, ...], num_arrays: int, config: InputConfig, *, where: str
) -> tuple[FrameMap, list[str]]:
    """Return the map of the frames of a dataset, and notes on parts that are not read.

    Raises
    ------
    InputError
        A channel or an index along another axis must be chosen, or the configuration does not match the dataset.
    """
    sizes = dict(zip(axes, shape, strict=True))
    num_t, num_z, num_c = sizes.get("t", 1), sizes.get("z", 1), sizes.get("c", 1)
    chosen, notes = _choose(sizes, dict(zip(axes, names, strict=True)), config, where)
    if config.channel is None and num_c > 1:
        raise InputError(f"{where} has {num_c} channels; choose one with --channel 0 to {num_c - 1}.")
    if (config.channel or 0) >= num_c:
        advice = f"choose one with --channel 0 to {num_c - 1}" if num_c > 1 else "omit --channel"
        raise InputError(
            f"{where} has {num_c} channel{'s' * (num_c > 1)}, there is no channel {config.channel}; {advice}."
        )
    raw = config.planes_per_volume or num_z
    if num_t > 1 and num_z > 1 and raw != num_z:
        raise InputError(
            f"{where} has {num_z} planes along z in each volume, but planes_per_volume is {raw}; omit "
            "planes_per_volume, or give the correct axes of the array with --axes."
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
        chosen=chosen,
    )
    total = frame_map.num_raw_frames
    if total < raw:
        raise InputError(f"{where} has {total} frames, fewer than one volume of {raw}; reduce planes_per_volume.")
    if left := frame_map.num_leftover:
        notes.append(f"{left} of {total} frames at the end do not form a volume of {raw} and are not processed")
    return frame_map, notes


def _choose(
    sizes: dict[str, int], names: dict[str, str], config: InputConfig, where: str
) -> tuple[tuple[tuple[str, int], ...], list[str]]:
    """Return the selected index along each axis other than t, c, z, y and x, and notes on entries that are not read."""
    others = {axis: names[axis] for axis in sizes if axis not in FRAME_AXES}
    wanted: dict[str, int] = {}
    for name, index in config.select.items():
        axis = next((axis for axis in others if name.lower() in (axis, others[axis].lower())), None)
        if axis is None:
            raise InputError(f"{where} {_no_such_axis(name, others)}")
        wanted[axis] = index
    notes = []
    for axis, name in others.items():
        size = sizes[axis]
        if axis not in wanted and size > 1:
            raise InputError(
                f"{where} has {size} entries along axis {name!r}, expected t, c, z, y, x or a single entry; choose one "
                f"with --select {name}=0 to --select {name}={size - 1}, or name the axes with --axes."
            )
        if wanted.get(axis, 0) >= size:
            raise InputError(
                f"{where} has {size} entries along axis {name!r}, there is no entry {wanted[axis]}; choose one of 0 to "
                f"{size - 1}."
            )
        if size > 1:
            notes.append(f"axis {name!r}: entry {wanted[axis]} of {size} is read")
    return tuple((axis, wanted.get(axis, 0)) for axis in others), notes


def _no_such_axis(name: str, others: dict[str, str]) -> str:
    """Explain why no index can be selected along an axis, as the end of a sentence."""
    advice = {"c": "choose a channel with --channel", "t": "choose a part with --volumes"}.get(name.lower())
    if advice is None and name.lower() in ("z", "y", "x"):
        advice = "omit --select"
    if advice is not None:
        return f"reads axis {name!r} as part of its frames; {advice}."
    listed = ", ".join(map(repr, others.values())) or "none"
    return f"has no axis {name!r} to select from (its other axes: {listed}); correct or omit --select."


def chunk_notes(array: ZarrArray, frame_map: FrameMap) -> list[str]:
    """Return notes on chunk shapes that slow down reading."""
    chunk = dict(zip(frame_map.axes, array.chunks, strict=True))
    notes = []
    chunk_bytes = int(np.prod(array.chunks)) * array.dtype.itemsize
    frames = chunk.get("t", 1) * chunk.get("z", 1)
    if chunk_bytes > LARGE_CHUNK_BYTES and frames > 1:
        notes.append(
            f"one chunk holds {frames} frames ({chunk_bytes >> 20} MiB), all of which are decoded for each block; "
            "chunks of 1 to 8 frames read faster"
        )
    if chunk.get("c", 1) > 1:
        notes.append(f"a chunk holds {chunk['c']} channels, all of them are decoded to use one")
    for axis, _ in frame_map.chosen:
        if chunk[axis] > 1:
            notes.append(f"a chunk holds {chunk[axis]} entries along axis {axis!r}, all of them are decoded to use one")
    tiles = -(-frame_map.size("y") // chunk["y"]) * -(-frame_map.size("x") // chunk["x"])
    if tiles > 1:
        notes.append(f"each frame is divided into {tiles} chunks; chunks of whole frames read faster")
    return notes
