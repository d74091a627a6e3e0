"""The field of view in which the rows of a table were found, from its dataset and never from the extent of the rows."""

import numpy as np

from lls_decode.axes import Layout
from lls_decode.config import Geometry, PixelSize
from lls_decode.table.metadata import TableMetadata

Limits = tuple[float, float]


def field_of_view(metadata: TableMetadata, *, sample: bool) -> tuple[Limits, Limits] | None:
    """Return the limits along x and y of the area that the camera saw, nm; None if the table does not state them.

    Parameters
    ----------
    sample
        Whether to return sample coordinates instead of camera coordinates.
    """
    pixel, geometry = metadata.pixel_size, metadata.geometry if sample else None
    if metadata.width is None or metadata.height is None or pixel is None or (sample and geometry is None):
        return None
    layout = Layout(1, metadata.planes_per_volume or 1, metadata.height, metadata.width)
    return field_extent(layout, pixel, geometry)


def field_extent(layout: Layout, pixel: PixelSize, geometry: Geometry | None) -> tuple[Limits, Limits]:
    """Return the limits ((x, x), (y, y)) in nm of what the camera saw; in sample coordinates with a geometry."""
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
