"""What a user calls a dataset (a path or address, an array, an opened one) to frames and what is said about them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import MemoryStore

from lls_decode.axes import Layout
from lls_decode.config import InputConfig, PixelSize, RunConfig
from lls_decode.errors import ConfigError
from lls_decode.frames import FrameSource, open_source
from lls_decode.frames.handles import ArrayLike, ArraySource, StoreSource, open_array, open_zarr_node
from lls_decode.models import RunConfigLike, as_run_config


@dataclass(frozen=True, repr=False)
class Dataset:
    """Frames as volumes of planes, and what the user has said about them. Made by `open_dataset`."""

    source: FrameSource
    config: RunConfig = field(default_factory=RunConfig)
    """Used by whatever is done with the dataset."""

    @property
    def path(self) -> str:
        """Where the dataset lies, or what kind of array it is."""
        return self.source.path

    @property
    def layout(self) -> Layout:
        """Number of volumes, planes per volume, and size of a frame."""
        return self.source.layout

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Volumes, planes, rows (y), columns (x)."""
        size = self.source.layout
        return size.num_volumes, size.planes_per_volume, size.height, size.width

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of one pixel."""
        return np.dtype(self.source.dtype)

    @property
    def pixel_size(self) -> PixelSize | None:
        """Pixel size in the metadata; None when unknown."""
        return self.source.pixel_size

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about the dataset."""
        return self.source.notes

    def __repr__(self) -> str:
        size = self.layout
        return (
            f"Dataset({self.path!r}, {size.num_volumes} volumes x {size.planes_per_volume} planes of {size.height} x "
            f"{size.width} pixels (y, x), {self.dtype})"
        )


DatasetLike = Dataset | FrameSource | ArrayLike | zarr.Group | str | Path
"""A `Dataset`, a path or address, or an array: of NumPy, Dask, HDF5 or zarr."""


def open_dataset(
    path: DatasetLike,
    *,
    array: str | None = None,
    axes: str | None = None,
    channel: int | None = None,
    planes_per_volume: int | None = None,
    skip_first: int | None = None,
    skip_last: int | None = None,
    bidirectional: bool | None = None,
    config: RunConfigLike = None,
) -> Dataset:
    """Open frames: a zarr dataset by its path or address, or an array.

    Parameters
    ----------
    path
        A zarr v2 or v3 store (a folder, or a zip of one), a folder of per-volume stores, or a glob of them; the address
        of one (``s3://``, ``gs://``, ``https://``, ``file://``); or an array of NumPy, Dask, HDF5 or zarr with the axes
        ``(t, y, x)`` or ``(t, z, y, x)``, z being the planes of a volume.
    array
        Path of the array inside the store; needed when there are several.
    axes
        Axes of the array, e.g. ``"tzyx"``; None: from the metadata, else from the number of dimensions.
    channel
        Which channel; needed when there are several.
    planes_per_volume
        For a flat stream ``(t, y, x)``: how many frames make a volume.
    skip_first, skip_last
        Frames dropped at the beginning and at the end of each volume.
    bidirectional
        Odd volumes were scanned backwards.
    config
        A `RunConfig`, a dictionary (nested or with dotted keys), or the path of a YAML file: used by whatever is done
        with the dataset, apart from the parts (``camera``, ``detection``, ...) that are set there. The other parameters
        go before its ``input``.

    Raises
    ------
    InputError
        The dataset is not there, or cannot be understood as volumes of planes.
    ConfigError
        A key is unknown, or a value is impossible.
    """
    run_config = as_run_config(config)
    said = {
        "array": array,
        "axes": axes,
        "channel": channel,
        "planes_per_volume": planes_per_volume,
        "skip_first": skip_first,
        "skip_last": skip_last,
        "bidirectional": bidirectional,
    }
    changes = {name: value for name, value in said.items() if value is not None}
    if changes:
        run_config = run_config.replace(input=run_config.input.replace(**changes))
    return as_dataset(path, run_config)


def as_dataset(value: DatasetLike, config: RunConfigLike = None) -> Dataset:
    """Return a dataset with a configuration; an opened one keeps the parts (camera, ...) that ``config`` does not set.

    Raises
    ------
    InputError
        The dataset is not there, or cannot be understood as volumes of planes.
    ConfigError
        A key is unknown, a value is impossible, or an opened dataset is to be read in another way.
    """
    run_config = as_run_config(config)
    if isinstance(value, Dataset):
        return Dataset(value.source, _join(value.config, run_config))
    if isinstance(value, FrameSource):
        return Dataset(value, _join(RunConfig(), run_config))
    return Dataset(_open(value, run_config.input), run_config)


def _open(value: Any, config: InputConfig) -> FrameSource:
    if isinstance(value, str | Path):
        return open_source(value, config)
    if isinstance(value, zarr.Array | zarr.Group):
        return open_zarr_node(value, config)
    return open_array(value, config)


def _join(opened: RunConfig, given: RunConfig) -> RunConfig:
    """The configuration of an opened dataset, with the parts that another one sets in place of its own."""
    if given.input not in (RunConfig().input, opened.input):
        raise ConfigError(
            "The configuration says how the dataset is read (input), but it is open already; say it where it is opened."
        )
    said = {name: getattr(given, name) for name in given.model_fields_set - {"input"}}
    return opened.replace(**{name: value for name, value in said.items() if value is not None})


def is_in_memory(dataset: Dataset) -> bool:
    """Whether a dataset lies in the memory of this process, where no other one finds it."""
    source = dataset.source
    return isinstance(source, ArraySource) or (
        isinstance(source, StoreSource) and isinstance(source.store, MemoryStore)
    )
