"""The columns of a table with one row a molecule, and how they are computed from sums."""

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.config import Geometry
from lls_decode.molecules.sightings import Sightings
from lls_decode.table import SAMPLE_COLUMNS, Column

_BEFORE: Final = (
    Column("group", pa.int64(), "", "number of the molecule: the same in the table of localizations"),
    Column("frame", pa.uint32(), "", "first frame in which it was detected, 0-based"),
    Column("last_frame", pa.uint32(), "", "last frame in which it was detected"),
    Column("num_frames", pa.uint32(), "", "detections, one a frame"),
    Column("num_planes", pa.uint16(), "", "most detections in one volume"),
    Column("num_volumes", pa.uint32(), "", "volumes in which it was detected; frames for a movie without planes"),
    Column("x_nm", pa.float32(), "nm", "mean weighted by 1/sigma^2; camera column direction, deskewed to plane 0"),
    Column("y_nm", pa.float32(), "nm", "mean weighted by 1/sigma^2; camera row direction, deskewed to plane 0"),
    Column("z_nm", pa.float32(), "nm", "mean weighted by 1/sigma^2; from the focus of plane 0; NaN when not known"),
    Column("photons", pa.float32(), "photons", "sum over the detections"),
    Column("bg", pa.float32(), "photons/pixel", "mean background of the detections"),
    Column(
        "x_sig",
        pa.float32(),
        "nm",
        "standard deviation of x_nm: 1 / root of the sum of 1/sigma^2, larger where errors are correlated",
    ),
    Column("y_sig", pa.float32(), "nm", "standard deviation of y_nm"),
    Column("z_sig", pa.float32(), "nm", "standard deviation of z_nm"),
    Column("phot_sig", pa.float32(), "photons", "standard deviation of photons: root of the sum of squares"),
    Column("prob", pa.float32(), "", "largest detection probability"),
    Column("prob_any", pa.float32(), "", "probability that at least one detection is true: 1 - product of (1 - p)"),
)

MOLECULE_COLUMNS: Final = _BEFORE + SAMPLE_COLUMNS
"""In their order; those in sample coordinates exist only when the geometry is known."""


def molecule_schema(with_sample: bool) -> pa.Schema:
    """Arrow schema of a table of molecules."""
    return pa.schema([column.field() for column in (MOLECULE_COLUMNS if with_sample else _BEFORE)])


def molecule_table(group: npt.NDArray[np.int64], seen: Sightings, geometry: Geometry | None) -> pa.Table:
    """Rows of finished molecules, in the order given."""
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
    }
    if geometry is not None:
        x, y, z = position_3N
        sample = geometry.to_sample(x, y, z, 0)
        columns |= dict(zip(("xs_nm", "ys_nm", "zs_nm"), sample, strict=True))
    schema = molecule_schema(geometry is not None)
    arrays = [pa.array(columns[field.name].astype(field.type.to_pandas_dtype()), type=field.type) for field in schema]
    return pa.table(arrays, schema)
