"""Account of the columns of an exported table: written, or left out for a stated reason."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lls_decode.export.rows import EXPORTED, ExportTable
from lls_decode.table import SAMPLE_COLUMNS

_SAMPLE: Final = tuple(column.name for column in SAMPLE_COLUMNS)
_CAMERA: Final = ("x_nm", "y_nm", "z_nm")


@dataclass(frozen=True)
class Written:
    """Report of a format's writer."""

    columns: frozenset[str]
    """Our columns whose values are in the file."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Reasons why columns are left out, unless the format simply has no place for them."""
    notes: tuple[str, ...] = ()
    """Notes for the user: one sentence each, without full stop."""


def left_out(table: ExportTable, written: Written, format: str) -> dict[str, str]:
    """Return the columns of the table that the file lacks, each with the reason."""
    found = {}
    for name in table.metadata.columns:
        reason = _other_coordinates(table, name)
        if reason is None and name in _SAMPLE:
            continue  # written under the name of a camera coordinate
        if reason is None and name not in written.columns:
            reason = written.reasons.get(name) or _reason(table, name, format)
        if reason is not None:
            found[name] = reason
    return found


def _other_coordinates(table: ExportTable, name: str) -> str | None:
    """Return why a coordinate column is not written: another coordinate system is."""
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
