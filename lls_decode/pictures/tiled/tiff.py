"""TIFF files for ImageJ, written strip by strip, with pixel size and place of the picture.

Strips are used because ImageJ reads no tiles. tifffile is imported only when a file is written.
"""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lls_decode.errors import ConfigError
from lls_decode.outputs import PROGRAM

Bytes = npt.NDArray[np.uint8]

_STRIP_BYTES: Final = 1 << 20
_MOST_STRIPS: Final = 4096
_BIG_TIFF_BYTES: Final = 3 << 30
_LEVEL: Final = 6
_CENTIMETRE_NM: Final = 1e7


@dataclass(frozen=True)
class Placement:
    """Place of a picture along its two axes."""

    pixel_nm: float
    left_nm: float
    """Left edge of the first pixel."""
    top_nm: float
    """Upper edge of the first row."""
    upwards: bool
    """Whether the vertical coordinate increases from the last row to the first."""
    axes: str
    """Names of the horizontal and of the vertical axis."""

    def imagej(self) -> dict[str, Any]:
        """Return ImageJ's metadata (zero in pixels from the upper left corner), and the same as plain numbers."""
        across, down = tuple(self.axes)
        origin = {"xorigin": -self.left_nm / self.pixel_nm}
        if self.upwards:
            origin |= {"yorigin": self.top_nm / self.pixel_nm}
        else:
            origin |= {"yorigin": -self.top_nm / self.pixel_nm}
        words = {
            "pixel_nm": self.pixel_nm,
            f"first_pixel_edge_{across}_nm": self.left_nm,
            f"first_pixel_edge_{down}_nm": self.top_nm,
        }
        inverted = {"inverty": True} if self.upwards else {}
        return {"unit": "um", **{name: f"{value:.10g}" for name, value in (origin | words).items()}, **inverted}


def write_tiff(
    path: Path,
    rows: Iterable[Bytes],
    *,
    shape: tuple[int, ...],
    placement: Placement,
    labels: tuple[str, ...] = (),
    colours: npt.NDArray[np.float64] | None = None,
) -> None:
    """Write a colour picture, ``shape`` (Y, X, 3), or channels one after another, (C, Y, X).

    Parameters
    ----------
    rows
        Bytes, some rows at a time: of the last two axes of a colour picture, or the last axis of channels.
    labels, colours
        Name and sRGB colour (0 to 1) of each channel.
    """
    try:
        import tifffile
    except ImportError as error:
        raise ConfigError("TIFF pictures need tifffile; run: pip install 'lls-decode[convert]'.") from error
    in_colour = colours is None
    height, row_bytes = (shape[0], 3 * shape[1]) if in_colour else (shape[1], shape[2])
    num_rows = min(max(_STRIP_BYTES // row_bytes, -(-height // _MOST_STRIPS), 1), height)
    options: dict[str, Any] = {
        "shape": shape, "dtype": np.uint8, "photometric": "rgb" if in_colour else "minisblack", "software": PROGRAM,
        "rowsperstrip": num_rows, "compression": "zlib",
    }  # fmt: skip
    metadata = placement.imagej()
    if colours is not None:
        ramps = [np.rint(colour[:, None] * np.arange(256)).astype(np.uint8) for colour in colours]
        metadata |= {"axes": "CYX", "mode": "composite", "Labels": list(labels), "LUTs": ramps}
    strips = (zlib.compress(np.ascontiguousarray(strip).tobytes(), _LEVEL) for strip in _strips(rows, num_rows, height))
    if int(np.prod(shape)) < _BIG_TIFF_BYTES:
        per_um = 1000.0 / placement.pixel_nm
        with tifffile.TiffWriter(path, imagej=True) as file:
            file.write(strips, resolution=(per_um, per_um), metadata=metadata, **options)
        return
    per_cm = _CENTIMETRE_NM / placement.pixel_nm
    words = "\n".join(f"{name}={value}" for name, value in metadata.items() if isinstance(value, str))
    with tifffile.TiffWriter(path, bigtiff=True) as file:  # ImageJ reads it with Bio-Formats
        file.write(strips, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER", description=words, metadata=None,
                   **options)  # fmt: skip


def _strips(rows: Iterable[Bytes], num_rows: int, height: int) -> Iterator[Bytes]:
    """Give the rows in strips; each channel, of ``height`` rows, begins with a new strip."""
    waiting: list[Bytes] = []
    num_waiting, left = 0, height
    for some in rows:
        waiting.append(some)
        num_waiting += len(some)
        while num_waiting >= min(num_rows, left):
            take = min(num_rows, left)
            joined = np.concatenate(waiting)
            yield joined[:take]
            waiting, num_waiting = [joined[take:]], num_waiting - take
            left = left - take or height
            if not num_waiting:
                break
