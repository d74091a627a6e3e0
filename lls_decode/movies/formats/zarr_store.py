"""A zarr store of any layout, local or remote, as a movie: to be copied, or stored in better chunks."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from lls_decode.config import InputConfig
from lls_decode.errors import InputError
from lls_decode.frames.opening import open_source
from lls_decode.frames.source import Frames, FrameSource
from lls_decode.movies.movie import Movie


@dataclass(frozen=True)
class ZarrMovie(Movie):
    """Frames of a store, which knows by itself what it is."""

    source_identity: str = field(default="", kw_only=True)

    def identity(self) -> str:
        """Digest of the store's metadata and of a sample of its chunks."""
        return self.source_identity

    def times(self) -> str:
        """Nothing: a store may have millions of files."""
        return ""


def open_zarr(path: str, *, axes: str | None, channel: str | None, position: str | None) -> ZarrMovie:
    """Open a zarr store as a movie.

    Raises
    ------
    InputError
        It cannot be read as frames, or has no channel of this name.
    """
    if position is not None:
        raise InputError(f"{path} is a zarr store, it has no position {position!r}; leave it out.")
    if channel is not None and not channel.isdigit():
        raise InputError(f"{path} has no channel {channel!r}; give its number, from 0.")
    source = open_source(path, InputConfig(axes=axes, channel=None if channel is None else int(channel)))
    layout = source.layout
    return ZarrMovie(
        num_frames=layout.num_frames,
        height=layout.height,
        width=layout.width,
        dtype=np.dtype(source.dtype),
        read=_reader(source),
        files=(),
        planes=layout.planes_per_volume,
        pixel_size=source.pixel_size,
        z_step_nm=source.z_step_nm,
        notes=source.notes,
        source_identity=source.identity,
    )


def _reader(source: FrameSource) -> Callable[[int, int], Frames]:
    def read(start: int, stop: int) -> Frames:
        numbers = np.arange(start, stop, dtype=np.int64)
        return source.read_frames(np.stack(np.divmod(numbers, source.layout.planes_per_volume), axis=1))

    return read
