"""Origin of a file: the coordinates of the first pixel's centre, which are subtracted from x and y."""

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError

_TWO: Final = re.compile(r"^\s*(\S+?)\s*(?:,\s*(\S+?)\s*)?(nm|px)?\s*$")


@dataclass(frozen=True)
class Origin:
    """Coordinates that a file gives to the centre of the first pixel."""

    x: float
    y: float
    unit: str = "nm"
    """``nm`` or ``px``."""

    def in_nm(self, pixel_size: PixelSize | None, *, source: object) -> tuple[float, float]:
        """Return the coordinates in nm.

        Raises
        ------
        ConfigError
            The pixel size is needed but not known.
        """
        if self.unit == "nm" or (self.x == 0 and self.y == 0):
            return self.x, self.y
        if pixel_size is None:
            raise ConfigError(
                f"{source} has the centre of the first pixel at {self}; give pixel_size (--pixel-nm) so that x and y "
                "can be moved."
            )
        return self.x * pixel_size.x_nm, self.y * pixel_size.y_nm

    def __str__(self) -> str:
        return f"{self.x:g} {self.unit}" if self.x == self.y else f"{self.x:g}, {self.y:g} {self.unit}"


CENTRE: Final = Origin(0, 0, "px")
CORNER: Final = Origin(0.5, 0.5, "px")


def read_origin(given: str | Sequence[float] | Origin) -> Origin:
    """Read ``centre``, ``corner``, or the coordinates of the first pixel's centre: ``X,Y`` in nm, or ``X,Ypx``.

    Raises
    ------
    ConfigError
        The text is none of these.
    """
    if isinstance(given, Origin):
        return given
    if isinstance(given, str):
        words = {"centre": CENTRE, "center": CENTRE, "corner": CORNER}
        if given.strip().lower() in words:
            return words[given.strip().lower()]
        found = _TWO.match(given)
        with suppress(ValueError):
            if found:
                x = float(found[1])
                y = x if found[2] is None else float(found[2])
                if math.isfinite(x) and math.isfinite(y):
                    return Origin(x, y, found[3] or "nm")
    elif len(given) == 2:
        return Origin(float(given[0]), float(given[1]))
    raise ConfigError(
        f"origin (--origin) is {given!r}; expected centre (0 is the centre of the first pixel), corner (0 is its "
        "outer corner), or the coordinates of that centre in the file: X,Y in nm, e.g. 50,50."
    )
