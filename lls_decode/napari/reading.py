"""Readers for napari: accept our tables and pyramids of ``lls-decode render``, and decline other files.

A file of ours that cannot be read (newer version, damage) is not declined: its error tells the user what to do.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from lls_decode.errors import LlsDecodeError
from lls_decode.napari.picture import is_rendered, picture_layer
from lls_decode.napari.points import points_layer
from lls_decode.table.reading import is_described

Layer = tuple[Any, dict[str, Any], str]
"""Data, keyword arguments and kind of a layer of napari."""
Reader = Callable[[str | Sequence[str]], list[Layer]]


def table_reader(path: str | Sequence[str]) -> Reader | None:
    """Return the reader of a table of localizations or molecules; None for other files, and for stacks of files."""
    if not isinstance(path, str):
        return None
    with suppress(LlsDecodeError):
        if is_described(path):
            return lambda path: [points_layer(str(path))]
    return None


def picture_reader(path: str | Sequence[str]) -> Reader | None:
    """Return the reader of a rendered OME-Zarr; None for other stores, which other plugins read."""
    if isinstance(path, str) and is_rendered(path):
        return lambda path: [picture_layer(str(path))]
    return None
