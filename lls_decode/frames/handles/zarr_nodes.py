"""Open zarr arrays and groups as datasets.

Arrays in a folder or a zip file are reopened by path, so that workers can read them, too. Arrays in other stores
(memory, remote) are read through the caller's store object.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import zarr
from zarr.abc.store import RangeByteRequest, Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore, ZipStore

from lls_decode.config import InputConfig, stated_pixel_size
from lls_decode.errors import InputError
from lls_decode.frames.identity import identify, sample_chunks
from lls_decode.frames.mapping.settling import chunk_notes, map_frames, settle_axes
from lls_decode.frames.metadata.channels import channel_name
from lls_decode.frames.metadata.images import read_node, select_image
from lls_decode.frames.opening import check_shards, open_source, processing_notes, stated_angle_deg
from lls_decode.frames.source import FrameSource
from lls_decode.frames.storage.codecs import open_array
from lls_decode.frames.storage.keys import Keys, ZarrArray


class StoreKeys:
    """Access to the files of any zarr store object."""

    reads_at_once = 1

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def name(self) -> str:
        """Name of this store in messages."""
        return str(self._store)

    def size(self, key: str) -> int | None:
        """Return the size of a file in bytes; None if it does not exist."""
        try:
            return int(sync(self._store.getsize(key)))
        except FileNotFoundError:
            return None

    def read(self, key: str, start: int = 0, length: int = -1) -> bytes:
        """Return ``length`` bytes from ``start``, or all remaining bytes if ``length`` is negative."""
        part = RangeByteRequest(start, start + length) if length >= 0 else None
        found = sync(self._store.get(key, default_buffer_prototype(), part))
        if found is None:
            raise FileNotFoundError(f"{self.name} has no {key}")
        return found.to_bytes()[0 if part else start :]

    def children(self, key: str) -> list[str]:
        """Return the names of entries directly below a key."""

        async def names() -> list[str]:
            return [name async for name in self._store.list_dir(key)]

        return sorted(sync(names()))

    def ancestors(self, most: int) -> Iterator[tuple[Keys, str]]:
        """Yield nothing, because a store without a path has no parent folders."""
        yield from ()

    def open_store(self) -> Store:
        """Return the store itself."""
        return self._store


@dataclass(frozen=True)
class StoreSource(FrameSource):
    """Array in a store without a path, created by `open_zarr_node`."""

    store: Any = field(default=None, repr=False, compare=False)

    def _open(self, number: int) -> tuple[ZarrArray, Keys, str]:
        return open_array(self.store, self.array), StoreKeys(self.store), self.array


def open_zarr_node(node: "zarr.Array[Any] | zarr.Group", config: InputConfig | None = None) -> FrameSource:
    """Open a zarr array, or the image in a zarr group, as a dataset.

    Raises
    ------
    InputError
        The array cannot be interpreted as volumes of planes.
    """
    config = config or InputConfig()
    if config.array is not None and isinstance(node, zarr.Array):
        raise InputError(f"The dataset is a zarr array, but input.array is {config.array!r}; omit input.array.")
    inside = "/".join(part for part in (node.path, config.array) if part) or None
    config = config.replace(array=inside)
    store = node.store
    if isinstance(store, LocalStore):
        return open_source(store.root, config)
    if isinstance(store, ZipStore):
        return open_source(store.path, config)
    return _open_in(store, config)


def _open_in(store: Store, config: InputConfig) -> FrameSource:
    """Open an array in a store without a path as a dataset."""
    keys = StoreKeys(store)
    image = select_image(keys, config.array)
    array = open_array(store, image.array)
    where = f"{keys.name}, array {image.array or '(root)'},"
    if array.dtype.kind not in "uif":
        raise InputError(f"{where} has values of type {array.dtype}, expected integer or floating-point camera counts.")
    if 0 in array.shape:
        raise InputError(f"{where} is empty: its shape is {array.shape}.")
    check_shards(array, where)
    axes, names, notes = settle_axes(array, image, config, where=where, is_volume=False)
    frame_map, more = map_frames(array.shape, axes, names, 1, config, where=where)
    dtype, scale = str(array.dtype.newbyteorder("=")), image.scale_nm
    documents = [*(found.documents if (found := read_node(keys, image.array)) else ()), dict(scale)]
    source = StoreSource(
        path=keys.name,
        array=image.array,
        layout=frame_map.layout,
        dtype=dtype,
        pixel_size=stated_pixel_size(scale.get("x"), scale.get("y")),
        z_step_nm=scale.get("z"),
        angle_deg=stated_angle_deg(keys, image),
        channel_name=channel_name(keys, image, frame_map),
        chunks=array.chunks,
        shards=array.shards,
        notes=(*notes, *image.notes, *more, *chunk_notes(array, frame_map)),
        identity=identify(frame_map, dtype, documents, sample_chunks([(array, keys, image.array)] * 3, frame_map)),
        frame_map=frame_map,
        description=identify(frame_map, dtype, documents, iter(())),
        store=store,
    )
    return replace(source, notes=(*source.notes, *processing_notes(source)))
