"""Whether the merged table of a run is still what was merged: noticed cheaply, by size, date and checksum."""

import zlib
from pathlib import Path
from typing import Final

from lls_decode.documents import open_regular_file
from lls_decode.errors import TableError
from lls_decode.table import read_metadata

from .events import Merged

_PIECE_BYTES: Final = 1 << 20


def file_checksum(path: Path) -> int:
    """CRC-32 of a whole file."""
    found = 0
    with open_regular_file(path) as file:
        while piece := file.read(_PIECE_BYTES):
            found = zlib.crc32(piece, found)
    return found


def find_table_damage(table: Path, merged: Merged | None, *, whole: bool) -> str | None:
    """Say why a table is not what its merge has written; None if it is, or was processed on purpose since then.

    Parameters
    ----------
    merged
        The latest merge of the run; None: not known, and only the footer is looked at.
    whole
        Read the whole file, also when its date says that nobody has written to it since it was merged.
    """
    try:
        if read_metadata(table).history:  # drift, filters in place: another table, on purpose
            return None
        found = table.stat()
        if merged is None or merged.crc32 < 0:
            return None
        if found.st_size != merged.bytes:
            return f"it has {found.st_size} bytes, and {merged.bytes} when it was merged"
        is_touched = found.st_mtime > merged.at  # or copied: the merge is noted when the table has its name
        if (whole or is_touched) and file_checksum(table) != merged.crc32:
            return "its bytes have changed since it was merged"
    except (TableError, OSError) as error:
        return str(error).removesuffix(".")
    return None
