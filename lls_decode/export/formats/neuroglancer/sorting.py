"""Any number of records, kept in one file and read back range by range."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Records = npt.NDArray[Any]

_RECORDS_IN_MEMORY: Final = 1_000_000


class SortedByRange:
    """Sorter of records: takes records with the range of each, and returns the records of one range."""

    def __init__(self, path: Path, dtype: np.dtype[Any], *, num_ranges: int) -> None:
        self._path, self._dtype, self._num_ranges = path, dtype, num_ranges
        self._waiting: list[tuple[Records, Integers]] = []
        self._num_waiting = 0
        self._sections: list[Integers] = []
        """File positions, in records, at which the ranges of each sorted section begin, and the end of the last
        range."""
        self._num_written = 0

    def add(self, records: Records, range_of: Integers) -> None:
        """Add records, in any order."""
        self._waiting.append((records, range_of))
        self._num_waiting += len(records)
        if self._num_waiting >= _RECORDS_IN_MEMORY:
            self.flush()

    def flush(self) -> None:
        """Write the collected records as one more sorted section."""
        if not self._num_waiting:
            return
        records, range_of = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        order = np.argsort(range_of, kind="stable")
        with self._path.open("ab") as file:
            records[order].tofile(file)
        edges = np.searchsorted(range_of[order], np.arange(self._num_ranges + 1))
        self._sections.append(edges + self._num_written)
        self._num_written += len(records)
        self._waiting, self._num_waiting = [], 0

    def read(self, number: int) -> Records:
        """Return the records of a range, in the order in which they were added."""
        found = [np.empty(0, self._dtype)]
        with self._path.open("rb") as file:
            for section in self._sections:
                first, stop = int(section[number]), int(section[number + 1])
                if stop > first:
                    file.seek(first * self._dtype.itemsize)
                    found.append(np.fromfile(file, dtype=self._dtype, count=stop - first))
        return np.concatenate(found)
