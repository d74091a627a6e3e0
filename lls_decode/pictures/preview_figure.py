"""Picture of a preview: detections of one volume on its raw planes.

Shape letters: ``Z`` planes, ``Y X`` pixels.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

from lls_decode.pictures.colours import depth_colours, depth_index, to_srgb
from lls_decode.pictures.figures import (
    colour_bar,
    corner_label,
    dark_figure,
    grey,
    name_above,
    save_png,
    scale_bar,
    show_image,
)

Floats = npt.NDArray[np.float64]

_PANELS = (2, 3)
"""Rows and columns of panels with single planes."""
_CROP_PX = 96
"""Side of the crop of single planes, small enough to distinguish circles and spots."""
_RADIUS_PX = 3.5
_MAIN, _SMALL, _GAP, _HEAD, _STRIP, _SIDE = 6.5, 3.1, 0.14, 0.95, 1.25, 1.05
"""Sizes of the layout in inches."""
_DIM = "#9aa0a6"


@dataclass(frozen=True)
class Spots:
    """Detections, one element each."""

    plane: npt.NDArray[np.int64]
    """Number of the plane in the stack that is drawn."""
    x_px: Floats
    y_px: Floats
    z_nm: Floats

    def select(self, chosen: npt.NDArray[Any]) -> "Spots":
        """Return the chosen detections."""
        return Spots(self.plane[chosen], self.x_px[chosen], self.y_px[chosen], self.z_nm[chosen])


def preview_figure(
    out: str | Path, adu_ZYX: npt.NDArray[Any], spots: Spots, *, title: str, pixel_nm: float, plane_word: str = "plane"
) -> None:
    """Write a PNG: maximum over planes with all detections, six planes with circles, and numbers of detections.

    Parameters
    ----------
    out
        Path of a ``.png``.
    adu_ZYX
        Raw planes in camera counts.
    spots
        Detections in these planes, drawn in the colour of their depth.
    title, plane_word
        Title, and the word for a plane (``frame`` for a movie).
    pixel_nm
        Pixel size, for the scale bars.

    Raises
    ------
    ConfigError
        matplotlib is not installed.
    """
    rows, columns = _PANELS
    wide = _GAP + _MAIN + columns * (_GAP + _SMALL) + _SIDE
    tall = _HEAD + _MAIN + _GAP + 0.35 + _STRIP
    figure = dark_figure(wide, tall)
    z_range = _z_range(spots.z_nm)
    colours = to_srgb(depth_colours().astype(np.float32))[depth_index(spots.z_nm, z_range)] / 255.0
    crop = _busiest(spots, adu_ZYX.shape[1:])

    def place(left: float, top: float, width: float, height: float) -> Any:
        return figure.add_axes((left / wide, 1 - (top + height) / tall, width / wide, height / tall))

    axes = place(_GAP, _HEAD, *_fitted(adu_ZYX.shape[1:], _MAIN))
    _draw_all(axes, adu_ZYX, spots, colours, crop, pixel_nm)
    name_above(axes, f"brightest of {len(adu_ZYX)} {plane_word}s, all {len(spots.plane):,} detections")
    limits = (float(np.percentile(adu_ZYX, 1)), float(np.percentile(adu_ZYX, 99.7)))
    pitch = (_MAIN - (rows - 1) * 0.35) / rows
    for number, plane in enumerate(_choose_planes(spots, len(adu_ZYX), rows * columns)):
        row, column = divmod(number, columns)
        left, top = 2 * _GAP + _MAIN + column * (_GAP + _SMALL), _HEAD + row * (pitch + 0.35)
        axes = place(left, top, *_fitted((crop[0].stop - crop[0].start, crop[1].stop - crop[1].start), pitch))
        found = _draw_plane(axes, adu_ZYX, spots, colours, plane, crop, limits)
        name_above(axes, f"{plane_word} {plane}: {found} detection{'s' * (found != 1)}")
        if number == 0:
            scale_bar(axes, pixel_nm)
    _draw_strip(place(_GAP + 0.45, _HEAD + _MAIN + _GAP, wide - _SIDE - 0.7, _STRIP), spots, len(adu_ZYX), plane_word)
    colour_bar(figure, ((wide - _SIDE + 0.25) / wide, 1 - (_HEAD + 4.5) / tall, 0.14 / wide, 3.6 / tall), z_range)
    figure.text(_GAP / wide, 1 - 0.14 / tall, title, color="white", fontsize=14, va="top", weight="bold")
    save_png(figure, Path(out))


def _draw_all(
    axes: Any, adu_ZYX: npt.NDArray[Any], spots: Spots, colours: Floats, crop: tuple[slice, slice], pixel_nm: float
) -> None:
    """Draw the maximum over the planes, a dot for each detection, and a frame around the crop of the small panels."""
    from matplotlib.patches import Rectangle

    show_image(axes, grey(adu_ZYX.max(axis=0)))
    dot = float(np.clip(300 / np.sqrt(max(len(spots.plane), 1)), 3, 20))
    axes.scatter(spots.x_px, spots.y_px, s=dot, c=colours, linewidths=0, alpha=0.85)
    rows, columns = crop
    size = (columns.stop - columns.start, rows.stop - rows.start)
    if size != adu_ZYX.shape[:0:-1]:
        corner = (columns.start - 0.5, rows.start - 0.5)
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", linewidth=1, linestyle="--"))
    scale_bar(axes, pixel_nm)


def _draw_plane(
    axes: Any,
    adu_ZYX: npt.NDArray[Any],
    spots: Spots,
    colours: Floats,
    plane: int,
    crop: tuple[slice, slice],
    limits: tuple[float, float],
) -> int:
    """Draw one plane with a circle around each of its detections, and return their number."""
    from matplotlib.collections import EllipseCollection

    rows, columns = crop
    show_image(axes, grey(adu_ZYX[plane][crop], limits))
    inside = (
        (spots.plane == plane)
        & (np.abs(spots.x_px - (columns.start + columns.stop - 1) / 2) <= (columns.stop - columns.start) / 2)
        & (np.abs(spots.y_px - (rows.start + rows.stop - 1) / 2) <= (rows.stop - rows.start) / 2)
    )
    here = spots.select(inside)
    centres = np.stack([here.x_px - columns.start, here.y_px - rows.start], axis=1)
    size = np.full(len(centres), 2 * _RADIUS_PX)
    circles = EllipseCollection(
        size, size, np.zeros(len(centres)), units="xy", offsets=centres, offset_transform=axes.transData,
        facecolors="none", edgecolors=colours[inside], linewidths=1.1,
    )  # fmt: skip
    axes.add_collection(circles)
    return int(inside.sum())


def _draw_strip(axes: Any, spots: Spots, num_planes: int, plane_word: str) -> None:
    """Draw the number of detections in each plane, which reveals volumes with empty ends and unusual planes."""
    counts = np.bincount(spots.plane, minlength=num_planes)
    axes.bar(np.arange(num_planes), counts, width=0.85, color="#6ea8d8")
    axes.set_xlim(-0.7, num_planes - 0.3)
    axes.set_facecolor("black")
    axes.tick_params(colors=_DIM, labelsize=9)
    axes.locator_params(axis="y", nbins=3, integer=True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#303438")
    corner_label(axes, f"detections in each {plane_word}")


def _fitted(shape: tuple[int, ...], side: float) -> tuple[float, float]:
    """Return width and height of a picture that fits into a square."""
    height, width = shape[-2:]
    return side * width / max(width, height), side * height / max(width, height)


def _z_range(z_nm: Floats) -> tuple[float, float]:
    low, high = np.percentile(z_nm, [2, 98]) if len(z_nm) else (0.0, 0.0)
    return (float(low), float(high)) if high > low else (float(low) - 1, float(low) + 1)


def _busiest(spots: Spots, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return rows and columns of the crop with most detections."""
    height, width = (min(_CROP_PX, size) for size in shape)
    counts, _, _ = np.histogram2d(spots.y_px, spots.x_px, bins=shape, range=[(-0.5, size - 0.5) for size in shape])
    dense = uniform_filter(counts, (height, width), mode="constant")
    y, x = np.unravel_index(int(dense.argmax()), dense.shape)
    top, left = (
        int(np.clip(at - s // 2, 0, full - s)) for at, s, full in zip((y, x), (height, width), shape, strict=True)
    )
    return slice(top, top + height), slice(left, left + width)


def _choose_planes(spots: Spots, num_planes: int, number: int) -> list[int]:
    """Return planes that are spread over those with detections, or over all planes."""
    middles = (np.arange(number) + 0.5) / number
    wanted = np.quantile(spots.plane, middles) if len(spots.plane) >= number else middles * (num_planes - 1)
    chosen = np.unique(np.rint(wanted).astype(int))
    rest = [plane for plane in range(num_planes) if plane not in chosen]
    return sorted([*chosen.tolist(), *rest[: max(0, number - len(chosen))]])[:number]
