"""Open arrays as datasets, read block by block like stored datasets.

An array is any object with a shape, a dtype and slicing, for instance from NumPy, Dask or HDF5. Axes, the grouping of
frames to volumes, and the checks of values are the same as for a stored dataset (`frames.mapping`, `FrameSource`).
"""

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from lls_decode.axes import Layout
from lls_decode.blocks import Block
from lls_decode.config import InputConfig
from lls_decode.errors import FrameValueError, InputError
from lls_decode.frames.identity import identify
from lls_decode.frames.mapping.frame_map import FrameMap, Slab
from lls_decode.frames.mapping.settling import map_frames
from lls_decode.frames.opening import processing_notes
from lls_decode.frames.reading.chunks import slices
from lls_decode.frames.reading.losses import Losses
from lls_decode.frames.reading.stack import Frames
from lls_decode.frames.source import FrameSource


class ArrayLike(Protocol):
    """Interface of arrays that can be used as a dataset: those of NumPy, Dask, HDF5, zarr."""

    @property
    def shape(self) -> Any:
        """Length of each axis."""

    @property
    def dtype(self) -> Any:
        """Data type of one pixel."""

    def __getitem__(self, index: Any, /) -> Any:
        """Return a part of the array."""


_AXES = {3: "tyx", 4: "tzyx", 5: "tczyx"}


@dataclass(frozen=True)
class ArraySource(FrameSource):
    """An array as volumes of planes, created by `open_array`."""

    data: Any = field(default=None, repr=False, compare=False)
    """The array; only the blocks that are read are copied or computed."""

    def cut(self, block: Block) -> tuple[Any, ...]:
        """Return the parts of the array that a block reads, as lazy slices: nothing is read or computed yet."""
        return tuple(self.data[slices(self.region(slab))] for slab in self.frame_map.slabs(block.frames))

    def holding(self, block: Block, parts: tuple[Any, ...]) -> "ArraySource":
        """Return the same dataset restricted to the parts that a block reads (see `cut`)."""
        regions = [_bounds(slices(self.region(slab))) for slab in self.frame_map.slabs(block.frames)]
        return replace(self, data=_Parts(dict(zip(regions, parts, strict=True))))

    def _read_slab(self, slab: Slab, found: Losses, *, partly: bool) -> Frames:
        return self.read_part(slab)

    def read_part(self, slab: Slab) -> Frames:
        """Return the ``(t, z, Y, X)`` pixels of a slab; no frames of an array can be lost."""
        part = self.data[slices(self.region(slab))]
        if hasattr(part, "compute"):  # Dask; conversion by NumPy would lose the mask of a masked array
            part = part.compute()
        if np.ma.is_masked(part):
            raise FrameValueError(
                f"{self.path} has masked pixels, expected camera counts in all pixels; fill the masked pixels."
            )
        return self._arrange(np.asarray(part), slab)


class _Parts:
    """Parts of an array, looked up by the index with which they were cut."""

    def __init__(self, parts: dict[tuple[tuple[int, int], ...], Any]) -> None:
        self._parts = parts

    def __getitem__(self, index: tuple[slice, ...]) -> Any:
        return self._parts[_bounds(index)]


def open_array(data: ArrayLike, config: InputConfig | None = None) -> ArraySource:
    """Open an array as a dataset with axes ``(t, y, x)``, ``(t, z, y, x)``, or those given by ``axes``.

    Raises
    ------
    InputError
        The object is not an array of camera counts, or cannot be interpreted as volumes of planes.
    """
    config = config or InputConfig()
    shape, dtype, where = _describe(data)
    if config.array is not None:
        raise InputError(f"{where} is an array by itself, but input.array is {config.array!r}; omit input.array.")
    if dtype.kind not in "uif":
        raise InputError(f"{where} has values of type {dtype}, expected integer or floating-point camera counts.")
    if 0 in shape:
        raise InputError(f"{where} is empty, expected at least one frame.")
    axes, notes = _settle_axes(shape, config, where)
    frame_map, more = map_frames(shape, axes, tuple(axes), 1, config, where=where)
    dtype = dtype.newbyteorder("=")
    source = ArraySource(
        path=where,
        array="",
        layout=frame_map.layout,
        dtype=str(dtype),
        pixel_size=None,
        z_step_nm=None,
        chunks=_chunks(data, shape, axes),
        shards=None,
        notes=(*notes, *more),
        identity="",
        frame_map=frame_map,
        description=identify(frame_map, str(dtype), ["array"], iter(())),
        data=data,
    )
    return replace(source, identity=_identify(source), notes=(*source.notes, *processing_notes(source)))


