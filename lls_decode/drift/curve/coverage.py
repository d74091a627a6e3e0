"""Coverage of a table by a drift curve."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lls_decode.drift.curve.curve import DriftCurve
from lls_decode.table import iter_tables


@dataclass(frozen=True)
class Coverage:
    """Numbers of rows of a table by how the curve covers their volumes."""

    rows: int
    before: int
    """Rows in volumes before the first one of the curve, which get the first displacement."""
    after: int
    """Rows in volumes after the last one of the curve, which get the last displacement."""
    unsupported: int
    """Rows in volumes in which no drift was measured, including those before and after the curve."""
    first_shift_nm: tuple[float, ...]
    last_shift_nm: tuple[float, ...]

    @property
    def unsupported_share(self) -> float:
        """Share of all rows that are unsupported."""
        return self.unsupported / max(1, self.rows)

    def words(self) -> str | None:
        """Return a sentence on the rows outside the curve and their displacement; None if there are none."""
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
    """Count the rows of a table by how a curve covers their volumes, in one pass over one column."""
    rows = before = after = unsupported = 0
    for part in iter_tables(table, ["volume"]):
        volume = part["volume"].to_numpy().astype(np.int64)
        rows += len(volume)
        before += int((volume < curve.first_volume).sum())
        after += int((volume > curve.last_volume).sum())
        unsupported += int(curve.unsupported(volume).sum())
    first, last = (tuple(float(value) for value in curve.shift_nm[end]) for end in (0, -1))
    return Coverage(rows, before, after, unsupported, first, last)
