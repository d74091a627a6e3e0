"""The reconstruction in a report: pictures of a table that are small enough to send by e-mail."""

import io
import math
from pathlib import Path
from tempfile import TemporaryDirectory

from lls_decode.evaluate import TableSummary
from lls_decode.pictures.drawing_plan import Rendering
from lls_decode.pictures.render import render_png
from lls_decode.pictures.survey import survey_table
from lls_decode.pictures.view import Colour, Projection, View, ViewedTable

MOST_SIDE_ROWS = 50_000_000
"""Largest number of rows for which a side view is drawn."""
_MOST_PX = 1100
_SMALLEST_PIXEL_NM = 5.0
_MOST_PNG_BYTES = 400_000
"""Largest size of a PNG; larger pictures are written as JPEG."""


def reconstruction(table: Path, summary: TableSummary) -> list[tuple[Projection, Rendering, bytes]]:
    """Render a table from above, and from the side unless it is very long or flat.

    Each picture is a PNG or JPEG of about a megapixel.
    """
    sample = "xs_nm" in summary.columns
    depths = summary.columns.get("zs_nm" if sample else "z_nm")
    views: list[Projection] = ["xy"]
    if summary.rows <= MOST_SIDE_ROWS and depths is not None and depths.num and depths.high > depths.low:
        views.append("xz")
    flat: Colour | None = None if {"z_nm", "channel"} & set(summary.columns) else "none"
    return [(view, *_draw(table, view, flat)) for view in views]


def _draw(table: Path, view: Projection, colour: Colour | None) -> tuple[Rendering, bytes]:
    limits = survey_table(ViewedTable(table, View(projection=view))).extent(None, 0.0)  # ignores stray localizations
    longest_nm = max(high - low for low, high in limits)
    pixel_nm = max(_SMALLEST_PIXEL_NM, float(math.ceil(longest_nm / _MOST_PX)))
    with TemporaryDirectory(prefix="lls-decode-") as folder:
        path = Path(folder) / "picture.png"
        drawn = render_png(table, path, view=View(projection=view), pixel_nm=pixel_nm, colour=colour)
        image = path.read_bytes()
    return drawn, image if len(image) <= _MOST_PNG_BYTES else _smaller(image)


def _smaller(image: bytes) -> bytes:
    """Return a picture as JPEG."""
    from PIL import Image  # installed with matplotlib, which needs it

    file = io.BytesIO()
    with Image.open(io.BytesIO(image)) as picture:
        picture.convert("RGB").save(file, "JPEG", quality=88)
    return file.getvalue()