def _describe(data: Any) -> tuple[tuple[int, ...], np.dtype[Any], str]:
    """Return shape, dtype, and the name of the array in messages."""
    kind = f"{type(data).__module__.partition('.')[0]} {type(data).__name__}"
    try:
        shape, dtype = tuple(data.shape), np.dtype(data.dtype)
        _ = data.__getitem__
    except (AttributeError, TypeError):
        raise InputError(
            f"A dataset is of type {type(data).__name__}, expected the path of a zarr store, an opened dataset, or an "
            "array of NumPy, Dask or zarr."
        ) from None
    if not all(length == length for length in shape):  # NaN
        raise InputError(
            f"The {kind} has axes of unknown length: its shape is {shape}; call its compute_chunk_sizes() first."
        )
    return shape, dtype, f"{kind} of shape {shape}"


def _settle_axes(shape: tuple[int, ...], config: InputConfig, where: str) -> tuple[str, list[str]]:
    """Return the letters of the axes, and a note if they are a guess."""
    axes = config.axes
    if axes is None:
        if len(shape) not in _AXES:
            advice = "; for a single frame give array[None]" if len(shape) == 2 else ""
            raise InputError(
                f"{where} has {len(shape)} axes, expected (t, y, x), (t, z, y, x), or their names in 'axes'{advice}."
            )
        return _AXES[len(shape)], [f"axes assumed to be {_AXES[len(shape)]} from {len(shape)} dimensions"]
    if len(axes) != len(shape) or len(set(axes)) < len(axes) or not {"x", "y"} <= set(axes):
        raise InputError(
            f"{where} does not match axes {axes!r}; expected one letter per dimension, with y and x, and t, c and z at "
            "most once each."
        )
    return axes, []


def _chunks(data: Any, shape: tuple[int, ...], axes: str) -> tuple[int, ...]:
    """Return the shape that is read at a time: the array's own chunks, or else one frame."""
    found = getattr(data, "chunksize", None) or getattr(data, "chunks", None)
    if found is not None and len(found) == len(shape) and all(isinstance(size, int) for size in found):
        return tuple(found)
    return tuple(size if axis in "yx" else 1 for size, axis in zip(shape, axes, strict=True))


def _identify(source: ArraySource) -> str:
    """Return a digest of the mapping and the first, middle and last frame (for Dask, the name of the graph)."""
    name = getattr(source.data, "name", None)
    if isinstance(name, str) and hasattr(source.data, "dask"):
        return identify(source.frame_map, source.dtype, [name], iter(()))
    layout = source.layout
    frames = _frames(layout, (0, layout.num_frames // 2, layout.num_frames - 1))
    try:
        samples = [_sample(source, source.frame_map, frame) for frame in frames]
    except FrameValueError:  # reported when the block with these frames is read
        samples = []
    return identify(source.frame_map, source.dtype, ["array"], iter(samples))


def _frames(layout: Layout, numbers: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.int64]]:
    number = np.array(numbers, dtype=np.int64)
    return np.stack([number // layout.planes_per_volume, number % layout.planes_per_volume], axis=1)


def _sample(source: ArraySource, frame_map: FrameMap, frame: np.ndarray[Any, np.dtype[np.int64]]) -> bytes:
    return b"".join(source.read_part(slab).tobytes() for slab in frame_map.slabs(frame[None]))


def _bounds(index: tuple[slice, ...]) -> tuple[tuple[int, int], ...]:
    return tuple((part.start, part.stop) for part in index)
