"""The columns of a localization table: names, types, units, meaning; for everything that writes or reads tables."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final

import pyarrow as pa

TABLE_VERSION: Final = (1, 0)
"""Major and minor. A reader refuses another major version; a minor one adds columns or metadata."""

MOLECULES_VERSION: Final = (1, 0)
"""The same of a table with one row a molecule."""

VERSIONS: Final = {"localizations": TABLE_VERSION, "molecules": MOLECULES_VERSION}
"""By what the rows of a table are."""

ROW_GROUP_ROWS: Final = 262_144

SORT_COLUMNS: Final = ("volume", "plane", "y_nm", "x_nm")


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    name: str
    type: pa.DataType
    unit: str
    """Empty for numbers without unit."""
    description: str

    def field(self) -> pa.Field:
        """The Arrow field, non-null, with unit and description as metadata."""
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

Those in sample coordinates exist only when the geometry is known, the channel only in tables of several channels.
"""


@cache
def schema(with_sample: bool, with_channel: bool = False) -> pa.Schema:
    """Arrow schema of a table, with or without the columns in sample coordinates and that of the channel."""
    sample, channel = SAMPLE_COLUMNS if with_sample else (), (CHANNEL_COLUMN,) if with_channel else ()
    return pa.schema([column.field() for column in (*_BEFORE, *sample, *_AFTER, *channel)])


def schema_like(names: Iterable[str]) -> pa.Schema:
    """Arrow schema of a table whose columns have these names: it says which of the optional ones there are."""
    found = set(names)
    return schema("xs_nm" in found, CHANNEL_COLUMN.name in found)


def integer_columns(table_schema: pa.Schema) -> list[str]:
    """Names of the columns that are stored with a dictionary; on floats it costs space and time."""
    return [field.name for field in table_schema if pa.types.is_integer(field.type)]


def float_columns(table_schema: pa.Schema) -> list[str]:
    """Names of the columns whose values are stored byte by byte: all first bytes, all second ones, and so on."""
    return [field.name for field in table_schema if pa.types.is_floating(field.type)]
