"""Columns of a localization table: names, types, units and meaning, for all writers and readers of tables."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final

import pyarrow as pa

TABLE_VERSION: Final = (1, 0)
"""Major and minor version. Readers refuse another major version; a new minor version adds columns or metadata."""

MOLECULES_VERSION: Final = (1, 0)
"""Version of tables with one row per molecule."""

VERSIONS: Final = {"localizations": TABLE_VERSION, "molecules": MOLECULES_VERSION}
"""Versions by the kind of rows of a table."""

ROW_GROUP_ROWS: Final = 262_144

SORT_COLUMNS: Final = ("volume", "plane", "y_nm", "x_nm")
LARGEST_FRAME: Final = 2**32 - 1
"""Largest number of a frame or volume, which has 32 bits in a table."""


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    name: str
    type: pa.DataType
    unit: str
    """Unit; empty for numbers without unit."""
    description: str

    def field(self) -> pa.Field:
        """Return the non-null Arrow field, with unit and description as metadata."""
        metadata = {"unit": self.unit, "description": self.description}
        return pa.field(self.name, self.type, nullable=False, metadata=metadata)


_BEFORE: Final = (
    Column("frame", pa.uint32(), "", "volume * planes_per_volume + plane, 0-based"),
    Column("volume", pa.uint32(), "", "sweep, 0-based"),
    Column("plane", pa.uint16(), "", "index in the sweep in acquisition order, 0-based"),
    Column("x_nm", pa.float32(), "nm", "camera column direction; 0 = centre of stored pixel [0, 0]"),
    Column("y_nm", pa.float32(), "nm", "camera row direction; 0 = centre of stored pixel [0, 0]"),
    Column("z_nm", pa.float32(), "nm", "from the focus of this plane, camera coordinates"),
    Column("photons", pa.float32(), "photons", "total of the emitter in this frame, background removed"),
    Column("bg", pa.float32(), "photons/pixel", "background"),
    Column("x_sig", pa.float32(), "nm", "predicted standard deviation of x_nm"),
    Column("y_sig", pa.float32(), "nm", "predicted standard deviation of y_nm"),
    Column("z_sig", pa.float32(), "nm", "predicted standard deviation of z_nm"),
    Column("phot_sig", pa.float32(), "photons", "predicted standard deviation of photons"),
    Column("prob", pa.float32(), "", "detection probability: share of right rows among those of equal value"),
)
SAMPLE_COLUMNS: Final = (
    Column("xs_nm", pa.float32(), "nm", "x in sample coordinates"),
    Column("ys_nm", pa.float32(), "nm", "y in sample coordinates"),
    Column("zs_nm", pa.float32(), "nm", "z in sample coordinates (height above the coverslip for a stage scan)"),
)
_AFTER: Final = (
    Column("group", pa.int64(), "", "number of the molecule, seen in several planes or volumes; -1 = not linked"),
)
CHANNEL_COLUMN: Final = Column("channel", pa.uint16(), "", "colour, 0-based; its name is in the metadata (channels)")

COLUMNS: Final = (*_BEFORE, *SAMPLE_COLUMNS, *_AFTER, CHANNEL_COLUMN)
"""All canonical columns in their order.

Sample coordinates exist only if the geometry is known, the channel only in tables of several channels.
"""


@cache
def schema(with_sample: bool, with_channel: bool = False) -> pa.Schema:
    """Return the Arrow schema of a table, with or without sample coordinates and channel."""
    sample, channel = SAMPLE_COLUMNS if with_sample else (), (CHANNEL_COLUMN,) if with_channel else ()
    return pa.schema([column.field() for column in (*_BEFORE, *sample, *_AFTER, *channel)])


def schema_like(names: Iterable[str]) -> pa.Schema:
    """Return the Arrow schema of a table with these column names, which determine the optional columns."""
    found = set(names)
    return schema("xs_nm" in found, CHANNEL_COLUMN.name in found)


def integer_columns(table_schema: pa.Schema) -> list[str]:
    """Return the names of columns to be dictionary-encoded: integers only, as floats would gain size and time."""
    return [field.name for field in table_schema if pa.types.is_integer(field.type)]


def float_columns(table_schema: pa.Schema) -> list[str]:
    """Return the names of columns stored byte by byte: all first bytes, then all second bytes, and so on."""
    return [field.name for field in table_schema if pa.types.is_floating(field.type)]
