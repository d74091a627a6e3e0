"""Detect damage to the merged table of a run after the merge, from its size, modification time and checksum."""

import zlib
from pathlib import Path
from typing import Final

from lls_decode.documents import open_regular_file
from lls_decode.errors import TableError
from lls_decode.table import read_metadata

from .events import Merged

_PIECE_BYTES: Final = 1 << 20


def file_checksum(path: Path) -> int:
    """Return the CRC-32 of a whole file."""
    found = 0
    with open_regular_file(path) as file:
        while piece := file.read(_PIECE_BYTES):
            found = zlib.crc32(piece, found)
    return found


def find_table_damage(table: Path, merged: Merged | None, *, run_digest: str, whole: bool) -> str | None:
    """Return how a table differs from the one that the run merged; None if it is undamaged.

    A table that was processed on purpose since then, for example by a drift correction in place, is not damaged.

    Parameters
    ----------
    merged
        Event of the latest merge of the run; None: unknown, so that only the footer of the table is checked.
    run_digest
        Digest of the run.
    whole
        Read the whole file, even if its modification time says that it has not changed since the merge.
    """
    try:
        metadata = read_metadata(table)
        if metadata.run_digest != run_digest:
            return "it is not the table of this run"
        if metadata.history:  # processed in place on purpose, e.g. drift correction or a filter
            return None
        found = table.stat()
        if merged is None or merged.crc32 < 0:
            return None
        if found.st_size != merged.bytes:
            return f"it has {found.st_size} bytes, but had {merged.bytes} when it was merged"
        is_touched = found.st_mtime > merged.at  # written or copied later: the event follows the rename of the table
        if (whole or is_touched) and file_checksum(table) != merged.crc32:
            return "its bytes have changed since it was merged"
    except (TableError, OSError) as error:
        return str(error).removesuffix(".")
    return None
