"""Conversion of detections in pixels to localizations in nm; positions are converted nowhere else."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.blocks import Block
from lls_decode.config import Geometry, PixelSize, Scaling
from lls_decode.emitters import Emitters
from lls_decode.localize.calibrated import calibrated
from lls_decode.localize.detect import Detections
from lls_decode.table import schema

Columns = dict[str, npt.NDArray[np.float32]]


def physical_columns(found: Detections, scaling: Scaling, pixel: PixelSize) -> Columns:
    """Convert positions, photons and sigmas to nm and photons; the origin is the centre of pixel [0, 0].

    Sigmas are the network's predictions times the factors of the model, corrected by the model's calibration
    (`localize.calibrated`). They are calibrated nowhere else.
    """

    def nm(pixels: npt.NDArray[np.floating], size_nm: float) -> npt.NDArray[np.float32]:
        return (pixels * size_nm).astype(np.float32)

    columns = {
        "x_nm": nm(found.x_px.astype(np.float64) + found.x, pixel.x_nm),
        "y_nm": nm(found.y_px.astype(np.float64) + found.y, pixel.y_nm),
        "z_nm": nm(found.z, scaling.z_nm),
        "photons": (found.photons * scaling.photons).astype(np.float32),
        "bg": (found.bg * scaling.bg).astype(np.float32),
        "x_sig": nm(found.x_sig, pixel.x_nm * scaling.x_sig),
        "y_sig": nm(found.y_sig, pixel.y_nm * scaling.y_sig),
        "z_sig": nm(found.z_sig, scaling.z_nm * scaling.z_sig),
        "phot_sig": (found.photons_sig * (scaling.photons * scaling.photons_sig)).astype(np.float32),
        "prob": found.prob,
    }
    return columns if scaling.calibration is None else calibrated(columns, found, scaling.calibration)


def place(
    found: Detections, block: Block, *, scaling: Scaling, pixel: PixelSize, geometry: Geometry | None
) -> pa.Table:
    """Return the rows of a table of localizations, sorted by volume, plane, y, x.

    ``found.window`` is the index among the block's owned frames in stack order. With a geometry, the table also has
    sample coordinates.
    """
    volume, plane = block.frames[block.windows[:, 1]][found.window].T
    columns = physical_columns(found, scaling, pixel)
    order = np.lexsort((columns["x_nm"], columns["y_nm"], plane, volume))
    table: dict[str, npt.NDArray[np.generic]] = {
        "frame": (volume * block.planes_per_volume + plane).astype(np.uint32),
        "volume": volume.astype(np.uint32),
        "plane": plane.astype(np.uint16),
        **columns,
    }
    if geometry is not None:
        x, y, z = (columns[name].astype(np.float64) for name in ("x_nm", "y_nm", "z_nm"))
        sample = geometry.to_sample(x, y, z, plane)
        table |= {f"{axis}s_nm": values.astype(np.float32) for axis, values in zip("xyz", sample, strict=True)}
    table["group"] = np.full(len(found), -1, dtype=np.int64)
    expected = schema(with_sample=geometry is not None)
    return pa.table([pa.array(table[name][order], type=expected.field(name).type) for name in expected.names], expected)


def to_emitters(found: Detections, scaling: Scaling, pixel: PixelSize) -> Emitters:
    """Convert detections to emitters whose frame is the number of their window."""
    return Emitters.from_columns({"frame": found.window, **physical_columns(found, scaling, pixel)})
