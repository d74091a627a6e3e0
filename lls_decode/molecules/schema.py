"""Computation of the columns of a table of molecules from the sums over their sightings."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.config import Geometry
from lls_decode.molecules.sightings import Sightings
from lls_decode.table.molecule_columns import MOLECULE_COLUMNS, molecule_schema

__all__ = ["MOLECULE_COLUMNS", "molecule_schema", "molecule_table"]


def molecule_table(
    group: npt.NDArray[np.int64], seen: Sightings, geometry: Geometry | None, *, with_channel: bool = False
) -> pa.Table:
    """Return a table of finished molecules, in the given order."""
    position_3N = np.where(seen.weight_3N > 0, seen.position_3N, np.nan)
    sigma_3N = np.sqrt(np.where(seen.weight_3N > 0, seen.variance_3N, np.nan))
    columns: dict[str, npt.NDArray[np.generic]] = {
        "group": group,
        "frame": seen.first_frame,
        "last_frame": seen.last_frame,
        "num_frames": seen.num_frames,
        "num_planes": seen.num_planes,
        "num_volumes": seen.num_volumes,
        **dict(zip(("x_nm", "y_nm", "z_nm"), position_3N, strict=True)),
        "photons": seen.photons,
        "bg": seen.bg / seen.num_frames,
        **dict(zip(("x_sig", "y_sig", "z_sig"), sigma_3N, strict=True)),
        "phot_sig": np.sqrt(seen.photons_variance),
        "prob": seen.prob,
        "prob_any": -np.expm1(seen.log_missed),
        "channel": seen.channel,
    }
    if geometry is not None:
        x, y, z = position_3N
        sample = geometry.to_sample(x, y, z, 0)
        columns |= dict(zip(("xs_nm", "ys_nm", "zs_nm"), sample, strict=True))
    schema = molecule_schema(geometry is not None, with_channel)
    arrays = [pa.array(columns[field.name].astype(field.type.to_pandas_dtype()), type=field.type) for field in schema]
    return pa.table(arrays, schema)
