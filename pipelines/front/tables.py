"""Tables: read one, and draw one as whatever picture its name asks for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from lls_decode import table as tables
from lls_decode.errors import ConfigError
from lls_decode.pictures.render import Rendering, render_png
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
