"""Units of columns: in brackets after a name, stated by a file, or given by the user."""

import re
from collections.abc import Sequence
from typing import Final

from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError, TableError
from lls_decode.table.csv_layouts import CsvLayout

_BRACKETS: Final = re.compile(r"^(?P<stem>.*\S)\s*[(\[](?P<unit>[^()\[\]]*)[)\]]$")
_NM: Final = {
    "nm": 1.0, "nanometer": 1.0, "nanometers": 1.0, "nanometre": 1.0, "nanometres": 1.0,
    "um": 1e3, "\u00b5m": 1e3, "\u03bcm": 1e3, "micron": 1e3, "microns": 1e3, "micrometer": 1e3, "micrometers": 1e3,
    "micrometre": 1e3, "micrometres": 1e3, "mm": 1e6, "m": 1e9, "a": 0.1, "\u00e5": 0.1, "angstrom": 0.1, "pm": 1e-3,
}  # fmt: skip
_PIXELS: Final = ("px", "pix", "pixel", "pixels")
_PHOTONS: Final = ("photon", "photons", "ph", "photons/pixel", "photon/pixel", "photons/px", "photon/px")
_LENGTHS: Final = ("x_nm", "y_nm", "z_nm", "x_sig", "y_sig", "z_sig", "xy_sig")
_BRIGHTNESS: Final = ("photons", "bg", "phot_sig")
_IN_CAMERA_COUNTS: Final = ("adu", "count", "counts", "adc", "a.u.", "au", "dn", "gray", "grey")


def split_unit(name: str) -> tuple[str, str | None]:
    """Split a name into the name proper and the unit in brackets at its end (None without brackets)."""
    found = _BRACKETS.match(name)
    return (found["stem"], found["unit"].strip()) if found else (name, None)


def is_unit(unit: str) -> bool:
    """Return whether a text is a known unit of length or brightness."""
    return unit.lower() in (*_NM, *_PIXELS, *_PHOTONS, *_IN_CAMERA_COUNTS)


def in_units_of(layout: CsvLayout, names: Sequence[str]) -> CsvLayout:
    """Return a layout whose program lets users choose units, with the units in the names of a file's columns."""
    if not layout.any_unit:
        return layout
    known = [name for name in (*layout.required, *layout.optional, *layout.other) if split_unit(name)[1] is not None]
    renamed, units = {}, {}
    for name in names:
        stem, unit = split_unit(name)
        if unit is None or not is_unit(unit) or name in known:
            continue
        for other in known:
            if split_unit(other)[0] == stem and other not in names:
                renamed[other], units[name] = name, unit
    return layout.renamed(renamed, units)


def factor(ours: str, theirs: str, unit: str | None, pixel_size: PixelSize | None) -> float:
    """Return the factor that converts a column to nm or photons.

    Parameters
    ----------
    unit
        Unit of the column; None: our unit.

    Raises
    ------
    ConfigError
        The pixel size is needed but not known.
    TableError
        The unit cannot be converted to ours.
    """
    if unit is None or unit == "":
        return 1.0
    lower = unit.lower()
    if ours in _LENGTHS:
        if lower in _NM:
            return _NM[lower]
        if lower in _PIXELS and ours != "z_nm" and ours != "z_sig":
            if pixel_size is None:
                raise ConfigError(
                    f"Column {theirs!r} is in pixels, but the pixel size is not known; give pixel_size (--pixel-nm)."
                )
            return pixel_size.y_nm if ours.startswith("y") else pixel_size.x_nm
        raise _unfit(ours, theirs, unit, "nm, um, mm, m, angstrom" + (", px" if ours[0] in "xy" else ""))
    if ours in _BRIGHTNESS and lower not in _PHOTONS:
        raise _unfit(ours, theirs, unit, "photons")
    return 1.0


def _unfit(ours: str, theirs: str, unit: str, expected: str) -> TableError:
    return TableError(
        f"Column {theirs!r} is in {unit!r}, which cannot be converted to {ours}; expected {expected}: convert the "
        f"column, name its unit (--columns '{ours}={theirs} (UNIT)'), or leave it out (--columns '{ours}=')."
    )
