"""Plan of a drawing: what is drawn, on which pixels, decided before reading all rows.

For pictures and pyramids alike.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import numpy as np

from lls_decode.errors import ConfigError
from lls_decode.pictures.canvas import LEVELS, Extent, Floats, half_octave
from lls_decode.pictures.extent import LeftOut
from lls_decode.pictures.survey import AskedExtent, Survey, nothing_left, survey_table
from lls_decode.pictures.tiled.pyramid import TILE, Grid
from lls_decode.pictures.tiled.tiles import Integers, Tiling, reach_px
from lls_decode.pictures.view import AXES, Colour, Limits, Piece, View, ViewedTable
from lls_decode.table.depth import has_depth
from lls_decode.table.files import folder_beside, output_error

Mode = Literal["gaussian", "histogram"]
_MOST_SIGMA_PX: Final = 1000.0
"""Largest sigma that is drawn, in pixels; time grows with it, and such a picture shows nothing."""


@dataclass(frozen=True)
class Rendering:
    """Summary of a rendered picture."""

    file_name: str
    num_drawn: int
    """Number of emitters in the picture."""
    num_filtered: int
    """Number of emitters excluded by the view."""
    num_outside: int
    """Number of emitters left out because they lie outside the extent, or have no position."""
    coords: Literal["raw", "sample"]
    extent_nm: Extent
    colour_range: Limits | None
    """Values of the first and last colour; None: no colours."""
    shape: tuple[int, ...] = ()
    """Shape in pixels: (Y, X), or (Z, Y, X) of a volume."""
    pixel_nm: float = 0.0
    channels: tuple[str, ...] = ()
    """Names of the channels that are drawn separately, in order; empty: not separated."""
    notes: tuple[str, ...] = ()
    """Notes for the user: rows that were left out, channels that were drawn together."""


class Drawing:
    """A table together with the pixels on which it is drawn."""

    def __init__(
        self,
        source: ViewedTable,
        survey: Survey,
        grid: Grid,
        *,
        sigmas_px: list[tuple[float, float]],
        own_sigma: bool,
        colour: Colour,
    ) -> None:
        """Take a surveyed table. ``own_sigma``: each emitter has its own sigma; ``colour``: what hue stands for."""
        self.source = source
        self.survey = survey
        self.grid = grid
        self.sigmas_px = sigmas_px
        self.colour: Colour = colour
        self._own_sigma = own_sigma
        self._left_out = LeftOut()
        self._num_seen = 0

    @property
    def pixel_nm(self) -> float:
        """Side of a pixel."""
        return self.grid.pixel_nm[2]

    @property
    def upwards(self) -> bool:
        """Whether the vertical axis of a colour picture is z, which then points upwards."""
        return AXES[self.source.view.projection][1] == "z"

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels that are drawn separately; empty: all emitters are drawn together."""
        return self.survey.channels if self.colour == "channel" else ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of `channels`."""
        return tuple(self.source.channel_label(number) for number in self.channels)

    @cached_property
    def tiling(self) -> Tiling:
        """Tiles of the picture, with margins as wide as the widest Gaussian reaches.

        There is no margin along an axis with one tile.
        """
        reach = [0, *(max((reach_px(pair[axis]) for pair in self.sigmas_px), default=0) for axis in (0, 1))]
        largest = TILE[self.grid.is_volume]
        z, y, x = (min(size, tile) for size, tile in zip(self.grid.shape, largest, strict=True))
        margin = [0 if size <= tile else px
                  for size, tile, px in zip(self.grid.shape, largest, reach, strict=True)]  # fmt: skip
        return Tiling(self.grid.shape, (z, y, x), (margin[0], margin[1], margin[2]))

    def pieces(self) -> Iterator[Piece]:
        """Give the emitters in view, one row group after another, and count those that are left out.

        Raises
        ------
        TableError
            There are none.
        """
        axes = AXES[self.source.view.projection][: 3 if self.grid.is_volume else 2]
        for piece in self.source.pieces():
            self._num_seen += len(piece)
            places = tuple(piece.position_nm[axis] for axis in axes)
            self._left_out.look(places, (*self.extent_nm, *([self._deep_nm] if self.grid.is_volume else [])))
            yield piece
        if not self._num_seen:
            raise nothing_left(self.source)

    def pixels(self, piece: Piece) -> list[Floats]:
        """Return the pixel (Z, Y, X) of each emitter as whole numbers.

        Z is the channel if channels are stored separately.
        """
        horizontal, vertical, normal = AXES[self.source.view.projection]
        pixels = [
            np.floor((piece.position_nm[axis] - origin) / size)
            for axis, origin, size in zip(
                (normal, vertical, horizontal), self.grid.origin_nm, self.grid.pixel_nm, strict=True
            )
        ]
        if self.grid.is_volume:
            return pixels
        plane = np.zeros(len(piece))
        if self.grid.has_channels:
            plane = np.searchsorted(np.array(self.channels), piece.channel).astype(np.float64)
        return [plane, *pixels[1:]]

    def levels(self, piece: Piece) -> Integers | None:
        """Return the number of each emitter's sigma in `sigmas_px`; None: the first one for all."""
        if not self._own_sigma:
            return None
        horizontal = AXES[self.source.view.projection][0]
        return half_octave(piece.sigma_nm[horizontal] / self.pixel_nm) - LEVELS[0]

    @property
    def extent_nm(self) -> Extent:
        """Limits of the picture, at the outer edges of its pixels."""
        (_, height, width), (_, y_nm, x_nm) = self.grid.shape, self.grid.origin_nm
        return (x_nm, x_nm + width * self.pixel_nm), (y_nm, y_nm + height * self.pixel_nm)

    @property
    def _deep_nm(self) -> Limits:
        low, size = self.grid.origin_nm[0], self.grid.pixel_nm[0]
        return low, low + self.grid.shape[0] * size

    def rendering(self, out: Path, num_drawn: int, *, colour_range: Limits | None = None) -> Rendering:
        """Return the summary of the picture, after everything is drawn."""
        return Rendering(
            file_name=out.name,
            num_drawn=num_drawn,
            num_filtered=self.source.num_rows - self._num_seen,
            num_outside=self._num_seen - num_drawn,
            coords=self.source.coords,
            extent_nm=self.extent_nm,
            colour_range=colour_range,
            shape=self.grid.shape if self.grid.is_volume else self.grid.shape[1:],
            pixel_nm=self.pixel_nm,
            channels=self.labels,
            notes=tuple(self._notes(colour_range)),
        )

    def _notes(self, colour_range: Limits | None) -> Iterator[str]:
        horizontal, vertical, normal = AXES[self.source.view.projection]
        left_out = self._left_out
        if left_out.num_beyond:
            axes = (horizontal, vertical, normal)
            some = "; ".join(
                ", ".join(f"{axis} {place:.0f} nm" for axis, place in zip(axes, places, strict=False))
                for places in left_out.examples
            )
            more = "; ..." if left_out.num_beyond > len(left_out.examples) else ""
            yield (
                f"left out {_rows(left_out.num_beyond)} beyond the limits of the picture, at {some}{more}; "
                "--extent all draws all"
            )
        if left_out.num_nowhere:
            yield f"left out {_rows(left_out.num_nowhere)} with a coordinate that is not finite"
        found, usual = (limits.get("z") for limits in (self.survey.found_nm, self.survey.usual_nm))
        if colour_range is not None and self.colour == "depth" and found != usual and usual is not None:
            yield (
                f"depths range from {found[0]:.0f} to {found[1]:.0f} nm, of which few are beyond {usual[0]:.0f} to "  # type: ignore[index]
                f"{usual[1]:.0f} nm; those have the colours of the ends"
            )
        if len(self.survey.channels) > 1 and self.colour != "channel":
            names = ", ".join(self.source.channel_label(number) for number in self.survey.channels)
            yield f"the channels ({names}) are drawn together; --colour channel separates them, --channel N draws one"


