"""Conversion of axis names, as used by different writers, to one letter per axis.

Frames have the axes t, c, z, y and x. Any other axis (positions, mosaic tiles, scenes, ...) gets a different letter,
and only one index along it is read.
"""

import re
import string
from collections.abc import Sequence
from typing import Any

FRAME_AXES = "tczyx"

_SPELLINGS = {
    "t": ("time", "timepoint", "timepoints", "frame", "frames"),
    "c": ("channel", "channels", "ch"),
    "z": ("plane", "planes", "slice", "slices", "depth"),
    "y": ("row", "rows", "height"),
    "x": ("col", "cols", "column", "columns", "width"),
}
_LETTER_OF = {word: letter for letter, words in _SPELLINGS.items() for word in (letter, *words)}
_LETTER_OF_TYPE = {"time": "t", "channel": "c"}
_BESIDE_THE_NAME = re.compile(
    r"(?:axis|dim|dimension)[_\- ]+(?=[a-z])"
    r"|[_\- ]*(?:[\[(].*[\])]|[_\- ](?:axis|dim|index|px|pixels?|nm|[u\u00b5\u03bc]m|mm|ms|s))$"
)
"""Words around the name of an axis: ``axis_z``, ``z_um``, ``z (px)``."""
_PLACEHOLDER = re.compile(r"(?:phony[_\- ]?)?(?:dim|dimension|axis|ax|d)?[_\- ]?\d*")
"""Names given to axes without a name: ``dim_0``, ``phony_dim_1``, ``axis_2``, or the length of the axis."""


def axis_letter(name: Any, kind: Any = None) -> str | None:
    """Return the letter that a name stands for; None for a word that is not the name of a frame axis.

    Parameters
    ----------
    name
        Name in the metadata; anything but text gives None.
    kind
        Type of the axis in OME metadata, used if the name is unknown.
    """
    if not isinstance(name, str):
        return None
    word = name.strip().lower()
    letter = (
        _LETTER_OF.get(word)
        or _LETTER_OF.get(_BESIDE_THE_NAME.sub("", word))
        or (_LETTER_OF_TYPE.get(kind.lower()) if isinstance(kind, str) else None)
    )
    return letter or (word if len(word) == 1 and word in string.ascii_lowercase else None)


def is_placeholder(name: Any) -> bool:
    """Return whether a name says nothing about its axis: none, a number, or a word for "axis" with a number."""
    return not isinstance(name, str) or _PLACEHOLDER.fullmatch(name.strip().lower()) is not None


def axis_letters(names: Sequence[Any], kinds: Sequence[Any] = ()) -> str | None:
    """Return a unique letter for each axis; None if the names do not identify y and x.

    A name that is not a frame axis gets the first of its letters that is not in use: ``position`` becomes p.
    """
    known = [axis_letter(name, kind) for name, kind in zip(names, kinds or [None] * len(names), strict=True)]
    told = [letter for letter in known if letter is not None]
    named = all(isinstance(name, str) and name.strip() for name in names)
    if not named or len(set(told)) < len(told) or not {"x", "y"} <= set(told):
        return None
    letters: list[str] = []
    for name, letter in zip(names, known, strict=True):
        taken = {*FRAME_AXES, *told, *letters}
        free = (item for item in name.lower() + string.ascii_lowercase if item.isalpha() and item not in taken)
        letters.append(letter or next(free))
    return "".join(letters)
