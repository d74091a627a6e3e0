"""Conversion of lengths from the units used in files to nanometres."""

import re

from lls_decode.config import PixelSize
from lls_decode.config.base import is_usual

_METRE = {
    "Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1, "": 0, "d": -1, "c": -2,
    "m": -3, "µ": -6, "u": -6, "n": -9, "p": -12, "f": -15, "a": -18, "z": -21, "y": -24,
}  # fmt: skip
"""Power of ten of each prefix of OME's units of length."""
NM = {f"{prefix}m": 10.0 ** (power + 9) for prefix, power in _METRE.items()} | {
    "Å": 0.1, "angstrom": 0.1, "thou": 25_400.0, "mil": 25_400.0, "li": 25.4e6 / 12, "in": 25.4e6, "inch": 25.4e6,
    "inches": 25.4e6, "ft": 304.8e6, "yd": 914.4e6, "mi": 1.609344e12, "pt": 25.4e6 / 72, "ua": 1.495978707e20,
    "ly": 9.4607304725808e24, "pc": 3.0856775814913673e25,
    "micron": 1e3, "microns": 1e3, "micrometer": 1e3, "micrometers": 1e3, "micrometre": 1e3, "micrometres": 1e3,
    "nanometer": 1.0, "nanometers": 1.0, "nanometre": 1.0, "nanometres": 1.0, "millimeter": 1e6, "millimetre": 1e6,
    "centimeter": 1e7, "centimetre": 1e7,
}  # fmt: skip
"""Length of each unit in nanometres."""
NO_UNIT = {"", "pixel", "pixels", "px", "reference frame", "none", "unknown"}
"""Unit names of lengths that were never calibrated."""
_MU = re.compile("\u03bc|\\\\u00b5|\\\\u03bc|&#181;|&#956;|&micro;|\u00c2\u00b5", re.IGNORECASE)
"""Variants of the micro sign: the Greek letter, escape sequences, and a doubly encoded micro sign."""


def unit_nm(unit: str) -> float | None:
    """Return the length of a unit in nanometres; None for an unknown unit or one that means 'not calibrated'."""
    unit = _MU.sub("\u00b5", unit.strip())
    return NM.get(unit) or NM.get(unit.lower())


def is_unknown(unit: str) -> bool:
    """Return whether a unit is unknown to this program; units that mean 'not calibrated' are known."""
    return unit.strip().lower() not in NO_UNIT and unit_nm(unit) is None


def length_nm(value: object, unit: str) -> float | None:
    """Convert a length to nm; return None if it was never set: absent, zero, or exactly 1, which means unknown."""
    factor = unit_nm(unit)
    try:
        number = abs(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    if factor is None or number in (0.0, 1.0) or not (number * factor > 0 and is_usual(number * factor)):
        return None
    return float(f"{number * factor:.10g}")


def square(pixel_nm: float | None) -> PixelSize | None:
    """Return the size of square pixels; None if it is unknown."""
    return None if pixel_nm is None else PixelSize(x_nm=pixel_nm, y_nm=pixel_nm)
