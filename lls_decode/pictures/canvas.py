"""Light of emitters on a grid of pixels, as a histogram or with a Gaussian per emitter, coloured by depth.

Emitters are counted into pixels, separately for each of a few sigmas (half-octaves), and each count is blurred once at
the end. So the cost of a picture hardly depends on the number of emitters, and its memory not at all.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from lls_decode.errors import ConfigError
from lls_decode.pictures.colours import depth_colours, depth_index, tone_map

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]
Extent = tuple[tuple[float, float], tuple[float, float]]
"""Limits (first, last) of the horizontal and of the vertical axis, nm."""

MAX_PIXELS = 150_000_000
_SMALLEST_SIGMA_PX = 0.35
_LARGEST_SIGMA_PX = 16.0
LEVELS = (-3, 8)
"""Levels of the smallest and the largest sigma that are distinguished, as in `half_octave`."""


class DepthCanvas:
    """Canvas to which emitters are added piece by piece; ``image`` returns the picture."""

    def __init__(
        self,
        *,
        pixel_nm: float,
        extent_nm: Extent,
        z_range_nm: tuple[float, float],
        vertical_blur: float = 1.0,
        colours: Floats | None = None,
    ) -> None:
        """Create a dark canvas.

        ``vertical_blur`` is the ratio of the vertical to the horizontal sigma; ``colours`` has the form of
        `depth_colours`, which is the default.
        """
        (left, right), (top, bottom) = extent_nm
        if not (right > left and bottom > top and pixel_nm > 0):
            raise ConfigError(
                f"A picture from {extent_nm} nm with pixels of {pixel_nm:g} nm is empty; give larger limits."
            )
        self.pixel_nm = pixel_nm
        self.width = max(1, math.ceil((right - left) / pixel_nm))
        self.height = max(1, math.ceil((bottom - top) / pixel_nm))
        if self.width * self.height > MAX_PIXELS:
            needed = pixel_nm * math.sqrt(self.width * self.height / MAX_PIXELS)
            raise ConfigError(
                f"A picture of {self.width} x {self.height} pixels is too large; use pixels of {needed:.0f} nm, "
                "or a part of the field."
            )
        self.num_drawn = 0
        """Number of emitters inside the extent."""
        self._origin = (left, top)
        self._z_range_nm = z_range_nm
        self._vertical_blur = vertical_blur
        self._colours = (depth_colours() if colours is None else colours).astype(np.float32)
        self._light: dict[float | None, npt.NDArray[np.float32]] = {}

    def add(
        self,
        across_nm: Floats,
        down_nm: Floats,
        z_nm: Floats,
        *,
        sigma_nm: Floats | float | None = None,
        weights: Floats | None = None,
    ) -> None:
        """Add emitters at (across, down), coloured by z.

        ``sigma_nm``: one value for all (exact), one per emitter (rounded to half-octaves, 0.35 to 16 pixels), or None:
        points.
        """
        column = np.floor((across_nm - self._origin[0]) / self.pixel_nm)
        row = np.floor((down_nm - self._origin[1]) / self.pixel_nm)
        inside = (column >= 0) & (column < self.width) & (row >= 0) & (row < self.height)
        self.num_drawn += int(inside.sum())
        place = (row[inside] * self.width + column[inside]).astype(np.int64)
        colour = depth_index(z_nm[inside], self._z_range_nm)
        weight = None if weights is None else weights[inside].astype(np.float32)
        if sigma_nm is None:
            self._count(None, place, colour, weight)
            return
        if isinstance(sigma_nm, (int, float)):
            self._count(sigma_nm / self.pixel_nm, place, colour, weight)
            return
        level = half_octave(sigma_nm[inside] / self.pixel_nm)
        for value in np.unique(level):
            chosen = level == value
            self._count(
                2.0 ** (int(value) / 2), place[chosen], colour[chosen], None if weight is None else weight[chosen]
            )

    def light(self) -> npt.NDArray[np.float32]:
        """Return the linear RGB light ``(3, Y, X)`` of all emitters, blurred."""
        total = np.zeros((3, self.height, self.width), dtype=np.float32)
        for sigma_px, light in self._light.items():
            for channel in range(3):
                blurred = light[channel]
                if sigma_px is not None:
                    both = (sigma_px * self._vertical_blur, sigma_px)
                    blurred = gaussian_filter(blurred, both, mode="constant", truncate=3.5)
                total[channel] += blurred
        return total

    def image(self, *, percentile: float = 99.5, gamma: float = 0.6) -> Image:
        """Return the picture ``(Y, X, 3)`` as sRGB bytes: brightness is the density of emitters, hue their depth."""
        return tone_map(self.light(), percentile=percentile, gamma=gamma)

    def _count(
        self,
        sigma_px: float | None,
        place: npt.NDArray[np.int64],
        colour: npt.NDArray[np.int64],
        weight: npt.NDArray[np.float32] | None,
    ) -> None:
        if sigma_px not in self._light:
            self._light[sigma_px] = np.zeros((3, self.height, self.width), dtype=np.float32)
        flat = self._light[sigma_px].reshape(3, -1)
        for channel in range(3):
            light = self._colours[colour, channel]
            if weight is not None:
                light = light * weight
            if len(place) * 20 < self.width * self.height:
                np.add.at(flat[channel], place, light)  # few emitters on a large canvas
            else:
                flat[channel] += np.bincount(place, weights=light, minlength=self.width * self.height)


def half_octave(sigma_px: Floats) -> npt.NDArray[np.int64]:
    """Return each sigma, limited to 0.35 to 16 pixels, as the nearest power of the square root of 2."""
    clipped = np.clip(sigma_px, _SMALLEST_SIGMA_PX, _LARGEST_SIGMA_PX)
    level: npt.NDArray[np.int64] = np.rint(2 * np.log2(clipped)).astype(np.int64)
    return level
