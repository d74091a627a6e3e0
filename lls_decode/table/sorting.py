"""Sorting of rows: of a table in memory, or of any number of rows by way of sorted sections on disk."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lls_decode.table.files import temporary_beside
from lls_decode.table.schema import SORT_COLUMNS

_SECTION_ROWS: Final = 2**18
"""Rows that are sorted at a time."""
_GROUP_ROWS: Final = 2**13
"""Rows of each section that are held in memory during merging."""
_END: Final = int(np.iinfo(np.int64).max)


def sorted_rows(table: pa.Table) -> pa.Table:
    """Sort rows by (volume, plane, y, x), and rows at the same place by their other columns, so the order is unique."""
    keys = [table[name].to_numpy() for name in SORT_COLUMNS]
    if _strictly_ascending(keys):
        return table.combine_chunks()
    others = [table[name].to_numpy() for name in ("z_nm", "photons", "prob", "bg")]
    return table.take(np.lexsort([*others[::-1], *keys[::-1]])).combine_chunks()


@dataclass(frozen=True)
class Order:
    """Sort order that goes by steps first. Rows of the same step are sorted together in memory."""

    steps_of: Callable[[pa.Table], npt.NDArray[np.int64]]
    """Function that returns the step of each row."""
    sort: Callable[[pa.Table], pa.Table]
    """Function that sorts rows; their steps then ascend."""


class RowSorter:
    """Sorter that takes rows in pieces and in any order, and returns them sorted. Made by `sorted_aside`.

    Pieces are collected into sorted sections on disk. While sections are merged, some thousand rows of each overlapping
    section are held: of one or two sections if rows came in order, of all sections if they came in disorder.
    """

    def __init__(self, path: Path, table_schema: pa.Schema, order: Order) -> None:
        self._path, self._order = path, order
        self._writer = pq.ParquetWriter(
            path, table_schema, compression="lz4", use_dictionary=False, write_statistics=False
        )
        self._waiting: list[pa.Table] = []
        self._sections: list[tuple[range, int]] = []
        """Row groups and first step of each section."""

    def add(self, table: pa.Table) -> None:
        """Add rows, with the columns of the schema."""
        self._waiting.append(table)
        if sum(map(len, self._waiting)) >= _SECTION_ROWS:
            self._write_run()

    def pieces(self) -> Iterator[pa.Table]:
        """Return all rows in order, some thousand at a time; no rows can be added afterwards."""
        self._write_run()
        self._writer.close()
        with pq.ParquetFile(self._path) as file:
            sections = [_SortedSection(file, groups, first, self._order) for groups, first in self._sections]
            while sections := [section for section in sections if not section.is_over]:
                bound = min(section.known_to for section in sections)
                ready = [section.take(bound) for section in sections if section.first < bound]
                if ready:
                    yield self._order.sort(pa.concat_tables(ready))
                for section in sections:
                    if section.known_to == bound < _END:
                        section.load()

    def close(self) -> None:
        """Stop accepting rows."""
        self._writer.close()

    def _write_run(self) -> None:
        rows = self._order.sort(pa.concat_tables(self._waiting)) if self._waiting else None
        self._waiting = []
        if rows:
            self._writer.write_table(rows, row_group_size=_GROUP_ROWS)
            start = self._sections[-1][0].stop if self._sections else 0
            first_step = int(self._order.steps_of(rows.slice(0, 1))[0])
            self._sections.append((range(start, start + -(-len(rows) // _GROUP_ROWS)), first_step))


class _SortedSection:
    """Sorted row groups of one section."""

    def __init__(self, file: pq.ParquetFile, groups: range, first_step: int, order: Order) -> None:
        self._file, self._groups, self._order = file, deque(groups), order
        self._rows: pa.Table = file.schema_arrow.empty_table()
        self.first = _END
        """Step of the first row in memory."""
        self.known_to = first_step
        """All rows with steps below this one are in memory or were taken."""

    @property
    def is_over(self) -> bool:
        """Whether all rows were taken."""
        return self.known_to == self.first == _END

    def load(self) -> None:
        """Read one more row group."""
        self._rows = pa.concat_tables([self._rows, self._file.read_row_group(self._groups.popleft())])
        self.first = self._first_step(self._rows)
        self.known_to = self._first_step(self._rows.slice(len(self._rows) - 1)) if self._groups else _END

    def take(self, bound: int) -> pa.Table:
        """Remove and return the rows with steps below ``bound``."""
        count = int(np.searchsorted(self._order.steps_of(self._rows), bound))
        taken, self._rows = self._rows.slice(0, count), self._rows.slice(count)
        self.first = self._first_step(self._rows)
        return taken

    def _first_step(self, rows: pa.Table) -> int:
        return int(self._order.steps_of(rows.slice(0, 1))[0]) if len(rows) else _END


def _planes(table: pa.Table) -> npt.NDArray[np.int64]:
    volume, plane = (table[name].to_numpy().astype(np.int64) for name in ("volume", "plane"))
    return np.asarray(volume * 2**16 + plane)


def _frames(table: pa.Table) -> npt.NDArray[np.int64]:
    return np.asarray(table["frame"].to_numpy().astype(np.int64))


def _by_frame(table: pa.Table) -> pa.Table:
    frames = _frames(table)
    if np.all(frames[1:] >= frames[:-1]):
        return table.combine_chunks()
    return table.take(np.argsort(frames, kind="stable")).combine_chunks()


CANONICAL: Final = Order(_planes, sorted_rows)
"""Order of localizations in a table of ours: by volume, plane, y, x."""
BY_FRAME: Final = Order(_frames, _by_frame)
"""Order by frame; rows of one frame keep the order in which they were added. No other column is needed."""


def molecule_order(planes_per_volume: int) -> Order:
    """Return the order of molecules in a table of ours: by the volume in which they were last seen, then by number."""

    def volumes(table: pa.Table) -> npt.NDArray[np.int64]:
        return np.asarray(table["last_frame"].to_numpy().astype(np.int64) // planes_per_volume)

    def sort(table: pa.Table) -> pa.Table:
        keys = [volumes(table), table["group"].to_numpy()]
        if _strictly_ascending(keys):
            return table.combine_chunks()
        others = [table[name].to_numpy() for name in ("frame", "y_nm", "x_nm")]
        return table.take(np.lexsort([*others[::-1], *keys[::-1]])).combine_chunks()

    return Order(volumes, sort)


@contextmanager
def sorted_aside(out: Path, table_schema: pa.Schema, order: Order = CANONICAL) -> Iterator[RowSorter]:
    """Give a sorter whose sections lie beside ``out`` and are deleted in the end.

    Raises
    ------
    OutputError
        Full disk, read-only folder.
    """
    with temporary_beside(out) as path, closing(RowSorter(path, table_schema, order)) as sorter:
        yield sorter


def _strictly_ascending(keys: Sequence[npt.NDArray[Any]]) -> bool:
    """Return whether each row comes strictly after the one before; the first key counts first."""
    if len(keys[0]) < 2:
        return True
    undecided = np.ones(len(keys[0]) - 1, dtype=np.bool_)
    for key in keys:
        if np.any(undecided & ~(key[1:] >= key[:-1])):
            return False
        undecided &= key[1:] == key[:-1]
    return not undecided.any()
