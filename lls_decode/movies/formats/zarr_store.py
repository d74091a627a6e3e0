"""A zarr store of any layout, local or remote, as a movie: to be copied, or stored in better chunks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lls_decode.config import InputConfig
from lls_decode.errors import InputError
from lls_decode.frames.metadata.salvage import read_missing
from lls_decode.frames.opening import open_source
from lls_decode.frames.reading.stack import Frames
from lls_decode.frames.source import FrameSource
from lls_decode.movies.accounting import Loss
from lls_decode.movies.choices import Choices
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


def open_zarr(path: str, choices: Choices) -> ZarrMovie:
    """Open a zarr store as a movie. What it lacks already is recorded again.

    Raises
    ------
    InputError
        It cannot be read as frames, has no channel of this name, or something is chosen that stores do not have.
    """
    _refuse_unused(path, choices)
    channel = None if choices.channel is None else int(choices.channel)
    source = open_source(path, InputConfig(axes=choices.axes, channel=channel))
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
        told=f"1 zarr store, {Path(path).name}, as {layout.num_frames} frames",
        losses=tuple(Loss(*item) for item in read_missing(path)),
        source_identity=source.identity,
    )


def _refuse_unused(path: str, choices: Choices) -> None:
    if choices.position is not None:
        raise InputError(f"{path} is a zarr store, it has no position {choices.position!r}; leave --position out.")
    if choices.channel is not None and not choices.channel.isdecimal():
        raise InputError(f"{path} has no channel {choices.channel!r}; give its number, from 0.")
    if choices.pattern is not None:
        raise InputError(f"{path} is one zarr store; leave --pattern out.")
    if choices.salvage or choices.allow_gaps:
        raise InputError(
            f"{path} is a zarr store, which 'convert' copies whole or not at all; leave --salvage and --allow-gaps "
            "out, and run on the store itself where some of its chunks are lost: the other frames are localized."
        )


def _reader(source: FrameSource) -> Callable[[int, int], Frames]:
    def read(start: int, stop: int) -> Frames:
        numbers = np.arange(start, stop, dtype=np.int64)
        return source.read_frames(np.stack(np.divmod(numbers, source.layout.planes_per_volume), axis=1))

    return read
