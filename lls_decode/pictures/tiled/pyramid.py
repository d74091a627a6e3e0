"""Pictures of any size as pyramids that viewers open at once: OME-Zarr 0.5, and OME-TIFF made from it.

Every level has half as many pixels along each axis as the level before; each pixel is the mean of those that it covers,
so a place has the same brightness at every level. Levels are padded with darkness, so that nothing is lost at odd
sizes. Levels are made tile by tile; tiles without light are neither read nor written.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from lls_decode.errors import ConfigError
from lls_decode.outputs import PROGRAM
from lls_decode.pictures.colours import channel_colours, to_srgb
from lls_decode.pictures.tiled.tiles import Light, Shape

TILE: Final[dict[bool, Shape]] = {False: (1, 2048, 2048), True: (64, 256, 256)}
"""Size of a tile, which is drawn at once and is one file of a store, for pictures (False) and volumes (True)."""
_CHUNK: Final[dict[bool, Shape]] = {False: (1, 512, 512), True: (64, 64, 64)}
_TIFF_TILE: Final = 512
_BIG_TIFF_BYTES: Final = 1 << 31
_BRIGHTEST: Final = 0.005
"""Share of the lit pixels that a viewer shows as white."""
_PIXELS_OF_A_TILE: Final = 1024
"""Number of pixels in each tile from which this brightness is estimated."""

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Grid:
    """Layout of the pixels of a picture or a volume."""

    shape: Shape
    """Z Y X; Z is 1 for a picture."""
    pixel_nm: tuple[float, float, float]
    origin_nm: tuple[float, float, float]
    """Lower edges of the first pixel."""
    axes: str
    """Names of the stored axes: all three for a volume, two for a picture, preceded by ``c`` for several channels,
    which then take the place of planes."""

    @property
    def has_channels(self) -> bool:
        """Whether several channels are stored."""
        return self.axes.startswith("c")

    @property
    def is_volume(self) -> bool:
        """Whether planes are stored."""
        return len(self.axes) == 3 and not self.has_channels

    @property
    def num_channels(self) -> int:
        """Number of channels; 1 if they are not separated."""
        return self.shape[0] if self.has_channels else 1

    def levels(self) -> list[tuple[Shape, Shape]]:
        """Return the shape of each level, and its pixel size in pixels of the first level, down to a single chunk."""
        chunk = _CHUNK[self.is_volume]
        levels = [(self.shape, (1, 1, 1))]
        first = 1 if self.has_channels else 0
        while any(size > edge for size, edge in zip(levels[-1][0][first:], chunk[first:], strict=True)):
            shape, factor = levels[-1]
            halved = [(-(-size // 2), by * 2) if size > 1 and axis >= first else (size, by)
                      for axis, (size, by) in enumerate(zip(shape, factor, strict=True))]  # fmt: skip
            (z, by_z), (y, by_y), (x, by_x) = halved
            levels.append(((z, y, x), (by_z, by_y, by_x)))
        return levels


def write_ome_zarr(
    path: Path, grid: Grid, tiles: Iterable[tuple[Box, Light]], *, name: str, channels: Sequence[str] = ()
) -> None:
    """Write a picture tile by tile (each a box of `TILE`, Z Y X) and its smaller levels as OME-Zarr 0.5, float32.

    The scale of each level is in nanometers, its translation is that of its first pixel's centre. The range of
    brightness, and names and colours of ``channels``, are stored for viewers (``omero``).
    """
    root = zarr.create_group(path, zarr_format=3, attributes={"written_by": PROGRAM})
    brightness = [_Brightness() for _ in range(grid.num_channels)]
    levels = grid.levels()
    arrays = [_create_level(root, str(number), shape, grid) for number, (shape, _) in enumerate(levels)]
    tile = TILE[grid.is_volume]
    lit: set[Shape] = set()
    for box, light_ZYX in tiles:
        arrays[0][_stored(box, grid)] = _as_stored(light_ZYX, grid)
        brightness[box[0].start if grid.has_channels else 0].add(light_ZYX)
        z, y, x = (part.start // size for part, size in zip(box, tile, strict=True))
        lit.add((z, y, x))
    shown = [
        bright.channel(label, colour)
        for bright, label, colour in zip(brightness, channels or [name], hex_colours(grid.num_channels), strict=True)
    ]
    root.attrs["ome"] = {**_ome(grid, name), "omero": {"channels": shown}}
    for (_, below), (shape, factor), source, target in zip(levels, levels[1:], arrays, arrays[1:], strict=False):
        by = [now // before for now, before in zip(factor, below, strict=True)]
        lit = {(z // by[0], y // by[1], x // by[2]) for z, y, x in lit}
        for place in sorted(lit):
            z, y, x = (
                slice(number * size, min((number + 1) * size, end))
                for number, size, end in zip(place, tile, shape, strict=True)
            )
            finer = (_times(z, by[0]), _times(y, by[1]), _times(x, by[2]))
            light = np.asarray(source[_stored(finer, grid)])
            means = halved(light if len(grid.axes) == 3 else light[None], (by[0], by[1], by[2]))
            target[_stored((z, y, x), grid)] = _as_stored(means, grid)


class _Brightness:
    """Initial range of brightness for viewers, from some pixels of each tile."""

    def __init__(self) -> None:
        self._max = 0.0
        self._some: list[Light] = []

    def add(self, light_ZYX: Light) -> None:
        lit = light_ZYX[light_ZYX > 0]
        self._max = max(self._max, float(lit.max(initial=0.0)))
        self._some.append(lit[:: max(1, len(lit) // _PIXELS_OF_A_TILE)])

    def channel(self, name: str, colour: str) -> dict[str, Any]:
        some = np.concatenate([np.zeros(1, np.float32), *self._some])
        window = {"min": 0.0, "max": self._max, "start": 0.0, "end": float(np.quantile(some, 1 - _BRIGHTEST))}
        return {"label": name, "color": colour, "active": True, "window": window}


def hex_colours(number: int) -> list[str]:
    """Return the colours of channels for viewers, RRGGBB; white for a single channel."""
    if number == 1:
        return ["FFFFFF"]
    return [to_srgb(colour.astype(np.float32)).tobytes().hex().upper() for colour in channel_colours(number)]


def halved(light_ZYX: Light, by: Shape) -> Light:
    """Return means over ``by`` (1 or 2) pixels along each axis; darkness is added at the end of odd axes."""
    missing = [(0, -size % step) for size, step in zip(light_ZYX.shape, by, strict=True)]
    padded = np.pad(light_ZYX, missing) if any(end for _, end in missing) else light_ZYX
    total = padded[:: by[0], :: by[1], :: by[2]].copy()
    for z, y, x in itertools.product(range(by[0]), range(by[1]), range(by[2])):
        if (z, y, x) != (0, 0, 0):
            total += padded[z :: by[0], y :: by[1], x :: by[2]]
    return np.asarray(total / np.float32(by[0] * by[1] * by[2]), dtype=np.float32)


def write_ome_tiff(path: Path, store: Path, grid: Grid, *, channels: Sequence[str] = ()) -> None:
    """Copy a picture (2-D) of `write_ome_zarr` to a tiled OME-TIFF with the same levels (SubIFDs).

    The position of its plane is that of the first pixel's centre, like the translation of an OME-Zarr.
    """
    try:
        import tifffile
    except ImportError as error:
        raise ConfigError("TIFF pictures need tifffile; run: pip install 'lls-decode[convert]'.") from error
    levels = grid.levels()
    root = zarr.open_group(store, mode="r")
    num_bytes = sum(4 * math.prod(shape) for shape, _ in levels)
    _, pixel_y, pixel_x = grid.pixel_nm
    options: dict[str, Any] = {
        "dtype": np.float32, "tile": (_TIFF_TILE, _TIFF_TILE), "photometric": "minisblack", "compression": "zlib",
        "resolutionunit": "CENTIMETER",
    }  # fmt: skip
    with tifffile.TiffWriter(path, ome=True, bigtiff=num_bytes > _BIG_TIFF_BYTES) as file:
        for number, (shape, factor) in enumerate(levels):
            file.write(
                _tiff_tiles(root[str(number)], shape),
                shape=shape if grid.has_channels else shape[1:],
                resolution=(1e7 / (pixel_x * factor[2]), 1e7 / (pixel_y * factor[1])),
                metadata=_ome_tiff(grid, channels) if number == 0 else None,
                subifds=len(levels) - 1 if number == 0 else 0,
                subfiletype=0 if number == 0 else 1,
                software=PROGRAM,
                **options,
            )


def _ome_tiff(grid: Grid, channels: Sequence[str]) -> dict[str, Any]:
    """Return the metadata that tifffile writes as OME-XML."""
    num, (_, pixel_y, pixel_x), (_, top, left) = grid.num_channels, grid.pixel_nm, grid.origin_nm
    found = {
        "axes": "CYX" if grid.has_channels else "YX",
        "PhysicalSizeX": pixel_x, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": pixel_y, "PhysicalSizeYUnit": "nm",
        "Plane": {
            "PositionX": [left + pixel_x / 2] * num, "PositionXUnit": ["nm"] * num,
            "PositionY": [top + pixel_y / 2] * num, "PositionYUnit": ["nm"] * num,
        },
    }  # fmt: skip
    if grid.has_channels:
        colours = [int.from_bytes(bytes.fromhex(f"{colour}FF"), "big", signed=True) for colour in hex_colours(num)]
        found["Channel"] = {"Name": list(channels), "Color": colours}
    return found


def _create_level(root: zarr.Group, name: str, shape: Shape, grid: Grid) -> "zarr.Array[Any]":
    first = 3 - len(grid.axes)
    return root.create_array(
        name,
        shape=shape[first:],
        dtype=np.float32,
        chunks=_CHUNK[grid.is_volume][first:],
        shards=TILE[grid.is_volume][first:],
        compressors=BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"),
        dimension_names=tuple(grid.axes),
        fill_value=0,
    )


def _ome(grid: Grid, name: str) -> dict[str, Any]:
    first = 3 - len(grid.axes)
    datasets = []
    for number, (_, factor) in enumerate(grid.levels()):
        scale = [size * by for size, by in zip(grid.pixel_nm, factor, strict=True)][first:]
        centre = [edge + size / 2 for edge, size in zip(grid.origin_nm[first:], scale, strict=True)]
        if grid.has_channels:
            scale[0], centre[0] = 1.0, 0.0
        transforms = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": centre}]
        datasets.append({"path": str(number), "coordinateTransformations": transforms})
    space = {"type": "space", "unit": "nanometer"}
    axes = [{"name": axis, **({"type": "channel"} if axis == "c" else space)} for axis in grid.axes]
    return {
        "version": "0.5",
        "multiscales": [{"name": name, "type": "mean", "axes": axes, "datasets": datasets}],
    }


def _stored(box: Box, grid: Grid) -> tuple[slice, ...]:
    return box[3 - len(grid.axes) :]


def _as_stored(light_ZYX: Light, grid: Grid) -> Light:
    return light_ZYX if len(grid.axes) == 3 else np.asarray(light_ZYX[0])


def _times(part: slice, by: int) -> slice:
    return slice(part.start * by, part.stop * by)


def _tiff_tiles(level: Any, shape: Shape) -> Iterator[Light]:
    """Give the tiles of a level, channel by channel and row by row; the last ones are padded with darkness."""
    num, height, width = shape
    steps = range(num), range(0, height, _TIFF_TILE), range(0, width, _TIFF_TILE)
    for channel, top, left in itertools.product(*steps):
        part = (slice(top, top + _TIFF_TILE), slice(left, left + _TIFF_TILE))
        light = np.asarray(level[(channel, *part) if level.ndim == 3 else part])
        yield np.pad(light, [(0, _TIFF_TILE - size) for size in light.shape])
