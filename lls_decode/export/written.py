"""What became of the columns of a table in another program's file: written, or left out for a reason that is said."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lls_decode.export.rows import EXPORTED, ExportTable
from lls_decode.table import SAMPLE_COLUMNS

_SAMPLE: Final = tuple(column.name for column in SAMPLE_COLUMNS)
_CAMERA: Final = ("x_nm", "y_nm", "z_nm")


@dataclass(frozen=True)
class Written:
    """What the writer of a format has to say."""

    columns: frozenset[str]
    """Columns of ours whose values the file holds."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why others are left out, where it is not that the format has no place for them."""
    notes: tuple[str, ...] = ()
    """What the user should know: a sentence each, without its full stop."""


def left_out(table: ExportTable, written: Written, format: str) -> dict[str, str]:
    """Return the columns of a table that a file lacks, each with the reason."""
    found = {}
    for name in table.metadata.columns:
        reason = _other_coordinates(table, name)
        if reason is None and name in _SAMPLE:
            continue  # under the name of a camera coordinate
        if reason is None and name not in written.columns:
            reason = written.reasons.get(name) or _reason(table, name, format)
        if reason is not None:
            found[name] = reason
    return found


def _other_coordinates(table: ExportTable, name: str) -> str | None:
    """Why a coordinate is not written: those of another coordinate system are."""
    is_moved = table.coords != ("deskewed" if table.is_molecules else "raw") and table.metadata.geometry is not None
    if name in _CAMERA and (table.coords == "sample" or is_moved):
        return f"{table.coords} coordinates are written instead"
    if name in _SAMPLE and table.coords != "sample":
        return f"{table.coords} coordinates are written instead"
    return None


def _reason(table: ExportTable, name: str, format: str) -> str:
    if name == "group" and name in EXPORTED and not table.has_groups:
        return "no row is linked"
    if name in EXPORTED and not table.knows(name):
        return "not known in any row"
    return f"{format} has no place for it"
