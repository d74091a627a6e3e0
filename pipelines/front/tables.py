"""Read a table, and render a table as a picture whose format follows from its file name."""

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import pyarrow as pa

from lls_decode import table as tables
from lls_decode.errors import ConfigError
from lls_decode.pictures.drawing_plan import Rendering
from lls_decode.pictures.render import render_png
from lls_decode.pictures.render_pyramid import PYRAMIDS, render_pyramid


def read_table(path: str | Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a localization table, or some of its columns.

    The metadata of the table are in ``table.schema.metadata``, as JSON under the key ``lls_decode``.

    Raises
    ------
    TableError
        The file is not a table of lls_decode, has an unknown version, is damaged, or lacks a column.
    """
    return tables.read_table(path, columns)[0]


def render(table: str | Path, out: str | Path, **options: Any) -> Rendering:
    """Render a table as a colour picture (``.png``, ``.tif``), or as a pyramid of any size (``.ome.tif``, ``.zarr``).

    Parameters
    ----------
    table
        Path of the table.
    out
        Path of the picture; its extension determines the format.
    options
        Options of `lls_decode.pictures.render.render_png` for a colour picture, and of
        `lls_decode.pictures.render_pyramid.render_pyramid` for a pyramid.

    Raises
    ------
    ConfigError
        The format does not have an option, or options contradict each other.
    OutputError
        The picture cannot be written.
    TableError
        The table is damaged, or no localizations are left to draw.
    """
    draw = render_pyramid if str(out).lower().endswith(PYRAMIDS) else render_png
    unknown = options.keys() - signature(draw).parameters.keys()
    if unknown:
        raise ConfigError(
            f"{Path(out).name} does not accept {', '.join(sorted(unknown))}; expected options among "
            f"{', '.join(list(signature(draw).parameters)[2:])}."
        )
    return draw(table, out, **options)
