"""The field of view that a table's rows were found in: of its dataset, never the extent of its rows."""

from dataclasses import asdict
from typing import Any, Final

import numpy as np

from lls_decode.axes import Layout
from lls_decode.config import Geometry, PixelSize
from lls_decode.table.metadata import TableMetadata

Limits = tuple[float, float]
LAYOUT_KEY: Final = "layout"
"""Under which `TableMetadata.input` has the size of the dataset."""


def layout_details(layout: Layout) -> dict[str, Any]:
    """The size of a dataset as plain values, for `TableMetadata.input`."""
    return {LAYOUT_KEY: asdict(layout)}


def layout_of(metadata: TableMetadata) -> Layout | None:
    """The size of the dataset that a table is of; None where the table does not say it."""
    found = metadata.input.get(LAYOUT_KEY)
    try:
        return Layout(**{name: int(value) for name, value in found.items()}) if isinstance(found, dict) else None
    except (TypeError, ValueError):
        return None


def field_of_view(metadata: TableMetadata, *, sample: bool) -> tuple[Limits, Limits] | None:
    """Limits along x and y of what the camera has seen, nm; None where the table does not say it.

    Parameters
    ----------
    sample
        In sample coordinates, else in those of the camera.
    """
    layout, pixel = layout_of(metadata), metadata.pixel_size
    if layout is None or pixel is None or (sample and metadata.geometry is None):
        return None
    return field_extent(layout, pixel, metadata.geometry if sample else None)


def field_extent(layout: Layout, pixel: PixelSize, geometry: Geometry | None) -> tuple[Limits, Limits]:
    """Limits of what the camera has seen, ((x, x), (y, y)) in nm: of the sample where the geometry is known."""
    corners = np.array(
        [
            (x, y, k)
            for x in (-0.5, layout.width - 0.5)
            for y in (-0.5, layout.height - 0.5)
            for k in (0, layout.planes_per_volume - 1)
        ]
    )
    x_nm, y_nm, plane = corners[:, 0] * pixel.x_nm, corners[:, 1] * pixel.y_nm, corners[:, 2]
    if geometry is not None:
        x_nm, y_nm, _ = geometry.to_sample(x_nm, y_nm, np.zeros(len(plane)), plane)
    return (float(x_nm.min()), float(x_nm.max())), (float(y_nm.min()), float(y_nm.max()))
