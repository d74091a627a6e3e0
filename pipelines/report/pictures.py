"""The reconstruction of a report: pictures of a table that are small enough to be sent by mail."""

import io
import math
from pathlib import Path
from tempfile import TemporaryDirectory

from lls_decode.evaluate import TableSummary
from lls_decode.pictures.render import Rendering, render_png
from lls_decode.pictures.view import Colour, Projection, View

MOST_SIDE_ROWS = 50_000_000
"""Larger tables are drawn from above only."""
_MOST_PX = 1100
_SMALLEST_PIXEL_NM = 5.0
_MOST_PNG_BYTES = 400_000
"""Larger pictures are written as JPEG."""


def reconstruction(table: Path, summary: TableSummary) -> list[tuple[Projection, Rendering, bytes]]:
    """A table from above, and from the side unless it is very long, or flat; PNG or JPEG of about a megapixel."""
    sample = "xs_nm" in summary.columns
    size = {axis: _size(summary, f"{axis}s_nm" if sample else f"{axis}_nm") for axis in "xyz"}
    views: list[Projection] = ["xy"]
    if summary.rows <= MOST_SIDE_ROWS and size["z"] > 0:
        views.append("xz")
    colour: Colour = "depth" if "z_nm" in summary.columns else "none"
    return [(view, *_draw(table, view, max(size[view[0]], size[view[1]]), colour)) for view in views]


def _size(summary: TableSummary, name: str) -> float:
    counts = summary.columns.get(name)
    return counts.high - counts.low if counts is not None and counts.num else 0.0


def _draw(table: Path, view: Projection, longest_nm: float, colour: Colour) -> tuple[Rendering, bytes]:
    pixel_nm = max(_SMALLEST_PIXEL_NM, float(math.ceil(longest_nm / _MOST_PX)))
    with TemporaryDirectory(prefix="lls-decode-") as folder:
        path = Path(folder) / "picture.png"
        drawn = render_png(table, path, view=View(projection=view), pixel_nm=pixel_nm, colour=colour)
        image = path.read_bytes()
    return drawn, image if len(image) <= _MOST_PNG_BYTES else _smaller(image)


def _smaller(image: bytes) -> bytes:
    """The same as JPEG."""
    from PIL import Image  # which matplotlib needs, too

    file = io.BytesIO()
    with Image.open(io.BytesIO(image)) as picture:
        picture.convert("RGB").save(file, "JPEG", quality=88)
    return file.getvalue()
