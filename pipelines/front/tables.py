"""Tables: read one, and draw one as whatever picture its name asks for."""

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

    What the table says about itself is in ``table.schema.metadata``, as JSON under the key ``lls_decode``.

    Raises
    ------
    TableError
        The file is no table of lls_decode, is of an unknown version, is damaged, or lacks a column.
    """
    return tables.read_table(path, columns)[0]


def render(table: str | Path, out: str | Path, **options: Any) -> Rendering:
    """Draw a table: ``.png`` and ``.tif`` in colour, ``.ome.tif`` and ``.zarr`` as a pyramid of any size.

    Parameters
    ----------
    table
        Path of the table.
    out
        The picture; its ending says which kind.
    options
        Of a picture in colour those of `lls_decode.pictures.render.render_png`, of a pyramid those of
        `lls_decode.pictures.render_pyramid.render_pyramid`.

    Raises
    ------
    ConfigError
        An option is not one of that kind of picture, or options contradict each other.
    OutputError
        The picture cannot be written.
    TableError
        The table is damaged, or no emitters are left.
    """
    draw = render_pyramid if str(out).lower().endswith(PYRAMIDS) else render_png
    unknown = options.keys() - signature(draw).parameters.keys()
    if unknown:
        raise ConfigError(
            f"{Path(out).name} takes no {', '.join(sorted(unknown))}; expected some of "
            f"{', '.join(list(signature(draw).parameters)[2:])}."
        )
    return draw(table, out, **options)
