"""Completion of an imported table: adds missing columns piece by piece, by the rules of `importing`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.errors import TableError
from lls_decode.export.foreign.kinds import Kind
from lls_decode.export.rows import MEASURED
from lls_decode.table import schema
from lls_decode.table.molecule_columns import molecule_schema

_RANGES: Final = {
    "frame": (0, 2**32 - 1), "volume": (0, 2**32 - 1), "plane": (0, 2**16 - 1), "group": (-1, 2**62),
    "last_frame": (0, 2**32 - 1), "num_frames": (1, 2**32 - 1), "span_frames": (1, 2**32 - 1),
    "num_planes": (1, 2**16 - 1), "num_volumes": (1, 2**32 - 1),
}  # fmt: skip
"""Ranges of whole numbers, both ends included."""
_FILLS: Final = {"z_nm": 0.0, "prob": 1.0}
"""Values of measured columns that a file lacks; other measured columns become NaN."""
_DERIVED: Final = {
    "localizations": ("volume", "plane", "group"),
    "molecules": ("group", "last_frame", "num_frames", "num_planes", "num_volumes", "prob_any"),
}
"""Columns that are derived from others if a file lacks them."""
_END: Final = "an end"
_ORDER: Final = ("frame", "x_nm", "y_nm", "z_nm", "num_frames", "span_frames", *_RANGES, _END)


@dataclass
class _Bad:
    """Rows with an impossible value in one column."""

    first_row: int
    first_value: float
    rows: int = 0


class ColumnCompletion:
    """Completes the columns of a file piece by piece; `check` raises all faults after the last piece."""

    def __init__(
        self, path: Path, planes_per_volume: int | None, *, kind: Kind = "localizations", with_channel: bool = False
    ) -> None:
        self.schema: pa.Schema = (molecule_schema if kind == "molecules" else schema)(False, with_channel)
        """Columns of the completed rows."""
        self.num_rows = 0
        """Number of rows so far."""
        self._kind = kind
        self.absent: list[str] = []
        """Columns that the file lacks; final after `check`."""
        self._path = path
        self._planes_per_volume = planes_per_volume
        self._bad: dict[str, _Bad] = {}
        self._odd: dict[tuple[str, str], int] = {}

    def add(self, given: Mapping[str, npt.NDArray[Any]]) -> pa.Table:
        """Return all canonical columns of a piece, in the order of the file; an empty table once any row was faulty.

        ``z_nm`` may still be NaN; see `with_depth`.
        """
        columns = dict(given)
        both = columns.pop("xy_sig", None)
        if both is not None:
            columns.setdefault("x_sig", both)
            columns.setdefault("y_sig", both)
        self.absent = [name for name in (*MEASURED, *_DERIVED[self._kind]) if name not in columns]
        length = len(columns["frame"])
        for name in ("x_nm", "y_nm", "z_nm"):
            if name in columns:
                self._note(name, ~np.isfinite(columns[name]), columns[name])
        fills = {name: np.full(length, _FILLS.get(name, np.nan)) for name in MEASURED if name not in columns}
        complete = columns | fills
        self._note_odd(columns)
        complete |= self._of_molecules(complete) if self._kind == "molecules" else self._counted(columns)
        self.num_rows += length
        if self._bad.keys() - {"z_nm"}:
            return self.schema.empty_table()
        arrays = [
            pa.array(complete[field.name].astype(field.type.to_pandas_dtype()), field.type) for field in self.schema
        ]
        return pa.table(arrays, schema=self.schema)

    def check(self) -> None:
        """Refuse a file with rows that have no position, no frame, or impossible numbers.

        Raises
        ------
        TableError
            The message names the first such row and their number.
        """
        if "z_nm" not in self.absent and self._without_depth():
            self.absent.insert(0, "z_nm")  # the column exists, but has no values
            self._bad.pop("z_nm", None)
        for name in sorted(self._bad, key=_ORDER.index):
            bad = self._bad[name]
            if name == _END:
                raise TableError(
                    f"{self._path} has {bad.rows} of {self.num_rows} molecules that end before they begin (the first "
                    f"is row {bad.first_row}, with last_frame {bad.first_value}); remove them."
                )
            if name not in _RANGES:
                raise TableError(
                    f"{self._path} has {bad.rows} of {self.num_rows} rows without {name} (the first is row "
                    f"{bad.first_row}); remove them."
                )
            lowest, highest = _RANGES[name]
            is_moved = name in ("frame", "last_frame") and bad.first_value == np.trunc(bad.first_value)
            raise TableError(
                f"{self._path} has {name} {bad.first_value} in row {bad.first_row}"
                f"{', after conversion to our numbering' if is_moved else ''}; expected whole numbers from {lowest} to "
                f"{highest} ({bad.rows} of {self.num_rows} rows have others): "
                + (
                    "give the number of the first frame with --first-frame N."
                    if is_moved and bad.first_value < lowest
                    else f"repair or remove them, or take another column (--columns {name}=THEIRS)."
                )
            )

    def notes(self) -> tuple[str, ...]:
        """Return, in words, how many rows have values that their column cannot have; final after the last piece."""
        return tuple(
            f"{name} is {words} in {rows} of {self.num_rows} rows" for (name, words), rows in self._odd.items()
        )

    def with_depth(self, rows: pa.Table) -> pa.Table:
        """Return rows of `add` with a depth of 0 if the file has no depth in any row."""
        if "z_nm" not in self.absent:
            return rows
        place = rows.schema.get_field_index("z_nm")
        nothing = pa.array(np.zeros(rows.num_rows, dtype=np.float32))
        return rows.set_column(place, rows.schema.field(place), nothing)

    def _counted(self, columns: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.int64]]:
        frame = self._whole("frame", columns["frame"])
        if self._planes_per_volume is None and "volume" in columns and "plane" in columns:
            volume, plane = (self._whole(name, columns[name]) for name in ("volume", "plane"))
        else:
            volume, plane = np.divmod(frame, self._planes_per_volume or 1)
            self.absent += [name for name in ("volume", "plane") if name not in self.absent]
        group = columns.get("group", np.full(len(frame), -1))
        group = self._whole("group", np.where(np.isfinite(group), group, -1))
        return {"frame": frame, "volume": volume, "plane": plane, "group": group}

    def _of_molecules(self, columns: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Return the counts of molecules. Missing ones are bounds, as if detections were in consecutive frames."""
        planes = self._planes_per_volume or 1
        frame = self._whole("frame", columns["frame"])
        span = self._whole("span_frames", columns["span_frames"]) if "span_frames" in columns else None
        num_frames = self._whole("num_frames", columns["num_frames"]) if "num_frames" in columns else span
        assert num_frames is not None  # ensured by `find_kind`
        if "last_frame" in columns:
            last_frame = self._whole("last_frame", columns["last_frame"])
            self._note(_END, last_frame < frame, last_frame)
        else:
            last_frame = frame + (num_frames if span is None else span) - 1
        within = np.minimum(last_frame // planes - frame // planes + 1, num_frames)
        num_volumes = self._whole("num_volumes", columns["num_volumes"]) if "num_volumes" in columns else within
        in_one = np.minimum(planes, num_frames - num_volumes + 1)
        rows = self.num_rows + np.arange(len(frame))
        return {
            "frame": frame,
            "last_frame": last_frame,
            "num_frames": num_frames,
            "num_volumes": num_volumes,
            "num_planes": self._whole("num_planes", columns["num_planes"]) if "num_planes" in columns else in_one,
            "group": self._whole("group", columns["group"]) if "group" in columns else rows,
            "prob_any": columns.get("prob_any", columns["prob"]),
        }

    def _whole(self, name: str, values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        lowest, highest = _RANGES[name]
        bad = ~(np.isfinite(values) & (values == np.trunc(values)) & (values >= lowest) & (values <= highest))
        self._note(name, bad, values)
        return np.where(bad, 0, values).astype(np.int64)

    def _note(self, name: str, bad: npt.NDArray[np.bool_], values: npt.NDArray[Any]) -> None:
        if bad.any():
            first = int(np.argmax(bad))
            known = self._bad.setdefault(name, _Bad(self.num_rows + first + 1, values[first]))
            known.rows += int(bad.sum())

    def _note_odd(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Count values that are kept, but are impossible as sigmas, photons or probabilities."""
        for name in (column for column in MEASURED if column in columns and column not in ("x_nm", "y_nm", "z_nm")):
            values = columns[name]
            odd = {"infinite": np.isinf(values)}
            if name.endswith("_sig"):
                odd["0 or less"] = values <= 0
            if name == "prob":
                odd |= {"above 1": (values > 1) & np.isfinite(values), "below 0": values < 0}
            for words, rows in odd.items():
                if rows.any():
                    self._odd[name, words] = self._odd.get((name, words), 0) + int(rows.sum())

    def _without_depth(self) -> bool:
        return (self._bad["z_nm"].rows if "z_nm" in self._bad else 0) == self.num_rows
