"""Parse ranges on the command line: ``START:STOP``, as in a Python slice, and other pairs of numbers.

The end of a range is excluded, and either number may be omitted.
"""

import math
import re

from lls_decode.axes import IndexRange
from lls_decode.errors import ConfigError

_INDEX = r"\d{1,15}"
_SIGNED = r"-?\d{1,15}"
"""Whole numbers of a size that every frame number, pixel and count has."""


def parse_range(text: str, *, option: str, from_end: bool = False) -> IndexRange:
    """Parse a range such as ``3:7``, ``3:`` or ``:7``.

    Parameters
    ----------
    text
        Text that the user gave.
    option
        Name of the option, for error messages.
    from_end
        Accept negative numbers, which count from the end of the dataset: ``-10:``.

    Raises
    ------
    ConfigError
        The text is not a range, or the range is empty.
    """
    number = _SIGNED if from_end else _INDEX
    found = re.fullmatch(rf"({number})?:({number})?", text.strip())
    if found is None:
        raise ConfigError(f"{option} {text or '(nothing)'}: expected START:STOP{_advice(text)}")
    start, stop = (None if bound is None else int(bound) for bound in found.groups())
    if stop is not None and (stop == 0 or (stop <= (start or 0) and (stop >= 0) == ((start or 0) >= 0))):
        raise ConfigError(f"{option} {text} is empty: expected START:STOP{_advice(text)}")
    return start, stop


def _advice(text: str) -> str:
    """Return advice on how to write the range that the user probably intended."""
    rule = " with the end excluded, from 0"
    if found := re.fullmatch(r"(\d{1,15})(?:\D+(\d{1,15}))?", text.strip()):
        first, last = sorted((int(found[1]), int(found[2] or found[1])))
        return f"{rule}; write {first}:{last + 1} for {f'{first} to {last}' if last > first else f'{first} alone'}."
    return f"{rule}, e.g. 3:7 for 3 to 6, 3: for all from 3 on, or :7."


def parse_limits(text: str, *, option: str) -> tuple[float, float]:
    """Parse the lower and the upper limit of a measured quantity, such as ``-500:500``.

    Raises
    ------
    ConfigError
        The text has another form, or the upper limit is not above the lower one.
    """
    expected = "LOW:HIGH, two numbers with the smaller one first, e.g. -500:500"
    try:
        low, high = (float(word) for word in text.split(":"))
    except ValueError:
        raise ConfigError(f"{option} {text or '(nothing)'}: expected {expected}.") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"{option} {text} is empty: expected {expected}.")
    return low, high


def parse_pair(text: str, *, option: str, separator: str, smallest: int | None = None) -> tuple[int, int]:
    """Parse two whole numbers, along x and along y, such as ``512x256`` or ``-3,0``.

    Raises
    ------
    ConfigError
        The text has another form, or a number is below ``smallest``.
    """
    found = re.fullmatch(rf"({_SIGNED})\s*{separator}\s*({_SIGNED})", text.strip())
    numbers = () if found is None else tuple(int(number) for number in found.groups())
    if len(numbers) != 2 or (smallest is not None and min(numbers) < smallest):
        limit = "" if smallest is None else f" of at least {smallest}"
        raise ConfigError(
            f"{option} {text or '(nothing)'}: expected two whole numbers{limit}, along x and along y, with "
            f"{separator!r} between them."
        )
    return numbers[0], numbers[1]


def parse_extent(text: str, *, option: str) -> tuple[tuple[float, float], tuple[float, float]] | str | None:
    """Parse the limits of a picture along its two axes: ``auto``, which gives None, ``all``, or ``0:5000,100:900``.

    Commas may replace the colons.

    Raises
    ------
    ConfigError
        The text has another form, or an upper limit is not above the lower one.
    """
    if text in ("auto", "all"):
        return None if text == "auto" else text
    words = text.replace(":", ",").split(",")
    if len(words) != 4:
        raise ConfigError(
            f"{option} {text or '(nothing)'}: expected auto, all, or X0:X1,Y0:Y1 in nm, e.g. 0:5000,100:900."
        )
    across, down = (parse_limits(":".join(pair), option=option) for pair in (words[:2], words[2:]))
    return across, down


def parse_roi(text: str, *, option: str) -> dict[str, list[int]]:
    """Parse a region of interest such as ``100:200,50:90`` (x, then y) into the value of ``part.roi``.

    Raises
    ------
    ConfigError
        The text has another form, or the region is empty.
    """
    expected = "X0:X1,Y0:Y1 in pixels from 0 with the ends excluded, e.g. 100:200,50:90 for x 100 to 199, y 50 to 89"
    found = re.fullmatch(rf"({_INDEX}):({_INDEX}),({_INDEX}):({_INDEX})", text.replace(" ", ""))
    if found is None:
        raise ConfigError(f"{option} {text}: expected {expected}.")
    x0, x1, y0, y1 = (int(bound) for bound in found.groups())
    if x0 >= x1 or y0 >= y1:
        raise ConfigError(f"{option} {text} contains no pixel: expected {expected}.")
    return {"x": [x0, x1], "y": [y0, y1]}
