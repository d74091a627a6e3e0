"""Orders of rows: of a table in memory, and of any number of rows by way of sorted sections on disk."""

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
"""Sorted at a time."""
_GROUP_ROWS: Final = 2**13
"""What is held of each section while they are merged."""
_END: Final = int(np.iinfo(np.int64).max)


def sorted_rows(table: pa.Table) -> pa.Table:
    """Rows by (volume, plane, y, x); rows at the same place by their other columns, so that the order is one."""
    keys = [table[name].to_numpy() for name in SORT_COLUMNS]
    if _strictly_ascending(keys):
        return table.combine_chunks()
    others = [table[name].to_numpy() for name in ("z_nm", "photons", "prob", "bg")]
    return table.take(np.lexsort([*others[::-1], *keys[::-1]])).combine_chunks()


@dataclass(frozen=True)
class Order:
    """An order of rows. It goes by steps first: rows of one step are brought in order together, in memory."""

    steps_of: Callable[[pa.Table], npt.NDArray[np.int64]]
    """Step of each row."""
    sort: Callable[[pa.Table], pa.Table]
    """Rows in order: their steps ascend."""


class RowSorter:
    """Takes rows in pieces and in any order, gives them back in order. Made by `sorted_aside`.

    A few pieces are a sorted section on disk; some thousand rows of a section are held while it is merged with others.
    Of rows that came in order, that is one or two sections at a time, of rows in disorder all of them.
    """

    def __init__(self, path: Path, table_schema: pa.Schema, order: Order) -> None:
        self._path, self._order = path, order
        self._writer = pq.ParquetWriter(
            path, table_schema, compression="lz4", use_dictionary=False, write_statistics=False
        )
        self._waiting: list[pa.Table] = []
        self._sections: list[tuple[range, int]] = []
        """Row groups of each, and the first step."""

    def add(self, table: pa.Table) -> None:
        """Add rows, with the columns of the schema."""
        self._waiting.append(table)
        if sum(map(len, self._waiting)) >= _SECTION_ROWS:
            self._write_run()

    def pieces(self) -> Iterator[pa.Table]:
        """All rows in order, some thousand at a time; afterwards none can be added."""
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
        """Take no more rows."""
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
    """Row groups whose rows are in order."""

    def __init__(self, file: pq.ParquetFile, groups: range, first_step: int, order: Order) -> None:
        self._file, self._groups, self._order = file, deque(groups), order
        self._rows: pa.Table = file.schema_arrow.empty_table()
        self.first = _END
        """Step of the first row at hand."""
        self.known_to = first_step
        """All rows of steps before this one are at hand, or were taken."""

    @property
    def is_over(self) -> bool:
        """All rows were taken."""
        return self.known_to == self.first == _END

    def load(self) -> None:
        """Read one row group more."""
        self._rows = pa.concat_tables([self._rows, self._file.read_row_group(self._groups.popleft())])
        self.first = self._first_step(self._rows)
        self.known_to = self._first_step(self._rows.slice(len(self._rows) - 1)) if self._groups else _END

    def take(self, bound: int) -> pa.Table:
        """Remove and return the rows of steps before ``bound``."""
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
"""The order of localizations in a table of ours: by volume, plane, y, x."""
BY_FRAME: Final = Order(_frames, _by_frame)
"""By frame; rows of one frame stay in the order in which they were added. Needs no other column."""


def molecule_order(planes_per_volume: int) -> Order:
    """The order of molecules in a table of ours: by the volume in which they were seen last, then by their number."""

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
    """A sorter whose sections lie beside ``out``, and are removed in the end.

    Raises
    ------
    OutputError
        Full disk, read-only folder.
    """
    with temporary_beside(out) as path, closing(RowSorter(path, table_schema, order)) as sorter:
        yield sorter


def _strictly_ascending(keys: Sequence[npt.NDArray[Any]]) -> bool:
    """Whether each row is after the one before, first key first."""
    if len(keys[0]) < 2:
        return True
    undecided = np.ones(len(keys[0]) - 1, dtype=np.bool_)
    for key in keys:
        if np.any(undecided & ~(key[1:] >= key[:-1])):
            return False
        undecided &= key[1:] == key[:-1]
    return not undecided.any()
