"""Creation of zarr stores in the recommended layout: OME-Zarr 0.5, whole planes in small chunks, chunks in shards.

Small inner chunks can be decoded in parallel, and reading one plane decodes few others. Shards limit the number of
files. Byte shuffle and zstd level 1 compress to within a percent of the entropy of camera noise.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from lls_decode.addresses import refuse_remote_output
from lls_decode.axes import Layout
from lls_decode.config import PixelSize
from lls_decode.errors import InputError, OutputError
from lls_decode.frames.storage.keys import ZarrArray
from lls_decode.frames.storage.stores import is_store
from lls_decode.outputs import PROGRAM, check_not_around, is_forced

SHARD_PLANES = 64
MAX_CHUNK_PLANES = 8
CHUNK_BYTES = 1 << 20
"""Approximate size up to which a chunk contains several planes."""
SHARD_BYTES = 256 << 20
"""Largest size of a shard, which limits memory because shards are written from memory."""


def create_store(
    path: str | Path,
    layout: Layout,
    *,
    dtype: str = "uint16",
    pixel_size: PixelSize | None = None,
    z_step_nm: float | None = None,
    angle_deg: float | None = None,
    name: str | None = None,
    sharded: bool = True,
    overwrite: bool = False,
    attributes: Mapping[str, Any] | None = None,
) -> ZarrArray:
    """Create an OME-Zarr 0.5 image to be filled with frames.

    Parameters
    ----------
    path
        The new store, a directory.
    layout
        Layout of the dataset; the axes are t, z, y, x, or t, y, x if a volume has one plane.
    dtype
        Data type of a pixel.
    pixel_size, z_step_nm
        Scale to store; None is stored as 1.0, which means unknown.
    angle_deg
        Angle between the light sheet and the stage travel, stored in a separate attribute because OME metadata do not
        define it.
    name
        Name of the image; None: the name of the store.
    sharded
        Whether to store several chunks per file; False: each chunk is a file.
    overwrite
        Replace an existing zarr store. Anything else at ``path`` is never replaced.
    attributes
        Further attributes of the root group, JSON values.

    Returns
    -------
    zarr.Array
        Level 0, at ``0`` in the store. Writing complete `array.shards` at a time is fastest.

    Raises
    ------
    OutputError
        ``path`` exists and may not be replaced, or it cannot be written.
    """
    path = Path(path)
    if np.dtype(dtype).kind not in "uif":
        raise InputError(f"frames of type {dtype} cannot be stored, expected integer or floating-point camera counts.")
    check_free(path, overwrite=overwrite)
    _remove(path)
    own = {
        **(attributes or {}).get("lls_decode", {}),
        **({"angle_deg": angle_deg} if angle_deg is not None else {}),
    }
    axes = "tzyx" if layout.planes_per_volume > 1 else "tyx"
    sizes = {"t": layout.num_volumes, "z": layout.planes_per_volume, "y": layout.height, "x": layout.width}
    chunks, shards = chunk_shapes(layout, np.dtype(dtype).itemsize)
    try:
        root = zarr.create_group(
            path,
            zarr_format=3,
            attributes={
                **(attributes or {}),
                **({"lls_decode": own} if own else {}),
                "written_by": PROGRAM,
                "ome": _ome(name or path.stem, axes, pixel_size, z_step_nm),
            },
        )
        return root.create_array(
            "0",
            shape=tuple(sizes[axis] for axis in axes),
            dtype=np.dtype(dtype).newbyteorder("="),
            chunks=chunks,
            shards=shards if sharded else None,
            compressors=BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"),
            dimension_names=tuple(axes),
            fill_value=0,
            config={"write_empty_chunks": True},  # so that an absent chunk always means a lost one
        )
    except OSError as error:
        raise OutputError(f"{path} cannot be created ({error.strerror}); choose a writable folder.") from error


def chunk_shapes(layout: Layout, itemsize: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of an inner chunk and of a shard, in the axes of the stored array."""
    frame_bytes = layout.height * layout.width * itemsize
    along = layout.num_volumes if layout.planes_per_volume == 1 else layout.planes_per_volume
    planes = 1
    while planes < MAX_CHUNK_PLANES and 2 * planes <= along and 2 * planes * frame_bytes <= CHUNK_BYTES:
        planes *= 2
    per_shard = max(planes, min(SHARD_PLANES, SHARD_BYTES // frame_bytes) // planes * planes)
    along_up = -(-along // planes) * planes
    pixels = (layout.height, layout.width)
    if layout.planes_per_volume == 1:
        return (planes, *pixels), (min(per_shard, along_up), *pixels)
    volumes = min(max(1, per_shard // along_up), layout.num_volumes)
    return (1, planes, *pixels), (volumes, min(per_shard, along_up), *pixels)


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raise an error if a path exists, unless it is a zarr store that the user wants to overwrite."""
    refuse_remote_output(path)
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not overwrite:
        raise OutputError(f"{path} exists; choose another name, or replace it with overwrite (--overwrite).")
    if not path.is_dir() or not is_store(path):
        raise OutputError(f"{path} is not a zarr store, so it is not overwritten; choose another name.")
    check_not_around(path)
    if not is_forced() and not _is_ours(path):
        raise OutputError(
            f"{path} is a store that was not written by lls-decode, so it may be original data; choose another name, "
            "or give --force to replace it."
        )


def _is_ours(store: Path) -> bool:
    try:
        found = zarr.open_group(store, mode="r").attrs
        return str(found.get("written_by", "")).startswith("lls_decode ") or "lls_decode" in found
    except (OSError, ValueError, KeyError, TypeError, AssertionError):  # AssertionError: an array, with zarr 3.1.0
        return False


def _remove(path: Path) -> None:
    if not path.exists():
        return
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be replaced ({error.strerror}); choose another name.") from error


def _ome(name: str, axes: str, pixel_size: PixelSize | None, z_step_nm: float | None) -> dict[str, Any]:
    """Return OME-Zarr 0.5 metadata; lengths are in nanometers, so that 1.0 can mean unknown."""
    scale = {"z": z_step_nm, "y": pixel_size and pixel_size.y_nm, "x": pixel_size and pixel_size.x_nm}
    records: list[dict[str, str]] = []
    for axis in axes:
        record = {"name": axis, "type": "time" if axis == "t" else "space"}
        records.append(record | {"unit": "nanometer"} if scale.get(axis) else record)
    transform = {"type": "scale", "scale": [float(scale.get(axis) or 1.0) for axis in axes]}
    return {
        "version": "0.5",
        "multiscales": [
            {"name": name, "axes": records, "datasets": [{"path": "0", "coordinateTransformations": [transform]}]}
        ],
    }
