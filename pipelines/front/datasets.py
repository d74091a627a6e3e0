"""Open datasets: turn a path, an address, an array or an opened dataset into frames with a configuration."""

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
    """Frames as volumes of planes, with the configuration of the user. Created by `open_dataset`."""

    source: FrameSource
    config: RunConfig = field(default_factory=RunConfig)
    """Configuration for everything that is done with the dataset."""

    @property
    def path(self) -> str:
        """Path or address of the dataset, or the kind of array."""
        return self.source.path

    @property
    def layout(self) -> Layout:
        """Number of volumes, planes per volume, and size of a frame."""
        return self.source.layout

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Number of volumes, planes, rows (y) and columns (x)."""
        size = self.source.layout
        return size.num_volumes, size.planes_per_volume, size.height, size.width

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the pixels."""
        return np.dtype(self.source.dtype)

    @property
    def pixel_size(self) -> PixelSize | None:
        """Pixel size in the metadata; None when unknown."""
        return self.source.pixel_size

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks that a user should know about the dataset."""
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
        Path of the array inside the store; required if there are several.
    axes
        Axes of the array, e.g. ``"tzyx"``; None: taken from the metadata, else from the number of dimensions.
    channel
        Number of the channel; required if there are several.
    planes_per_volume
        Number of frames per volume of a flat stream ``(t, y, x)``.
    skip_first, skip_last
        Number of frames dropped at the beginning and at the end of each volume.
    bidirectional
        Whether odd volumes were scanned backwards.
    config
        A `RunConfig`, a dictionary (nested or with dotted keys), or the path of a YAML file. It applies to everything
        that is done with the dataset; sections (``camera``, ``detection``, ...) that are set in a later call replace
        its own. The other parameters of this function override its ``input``.

    Raises
    ------
    InputError
        The dataset does not exist, or cannot be interpreted as volumes of planes.
    ConfigError
        The configuration has an unknown key or an invalid value.
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
    """Return a dataset with a configuration.

    An opened dataset keeps its own sections of the configuration (camera, ...) that ``config`` does not set.

    Raises
    ------
    InputError
        The dataset does not exist, or cannot be interpreted as volumes of planes.
    ConfigError
        The configuration has an unknown key or an invalid value, or changes how an opened dataset is read.
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
    """Return the configuration of an opened dataset, updated with the sections that the given configuration sets."""
    if given.input not in (RunConfig().input, opened.input):
        raise ConfigError(
            "The configuration sets how the dataset is read (input), but the dataset is already open; set input where "
            "the dataset is opened."
        )
    said = {name: getattr(given, name) for name in given.model_fields_set - {"input"}}
    return opened.replace(**{name: value for name, value in said.items() if value is not None})


def is_in_memory(dataset: Dataset) -> bool:
    """Whether a dataset is held in the memory of this process, where other processes cannot access it."""
    source = dataset.source
    return isinstance(source, ArraySource) or (
        isinstance(source, StoreSource) and isinstance(source.store, MemoryStore)
    )
