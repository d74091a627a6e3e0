"""Columns of a table of molecules. They are defined here, below `molecules` and `export`, which both need them."""

from typing import Final

import pyarrow as pa

from lls_decode.table.schema import CHANNEL_COLUMN, SAMPLE_COLUMNS, Column

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
    Column("x_sig", pa.float32(), "nm", "standard deviation of x_nm: 1 / root of the sum of 1/sigma^2, or more"),
    Column("y_sig", pa.float32(), "nm", "standard deviation of y_nm"),
    Column("z_sig", pa.float32(), "nm", "standard deviation of z_nm"),
    Column("phot_sig", pa.float32(), "photons", "standard deviation of photons: root of the sum of squares"),
    Column("prob", pa.float32(), "", "largest detection probability"),
    Column("prob_any", pa.float32(), "", "probability that at least one detection is true: 1 - product of (1 - p)"),
)

MOLECULE_COLUMNS: Final = (*_BEFORE, *SAMPLE_COLUMNS, CHANNEL_COLUMN)
"""Molecule columns in their order; sample coordinates and channel exist only if the localizations have them."""


def molecule_schema(with_sample: bool, with_channel: bool = False) -> pa.Schema:
    """Return the Arrow schema of a table of molecules."""
    sample, channel = SAMPLE_COLUMNS if with_sample else (), (CHANNEL_COLUMN,) if with_channel else ()
    return pa.schema([column.field() for column in (*_BEFORE, *sample, *channel)])
