"""Conversion of lengths from the units used in files to nanometres."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from lls_decode.config import PixelSize, stated_pixel_size
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


def length_nm(value: object, unit: str, *, digits: int = 10) -> float | None:
    """Convert a length to nm; return None if it was never set, or cannot be used, as `length_problem` says."""
    number, factor = read_number(value), unit_nm(unit)
    if not _is_set(number) or factor is None or not is_usual(number * factor):
        return None
    return float(f"{abs(number) * factor:.{digits}g}")


def length_problem(value: object, unit: str) -> str:
    """Describe a length that a file states but that cannot be used; return nothing for others."""
    number, factor = read_number(value), unit_nm(unit)
    if not _is_set(number) or unit.strip().lower() in NO_UNIT:
        return ""
    if factor is None:
        return f"the unit {unit!r} of its sizes is unknown"
    return "" if is_usual(number * factor) else f"its size {value!r} ({unit}) is no usable number"


def read_number(value: object) -> float:
    """Return a stated number, which may have a decimal comma; 0 if there is none, NaN if it cannot be read."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return 0.0
    if isinstance(value, str) and value.count(",") == 1 and "." not in value:
        value = value.replace(",", ".")
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def _is_set(number: float) -> bool:
    """Return whether a length was set: programs write 0 or exactly 1 where it is unknown."""
    return abs(number) not in (0.0, 1.0)


@dataclass(frozen=True)
class Sizes:
    """Pixel size and z step of a file, None where they are unknown."""

    pixel_size: PixelSize | None = None
    z_step_nm: float | None = None
    notes: tuple[str, ...] = ()
    """Remarks on sizes that the file states but that cannot be used."""

    def or_else(self, other: "Sizes") -> "Sizes":
        """Return these sizes, with those that are unknown taken from others."""
        notes = tuple(dict.fromkeys((*self.notes, *other.notes)))
        return Sizes(self.pixel_size or other.pixel_size, self.z_step_nm or other.z_step_nm, notes)


NO_SIZES = Sizes()
"""Sizes of a file that states none."""


def stated_sizes(stated: Mapping[str, tuple[object, str]], *, digits: int = 10) -> Sizes:
    """Return the sizes that a file states along some of the axes x, y and z.

    Parameters
    ----------
    stated
        Value and unit of each axis; a value of None, 0 or 1 means that the size is unknown.
    digits
        Number of significant digits of the sizes.
    """
    problems = {axis: problem for axis, told in stated.items() if (problem := length_problem(*told))}
    for axis in {"x", "y"} & set(stated):  # steps along z may be negative
        if read_number(stated[axis][0]) < 0:
            problems[axis] = f"its size {stated[axis][0]!r} along {axis} is negative"
    found = {axis: length_nm(*told, digits=digits) for axis, told in stated.items() if axis not in problems}
    x_nm, y_nm = found.get("x"), found.get("y")
    if "z" in problems:
        problems["z"] += "; give --z-step-nm"
    known = [axis for axis, nm in (("x", x_nm), ("y", y_nm)) if nm is not None]
    if len(known) == 1 and not {"x", "y"} & set(problems):
        problems[known[0]] = f"it states a pixel size along {known[0]} only, which is not used"
    for axis in {"x", "y"} & set(problems):
        problems[axis] += "; give --pixel-nm"
    return Sizes(stated_pixel_size(x_nm, y_nm), found.get("z"), tuple(dict.fromkeys(problems.values())))