def _rows(number: int) -> str:
    return f"{number} localization{'' if number == 1 else 's'}"


def plan_drawing(
    table: str | Path,
    view: View,
    *,
    pixel_nm: float,
    mode: Mode,
    blur_nm: float | None,
    colour: Colour | None,
    extent_nm: AskedExtent,
    z_pixel_nm: float | None = None,
    channels_apart: bool = False,
) -> Drawing:
    """Survey a table, and choose the pixels on which it is drawn.

    Parameters
    ----------
    colour
        What hue stands for; None: channels if the table has several, else depth, or nothing in a table without depth.
    channels_apart
        Whether channels are stored separately, along the first axis of the grid.

    Raises
    ------
    ConfigError
        The table is two-dimensional, but depth is to be drawn or to select rows.
    """
    source = ViewedTable(table, view, colour=colour or "depth")
    usual: Colour = "depth"
    if source.coords == "raw" and not has_depth(table):
        _check_flat(Path(table), view, colour, z_pixel_nm)
        usual, source = "none", ViewedTable(table, view, colour=colour or "none")
    needs_sigma = mode == "gaussian" or not channels_apart
    survey = survey_table(source, needs_sigma=needs_sigma, needs_normal=z_pixel_nm is not None)
    if colour is None:
        colour = "channel" if len(survey.channels) > 1 else usual
    apart = survey.channels if channels_apart and colour == "channel" else ()
    if apart and z_pixel_nm is not None:
        raise ConfigError(
            f"{table} has several channels ({', '.join(map(str, apart))}), but a volume shows one; choose it with "
            "--channel."
        )
    return Drawing(
        source,
        survey,
        _grid(survey, view, pixel_nm, z_pixel_nm, extent_nm, num_channels=len(apart)),
        sigmas_px=_sigmas_px(survey, mode, blur_nm, pixel_nm),
        own_sigma=mode == "gaussian" and blur_nm is None,
        colour=colour,
    )


