"""Which rows of a table a drift curve says something about."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lls_decode.drift.curve.curve import DriftCurve
from lls_decode.table import iter_tables


@dataclass(frozen=True)
class Coverage:
    """Rows of a table, by what a curve knows of their volumes."""

    rows: int
    before: int
    """In volumes before the first one of the curve: moved as in that one."""
    after: int
    """In volumes after the last one of the curve: moved as in that one."""
    unsupported: int
    """In volumes in which no drift was measured, those before and after included."""
    first_shift_nm: tuple[float, ...]
    last_shift_nm: tuple[float, ...]

    @property
    def unsupported_share(self) -> float:
        """Of all rows."""
        return self.unsupported / max(1, self.rows)

    def words(self) -> str | None:
        """Name the rows outside the curve, and what they got; None without any."""
        told = [
            f"{count} {'row lies' if count == 1 else 'rows lie'} {where} volume of the curve and got its displacement "
            f"({', '.join(f'{value:.1f}' for value in shift)} nm)"
            for count, where, shift in (
                (self.before, "before the first", self.first_shift_nm),
                (self.after, "after the last", self.last_shift_nm),
            )
            if count
        ]
        return f"Of {self.rows} rows, {'; '.join(told)}." if told else None


def survey_coverage(table: str | Path, curve: DriftCurve) -> Coverage:
    """Count the rows of a table by what a curve knows of their volumes; one pass over one column."""
    rows = before = after = unsupported = 0
    for part in iter_tables(table, ["volume"]):
        volume = part["volume"].to_numpy().astype(np.int64)
        rows += len(volume)
        before += int((volume < curve.first_volume).sum())
        after += int((volume > curve.last_volume).sum())
        unsupported += int(curve.unsupported(volume).sum())
    first, last = (tuple(float(value) for value in curve.shift_nm[end]) for end in (0, -1))
    return Coverage(rows, before, after, unsupported, first, last)
