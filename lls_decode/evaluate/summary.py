"""Summary of a table in numbers, from one pass with constant memory."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lls_decode.evaluate.counts import FoldedCounts, ValueCounts

MEASURED: Final = (
    "x_nm", "y_nm", "z_nm", "photons", "bg", "x_sig", "y_sig", "z_sig", "phot_sig", "prob", "xs_nm", "ys_nm", "zs_nm",
)  # fmt: skip
"""Columns that are summarized."""


class TableSummary:
    """Rows, frames, volumes, planes and column values of a table that is added in pieces."""

    def __init__(self, columns: Sequence[str], planes_per_volume: int) -> None:
        """Summarize those of the columns that are measured; volumes and planes are derived from ``frame``."""
        self.columns = {name: ValueCounts() for name in MEASURED if name in columns}
        self.rows = 0
        self.first_frame: int | None = None
        self.last_frame: int | None = None
        self.by_volume = FoldedCounts()
        self.by_plane = np.zeros(planes_per_volume, dtype=np.int64)
        """(P,) number of rows in each plane of a sweep."""
        self.num_grouped = 0
        """Number of rows that are linked to a molecule."""
        self.sum_prob = 0.0
        """Sum of the detection probabilities, each at most 1: the expected number of correct detections, if
        calibrated."""

    def add(self, rows: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add rows with ``frame`` and any other columns."""
        frame = np.asarray(rows["frame"], dtype=np.int64)
        if not len(frame):
            return
        first, last = int(frame.min()), int(frame.max())
        self.rows += len(frame)
        self.first_frame = first if self.first_frame is None else min(first, self.first_frame)
        self.last_frame = last if self.last_frame is None else max(last, self.last_frame)
        self.by_volume.add(frame // len(self.by_plane))
        self.by_plane += np.bincount(frame % len(self.by_plane), minlength=len(self.by_plane))
        for name, counts in self.columns.items():
            counts.add(rows[name])
        if "prob" in self.columns:
            self.sum_prob += float(np.nansum(np.minimum(rows["prob"], 1.0), dtype=np.float64))
        if "group" in rows:
            self.num_grouped += int((np.asarray(rows["group"]) >= 0).sum())

    @property
    def volumes(self) -> tuple[int, int] | None:
        """First and last volume with rows; None without rows."""
        if self.first_frame is None or self.last_frame is None:
            return None
        return self.first_frame // len(self.by_plane), self.last_frame // len(self.by_plane)

    @property
    def planes(self) -> tuple[int, int] | None:
        """First and last plane with rows; None without rows."""
        held = np.flatnonzero(self.by_plane)
        return (int(held[0]), int(held[-1])) if len(held) else None