def _check_flat(table: Path, view: View, colour: Colour | None, z_pixel_nm: float | None) -> None:
    """Refuse to draw the depth of a two-dimensional table, or to select rows by it."""
    asked = [
        words
        for words, is_asked in (
            (f"view {view.projection} (--view)", "z" in AXES[view.projection][:2]),
            ("a range of z (--z-nm)", view.z_nm is not None),
            ("depth as colour (--colour)", colour == "depth"),
            ("a volume (--z-pixel-nm)", z_pixel_nm is not None),
        )
        if is_asked
    ]
    if asked:
        raise ConfigError(f"{table} is two-dimensional and has no positions along z; omit {' and '.join(asked)}.")


def check_mode(mode: Mode, blur_nm: float | None) -> None:
    """Refuse a blur together with a histogram, and a blur that is not above 0."""
    if blur_nm is not None and (mode == "histogram" or not blur_nm > 0):
        raise ConfigError(f"A blur of {blur_nm:g} nm makes no {mode}; omit it, or give a sigma above 0 for gaussian.")


@contextmanager
def scratch(out: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``out``; errors of the disk become one sentence."""
    try:
        with folder_beside(out) as folder:
            yield folder
    except OSError as error:
        raise output_error(out, error) from error


def _grid(
    survey: Survey,
    view: View,
    pixel_nm: float,
    z_pixel_nm: float | None,
    extent_nm: AskedExtent,
    *,
    num_channels: int,
) -> Grid:
    horizontal, vertical, normal = AXES[view.projection]
    across, down = survey.extent(extent_nm, pixel_nm)
    deep = (0.0, 1.0)
    if z_pixel_nm is not None:
        deep = survey.limits(normal, z_pixel_nm, with_strays=extent_nm == "all")
    sizes = (z_pixel_nm or 1.0, pixel_nm, pixel_nm)
    shape = [math.ceil((high - low) / size) if size > 0 else 0
             for (low, high), size in zip((deep, down, across), sizes, strict=True)]  # fmt: skip
    if min(shape) < 1:
        raise ConfigError(
            f"A picture of {shape[2]} x {shape[1]} pixels of {pixel_nm:g} nm is empty; give larger limits."
        )
    axes = vertical + horizontal
    if z_pixel_nm is not None:
        axes = normal + axes
    elif num_channels:
        axes = "c" + axes
    return Grid(
        shape=(num_channels or shape[0], shape[1], shape[2]),
        pixel_nm=sizes,
        origin_nm=(deep[0], down[0], across[0]),
        axes=axes,
    )


def _sigmas_px(survey: Survey, mode: Mode, blur_nm: float | None, pixel_nm: float) -> list[tuple[float, float]]:
    """Return the sigmas (along Y, along X) of all Gaussians that are drawn; none for points."""
    if mode == "histogram":
        return []
    if blur_nm is not None and blur_nm > _MOST_SIGMA_PX * pixel_nm:
        raise ConfigError(
            f"A blur of {blur_nm:g} nm is {blur_nm / pixel_nm:.0f} pixels wide, expected at most {_MOST_SIGMA_PX:.0f}; "
            "use larger pixels, or a smaller blur."
        )
    if blur_nm is not None:
        return [(blur_nm / pixel_nm, blur_nm / pixel_nm)]
    widest = int(half_octave(np.array([survey.sigma_max_nm / pixel_nm]))[0])
    return [
        (2.0 ** (level / 2) * survey.vertical_blur, 2.0 ** (level / 2)) for level in range(LEVELS[0], widest + 1)
    ]  # fmt: skip
