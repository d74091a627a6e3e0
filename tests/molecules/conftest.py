"""Fixtures that write tables of localizations for the tests of molecules."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from lls_decode.config import Geometry, PixelSize
from lls_decode.table import TableMetadata, schema, table_writer

PIXEL = PixelSize(x_nm=104.0, y_nm=108.0)
STAGE = Geometry(motion="stage", stage_step_nm=400.0, angle_deg=31.8, propagation_axis="x")
DEFAULTS = {
    "x_nm": 0.0, "y_nm": 0.0, "z_nm": 0.0, "photons": 1000.0, "bg": 10.0, "x_sig": 10.0, "y_sig": 10.0, "z_sig": 20.0,
    "phot_sig": 50.0, "prob": 0.9, "group": -1,
}  # fmt: skip

WriteRows = Callable[..., Path]


@pytest.fixture
def write_rows(tmp_path: Path) -> WriteRows:
    """Return a function that writes a table from columns; only ``frame`` is required, others have defaults."""

    def write(
        columns: Mapping[str, npt.ArrayLike],
        *,
        name: str = "localizations.parquet",
        planes: int = 1,
        geometry: Geometry | None = None,
        piece_rows: int | None = None,
        **metadata: Any,
    ) -> Path:
        rows = make_rows(columns, planes=planes, geometry=geometry)
        path = tmp_path / name
        about = TableMetadata(pixel_size=PIXEL, planes_per_volume=planes, geometry=geometry, **metadata)
        with table_writer(path, rows.schema, about) as writer:
            writer.write(rows)
        if piece_rows is not None:
            recut(path, piece_rows)
        return path

    return write


def make_rows(columns: Mapping[str, npt.ArrayLike], *, planes: int = 1, geometry: Geometry | None = None) -> pa.Table:
    frame = np.asarray(columns["frame"])
    plane = frame % planes
    full = {name: np.broadcast_to(value, len(frame)) for name, value in DEFAULTS.items()}
    full |= {name: np.asarray(value) for name, value in columns.items()}
    full |= {"volume": frame // planes, "plane": plane}
    if geometry is not None and "xs_nm" not in full:
        x, y, z = (full[name].astype(np.float64) for name in ("x_nm", "y_nm", "z_nm"))
        full |= dict(zip(("xs_nm", "ys_nm", "zs_nm"), geometry.to_sample(x, y, z, plane), strict=True))
    wanted = schema(with_sample=geometry is not None, with_channel="channel" in columns)
    return pa.table([pa.array(full[f.name].astype(f.type.to_pandas_dtype())) for f in wanted], wanted)


def recut(path: Path, piece_rows: int) -> None:
    """Rewrite a file with row groups of another size."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    pq.write_table(table, path, row_group_size=piece_rows)
