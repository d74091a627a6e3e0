"""Csv with our own column names, which SMAPpy reads unchanged; SMAPpy's own names are read, too."""

from pathlib import Path
from typing import Final

from lls_decode.export.rows import ExportTable, Rows
from lls_decode.export.text import Columns, write_csv
from lls_decode.export.written import Written
from lls_decode.table.csv_layouts import CsvLayout

_OPTIONAL: Final = ("z_nm", "photons", "bg", "x_sig", "y_sig", "z_sig", "phot_sig", "prob", "volume", "plane", "group")

_OF_MOLECULES: Final = ("last_frame", "num_frames", "num_planes", "num_volumes", "prob_any")

LAYOUT: Final = CsvLayout(
    "lls-decode or SMAPpy",
    required={"frame": "frame", "x_nm": "x_nm", "y_nm": "y_nm"},
    optional={
        **{name: name for name in _OPTIONAL},
        "background": "bg",
        "xy_err_nm": "xy_sig",
        "x_err_nm": "x_sig",
        "y_err_nm": "y_sig",
        "z_err_nm": "z_sig",
        "photons_err": "phot_sig",
        "groupindex": "group",
        "channel": "channel",
        **{name: name for name in _OF_MOLECULES},
    },
    first_frame=0,
    origin_px=0.0,
    is_open=True,
)


def write(table: ExportTable, out: Path) -> Written:
    """Write the columns of the table with our names, in the table's row order.

    x, y and z are in the chosen coordinates.
    """
    names = table.columns

    def columns(rows: Rows, first_row: int) -> Columns:
        return {name: rows[name] for name in names}

    write_csv(table, out, [",".join(names)], columns, by_frame=False)
    return Written(frozenset(names))
